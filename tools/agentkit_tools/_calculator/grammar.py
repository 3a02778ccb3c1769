"""From tokens to an expression: operators by precedence, phrases by their tables.

How the ambiguous is read: words bind as their symbols do (`3 plus 5 squared` is 3 + 5^2), a function or
`half of` takes the next operand (`half of 10 plus 6` is 5 + 6), a list ends with its last item (`the sum of
3 and 5 times 2` is 8 * 2), and a percentage that is added or taken is one of all to its left
(`80 + 20 - 10%` is 90). What has no such reading is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from agentkit.errors import ToolRetry
from agentkit_tools._calculator import phrases
from agentkit_tools._calculator.arithmetic import literal
from agentkit_tools._calculator.expression import (
    CONSTANTS,
    OF,
    OPERATORS,
    POSTFIX,
    POWER,
    PRODUCT,
    SUM,
    Node,
    node,
    number,
)
from agentkit_tools._calculator.functions import FUNCTIONS
from agentkit_tools._calculator.ranges import read_range
from agentkit_tools._calculator.words import Token, ambiguous

MAX_NESTING = 30

SLOTS = {"a": SUM, "b": SUM, "t": PRODUCT, "p": POSTFIX}
"""How tightly the expression of a slot binds at least; of others, as tightly as a power."""
INFIX: dict[str, list[tuple[list[str], str]]] = {}
"""The forms of operators by their first word, the longest first."""
for _op, _forms in phrases.INFIX.items():
    for _form in _forms:
        INFIX.setdefault(_form.split()[0], []).append((_form.split(), _op))
for _entries in INFIX.values():
    _entries.sort(key=lambda entry: -len(entry[0]))
TRIGONOMETRY = {"sin", "cos", "tan", "asin", "acos", "atan"}
NAMES = phrases.NAMES | {name: name for name in FUNCTIONS if name.isalnum()} | {"log": "log10"}
LIST_NOISE = {"following", "these", "numbers", "values", ","}
OTHER_WORDS = {
    "negative", "percent", "per", "cent", "pct", "factorial", "squared", "cubed", "to", "raised", "power", "and",
    "degrees", "degree", "deg", "radians", "radian", "rad", "in", "inverse", "of", "arc",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """One place of a phrase: words of which one stands there, or a slot."""

    words: frozenset[str]
    slot: str
    optional: bool


@cache
def elements(phrase: str) -> tuple[Element, ...]:
    """Compile a phrase."""
    places = []
    for item in phrase.split():
        body = item.removesuffix("?")
        slot = body[1:-1] if body.startswith("{") else ""
        places.append(Element(frozenset() if slot else frozenset(body.split("|")), slot, item.endswith("?")))
    return tuple(places)


class Parser:
    """Reads expressions at a place of the tokens; None where there is none."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.furthest = 0
        """The first token that nothing could use, as far as any attempt came."""
        self.nesting = 0
        self.lists: dict[int, tuple[list[Node], int] | None] = {}
        self.seen: dict[tuple[int, int], tuple[Node, int] | None] = {}

    def text(self, i: int) -> str:
        """Return the text of a symbol or word; of a number or beyond the end, an empty one."""
        return self.tokens[i].text if i < len(self.tokens) and self.tokens[i].number is None else ""

    def words(self, i: int, *words: str) -> bool:
        """Whether these words stand here."""
        return all(self.text(i + k) == word for k, word in enumerate(words))

    # Phrases

    def sentence(self) -> Node | None:
        """Read all tokens as one calculation, and what is said to go on with its result."""
        for phrase, build in phrases.SENTENCES:
            for i, found in self.match(elements(phrase), 0):
                tree = build(**found)
                if tree is not None and (whole := self.go_on(tree, i)) is not None:
                    return whole
        return None

    def go_on(self, tree: Node, i: int) -> Node | None:
        """Read continuations up to the end."""
        while i < len(self.tokens):
            for phrase, build in phrases.CONTINUATIONS:
                after, found = next(self.match(elements(phrase), i), (i, {}))
                if after > i and (grown := build(a=tree, **found)) is not None:
                    tree, i = grown, after
                    break
            else:
                return None
        return tree

    def match(
        self, places: Sequence[Element], i: int, found: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each way to match a phrase from here: where it ends, and what the slots hold."""
        self.furthest = max(self.furthest, i)
        if not places:
            yield i, dict(found or {})
            return
        first, rest = places[0], places[1:]
        if first.slot:
            held = self.slot(first.slot, i)
            if held is not None:
                yield from self.match(
                    rest, held[1], {**(found or {}), first.slot.removesuffix("n") or "n": held[0]}
                )
        elif self.text(i) in first.words:
            yield from self.match(rest, i + 1, found)
        if first.optional:
            yield from self.match(rest, i, found)

    def slot(self, slot: str, i: int) -> tuple[Any, int] | None:
        """Read what a slot of this name takes."""
        if slot == "xs":
            if i not in self.lists:
                self.lists[i] = self.items(i)
            return self.lists[i]
        if slot in ("r", "rn"):
            return read_range(self.tokens, i, named=slot == "rn")
        if slot == "o":
            ordinal = self.tokens[i].ordinal if i < len(self.tokens) else None
            return (ordinal, i + 1) if ordinal else None
        held = self.expression(i, SLOTS.get(slot, POWER))
        return None if held and slot == "p" and held[0].op != "%" else held

    def items(self, i: int) -> tuple[list[Node], int] | None:
        """Read two or more operands with commas or `and` between them, or brackets round them."""
        while self.text(i) in LIST_NOISE:
            i += 1
        if self.text(i) == "(" and (held := self.arguments(i)) and len(held[0]) > 1:
            return held
        items: list[Node] = []
        after = i
        while item := self.expression(i, OF):
            for token in self.tokens[i : item[1]]:
                # 100,200 may be two items; 1,200 and 100,000 are clearly one number.
                if re.fullmatch(r"\d{3},\d{3}", token.text) and not token.text.endswith(",000"):
                    raise ambiguous(f'The comma of "{token.text}"')
            items.append(item[0])
            i = after = item[1]
            i += self.text(i) == ","
            i += self.text(i) == "and"
            if i == after and not self.is_next_item(i):
                break
        return (items, after) if len(items) > 1 else None

    def is_next_item(self, i: int) -> bool:
        """Whether a number here is one more item after a space, not the thousands of the one before."""
        item = self.tokens[i] if i < len(self.tokens) else None
        return item is not None and item.number is not None and not re.match(r"\d{3}(?!\d)", item.text)

    # Expressions

    def expression(self, i: int, level: int) -> tuple[Node, int] | None:
        """Read operands and the operators between them that bind at least as tightly as `level`."""
        key = (i, level)
        if key not in self.seen:
            self.nesting += 1
            if self.nesting > MAX_NESTING:
                raise ToolRetry("The calculation is too deeply nested. Split it into smaller ones.")
            self.seen[key] = held = self._expression(i, level)
            self.nesting -= 1
            if held:
                self.furthest = max(self.furthest, held[1])
        return self.seen[key]

    def _expression(self, i: int, level: int) -> tuple[Node, int] | None:
        held = self.prefix(i)
        if held is None:
            return None
        while more := self.postfix(*held) or self.infix(*held, level):
            held = more
        return held

    def prefix(self, i: int) -> tuple[Node, int] | None:
        """Read an operand with its sign. A minus takes what follows up to its powers: -2^2 is -4."""
        if self.text(i) not in ("-", "minus", "negative"):
            return self.operand(i)
        if self.text(i) == "negative":
            held = self.operand(i + 1)
            return held and (_negative(held[0]), held[1])
        held = self.expression(i + 1, OF)
        if held and any(token.text in ("squared", "cubed") for token in self.tokens[i : held[1]]):
            raise ambiguous("A minus before what is squared or cubed")
        if (
            held
            and held[0].op in ("comb", "perm")
            and self.text(i + 1) not in ("comb", "perm", "ncr", "npr", "(")
        ):
            raise ambiguous("A minus before what is chosen from")
        return held and (_negative(held[0]), held[1])

    def postfix(self, left: Node, i: int) -> tuple[Node, int] | None:
        """Read one operator that follows its operand."""
        word = self.text(i)
        if (word == "%" and not self.is_modulo(i)) or word in ("percent", "pct"):
            return node("%", left), i + 1
        if self.words(i, "per", "cent"):
            return node("%", left), i + 2
        if word in ("!", "factorial"):
            return None if left.op == "factorial" else (node("factorial", left), i + 1)
        if word in ("squared", "cubed"):
            return node("^", left, number(2 if word == "squared" else 3)), i + 1
        j = i + (word == "raised")
        if self.text(j) == "to" and (ordinal := self.slot("o", j + 1)):
            after = ordinal[1]
            return node("^", left, number(ordinal[0])), after + (self.text(after) == "power")
        return None

    def is_modulo(self, i: int) -> bool:
        """Whether this % stands between two operands, as evenly spaced as an operator is (17 % 5)."""
        if i + 1 >= len(self.tokens):
            return False
        after = self.tokens[i + 1]
        return (after.number is not None or after.text == "(") and after.spaced == self.tokens[i].spaced

    def infix(self, left: Node, i: int, level: int) -> tuple[Node, int] | None:
        """Read one operator and its right operand."""
        word = self.text(i)
        if word == "of" and level <= OF and (left.op == "%" or left.is_part):
            right = self.expression(i + 1, OF)
            return right and (node("of", left, right[0]), right[1])
        entries = [(["%"], "mod")] if word == "%" and self.is_modulo(i) else INFIX.get(word, [])
        for form, op in entries:
            tight = OPERATORS[op][0] if op in OPERATORS else POWER  # a function's name between its operands
            if tight < level or not self.words(i, *form) or not self.fits(left, i, form):
                continue
            right = self.expression(i + len(form), tight + (op != "^"))
            if right and op in ("comb", "perm") and right[0].op == "^":  # 5 choose 2 squared
                raise ambiguous("A power after " + form[0])
            if right:
                return self.joined(op, left, right[0], form), right[1]
        return None

    def joined(self, op: str, left: Node, right: Node, form: Sequence[str]) -> Node:
        """Apply an operator, with what its words imply."""
        if op not in ("+", "-"):
            return node(op, left, right)
        if left.op == "%" and right.op == "of":
            raise ambiguous("A percentage plus or minus a percentage of a number")
        if right.is_part and form[-1] == "by":  # increased by a third
            right = node("of", right, left)
        return left + right if op == "+" else left - right

    def fits(self, left: Node, i: int, form: Sequence[str]) -> bool:
        """Whether an operator with another meaning is one here: the x of `2 x 3`, not of `2x - 3`."""
        if form == ["over"]:
            return left.op != "%"
        if form == ["to"]:
            return self.text(i + 1) in ("minus", "negative") and left.op != "%"
        if form != ["x"]:
            return True
        x, after = self.tokens[i], self.tokens[i + 1 : i + 3]
        if not after or x.spaced != after[0].spaced:
            return False
        negative = after[0].text == "-" and x.spaced and len(after) == 2 and not after[1].spaced
        return negative or after[0].text not in ("-", "minus")

    # Operands

    def operand(self, i: int) -> tuple[Node, int] | None:
        """Read a number, a bracket, a function, a constant or a phrase."""
        if i >= len(self.tokens):
            return None
        value, word = self.tokens[i].number, self.text(i)
        if value is not None:
            return self.product(value, i, i + 1)
        if word == "(":
            inner = self.expression(i + 1, SUM)
            closed = inner is not None and self.text(inner[1]) == ")"
            return self.product(inner[0], i, inner[1] + 1) if inner and closed else None
        if word in CONSTANTS:
            return node(word), i + 1
        return self.trigonometry(i) or self.call(i) or self.phrase(i)

    def product(self, left: Node, start: int, i: int) -> tuple[Node, int]:
        """Read `2(3 + 4)` and `2 pi` as products."""
        if self.text(i) != "(" and (left.value is None or self.text(i) not in CONSTANTS):
            return left, i
        right = self.expression(i, POWER)
        if right is None:
            return left, i
        before = self.text(start - 1) if start else ""
        if before in ("/", "//", "^", "%", "over") or self.words(start - 2, "divided", "by"):
            raise ambiguous("A product without a sign, after a division or power,")
        return left * right[0], right[1]

    def call(self, i: int) -> tuple[Node, int] | None:
        """Read `name(x, y)`."""
        word = self.text(i)
        held = self.arguments(i + 1) if self.text(i + 1) == "(" else None
        if held is None:
            return None
        args, i = held
        if word in ("radians", "degrees") and len(args) == 1:
            ratio = node("pi") / number(180) if word == "radians" else number(180) / node("pi")
            return args[0] * ratio, i
        if word not in NAMES:
            return None
        name = "logbase" if word == "log" and len(args) == 2 else NAMES[word]
        return node(name, *args), i

    def arguments(self, i: int) -> tuple[list[Node], int] | None:
        """Read a bracketed list. Each comma separates here, those between digits too: max(100,200)."""
        args: list[Node] = []
        split = separated = False
        while i < len(self.tokens):
            item = self.expression(i + 1, SUM)
            if item is None:
                return None
            texts = [
                token.text for token in self.tokens[i + 1 : item[1]] if token.number and "," in token.text
            ]
            if texts:
                split = True
                if item[1] != i + 2:
                    raise ambiguous(f'The comma of "{texts[0]}"')
                args += [number(literal(digits)) for digits in texts[0].split(",")]
            else:
                args.append(item[0])
            i = item[1]
            if self.text(i) == ")":
                if split and separated:
                    raise ambiguous("A comma between digits")
                return args, i + 1
            if self.text(i) != ",":
                return None
            separated = True
        return None

    def trigonometry(self, i: int) -> tuple[Node, int] | None:
        """Read a trigonometric function; its angle is in radians unless degrees are said."""
        inverse = self.text(i) in ("inverse", "arc")
        i += inverse
        name = ("a" if inverse else "") + NAMES.get(self.text(i), "")
        if name not in TRIGONOMETRY:
            return None
        i += 1 + (self.text(i + 1) == "of")
        inner = self.expression(i + (self.text(i) == "("), SUM if self.text(i) == "(" else POWER)
        if inner is None:
            return None
        angle, after = inner
        degrees, after = self.unit(after)
        if self.text(i) == "(":
            if self.text(after) != ")":
                return None
            outside, after = self.unit(after + 1)
            degrees = degrees or outside
        return node(f"{name}°" if degrees else name, angle), after

    def unit(self, i: int) -> tuple[bool, int]:
        """Read `degrees` or `in degrees`: whether it is that, and where it ends."""
        j = i + (self.text(i) == "in")
        if self.text(j) in ("degrees", "degree", "deg"):
            return True, j + 1
        return False, j + 1 if self.text(j) in ("radians", "radian", "rad") else i

    def phrase(self, i: int) -> tuple[Node, int] | None:
        """Read a phrase that is an operand."""
        if not (self.tokens[i].is_word or self.tokens[i].ordinal):
            return None
        for pattern, build in phrases.OPERANDS:
            for after, found in self.match(elements(pattern), i):
                tree = build(**found)
                if tree is not None:
                    return tree, after
        return None


def _negative(tree: Node) -> Node:
    """Return -tree; of plain digits, a negative number."""
    return (
        number(-tree.value)
        if tree.value is not None and not set("/e") & set(tree.op)
        else node("negative", tree)
    )
