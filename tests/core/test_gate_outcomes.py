"""The gate of outcomes: whoever says what becomes of a call, it is validated and told in one way, or it waits on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ConfigurationError,
    Context,
    DecisionError,
    Deny,
    Edit,
    Hooks,
    Limits,
    MemoryStore,
    Result,
    Run,
    SQLiteStore,
    StoreError,
    Tool,
    ToolDeferred,
)
from agentkit.events import AgentEvent, Event, ToolFinished, ToolStarted
from agentkit.run import AsyncRunStream, RunStream
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call, check_history
from agentkit.wire.content import responses_of
from tests.helpers.until import PATIENCE, given_time
from tests.helpers.ways import Way, WayChat, either, way

__all__ = ["either", "way"]


def nest(levels: int) -> list[Any]:
    """Nest lists deeper than Python can show."""
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


NO_DECISION: dict[str, Any] = {
    "True": True,
    "a list": [1],
    "a str": "yes",
    "a class": Approve,
    "more than can be shown": nest(5000),
}
NO_EDIT: dict[str, Any] = {
    "unknown argument": Edit({"nope": 1}),
    "wrong type": Edit({"sku": [1]}),
    "a set": Edit({"sku": {1}}),
    "NaN": Edit({"sku": float("nan")}),
    "too deep": Edit({"sku": nest(5000)}),
}
NO_RESULT: dict[str, Any] = {"an object": Result(object())}
MISTAKES = [
    pytest.param(said, id=f"{kind} {name}")
    for kind, table in (("say", NO_DECISION), ("Edit", NO_EDIT), ("Result", NO_RESULT))
    for name, said in table.items()
]


class Shop:
    """Orders, and notes what was ordered."""

    def __init__(self, *, approval: bool = True) -> None:
        self.ordered: list[str] = []

        def order(sku: str) -> str:
            """Order."""
            self.ordered.append(sku)
            return f"ordered {sku}"

        self.tool = Tool.of(order, approval=approval, effect="write")

    def agent(self, *script: Any, **options: Any) -> Agent:
        return Agent(ScriptedModel(script), tools=[self.tool], **options)


def two_orders(shop: Shop, **options: Any) -> Agent:
    return shop.agent([call("order", sku="A"), call("order", sku="B")], "done", "done", **options)


def nested(inner: Agent, levels: int) -> Agent:
    """Put an agent into so many others."""
    for level in range(levels):
        name = inner.name
        inner = Agent(
            ScriptedModel([[call(name, request="?")], "done"]), name=f"level{level}", tools=[inner.as_tool()]
        )
    return inner


def approve_all(run: Run[Any]) -> dict[str, Any]:
    return {waiting.call_id: Approve() for waiting in run.pending}


def told(run: Run[Any]) -> list[Any]:
    return [response["response"] for content in run.contents for response in responses_of(content)]


# -- what a person says


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("said", MISTAKES)
def test_a_persons_mistake_is_told_to_them_and_the_calls_wait_on(either: Way, said: Any, levels: int) -> None:
    shop = Shop()
    agent = nested(two_orders(shop, name="inner"), levels)
    run = either.run(agent, "x")
    first, second = (waiting.call_id for waiting in run.pending)
    with pytest.raises(DecisionError) as caught:
        either.resume(agent, run, {first: Approve(), second: said})
    assert shop.ordered == []
    left = caught.value.run
    assert left is not None
    check_history(left.contents)
    assert [(w.call_id, w.args, w.path) for w in left.pending] == [
        (w.call_id, w.args, w.path) for w in run.pending
    ]
    assert (left.stop, bool(left.why)) == ("error", True)
    again = either.resume(agent, left.to_json(), approve_all(left))
    assert (again.text, shop.ordered) == ("done", ["A", "B"])


@pytest.mark.parametrize("json", [False, True], ids=["the run", "its JSON"])
def test_after_a_mistake_the_run_and_what_is_left_of_it_go_on_once_between_them(
    either: Way, json: bool
) -> None:
    shop = Shop()
    agent = two_orders(shop)
    run = either.run(agent, "x")
    with pytest.raises(DecisionError) as caught:
        either.resume(agent, run, {run.pending[0].call_id: True})  # type: ignore[dict-item]
    left = caught.value.run
    assert either.resume(agent, run, approve_all(run)).text == "done"
    with pytest.raises(AgentError, match="resumed already"):
        either.resume(agent, left, approve_all(left))
    assert shop.ordered == ["A", "B"]


@pytest.mark.parametrize(
    "decisions", [[Approve()], "abc", 3, {"unknown": Approve()}, {3: Approve()}], ids=str
)
def test_decisions_that_fit_no_call_are_refused_and_nothing_has_run(either: Way, decisions: Any) -> None:
    shop = Shop()
    agent = two_orders(shop)
    run = either.run(agent, "x")
    with pytest.raises(ConfigurationError):
        either.resume(agent, run, decisions)
    assert shop.ordered == []
    assert either.resume(agent, run, approve_all(run)).text == "done"


def test_a_mistake_beside_a_good_decision_of_another_sub_agent_runs_nothing_twice(either: Way) -> None:
    shops = Shop(), Shop()
    inner = [
        shop.agent([call("order", sku=name)], "ok", "ok", name=name)
        for shop, name in zip(shops, "ab", strict=True)
    ]
    script = [[call("a", request="?"), call("b", request="?")], "done", "done"]
    agent = Agent(ScriptedModel(script), tools=[each.as_tool(effect="read") for each in inner])
    run = either.run(agent, "x")
    first, second = (waiting.call_id for waiting in run.pending)
    with pytest.raises(DecisionError) as caught:
        either.resume(agent, run, {first: Approve(), second: Edit({"nope": 1})})
    left = caught.value.run
    assert [waiting.call_id for waiting in left.pending] == [second]
    assert {"output": "ok"} in told(left)
    with pytest.raises(AgentError, match="resumed already"):
        either.resume(agent, run, approve_all(run))
    assert either.resume(agent, left, approve_all(left)).text == "done"
    assert [shop.ordered for shop in shops] == [["a"], ["b"]]


def test_after_a_mistake_inside_a_sub_agent_all_that_waits_is_listed(either: Way) -> None:
    outside, inside = Shop(), Shop()
    inner = inside.agent([call("order", sku="in")], "ok", "ok", name="inner")
    script = [[call("inner", request="?"), call("order", sku="out")], "done", "done"]
    agent = Agent(ScriptedModel(script), tools=[inner.as_tool(), outside.tool])
    run = either.run(agent, "x")
    first, second = (waiting.call_id for waiting in run.pending)
    with pytest.raises(DecisionError) as caught:
        either.resume(agent, run, {first: Edit({"nope": 1}), second: Approve()})
    left = caught.value.run
    assert [waiting.call_id for waiting in left.pending] == [first, second]
    assert either.resume(agent, left, approve_all(left)).text == "done"
    assert (inside.ordered, outside.ordered) == (["in"], ["out"])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """Make a store, in memory and on disk."""
    with MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "chats.db") as made:
        yield made


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("said", [True, Edit({"nope": 1}), Result(object())], ids=["True", "Edit", "Result"])
def test_in_a_chat_a_persons_mistake_leaves_the_calls_waiting_in_the_store(
    either: Way, store: SessionStore, said: Any, levels: int
) -> None:
    shop = Shop()
    chat = either.chat(nested(two_orders(shop, name="inner"), levels), store)
    chat.send("x")
    first, second = (waiting.call_id for waiting in chat.pending)
    with pytest.raises(DecisionError) as caught:
        chat.resume({first: Approve(), second: said})
    assert [waiting.call_id for waiting in caught.value.run.pending] == [first, second]
    assert [waiting.call_id for waiting in chat.pending] == [first, second]
    assert shop.ordered == []
    assert chat.resume({first: Approve(), second: Approve()}).text == "done"
    assert shop.ordered == ["A", "B"]
    with pytest.raises(DecisionError):
        chat.resume({first: Approve()})
    assert shop.ordered == ["A", "B"]


def test_of_many_who_resume_a_chat_at_the_same_time_one_does(
    store: SessionStore, no_thread_left: None
) -> None:
    shop = Shop()
    agent = two_orders(shop)
    decisions = approve_all(agent.chat("ann", store).send_message("x"))
    said: list[str] = []

    def go() -> None:
        try:
            said.append(agent.chat("ann", store).resume(decisions).text)
        except AgentError:
            said.append("refused")

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["done", "refused", "refused", "refused"]
    assert shop.ordered == ["A", "B"]


class Failing(MemoryStore):
    """Fails once, at the n-th time that something is appended."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def write(self, *args: Any, **options: Any) -> Any:
        return FailingWriter(super().write(*args, **options), self)


class FailingWriter:
    """The writer of such a store."""

    def __init__(self, writer: Any, store: Failing) -> None:
        self._writer = writer
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def append(self, *args: Any, **options: Any) -> Any:
        if self._store.left is not None:
            self._store.left -= 1
            if self._store.left == 0:
                raise StoreError("the disk is full")
        return self._writer.append(*args, **options)


@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize("step", range(1, 9))
def test_at_whichever_step_a_store_fails_the_error_has_the_run_and_nothing_runs_twice(
    either: Way, step: int, levels: int
) -> None:
    shop, store = Shop(), Failing()
    inner = shop.agent([call("order", sku="A"), call("order", sku="B")], *["done"] * 4, name="inner")
    agent = inner
    if levels:
        agent = Agent(ScriptedModel([[call("inner", request="?")], *["done"] * 4]), tools=[inner.as_tool()])
    chat = either.chat(agent, store)
    decisions = approve_all(chat.send("x"))
    store.left = step
    try:
        final = chat.resume(decisions)
    except StoreError as error:
        left = error.run
        assert left.stop == "error" or left.text == "done"
        check_history(left.contents)
        Run.from_json(left.to_json())
        final = settle(chat)
    assert (final.stop, final.text) == (None, "done")
    assert len(set(shop.ordered)) == len(shop.ordered)


def settle(chat: WayChat) -> Run[Any]:
    """Go on with a chat, whatever it waits for."""
    for _ in range(5):
        for waiting in chat.pending:
            if waiting.kind == "unknown_effect":
                chat.agent.chat(chat.id, chat.store).resolve(waiting.call_id, result="found out")
        run = chat.resume({w.call_id: Approve() for w in chat.pending if w.kind == "approval"})
        if run.stop is None:
            return run
    return run


def test_a_mistake_about_a_call_inside_a_tool_of_the_users_is_told_to_who_made_it(either: Way) -> None:
    shop = Shop()
    inner = shop.agent([call("order", sku="A")], "inner done")

    def nests(ctx: Context[Any]) -> str:
        """Ask an agent."""
        run = inner.run("x") if ctx.resumed is None else inner.resume(json.dumps(ctx.resumed), ctx.decisions)
        if run.pending:
            raise ToolDeferred("waits", state=json.loads(run.to_json()), pending=run.pending)
        return run.text

    agent = Agent(ScriptedModel([[call("nests")], "done", "done"]), tools=[nests])
    run = either.run(agent, "x")
    (waiting,) = run.pending
    with pytest.raises(DecisionError) as caught:
        either.resume(agent, run, {waiting.call_id: Edit({"nope": 1})})
    again = either.resume(agent, caught.value.run, {waiting.call_id: Approve()})
    assert (again.text, shop.ordered) == ("done", ["A"])


# -- what a hook or an approver says


def saying(said: Any) -> Callable[[Any, Any], Any]:
    def function(about: Any, context: Any) -> Any:
        return said

    return function


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("who", ["before_tool", "approver", "outer approver"])
@pytest.mark.parametrize("said", [*MISTAKES, pytest.param(Approve(), id="Approve of a hook")])
def test_a_mistake_of_the_program_raises_and_the_call_waits(
    either: Way, who: str, said: Any, levels: int
) -> None:
    if isinstance(said, Approve) and who != "before_tool":
        said = 3  # an approver may approve
    shop = Shop(approval=who != "before_tool")
    own: dict[str, Any] = {
        "before_tool": {"hooks": Hooks(before_tool=saying(said))},
        "approver": {"approver": saying(said)},
        "outer approver": {},
    }
    agent = nested(two_orders(shop, name="inner", **own[who]), levels)
    options = {"approver": saying(said)} if who == "outer approver" else {}
    with pytest.raises(ConfigurationError) as caught:
        either.run(agent, "x", **options)
    left = caught.value.run
    assert shop.ordered == []
    check_history(left.contents)
    assert [waiting.args for waiting in left.pending] == [{"sku": "A"}, {"sku": "B"}]
    assert {len(waiting.path) for waiting in left.pending} == {levels}
    assert not left.errors
    healed = nested(two_orders(shop, name="inner"), levels)
    again = either.resume(healed, left.to_json(), approve_all(left))
    if again.pending:  # the inner model's script begins anew
        again = either.resume(healed, again, approve_all(again))
    assert shop.ordered[:2] == ["A", "B"]


@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_of_after_tool_raises_and_what_ran_is_not_run_again(
    either: Way, said: Any, levels: int
) -> None:
    shop = Shop(approval=False)
    agent = nested(two_orders(shop, name="inner", hooks=Hooks(after_tool=saying(said))), levels)
    with pytest.raises(ConfigurationError) as caught:
        either.run(agent, "x")
    left = caught.value.run
    assert shop.ordered == ["A"]
    check_history(left.contents)
    assert not left.pending
    assert "ordered" not in str(told(left))  # it was withheld
    assert either.resume(nested(shop.agent("done", name="inner"), 0), left.to_json()).text == "done"
    assert shop.ordered == ["A"]


def test_what_hooks_change_in_place_changes_no_call(way: Way) -> None:
    shop = Shop(approval=False)

    def before(args: Any, context: Any) -> None:
        args["sku"] = "changed"

    def after(response: Any, context: Any) -> None:
        response["response"]["output"] = "changed"

    run = way.run(two_orders(shop, hooks=Hooks(before_tool=before, after_tool=after)), "x")
    assert shop.ordered == ["A", "B"]
    assert told(run) == [{"output": "ordered A"}, {"output": "ordered B"}]


@pytest.mark.parametrize(
    ("said", "told_model"),
    [
        (Deny("no"), {"error": "The program refused this call: no"}),
        (Result([1]), {"output": [1]}),
        (Result(None), {"output": None}),
    ],
    ids=["Deny", "Result", "Result of None"],
)
def test_what_a_hook_says_is_the_outcome_of_the_call(way: Way, said: Any, told_model: Any) -> None:
    shop = Shop(approval=False)
    run = way.run(two_orders(shop, hooks=Hooks(before_tool=saying(said))), "x")
    assert told(run) == [told_model, told_model]
    assert shop.ordered == []


def test_arguments_that_a_person_edited_are_what_runs_and_what_is_told(either: Way) -> None:
    shop = Shop()
    agent = two_orders(shop)
    run = either.run(agent, "x")
    first, second = (waiting.call_id for waiting in run.pending)
    final = either.resume(agent, run, {first: Edit({"sku": "E"}), second: Deny("no")})
    assert shop.ordered == ["E"]
    assert told(final)[0]["output"]["result"] == "ordered E"
    assert "A person changed the arguments" in told(final)[0]["output"]["note"]


# -- beginning and end of calls


def pairs_of(events: list[Event]) -> None:
    """Check that each call that begins ends once, in whichever agent."""
    begun: set[tuple[Any, ...]] = set()
    for event in events:
        path: tuple[str, ...] = ()
        while isinstance(event, AgentEvent):
            path, event = (*path, *event.path), event.event
        if isinstance(event, ToolStarted):
            assert (path, event.call_id) not in begun
            begun.add((path, event.call_id))
        elif isinstance(event, ToolFinished):
            begun.remove((path, event.call_id))
    assert not begun


FREE = threading.Event()


@pytest.fixture
def free() -> Iterator[None]:
    """Have `blocks` block until the test has ended."""
    FREE.clear()
    yield
    FREE.set()


def blocks() -> None:
    """Block."""
    FREE.wait(PATIENCE)


async def waits() -> None:
    """Wait."""
    await asyncio.sleep(60)


async def clings() -> None:
    """Wait, and take time to end."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)


def around(inner: Agent, **tool: Any) -> dict[str, Any]:
    """Make the script and the tools of an agent that asks another."""
    return {
        "model": ScriptedModel([[call(inner.name, request="?")], "done"]),
        "tools": [inner.as_tool(**tool)],
    }


def _begins(tool: Any, event: Event) -> bool:
    """Return whether a call of a tool begins, at whatever depth."""
    while isinstance(event, AgentEvent):
        event = event.event
    return isinstance(event, ToolStarted) and event.name == tool.__name__


def cut_off(how: str, tool: Any, seconds: float, **watched: Any) -> Agent:
    """Make an agent of which something is cut off after so many seconds, while a tool runs."""
    model = ScriptedModel([[call(tool.__name__)], "done"])
    if how == "the tool's time":
        return Agent(model, tools=[tool], tool_timeout=seconds, **watched)
    if how == "the run's time":
        return Agent(model, tools=[tool], limits=Limits(seconds=seconds), **watched)
    if how == "the time of a run inside":
        inner = Agent(model, name="inner", tools=[tool], limits=Limits(seconds=seconds))
        return Agent(**around(inner), **watched)
    inner = Agent(model, name="inner", tools=[tool])
    if how == "the time of a call with a run inside":
        return Agent(**around(inner, timeout=seconds), **watched)
    if how == "the time of a run around":
        return Agent(**around(inner), limits=Limits(seconds=seconds), **watched)
    middle = Agent(name="middle", **around(inner))
    if how == "the time of a call two levels up":
        return Agent(**around(middle, timeout=seconds), **watched)
    return Agent(**around(middle), limits=Limits(seconds=seconds), **watched)


@pytest.mark.slow
@pytest.mark.parametrize("tool", [blocks, waits, clings], ids=lambda tool: tool.__name__)
@pytest.mark.parametrize(
    "how",
    [
        "the tool's time",
        "the run's time",
        "the time of a run inside",
        "the time of a call with a run inside",
        "the time of a run around",
        "the time of a call two levels up",
        "the time of a run two levels up",
    ],
)
def test_each_call_that_begins_ends_also_when_it_is_cut_off(
    way: Way, how: str, tool: Any, free: None
) -> None:
    heard: list[Event] = []

    def run(seconds: float) -> Run[Any]:
        heard.clear()
        agent = cut_off(how, tool, seconds, observers=[lambda event, context: heard.append(event)])
        return way.run(agent, "x")

    given_time(run, lambda run: any(_begins(tool, event) for event in heard))
    pairs_of(heard)
    if way.streamed:
        pairs_of(way.events)


def stream_of(
    agent: Agent, is_async: bool, act: Callable[[Any, Event], None]
) -> tuple[list[Event], Run[Any]]:
    """Stream a run and do something at each event."""
    events: list[Event] = []

    def hear(stream: RunStream[Any] | AsyncRunStream[Any], event: Event) -> None:
        events.append(event)
        act(stream, event)

    async def go() -> Run[Any]:
        async with agent.aio.stream("x") as stream:
            async for event in stream:
                hear(stream, event)
        return stream.run

    if is_async:
        return events, asyncio.run(go())
    with agent.stream("x") as stream:
        for event in stream:
            hear(stream, event)
    return events, stream.run


@pytest.mark.slow
@pytest.mark.parametrize("tool", [blocks, waits], ids=lambda tool: tool.__name__)
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_each_call_that_begins_ends_also_when_the_run_is_cancelled(
    either: Way, tool: Any, levels: int, free: None
) -> None:
    agent = nested(Agent(ScriptedModel([[call(tool.__name__)], "done"]), name="inner", tools=[tool]), levels)

    def cancel(stream: Any, event: Event) -> None:
        if _begins(tool, event):
            threading.Timer(0.05, stream.cancel).start()

    events, run = stream_of(agent, either.is_async, cancel)
    assert run.stop == "cancelled"
    pairs_of(events)


@pytest.mark.parametrize("said", [ZeroDivisionError(), True], ids=["raises", "says what can't be done"])
def test_each_call_that_begins_ends_also_when_a_hook_fails(way: Way, said: Any) -> None:
    def after(response: Any, context: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    heard: list[Event] = []
    shop = Shop(approval=False)
    agent = two_orders(
        shop, hooks=Hooks(after_tool=after), observers=[lambda event, context: heard.append(event)]
    )
    with pytest.raises((ZeroDivisionError, ConfigurationError)):
        way.run(agent, "x")
    pairs_of(heard)


def test_calls_that_never_run_begin_and_end_too(way: Way) -> None:
    shop = Shop(approval=False)
    heard: list[Event] = []
    script = [[call("nothing"), call("order", sku=1), call("order", sku="A"), call("order", sku="B")], "done"]
    agent = Agent(
        ScriptedModel(script),
        tools=[shop.tool],
        limits=Limits(tool_calls=3),
        observers=[lambda event, context: heard.append(event)],
    )
    run = way.run(agent, "x")
    pairs_of(heard)
    assert len([event for event in heard if isinstance(event, ToolFinished)]) == 4
    assert run.stop == "tool_calls"


@pytest.mark.parametrize("said", ["approved", "denied"])
def test_calls_that_waited_begin_and_end_in_the_run_that_settles_them(either: Way, said: str) -> None:
    shop = Shop()
    heard: list[Event] = []
    agent = two_orders(shop, observers=[lambda event, context: heard.append(event)])
    run = either.run(agent, "x")
    assert not [event for event in heard if isinstance(event, (ToolStarted, ToolFinished))]
    decision: Any = Approve() if said == "approved" else Deny("no")
    either.resume(agent, run, {waiting.call_id: decision for waiting in run.pending})
    pairs_of(heard)
    assert len([event for event in heard if isinstance(event, ToolFinished)]) == 2
