"""What makes a list of contents a valid history: the server's rules as code, and where it may be cut.

The numbers are those under which the rules are listed in `check`; an error names the one that is broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from agentkit.errors import HistoryError
from agentkit.wire.arguments import checked
from agentkit.wire.content import Content, FunctionCall, calls_of, responses_of


@checked
def check(contents: Sequence[Content], *, signatures: bool = False) -> None:
    """Raise if contents break a rule of the server; most of these are a 400 there.

    1. A function response has the name of its call and, exactly if the call has one, its id, which is a text.
    2. The calls of a model content, or of several in a row, are answered in the next content of the user: one
       response each, in call order. No response stands without its call.
    3. In the current turn, the first function call of each model content has a `thoughtSignature`
       (only with `signatures=True`: it is Gemini 3 and later that sign).
    4. The first content is the user's; each has the role `user` or `model` and at least one part, which is
       a non-empty object, whose text is a text. Calls are the model's, responses the user's.
    6. The `args` of a function call and the `response` of a function response are objects.

    Args:
        contents: Contents in wire JSON.
        signatures: Whether to check rule 3 too.

    Raises:
        HistoryError: With the index of the first content that breaks a rule, and the rule's number.
    """
    for index, content in enumerate(contents):
        check_shape(content, index)
    check_order(contents)
    if signatures:
        _check_signatures(contents)


def check_order(contents: Sequence[Content]) -> None:
    """Raise HistoryError unless contents, each of which is one, follow one another as the rules say."""
    if contents and contents[0]["role"] != "user":
        _fail(0, 4, "a history starts with a content of the user")
    calls: list[FunctionCall] = []
    for index, content in enumerate(contents):
        if content["role"] == "user":
            _check_responses(index, content, calls)
            calls = []
        else:
            calls += calls_of(content)
    if calls:
        _fail(len(contents) - 1, 2, "its function calls have no responses")


def starts_turn(content: Content) -> bool:
    """Return whether a content begins a turn: one of the user that answers no calls."""
    return content["role"] == "user" and not any("functionResponse" in part for part in content["parts"])


def ends_turn(content: Content) -> bool:
    """Return whether a content ends a turn: one of the model without calls."""
    return content["role"] == "model" and not calls_of(content)


def turn_starts(contents: Sequence[Content]) -> list[int]:
    """List the indices at which a turn begins: the only places where a history may be cut (rule 4)."""
    return [index for index, content in enumerate(contents) if starts_turn(content)]


def turns(contents: Sequence[Content]) -> list[Sequence[Content]]:
    """Split a history into turns: a content of the user and all that follows up to the next one."""
    starts = turn_starts(contents)
    return [contents[start:end] for start, end in pairwise([*starts, len(contents)])]


def _fail(index: int, rule: int, what: str) -> NoReturn:
    raise HistoryError(f"contents[{index}]: {what} (rule {rule}).", index=index, rule=rule)


def check_shape(content: Any, index: int) -> None:
    """Raise HistoryError, with an index, if this isn't a content: rule 4, and what 1 and 6 say of a part alone."""
    if not isinstance(content, dict) or content.get("role") not in ("user", "model"):
        _fail(index, 4, "a content is an object with the role 'user' or 'model'")
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        _fail(index, 4, 'a content has at least one part, as in {"role": "user", "parts": [{"text": "..."}]}')
    for part in parts:
        if not isinstance(part, dict) or not part:
            _fail(index, 4, "a part is an object with something in it")
        if (text := part.get("text")) is not None and not isinstance(text, str):
            _fail(index, 4, "the text of a part is a text")
        if "functionCall" in part:
            called = _check_named(index, content, part, "functionCall", "model")
            if not isinstance(called.get("args") or {}, dict):
                _fail(index, 6, "the args of a functionCall are an object")
        if "functionResponse" in part:
            answered = _check_named(index, content, part, "functionResponse", "user")
            if not isinstance(answered.get("response"), dict):
                _fail(index, 6, "the response of a functionResponse is an object")


def _check_named(index: int, content: Any, part: Any, kind: str, role: str) -> Any:
    """Return the call or response of a part, if it has the right role, a name, and an id that is a text if any."""
    if content["role"] != role:
        _fail(index, 4, f"a {kind} belongs in a content of the {role}")
    if not isinstance(found := part[kind], dict) or not isinstance(found.get("name"), str):
        _fail(index, 1, f"a {kind} is an object with a name")
    if not isinstance(found.get("id") or "", str):
        _fail(index, 1, f"the id of a {kind} is a text")
    return found


def _check_responses(index: int, content: Content, calls: Sequence[FunctionCall]) -> None:
    responses = responses_of(content)
    if len(calls) != len(responses):
        _fail(index, 2, f"it has {len(responses)} function responses to the {len(calls)} calls before it")
    for call, response in zip(calls, responses, strict=True):
        if response["name"] != call["name"]:
            _fail(
                index, 1, f"the response to {call['name']!r} is named {response['name']!r}, or out of order"
            )
        if (call.get("id") or None) != (response.get("id") or None):
            _fail(index, 1, f"the response to {call['name']!r} doesn't have its call's id {call.get('id')!r}")


def _check_signatures(contents: Sequence[Content]) -> None:
    starts = turn_starts(contents)
    for index in range(starts[-1] if starts else 0, len(contents)):
        calls = [part for part in contents[index]["parts"] if "functionCall" in part]
        if calls and not calls[0].get("thoughtSignature"):
            _fail(index, 3, "the first function call of the turn's step has no thoughtSignature")
