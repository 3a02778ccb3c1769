"""Gemini's models: what each takes, and what its tokens cost. Each row has the day it was looked up and its source."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from agentkit.errors import ConfigurationError
from agentkit.model import NO_TRAITS, Traits
from agentkit.wire.arguments import checked, reader

_DOCS = "https://ai.google.dev/gemini-api/docs/"
_MILLION = 1_048_576
_DOCUMENTS = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
_REVISION = re.compile(r"-\d{3}$")


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model's tokens cost, in US dollars per million.

    Text, images, video and documents have one input price. Audio often has its own, and so have images and audio as
    output. Tokens of a kind without a price have an unknown cost.
    """

    input: float
    """Tokens sent that weren't cached, including those of the server's tools."""
    output: float
    """Tokens of replies, including thoughts."""
    cached: float | None = None
    """Tokens sent that came from a cache; None is the same as `input`."""
    audio: float | None = None
    """Audio tokens sent that weren't cached."""
    cached_audio: float | None = None
    """Audio tokens sent that came from a cache; None is the same as `audio`."""
    image_output: float | None = None
    """Image tokens of replies."""
    audio_output: float | None = None
    """Audio tokens of replies."""
    long: Price | None = None
    """The prices of a request whose prompt exceeds 200,000 tokens, if they differ."""
    later: tuple[date, Price] | None = None
    """Prices that have been announced, and the day from which they apply."""
    tiers: Mapping[str, Price] | None = None
    """The prices in service tiers other than the standard one, by name: `flex`, `priority`."""

    def __post_init__(self) -> None:
        for name in _RATES:
            value = getattr(self, name)
            if value is None and name not in ("input", "output"):
                continue
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
            if not fits:
                raise ConfigurationError(
                    f"Price({name}={value!r}): give dollars per million tokens, 0 or more."
                )

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **{name: getattr(self, name) for name in _RATES},
            "long": self.long and self.long.to_wire(),
            "tiers": self.tiers and {tier: price.to_wire() for tier, price in self.tiers.items()},
            "later": self.later and [self.later[0].isoformat(), self.later[1].to_wire()],
        }

    @classmethod
    @reader
    def from_wire(cls, wire: Mapping[str, Any]) -> Price:
        """Read what `to_wire` returned. Raises ConfigurationError if it is something else."""
        long, later, tiers = wire["long"], wire["later"], wire.get("tiers")
        rates: dict[str, Any] = {name: wire.get(name) for name in _RATES}
        return cls(
            **rates,
            long=None if long is None else cls.from_wire(long),
            tiers=None if tiers is None else {tier: cls.from_wire(price) for tier, price in tiers.items()},
            later=None if later is None else (date.fromisoformat(later[0]), cls.from_wire(later[1])),
        )

    @checked
    def in_tier(self, tier: str) -> Price | None:
        """Return the prices in a service tier, or None if they aren't known.

        Flex costs half the standard price unless `tiers` says otherwise. Priority costs 75 % to 100 % more, so only
        `tiers` can say it (https://ai.google.dev/gemini-api/docs/optimization, read on 2026-11-28).
        """
        if not tier:
            return self
        if self.tiers is not None and tier in self.tiers:
            return self.tiers[tier]
        return self._half() if tier == "flex" else None

    def _half(self) -> Price:
        rates: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in _RATES]
        halves = {name: rate / 2 for name, rate in rates if rate is not None}
        return Price(**halves, long=None if self.long is None else self.long._half())

    @checked
    def on(self, day: date) -> Price:
        """Return the prices that apply on a day, as far as they are known."""
        return self.later[1].on(day) if self.later is not None and day >= self.later[0] else self


_RATES: Final = tuple(each.name for each in fields(Price) if each.name not in ("long", "later", "tiers"))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """Models of one price: list prices of the Gemini API, standard tier."""

    models: tuple[str, ...]
    price: Price
    seen: date
    source: str = _DOCS + "pricing"


def _one_price(input: float, output: float, cached: float, **more: Any) -> Price:
    """Make a price for which the list makes no difference between sound and the rest of the input."""
    return Price(input=input, output=output, cached=cached, audio=input, cached_audio=cached, **more)


PRICE_TABLE: Final = (
    PriceRow(
        models=("gemini-4-carbon", "gemini-4-argon"),
        price=Price(
            input=2.0,
            output=10.0,
            cached=0.1,
            later=(date(2026, 12, 1), Price(input=4.0, output=20.0, cached=0.2)),
        ),
        seen=date(2026, 11, 27),
    ),
    PriceRow(
        models=("gemini-4-neon",),
        price=Price(input=3.0, output=15.0, cached=0.15),
        seen=date(2026, 11, 27),
    ),
    PriceRow(
        models=("gemini-4-hydrogen",),
        price=Price(input=1.5, output=7.5, cached=0.075),
        seen=date(2026, 11, 27),
    ),
    PriceRow(
        models=("gemini-3.8-flash",),
        price=_one_price(0.75, 3.75, 0.075, later=(date(2027, 1, 1), _one_price(1.5, 7.5, 0.15))),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-3.7-flash", "gemini-3.6-flash"),
        price=Price(
            input=0.75,
            output=3.75,
            cached=0.075,
            later=(date(2027, 1, 1), Price(input=1.5, output=7.5, cached=0.15)),
        ),
        seen=date(2026, 11, 27),
    ),
    PriceRow(
        models=("gemini-3.5-flash",),
        price=_one_price(1.5, 9.0, 0.15),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-3.5-flash-lite",),
        price=Price(input=0.3, output=2.5, cached=0.03),
        seen=date(2026, 11, 27),
    ),
    PriceRow(
        models=("gemini-3.1-pro-preview", "gemini-3.1-pro-preview-customtools", "gemini-3-pro-preview"),
        price=_one_price(2.0, 12.0, 0.2, long=_one_price(4.0, 18.0, 0.4)),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-3.1-flash-lite", "gemini-3.1-flash-lite-preview"),
        price=Price(input=0.25, output=1.5, cached=0.025, audio=0.5, cached_audio=0.05),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-3-flash-preview",),
        price=Price(input=0.5, output=3.0, cached=0.05, audio=1.0, cached_audio=0.1),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-3-pro-image", "gemini-3-pro-image-preview"),
        price=Price(input=2.0, output=12.0, image_output=120.0),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-2.5-pro",),
        price=_one_price(1.25, 10.0, 0.125, long=_one_price(2.5, 15.0, 0.25)),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-2.5-flash",),
        price=Price(input=0.3, output=2.5, cached=0.03, audio=1.0, cached_audio=0.1),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-2.5-flash-lite",),
        price=Price(input=0.1, output=0.4, cached=0.01, audio=0.3, cached_audio=0.03),
        seen=date(2026, 11, 28),
    ),
    PriceRow(
        models=("gemini-2.5-flash-image",),
        price=Price(input=0.3, output=2.5, image_output=30.0),
        seen=date(2026, 11, 28),
    ),
)
"""Prices as published copies of the price page have them.

It leaves out the storage of explicit caches, the discount of batches and the surcharge of priority requests, fees for
grounding and other tools of the server, free quotas, taxes, and Vertex AI's regional prices. Where a bill must be
matched, give your own: `usage.cost({**PRICES, "my-model": Price(input=1.0, output=4.0)})`.
"""

PRICES: Mapping[str, Price] = MappingProxyType(
    {name: row.price for row in PRICE_TABLE for name in row.models}
    | {"local": Price(input=0.0, output=0.0)}  # the embedded model runs on this machine
)
"""List prices by the names of models. One that isn't here has no price: a cost with it is None, never 0."""


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """Find the price of a model, or None.

    A name stands for itself, with or without `models/`; with the number of a stable revision at its end
    (`-001`) it has its model's price. Nothing else is guessed: a preview often costs something else than the
    model that comes of it, and `-latest` is another model tomorrow.
    """
    name = model.removeprefix("models/")
    names = (model, name, _REVISION.sub("", name))
    return next((prices[known] for known in names if known in prices), None)


_AGENTS: Final = re.compile(r"(deep-research|antigravity)-")
"""Agents that the Interactions API alone has, as google-genai 3.6.1 lists them (`AgentOption`)."""


def is_agent(name: str) -> bool:
    """Return whether a name is that of an agent of the Interactions API, and of no model."""
    return _AGENTS.match(name.rpartition("/")[2]) is not None


@lru_cache(maxsize=256)
def traits_of(name: str, endpoint: str, inline_bytes: int | None = None) -> Traits:
    """Return the traits of a model at an endpoint; of one that the table doesn't have, those that refuse nothing."""
    last = name.rpartition("/")[2]
    found = next((row.traits for row in TABLE if re.match(row.family, last)), NO_TRAITS)
    return replace(found, endpoint=endpoint, inline_bytes=inline_bytes)
