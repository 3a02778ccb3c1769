"""`ctx.state`: what tools keep with their chat, stored with the results of their calls or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    Context,
    Deny,
    Hooks,
    MemoryStore,
    StoreError,
    ToolDeferred,
    ToolError,
    tool,
)
from agentkit.stores.base import FinishCall, SaveState
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call
from tests.helpers.until import PATIENCE
from tests.helpers.ways import Way, either
from tests.stores.conftest import STORES

__all__ = ["either"]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with STORES[request.param](tmp_path) as store:
        yield store


@tool
def put(sku: str, ctx: Context) -> int:
    """Put something into the cart."""
    ctx.state.setdefault("cart", []).append(sku)
    return len(ctx.state["cart"])


@tool
async def aput(sku: str, ctx: Context) -> int:
    """Put something into the cart, async."""
    ctx.state["cart"] = [*ctx.state.get("cart", []), sku]
    return len(ctx.state["cart"])


@tool
def put_and_fail(sku: str, ctx: Context) -> None:
    """Fail half-way."""
    ctx.state.setdefault("cart", []).append(sku)
    ctx.state["half"] = True
    raise ToolError("sold out")


@tool
def spoil(ctx: Context) -> str:
    """Put what is no JSON there."""
    ctx.state["odd"] = object()
    return "done"


@tool
def empty(ctx: Context) -> str:
    """Take the cart away."""
    del ctx.state["cart"]
    return "emptied"


@tool(effect="read")
def show(ctx: Context) -> Any:
    """Show the cart."""
    return ctx.state.get("cart", [])


TOOLS = [put, aput, put_and_fail, spoil, empty, show]


def agent(*script: Any, **options: Any) -> Agent:
    return Agent(ScriptedModel(list(script)), **{"tools": TOOLS, **options})


def outputs(run: Any) -> list[Any]:
    return [each.result if each.error is None else str(each.error) for each in run.calls]


def test_what_a_tool_changes_is_there_for_the_next_call_and_the_next_process(
    either: Way, store: SessionStore
) -> None:
    first = [call("put", sku="TEA"), call("aput", sku="CUP"), call("show")]
    run = either.chat(agent(first, "both"), store).send("tea and a cup")
    assert outputs(run) == [1, 2, ["TEA", "CUP"]]
    assert agent().chat("ann", store).state == {"cart": ["TEA", "CUP"]}
    run = either.chat(agent(call("put", sku="MILK"), call("empty"), "emptied"), store).send(
        "and milk; no, nothing"
    )
    assert outputs(run) == [3, "emptied"]
    assert agent().chat("ann", store).state == {}
    chat = agent().chat("ann", store)
    chat.undo()
    assert chat.state == {"cart": ["TEA", "CUP"]}
    chat.undo()
    assert chat.state == {}


def test_a_call_that_fails_keeps_nothing(either: Way, store: SessionStore) -> None:
    agent().chat("ann", store).state = {"plan": "gold"}
    script = [call("put_and_fail", sku="X"), call("spoil"), call("show"), "sorry"]
    run = either.chat(agent(*script), store).send("x")
    assert outputs(run)[0] == "sold out"
    assert "ctx.state can't be kept, for it isn't JSON" in outputs(run)[1]
    assert outputs(run)[2] == []
    chat = agent().chat("ann", store)
    assert chat.state == {"plan": "gold"}
    assert chat.fork().state == {"plan": "gold"}


def test_calls_at_the_same_time_change_keys_of_their_own(either: Way, store: SessionStore) -> None:
    both = threading.Barrier(2)

    @tool(effect="read")
    def note(key: str, ctx: Context) -> str:
        """Note something."""
        before = sorted(ctx.state)
        if key != "c":
            both.wait(PATIENCE)
        ctx.state[key] = {"from": before}
        return key

    script = [[call("note", key="a"), call("note", key="b")], call("note", key="c"), "noted"]
    either.chat(agent(*script, tools=[note]), store).send("x")
    assert agent().chat("ann", store).state == {
        "a": {"from": []},
        "b": {"from": []},
        "c": {"from": ["a", "b"]},
    }


def test_it_is_stored_in_the_step_that_has_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    steps: list[list[Any]] = []
    write = store.write

    def watched(*args: Any, **options: Any) -> Any:
        writer = write(*args, **options)
        append = writer.append

        def noted(given: Any, **more: Any) -> None:
            steps.append([type(step) for step in given])
            append(given, **more)

        monkeypatch.setattr(writer, "append", noted)
        return writer

    monkeypatch.setattr(store, "write", watched)
    agent(call("put", sku="TEA"), call("show"), "done").chat("ann", store).send_message("x")
    (together,) = [each for each in steps if SaveState in each]
    assert FinishCall in together


def test_what_waits_keeps_what_it_noted_and_the_decision_goes_on_from_it(
    either: Way, store: SessionStore
) -> None:
    @tool
    def later(ctx: Context) -> str:
        """Have the result later."""
        ctx.state["asked"] = True
        raise ToolDeferred("the boss is out")

    @tool(approval=True)
    def pay(ctx: Context) -> str:
        """Pay."""
        ctx.state["paid"] = ctx.state.get("asked", False)
        return "paid"

    tools = [later, pay]
    chat = either.chat(agent([call("later")], tools=tools), store)
    assert chat.send("x").stop == "deferred"
    assert agent().chat("ann", store).state == {"asked": True}
    chat = either.chat(agent(call("pay"), tools=tools), store)
    assert chat.resume({each.call_id: Deny("no boss") for each in chat.pending}).stop == "approval"
    chat = either.chat(agent("done", tools=tools), store)
    assert chat.resume({each.call_id: Approve() for each in chat.pending}).text == "done"
    assert agent().chat("ann", store).state == {"asked": True, "paid": True}


def test_the_tools_of_a_sub_agent_work_on_that_of_the_call_around_them(
    either: Way, store: SessionStore
) -> None:
    def make(*outer: Any) -> Agent:
        inner = agent(call("put", sku="TEA"), call("show"), "put", name="clerk")
        return agent(*outer, tools=[inner.as_tool(), *TOOLS])

    script = [call("put", sku="CUP"), call("clerk", request="tea"), call("show"), "done"]
    run = either.chat(make(*script), store).send("x")
    assert outputs(run)[2] == ["CUP", "TEA"]
    assert agent().chat("ann", store).state == {"cart": ["CUP", "TEA"]}


def test_without_a_store_the_chat_has_it_and_without_a_chat_the_run(either: Way) -> None:
    chat = agent(call("put", sku="TEA"), "one", call("put", sku="CUP"), "two").chat()
    chat.send_message("tea")
    assert chat.state == {"cart": ["TEA"]}
    chat.send_message("cup")
    assert chat.state == {"cart": ["TEA", "CUP"]}
    run = either.run(agent(call("put", sku="A"), call("aput", sku="B"), "done"), "x")
    assert outputs(run) == [1, 2]


def test_hooks_and_instructions_may_read_it(either: Way, store: SessionStore) -> None:
    agent().chat("ann", store).state = {"plan": "gold"}
    seen: list[Any] = []

    def before(args: Any, ctx: Context) -> None:
        seen.append(dict(ctx.state))
        ctx.state["asked"] = ctx.tool_name

    def instructions(ctx: Context) -> str:
        seen.append(dict(ctx.state))
        ctx.state["lost"] = True
        return f"The plan is {ctx.state['plan']}."

    made = agent(call("put", sku="A"), "done", hooks=Hooks(before_tool=before), instructions=instructions)
    either.chat(made, store).send("x")
    gold = {"plan": "gold"}
    assert seen == [gold, gold, {**gold, "asked": "put", "cart": ["A"]}]
    assert agent().chat("ann", store).state == {**gold, "asked": "put", "cart": ["A"]}


@pytest.mark.parametrize("again", [True, False])
def test_where_the_step_fails_result_and_state_are_both_stored_at_the_end_or_neither(
    either: Way, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    store = MemoryStore()
    write = store.write
    failed: list[bool] = []

    def broken(*args: Any, **options: Any) -> Any:
        writer = write(*args, **options)
        append = writer.append

        def refusing(steps: Any, **more: Any) -> None:
            if any(isinstance(step, SaveState) for step in steps) and not (again and failed):
                failed.append(True)
                raise StoreError("the disk is full")
            append(steps, **more)

        monkeypatch.setattr(writer, "append", refusing)
        return writer

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", broken)
        with pytest.raises(StoreError, match="disk is full"):
            either.chat(agent(call("put", sku="TEA"), "done"), store).send("x")
    chat = agent("again").chat("ann", store)
    assert chat.state == ({"cart": ["TEA"]} if again else {})
    assert [each.kind for each in chat.pending] == ([] if again else ["unknown_effect"])
