"""What is wrong with a call's arguments, in words for the model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 60
_MISSING = "missing"
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_PREFIXES = {"Input should be": "should be", "Value error, ": "", "Assertion failed, ": ""}


def describe_problems(error: ValidationError, args: dict[str, Any], known: Iterable[str]) -> list[str]:
    """Say of each bad argument where it is, what is wrong and what was given: a line for each place.

    What several members of a union say of one value is joined.
    """
    said: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        place = _place(detail, args)
        words = _words(detail)
        if words not in said.setdefault(place, []):
            said[place].append(words)
        if detail["type"] in _UNKNOWN and len(detail["loc"]) == 1:
            said[place] = [f"is not a parameter; the parameters are: {', '.join(known) or 'none'}"]
    return [f"{place} {' or '.join(words)}".strip() for place, words in said.items()]


def _place(detail: ErrorDetails, args: Any) -> str:
    path = ""
    here = args
    for key in detail["loc"]:
        if isinstance(here, list) and isinstance(key, int) and key < len(here):
            path += f"[{key}]"
            here = here[key]
        elif isinstance(here, dict) and key in here:
            path += f".{key}"
            here = here[key]
        elif key is detail["loc"][-1] and detail["type"].startswith(_MISSING):
            path += f".{key}" if isinstance(key, str) else f"[{key}]"
        # anything else is the name of a union's member, not a place
    return path.lstrip(".")


def _words(detail: ErrorDetails) -> str:
    if detail["type"].startswith(_MISSING):
        return "is required"
    if detail["type"] in _UNKNOWN:
        return "is not a known field"
    words = detail["msg"]
    for prefix, better in _PREFIXES.items():
        if words.startswith(prefix):
            words = better + words.removeprefix(prefix)
    return f"{words} (got {_shorten(detail['input'])})"


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
