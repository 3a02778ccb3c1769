"""The tools that all contenders have, and the prompts that tell the server what to do. Standard library only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

MODEL = "gemini-bench"
KEY = "benchmark"
INSTRUCTIONS = "You are a calculator. Call a tool for every sum, and answer in one sentence."
SLOW = 0.05
"""Seconds that a slow tool takes, and a model with `LATENCY`."""
_TYPES = {int: "integer", str: "string", float: "number", bool: "boolean"}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


def slow(n: int) -> int:
    """Wait a little, then return the number.

    Args:
        n: Any number.
    """
    time.sleep(SLOW)
    return n


async def slow_async(n: int) -> int:
    """Wait a little, then return the number.

    Args:
        n: Any number.
    """
    await asyncio.sleep(SLOW)
    return n


def many_tools(n: int) -> list[Callable[..., Any]]:
    """Make so many tools, each a function of its own; the first is `add`."""
    return [add, *(_make(i) for i in range(1, n))]


def _make(i: int) -> Callable[..., Any]:
    def tool(city: str, days: int, limit: float, exact: bool) -> str:
        return f"{i} {city} {days} {limit} {exact}"

    tool.__name__ = tool.__qualname__ = f"look_up_{i}"
    tool.__doc__ = (
        f"Look up number {i}.\n\n    Args:\n        city: The name of the city.\n        days: How many days from"
        " today.\n        limit: The most that it may be.\n        exact: Whether to be exact.\n    "
    )
    return tool


def declaration(function: Callable[..., Any]) -> dict[str, Any]:
    """Write a function's declaration as one would by hand, for those contenders that need it."""
    hints = get_type_hints(function)
    hints.pop("return", None)
    lines = (function.__doc__ or "").splitlines()
    words = dict(line.strip().split(": ", 1) for line in lines[1:] if ": " in line)
    properties = {name: {"type": _TYPES[kind], "description": words[name]} for name, kind in hints.items()}
    return {
        "name": function.__name__,
        "description": lines[0],
        "parametersJsonSchema": {"type": "object", "properties": properties, "required": list(hints)},
    }


def prompt(kind: str, n: int, *, delay: float = 0.0, gap: float = 0.0, number: int = 0) -> str:
    """Write what the server is to do."""
    extra = (f" delay={delay}" if delay else "") + (f" gap={gap}" if gap else "")
    return f"Question {number}: please count. {kind}={n}{extra}"


def past(turns: int) -> Sequence[dict[str, Any]]:
    """Make a history of so many turns of the user, as wire JSON: four contents each."""
    contents: list[dict[str, Any]] = []
    for i in range(turns):
        call = {"id": f"old-{i}", "name": "add", "args": {"a": i, "b": 1}}
        response = {"id": f"old-{i}", "name": "add", "response": {"output": i + 1}}
        contents += [
            {"role": "user", "parts": [{"text": f"Question {i}: please count."}]},
            {"role": "model", "parts": [{"functionCall": call, "thoughtSignature": "c2ln" * 36}]},
            {"role": "user", "parts": [{"functionResponse": response}]},
            {"role": "model", "parts": [{"text": f"The answer is {i + 1}."}]},
        ]
    return contents
