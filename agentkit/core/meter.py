"""What a run has used, and which of its limits that reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentkit.limits import NO_USAGE, Limits, Stop, Usage, total_of
from agentkit.tooling.context import RunHandle
from agentkit.traits import PRICES, Price

Reached = tuple[Stop, str]
"""A limit that is reached, and that in words."""


class Meter:
    """Adds up a run's usage and holds it against the limits; the seconds are the driver's.

    Args:
        limits: The run's.
        outer: Of a sub-agent's run: the run around it, whose limits hold, too.
    """

    def __init__(self, limits: Limits, *, outer: RunHandle | None = None) -> None:
        self.limits = limits
        self.turns: list[Usage] = []
        self._of_turns = (0, NO_USAGE)
        """That of so many turns: it is added up when somebody asks for it, as limits do before each turn."""
        self.earlier: tuple[Usage, ...] = ()
        """Those before the run was resumed; limits don't count them."""
        self.tool_calls = 0
        self._before = NO_USAGE
        self._outer = outer
        self._others: list[Usage] = []
        self._live: list[Callable[[], Usage]] = []
        self._loose: list[Usage] = []

    @property
    def prices(self) -> Mapping[str, Price]:
        """What tokens cost."""
        return PRICES if self.limits.prices is None else self.limits.prices

    def go_on_from(self, turns: Sequence[Usage], used: Usage) -> None:
        """Take in what was used before the run was resumed."""
        self.earlier, self._before = tuple(turns), used

    def add_turn(self, usage: Usage) -> None:
        """Count a reply of the model."""
        self.turns.append(usage)
        self._loose.append(usage)

    def add(self, usage: Usage) -> None:
        """Count what isn't a turn: a summary, or what a tool says that it spent."""
        self._others.append(usage)

    def add_live(self, spent: Callable[[], Usage]) -> None:
        """Count what a function returns from now on: a sub-agent's usage, which grows."""
        self._live.append(spent)

    def joined(self, usages: Sequence[Usage]) -> Usage:
        """Add up turns that gave one reply: they are stored with its message, together."""
        total = total_of(usages)
        self._loose = [other for other in self._loose if all(other is not each for each in usages)]
        self._loose.append(total)
        return total

    def note_stored(self, usage: Usage | None) -> None:
        """Note that a turn's usage is stored with its message, where anybody stores that."""
        if self._loose and self._loose[-1] is usage:
            self._loose.pop()
        else:
            self._loose = [other for other in self._loose if other is not usage]

    def usage(self) -> Usage:
        """Add up all turns and what tools spent, from where the run was last resumed."""
        count, of_turns = self._of_turns
        new = self.turns[count:]
        if new:
            of_turns = total_of([of_turns, *new])
            self._of_turns = count + len(new), of_turns
        return total_of([*self._beside_turns(), of_turns])

    def total(self) -> Usage:
        """Add up everything, what came before the run was resumed too."""
        return total_of([self._before, self.usage()])

    def loose(self) -> Usage:
        """Add up what isn't stored with a message: replies that were not taken, summaries, tools."""
        return total_of([*self._beside_turns(), *self._loose])

    def _beside_turns(self) -> list[Usage]:
        return [*self._others, *(spent() for spent in self._live)]

    def reached(self, *, turns: bool = True) -> Reached | None:
        """Return the limit that is reached, if any, of the run around a sub-agent's too.

        Adding up the usage is left out where no limit asks for it.
        """
        limits = self.limits
        if turns and limits.turns is not None and len(self.turns) >= limits.turns:
            return "turns", f"The limit of {limits.turns} turns is reached."
        if limits.tokens is not None and (used := self.usage().total_tokens) >= limits.tokens:
            return "tokens", f"The limit of {limits.tokens:,} tokens is reached: {used:,} were used."
        if limits.cost is not None and (why := self._cost_reached(limits.cost)):
            return "cost", why
        return self._outer.limit_reached() if self._outer else None

    def outer_reached(self) -> Reached | None:
        """Return the limit of the run around a sub-agent's that is reached, if any."""
        return self._outer.limit_reached() if self._outer else None

    def _cost_reached(self, limit: float) -> str | None:
        cost = self.usage().known_cost(self.prices)
        return f"The limit of ${limit:g} is reached: ${cost:.4g} was spent." if cost >= limit else None

    def why_cost_unknown(self) -> str:
        """Say in words what a limit of cost doesn't count, since nobody knows what it cost; empty if nothing."""
        why = None if self.limits.cost is None else self.usage().why_incomplete(self.prices)
        return f"A part of the cost isn't known, and not counted: {why}." if why else ""

    def add_call(self) -> Reached | None:
        """Count a function call, in the run around a sub-agent's too; return the limit that it exceeds, if any."""
        self.tool_calls, most = self.tool_calls + 1, self.limits.tool_calls
        if most is not None and self.tool_calls > most:
            return self.calls_reached()
        return self._outer.add_call() if self._outer else None

    def calls_reached(self) -> Reached | None:
        """Return the limit of function calls, if more were made than the run, or that around it, may make."""
        most = self.limits.tool_calls
        if most is not None and self.tool_calls > most:
            return "tool_calls", f"The limit of {most} function calls is reached."
        return self._outer.calls_reached() if self._outer else None

    def share_left(self, share: float) -> dict[str, Any]:
        """Return a share of what is left of limits that count: tokens, cost and tool calls, where they are limited.

        With the cost come the prices that it goes by.
        """
        limits, usage = self.limits, self.usage()
        cost = usage.known_cost(self.prices)
        left: dict[str, Any] = {}
        if limits.tokens is not None:
            left["tokens"] = int(max(0.0, limits.tokens - usage.total_tokens) * share)
        if limits.tool_calls is not None:
            left["tool_calls"] = int(max(0.0, limits.tool_calls - self.tool_calls) * share)
        if limits.cost is not None:
            left["cost"] = max(0.0, limits.cost - cost) * share
            left["prices"] = limits.prices
        return left
