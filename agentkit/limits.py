"""How far a run may go, why it ended, and what it used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from operator import attrgetter
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, Final, Literal

from agentkit.errors import ConfigurationError
from agentkit.traits import PRICES, Price, price_of
from agentkit.wire.arguments import checked

if TYPE_CHECKING:
    from agentkit.wire.content import UsageMetadata


Stop = Literal[
    "turns",
    "tool_calls",
    "tokens",
    "seconds",
    "cost",
    "repeats",
    "approval",
    "deferred",
    "max_tokens",
    "refused",
    "malformed",
    "empty",
    "output",
    "other",
    "error",
    "cancelled",
    "unknown_effect",
    "too_large",
]
"""Why a run ended without an answer:

- `turns`, `tool_calls`, `tokens`, `seconds`, `cost`, `repeats`: that limit was reached;
- `approval`: calls in `run.pending` wait for a person; `resume` goes on;
- `deferred`: calls in `run.pending` wait for their results; `resume` goes on;
- `max_tokens`: the reply was cut off (its calls, if any, were not run);
- `refused`: the prompt or the reply was blocked, or a hook refused it; `run.finish_reason` has the word for it;
- `malformed`, `empty`: the model made no usable reply, also when asked again;
- `output`: the model gave no output of the type that was asked for, also when asked again;
- `other`: a finish reason that agentkit doesn't know, that says nothing, or that no picture was made;
- `error`: an exception ended it, which was raised too (`ModelError.run` is such a run);
- `cancelled`: the caller broke off;
- `unknown_effect`: a resumed chat has calls of tools that aren't `read`, in `run.pending`, of which nobody knows
  whether they took effect: the process ended while they ran;
- `too_large`: the current turn alone is larger than what the chat's memory may send.
"""

LANDING: Final[frozenset[Stop]] = frozenset({"turns", "tool_calls", "tokens", "seconds", "cost", "repeats"})
"""The stops after which `Limits(on_limit="answer")` has a last turn; after `repeats` there is one anyway."""


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a run may go; None means no limit. A run that reaches a limit ends as `on_limit` says.

    Sub-agents (`Agent.as_tool`) count towards the limits of the outer run as they go.
    """

    turns: int | None = 25
    """Replies of the model."""
    tool_calls: int | None = None
    """Function calls, those of sub-agents too. Those in a turn that exceed the limit are answered but not run."""
    tokens: int | None = None
    """Total tokens of all turns, as the model reports them; checked after each turn."""
    seconds: float | None = None
    """Wall time. Whatever is in progress when it is up is cancelled."""
    cost: float | None = None
    """US dollars, by `prices`; checked after each turn. A model without a price, also in a sub-agent, is refused when
    the agent is created. What can't be priced (a reply without token counts, a tool's usage without a model) isn't
    counted, and `run.why` says so."""
    repeats: int | None = 5
    """Turns in a row, at least 2, that make exactly the same calls and get the same responses. At this number, the
    model is told once that nothing will change. If the next turn repeats them again, the model has to answer with
    what it has, whatever `on_limit` says. Turns that only call `polls` tools don't count."""
    on_limit: Literal["stop", "answer"] = "stop"
    """`stop`: the run ends at once, and `run.stop` names the limit. `answer`: the model gets one last turn without
    tools, and is told to answer with what it has; `run.limit` names the limit."""
    answer_seconds: float = 30.0
    """Seconds that this last turn may take if the limit was `seconds`."""
    after_untrusted: Literal["auto", "approve", "allow"] = "auto"
    """Whether calls of `write` and `sensitive` tools need approval once the words of an `untrusted` tool are in the
    history. `auto`: if somebody can approve, that is, with an approver or in a chat with a store."""
    prices: Mapping[str, Price] | None = None
    """Prices by model name; `agentkit.traits.PRICES` by default."""

    def __post_init__(self) -> None:
        for name in ("turns", "tool_calls", "tokens", "seconds", "cost", "repeats", "answer_seconds"):
            value = getattr(self, name)
            if value is None and name != "answer_seconds":
                continue
            whole = name in ("turns", "tool_calls", "tokens", "repeats")
            kinds = (int,) if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
                number = "a whole number" if whole else "a number"
                raise ConfigurationError(f"Limits({name}={value!r}): give {number} above 0, or None.")
        if self.repeats is not None and self.repeats < 2:
            raise ConfigurationError(f"Limits(repeats={self.repeats!r}): give a number, 2 or more, or None.")
        prices: Any = {} if self.prices is None else self.prices
        if not (isinstance(prices, Mapping) and all(isinstance(each, Price) for each in prices.values())):
            raise ConfigurationError(
                f"Limits(prices={self.prices!r:.100}): give a Price by each model's name, or None."
            )
        for name, words in (
            ("on_limit", ("stop", "answer")),
            ("after_untrusted", ("auto", "approve", "allow")),
        ):
            if getattr(self, name) not in words:
                raise ConfigurationError(f"Limits({name}={getattr(self, name)!r}): it is one of {words}.")

    def check_prices(self, models: Iterable[str], *, budget: object = None) -> None:
        """Refuse a cost limit or a budget that can't be enforced, because a model's price is unknown.

        Raises:
            ConfigurationError: A model has no price.
        """
        if self.cost is None and budget is None:
            return
        prices = PRICES if self.prices is None else self.prices
        for model in models:
            if price_of(model, prices) is None:
                raise no_price(f"Limits(cost={self.cost})" if budget is None else f"A {budget!r}", model)


def no_price(what: str, model: str, tier: Any = None) -> ConfigurationError:
    """Make the error that nobody knows what a model costs."""
    where, price = (f" in the tier {tier!r}", f", tiers={{{tier!r}: Price(...)}}") if tier else ("", "")
    return ConfigurationError(
        f"{what}: the price of {model!r}{where} isn't known. Give"
        f" Limits(prices={{{model!r}: Price(input=..., output=...{price})}}), in dollars per million tokens."
    )


LONG_PROMPT = 200_000
"""Tokens of a prompt above which some models have other prices."""


MOST_TOKENS: Final = 2**53
"""No request has so many tokens: a larger count says nothing."""
_COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)
_DETAILS = (
    "promptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "toolUsePromptTokensDetails",
)


KINDS: Final = ("audio_tokens", "cached_audio_tokens", "image_output_tokens", "audio_output_tokens")
"""Counts of a `ModelUsage` that are left out where they are written down and zero, as they mostly are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What was used of one model: the counts that its price depends on."""

    model: str
    """The model's name."""
    long: bool = False
    """Whether the prompts had more than 200,000 tokens each, where some prices change."""
    tier: str = ""
    """The service tier, such as `flex` or `priority`, that the replies were made in; empty is the standard one."""
    requests: int = 0
    """Requests that the model answered."""
    input_tokens: int = 0
    """Tokens sent that no cache had, those of the server's tools included."""
    cached_tokens: int = 0
    """Tokens sent that came from a cache."""
    output_tokens: int = 0
    """Tokens of the replies, thoughts included."""
    audio_tokens: int = 0
    """Those of `input_tokens` that are sound."""
    cached_audio_tokens: int = 0
    """Those of `cached_tokens` that are sound."""
    image_output_tokens: int = 0
    """Those of `output_tokens` that are pictures."""
    audio_output_tokens: int = 0
    """Those of `output_tokens` that are sound."""

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input_tokens + self.cached_tokens + self.output_tokens

    def cost(self, price: Price) -> float | None:
        """Give what the tokens cost at a price, in US dollars; None if it has none for their tier, or some kind."""
        return None if self.why_unpriced(price) else self.known_cost(price)

    def known_cost(self, price: Price) -> float:
        """Give what those tokens cost that the price is known of, in US dollars."""
        return sum(tokens * (rate or 0.0) for _, tokens, rate in self._amounts(price)) / 1_000_000

    def why_unpriced(self, price: Price) -> str:
        """Say which of the tokens have no price; empty if all of them do."""
        unknown = [what for what, tokens, rate in self._amounts(price) if tokens and rate is None]
        return f"there is no price for {' and '.join(unknown)}" if unknown else ""

    def _amounts(self, price: Price) -> tuple[tuple[str, int, float | None], ...]:
        """List the tokens that have a price of their own, each with it."""
        found = price.in_tier(self.tier)
        if found is None:
            return ((f"{self.model!r} in the tier {self.tier!r}", self.tokens, None),)
        rates = found.long if self.long and found.long is not None else found
        cached = rates.input if rates.cached is None else rates.cached
        if not (
            self.audio_tokens
            or self.cached_audio_tokens
            or self.image_output_tokens
            or self.audio_output_tokens
        ):
            return (
                ("", self.input_tokens, rates.input),
                ("", self.cached_tokens, cached),
                ("", self.output_tokens, rates.output),
            )
        cached_audio = rates.audio if rates.cached_audio is None else rates.cached_audio
        text = self.output_tokens - self.image_output_tokens - self.audio_output_tokens
        return (
            ("", self.input_tokens - self.audio_tokens, rates.input),
            ("", self.cached_tokens - self.cached_audio_tokens, cached),
            ("", text, rates.output),
            (f"sound that {self.model!r} is sent", self.audio_tokens, rates.audio),
            (f"sound that {self.model!r} is sent from a cache", self.cached_audio_tokens, cached_audio),
            (f"pictures of {self.model!r}", self.image_output_tokens, rates.image_output),
            (f"sound of {self.model!r}", self.audio_output_tokens, rates.audio_output),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and requests, which can be added with `+`. Counts are the server's own (`usageMetadata`)."""

    requests: int = 0
    """Requests that were answered or given up."""
    given_up: int = 0
    """Requests among them that were given up, cancelled or cut off. Their full cost isn't known."""
    prompt_tokens: int = 0
    """Tokens sent, including cached ones."""
    cached_tokens: int = 0
    """Tokens sent that came from a cache."""
    candidates_tokens: int = 0
    """Tokens of the replies, without thoughts."""
    thoughts_tokens: int = 0
    """Tokens of the model's thoughts."""
    tool_use_prompt_tokens: int = 0
    """Tokens of the server's own tools."""
    total_tokens: int = 0
    """All tokens, as the server adds them up."""
    estimated: bool = False
    """Whether any of the counts is an estimate (the embedded model estimates if its engine reports none)."""
    by_model: tuple[ModelUsage, ...] = field(default=(), repr=False, compare=False)
    """The counts by model, sorted by name; long prompts are listed apart. Not compared by `==`."""

    @classmethod
    def from_wire(cls, metadata: UsageMetadata | None, model: str = "", *, asked_tier: Any = None) -> Usage:
        """Read one reply's `usageMetadata`; missing or null counts are 0.

        With the name of the model that replied, the tokens are listed in `by_model`, if the reply has any. If the
        reply names no service tier, that of the request is used.
        """
        wire = metadata if isinstance(metadata, dict) else {}
        counts = map(wire.get, _COUNTS)
        prompt, cached, candidates, thoughts, tools, total = [
            count if type(count) is int and 0 < count < MOST_TOKENS else 0 for count in counts
        ]
        said: Any = wire.get("serviceTier") or wire.get("trafficType") or asked_tier
        used = ModelUsage(
            model=model,
            long=prompt > LONG_PROMPT,
            tier=_tier_in(said) if said else "",
            requests=1,
            input_tokens=max(prompt - cached, 0) + tools,
            cached_tokens=cached,
            # What a total has beyond its parts is taken for output, which is the dearest.
            output_tokens=max(candidates + thoughts, total - prompt - tools),
            **(
                {}
                if wire.keys().isdisjoint(_DETAILS)
                else _kinds_in(wire, prompt - cached, cached, candidates, tools)
            ),
        )
        return cls(
            requests=1,
            prompt_tokens=prompt,
            cached_tokens=cached,
            candidates_tokens=candidates,
            thoughts_tokens=thoughts,
            tool_use_prompt_tokens=tools,
            total_tokens=total,
            estimated=bool(wire.get("agentkitEstimated")),
            by_model=(used,) if model and used.tokens else (),
        )

    @checked
    def cost(self, prices: Mapping[str, Price] = PRICES, *, on: date | None = None) -> float | None:
        """Return the cost of the tokens in US dollars, or None if it isn't known.

        It isn't known if a model has no price, a reply had no token counts, or tokens belong to no model in
        `by_model` (a usage made by hand, or stored by an early agentkit). No requests cost 0.0. Requests in
        `given_up` count only as far as their tokens are known.

        Args:
            prices: Prices by model name; `agentkit.traits` says what the default ones leave out.
            on: The day of the requests, for prices that change on an announced day; None is today.
        """
        return None if self.why_unpriced(prices) is not None else self.known_cost(prices, on=on)

    @checked
    def known_cost(self, prices: Mapping[str, Price] = PRICES, *, on: date | None = None) -> float:
        """Return the cost of those tokens whose price is known, in US dollars; see `cost`."""
        day = on or date.today()
        prices_of = ((used, price_of(used.model, prices)) for used in self.by_model)
        return sum((used.known_cost(price.on(day)) for used, price in prices_of if price is not None), 0.0)

    @checked
    def saved(self, prices: Mapping[str, Price] = PRICES, *, on: date | None = None) -> float:
        """Return what caches saved in US dollars: how much more the cached tokens would have cost uncached.

        Tokens without a known price count as nothing, and so does the cost of storing an explicit cache.
        """
        whole = tuple(
            replace(
                used,
                input_tokens=used.input_tokens + used.cached_tokens,
                audio_tokens=used.audio_tokens + used.cached_audio_tokens,
                cached_tokens=0,
                cached_audio_tokens=0,
            )
            for used in self.by_model
        )
        return replace(self, by_model=whole).known_cost(prices, on=on) - self.known_cost(prices, on=on)

    @checked
    def why_unpriced(self, prices: Mapping[str, Price] = PRICES) -> str | None:
        """Say in words why the cost isn't known; None if it is."""
        parts = (
            self.prompt_tokens + self.tool_use_prompt_tokens + self.candidates_tokens + self.thoughts_tokens
        )
        told = sum(used.tokens for used in self.by_model)
        if unknown := [used.model for used in self.by_model if price_of(used.model, prices) is None]:
            return f"there is no price for {' and '.join(map(repr, dict.fromkeys(unknown)))}"
        for used in self.by_model:
            price = price_of(used.model, prices)
            if price is not None and (why := used.why_unpriced(price)):
                return why
        if told < max(parts, self.total_tokens):
            return "some tokens were counted without the name of a model"
        if sum(used.requests for used in self.by_model) < self.requests - self.given_up:
            return "a reply told no tokens"
        return None

    @checked
    def why_incomplete(self, prices: Mapping[str, Price] = PRICES) -> str | None:
        """Say in words why the actual cost may be higher than the known cost; None if it can't."""
        if (why := self.why_unpriced(prices)) is not None or not self.given_up:
            return why
        return "a request was given up" if self.given_up == 1 else f"{self.given_up} requests were given up"

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return total_of((self, other))


NO_USAGE: Final = Usage()
"""Of nothing so far."""


def total_of(usages: Iterable[Usage]) -> Usage:
    """Add up usages in one go; a single one stays as it is, whatever `NO_USAGE` is beside it."""
    usages = [usage for usage in usages if usage is not NO_USAGE]
    if len(usages) < 2:
        return usages[0] if usages else NO_USAGE
    by: dict[tuple[str, bool, str], list[ModelUsage]] = {}
    for usage in usages:
        for used in usage.by_model:
            by.setdefault((used.model, used.long, used.tier), []).append(used)
    rows: list[ModelUsage] = []
    for key in sorted(by):
        one, *others = same = by[key]
        counts = map(sum, zip(*map(_model_counts, same), strict=True))
        added: Any = dict(zip(_MODEL_COUNTS, counts, strict=True))
        rows.append(replace(one, **added) if others else one)
    made: Any = dict(zip(_USAGE_COUNTS, map(sum, zip(*map(_usage_counts, usages), strict=True)), strict=True))
    return Usage(**{**made, "estimated": made["estimated"] > 0}, by_model=tuple(rows))


_MODEL_COUNTS = tuple(each.name for each in fields(ModelUsage) if type(each.default) is int)
_USAGE_COUNTS = tuple(each.name for each in fields(Usage) if each.name != "by_model")
_model_counts, _usage_counts = attrgetter(*_MODEL_COUNTS), attrgetter(*_USAGE_COUNTS)


def _kinds_in(
    wire: Mapping[str, Any], sent: int, cached: int, candidates: int, used_by_tools: int
) -> dict[str, int]:
    """Read how many of a reply's tokens are sound and pictures, where it says so.

    Args:
        wire: The `usageMetadata`.
        sent: Tokens of the prompt that no cache had.
        cached: Tokens of the prompt that a cache had.
        candidates: Tokens of the reply, thoughts not included.
        used_by_tools: Tokens of the server's own tools.
    """
    prompt, from_cache, replied, tools = (_by_kind(wire.get(key)) for key in _DETAILS)
    # Where it doesn't say what came from the cache, it is what has no room elsewhere.
    audio = prompt.get("AUDIO", 0)
    cached_audio = min(cached, max(from_cache.get("AUDIO", 0), audio - max(sent, 0)))
    pictures = min(candidates, replied.get("IMAGE", 0))
    return {
        "audio_tokens": min(max(sent, 0), max(audio - cached_audio, 0))
        + min(used_by_tools, tools.get("AUDIO", 0)),
        "cached_audio_tokens": cached_audio,
        "image_output_tokens": pictures,
        "audio_output_tokens": min(candidates - pictures, replied.get("AUDIO", 0)),
    }


def _by_kind(details: Any) -> dict[str, int]:
    """Add up the counts of a list of tokens by their kind; what isn't one says nothing."""
    counts: dict[str, int] = {}
    for each in details if isinstance(details, list) else ():
        count = each.get("tokenCount") if isinstance(each, dict) else None
        if type(count) is int and 0 < count < MOST_TOKENS:
            kind = str(each.get("modality"))
            counts[kind] = counts.get(kind, 0) + count
    return counts


def _tier_in(said: Any) -> str:
    """Read the service tier: what the reply's header said of it or, on Vertex AI, the kind of traffic."""
    tier = str(said).lower().removeprefix("on_demand").removeprefix("_")
    return "" if tier in ("standard", "unspecified", "traffic_type_unspecified") else tier[:40]


MOST: Final = 2**100
"""What counts are below, however much is added up: they can be written with few digits, and be a float."""


def write_by_model(usage: Usage) -> list[dict[str, Any]]:
    """Write `by_model` down, by the names of its fields."""
    rows = map(asdict, usage.by_model)
    return [{name: value for name, value in row.items() if value or name not in KINDS} for row in rows]


def read_by_model(value: Any) -> tuple[ModelUsage, ...]:
    """Read `by_model` as it was stored; fields that this agentkit doesn't know are left out.

    Raises:
        ValueError: It isn't one.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError("by_model is not a list")
    return tuple([_read_model_usage(row) for row in value])


def _read_model_usage(row: Any) -> ModelUsage:
    if not isinstance(row, dict) or "model" not in row:
        raise ValueError("by_model has an entry that isn't an object with a model")
    return ModelUsage(**read_counts(row, _MODEL_USAGE, "by_model: "))


def read_counts(row: Mapping[str, Any], kinds: Mapping[str, type], where: str = "") -> dict[str, Any]:
    """Return what a row has of these kinds, by name; counts are from 0 on. Raises ValueError if one is odd."""
    known: dict[str, Any] = {}
    for name, found in row.items():
        kind: Any = kinds.get(name)
        if type(found) is kind and (kind is not int or 0 <= found < MOST):
            known[name] = found
        elif kind is not None:
            raise ValueError(f"{where}a count, {name}, is {short(found)}")
    return known


_MODEL_USAGE: Mapping[str, type] = {"model": str, "long": bool, "tier": str} | dict.fromkeys(
    ("requests", "input_tokens", "cached_tokens", "output_tokens", *KINDS), int
)
