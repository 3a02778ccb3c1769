"""Budgets: money that agents and runs share, taken before a request is sent and settled whatever becomes of it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agentkit import (
    Agent,
    Budget,
    Context,
    GeminiModel,
    Limits,
    MemoryStore,
    ModelError,
    Price,
    RateLimit,
    RetryPolicy,
    StoreError,
    Summarize,
)
from agentkit.core.budget import MemorySpending, Taking
from agentkit.errors import ConfigurationError
from agentkit.events import TextDelta
from agentkit.testing import ScriptedModel, call, fault, reply
from tests.helpers.gemini_server import GeminiServer
from tests.helpers.gemini_server import fault as server_fault
from tests.helpers.until import given_time
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

DAY = 86_400.0
EACH = Price(input=1_000_000.0, output=1_000_000.0)
"""A dollar a token: small numbers are easy to add up."""
PRICED = Limits(prices={"scripted": EACH, "small": EACH, "gemini-x": EACH})
SHORT = {"max_output_tokens": 2}
"""A reply is expected to cost no more than two dollars beside its prompt."""


class Rows:
    """Keeps takings as a store would: it may block, and fail."""

    def __init__(self) -> None:
        self.inner = MemorySpending()
        self.takings: list[Taking] = []
        self.settled: list[tuple[str, float]] = []
        self.threads: set[int] = set()
        self.broken = False

    def take(self, taking: Taking, most: float) -> float | None:
        """Count it."""
        self.threads.add(threading.get_ident())
        if self.broken:
            raise StoreError("The disk is full.")
        said = self.inner.take(taking, most)
        if said is None:
            self.takings.append(taking)
        return said

    def settle(self, taking: Taking, usd: float) -> None:
        """Settle it."""
        self.threads.add(threading.get_ident())
        self.settled.append((taking.id, usd))
        self.inner.settle(taking, usd)

    @property
    def open(self) -> int:
        """How many were taken and not settled."""
        return len({taking.id for taking in self.takings} - {id for id, _ in self.settled})


@pytest.fixture
def rows() -> Rows:
    return Rows()


def dear(prompt: int = 10, output: int = 5, text: str = "ok") -> Any:
    return reply(text, promptTokenCount=prompt, candidatesTokenCount=output, totalTokenCount=prompt + output)


def agent_of(script: list[Any], budget: Budget | None, **options: Any) -> Agent:
    return Agent(
        ScriptedModel(script), **{"limits": PRICED, "budget": budget, "retry": RetryPolicy(base=0)} | options
    )


def test_what_a_request_has_cost_is_counted_and_the_next_that_does_not_fit_is_not_sent(
    way: Way, rows: Rows
) -> None:
    budget = Budget(40.0, spending=rows)
    model = ScriptedModel([dear(), dear(), dear()])
    agent = Agent(model, limits=PRICED, budget=budget, config=SHORT)
    runs = [way.run(agent, "hi") for _ in range(3)]
    assert [run.stop for run in runs] == [None, None, "cost"]
    assert [usd for _, usd in rows.settled] == [15.0, 15.0]
    assert len(model.requests) == 2
    assert "The budget of $40 a day is used up: $30 was spent or is set aside" in runs[2].why
    assert rows.open == 0


def test_two_agents_and_a_sub_agent_share_what_there_is(either: Way) -> None:
    budget = Budget(100.0, "month")
    inner = Agent(
        ScriptedModel([dear(40, 10)], name="small"), limits=PRICED, budget=budget, config=SHORT, name="inner"
    )
    script = [reply(call("inner", request="x"), promptTokenCount=10, totalTokenCount=10), dear()]
    outer = agent_of(script, budget, tools=[inner.as_tool()], config=SHORT)
    assert either.run(outer, "go").stop is None
    other = agent_of([dear(30, 1), dear()], budget, config=SHORT)
    run = either.run(other, "a" * 100)  # 75 of 100 are spent
    assert (run.stop, "a month" in run.why) == ("cost", True)


def test_each_key_has_a_budget_of_its_own_and_a_new_day_begins_anew(either: Way) -> None:
    now = [20_000 * DAY]

    def user(ctx: Context[str]) -> str:
        return ctx.deps

    budget = Budget(30.0, key=user, clock=lambda: now[0])
    agent = agent_of([dear(20, 5) for _ in range(9)], budget, config=SHORT)
    assert either.run(agent, "hi", deps="ann").stop is None
    stopped = either.run(agent, "hi", deps="ann")
    assert (stopped.stop, "of 'ann'" in stopped.why) == ("cost", True)
    assert either.run(agent, "hi", deps="bob").stop is None
    now[0] += DAY
    assert either.run(agent, "hi", deps="ann").stop is None


def test_a_key_that_is_no_text_ends_the_run_before_anything_is_sent(either: Way) -> None:
    wrong: Any = lambda ctx: 7  # noqa: E731
    agent = agent_of(["x"], Budget(30.0, key=wrong))
    with pytest.raises(ConfigurationError, match="returned int"):
        either.run(agent, "hi")


def test_a_failure_of_the_server_costs_nothing_and_one_that_says_nothing_what_was_expected(
    way: Way, rows: Rows
) -> None:
    budget = Budget(500.0, spending=rows)
    silent = ModelError("The connection broke.", retryable=True)
    agent = agent_of([fault(503), silent, dear()], budget, config=SHORT)
    assert way.run(agent, "hi").text == "ok"
    refused, broken, answered = (usd for _, usd in rows.settled)
    assert (refused, answered) == (0.0, 15.0)
    assert broken == rows.takings[1].usd > 2.0
    assert rows.open == 0


def test_a_reply_that_tells_no_tokens_costs_what_was_expected(either: Way, rows: Rows) -> None:
    silent = {**reply("ok"), "usageMetadata": {}}
    assert either.run(agent_of([silent], Budget(500.0, spending=rows), config=SHORT), "hi").text == "ok"
    assert [usd for _, usd in rows.settled] == [rows.takings[0].usd]


def test_what_was_taken_is_settled_when_a_run_is_broken_off_in_the_midst_of_a_reply(rows: Rows) -> None:
    agent = agent_of(
        [dear(text="one two three"), dear(text="one two three")], Budget(500.0, spending=rows), config=SHORT
    )
    with agent.stream("hi") as events:
        assert isinstance(next(iter(events)), TextDelta)

    async def go() -> None:
        async with agent.aio.stream("hi") as events:
            assert isinstance(await anext(events), TextDelta)

    asyncio.run(go())
    assert (len(rows.takings), rows.open) == (2, 0)


@pytest.mark.slow
def test_what_was_taken_is_settled_when_the_time_is_up_or_the_task_is_cancelled(rows: Rows) -> None:
    with GeminiServer([server_fault("hang")] * 9) as server:
        model = GeminiModel("gemini-x", api_key="a-key", http_options={"base_url": server.url})
        agent = Agent(model, limits=PRICED, budget=Budget(5000.0, spending=rows), config=SHORT)

        def run_out(seconds: float) -> None:
            limits = Limits(seconds=seconds, prices=PRICED.prices)
            assert agent.run("hi", limits=limits).stop == "seconds"

        given_time(run_out, lambda _: server.requests)
        taken, asked = len(rows.takings), len(server.requests)

        async def cancelled() -> None:
            task = asyncio.create_task(agent.aio.run("hi"))
            await asyncio.to_thread(server.wait, lambda: len(server.requests) > asked)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        assert (len(rows.takings), rows.open) == (taken + 1, 0)
        model.close()


def test_a_request_that_the_budget_refuses_gives_its_place_under_the_rate_limit_back(either: Way) -> None:
    limit = RateLimit(requests_per_minute=1)
    assert either.run(agent_of(["x"], Budget(0.5), rate_limit=limit), "hi").stop == "cost"
    assert limit.reserve(1).seconds == 0.0


def test_spending_that_blocks_is_never_asked_on_the_event_loop(rows: Rows) -> None:
    agent = agent_of([dear()], Budget(500.0, spending=rows), config=SHORT)
    asyncio.run(agent.aio.run("hi"))
    assert threading.get_ident() not in rows.threads
    assert rows.open == 0


def test_spending_that_fails_ends_the_run_and_the_error_has_it(way: Way, rows: Rows) -> None:
    rows.broken = True
    model = ScriptedModel([dear()])
    with pytest.raises(StoreError, match="full") as caught:
        way.run(Agent(model, limits=PRICED, budget=Budget(500.0, spending=rows)), "hi")
    assert caught.value.run.stop == "error"
    assert model.requests == []


def test_a_budget_that_is_used_up_lets_a_run_land_on_nothing(either: Way) -> None:
    limits = Limits(on_limit="answer", prices=PRICED.prices)
    script = [
        reply(call("look"), promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=15),
        dear(),
    ]

    def look() -> str:
        """Look."""
        return "seen"

    agent = agent_of(script, Budget(20.0), config=SHORT, tools=[look], limits=limits)
    run = either.run(agent, "hi")
    assert (run.stop, run.limit, run.turns) == ("cost", "cost", 1)


def test_summaries_are_paid_from_it_too(rows: Rows) -> None:
    script = [dear(), dear(), dear(text="summary"), dear()]
    chat = agent_of(script, Budget(5000.0, spending=rows), config=SHORT).chat(
        "ann", MemoryStore(), memory=Summarize(after_turns=2, keep=1)
    )
    for n in range(3):
        chat.send_message(f"message {n}")
    assert (len(rows.takings), rows.open) == (4, 0)


@pytest.mark.parametrize("given", ["model", "stand-in", "memory"])
def test_a_model_without_a_price_is_refused_before_anything_is_sent(given: str) -> None:
    priced, unknown = ScriptedModel(["x"]), ScriptedModel(["x"], name="unknown")
    models = {"model": [unknown], "stand-in": [priced, unknown], "memory": [priced]}[given]
    memory = Summarize(after_turns=2, keep=1, model=unknown)

    def send() -> None:
        Agent(models, limits=PRICED, budget=Budget(5)).chat(memory=memory).send_message("hi")

    with pytest.raises(
        ConfigurationError, match=r"Budget\(5, per='day'\): the price of 'unknown' isn't known"
    ):
        send()
    assert priced.requests == unknown.requests == []


@pytest.mark.parametrize("usd", [0, -1, float("nan"), float("inf"), True, "5", None])
def test_an_amount_that_is_none_is_refused(usd: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Budget\(usd=.*: give (dollars above 0|a number)"):
        Budget(usd)


def test_a_period_or_a_key_that_is_none_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(ConfigurationError, match="'hour' or 'day' or 'month' or None"):
        Budget(1.0, per=wrong)
    with pytest.raises(ConfigurationError, match="key="):
        Budget(1.0, key=wrong)
    with pytest.raises(ConfigurationError, match="budget="):
        Agent(ScriptedModel([]), budget=wrong)


def test_threads_that_take_at_once_never_take_more_than_there_is() -> None:
    spending = MemorySpending()

    def take(number: int) -> bool:
        taking = Taking(id=str(number), key="", period="2026-11-28", usd=1.0)
        fits = spending.take(taking, 50.0) is None
        if fits and number % 2:
            spending.settle(taking, 2.0)
            spending.settle(taking, 2.0)
        return fits

    with ThreadPoolExecutor(16) as pool:
        taken = sum(pool.map(take, range(400)))
    probe = Taking(id="probe", key="", period="2026-11-28", usd=100.0)
    spent = spending.take(probe, 50.0)
    assert spent is not None
    assert 49.0 < spent <= 51.0
    assert taken < 50


def test_days_that_are_over_are_forgotten_unless_something_of_them_is_open() -> None:
    spending = MemorySpending()

    def taking(day: int, key: str) -> Taking:
        return Taking(id=f"{key}{day}", key=key, period=f"2026-11-{day}", usd=5.0)

    spending.take(taking(20, "ann"), 6.0)
    spending.take(taking(20, "bob"), 6.0)
    spending.settle(taking(20, "bob"), 5.0)
    spending.take(taking(21, "ann"), 6.0)
    assert spending.take(taking(20, "bob"), 6.0) is None  # forgotten
    spending.settle(taking(20, "ann"), 1.0)
    assert spending.take(Taking(id="x", key="ann", period="2026-11-20", usd=6.0), 6.0) == 1.0


@pytest.mark.parametrize("on_limit", ["stop", "answer"])
def test_a_summary_that_uses_up_a_limit_is_the_last_request_but_for_the_last_turn(on_limit: Any) -> None:
    def told(text: str, tokens: int) -> Any:
        return reply(text, promptTokenCount=tokens - 1, candidatesTokenCount=1, totalTokenCount=tokens)

    model = ScriptedModel([told("1", 1), told("2", 1), told("a summary", 60), told("last", 1)])
    chat = Agent(model).chat("ann", MemoryStore(), memory=Summarize(after_turns=2, keep=1))
    chat.send_message("a")
    chat.send_message("b")
    run = chat.send_message("c", limits=Limits(tokens=50, on_limit=on_limit))
    assert (run.limit, run.usage.total_tokens >= 60) == ("tokens", True)
    assert (run.stop, run.text) == (("tokens", "") if on_limit == "stop" else (None, "last"))
    assert len(model.requests) == (3 if on_limit == "stop" else 4)
