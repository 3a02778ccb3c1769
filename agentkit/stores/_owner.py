"""Which process holds something, and whether it is still there."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")  # Linux has it


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from one that gets its number later."""

    host: str
    """Where its number means something: this machine since it started, and on Linux this pid namespace."""
    pid: int
    started: str
    """When it started, as the system puts it; empty where that can't be known."""

    @classmethod
    def current(cls) -> Owner:
        """Describe this process."""
        return _current(os.getpid())

    def alive(self) -> bool | None:
        """Return whether the process still runs; None is not known."""
        if self.host != Owner.current().host or sys.platform == "win32":  # there, os.kill would end it
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # another user's: it is there
        if not self.started:
            return None
        now = _started(self.pid)
        return now == self.started if now else None


@lru_cache(maxsize=1)
def _current(pid: int) -> Owner:
    return Owner(_host(), pid, _started(pid))


if hasattr(os, "register_at_fork"):  # a child may have the number that its parent had elsewhere
    os.register_at_fork(after_in_child=_current.cache_clear)


def _host() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str:
    """Read the start time, in ticks since the system's; "ended" for a process that only waits to be buried."""
    try:
        # The name of the program, in parentheses, may have anything in it.
        state, *fields = (_PROC / f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "ended" if state in "ZX" else fields[18]
