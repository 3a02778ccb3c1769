"""The plan of a task: written whole, read from the history."""

from __future__ import annotations

from typing import Any

import pytest
from agentkit_tools.todo import MAX_STEPS, Step, plan_in, plan_of, show, todo

from agentkit import Agent, Edit, Hooks, SQLiteStore
from agentkit.events import ToolFinished
from agentkit.testing import ScriptedModel, call

OPEN = {"text": "Boil water", "status": "open"}
DOING = {"text": "Boil water", "status": "doing"}
DONE = {"text": "Boil water", "status": "done"}
POUR = {"text": "Pour it"}


def test_the_plan_is_the_last_one_that_was_written_and_is_told_as_it_changes() -> None:
    script = [[call("write_todo", steps=[OPEN, POUR])], [call("write_todo", steps=[DONE, POUR])], "done"]
    plans = []
    with Agent(ScriptedModel(script), tools=[todo]).stream("Make tea.") as stream:
        for event in stream:
            if isinstance(event, ToolFinished):
                plans.append(show(plan_of(event.response) or []))
    assert plans == ["[ ] Boil water\n[ ] Pour it", "[x] Boil water\n[ ] Pour it"]
    assert plan_in(stream.run.contents) == [Step("Boil water", "done"), Step("Pour it", "open")]


def test_a_history_without_a_plan_has_none() -> None:
    assert plan_in([]) is None
    assert plan_in(Agent(ScriptedModel(["Hi."])).run("Hello.").contents) is None


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([DOING, DOING], "2 steps are doing"),
        ([OPEN] * (MAX_STEPS + 1), "at most 50"),
        ([{"text": " \n "}], "Step 1 must have"),
        ([OPEN, {"text": "x" * 301}], "Step 2 must have"),
        ([{"text": "a", "status": "maybe"}], "status"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_and_the_one_before_stays(steps: Any, problem: str) -> None:
    script = [[call("write_todo", steps=[DOING])], [call("write_todo", steps=steps)], "done"]
    run = Agent(ScriptedModel(script), tools=[todo]).run("Make tea.")
    assert problem in run.contents[-2]["parts"][0]["functionResponse"]["response"]["error"]
    assert plan_in(run.contents) == [Step("Boil water", "doing")]


def test_steps_are_single_lines_and_a_plan_may_be_empty() -> None:
    def plan(steps: list[Any]) -> Any:
        script = [[call("write_todo", steps=steps)], "done"]
        return plan_in(Agent(ScriptedModel(script), tools=[todo]).run("Go.").contents)

    assert plan([{"text": " Boil\n  water "}]) == [Step("Boil water")]
    assert plan([]) == []


def test_a_plan_that_a_hook_has_changed_is_read_too() -> None:
    hooks = Hooks(before_tool=lambda args, ctx: Edit({"steps": [DONE]}))
    run = Agent(ScriptedModel([[call("write_todo", steps=[OPEN])], "done"]), tools=[todo], hooks=hooks).run(
        "Go."
    )
    assert plan_in(run.contents) == [Step("Boil water", "done")]


def test_a_plan_outlives_a_resume_and_is_its_chats_own(tmp_path: Any) -> None:
    store = SQLiteStore(tmp_path / "chats.db")
    Agent(ScriptedModel([[call("write_todo", steps=[DOING])], "done"]), tools=[todo]).chat(
        "a", store
    ).send_message("Go.")
    agent = Agent(ScriptedModel([]), tools=[todo])
    assert plan_in(agent.chat("a", store).get_history()) == [Step("Boil water", "doing")]
    assert plan_in(agent.chat("b", store).get_history()) is None
    store.close()


@pytest.mark.parametrize(
    "output", [None, "text", {}, {"steps": "x"}, {"steps": [1, {"text": "a"}]}, {"result": {"steps": None}}]
)
def test_what_is_no_plan_is_read_as_none_or_as_less(output: Any) -> None:
    assert not plan_of({"name": "write_todo", "response": {"output": output}})
    assert plan_of({"name": "other", "response": {"output": {"steps": [OPEN]}}}) is None
