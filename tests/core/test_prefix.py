"""Each request of a run extends the one before it, and where it doesn't, that is told."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Context,
    DropToolResults,
    Hooks,
    Limits,
    ModelError,
    Output,
    Tool,
    tool,
)
from agentkit.core.repair import RetryPolicy
from agentkit.events import AgentEvent, Event, PrefixChanged
from agentkit.memory.base import Memory, Need, Situation
from agentkit.skills import Skills
from agentkit.testing import ScriptedModel, call, reply
from agentkit.wire.content import Content, Part, call_part
from agentkit.wire.history import turn_starts
from tests.helpers.ways import Way, way

__all__ = ["way"]


@tool(effect="read")
def look(n: int) -> str:
    """Look."""
    return f"seen {n} " + "x" * 400


@tool(effect="read")
def rare() -> str:
    """Do a rare thing."""
    return "done"


LOOKING = [[call("look", n=1)], [call("look", n=2)], [call("look", n=3)], "There it is."]


def signed(part: Part) -> Part:
    return {**part, "thoughtSignature": "c2ln"}


def skills(folder: Path) -> Skills:
    home = folder / "tea"
    home.mkdir()
    (home / "SKILL.md").write_text("---\nname: tea\ndescription: How to make tea.\n---\nBoil water.\n")
    return Skills(folder)


def alternately(ctx: Context[Any]) -> list[str]:
    return ["look", "rare"] if ctx.turn % 2 else ["look"]


def by_turn(ctx: Context[Any]) -> str:
    return "Be brief." if ctx.turn < 2 else "Be thorough."


def stamp(request: Any, ctx: Context[Any]) -> None:
    request["contents"][0]["parts"][0]["text"] = f"go ({ctx.turn})"


class Forgets:
    """Leaves earlier turns out when there is much, in the midst of a run too."""

    def view(
        self, contents: Sequence[Content], situation: Situation
    ) -> Generator[Need, Any, Sequence[Content]]:
        """Choose."""
        yield from ()
        return contents[turn_starts(contents)[-1] :] if len(contents) > 5 else contents


# What runs: the scripts of its models, how the agent is made, what a chat remembers by, and what is told of it.
Make = tuple[list[list[Any]], dict[str, Any], Memory | None, list[str]]
RUNS: dict[str, Make] = {
    "tools": ([LOOKING], {}, None, []),
    "a long chat": ([["a", "b", *LOOKING]], {}, None, []),
    "a forced first call": ([LOOKING], {"tool_choice": "required"}, None, []),
    "a retry": ([[LOOKING[0], ModelError("x", code=503, retryable=True), "ok"]], {}, None, []),
    "tools on demand": (
        [[[call("find_tools", query="rare thing")], [call("rare")], "ok"]],
        {"tools": [look, Tool.of(rare, on_demand=True)]},
        None,
        ["The tools changed: rare came."],
    ),
    "a result that is cut": (
        [[[call("look", n=1)], "ok"]],
        {"tools": [Tool.of(lambda n: "x" * 9000, name="look", description="Look.")], "max_result_chars": 500},
        None,
        ["The tools changed: read_result came."],
    ),
    "choose_tools": (
        [LOOKING],
        {"choose_tools": alternately},
        None,
        ["The tools changed: rare came.", "The tools changed: rare went.", "The tools changed: rare came."],
    ),
    "instructions": ([LOOKING], {"instructions": by_turn}, None, ["The instructions changed."]),
    "a memory that drops results": (
        [LOOKING],
        {},
        DropToolResults(over=100),
        [],
    ),
    "a memory that forgets": (
        [["a", *LOOKING]],
        {},
        Forgets(),
        ["The memory sends another part of the history."],
    ),
    "a hook": (
        [LOOKING],
        {"hooks": Hooks(before_model=stamp)},
        None,
        ["A hook changed what is sent of the history."] * 3,
    ),
    "a nudge": (
        [[reply(finish_reason="MALFORMED_FUNCTION_CALL"), [call("look", n=1)], "ok"]],
        {},
        None,
        ["What was told beside the history is sent no longer."],
    ),
    "the last turn of a limit": ([[*LOOKING[:2], "ok"]], {"limits": Limits(turns=2, on_limit="answer")}, None, []),
    "a model that stands in": (
        [[[signed(call_part("look", {"n": 1}))], ModelError("x", code=503, retryable=True)], ["ok"]],
        {"retry": RetryPolicy(attempts=1)},
        None,
        ["second is asked, and the thought signatures are first's."],
    ),
}  # fmt: skip


class Watch:
    """Notes before which request a change was told."""

    def __init__(self, models: list[ScriptedModel]) -> None:
        self.models = models
        self.told: list[tuple[int, str]] = []
        self.starts: list[int] = []

    def __call__(self, event: Event, context: Context[Any]) -> None:
        """Hear of an event."""
        if isinstance(event, PrefixChanged):
            self.told.append((self.sent, event.why))

    @property
    def sent(self) -> int:
        """How many requests there were."""
        return sum(len(model.requests) for model in self.models)

    @property
    def requests(self) -> list[Any]:
        """All requests, in order: the second model stands in when the first has failed."""
        return [request for model in self.models for request in model.requests]


def extends(before: Any, request: Any) -> bool:
    same = all(before.get(key) == request.get(key) for key in ("systemInstruction", "tools"))
    return same and request["contents"][: len(before["contents"])] == before["contents"]


def check(watch: Watch) -> list[str]:
    """Check that exactly what doesn't extend was told; return what was."""
    requests = watch.requests
    broken = [
        index
        for index in range(1, len(requests))
        if index not in watch.starts and not extends(requests[index - 1], requests[index])
    ]
    assert [index for index, _ in watch.told] == broken
    return [why for _, why in watch.told]


@pytest.mark.parametrize("name", RUNS)
def test_each_request_extends_the_one_before_it_or_the_change_is_told(way: Way, name: str) -> None:
    scripts, options, memory, whys = RUNS[name]
    models = [
        ScriptedModel(script, name=each) for script, each in zip(scripts, ("first", "second"), strict=False)
    ]
    watch = Watch(models)
    given: Any = {"retry": RetryPolicy(base=0), "tools": [look, rare]} | options
    agent = Agent(models, observers=[watch], **given)
    messages = {"a long chat": 3, "a memory that forgets": 2}.get(name, 1)
    chat = agent.aio.chat(memory=memory) if way.is_async else agent.chat(memory=memory)
    for _ in range(messages):
        watch.starts.append(watch.sent)
        send(way, chat)
    assert check(watch) == whys


def send(way: Way, chat: Any) -> None:
    if not way.is_async:
        chat.send_message_stream("go").drain() if way.streamed else chat.send_message("go")
        return

    async def go() -> None:
        if not way.streamed:
            await chat.send_message("go")
            return
        async with chat.send_message_stream("go") as events:
            await events.drain()

    import asyncio

    asyncio.run(go())


def test_a_skill_that_is_loaded_is_a_result_and_changes_nothing(way: Way, tmp_path: Path) -> None:
    model = ScriptedModel([[call("load_skill", name="tea")], "Boil water."])
    watch = Watch([model])
    way.run(Agent(model, tools=[skills(tmp_path)], observers=[watch]), "tea")
    assert check(watch) == []
    assert len(model.requests) == 2


def test_an_output_that_did_not_fit_is_told_beside_the_history(way: Way) -> None:
    model = ScriptedModel(["three", '{"result": 3}'])
    watch = Watch([model])
    run = way.run(Agent(model, observers=[watch]), "count", output=Output(int))
    assert (run.output, check(watch)) == (3, [])


def test_what_changes_in_a_sub_agent_is_told_as_its_own(way: Way) -> None:
    inner = ScriptedModel(LOOKING)
    helper = Agent(inner, tools=[look, rare], choose_tools=alternately, name="helper").as_tool()
    outer = ScriptedModel([[call("helper", request="x")], "ok"])
    seen: list[Event] = []
    watch: Callable[[Event, Context[Any]], None] = lambda event, context: seen.append(event)  # noqa: E731
    way.run(Agent(outer, tools=[helper], observers=[watch]), "go")
    assert not any(isinstance(event, PrefixChanged) for event in seen)
    inside = [event.event for event in seen if isinstance(event, AgentEvent)]
    assert sum(isinstance(event, PrefixChanged) for event in inside) == 3
