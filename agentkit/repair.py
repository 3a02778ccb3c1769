"""What to do about a reply, and about a model that fails: pure functions.

A reply ends in one of four ways: its calls are run, it is the answer, the model is asked again, or the run
stops. `judge` decides by the finish reason (the list is GEMINI.md's) and by what is really there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agentkit.errors import ConfigurationError, ModelError
from agentkit.wire.content import Reply

Stop = Literal[
    "turns",
    "tool_calls",
    "tokens",
    "seconds",
    "approval",
    "max_tokens",
    "refused",
    "malformed",
    "empty",
    "other",
    "cancelled",
    "unknown_effect",
    "too_large",
]
"""Why a run ended without an answer:

- `turns`, `tool_calls`, `tokens`, `seconds`: that limit was reached;
- `approval`: calls in `run.pending` wait for a person;
- `max_tokens`: the reply was cut off (its calls, if any, were not run);
- `refused`: the prompt or the reply was blocked; `run.finish_reason` has the server's word;
- `malformed`, `empty`: the model made no usable reply, also when asked again;
- `other`: a finish reason that agentkit doesn't know, or that says nothing;
- `cancelled`: the caller broke off;
- `unknown_effect`: a resumed chat has calls of `write` tools, in `run.pending`, of which nobody knows whether
  they took effect: the process ended while they ran;
- `too_large`: the current turn alone is larger than what the chat's memory may send.
"""

Action = Literal["calls", "answer", "retry", "stop"]

_REFUSED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
_NUDGES = {
    "MALFORMED_FUNCTION_CALL": "Your last function call was malformed and was not run. Make it again, as one proper "
    "function call with JSON arguments that fit its declaration, or answer in plain text.",
    "UNEXPECTED_TOOL_CALL": "Your last reply called a tool that is not available. Call only declared functions, "
    "or answer in plain text.",
    "TOO_MANY_TOOL_CALLS": "Your last reply made too many calls at once. Make fewer calls.",
    "MALFORMED_RESPONSE": "Your last reply was malformed. Give it again.",
}
_ENDED = frozenset({"STOP", "FINISH_REASON_UNSPECIFIED"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a reply."""

    action: Action
    finish_reason: str
    """The server's word; for a blocked prompt its block reason."""
    stop: Stop | None = None
    """How the run ends where the action is `stop`, and where it is `retry` and was tried often enough."""
    nudge: str | None = None
    """What to tell the model along with the next try."""


def judge(reply: Reply) -> Verdict:
    """Say what to do about a reply."""
    blocked = (reply.get("promptFeedback") or {}).get("blockReason")
    candidates = reply.get("candidates")
    if not candidates:
        if blocked:
            return Verdict("stop", str(blocked), "refused")
        return Verdict("retry", "NO_CANDIDATES", "empty")
    candidate = candidates[0]
    reason = candidate.get("finishReason") or "FINISH_REASON_UNSPECIFIED"
    content = candidate.get("content")
    parts = content["parts"] if content else []
    if reason in _NUDGES:
        return Verdict("retry", reason, "malformed", _NUDGES[reason])
    if reason == "MISSING_THOUGHT_SIGNATURE":
        return Verdict("stop", reason, "malformed")
    if reason == "MAX_TOKENS":
        return Verdict("stop", reason, "max_tokens")
    if reason in _REFUSED:
        return Verdict("stop", reason, "refused")
    if reason not in _ENDED:
        return Verdict("stop", reason, "other")
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    if not all(map(_is_proper, calls)):
        return Verdict("retry", "MALFORMED_FUNCTION_CALL", "malformed", _NUDGES["MALFORMED_FUNCTION_CALL"])
    if calls:
        return Verdict("calls", reason)
    if any(
        not part.get("thought") and (part.get("text") or set(part) - {"text", "thoughtSignature"})
        for part in parts
    ):
        return Verdict("answer", reason)
    return Verdict("retry", reason, "empty")


def _is_proper(call: Any) -> bool:
    """Tell whether a call has the form that it can be answered in."""
    return (
        isinstance(call, dict)
        and isinstance(call.get("name"), str)
        and bool(call["name"])
        and isinstance(call.get("args") or {}, dict)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long a model that fails in a passing way is asked again.

    What the server asks for (`RetryInfo`, `Retry-After`) is obeyed; else the delay doubles from `base` up to
    `cap`, with jitter.
    """

    attempts: int = 4
    """Requests for one reply, the first included; 1 is no retry."""
    base: float = 0.5
    """Seconds before the first retry."""
    cap: float = 20.0
    """The longest delay of our own making, in seconds."""
    total: float = 90.0
    """Seconds that all delays for one reply may add up to."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.base, self.cap, self.total) < 0:
            raise ConfigurationError("RetryPolicy: attempts is at least 1, the seconds are not negative.")

    def delay(self, error: ModelError, *, attempt: int, waited: float, jitter: float) -> float | None:
        """Say how many seconds to wait before asking again, or None to give up.

        Args:
            error: What the model raised.
            attempt: Number of the request that failed, from 1.
            waited: Seconds waited for this reply so far.
            jitter: A random number in [0, 1).
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        seconds = min(self.cap, self.base * 2 ** (attempt - 1)) * (0.5 + jitter / 2)
        if error.retry_after is not None:
            seconds = error.retry_after + jitter * 0.25
        return seconds if waited + seconds <= self.total else None
