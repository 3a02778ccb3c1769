"""The child process of the embedded model: loads the native engine with ctypes and answers JSON lines.

Run as a program by `engine`, which has the other end of the pipe. It needs nothing but the standard
library, and little of that, so that it starts at once; and never imports the package `needle`, which sends
telemetry.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

_REPLY_BYTES = 1 << 18


class _Native:  # pragma: no cover - runs in the child, where no coverage tool is; tests talk to it by pipe
    """The engine's library, loaded."""

    def __init__(self, library: str, weights: str) -> None:
        self._lib = lib = ctypes.CDLL(library)
        lib.needle_load.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
        lib.needle_init.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
        lib.needle_complete.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        lib.needle_last_error.restype = ctypes.c_char_p
        with open(weights, "rb") as file:  # noqa: PTH123 - pathlib would take as long to import as the rest
            self._data = file.read()  # the engine reads it in place
        self._buffer = ctypes.create_string_buffer(_REPLY_BYTES)
        if lib.needle_load(self._data, len(self._data)) < 0:
            raise RuntimeError(f"can't load its weights: {self._error()}")
        with suppress(OSError):
            _keep_apart()

    def read(self, request: dict[str, Any]) -> int:
        """Begin a session with the tools; return their tokens.

        The engine keeps the toolset that it read last, so the same again is free.
        """
        prefix: int = self._lib.needle_init(request["system"].encode(), request["tools"].encode(), None)
        if prefix < 0:
            raise RuntimeError(f"refused the tools: {self._error()}")
        return prefix

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        prefix = self.read(request)
        for turn in request["turns"]:
            made = self._lib.needle_complete(turn.encode(), request["max_tokens"], self._buffer, _REPLY_BYTES)
            if made < 0:
                raise RuntimeError(f"refused the request: {self._error()}")
        text = self._buffer.value.decode("utf-8", "replace")
        return {"reply": json.loads(text), "prefix_tokens": prefix, "tokens": made}

    def _error(self) -> str:
        detail = self._lib.needle_last_error() or self._buffer.value
        return detail.decode("utf-8", "replace") or "no reason given"


def _keep_apart() -> None:  # pragma: no cover - as above
    """Keep this thread off the CPUs that the engine has bound its own threads to, where any are left.

    All of them spin while they wait for each other: two on one CPU take ten times as long.
    """
    if sys.platform == "linux":
        ours = os.sched_getaffinity(0)
        others = [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]  # noqa: PTH208 - as above
        left = ours.difference(*(cpus for cpus in others if cpus != ours))
        if left:
            os.sched_setaffinity(0, left)


def next_request(lines: SimpleQueue[bytes]) -> dict[str, Any]:
    """Wait for a request; one without turns, tools to read ahead, is passed over if another one waits."""
    while True:
        request: dict[str, Any] = json.loads(lines.get())
        if request["turns"] or lines.empty():
            return request


def _serve(library: str, weights: str, parent: int) -> None:  # pragma: no cover - as above
    """Answer requests until the parent is gone; then end at once, even in the middle of one."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever the library prints isn't a reply
    lines: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    def watch() -> None:
        # A fork of the parent may hold the pipe open, so the end of input alone isn't enough.
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()
    native: _Native | None = None
    failures = (RuntimeError, OSError, ValueError)
    with suppress(*failures):  # the first request tells what is wrong
        native = _Native(library, weights)
    while True:
        request = next_request(lines)
        try:
            native = native or _Native(library, weights)
            if not request["turns"]:  # nobody waits for a reply
                native.read(request)
                continue
            reply = native.answer(request)
        except failures as error:
            reply = {"failure": str(error)}
        if request["turns"]:
            out.write(json.dumps(reply).encode() + b"\n")
            out.flush()


if __name__ == "__main__":  # pragma: no cover - as above
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
