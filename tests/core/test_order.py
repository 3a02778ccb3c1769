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

from agentkit import Agent, Approve, Hooks, Result, SQLiteStore, Tool, ToolRegistry
from agentkit.core import log
from agentkit.testing import ScriptedModel, call
from tests.helpers.runners import Runner, go
from tests.helpers.ways import Way, way

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
    met = threading.Barrier(2, timeout=10)

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
