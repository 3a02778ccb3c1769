"""A budget of money that any number of agents and runs share, and what of it one request takes."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from agentkit.errors import ConfigurationError
from agentkit.tooling.context import Context
from agentkit.wire.arguments import checked

Per = Literal["hour", "day", "month"]
_FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """What is set aside of a budget for one request, until it is known what that has cost."""

    id: str
    """Unique to the request."""
    key: str
    """Whose budget it is: a user's, a project's."""
    period: str
    """The hour, day or month in UTC, e.g. `2026-11-28`; empty where a budget has none."""
    usd: float
    """What the request is expected to cost."""


class Spending(Protocol):
    """Records what the keys of a budget have spent: in memory, or in rows that many processes share.

    Both methods may block, and may be called from any thread.
    """

    def take(self, taking: Taking, most: float) -> float | None:
        """Record a reservation, unless it would bring its key above `most` dollars in its period.

        Returns:
            None if it was recorded; otherwise what the key has spent already, including open reservations.
        """
        ...

    def settle(self, taking: Taking, usd: float) -> None:
        """Replace a reservation by the request's actual cost, once. If it isn't open, do nothing.

        If its process has ended, a reservation is never settled, and keeps counting in its period.
        """
        ...


class MemorySpending:
    """Counts in this process. What is over is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[tuple[str, str], float] = {}
        self._open: dict[str, Taking] = {}

    def take(self, taking: Taking, most: float) -> float | None:
        """Count a taking if it fits; see `Spending.take`."""
        place = taking.key, taking.period
        with self._lock:
            spent = self._spent.get(place, 0.0)
            if spent + taking.usd > most:
                return spent
            if place not in self._spent:
                self._forget(taking.period)
            self._spent[place] = spent + taking.usd
            self._open[taking.id] = taking
            return None

    def settle(self, taking: Taking, usd: float) -> None:
        """Put the cost in the place of a taking; see `Spending.settle`."""
        with self._lock:
            if self._open.pop(taking.id, None) is not None:
                place = taking.key, taking.period
                self._spent[place] = max(0.0, self._spent[place] + usd - taking.usd)

    def _forget(self, period: str) -> None:
        """Forget the periods before one, where nothing is open any more."""
        still = {(taking.key, taking.period) for taking in self._open.values()}
        for place in [place for place in self._spent if place[1] < period and place not in still]:
            del self._spent[place]


class Budget:
    """US dollars per hour, day or month, by key, shared by any number of agents, threads and event loops.

    Before a request is sent, its expected cost is reserved. When it is over, however it ended, the reservation is
    replaced by the actual cost. A request that doesn't fit isn't sent: the run stops with `stop="cost"`. All runs
    together therefore exceed the budget by at most the amount by which their last replies were longer than expected.

    Args:
        usd: Dollars per period, for each key.
        per: `"hour"`, `"day"` or `"month"` in UTC; None is a single total.
        key: Whose budget it is: a text, or a function of the run's context that returns one, such as `lambda ctx:
            ctx.deps.user`.
        spending: Where amounts are recorded; by default in this object.
        clock: Returns seconds since 1970.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    @checked
    def __init__(
        self,
        usd: float,
        per: Per | None = "day",
        *,
        key: str | Callable[[Context[Any]], str] = "",
        spending: Spending | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 < usd < math.inf:
            raise ConfigurationError(f"Budget(usd={usd!r}): give dollars above 0.")
        self.usd, self.per = usd, per
        self.spending: Spending = MemorySpending() if spending is None else spending
        self._key = key
        self._clock = clock

    def __repr__(self) -> str:
        return f"Budget({self.usd:g}, per={self.per!r})"

    def taking(self, usd: float, context: Context[Any]) -> Taking:
        """Return the reservation for a request that is expected to cost this many dollars.

        Raises:
            ConfigurationError: The key's function returned no text.
        """
        key = self._key if isinstance(self._key, str) else self._key(context)
        if not isinstance(key, str):
            raise ConfigurationError(
                f"Budget(key=...) returned {type(key).__name__}; a function of the key returns a str."
            )
        now = datetime.fromtimestamp(self._clock(), UTC)
        period = "" if self.per is None else now.strftime(_FORMATS[self.per])
        return Taking(id=uuid.uuid4().hex, key=key, period=period, usd=usd)


class Hold:
    """What one request takes of a budget. A driver takes before it sends, and settles when the request is over.

    Args:
        budget: The budget.
        usd: What the request will likely cost.
        context: Of the run.
        cost: Returns what the request has cost as far as that is known by now, else None.
    """

    def __init__(
        self, budget: Budget, usd: float, context: Context[Any], cost: Callable[[], float | None]
    ) -> None:
        self._budget, self._usd, self._context, self._cost = budget, usd, context, cost
        self._taken: Taking | None = None

    @property
    def blocks(self) -> bool:
        """Whether taking and settling may block."""
        return type(self._budget.spending) is not MemorySpending

    def take(self) -> str | None:
        """Take it; return None, or in words why it doesn't fit."""
        budget = self._budget
        taking = budget.taking(self._usd, self._context)
        spent = budget.spending.take(taking, budget.usd)
        if spent is None:
            self._taken = taking
            return None
        whose = f" of {taking.key!r}" if taking.key else ""
        per = f" {'an' if budget.per == 'hour' else 'a'} {budget.per}" if budget.per else ""
        return (
            f"The budget of ${budget.usd:g}{per}{whose} is used up: ${spent:.4g} was spent or is set aside, and the"
            f" next request may cost ${self._usd:.4g}."
        )

    def settle(self) -> None:
        """Settle what was taken, if anything was, once; a cost that nobody knows is what was expected."""
        taking, self._taken = self._taken, None
        if taking is not None:
            cost = self._cost()
            self._budget.spending.settle(taking, taking.usd if cost is None else cost)
