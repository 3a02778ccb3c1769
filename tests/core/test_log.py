"""The log: what happens in a run, by level, and never what was said in it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from agentkit import (
    Agent,
    Context,
    Hooks,
    Limits,
    RateLimit,
    Result,
    Tool,
    ToolDeferred,
    ToolError,
    ToolRetry,
)
from agentkit.core.repair import RetryPolicy
from agentkit.testing import ScriptedModel, call, fault, reply
from tests.helpers.ways import Way, way

__all__ = ["way"]

SAID = "SENTINEL"
ONCE = RetryPolicy(attempts=2, base=0, cap=0)


def typed(number: int) -> str:
    """Take a number."""
    return SAID


def returns(text: str) -> str:
    """Return."""
    return SAID


def tries_again(text: str) -> str:
    """Ask for another try."""
    raise ToolRetry(f"other than {SAID}")


def fails(text: str) -> str:
    """Fail in words for the model."""
    raise ToolError(f"no {SAID}")


def no_json(text: str) -> Any:
    """Return what is no JSON."""
    return {SAID: object(), "more": float("nan")}


def waits(text: str) -> str:
    """Have it later."""
    raise ToolDeferred(f"for {SAID}", state={"kept": SAID})


def crashes(text: str) -> str:
    """Crash."""
    raise LookupError("a bug")


def slow(ctx: Context[Any]) -> str:
    """Tell how far it is."""
    ctx.progress(SAID)
    return SAID


def asking(name: str, **args: Any) -> list[Any]:
    return [[call(name, **args)]] * 4 + [SAID]


SCENES: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {
    "an answer": ([SAID], [], {}),
    "a call": (asking("returns", text=SAID), [returns], {}),
    "a failure": (asking("fails", text=SAID), [fails], {}),
    "no JSON": (asking("no_json", text=SAID), [no_json], {}),
    "a deferred call": (asking("waits", text=SAID), [waits], {}),
    "an approval": (
        asking("returns", text=SAID),
        [Tool.of(returns, approval=lambda args, ctx: f"for {SAID}")],
        {},
    ),
    "progress": (asking("slow"), [slow], {}),
    "a hook": (
        asking("returns", text=SAID),
        [returns],
        {"hooks": Hooks(after_tool=lambda r, c: Result(SAID))},
    ),
    "a blocked prompt": ([{"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": SAID}}], [], {}),
    "repairs": (["", reply(SAID, finish_reason="MALFORMED_FUNCTION_CALL"), SAID], [], {}),
    "wrong arguments": (asking("typed", number=SAID), [typed], {"limits": Limits(repeats=None)}),
    "tries": (asking("tries_again", text=SAID), [tries_again], {"limits": Limits(repeats=None)}),
}


@pytest.mark.parametrize(
    "scene",
    SCENES,
)
def test_nothing_that_was_said_is_in_the_log(way: Way, scene: str, caplog: pytest.LogCaptureFixture) -> None:
    script, tools, options = SCENES[scene]
    with caplog.at_level(1, "agentkit"):
        way.run(Agent(ScriptedModel(script), tools=tools, **options), f"hello {SAID}")
    assert caplog.records
    assert SAID not in caplog.text


def levels(caplog: pytest.LogCaptureFixture, logger: str) -> list[int]:
    return [record.levelno for record in caplog.records if record.name == logger]


def test_a_tool_that_crashes_is_a_warning_with_its_traceback(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    way.run(Agent(ScriptedModel([[call("crashes", text="x")], "done"]), tools=[crashes]), "x")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "agentkit.tools"
    assert record.exc_info is not None
    assert "crashes" in record.getMessage()


@pytest.mark.parametrize("tool", [fails, tries_again, waits, returns], ids=lambda tool: tool.__name__)
def test_what_is_the_models_affair_is_no_warning(
    way: Way, tool: Any, caplog: pytest.LogCaptureFixture
) -> None:
    way.run(Agent(ScriptedModel([[call(tool.__name__, text="x")], "done"]), tools=[tool]), "x")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_tries_and_stand_ins_are_information(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    first, second = ScriptedModel([fault(503)] * 2, name="first"), ScriptedModel(["done"], name="second")
    with caplog.at_level(logging.INFO, "agentkit"):
        way.run(Agent([first, second], retry=ONCE, rate_limit=RateLimit(requests_per_minute=100)), "x")
    assert levels(caplog, "agentkit.model") == [logging.INFO] * 2
    assert "second stands in for first" in caplog.text


def test_each_call_of_a_sub_agent_is_logged_once(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    inner = Agent(ScriptedModel([[call("crashes", text="x")], "done"]), name="inner", tools=[crashes])
    outer = Agent(ScriptedModel([[call("inner", request="?")], "done"]), tools=[inner.as_tool()])
    with caplog.at_level(logging.DEBUG, "agentkit"):
        way.run(outer, "x")
    assert levels(caplog, "agentkit.tools").count(logging.WARNING) == 1
    assert levels(caplog, "agentkit.run") == [logging.DEBUG] * 2


def test_without_a_level_a_run_that_goes_well_writes_nothing(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    way.run(Agent(ScriptedModel([[call("returns", text="x")], "done"]), tools=[returns]), "x")
    assert not caplog.records
