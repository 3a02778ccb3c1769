"""What a `ChaosModel` lets go wrong: failures, replies in place of the model's, changes of the model's own."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

from agentkit.errors import ModelError
from agentkit.testing.scripted import call, reply
from agentkit.wire.content import Part, Reply, Request, iter_declarations

FaultKind = Literal[
    "429",
    "429-retry-after",
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
    "many-calls",
    "call-as-text",
    "tool-code",
    "same-ids",
    "no-ids",
    "no-signature",
    "slow",
    "no-usage",
    "absurd-usage",
]
"""What can go wrong:

- The model isn't asked, and there is a `ModelError`: the HTTP errors `429` (with and without `retry_after`), `500`,
  `503` and `400`; `connection`, which is lost; `hang`, until the time is up; `broken-stream`, after no chunk or one
  (without a stream it is a lost connection).
- The model isn't asked, and there is a reply that is none: `empty`, `no-candidates`, `blocked` (the prompt), and by
  their finish reasons `malformed-call`, `malformed-response`, `unexpected-call`, `too-many-calls`,
  `missing-signature`, `max-tokens` (in a text), `max-tokens-call` (in a call), `safety`, `unknown-reason`.
- The model isn't asked, and there are calls that can't be run: `unknown-tool`, `bad-arguments`, `no-arguments`,
  `many-calls` (sixteen without arguments), or that are none: `call-as-text` (JSON), `tool-code`.
- The model's own reply is changed, or late: `same-ids` (its calls all have the same one), `no-ids`,
  `no-signature`, `no-usage`, `absurd-usage`, `slow`.
"""

FAILURES: Final[Mapping[str, Mapping[str, Any]]] = {
    "429": {"code": 429, "status": "RESOURCE_EXHAUSTED", "retryable": True},
    "429-retry-after": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "retryable": True,
        "retry_after": 0.01,
    },
    "500": {"code": 500, "status": "INTERNAL", "retryable": True},
    "503": {"code": 503, "status": "UNAVAILABLE", "retryable": True},
    "400": {"code": 400, "status": "INVALID_ARGUMENT"},
    "connection": {"retryable": True},
    "hang": {"retryable": True},
    "broken-stream": {"retryable": True},
}
"""What the `ModelError` of each has."""


def failure(kind: str) -> ModelError:
    """Make the error of a kind of `FAILURES`."""
    return ModelError(f"chaos: {kind}", **FAILURES[kind])


def victim(request: Request, rng: random.Random) -> str | None:
    """Choose a declared tool that no call without arguments can run, if there is one."""
    names = [
        declaration["name"]
        for declaration in iter_declarations(request)
        if (declaration.get("parametersJsonSchema") or declaration.get("parameters") or {}).get("required")
    ]
    return rng.choice(names) if names else None


def _without_args(tool: str) -> Part:
    return {"functionCall": {"name": tool}}


_USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 10}


def _ended(reason: str, *parts: str | Part, message: str | None = None) -> Reply:
    made = reply(*parts, finish_reason=reason, **_USAGE)
    if message:
        made["candidates"][0]["finishMessage"] = message
    return made


_INSTEAD: dict[str, Callable[[], Reply]] = {
    "empty": lambda: _ended("STOP"),
    "no-candidates": lambda: {"candidates": [], "usageMetadata": {"totalTokenCount": 8}},
    "blocked": lambda: {"promptFeedback": {"blockReason": "SAFETY"}},
    "malformed-call": lambda: _ended("MALFORMED_FUNCTION_CALL", message="Malformed function call: f("),
    "malformed-response": lambda: _ended("MALFORMED_RESPONSE", "\ufffd("),
    "unexpected-call": lambda: _ended("UNEXPECTED_TOOL_CALL", call("no_such_tool")),
    "too-many-calls": lambda: _ended("TOO_MANY_TOOL_CALLS"),
    "missing-signature": lambda: _ended("MISSING_THOUGHT_SIGNATURE"),
    "max-tokens": lambda: _ended("MAX_TOKENS", "This is as far as it"),
    "safety": lambda: _ended("SAFETY", "This is"),
    "unknown-reason": lambda: _ended("CHAOS", "This is something n"),
    "unknown-tool": lambda: _ended("STOP", call("no_such_tool", chaos=True)),
}
_INSTEAD_WITH_TOOL: dict[str, Callable[[str], Reply]] = {
    "max-tokens-call": lambda tool: _ended("MAX_TOKENS", "I call it.", _without_args(tool)),
    "bad-arguments": lambda tool: _ended("STOP", call(tool, chaos=[None])),
    "no-arguments": lambda tool: _ended("STOP", _without_args(tool)),
    "many-calls": lambda tool: _ended("STOP", *(_without_args(tool) for _ in range(16))),
    "call-as-text": lambda tool: _ended("STOP", f'{{"name": "{tool}", "args": {{"chaos": true}}}}'),
    "tool-code": lambda tool: _ended("STOP", f"```tool_code\nprint(default_api.{tool}(chaos=True))\n```"),
}


def fits(kind: str, tool: str | None) -> bool:
    """Return whether a kind is possible with this victim."""
    return tool is not None or kind not in _INSTEAD_WITH_TOOL


def instead(kind: str, tool: str | None) -> Reply | None:
    """Make the reply that stands in for the model's, if the kind has one."""
    if kind in _INSTEAD:
        return _INSTEAD[kind]()
    return _INSTEAD_WITH_TOOL[kind](tool) if tool is not None and kind in _INSTEAD_WITH_TOOL else None


def beginning(tool: str | None, rng: random.Random) -> list[Reply]:
    """Make the chunks that come before a stream breaks off: none, a text or a call."""
    parts: list[list[str | Part]] = [[], ["This is"], [_without_args(tool or "no_such_tool")]]
    chosen = rng.choice(parts)
    return [{"candidates": [{"content": reply(*chosen)["candidates"][0]["content"]}]}] if chosen else []


_ABSURD: dict[str, Any] = {
    "promptTokenCount": -5,
    "cachedContentTokenCount": None,
    "candidatesTokenCount": "many",
    "thoughtsTokenCount": True,
    "totalTokenCount": 1.5e300,
}


def _set_ids(made: Reply, value: str | None) -> bool:
    changed = False
    for part in _parts(made):
        if "functionCall" in part:
            changed = changed or part["functionCall"].get("id") != value
            part["functionCall"].pop("id", None)
            if value is not None:
                part["functionCall"]["id"] = value
    return changed


def _drop_signatures(made: Reply) -> bool:
    signed = [part for part in _parts(made) if "thoughtSignature" in part]
    for part in signed:
        del part["thoughtSignature"]
    return bool(signed)


def _drop_usage(made: Reply) -> bool:
    return made.pop("usageMetadata", None) is not None


def _spoil_usage(made: Reply) -> bool:
    made["usageMetadata"] = cast(Any, dict(_ABSURD))
    return True


CHANGES: Final[Mapping[str, Callable[[Reply], bool]]] = {
    "same-ids": lambda made: _set_ids(made, "chaos"),
    "no-ids": lambda made: _set_ids(made, None),
    "no-signature": _drop_signatures,
    "no-usage": _drop_usage,
    "absurd-usage": _spoil_usage,
}
"""Each changes a reply and tells whether there was something to change."""


def changed(kind: str, made: Reply) -> tuple[Reply, bool]:
    """Change a copy of the model's reply; tell whether there was something to change."""
    copied = copy.deepcopy(made)
    return copied, CHANGES[kind](copied)


def _parts(made: Reply) -> list[Part]:
    candidates = made.get("candidates") or []
    content = candidates[0].get("content") if candidates else None
    return content["parts"] if content else []
