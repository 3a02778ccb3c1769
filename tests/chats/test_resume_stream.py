"""What goes on can be watched as what begins: `resume_stream` of an agent, a chat and a manager."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentkit import Agent, Approve, ChatManager, MemoryStore, Run, tool
from agentkit.events import Event, RunFinished, TextDelta, ToolFinished, ToolStarted
from agentkit.testing import ScriptedModel, call


@tool(effect="write", approval=True)
def order(sku: str) -> str:
    """Order something."""
    return f"ordered {sku}"


def agent() -> Agent:
    return Agent(ScriptedModel([call("order", sku="A"), "all done"]), tools=[order])


def approved(run: Run[Any]) -> dict[str, Any]:
    return {waiting.call_id: Approve() for waiting in run.pending}


def check(events: list[Event]) -> None:
    kinds = [type(event) for event in events if not isinstance(event, TextDelta)]
    assert (kinds[:2], kinds[-1]) == ([ToolStarted, ToolFinished], RunFinished)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "all done"


@pytest.mark.parametrize("of", ["run", "JSON", "store", "chat", "manager"])
def test_a_run_that_goes_on_tells_its_events(of: str) -> None:
    made, store = agent(), MemoryStore()
    chat = made.chat("ann", store)
    run = made.run("x") if of in ("run", "JSON") else chat.send_message("x")
    said = approved(run)
    streams: dict[str, Any] = {
        "run": lambda: made.resume_stream(run, said),
        "JSON": lambda: made.resume_stream(run.to_json(), said),
        "store": lambda: made.resume_stream(run.to_json(), said, store=store),
        "chat": lambda: chat.resume_stream(said),
        "manager": lambda: ChatManager(made, store).resume_stream("ann", said),
    }
    with streams[of]() as stream:
        check(list(stream))
    assert stream.run.text == "all done"


@pytest.mark.parametrize("of", ["run", "store", "chat"])
def test_it_does_so_in_an_event_loop(of: str) -> None:
    made, store = agent(), MemoryStore()

    async def main() -> None:
        chat = made.aio.chat("ann", store)
        run = await made.aio.run("x") if of == "run" else await chat.send_message("x")
        said = approved(run)
        streams: dict[str, Any] = {
            "run": lambda: made.aio.resume_stream(run, said),
            "store": lambda: made.aio.resume_stream(run, said, store=store),
            "chat": lambda: chat.resume_stream(said),
        }
        async with streams[of]() as stream:
            check([event async for event in stream])

    asyncio.run(main())
