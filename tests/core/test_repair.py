"""What each finish reason and each fault gets: a row a case."""

from __future__ import annotations

import math
import time
from typing import Any, get_args

import pytest
from google.genai import types

from agentkit import Agent, Limits, Output
from agentkit.core.repair import (
    MAX_CONTINUED,
    RULES,
    RetryPolicy,
    is_call_as_text,
    judge,
)
from agentkit.errors import ConfigurationError, ModelError
from agentkit.events import ModelRetry, OutputDelta
from agentkit.limits import LANDING, Stop
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import Reply, model_content, user_content
from agentkit.wire.text import unfence
from tests.helpers.runners import NO_WAIT, Runner

SIGNED: Any = {"text": "", "thoughtSignature": "c2ln"}
THOUGHT: Any = {"text": "hm", "thought": True}
DEEP: Any = {}
for _ in range(500):
    DEEP = {"a": DEEP}
NO_CALLS: list[Any] = [
    *({}, {"name": ""}, {"args": {}}, {"name": 3}, {"name": "f", "args": [1]}, None),
    *({"name": "f", "args": {"a": [bad]}} for bad in (math.nan, math.inf, -math.inf, DEEP)),
]
CODE: Any = {"executableCode": {"language": "PYTHON", "code": "1"}}
NO_ARGS: Any = {"functionCall": {"name": "f", "args": None}}
IMAGE: Any = {"inlineData": {"mimeType": "image/png", "data": ""}}


@pytest.mark.parametrize(
    ("made", "action", "stop"),
    [
        (reply("yes"), "answer", None),
        (reply(call("f")), "calls", None),
        (reply("calling", call("f")), "calls", None),
        (reply(IMAGE), "answer", None),
        (reply(THOUGHT, "yes"), "answer", None),
        (reply(), "retry", "empty"),
        (reply(THOUGHT), "retry", "empty"),
        (reply(SIGNED), "retry", "empty"),
        ({}, "retry", "empty"),
        ({"candidates": [{"finishReason": "STOP"}]}, "retry", "empty"),
        ({"candidates": [{"finishReason": "STOP", "content": {"role": "model"}}]}, "retry", "empty"),
        ({"candidates": [{"content": {"role": "model", "parts": None}}]}, "retry", "empty"),
        (reply("yes", finish_reason="FINISH_REASON_UNSPECIFIED"), "answer", None),
        (reply(""), "retry", "empty"),
        (reply(CODE), "answer", None),
        (reply({"functionCall": {"name": "f"}}), "calls", None),
        (reply(NO_ARGS), "calls", None),
        (reply(call("f"), {"functionCall": {"name": ""}}), "retry", "malformed"),
        ({"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}}]}, "answer", None),
        (reply("half", finish_reason="MAX_TOKENS"), "stop", "max_tokens"),
        (reply(call("f"), finish_reason="MAX_TOKENS"), "stop", "max_tokens"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "stop", "refused"),
        *(
            (reply(finish_reason=reason), "stop", "refused")
            for reason in ("SAFETY", "RECITATION", "SPII", "BLOCKLIST")
        ),
        *(
            (reply(finish_reason=r), "stop", "refused")
            for r in ("PROHIBITED_CONTENT", "LANGUAGE", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED")
        ),
        (reply(finish_reason="MALFORMED_FUNCTION_CALL"), "retry", "malformed"),
        (reply(call("f"), finish_reason="UNEXPECTED_TOOL_CALL"), "retry", "malformed"),
        (reply(finish_reason="TOO_MANY_TOOL_CALLS"), "retry", "malformed"),
        (reply(finish_reason="MALFORMED_RESPONSE"), "retry", "malformed"),
        *((reply({"functionCall": bad}), "retry", "malformed") for bad in NO_CALLS),
        (reply(finish_reason="MISSING_THOUGHT_SIGNATURE"), "stop", "malformed"),
        (reply("x", finish_reason="OTHER"), "stop", "other"),
        (reply(call("f"), finish_reason="NEVER_SEEN_BEFORE"), "stop", "other"),
    ],
)
def test_a_reply_gets_its_verdict(made: Reply, action: str, stop: str | None) -> None:
    verdict = judge(made)
    assert (verdict.action, verdict.stop) == (action, stop)
    assert (verdict.nudge is not None) == (stop == "malformed" and action == "retry")


WHOLE_TABLE: dict[str, tuple[str, Stop]] = {
    "MALFORMED_FUNCTION_CALL": ("retry", "malformed"),
    "UNEXPECTED_TOOL_CALL": ("retry", "malformed"),
    "TOO_MANY_TOOL_CALLS": ("retry", "malformed"),
    "MALFORMED_RESPONSE": ("retry", "malformed"),
    "MISSING_THOUGHT_SIGNATURE": ("stop", "malformed"),
    "MAX_TOKENS": ("stop", "max_tokens"),
    "CONTINUATION": ("stop", "max_tokens"),
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
        ("stop", "refused"),
    ),
    **dict.fromkeys(("ESCALATION", "PUP_LIMITED_DISABLED"), ("stop", "refused")),
    **dict.fromkeys(("NO_IMAGE", "IMAGE_OTHER", "OTHER"), ("stop", "other")),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), ("stop", "refused")),
}


@pytest.mark.parametrize("reason", sorted(RULES | WHOLE_TABLE))
@pytest.mark.parametrize("made", [[], ["some text"], [call("f")], ["some text", call("f")], [THOUGHT]])
def test_every_row_of_the_table_holds_whatever_the_reply_has_in_it(reason: str, made: list[Any]) -> None:
    verdict = judge(reply(*made, finish_reason=reason), ["f"])
    assert (verdict.action, verdict.stop) == WHOLE_TABLE[reason]
    assert verdict.finish_reason == reason
    assert (verdict.nudge is not None) == (verdict.action == "retry")
    assert verdict.stop in get_args(Stop)


def test_the_limits_that_land_are_stops() -> None:
    assert set(get_args(Stop)) > LANDING == {"turns", "tool_calls", "tokens", "seconds", "cost", "repeats"}


@pytest.mark.parametrize(
    ("made", "continued"),
    [
        (["half"], True),
        ([THOUGHT, "half"], True),
        ([THOUGHT], False),
        ([SIGNED], False),
        ([], False),
        (["half", call("f")], False),
        ([call("f")], False),
    ],
)
def test_only_text_that_was_cut_off_is_continued(made: list[Any], continued: bool) -> None:
    verdict = judge(reply(*made, finish_reason="MAX_TOKENS"), ["f"], continue_text=True)
    assert (verdict.action, verdict.stop) == ("continue" if continued else "stop", "max_tokens")


TOOLS = ("add", "weather")
CALLS_AS_TEXT = [
    'print(default_api.weather(city="Paris"))',
    'default_api.weather(city="Paris")',
    "default_api . add(a=1)\ndefault_api.add(a=2)",
    '  print( default_api.weather(city="(") )\n',
    "```tool_code\nprint(anything)\n```",
    "```TOOL_CODE \r\nx\n```",
    "\n```python\nadd(1, 2)\n```\n",
    "```\nprint(add(a=(1), b=')'))\n```",
    '```py\nadd("it\\"s (", 2)\n```',
    '{"name": "add", "args": {"a": 1}}',
    '{"name": "add", "arguments": "{}"}',
    '```json\n{"name": "add", "parameters": {}}\n```',
    '{"functionCall": {"name": "add", "args": {}}}',
    '{"function_call": {"name": "add", "args": {}}}',
]
NO_CALLS_AS_TEXT = [
    "",
    "add",
    "add(1, 2)",  # a name and brackets are words as well: "weather (in Paris)"
    "weather (in Paris)",
    "Call add(1, 2) to get 3.",
    "The call is `default_api.add(a=1)`.",
    "print(default_api.unknown(a=1))",
    "def add(a, b):\n    return a + b",
    "```python\nadd(1, 2) + add(3, 4)\n```",
    "```python\nadd(1, 2)\nprint(add(3, 4))\n```",
    "```python\nadd(1, 2)  # gives 3 (three)\n```",
    "```python\nimport shop\nadd(1, 2)\n```",
    "```python\nadd(1, 2\n```",
    "```python\nadd)(\n```",
    "```python\nsubtract(1, 2)\n```",
    "Like this:\n```python\nadd(1, 2)\n```",
    "```python\nadd(1, 2)\n```\nThat is all.",
    "```tool_code\nadd(1)\n```\nor\n```tool_code\nadd(2)\n```",
    "```tool_code",
    "``````",
    "```tool_code\n",
    '{"name": "add"}',
    '{"name": "add", "price": 3}',
    '{"name": "other", "args": {}}',
    '{"name": ["add"], "args": {}}',
    '{"name": {"add": 1}, "args": {}}',
    '{"name": null, "args": {}}',
    '{"args": {}}',
    '{"functionCall": "add"}',
    '{"functionCall": ["add"]}',
    '[{"name": "add", "args": {}}]',
    '{"name": "add", "args": {}',
    '{"name": "add", "args": {}} is how it is called',
    '{"name": "add", "description": "Add two numbers.", "parameters": {"type": "object"}}',
    '{"a":' * 5000,
    "default_api.add(" + "1, " * 10_000 + ")",  # longer than any call
]


@pytest.mark.parametrize("text", CALLS_AS_TEXT, ids=range(len(CALLS_AS_TEXT)))
@pytest.mark.parametrize("kind", [list, set, dict.fromkeys])
def test_a_call_that_is_written_as_text_is_seen(text: str, kind: Any) -> None:
    assert is_call_as_text(text, kind(TOOLS))
    assert not is_call_as_text(text, ())
    verdict = judge(reply(text), kind(TOOLS))
    assert (verdict.action, verdict.stop) == ("retry", "malformed")
    assert judge(reply(text), ()).action == "answer"
    assert judge(reply(text, call("add")), TOOLS).action == "calls"


@pytest.mark.parametrize("text", NO_CALLS_AS_TEXT, ids=range(len(NO_CALLS_AS_TEXT)))
@pytest.mark.parametrize("kind", [list, set])
def test_an_answer_about_code_is_not_taken_for_a_call(text: str, kind: Any) -> None:
    assert not is_call_as_text(text, kind(TOOLS))


@pytest.mark.parametrize(
    "text",
    [
        "```json\n" + "\n" * 19_000,
        "```\n" + "\n" * 19_000 + "```",
        " " * 19_000 + "x",
        "add" + " " * 19_000 + "x",
        "add(" + ") " * 9_000 + "x",
        "```\nadd(" + "'\\" * 9_000 + ")\n```",
        "```\nadd('" + "\\'" * 9_000 + ")\n```",
        "```\n" + "add(" * 4_500 + "```",
    ],
    ids=range(8),
)
def test_no_text_takes_long_to_look_at(text: str) -> None:
    began = time.thread_time()
    is_call_as_text(text, TOOLS)
    unfence(text * 20)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('```json\n{"a": 1}\n```', ("json", '{"a": 1}')),
        ('\n ``` JSON \r\n{"a": 1}\r\n```  \n', ("json", '{"a": 1}')),
        ('```\n{"a": 1}```', ("", '{"a": 1}')),
        ('```json\n{"a": "```x```"}\n```', ("json", '{"a": "```x```"}')),
        ("```json\n```", ("json", "")),
        ("```a```\n```b```", (None, None)),
        ("```json {}```", (None, None)),
        ("{}", (None, None)),
    ],
)
def test_a_fence_around_all_of_a_text_is_taken_off(text: str, inside: tuple[str | None, str | None]) -> None:
    assert unfence(text) == (inside if inside[0] is not None else (None, text))


def test_a_verdict_has_the_servers_own_word() -> None:
    assert judge({"promptFeedback": {"blockReason": "SAFETY"}}).finish_reason == "SAFETY"
    assert judge(reply("x", finish_reason="NEVER_SEEN_BEFORE")).finish_reason == "NEVER_SEEN_BEFORE"


def test_the_delay_doubles_up_to_its_cap_and_jitters() -> None:
    policy = RetryPolicy(attempts=9, base=1, cap=5, total=100)
    error = ModelError("x", retryable=True)
    delays = [policy.delay(error, attempt=n, waited=0, jitter=1) for n in (1, 2, 3, 4, 5)]
    assert delays == [1, 2, 4, 5, 5]
    assert policy.delay(error, attempt=1, waited=0, jitter=0) == 0.5


def test_the_delay_stays_a_number_after_any_count_of_attempts() -> None:
    policy = RetryPolicy(attempts=10**6, base=1, cap=5, total=10**9)
    assert policy.delay(ModelError("x", retryable=True), attempt=10**5, waited=0, jitter=1) == 5


def test_what_the_server_asks_for_is_obeyed() -> None:
    error = ModelError("x", code=429, retryable=True, retry_after=7)
    assert RetryPolicy().delay(error, attempt=1, waited=0, jitter=0) == 7


def test_retries_are_bounded_in_number_and_time() -> None:
    passing = ModelError("x", retryable=True)
    policy = RetryPolicy(attempts=3, total=10)
    assert policy.delay(passing, attempt=2, waited=0, jitter=0) is not None
    assert policy.delay(passing, attempt=3, waited=0, jitter=0) is None
    assert policy.delay(passing, attempt=1, waited=9.9, jitter=0) is None
    assert (
        policy.delay(ModelError("x", retryable=True, retry_after=60), attempt=1, waited=0, jitter=0) is None
    )
    assert policy.delay(ModelError("x"), attempt=1, waited=0, jitter=0) is None


def test_a_policy_that_makes_no_sense_is_refused() -> None:
    numbers: list[Any] = [-1, float("nan"), float("inf"), "1", None, True]
    for name in ("attempts", "base", "cap", "total"):
        for bad in [*numbers, 2.5] if name == "attempts" else numbers:
            with pytest.raises(ConfigurationError, match=rf"RetryPolicy\({name}="):
                RetryPolicy(**{name: bad})


# -- in a run --------------------------------------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def cut(*parts: Any) -> Reply:
    return reply(*parts, finish_reason="MAX_TOKENS")


def talker(script: list[Any], **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)
    return Agent(model, **{"on_max_tokens": "continue", "retry": NO_WAIT, **settings}), model


def test_a_text_that_was_cut_off_is_joined_with_what_follows(go: Runner) -> None:
    agent, model = talker([cut("Once upon "), cut("a time "), "there was."])
    run = go(agent, "Tell me.")
    assert (run.text, run.stop, run.turns) == ("Once upon a time there was.", None, 3)
    assert run.contents[0] == user_content("Tell me.")
    assert len(run.contents) == 2
    first, second, third = model.requests
    assert [len(r["contents"]) for r in (first, second, third)] == [1, 3, 3]
    assert third["contents"][1] == model_content("Once upon ", "a time ")
    assert "cut off" in str(third["contents"][2])


def test_a_text_that_was_cut_off_ends_the_run_unless_told_otherwise(go: Runner) -> None:
    run = go(talker([cut("Once")], on_max_tokens="stop")[0], "x")
    assert (run.text, run.stop) == ("Once", "max_tokens")


def test_signed_parts_of_a_continued_text_stay_as_they_are(go: Runner) -> None:
    thought: Any = {"text": "Hm.", "thought": True, "thoughtSignature": "dGhpbms="}
    signed: Any = {"text": "a time", "thoughtSignature": "c2ln"}
    run = go(talker([cut(thought, "Once upon "), [signed, "."]])[0], "x")
    assert run.contents[1] == model_content(thought, "Once upon ", signed, ".")
    assert run.text == "Once upon a time."


def test_a_text_is_continued_so_many_times_and_no_more(go: Runner) -> None:
    agent, model = talker([cut(f"{n} ") for n in range(9)])
    run = go(agent, "x")
    assert len(model.requests) == MAX_CONTINUED + 1
    assert (run.text, run.stop) == ("0 1 2 3 4 ", "max_tokens")


def test_a_call_that_was_cut_off_is_never_run(go: Runner) -> None:
    ran: list[int] = []

    def note(n: int) -> None:
        """Note."""
        ran.append(n)

    for script in ([cut("so ", call("note", n=1))], [cut("so "), cut(call("note", n=1))]):
        run = go(talker(script, tools=[note])[0], "x")
        assert (run.stop, run.text) == ("max_tokens", "so ")
        assert not any("functionCall" in part for content in run.contents for part in content["parts"])
    assert ran == []


def test_a_continued_text_may_end_in_calls(go: Runner) -> None:
    run = go(talker([cut("I add "), ["them.", call("add", a=1, b=2)], "3"], tools=[add])[0], "x")
    assert run.text == "3"
    assert run.contents[1] == model_content("I add ", "them.", call("add", a=1, b=2))


def test_each_reason_that_the_sdk_knows_is_told_in_words(go: Runner) -> None:
    known = {reason.value for reason in types.FinishReason}
    assert known - RULES.keys() == {"STOP", "FINISH_REASON_UNSPECIFIED"}
    for reason in sorted(reason for reason, rule in RULES.items() if rule.action == "stop"):
        run = go(Agent(ScriptedModel([reply("x", finish_reason=reason)])), "x")
        told = f"{RULES[reason].why} Finish reason: {reason}."
        assert (run.why, run.stop) == (told, RULES[reason].stop)
        assert len(told) > 50
    whys = set[str]()
    for blocked in {reason.value for reason in types.BlockedReason} - {"BLOCKED_REASON_UNSPECIFIED"}:
        verdict = judge({"promptFeedback": {"blockReason": blocked}})
        assert (verdict.action, verdict.stop, verdict.finish_reason) == ("stop", "refused", blocked)
        assert len(verdict.why) > len("The prompt was blocked.")
        whys.add(verdict.why)
    assert len(whys) == len(types.BlockedReason) - 1
    assert judge({"promptFeedback": {"blockReason": "NEW"}}).why == "The prompt was blocked."
    unknown = go(Agent(ScriptedModel([reply("x", finish_reason="NEVER")])), "x")
    assert unknown.why == "The reply ended for a reason that agentkit doesn't know. Finish reason: NEVER."


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "MALFORMED_RESPONSE"])
def test_what_there_is_of_a_continued_text_is_kept_however_it_ends(go: Runner, reason: str) -> None:
    bad = reply(finish_reason=reason)
    run = go(talker([cut("Once "), bad, bad, bad])[0], "x")
    assert run.text == "Once "
    assert run.stop == {"SAFETY": "refused", "OTHER": "other"}.get(reason, "malformed")


def test_a_continuation_that_goes_wrong_is_asked_for_again(go: Runner) -> None:
    agent, model = talker([cut("Once "), reply(finish_reason="MALFORMED_RESPONSE"), reply(), "upon."])
    assert go(agent, "x").text == "Once upon."
    told = [str(content) for content in model.requests[3]["contents"]]
    assert len(told) == 4
    assert "cut off" in told[2]
    assert "malformed" in told[3]


def test_what_a_turn_was_told_stays_while_its_text_is_continued() -> None:
    agent, model = talker([cut('{"result": '), '"x"}', cut('{"result"'), reply(), ": 7}"])
    with agent.stream("x", output=int) as events:
        (again, _) = [event for event in events if isinstance(event, ModelRetry)]
    assert events.run.output == 7
    assert again.discarded == '{"result": "x"}'
    told = [str(content) for content in model.requests[4]["contents"]]
    assert "result should be a valid integer" in told[2]
    assert "cut off" in told[4]


def test_a_value_that_was_cut_off_is_joined_and_shown_as_one() -> None:
    agent, _ = talker([cut('{"result": [1, 2'), cut("3, 4"), "5]}"])
    with agent.stream("x", output=list[int]) as events:
        deltas = [event.value for event in events if isinstance(event, OutputDelta)]
    assert events.run.output == [1, 23, 45]
    assert deltas[-1] == [1, 23, 45]
    assert all(value in ([], [1], [1, 23], [1, 23, 45]) for value in deltas)


@pytest.mark.parametrize("bad", [fault(400), fault(503)])
def test_a_fault_in_a_continuation_keeps_the_text_so_far(go: Runner, bad: ModelError) -> None:
    agent, _ = talker([cut("Once "), bad, bad, bad])
    with pytest.raises(ModelError) as caught:
        go(agent, "x")
    assert caught.value.run is not None
    check_history(caught.value.run.contents)
    assert caught.value.run.text == "Once "


def test_breaking_off_in_a_continuation_keeps_the_text_so_far() -> None:
    with talker([cut("Once "), "upon a time"])[0].stream("x") as events:
        for text in events.texts():
            if text.startswith("upon"):
                break
    assert (events.run.text, events.run.stop) == ("Once upon ", "cancelled")
    check_history(events.run.contents)


def test_a_limit_that_is_reached_in_a_continuation_keeps_the_text_so_far(go: Runner) -> None:
    run = go(talker([cut("Once "), cut("upon ")], limits=Limits(turns=2))[0], "x")
    assert (run.text, run.stop) == ("Once upon ", "turns")
    assert run.contents[-1] == model_content("Once ", "upon ")


@pytest.mark.parametrize("reason", ["OTHER", "NEVER_SEEN_BEFORE", "TOO_MUCH_OF_IT"])
def test_an_unknown_finish_reason_stops_the_run_with_its_word_and_runs_nothing(
    go: Runner, reason: str
) -> None:
    run = go(
        Agent(ScriptedModel([reply("so", call("add", a=1, b=1), finish_reason=reason)]), tools=[add]), "x"
    )
    assert (run.stop, run.finish_reason, run.text) == ("other", reason, "so")
    assert run.contents[-1] == model_content("so")


def test_a_call_as_text_is_asked_for_again_as_a_call(go: Runner) -> None:
    text = "print(default_api.add(a=1, b=2))"
    model = ScriptedModel([text, call("add", a=1, b=2), "3"])
    run = go(Agent(model, tools=[add]), "x")
    assert run.text == "3"
    assert "default_api" not in str(run.contents)
    assert "wrote a function call as text" in str(model.requests[1]["contents"][-1])
    run = go(Agent(ScriptedModel([text] * 3), tools=[add]), "x")
    assert (run.stop, run.text) == ("malformed", text)


def test_a_value_that_looks_like_a_call_is_a_value() -> None:
    text = '{"name": "add", "args": {"a": 1}}'
    run = Agent(ScriptedModel([text]), tools=[add]).run(
        "x", output=Output[Any](dict[str, Any], mode="native")
    )
    assert run.output == {"name": "add", "args": {"a": 1}}
