"""What is on the other end of the standard streams, and how to write there without a crash."""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Self, TextIO

from agentkit.chats.plain_text import inert


def prepare_streams() -> None:
    """Let no character that a stream's encoding lacks end the program."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if sys.stdin is not None and hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")


def say(text: str) -> None:
    """Write a line for the person to stderr: stdout is for answers alone."""
    if sys.stderr is not None:
        print(inert(text), file=sys.stderr, flush=True)


def put(text: str, out: TextIO | None = None, *, end: str = "\n") -> None:
    """Write to stdout: to a terminal what can't steer it, else what was said, as it was said."""
    stream = sys.stdout if out is None else out
    if stream is not None:
        stream.write((inert(text) if is_terminal(stream) else text) + end)
        stream.flush()


def read_line() -> str:
    """Read a line of stdin; return "" at its end. At a terminal one Ctrl-C always ends it.

    A signal that comes in the moment before a blocking read is only seen by Python when that read is over.
    """
    if sys.stdin is None:
        return ""
    if is_terminal(sys.stdin):
        with suppress(OSError, ValueError):  # a console of Windows can't be asked
            while not select.select([sys.stdin], [], [], 0.5)[0]:
                pass
    return sys.stdin.readline()


@contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Keep stdout for answers: what the user's code prints meanwhile goes to stderr."""
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        yield out


class CtrlC:
    """Has Ctrl-C end what is under way and never the program: where nothing is, it does nothing."""

    def __init__(self) -> None:
        self._ends = False
        self._last = 0.0

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._pressed) if in_main_thread() else None
        return self

    def __exit__(self, *_: object) -> None:
        if in_main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _pressed(self, *_: object) -> None:
        """Raise KeyboardInterrupt; several quick ones are one."""
        now = time.monotonic()
        if self._ends and now - self._last > 0.5:
            self._last = now
            raise KeyboardInterrupt

    @contextmanager
    def ends_this(self) -> Iterator[None]:
        """Let it end what is done inside, by a KeyboardInterrupt."""
        before, self._ends = self._ends, True
        try:
            yield
        finally:
            self._ends = before


def in_main_thread() -> bool:
    """Return whether this thread is the one that signals reach."""
    return threading.current_thread() is threading.main_thread()


class LogLines(logging.Handler):
    """Writes what agentkit logs as lines: of a tool's exception what and where, or with `full` the traceback."""

    def __init__(self, *, full: bool = False) -> None:
        super().__init__(logging.INFO if full else logging.WARNING)
        self.full = full

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or several with a traceback."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            say(f"  {record.getMessage()}")
        elif self.full:
            say("".join(traceback.format_exception(error)).rstrip())
        else:
            say(f"  {where(error)}")


def log_to_stderr(*, full: bool) -> None:
    """Write what agentkit logs to stderr, without control characters."""
    logger = logging.getLogger("agentkit")
    logger.handlers = [each for each in logger.handlers if not isinstance(each, LogLines)]
    logger.addHandler(LogLines(full=full))
    logger.propagate = False


def where(error: BaseException) -> str:
    """Say what was raised, and in which line of the user's code."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename]
    named = len(frames) > 1 and not isinstance(error, SyntaxError)  # which says itself where it is
    place = f" (line {frames[-1].lineno} of {frames[-1].filename})" if named else ""
    return f"{type(error).__name__}: {error}{place}"


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person looks at a stream, or types into it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def can_ask() -> bool:
    """Return whether there is a person to ask: both to read the question and to answer it."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def is_piped(stream: TextIO | None) -> bool:
    """Return whether a stream is a pipe or a file: then it has an end, and something to read."""
    try:
        mode = os.fstat(stream.fileno()).st_mode if stream is not None else 0
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def counted(number: int, what: str) -> str:
    """Write a number of things: `1 tool`, `2 tools`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def width() -> int:
    """Return the columns of the terminal; 80 where there is none."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def line_width() -> int:
    """Return how long a line of a list may be: as the terminal is wide; for another program it is all there."""
    return width() if os.isatty(1) or "COLUMNS" in os.environ else 100_000
