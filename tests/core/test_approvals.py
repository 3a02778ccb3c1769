"""Approvals: what waits goes on waiting, what has run doesn't run again, and decisions are taken once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ChatManager,
    ConfigurationError,
    Context,
    Deny,
    Edit,
    Hooks,
    Limits,
    MemoryStore,
    ModelError,
    Output,
    PendingCall,
    Result,
    Run,
    SessionNotFound,
    SQLiteStore,
    Tool,
    ToolDeferred,
    tool,
)
from agentkit.errors import DecisionError, ToolTimeout
from agentkit.events import Event, ToolFinished, ToolProgress, ToolStarted
from agentkit.memory.turns import LastTurns
from agentkit.stores.base import AddMessage, DeferCall, StartCalls, StoredCall
from agentkit.stores.message import Message
from agentkit.testing import ScriptedModel, call, check_history, fault
from agentkit.wire.content import model_content, responses_of, user_content
from tests.helpers.until import PATIENCE, given_time
from tests.helpers.ways import WAYS, Decisions, Way, checked, either, way

__all__ = ["either", "way"]


class Shop:
    """Tools that write down what they did."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ids: list[str] = []

    def _note(self, what: str, ctx: Context[Any]) -> str:
        self.ran.append(what)
        self.ids.append(ctx.call_id)
        return what

    @property
    def tools(self) -> list[Any]:
        """All of them: two that need approval, and two that don't."""

        def order(sku: str, ctx: Context[Any], n: int = 1) -> str:
            """Order items."""
            return self._note(f"order {n} {sku}", ctx)

        async def pay(amount: int, ctx: Context[Any]) -> str:
            """Pay."""
            await asyncio.sleep(0)
            return self._note(f"pay {amount}", ctx)

        def stock(sku: str, ctx: Context[Any]) -> str:
            """Look into the stock."""
            return self._note(f"stock {sku}", ctx)

        async def pack(sku: str, ctx: Context[Any]) -> str:
            """Pack."""
            await asyncio.sleep(0)
            return self._note(f"pack {sku}", ctx)

        return [
            Tool.of(order, effect="write", approval=True),
            Tool.of(pay, approval=True),
            Tool.of(stock, effect="read"),
            Tool.of(pack, effect="write"),
        ]


@pytest.fixture
def shop() -> Shop:
    return Shop()


def responses(run: Run) -> list[Any]:
    """The last turn's responses."""
    last = [content for content in run.contents if responses_of(content)][-1]
    return [response["response"] for response in responses_of(last)]


def approve(run: Run) -> Decisions:
    return {each.call_id: Approve() for each in run.pending}


MIXED = [call("order", sku="A"), call("stock", sku="B"), call("pay", amount=5), call("pack", sku="C")]


class Parked:
    """A run that waits, and each of the ways to go on with it."""

    def __init__(self, way: Way, how: str) -> None:
        self.way, self.how, self.store = way, how, MemoryStore()
        self.last: Run | None = None

    def begin(self, agent: Agent, **options: Any) -> Run:
        if self.how in ("chat", "store"):
            self.last = self.way.chat(agent, self.store).send("go", **options)
        else:
            self.last = self.way.run(agent, "go", **options)
        return self.last

    def resume(self, agent: Agent, decisions: Decisions | None = None, **options: Any) -> Run:
        assert self.last is not None
        if self.how == "run":
            self.last = self.way.resume(agent, self.last, decisions, **options)
        elif self.how == "json":
            self.last = self.way.resume(agent, self.last.to_json(), decisions, **options)
        else:
            chat = self.way.chat(agent, self.store)
            if self.last.stop in ("approval", "deferred"):
                assert [each.call_id for each in chat.pending] == [p.call_id for p in self.last.pending]
            if self.how == "chat":
                self.last = chat.resume(decisions, **options)
            else:
                run = self.last.to_json()
                self.last = self.way.resume(agent, run, decisions, store=self.store, **options)
        return self.last


@pytest.fixture(
    params=[
        *("run run", "arun json", "run chat", "arun store"),
        *(
            pytest.param(rest, marks=pytest.mark.slow)
            for rest in ("arun run", "run json", "arun chat", "run store")
        ),
    ]
)
def parked(request: pytest.FixtureRequest, no_thread_left: None) -> Parked:
    """Each way to park a run and go on with it, sync or async; CI has both of each."""
    name, _, how = request.param.partition(" ")
    return Parked(WAYS[name], how)


def test_a_run_goes_on_to_more_calls_after_its_decisions(parked: Parked, shop: Shop) -> None:
    script = [call("order", sku="A"), call("order", sku="B"), call("stock", sku="C"), "done"]
    agent = Agent(ScriptedModel(script), tools=shop.tools)
    run = parked.begin(agent)
    run = parked.resume(agent, approve(run))
    assert (run.stop, shop.ran) == ("approval", ["order 1 A"])
    run = parked.resume(agent, approve(run))
    assert (run.stop, run.text) == (None, "done")
    assert shop.ran == ["order 1 A", "order 1 B", "stock C"]
    assert len(set(shop.ids)) == 3


def test_decisions_where_nothing_waits_are_refused(parked: Parked, shop: Shop) -> None:
    model = ScriptedModel(["hi"])
    agent = Agent(model, tools=shop.tools)
    parked.begin(agent)
    with pytest.raises(ConfigurationError, match="nothing to decide"):
        parked.resume(agent, {"x": Approve()})
    assert parked.resume(agent).text == "hi"
    assert len(model.requests) == 1


# -- what breaks off a turn ------------------------------------------------------------------------------------------


@tool
def survey() -> str:
    """Ask the staff."""
    raise ToolDeferred("mail sent")


@tool
async def linger(ctx: Context[Any]) -> None:
    """Take long."""
    ctx.progress("under way")
    await asyncio.sleep(PATIENCE)


READING, LINGERING = Tool.of(linger, effect="read"), Tool.of(linger, effect="write")


def break_off(agent: Agent, way: Way, **options: Any) -> Run:
    """Begin a run and leave it when a tool says that it is under way."""
    if not way.is_async:
        with agent.stream("go", **options) as stream:
            next(event for event in stream if isinstance(event, ToolProgress))
        return checked(stream.run)

    async def go() -> Run:
        async with agent.aio.stream("go", **options) as stream:
            async for event in stream:
                if isinstance(event, ToolProgress):
                    break
        return stream.run

    return checked(asyncio.run(go()))


@pytest.mark.parametrize(
    ("names", "slow"),
    [
        (("survey", "linger"), READING),
        (("order", "linger"), READING),
        (("linger", "order"), linger),
        (("linger", "order"), LINGERING),
    ],
)
def test_a_call_that_waits_is_not_lost_when_its_turn_is_broken_off(
    either: Way, shop: Shop, names: tuple[str, str], slow: Any
) -> None:
    calls = [call(name, **({"sku": "A"} if name == "order" else {})) for name in names]
    model = ScriptedModel([[*calls, call("pack", sku="C")], "done"])
    agent = Agent(model, tools=[*shop.tools, survey, slow])
    run = break_off(agent, either)
    at = names.index("linger")
    assert run.stop == "cancelled"
    assert [each.name for each in run.pending] == [names[1 - at]]
    assert "may have taken effect" in responses(run)[at]["error"]
    run = either.resume(agent, run.to_json(), {run.pending[0].call_id: Result("came")})
    assert (run.stop, run.text) == (None, "done")
    assert responses(run)[1 - at] == {"output": "came"}
    assert "may have taken effect" in responses(run)[at]["error"]  # and it was not begun again
    assert shop.ran == ["pack C"]


def test_a_chat_that_is_broken_off_keeps_what_waits(either: Way, shop: Shop, tmp_path: Path) -> None:
    agent = Agent(
        ScriptedModel([[call("linger"), call("order", sku="A")], "done"]), tools=[*shop.tools, LINGERING]
    )
    with SQLiteStore(tmp_path / "a.db") as store:
        if either.is_async:

            async def go() -> None:
                async with agent.aio.chat("ann", store).send_message_stream("go") as stream:
                    async for event in stream:
                        if isinstance(event, ToolProgress):
                            break

            asyncio.run(go())
        else:
            with agent.chat("ann", store).send_message_stream("go") as stream:
                next(event for event in stream if isinstance(event, ToolProgress))
        chat = either.chat(agent, store)
        kinds = {each.name: (each.kind, each.call_id) for each in chat.pending}
        assert {name: kind for name, (kind, _) in kinds.items()} == {
            "linger": "unknown_effect",
            "order": "approval",
        }
        agent.chat("ann", store).resolve(kinds["linger"][1], result="it did")
        run = chat.resume({kinds["order"][1]: Result("came")})
        assert responses(run) == [{"output": "it did"}, {"output": "came"}]


def test_an_error_that_ends_the_run_does_not_end_what_waits(either: Way, tmp_path: Path) -> None:
    def fails() -> None:
        """Fail."""
        raise LookupError("secret")

    agent = Agent(
        ScriptedModel([[call("survey"), call("fails")], "done"]),
        tools=[survey, Tool.of(fails, effect="read")],
        on_error="raise",
    )
    with SQLiteStore(tmp_path / "a.db") as store:
        chat = either.chat(agent, store)
        with pytest.raises(LookupError):
            chat.send("go")
        (waiting,) = chat.pending
        run = chat.resume({waiting.call_id: Result("came")})
        assert run.text == "done"
        assert responses(run)[0] == {"output": "came"}
        assert "LookupError" in responses(run)[1]["error"]


# -- decisions -------------------------------------------------------------------------------------------------------


WRONG: list[tuple[Any, str]] = [
    (Edit({"sku": "A", "n": "many"}), "Edit.* of 'order'.*n"),
    (Edit({"sku": "A", "colour": "red"}), "Edit.* of 'order'.*colour"),
    (Edit({"sku": {1, 2}}), "Edit.* of 'order'.*JSON"),
    (Edit({"sku": "A", "n": float("nan")}), "Edit.* of 'order'.*JSON"),
    (Result(object()), "Result.* of 'order'"),
    (Approve, "isn't a decision"),
    ("yes", "isn't a decision"),
    (None, "isn't a decision"),
]


def test_a_decision_that_cannot_be_taken_is_refused_and_can_be_said_again(parked: Parked, shop: Shop) -> None:
    agent = Agent(ScriptedModel([MIXED, "done"]), tools=shop.tools)
    run = parked.begin(agent)
    before = list(shop.ran)
    order, pay = (each.call_id for each in run.pending)
    for wrong, words in WRONG:
        with pytest.raises(ConfigurationError, match=f"(?s){words}"):
            parked.resume(agent, {pay: Approve(), order: wrong})
        assert shop.ran == before
    run = parked.resume(agent, {pay: Approve(), order: Edit({"sku": "Z", "n": 2})})
    assert (run.text, shop.ran) == ("done", [*before, "order 2 Z", "pay 5", "pack C"])
    edited, _, paid, _ = responses(run)
    assert edited["output"]["result"] == "order 2 Z"
    assert edited["output"]["note"].startswith("A person changed the arguments")
    assert paid == {"output": "pay 5"}


def test_ids_of_no_call_that_waits_are_refused(parked: Parked, shop: Shop) -> None:
    agent = Agent(ScriptedModel([MIXED, "done"]), tools=shop.tools)
    run = parked.begin(agent)
    order, pay = (each.call_id for each in run.pending)
    done = shop.ids[0]
    wrongs: list[Any] = ["nobody", done, order.upper(), "", run.pending[1]]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError, match="There is no pending call with the id") as caught:
            parked.resume(agent, {order: Approve(), wrong: Approve()})
        assert order in str(caught.value)
    assert parked.resume(agent, {order: Deny()}).pending == run.pending[1:]
    with pytest.raises(ConfigurationError, match="There is no pending call with the id"):
        parked.resume(agent, {order: Approve()})  # it is settled by now
    assert shop.ran == ["stock B"]
    assert parked.resume(agent, {pay: Deny()}).text == "done"
    assert shop.ran == ["stock B", "pack C"]


def test_a_call_whose_tool_is_gone_can_still_be_answered_but_not_run(parked: Parked, shop: Shop) -> None:
    script = [[call("survey"), call("order", sku="A")], "done"]
    run = parked.begin(Agent(ScriptedModel(script[:1]), tools=[*shop.tools, survey]))
    later, order = (each.call_id for each in run.pending)
    bare = Agent(ScriptedModel(script[1:]), tools=shop.tools[2:])
    with pytest.raises(ConfigurationError, match="no tool 'order' any more"):
        parked.resume(bare, {order: Approve()})
    with pytest.raises(ConfigurationError, match="waits for its result"):
        parked.resume(bare, {later: Approve()})
    run = parked.resume(bare, {order: Result("by hand")})
    assert (run.stop, [each.call_id for each in run.pending]) == ("deferred", [later])
    run = parked.resume(bare, {later: Result("came")})
    assert responses(run) == [{"output": "came"}, {"output": "by hand"}]
    assert (run.text, shop.ran) == ("done", [])


def test_a_decision_counts_though_the_limit_of_tool_calls_leaves_no_room_for_the_call(
    parked: Parked, shop: Shop
) -> None:
    script = [[call("order", sku="A"), call("order", sku="B"), call("survey")], "done"]
    agent = Agent(ScriptedModel(script), tools=[*shop.tools, Tool.of(survey, effect="read")])
    run = parked.begin(agent)
    a, b, c = (each.call_id for each in run.pending)
    run = parked.resume(agent, {a: Approve(), b: Approve(), c: Result("came")}, limits=Limits(tool_calls=1))
    assert shop.ran == ["order 1 A"]
    assert responses(run) == [
        {"output": "order 1 A"},
        {"error": "The limit of tool calls is reached; this call was not run."},
        {"output": "came"},
    ]


def test_what_is_not_settled_when_the_time_is_up_waits_on(parked: Parked, shop: Shop) -> None:
    waiting = threading.Event()

    def hang(args: Any, ctx: Context[Any]) -> None:
        waiting.wait(PATIENCE)

    script = [[call("order", sku="A"), call("order", sku="B")], "done"]
    agent = Agent(ScriptedModel(script[:1]), tools=shop.tools)
    hanging = Agent(ScriptedModel([]), tools=shop.tools, hooks=Hooks(before_tool=hang))
    run = parked.begin(agent)
    decisions = approve(run)
    try:
        run = parked.resume(
            hanging, decisions, limits=Limits(seconds=0.05, on_limit="answer", answer_seconds=PATIENCE)
        )
    finally:
        waiting.set()
    assert run.stop == "approval"
    assert {each.call_id for each in run.pending} == set(decisions)
    run = parked.resume(Agent(ScriptedModel(script[1:]), tools=shop.tools), decisions, limits=Limits())
    assert (run.text, shop.ran) == ("done", ["order 1 A", "order 1 B"])


# -- after a crash ---------------------------------------------------------------------------------------------------


def crashed(names: list[str], *, started: tuple[int, ...]) -> MemoryStore:
    """A chat whose process ended when some of its calls had begun."""
    calls = [call(name, **ARGS[name]) for name in names]
    entries = [
        StoredCall(
            index=index,
            call_id=f"id-{index}",
            name=name,
            effect="write" if name in ("order", "pack") else "read",
            started=index in started,
        )
        for index, name in enumerate(names)
    ]
    store = MemoryStore()
    store.create("ann")
    writer = store.write("ann")
    asked, made = Message(content=user_content("go")), Message(content=model_content(*calls))
    writer.append([AddMessage(asked), AddMessage(made, calls=entries)])
    writer.release()
    return store


ARGS: dict[str, dict[str, Any]] = {
    "order": {"sku": "A"},
    "pay": {"amount": 5},
    "stock": {"sku": "B"},
    "pack": {"sku": "C"},
    "sign": {},
}


def test_a_decision_does_not_run_a_call_again_that_may_have_taken_effect(either: Way, shop: Shop) -> None:
    store = crashed(["order", "pay"], started=(0,))
    chat = either.chat(Agent(ScriptedModel(["done"]), tools=shop.tools), store)
    assert chat.resume().stop == "unknown_effect"
    assert [each.kind for each in chat.pending] == ["unknown_effect"]
    for decision in (Approve(), Deny(), Edit({"sku": "Z"}), Result("x")):
        with pytest.raises(ConfigurationError, match=r"took effect.*resolve"):
            chat.resume({"id-0": decision})
    with pytest.raises(ConfigurationError, match=r"[Nn]o (call is pending|pending call)"):
        chat.resume({"id-9": Approve()})
    assert chat.resume({"id-1": Approve()}).stop == "unknown_effect"
    assert shop.ran == []
    chat.agent.chat("ann", store).resolve("id-0", retry=True)
    assert chat.resume({"id-0": Approve(), "id-1": Approve()}).text == "done"
    assert shop.ran == ["order 1 A", "pay 5"]
    assert shop.ids == ["id-0", "id-1"]


def test_a_read_that_was_approved_and_cut_off_asks_again_where_everybody_sees_it(
    either: Way, shop: Shop
) -> None:
    store = crashed(["pay"], started=(0,))
    chat = either.chat(Agent(ScriptedModel(["done"]), tools=shop.tools), store)
    run = chat.resume()
    assert run.stop == "approval"
    assert [each.call_id for each in chat.pending] == [each.call_id for each in run.pending] == ["id-0"]
    assert chat.resume({"id-0": Approve()}).text == "done"
    assert shop.ran == ["pay 5"]


def test_a_call_whose_inner_call_was_decided_when_the_process_ended_waits_again_where_everybody_sees_it(
    either: Way,
) -> None:
    def sign(ctx: Context[Any]) -> str:
        """Sign."""
        return ", ".join(ctx.decisions)

    inner = PendingCall(call_id="in-1", name="pen", args={}, path=("clerk",))
    store = crashed(["sign"], started=())
    writer = store.write("ann")
    writer.append([DeferCall(0, {"why": "w", "state": {}, "pending": [inner.to_wire()]}), StartCalls([0])])
    writer.release()
    chat = either.chat(Agent(ScriptedModel(["done"]), tools=[sign]), store)
    assert chat.pending == [inner]
    assert chat.resume().pending == (inner,)
    assert chat.pending == [inner]
    assert not store.load("ann").calls[0].started
    run = chat.resume({"in-1": Approve()})
    assert (run.text, responses(run)) == ("done", [{"output": "in-1"}])


# -- what is told ----------------------------------------------------------------------------------------------------


def told(events: list[Event]) -> list[str]:
    return [
        f"{type(event).__name__} {event.name}"
        for event in events
        if isinstance(event, (ToolStarted, ToolFinished))
    ]


@pytest.mark.parametrize("way", [WAYS["stream"], WAYS["astream"]], ids=["sync", "async"])
def test_a_call_is_told_once_when_it_runs(way: Way, shop: Shop) -> None:
    agent = Agent(ScriptedModel([MIXED, "done"]), tools=shop.tools)
    run = way.run(agent, "go")
    assert told(way.events) == [
        "ToolStarted stock",
        "ToolFinished stock",
    ]
    stream = agent.resume_stream(run, approve(run))
    assert told(list(stream)) == [
        "ToolStarted order",
        "ToolFinished order",
        "ToolStarted pay",
        "ToolFinished pay",
        "ToolStarted pack",
        "ToolFinished pack",
    ]


# -- together with other features ------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [Approve(), Deny("no"), Result("by hand")])
def test_the_output_that_a_turn_gave_beside_a_call_that_waits_is_not_asked_for_again(
    parked: Parked, shop: Shop, said: Any
) -> None:
    output: Output[Any] = Output(list[int], mode="tool")
    model = ScriptedModel([[call("final_result", result=[1, 2]), call("order", sku="A")]])
    agent = Agent(model, tools=shop.tools)
    run = parked.begin(agent, output=output)
    assert (run.stop, run.output) == ("approval", None)
    run = parked.resume(agent, {run.pending[0].call_id: said}, output=output)
    assert (run.stop, run.output) == (None, [1, 2])
    assert len(model.requests) == 1
    assert shop.ran == (["order 1 A"] if said == Approve() else [])


# -- runs that stopped for something else ----------------------------------------------------------------------------


def test_a_run_that_a_limit_stopped_goes_on_where_it_was(parked: Parked, shop: Shop) -> None:
    model = ScriptedModel([[call("stock", sku="A"), call("stock", sku="B")], "done"])
    agent = Agent(model, tools=shop.tools, tool_choice="required")
    run = parked.begin(agent, limits=Limits(tool_calls=1))
    assert (run.stop, shop.ran) == ("tool_calls", ["stock A"])
    run = parked.resume(agent, limits=Limits(turns=1))
    assert (run.stop, run.text, shop.ran) == (None, "done", ["stock A"])
    modes = [request.get("toolConfig", {}).get("functionCallingConfig") for request in model.requests]
    assert modes == [{"mode": "ANY"}, None]  # forced on the first turn only


def test_a_run_that_an_outage_ended_goes_on_where_it_was(either: Way, shop: Shop) -> None:
    model = ScriptedModel([call("stock", sku="A"), fault(400), "done"])
    agent = Agent(model, tools=shop.tools)
    with pytest.raises(ModelError) as caught:
        either.run(agent, "go")
    assert caught.value.run is not None
    run = either.resume(agent, caught.value.run.to_json())
    assert (run.text, run.usage.requests, shop.ran) == ("done", 2, ["stock A"])
    assert run.contents[:3] == caught.value.run.contents


def test_an_outage_after_a_decision_keeps_what_was_done(parked: Parked, shop: Shop) -> None:
    agent = Agent(ScriptedModel([MIXED, fault(400), "done"]), tools=shop.tools)
    run = parked.begin(agent)
    with pytest.raises(ModelError) as caught:
        parked.resume(agent, approve(run))
    assert shop.ran == ["stock B", "order 1 A", "pay 5", "pack C"]
    parked.last = caught.value.run
    run = parked.resume(agent)
    assert (run.text, shop.ran) == ("done", ["stock B", "order 1 A", "pay 5", "pack C"])


def test_resuming_a_run_that_has_its_answer_asks_nothing(either: Way) -> None:
    model = ScriptedModel(["whole"])
    agent = Agent(model)
    run = either.run(agent, "go")
    again = either.resume(agent, run.to_json())
    assert (again.stop, again.text) == (None, "whole")
    assert (again.contents, again.usage) == (run.contents, run.usage)
    model.assert_complete()


# -- what needs approval ---------------------------------------------------------------------------------------------


def raises(args: Any, ctx: Context[Any]) -> bool:
    raise LookupError("secret rule")


@tool(approval=lambda args, ctx: many(args, ctx))
def typed(n: int) -> int:
    """Take; a type checker takes its approval too."""
    return n


def many(args: dict[str, Any], ctx: Context[Any]) -> bool | str:
    """Say why, typed as a developer would."""
    return args["n"] > 10 and "more than ten"


@pytest.mark.parametrize(
    ("approval", "why"),
    [
        (many, "more than ten"),
        (True, "The tool 'take' needs approval."),
        (lambda args, ctx: True, "The tool 'take' needs approval."),
        (lambda args, ctx: 1, "The tool 'take' needs approval."),
        (lambda args, ctx: f"{args['n']} is many, {ctx.deps}", "30 is many, ann"),
        (lambda args, ctx: args.clear() or "changed", "changed"),
        (False, None),
        (lambda args, ctx: False, None),
        (lambda args, ctx: "", None),
        (lambda args, ctx: None, None),
    ],
)
def test_a_tool_says_whether_and_why_it_needs_approval(way: Way, approval: Any, why: str | None) -> None:
    def take(n: int) -> int:
        """Take."""
        return n

    agent = Agent(ScriptedModel([call("take", n=30), "ok"]), tools=[Tool.of(take, approval=approval)])
    run = way.run(agent, "go", deps="ann")
    assert [(each.why, each.args) for each in run.pending] == ([] if why is None else [(why, {"n": 30})])
    assert run.stop == (None if why is None else "approval")


@pytest.mark.parametrize("on_error", ["respond", "raise"])
def test_an_approval_that_raises_lets_nothing_run(way: Way, on_error: Any) -> None:
    ran: list[int] = []
    agent = Agent(
        ScriptedModel([call("append", n=1), "ok"]),
        tools=[Tool.of(lambda n: ran.append(n), name="append", approval=raises)],
        on_error=on_error,
    )
    if on_error == "raise":
        with pytest.raises(LookupError):
            way.run(agent, "go")
    else:
        run = way.run(agent, "go")
        assert "secret" not in str(run.contents)
        assert [type(error) for error in run.errors] == [LookupError]
    assert ran == []


def test_the_whole_way_of_a_turn_of_which_some_wait(parked: Parked, shop: Shop) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> str:
        seen.extend(r["response"] for r in responses_of(request["contents"][-1]))
        return "done"

    agent = Agent(ScriptedModel([MIXED, answer]), tools=shop.tools)
    run = parked.begin(agent)
    assert [(each.name, each.kind, each.args) for each in run.pending] == [
        ("order", "approval", {"sku": "A"}),
        ("pay", "approval", {"amount": 5}),
    ]
    assert shop.ran == ["stock B"]
    run = parked.resume(agent)
    assert (run.stop, len(run.pending)) == ("approval", 2)
    order, pay = (each.call_id for each in run.pending)
    run = parked.resume(agent, {pay: Deny("too dear")})
    assert [each.call_id for each in run.pending] == [order]
    run = parked.resume(agent, {})
    run = parked.resume(agent, {order: Approve()})
    assert (run.stop, run.text, run.pending) == (None, "done", ())
    assert shop.ran == ["stock B", "order 1 A", "pack C"]
    assert shop.ids[1] == order
    assert len(set(shop.ids)) == 3
    assert seen == [
        {"output": "order 1 A"},
        {"output": "stock B"},
        {"error": "A person refused this call: too dear"},
        {"output": "pack C"},
    ]
    if parked.how in ("run", "json"):
        assert run.usage.requests == run.turns == 2
    else:
        assert parked.store.info("ann").usage.requests == 2
        assert not parked.store.load("ann").calls


@settings(max_examples=30)
@given(
    order=st.permutations(range(4)),
    said=st.lists(st.sampled_from(["approve", "deny", "edit", "result"]), min_size=4, max_size=4),
    cuts=st.sets(st.integers(0, 3)),
    how=st.sampled_from(["run", "json", "chat", "store"]),
    is_async=st.booleans(),
)
def test_decisions_in_any_order_and_any_parts_come_to_the_same(
    order: list[int], said: list[str], cuts: set[int], how: str, is_async: bool
) -> None:
    shop = Shop()
    parked = Parked(Way(is_async=is_async), how)
    agent = Agent(ScriptedModel([[call("order", sku=sku) for sku in "ABCD"], "done"]), tools=shop.tools)
    ids = [each.call_id for each in parked.begin(agent).pending]
    kinds: dict[str, Any] = {
        "approve": Approve(),
        "deny": Deny(),
        "edit": Edit({"sku": "E", "n": 2}),
        "result": Result("R"),
    }
    batch: dict[str, Any] = {}
    for position, index in enumerate(order):
        batch[ids[index]] = kinds[said[index]]
        if position in cuts or position == 3:
            run = parked.resume(agent, batch)
            batch = {}
            settled = set(order[: position + 1])
            assert [each.call_id for each in run.pending] == [ids[n] for n in range(4) if n not in settled]
    ran: dict[str, Callable[[int], str]] = {
        "approve": lambda n: f"order 1 {'ABCD'[n]}",
        "edit": lambda n: "order 2 E",
    }
    assert sorted(shop.ran) == sorted(ran[kind](n) for n, kind in enumerate(said) if kind in ran)
    assert sorted(shop.ids) == sorted(ids[n] for n, kind in enumerate(said) if kind in ran)
    got = [r.get("output", "refused") for r in responses(run)]
    expected: dict[str, Callable[[int], Any]] = {
        "approve": lambda n: f"order 1 {'ABCD'[n]}",
        "deny": lambda n: "refused",
        "edit": lambda n: {
            "result": "order 2 E",
            "note": 'A person changed the arguments before the call was made, to {"sku": "E", "n": 2}',
        },
        "result": lambda n: "R",
    }
    assert got == [expected[kind](n) for n, kind in enumerate(said)]


# -- an approver -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async", "awaitable"])
def test_an_approver_decides_while_the_run_waits(way: Way, shop: Shop, kind: str) -> None:
    asked: list[Any] = []

    def decide(pending: PendingCall, ctx: Context[Any]) -> Any:
        asked.append((pending.name, pending.args, pending.call_id == ctx.call_id, ctx.deps))
        return {
            "A": Approve(),
            "B": Deny("not B"),
            "C": Edit({"sku": "Z"}),
            "D": Result("by hand"),
            "E": None,
        }[pending.args["sku"]]

    async def adecide(pending: PendingCall, ctx: Context[Any]) -> Any:
        await asyncio.sleep(0)
        return decide(pending, ctx)

    approver: Any = {"sync": decide, "async": adecide, "awaitable": lambda p, c: adecide(p, c)}[kind]
    agent = Agent(ScriptedModel([[call("order", sku=sku) for sku in "ABCDE"]]), tools=shop.tools)
    run = way.run(agent, "go", approver=approver, deps="ann")
    assert asked == [("order", {"sku": sku}, True, "ann") for sku in "ABCDE"]
    assert shop.ran == ["order 1 A", "order 1 Z"]
    assert (run.stop, [each.args["sku"] for each in run.pending]) == ("approval", ["E"])
    a, b, c, d, _ = responses(run)
    assert (a, d) == ({"output": "order 1 A"}, {"output": "by hand"})
    assert "A person refused this call: not B" in b["error"]
    assert c["output"]["result"] == "order 1 Z"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (True, ConfigurationError),
        ("yes", ConfigurationError),
        (Approve, ConfigurationError),
        (Edit({"sku": 3}), ConfigurationError),
        (Result(object()), ConfigurationError),
        (LookupError("no such person"), LookupError),
    ],
)
def test_an_approver_that_fails_ends_the_run_and_nothing_runs(
    way: Way, shop: Shop, answer: Any, error: Any
) -> None:
    def ask(pending: PendingCall, ctx: Context[Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    agent = Agent(ScriptedModel([MIXED]), tools=shop.tools, approver=ask)
    store = MemoryStore()
    with pytest.raises(error):
        way.run(agent, "go")
    agent = Agent(ScriptedModel([MIXED, "ok"]), tools=shop.tools, approver=ask)
    with pytest.raises(error):
        way.chat(agent, store).send("go")
    assert shop.ran == []
    check_history(agent.chat("ann", store).get_history())


@pytest.mark.parametrize("is_async", [False, True])
def test_an_approver_that_hangs_leaves_the_call_waiting_when_the_time_is_up(
    way: Way, shop: Shop, is_async: bool
) -> None:
    free, asked = threading.Event(), list[str]()

    def hang(pending: PendingCall, ctx: Context[Any]) -> None:
        asked.append(pending.name)
        free.wait(PATIENCE)

    async def ahang(pending: PendingCall, ctx: Context[Any]) -> None:
        asked.append(pending.name)
        await asyncio.sleep(60)

    agent = Agent(ScriptedModel([*[MIXED] * 6, "done"]), tools=shop.tools)
    approver = ahang if is_async else hang
    try:
        run = given_time(
            lambda seconds: way.run(agent, "go", approver=approver, limits=Limits(seconds=seconds)),
            lambda run: asked,
        )
    finally:
        free.set()
    assert (run.stop, shop.ran) == ("approval", [])
    agent = Agent(ScriptedModel(["done"]), tools=shop.tools)
    run = way.resume(agent, run.to_json(), limits=Limits())
    assert shop.ran == ["stock B"]
    assert way.resume(agent, run, approve(run)).text == "done"


def test_an_approver_is_asked_again_when_the_run_goes_on_undecided(parked: Parked, shop: Shop) -> None:
    agent = Agent(ScriptedModel([MIXED, "done"]), tools=shop.tools)
    parked.begin(agent)
    run = parked.resume(agent, {}, approver=lambda pending, ctx: Approve())
    assert (run.text, shop.ran) == ("done", ["stock B", "order 1 A", "pay 5", "pack C"])


# -- with limits, order, errors --------------------------------------------------------------------------------------


def test_approved_writes_run_alone_and_in_call_order(parked: Parked) -> None:
    log: list[str] = []

    def tool_named(name: str, **options: Any) -> Tool:
        async def work() -> None:
            """Work."""
            log.append(f"{name} begins")
            await asyncio.sleep(0.005)
            log.append(f"{name} ends")

        return Tool.of(work, name=name, **options)

    tools = [
        tool_named("w1", effect="write", approval=True),
        tool_named("r1", approval=True),
        tool_named("r2", approval=True),
        tool_named("w2", effect="write", approval=True),
    ]
    agent = Agent(
        ScriptedModel([[call("r1"), call("w1"), call("r1"), call("r2"), call("w2")], "ok"]), tools=tools
    )
    run = parked.begin(agent)
    parked.resume(agent, approve(run))
    runs = [line for line in log if line.startswith("w")]
    assert runs == ["w1 begins", "w1 ends", "w2 begins", "w2 ends"]
    assert log.index("w1 ends") == log.index("w1 begins") + 1
    assert log[-2:] == ["w2 begins", "w2 ends"]
    assert sorted(log[4:8]) == ["r1 begins", "r1 ends", "r2 begins", "r2 ends"]
    assert log[6] != "r1 begins"  # reads at the same time


def test_calls_over_the_limit_are_answered_and_do_not_wait(parked: Parked, shop: Shop) -> None:
    script = [[call("order", sku="A"), call("order", sku="B")], call("order", sku="C"), "never"]
    agent = Agent(ScriptedModel(script), tools=shop.tools, limits=Limits(tool_calls=1))
    run = parked.begin(agent)
    assert [each.args["sku"] for each in run.pending] == ["A"]
    run = parked.resume(agent, approve(run))
    assert (run.stop, shop.ran) == ("tool_calls", ["order 1 A"])


def test_an_approved_call_that_takes_too_long_is_given_up(parked: Parked) -> None:
    begun = list[str]()

    async def slow(ctx: Context[Any]) -> None:
        """Be slow."""
        begun.append(ctx.tool_name)
        await asyncio.sleep(60)

    tools = [
        Tool.of(slow, approval=True, timeout=0.02),
        Tool.of(slow, name="slower", approval=True, timeout=60),
    ]

    def resumed(seconds: float) -> Run:
        agent = Agent(ScriptedModel([[call("slow"), call("slower")], "ok"]), tools=tools)
        run = parked.begin(agent)
        run = parked.resume(agent, {run.pending[0].call_id: Approve()})
        assert [type(error) for error in run.errors] == [ToolTimeout]
        assert len(run.pending) == 1
        return parked.resume(agent, approve(run), limits=Limits(seconds=seconds))

    run = given_time(resumed, lambda run: "slower" in begun)
    assert run.stop == "seconds"
    assert "too long" in responses(run)[0]["error"]
    assert "may have taken effect" in responses(run)[1]["error"]


def test_a_denied_call_counts_as_no_failure_of_its_tool(either: Way, shop: Shop) -> None:
    script = [call("order", sku="A"), call("order", sku="B"), call("order", sku="C"), "ok"]
    agent = Agent(
        ScriptedModel(script), tools=[shop.tools[0].replace(retries=0)], approver=lambda p, c: Deny("no")
    )
    run = either.run(agent, "go")
    assert (run.text, run.errors) == ("ok", ())


# -- chats -----------------------------------------------------------------------------------------------------------


def test_a_chat_with_calls_that_wait_takes_no_message(either: Way, shop: Shop) -> None:
    store = MemoryStore()
    chat = either.chat(Agent(ScriptedModel([MIXED, "done", "more"]), tools=shop.tools), store)
    run = chat.send("go")
    with pytest.raises(AgentError, match=r"wait for a decision \(see pending\).*resume\(\).*undo\(\)"):
        chat.send("and?")
    assert [each.call_id for each in chat.pending] == [each.call_id for each in run.pending]
    assert chat.resume(approve(run)).text == "done"
    assert chat.pending == []
    assert chat.send("and?").text == "more"


def test_undo_takes_a_turn_that_waits_back(shop: Shop) -> None:
    store = MemoryStore()
    agent = Agent(ScriptedModel(["hi", MIXED, "again"]), tools=shop.tools)
    chat = agent.chat("ann", store)
    chat.send_message("hello")
    run = chat.send_message("go")
    assert chat.undo()[0] == user_content("go")
    assert chat.pending == []
    with pytest.raises(ConfigurationError, match="nothing to decide"):
        chat.resume(approve(run))
    assert chat.send_message("go on").text == "again"
    check_history(chat.get_history())
    assert len(chat.get_history()) == 4


def test_what_waits_can_be_saved_and_not_forked_but_what_was_before_can(shop: Shop, tmp_path: Path) -> None:
    store = MemoryStore()
    agent = Agent(ScriptedModel(["hi", MIXED, "done"]), tools=shop.tools)
    chats = ChatManager(agent, store)
    chat = chats.create("ann")
    chat.send_message("hello")
    run = chat.send_message("go")
    with pytest.raises(ConfigurationError, match="open calls"):
        chat.fork()
    chat.save(tmp_path / "a.json")
    for text in ((tmp_path / "a.json").read_text(), chats.export_session("ann")):
        assert ChatManager(agent, MemoryStore()).import_session(text).pending == chat.pending
    assert len(chat.fork(at=2).get_history()) == 2
    assert [each.name for each in chats.get("ann").pending] == ["order", "pay"]
    assert chats.get("ann").resume(approve(run)).text == "done"
    assert len(chat.fork().get_history()) == len(chat.get_history()) == 6
    assert "order 1 A" in chats.export_session("ann")


def test_a_chats_run_needs_its_store_and_a_run_without_a_chat_takes_none(either: Way, shop: Shop) -> None:
    store = MemoryStore()
    agent = Agent(ScriptedModel([MIXED, MIXED, "done"]), tools=shop.tools)
    run = either.chat(agent, store).send("go")
    with pytest.raises(ConfigurationError, match=r"belongs to the chat 'ann'.*store="):
        either.resume(agent, run, approve(run))
    alone = either.run(agent, "go")
    with pytest.raises(ConfigurationError, match="belongs to no chat"):
        either.resume(agent, alone, approve(alone), store=store)
    with pytest.raises(ConfigurationError, match="leave out history"):
        either.resume(agent, alone, approve(alone), history=[user_content("x")])
    store.delete("ann")
    with pytest.raises(SessionNotFound):
        either.resume(agent, run, approve(run), store=store)
    assert list(store.list()) == []


def test_a_memory_does_not_lose_a_call_that_waits(either: Way, shop: Shop) -> None:
    model = ScriptedModel(["a", "b", MIXED, "done"])
    agent = Agent(model, tools=shop.tools)
    chat = either.chat(agent, MemoryStore(), memory=LastTurns(1))
    for word in ("one", "two", "three"):
        run = chat.send(word)
    assert chat.resume(approve(run)).text == "done"
    assert [c["role"] for c in model.requests[-1]["contents"]] == ["user", "model", "user"]


def test_the_first_resume_of_two_wins_and_the_other_does_nothing_twice(shop: Shop) -> None:
    store = MemoryStore()
    agent = Agent(ScriptedModel([MIXED, "done"]), tools=shop.tools)
    run = agent.chat("ann", store).send_message("go")
    outcomes: list[Any] = []

    def resume() -> None:
        try:
            outcomes.append(agent.chat("ann", store, wait=5).resume(approve(run)).text)
        except AgentError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=resume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(map(str, ["done", DecisionError, DecisionError]))
    assert shop.ran == ["stock B", "order 1 A", "pay 5", "pack C"]


def test_an_async_chat_waits_resolves_and_takes_back_as_a_sync_one(shop: Shop) -> None:
    async def go() -> None:
        store = MemoryStore()
        agent = Agent(ScriptedModel([MIXED, MIXED, "done"]), tools=shop.tools)
        chat = agent.aio.chat("ann", store)
        await chat.send_message("go")
        assert [each.name for each in await chat.get_pending()] == ["order", "pay"]
        await chat.undo()
        assert await chat.get_pending() == []
        run = await chat.send_message("go")
        assert (await chat.resume(approve(run))).text == "done"

    asyncio.run(go())
    assert shop.ran == ["stock B"] * 2 + ["order 1 A", "pay 5", "pack C"]
