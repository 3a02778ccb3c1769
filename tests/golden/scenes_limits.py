"""Limits and hooks."""

from __future__ import annotations

import asyncio
from typing import Any

from agentkit import Agent, Deny, Edit, Hooks, Limits, Price, RateLimit, Result, Tool
from agentkit.testing import call, fault, reply
from tests.golden.recorder import STREAMS, Scene, scenario
from tests.golden.shop import Shop, add, fail, look, said

DOLLAR = {"scripted": Price(input=1_000_000, output=1_000_000)}
ENDS: dict[str, dict[str, Any]] = {
    "turns": {"turns": 2},
    "tool_calls": {"tool_calls": 2},
    "tokens": {"tokens": 20},
    "cost": {"cost": 20, "prices": DOLLAR},
}


@scenario(cases=ENDS)
def limits(s: Scene, given: dict[str, Any]) -> None:
    agent = Agent(s.model(*[said(call("look", n=n)) for n in range(3)], said("Seen.")), tools=[look])
    run = s.run(agent, limits=Limits(**given))
    s.resume(agent, run)


@scenario(cases=ENDS)
def limits_that_land(s: Scene, given: dict[str, Any]) -> None:
    script = [said(call("look", n=n)) for n in range(2)]
    script += [said(call("look", n=3))] * ("tool_calls" in given)
    agent = Agent(s.model(*script, said("So far.")), tools=[look], instructions="Be short.")
    s.run(agent, limits=Limits(**given, on_limit="answer"))


@scenario(
    cases={
        "call": [call("look")],
        "empty": [reply()] * 3,
        "fault": [fault(400)],
        "refused": [reply(finish_reason="SAFETY")],
        "cut": [reply("Half", finish_reason="MAX_TOKENS")],
    }
)
def a_last_turn_without_an_answer(s: Scene, script: list[Any]) -> None:
    agent = Agent(s.model(call("look"), *script), tools=[look], limits=Limits(turns=1, on_limit="answer"))
    s.run(agent)


@scenario()
def calls_beyond_the_limit_are_not_run(s: Scene) -> None:
    shop = Shop()
    calls = [call("order", sku=sku) for sku in "ABCD"]
    agent = Agent(s.model(calls, "Some."), tools=[shop.order()])
    run = s.run(agent, limits=Limits(tool_calls=2))
    s.note("ran", shop.ran)
    s.resume(agent, run, json=True, limits=Limits(tool_calls=9))
    s.note("ran", shop.ran)


@scenario()
def a_cost_that_nobody_knows(s: Scene) -> None:
    s.run(Agent(s.model("never")), limits=Limits(cost=1))


@scenario(cases={"stop": "stop", "answer": "answer"})
def repeats(s: Scene, on_limit: Any) -> None:
    script = [call("look", n=1)] * 6
    s.run(Agent(s.model(*script, "Enough."), tools=[look]), limits=Limits(on_limit=on_limit))


@scenario()
def repeats_that_end(s: Scene) -> None:
    script = [call("look", n=1), call("look", n=1), call("look", n=2), call("look", n=1), "Fine."]
    s.run(Agent(s.model(*script), tools=[look]), limits=Limits(repeats=2))


@scenario(cases={"stop": "stop", "answer": "answer"})
def no_time_at_all(s: Scene, on_limit: Any) -> None:
    s.run(Agent(s.model("So far."), tools=[look]), limits=Limits(seconds=1e-9, on_limit=on_limit))


SECONDS = 0.25
"""Until the time of a run is up; what it is up in takes longer by far."""


async def _linger(*_: Any) -> Any:
    """Linger."""
    await asyncio.sleep(60)


async def _linger_in_tool() -> None:
    """Linger."""
    await asyncio.sleep(8 * SECONDS)  # a run that goes on where the time was up before it began waits for it


LINGERING: dict[str, dict[str, Any]] = {
    "instructions": {"instructions": _linger},
    "choose_tools": {"choose_tools": _linger},
    "before_model": {"hooks": Hooks(before_model=_linger)},
    "before_tool": {"hooks": Hooks(before_tool=_linger)},
    "approver": {"approver": _linger},
    "tool": {},
}


@scenario(ways=("stream", "arun"), cases=LINGERING)
def the_time_is_up_in(s: Scene, options: dict[str, Any]) -> None:
    shop = Shop()
    slow = Tool.of(_linger_in_tool, name="slow", effect="write")
    tools = [shop.order(approval="approver" in options), slow]
    calls = [call("order", sku="A"), call("slow"), call("order", sku="B")]
    agent = Agent(s.model(calls, "Done."), tools=tools, limits=Limits(seconds=SECONDS), **options)
    run = s.run(agent)
    s.note("ran", shop.ran)
    s.resume(Agent(s.model("Late."), tools=tools), run, json=True)


@scenario()
def a_rate_limit_with_room(s: Scene) -> None:
    limit = RateLimit(requests_per_minute=100, tokens_per_minute=100_000)
    s.run(Agent(s.model(call("look"), "Seen."), tools=[look], rate_limit=limit))


# -- hooks -----------------------------------------------------------------------------------------------------------


def _changed(request: Any, ctx: Any) -> Any:
    return {**request, "generationConfig": {"temperature": ctx.turn}}


def _raises(*_: Any) -> Any:
    raise LookupError("a bug in a hook")


async def _async_deny(*_: Any) -> Any:
    await asyncio.sleep(0)
    return Deny("later")


def _short(request: Any, ctx: Any) -> Any:
    return {**request, "contents": request["contents"][-1:]} if ctx.turn == 0 else None


@scenario(
    cases={
        "nothing": lambda request, ctx: None,
        "request": _changed,
        "reply": lambda request, ctx: reply("From the hook."),
        "call": lambda request, ctx: reply(call("look", n=7)) if ctx.turn == 0 else None,
        "deny": lambda request, ctx: Deny("not now"),
        "async": _async_deny,
        "contents": _short,
        "broken contents": lambda request, ctx: {"contents": []},
        "wrong": lambda request, ctx: 7,
        "raises": _raises,
    }
)
def before_model(s: Scene, hook: Any) -> None:
    agent = Agent(s.model(call("look", n=1), "Seen."), tools=[look], hooks=Hooks(before_model=hook))
    s.run(agent)


@scenario(
    cases={
        "nothing": lambda reply, ctx: None,
        "reply": lambda made, ctx: reply("Better.") if ctx.turn == 2 else None,
        "deny": lambda made, ctx: Deny("no such words"),
        "calls": lambda made, ctx: reply(call("look", n=8)) if ctx.turn == 1 else None,
        "wrong": lambda made, ctx: "text",
        "raises": _raises,
    }
)
def after_model(s: Scene, hook: Any) -> None:
    agent = Agent(s.model(call("look", n=1), "Seen."), tools=[look], hooks=Hooks(after_model=hook))
    s.run(agent)


@scenario(
    cases={
        "nothing": lambda args, ctx: None,
        "edit": lambda args, ctx: Edit({"sku": "MILK", "n": 2}),
        "bad edit": lambda args, ctx: Edit({"n": "many"}),
        "deny": lambda args, ctx: Deny("closed"),
        "result": lambda args, ctx: Result({"from": "hook"}),
        "async": _async_deny,
        "wrong": lambda args, ctx: 7,
        "raises": _raises,
    }
)
def before_tool(s: Scene, hook: Any) -> None:
    shop = Shop()
    agent = Agent(
        s.model([call("order", sku="TEA"), call("order", sku="TEA", n="x")], "Done."),
        tools=[shop.order()],
        hooks=Hooks(before_tool=hook),
    )
    s.run(agent)
    s.note("ran", shop.ran)


@scenario(
    cases={
        "nothing": lambda response, ctx: None,
        "result": lambda response, ctx: Result([response["response"], ctx.tool_name]),
        "deny": lambda response, ctx: Deny("not for you"),
        "async": _async_deny,
        "wrong": lambda response, ctx: 7,
        "raises": _raises,
    }
)
def after_tool(s: Scene, hook: Any) -> None:
    script = [call("add", a=1, b=2), call("fail", how="bug"), call("nobody"), "Done."]
    s.run(Agent(s.model(*script), tools=[add, fail], hooks=Hooks(after_tool=hook)))


@scenario(ways=STREAMS)
def after_model_while_it_streams(s: Scene) -> None:
    hooks = Hooks(after_model=lambda made, ctx: Deny("secret"))
    s.run(Agent(s.model("A long secret text."), hooks=hooks))
