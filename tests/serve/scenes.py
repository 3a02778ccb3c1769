"""A scripted agent that answers by what is said: slowly enough to watch, and hostile if asked to be."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncGenerator
from typing import Any

from agentkit_tools.todo import todo

from agentkit import Agent, Context, Media, Model, ToolDeferred, ToolError, tool
from agentkit.testing import call, reply
from agentkit.testing.scripted import ScriptedModel, chunks_of
from tests.serve import hostile

LONG = """Here is what I found for **TEA-1**.

| Warehouse | In stock | Ordered |
|:--|--:|--:|
| Paris | 3 | 40 |
| Lyon | 12 | 0 |

Three things follow:

1. Paris runs out on Tuesday at the present pace.
2. Lyon could send ten, by road, overnight.
3. The supplier takes *five working days*.

```python
def days_left(stock: int, per_day: float) -> float:
    return stock / per_day  # 3 / 1.5 = 2.0
```

I would order from the supplier and move ten from Lyon, see the [terms](https://example.com/terms).
"""
SPENT = {
    "promptTokenCount": 1830,
    "cachedContentTokenCount": 1200,
    "candidatesTokenCount": 210,
    "totalTokenCount": 2040,
}
THOUGHT = {
    "text": "The user wants figures. I look in both warehouses and at the closed one too.",
    "thought": True,
}


class Scene(ScriptedModel):
    """Answers by what the last message says.

    Args:
        pace: Seconds between two pieces of text.
        name: The model's.
    """

    def __init__(self, pace: float = 0.02, name: str = "gemini-3.8-flash") -> None:
        super().__init__([], name=name)
        self.pace = pace

    def _next(self, request: Any) -> Any:
        made = self.answer(request["contents"])
        whole = made if "candidates" in made else reply(*(made if isinstance(made, list) else [made]))
        return {"usageMetadata": SPENT, **whole}

    def answer(self, contents: list[Any]) -> Any:
        """Give the reply to a history."""
        last = contents[-1]["parts"]
        if "functionResponse" in last[0]:
            names = {part["functionResponse"]["name"] for part in last if "functionResponse" in part}
            if "write_todo" in names:
                steps = last[0]["functionResponse"]["response"]["output"]["steps"]
                return "All is done." if steps[0]["status"] == "done" else plan("done", "done")
            if "order" in names:
                return "Ordered: 40 of TEA-1 are on their way."
            if "research" in names:
                return "The researcher says: green tea keeps for **two years**."
            if "ask_person" in names or "chart" in names:
                return "Thank you, noted."
            return LONG
        text = next((part["text"] for part in reversed(last) if "text" in part), "").lower()
        return next((made() for word, made in SCENES.items() if word in text), f"You said: {text[:200]}")

    async def astream(self, request: Any, *, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        """Give the reply word by word."""
        await asyncio.sleep(self.pace * 5)
        for chunk in chunks_of(self._next(request)):
            yield chunk
            await asyncio.sleep(self.pace)


def plan(*statuses: str) -> Any:
    """Write a plan down."""
    words = zip(("Count the tea", "Order <b>more</b>"), statuses, strict=True)
    return call("write_todo", steps=[{"text": text, "status": status} for text, status in words])


SCENES: dict[str, Any] = {
    "hostile": lambda: [
        hostile.ANSWER,
        call("stock", **hostile.STOCK_ARGS),
        call("order", **hostile.ORDER_ARGS),
    ],
    "research": lambda: call("research", request="How long does green tea keep?"),
    "two orders": lambda: [call("order", sku="TEA-1", n=40), call("order", sku="TEA-2", n=50)],
    "in a row": lambda: [
        call("order", sku="TEA-1", n=40),
        call("order", sku="TEA-2", n=2),
        call("stock", sku="TEA-3", place="Lyon"),
    ],
    "order": lambda: ["I need a signature for this one.", call("order", sku="TEA-1", n=40, note="for Paris")],
    "slow": lambda: [call("order", sku="TEA-9", n=1), call("slow", seconds=300)],
    "question": lambda: call("ask_person", question="Which warehouse?"),
    "chart": lambda: call("chart"),
    "plan": lambda: plan("doing", "open"),
    "compute": lambda: [
        {"executableCode": {"language": "PYTHON", "code": "print(6 * 7)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
        "It is 42.",
    ],
    "long": lambda: LONG * 6,
    "table": lambda: '{"teas": [{"sku": "TEA-1", "left": 3}, {"sku": "TEA-2", "left": 7}]}',
    "malformed": lambda: reply("Wrong words", finish_reason="MALFORMED_FUNCTION_CALL"),
    "nothing": lambda: reply(finish_reason="SAFETY"),
    "stock": lambda: [
        THOUGHT,
        "I'll look in all three warehouses.",
        *[call("stock", sku="TEA-1", place=place) for place in ("Paris", "Lyon", "Nice")],
    ],
}


class Researcher(Scene):
    """The model of the sub-agent."""

    def answer(self, contents: list[Any]) -> Any:
        """Look once, then answer."""
        if "functionResponse" in contents[-1]["parts"][0]:
            return "Green tea keeps for two years."
        return ["Let me look. ", call("stock", sku="green tea", place="Lyon")]


@tool(effect="read")
async def stock(sku: str, ctx: Context[Any], place: str = "Paris") -> dict[str, Any]:
    """Items left in stock."""
    for step in range(3):
        ctx.progress(f"shelf {step + 1} of 3")
        await asyncio.sleep(0.05 if place == "Paris" else 0.1)
    if place == "Nice":
        raise ToolError("The warehouse in Nice is closed.")
    return {"sku": sku, "place": place, "left": 3 if place == "Paris" else 12}


@tool(effect="write", approval=lambda args, ctx: args["n"] > 10 and "more than ten at once")
def order(sku: str, n: int, note: str = "") -> str:
    """Order items from the supplier."""
    return f"ordered {n} x {sku}"


@tool
async def slow(seconds: float) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return "done"


@tool
def ask_person(question: str) -> str:
    """Ask a person."""
    raise ToolDeferred(question)


@tool
def chart() -> Media:
    """Draw a chart."""
    return Media(data=png(60, 40), mime_type="image/png")


def png(width: int, height: int) -> bytes:
    """Make a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x2f\x53\xc4" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PICTURE = base64.b64encode(png(8, 8)).decode()


def scene_agent(pace: float = 0.02, model: Model | None = None) -> Agent:
    """Make the agent with all its tools."""
    researcher = Agent(Researcher(pace), tools=[stock], name="research")
    tools = [stock, order, slow, ask_person, chart, todo, researcher.as_tool(description="Looks things up.")]
    return Agent(model or Scene(pace), tools=tools, instructions="Be brief.")
