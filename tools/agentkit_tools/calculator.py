"""A calculator that understands arithmetic in symbols and in words.

Give it to an agent as `tools=[calculator]`. An answer is one line that shows how the question was read, with
`≈` where the result is rounded: `50 - 8 = 42`, `1 / 3 ≈ 0.333333333333`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from agentkit.errors import ToolRetry
from agentkit.tooling.registry import ToolRegistry
from agentkit_tools._calculator import chatter, phrases, ranges
from agentkit_tools._calculator.arithmetic import show
from agentkit_tools._calculator.expression import CONSTANTS, Node, evaluate, node, number, render
from agentkit_tools._calculator.grammar import (
    INFIX,
    LIST_NOISE,
    NAMES,
    OTHER_WORDS,
    Parser,
    elements,
)
from agentkit_tools._calculator.words import Token, ambiguous, spell, tokenize, unreadable

MAX_CHATTER = 20
"""Openers or closers of a question that are passed over."""
MAX_LENGTH = 1_000

calculator = ToolRegistry("calculator", effect="read")


@calculator.tool(effect="read")
def calculate(question: str) -> str:
    """Work out a calculation: plus, minus, times, divided by, percent, tip, power, square root, average.

    Args:
        question: The user's whole question, word for word: less, more, split, share, sum, product, root, round, half,
            third, quarter, choose, remainder, or an expression.

    Raises:
        ToolRetry: The question isn't fully understood; nothing of it is guessed.
        ToolError: The calculation has no result, or too large a one.
    """
    if len(question) > MAX_LENGTH:
        raise ToolRetry(f"The question is too long: at most {MAX_LENGTH} characters. Split the calculation.")
    if not question.strip():
        raise ToolRetry("The question is empty. Pass the user's whole question.")
    tokens = spell(tokenize(question), _vocabulary())
    tree = _read(tokens)
    if tree.value is not None and not set("/*") & set(tree.op):
        raise ToolRetry(
            f"There is only a number, {tree.op}, and nothing to work out. Say what to do with it."
        )
    shouted = [token.text for token in tokens if token.text not in (",", ".", "=")][-1] == "!"
    if shouted and any(token.is_word for token in tokens) and tree.op != "factorial":
        raise ambiguous('The "!" at the end')
    return _answer(tree)


@cache
def _vocabulary() -> frozenset[str]:
    """Return every word that a calculation may hold, but for numbers."""
    tables = (*phrases.OPERANDS, *phrases.SENTENCES, *phrases.CONTINUATIONS)
    known = [phrase for phrase, _ in tables] + [*chatter.OPENERS, *chatter.CLOSERS]
    words = {word for phrase in known for element in elements(phrase) for word in element.words}
    words |= {word for entries in INFIX.values() for form, _ in entries for word in form}
    words |= {*NAMES, *CONSTANTS, *LIST_NOISE, *ranges.WORDS, *OTHER_WORDS}
    return frozenset(word for word in words if word[0].isalpha())


def _read(tokens: Sequence[Token]) -> Node:
    """Read a question as an expression.

    Raises:
        ToolRetry: Not every word of it is understood.
    """
    stuck = tokens
    for start in _starts(tokens):
        for end in _ends(tokens, start):
            parser = Parser(tokens[start:end])
            if (tree := parser.sentence()) is not None:
                return tree
            stuck = min(stuck, tokens[start + parser.furthest :] or tokens, key=len)
    left = " ".join(token.text for token in stuck)
    raise unreadable(f'"{(left.strip(" ,") or left)[:60]}"')


def _starts(tokens: Sequence[Token]) -> list[int]:
    """Return where the calculation may start, the likeliest first."""
    parser, starts, i = Parser(tokens), [0], 0
    while len(starts) < MAX_CHATTER:
        ends = [j for phrase in chatter.OPENERS for j, _ in parser.match(elements(phrase), i)]
        if parser.text(i) in (",", ".", "!"):
            ends.append(i + 1)
        if not ends:
            break
        i = max(ends)
        starts.append(i)
    return [i for i in starts[::-1][:4] if not _continues(tokens, i)]


def _continues(tokens: Sequence[Token], i: int) -> bool:
    """Whether a minus after an opener may be a dash, or go on from an earlier result (`now minus 5`)."""
    if i == 0 or i + 1 >= len(tokens):
        return False
    dash = tokens[i].text == "-" and tokens[i + 1].spaced
    return dash or (
        tokens[i].text in ("-", "minus") and tokens[i - 1].text in ("now", "and", "then", "also", "so")
    )


def _ends(tokens: Sequence[Token], start: int) -> list[int]:
    """Return where the calculation may end, the likeliest first."""
    parser, ends, end = Parser(tokens), [len(tokens)], len(tokens)
    while end > start and len(ends) < MAX_CHATTER:
        begins = [
            i
            for i in range(max(start, end - 8), end)
            for phrase in chatter.CLOSERS
            if any(j == end for j, _ in parser.match(elements(phrase), i))
        ]
        if tokens[end - 1].text in (",", ".", "="):
            begins.append(end - 1)
        if not begins:
            break
        end = min(begins)
        ends.append(end)
    return ends[::-1][:4]


def _answer(tree: Node) -> str:
    """Return what was worked out and its result as one line."""
    form = tree.op if tree.op.startswith("as ") else ""
    if form == "as quotient":
        return _quotient(*tree.args)
    tree = tree.args[0] if form else tree
    value = evaluate(tree * number(100) if form == "as percent" else tree)
    if form == "as fraction" and isinstance(value, Fraction):
        return f"{render(tree)} = {value}"
    text, exact = show(value)
    return f"{render(tree)} {'=' if exact else '≈'} {text}{'%' if form == 'as percent' else ''}"


def _quotient(a: Node, b: Node) -> str:
    """Return a division of whole numbers with its remainder; of others, and without one, the plain division."""
    tree, rest = a / b, evaluate(node("mod", a, b))
    values = (evaluate(a), evaluate(b))
    if not rest or not all(isinstance(v, Fraction) and v.denominator == 1 and v > 0 for v in values):
        return _answer(tree)
    return f"{render(tree)} = {show(evaluate(node('floor', tree)))[0]} remainder {show(rest)[0]}"
