"""Approvals: what waits goes on waiting, what has run doesn't run again, and decisions are taken once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    ConfigurationError,
    Context,
    Run,
    SQLiteStore,
    Tool,
)
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import responses_of
from tests.ways import Decisions, Way, either, way

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
            stock,
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

    def __init__(self, way: Way, how: str, folder: Path) -> None:
        self.way, self.how, self.db = way, how, folder / "chats.db"
        self._run: Run | None = None

    def begin(self, agent: Agent, **options: Any) -> Run:
        if "chat" in self.how or self.how == "store":
            with SQLiteStore(self.db) as store:
                self._run = self.way.chat(agent, store).send("go", **options)
        else:
            self._run = self.way.run(agent, "go", **options)
        return self._run

    def resume(self, agent: Agent, decisions: Decisions | None = None, **options: Any) -> Run:
        assert self._run is not None
        if self.how == "run":
            self._run = self.way.resume(agent, self._run, decisions, **options)
        elif self.how == "json":
            self._run = self.way.resume(agent, self._run.to_json(), decisions, **options)
        else:
            with SQLiteStore(self.db) as store:
                chat = self.way.chat(agent, store)
                if self._run.stop in ("approval", "deferred"):
                    assert {each.call_id for each in chat.pending} >= {p.call_id for p in self._run.pending}
                if self.how == "chat":
                    self._run = chat.resume(decisions, **options)
                else:
                    self._run = self.way.resume(agent, self._run.to_json(), decisions, store=store, **options)
        return self._run


@pytest.fixture(params=["run", "json", "chat", "store"])
def parked(request: pytest.FixtureRequest, either: Way, tmp_path: Path) -> Parked:
    """Each way to park a run and go on with it, sync and async."""
    return Parked(either, request.param, tmp_path)


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
