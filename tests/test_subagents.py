"""Agents as tools of agents: one run to whoever watches, limits it, stops it, decides in it and goes on with it."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, Context
from agentkit.events import (
    Event,
)
from agentkit.testing import ScriptedModel, call
from tests.ways import Way, either, way

__all__ = ["either", "way"]


# -- events ----------------------------------------------------------------------------------------------------------


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_what_an_async_tool_tells_right_before_it_is_done_is_heard(way: Way) -> None:
    async def quick(ctx: Context[Any]) -> int:
        """Be quick."""
        ctx.progress("almost")
        return 1

    way.run(Agent(ScriptedModel([call("quick"), "ok"]), tools=[quick]), "x")
    if way.streamed:
        told = names(way.events)
        assert told.count("ToolProgress") == 1
        assert told.index("ToolProgress") < told.index("ToolFinished")
