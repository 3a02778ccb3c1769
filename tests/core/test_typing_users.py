"""A user's program, as strict type checkers see it: what is right passes, each mistake is found on its line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [str(ROOT), str(ROOT / "tools")]

PROGRAM = '''
"""A shop's assistant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any, Literal, assert_never, assert_type

from pydantic import BaseModel

from agentkit import (
    Agent, Approve, Chat, ChatManager, ConfigurationError, Context, DecisionError, Deny, Edit, Hooks, Limits,
    MemoryStore, Model, ModelError, Output, PendingCall, Price, RateLimit, Result, RetryPolicy, Run, RunStopped,
    SQLiteStore, StoreError, Tool, ToolRegistry, Usage, tool,
)
from agentkit.events import (
    AgentEvent, Event, FileLost, MediaDelta, MessageAdded, ModelChanged, ModelRetry, OutputDelta, PrefixChanged,
    RequestDelayed, RunFinished, UploadProgress,
    ServerToolFinished, ServerToolStarted, SourcesFound, TextDelta, ThoughtDelta, ToolFinished, ToolProgress,
    ToolsLeftOut, ToolStarted, TurnFinished, from_wire, to_wire,
)
from agentkit.model import Traits
from agentkit.testing import ScriptedModel, call, fault, reply
from agentkit.wire.content import FunctionResponse, JsonObject, Reply, Request


@dataclass
class Shop:
    """What the tools need."""

    stock: dict[str, int]


class Invoice(BaseModel):
    """An invoice."""

    total: float


class Receipt(BaseModel):
    """A receipt."""

    number: int


def look_up(sku: str, ctx: Context[Shop]) -> int:
    """Look up the stock."""
    ctx.progress("looking")
    assert_type(ctx.deps, Shop)
    return ctx.deps.stock[sku]


@tool(effect="write", approval=True)
async def order(sku: str, count: int = 1) -> str:
    """Order."""
    return f"{count} of {sku}"


registry = ToolRegistry()


@registry.tool
def later(what: str) -> str:
    """Do it later."""
    return what


class Mine(Model):
    """A model of one's own."""

    @property
    def name(self) -> str:
        """Its name."""
        return "mine"

    @property
    def traits(self) -> Traits:
        """What it takes."""
        return Traits(window=1000)

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Answer."""
        yield reply("x")

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Answer, async."""
        yield reply("x")


def told(event: Event) -> str:
    """Say what an event is about."""
    match event:
        case TextDelta(text) | ThoughtDelta(text):
            assert_type(text, str)
            return text
        case OutputDelta() | MessageAdded() | MediaDelta() | SourcesFound() | UploadProgress() | FileLost():
            return "content"
        case PrefixChanged(why):
            return why
        case ServerToolStarted(_, name) | ServerToolFinished(_, name) | ToolsLeftOut(name):
            return name
        case ToolStarted(_, name) | ToolProgress(_, name) | ToolFinished(_, name):
            return name
        case ModelRetry() | RequestDelayed() | ModelChanged():
            return "model"
        case TurnFinished(usage=usage):
            assert_type(usage, Usage)
            return "turn"
        case RunFinished():
            return "end"
        case AgentEvent(event=inner):
            return told(inner)
        case _:
            assert_never(event)


def watch(event: Event, context: Context[Shop]) -> None:
    """Hear of an event."""
    print(told(event), context.deps.stock)


def before_model(request: Request, ctx: Context[Any]) -> Request | Deny | None:
    """Look at a request."""
    return Deny("no") if ctx.purpose == "summary" else None


async def before_tool(args: JsonObject, ctx: Context[Any]) -> Edit | Deny | Result | None:
    """Look at a call."""
    return None


def after_tool(response: FunctionResponse, ctx: Context[Any]) -> Result | Deny | None:
    """Look at a response."""
    return None


async def approver(waiting: PendingCall, ctx: Context[Any]) -> Approve | Deny | None:
    """Decide."""
    return Approve() if waiting.args else None


inner = Agent(Mine(), name="inner")
plain = Agent(ScriptedModel(["x"]))
agent: Agent[Shop] = Agent(
    [Mine(), "local"],
    tools=[look_up, order, registry, Tool.of(later, name="other"), inner.as_tool(share=0.5)],
    hooks=Hooks(before_model=before_model, before_tool=before_tool, after_tool=after_tool),
    approver=approver,
    rate_limit=RateLimit(requests_per_minute=5),
    retry=RetryPolicy(attempts=2),
    limits=Limits(turns=3, cost=0.5, prices={"mine": Price(input=1.0, output=2.0)}),
    choose_tools=lambda ctx: ["order"],
    instructions=lambda ctx: f"You have {ctx.deps}.",
    observers=[watch],
)


def outputs(shop: Shop) -> None:
    """Ask for values."""
    assert_type(agent.run("x", deps=shop).text, str)
    priced = agent.run("x", deps=shop, output=Invoice)
    assert_type(priced, Run[Invoice])
    assert_type(priced.output, Invoice | None)
    assert_type(priced.expect(), Invoice)
    assert_type(priced.raise_for_stop(), Run[Invoice])
    assert_type(plain.run("x", output=list[int]).expect(), list[int])
    assert_type(plain.run("x", output=Output(Invoice, retries=1)).expect(), Invoice)
    assert_type(plain.run("x", output=Output[Invoice | Receipt](Invoice | Receipt)).expect(), Invoice | Receipt)
    plain.run("x", output=Invoice | Receipt).expect()
    plain.run("x", output=Output[Literal["a", "b"]](Literal["a", "b"])).expect()
    for mapped in agent.map(["a", "b"], deps=shop, output=Invoice):
        if mapped.run is not None:
            assert_type(mapped.run.output, Invoice | None)
    with agent.stream("x", deps=shop, output=Invoice) as stream:
        for event in stream:
            print(told(event))
        stream.cancel()
    assert_type(stream.run.expect(), Invoice)


def decisions(shop: Shop, run: Run[Invoice]) -> Run[Invoice]:
    """Decide about calls."""
    edits = {waiting.call_id: Edit({"sku": "b"}) for waiting in run.pending}
    agent.resume(run, edits, deps=shop)
    agent.resume(run.to_json(), {"x": Approve(), "y": Deny("no"), "z": Result(3)}, deps=shop)
    try:
        return agent.resume(run, deps=shop, output=Invoice)
    except DecisionError as error:
        print(error.run)
    except RunStopped as stopped:
        print(stopped.run)
    except (ModelError, StoreError, ConfigurationError):
        raise
    return run


def chats(shop: Shop) -> Chat:
    """Talk."""
    with SQLiteStore("chats.db") as store:
        chat = agent.chat("ann", store, deps=shop)
        assert_type(chat.send_message("x", output=Invoice).output, Invoice | None)
        chat.send_message("x", output=Invoice | Receipt).expect()
        manager = ChatManager(agent, store)
        manager.create("ben", title="Ben")
        assert_type(manager.send_message("ben", "x", output=Invoice).output, Invoice | None)
        manager.send_message("ben", "x", output=Invoice | Receipt).expect()
    return agent.chat("ben", MemoryStore())


async def later_on(shop: Shop) -> None:
    """Do the same, async."""
    assert_type((await agent.aio.run("x", deps=shop, output=Invoice)).expect(), Invoice)
    async with agent.aio.stream("x", deps=shop, output=Invoice) as stream:
        async for event in stream:
            print(told(event))
        async for text in stream.texts():
            assert_type(text, str)
        stream.cancel()
    assert_type(stream.run.output, Invoice | None)
    async for mapped in agent.aio.map(["a"], deps=shop, output=Receipt):
        if mapped.run is not None:
            assert_type(mapped.run.output, Receipt | None)
    assert_type((await agent.aio.chat("ann").send_message("x", output=Invoice)).output, Invoice | None)
    await agent.aio.chat("ann").send_message("x", output=Invoice | Receipt)
    run = await agent.aio.resume(await agent.aio.run("x", deps=shop), deps=shop, output=Receipt)
    assert_type(run.output, Receipt | None)


def written(run: Run[Invoice]) -> None:
    """Write down, and read."""
    again = Run.from_json(run.to_json())
    print(again.why, again.limit, [message.model for message in again.messages])
    print(told(from_wire(to_wire(TextDelta("x")), read_run=Run.from_json)))
    plain.run("x", tool_choice="required", model=ScriptedModel([fault(503), call("order", sku="a")]))
'''

MISTAKES = '''
"""Each line that is marked is a mistake; no other is."""

from dataclasses import dataclass

from pydantic import BaseModel

import agentkit
from agentkit import Agent
from agentkit import Agnet  # mistake
from agentkit.errors import DecisonError  # mistake
from agentkit.testing import ScriptedModel


@dataclass
class Shop:
    """What the tools need."""

    stock: int


class Invoice(BaseModel):
    """An invoice."""

    total: float


shop = Shop(1)
agent: Agent[Shop] = Agent(ScriptedModel(["x"]))
agent.run("x", deps=3)  # mistake
agent.run("x", outptu=Invoice)  # mistake
agent.run("x", limits=3)  # mistake
agent.run("x", tool_choice=3)  # mistake
agent.resume(3)  # mistake
agent.resume("{}", {"a": True})  # mistake
agent.stream("x", deps="shop")  # mistake
agent.map(["x"], deps="shop")  # mistake
number: int = agent.run("x", deps=shop, output=Invoice).expect()  # mistake
print(agent.run("x", deps=shop, output=Invoice).output.total)  # mistake
for mapped in agent.map(["a"], deps=shop, output=Invoice):
    print(mapped.run.text)  # mistake
print(agentkit.Agnet)  # mistake


async def main() -> None:
    """Do the same, async."""
    await agent.aio.run("x", deps="shop")  # mistake
    text: str = (await agent.aio.run("x", deps=shop, output=Invoice)).expect()  # mistake
    print(text)
'''

CHAT = '''
"""A chat's deps."""

from agentkit import Agent, ChatManager
from agentkit.testing import ScriptedModel

agent: Agent[int] = Agent(ScriptedModel(["x"]))
agent.chat("ann", deps="text")  # mistake
agent.chat("ann", deps=3).send_message("x", deps=4)
agent.chat("ann").send_message("x", deps="text")  # mistake
agent.aio.chat("ann", deps="text")  # mistake
ChatManager(agent, deps=3).get("ann").resume(deps=4)
ChatManager(agent).send_message("ann", "x", deps="text")  # mistake
Agent(ScriptedModel(["x"])).chat("ann", deps="text").send_message("x", deps=3)
'''


def marked(program: str) -> set[int]:
    return {number for number, line in enumerate(program.splitlines(), 1) if line.endswith("# mistake")}


def mypy(program: str, folder: Path) -> tuple[set[int], str]:
    """Check with `mypy --strict`; return the lines that are wrong."""
    file = folder / "program.py"
    file.write_text(program, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", str(file)],
        cwd=folder,
        env=os.environ | {"MYPYPATH": os.pathsep.join(SOURCES), "MYPY_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        int(n) for n in re.findall(r"^program\.py:(\d+): error", done.stdout, re.M)
    }, done.stdout + done.stderr


def pyright(program: str, folder: Path) -> tuple[set[int], str]:
    """Check with pyright, strict; return the lines that are wrong."""
    pytest.importorskip("pyright")
    (folder / "program.py").write_text(program, "utf-8")
    settings = {"typeCheckingMode": "strict", "include": ["program.py"], "extraPaths": SOURCES}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "-p", str(folder), "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [
        (problem["range"]["start"]["line"] + 1, problem["message"], problem.get("rule"))
        for problem in json.loads(done.stdout)["generalDiagnostics"]
        if problem["severity"] == "error"
    ]
    return {line for line, _, _ in found}, "\n".join(map(str, found))


CHECKERS = pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@CHECKERS
def test_a_program_that_is_right_passes(check: object, tmp_path: Path) -> None:
    assert callable(check)
    lines, told = check(PROGRAM, tmp_path)
    assert lines == set(), told


@CHECKERS
def test_each_mistake_is_found_and_nothing_else(check: object, tmp_path: Path) -> None:
    assert callable(check)
    lines, told = check(MISTAKES, tmp_path)
    assert lines == marked(MISTAKES), told


@CHECKERS
def test_the_deps_of_a_chat_are_checked(check: object, tmp_path: Path) -> None:
    assert callable(check)
    lines, told = check(CHAT, tmp_path)
    assert lines == marked(CHAT), told
