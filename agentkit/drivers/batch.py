"""What both drivers know of the calls under way: which still run, until when, and what has come of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from agentkit.core.calls import finished
from agentkit.errors import ToolTimeout
from agentkit.events import ToolFinished
from agentkit.tooling.invoke import Invocation, Outcome, fail, succeed


class Batch:
    """Calls that run at the same time, by their index."""

    def __init__(self, invocations: Sequence[Invocation], tool_timeout: float | None) -> None:
        self._invocations = invocations
        self._tool_timeout = tool_timeout
        self._began: dict[int, float] = {}
        self._until: dict[int, float] = {}
        self._in_time: set[int] = set()
        self.waiting: set[int] = set()

    def begin(self, index: int) -> None:
        """Count a call as running, from now on."""
        tool = self._invocations[index].tool
        timeout = self._tool_timeout if tool is None or tool.timeout is None else tool.timeout
        self._began[index] = time.monotonic()
        if timeout is not None:
            self._until[index] = self._began[index] + timeout
        self.waiting.add(index)

    def note_done(self, index: int, *, done: bool = True) -> None:
        """Note, from any thread, that a call has ended, though its result may be read later; or goes on after all."""
        if not done:
            self._in_time.discard(index)
        elif time.monotonic() < self._until.get(index, float("inf")):
            self._in_time.add(index)

    def seconds_left(self, deadline: float | None) -> float | None:
        """Say how long to wait at most: until the first call's time is up, or that of the run."""
        ends = [self._until[index] for index in self.waiting if index in self._until]
        if deadline is not None:
            ends.append(deadline)
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def finish(self, index: int, value: Any, error: BaseException | None) -> Iterator[ToolFinished]:
        """Take what came of a call; nothing is made of one that was left behind before."""
        if index in self.waiting:
            invocation = self._invocations[index]
            yield self._settle(
                index, succeed(invocation, value) if error is None else fail(invocation, error)
            )

    def expire(self) -> Iterator[tuple[int, ToolFinished]]:
        """Give up the calls whose time is up."""
        now = time.monotonic()
        for index in sorted(self.waiting - self._in_time):
            if now >= self._until.get(index, float("inf")):
                seconds = self._until[index] - self._began[index]
                name = self._invocations[index].context.tool_name
                error = ToolTimeout(f"Tool {name!r} was not done after {seconds:g} s.")
                yield index, self._settle(index, fail(self._invocations[index], error))

    def _settle(self, index: int, outcome: Outcome) -> ToolFinished:
        self.waiting.discard(index)
        self._invocations[index].outcome = outcome
        return finished(self._invocations[index], time.monotonic() - self._began[index])
