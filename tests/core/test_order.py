"""The order of calls: what nobody marked as reading runs one at a time, as the model asked for it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    Deny,
    Edit,
    Hooks,
    Result,
    Run,
    SQLiteStore,
    Tool,
    ToolDeferred,
    ToolRegistry,
)
from agentkit.core import log
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import responses_of
from tests.helpers.runners import Runner, go
from tests.helpers.until import PATIENCE
from tests.helpers.ways import WAYS, Way, way

__all__ = ["go", "way"]

CALLS = [
    call("clear_order"),
    call("add_to_order", item="tea"),
    call("add_to_order", item="milk"),
    call("place_order"),
]
PLACED = ["tea", "milk"]


class Pad:
    """An order pad; each of its tools takes a moment, and notes what it did at the end of it."""

    def __init__(self, seed: int = 0) -> None:
        self.items: list[str] = ["from before"]
        self.placed: list[list[str]] = []
        self.under_way = self.most = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def _begin(self) -> float:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            return self._random.random() / 500

    def _end(self, change: Callable[[], Any]) -> None:
        change()
        with self._lock:
            self.under_way -= 1

    def _do(self, change: Callable[[], Any]) -> str:
        time.sleep(self._begin())
        self._end(change)
        return "done"

    async def _ado(self, change: Callable[[], Any]) -> str:
        await asyncio.sleep(self._begin())
        self._end(change)
        return "done"

    def tools(self, kinds: str) -> list[Any]:
        """Make the three tools, each sync (s) or async (a)."""

        def clear_order() -> str:
            return self._do(self.items.clear)

        async def aclear_order() -> str:
            return await self._ado(self.items.clear)

        def add_to_order(item: str) -> str:
            return self._do(lambda: self.items.append(item))

        async def aadd_to_order(item: str) -> str:
            return await self._ado(lambda: self.items.append(item))

        def place_order() -> str:
            return self._do(lambda: self.placed.append(self.items.copy()))

        async def aplace_order() -> str:
            return await self._ado(lambda: self.placed.append(self.items.copy()))

        pairs = ((clear_order, aclear_order), (add_to_order, aadd_to_order), (place_order, aplace_order))
        chosen: list[Any] = [pair[kind == "a"] for pair, kind in zip(pairs, kinds, strict=True)]
        return [Tool.of(each, name=pair[0].__name__) for each, pair in zip(chosen, pairs, strict=True)]


KINDS = ["".join(kinds) for kinds in itertools.product("sa", repeat=3)]


def alone(pad: Pad, run: Any) -> None:
    assert run.text == "Placed."
    assert (pad.placed, pad.most) == ([PLACED], 1)


@pytest.mark.parametrize("kinds", KINDS)
def test_an_order_is_placed_as_it_was_given(go: Runner, kinds: str) -> None:
    for seed in range(3):
        pad = Pad(seed)
        alone(pad, go(Agent(ScriptedModel([CALLS, "Placed."]), tools=pad.tools(kinds)), "x"))


@pytest.mark.slow
@pytest.mark.parametrize("kinds", ["sss", "aaa", "sas", "asa"])
def test_an_order_is_never_placed_in_another_way(kinds: str) -> None:
    async def many() -> None:
        for seed in range(125):
            pad = Pad(seed)
            alone(pad, await Agent(ScriptedModel([CALLS, "Placed."]), tools=pad.tools(kinds)).aio.run("x"))

    for seed in range(125):
        pad = Pad(seed)
        alone(pad, Agent(ScriptedModel([CALLS, "Placed."]), tools=pad.tools(kinds)).run("x"))
    asyncio.run(many())


@pytest.mark.parametrize("kinds", ["sss", "aaa", "sas"])
def test_the_order_holds_in_a_sub_agent(go: Runner, kinds: str) -> None:
    pad = Pad()
    inner = Agent(ScriptedModel([CALLS, "Placed."]), tools=pad.tools(kinds), name="waiter")
    outer = Agent(ScriptedModel([call("waiter", request="order"), "Placed."]), tools=[inner.as_tool()])
    alone(pad, go(outer, "x"))


def test_sub_agents_that_may_change_something_wait_for_one_another(go: Runner) -> None:
    pad = Pad()
    tools = {each.name: each for each in pad.tools("sas")}
    waiters = [
        Agent(ScriptedModel([asked, "Done."]), tools=[tools[name]], name=f"waiter_{number}").as_tool()
        for number, (name, asked) in enumerate(
            zip(["clear_order", "add_to_order", "add_to_order", "place_order"], CALLS, strict=True)
        )
    ]
    asks = [call(waiter.name, request="go") for waiter in waiters]
    alone(pad, go(Agent(ScriptedModel([asks, "Placed."]), tools=waiters), "x"))


@pytest.mark.parametrize("kinds", ["sss", "aaa", "asa"])
def test_the_order_holds_in_a_chat_with_hooks_and_decisions(way: Way, kinds: str, tmp_path: Path) -> None:
    pad, heard = Pad(), []
    hooks = Hooks(before_tool=lambda args, ctx: heard.append(ctx.tool_name))
    tools = [each.replace(approval=True) for each in pad.tools(kinds)]
    agent = Agent(ScriptedModel([CALLS, "Placed."]), tools=tools, hooks=hooks)
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = way.chat(agent, store)
        run = chat.send("x")
        assert (run.stop, pad.placed) == ("approval", [])
        alone(pad, chat.resume({each.call_id: Approve() for each in run.pending}))
    assert heard[:4] == ["clear_order", "add_to_order", "add_to_order", "place_order"]


def test_a_call_with_a_result_of_a_hook_keeps_its_place(go: Runner) -> None:
    pad = Pad()

    def hook(args: Any, ctx: Any) -> Result | None:
        return Result("skipped") if args == {"item": "tea"} else None

    agent = Agent(ScriptedModel([CALLS, "Placed."]), tools=pad.tools("asa"), hooks=Hooks(before_tool=hook))
    go(agent, "x")
    assert (pad.placed, pad.most) == ([["milk"]], 1)


def test_what_reads_runs_together_up_to_what_does_not(go: Runner) -> None:
    told: list[str] = []
    met = threading.Barrier(2, timeout=PATIENCE)

    def look(n: int) -> None:
        met.wait()
        told.append("look")

    def change() -> None:
        told.append("change")

    tools = [Tool.of(look, effect="read"), change]
    calls = [call("look", n=1), call("look", n=2), call("change"), call("look", n=3), call("look", n=4)]
    assert go(Agent(ScriptedModel([calls, "Done."]), tools=tools), "x").text == "Done."
    assert told == ["look", "look", "change", "look", "look"]


# -- the log ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def noted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[[], list[str]]]:
    monkeypatch.setattr(log, "_noted", set())
    with caplog.at_level(logging.INFO, logger="agentkit"):
        yield lambda: [r.getMessage() for r in caplog.records if "one after the other" in r.getMessage()]


def test_calls_that_wait_for_one_another_are_noted_once(go: Runner, noted: Callable[[], list[str]]) -> None:
    def look_up(word: str) -> str:
        return word

    calls = [call("look_up", word=word) for word in ("a", "b", "c")]
    for _ in range(2):
        go(Agent(ScriptedModel([calls, calls, "Done."]), tools=[look_up]), "x")
    assert noted() == ["3 calls of look_up ran one after the other; effect='read' lets them run together."]


def test_calls_that_run_together_or_are_meant_to_wait_or_come_alone_are_not_noted(
    go: Runner, noted: Callable[[], list[str]]
) -> None:
    def look_up(word: str) -> str:
        return word

    two = [call("look_up", word="a"), call("look_up", word="b")]
    for effect in ("read", "write"):
        registry = ToolRegistry("r", effect=effect)
        registry.add(look_up)
        go(Agent(ScriptedModel([two, "Done."]), tools=[registry]), "x")
    go(Agent(ScriptedModel([two[0], two[1], "Done."]), tools=[look_up]), "x")
    denied = Agent(ScriptedModel([two, "Done."]), tools=[Tool.of(look_up, approval=True)])
    assert go(denied, "x").stop == "approval"
    assert noted() == []


# -- behind a call that waits ----------------------------------------------------------------------------------------


class Counter:
    """An order that a person approves, with what is to follow it."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def _do(self, what: str) -> str:
        self.did.append(what)
        return what

    def tools(self, *, first: str = "approval") -> list[Any]:
        """Make tools; the `first` of a turn waits for an approval, or for a result from elsewhere."""

        def add(item: str) -> str:
            if first == "deferred":
                raise ToolDeferred("asked the kitchen")
            return self._do(f"add {item}")

        def place_order() -> str:
            return self._do("place")

        async def pay() -> str:
            return self._do("pay")

        def look() -> str:
            return self._do("look")

        return [
            Tool.of(add, approval=first == "approval"),
            place_order,
            Tool.of(pay, effect="write", approval=True),
            Tool.of(look, effect="read"),
        ]


ORDER = [call("add", item="tea"), call("place_order"), call("look"), call("pay")]


class Restart:
    """Goes on with a run: as it is, as JSON, or in a store that is opened anew."""

    def __init__(self, way: Way, how: str, path: Path) -> None:
        self.way, self.how, self.path = way, how, path
        self.run: Any = None

    def go(self, agent: Agent[Any], decisions: Any = None) -> Any:
        if self.how == "store":
            with SQLiteStore(self.path / "chats.db") as store:
                chat = self.way.chat(agent, store)
                self.run = chat.resume(decisions) if self.run else chat.send("x")
                assert [p.call_id for p in chat.pending] == [p.call_id for p in self.run.pending]
        elif self.run is None:
            self.run = self.way.run(agent, "x")
        else:
            run = self.run if self.how == "run" else self.run.to_json()
            self.run = self.way.resume(agent, run, decisions)
        return self.run


@pytest.fixture(params=["run run", "astream json", "stream store", "arun store"])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Restart:
    name, how = request.param.split()
    return Restart(WAYS[name], how, tmp_path)


def waiting(run: Any) -> dict[str, str]:
    return {each.name: each.call_id for each in run.pending}


def held(run: Run[Any]) -> list[tuple[str, str]]:
    return [(call.name, call.behind) for call in run.held]


@pytest.mark.parametrize(
    "said", [Approve(), Deny("no tea"), Edit({"item": "milk"}), Result("there")], ids=str
)
def test_what_is_not_known_to_read_waits_for_the_call_in_front(restart: Restart, said: Any) -> None:
    counter = Counter()
    agent = Agent(ScriptedModel([ORDER, "Done."]), tools=counter.tools())
    run = restart.go(agent)
    assert (run.stop, list(waiting(run)), counter.did) == ("approval", ["add", "pay"], ["look"])
    assert run.why.endswith("Behind them, not begun: place_order.")
    assert held(run) == [("place_order", "add")]
    assert "Not begun" in responses_of(run.contents[-1])[1]["response"]["error"]
    run = restart.go(agent, {waiting(run)["add"]: said})
    did = {"Approve": ["add tea"], "Edit": ["add milk"]}.get(type(said).__name__, [])
    assert (list(waiting(run)), counter.did) == (["pay"], ["look", *did, "place"])
    assert restart.go(agent, {waiting(run)["pay"]: Approve()}).text == "Done."
    assert counter.did == ["look", *did, "place", "pay"]


def test_what_was_approved_behind_a_call_that_waits_is_not_asked_about_again(restart: Restart) -> None:
    counter = Counter()
    agent = Agent(ScriptedModel([ORDER, "Done."]), tools=counter.tools())
    ids = waiting(restart.go(agent))
    run = restart.go(agent, {ids["pay"]: Approve()})
    assert (run.stop, list(waiting(run)), counter.did) == ("approval", ["add"], ["look"])
    assert run.why.endswith("Behind them, not begun: place_order, pay.")
    assert held(run) == [("place_order", "add"), ("pay", "add")]
    run = restart.go(agent)
    assert (list(waiting(run)), counter.did) == (["add"], ["look"])
    assert restart.go(agent, {ids["add"]: Approve()}).text == "Done."
    assert counter.did == ["look", "add tea", "place", "pay"]


def test_what_was_approved_is_asked_about_again_if_its_tool_has_changed(restart: Restart) -> None:
    counter = Counter()
    tools = counter.tools()
    agent = Agent(ScriptedModel([ORDER, "Done."]), tools=tools)
    ids = waiting(restart.go(agent))
    restart.go(agent, {ids["pay"]: Approve()})
    other = [*tools[:2], tools[2].replace(description="Pay twice."), tools[3]]
    changed = Agent(ScriptedModel(["Done."]), tools=other)
    run = restart.go(changed, {ids["add"]: Approve()})
    assert (run.stop, list(waiting(run)), counter.did[1:]) == ("approval", ["pay"], ["add tea", "place"])
    assert "declared otherwise" in run.pending[0].why
    assert restart.go(changed, {ids["pay"]: Approve()}).text == "Done."


def test_a_result_that_comes_later_holds_back_what_follows(restart: Restart) -> None:
    counter = Counter()
    agent = Agent(ScriptedModel([ORDER, "Done."]), tools=counter.tools(first="deferred"))
    ids = waiting(restart.go(agent))
    assert (list(ids), counter.did) == (["add", "pay"], ["look"])
    run = restart.go(agent, {ids["pay"]: Edit({})})
    assert (run.stop, list(waiting(run)), counter.did) == ("deferred", ["add"], ["look"])
    assert restart.go(agent, {ids["add"]: Result("added")}).text == "Done."
    assert counter.did == ["look", "place", "pay"]


def test_an_approver_is_asked_once_about_what_is_held_back(restart: Restart) -> None:
    counter, asked = Counter(), []

    def approve(pending: Any, ctx: Any) -> Approve:
        asked.append(pending.name)
        return Approve()

    agent = Agent(ScriptedModel([ORDER, "Done."]), tools=counter.tools(first="deferred"), approver=approve)
    ids = waiting(restart.go(agent))
    assert (list(ids), counter.did, asked) == (["add"], ["look"], ["pay"])
    assert restart.go(agent, {ids["add"]: Result("added")}).text == "Done."
    assert (counter.did, asked) == (["look", "place", "pay"], ["pay"])


def test_a_sub_agent_that_waits_inside_holds_back_what_follows(restart: Restart) -> None:
    counter = Counter()
    tools = counter.tools()
    inner = Agent(ScriptedModel([ORDER[:2], "Ordered."]), tools=tools[:2], name="waiter")
    calls = [call("waiter", request="order"), call("pay"), call("look")]
    outer = Agent(ScriptedModel([calls, "Done."]), tools=[inner.as_tool(), *tools[2:]])
    ids = waiting(restart.go(outer))
    assert (list(ids), counter.did) == (["add", "pay"], ["look"])
    run = restart.go(outer, {ids["pay"]: Approve()})
    assert (list(waiting(run)), held(run), counter.did) == (["add"], [("pay", "waiter")], ["look"])
    assert restart.go(outer, {ids["add"]: Approve()}).text == "Done."
    assert counter.did == ["look", "add tea", "place", "pay"]


def test_calls_of_tools_that_nothing_is_run_for_come_back_together(go: Runner) -> None:
    declared = [{"name": "here", "description": "d"}, {"name": "there", "description": "d"}]
    counter = Counter()
    calls = [call("here"), call("there"), call("place_order")]
    agent = Agent(ScriptedModel([calls, "Done."]), tools=[*declared, counter.tools()[1]])
    run = go(agent, "x")
    assert (list(waiting(run)), counter.did) == (["here", "there"], [])


def test_a_hook_that_answers_a_call_settles_it_while_another_waits(restart: Restart) -> None:
    counter = Counter()

    def hook(args: Any, ctx: Any) -> Result | None:
        return Result("placed before") if ctx.tool_name == "place_order" else None

    agent = Agent(ScriptedModel([ORDER, "Done."]), tools=counter.tools(), hooks=Hooks(before_tool=hook))
    ids = waiting(restart.go(agent))
    assert restart.go(agent, {each: Approve() for each in ids.values()}).text == "Done."
    assert counter.did == ["look", "add tea", "pay"]
