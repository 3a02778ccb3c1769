"""Runs as JSON: all of it comes back, and what is damaged, foreign or newer is refused in plain words."""

from __future__ import annotations

from typing import Any

from agentkit import (
    Agent,
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
