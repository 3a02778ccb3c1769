from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from agentkit_tools.ask import ask
from agentkit_tools.calculator import calculator
from agentkit_tools.clock import clock
from agentkit_tools.files import files
from agentkit_tools.units import units
from agentkit_tools.weather import weather
from agentkit_tools.web import web

from agentkit import Agent, Result, SQLiteStore, ToolDeferred, ToolRegistry, ToolRetry
from agentkit.testing import ScriptedModel, call
from tests.helpers.until import PATIENCE

SIZES = ["small", "large"]
OTHER_PROCESS = """
import sys
from agentkit import Agent, Result, SQLiteStore
from agentkit.testing import ScriptedModel
from agentkit_tools.ask import ask

with SQLiteStore(sys.argv[1]) as store:
    chat = Agent(ScriptedModel(["A large one, then."]), tools=[ask]).chat("tea", store)
    (pending,) = chat.pending
    print(pending.why, pending.args["choices"])
    print(chat.resume({pending.call_id: Result("large")}).text)
"""


def agent(*script: object) -> Agent:
    return Agent(ScriptedModel(script), tools=[ask])


def test_a_question_stops_the_run_and_the_persons_answer_goes_on_with_it() -> None:
    asking = agent([call("ask", question=" Which  size? ", choices=SIZES)], "Here it is.")
    run = asking.run("A cup of tea.")
    assert (run.stop, run.pending[0].why) == ("deferred", "Which size? (small or large)")
    run = asking.resume(run.to_json(), {run.pending[0].call_id: Result("large")})
    assert run.text == "Here it is."
    assert run.contents[-2]["parts"][0]["functionResponse"]["response"] == {"output": "large"}


def test_two_questions_of_one_reply_wait_together() -> None:
    asking = agent([call("ask", question="Which size?"), call("ask", question="Sugar?")], "Fine.")
    run = asking.run("A cup of tea.")
    assert [pending.why for pending in run.pending] == ["Which size?", "Sugar?"]
    answers = {pending.call_id: Result(answer) for pending, answer in zip(run.pending, "ab", strict=True)}
    assert asking.resume(run, answers).text == "Fine."


def test_a_question_in_a_chat_is_answered_from_another_process(tmp_path: Path) -> None:
    path = str(tmp_path / "chats.db")
    with SQLiteStore(path) as store:
        chat = agent([call("ask", question="Which size?", choices=SIZES)]).chat("tea", store)
        assert chat.send_message("A cup of tea.").stop == "deferred"
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "Which size? (small or large) ['small', 'large']\nA large one, then.\n"


@pytest.mark.parametrize("choices", [[], ["one"], ["a", "a"], ["a", " "], [str(n) for n in range(21)]])
def test_choices_that_are_none_are_sent_back(choices: list[str]) -> None:
    with pytest.raises(ToolRetry, match="2 to 20 different choices"):
        ask("Which?", choices)


def test_a_question_has_words() -> None:
    with pytest.raises(ToolRetry, match="what to ask"):
        ask(" \n")
    with pytest.raises(ToolDeferred, match=r"^Which one$"):
        ask("Which\none")


def test_every_ready_made_tool_says_whether_it_changes_anything(tmp_path: Path) -> None:
    asking = ToolRegistry("ask")
    asking.add(ask)
    registries = (weather, calculator, units, clock, web, files(tmp_path), asking)
    tools = [tool for registry in registries for tool in registry]
    effects = {tool.name: tool.effect for tool in tools}
    assert set(effects.values()) == {"read", "write"}
    assert {name for name, effect in effects.items() if effect == "write"} == {"write_file", "edit_file"}
