"""What each finish reason and each fault gets: a row a case."""

from __future__ import annotations

import math
import time
from typing import Any, get_args

import pytest

from agentkit.errors import ConfigurationError, ModelError
from agentkit.repair import LANDING, RULES, RetryPolicy, Stop, is_call_as_text, judge, unfence
from agentkit.testing import call, reply
from agentkit.wire.content import Reply

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
            for r in ("PROHIBITED_CONTENT", "LANGUAGE", "MODEL_ARMOR")
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
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
        ("stop", "refused"),
    ),
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
    began = time.perf_counter()
    is_call_as_text(text, TOOLS)
    unfence(text * 20)
    assert time.perf_counter() - began < 1


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
    for bad in ({"attempts": 0}, {"base": -1}, {"total": -0.1}):
        with pytest.raises(ConfigurationError):
            RetryPolicy(**bad)
