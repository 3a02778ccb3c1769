"""Structured output."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import BaseModel

from agentkit import Agent, Approve, Context, Limits, Output, ToolError, ToolRetry
from agentkit.testing import call, fault, reply
from tests.golden.recorder import Scene, scenario
from tests.golden.shop import Shop, look


class Bill(BaseModel):
    """A bill."""

    vendor: str
    total: float


GOOD = '{"vendor": "Acme", "total": 12.5}'
RESULT = call("final_result", vendor="Acme", total=12.5)


@scenario(
    cases={
        "good": [GOOD],
        "fenced": [f"```json\n{GOOD}\n```"],
        "wrong once": ['{"vendor": 1}', GOOD],
        "no json once": ["It is 12.50.", GOOD],
        "never right": ['{"total": "much"}'] * 3,
        "after a call": [call("look", n=1), GOOD],
        "cut off": [reply('{"vendor": "Ac', finish_reason="MAX_TOKENS")],
        "empty": [reply(), GOOD],
        "nan": ['{"vendor": "A", "total": NaN}', GOOD],
    }
)
def native(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[look]), output=Output(Bill, mode="native"))


@scenario(
    cases={
        "good": [RESULT],
        "text once": ["It is 12.50.", RESULT],
        "always text": ["It is 12.50."] * 3,
        "wrong once": [call("final_result", vendor=1), RESULT],
        "never right": [call("final_result", total="x")] * 3,
        "after a call": [call("look", n=1), RESULT],
        "beside a call": [[call("look", n=1), RESULT], "ok"],
        "twice": [[RESULT, call("final_result", vendor="B", total=1)]],
        "with words": [["Here it is.", RESULT]],
    }
)
def tool_mode(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[look]), output=Output(Bill, mode="tool"))


@scenario(cases={"list": list[str], "union": Literal["a", "b"], "int": int, "dict": dict[str, int]})
def other_types(s: Scene, kind: Any) -> None:
    value = {"list": '["a", "b"]', "union": '"a"', "int": "3"}
    text = next((t for k, t in value.items() if k in str(kind).lower()), None) or '"a"'
    script = ['{"a": 1}'] if kind == dict[str, int] else [f'{{"result": {text}}}']
    s.run(Agent(s.model(*script, *script, *script)), output=kind)


def _again(value: Bill, ctx: Context[Any]) -> Bill:
    if value.total > ctx.deps:
        raise ToolRetry(f"At most {ctx.deps}.")
    return value


def _never(value: Bill, ctx: Context[Any]) -> Bill:
    raise ToolError("There is no bill.")


def _bug(value: Bill, ctx: Context[Any]) -> Bill:
    raise LookupError("a bug in a validator")


async def _changed(value: Bill, ctx: Context[Any]) -> Bill:
    await asyncio.sleep(0)
    return value.model_copy(update={"vendor": "ACME"})


VALIDATORS = {"again": _again, "never": _never, "bug": _bug, "changed": _changed}


@scenario(
    cases={f"{name} {mode}": (each, mode) for name, each in VALIDATORS.items() for mode in ("native", "tool")}
)
def validators(s: Scene, given: Any) -> None:
    validator, mode = given
    low = GOOD.replace("12.5", "2.5") if mode == "native" else call("final_result", vendor="A", total=2.5)
    script = [GOOD, low] if mode == "native" else [RESULT, low]
    s.run(Agent(s.model(*script)), output=Output(Bill, validator=validator, mode=mode), deps=10)


@scenario(cases={"native": "native", "tool": "tool"})
def output_after_a_resume(s: Scene, mode: Any) -> None:
    shop = Shop()
    last = GOOD if mode == "native" else RESULT
    agent = Agent(s.model(call("order", sku="A"), last, last), tools=[shop.order(approval=True)])
    output = Output(Bill, mode=mode)
    run = s.run(agent, output=output)
    decisions = {run.pending[0].call_id: Approve()}
    s.resume(agent, run, decisions, json=True, output=output)


@scenario(cases={"object": False, "json": True})
def output_given_beside_a_call_that_waits(s: Scene, json: bool) -> None:
    shop = Shop()
    script = [[RESULT, call("order", sku="A")], call("final_result", vendor="B", total=1)]
    agent = Agent(s.model(*script), tools=[shop.order(approval=True)])
    output = Output(Bill, mode="tool")
    run = s.run(agent, output=output)
    s.resume(agent, run, {each.call_id: Approve() for each in run.pending}, json=json, output=output)
    s.note("ran", shop.ran)


@scenario(cases={"native": "native", "tool": "tool"})
def output_at_a_limit(s: Scene, mode: Any) -> None:
    script = [call("look"), GOOD if mode == "native" else RESULT]
    agent = Agent(s.model(*script), tools=[look], limits=Limits(turns=1, on_limit="answer"))
    s.run(agent, output=Output(Bill, mode=mode))


@scenario(cases={"native": "native", "tool": "tool"}, stores=("sqlite",))
def output_in_a_chat(s: Scene, mode: Any) -> None:
    store = s.store()
    script = [call("look"), GOOD, "Paid."] if mode == "native" else [call("look"), RESULT, "Paid."]
    chat = s.chat(Agent(s.model(*script), tools=[look]), "ann", store)
    chat.send("The bill?", output=Output(Bill, mode=mode, retries=0, description="What is owed."))
    chat.send("Pay it.")
    s.rows(store)


@scenario()
def output_of_an_unfit_type(s: Scene) -> None:
    s.run(Agent(s.model(GOOD)), output=Scene)
    s.run(Agent(s.model(RESULT), tools=[look]), output=Output(Bill, mode="tool", name="look"))


@scenario()
def output_that_a_stand_in_gives(s: Scene) -> None:
    models = [s.model(fault(429, retry_after=99), name="one"), s.model('{"vendor": 1}', GOOD, name="two")]
    s.run(Agent(models), output=Bill)
