"""Calls that wait: for a person, for their result; and going on."""

from __future__ import annotations

import asyncio
from typing import Any

from agentkit import (
    Agent,
    Approve,
    Context,
    Deny,
    Edit,
    Hooks,
    Limits,
    PendingCall,
    Result,
    Tool,
    ToolDeferred,
)
from agentkit.testing import call, fault
from tests.golden.recorder import Scene, scenario
from tests.golden.shop import Shop, later, look

DECISIONS = {
    "approve": Approve(),
    "deny": Deny("too dear"),
    "deny without why": Deny(),
    "edit": Edit({"sku": "MILK", "n": 2}),
    "result": Result({"done": True}),
    "bad edit": Edit({"n": "x"}),
    "edit that is no JSON": Edit({"sku": object()}),
    "bad result": Result(object()),
    "wrong": "yes",
    "nothing": None,
}


@scenario(cases=DECISIONS)
def decisions(s: Scene, decision: Any) -> None:
    shop = Shop()
    agent = Agent(
        s.model(["Let me.", call("order", sku="TEA"), call("stock", sku="TEA")], "Done.", "Done again."),
        tools=[shop.order(approval=True), shop.stock()],
    )
    run = s.run(agent, deps="ann")
    s.resume(agent, run, {} if decision is None else {run.pending[0].call_id: decision}, deps="ann")
    s.resume(
        agent, run, {} if decision is None else {run.pending[0].call_id: decision}, json=True, deps="bob"
    )
    s.note("ran", shop.ran)


@scenario(cases={"object": False, "json": True})
def decided_one_after_another(s: Scene, json: bool) -> None:
    shop = Shop()
    calls = [call("order", sku="A"), call("stock", sku="B"), call("order", sku="C"), call("later", n=4)]
    agent = Agent(s.model(calls, "Done."), tools=[shop.order(approval=True), shop.stock(), later])
    run = s.run(agent)
    ids = [pending.call_id for pending in run.pending]
    run = s.resume(agent, run, {ids[1]: Approve()}, json=json)
    run = s.resume(agent, run, json=json)
    s.resume(agent, run, {ids[1]: Approve()}, json=json)
    run = s.resume(agent, run, {ids[0]: Deny("no")}, json=json)
    s.resume(agent, run, {run.pending[0].call_id: Result("came")}, json=json)
    s.note("ran", shop.ran)


@scenario(cases={"object": False, "json": True})
def approved_turn_after_turn(s: Scene, json: bool) -> None:
    shop = Shop()
    agent = Agent(
        s.model(call("order", sku="A"), call("order", sku="B"), fault(400), "Done."),
        tools=[shop.order(approval=True)],
    )
    run = s.run(agent)
    for _ in range(2):
        run = s.resume(agent, run, {each.call_id: Approve() for each in run.pending}, json=json)
    s.resume(agent, run, json=json)
    s.note("ran", shop.ran)


@scenario(
    cases={
        "why": lambda args, ctx: args["n"] > 5 and "more than five",
        "true": lambda args, ctx: args["n"] > 5,
        "none": lambda args, ctx: None,
        "raises": lambda args, ctx: args["nothing"],
    }
)
def approval_by_a_function(s: Scene, approval: Any) -> None:
    shop = Shop()
    calls = [call("order", sku="A", n=3), call("order", sku="B", n=9)]
    run = s.run(Agent(s.model(calls, "Done."), tools=[shop.order(approval=approval)]))
    s.note("stop", run and run.stop)
    s.note("ran", shop.ran)


def _refuses(pending: PendingCall, ctx: Context[Any]) -> Any:
    raise LookupError("a bug in an approver")


async def _later(pending: PendingCall, ctx: Context[Any]) -> Any:
    await asyncio.sleep(0)
    return Approve() if pending.args["sku"] == "A" else None


@scenario(
    cases={
        "approve": lambda pending, ctx: Approve(),
        "deny": lambda pending, ctx: Deny(f"not {pending.args['sku']}"),
        "edit": lambda pending, ctx: Edit({"sku": f"{ctx.deps}-1"}),
        "result": lambda pending, ctx: Result([pending.name, pending.kind, pending.why]),
        "none": lambda pending, ctx: None,
        "some": lambda pending, ctx: Approve() if pending.args["sku"] == "A" else None,
        "async": _later,
        "wrong": lambda pending, ctx: True,
        "raises": _refuses,
    }
)
def approvers(s: Scene, approver: Any) -> None:
    shop = Shop()
    agent = Agent(
        s.model([call("order", sku="A"), call("order", sku="B")], "Done."),
        tools=[shop.order(approval=lambda args, ctx: "it is dear")],
        approver=approver,
    )
    s.run(agent, deps="X")
    s.note("ran", shop.ran)


@scenario()
def calls_that_cannot_run_are_not_asked_about(s: Scene) -> None:
    shop = Shop()
    calls = [call("order", n=1), call("order", sku="A"), call("nobody")]
    agent = Agent(s.model(calls, "Done."), tools=[shop.order(approval=True)])
    run = s.run(agent)
    s.resume(agent, run, {run.pending[0].call_id: Approve()})


@scenario()
def a_hook_is_heard_before_approval(s: Scene) -> None:
    shop = Shop()
    hooks = Hooks(
        before_tool=lambda args, ctx: Edit({**args, "n": 7}), after_tool=lambda r, ctx: Result("ok")
    )
    agent = Agent(s.model(call("order", sku="A"), "Done."), tools=[shop.order(approval=True)], hooks=hooks)
    run = s.run(agent)
    s.resume(agent, run, {run.pending[0].call_id: Approve()}, json=True)
    s.note("ran", shop.ran)


@scenario()
def a_limit_is_held_while_calls_wait(s: Scene) -> None:
    shop = Shop()
    script = [[call("order", sku=sku) for sku in "ABC"], "Done."]
    agent = Agent(s.model(*script), tools=[shop.order(approval=True)], limits=Limits(tool_calls=2, turns=1))
    run = s.run(agent)
    s.resume(agent, run, {each.call_id: Approve() for each in run.pending})
    s.note("ran", shop.ran)


@scenario()
def tools_that_changed_meanwhile(s: Scene) -> None:
    shop = Shop()
    agent = Agent(s.model(call("order", sku="A"), "Done."), tools=[shop.order(approval=True)])
    run = s.run(agent)
    decisions = {run.pending[0].call_id: Approve()}
    s.resume(Agent(s.model("Gone."), tools=[look]), run, decisions, json=True)
    s.resume(Agent(s.model("Free."), tools=[shop.order()]), run, json=True)
    s.note("ran", shop.ran)


@scenario(
    cases={"result": Result("came"), "deny": Deny("gone"), "approve": Approve(), "edit": Edit({"n": 2})}
)
def deferred(s: Scene, decision: Any) -> None:
    agent = Agent(s.model([call("later", n=1), call("look")], "Done."), tools=[later, look])
    run = s.run(agent)
    s.resume(agent, run, json=True)
    s.resume(agent, run, {run.pending[0].call_id: decision}, json=True)


@scenario(cases={"object": False, "json": True})
def deferred_with_a_state(s: Scene, json: bool) -> None:
    def vote(ctx: Context[Any]) -> str:
        """Vote."""
        if ctx.resumed is None:
            asked = [
                PendingCall(call_id=f"{ctx.call_id}/{who}", name="voter", args={"who": who}, path=("board",))
                for who in ("ann", "bob")
            ]
            raise ToolDeferred("two votes", state={"asked": 2}, pending=asked)
        return f"{ctx.resumed} {sorted(f'{key[-3:]} {value}' for key, value in ctx.decisions.items())}"

    agent = Agent(s.model(call("vote"), "Done."), tools=[vote])
    run = s.run(agent)
    s.resume(agent, run, {each.call_id: Approve() for each in run.pending}, json=json)


@scenario()
def a_run_that_nothing_is_left_of(s: Scene) -> None:
    agent = Agent(s.model("Answer.", "Again."))
    run = s.run(agent)
    s.resume(agent, run)
    s.resume(agent, run, {"nobody": Approve()})
    s.resume(agent, run, history=[])
    s.attempt("raise_for_stop", lambda: run.raise_for_stop().text)


@scenario()
def raise_for_stop(s: Scene) -> None:
    shop = Shop()
    run = s.run(Agent(s.model(call("order", sku="A")), tools=[shop.order(approval=True)]))
    s.attempt("raise_for_stop", run.raise_for_stop)


@scenario()
def untyped_tool_with_approval(s: Scene) -> None:
    declaration = {"name": "push", "parametersJsonSchema": {"type": "object", "properties": {"n": {}}}}
    push = Tool.from_declaration(declaration, lambda n=0: n, effect="write", approval=True)
    agent = Agent(s.model(call("push", n=[1]), "Done."), tools=[push])
    run = s.run(agent)
    s.resume(agent, run, {run.pending[0].call_id: Edit({"n": 5})}, json=True)
