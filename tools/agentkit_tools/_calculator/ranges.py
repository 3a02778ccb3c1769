"""Whole numbers in a row: `1 to 10`, `all even numbers from 2 to 20`, `the first 5 odd numbers`."""

from __future__ import annotations

from collections.abc import Sequence

from agentkit_tools._calculator.expression import Node, number
from agentkit_tools._calculator.words import Token, ambiguous

NAMES = frozenset(
    "all every each whole natural consecutive integers integer numbers number from values".split()  # noqa: SIM905
)
"""Words that may stand before the first number, and say no more than that there are several."""
_LINKS = frozenset({"to", "through", "thru", "till", "until", "-"})
_ENDLESS = frozenset({"squared", "cubed", "^", "!", "%", "factorial", "percent", "to", "by"})
"""What after the last number may belong to it or to the row."""
_FIRST = {"even": (2, 2), "odd": (1, 2), "natural": (1, 1), "positive": (1, 1), "counting": (1, 1)}
"""Where a row of so many numbers begins, and its step."""
WORDS = NAMES | _LINKS - {"-"} | {*_FIRST, "first", "inclusive", "inclusively"}

Range = tuple[Node, Node, Node]
"""First, step and last."""


def read_range(tokens: Sequence[Token], i: int, *, named: bool) -> tuple[Range, int] | None:
    """Read a row of whole numbers from a place: what it is and where it ends.

    Args:
        tokens: All tokens.
        i: The place.
        named: Whether a word such as `numbers` must stand before it.

    Raises:
        ToolRetry: It has two meanings.
    """
    start, kind = i, ""
    while _text(tokens, i) in NAMES | {"even", "odd"}:
        kind = _text(tokens, i) if _text(tokens, i) in _FIRST else kind
        i += 1
    if _text(tokens, i) == "first":
        return _first_numbers(tokens, i + 1)
    low, high, link = _whole(tokens, i), _whole(tokens, i + 2), _text(tokens, i + 1)
    if low is None or high is None or link not in _LINKS or (named and i == start):
        return None
    if link == "-" and (low >= high or tokens[i + 1].spaced or tokens[i + 2].spaced):
        return None  # a difference
    i += 3 + (_text(tokens, i + 3) in ("inclusive", "inclusively"))
    if low >= high or _text(tokens, i) in _ENDLESS:
        raise ambiguous("The row of numbers")
    if kind in ("even", "odd"):
        low += low % 2 != (kind == "odd")
        high -= high % 2 != (kind == "odd")
    step = 2 if kind in ("even", "odd") else 1
    return ((number(low), number(step), number(high)), i) if low < high else None


def _first_numbers(tokens: Sequence[Token], i: int) -> tuple[Range, int] | None:
    """Read `10 even numbers` after `the first`."""
    many, kind = _whole(tokens, i), _text(tokens, i + 1)
    i += 2
    i += kind == "positive" and _text(tokens, i) == "whole"
    if many is None or many < 2 or kind not in _FIRST or _text(tokens, i) not in ("numbers", "integers"):
        return None
    low, step = _FIRST[kind]
    return (number(low), number(step), number(low + step * (many - 1))), i + 1


def _text(tokens: Sequence[Token], i: int) -> str:
    return tokens[i].text if i < len(tokens) and tokens[i].number is None else ""


def _whole(tokens: Sequence[Token], i: int) -> int | None:
    value = tokens[i].number if i < len(tokens) else None
    if value is None or value.value is None or value.value.denominator != 1:
        return None
    return value.value.numerator
