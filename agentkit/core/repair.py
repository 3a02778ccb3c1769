"""What to do about a reply, and about a model that fails.

A reply ends in one of five ways: its calls are run, it is the answer, it is continued, the model is asked
again, or the run stops. `judge` decides by the finish reason, for which `RULES` is the table, and by what is
really there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from reprlib import repr as short
from typing import Any, Final, Literal

from agentkit.core.effects import EXPIRED, Effect, Wait
from agentkit.core.end import RunEnd
from agentkit.errors import ConfigurationError, ModelError
from agentkit.events import Event, ModelRetry
from agentkit.limits import Stop
from agentkit.wire.arguments import checked
from agentkit.wire.content import Reply, is_json, parts_of, text_in
from agentkit.wire.text import unfence

Action = Literal["calls", "answer", "continue", "retry", "misfit", "stop"]

MAX_REPAIRS: Final = 2
"""How often a turn is asked again after a malformed or empty reply."""
MAX_CONTINUED: Final = 4
"""How often a text that was cut off is continued."""

LAST_TURN: Final = (
    "You have reached the limit of what you may do for this request. Make no more function calls. Answer now, as "
    "well as you can, with what you already have, and say what is missing."
)
REPEATED: Final = (
    "You have made the very same function calls several times and got the very same responses. They will not "
    "change. Do something else, or answer with what you have."
)
CONTINUE: Final = "Your reply was cut off. Go on exactly where it ends; repeat nothing."


@dataclass(frozen=True, slots=True)
class Rule:
    """What a finish reason gets."""

    action: Action
    stop: Stop
    """How the run ends where the action is `stop`, and where it was tried often enough."""
    nudge: str | None = None
    """What the model is told along with the next try."""
    why: str = ""
    """Why the run ends, where that is not what always holds of the stop."""


_REFUSED = Rule("stop", "refused")
_BAD_CALL = Rule(
    "retry",
    "malformed",
    "Your last function call was malformed and was not run. Make it again, as one proper function call with JSON "
    "arguments that fit its declaration, or answer in plain text.",
)
_CALL_AS_TEXT = Rule(
    "retry",
    "malformed",
    "Your last reply wrote a function call as text, and nothing was run. Make it as a proper function call, or "
    "answer in plain words.",
)
_EMPTY = Rule("retry", "empty")

RULES: Final[dict[str, Rule]] = {
    "MALFORMED_FUNCTION_CALL": _BAD_CALL,
    "UNEXPECTED_TOOL_CALL": Rule(
        "retry",
        "malformed",
        "Your last reply called a tool that is not available. Call only declared functions, or answer in plain text.",
    ),
    "TOO_MANY_TOOL_CALLS": Rule(
        "retry", "malformed", "Your last reply made too many calls at once. Make fewer calls."
    ),
    "MALFORMED_RESPONSE": Rule("retry", "malformed", "Your last reply was malformed. Give it again."),
    # The history lacks a signature that the server wants: asked again, it would say the same.
    "MISSING_THOUGHT_SIGNATURE": Rule(
        "stop", "malformed", why="The server missed a thought signature in what it was sent."
    ),
    "MAX_TOKENS": Rule("continue", "max_tokens", CONTINUE),
    # The gate has asked for the rest (rule 17): there was no token for it, or no room.
    "CONTINUATION": Rule("continue", "max_tokens", CONTINUE),
    **{
        reason: Rule("stop", "refused", why=f"The reply was blocked: {why}.")
        for reason, why in {
            "SAFETY": "it may violate the safety policies",
            "RECITATION": "it may recite a source",
            "LANGUAGE": "its language isn't supported",
            "BLOCKLIST": "it has a term of a blocklist in it",
            "PROHIBITED_CONTENT": "its content may be prohibited",
            "SPII": "it may have sensitive personal data in it",
            "MODEL_ARMOR": "Model Armor refused it",
            "ESCALATION": "a rule of escalation refused the request",
            "PUP_LIMITED_DISABLED": "the account is limited or disabled for what the Prohibited Use Policy excludes",
            "IMAGE_SAFETY": "the picture may violate the safety policies",
            "IMAGE_PROHIBITED_CONTENT": "what is in the picture may be prohibited",
            "IMAGE_RECITATION": "the picture may copy a source",
        }.items()
    },
    "NO_IMAGE": Rule("stop", "other", why="A picture was asked for, and the model made none."),
    "IMAGE_OTHER": Rule(
        "stop", "other", why="The model stopped making the picture, and the server doesn't say why."
    ),
    "OTHER": Rule("stop", "other", why="The model stopped, and the server doesn't say why."),
}
"""By finish reason. One that isn't here, and isn't `STOP` or missing, stops the run as `other`."""

_BLOCKED: Final[dict[str, str]] = {
    "SAFETY": ": it may violate the safety policies",
    "OTHER": ", and the server doesn't say why",
    "BLOCKLIST": ": it has a term of a blocklist in it",
    "PROHIBITED_CONTENT": ": its content is prohibited",
    "IMAGE_SAFETY": ": what it asks for is unsafe to make a picture of",
    "MODEL_ARMOR": ": Model Armor refused it",
    "JAILBREAK": ": it was taken for an attempt to break the model's rules",
}
"""Why a prompt was blocked, by block reason."""

_LONGEST_WORDS: Final = 500
"""Characters of what a server says about a finish reason."""
_ENDED = frozenset({"STOP", "FINISH_REASON_UNSPECIFIED"})


@dataclass(slots=True)
class Verdict:
    """What to do about a reply."""

    action: Action
    finish_reason: str
    """The server's word; for a blocked prompt its block reason."""
    stop: Stop | None = None
    """How the run ends where the action is `stop`, and where it is another and was tried often enough."""
    nudge: str | None = None
    """What to tell the model along with the next try."""
    why: str = ""
    """Why the run ends with it, where that is not what always holds of the stop."""
    words: str = ""
    """What the server said about it: a finish message, or why it blocked the prompt."""
    is_ours: bool = False
    """Whether the run ends for a reason of its own: a limit, or an output that doesn't fit."""

    @property
    def said(self) -> str:
        """That, and the finish reason; empty where it has nothing to do with the end."""
        if self.is_ours:
            return ""
        return f"Finish reason: {self.finish_reason}" + (f": {self.words}" if self.words else ".")


def judge(
    reply: Reply,
    tools: Collection[str] = (),
    *,
    allowed: Collection[str] = (),
    continue_text: bool = False,
) -> Verdict:
    """Return what to do about a reply.

    Args:
        reply: The whole of it.
        tools: Names of the tools that were declared: a call of one that is written as text is none.
        allowed: Of those that may be called: a proper call of one is made, also if the server didn't expect it.
        continue_text: Whether a text that was cut off is to be continued.
    """
    verdict = _judge(reply, tools, allowed=allowed, continue_text=continue_text)
    candidates = reply.get("candidates") or [{}]
    feedback: Any = reply.get("promptFeedback") or {}
    words = candidates[0].get("finishMessage") or feedback.get("blockReasonMessage")
    if not words:
        return verdict
    words = (words if isinstance(words, str) else short(words))[:_LONGEST_WORDS]
    if verdict.action == "retry" and verdict.nudge:
        verdict = replace(verdict, nudge=f"{verdict.nudge} The server said: {words}")
    return replace(verdict, words=words)


def _judge(reply: Reply, tools: Collection[str], *, allowed: Collection[str], continue_text: bool) -> Verdict:
    blocked = (reply.get("promptFeedback") or {}).get("blockReason")
    candidates = reply.get("candidates")
    if not candidates:
        if not blocked:
            return _by(_EMPTY, "NO_CANDIDATES")
        return replace(
            _by(_REFUSED, str(blocked)), why=f"The prompt was blocked{_BLOCKED.get(str(blocked), '')}."
        )
    candidate = candidates[0]
    reason = str(candidate.get("finishReason") or "FINISH_REASON_UNSPECIFIED")
    parts = parts_of(reply)
    calls, foreign = list[Any](), False
    for part in parts:
        foreign = foreign or "functionResponse" in part  # responses are the user's
        if "functionCall" in part:
            calls.append(part["functionCall"])
    rule = RULES.get(reason)
    if (
        rule is not None
        and rule.action == "continue"
        and not (continue_text and not calls and not foreign and text_in(parts))
    ):
        return Verdict("stop", reason, rule.stop)
    if reason == "UNEXPECTED_TOOL_CALL" and _are_usable(calls, allowed):
        return Verdict("calls", reason)
    if rule is not None:
        return _by(rule, reason)
    if reason not in _ENDED:
        return Verdict("stop", reason, "other")
    if foreign:
        return _by(RULES["MALFORMED_RESPONSE"], "MALFORMED_RESPONSE")
    if not all(map(_is_proper, calls)):
        return _by(_BAD_CALL, "MALFORMED_FUNCTION_CALL")
    if calls:
        return Verdict("calls", reason)
    if is_call_as_text(text_in(parts), tools):
        return _by(_CALL_AS_TEXT, reason)
    if any(
        not part.get("thought") and (part.get("text") or set(part) - {"text", "thoughtSignature"})
        for part in parts
    ):
        return Verdict("answer", reason)
    return _by(_EMPTY, reason)


def _by(rule: Rule, reason: str) -> Verdict:
    return Verdict(rule.action, reason, rule.stop, rule.nudge, rule.why)


def _are_usable(calls: Sequence[Any], allowed: Collection[str]) -> bool:
    """Return whether there are calls, each a proper one of a tool that may be called."""
    return bool(calls) and all(_is_proper(call) and call["name"] in allowed for call in calls)


def _is_proper(call: Any) -> bool:
    """Return whether a call has the form that it can be answered in."""
    return (
        isinstance(call, dict)
        and isinstance(call.get("name"), str)
        and bool(call["name"])
        and isinstance(call.get("args") or {}, dict)
        and isinstance(call.get("id") or "", str)
        and not call.get("willContinue")  # its arguments came in pieces, and not all of them
        and is_json(call)
    )


_CODE = re.compile(r"\s*(?:print\s*\(\s*)?(default_api\s*\.\s*)?([A-Za-z_]\w*)\s*\(.*\)\s*", re.S)


def is_call_as_text(text: str, tools: Collection[str]) -> bool:
    """Return whether a reply's whole text is a call of a declared tool, as code or as JSON.

    Code is what Gemini falls back to (`print(default_api.weather(city="Paris"))`, in a fence named `tool_code`
    or without one). A text that has a call beside other words is taken for an answer about code.
    """
    if not tools or len(text) > 20_000:
        return False
    fence, code = unfence(text)
    if fence == "tool_code":
        return True
    if (found := _CODE.fullmatch(code)) and found[2] in tools:
        return bool(found[1]) or (fence is not None and _is_one_call(code))
    if not code.strip().startswith("{"):
        return False
    try:
        value = json.loads(code)
    except (ValueError, RecursionError):
        return False
    call = value.get("functionCall") or value.get("function_call") or value
    return (
        isinstance(call, dict)
        and isinstance(call.get("name"), str)
        and call["name"] in tools
        and bool(call.keys() & {"args", "arguments", "parameters"})
        and "description" not in call  # it is the tool's declaration
    )


def _is_one_call(code: str) -> bool:
    """Return whether the first bracket of a piece of code closes at its end."""
    depth, quote, escaped = 0, "", False
    code = code.strip()
    for index, character in enumerate(code):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
            if depth == 0 and character == ")":
                return index == len(code) - 1
    return False


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and for how long a request is retried after a transient failure.

    If the server names a delay (`RetryInfo`, `Retry-After`), it is obeyed. Otherwise the delay doubles from `base`
    up to `cap`, with jitter.
    """

    attempts: int = 4
    """Requests for one reply, including the first; 1 means no retries."""
    base: float = 0.5
    """Seconds before the first retry."""
    cap: float = 20.0
    """The longest delay in seconds, unless the server names one."""
    total: float = 90.0
    """Seconds that all delays for one reply may add up to."""

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigurationError(
                f"RetryPolicy(attempts={self.attempts!r}): give a whole number, 1 or more."
            )
        for name in ("base", "cap", "total"):
            seconds = getattr(self, name)
            if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
                raise ConfigurationError(
                    f"RetryPolicy({name}={seconds!r}): give a finite number of seconds, 0 or more."
                )

    def delay(self, error: ModelError, *, attempt: int, waited: float, jitter: float) -> float | None:
        """Return how many seconds to wait before the next attempt, or None to give up.

        Args:
            error: What the model raised.
            attempt: Number of the request that failed, from 1.
            waited: Seconds waited for this reply so far.
            jitter: A random number in [0, 1).
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        seconds = min(self.cap, self.base * 2.0 ** min(attempt - 1, 60)) * (0.5 + jitter / 2)
        if error.retry_after is not None:
            seconds = error.retry_after + jitter * 0.25
        return seconds if waited + seconds <= self.total else None


@dataclass(slots=True, eq=False)
class Retries:
    """The retries of one request, whatever it asks for."""

    policy: RetryPolicy
    jitter: Callable[[], float]
    """Gives random numbers in [0, 1)."""
    end: RunEnd
    made: int = 0
    waited: float = 0.0
    """Seconds."""

    def wait(self, error: ModelError) -> Generator[Event | Effect, Any, bool | None]:
        """Wait before the request is made again; return whether there was time, or None if it isn't made again."""
        attempt = self.made + 1
        delay = self.policy.delay(error, attempt=attempt, waited=self.waited, jitter=self.jitter())
        if delay is None:
            return None
        self.made, self.waited = attempt, self.waited + delay
        yield ModelRetry(attempt + 1, delay, str(error))
        if (yield Wait(delay)) is EXPIRED:
            self.end.end("seconds")
            return False
        return True
