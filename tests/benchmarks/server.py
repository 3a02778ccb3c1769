"""The model of the benchmark: an HTTP server that does what the prompt says, and notes what it was asked.

It is hand-written on asyncio and keeps no conversation: the reply follows from the request alone, so that any
number of clients may ask at the same time. The last text of the user is the script, words of `key=number`:

    chain=10      ten turns with one call of `add` each, then the sum as a text
    parallel=8    one turn with eight calls of the first tool that is declared, then a text
    stream=500    a text in so many chunks, `gap` seconds apart
    delay=0.05    seconds before each reply

`GET /log` returns what was noted, and forgets it: of each request how many contents, tools and responses it
had, and a digest of its last content; and when the first byte of the first one came.

    python -m tests.benchmarks.server        prints its port
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

SIGNATURE = "c2lnbmF0dXJl" * 12
_USAGE = {"promptTokenCount": 20, "candidatesTokenCount": 10, "totalTokenCount": 30}
_EVENT = "data: {}\r\n\r\n"


class Log:
    """What the clients have asked since somebody looked."""

    def __init__(self) -> None:
        self.requests: list[list[Any]] = []
        self.first_byte: float | None = None

    def note(self, body: Json) -> None:
        contents = body["contents"]
        declared = [
            declaration
            for tool in body.get("tools") or ()
            for declaration in tool.get("functionDeclarations") or tool.get("function_declarations") or ()
        ]
        responses = sum("functionResponse" in part for content in contents for part in content["parts"])
        last = json.dumps([_essence(part) for part in contents[-1]["parts"]], sort_keys=True)
        digest = hashlib.sha256(last.encode()).hexdigest()[:12]
        self.requests.append([len(contents), len(declared), responses, digest])


def _essence(part: Json) -> Any:
    """Say what a part means, whatever a client wraps a result in."""
    response = part.get("functionResponse")
    return part.get("text") if response is None else [response["name"], _output(response["response"])]


def _output(response: Any) -> Any:
    if isinstance(response, dict) and len(response) == 1:
        return next(iter(response.values()))
    return response


# -- replies ---------------------------------------------------------------------------------------------------------


def chunks_for(body: Json) -> tuple[list[Json], Mapping[str, float]]:
    """Make the reply, in chunks, and tell the script that it follows."""
    contents = body["contents"]
    at = next(i for i in range(len(contents) - 1, -1, -1) if _said(contents[i]))
    script = _script(_said(contents[at]))
    outputs = [
        _output(part["functionResponse"]["response"])
        for content in contents[at + 1 :]
        for part in content["parts"]
        if "functionResponse" in part
    ]
    if "stream" in script:
        n = int(script["stream"])
        return [
            _reply([{"text": f"word {i:06d} of them. "}], last=i == n - 1, first=i == 0) for i in range(n)
        ], script
    if "parallel" in script and not outputs:
        tool = body["tools"][0]
        name = (tool.get("functionDeclarations") or tool["function_declarations"])[0]["name"]
        return [_reply([_call(i, name, {"n": i}) for i in range(int(script["parallel"]))])], script
    if len(outputs) < script.get("chain", 0):
        a = outputs[-1] if outputs else 0
        return [_reply([_call(len(contents), "add", {"a": a, "b": 1})])], script
    answer = f"The answer is {(outputs or [0])[-1]}." if "chain" in script else f"Answers: {sorted(outputs)}."
    return [_reply([{"text": answer}])], script


def _said(content: Json) -> str:
    if content.get("role") == "model":
        return ""
    return " ".join(part["text"] for part in content["parts"] if part.get("text"))


def _script(text: str) -> dict[str, float]:
    words = [word.split("=") for word in text.split() if "=" in word]
    return {key: float(value) for key, value in words}


def _call(number: int, name: str, args: Json) -> Json:
    return {"functionCall": {"id": f"call-{number}", "name": name, "args": args}}


def _reply(parts: list[Json], *, last: bool = True, first: bool = True) -> Json:
    if "functionCall" in parts[0]:
        parts[0]["thoughtSignature"] = SIGNATURE
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    reply: Json = {"candidates": [candidate], "modelVersion": "bench", "responseId": "r-1"}
    return reply | ({"usageMetadata": _USAGE} if last or first else {})


# -- HTTP ------------------------------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One client, which sends its requests one after another."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._data = bytearray()
        self._transport: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        came = time.monotonic()
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._data[:end]).decode("latin-1")
        if self._log.first_byte is None and "enerateContent" in head:
            self._log.first_byte = came
        line, *lines = head.split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines)
        length = int(headers.get("content-length", 0))
        if len(self._data) < end + 4 + length:
            return
        body = bytes(self._data[end + 4 : end + 4 + length])
        del self._data[: end + 4 + length]
        self._answer(line.split(" ")[1], body)

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/log":
            self._send({"requests": self._log.requests, "first_byte": self._log.first_byte})
            self._log.requests, self._log.first_byte = [], None
            return None
        asked = json.loads(body)
        self._log.note(asked)
        chunks, script = chunks_for(asked)
        streamed = ":streamGenerateContent" in path
        if not streamed and not script.get("delay"):
            return self._send(chunks[0])
        task = asyncio.ensure_future(self._later(chunks, script, streamed=streamed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None

    async def _later(self, chunks: Sequence[Json], script: Mapping[str, float], *, streamed: bool) -> None:
        await asyncio.sleep(script.get("delay", 0))
        if not streamed:
            return self._send(chunks[0])
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        due = time.monotonic()
        for chunk in chunks:
            event = _EVENT.format(json.dumps(chunk)).encode()
            self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
            due += script.get("gap", 0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self._transport.write(b"0\r\n\r\n")
        return None

    def _send(self, reply: Json) -> None:
        data = json.dumps(reply).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        self._transport.write(head.encode() + data)


async def serve() -> None:
    """Serve until the parent closes our standard input."""
    log = Log()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(log), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
