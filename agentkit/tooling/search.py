"""Which tools a text is about: those whose declarations share words with it, rare words counting more."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any

from agentkit.wire.content import FunctionDeclaration, Json

STOP_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "a about all am an and any are around as at be been but by can could did do does for from get give go going "
        "had has have he her here him his how i if in is it its just know let like ll m many may me more much my "
        "near need next no not of on one or our out over please re right s shall she should show so some t tell than "
        "that the them then there these they this those to today too up us use user ve very want was we were what when "
        "where which who whole why will with would you your",
    )
)
"""Words that carry no meaning of their own."""

_NAME, _DESCRIPTION, _PARAMETERS = 2.0, 1.0, 0.5
"""What a word counts, by where it is said."""
_JOINT = re.compile(r"[-_]|(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where a part of a word ends: `send_mail`, `e-mail`, `sendMail`, `HTTPServer`."""


class ToolIndex:
    """Tools, to be searched by words again and again."""

    def __init__(self, declarations: Sequence[FunctionDeclaration]) -> None:
        self._terms = TermIndex([_terms_of(declaration) for declaration in declarations])

    def rank(self, query: str, limit: int) -> list[int]:
        """List the positions of the tools that share words with the query, the best first.

        Names count more than descriptions, and these more than what is said of parameters. Equals stay in
        their order. Tools without a word in common aren't there, so there may be fewer than `limit`, or none.
        """
        scores = self._terms.scores(_words(query))
        found = [position for position, score in enumerate(scores) if score > 0]
        return sorted(found, key=lambda position: -scores[position])[:limit]


def rank(query: str, tools: Sequence[FunctionDeclaration], limit: int) -> list[int]:
    """List the positions of the tools that share words with the query; see `ToolIndex.rank`."""
    return ToolIndex(tools).rank(query, limit)


class TermIndex:
    """Documents by their terms: a term counts more, the fewer documents have it (inverse document frequency)."""

    def __init__(self, documents: Sequence[Mapping[str, float]]) -> None:
        self._size = len(documents)
        self._having: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for position, weights in enumerate(documents):
            for term, weight in weights.items():
                self._having[term].append((position, weight))

    def scores(self, terms: AbstractSet[str]) -> list[float]:
        """Score each document by the terms that it has; 0.0 for none of them."""
        hits: defaultdict[int, list[float]] = defaultdict(list)
        for term in terms:
            having = self._having.get(term, ())
            rarity = math.log(1 + self._size / len(having)) if having else 0.0
            for position, weight in having:
                hits[position].append(weight * rarity)
        # fsum, since a set has no order: equal scores must be equal whichever term comes first.
        return [math.fsum(hits.get(position, ())) for position in range(self._size)]


def stems_of(text: str) -> list[str]:
    """List the stems of the words that carry meaning: "Is it raining?" gives `["rain"]`."""
    return [stem(word) for word in re.findall(r"[^\W\d_]+", text.casefold()) if word not in STOP_WORDS]


def stem(word: str) -> str:
    """Cut the commonest endings off a word in small letters."""
    for suffix in ("ing", "er", "est", "ed", "es", "s", "y"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word.removesuffix(suffix)
            break
    if len(word) > 3 and (word[-1] == word[-2] or word[-1] == "e"):
        word = word[:-1]
    return word


def _words(text: str) -> set[str]:
    """Collect the stems of a text's words, of their parts, and of neighbouring parts in one (GitHub, e-mail)."""
    words: set[str] = set()
    for word in re.findall(r"\w+(?:-\w+)*", text):
        parts = [part for part in _JOINT.split(word) if part]
        words |= {"".join(parts).casefold(), *map(str.casefold, parts)}
        words |= {(left + right).casefold() for left, right in pairwise(parts)}
    return {stem(word) for word in words - STOP_WORDS if word}


def _terms_of(declaration: FunctionDeclaration) -> dict[str, float]:
    wire: Mapping[str, Any] = declaration
    schemas = (wire.get(key) for key in ("parametersJsonSchema", "parameters_json_schema", "parameters"))
    said = (
        (" ".join(_said(next(filter(None, schemas), None))), _PARAMETERS),
        (wire.get("description") or "", _DESCRIPTION),
        (wire["name"], _NAME),
    )
    return {word: weight for text, weight in said for word in _words(text)}


def _said(schema: Json) -> Iterator[str]:
    """Find the names, descriptions and choices in a schema, at any depth."""
    if isinstance(schema, list):
        for item in schema:
            yield from _said(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties" and isinstance(value, dict):
                yield from value
            elif key == "description" and isinstance(value, str):
                yield value
            elif key == "enum" and isinstance(value, list):
                yield from map(str, value)
            yield from _said(value)
