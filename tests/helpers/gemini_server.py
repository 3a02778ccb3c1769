"""A Gemini server on loopback: a test double that speaks the wire format and enforces the server's rules.

    with GeminiServer([calls(call("stock", {"sku": "TEA-1"})), text("Three are left.")]) as server:
        model = GeminiModel(api_key="test-key-123", http_options={"base_url": server.url})
        ...
    assert server.requests[1].body["contents"][-1]["parts"][0]["functionResponse"]["name"] == "stock"

It answers generateContent and streamGenerateContent with the replies of the script, one each, and
countTokens by itself. A reply is made by `text`, `calls`, `reply`, `stream` or `fault`; it may also be a str
(a text), a dict (a whole body), or a function of the request's body that gives one of these. A script that is
used up answers 400. A model that has a script of its own (`server.script(replies, model="gemini-x")`) answers by
that one.

A request that breaks a rule of GEMINI.md gets 400 INVALID_ARGUMENT, and the message names the rule. The rules
are written down here anew, on purpose: agentkit's own `wire.history.check` is tested against them. Every turn
with calls gets a thought signature on its first call, which must come back in the very same part; so must
those of texts made with `sign=True`. Signatures and ids that this server didn't give out are refused, unless
`server.trust(contents)` names the contents that hold them. A model takes no other model's signatures: where it
demands one, in the current turn, it takes what Gemini has for that, `skip_thought_signature_validator`.

`server.requests` has what was asked (refused requests too), `server.disconnects` counts replies that a client
broke off, `server.open_connections` the connections that are open now; `server.wait(lambda: ...)` waits for
any of it. `server.files` may be a `FilesApi`, for uploads. Nothing of agentkit is imported.
"""

from __future__ import annotations

import base64
import itertools
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tests.helpers.files_api import FilesApi
from tests.helpers.gemini_rules import Json, Refused, Rules, need

_AUTO = "auto"


@dataclass(frozen=True)
class Received:
    """A request: `body` is its JSON, `headers` have lower-case names."""

    path: str
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True)
class Reply:
    """A reply in one or more chunks; see the functions that make one."""

    chunks: Sequence[Json]
    delay: float = 0.0
    sign: bool = False
    tier: str = ""
    """What the header says of the service tier."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong; see `fault`."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


Scripted = Reply | Fault | str | Json | Callable[[Json], Any]


def call(name: str, args: Json | None = None, *, id: str | None = _AUTO) -> Json:
    """Make a part that calls a function. It gets an id of its own; None leaves it out."""
    return {"functionCall": {"name": name, "args": args or {}} | ({"id": id} if id is not None else {})}


def calls(*parts: Json, text: str = "", thought: str = "", sign: bool = True, **options: Any) -> Reply:
    """Make a reply of calls (`call(...)`), perhaps after a thought and a text. The first call is signed."""
    before = [{"text": thought, "thought": True}] if thought else []
    before += [{"text": text}] if text else []
    return reply([*before, *parts], sign=sign, **options)


def text(value: str, *, chunks: int = 1, thought: str = "", sign: bool = False, **options: Any) -> Reply:
    """Make a reply of text, streamed in so many chunks. `sign` signs a last, empty text part."""
    size = -(-len(value) // chunks) or 1
    parts = [{"text": thought, "thought": True}] if thought else []
    parts += [{"text": value[at : at + size]} for at in range(0, len(value), size)] or [{"text": ""}]
    parts += [{"text": ""}] if sign else []
    return reply(parts, sign=sign, **options)


def reply(
    parts: Sequence[Json],
    *,
    finish: str = "STOP",
    message: str = "",
    delay: float = 0.0,
    sign: bool = False,
    tier: str = "",
) -> Reply:
    """Make a reply of these parts, each streamed in a chunk, with any finish reason and finish message."""
    chunks: list[Json] = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in parts
    ]
    chunks = chunks or [{"candidates": [{"index": 0}]}]
    chunks[-1]["candidates"][0]["finishReason"] = finish
    if message:
        chunks[-1]["candidates"][0]["finishMessage"] = message
    tokens = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    chunks[-1] |= {"usageMetadata": tokens, "modelVersion": "loopback", "responseId": "r"}
    return Reply(chunks, delay, sign, tier)


def stream(chunks: Sequence[Json], *, delay: float = 0.0) -> Reply:
    """Make a reply of whole chunks, taken as they are; `delay` is the seconds before each but the first."""
    return Reply(chunks, delay)


def fault(kind: int | str, **options: Any) -> Fault:
    """Make something go wrong. `kind` is a HTTP status code, or one of these words.

    - a code: options status, message, details, retry_delay (of a RetryInfo, e.g. "3s"), retry_after (the
      header), body (raw bytes in place of all that)
    - hang: nothing comes for `seconds` (default: until the client leaves); with after="headers", after them,
      with after="chunk", after a first chunk of text
    - reset: the connection breaks, with after= as above
    - trickle: bytes that mean nothing, one each `every` seconds, for ever
    - truncated: a stream ends without a finish reason; else the body ends in the middle
    - not-json, bad-sse: a body or an event that can't be read
    - stream-error: an error object (options code, status, message) after a first chunk; else as the body
    - empty: no candidates; blocked: the prompt is (option reason)
    - malformed-call: finish reason MALFORMED_FUNCTION_CALL
    """
    return Fault(str(kind), options)


class GeminiServer:
    """The server; a context manager. See the module's text."""

    def __init__(self, replies: Iterable[Scripted] = (), *, key: str | None = None) -> None:
        self.requests: list[Received] = []
        self.disconnects = 0
        self.files: FilesApi | None = None
        self.models: list[Json] = []
        """What the list of models has, in pages of as many as are asked for, at most three."""
        self.listed: list[tuple[str, Mapping[str, str]]] = []
        """Path and headers of each request for a page of it."""
        self.open_connections = 0
        self.key = key  # the only one that is accepted, or None: any
        self._script: list[Scripted] = list(replies)
        self._scripts: dict[str, list[Scripted]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sockets: set[socket.socket] = set()
        self.rules = Rules()
        self._numbers = itertools.count(1)
        outer = self

        class Handler(_Handler):
            gemini = outer

        self._http = _Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> GeminiServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):  # its client has just gone
                    connection.shutdown(socket.SHUT_RDWR)
        self.wait(lambda: self.open_connections == 0)
        self._http.server_close()

    @property
    def url(self) -> str:
        """For `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def left(self) -> int:
        """How many replies of the script weren't used."""
        return len(self._script) + sum(map(len, self._scripts.values()))

    def script(self, replies: Iterable[Scripted], *, model: str | None = None) -> None:
        """Add replies to the script, or to the one that a model has of its own."""
        script = self._script if model is None else self._scripts.setdefault(model, [])
        script.extend(replies)

    def forget(self) -> None:
        """Drop what is left of the script."""
        self._script.clear()

    def asked(self, model: str) -> list[Json]:
        """List the bodies of the requests to a model."""
        return [each.body for each in self.requests if f"models/{model}:" in each.path]

    def trust(self, contents: Sequence[Json]) -> None:
        """Take the signatures and ids in these contents for the server's own."""
        for content in contents:
            if content["role"] == "model":
                self.rules.issue(content["parts"])

    def wait(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until a condition holds; fail after so many seconds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("GeminiServer.wait: the condition didn't come true")
            time.sleep(0.005)

    def next_reply(self, body: Json, model: str = "") -> Reply | Fault | Json:
        """Take the next reply of the script, made ready: calls have ids, signatures are in place."""
        with self._lock:
            script = self._scripts.get(model.rpartition("/")[2], self._script)
            scripted = script.pop(0) if script else None
        while callable(scripted):
            scripted = scripted(body)
        if scripted is None:
            return fault(400, status="FAILED_PRECONDITION", message="GeminiServer: the script is used up")
        if isinstance(scripted, str):
            scripted = text(scripted)
        return self._prepare(scripted, model) if isinstance(scripted, Reply) else scripted

    def _prepare(self, scripted: Reply, model: str) -> Reply:
        """Give ids and a signature to a reply of the script, and note them as given out."""
        chunks: list[Json] = json.loads(json.dumps(scripted.chunks))
        parts = [part for chunk in chunks for part in _parts_of(chunk)]
        for part in parts:
            if part.get("functionCall", {}).get("id") == _AUTO:
                part["functionCall"]["id"] = f"call-{next(self._numbers)}"
        first_call = next((part for part in parts if "functionCall" in part), parts[-1] if parts else {})
        if scripted.sign and "thoughtSignature" not in first_call:
            signature = base64.b64encode(b"signature %d" % next(self._numbers))
            first_call["thoughtSignature"] = signature.decode()
        self.rules.issue(parts, model)
        return Reply(chunks, scripted.delay, tier=scripted.tier)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default of 5, the sixth of parallel connections waits a second


class _Handler(BaseHTTPRequestHandler):
    gemini: GeminiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.gemini._lock:
            self.gemini._sockets.add(self.connection)
            self.gemini.open_connections += 1

    def finish(self) -> None:
        with self.gemini._lock:
            self.gemini._sockets.discard(self.connection)
            self.gemini.open_connections -= 1
        try:
            super().finish()
        except OSError:
            self.wfile.close()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/models"):
            self._list_models()
        elif self.gemini.files is not None:
            self.gemini.files.answer(self, "GET", self.gemini.url)

    def _list_models(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.gemini.listed.append((self.path, headers))
        refused = self._refused(headers)
        if refused is not None:
            self._fault(refused, streamed=False)
            return
        path, _, query = self.path.partition("?")
        asked = dict(parse_qsl(query))
        begin, size = int(asked.get("pageToken", 0)), min(int(asked["pageSize"]), 3)
        end = begin + size
        key = "publisherModels" if "/publishers/" in path else "models"
        page: Json = {key: self.gemini.models[begin:end]}
        if end < len(self.gemini.models):
            page["nextPageToken"] = str(end)
        self._send(200, json.dumps(page).encode())

    def do_POST(self) -> None:
        if self.gemini.files is not None and "/upload/" in self.path:
            self.gemini.files.answer(self, "POST", self.gemini.url)
            return
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        method = self.path.partition("?")[0].rpartition(":")[2]
        try:
            body = json.loads(raw)
            self.gemini.requests.append(Received(self.path, headers, body))
            answer = self._route(method, headers, body)
        except (Refused, ValueError) as refused:
            answer = fault(400, status="INVALID_ARGUMENT", message=str(refused))
        try:
            self._answer(answer, streamed=method == "streamGenerateContent")
        except (ConnectionError, _Gone):
            self.close_connection = True
            if not self.gemini._stopping.is_set():
                self.gemini.disconnects += 1

    def _refused(self, headers: Mapping[str, str]) -> Fault | None:
        key = headers.get("x-goog-api-key")
        if not key and "authorization" not in headers:
            return fault(403, status="PERMISSION_DENIED", message="unregistered caller: use an API key")
        if key and self.gemini.key not in (None, key):
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            message = f"API key not valid: {key}"
            return fault(400, status="INVALID_ARGUMENT", message=message, details=[info])
        return None

    def _route(self, method: str, headers: Mapping[str, str], body: Json) -> Reply | Fault | Json:
        key, model = headers.get("x-goog-api-key"), self.path.partition("?")[0].rpartition(":")[0]
        if (refused := self._refused(headers)) is not None:
            return refused
        if int(headers.get("x-server-timeout", 10)) < 10:
            raise Refused("Manually set deadline is too short. Minimum allowed deadline is 10s.")
        if method == "countTokens":
            inner = body.get("generateContentRequest")
            need(
                not (inner and body.get("contents")),
                "contents and generateContentRequest exclude one another",
            )
            full = model[model.index("models/") :]
            need(inner is None or inner.get("model") == full, f"generateContentRequest.model must be {full}")
            self.gemini.rules.check(inner or body, model)
            return {"totalTokens": len(json.dumps(inner or body)) // 4}
        if method not in ("generateContent", "streamGenerateContent"):
            return fault(404, status="NOT_FOUND", message=f"no method {method}")
        self.gemini.rules.check(body, model)
        if self.gemini.files and (name := self.gemini.files.missing(body, key or "", self.gemini.url)):
            words = f"You do not have permission to access the File {name} or it may not exist."
            return fault(403, status="PERMISSION_DENIED", message=words)
        return self.gemini.next_reply(body, model)

    def _answer(self, answer: Reply | Fault | Json, *, streamed: bool) -> None:
        if isinstance(answer, Fault):
            self._fault(answer, streamed=streamed)
        elif isinstance(answer, dict):
            self._send(200, json.dumps(answer).encode())
        elif not streamed:
            self._pause(answer.delay)
            tier = {"x-gemini-service-tier": answer.tier} if answer.tier else {}
            self._send(200, json.dumps(_merged(answer.chunks)).encode(), tier)
        else:
            self._head(200, "text/event-stream", answer.tier)
            for number, chunk in enumerate(answer.chunks):
                self._pause(answer.delay if number else 0)
                self._chunk(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n")
            self._chunk(b"")

    def _fault(self, what: Fault, *, streamed: bool) -> None:
        options, first = what.options, reply([{"text": "The first"}]).chunks[0]
        first = {"candidates": [{"content": first["candidates"][0]["content"], "index": 0}]}
        event = b"data: " + json.dumps(first).encode() + b"\r\n\r\n"
        if what.kind.isdigit():
            self._error(int(what.kind), options)
        elif what.kind in ("hang", "reset"):
            if options.get("after"):
                self._head(200, "text/event-stream" if streamed else "application/json")
            if options.get("after") == "chunk":
                self._chunk(event)
            if what.kind == "hang":
                self._pause(options.get("seconds", 3600))
            # A zero linger makes closing send RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif what.kind == "trickle":
            self._head(200, "text/event-stream" if streamed else "application/json")
            while True:
                self._chunk(b"\n" if streamed else b" ")
                self._pause(options.get("every", 0.02))
        elif what.kind == "truncated":
            self._head(200, "text/event-stream" if streamed else "application/json")
            self._chunk(event if streamed else b'{"candidates": [{"content"')
            self._chunk(b"")
        elif what.kind in ("not-json", "bad-sse"):
            self._send(200, b"<html>hello</html>" if what.kind == "not-json" else b'data: {"candi\r\n\r\n')
        elif what.kind == "stream-error":
            error = {"code": options.get("code", 503), "message": options.get("message", "overloaded")}
            error["status"] = options.get("status", "UNAVAILABLE")
            body = json.dumps({"error": error}).encode()
            self._send(200, event + b"data: " + body + b"\r\n\r\n" if streamed else body)
        else:
            bodies: dict[str, Json] = {
                "empty": {"candidates": [], "usageMetadata": {"totalTokenCount": 1}},
                "blocked": {"promptFeedback": {"blockReason": options.get("reason", "SAFETY")}},
                "malformed-call": {
                    "candidates": [
                        {
                            "finishReason": "MALFORMED_FUNCTION_CALL",
                            "finishMessage": "Malformed function call: f(",
                        }
                    ]
                },
            }
            self._answer(Reply([bodies[what.kind]]), streamed=streamed)

    def _error(self, code: int, options: Mapping[str, Any]) -> None:
        details = list(options.get("details", ()))
        if "retry_delay" in options:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            details.append({"@type": kind, "retryDelay": options["retry_delay"]})
        status, message = (
            options.get("status", "UNAVAILABLE"),
            options.get("message", "a fault of the script"),
        )
        error = {"code": code, "message": message, "status": status, "details": details}
        headers = {"Retry-After": options["retry_after"]} if "retry_after" in options else {}
        self._send(code, options.get("body") or json.dumps({"error": error}).encode(), headers)

    def _send(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, code: int, kind: str, tier: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if tier:
            self.send_header("x-gemini-service-tier", tier)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _pause(self, seconds: float) -> None:
        """Wait, but leave at once when the client does or the server stops."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.gemini._stopping.is_set():
                raise _Gone
            if select.select([self.connection], [], [], min(left, 0.01))[0]:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise _Gone
                time.sleep(min(left, 0.01))


class _Gone(Exception):
    pass


def _parts_of(chunk: Json) -> list[Json]:
    return [
        part
        for candidate in chunk.get("candidates") or []
        for part in candidate.get("content", {}).get("parts") or []
    ]


def _merged(chunks: Sequence[Json]) -> Json:
    """Make one body of a reply's chunks."""
    body: Json = {key: value for chunk in chunks for key, value in chunk.items()}
    if body.get("candidates"):
        candidate = {key: value for chunk in chunks for key, value in chunk["candidates"][0].items()}
        parts = [part for chunk in chunks for part in _parts_of(chunk)]
        body["candidates"] = [candidate | ({"content": {"role": "model", "parts": parts}} if parts else {})]
    return body
