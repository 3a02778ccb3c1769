"""`print(run)`: a run as people read it, by the same hand as `agentkit sessions show`."""

from __future__ import annotations

from pathlib import Path

from agentkit import Agent, Limits, Run, SQLiteStore
from agentkit.chats.transcript import transcript
from agentkit.testing import ScriptedModel, call


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def test_a_run_is_printed_with_its_question_calls_answer_and_usage() -> None:
    run = Agent(ScriptedModel([call("add", a=1, b=2), "It is 3."]), tools=[add]).run("1 + 2?")
    *said, used = str(run).splitlines()
    assert said == ["> You", "1 + 2?", "", "  add(a=1, b=2)", "    = 3", "", "It is 3.", ""]
    assert used.startswith("2 requests, about ")
    assert str(Run.from_json(run.to_json())) == str(run)


def test_a_run_that_stopped_says_why_and_shows_no_control_characters() -> None:
    limits = Limits(turns=1)
    run = Agent(ScriptedModel([call("add", a=1, b=2)]), tools=[add], limits=limits).run("1 + \x1b[2J2?")
    assert "Stopped without an answer: turns. The limit of 1 turns is reached." in str(run)
    assert "\x1b" not in str(run)


def test_a_chats_run_is_printed_as_its_session_is_shown(tmp_path: Path) -> None:
    agent = Agent(ScriptedModel(["Hello.", call("add", a=1, b=2), "It is 3."]), tools=[add])
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = agent.chat("ann", store)
        chat.send_message("Hi.")
        run = chat.send_message("1 + 2?")
        whole = transcript(store.load("ann").messages)
    alone = str(run).rpartition("\n\n")[0]
    assert "Hi." not in alone
    assert alone.replace("    (0.0 s)\n", "") in whole.replace("    (0.0 s)\n", "")
