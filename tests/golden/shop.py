"""The tools of the scenarios, and replies that cost a given number of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agentkit import Context, Tool, ToolDeferred, ToolError, ToolRetry, testing

SIGNATURE = "c2lnbmF0dXJl"


def reply(*parts: Any, **options: Any) -> Any:
    """A reply of parts of any form, also of one that no model should make."""
    return testing.reply(*parts, **options)


def said(*parts: Any, tokens: int = 10) -> Any:
    """A reply that cost so many tokens."""
    return reply(*parts, promptTokenCount=tokens - 1, candidatesTokenCount=1, totalTokenCount=tokens)


def signed(part: Any) -> Any:
    """The part with a thought signature."""
    return {**part, "thoughtSignature": SIGNATURE}


def look(n: int = 0) -> str:
    """Look something up.

    Args:
        n: Which.
    """
    return f"seen {n}"


async def alook(n: int = 0) -> str:
    """Look something up, async."""
    await asyncio.sleep(0)
    return f"seen {n}"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def fail(how: str) -> str:
    """Fail in some way."""
    raise {
        "retry": ToolRetry("Try another."),
        "error": ToolError("It is broken."),
        "bug": LookupError("an inner secret"),
        "exit": SystemError("worse"),
    }[how]


def later(n: int = 0) -> str:
    """Have the result later."""
    raise ToolDeferred(f"number {n} is on its way")


class Shop:
    """Tools that note what they did."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def order(self, **options: Any) -> Tool:
        """A tool that writes."""

        def order(sku: str, ctx: Context[Any], n: int = 1) -> str:
            """Order items."""
            self.ran.append(f"order {n} {sku} {ctx.call_id} {ctx.deps}")
            return f"ordered {n} x {sku}"

        return Tool.of(order, **{"effect": "write", **options})

    def stock(self, **options: Any) -> Tool:
        """A tool that reads."""

        def stock(sku: str) -> dict[str, Any]:
            """Items left in stock."""
            self.ran.append(f"stock {sku}")
            return {"sku": sku, "left": 3}

        return Tool.of(stock, **options)

    def doing(self, name: str, do: Callable[[], Any], **options: Any) -> Tool:
        """A tool that does something of the scenario's."""

        def act() -> Any:
            """Act."""
            self.ran.append(name)
            return do()

        return Tool.of(act, name=name, **options)
