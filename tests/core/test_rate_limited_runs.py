"""Runs under a shared rate limit: spaced, slowed together by a 429, and never longer than they may take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Limits, RateLimit
from agentkit.core import rate_limit as rate_limit_module
from agentkit.core.rate_limit import Slot
from agentkit.core.repair import RetryPolicy
from agentkit.events import AgentEvent, Event, ModelRetry, RequestDelayed, TextDelta
from agentkit.memory.summary import Summarize
from agentkit.testing import ScriptedModel, call, fault, reply
from agentkit.wire.content import Request
from tests.helpers.runners import Runner
from tests.helpers.until import PATIENCE, auntil, stretched, until

SOON = RetryPolicy(attempts=4, base=0.01, cap=0.01)


@pytest.fixture
def short_minute(monkeypatch: pytest.MonkeyPatch) -> float:
    """Let a minute of the limit take half a second."""
    monkeypatch.setattr(rate_limit_module, "MINUTE", 0.5)
    return 0.5


class Noted(RateLimit):
    """A limit that notes when the slots begin that it gives."""

    def __init__(self, requests_per_minute: int | None = None, **given: Any) -> None:
        super().__init__(requests_per_minute, **given)
        self.slots: list[float] = []

    def reserve(self, tokens: int) -> Slot:
        slot = super().reserve(tokens)
        self.slots.append(slot.at)
        return slot


def stands_still() -> Callable[[], float]:
    """Make a clock for a limit that stands still: no place comes by itself while the machine does."""
    now = time.monotonic()
    return lambda: now


class Clocked:
    """Replies that note when they were asked for."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Any:
        with self._lock:
            self.times.append(time.monotonic())
        return reply("ok", promptTokenCount=10)


def check_slots(limit: Noted, clocked: Clocked, most: int, minute: float) -> None:
    """Check that so many slots at most are in a minute, and that no request was made before its slot.

    A request may be made later than its slot, and then be close to the next one: the machine is busy.
    """
    slots, times = sorted(limit.slots), sorted(clocked.times)
    assert len(slots) == len(times)
    assert max(sum(begin <= at < begin + minute * 0.99 for at in slots) for begin in slots) <= most
    assert all(at - 0.01 <= sent for at, sent in zip(slots, times, strict=True))


@pytest.mark.slow
def test_requests_of_a_run_wait_for_their_places_and_tell(go: Runner, short_minute: float) -> None:
    clocked = Clocked()
    script = [lambda r: (clocked(r), call("nothing"))[1]] * 4 + [clocked]

    def nothing() -> None:
        """Do nothing."""

    limit = Noted(2)
    agent = Agent(ScriptedModel(script), tools=[nothing], rate_limit=limit, limits=Limits(repeats=None))
    assert go(agent, "x").text == "ok"
    assert limit.slots[4] - limit.slots[0] >= 2 * short_minute * 0.99
    check_slots(limit, clocked, 2, short_minute)


def test_a_delay_is_told_before_it_is_waited(short_minute: float) -> None:
    clocked, limit = Clocked(), Noted(1, clock=stands_still())
    agent = Agent(ScriptedModel([clocked, clocked]), rate_limit=limit)
    agent.run("x")
    told: list[type[Event]] = []
    with agent.stream("y") as events:
        for event in events:
            told.append(type(event))
            if isinstance(event, RequestDelayed):
                assert 0 < event.seconds <= short_minute
                assert len(clocked.times) == 1
    assert told[0] is RequestDelayed
    check_slots(limit, clocked, 1, short_minute)


def test_agents_threads_and_event_loops_share_one_limit(short_minute: float, no_thread_left: None) -> None:
    clocked = Clocked()
    limit = Noted(6)
    agents = [Agent(ScriptedModel([clocked] * 20), rate_limit=limit) for _ in range(3)]

    async def in_loop(agent: Agent) -> None:
        await asyncio.gather(*[agent.aio.run("x") for _ in range(3)])

    work: list[Callable[[], Any]] = [lambda a=a: a.run("x") for a in agents]  # type: ignore[misc]
    work += [lambda a=a: asyncio.run(in_loop(a)) for a in agents]  # type: ignore[misc]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clocked.times) == 12
    check_slots(limit, clocked, 6, short_minute)


@pytest.mark.parametrize(("prompt", "waits"), [(1000, True), (100, False)])
def test_tokens_of_the_prompt_are_what_counts(short_minute: float, prompt: int, waits: bool) -> None:
    clocked = Clocked()

    def large(request: Request) -> Any:
        clocked(request)
        return reply("much", promptTokenCount=prompt, candidatesTokenCount=900, totalTokenCount=prompt + 900)

    limit = Noted(tokens_per_minute=1000, clock=stands_still())
    Agent(ScriptedModel([large]), rate_limit=limit).run("x")
    Agent(ScriptedModel([clocked]), rate_limit=limit).run("x")
    assert limit.slots[1] - limit.slots[0] == pytest.approx(short_minute if waits else 0)
    assert clocked.times[1] >= limit.slots[1]


def test_the_next_turn_takes_a_place_for_the_last_prompt_and_its_reply(short_minute: float) -> None:
    reserved: list[int] = []

    class Reserved(RateLimit):
        def reserve(self, tokens: int) -> Slot:
            reserved.append(tokens)
            return super().reserve(tokens)

    def nothing() -> None:
        """Do nothing."""

    asks = reply(
        call("nothing"),
        promptTokenCount=30,
        candidatesTokenCount=20,
        thoughtsTokenCount=500,
        totalTokenCount=550,
    )
    Agent(ScriptedModel([asks, "ok"]), tools=[nothing], rate_limit=Reserved()).run("x" * 400)
    assert reserved[1:] == [50]
    assert 100 <= reserved[0] < 120


def test_a_429_on_one_slows_all_down(no_thread_left: None) -> None:
    def slowed(longer: float) -> None:
        limit = RateLimit()
        others = Clocked()
        asked: list[float] = []

        def once(_: Request) -> Any:
            asked.append(time.monotonic())
            return fault(429, retry_after=longer)

        mine = Clocked()
        agent = Agent(ScriptedModel([once, mine]), rate_limit=limit, retry=SOON)
        thread = threading.Thread(target=agent.run, args=("x",))
        thread.start()
        until(lambda: limit.pause() > 0 or not thread.is_alive())
        with Agent(ScriptedModel([others]), rate_limit=limit).stream("y") as events:
            told = [event for event in events if isinstance(event, RequestDelayed)]
        thread.join()
        assert 0 < told[0].seconds <= longer
        assert others.times[0] - asked[0] >= longer * 0.99
        assert mine.times[0] - asked[0] >= longer * 0.99

    stretched(slowed)


def test_whoever_waits_while_a_429_comes_waits_on(
    no_thread_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits_on(longer: float) -> None:
        monkeypatch.setattr(rate_limit_module, "MINUTE", longer / 2)
        limit = RateLimit(requests_per_minute=1)
        limit.reserve(0)
        clocked = Clocked()
        told: list[RequestDelayed] = []
        began = time.monotonic()
        with Agent(ScriptedModel([clocked]), rate_limit=limit).stream("x") as events:
            for event in events:
                if isinstance(event, RequestDelayed):
                    told.append(event)
                    if len(told) == 1:
                        limit.slow_down(longer)  # another agent's
        assert len(told) == 2
        assert clocked.times[0] - began >= longer * 0.99

    stretched(waits_on)


def test_a_429_with_no_time_in_it_pauses_too(go: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit_module, "FIRST_PAUSE", 0.2)
    limit = RateLimit()
    clocked = Clocked()
    began = time.monotonic()
    run = go(Agent(ScriptedModel([fault(429), clocked]), rate_limit=limit, retry=SOON), "x")
    assert run.text == "ok"
    assert clocked.times[0] - began >= 0.19


@pytest.mark.parametrize("code", [503, 500])
def test_other_faults_slow_nobody_down(go: Runner, code: int) -> None:
    limit = RateLimit()
    model = ScriptedModel([fault(code, retry_after=0.01), "ok"])
    go(Agent(model, rate_limit=limit, retry=SOON), "x")
    assert limit.pause() == 0


@pytest.fixture(params=[{"requests_per_minute": 1}, {"tokens_per_minute": 1000}], ids=["requests", "tokens"])
def used_up(request: pytest.FixtureRequest) -> RateLimit:
    """A limit of which a request has all there is, for a minute, on a clock that stands still."""
    limit = RateLimit(**request.param, clock=lambda: 0.0)
    limit.settle(limit.reserve(1000), 1000)
    return limit


def assert_nobody_waits_but_for_the_first(limit: RateLimit) -> None:
    assert limit.reserve(1000).seconds == 60


def test_runs_whose_time_is_up_while_they_wait_give_their_places_back(go: Runner, used_up: RateLimit) -> None:
    began = time.monotonic()
    for _ in range(2):
        run = go(Agent(ScriptedModel([]), rate_limit=used_up, limits=Limits(seconds=0.2)), "x" * 2000)
        assert run.stop == "seconds"
    assert time.monotonic() - began < PATIENCE / 2
    assert_nobody_waits_but_for_the_first(used_up)


def test_runs_cancelled_while_they_wait_give_their_places_back(
    no_thread_left: None, used_up: RateLimit
) -> None:
    waiting = [Agent(ScriptedModel([]), rate_limit=used_up).stream("x" * 2000) for _ in range(2)]
    threads = [threading.Thread(target=events.drain) for events in waiting]
    for thread in threads:
        thread.start()
    until(lambda: len(used_up._slots) == 3)
    for events in waiting:
        events.cancel()
    for thread in threads:
        thread.join(PATIENCE)
    assert [events.run.stop for events in waiting] == ["cancelled"] * 2
    assert_nobody_waits_but_for_the_first(used_up)


def test_a_stream_that_is_left_when_it_tells_of_the_wait_gives_the_place_back(used_up: RateLimit) -> None:
    with Agent(ScriptedModel([]), rate_limit=used_up).stream("x" * 2000) as events:
        assert any(isinstance(event, RequestDelayed) for event in events)
    assert_nobody_waits_but_for_the_first(used_up)


def test_tasks_cancelled_while_they_wait_give_their_places_back(used_up: RateLimit) -> None:
    agent = Agent(ScriptedModel([]), rate_limit=used_up)

    async def main() -> None:
        tasks = [asyncio.create_task(agent.aio.run("x" * 2000)) for _ in range(2)]
        await auntil(lambda: len(used_up._slots) == 3)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert_nobody_waits_but_for_the_first(used_up)


def test_a_request_that_fails_or_is_broken_off_takes_no_tokens(no_thread_left: None) -> None:
    limit = RateLimit(tokens_per_minute=1000)
    with pytest.raises(AssertionError):
        Agent(ScriptedModel([]), rate_limit=limit).run("x" * 3600)
    with Agent(ScriptedModel(["a b c d"]), rate_limit=limit).stream("x" * 3600) as events:
        for event in events:
            if isinstance(event, TextDelta):
                break
    assert limit.reserve(990).seconds == 0


def test_retries_take_places_of_their_own(short_minute: float) -> None:
    clocked = Clocked()
    limit = RateLimit(requests_per_minute=1, clock=stands_still())
    began = time.monotonic()
    with Agent(ScriptedModel([fault(503), clocked]), rate_limit=limit, retry=SOON).stream("x") as events:
        told = [type(event) for event in events if isinstance(event, (ModelRetry, RequestDelayed))]
    assert told == [ModelRetry, RequestDelayed]
    assert clocked.times[0] - began >= short_minute * 0.9


def test_a_sub_agent_waits_under_the_limit_it_shares(short_minute: float) -> None:
    limit = RateLimit(requests_per_minute=1, clock=stands_still())
    inner = Agent(ScriptedModel(["in"]), rate_limit=limit, name="inner")
    outer = Agent(
        ScriptedModel([call("inner", request="x"), "out"]), tools=[inner.as_tool()], rate_limit=limit
    )
    with outer.stream("x") as events:
        told = [event.event for event in events if isinstance(event, AgentEvent)]
    assert isinstance(told[0], RequestDelayed)
    assert events.run.text == "out"


@pytest.mark.slow
def test_what_a_memory_asks_takes_places_too(short_minute: float) -> None:
    clocked = Clocked()

    def answer(request: Request) -> Any:
        clocked(request)
        return "word " * 400

    limit = Noted(1)
    agent = Agent(ScriptedModel([answer] * 4), rate_limit=limit)
    chat = agent.chat(memory=Summarize(after_turns=2, keep=1))
    for message in ("one", "two", "three"):  # the third after a summary
        chat.send_message(message)
    assert len(clocked.times) == 4
    check_slots(limit, clocked, 1, short_minute)
