"""Answers and calls: what is sent, what runs, and how tools fail."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel

from agentkit import Agent, Context, Media, Tool, ToolRegistry, Usage
from agentkit.testing import call
from tests.golden.recorder import STREAMS, Scene, scenario
from tests.golden.shop import Shop, add, alook, fail, look, reply, signed

HISTORY = [
    {"role": "user", "parts": [{"text": "Hello."}]},
    {"role": "model", "parts": [signed({"text": "Hello, Ann."})]},
]


@scenario()
def answer(s: Scene) -> None:
    s.run(Agent(s.model("It is an answer.")), "What is it?")


@scenario()
def answer_with_thoughts(s: Scene) -> None:
    made = reply({"text": "Let me think.", "thought": True}, signed({"text": "Four."}))
    made["usageMetadata"] = {
        "promptTokenCount": 9,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 16,
    }
    run = s.run(Agent(s.model(made, "Still four.")), "2 + 2?")
    s.run(Agent(s.model("Yes.")), "Sure?", history=run.contents)


@scenario()
def answer_with_unknown_parts(s: Scene) -> None:
    parts = [{"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"text": "Two."}]
    s.run(Agent(s.model(reply(*parts))))


@scenario(
    cases={
        "text": "What?",
        "bytes": b"\x89PNG\r\n\x1a\n0000",
        "part": {"text": "What?"},
        "snake": {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
        "content": {"role": "user", "parts": [{"text": "What?"}, {"text": "Now?"}]},
        "list": ["What?", {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
        "empty": "",
        "no list": [],
        "wrong": 7,
        "surrogate": "half \ud83d",
    }
)
def inputs(s: Scene, value: Any) -> None:
    s.run(Agent(s.model("That.")), value)


@scenario()
def history_is_sent_before_the_input(s: Scene) -> None:
    s.run(Agent(s.model("Fine.")), "How are you?", history=HISTORY)


@scenario()
def history_that_breaks_a_rule(s: Scene) -> None:
    history = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [call("look")]}]
    s.run(Agent(s.model()), history=history)


@scenario(
    cases={
        "text": "Be short.",
        "function": lambda ctx: f"Be {ctx.deps} at turn {ctx.turn}.",
        "none": lambda ctx: None,
        "wrong": lambda ctx: 7,
    }
)
def instructions(s: Scene, value: Any) -> None:
    agent = Agent(s.model(call("look"), "Seen."), tools=[look], instructions=value)
    s.run(agent, deps="kind")


@scenario()
def async_instructions(s: Scene) -> None:
    async def words(ctx: Context[Any]) -> str:
        await asyncio.sleep(0)
        return f"For {ctx.deps}."

    s.run(Agent(s.model("Yes."), instructions=words), deps="Ann")


@scenario()
def config_goes_along(s: Scene) -> None:
    config = {
        "temperature": 0,
        "thinking_config": {"include_thoughts": True},
        "tools": [{"google_search": {}}],
        "labels": {"b": "1", "a": "2"},
    }
    agent = Agent(s.model(call("look"), "Yes."), tools=[look], instructions="Be short.", config=config)
    s.run(agent)


@scenario(cases={"none": "none", "required": "required", "named": ["look"], "unknown": ["nobody"]})
def tool_choices(s: Scene, choice: Any) -> None:
    s.run(Agent(s.model(call("look"), "Seen."), tools=[look, add]), tool_choice=choice)


@scenario()
def options_of_one_run(s: Scene) -> None:
    agent = Agent(s.model("never"), tools=[look], instructions="Old.")
    other = s.model(call("add", a=1, b=2), "Three.", name="other")
    s.run(agent, model=other, tools=[add], instructions="New.")
    s.run(agent, nonsense=1)


@scenario()
def one_call(s: Scene) -> None:
    agent = Agent(s.model(["I look.", call("look", n=1)], "Seen one."), tools=[look])
    s.run(agent, "Look at 1.")


@scenario()
def calls_one_after_another(s: Scene) -> None:
    script = [call("look", n=1), call("alook", n=2), call("add", a=3, b=4), "All done."]
    s.run(Agent(s.model(*script), tools=[look, alook, add]))


@scenario()
def calls_side_by_side(s: Scene) -> None:
    calls = [call("look", n=1), call("alook", n=2), call("look", n=3)]
    s.run(Agent(s.model(calls, "All seen."), tools=[look, alook]))


@scenario()
def writes_in_order(s: Scene) -> None:
    shop = Shop()
    calls = [call("order", sku=sku) for sku in "ABC"]
    s.run(Agent(s.model(calls, "Ordered."), tools=[shop.order()]), deps="ann")
    s.note("ran", shop.ran)


@scenario()
def reads_and_writes_in_one_turn(s: Scene) -> None:
    shop = Shop()
    calls = [call("stock", sku="A"), call("order", sku="A"), call("stock", sku="B"), call("order", sku="B")]
    s.run(Agent(s.model(calls, "Ordered."), tools=[shop.order(), shop.stock()]))
    s.note("ran", shop.ran)


@scenario()
def calls_with_ids_and_signatures(s: Scene) -> None:
    one = {"functionCall": {"id": "c-1", "name": "add", "args": {"a": 1, "b": 2}}, "thoughtSignature": "QQ=="}
    two = {"functionCall": {"id": "c-1", "name": "add", "args": {"a": 3, "b": 4}}}
    script = [
        reply(one),
        reply(signed({"text": "So."}), {"functionCall": {"name": "look"}}),
        reply(two),
        "ok",
    ]
    s.run(Agent(s.model(*script), tools=[add, look]))


@scenario(ways=STREAMS)
def progress(s: Scene) -> None:
    async def work(ctx: Context[Any]) -> str:
        """Work."""
        ctx.progress("begun")
        ctx.progress({"done": 0.5})
        return "done"

    s.run(Agent(s.model(call("work"), "ok"), tools=[work]))


@scenario()
def a_tool_spends_tokens(s: Scene) -> None:
    def ask(ctx: Context[Any]) -> str:
        """Ask."""
        ctx.add_usage(Usage(requests=1, prompt_tokens=5, total_tokens=7))
        return f"{ctx.tool_name} {ctx.retry} {ctx.turn} {ctx.deps}"

    s.run(Agent(s.model(call("ask"), "ok"), tools=[ask]), deps=3)


class Item(BaseModel):
    sku: str
    price: float = 1.5


@dataclass
class Pair:
    left: int
    right: date


@scenario(
    cases={
        "none": None,
        "text": "é “quoted” \u2028",
        "number": 2**70,
        "nan": float("nan"),
        "list": [1, None, {"a": []}],
        "dict": {"output": 1, "b": 2},
        "error dict": {"error": "no"},
        "model": Item(sku="A"),
        "dataclass": Pair(1, date(2026, 1, 2)),
        "set": {3, 1, 2},
        "bytes": b"abc",
        "object": object(),
        "media": Media(b"png", "image/png", "a.png"),
        "media list": ["see", Media(b"png", "image/png")],
    }
)
def results(s: Scene, value: Any) -> None:
    def make() -> Any:
        """Make it."""
        return value

    s.run(Agent(s.model(call("make"), "ok"), tools=[make]))


@scenario(cases={"error": "error", "bug": "bug", "retry": "retry"})
def tools_that_fail(s: Scene, how: str) -> None:
    s.run(Agent(s.model(call("fail", how=how), "I gave up."), tools=[fail]))


@scenario(cases={"error": "error", "bug": "bug", "retry": "retry"})
def tools_that_fail_and_raise(s: Scene, how: str) -> None:
    agent = Agent(s.model([call("fail", how=how), call("look")], "on"), tools=[fail, look], on_error="raise")
    s.run(agent)


@scenario()
def retries_of_a_tool_run_out(s: Scene) -> None:
    script = [call("fail", how="retry") for _ in range(4)]
    s.run(Agent(s.model(*script, "I gave up."), tools=[fail]))
    s.run(Agent(s.model(*script[:2], "I gave up."), tools=[Tool.of(fail, retries=0)]))


@scenario(
    cases={
        "type": call("add", a="x", b=2),
        "missing": call("add", a=1),
        "unknown": call("add", a=1, b=2, c=3),
        "coerced": call("add", a="1", b=2.0),
        "nothing": {"functionCall": {"name": "add"}},
        "tool": call("nobody", a=1),
        "near": call("Add", a=1, b=2),
    }
)
def wrong_calls(s: Scene, part: Any) -> None:
    s.run(Agent(s.model(part, call("add", a=1, b=2), "Three."), tools=[add]))


@scenario()
def every_kind_of_end_in_one_turn(s: Scene) -> None:
    calls = [call("fail", how="error"), call("nobody"), call("add", a=1), call("add", a=1, b=1)]
    tools = [Tool.of(fail, effect="write"), Tool.of(add, effect="write")]
    s.run(Agent(s.model(calls, "So so."), tools=tools))


@scenario()
def a_tool_times_out(s: Scene) -> None:
    closed = threading.Event()

    def slow() -> None:
        """Take too long."""
        closed.wait(60)

    async def aslow() -> None:
        """Take too long, async."""
        await asyncio.sleep(60)

    script = [call("slow"), call("aslow"), "Too slow."]
    try:
        s.run(Agent(s.model(*script), tools=[Tool.of(slow, timeout=0.01), aslow], tool_timeout=0.02))
    finally:
        closed.set()


@scenario()
def declarations(s: Scene) -> None:
    shop = ToolRegistry("shop")
    shop.add(look)
    raw = {"name": "now", "description": "The time.", "parameters": {"type": "OBJECT", "properties": {}}}

    def book(day: date, items: list[Item], where: str | None = None) -> str:
        """Book.

        Args:
            day: The day.
            items: What for.
        """
        return f"{day} {items[0].sku} {where}"

    script = [call("book", day="2026-01-02", items=[{"sku": "A"}]), call("shop_look"), call("now"), "ok"]
    s.run(Agent(s.model(*script), tools=[book, shop.prefixed("shop"), (raw, lambda: "noon")]))


@scenario(racing=True)
def map_over_inputs(s: Scene) -> None:
    def script(request: Any) -> str:
        return f"{request['contents'][-1]['parts'][0]['text']}!"

    agent = Agent(s.model(*[script] * 4))
    s.map(agent, ["a", "b", 7, "c", "d"], concurrency=2)


@scenario(racing=True)
def map_unordered_with_output(s: Scene) -> None:
    agent = Agent(s.model(*[lambda request: '{"result": 3}'] * 3))
    s.map(agent, ["a", "b", "c"], ordered=False, output=int)
    s.map(agent, "abc")
