"""The gate of requests: whatever one is for, it passes hooks, rate limit, retries, stand-ins and usage alike."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from agentkit import (
    Agent,
    ConfigurationError,
    Deny,
    Hooks,
    Limits,
    MemoryStore,
    ModelError,
    RateLimit,
    Run,
    Summarize,
    TokenBudget,
)
from agentkit.core.rate_limit import Slot
from agentkit.core.repair import RetryPolicy
from agentkit.events import Event, RunFinished, TextDelta, ToolStarted
from agentkit.model import Model
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import Reply, Request
from tests.helpers.leftovers import finish, nothing_left
from tests.helpers.runners import NO_WAIT
from tests.helpers.until import PATIENCE, auntil, given_time, stretched
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

SETTINGS = {
    "labels": {"team": "blue"},
    "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
}


class Counted(RateLimit):
    """Notes what is asked of it, and whether that was on an event loop."""

    def __init__(self) -> None:
        super().__init__(requests_per_minute=10_000)
        self.asked: list[str] = []
        self.on_loop: list[str] = []

    def _note(self, what: str) -> None:
        self.asked.append(what)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.on_loop.append(what)

    def reserve(self, tokens: int) -> Slot:
        self._note("reserve")
        return super().reserve(tokens)

    def settle(self, slot: Slot, actual: int) -> None:
        self._note("settle")
        super().settle(slot, actual)

    def slow_down(self, seconds: float | None = None) -> None:
        self._note("slow_down")
        super().slow_down(seconds)

    def pause(self) -> float:
        self._note("pause")
        return super().pause()


class Gate:
    """Watches what passes."""

    def __init__(self) -> None:
        self.before: list[str] = []
        self.after: list[str] = []
        self.limit = Counted()
        self.say: Callable[[Any, str], Any] = lambda request, purpose: None
        self.say_after: Callable[[Any, str], Any] = lambda reply, purpose: None

    def agent(self, model: Model | list[Any], **options: Any) -> Agent:
        def before(request: Request, context: Any) -> Any:
            self.before.append(context.purpose)
            return self.say(request, context.purpose)

        def after(reply: Reply, context: Any) -> Any:
            self.after.append(context.purpose)
            return self.say_after(reply, context.purpose)

        hooks = Hooks(before_model=before, after_model=after)
        return Agent(model, hooks=hooks, rate_limit=self.limit, retry=NO_WAIT, config=SETTINGS, **options)


def look(sku: str) -> str:
    """Look."""
    return f"seen {sku}"


CUT = reply("part ", finish_reason="MAX_TOKENS")
PURPOSES: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any], list[str]]] = {
    "turn": (["done"], {}, {}, ["turn"]),
    "turns": ([[call("look", sku="A")], "done"], {"tools": [look]}, {}, ["turn", "turn"]),
    "repair": (["", "done"], {}, {}, ["turn", "repair"]),
    "output": (["no", '{"result": 3}'], {}, {"output": int}, ["turn", "repair"]),
    "continuation": ([CUT, "done"], {"on_max_tokens": "continue"}, {}, ["turn", "continuation"]),
    "last turn": (
        [[call("look", sku="A")], "done"],
        {"tools": [look], "limits": Limits(turns=1, on_limit="answer")},
        {},
        ["turn", "last_turn"],
    ),
}


@pytest.mark.parametrize("what", PURPOSES)
def test_every_request_passes_the_gate_and_is_told_what_it_is_for(way: Way, what: str) -> None:
    script, options, asked, purposes = PURPOSES[what]
    gate, model = Gate(), ScriptedModel(script)
    run = way.run(gate.agent(model, **options), "x", **asked)
    assert run.stop is None
    assert gate.before == gate.after == purposes
    assert Counter(gate.limit.asked) == {"reserve": len(purposes), "settle": len(purposes)}
    assert run.usage.requests == len(purposes)
    assert all({"safetySettings", "labels"} <= request.keys() for request in model.requests)
    model.assert_complete()


def test_each_try_takes_a_slot_and_the_hooks_hear_of_the_request_once(way: Way) -> None:
    gate, model = Gate(), ScriptedModel([fault(503), fault(503), "done"])
    assert way.run(gate.agent(model), "x").text == "done"
    assert gate.before == gate.after == ["turn"]
    assert Counter(gate.limit.asked) == {"reserve": 3, "settle": 3}


@pytest.mark.parametrize("what", ["repair", "continuation", "last turn", "output"])
def test_whatever_a_request_is_for_a_model_that_fails_has_a_stand_in(way: Way, what: str) -> None:
    script, options, asked, purposes = PURPOSES[what]
    gate, first = Gate(), ScriptedModel([script[0], *[fault(503)] * NO_WAIT.attempts], name="first")
    run = way.run(gate.agent([first, ScriptedModel(script[1:], name="second")], **options), "x", **asked)
    assert (run.stop, run.model) == (None, "second")
    assert gate.before == purposes


def test_requests_of_a_sub_agent_pass_its_own_gate(way: Way) -> None:
    inside, outside = Gate(), Gate()
    inner = inside.agent(ScriptedModel(["", "inner done"]), name="inner")
    outer = outside.agent(ScriptedModel([[call("inner", request="?")], "done"]), tools=[inner.as_tool()])
    run = way.run(outer, "x")
    assert inside.before == inside.after == ["turn", "repair"]
    assert outside.before == ["turn", "turn"]
    assert Counter(inside.limit.asked) == {"reserve": 2, "settle": 2}
    assert run.usage.requests == 4


def test_no_method_of_a_rate_limit_is_called_on_an_event_loop() -> None:
    gate = Gate()
    agent = gate.agent(ScriptedModel([fault(429), "done"]))
    asyncio.run(agent.aio.run("x"))
    assert {"reserve", "settle", "slow_down"} <= set(gate.limit.asked)
    assert gate.limit.on_loop == []


@pytest.mark.slow
def test_a_slot_that_was_being_asked_for_is_given_back_when_the_run_is_cancelled(either: Way) -> None:
    class SlowToReserve(Counted):
        def reserve(self, tokens: int) -> Slot:
            slot = super().reserve(tokens)
            time.sleep(0.2)
            return slot

    limit = SlowToReserve()
    run = cancelled(Agent(ScriptedModel(["x"]), rate_limit=limit), either.is_async)
    assert run.stop == "cancelled"
    assert limit._slots == []


# -- summaries


def no_summary(gate: Gate, what: str) -> Any:
    """Prepare that no summary is made; return what the model says when it is asked for one."""
    if what == "denied":
        gate.say = lambda request, purpose: Deny("no") if purpose == "summary" else None
    if what == "denied afterwards":
        gate.say_after = lambda reply, purpose: Deny("no") if purpose == "summary" else None
    replies: dict[str, Any] = {
        "cut off": reply("half", finish_reason="MAX_TOKENS"),
        "blocked": {"promptFeedback": {"blockReason": "SAFETY"}},
        "stopped for safety": reply("half", finish_reason="SAFETY"),
        "malformed": reply("half", finish_reason="MALFORMED_FUNCTION_CALL"),
        "empty": "",
        "a call": call("look", sku="A"),
        "refused": fault(400),
        "out of order": fault(503),
    }
    return replies.get(what, "a summary")


def is_for_summary(request: Request) -> bool:
    return "You summarise" in str(request.get("systemInstruction"))


@pytest.mark.parametrize(
    "what",
    [
        "cut off",
        "blocked",
        "stopped for safety",
        "malformed",
        "empty",
        "a call",
        "refused",
        "out of order",
        "denied",
        "denied afterwards",
    ],
)
def test_without_a_summary_all_is_sent_and_it_is_asked_for_again(way: Way, what: str) -> None:
    gate, store = Gate(), MemoryStore()
    said = no_summary(gate, what)
    model = ScriptedModel([lambda request: said if is_for_summary(request) else "answer"] * 20)
    chat = way.chat(gate.agent(model), store, memory=Summarize(after_turns=2, keep=1))
    runs = [chat.send(f"message {number}") for number in range(4)]
    assert [run.stop for run in runs] == [None] * 4
    assert gate.before == ["turn", "turn", "summary", "turn", "summary", "turn"]
    assert [len(r["contents"]) for r in model.requests if not is_for_summary(r)] == [1, 3, 5, 7]


@pytest.mark.parametrize("by", ["the model", "a hook"])
def test_a_summary_passes_the_gate_with_the_agents_settings(way: Way, by: str) -> None:
    gate = Gate()
    if by == "a hook":
        gate.say = lambda request, purpose: reply("a summary") if purpose == "summary" else None
    model = ScriptedModel([lambda request: "a summary" if is_for_summary(request) else "answer"] * 20)
    chat = way.chat(gate.agent(model), MemoryStore(), memory=Summarize(after_turns=2, keep=1))
    runs = [chat.send(f"message {number}") for number in range(3)]
    asked = [request for request in model.requests if is_for_summary(request)]
    assert len(asked) == (1 if by == "the model" else 0)
    assert all({"safetySettings", "labels"} <= request.keys() for request in asked)
    assert gate.before == gate.after == ["turn", "turn", "summary", "turn"]
    assert "a summary" in str(model.requests[-1]["contents"][0])
    assert runs[-1].usage.requests == 1 + len(asked)
    assert len(runs[-1].turn_usages) == 1


# -- counts


class Counting(ScriptedModel):
    """Counts tokens, or doesn't."""

    def __init__(self, count: Any) -> None:
        super().__init__([lambda request: "answer " * 30] * 20)
        self.count = count
        self.counted: list[Request] = []

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        self.counted.append(request)
        if isinstance(self.count, Exception):
            raise self.count
        return int(self.count)


def send_four(gate: Gate, model: Model, way: Way) -> list[Run[Any]]:
    chat = way.chat(gate.agent(model), MemoryStore(), memory=TokenBudget(120))
    return [chat.send(f"message {number}, that is") for number in range(4)]


def test_a_count_passes_the_hooks_takes_no_slot_and_costs_nothing(way: Way) -> None:
    gate, model = Gate(), Counting(50)
    runs = send_four(gate, model, way)
    assert gate.after == ["turn"] * 4
    assert Counter(gate.before) == {"turn": 4, "count": len(model.counted)}
    assert len(model.counted) >= 3
    assert Counter(gate.limit.asked) == {"reserve": 4, "settle": 4}
    assert [run.usage.requests for run in runs] == [1] * 4


@pytest.mark.parametrize(("code", "tries"), [(503, NO_WAIT.attempts), (400, 1)])
def test_where_a_count_fails_an_estimate_does(way: Way, code: int, tries: int) -> None:
    gate, model = Gate(), Counting(fault(code))
    runs = send_four(gate, model, way)
    assert [run.stop for run in runs] == [None] * 4
    assert len(model.counted) == tries * gate.before.count("count")


@pytest.mark.parametrize("said", [Deny("no"), reply("x")], ids=["Deny", "a reply"])
def test_a_count_that_a_hook_answers_is_an_estimate(way: Way, said: Any) -> None:
    gate, model = Gate(), Counting(50)
    gate.say = lambda request, purpose: said if purpose == "count" else None
    assert [run.stop for run in send_four(gate, model, way)] == [None] * 4
    assert model.counted == []


def test_a_hook_changes_what_is_counted_in_place(way: Way) -> None:
    gate, model = Gate(), Counting(50)

    def shorten(request: Any, purpose: str) -> None:
        if purpose == "count":
            request["contents"][0]["parts"][0]["text"] = "short"

    gate.say = shorten
    send_four(gate, model, way)
    assert {request["contents"][0]["parts"][0]["text"] for request in model.counted} == {"short"}
    assert "message 0" in str(model.requests[0]["contents"][0])


# -- what hooks do to requests and replies


def changing(**fields: Any) -> Callable[[Any, str], None]:
    return lambda request, purpose: request.update(fields)


def test_a_request_changed_in_place_is_sent_and_the_history_is_not_changed(way: Way) -> None:
    gate, model = Gate(), ScriptedModel(["done"])

    def change(request: Any, purpose: str) -> None:
        request["contents"][0]["parts"][0]["text"] = "changed"
        request["generationConfig"] = {"temperature": 0}

    gate.say = change
    run = way.run(gate.agent(model), "x")
    assert model.requests[0]["contents"][0]["parts"] == [{"text": "changed"}]
    assert model.requests[0]["generationConfig"] == {"temperature": 0}
    assert run.contents[0]["parts"] == [{"text": "x"}]


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(lambda request, purpose: "x", id="a str"),
        pytest.param(lambda request, purpose: True, id="True"),
        pytest.param(lambda request, purpose: {"candidates": 3}, id="no candidates"),
        pytest.param(lambda request, purpose: request["contents"].clear(), id="no content"),
        pytest.param(changing(contents="x"), id="a str for contents"),
        pytest.param(changing(contents=None), id="None for contents"),
        pytest.param(lambda request, purpose: request.clear(), id="nothing"),
        pytest.param(changing(x={1}), id="a set in place"),
        pytest.param(changing(x=float("nan")), id="NaN in place"),
        pytest.param(lambda request, purpose: {**request, "x": {1}}, id="a set"),
    ],
)
def test_a_hook_that_makes_no_request_is_a_configuration_error(way: Way, say: Any) -> None:
    gate = Gate()
    gate.say = say
    with pytest.raises(ConfigurationError) as caught:
        way.run(gate.agent(ScriptedModel(["done"])), "x")
    assert caught.value.run.stop == "error"
    assert "ConfigurationError" in caught.value.run.why


@pytest.mark.parametrize("value", [{1}, float("nan"), object()], ids=["a set", "NaN", "an object"])
def test_a_reply_of_a_hook_that_is_no_json_is_a_configuration_error(either: Way, value: Any) -> None:
    gate = Gate()
    part = {"text": "x", "more": value}
    gate.say = lambda request, purpose: {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]
    }
    with pytest.raises(ConfigurationError):
        either.run(gate.agent(ScriptedModel([])), "x")


@pytest.mark.parametrize("value", [3, ["STOP"], {"a": 1}], ids=str)
def test_a_finish_reason_that_is_no_text_ends_a_run_that_can_be_written_down(either: Way, value: Any) -> None:
    strange = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": value}]
    }
    run = either.run(Agent(ScriptedModel([strange] * 5)), "x")
    assert run.stop is not None
    assert Run.from_json(run.to_json()).stop == run.stop


def test_a_denied_request_ends_the_run_with_the_reason(way: Way) -> None:
    gate = Gate()
    gate.say = lambda request, purpose: Deny("too secret")
    run = way.run(gate.agent(ScriptedModel([])), "x")
    assert run.stop == "refused"
    assert "too secret" in run.why


# -- the end of the time, and cancelling


class Slow(Model):
    """Takes its time before each chunk."""

    name = "slow"

    def __init__(self, *chunks: str, pause: float) -> None:
        self._chunks = chunks
        self._pause = pause
        self.open = 0

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        self.open += 1
        try:
            for chunk in self._chunks:
                time.sleep(self._pause)
                yield {"candidates": [{"content": {"role": "model", "parts": [{"text": chunk}]}}]}
            yield reply("", finish_reason="STOP")
        finally:
            self.open -= 1


def full() -> RateLimit:
    """Make a limit that has no room for a minute."""
    limit = RateLimit(requests_per_minute=1)
    limit.reserve(0)
    return limit


async def waits(*args: Any) -> None:
    """Wait."""
    await asyncio.sleep(PATIENCE)


FREE = threading.Event()


def blocks(*args: Any) -> None:
    """Block until the run has ended."""
    FREE.wait(PATIENCE)


@contextmanager
def nothing_left_but_what_blocks() -> Iterator[None]:
    """Free what blocks afterwards; fail if anything else outlives the block."""
    FREE.clear()
    with nothing_left():
        try:
            yield
        finally:
            FREE.set()


def looking_agent(**options: Any) -> Agent:
    return Agent(ScriptedModel([[call("look", sku="A")], "done"]), tools=[look], **options)


def waiting_places() -> Iterator[tuple[str, Callable[[], Agent]]]:
    """Make agents that wait somewhere."""
    yield "retry", lambda: Agent(ScriptedModel([fault(503, retry_after=50.0), "x"]))
    yield "rate limit", lambda: Agent(ScriptedModel(["x"]), rate_limit=full())
    for hook in ("before_model", "after_model", "before_tool", "after_tool"):
        hooks: dict[str, Any] = {hook: waits}
        yield hook, partial(looking_agent, hooks=Hooks(**hooks))
        yield f"{hook}, sync", partial(looking_agent, hooks=Hooks(**{hook: blocks}))
    yield "instructions", partial(looking_agent, instructions=waits)
    yield "choose_tools", partial(looking_agent, choose_tools=waits)


PLACES = dict(waiting_places())


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_run_is_cancelled_wherever_it_waits(either: Way, place: str) -> None:
    agent = PLACES[place]()
    with nothing_left_but_what_blocks():
        run = cancelled(agent, either.is_async)
    assert (run.stop, bool(run.why)) == ("cancelled", True)


def cancelled(agent: Agent, is_async: bool, after: float = 0.1) -> Run[Any]:
    """Cancel a run from outside of its stream, after some seconds."""

    async def go() -> Run[Any]:
        async with agent.aio.stream("x") as stream:
            asyncio.get_running_loop().call_later(after, stream.cancel)
            return await stream.drain()

    if is_async:
        return finish(go)
    with agent.stream("x") as stream:
        threading.Timer(after, stream.cancel).start()
        return stream.drain()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_the_time_of_a_run_is_up_wherever_it_waits(either: Way, place: str) -> None:
    agent = PLACES[place]()
    with nothing_left_but_what_blocks():
        run = either.run(agent, "x", limits=Limits(seconds=0.1))
    assert (run.stop, bool(run.why)) == ("seconds", True)


@pytest.mark.slow
@pytest.mark.parametrize("place", [place for place in PLACES if "sync" not in place])
def test_a_task_is_cancelled_wherever_its_run_waits(place: str) -> None:
    agent = PLACES[place]()

    async def go() -> None:
        task = asyncio.create_task(agent.aio.run("x"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with nothing_left():
        finish(go)


def cancel_at(kind: type[Event], agent: Agent, is_async: bool) -> tuple[list[Event], Run[Any]]:
    """Cancel a run from where its events are read, at the first of a kind."""
    events: list[Event] = []

    async def go() -> Run[Any]:
        async with agent.aio.stream("x") as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, kind):
                    stream.cancel()
        return stream.run

    if is_async:
        return events, asyncio.run(go())
    with agent.stream("x") as stream:
        for event in stream:
            events.append(event)
            if isinstance(event, kind):
                stream.cancel()
    return events, stream.run


def test_who_reads_the_pieces_of_a_sync_reply_cancels_it_at_once() -> None:
    events, run = cancel_at(TextDelta, Agent(ScriptedModel(["a b c d e f"])), is_async=False)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("a ")]
    assert (run.stop, run.text) == ("cancelled", "a ")
    assert isinstance(events[-1], RunFinished)


def test_who_reads_the_pieces_of_an_async_reply_cancels_it_at_once() -> None:
    events, run = cancel_at(TextDelta, Agent(ScriptedModel(["a b c d e f"])), is_async=True)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("a ")]
    assert run.stop == "cancelled"


def test_who_reads_that_a_call_begins_cancels_before_the_model_is_asked_again(either: Way) -> None:
    model = ScriptedModel([[call("look", sku="A")], "done"])
    _, run = cancel_at(ToolStarted, Agent(model, tools=[look]), either.is_async)
    assert run.stop == "cancelled"
    assert len(model.requests) == 1


@pytest.mark.slow
def test_the_time_of_a_sync_run_is_up_between_two_pieces() -> None:
    def drained(seconds: float) -> Run[Any]:
        model = Slow("a ", "b ", "c ", pause=seconds * 2 / 3)
        with Agent(model, limits=Limits(seconds=seconds)).stream("x") as stream:
            run = stream.drain()
        assert (run.stop, model.open) == ("seconds", 0)
        return run

    run = given_time(drained, lambda run: run.text)
    assert run.text in ("a ", "a b ")


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_the_time_of_an_async_run_is_up_while_a_plain_model_is_asked(streamed: bool) -> None:
    def slow(longer: float) -> None:
        model = Slow("a ", "b ", pause=0.6 * longer)
        agent = Agent(model, limits=Limits(seconds=0.1 * longer))
        assert Way(is_async=True, streamed=streamed).run(agent, "x").stop == "seconds"

    stretched(slow)


@pytest.mark.slow
def test_a_task_is_cancelled_while_a_plain_model_is_asked() -> None:
    model = Slow("a ", pause=1.0)

    async def go() -> None:
        task = asyncio.create_task(Agent(model).aio.run("x"))
        await auntil(lambda: model.open)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with nothing_left():
        finish(go)
    assert model.open == 0


# -- what a model raises


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(2)], ids=repr)
def test_what_a_model_raises_otherwise_gets_out_as_it_is_and_nothing_is_left(way: Way, error: Any) -> None:
    gate = Gate()
    with nothing_left(), pytest.raises(type(error)):
        way.run(gate.agent(ScriptedModel([[call("look", sku="A")], error]), tools=[look]), "x")
    assert Counter(gate.limit.asked) == {"reserve": 2, "settle": 2}


def test_a_failure_of_the_model_has_the_run_with_all_that_was_paid_for(way: Way) -> None:
    gate = Gate()
    with pytest.raises(ModelError) as caught:
        way.run(gate.agent(ScriptedModel([[call("look", sku="A")], fault(400)]), tools=[look]), "x")
    run = caught.value.run
    assert (run.stop, run.turns, len(run.contents)) == ("error", 1, 3)
    assert "a scripted fault" in run.why
    again = Agent(ScriptedModel(["done"]), tools=[look], retry=RetryPolicy(attempts=1)).resume(run)
    assert (again.text, again.turns) == ("done", 2)


def content(parts: Any) -> Any:
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}


class Raw(Model):
    """Gives what it was given, whatever that is."""

    def __init__(self, said: Any) -> None:
        self._said = said

    @property
    def name(self) -> str:
        return "raw"

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        yield self._said


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"candidates": None},
        {"candidates": []},
        content(None),
        content([{"functionCall": None}]),
        content([{"functionCall": {"name": 3}}]),
        content([{"functionCall": {"name": "look", "args": [1]}}]),
        content([{"text": None}]),
        {"promptFeedback": {"blockReason": 3}},
        {**content([{"text": "x"}]), "usageMetadata": "junk"},
        {**content([{"text": "x"}]), "usageMetadata": {"promptTokenCount": -1, "totalTokenCount": 10**30}},
        {"candidates": [3]},
        {"candidates": [{"content": 3}]},
        content(3),
        content([None]),
        content([{"text": 3}]),
        {"promptFeedback": 3},
        content([{"functionResponse": {"name": "look", "response": {}}}]),
    ],
    ids=str,
)
def test_whatever_a_model_replies_the_history_stays_valid_and_nothing_foreign_gets_out(
    way: Way, said: Any
) -> None:
    try:
        way.run(Agent(Raw(said), tools=[look], limits=Limits(turns=3), retry=NO_WAIT), "x")  # which checks it
    except ModelError as error:
        check_history(error.run.contents)
