"""The reference servers, the official inspector, and the SDK's 1.x, each in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Approve, Result
from agentkit.mcp import MCP
from agentkit.testing import ScriptedModel, call
from tests.mcp.parts import HERE, agent, called, responses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = HERE.parent.parent
SERVE = ["-m", "agentkit.cli.main", "mcp", "serve", f"{HERE / 'served.py'}:registry"]
PATH = os.pathsep.join([str(ROOT), str(ROOT / "tools"), *sys.path])


def install(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[0]} can't install here: {done.stderr[-300:]}")


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of npm, in a directory of their own."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not here")
    path = tmp_path_factory.mktemp("npm")
    names = ["server-everything", "server-filesystem", "inspector"]
    packages = [f"@modelcontextprotocol/{name}" for name in names]
    install(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(path), *packages], path)
    return path / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the SDK's 1.x."""
    path = tmp_path_factory.mktemp("older")
    venv.create(path, with_pip=True)
    python = str(path / "bin" / "python")
    install([python, "-m", "pip", "install", "-q", "mcp<2"], path)
    return python


def test_the_server_that_shows_everything(npm: Path) -> None:
    with MCP([str(npm / "mcp-server-everything")], name="every") as mcp:
        calls = [
            call("every_echo", message="hello"),
            call("every_get_sum", a=2, b=3),
            call("every_get_structured_content", location="Chicago"),
            call("every_get_tiny_image"),
            call("every_get_resource_reference", resourceType="Text", resourceId=1),
            call("every_get_resource_links", count=2),
            call("every_trigger_long_running_operation", duration=0.2, steps=2),
        ]
        said = responses(agent(mcp, *calls).run("Go."))
        assert said[:2] == ["Echo: hello", "The sum of 2 and 3 is 5."]
        assert said[2]["temperature"]
        assert any("uri" in str(each) for each in said[4])
        assert "ERROR" not in str(said)
        assert mcp.resources()
        assert mcp.read("demo://resource/static/document/architecture.md")
        assert "simple-prompt" in {each.name for each in mcp.prompts()}
        first = agent(mcp, call("every_trigger_elicitation_request")).run("Go.")
        (pending,) = first.pending
        again = Agent(ScriptedModel(["done"]), tools=[mcp])
        run = again.resume(first, {pending.call_id: Result({"name": "Ann", "check": True})})
        assert "Ann" in str(responses(run))


def test_the_server_of_files(npm: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("tea")
    with MCP([str(npm / "mcp-server-filesystem"), str(tmp_path)], name="fs", trusted=True) as mcp:
        tools = {each.name: each for each in mcp.tools()}
        assert tools["fs_read_text_file"].effect == "read"
        assert (tools["fs_write_file"].effect, tools["fs_write_file"].approval) == ("write", True)
        assert "tea" in str(called(mcp, "fs_read_text_file", path=str(tmp_path / "a.txt")))
        assert "ERROR" in str(called(mcp, "fs_read_text_file", path="/etc/passwd"))
        first = agent(mcp, call("fs_write_file", path=str(tmp_path / "b.txt"), content="b")).run("Go.")
        assert (first.stop, (tmp_path / "b.txt").exists()) == ("approval", False)
        again = Agent(ScriptedModel(["done"]), tools=[mcp])
        again.resume(first, {first.pending[0].call_id: Approve()})
        assert (tmp_path / "b.txt").read_text() == "b"


def inspect(npm: Path, *args: str) -> Any:
    command = [str(npm / "mcp-inspector"), "--cli", "-e", f"PYTHONPATH={PATH}", sys.executable, *SERVE, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


def test_the_inspector_lists_and_calls_our_tools(npm: Path) -> None:
    listed = inspect(npm, "--method", "tools/list")
    assert {"weather", "pay"} < {each["name"] for each in listed["tools"]}
    place = 'place={"name": "Rome"}'
    result = inspect(npm, "--method", "tools/call", "--tool-name", "weather", "--tool-arg", place)
    assert result["structuredContent"] == {"place": "Rome", "sky": "blue"}
    assert "isError" not in result or not result["isError"]
    refused = inspect(npm, "--method", "tools/call", "--tool-name", "pay", "--tool-arg", "amount=500")
    assert refused["isError"]


OLDER_SERVER = '''
from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel

server = FastMCP("older")

class Colour(BaseModel):
    colour: str

@server.tool()
def add(a: int, b: int) -> int:
    """Add."""
    return a + b

@server.tool()
async def ask(ctx: Context) -> str:
    """Ask."""
    answer = await ctx.elicit("Which colour?", Colour)
    return f"{answer.action}: {getattr(getattr(answer, 'data', None), 'colour', None)}"

server.run()
'''

OLDER_CLIENT = """
import asyncio, json, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import ElicitResult

async def answer(context, params):
    return ElicitResult(action="accept", content={"allow": True})

async def main():
    parameters = StdioServerParameters(command=sys.argv[1], args=sys.argv[3:], env={"PYTHONPATH": sys.argv[2]})
    async with stdio_client(parameters) as (read, write):
        async with ClientSession(read, write, elicitation_callback=answer) as session:
            await session.initialize()
            tools = await session.list_tools()
            paid = await session.call_tool("pay", {"amount": 500})
            wrong = await session.call_tool("weather", {})
            print(json.dumps([len(tools.tools), paid.content[0].text, wrong.isError]))

asyncio.run(main())
"""


def test_a_server_on_the_older_sdk(older: str, tmp_path: Path) -> None:
    path = tmp_path / "server.py"
    path.write_text(OLDER_SERVER)
    with MCP([older, str(path)], name="old") as mcp:
        assert called(mcp, "old_add", a=1, b=2) == {"result": 3}
        assert "ERROR" in str(called(mcp, "old_add", a="x", b=2))
        first = agent(mcp, call("old_ask")).run("Go.")
        again = Agent(ScriptedModel(["done"]), tools=[mcp])
        run = again.resume(first, {first.pending[0].call_id: Result("red")})
        assert responses(run) == [{"result": "accept: red"}]


def test_a_client_on_the_older_sdk(older: str, tmp_path: Path) -> None:
    path = tmp_path / "client.py"
    path.write_text(OLDER_CLIENT)
    done = subprocess.run(
        [older, str(path), sys.executable, PATH, *SERVE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert json.loads(done.stdout) == [7, "paid 500", True]
