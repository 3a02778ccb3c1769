"""From text to tokens: symbols, words, and numbers in digits or in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

from agentkit.errors import ToolError, ToolRetry
from agentkit_tools._calculator.arithmetic import literal
from agentkit_tools._calculator.expression import Node, number
from agentkit_tools._calculator.numerals import ORDINALS, numbers_in_digits


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a symbol or a number."""

    text: str
    number: Node | None = None
    """Set for a number."""
    ordinal: int | None = None
    """Set for `5th` and `fifth`."""
    spaced: bool = False
    """Whether white space comes before it."""

    @property
    def is_word(self) -> bool:
        """Whether it is made of letters and isn't a number."""
        return self.number is None and self.ordinal is None and self.text[0].isalpha()


CURRENCIES = {
    "$": "dollar", "dollar": "dollar", "dollars": "dollar", "bucks": "dollar", "usd": "dollar",
    "€": "euro", "euro": "euro", "euros": "euro", "eur": "euro",
    "£": "pound", "pound": "pound", "pounds": "pound", "quid": "pound", "gbp": "pound",
    "¥": "yen", "yen": "yen", "₹": "rupee", "rupees": "rupee",
}  # fmt: skip

_SYMBOLS = str.maketrans(
    {
        "×": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "—": ",",
        "’": "'", "‘": "'", "π": " pi ", "√": " sqrt ", "∛": " cbrt ", "°": " degrees ", "[": "(", "]": ")",
        ";": ",", ":": ",", "?": ",", "≈": "=",
    }
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<ordinal>\d{1,6}(?:st|nd|rd|th)\b)
  | (?P<fraction>(?:\d+\ )?\d+⁄\d+)
  | (?P<hex>0x[0-9a-f]+\b)
  | (?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)|\d+)(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+)
  | (?P<word>log(?:10|2)\b|[^\W\d_]+(?:'[^\W\d_]+)*)
  | (?P<symbol>\*\*|//|[-+*/^%!(),=$€£¥₹.])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def unreadable(what: str) -> ToolRetry:
    """Return the error for what isn't understood; `what` quotes it."""
    return ToolRetry(
        f"I can't read {what} as arithmetic. Write the calculation with numbers and + - * / ^ % ( ), or in plain words."
    )


def ambiguous(what: str) -> ToolRetry:
    """Return the error for what has two meanings."""
    return ToolRetry(f"{what} can mean two things. Say which with brackets.")


def tokenize(text: str) -> list[Token]:
    """Split text into tokens; articles and money signs are left out.

    Raises:
        ToolRetry: A character that no calculation has, or two kinds of money.
    """
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: f"^({m[0].translate(_SUPERSCRIPTS)})", text.lower())
    text = re.sub(r"\b(?:quick|easy|another|next|last|this|simple) one\b", "quick", text)  # no number
    text = text.translate(_SUBSCRIPTS).replace("math.", "").replace("([", "(").replace("])", ")")
    text = re.sub("[½⅓⅔¼¾⅕-⅞]", lambda m: f" {unicodedata.normalize('NFKC', m[0])}", text)
    text = numbers_in_digits(text.translate(_SYMBOLS))
    text = re.sub(
        r"(?<![\w.+*/^-])1 ?\+ ?2(?: ?\+ ?3(?: ?\+ ?4)?)? ?\+ ?(?:\.\.\.|…) ?\+ ?(?=\d+\b)",
        "sum of 1 to ",
        text,
    )
    text = re.sub(r"\b(\d+)([cp])(\d+)\b", r"\1 \2 \3", text)  # 10C3
    text = re.sub(r" to the (?=\d+\b)", " to power ", text)  # 2 to the 10
    text = re.sub(r"\b(?:the|an?) (?=[^\W_]|[$€£¥₹])", "", text)
    tokens: list[Token] = []
    money: set[str] = set()
    spaced = False
    for match in _TOKEN.finditer(text):
        kind, piece = match.lastgroup, match[0]
        if kind == "space":
            spaced = True
        elif piece in CURRENCIES:
            money.add(CURRENCIES[piece])
            spaced = True if piece.isalpha() else spaced
        else:
            tokens.append(_token(kind, piece, spaced=spaced))
            spaced = False
    if len(money) > 1:
        raise unreadable("more than one currency")
    return tokens


def _token(kind: str | None, piece: str, *, spaced: bool) -> Token:
    if kind == "number":
        digits = piece.replace(",", "")
        return Token(piece, number(literal(digits), digits if "e" in digits else ""), spaced=spaced)
    if kind == "fraction":
        whole, _, part = piece.rpartition(" ")
        top, bottom = map(int, part.split("⁄"))
        if not bottom:
            raise ToolError("Division by zero is not possible.")
        value = Fraction(top, bottom) + int(whole or 0)
        return Token(piece, number(value, "" if whole else f"{top}/{bottom}"), spaced=spaced)
    if kind == "ordinal":
        return Token(piece, ordinal=int(piece[:-2]), spaced=spaced)
    if kind in ("hex", "other"):
        raise unreadable(f'"{piece[:20]}"' if piece.isprintable() else "a control character")
    return Token("^" if piece == "**" else piece, ordinal=ORDINALS.get(piece), spaced=spaced)


def spell(tokens: list[Token], vocabulary: Collection[str]) -> list[Token]:
    """Mend small slips in words of the vocabulary.

    Raises:
        ToolRetry: A word that is neither in the vocabulary nor close to exactly one word of it.
    """
    result, unknown = [], []
    for token in tokens:
        if not token.is_word or token.text in vocabulary:
            result.append(token)
        elif len(close := {word for word in vocabulary if _is_slip(token.text, word)}) == 1:
            result.append(Token(close.pop(), spaced=token.spaced))
        else:
            unknown.append(token.text[:20])
    if unknown:
        raise unreadable(" or ".join(f'"{word}"' for word in dict.fromkeys(unknown[:4])))
    return result


def _is_slip(typed: str, word: str) -> bool:
    """Whether one slip of a finger makes `typed` of a word: two letters swapped, one too many, few or wrong.

    Short words are left alone, and number words aren't in the vocabulary: a slip may be another number.
    """
    if len(word) < 4 or typed[0] != word[0] or abs(len(typed) - len(word)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(typed, word, strict=False)) if a != b), len(word))
    rest, wanted = typed[start:], word[start:]
    if len(typed) == len(word):
        swapped = rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:]
        return swapped or (len(word) >= 7 and rest[1:] == wanted[1:])
    return len(word) >= 6 and (rest[1:] == wanted or rest == wanted[1:])
