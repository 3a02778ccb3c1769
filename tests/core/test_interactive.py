"""Tools that ask a person at the terminal: called in the caller's thread, alone, in time that doesn't count."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Context, Hooks, Limits, SQLiteStore, Tool, tool
from agentkit.testing import ScriptedModel, call
from tests.helpers.runners import Runner, go, responses
from tests.helpers.until import PATIENCE, stretched
from tests.helpers.ways import Way, way

__all__ = ["go", "way"]


class Person:
    """Asked by tools; notes in which thread, and what else runs meanwhile."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.threads: list[int] = []
        self.under_way = 0
        self.beside: list[int] = []

    def answer(self, question: str) -> str:
        self.threads.append(threading.get_ident())
        self.beside.append(self.under_way)
        time.sleep(self.seconds)
        return f"{question}: yes"

    def asker(self, kind: str) -> Tool:
        """Make the tool: a plain function, an async one, or a plain one that gives something to await."""

        def ask(question: str) -> str:
            return self.answer(question)

        async def aask(question: str) -> str:
            await asyncio.sleep(0)
            return self.answer(question)

        def gives(question: str) -> Awaitable[str]:
            return aask(question)

        functions: dict[str, Callable[..., Any]] = {"sync": ask, "async": aask, "awaitable": gives}
        return Tool.of(functions[kind], name="ask", effect="read", interactive=True)


kinds = pytest.mark.parametrize("kind", ["sync", "async", "awaitable"])
ASKS = [call("ask", question="one"), call("look"), call("look"), call("ask", question="two")]


def looker(person: Person) -> Tool:
    def look() -> str:
        person.under_way += 1
        time.sleep(0.01)
        person.under_way -= 1
        return "seen"

    return Tool.of(look, effect="read")


@kinds
def test_a_person_is_asked_in_the_callers_thread_and_alone(go: Runner, kind: str) -> None:
    person = Person()
    agent = Agent(ScriptedModel([ASKS, "Done."]), tools=[person.asker(kind), looker(person)])
    run = go(agent, "x")
    here = threading.get_ident()
    assert [each["output"] for each in responses(run)] == ["one: yes", "seen", "seen", "two: yes"]
    assert (person.threads, person.beside) == ([here, here], [0, 0])


@kinds
def test_it_is_so_in_a_chat(way: Way, kind: str, tmp_path: Path) -> None:
    person = Person()
    heard: list[str] = []
    hooks = Hooks(
        before_tool=lambda args, ctx: heard.append(ctx.tool_name),
        after_tool=lambda response, ctx: heard.append("after"),
    )
    agent = Agent(ScriptedModel([ASKS, "Done."]), tools=[person.asker(kind), looker(person)], hooks=hooks)
    with SQLiteStore(tmp_path / "chats.db") as store:
        assert way.chat(agent, store).send("x").text == "Done."
    assert person.threads == [threading.get_ident()] * 2
    assert len(heard) == 8


@kinds
@pytest.mark.parametrize("depth", [1, 2])
def test_it_is_so_in_a_sub_agent_at_any_depth(go: Runner, kind: str, depth: int) -> None:
    person = Person()
    agent = Agent(ScriptedModel([ASKS, "Done."]), tools=[person.asker(kind), looker(person)], name="a0")
    for level in range(depth):
        script = [[call(agent.name, request="go"), call("look")], "Done."]
        agent = Agent(ScriptedModel(script), tools=[agent.as_tool(), looker(person)], name=f"a{level + 1}")
    assert go(agent, "x").text == "Done."
    assert (person.threads, person.beside) == ([threading.get_ident()] * 2, [0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_time_that_a_person_takes_counts_nowhere(go: Runner, kind: str, inside: bool) -> None:
    def asks(longer: float) -> None:
        person = Person(seconds=longer)
        script = [call("ask", question="one"), call("ask", question="two"), "Done."]
        limits = Limits(seconds=1.5 * longer)
        options: dict[str, Any] = {"tool_timeout": 0.5 * longer, "limits": limits}
        agent = Agent(ScriptedModel(script), tools=[person.asker(kind)], name="inner", **options)
        if inside:
            outer = [call("inner", request="go"), "Done."]
            agent = Agent(ScriptedModel(outer), tools=[agent.as_tool(timeout=1.5 * longer)], limits=limits)
        run = go(agent, "x")
        assert (run.text, run.stop, run.errors) == ("Done.", None, ())
        assert len(person.threads) == 2

    stretched(asks)


@pytest.mark.slow
def test_time_goes_on_for_what_comes_after(go: Runner) -> None:
    person = Person(seconds=1.2)

    async def hang() -> None:
        await asyncio.sleep(PATIENCE)

    script = [[call("ask", question="one"), call("hang")], "Done."]
    run = go(Agent(ScriptedModel(script), tools=[person.asker("sync"), hang], tool_timeout=0.8), "x")
    assert [each.get("error") for each in responses(run)] == [
        None,
        "The tool 'hang' took too long and was given up.",
    ]


def test_what_it_raises_is_told_as_of_any_tool(go: Runner) -> None:
    @tool(interactive=True)
    def ask(how: str) -> None:
        raise {"end": EOFError, "exit": SystemExit}[how]("no more lines")

    run = go(
        Agent(ScriptedModel([[call("ask", how="end"), call("ask", how="exit")], "Done."]), tools=[ask]), "x"
    )
    assert run.text == "Done."
    assert [type(each).__name__ for each in run.errors] == ["EOFError", "AgentError"]
    assert all("internal error" in each["error"] for each in responses(run))


@pytest.mark.parametrize("inside", [False, True])
def test_a_ctrl_c_at_the_question_ends_the_run(no_thread_left: None, inside: bool) -> None:
    @tool(interactive=True)
    def ask() -> None:
        raise KeyboardInterrupt

    agent = Agent(ScriptedModel([call("ask")]), tools=[ask], name="inner")
    if inside:
        agent = Agent(ScriptedModel([call("inner", request="go")]), tools=[agent.as_tool()])
    with pytest.raises(KeyboardInterrupt) as caught:
        agent.run("x")
    left: Any = caught.value
    assert left.run.stop == "cancelled"
    assert "may have taken effect" in str(left.run.contents[-1])


def test_it_may_tell_how_far_it_is_and_knows_the_run(way: Way) -> None:
    @tool(interactive=True)
    def ask(ctx: Context[str]) -> str:
        ctx.progress("asking")
        return f"{ctx.deps} {ctx.call_id[:4] == ctx.run_id[:4]}"

    run = way.run(Agent(ScriptedModel([call("ask"), "Done."]), tools=[ask]), "x", deps="Ann")
    assert responses(run) == [{"output": "Ann True"}]
    if way.streamed:
        kinds = [type(event).__name__ for event in way.events]
        assert kinds[1:4] == ["ToolStarted", "ToolProgress", "ToolFinished"]


def test_a_sync_run_on_a_running_loop_asks_there_too() -> None:
    person = Person()
    inner = Agent(ScriptedModel([ASKS, "Done."]), tools=[person.asker("sync"), looker(person)], name="inner")

    async def cell() -> str:
        script = [[call("ask", question="zero"), call("inner", request="go")], "Done."]
        return Agent(ScriptedModel(script), tools=[person.asker("sync"), inner.as_tool()]).run("x").text

    assert asyncio.run(cell()) == "Done."
    assert person.threads == [threading.get_ident()] * 3


CHILD = """
    import asyncio, sys
    from agentkit import Agent, tool
    from agentkit.testing import ScriptedModel, call

    @tool(interactive=True)
    {define} ask(question: str) -> str:
        return input(question + "> ")

    script = [call("ask", question="Size?"), "Done."]
    agent = Agent(ScriptedModel(script), tools=[ask], tool_timeout=1.0 * {longer}, name="inner")
    if "{inside}":
        script = [call("inner", request="go"), "Done."]
        agent = Agent(ScriptedModel(script), tools=[agent.as_tool(timeout=1.2 * {longer})])
    run = asyncio.run(agent.aio.run("x")) if "{is_async}" else agent.run("x")
    print([c["parts"][0]["functionResponse"]["response"] for c in run.contents if "functionResponse" in c["parts"][0]])
    print("next:", input())
"""


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["", "inside"])
@pytest.mark.parametrize("is_async", ["", "async"])
@pytest.mark.parametrize("define", ["def", "async def"])
def test_no_line_is_swallowed_however_long_a_person_takes(define: str, is_async: str, inside: str) -> None:
    def asks(longer: float) -> None:
        options = {"define": define, "is_async": is_async, "inside": inside, "longer": longer}
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD.format(**options))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.read(7) == "Size?> "
        time.sleep(1.5 * longer)
        child.stdin.write("large\n")
        child.stdin.flush()
        out, _ = child.communicate("mine\n", timeout=PATIENCE)
        said = "Done." if inside else "large"
        assert out == f"[{{'output': '{said}'}}]\nnext: mine\n"

    stretched(asks)
