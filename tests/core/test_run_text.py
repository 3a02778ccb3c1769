"""`print(run)`: a run as people read it, by the same hand as `agentkit sessions show`."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Approve, ChatManager, Limits, Media, Output, Run, SQLiteStore, Summarize, Tool
from agentkit.chats.plain_text import columns
from agentkit.chats.transcript import transcript
from agentkit.core.beside import calls_in
from agentkit.testing import ScriptedModel, call
from agentkit.tooling.names import SECONDS
from tests.helpers.runners import Runner


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def shout(text: str) -> str:
    """Shout."""
    return text.upper()


def test_a_run_is_printed_with_its_question_calls_answer_and_usage() -> None:
    run = Agent(ScriptedModel([call("add", a=1, b=2), "It is 3."]), tools=[add]).run("1 + 2?")
    *said, used = str(run).splitlines()
    assert said == ["> You", "1 + 2?", "", "  add(a=1, b=2)", "    = 3", "", "It is 3.", ""]
    assert used.startswith("2 requests, about ")
    assert str(Run.from_json(run.to_json())) == str(run)


def test_a_run_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"text": "日本語 🍵 naïve " * 20}
    run = Agent(ScriptedModel([call("shout", **args), "Done."]), tools=[shout]).run("Shout!")
    for width in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        widest = max(map(columns, str(run).splitlines()[2:6]))
        assert width - 2 < widest <= width
    monkeypatch.setenv("COLUMNS", "2")
    assert "> You" in str(run)


def test_a_runs_calls_are_listed_with_what_came_of_them() -> None:
    model = ScriptedModel([[call("add", a=1, b=2), call("add", a=1)], call("nothing"), "It is 3."])
    run = Agent(model, tools=[add]).run("1 + 2?")
    right, wrong, unknown = run.calls
    assert (right.name, right.args, right.result, right.error) == ("add", {"a": 1, "b": 2}, 3, None)
    assert wrong.result is None and "b" in str(wrong.error)
    assert unknown.args == {} and "nothing" in str(unknown.error)
    assert Run.from_json(run.to_json()).calls == run.calls


@pytest.mark.parametrize("stored", [False, True])
def test_a_call_has_the_seconds_it_took(go: Runner, stored: bool, tmp_path: Path) -> None:
    def nap(seconds: float) -> str:
        """Sleep."""
        time.sleep(seconds)
        return "slept"

    inside = Agent(ScriptedModel([call("nap", seconds=0.06), "Slept."]), tools=[nap], name="inside")
    model = ScriptedModel(
        [[call("nap", seconds=0.06), call("nothing"), call("inside", request="Sleep.")], "Done."]
    )
    with SQLiteStore(tmp_path / "chats.db") as store:
        agent = Agent(model, tools=[nap, inside.as_tool(description="Sleeps.")])
        run = agent.chat("ann", store).send_message("Sleep!") if stored else go(agent, "Sleep!")
        slept, unknown, asked = run.calls
        assert slept.seconds and asked.seconds and min(slept.seconds, asked.seconds) >= 0.06
        assert unknown.seconds is None
        assert [line.strip()[-2:] for line in str(run).splitlines() if line.startswith("    (")] == ["s)"] * 2
        assert str(Run.from_json(run.to_json())) == str(run)
        if stored:
            kept = list(calls_in(store.load("ann").messages))
            assert [each.seconds for each in kept] == [each.seconds for each in run.calls]


@pytest.mark.parametrize("noted", [None, 3, "x", [], ["x", -1, None, [], {}], [1e999, 2], {"0": 1}])
def test_seconds_that_are_none_are_unknown(noted: Any) -> None:
    model = ScriptedModel([[call("add", a=1, b=2), call("add", a=2, b=2)], "Done."])
    messages = list(Agent(model, tools=[add]).run("Add!").messages)
    messages[2] = replace(messages[2], metadata={SECONDS: noted})
    seconds = [each.seconds for each in calls_in(messages)]
    assert seconds == ([None, 2] if noted == [1e999, 2] else [None, None])
    assert "= 4" in transcript(messages)


def test_a_call_that_waits_says_so_and_a_chats_run_has_its_own_calls_only() -> None:
    pay = Tool.of(add, name="pay", approval=True)
    model = ScriptedModel([call("add", a=1, b=2), "It is 3.", call("pay", a=1, b=2), "Paid."])
    chat = Agent(model, tools=[add, pay]).chat()
    chat.send_message("1 + 2?")
    (waits,) = chat.send_message("Pay.").calls
    assert waits.name == "pay" and waits.result is None and "waits" in str(waits.error)
    resumed = chat.resume({each.call_id: Approve() for each in chat.pending})
    assert [(each.name, each.result) for each in resumed.calls] == [("pay", 3)]


def test_what_is_public_is_shown_in_a_line_without_what_is_in_it() -> None:
    agent = Agent(ScriptedModel(["secret " * 99] * 3), tools=[add], instructions="secret " * 99)
    chat = agent.chat("ann")
    run = chat.send_message("secret " * 99)
    manager = ChatManager(agent)
    for each in (
        agent,
        agent.aio,
        chat,
        manager,
        manager.aio,
        agent.model,
        Output(int),
        Summarize(after_turns=9),
    ):
        assert len(repr(each)) < 120 and "secret" not in repr(each) and " at 0x" not in repr(each)
    assert len(repr(run)) < 200
    assert repr(Media(b"secret" * 999, "image/png")) == "Media(5994 bytes, 'image/png')"


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
    seconds = re.compile(r"    \(\d+\.\d s\)\n")
    assert seconds.sub("", alone) in seconds.sub("", whole)
