"""What sound and pictures cost: tokens by kind, in and out of a cache, through runs, chats, archives and sub-agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google import genai

from agentkit import (
    Agent,
    Budget,
    ConfigurationError,
    GeminiModel,
    Limits,
    Result,
    Run,
    SQLiteStore,
    ToolDeferred,
    Usage,
)
from agentkit.errors import ModelError
from agentkit.events import RunFinished, from_wire, to_wire
from agentkit.limits import ModelUsage
from agentkit.testing import ScriptedModel, reply
from agentkit.traits import PRICE_TABLE, PRICES, TABLE, Price
from agentkit.wire.content import call_part
from tests.helpers.gemini import HELLO, GetReply, generate, stream_it
from tests.helpers.gemini_server import GeminiServer, stream
from tests.helpers.runners import NO_WAIT, Runner

PRICE = Price(
    input=1.0, output=10.0, cached=0.1, audio=4.0, cached_audio=0.4, image_output=50.0, audio_output=20.0
)
PLAIN = Price(input=1.0, output=10.0, cached=0.1)
WIRE: Any = {
    "promptTokenCount": 100_000,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 30_000},
        {"modality": "AUDIO", "tokenCount": 50_000},
        {"modality": "IMAGE", "tokenCount": 20_000},
    ],
    "cachedContentTokenCount": 40_000,
    "cacheTokensDetails": [
        {"modality": "TEXT", "tokenCount": 10_000},
        {"modality": "AUDIO", "tokenCount": 30_000},
    ],
    "candidatesTokenCount": 2_500,
    "candidatesTokensDetails": [
        {"modality": "IMAGE", "tokenCount": 1_290},
        {"modality": "AUDIO", "tokenCount": 200},
    ],
    "thoughtsTokenCount": 500,
    "totalTokenCount": 103_000,
}
DETAILS = (
    "promptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "toolUsePromptTokensDetails",
)
DOLLARS = (40_000 * 1 + 20_000 * 4 + 10_000 * 0.1 + 30_000 * 0.4 + 1510 * 10 + 1290 * 50 + 200 * 20) / 1e6


def wired(**more: Any) -> Any:
    return {**WIRE, **more}


def paid(part: Any, **more: Any) -> Any:
    return {**reply(part), "usageMetadata": wired(**more)}


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage.from_wire(WIRE, "m")
    assert usage.by_model == (
        ModelUsage(
            model="m",
            requests=1,
            input_tokens=60_000,
            cached_tokens=40_000,
            output_tokens=3_000,
            audio_tokens=20_000,
            cached_audio_tokens=30_000,
            image_output_tokens=1_290,
            audio_output_tokens=200,
        ),
    )
    assert usage.cost({"m": PRICE}) == pytest.approx(DOLLARS)
    assert (usage + usage).cost({"m": PRICE}) == pytest.approx(2 * DOLLARS)
    flex = Usage.from_wire(wired(serviceTier="flex"), "m")
    assert flex.cost({"m": PRICE}) == pytest.approx(DOLLARS / 2)
    saved = (10_000 * 0.9 + 30_000 * 3.6) / 1e6
    assert usage.saved({"m": PRICE}) == pytest.approx(saved)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        ({"promptTokenCount": 9, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}]}, "sent"),
        (
            {
                "promptTokenCount": 9,
                "cachedContentTokenCount": 9,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
            },
            "from a cache",
        ),
        (
            {"candidatesTokenCount": 9, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 4}]},
            "pictures of 'm'",
        ),
        (
            {"candidatesTokenCount": 9, "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}]},
            "sound of 'm'",
        ),
    ],
)
def test_a_kind_without_a_price_makes_the_cost_unknown_and_what_is_known_is_counted(
    wire: Any, why: str
) -> None:
    usage = Usage.from_wire(wire, "m")
    assert usage.cost({"m": PLAIN}) is None
    assert why in str(usage.why_unpriced({"m": PLAIN}))
    assert usage.known_cost({"m": PLAIN}) > 0
    assert usage.cost({"m": PRICE}) is not None


@pytest.mark.parametrize(
    "details",
    [
        "AUDIO",
        [None, 4, "x", {"modality": "AUDIO"}, {"tokenCount": 7}, {"modality": ["AUDIO"], "tokenCount": 7}],
        [{"modality": "AUDIO", "tokenCount": 10**30}, {"modality": "AUDIO", "tokenCount": -5}],
        [{"modality": "AUDIO", "tokenCount": True}, {"modality": "AUDIO", "tokenCount": 1.5}],
    ],
)
def test_details_that_say_nothing_count_as_nothing(details: Any) -> None:
    usage = Usage.from_wire(wired(**dict.fromkeys(DETAILS, details)), "m")
    assert usage.cost({"m": PLAIN}) is not None


def test_details_never_say_more_than_the_counts() -> None:
    many = [{"modality": kind, "tokenCount": 10**9} for kind in ("AUDIO", "IMAGE")]
    used = Usage.from_wire(wired(**dict.fromkeys(DETAILS, many)), "m").by_model[0]
    assert used.audio_tokens <= used.input_tokens
    assert used.cached_audio_tokens <= used.cached_tokens
    assert used.image_output_tokens + used.audio_output_tokens <= used.output_tokens


CHUNK: Any = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": WIRE,
}


@pytest.mark.parametrize("own", [True, False], ids=["own transport", "client="])
@pytest.mark.parametrize("ask", [generate, stream_it])
def test_they_are_read_off_the_wire(ask: GetReply, own: bool) -> None:
    with GeminiServer([stream([CHUNK])]) as server:
        options: Any = {"base_url": server.url, "api_version": "v1beta"}
        if own:
            model = GeminiModel("m", api_key="a-key", http_options=options)
        else:
            model = GeminiModel("m", client=genai.Client(api_key="a-key", http_options=options))
        usage = Usage.from_wire(ask(model, HELLO)[-1].get("usageMetadata"), "m")
        model.close()
    assert usage.cost({"m": PRICE}) == pytest.approx(DOLLARS)


LIMITS = Limits(prices={"scripted": PRICE})


def test_they_stay_apart_in_a_store_an_archive_a_run_as_json_and_an_event(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chats.db")
    chat = Agent(ScriptedModel([paid("ok")]), limits=LIMITS).chat("ann", store)
    run = chat.send_message("Hello")
    by_model = run.usage.by_model
    assert by_model[0].audio_tokens == 20_000
    stored = SQLiteStore(tmp_path / "chats.db").load("ann").messages[1].usage
    assert stored is not None
    assert stored.by_model == by_model
    chat.save(tmp_path / "chat.json")
    again = Agent(ScriptedModel([])).chat()
    again.load(tmp_path / "chat.json")
    loaded = again.get_messages()[1].usage
    assert loaded is not None
    assert loaded.by_model == by_model
    assert Run.from_json(run.to_json()).usage.by_model == by_model
    told = to_wire(RunFinished(run))
    read: Any = from_wire(json.loads(json.dumps(told)), read_run=Run.from_json)
    assert read.run.usage.by_model == by_model
    assert run.cost == pytest.approx(DOLLARS)


def test_those_of_a_sub_agent_and_of_a_request_that_was_given_up_cost_as_much(go: Runner) -> None:
    broken: Any = ModelError("lost", retryable=True)
    inner = Agent(ScriptedModel([broken, paid("ok")], name="heard"), retry=NO_WAIT)
    outer = ScriptedModel([paid(call_part("ask", {"request": "go"})), paid("done")])
    agent = Agent(
        outer,
        tools=[inner.as_tool(name="ask", description="Ask.")],
        limits=Limits(prices={"scripted": PRICE, "heard": PRICE}),
    )
    run = go(agent, "Hello")
    known = run.usage.known_cost({"scripted": PRICE, "heard": PRICE})
    assert known == pytest.approx(3 * DOLLARS)
    assert not run.cost_is_complete
    assert [used.audio_tokens for used in run.usage.by_model] == [20_000, 40_000]


def test_those_of_a_resumed_run_are_counted_before_and_after(go: Runner) -> None:
    def wait() -> str:
        """Wait."""
        raise ToolDeferred("later")

    agent = Agent(
        ScriptedModel([paid(call_part("wait", {})), paid("done")]),
        tools=[wait],
        limits=LIMITS,
    )
    run = go(agent, "Hello")
    assert run.stop == "deferred"
    assert run.cost == pytest.approx(DOLLARS)
    done = agent.resume(Run.from_json(run.to_json()), {run.pending[0].call_id: Result("ok")})
    assert done.cost == pytest.approx(2 * DOLLARS)
    assert done.usage.by_model[0].cached_audio_tokens == 60_000


def test_a_limit_of_cost_says_which_tokens_it_does_not_count(go: Runner) -> None:
    limits = Limits(cost=5.0, prices={"scripted": PLAIN})
    run = go(Agent(ScriptedModel([paid("ok")]), limits=limits), "Hello")
    assert (run.cost, run.cost_is_complete) == (None, False)
    assert "no price for sound that 'scripted' is sent" in run.why


@pytest.mark.parametrize(("said", "tier"), [(None, "flex"), ("standard", ""), ("priority", "priority")])
def test_a_reply_that_does_not_say_its_tier_was_made_in_the_one_asked_for(
    go: Runner, said: str | None, tier: str
) -> None:
    told = {} if said is None else {"serviceTier": said}
    agent = Agent(ScriptedModel([paid("ok", **told)]), config={"service_tier": "flex"}, limits=LIMITS)
    assert go(agent, "Hello").usage.by_model[0].tier == tier


def test_a_budget_expects_the_price_of_the_tier_and_is_not_held_where_nobody_knows_it(go: Runner) -> None:
    asked: Any = {"config": {"service_tier": "priority"}, "limits": LIMITS}
    with pytest.raises(ConfigurationError, match=r"'scripted' in the tier 'priority' isn't known.*tiers="):
        go(Agent(ScriptedModel(["ok"]), budget=Budget(1.0), **asked), "Hello")


def test_each_row_has_its_day_and_its_source() -> None:
    for row in (*TABLE, *PRICE_TABLE):
        assert row.source.startswith("https://")
        assert row.seen.year >= 2026
    named = [name for row in PRICE_TABLE for name in row.models]
    assert len(named) == len(set(named))
    assert {*named, "local"} == PRICES.keys()
