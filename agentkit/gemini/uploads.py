"""What a model has uploaded: each content once, whoever asks for it at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime
from re import sub
from typing import Any

from agentkit.errors import ModelError
from agentkit.wire.content import JsonObject
from agentkit.wire.files import LocalFile, UploadedFile

_MARGIN = 3600.0
"""Seconds that a file has to be there still to be given once more."""


class Uploads:
    """Remembers uploaded files by what is in them, for as long as the server keeps them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], UploadedFile] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def once(
        self,
        file: LocalFile,
        at: str,
        upload: Callable[[float], Generator[int, None, JsonObject]],
        seconds: float,
    ) -> Generator[int | UploadedFile, None, None]:
        """Yield how many bytes have arrived, and then the file; of one that is there already, that at once.

        It has the name and the path that are given, whatever they were when somebody else uploaded the same.

        Args:
            file: What is to be there.
            at: Where, and by which key.
            upload: Uploads it in so many seconds.
            seconds: How long it may take, the time included for which somebody else is about it.

        Raises:
            ModelError: Somebody else is still about it.
        """
        deadline = time.monotonic() + seconds
        key = (file.sha256(), at)
        with self._lock:
            for over in [other for other, known in [*self._known.items()] if _expires(known)]:
                self._known.pop(over, None)
                self._locks.pop(over, None)
            lock = self._locks.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            raise ModelError(f"The file {file.name!r} was not ready in time.", retryable=True)
        try:
            known = self._known.get(key)
            if known is None or known.uri == file.lost:
                found = yield from upload(max(deadline - time.monotonic(), 0.001))
                known = self._known[key] = uploaded(found, file, key[0], at)
        finally:
            lock.release()
        yield replace(known, name=file.name, path=_path_of(file))


def uploaded(found: JsonObject, file: LocalFile, sha256: str, at: str) -> UploadedFile:
    """Make the record of a file that the server has."""
    kind = found.get("mimeType")
    return UploadedFile(
        uri=found["uri"],
        mime_type=kind if isinstance(kind, str) and kind.isascii() and kind else file.mime_type,
        name=file.name,
        sha256=sha256,
        path=_path_of(file),
        expires=_seconds(found.get("expirationTime")),
        at=at,
    )


def _path_of(file: LocalFile) -> str | None:
    return None if file.path is None else str(file.path.absolute())


def _expires(known: UploadedFile) -> bool:
    return known.expires is not None and known.expires < time.time() + _MARGIN


def _seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(sub(r"\.\d+", "", str(moment)).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
