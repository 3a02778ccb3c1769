"""What the tests of the server serve: `tests/mcp/served.py:registry`, `:assistant`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Literal

from pydantic import BaseModel

from agentkit import Agent, Context, Media, ToolDeferred, ToolError, ToolRegistry, ToolRetry
from agentkit.testing import ScriptedModel, call

print("printed when it is imported")
os.system("echo by a child")

registry = ToolRegistry()
paid: list[int] = []
cancelled = threading.Event()
begun = threading.Event()


class Place(BaseModel):
    """A place."""

    name: str
    kind: Literal["city", "village"] = "city"


@registry.tool(effect="read")
def weather(place: Place) -> dict[str, str]:
    """Say what the weather is like.

    Args:
        place: Where.
    """
    print("printed in a call")
    return {"place": place.name, "sky": "blue"}


@registry.tool(effect="write", approval=lambda args, _: "It is much." if args["amount"] > 10 else None)
def pay(amount: int) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


@registry.tool(untrusted=True)
def picture() -> list[object]:
    """Draw."""
    return ["drawn", Media(b"\x89PNG\r\n", "image/png"), Media(b"%PDF-", "application/pdf", "a.pdf")]


@registry.tool
def count(ctx: Context) -> int:
    """Count, and say how far it is."""
    for number in range(3):
        ctx.progress(f"at {number}")
    return 3


@registry.tool
def fail(how: str) -> str:
    """Fail."""
    if how == "retry":
        raise ToolRetry("Say it otherwise.")
    if how == "error":
        raise ToolError("It is broken.")
    if how == "later":
        raise ToolDeferred("Tomorrow.")
    if how == "exit":
        raise SystemExit(3)
    raise ValueError("a secret")


@registry.tool
async def sleep() -> str:
    """Sleep."""
    begun.set()
    try:
        await asyncio.sleep(60)
    finally:
        cancelled.set()
    return "awake"


@registry.tool(timeout=0.05)
def slow() -> str:
    """Take too long."""
    time.sleep(60)
    return "late"


@registry.tool(interactive=True)
def terminal() -> str:
    """Ask at the terminal."""
    return input()


def assistant_that_pays(amount: int) -> Agent:
    """Make an agent that pays, and says so."""
    model = ScriptedModel([[call("pay", amount=amount)], "I have paid."])
    return Agent(model, tools=[each for each in registry if not each.interactive], name="assistant")


assistant = assistant_that_pays(500)
