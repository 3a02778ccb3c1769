"""What both drivers know: when the time of the run is up, and which calls still run and until when."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from agentkit.core.effects import CallDone
from agentkit.errors import ToolTimeout
from agentkit.tooling.caller import Caller
from agentkit.tooling.invoke import Invocation

_LOOK_AGAIN_SECONDS = 0.05
"""How long whoever waits for a call waits at least while the time stands still."""


class Clock:
    """The time of a run, by its caller's; without `seconds` it has no end."""

    def __init__(self, seconds: float | None, caller: Caller) -> None:
        self.deadline: float | None = None
        self.caller = caller
        if seconds is not None:
            self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Let the time end so many seconds from now."""
        self.deadline = self.caller.now() + seconds

    def left(self) -> float | None:
        """Return the seconds that are left, or None without an end."""
        return None if self.deadline is None else self.deadline - self.caller.now()

    def expired(self) -> bool:
        """Return whether the time is up."""
        return self.deadline is not None and self.caller.now() >= self.deadline


class Batch:
    """Calls that run at the same time, by their position."""

    def __init__(self, invocations: Sequence[Invocation], tool_timeout: float | None, caller: Caller) -> None:
        self.invocations = invocations
        self.caller = caller
        self._tool_timeout = tool_timeout
        self.waiting: dict[int, float] = {}
        """Since when each runs."""
        self._until: dict[int, float] = {}
        """When the time is up of those that have some."""
        self._in_time: set[int] = set()

    def begin(self, position: int) -> None:
        """Count a call as running, from now on."""
        timeout = self._timeout(position)
        self.waiting[position] = time.monotonic()
        if timeout is not None and timeout < math.inf and not self.asks(position):
            self._until[position] = self.caller.now() + timeout

    def asks(self, position: int) -> Caller | None:
        """Return where a call asks a person, if it does."""
        tool = self.invocations[position].tool
        return self.caller if tool is not None and tool.interactive else None

    def note_done(self, position: int, *, done: bool = True) -> None:
        """Note, from any thread, that a call has ended, though its result may be read later; or goes on after all."""
        if not done:
            self._in_time.discard(position)
        elif self.caller.now() < self._until.get(position, float("inf")):
            self._in_time.add(position)

    def seconds_left(self, clock: Clock) -> float | None:
        """Return how long to wait at most: until the first call's time is up, or that of the run."""
        ends = [*self._until.values()]
        if clock.deadline is not None:
            ends.append(clock.deadline)
        if not ends:
            return None
        return max(_LOOK_AGAIN_SECONDS if self.caller.is_asking else 0.0, min(ends) - self.caller.now())

    def finish(self, position: int, value: Any, error: BaseException | None) -> CallDone | None:
        """Take what came of a call; None is made of one that was left behind before."""
        began = self.waiting.pop(position, None)
        if began is None:
            return None
        self._until.pop(position, None)
        return CallDone(position, value, error, time.monotonic() - began)

    def expire(self) -> CallDone | None:
        """Give up the first call whose time is up, if there is one."""
        if not self._until:
            return None
        now = self.caller.now()
        for position, until in self._until.items():
            if now >= until and position not in self._in_time:
                name = self.invocations[position].context.tool_name
                error = ToolTimeout(f"Tool {name!r} was not done after {self._timeout(position):g} s.")
                return self.finish(position, None, error)
        return None

    def _timeout(self, position: int) -> float | None:
        tool = self.invocations[position].tool
        return self._tool_timeout if tool is None or tool.timeout is None else tool.timeout
