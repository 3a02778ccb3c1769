"""What a search compares, and what it shows: folded words, a query of them, and the text around a hit."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice

MAX_WORD = 64
"""Characters of a word that count."""
MAX_WORDS = 32
"""Different words of a query that count."""
INDEXED = 1_000_000
"""Bytes of a message's different words that are indexed: PostgreSQL holds 1 MiB of them for a row."""
_CHUNK, _PIECE = 2048, 512
_AROUND = 60
"""Characters that are shown in front of a hit; behind it are twice as many."""

# Scripts that are written without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Combining classes of marks that are letters in their scripts: vowels and tones of Thai, viramas, kana voicing ...
_LETTER_MARKS = frozenset({0, 7, 8, 9, 84, 91, 103, 107, 118, 122, 129, 130, 132})


class _Folded(dict[int, str]):
    """What becomes of a character: letters and digits, spaces, or nothing if it is an accent; up to 18 characters."""

    def __missing__(self, code: int) -> str:
        apart = unicodedata.normalize("NFKD", chr(code).casefold())
        to = unicodedata.normalize("NFC", "".join(map(_fold_one, apart)).casefold())
        self[code] = to
        return to


def _fold_one(char: str) -> str:
    match unicodedata.category(char)[0]:
        case "M":
            return char if unicodedata.combining(char) in _LETTER_MARKS else ""
        case "L" | "N":
            return char
        case _:
            return "" if char in "\u200c\u200d\u00ad" else " "


_FOLDED_CHARS = _Folded()


def fold(text: str) -> list[str]:
    """List the different words of a text, without case, accents and ligatures, in the order in which they come.

    Where a script has no spaces, each pair of neighbours is a word; the last character stands alone, so that each
    character begins one.
    """
    if text.isascii():
        return [*dict.fromkeys([word[:MAX_WORD] for word in _ASCII_WORD.findall(text.lower())])]
    # By pieces: to put the marks of a letter in order takes a time that grows with the square of their number.
    pieces = (piece.translate(_FOLDED_CHARS) for _, piece in _pieces(text, _PIECE))
    letters = "".join([unicodedata.normalize("NFC", piece) for piece in pieces])
    words: dict[str, None] = {}
    for token in dict.fromkeys(letters.split()):
        for part in dict.fromkeys(_RUN.findall(token)) if _IS_UNSPACED.search(token) else (token,):
            if _IS_UNSPACED.match(part):
                words.update(dict.fromkeys([part[n : n + 2] for n in range(len(part))]))
            else:
                words[part[:MAX_WORD]] = None
    return [*words]


def indexed(text: str) -> str:
    """Fold a text to what an index holds of it: its different words, with a space between them."""
    words = fold(text)
    made = " ".join(words)
    if len(made.encode()) <= INDEXED:
        return made
    ends = accumulate(len(word.encode()) + 1 for word in words)
    return " ".join(words[: bisect_right([*ends], INDEXED)])


def query(text: str) -> list[str]:
    """Fold a query to its first different words. What is asked for by prefix ends in `*`."""
    words: dict[str, None] = {}
    for _, chunk in _pieces(text, _CHUNK):  # no more is folded of a long one than is needed
        words.update(dict.fromkeys(fold(chunk)))
        if len(words) >= MAX_WORDS:
            break
    asked = list(islice(words, MAX_WORDS))
    ends = {word[1] for word in asked if len(word) == 2 and _IS_UNSPACED.match(word)}
    return [
        f"{word}*" if len(word) == 1 and _IS_UNSPACED.match(word) else word
        for word in asked
        if word not in ends  # the end of a longer run is in the pair before it
    ]


def snippet(text: str, wanted: Sequence[str]) -> str:
    """Cut out what stands around the first of the words that `query` gave."""
    at = _find(text, wanted)
    first, last = max(0, at - _AROUND), min(len(text), at + 2 * _AROUND)
    if first and (space := text.find(" ", first, at)) > 0:
        first = space + 1
    if last < len(text) and (space := text.rfind(" ", at, last)) > at:
        last = space
    return ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")


def _find(text: str, wanted: Sequence[str]) -> int:
    """Find where the first of the words stands: by chunks, then in the chunk, then in a long run of it."""
    whole = {word for word in wanted if word[-1] != "*"}
    begins = {word[0] for word in wanted if word[-1] == "*"}

    def has(piece: str) -> bool:
        words = fold(piece)
        return not whole.isdisjoint(words) or not begins.isdisjoint(word[0] for word in words)

    for at, chunk in _pieces(text, _CHUNK):
        if has(chunk):
            for run in re.finditer(r"\S+", chunk):
                if has(run.group()):
                    return at + run.start() + _find_in_run(run.group(), has)
            return at
    return 0


def _find_in_run(run: str, has: Callable[[str], bool]) -> int:
    if not _IS_UNSPACED.search(run):
        return 0
    return next((n for n in range(len(run)) if has(run[n : n + 2])), 0)


def _pieces(text: str, size: int) -> Iterator[tuple[int, str]]:
    """Split a text, each piece with where it begins: at white space if some is in reach, or before a letter."""
    at = 0
    while at < len(text):
        end = at + size
        if end < len(text):
            reach = range(end, min(end + 256, len(text)))
            letter = next((n for n in reach if not unicodedata.combining(text[n])), end)
            end = next((n for n in reach if text[n].isspace()), letter)
        yield at, text[at:end]
        at = end
