"""How far a run may go, and what it used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from agentkit.errors import ConfigurationError
from agentkit.prices import PRICES, Price, price_of

if TYPE_CHECKING:
    from agentkit.core.repair import Stop
    from agentkit.wire.content import UsageMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a run may go; None is no limit. A run that reaches one stops, as `on_limit` says.

    Sub-agents (`Agent.as_tool`) count in the limits of the run around them while they go on.
    """

    turns: int | None = 25
    """Replies of the model."""
    tool_calls: int | None = None
    """Function calls. The calls of a turn that go beyond are answered, not run."""
    tokens: int | None = None
    """Total tokens of all turns, as the model reports them; seen after each turn."""
    seconds: float | None = None
    """Wall time. What is under way then is cancelled."""
    cost: float | None = None
    """US dollars, by `prices`; seen after each turn. A model without a price is refused before anything is sent."""
    repeats: int | None = 3
    """Turns in a row, from 2, that make the very same calls and get the very same responses: then the model is
    told once that nothing will change, and the next such turn stops the run."""
    on_limit: Literal["stop", "answer"] = "stop"
    """`stop`: the run ends at once, with `run.stop` naming the limit. `answer`: the model gets one last turn,
    without tools, and is told to answer with what it has; `run.limit` names the limit."""
    answer_seconds: float = 30.0
    """How long that last turn may take when it was `seconds` that were up."""
    after_untrusted: Literal["auto", "approve", "allow"] = "auto"
    """Whether calls of `write` and `sensitive` tools need approval once the words of an `untrusted` tool are in
    the history. `auto`: where somebody can give it, that is with an approver or in a chat with a store."""
    prices: Mapping[str, Price] | None = None
    """Dollars by model name; `agentkit.prices.PRICES` by default."""

    def __post_init__(self) -> None:
        for name in ("turns", "tool_calls", "tokens", "seconds", "cost", "repeats", "answer_seconds"):
            value = getattr(self, name)
            if value is None and name != "answer_seconds":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigurationError(f"Limits({name}={value!r}): give a number above 0, or None.")
        if self.repeats is not None and self.repeats < 2:
            raise ConfigurationError(f"Limits(repeats={self.repeats!r}): give a number from 2, or None.")
        for name, words in (
            ("on_limit", ("stop", "answer")),
            ("after_untrusted", ("auto", "approve", "allow")),
        ):
            if getattr(self, name) not in words:
                raise ConfigurationError(f"Limits({name}={getattr(self, name)!r}): it is one of {words}.")

    def check_prices(self, models: Sequence[str]) -> None:
        """Refuse a limit of cost that can't be held, since nobody knows what a model costs.

        Raises:
            ConfigurationError: A model has no price.
        """
        prices = PRICES if self.prices is None else self.prices
        for model in models:
            if self.cost is not None and price_of(model, prices) is None:
                raise ConfigurationError(
                    f"Limits(cost={self.cost}): nobody knows what {model!r} costs. Give Limits(prices={{{model!r}:"
                    " Price(input=..., output=...)}), in dollars per million tokens."
                )


def reached(limits: Limits, usage: Callable[[], Usage], *, turns: int) -> Stop | None:
    """Name the limit that so much usage and so many turns reach, if any; seconds are the driver's.

    Adding up the usage is left out where no limit asks for it.
    """
    if limits.turns is not None and turns >= limits.turns:
        return "turns"
    if limits.tokens is not None and usage().total_tokens >= limits.tokens:
        return "tokens"
    if limits.cost is not None:
        cost = usage().cost(PRICES if limits.prices is None else limits.prices)
        if cost is None or cost >= limits.cost:
            return "cost"
    return None


def share_left(limits: Limits, usage: Usage, tool_calls: int, share: float) -> dict[str, Any]:
    """Give a share of what is left of limits that count: tokens, cost and tool calls, where they are limited.

    With the cost come the prices that it goes by.
    """
    cost = usage.cost(PRICES if limits.prices is None else limits.prices)
    used = {
        "tokens": usage.total_tokens,
        "tool_calls": tool_calls,
        "cost": limits.cost if cost is None else cost,
    }
    left: dict[str, Any] = {}
    for name, spent in used.items():
        if (limit := getattr(limits, name)) is not None:
            rest = max(0.0, limit - spent) * share
            left[name] = rest if name == "cost" else int(rest)
    if "cost" in left:
        left["prices"] = limits.prices
    return left


LONG_PROMPT = 200_000
"""Tokens of a prompt above which some models have other prices."""


_COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What was used of one model: the counts that its price depends on."""

    model: str
    """The model's name."""
    long: bool = False
    """Whether the prompts had more than 200,000 tokens each, where some prices change."""
    requests: int = 0
    """Requests that the model answered."""
    input_tokens: int = 0
    """Tokens sent that no cache had, those of the server's tools included."""
    cached_tokens: int = 0
    """Tokens sent that came from a cache."""
    output_tokens: int = 0
    """Tokens of the replies, thoughts included."""

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input_tokens + self.cached_tokens + self.output_tokens

    def cost(self, price: Price) -> float:
        """Give what the tokens cost at a price, in US dollars."""
        rates = price.long if self.long and price.long is not None else price
        cached = rates.input if rates.cached is None else rates.cached
        dollars = (
            self.input_tokens * rates.input + self.cached_tokens * cached + self.output_tokens * rates.output
        )
        return dollars / 1_000_000

    def __add__(self, other: ModelUsage) -> ModelUsage:
        return ModelUsage(
            model=self.model,
            long=self.long,
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and requests; adds up with `+`. Counts are the server's own (`usageMetadata`)."""

    requests: int = 0
    """Requests that the model answered."""
    prompt_tokens: int = 0
    """Tokens sent, the cached ones included."""
    cached_tokens: int = 0
    """Those of the tokens sent that came from a cache."""
    candidates_tokens: int = 0
    """Tokens of the replies, thoughts not included."""
    thoughts_tokens: int = 0
    """Tokens of the model's thoughts."""
    tool_use_prompt_tokens: int = 0
    """Tokens of the server's own tools."""
    total_tokens: int = 0
    """All tokens, as the server adds them up."""
    estimated: bool = False
    """Whether any of the counts is an estimate (the embedded model makes one where its engine is silent)."""
    by_model: tuple[ModelUsage, ...] = field(default=(), repr=False, compare=False)
    """Which models they are of, sorted by name; long prompts apart. Usages are equal if their counts are."""

    @classmethod
    def from_wire(cls, metadata: UsageMetadata | None, model: str = "") -> Usage:
        """Read one reply's `usageMetadata`; None, and missing or null counts, are 0.

        With the name of the model that replied, `by_model` tells its tokens, if the reply tells any.
        """
        wire = metadata or {}
        counts = map(wire.get, _COUNTS)
        prompt, cached, candidates, thoughts, tools, total = (
            count if type(count) is int and count > 0 else 0 for count in counts
        )
        used = ModelUsage(
            model=model,
            long=prompt > LONG_PROMPT,
            requests=1,
            input_tokens=max(prompt - cached, 0) + tools,
            cached_tokens=cached,
            # What a total has beyond its parts is taken for output, which is the dearest.
            output_tokens=max(candidates + thoughts, total - prompt - tools),
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

    def cost(self, prices: Mapping[str, Price] = PRICES, *, on: date | None = None) -> float | None:
        """Give what the tokens cost in US dollars, or None if that isn't known.

        It isn't where a model has no price, a reply told no tokens, or tokens are no model's in `by_model`
        (a usage made by hand, or stored by an early agentkit). No requests cost 0.0.

        Args:
            prices: The models' prices by their names; see `agentkit.prices` for what the default ones leave out.
            on: The day of the requests, for prices that change on a day that is announced; None: today.
        """
        parts = (
            self.prompt_tokens + self.tool_use_prompt_tokens + self.candidates_tokens + self.thoughts_tokens
        )
        told = sum(used.tokens for used in self.by_model)
        if told < max(parts, self.total_tokens) or sum(u.requests for u in self.by_model) < self.requests:
            return None
        day = on or date.today()
        dollars = 0.0
        for used in self.by_model:
            price = price_of(used.model, prices)
            if price is None:
                return None
            dollars += used.cost(price.on(day))
        return dollars

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            candidates_tokens=self.candidates_tokens + other.candidates_tokens,
            thoughts_tokens=self.thoughts_tokens + other.thoughts_tokens,
            tool_use_prompt_tokens=self.tool_use_prompt_tokens + other.tool_use_prompt_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            estimated=self.estimated or other.estimated,
            by_model=_merged(self.by_model, other.by_model),
        )


def _merged(left: tuple[ModelUsage, ...], right: tuple[ModelUsage, ...]) -> tuple[ModelUsage, ...]:
    if not left or not right:
        return left or right
    merged = {(used.model, used.long): used for used in left}
    for used in right:
        key = (used.model, used.long)
        merged[key] = merged[key] + used if key in merged else used
    return tuple(merged[key] for key in sorted(merged))


def read_by_model(value: Any) -> tuple[ModelUsage, ...]:
    """Read `by_model` as it was stored; fields that this agentkit doesn't know are left out.

    Raises:
        ValueError: It isn't one.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(row, dict) for row in value):
        raise ValueError("by_model is no list of objects")
    rows = [{name: row[name] for name in _MODEL_USAGE if name in row} for row in value]
    for row in rows:
        odd = [name for name, found in row.items() if type(found) is not _MODEL_USAGE[name]]
        odd += [name for name, found in row.items() if type(found) is int and found < 0]
        if odd or "model" not in row:
            raise ValueError(f"by_model has an entry with an odd or missing {(odd or ['model'])[0]}")
    return tuple(ModelUsage(**row) for row in rows)


_MODEL_USAGE: Mapping[str, type] = {"model": str, "long": bool} | dict.fromkeys(
    ("requests", "input_tokens", "cached_tokens", "output_tokens"), int
)
