"""Runs as JSON: all of it comes back, and what is damaged, foreign or newer is refused in plain words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit import (
    Agent,
    ConfigurationError,
    Run,
    Tool,
    ToolDeferred,
)
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import model_content, user_content
from tests.helpers.ways import either

__all__ = ["either"]


def order(sku: str) -> str:
    """Order."""
    return f"ordered {sku}"


def later() -> str:
    """Have it later."""
    raise ToolDeferred("why", state={"deep": [1, {"a": None}]})


def fails() -> None:
    """Fail."""
    raise LookupError("secret")


def agent_of(*script: Any) -> Agent:
    tools = [Tool.of(order, approval=True, effect="write"), later, fails, Tool.of(order, name="read")]
    return Agent(ScriptedModel(script), tools=tools, max_result_chars=500)


def parked() -> Run:
    """A run with all there is: text, a signature, an error, a long result, an approval and a deferred call."""
    signed: Any = {**call("read", sku="x" * 600), "thoughtSignature": "c2ln"}
    script = [
        [signed, call("fails")],
        ["Let me see.", call("order", sku="A"), call("later"), call("read", sku="é 🦉")],
    ]
    return agent_of(*script).run([user_content("hi"), model_content("yes?"), user_content("go")][-1:])


def test_lone_surrogates_can_be_written_to_a_file() -> None:
    run = Agent(ScriptedModel(["bad \ud800 text"])).run("x")
    again = Run.from_json(run.to_json().encode())
    assert again.text == run.text
    assert again.to_json() == run.to_json()


@pytest.mark.parametrize("given", [5, "x", ["x"]], ids=str)
def test_a_config_in_a_run_that_is_no_config_is_refused_when_it_is_read(given: Any) -> None:
    wire = json.loads(parked().to_json())
    wire["given"]["config"] = {"generationConfig": given}
    with pytest.raises(ConfigurationError, match=r"damaged: given\.config\['generationConfig'\]"):
        Run.from_json(json.dumps(wire))


def test_a_config_in_a_sub_agents_run_that_waits_is_refused_when_it_is_read() -> None:
    inner = agent_of([call("order", sku="A")]).as_tool(name="inner")
    run = Agent(ScriptedModel([call("inner", request="?")]), tools=[inner]).run("x")
    wire = json.loads(run.to_json())
    wire["waiting"]["calls"][0]["deferred"]["state"]["given"]["config"] = {"candidateCount": 2}
    with pytest.raises(ConfigurationError, match=r"deferred.*: given\.config\['candidateCount'\]"):
        Run.from_json(json.dumps(wire))


def test_what_is_said_of_a_damaged_run_is_short_however_large_the_damage() -> None:
    wire = json.loads(parked().to_json())
    wire["used"]["usage"]["x" * 10_000] = "y" * 10_000
    with pytest.raises(ConfigurationError, match="damaged") as caught:
        Run.from_json(json.dumps(wire))
    assert len(str(caught.value)) < 1000
