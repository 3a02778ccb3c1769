"""What a run cost in dollars, and whose tokens they were."""

from __future__ import annotations

from collections.abc import Generator
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, Limits, MemoryStore, Run, Summarize, Usage
from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.model import DEFAULT_MODEL
from agentkit.limits import ModelUsage
from agentkit.testing import ScriptedModel, fault, reply
from agentkit.traits import PRICES, Price, price_of
from agentkit.wire.content import Reply, Request, UsageMetadata, call_part, model_content
from tests.helpers.runners import NO_WAIT, Runner

MILLION = 1_000_000
PRICE = Price(input=1.0, output=10.0, cached=0.25, long=Price(input=2.0, output=20.0))
PLAIN = Price(input=3.0, output=5.0)


def used(model: str = "m", /, **counts: int) -> Usage:
    wire: Any = {f"{name}TokenCount": count for name, count in counts.items()}
    return Usage.from_wire(wire, model)


# -- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "dollars"),
    [
        pytest.param({"prompt": 100_000}, 0.1, id="tokens sent"),
        pytest.param({"prompt": 100_000, "cachedContent": 40_000}, 0.07, id="cached ones are cheaper"),
        pytest.param({"candidates": 5_000, "thoughts": 1_000}, 0.06, id="thoughts are output"),
        pytest.param({"prompt": 1, "toolUsePrompt": 99_999}, 0.1, id="the server's tools are input"),
        pytest.param({"prompt": 100, "candidates": 50, "total": 250}, 0.0016, id="a total's rest is output"),
        pytest.param({"prompt": 200_000, "candidates": 1000}, 0.21, id="200,000 tokens are not long yet"),
        pytest.param({"prompt": 200_001, "candidates": 1000}, 0.420002, id="a token more is, all of it"),
        pytest.param({"prompt": 300_000, "cachedContent": 100_000}, 0.6, id="no cached price: as input"),
        pytest.param({"prompt": 10, "cachedContent": 40}, 0.00001, id="more cached than sent"),
    ],
)
def test_a_reply_costs(counts: dict[str, int], dollars: float) -> None:
    assert used(**counts).cost({"m": PRICE}) == pytest.approx(dollars, rel=1e-12)


def test_a_long_prompt_costs_the_same_where_the_price_does_not_differ() -> None:
    assert used(prompt=MILLION).cost({"m": PLAIN}) == 3.0


def test_each_model_has_its_own_price_and_long_prompts_are_apart() -> None:
    total = sum(
        [
            used("a", prompt=1000),
            used("b", candidates=1000),
            used("a", prompt=500_000),
            used("a", prompt=2000),
        ],
        Usage(),
    )
    assert [(u.model, u.long, u.requests, u.input_tokens, u.output_tokens) for u in total.by_model] == [
        ("a", False, 2, 3000, 0),
        ("a", True, 1, 500_000, 0),
        ("b", False, 1, 0, 1000),
    ]
    assert total.cost({"a": PRICE, "b": PLAIN}) == pytest.approx(0.003 + 1.0 + 0.005)


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(used("unknown", prompt=5), id="no price"),
        pytest.param(used("m", prompt=5) + used("unknown", prompt=5), id="no price for one of two"),
        pytest.param(used("", prompt=5), id="no model"),
        pytest.param(Usage(prompt_tokens=5), id="tokens made by hand"),
        pytest.param(Usage(total_tokens=5), id="a total made by hand"),
        pytest.param(used("m", prompt=5) + Usage(candidates_tokens=1), id="a token of nobody among others"),
        pytest.param(Usage.from_wire(None, "m"), id="a reply that told no tokens"),
        pytest.param(used("m", prompt=5) + Usage(requests=1), id="a reply of nobody among others"),
    ],
)
def test_what_is_not_known_costs_none_and_not_nothing(usage: Usage) -> None:
    assert usage.cost({"m": PRICE}) is None


def test_no_request_costs_nothing() -> None:
    assert Usage().cost() == Usage().cost({}) == 0.0


def test_a_price_that_changes_is_that_of_the_day() -> None:
    soon = Price(input=1.0, output=1.0, later=(date(2030, 1, 1), Price(input=7.0, output=7.0)))
    usage = used(prompt=100_000)
    assert usage.cost({"m": soon}, on=date(2029, 12, 31)) == pytest.approx(0.1)
    assert usage.cost({"m": soon}, on=date(2030, 1, 1)) == pytest.approx(0.7)
    over = Price(input=1.0, output=1.0, later=(date(2020, 1, 1), Price(input=7.0, output=7.0)))
    assert usage.cost({"m": over}) == pytest.approx(0.7)


# -- prices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "input_price"),
    [
        ("gemini-2.5-pro", 1.25),
        ("models/gemini-2.5-pro", 1.25),
        ("gemini-2.5-pro-001", 1.25),
        ("models/gemini-2.5-flash-lite-002", 0.1),
        ("gemini-3-flash-preview", 0.5),
        ("local", 0.0),
        ("gemini-2.5-flash-preview-05-20", None),
        ("gemini-3-flash", None),
        ("gemini-flash-latest", None),
        ("gemini-2.5-flash-image", 0.3),
        ("gemini-2.5-flash-image-preview", None),
        ("tunedModels/gemini-2.5-pro", None),
        ("gemini-2.5-pro-1", None),
        ("scripted", None),
        ("", None),
    ],
)
def test_a_name_finds_its_own_price_and_no_other(model: str, input_price: float | None) -> None:
    price = price_of(model, PRICES)
    assert (price and price.input) == input_price


def test_a_price_of_ones_own_is_found_under_the_very_name_first() -> None:
    own = {"models/x": PRICE, "x": PLAIN, "x-001": PRICE}
    assert [price_of(name, own) for name in ("models/x", "x", "x-001", "x-002", "models/x-001")] == [
        *(PRICE, PLAIN, PRICE, PLAIN, PRICE)
    ]


def test_the_default_model_has_a_price_that_rises_on_new_years_day() -> None:
    usage = used(DEFAULT_MODEL, prompt=100_000, cachedContent=50_000, candidates=10_000)
    assert usage.cost(on=date(2026, 11, 28)) == pytest.approx(0.0375 + 0.00375 + 0.0375)
    assert usage.cost(on=date(2027, 1, 1)) == pytest.approx(0.15 + 0.0075)
    assert usage.cost() is not None


@pytest.mark.parametrize("model", sorted(PRICES))
def test_a_listed_price_is_cheaper_from_a_cache_and_dearer_for_output(model: str) -> None:
    price: Price | None = PRICES[model]
    while price is not None:
        for rates in filter(None, (price, price.long)):
            cached = rates.input if rates.cached is None else rates.cached
            assert cached <= rates.input <= rates.output
        price = price.later[1] if price.later else None


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "1", True, None])
def test_a_price_that_is_no_amount_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"input=.*dollars per million"):
        Price(input=wrong, output=1.0)
    with pytest.raises(ConfigurationError, match="output="):
        Price(input=1.0, output=wrong)


# -- adding up -------------------------------------------------------------------------------------------------------

COUNTS = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(0, 400_000) for name in ("prompt", "cachedContent", "candidates", "thoughts")
    },
)
USAGES = st.lists(
    st.builds(lambda model, counts: used(model, **counts), st.sampled_from(["a", "b", "c"]), COUNTS),
    max_size=8,
)


@given(USAGES, st.randoms())
def test_usages_add_up_to_the_same_in_any_order_and_grouping(usages: list[Usage], random: Any) -> None:
    total = sum(usages, Usage())
    shuffled = list(usages)
    random.shuffle(shuffled)
    half = len(shuffled) // 2
    other = sum(shuffled[:half], Usage()) + sum(shuffled[half:], Usage())
    assert total == other
    assert total.by_model == other.by_model
    prices = {"a": PRICE, "b": PLAIN, "c": Price(input=0.5, output=0.5)}
    costs = [usage.cost(prices) for usage in usages]
    cost = total.cost(prices)
    if None in costs:
        assert cost is None
    else:
        assert cost == pytest.approx(sum(c for c in costs if c is not None))


def test_usages_are_equal_if_their_counts_are_and_show_only_these() -> None:
    usage = used(prompt=5)
    assert usage == Usage(requests=1, prompt_tokens=5)
    assert "by_model" not in repr(usage)
    assert usage.by_model[0].tokens == 5


def test_a_run_knows_the_models_of_its_turns_and_of_its_summaries() -> None:
    model = ScriptedModel(
        [reply(f"answer {n}", promptTokenCount=10, totalTokenCount=12) for n in range(3)], name="big"
    )
    small = ScriptedModel([reply("summary", promptTokenCount=10, totalTokenCount=12)] * 2, name="small")
    store = MemoryStore()
    chat = Agent(model).chat("ann", store, memory=Summarize(after_turns=2, keep=1, model=small))
    for n in range(3):
        chat.send_message(f"message {n}")
    assert {usage.model for usage in chat.usage.by_model} == {"big", "small"}
    assert chat.usage.cost({"big": PRICE, "small": PLAIN}) is not None
    assert chat.usage.cost({"big": PRICE}) is None
    assert store.info("ann").usage.by_model == chat.usage.by_model


def test_a_sub_agents_tokens_stay_its_models() -> None:
    helper = Agent(ScriptedModel([reply("four", promptTokenCount=10, totalTokenCount=12)], name="small"))
    boss = ScriptedModel(
        [
            reply(call_part("helper", {"request": "2+2"}), promptTokenCount=5),
            reply("4", promptTokenCount=10, totalTokenCount=12),
        ],
        name="big",
    )
    run = Agent(boss, tools=[helper.as_tool(name="helper", description="Helps.")]).run("2+2?")
    assert [usage.model for usage in run.usage.by_model] == ["big", "small"]


def test_the_counts_of_a_reply_are_those_of_its_model() -> None:
    wire: UsageMetadata = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "toolUsePromptTokenCount": 1,
        "totalTokenCount": 16,
    }
    assert Usage.from_wire(wire, "m").by_model == (
        ModelUsage(model="m", requests=1, input_tokens=7, cached_tokens=4, output_tokens=5),
    )
    assert Usage.from_wire(wire).by_model == ()


# -- requests that were given up -------------------------------------------------------------------------------------

LIMITS = Limits(prices={"scripted": PRICE})


def paid(**counts: int) -> Any:
    wire: Any = {f"{name}TokenCount": count for name, count in counts.items()}
    return reply("ok", **wire)


@pytest.mark.parametrize(
    ("raised", "requests", "complete"),
    [
        pytest.param(ModelError("timed out", retryable=True), 2, False, id="nobody knows what it cost"),
        pytest.param(fault(503), 1, True, id="an error of the server costs nothing"),
        pytest.param(ModelError("no way", retryable=True, reached=False), 1, True, id="it never got there"),
    ],
)
def test_a_request_that_was_given_up_counts_and_the_cost_says_that_it_is_not_all(
    go: Runner, raised: ModelError, requests: int, complete: bool
) -> None:
    agent = Agent(
        ScriptedModel([raised, paid(prompt=100_000, candidates=1000)]), limits=LIMITS, retry=NO_WAIT
    )
    run = go(agent, "Hello")
    assert (run.usage.requests, run.turns) == (requests, 1)
    assert run.cost == pytest.approx(0.11)
    assert run.cost_is_complete is complete
    assert run.usage.given_up == requests - 1


class Breaks(ScriptedModel):
    """Its streams end with an error, after the tokens were told."""

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        whole = self._next(request)
        yield {"candidates": [{"content": model_content("o")}], "usageMetadata": whole["usageMetadata"]}
        raise ModelError("broken")


def test_what_a_broken_reply_told_of_its_tokens_is_in_the_cost() -> None:
    agent = Agent(Breaks([paid(prompt=100_000)], name="scripted"), limits=LIMITS, retry=NO_WAIT)
    with pytest.raises(ModelError) as caught, agent.stream("Hello") as events:
        events.drain()
    run: Run = caught.value.run
    assert run.usage.requests == run.usage.given_up == 1
    assert run.cost == pytest.approx(0.1)
    assert not run.cost_is_complete


def test_a_run_that_is_left_in_the_middle_of_a_reply_counts_the_request_in_its_chat_too() -> None:
    chat = Agent(ScriptedModel(["one two three"]), limits=LIMITS).chat("ann", MemoryStore())
    with chat.send_message_stream("Hello") as events:
        next(events)
    assert events.run.usage.given_up == chat.usage.given_up == 1
    assert chat.info.usage.requests == 1
    assert events.run.cost == 0.0 and not events.run.cost_is_complete


def test_what_was_given_up_is_in_the_json_of_a_run_and_in_that_of_the_run_around_it(go: Runner) -> None:
    fails: list[Any] = [ModelError("lost", retryable=True), paid(prompt=1)]
    inner = Agent(ScriptedModel(fails), retry=NO_WAIT)
    script = [call_part("ask", {"request": "go"}), paid(prompt=1)]
    run = go(
        Agent(ScriptedModel(script), tools=[inner.as_tool(name="ask", description="Ask.")], limits=LIMITS),
        "Hello",
    )
    assert run.usage.given_up == Run.from_json(run.to_json()).usage.given_up == 1
    assert "given up" in str(run.usage.why_incomplete({"scripted": PRICE}))


def test_a_limit_of_cost_says_that_a_request_was_given_up() -> None:
    agent = Agent(
        ScriptedModel([ModelError("lost", retryable=True), paid(prompt=MILLION)]),
        limits=Limits(cost=0.5, prices={"scripted": PRICE}),
        retry=NO_WAIT,
    )
    run = agent.run("Hello")
    assert "a request was given up" in run.why
