"""The embedded model's engine in a process of its own: both ends of the pipe.

The engine is native code that crashes when two threads call it and hangs after a fork, so no user's process
loads it. Run as a program, this file is the child: it loads the engine with ctypes and answers JSON lines.
It needs nothing but the standard library, and never imports the package `needle`, which sends telemetry.
Imported, it offers `Engine`, the parent's end.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

_INHERITED = (
    *("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"),
    *("SYSTEMROOT", "WINDIR", "TEMP", "TMP"),
)
"""All that the child gets of the environment: no key and no proxy is among it."""
_QUIET = {"NEEDLE_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
_REPLY_BYTES = 1 << 18


class EngineError(Exception):
    """The engine gave no answer.

    Attributes:
        lost: Whether the child is gone; the next request starts a new one.
    """

    def __init__(self, message: str, *, lost: bool) -> None:
        super().__init__(message)
        self.lost = lost


class Engine:
    """The parent's end: a queue of requests, a thread that carries them, and the child, started on first use.

    Requests are answered one at a time, in order. A child that ends is replaced at the next request. The
    child ends with the engine object and with the process, however that one ends.
    """

    def __init__(self, library: Path, weights: Path) -> None:
        self._command = (str(library), str(weights))
        self._line = _Line(self._command)
        self._finalizer = weakref.finalize(self, _Line.end, self._line)
        _ENGINES.add(self)

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while there is none."""
        process = self._line.process
        return None if process is None else process.pid

    def submit(self, request: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """Queue a request; the future gives the engine's reply or raises `EngineError`.

        Cancelling the future of a request that hasn't begun takes it out of the queue.
        """
        if self._line.ended:
            self._renew()
        return self._line.submit(json.dumps(request).encode() + b"\n")

    def abandon(self, future: Future[dict[str, Any]]) -> None:
        """Give up on a request: out of the queue with it or, if the engine is at it, an end to the child."""
        if not future.cancel():
            self._line.kill(future)

    def close(self) -> None:
        """End the child. A later request starts a new one."""
        self._finalizer()

    def _renew(self) -> None:
        self._line = _Line(self._command)
        self._finalizer = weakref.finalize(self, _Line.end, self._line)

    def _after_fork(self) -> None:
        # The child belongs to the parent of the fork: nothing is sent to it, nothing of it is ended.
        self._finalizer.detach()
        self._line.disown()
        self._renew()


class _Line:
    """One queue, the thread that empties it, and its child. Holds no reference to the engine object."""

    def __init__(self, command: tuple[str, str]) -> None:
        self._command = command
        self._queue: queue.SimpleQueue[tuple[bytes, Future[dict[str, Any]]] | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # a garbage collection inside a locked section may end the line
        self._thread: threading.Thread | None = None
        self._running: Future[dict[str, Any]] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = False

    def submit(self, line: bytes) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._thread is None:
                # A daemon: a request under way at the end of the program doesn't hold it.
                self._thread = threading.Thread(target=self._work, name="agentkit-local", daemon=True)
                self._thread.start()
            self._queue.put((line, future))
        return future

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            line, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                reply = self._ask(line, future)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(reply)
            del item, future  # an idle thread holds nothing of the last caller's

    def _ask(self, line: bytes, future: Future[dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            if self.ended:
                raise EngineError("was closed", lost=True)
            if self.process is None or self.process.poll() is not None:
                _reap(self.process)
                self.process = _start(*self._command)
            process, self._running = self.process, future
        try:
            reply: dict[str, Any] = json.loads(_exchange(process, line))
        except (OSError, ValueError):
            process.kill()
            code = process.wait()
            raise EngineError(f"ended unexpectedly (exit code {code})", lost=True) from None
        finally:
            with self._lock:
                self._running = None
        if "failure" in reply:
            raise EngineError(reply["failure"], lost=False)
        return reply

    def kill(self, future: Future[dict[str, Any]]) -> None:
        with self._lock:
            if self._running is future and self.process is not None:
                self.process.kill()

    def end(self) -> None:
        with self._lock:
            self.ended = True
            self._queue.put(None)
            if self.process is not None:
                self.process.kill()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)
        _reap(self.process)

    def disown(self) -> None:
        process = self.process
        if process is not None:
            process.returncode = 0  # not ours to wait for
            _close_pipes(process)


def _start(library: str, weights: str) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _QUIET
    program = [sys.executable, "-I", "-S", __file__, library, weights, str(os.getpid())]
    # A session of its own: Ctrl-C ends the answer, not the engine.
    own_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(
        subprocess, "CREATE_NO_WINDOW", 0
    )
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,
            creationflags=own_group,
        )
    except OSError as error:
        raise EngineError(f"can't be started: {error}", lost=True) from error


def _exchange(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    # Unbuffered, by file descriptor: a buffer has a lock, which a fork would leave locked for ever.
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - for the type checker
    while line:
        line = line[os.write(process.stdin.fileno(), line) :]
    answer = b""
    while not answer.endswith(b"\n"):
        chunk = os.read(process.stdout.fileno(), 1 << 16)
        if not chunk:
            break
        answer += chunk
    return answer


def _reap(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()
        _close_pipes(process)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_ENGINES):
        engine._after_fork()


if hasattr(os, "register_at_fork") and __name__ != "__main__":
    os.register_at_fork(after_in_child=_after_fork)


# --- the child ----------------------------------------------------------------------------------------------


class _Native:  # pragma: no cover - runs in the child, where no coverage tool is; tests talk to it by pipe
    """The engine's library, loaded."""

    def __init__(self, library: str, weights: str) -> None:
        self._lib = lib = ctypes.CDLL(library)
        lib.needle_load.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
        lib.needle_init.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
        lib.needle_complete.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        lib.needle_last_error.restype = ctypes.c_char_p
        self._data = Path(weights).read_bytes()  # the engine reads it in place
        self._buffer = ctypes.create_string_buffer(_REPLY_BYTES)
        if lib.needle_load(self._data, len(self._data)) < 0:
            raise RuntimeError(f"can't load its weights: {self._error()}")

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        # Initialising starts a new session; the engine keeps the toolset it read last, so the same again is free.
        prefix = self._lib.needle_init(request["system"].encode(), request["tools"].encode(), None)
        if prefix < 0:
            raise RuntimeError(f"refused the tools: {self._error()}")
        for turn in request["turns"]:
            made = self._lib.needle_complete(turn.encode(), request["max_tokens"], self._buffer, _REPLY_BYTES)
            if made < 0:
                raise RuntimeError(f"refused the request: {self._error()}")
        text = self._buffer.value.decode("utf-8", "replace")
        return {"reply": json.loads(text), "prefix_tokens": prefix, "tokens": made}

    def _error(self) -> str:
        detail = self._lib.needle_last_error() or self._buffer.value
        return detail.decode("utf-8", "replace") or "no reason given"


def _serve(library: str, weights: str, parent: int) -> None:  # pragma: no cover - as above
    """Answer requests until the parent is gone; then end at once, even in the middle of one."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever the library prints is no reply
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

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
    while True:
        request = json.loads(lines.get())
        try:
            native = native or _Native(library, weights)
            reply = native.answer(request)
        except (RuntimeError, OSError, ValueError) as error:
            reply = {"failure": str(error)}
        out.write(json.dumps(reply).encode() + b"\n")
        out.flush()


if __name__ == "__main__":  # pragma: no cover - as above
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
