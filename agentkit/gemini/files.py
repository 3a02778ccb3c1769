"""The Files API of the Gemini API: a file is uploaded in pieces, and waited for until it can be used (rule 23).

The protocol: https://ai.google.dev/gemini-api/docs/files and google-genai's `files.upload`, which says nothing on its
way and begins anew after a broken connection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import Final

import httpx2

from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.faults import Faults, parse_body
from agentkit.gemini.times import Clock
from agentkit.wire.content import JsonObject
from agentkit.wire.files import LocalFile

PIECE: Final = 4 << 20
"""Bytes of a request; a multiple of 256 KiB."""
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
        return self._json(self._ask("GET", url, self._headers, None))

    def _ask(
        self, method: str, url: httpx2.URL, headers: dict[str, str], body: bytes | None
    ) -> httpx2.Response:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._faults.timed_out(None)
        with self._faults.mapped(Clock.of(left)):
            answer = self._client.request(
                method,
                url,
                headers=headers,
                content=body,
                timeout=httpx2.Timeout(left, connect=min(left, 10)),
            )
        if answer.status_code >= 300:
            raise self._faults.of_reply(answer.status_code, parse_body(answer.content), answer.headers)
        return answer

    def _json(self, answer: httpx2.Response) -> JsonObject:
        body = parse_body(answer.content)
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
        session, sent, failures = self._begin(file), 0, 0
        with file.open() as data:
            while True:
                yield sent
                data.seek(sent)
                piece = data.read(PIECE)
                if sent + len(piece) < file.size and len(piece) < PIECE:
                    raise ConfigurationError(f"The file {file.name!r} became shorter while it was uploaded.")
                last = sent + len(piece) >= file.size
                try:
                    answer = self._send(session, "upload, finalize" if last else "upload", sent, piece)
                except ModelError as error:
                    failures += 1
                    if failures == _TRIES or not error.retryable:
                        raise
                    answer = self._send(session, "query")
                    if answer.headers.get("x-goog-upload-status") != "final":
                        sent = int(answer.headers.get("x-goog-upload-size-received") or 0)
                        continue
                    last = True
                else:
                    failures = 0
                sent += len(piece)
                if last:
                    break
        return (yield from self._wait(self._file_in(answer), file))

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
        answer = self._ask("POST", url, headers, json.dumps(about).encode())
        session = answer.headers.get("x-goog-upload-url")
        if not session:
            raise self._faults.malformed("there is no x-goog-upload-url to upload a file to")
        # Through the same door as everything else, where that is a proxy.
        return httpx2.URL(session).copy_with(
            scheme=self._url.scheme, host=self._url.host, port=self._url.port
        )

    def _send(self, session: httpx2.URL, command: str, at: int = 0, piece: bytes = b"") -> httpx2.Response:
        headers = {"x-goog-upload-command": command}
        if command != "query":
            headers["x-goog-upload-offset"] = str(at)
        return self._ask("POST", session, headers, piece)

    def _wait(self, found: JsonObject, file: LocalFile) -> Generator[int, None, JsonObject]:
        pause, most = _PAUSES
        while found.get("state") == "PROCESSING":
            yield file.size
            if time.monotonic() + pause > self._deadline:
                raise ModelError(f"The file {file.name!r} was not ready in time.", retryable=True)
            time.sleep(pause)
            pause = min(pause * 1.5, most)
            name = str(found.get("name", "")).rpartition("/")[2]
            at = self._url.copy_with(path=f"{self._url.path}/{name}")
            found = self.get(at)
        check_state(found, file)
        return found

    def _file_in(self, answer: httpx2.Response) -> JsonObject:
        found = self._json(answer).get("file")
        if not isinstance(found, dict):
            raise self._faults.malformed("it tells of no file that was uploaded")
        return found


def check_state(found: JsonObject, file: LocalFile) -> None:
    """Refuse a file that the server couldn't make use of.

    Raises:
        ModelError: It says so.
    """
    if found.get("state") == "FAILED" or not found.get("uri"):
        error = found.get("error")
        why = error.get("message") if isinstance(error, dict) else None
        raise ModelError(
            f"The server can't use the file {file.name!r} ({file.mime_type}): {why or 'FAILED'}."
        )
