"""What tokens cost: the list prices of Gemini's text models.

They are those of the Gemini API's price page, standard tier, https://ai.google.dev/gemini-api/docs/pricing:
the figures on which two published copies of that page agreed on `PRICES_DATE`.

It doesn't know audio (dearer as input with some models), images and video as output, the storage of explicit
caches, the discount of batch and the surcharge of priority requests, fees for grounding and other
tools of the server, free quotas, taxes, or Vertex AI's regional prices. Prices change: give your own,
`usage.cost({**PRICES, "my-model": Price(input=1.0, output=4.0)})`, where a bill must be matched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.wire.arguments import checked

PRICES_DATE = date(2026, 11, 27)
"""When the prices of `PRICES` were looked up."""

_REVISION = re.compile(r"-\d{3}$")


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model's tokens cost, in US dollars per million."""

    input: float
    """Tokens sent that no cache had, those of the server's tools included."""
    output: float
    """Tokens of the replies, thoughts included."""
    cached: float | None = None
    """Tokens sent that came from a cache; None: as `input`."""
    long: Price | None = None
    """The prices of a request whose prompt has more than 200,000 tokens, if they differ."""
    later: tuple[date, Price] | None = None
    """The prices that are announced already, and the day from which they hold."""
    tiers: Mapping[str, Price] | None = None
    """The prices in other service tiers than the standard one, by their names: `flex`, `priority`."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            value = getattr(self, name)
            if value is None and name == "cached":
                continue
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
            if not fits:
                raise ConfigurationError(
                    f"Price({name}={value!r}): give dollars per million tokens, from 0 on."
                )

    def to_wire(self) -> dict[str, Any]:
        """Make JSON of it."""
        return {
            "input": self.input,
            "output": self.output,
            "cached": self.cached,
            "long": self.long and self.long.to_wire(),
            "tiers": self.tiers and {tier: price.to_wire() for tier, price in self.tiers.items()},
            "later": self.later and [self.later[0].isoformat(), self.later[1].to_wire()],
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Price:
        """Read what `to_wire` made. Raises an error of Python's where it isn't that."""
        long, later, tiers = wire["long"], wire["later"], wire.get("tiers")
        return cls(
            input=wire["input"],
            output=wire["output"],
            cached=wire["cached"],
            long=None if long is None else cls.from_wire(long),
            tiers=None if tiers is None else {tier: cls.from_wire(price) for tier, price in tiers.items()},
            later=None if later is None else (date.fromisoformat(later[0]), cls.from_wire(later[1])),
        )

    @checked
    def in_tier(self, tier: str) -> Price | None:
        """Return the prices in a service tier, or None where they aren't known.

        Flex costs half of the standard price unless `tiers` says otherwise; priority 75 % to 100 % more, so that only
        `tiers` can say it (https://ai.google.dev/gemini-api/docs/optimization, read on 2026-11-28).
        """
        if not tier:
            return self
        if self.tiers is not None and tier in self.tiers:
            return self.tiers[tier]
        return self._half() if tier == "flex" else None

    def _half(self) -> Price:
        cached = None if self.cached is None else self.cached / 2
        long = None if self.long is None else self.long._half()
        return Price(input=self.input / 2, output=self.output / 2, cached=cached, long=long)

    @checked
    def on(self, day: date) -> Price:
        """Return the prices that hold on a day, as far as they are known."""
        return self.later[1].on(day) if self.later is not None and day >= self.later[0] else self


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """Find the price of a model, or None.

    A name stands for itself, with or without `models/`; with the number of a stable revision at its end
    (`-001`) it has its model's price. Nothing else is guessed: a preview often costs something else than the
    model that comes of it, and `-latest` is another model tomorrow.
    """
    name = model.removeprefix("models/")
    names = (model, name, _REVISION.sub("", name))
    return next((prices[known] for known in names if known in prices), None)


_FLASH = Price(
    input=0.75,
    output=3.75,
    cached=0.075,
    later=(date(2027, 1, 1), Price(input=1.5, output=7.5, cached=0.15)),
)
_GEMINI_4 = Price(
    input=2.0,
    output=10.0,
    cached=0.1,
    later=(date(2026, 12, 1), Price(input=4.0, output=20.0, cached=0.2)),
)
_GEMINI_3_PRO = Price(input=2.0, output=12.0, cached=0.2, long=Price(input=4.0, output=18.0, cached=0.4))
_GEMINI_3_1_LITE = Price(input=0.25, output=1.5, cached=0.025)

PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "gemini-4-carbon": _GEMINI_4,
        "gemini-4-argon": _GEMINI_4,
        "gemini-4-neon": Price(input=3.0, output=15.0, cached=0.15),
        "gemini-4-hydrogen": Price(input=1.5, output=7.5, cached=0.075),
        "gemini-3.8-flash": _FLASH,
        "gemini-3.7-flash": _FLASH,
        "gemini-3.6-flash": _FLASH,
        "gemini-3.5-flash": Price(input=1.5, output=9.0, cached=0.15),
        "gemini-3.5-flash-lite": Price(input=0.3, output=2.5, cached=0.03),
        "gemini-3.1-pro-preview": _GEMINI_3_PRO,
        "gemini-3.1-pro-preview-customtools": _GEMINI_3_PRO,
        "gemini-3.1-flash-lite": _GEMINI_3_1_LITE,
        "gemini-3.1-flash-lite-preview": _GEMINI_3_1_LITE,
        "gemini-3-pro-preview": _GEMINI_3_PRO,
        "gemini-3-flash-preview": Price(input=0.5, output=3.0, cached=0.05),
        "gemini-2.5-pro": Price(
            input=1.25, output=10.0, cached=0.125, long=Price(input=2.5, output=15.0, cached=0.25)
        ),
        "gemini-2.5-flash": Price(input=0.3, output=2.5, cached=0.03),
        "gemini-2.5-flash-lite": Price(input=0.1, output=0.4, cached=0.01),
        "local": Price(input=0.0, output=0.0),  # the embedded model runs on this machine
    }
)
"""List prices by the names of models. One that isn't here has no price: a cost with it is None, never 0."""
