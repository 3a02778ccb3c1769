"""The Files API of the Gemini API: a file is uploaded in pieces, and waited for until it can be used (rule 23).

The protocol: https://ai.google.dev/gemini-api/docs/files and google-genai's `files.upload`, which says nothing on its
way and begins anew after a broken connection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping
from typing import BinaryIO, Final

import httpx2

from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.faults import Faults, parse_body
from agentkit.gemini.times import Clock
from agentkit.wire.content import JsonObject
from agentkit.wire.files import LocalFile

PIECE: Final = 4 << 20
"""Bytes of a request; a multiple of 256 KiB."""
SILENCE: Final = 120.0
"""Seconds of silence after which a request is given up. An answer that has begun may take as long in all."""
_TRIES: Final = 4
_PAUSES: Final = (0.2, 5.0)
"""Seconds between two looks at a file that is being processed: at first, and at most."""


class Api:
    """Sends plain requests, one after another, until a deadline.

    Args:
        client: Sends the requests.
        url: Where things are: `https://.../v1beta/files`.
        headers: What signs a request.
        faults: Makes errors of what goes wrong.
        deadline: When to give up, by `time.monotonic`.
    """

    def __init__(
        self, client: httpx2.Client, url: httpx2.URL, headers: dict[str, str], faults: Faults, deadline: float
    ) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._faults = faults
        self._deadline = deadline

    def get(self, url: httpx2.URL) -> JsonObject:
        """Get a JSON object. Raises ModelError."""
        return self._json(self._ask("GET", url, self._headers, None)[1])

    def _ask(
        self, method: str, url: httpx2.URL, headers: dict[str, str], body: bytes | None
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request; return headers and body of the answer. Raises ModelError."""
        left = min(self._deadline - time.monotonic(), SILENCE)
        if left <= 0:
            raise self._faults.timed_out(None)
        times = httpx2.Timeout(left, connect=min(left, 10))
        with (
            self._faults.mapped(Clock.of(left)),
            self._client.stream(method, url, headers=headers, content=body, timeout=times) as answer,
        ):
            said, until = b"", min(self._deadline, time.monotonic() + SILENCE)
            for piece in answer.iter_bytes():
                said += piece
                if time.monotonic() > until:
                    raise TimeoutError
        if answer.status_code >= 300:
            raise self._faults.of_reply(answer.status_code, parse_body(said), answer.headers)
        return answer.headers, said

    def _json(self, said: bytes) -> JsonObject:
        body = parse_body(said)
        if not isinstance(body, dict):
            raise self._faults.malformed("not a JSON object")
        return body


class FilesApi(Api):
    """Uploads files; see `Api`."""

    def upload(self, file: LocalFile) -> Generator[int, None, JsonObject]:
        """Upload a file; yield how many bytes have arrived, and return what the server says of it.

        Raises:
            ModelError: It can't be uploaded, or not be used; nothing came in time.
            OSError: It can't be read.
        """
        session, sent, said, failures, lost = self._begin(file), 0, None, 0, False
        with file.open() as data:
            while said is None:
                yield sent
                try:
                    if lost:
                        sent, said = self._arrived(session, file)
                        lost = False
                    else:
                        sent, said = self._send_piece(session, file, data, sent)
                        failures = 0
                except ModelError as error:
                    failures += 1
                    if failures == _TRIES or not error.retryable:
                        raise
                    lost = True
                    time.sleep(_PAUSES[0])
        found = self._json(said).get("file")
        if not isinstance(found, dict):
            raise self._faults.malformed("it tells of no file that was uploaded")

        def look(name: str) -> JsonObject:
            with self._faults.mapped():
                url = self._url.copy_with(path=f"{self._url.path}/{name.rpartition('/')[2]}")
            return self.get(url)

        return (yield from wait_for(found, file, look, self._deadline))

    def _begin(self, file: LocalFile) -> httpx2.URL:
        url = self._url.copy_with(raw_path=b"/upload" + self._url.raw_path)
        if not self._url.raw_path.startswith(b"/v1"):  # below a path of a proxy's
            head, version, rest = self._url.path.rpartition("/v1")
            url = self._url.copy_with(path=f"{head}/upload{version}{rest}")
        headers = {
            **self._headers,
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(file.size),
            "x-goog-upload-header-content-type": file.mime_type,
            "content-type": "application/json",
        }
        about = {"file": {"display_name": file.name, "mime_type": file.mime_type, "size_bytes": file.size}}
        told, _ = self._ask("POST", url, headers, json.dumps(about).encode())
        session = told.get("x-goog-upload-url")
        if not session:
            raise self._faults.malformed("there is no x-goog-upload-url to upload a file to")
        with self._faults.mapped():
            # Through the same door as everything else, where that is a proxy.
            return httpx2.URL(session).copy_with(
                scheme=self._url.scheme, host=self._url.host, port=self._url.port
            )

    def _send_piece(
        self, session: httpx2.URL, file: LocalFile, data: BinaryIO, at: int
    ) -> tuple[int, bytes | None]:
        """Send the next piece; return how many bytes have arrived, and what the server says if that is all."""
        data.seek(at)
        piece = data.read(min(PIECE, file.size - at))
        end = at + len(piece)
        if len(piece) < PIECE and end < file.size:
            raise ConfigurationError(f"The file {file.name!r} became shorter while it was uploaded.")
        last = end == file.size
        _, said = self._send(session, "upload, finalize" if last else "upload", at, piece)
        return end, said if last else None

    def _arrived(self, session: httpx2.URL, file: LocalFile) -> tuple[int, bytes | None]:
        """Ask how many bytes have arrived, and return what `_send_piece` does."""
        told, said = self._send(session, "query")
        if told.get("x-goog-upload-status") == "final":
            return file.size, said
        received = told.get("x-goog-upload-size-received") or "0"
        if not (received.isascii() and received.isdigit() and int(received) <= file.size):
            raise self._faults.malformed(f"it has received {received!r:.50} of {file.size} bytes")
        return int(received), None

    def _send(
        self, session: httpx2.URL, command: str, at: int = 0, piece: bytes = b""
    ) -> tuple[Mapping[str, str], bytes]:
        headers = {"x-goog-upload-command": command}
        if command != "query":
            headers["x-goog-upload-offset"] = str(at)
        return self._ask("POST", session, headers, piece)


def wait_for(
    found: JsonObject, file: LocalFile, look: Callable[[str], JsonObject], deadline: float
) -> Generator[int, None, JsonObject]:
    """Wait until the server can use a file, whose size is yielded meanwhile; return what it says of it.

    Args:
        found: What it has said.
        file: What was uploaded.
        look: Asks about a file by its name; transient failures are met.
        deadline: When to give up, by `time.monotonic`.

    Raises:
        ModelError: The server can't use it, or not in time.
    """
    pause, most = _PAUSES
    failures = 0
    while found.get("state") == "PROCESSING":
        yield file.size
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        if time.monotonic() >= deadline:  # not before: whoever waits has no time left either
            raise ModelError(f"The file {file.name!r} was not ready in time.", retryable=True)
        pause = min(pause * 1.5, most)
        try:
            found, failures = look(str(found.get("name", ""))), 0
        except ModelError as error:
            failures += 1
            if failures == _TRIES or not error.retryable:
                raise
    check_state(found, file)
    return found


def check_state(found: JsonObject, file: LocalFile) -> None:
    """Refuse a file that the server couldn't make use of.

    Raises:
        ModelError: It says so.
    """
    uri = found.get("uri")
    if found.get("state") == "FAILED" or not (uri and isinstance(uri, str)):
        error = found.get("error")
        why = error.get("message") if isinstance(error, dict) else None
        raise ModelError(
            f"The server can't use the file {file.name!r} ({file.mime_type}): {why or 'FAILED'}."
        )
