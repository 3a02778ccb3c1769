"""What of the model's words a run has, and that every error which ends a run has the run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    Hooks,
    Limits,
    ModelError,
    Output,
    Run,
    SQLiteStore,
    StoreError,
    tool,
)
from agentkit.async_agent import AsyncAgent
from agentkit.errors import AgentError
from agentkit.events import TextDelta
from agentkit.stores.base import AddUsage, Step
from agentkit.testing import ScriptedModel, call, fault, reply
from tests.helpers.ways import WAYS, Way, either, way

__all__ = ["either", "way"]


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


@tool(effect="write", approval=True)
def pay() -> str:
    """Pay."""
    return "paid"


def told(way: Way) -> str:
    return "".join(event.text for event in way.events if isinstance(event, TextDelta))


# Scripts, what the agent is made with, the final turn's text, and all words.
RUNS: dict[str, tuple[list[Any], dict[str, Any], str, str]] = {
    "an answer": (["Hello, Ann."], {}, "Hello, Ann.", "Hello, Ann."),
    "words between calls": (
        [["I look. ", call("look")], ["Once more. ", call("look")], "There it is."],
        {},
        "There it is.",
        "I look. Once more. There it is.",
    ),
    "a reply that was asked for again": (
        [reply("Half a ", finish_reason="MALFORMED_FUNCTION_CALL"), "Whole."],
        {},
        "Whole.",
        "Half a Whole.",
    ),
    "a text that goes on": (
        [reply("One, two, ", finish_reason="MAX_TOKENS"), "three."],
        {"on_max_tokens": "continue"},
        "One, two, three.",
        "One, two, three.",
    ),
    "a limit after calls": (
        [["I look. ", call("look")]],
        {"limits": Limits(turns=1)},
        "I look. ",
        "I look. ",
    ),
    "a limit that lands": (
        [["I look. ", call("look")], "As far as I see."],
        {"limits": Limits(turns=1, on_limit="answer")},
        "As far as I see.",
        "I look. As far as I see.",
    ),
    "a call that waits": ([["I pay. ", call("pay")]], {}, "I pay. ", "I pay. "),
    "a hook's reply": ([], {"hooks": Hooks(before_model=lambda r, c: reply("Mine."))}, "Mine.", "Mine."),
    "thoughts": ([[{"text": "Hm. ", "thought": True}, "Yes."]], {}, "Yes.", "Yes."),
    "a refusal after calls": (
        [["I look. ", call("look")], reply(finish_reason="SAFETY")],
        {},
        "",
        "I look. ",
    ),
    "nothing": ([reply()] * 3, {}, "", ""),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_text_is_the_final_turns_and_said_has_all_words_as_they_were_streamed(
    way: Way, name: str
) -> None:
    script, options, text, said = RUNS[name]
    run = way.run(Agent(ScriptedModel(script), tools=[look, pay], **options), "go")
    assert (run.text, run.said) == (text, said)
    if way.streamed:
        assert told(way) == said
    assert Run.from_json(run.to_json()).said == said


def test_said_goes_on_when_a_run_is_resumed(either: Way) -> None:
    agent = Agent(ScriptedModel([["I pay. ", call("pay")], "Paid."]), tools=[pay])
    run = either.run(agent, "go")
    run = either.resume(agent, run.to_json(), {run.pending[0].call_id: Approve()})
    assert (run.text, run.said) == ("Paid.", "I pay. Paid.")


def test_an_output_that_is_given_by_a_call_is_no_word_of_the_model(either: Way) -> None:
    agent = Agent(ScriptedModel([["Counting. ", call("final_result", result=3)]]))
    run = either.run(agent, "go", output=Output(int, mode="tool"))
    assert (run.output, run.said) == (3, "Counting. ")


def test_what_was_streamed_before_a_run_broke_off_was_said() -> None:
    agent = Agent(ScriptedModel([["I look. ", call("look")], "one two three"]), tools=[look])
    with agent.stream("go") as events:
        got = []
        for piece in events.texts():
            got.append(piece)
            if piece.startswith("two"):
                break
    assert events.run.said == "".join(got) == "I look. one two "
    assert events.run.text == "one two "

    async def go() -> None:
        async with agent_again().aio.stream("go") as stream:
            pieces = []
            async for piece in stream.texts():
                pieces.append(piece)
                if piece.startswith("two"):
                    break
        assert stream.run.said == "".join(pieces) == "I look. one two "

    def agent_again() -> Agent:
        return Agent(ScriptedModel([["I look. ", call("look")], "one two three"]), tools=[look])

    asyncio.run(go())


# -- errors ----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """A tool's own."""


@tool
def breaks() -> str:
    """Break."""
    raise Broken("secret")


@pytest.mark.parametrize("kept", [False, True])
def test_the_exception_of_a_tool_that_ends_a_run_has_the_run(way: Way, tmp_path: Path, kept: bool) -> None:
    agent = Agent(ScriptedModel([["I try. ", call("breaks")]]), tools=[breaks], on_error="raise")
    with SQLiteStore(tmp_path / "a.db") as store, pytest.raises(Broken) as caught:
        way.chat(agent, store).send("go") if kept else way.run(agent, "go")
    run = caught.value.run  # type: ignore[attr-defined]
    assert (run.stop, run.text, run.said) == ("error", "I try. ", "I try. ")
    assert run.errors == (caught.value,)
    assert run.usage.requests == 1


def test_a_models_failure_has_the_run_with_what_was_said(way: Way) -> None:
    agent = Agent(ScriptedModel([["I look. ", call("look")], fault(400)]), tools=[look])
    with pytest.raises(ModelError) as caught:
        way.run(agent, "go")
    run = caught.value.run
    assert (run.said, run.usage.requests, len(run.contents)) == ("I look. ", 1, 3)


class FailsAtTheEnd:
    """Makes a store that can't keep what a send has used, which is stored last."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        write = store.write

        def failing(*args: Any, **options: Any) -> Any:
            writer = write(*args, **options)
            append = writer.append

            def refuse(steps: Sequence[Step], **more: Any) -> None:
                if any(isinstance(step, AddUsage) for step in steps):
                    raise StoreError("The disk is full.")
                append(steps, **more)

            writer.append = refuse
            return writer

        monkeypatch.setattr(store, "write", failing)


AGAIN = [reply("Half", finish_reason="MALFORMED_FUNCTION_CALL"), "one two three"]
"""A reply that isn't stored with a message: its usage is stored at the end."""


def test_a_store_that_fails_at_the_end_of_a_send_does_not_lose_the_answer(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteStore(tmp_path / "a.db") as store:
        FailsAtTheEnd(store, monkeypatch)
        with pytest.raises(StoreError) as caught:
            way.chat(Agent(ScriptedModel(AGAIN)), store).send("go")
    run = caught.value.run
    assert (run.stop, run.text, run.usage.requests) == (None, "one two three", 2)


@pytest.mark.parametrize("name", ["stream", "astream"])
def test_nor_where_the_stream_is_left_early(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(agent: Agent, store: Any) -> None:
        with agent.chat("ann", store).send_message_stream("go") as events:
            for piece in events.texts():
                if piece.startswith("two"):
                    return

    async def aleave(agent: AsyncAgent, store: Any) -> None:
        async with agent.chat("ann", store).send_message_stream("go") as events:
            async for piece in events.texts():
                if piece.startswith("two"):
                    return

    agent = Agent(ScriptedModel(AGAIN))
    with SQLiteStore(tmp_path / "a.db") as store:
        FailsAtTheEnd(store, monkeypatch)
        with pytest.raises(StoreError) as caught:
            asyncio.run(aleave(agent.aio, store)) if WAYS[name].is_async else leave(agent, store)
    run = caught.value.run
    assert (run.stop, run.said) == ("cancelled", "Halfone two ")


def test_an_error_outside_a_run_has_none() -> None:
    with pytest.raises(AgentError) as caught:
        Agent(ScriptedModel([])).run("")
    assert caught.value.run is None
