"""A single tool may take as long as it likes, whatever the agent says of all others."""

import asyncio
import math
import threading
import time

from agentkit import Agent, ToolTimeout, tool
from agentkit.testing import ScriptedModel, call
from tests.helpers.until import PATIENCE
from tests.helpers.ways import Way, either

__all__ = ["either"]


@tool(timeout=math.inf)
def slow() -> str:
    """Take its time."""
    time.sleep(0.1)
    return "done"


@tool(timeout=math.inf)
async def aslow() -> str:
    """Take its time."""
    await asyncio.sleep(0.1)
    return "done"


def test_a_tool_without_a_limit_outlives_that_of_the_agent(either: Way) -> None:
    free = threading.Event()

    def limited() -> str:
        """Have the agent's limit."""
        free.wait(PATIENCE)
        return "late"

    for function in (slow, aslow):
        script = [[call(function.__name__), call("limited")], "ok"]
        agent = Agent(ScriptedModel(script), tools=[function, limited], tool_timeout=0.05)
        run = either.run(agent, "go")
        assert run.text == "ok"
        responses = [part["functionResponse"]["response"] for part in run.contents[2]["parts"]]
        assert responses[0] == {"output": "done"}
        assert "took too long" in responses[1]["error"]
        assert [type(error) for error in run.errors] == [ToolTimeout]
    free.set()
