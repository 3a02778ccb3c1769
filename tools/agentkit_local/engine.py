"""The embedded model's engine in a process of its own: the parent's end of the pipe.

The engine is native code that crashes when two threads call it and hangs after a fork, so no user's process
loads it. `child` is the other end.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("child.py")
_INHERITED = (
    *("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"),
    *("SYSTEMROOT", "WINDIR", "TEMP", "TMP"),
)
"""All that the child gets of the environment: no key and no proxy is among it."""
_QUIET = {"NEEDLE_TELEMETRY": "0", "DO_NOT_TRACK": "1"}


class EngineError(Exception):
    """The engine gave no answer.

    Attributes:
        lost: Whether the child is gone; the next request starts a new one.
    """

    def __init__(self, message: str, *, lost: bool) -> None:
        super().__init__(message)
        self.lost = lost


class Engine:
    """The parent's end: a queue of requests, a thread that carries them, and the child.

    The child starts with the first request, unless it is told to start before. Requests are answered one at a
    time, in order. A child that ends is replaced at the next request. The child ends with the engine object
    and with the process, however that one ends.
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

    def start(self) -> None:
        """Start the child, which loads the engine while the caller goes on.

        It waits for nothing and raises nothing: if the child can't be started, the next request tells why.
        """
        self._open_line().start()

    def read(self, tools: Mapping[str, Any]) -> None:
        """Start the child, and have it read a request's tools before there is a request, if these are the first.

        Nothing waits for it. A request that comes before it has begun takes its place.
        """
        line = self._open_line()
        line.start()
        line.read(_encode({**tools, "turns": []}))

    def submit(self, request: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """Queue a request; the future gives the engine's reply or raises `EngineError`.

        Cancelling the future of a request that hasn't begun takes it out of the queue.
        """
        return self._open_line().submit(_encode(request))

    def abandon(self, future: Future[dict[str, Any]]) -> None:
        """Give up on a request: out of the queue with it or, if the engine is at it, an end to the child."""
        if not future.cancel():
            self._line.kill(future)

    def close(self) -> None:
        """End the child. A later request starts a new one."""
        self._finalizer()

    def _open_line(self) -> _Line:
        if self._line.ended:
            self._renew()
        return self._line

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
        self._queue: queue.SimpleQueue[tuple[bytes, Future[dict[str, Any]] | None] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.RLock()  # a garbage collection inside a locked section may end the line
        self._thread: threading.Thread | None = None
        self._running: Future[dict[str, Any]] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = False

    def start(self) -> None:
        with suppress(EngineError):
            self._child()

    def read(self, tools: bytes) -> None:
        with self._lock:
            if self._thread is None:  # nothing was asked or read yet
                self._put(tools, None)

    def submit(self, line: bytes) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        self._put(line, future)
        return future

    def _put(self, line: bytes, future: Future[dict[str, Any]] | None) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon: a request under way at the end of the program doesn't hold it.
                self._thread = threading.Thread(target=self._work, name="agentkit-local", daemon=True)
                self._thread.start()
            self._queue.put((line, future))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            line, future = item
            if future is None:
                with suppress(EngineError, OSError):  # the next request tells
                    _send(self._child(), line)
                continue
            if not future.set_running_or_notify_cancel():
                continue
            try:
                reply = self._ask(line, future)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(reply)
            del item, future  # an idle thread holds nothing of the last caller's

    def _child(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.ended:
                raise EngineError("was closed", lost=True)
            if self.process is None or self.process.poll() is not None:
                _reap(self.process)
                self.process = _start(*self._command)
            return self.process

    def _ask(self, line: bytes, future: Future[dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            process, self._running = self._child(), future
        try:
            _send(process, line)
            reply: dict[str, Any] = json.loads(_receive(process))
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
            with suppress(RuntimeError):  # a Ctrl-C came before it had begun
                thread.join(5)
        _reap(self.process)

    def disown(self) -> None:
        process = self.process
        if process is not None:
            process.returncode = 0  # not ours to wait for
            _close_pipes(process)


def _start(library: str, weights: str) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _QUIET
    program = [sys.executable, "-I", "-S", str(_PROGRAM), library, weights, str(os.getpid())]
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


def _encode(request: Mapping[str, Any]) -> bytes:
    return json.dumps(request).encode() + b"\n"


# Unbuffered, by file descriptor: a buffer has a lock, which a fork would leave locked for ever.


def _send(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    while line:
        line = line[os.write(process.stdin.fileno(), line) :]


def _receive(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
