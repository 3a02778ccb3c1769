"""Rate limits and budgets of all processes together, in rows of either database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agentkit import Agent, Limits, Price
from agentkit.core.budget import Budget, Taking
from agentkit.durable import SharedRateLimit, SharedSpending
from agentkit.stores.rows import Statement
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel
from agentkit.testing.scripted import fault, reply
from tests.helpers.queue_worker import open_store
from tests.helpers.until import until


@pytest.fixture
def stores(where: str) -> Iterator[list[SessionStore]]:
    """Two stores on one database, as two processes have them."""
    with open_store(where) as one, open_store(where) as two:
        yield [one, two]


def test_processes_together_reserve_no_more_than_the_limit(stores: list[SessionStore]) -> None:
    limits = [SharedRateLimit(store, "q", requests_per_minute=600) for store in stores]
    began = time.monotonic()
    slots = [limits[n % 2].reserve(0) for n in range(400)]
    begins = sorted(slot.at - began for slot in slots)
    most = max(sum(at <= other < at + 20 for other in begins) for at in begins)
    assert most <= 600 * (20 + 8) / 60
    assert sum(slot.seconds == 0 for slot in slots) >= 40  # some may go at once


def test_tokens_count_and_what_was_taken_beyond_counts_too(stores: list[SessionStore]) -> None:
    one, two = [SharedRateLimit(store, "q", tokens_per_minute=6_000) for store in stores]
    slot = one.reserve(100)
    assert slot.seconds == 0
    one.settle(slot, 30_000)
    one.settle(slot, 90_000)  # once
    waits = [limit.reserve(100).seconds for _ in range(3) for limit in (one, two)]
    assert 150 < max(waits) < 600


def test_one_lease_serves_many_requests(stores: list[SessionStore], monkeypatch: pytest.MonkeyPatch) -> None:
    limit = SharedRateLimit(stores[0], "q", requests_per_minute=6_000)
    asked: list[object] = []
    run = limit._rows.run

    def counted(*given: Statement) -> list[Any]:
        asked.append(given)
        return run(*given)

    monkeypatch.setattr(limit._rows, "run", counted)
    for _ in range(100):
        limit.reserve(0)
    assert len(asked) <= 20  # three, where the machine doesn't stand still until a lease is over


def test_what_a_slow_database_leases_is_not_used_early(
    stores: list[SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = SharedRateLimit(stores[0], "q", requests_per_minute=60)
    for _ in range(100):
        limit.reserve(0)
    run, leased = limit._rows.run, list[tuple[float, float]]()

    def slow(*given: Statement) -> list[Any]:
        time.sleep(0.2)
        rows = run(*given)
        leased.append((time.monotonic(), rows[0][0]))
        return rows

    monkeypatch.setattr(limit._rows, "run", slow)
    slots = [limit.reserve(0) for _ in range(2)]
    for slot, (at, wait) in zip(slots, leased, strict=True):
        assert wait > 5
        assert slot.at >= at + wait


@pytest.mark.slow
def test_what_is_leased_ends_though_the_answer_comes_late(
    stores: list[SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = SharedRateLimit(stores[0], "q", requests_per_minute=600)  # ten at a time, for two seconds
    run, leased = limit._rows.run, list[object]()

    def slow(*given: Statement) -> list[Any]:
        rows = run(*given)
        leased.append(rows)
        time.sleep(2.1)
        return rows

    monkeypatch.setattr(limit._rows, "run", slow)
    for _ in range(2):
        limit.reserve(0)
    assert len(leased) == 2


def test_a_pause_is_everybodys(stores: list[SessionStore]) -> None:
    one, two = [SharedRateLimit(store, "q", requests_per_minute=60) for store in stores]
    one.slow_down(300)
    assert 150 < two.pause() <= 300
    assert two.reserve(0).seconds > 150
    pauses: list[float] = []

    def refused_once() -> float:
        other = SharedRateLimit(stores[0], f"another {len(pauses)}", requests_per_minute=60)
        assert other.pause() == 0
        other.slow_down()
        pauses.append(other.pause())
        return pauses[-1]

    until(refused_once)  # it is a second: it may be over by the time it is asked for
    assert max(pauses) <= 1


def test_a_run_waits_after_a_429_as_with_a_limit_of_its_own(stores: list[SessionStore]) -> None:
    limit = SharedRateLimit(stores[0], "q", requests_per_minute=6_000)
    model = ScriptedModel([fault(429, retry_after=0.3), "Now."])
    began = time.monotonic()
    assert Agent(model, rate_limit=limit).run("Hi").text == "Now."
    assert time.monotonic() - began > 0.25


def test_a_budget_is_never_overdrawn_by_many_at_once(stores: list[SessionStore]) -> None:
    spending = [SharedSpending(store) for store in stores]
    takings = [Taking(id=str(n), key="ann", period="2026-11-28", usd=0.3) for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        found = [*pool.map(lambda n: spending[n % 2].take(takings[n], 1.0), range(12))]
    assert sum(each is None for each in found) == 3
    assert all(each == pytest.approx(0.9) for each in found if each is not None)
    first = found.index(None)
    spending[first % 2].settle(takings[first], 0.1)
    spending[first % 2].settle(takings[first], 0.0)  # once
    last = Taking(id="last", key="ann", period="2026-11-28", usd=0.3)
    assert spending[0].take(last, 1.0) is None
    assert spending[1].take(Taking(id="more", key="ann", period="2026-11-28", usd=0.3), 1.0) is not None
    assert spending[1].take(Taking(id="next", key="ann", period="2026-11-29", usd=0.3), 1.0) is None
    assert spending[1].take(Taking(id="bob", key="bob", period="2026-11-28", usd=0.3), 1.0) is None


def test_a_run_stops_at_the_budget_that_another_process_has_used_up(stores: list[SessionStore]) -> None:
    prices = {"m": Price(input=1.0, output=1.0)}
    runs = []
    for store in stores:
        model = ScriptedModel(
            [reply("Yes.", promptTokenCount=500_000, candidatesTokenCount=600_000)], name="m"
        )
        budget = Budget(1.0, spending=SharedSpending(store, "team"))
        runs.append(Agent(model, budget=budget, limits=Limits(prices=prices)).run("Hi"))
    assert [run.stop for run in runs] == [None, "cost"]
