"""Thought signatures when the model changes: one model's mean nothing to another (rules 3 and 13)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, cast

from agentkit.wire.content import Content, Part, keep
from agentkit.wire.history import turn_starts

SKIP: Final = "skip_thought_signature_validator"
"""What the server takes in place of a signature for a call that another model made:
https://ai.google.dev/gemini-api/docs/thought-signatures"""

Author = tuple[str | None, str | None]
"""The name of a model and the endpoint where it was asked; None is not known, and counts as the same."""

_UNSIGNED = re.compile(r"(?:.*/)?gemini-[12]\b")


def foreign_to(reader: Author, author: Author) -> bool:
    """Return whether what an author signed means nothing to a reader."""
    (name, endpoint), (model, where) = reader, author
    if (
        model is not None
        and name is not None
        and model.removeprefix("models/") != name.removeprefix("models/")
    ):
        return True
    return bool(where and endpoint and where != endpoint)


def signed_for(
    contents: Sequence[Content], model: str, is_foreign: Callable[[Content], bool]
) -> Sequence[Content]:
    """Return a history as a model takes it: what others signed goes without their signatures.

    In the current turn, the first call of each of their contents has `SKIP` instead, as the server demands one
    there from Gemini 3 on.
    """
    foreign = [is_foreign(content) for content in contents]
    if not any(foreign):
        return contents
    starts = turn_starts(contents)
    current = starts[-1] if starts else 0
    marked = not _UNSIGNED.match(model)
    return [
        _unsigned(content, mark=marked and index >= current) if foreign[index] else content
        for index, content in enumerate(contents)
    ]


def signed_by_nobody(parts: Sequence[Part], model: str) -> list[Part]:
    """Return parts that were made in a model's place as it takes them back: the first call has `SKIP`, if nothing."""
    made, mark = list(parts), not _UNSIGNED.match(model)
    for index, part in enumerate(made):
        if "functionCall" in part:
            if mark and not part.get("thoughtSignature"):
                made[index] = cast(Part, {**part, "thoughtSignature": SKIP})
            break
    return made


def _unsigned(content: Content, *, mark: bool) -> Content:
    parts: list[Part] = []
    for part in content["parts"]:
        plain = cast(Part, {key: value for key, value in part.items() if key != "thoughtSignature"})
        if mark and "functionCall" in plain:
            plain["thoughtSignature"], mark = SKIP, False
        if plain != {"text": ""}:  # it was there to carry a signature
            parts.append(plain)
    return keep({"role": content["role"], "parts": parts or [{"text": " "}]})
