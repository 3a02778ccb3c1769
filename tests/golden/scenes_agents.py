"""Agents as tools of agents."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, Approve, Deny, Edit, Limits, Price, Result
from agentkit.testing import call, fault, reply
from tests.golden.recorder import Scene, scenario
from tests.golden.shop import Shop, alook, later, look, said

DOLLAR = Price(input=1_000_000, output=1_000_000)


def asks(*names: str, tokens: int = 10) -> Any:
    """A reply that asks agents."""
    return said(*(call(name, request=f"for {name}") for name in names), tokens=tokens)


@scenario()
def an_agent_inside(s: Scene) -> None:
    inner = Agent(
        s.model(said(call("look", n=1)), said("leaf says"), name="small"), tools=[look], name="leaf"
    )
    outer = Agent(s.model(asks("leaf"), said("ok")), tools=[inner.as_tool(description="Looks.")])
    s.run(outer)


@scenario()
def two_levels_inside(s: Scene) -> None:
    leaf = Agent(s.model(call("alook"), "leaf says"), tools=[alook], name="leaf")
    mid = Agent(s.model(asks("leaf"), "mid says"), tools=[leaf.as_tool()], name="mid agent")
    s.run(Agent(s.model(asks("mid_agent"), "ok"), tools=[mid.as_tool()]))


@scenario()
def two_agents_side_by_side(s: Scene) -> None:
    tools = [
        Agent(s.model(call("look", n=n), f"{name} says", name=name), tools=[look], name=name).as_tool()
        for n, name in enumerate("ab")
    ]
    s.run(Agent(s.model(asks("a", "b"), "ok"), tools=tools))


@scenario(
    cases={
        "tokens": {"tokens": 100},
        "cost": {"cost": 100, "prices": {"scripted": DOLLAR, "small": DOLLAR}},
        "tool_calls": {"tool_calls": 3},
        "turns": {"turns": 1},
        "landing": {"tokens": 100, "on_limit": "answer"},
    }
)
def limits_are_shared(s: Scene, given: dict[str, Any]) -> None:
    small = s.model(*[said(call("look", n=n), tokens=30) for n in range(4)], said("done"), name="small")
    inner = Agent(small, tools=[look], name="inner")
    agent = Agent(s.model(asks("inner", tokens=40), said("ok"), said("ok")), tools=[inner.as_tool()])
    s.run(agent, limits=Limits(**given))


@scenario(cases={"half": 0.5, "tenth": 0.1})
def a_share_of_what_is_left(s: Scene, share: float) -> None:
    small = s.model(*[said(call("look", n=n), tokens=20) for n in range(5)], name="small")
    inner = Agent(small, tools=[look], name="inner")
    outer = s.model(asks("inner", tokens=40), said("ok", tokens=1))
    s.run(Agent(outer, tools=[inner.as_tool(share=share)]), limits=Limits(tokens=110, tool_calls=9))


@scenario(
    cases={
        "refused": [reply(finish_reason="SAFETY")],
        "cut": [reply("half", finish_reason="MAX_TOKENS")],
        "outage": [fault(400, "an inner secret")],
        "own limit": [call("look")],
        "empty": [reply()] * 3,
    }
)
def ends_inside(s: Scene, script: list[Any]) -> None:
    inner = Agent(s.model(*script, name="small"), tools=[look], name="inner", limits=Limits(turns=1))
    s.run(Agent(s.model(asks("inner"), "ok"), tools=[inner.as_tool()]))


@scenario()
def an_outage_inside_is_raised(s: Scene) -> None:
    inner = Agent(s.model(fault(400, "down"), name="small"), name="inner").as_tool()
    s.run(Agent(s.model(asks("inner")), tools=[inner], on_error="raise"))


@scenario()
def an_agent_without_words(s: Scene) -> None:
    inner = Agent(s.model("never", name="small"), name="inner").as_tool()
    s.run(Agent(s.model(call("inner"), call("inner", request=""), "ok"), tools=[inner]))


DECISIONS = {"approve": Approve(), "deny": Deny("no"), "edit": Edit({"sku": "Z"}), "result": Result("came")}


@scenario(cases=DECISIONS)
def approval_inside(s: Scene, decision: Any) -> None:
    shop = Shop()
    small = s.model(said(call("order", sku="A"), call("stock", sku="A")), said("inner done"), name="small")
    inner = Agent(small, tools=[shop.order(approval=True), shop.stock()], name="inner")
    agent = Agent(s.model(asks("inner"), said("ok")), tools=[inner.as_tool()])
    run = s.run(agent, deps="ann")
    run = s.resume(agent, run, json=True, deps="ann")
    s.resume(agent, run, {run.pending[0].call_id: decision}, json=True, deps="ann")
    s.note("ran", shop.ran)


@scenario(cases={"object": False, "json": True})
def approvals_two_levels_inside(s: Scene, json: bool) -> None:
    shop = Shop()
    order = shop.order(approval=True)
    calls = [call("order", sku="A"), call("later"), call("order", sku="B")]
    clerk = Agent(s.model(said(*calls), said("all done"), name="clerk"), tools=[order, later], name="clerk")
    chief = Agent(
        s.model(asks("clerk"), said("chief done"), name="chief"), tools=[clerk.as_tool()], name="chief"
    )
    outer = s.model(said(call("chief", request="r"), call("order", sku="C")), said("fine"))
    agent = Agent(outer, tools=[chief.as_tool(), order])
    run = s.run(agent)
    for decision in (Approve(), Result("mail came"), Deny("no more"), Edit({"sku": "D"})):
        run = s.resume(agent, run, {run.pending[0].call_id: decision}, json=json)
    s.note("ran", shop.ran)


@scenario()
def an_inner_run_waits_again(s: Scene) -> None:
    shop = Shop()
    small = s.model(call("order", sku="A"), call("order", sku="B"), "inner done", name="small")
    inner = Agent(small, tools=[shop.order(approval=True)], name="inner")
    agent = Agent(s.model(asks("inner"), "ok"), tools=[inner.as_tool()])
    run = s.run(agent)
    for _ in range(2):
        run = s.resume(agent, run, {each.call_id: Approve() for each in run.pending})
    s.note("ran", shop.ran)


@scenario()
def the_outer_approver_decides_inside(s: Scene) -> None:
    shop = Shop()
    small = s.model([call("order", sku="A"), call("order", sku="B")], "inner done", name="small")
    inner = Agent(small, tools=[shop.order(approval=True)], name="inner")
    agent = Agent(s.model(asks("inner"), "ok"), tools=[inner.as_tool()])
    asked: list[Any] = []

    def approver(pending: Any, ctx: Any) -> Any:
        asked.append([pending.name, pending.path, pending.args, ctx.deps])
        return Approve() if pending.args["sku"] == "A" else Deny("no B")

    s.run(agent, approver=approver, deps="ann")
    s.note("asked", asked)
    s.note("ran", shop.ran)


@scenario(stores=("memory", "sqlite"))
def approval_inside_a_chat(s: Scene) -> None:
    shop = Shop()
    small = s.model(said(call("order", sku="A")), said("inner done"), name="small")
    inner = Agent(small, tools=[shop.order(approval=True)], name="inner")
    agent = Agent(s.model(asks("inner"), said("ok")), tools=[inner.as_tool()])
    store = s.store()
    s.chat(agent, "ann", store).send()
    s.rows(store)
    chat = s.chat(agent, "ann", store, deps="later")
    chat.resume({each.call_id: Approve() for each in chat.pending})
    s.rows(store)
    s.note("ran", shop.ran)


@scenario(cases={"auto": "auto", "approve": "approve", "allow": "allow"})
def strangers_words_inside(s: Scene, after: Any) -> None:
    shop = Shop()
    reads = Agent(
        s.model(call("stock", sku="A"), "read", name="r"), tools=[shop.stock(untrusted=True)], name="r"
    )
    writes = Agent(s.model(call("order", sku="A"), "wrote", name="w"), tools=[shop.order()], name="w")
    tools = [reads.as_tool(), writes.as_tool(effect="write")]
    agent = Agent(s.model(asks("r"), asks("w"), "ok"), tools=tools, limits=Limits(after_untrusted=after))
    run = s.run(agent)
    if run.pending:
        s.resume(agent, run, {run.pending[0].call_id: Approve()}, json=True)
    s.note("ran", shop.ran)
