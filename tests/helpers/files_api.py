"""The Files API of a `GeminiServer`: uploads in pieces, files that are looked at, fail, expire, and belong to a key.

    with GeminiServer(["It shows tea."]) as server:
        server.files = FilesApi(looks=2)
        ...
    assert [file.data for file in server.files.kept] == [...]

A request whose `fileData` names a file that isn't there, isn't ACTIVE, has expired or is another key's is refused with
403, as the server does. `script` goes wrong piece by piece: a status code, or `"reset"` after the piece has arrived.
`faults` go wrong at `start`, `query` and `GET`: a status code, `"silent"`, `"trickle"`, or any other word as the number
of bytes that have arrived. The two that never end do when `released` is set.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

Json = dict[str, Any]


@dataclass
class Kept:
    """A file, whole or not yet."""

    name: str
    key: str
    about: Json
    size: int
    data: bytes = b""
    looks: int = 0
    final: bool = False
    gone: bool = False


class FilesApi:
    """Keeps files.

    Args:
        looks: How often a file is looked at before it is ACTIVE.
        fails: Why it is FAILED then.
        lifetime: Seconds until it expires.
        script: What goes wrong with the pieces, in order: 0 for nothing.
    """

    def __init__(
        self,
        *,
        looks: int = 0,
        fails: str = "",
        lifetime: float = 48 * 3600.0,
        script: Iterable[int | str] = (),
    ) -> None:
        self.faults: dict[str, list[int | str]] = {}
        self.released = threading.Event()
        self.looks = looks
        self.fails = fails
        self.lifetime = lifetime
        self.script = list(script)
        self.place = ""
        """Where pieces are told to go, if not here: clients behind a proxy know better."""
        self.kept: list[Kept] = []
        self.commands: list[str] = []

    def missing(self, body: Json, key: str, base: str) -> str | None:
        """Name a file of a request that this key can't read."""
        known = {f"{base}/v1beta/files/{file.name}" for file in self.kept if self._is_there(file, key)}
        for content in body.get("contents", ()):
            for part in content.get("parts", ()):
                uri = (part.get("fileData") or {}).get("fileUri", "")
                if "/files/" in uri and uri not in known:
                    return str(uri.rpartition("/")[2])
        return None

    def _is_there(self, file: Kept, key: str) -> bool:
        return file.final and not file.gone and file.looks <= 0 and not self.fails and file.key == key

    def answer(self, handler: BaseHTTPRequestHandler, method: str, base: str) -> None:
        """Answer a request for files."""
        key = handler.headers.get("x-goog-api-key") or ""
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        command = "GET" if method == "GET" else handler.headers["X-Goog-Upload-Command"]
        trouble = self.faults[command].pop(0) if self.faults.get(command) else 0
        if trouble in ("silent", "trickle"):
            return self._never_ends(handler, byte=b" " if trouble == "trickle" else b"")
        if isinstance(trouble, int) and trouble:
            return self._send(handler, trouble, {"error": {"code": trouble, "message": "scripted"}})
        if method == "GET":
            found = next(
                (f for f in self.kept if handler.path.endswith(f"/files/{f.name}") and f.key == key), None
            )
            if found is None:
                return self._send(handler, 403, {"error": {"code": 403, "message": "no such File"}})
            found.looks -= 1
            return self._send(handler, 200, self._json(found, base))
        self.commands.append(command)
        if command == "start":
            about = json.loads(raw)["file"]
            size = int(handler.headers["X-Goog-Upload-Header-Content-Length"])
            file = Kept(f"f{len(self.kept)}", key, about, size, looks=self.looks)
            self.kept.append(file)
            place = f"{self.place or base}/upload/v1beta/files?upload_id={file.name}"
            return self._send(
                handler, 200, {}, {"X-Goog-Upload-URL": place, "X-Goog-Upload-Status": "active"}
            )
        file = next(file for file in self.kept if handler.path.endswith(f"upload_id={file.name}"))
        if command == "query":
            status = "final" if file.final else "active"
            received = str(trouble or len(file.data))
            more = {"X-Goog-Upload-Size-Received": received, "X-Goog-Upload-Status": status}
            return self._send(handler, 200, {"file": self._json(file, base)} if file.final else {}, more)
        trouble = self.script.pop(0) if self.script else 0
        if isinstance(trouble, int) and trouble:
            return self._send(handler, trouble, {"error": {"code": trouble, "message": "scripted"}})
        assert int(handler.headers["X-Goog-Upload-Offset"]) == len(file.data)
        file.data += raw
        if "finalize" in command:
            assert len(file.data) == file.size
            file.final = True
        if trouble == "reset":
            handler.close_connection = True
            handler.connection.close()
            return None
        ended = {"X-Goog-Upload-Status": "final" if file.final else "active"}
        return self._send(handler, 200, {"file": self._json(file, base)} if file.final else {}, ended)

    def _never_ends(self, handler: BaseHTTPRequestHandler, byte: bytes) -> None:
        handler.close_connection = True
        if byte:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        with suppress(OSError):
            while not self.released.wait(0.01):
                handler.wfile.write(byte)

    def _json(self, file: Kept, base: str) -> Json:
        expires = datetime.fromtimestamp(time.time() + self.lifetime, UTC).strftime(
            "%Y-%m-%dT%H:%M:%S.123456789Z"
        )
        made = {
            "name": f"files/{file.name}",
            "uri": f"{base}/v1beta/files/{file.name}",
            "mimeType": file.about.get("mime_type") or file.about.get("mimeType"),
            "expirationTime": expires,
            "state": "PROCESSING" if file.looks > 0 else "FAILED" if self.fails else "ACTIVE",
        }
        return {**made, "error": {"message": self.fails}} if made["state"] == "FAILED" else made

    def _send(
        self, handler: BaseHTTPRequestHandler, code: int, body: Json, headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode()
        handler.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
