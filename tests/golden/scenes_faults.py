"""Models that fail, replies that are none, and chaos by seeds."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, RetryPolicy
from agentkit.testing import call, fault
from tests.golden.recorder import Scene, scenario
from tests.golden.shop import Shop, add, look, reply, signed

NO_WAIT = RetryPolicy(attempts=3, base=0, cap=0)


@scenario(
    cases={
        "429": [fault(429), "ok"],
        "500": [fault(500), fault(503), "ok"],
        "timeout": [fault(408), "ok"],
        "too many": [fault(503, "down")] * 3,
        "400": [fault(400, "bad request")],
        "404": [fault(404)],
        "after a call": [call("look"), fault(500), "ok"],
        "not a model error": [RuntimeError("a bug of the model")],
    }
)
def failures(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[look], retry=NO_WAIT))


@scenario(cases={"object": False, "json": True})
def a_failed_run_goes_on(s: Scene, json: bool) -> None:
    script = [call("look", n=1), fault(400, "down"), call("look", n=2), "Seen."]
    agent = Agent(s.model(*script), tools=[look], retry=NO_WAIT)
    run = s.run(agent)
    s.resume(agent, run, json=json)


@scenario()
def no_retries_at_all(s: Scene) -> None:
    s.run(Agent(s.model(fault(503)), retry=RetryPolicy(attempts=1)))
    s.run(Agent(s.model(fault(429, retry_after=100)), retry=RetryPolicy(total=5)))


@scenario(
    cases={
        "outage": ([fault(503)] * 3, ["from two"]),
        "quota": ([fault(429, retry_after=60)], ["from two"]),
        "refused": ([fault(400)], ["never"]),
        "both": ([fault(503)] * 3, [fault(500)] * 3),
        "mid run": ([signed(call("look", n=1)), *[fault(503)] * 3], [call("look", n=2), "from two"]),
        "not for a stop": ([reply(finish_reason="SAFETY")], ["never"]),
    }
)
def stand_ins(s: Scene, scripts: Any) -> None:
    first, second = scripts
    models = [s.model(*first, name="gemini-3-one"), s.model(*second, name="gemini-3-two")]
    agent = Agent(models, tools=[look], retry=NO_WAIT)
    run = s.run(agent)
    s.note("model", run.model)


@scenario()
def a_run_goes_on_with_another_model(s: Scene) -> None:
    one = Agent(s.model(reply(signed(call("look"))), fault(400), name="gemini-3-one"), tools=[look])
    two = Agent(s.model("from two", name="gemini-3-two"), tools=[look])
    three = Agent(s.model("from three", name="gemini-2.5-flash"), tools=[look])
    run = s.run(one)
    s.resume(two, run)
    s.resume(three, run, json=True)
    s.run(two, history=run.contents, model=s.model("ok", name="gemini-3-four"))


REASONS = (
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "A_NEW_ONE",
)


@scenario(cases={reason: reason for reason in REASONS})
def finish_reasons(s: Scene, reason: str) -> None:
    s.run(Agent(s.model(reply("Half", finish_reason=reason), "Whole."), tools=[look]))


@scenario(
    cases={
        "empty": [reply(), "ok"],
        "empty thrice": [reply()] * 3,
        "blank thought": [reply({"text": "hm", "thought": True}), "ok"],
        "no candidates": [{"candidates": []}] * 3,
        "blocked": [{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}],
        "malformed thrice": [reply("x", finish_reason="MALFORMED_FUNCTION_CALL")] * 3,
        "malformed after a call": [
            call("look"),
            reply(finish_reason="MALFORMED_FUNCTION_CALL"),
            call("look", n=2),
            reply(finish_reason="MALFORMED_FUNCTION_CALL"),
            "ok",
        ],
        "tool code": ["```tool_code\nprint(default_api.look(n=1))\n```", call("look"), "ok"],
        "json call": ['{"name": "look", "args": {"n": 1}}', "ok"],
        "call without a name": [reply({"functionCall": {"name": "", "args": {}}}), "ok"],
        "call with a list": [reply({"functionCall": {"name": "look", "args": [1]}}), "ok"],
        "no usage": [{**reply("ok"), "usageMetadata": {}}],
        "absurd usage": [{**reply("ok"), "usageMetadata": {"promptTokenCount": -5, "totalTokenCount": "x"}}],
        "unfinished": [reply("Half", finish_reason="")],
    }
)
def odd_replies(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[look], retry=NO_WAIT))


CUT = reply("One two", finish_reason="MAX_TOKENS")


@scenario(
    cases={
        "goes on": [CUT, reply(" three", finish_reason="MAX_TOKENS"), " four."],
        "never ends": [CUT] * 6,
        "in a call": [reply("So", call("look"), finish_reason="MAX_TOKENS"), "ok"],
        "nothing": [reply(finish_reason="MAX_TOKENS"), "ok"],
        "then a call": [CUT, [" and", call("look")], "ok"],
        "then empty": [CUT, reply(), " three."],
        "then refused": [CUT, reply(finish_reason="SAFETY")],
        "then an outage": [CUT, fault(400)],
        "signed": [reply(signed({"text": "One"}), finish_reason="MAX_TOKENS"), " two."],
    }
)
def cut_off_and_continued(s: Scene, script: list[Any]) -> None:
    s.run(Agent(s.model(*script), tools=[look], on_max_tokens="continue", retry=NO_WAIT))


@scenario(cases={"object": False, "json": True})
def a_stopped_run_goes_on(s: Scene, json: bool) -> None:
    agent = Agent(s.model(call("look"), reply("Half", finish_reason="MAX_TOKENS"), "Whole."), tools=[look])
    s.resume(agent, s.run(agent), json=json)


# -- chaos -----------------------------------------------------------------------------------------------------------

KINDS = (
    "429",
    "500",
    "503",
    "400",
    "connection",
    "hang",
    "broken-stream",
    "empty",
    "no-candidates",
    "blocked",
    "malformed-call",
    "malformed-response",
    "unexpected-call",
    "too-many-calls",
    "missing-signature",
    "max-tokens",
    "max-tokens-call",
    "safety",
    "unknown-reason",
    "unknown-tool",
    "bad-arguments",
    "no-arguments",
    "call-as-text",
    "tool-code",
    "same-ids",
    "no-ids",
    "no-signature",
    "slow",
    "no-usage",
    "absurd-usage",
)


def brain(request: Any) -> Any:
    """Order what there is, once, and tell."""
    done = [
        part["functionResponse"]["response"]
        for content in request["contents"]
        for part in content["parts"]
        if "functionResponse" in part and "output" in part["functionResponse"]["response"]
    ]
    if not done:
        return reply(
            "Adding.",
            {
                "functionCall": {"id": "a1", "name": "add", "args": {"a": 1, "b": 2}},
                "thoughtSignature": "QQ==",
            },
        )
    if len(done) == 1:
        return reply({"functionCall": {"id": "a2", "name": "order", "args": {"sku": "TEA"}}})
    return f"Done {len(done)}."


def _chaos(s: Scene, seed: int, faults: Any, p: float) -> None:
    shop = Shop()
    agent = Agent(
        s.chaos(*[brain] * 60, p=p, seed=seed, faults=faults),
        tools=[add, shop.order()],
        retry=RetryPolicy(base=0, cap=0),
        on_max_tokens="continue" if seed % 2 else "stop",
    )
    run = s.run(agent)
    if run is not None and run.stop is not None:
        s.resume(agent, run, json=bool(seed % 3))
    s.note("ran", shop.ran)


@scenario(cases={kind: index for index, kind in enumerate(KINDS)})
def chaos_of(s: Scene, index: int) -> None:
    _chaos(s, index, [KINDS[index]], 0.6)


@scenario(cases={str(seed): seed for seed in range(100, 110)})
def chaos_seed(s: Scene, seed: int) -> None:
    _chaos(s, seed, KINDS, 0.4)
