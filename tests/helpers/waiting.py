"""Runs and chats that wait for a person, with all that there can be in one."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, Approve, Chat, Limits, Price, Result, Run, Tool, ToolDeferred, tool
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call


class Shop:
    """Orders, and notes what was ordered."""

    def __init__(self) -> None:
        self.ordered: list[str] = []
        self.order = Tool.of(self._order, name="order", approval=True, effect="write")
        self.read = Tool.of(self._order, name="read")

    def _order(self, sku: str) -> str:
        """Order."""
        self.ordered.append(sku)
        return f"ordered {sku}"

    def agent(self, *script: Any, **options: Any) -> Agent:
        return Agent(ScriptedModel(script), tools=[self.order, self.read, later], **options)


@tool(effect="read")
def later() -> str:
    """Have it later."""
    raise ToolDeferred("the post")


def fails() -> None:
    """Fail."""
    raise LookupError("secret")


def approve_all(run: Run[Any]) -> dict[str, Any]:
    return {
        waiting.call_id: Approve() if waiting.kind == "approval" else Result("late")
        for waiting in run.pending
    }


SCRIPT: list[Any] = [
    [{**call("read", sku="x" * 600), "thoughtSignature": "c2ln"}, call("fails")],
    [
        "Let me see.",
        *(call("inner", request="?"), call("order", sku="A"), call("later"), call("read", sku="é")),
    ],
]
GIVEN: dict[str, Any] = {
    "instructions": "be brief",
    "tool_choice": ["order"],
    "limits": Limits(turns=9, prices={"scripted": Price(input=1.0, output=2.0)}),
}


def inner_agent() -> Agent:
    return Agent(ScriptedModel([[call("order", sku="in")], "inner done"]), name="inner", tools=[Shop().order])


def everything(*script: Any) -> Agent:
    tools = [Shop().order, Shop().read, later, fails, inner_agent().as_tool()]
    return Agent(ScriptedModel(script), tools=tools, max_result_chars=500)


def parked() -> Run[Any]:
    """Make a run with all there is: an error, a long result, an approval, a deferred call, a run inside."""
    return everything(*SCRIPT).run("hi", **GIVEN)


def parked_chat(store: SessionStore) -> Chat:
    """Make a chat that waits for the same, with a state."""
    chat = everything(*SCRIPT).chat("ann", store)
    chat.state = {"cart": ["tea"]}
    chat.send_message("hi", id="m-1", **GIVEN)
    return chat
