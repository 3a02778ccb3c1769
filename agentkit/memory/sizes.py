"""How many tokens contents have, told without a request.

Two figures, since no tokenizer is here: what is likely, and what it is at most.

- Text, calls, responses, signatures (a server counts those too), instructions and tools are taken by the
  length of their JSON in UTF-8: likely a token for 4 bytes, which is about right for English and code as for
  Chinese or Russian; at most a token for each byte, as with digits, which Gemini counts one by one.
- An image is likely 1,120 tokens (Gemini 3; earlier models count 258 for a tile of 768 x 768), at most 4,128:
  larger ones are scaled down to 16 tiles. Its bytes don't matter.
- Sound, video and PDF that are sent inline: likely a token for 400 characters of base64, between compressed
  speech and scanned pages; at most one for each. Inline text: like text.
- Of a file that is only named, and of a `cachedContent`, nothing is known: any number is possible.

The usage of the last reply, where there is one, is what was really counted: it replaces the figures for all
that was sent then, and corrects those for the rest (`Gauge`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from agentkit.limits import Usage
from agentkit.memory.base import Situation
from agentkit.wire.content import Content, JsonObject, content_json, dumps

_BYTES_A_TOKEN: Final = 4
_IMAGE: Final = 1_120
_IMAGE_AT_MOST: Final = 4_128
_BASE64_A_TOKEN: Final = 400
_BASE64_OF_TEXT_A_TOKEN: Final = 5
_FILE: Final = 5_000
_AROUND_A_REPLY: Final = 8
"""Tokens that mark where a content begins and ends, which a reply's usage doesn't have."""


class Size(NamedTuple):
    """Tokens: what is likely, and what it is at most (infinite where nothing can be said)."""

    likely: float
    most: float

    def plus(self, other: Size) -> Size:
        """Add another."""
        return Size(self.likely + other.likely, self.most + other.most)


def estimate(contents: Sequence[Content], base: JsonObject) -> int:
    """Estimate the tokens of a request by its length alone; `expected_tokens` knows more.

    Args:
        contents: Its contents.
        base: The rest of it: instructions, tools, settings.
    """
    return round(sum(size_of(content).likely for content in contents) + size_of_base(base).likely)


def expected_tokens(contents: Sequence[Content], situation: Situation) -> int:
    """Return how many tokens a request with these contents has: counted as far as it was sent before, else estimated.

    It is what `TokenBudget` and `Summarize` go by, and a chat's `token_usage`.
    """
    return round(Gauge(situation).likely(contents))


def size_of(content: Content) -> Size:
    """Estimate a content."""
    length = len(content_json(content))
    media = Size(0, 0)
    for part in content["parts"]:
        for kind, file in _files_of(part):
            data = file.get("data") or "" if kind == "inlineData" else None
            length -= len(data or "")
            media = media.plus(_size_of_file(file.get("mimeType") or "", data))
    return Size(length / _BYTES_A_TOKEN, length).plus(media)


def size_of_base(base: JsonObject) -> Size:
    """Estimate the rest of a request: instructions, tools, settings."""
    length = len(dumps(base)) if base else 0
    return Size(length / _BYTES_A_TOKEN, math.inf if "cachedContent" in base else length)


def _files_of(part: Any) -> Iterator[tuple[str, JsonObject]]:
    nested = (part.get("functionResponse") or {}).get("parts") or ()
    for holder in (part, *nested):
        for kind in ("inlineData", "fileData"):
            if holder.get(kind):
                yield kind, holder[kind]


def _size_of_file(mime_type: str, data: str | None) -> Size:
    if mime_type.startswith("image/"):
        return Size(_IMAGE, _IMAGE_AT_MOST)
    if data is None:
        return Size(_FILE, math.inf)
    a_token = _BASE64_OF_TEXT_A_TOKEN if mime_type.startswith("text/") else _BASE64_A_TOKEN
    return Size(len(data) / a_token, max(len(data), _IMAGE_AT_MOST))


def shared(contents: Sequence[Content], last: Sequence[Content], start: int = 0) -> int:
    """Count the contents from `start` on that are the same as the first ones of `last`."""
    most = min(len(contents) - start, len(last))
    for count in range(most):
        one, other = contents[start + count], last[count]
        if one is not other and one != other:
            return count
    return most


def earliest_start(contents: Sequence[Content], starts: Sequence[int], room: float) -> int:
    """Return the earliest of `starts` from which on contents have at most `room` likely tokens, else the last."""
    total, end = 0.0, len(contents)
    found = starts[-1]
    for start in reversed(starts):
        total += sum(size_of(content).likely for content in contents[start:end])
        if total > room:
            break
        found = end = start
    return found


class Gauge:
    """Measures views in one situation.

    The last reply's usage is used if the server counted it: one that is estimated, or that lacks the tokens
    of the prompt, says nothing.
    """

    def __init__(self, situation: Situation) -> None:
        usage = situation.last_usage
        counted = usage is not None and usage.prompt_tokens > 0 and not usage.estimated
        self._usage = usage if counted and situation.last_view else None
        self._situation = situation

    @cached_property
    def base(self) -> Size:
        """What the rest of the request has."""
        return size_of_base(self._situation.base)

    @cached_property
    def scale(self) -> float:
        """How many tokens really come on one that is likely, by what was sent last; 1 without any usage."""
        if self._usage is None:
            return 1.0
        return self.scale_by(self._situation.last_view, self._usage.prompt_tokens)

    def scale_by(self, view: Sequence[Content], counted: int) -> float:
        """Return the same by a view that was counted."""
        return counted / (self.size(view).likely + self.base.likely)

    def likely(self, view: Sequence[Content]) -> float:
        """Return how many tokens a request with this view likely has."""
        if self._usage is not None and self._shared(view) == len(self._situation.last_view):
            known, rest = self._after_reply(view, self._usage)
            return known + self.scale * self.size(rest).likely
        return self.scale * (self.size(view).likely + self.base.likely)

    def most(self, view: Sequence[Content]) -> float:
        """Return how many tokens it has at most."""
        if self._usage is None:
            return self.size(view).most + self.base.most
        same = self._shared(view)
        if same == len(self._situation.last_view):
            known, rest = self._after_reply(view, self._usage)
        else:  # what was sent had all of the shared ones, and more
            known, rest = self._usage.prompt_tokens, view[same:]
        return known + self.size(rest).most

    def _shared(self, view: Sequence[Content]) -> int:
        return shared(view, self._situation.last_view)

    def _after_reply(self, view: Sequence[Content], usage: Usage) -> tuple[int, Sequence[Content]]:
        """Return what the last view and the reply to it have, and what comes after them in a view that has both.

        The thoughts count too: the reply's signatures bring them back.
        """
        end = len(self._situation.last_view)
        if end < len(view) and view[end]["role"] == "model" and usage.candidates_tokens:
            reply = usage.candidates_tokens + usage.thoughts_tokens + _AROUND_A_REPLY
            return usage.prompt_tokens + reply, view[end + 1 :]
        return usage.prompt_tokens, view[end:]

    @staticmethod
    def size(contents: Sequence[Content]) -> Size:
        """Estimate some contents by their length alone."""
        size = Size(0, 0)
        for content in contents:
            size = size.plus(size_of(content))
        return size
