"""Numbers in words, rewritten to digits: `twenty-five`, `1.5 million`, `two thirds`, `three point one four`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

ONES = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
}  # fmt: skip
TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "zero": 0, "nought": 0,
}  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
SMALL = ONES | TEENS | TENS
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
TIMES = SCALES | {"hundred": 100, "dozen": 12}
ORDINALS = {
    "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "twentieth": 20, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
PART = {word: n for word, n in ORDINALS.items() if n > 2} | {"half": 2, "quarter": 4}
PARTS = {f"{word}s": n for word, n in PART.items()} | {"halves": 2}


def _any(*tables: Iterable[str]) -> str:
    return f"(?:{'|'.join(word for table in tables for word in table)})"


_SMALL = rf"(?:{_any(TENS)}(?: {_any(ONES)})?|{_any(TEENS, ONES)})\b"
_HUNDREDS = rf"(?:(?:{_SMALL}|a) hundred\b(?:(?: and)? {_SMALL}(?! hundred\b))?|{_SMALL})"
_CARDINAL = re.compile(
    rf"(?<!half )\b(?:{_HUNDREDS}|a(?= {_any(SCALES)}\b))(?: {_any(SCALES)}\b(?:(?: and)? {_HUNDREDS})?)*"
)
_NUMBER = r"(?<![\d.,])\d[\d,]*(?:\.\d+)?"


def numbers_in_digits(text: str) -> str:
    """Rewrite the numbers of a lower-case text; a fraction gets the fraction slash: `2⁄3`, `2 1⁄2`."""
    text = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])|\s+", " ", text)
    text = re.sub(
        rf"(?:^|(?<= is )|(?<= plus )|(?<= minus )|(?<= times )|(?<= by )|(?<= of ))(?=(?:hundred|{_any(SCALES)})\b)",
        "a ",
        text,
    )
    text = _CARDINAL.sub(lambda m: _cardinal(m[0].split()), text)
    text = re.sub(r"(?<=\bnearest )(?:hundred|thousand|million)\b", lambda m: str(TIMES[m[0]]), text)
    text = re.sub(r"\b(\d+) point ((?:\d )*\d+)\b", lambda m: f"{m[1]}.{m[2].replace(' ', '')}", text)
    text = re.sub(rf"\b(?:an?|1) ({_any(PART)})\b", lambda m: f"1⁄{PART[m[1]]}", text)
    text = re.sub(rf"\b(\d+) ({_any(PARTS)})\b", lambda m: f"{m[1]}⁄{PARTS[m[2]]}", text)
    text = re.sub(r"\bhalf\b", "1⁄2", text)
    text = re.sub(r"\b(quarter|third)(?= of\b)", lambda m: f"1⁄{PART[m[1]]}", text)
    text = re.sub(r"(?<![\d/.])(\d+)/(\d+)(?= of\b)", r"\1⁄\2", text)
    text = re.sub(r"(?<![\d/.,])(\d+)(?: and)? (\d+)/(\d+)(?![\d/.])", r"\1 \2⁄\3", text)
    text = re.sub(r"\b(\d+)(?: and)? +(?=\d+⁄)", r"\1 ", text)
    text = re.sub(rf"({_NUMBER})k\b", lambda m: _scaled(m[1], 1000), text)
    text = re.sub(
        rf"((?:\d+ )?\d+⁄\d+)(?: of)?(?: a)? ({_any(TIMES)})\b", lambda m: f"({m[1]} * {TIMES[m[2]]})", text
    )
    text = re.sub(rf"({_NUMBER}) dozen\b", r"(\1 * 12)", text)
    text = re.sub(rf"({_NUMBER}) ({_any(TIMES)})\b", lambda m: _scaled(m[1], TIMES[m[2]]), text)
    return re.sub(r"\ba dozen\b", "12", text)


def _scaled(digits: str, scale: int) -> str:
    return f"{Decimal(digits.replace(',', '')) * scale:f}"


def _cardinal(words: list[str]) -> str:
    """Add the words up; where a scale doesn't fall (`one million and two million`), a new number begins."""
    done, total, group, last, joined = "", 0, 0, 10**15, ""
    for word in words:
        if word == "and":
            joined = "and "
        elif word in SCALES:
            if SCALES[word] >= last:
                done, total = f"{done}{total} {joined}", 0
            total, group, last = total + max(group, 1) * SCALES[word], 0, SCALES[word]
            joined = ""
        elif word == "hundred":
            group *= 100
        else:
            group += 1 if word == "a" else SMALL[word]
    return f"{done}{total + group}"
