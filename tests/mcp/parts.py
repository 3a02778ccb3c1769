"""What the tests of MCP share: servers by name, and agents that call their tools."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentkit import Agent, Run
from agentkit.mcp import MCP
from agentkit.testing import ScriptedModel, call
from tests.helpers.until import PATIENCE
from tests.mcp.sdk_server import Behaviour, http_server

HERE = Path(__file__).parent
SDK = [sys.executable, str(HERE / "sdk_server.py")]
WAYS = ["stdio", "stdio legacy", "http", "http legacy", "in process"]


def hostile(mode: str, *more: str, **options: Any) -> MCP:
    """Make a server that misbehaves in a way."""
    return MCP(
        [sys.executable, str(HERE / "hostile_server.py"), mode, *more],
        **{"name": "x", "connect_timeout": PATIENCE, **options},
    )


@contextmanager
def server(way: str, behaviour: Behaviour | None = None, **options: Any) -> Iterator[MCP]:
    """Make a server on the SDK, reached in one of the ways."""
    options = {"name": "s", "connect_timeout": PATIENCE, **options}
    if way.startswith("stdio"):
        with MCP([*SDK, *way.split()[1:]], **options) as made:
            yield made
        return
    behaviour = behaviour or Behaviour(legacy="legacy" in way)
    if way == "in process":
        with MCP(behaviour.server, **options) as made:
            yield made
        return
    with http_server(behaviour.server.streamable_http_app()) as url, MCP(url, **options) as made:
        yield made


def agent(mcp: Any, *calls: Any, **options: Any) -> Agent:
    """Make an agent that makes calls, all in one turn, and then answers."""
    return Agent(ScriptedModel([list(calls), "done"]), tools=[mcp], **options)


def responses(run: Run) -> list[Any]:
    """Return what the calls of the last turn got: outputs, or `ERROR: ...`."""
    found = []
    for part in run.contents[-2 if run.stop is None else -1]["parts"]:
        response = part["functionResponse"]["response"]
        found.append(response["output"] if "output" in response else f"ERROR: {response['error']}")
    return found


def called(mcp: Any, name: str, **args: Any) -> Any:
    """Return what one call gets, in a run of its own."""
    run = agent(mcp, call(name, **args)).run("Go.")
    assert run.text == "done"
    return responses(run)[0]
