"""What each finish reason and each fault gets: a row a case."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.errors import ConfigurationError, ModelError
from agentkit.repair import RetryPolicy, judge
from agentkit.testing import call, reply
from agentkit.wire.content import Reply

SIGNED: Any = {"text": "", "thoughtSignature": "c2ln"}
THOUGHT: Any = {"text": "hm", "thought": True}
NO_CALLS: list[Any] = [{}, {"name": ""}, {"args": {}}, {"name": 3}, {"name": "f", "args": [1]}, None]
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


def test_a_verdict_has_the_servers_own_word() -> None:
    assert judge({"promptFeedback": {"blockReason": "SAFETY"}}).finish_reason == "SAFETY"
    assert judge(reply("x", finish_reason="NEVER_SEEN_BEFORE")).finish_reason == "NEVER_SEEN_BEFORE"


def test_the_delay_doubles_up_to_its_cap_and_jitters() -> None:
    policy = RetryPolicy(attempts=9, base=1, cap=5, total=100)
    error = ModelError("x", retryable=True)
    delays = [policy.delay(error, attempt=n, waited=0, jitter=1) for n in (1, 2, 3, 4, 5)]
    assert delays == [1, 2, 4, 5, 5]
    assert policy.delay(error, attempt=1, waited=0, jitter=0) == 0.5


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
