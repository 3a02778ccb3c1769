"""The command `agentkit` as people start it: in a process of its own, over pipes or at a terminal of a given size."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from fcntl import ioctl
from pathlib import Path
from typing import Self

from tests.helpers.until import PATIENCE

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "agentkit.cli.main"]
_STEERING = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the variables for a command: the person's files lie in `folder`."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
    dropped = ("COLUMNS", "NO_COLOR", "EDITOR", "VISUAL", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {
        **kept,
        "PYTHONPATH": path,
        "AGENTKIT_HOME": str(folder / "home"),
        "TERM": "xterm",
        "PYTHONFAULTHANDLER": "1",
        **more,
    }


def piped(folder: Path, *args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command over pipes, to its end."""
    return subprocess.run(
        [*COMMAND, *args],
        cwd=folder,
        env=environment(folder, **env),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


class Terminal:
    """The command at a terminal.

    Args:
        folder: Where it runs.
        args: Its command line.
        columns: How wide the terminal is.
        env: More variables.
        stdout: Where stdout goes instead of to the terminal.
    """

    def __init__(
        self,
        folder: Path,
        *args: str,
        columns: int = 80,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self._end, other = pty.openpty()
        ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("in_terminal.py")), *COMMAND[1:], *args],
            cwd=folder,
            env=environment(folder, **(env or {})),
            stdin=other,
            stdout=other if stdout is None else stdout,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.raw = ""
        self._seen = 0
        self._seen_raw = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._end)

    @property
    def text(self) -> str:
        """All that was shown, without what steers the terminal."""
        return _STEERING.sub("", self.raw).replace("\r", "")

    def type(self, keys: str) -> None:
        """Press keys."""
        self._seen, self._seen_raw = len(self.text), len(self.raw)
        os.write(self._end, keys.encode())

    def wait_for(self, words: str, *, seconds: float = PATIENCE) -> str:
        """Wait until words are shown that were not there when keys were last pressed; return what was shown since."""
        until = time.monotonic() + seconds
        while words not in self.text[self._seen :]:
            if not self._read(until):
                raise TimeoutError(f"{words!r} was not shown:\n{self.text[self._seen :]}\n{self._stacks()}")
        return self.text[self._seen :]

    def wait_for_prompt(self) -> None:
        """Wait until the chat takes a message: then pastes are marked."""
        until = time.monotonic() + PATIENCE
        while "\x1b[?2004h" not in self.raw[self._seen_raw :]:
            if not self._read(until):
                raise TimeoutError(f"There was no prompt:\n{self.text[self._seen :]}\n{self._stacks()}")

    def end(self, *, seconds: float = PATIENCE) -> int:
        """Wait for the end; return the exit code."""
        until = time.monotonic() + seconds
        while self._read(until):
            pass
        try:
            return self.process.wait(max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"It did not end:\n{self.text}\n{self._stacks()}") from None

    def kill(self) -> None:
        """End the process as a power cut does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _stacks(self) -> str:
        """End the process; return where each of its threads was."""
        shown = len(self.raw)
        self.process.send_signal(signal.SIGABRT)
        until = time.monotonic() + 5
        while self._read(until):
            pass
        return self.raw[shown:]

    def _read(self, until: float) -> bool:
        ready, _, _ = select.select([self._end], [], [], max(0, until - time.monotonic()))
        if not ready:
            return False
        with contextlib.suppress(OSError):
            if data := os.read(self._end, 65536):
                self.raw += data.decode("utf-8", "replace")
                if "\x1b[6n" in data.decode("latin-1"):  # prompt_toolkit asks where the cursor is
                    os.write(self._end, b"\x1b[1;1R")
                return True
        return False
