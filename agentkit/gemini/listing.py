"""Which models there are: the list that the Gemini API and Vertex AI give, in pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agentkit.wire.content import JsonObject

PAGE_SIZE = 100
"""Models that are asked for at a time."""
_PREFIXES = ("models/", "publishers/google/models/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model that can be asked with `generateContent`. What the server doesn't say is empty or None."""

    name: str
    """What `GeminiModel` takes."""
    title: str = ""
    description: str = ""
    window: int | None = None
    """Tokens that it takes in a request."""
    longest_reply: int | None = None
    """Tokens that a reply may have."""
    thinks: bool | None = None
    """Whether it can think."""


def listed(models: Iterable[JsonObject]) -> Iterator[ListedModel]:
    """Go through the models of a list that answer `generateContent`; Vertex AI doesn't say which do."""
    for each in models:
        methods = each.get("supportedGenerationMethods") or each.get("supportedActions")
        name = each.get("name")
        if isinstance(name, str) and (not isinstance(methods, list) or "generateContent" in methods):
            yield ListedModel(
                name=next((name.removeprefix(at) for at in _PREFIXES if name.startswith(at)), name),
                title=_text(each, "displayName"),
                description=_text(each, "description"),
                window=_count(each, "inputTokenLimit"),
                longest_reply=_count(each, "outputTokenLimit"),
                thinks=found if isinstance(found := each.get("thinking"), bool) else None,
            )


def models_in(page: JsonObject) -> Iterator[JsonObject]:
    """Go through the models in a page of a list."""
    found = page.get("models") or page.get("publisherModels")
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict):
            yield each


def _text(model: JsonObject, key: str) -> str:
    found = model.get(key)
    return found if isinstance(found, str) else ""


def _count(model: JsonObject, key: str) -> int | None:
    found: Any = model.get(key)
    return found if type(found) is int and found > 0 else None
