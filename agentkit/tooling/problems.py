"""What is wrong with a call's arguments, in words for the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 60
_MISSING = "missing"
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_PREFIXES = {"Input should be": "should be", "Value error, ": "", "Assertion failed, ": ""}

Path = tuple[str | int, ...]
"""Where a value is: keys and indexes, from the outside in."""


@dataclass(frozen=True, slots=True)
class _Problem:
    path: Path
    words: str
    union: Path | None
    """Where the value is that fits no member of its union."""
    member: str
    missing: bool


def describe_problems(error: ValidationError, args: dict[str, Any], known: Iterable[str]) -> list[str]:
    """Say of each bad argument where it is, what is wrong and what was given: a line for each place.

    What several members of a union say of one value is joined; what they say of what is in it, are alternatives.
    """
    problems = [_problem(detail, args, known) for detail in error.errors(include_url=False)]
    said: dict[Path, list[str]] = {}
    for problem in problems:
        members = _members_inside(problem.union, problems)
        inside = problem.union is not None and len(problem.path) > len(problem.union)
        if members and not inside:
            continue  # it is closer to another member
        place, words = problem.path, problem.words
        if problem.union is not None and len(members) > 1:
            place, words = problem.union, _alternatives(problem.union, members)
        if words not in said.setdefault(place, []):
            said[place].append(words)
    return [f"{_written(place)} {' or '.join(words)}".strip() for place, words in said.items()]


def place_of_problem(detail: ErrorDetails, args: Any) -> Path:
    """Find the place in the arguments that an error of pydantic is about."""
    return _walk(detail, args)[0]


def reason_of(error: Exception) -> str:
    """Give the line of an error of pydantic's that says why; of its own core it is the last of many."""
    lines = str(error).splitlines() or [type(error).__name__]
    if lines[0].startswith("Error building"):
        return lines[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
    return lines[0].partition(" Set `arbitrary")[0]


def _problem(detail: ErrorDetails, args: Any, known: Iterable[str]) -> _Problem:
    path, union, member = _walk(detail, args)
    words = _words(detail)
    if detail["type"] in _UNKNOWN and len(detail["loc"]) == 1:
        words = f"is not a parameter; the parameters are: {', '.join(known) or 'none'}"
    return _Problem(path, words, union, member, detail["type"].startswith(_MISSING))


def _walk(detail: ErrorDetails, args: Any) -> tuple[Path, Path | None, str]:
    """Follow an error's location: the place, and the first union on the way with the member that was tried."""
    path: Path = ()
    union: Path | None = None
    members: list[str] = []
    here = args
    for at, key in enumerate(detail["loc"]):
        if _has(here, key):
            here = here[key]
        elif not (at == len(detail["loc"]) - 1 and detail["type"].startswith(_MISSING)):
            if union is None or union == path:  # the name of a union's member, not a place
                union = path
                members.append(str(key))
            continue
        path = (*path, key)
    return path, union, " ".join(members)


def _has(value: Any, key: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, dict) and key in value


def _members_inside(union: Path | None, problems: Sequence[_Problem]) -> list[list[_Problem]]:
    """Collect, by member, the problems that are inside of a union's value."""
    found: dict[str, list[_Problem]] = {}
    for problem in problems:
        if union is not None and problem.union == union and len(problem.path) > len(union):
            found.setdefault(problem.member, []).append(problem)
    return list(found.values())


def _alternatives(union: Path, members: Sequence[Sequence[_Problem]]) -> str:
    if all(problem.missing for member in members for problem in member):
        needed = [", ".join(_written(problem.path[len(union) :]) for problem in member) for member in members]
        return f"is incomplete: give either {' or '.join(dict.fromkeys(needed))}"
    said = [
        ", ".join(f"{_written(problem.path[len(union) :])} {problem.words}" for problem in member)
        for member in members
    ]
    return f"fits none of its alternatives: either {'; or '.join(dict.fromkeys(said))}"


def _written(path: Path) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


def _words(detail: ErrorDetails) -> str:
    if detail["type"].startswith(_MISSING):
        return "is required"
    if detail["type"] in _UNKNOWN:
        return "is not a known field"
    if detail["type"] == "union_tag_not_found":
        return (
            f"needs {detail['ctx']['discriminator']}, which says what it is (got {_shorten(detail['input'])})"
        )
    words = detail["msg"]
    for prefix, better in _PREFIXES.items():
        if words.startswith(prefix):
            words = better + words.removeprefix(prefix)
    return f"{words} (got {_shorten(detail['input'])})"


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
