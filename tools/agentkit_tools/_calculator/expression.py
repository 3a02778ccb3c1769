"""Expressions as trees: what a question was read as, to print and to evaluate."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from agentkit.errors import ToolRetry
from agentkit_tools._calculator import arithmetic
from agentkit_tools._calculator.arithmetic import Value
from agentkit_tools._calculator.functions import FUNCTIONS, PI

MAX_DEPTH = 200

SUM, PRODUCT, NEGATION, OF, POWER, POSTFIX, ATOM = range(7)
"""How tightly an operator binds, loosest first."""

OPERATORS: dict[str, tuple[int, Callable[[Value, Value], Value]]] = {
    "+": (SUM, arithmetic.add),
    "-": (SUM, lambda a, b: arithmetic.add(a, -b)),
    # A percentage added to a number, or taken from it, is a percentage of that number.
    "+%": (SUM, lambda a, p: arithmetic.add(a, arithmetic.multiply(a, p))),
    "-%": (SUM, lambda a, p: arithmetic.add(a, arithmetic.multiply(a, -p))),
    "*": (PRODUCT, arithmetic.multiply),
    "/": (PRODUCT, arithmetic.divide),
    "//": (PRODUCT, arithmetic.floor_divide),
    "mod": (PRODUCT, arithmetic.modulo),
    "of": (OF, arithmetic.multiply),
    "^": (POWER, arithmetic.power),
}
CONSTANTS = {"pi": lambda: +PI, "tau": lambda: 2 * PI, "e": lambda: decimal.Decimal(1).exp()}


@dataclass(frozen=True, slots=True)
class Node:
    """An operator or function with its operands, or a number (`value` is set).

    `+ - * /` on nodes build nodes; a percentage that is added or taken is one of the left side.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: Fraction | None = None
    depth: int = 1

    @property
    def is_part(self) -> bool:
        """Whether it is a fraction in words: a third, 3 quarters."""
        return self.value is not None and "/" in self.op

    def __add__(self, other: Node) -> Node:
        return node("+%" if other.op == "%" and self.op != "%" else "+", self, other)

    def __sub__(self, other: Node) -> Node:
        return node("-%" if other.op == "%" and self.op != "%" else "-", self, other)

    def __mul__(self, other: Node) -> Node:
        return node("*", self, other)

    def __truediv__(self, other: Node) -> Node:
        return node("/", self, other)


def number(value: Fraction | int, text: str = "") -> Node:
    """Make a number; `text` is how to print it where plain digits won't do (`2/3`, `3 * 12`)."""
    value = Fraction(value)
    return Node(text or arithmetic.show(value)[0], value=value)


def node(op: str, *args: Node) -> Node:
    """Apply an operator, a function or a constant.

    Raises:
        ToolRetry: The tree gets too deep, or the function takes another number of arguments.
    """
    depth = 1 + max((arg.depth for arg in args), default=0)
    if depth > MAX_DEPTH:
        raise ToolRetry("The calculation is too long or too deeply nested. Split it into smaller ones.")
    if op in FUNCTIONS:
        fewest, most, _ = FUNCTIONS[op]
        if not fewest <= len(args) <= most:
            takes = fewest if fewest == most else f"{fewest} or {most}" if most == 2 else f"{fewest} or more"
            raise ToolRetry(f"{op} takes {takes} numbers, not {len(args)}. Pass a complete expression.")
    return Node(op, args, depth=depth)


def evaluate(tree: Node) -> Value:
    """Work out the value; exact where it is a Fraction.

    Raises:
        ToolError: The calculation has no result: division by zero, out of range, and the like.
    """
    try:
        with arithmetic.rounding():
            return _evaluate(tree)
    except decimal.DecimalException:  # overflow or underflow, the only traps that our checks leave
        raise arithmetic.too_big() from None


def _evaluate(tree: Node) -> Value:
    if tree.value is not None:
        return tree.value
    if tree.op in CONSTANTS:
        return CONSTANTS[tree.op]()
    args = tuple(map(_evaluate, tree.args))
    if tree.op in OPERATORS:
        return OPERATORS[tree.op][1](*args)
    if tree.op == "negative":
        return -args[0]
    if tree.op == "%":
        return arithmetic.multiply(args[0], Fraction(1, 100))
    return FUNCTIONS[tree.op][2](*args)


def render(tree: Node) -> str:
    """Print the tree in symbols, with as few brackets as its meaning needs."""
    return _render(tree)[0]


def _render(tree: Node) -> tuple[str, int]:
    """Return the text and how tightly it holds together."""
    if tree.value is not None:
        tight = PRODUCT if "/" in tree.op or "*" in tree.op else SUM if "+" in tree.op else ATOM
        return tree.op, NEGATION if tree.op.startswith("-") else tight
    parts = tuple(map(_render, tree.args))
    if tree.op in OPERATORS:
        level = OPERATORS[tree.op][0]
        rightward = tree.op in ("^", "of")
        is_part = tree.op == "of" and tree.args[0].is_part
        left = parts[0][0] if is_part else _bracket(parts[0], level + rightward)
        right = _bracket(parts[1], level + (not rightward))
        return f"{left} {tree.op.removesuffix('%')} {right}", level
    if tree.op == "negative":
        return f"-{_bracket(parts[0], POSTFIX)}", NEGATION  # -(4 ^ 2): brackets for the reader
    if tree.op == "%":
        return f"{_bracket(parts[0], POSTFIX)}%", POSTFIX
    if tree.op == "factorial":
        return f"{_bracket(parts[0], ATOM)}!", POSTFIX
    if tree.op == "difference":
        return f"|{parts[0][0]} - {_bracket(parts[1], PRODUCT)}|", ATOM
    if tree.op.endswith(" of range"):
        first, step, last = (arg.value or Fraction(0) for arg in tree.args)
        between = (
            f"{first + step}, ..., "
            if last > first + 2 * step
            else f"{first + step}, "
            if last > first + step
            else ""
        )
        return f"{tree.op.removesuffix(' of range')}({first}, {between}{last})", ATOM
    if tree.op == "significant":
        return f"round({parts[0][0]}, to {parts[1][0]} significant digits)", ATOM
    if tree.op.endswith("°"):
        name = tree.op[:-1]
        if name.startswith("a"):
            return f"{name}({parts[0][0]}) in degrees", SUM
        return f"{name}({_bracket(parts[0], POSTFIX)}°)", ATOM
    if tree.op in ("sin", "cos", "tan"):
        return f"{tree.op}({_bracket(parts[0], PRODUCT)} rad)", ATOM
    return f"{tree.op}({', '.join(text for text, _ in parts)})" if parts else tree.op, ATOM


def _bracket(part: tuple[str, int], level: int) -> str:
    """Put brackets round what holds together less tightly than `level`."""
    text, tight = part
    return text if tight >= level else f"({text})"
