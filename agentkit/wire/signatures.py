"""Thought signatures when the model changes: one model's mean nothing to another (rule 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast

from agentkit.wire.content import Content, Part, keep, model_of
from agentkit.wire.history import turn_starts

SKIP: Final = "skip_thought_signature_validator"
"""What the server takes in place of a signature for a call that another model made:
https://ai.google.dev/gemini-api/docs/thought-signatures"""

_UNSIGNED = re.compile(r"(?:.*/)?gemini-[12]\b")


def same_model(one: str, other: str) -> bool:
    """Tell whether two names are the same model's."""
    return one.removeprefix("models/") == other.removeprefix("models/")


def signed_for(contents: Sequence[Content], model: str) -> Sequence[Content]:
    """Give a history as a model takes it: what other models signed goes without their signatures.

    In the current turn, the first call of each of their contents has `SKIP` instead, as the server demands one
    there from Gemini 3 on. A content whose model isn't known counts as the model's own.
    """
    foreign = [_is_foreign(content, model) for content in contents]
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
    """Give parts that were made in a model's place as it takes them back: the first call has `SKIP`, if nothing."""
    made, mark = list(parts), not _UNSIGNED.match(model)
    for index, part in enumerate(made):
        if "functionCall" in part:
            if mark and not part.get("thoughtSignature"):
                made[index] = cast(Part, {**part, "thoughtSignature": SKIP})
            break
    return made


def _is_foreign(content: Content, model: str) -> bool:
    made_by = model_of(content)
    return made_by is not None and not same_model(made_by, model)


def _unsigned(content: Content, *, mark: bool) -> Content:
    parts: list[Part] = []
    for part in content["parts"]:
        plain = cast(Part, {key: value for key, value in part.items() if key != "thoughtSignature"})
        if mark and "functionCall" in plain:
            plain["thoughtSignature"], mark = SKIP, False
        if plain != {"text": ""}:  # it was there to carry a signature
            parts.append(plain)
    return keep({"role": content["role"], "parts": parts or [{"text": " "}]})
