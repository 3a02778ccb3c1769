"""What the service tier does to the cost of a reply, and what prompt caches saved."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google import genai

from agentkit import GeminiModel, Usage
from agentkit.traits import Price
from tests.helpers.gemini import HELLO, GetReply, generate, stream_it
from tests.helpers.gemini_server import GeminiServer, text

PRICE = Price(input=1.0, output=10.0, cached=0.25, long=Price(input=2.0, output=20.0))


def test_a_tier_has_its_own_price_and_one_that_nobody_knows_makes_the_cost_unknown() -> None:
    dear = Price(input=1.0, output=10.0, cached=0.25, tiers={"priority": Price(input=1.75, output=20.0)})
    wire: Any = {"promptTokenCount": 100_000, "cachedContentTokenCount": 40_000, "serviceTier": "flex"}
    flex = Usage.from_wire(wire, "m")
    assert flex.by_model[0].tier == "flex"
    assert flex.cost({"m": dear}) == pytest.approx(0.035)
    other: Any = {**wire, "serviceTier": "priority"}
    priority = Usage.from_wire(other, "m")
    assert priority.cost({"m": dear}) == pytest.approx(0.175)
    assert priority.cost({"m": PRICE}) is None
    assert priority.why_unpriced({"m": PRICE}) == "there is no price for 'm' in the tier 'priority'"
    assert priority.known_cost({"m": PRICE}) == 0.0
    other["serviceTier"] = "standard"
    both = flex + priority + Usage.from_wire(other, "m")
    assert [used.tier for used in both.by_model] == ["", "flex", "priority"]
    assert Price.from_wire(dear.to_wire()) == dear


def test_the_kind_of_traffic_says_the_tier_on_vertex_ai() -> None:
    kinds = ("ON_DEMAND", "ON_DEMAND_FLEX", "ON_DEMAND_PRIORITY", "PROVISIONED_THROUGHPUT")
    wires: list[Any] = [{"promptTokenCount": 5, "trafficType": kind} for kind in kinds]
    tiers = [Usage.from_wire(wire, "m").by_model[0].tier for wire in wires]
    assert tiers == ["", "flex", "priority", "provisioned_throughput"]


def test_a_long_prompt_in_the_flex_tier_costs_half_of_the_long_price() -> None:
    wire: Any = {"promptTokenCount": 300_000, "serviceTier": "flex"}
    assert Usage.from_wire(wire, "m").cost({"m": PRICE}) == pytest.approx(0.3)


@pytest.mark.parametrize(("tier", "dollars"), [("flex", 0.5), ("standard", 1.0), ("", 1.0)])
@pytest.mark.parametrize("own", [True, False], ids=["own transport", "client="])
@pytest.mark.parametrize("ask", [generate, stream_it])
def test_the_header_of_a_reply_says_which_tier_it_was(
    ask: GetReply, own: bool, tier: str, dollars: float
) -> None:
    with GeminiServer([text("hi", tier=tier)]) as server:
        options: Any = {"base_url": server.url, "api_version": "v1beta"}
        if own:
            model = GeminiModel("m", api_key="a-key", http_options=options)
        else:
            model = GeminiModel("m", client=genai.Client(api_key="a-key", http_options=options))
        asked: Any = {**HELLO, "serviceTier": "priority"}
        usage = Usage.from_wire(ask(model, asked)[-1].get("usageMetadata"), "m")
        model.close()
    each = Price(input=1e6 / usage.total_tokens, output=1e6 / usage.total_tokens)
    assert usage.cost({"m": each}) == pytest.approx(dollars)


@pytest.mark.parametrize("streamed", [False, True])
def test_so_it_does_async(streamed: bool) -> None:
    async def go(url: str) -> Any:
        model = GeminiModel("m", api_key="a-key", http_options={"base_url": url})
        try:
            if not streamed:
                return await model.agenerate(HELLO)
            return [chunk async for chunk in model.astream(HELLO)][-1]
        finally:
            await model.aclose()

    with GeminiServer([text("hi", tier="flex")]) as server:
        reply = asyncio.run(go(server.url))
    assert Usage.from_wire(reply["usageMetadata"], "m").by_model[0].tier == "flex"


def test_usage_shows_what_caching_saved() -> None:
    wire: Any = {"promptTokenCount": 100_000, "cachedContentTokenCount": 40_000}
    usage = Usage.from_wire(wire, "m")
    assert usage.saved({"m": PRICE}) == pytest.approx(0.03)
    assert usage.saved({}) == 0.0
    assert Usage.from_wire({"promptTokenCount": 9}, "m").saved({"m": PRICE}) == 0.0
