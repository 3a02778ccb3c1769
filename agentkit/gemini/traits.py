"""What each family of Gemini's models takes: one table, each row with the day it was looked up and its source."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Final

from agentkit.model import NO_TRAITS, Traits

_DOCS = "https://ai.google.dev/gemini-api/docs/"
_MILLION = 1_048_576
_DOCUMENTS = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A family of models, by the beginning of their names."""

    family: str
    """A regular expression of the beginning of a name, after `models/` and the like."""
    traits: Traits
    seen: date
    source: str


TABLE: Final = (
    Row(
        family=r"gemini-[12]\b",
        traits=Traits(
            window=_MILLION,
            schema_with_tools=False,
            server_tools_with_functions=False,
            media_in_responses=frozenset(),
        ),
        seen=date(2026, 11, 27),
        source=_DOCS + "function-calling",
    ),
    Row(  # those of generation 3 whose thinking level is high where none is given
        family=r"gemini-3(\.\d+)?-pro\b|gemini-3-flash\b",
        traits=Traits(window=_MILLION, media_in_responses=_DOCUMENTS, thinks_long=True),
        seen=date(2026, 11, 28),
        source="https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/guides/gemini-3-5-flash",
    ),
    Row(
        family=r"gemini-3\b",
        traits=Traits(window=_MILLION, media_in_responses=_DOCUMENTS),
        seen=date(2026, 11, 27),
        source=_DOCS + "gemini-3",
    ),
    Row(
        family=r"gemini-4\b",
        traits=Traits(
            window=_MILLION,
            media_in_responses=_DOCUMENTS,
            caches=False,
            refuses=frozenset(
                {
                    "thinkingConfig.thinkingBudget",
                    "thinkingConfig.thinkingLevel=MINIMAL",
                    "frequencyPenalty",
                    "presencePenalty",
                }
            ),
            thinks_long=True,
        ),
        seen=date(2026, 11, 27),
        source=_DOCS + "models",
    ),
)


_AGENTS: Final = re.compile(r"deep-research-")
"""Agents that the Interactions API alone has: https://ai.google.dev/gemini-api/docs/deep-research"""


def is_agent(name: str) -> bool:
    """Return whether a name is that of an agent of the Interactions API, and of no model."""
    return _AGENTS.match(name.rpartition("/")[2]) is not None


@lru_cache(maxsize=256)
def traits_of(name: str, endpoint: str, inline_bytes: int | None = None) -> Traits:
    """Return the traits of a model at an endpoint; of one that the table doesn't have, those that refuse nothing."""
    last = name.rpartition("/")[2]
    found = next((row.traits for row in TABLE if re.match(row.family, last)), NO_TRAITS)
    return replace(found, endpoint=endpoint, inline_bytes=inline_bytes)
