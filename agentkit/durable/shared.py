"""Rate limits and budgets that all processes share: rows of a store's database behind the same protocols."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from agentkit.core.budget import Taking
from agentkit.core.rate_limit import LONGEST_PAUSE, MINUTE, RateLimit, Slot, check_tokens
from agentkit.durable.signals import is_postgres
from agentkit.errors import StoreError
from agentkit.stores.rows import Statement
from agentkit.stores.store import SessionStore
from agentkit.wire.arguments import checked

_TABLES = (
    """CREATE TABLE IF NOT EXISTS {p}shared_rates (
        name {id} PRIMARY KEY, requests {float} NOT NULL, tokens {float} NOT NULL, resume {float} NOT NULL,
        refusals {int} NOT NULL){strict}""",
    """CREATE TABLE IF NOT EXISTS {p}shared_spending (
        key {id} NOT NULL, period {id} NOT NULL, usd {float} NOT NULL, PRIMARY KEY (key, period)){strict}""",
)
_BURST = MINUTE / 10
"""A tenth of a minute's worth may go at once."""
_FRESH = 2.0
"""Seconds for which what was leased may be used."""
_SHARE = MINUTE / (MINUTE + _BURST + _FRESH)
"""Of the limit, what is given out: so that no minute has more, wherever it begins."""


class _Rows:
    """A few statements on a store's database, with the words in which the two differ."""

    def __init__(self, store: SessionStore) -> None:
        self._db: Any = store._db
        self._postgres = is_postgres(self._db)
        lock: list[Statement] = [("SELECT pg_advisory_xact_lock(1634953588)", ())] if self._postgres else []
        self._db.run([*lock, *((text, ()) for text in _TABLES)], again=True)

    def run(self, *statements: Statement) -> list[Any]:
        """Run statements in one transaction; return the rows of the last."""
        now = (
            "extract(epoch FROM clock_timestamp())"
            if self._postgres
            else "(julianday('now') - 2440587.5) * 86400"
        )
        greatest = "greatest" if self._postgres else "max"
        filled = [
            (text.replace("{now}", f"({now})").replace("{greatest}", greatest), given)
            for text, given in statements
        ]
        rows: list[Any] = self._db.run(filled)[-1]
        return rows


@checked
class SharedRateLimit(RateLimit):
    """A `RateLimit` that all processes share which give the same store and name.

    It leases about a second's worth at a time from a row of the database, on the database's clock, and hands that
    out: many requests cost one transaction. At most a tenth of a minute's worth goes at once, and 88 % of the limit
    in the long run: so no minute has more than the limit, wherever it begins, and with any number of processes.
    A pause after a 429 is everybody's within two seconds.

    Args:
        store: A `SQLiteStore` of a file, or a `PostgresStore`.
        name: Of the quota: a project and a model, say.
        requests_per_minute: Requests in any 60 seconds; None means no limit.
        tokens_per_minute: Tokens in any 60 seconds; None means no limit.
    """

    def __init__(
        self,
        store: SessionStore,
        name: str,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        super().__init__(requests_per_minute, tokens_per_minute)
        self._rows, self._name = _Rows(store), name
        self._lease_lock = threading.Lock()
        self._open: set[Slot] = set()
        self._left = (0.0, 0.0)
        """Requests and tokens that are leased and not handed out."""
        self._usable, self._until = 0.0, 0.0
        """From when to when they may be used."""
        self._owed = 0.0
        """Tokens that requests took beyond what was reserved: they go with the next lease."""
        self._rows.run(
            ("INSERT INTO {p}shared_rates VALUES (?, 0, 0, 0, 0) ON CONFLICT DO NOTHING", (name,)),
        )

    def reserve(self, tokens: int) -> Slot:
        """Take a slot for a request of about so many tokens; see `RateLimit.reserve`. May ask the database."""
        check_tokens(tokens)
        with self._lease_lock:
            requests, left = self._left
            if time.monotonic() > self._until or requests < 1 or left < tokens:
                requests, left = self._lease(tokens)
            self._left = (requests - 1, left - tokens)
            now = time.monotonic()
            wait = max(0.0, self._usable - now)
            slot = Slot(seconds=wait, at=now + wait, tokens=tokens, earliest=0.0)
            self._open.add(slot)
            return slot

    def _lease(self, tokens: int) -> tuple[float, float]:
        """Take some of the quota from the row; what was leased before and not used is let go.

        The database may take its time: the wait that it names begins when it has answered, and what is leased ends
        as if it had answered at once. So nobody sends earlier or later than was counted.
        """
        requests = 1 if self._requests is None else max(1, self._requests // 60)
        block = float(tokens if self._tokens is None else max(tokens, self._tokens // 60))
        owed, self._owed = self._owed, 0.0
        text = """UPDATE {p}shared_rates SET requests = {greatest}(requests, {now}) + ?,
            tokens = {greatest}(tokens, {now}) + ? WHERE name = ?
            RETURNING {greatest}(requests - ?, tokens - ?, resume) - {now}"""
        asked = time.monotonic()
        cost = (requests * _cost(self._requests), (block + owed) * _cost(self._tokens))
        try:
            ((wait,),) = self._rows.run((text, (*cost, self._name, _BURST, _BURST)))
        except StoreError:
            self._owed += owed
            raise
        self._usable = time.monotonic() + max(0.0, wait)
        self._until = asked + max(0.0, wait) + _FRESH
        return float(requests), block

    def settle(self, slot: Slot, actual: int) -> None:
        """Correct a slot when it is known what the request took; see `RateLimit.settle`."""
        with self._lease_lock:
            if slot in self._open:
                self._open.discard(slot)
                self._owed += actual - slot.tokens

    def give_back(self, slot: Slot) -> None:
        """Free a slot whose request wasn't sent; see `RateLimit.give_back`."""
        with self._lease_lock:
            if slot in self._open:
                self._open.discard(slot)
                self._left = (self._left[0] + 1, self._left[1] + slot.tokens)

    def slow_down(self, seconds: float | None = None) -> None:
        """Make everybody wait, since the server answered 429; see `RateLimit.slow_down`."""
        count = """UPDATE {p}shared_rates SET refusals = CASE WHEN {now} > resume + 60 THEN 1
            WHEN {now} >= resume THEN refusals + 1 ELSE refusals END WHERE name = ?"""
        own = "CASE WHEN refusals > 6 THEN ? ELSE power(2, refusals - 1) END" if seconds is None else "?"
        pause = f"UPDATE {{p}}shared_rates SET resume = {{greatest}}(resume, {{now}} + {own}) WHERE name = ?"
        given = LONGEST_PAUSE if seconds is None else float(seconds)
        self._rows.run((count, (self._name,)), (pause, (given, self._name)))
        with self._lease_lock:
            self._until = 0.0

    def pause(self) -> float:
        """Return for how many seconds from now nobody may send; see `RateLimit.pause`."""
        text = "SELECT resume - {now} FROM {p}shared_rates WHERE name = ?"
        return max(0.0, float(self._rows.run((text, (self._name,)))[0][0]))


def _cost(per_minute: int | None) -> float:
    """Return how many seconds of the quota one request or token takes."""
    return 0.0 if per_minute is None else MINUTE / (per_minute * _SHARE)


@checked
class SharedSpending:
    """Counts what a `Budget`'s keys have spent in rows that all processes share: `Budget(5, spending=...)`.

    Args:
        store: A `SQLiteStore` of a file, or a `PostgresStore`.
        name: Of the budget: those of one store and name are one.
    """

    def __init__(self, store: SessionStore, name: str = "") -> None:
        self._rows, self._name = _Rows(store), name
        self._lock = threading.Lock()
        self._open: dict[str, Taking] = {}
        self._due: list[Statement] = []

    def take(self, taking: Taking, most: float) -> float | None:
        """Count a taking if it fits; see `Spending.take`."""
        place = (f"{self._name}/{taking.key}", taking.period)
        add = """INSERT INTO {p}shared_spending (key, period, usd) SELECT ?, ?, ? WHERE ? <= ?
            ON CONFLICT (key, period) DO UPDATE SET usd = {p}shared_spending.usd + excluded.usd
            WHERE {p}shared_spending.usd + excluded.usd <= ? RETURNING usd"""
        usd = float(taking.usd)
        self._settle_due()
        if self._rows.run((add, (*place, usd, usd, float(most), float(most)))):
            with self._lock:
                self._open[taking.id] = taking
            if taking.period:
                old = "DELETE FROM {p}shared_spending WHERE period < ? AND length(period) = ? AND key = ?"
                self._later((old, (taking.period, len(taking.period), place[0])))
            return None
        found = self._rows.run(("SELECT usd FROM {p}shared_spending WHERE key = ? AND period = ?", place))
        return found[0][0] if found else 0.0

    def settle(self, taking: Taking, usd: float) -> None:
        """Put the cost in the place of a taking; see `Spending.settle`. While the database is away, it is put off."""
        with self._lock:
            if self._open.pop(taking.id, None) is None:
                return
        text = "UPDATE {p}shared_spending SET usd = {greatest}(0, usd + ?) WHERE key = ? AND period = ?"
        self._later((text, (float(usd - taking.usd), f"{self._name}/{taking.key}", taking.period)))
        if not math.isclose(usd, taking.usd):
            self._settle_due()

    def _later(self, statement: Statement) -> None:
        with self._lock:
            self._due.append(statement)

    def _settle_due(self) -> None:
        with self._lock:
            due, self._due = self._due, []
        if due:
            try:
                self._rows.run(*due)
            except StoreError:
                with self._lock:
                    self._due = due + self._due
