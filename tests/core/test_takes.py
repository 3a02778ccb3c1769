"""What a model doesn't take by its traits is an error before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentkit import Agent, ConfigurationError, GeminiModel, Output
from agentkit.testing import ScriptedModel
from tests.helpers.gemini import KEY
from tests.helpers.gemini_server import GeminiServer
from tests.helpers.ways import Way, way

__all__ = ["way"]

SEARCH: dict[str, Any] = {"google_search": {}}


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(["Yes."] * 9) as running:
        yield running


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "search beside functions": (
        "gemini-2.5-flash",
        {"tools": [add, SEARCH]},
        {},
        "googleSearch beside .*'add'.*rule 5",
    ),
    "search and a value taken by a function": (
        "models/gemini-2.0-flash",
        {"tools": [SEARCH]},
        {"output": int},
        "googleSearch beside functions",
    ),
    "a schema beside functions": (
        "gemini-2.5-pro",
        {"tools": [add]},
        {"output": Output(int, mode="native")},
        "schema .* beside tools, as 'add' is .*rule 8",
    ),
    "a schema beside search": (
        "gemini-2.5-pro",
        {"tools": [SEARCH], "config": {"response_json_schema": {"type": "integer"}}},
        {},
        "rule 8",
    ),
    "a budget": (
        "gemini-4-neon",
        {"config": {"thinking_config": {"thinking_budget": 9}}},
        {},
        "thinkingBudget",
    ),
    "level minimal": (
        "gemini-4-argon",
        {"config": {"thinking_config": {"thinking_level": "minimal"}}},
        {},
        "MINIMAL",
    ),
    "a penalty": ("gemini-4-carbon", {"config": {"frequency_penalty": 0.5}}, {}, "frequencyPenalty"),
    "another penalty": ("gemini-4-hydrogen", {"config": {"presence_penalty": 0.5}}, {}, "presencePenalty"),
    "a cache": ("gemini-4-neon", {"config": {"cached_content": "c"}}, {}, "no explicit caches"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_it_is_refused_and_nothing_is_sent(way: Way, server: GeminiServer, case: str) -> None:
    name, given, options, match = REFUSED[case]
    model = GeminiModel(name, api_key=KEY, http_options={"base_url": server.url})
    with pytest.raises(ConfigurationError, match=match) as raised:
        way.run(Agent(model, **given), "go", **options)
    assert repr(name) in str(raised.value)
    assert raised.value.run is not None
    assert server.requests == []
    model.close()


def test_a_model_that_may_stand_in_is_asked_about_at_once(way: Way, server: GeminiServer) -> None:
    old = GeminiModel("gemini-2.5-flash", api_key=KEY, http_options={"base_url": server.url})
    first = ScriptedModel(["Never asked."])
    with pytest.raises(ConfigurationError, match=r"'gemini-2.5-flash' doesn't take googleSearch"):
        way.run(Agent([first, old], tools=[add, SEARCH]), "go")
    assert not first.requests
    assert not server.requests


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("gemini-3-pro", {"tools": [add, SEARCH]}),
        ("gemini-2.5-flash", {"tools": [SEARCH, {"url_context": {}}]}),
        ("gemini-2.5-flash", {"tools": [add], "config": {"cached_content": "c"}}),
        ("gemini-3-pro", {"config": {"thinking_config": {"thinking_budget": 9}}}),
        ("gemini-4-neon", {"config": {"temperature": 0, "thinking_config": {"thinking_level": "high"}}}),
    ],
)
def test_what_it_takes_is_sent(server: GeminiServer, name: str, given: Any) -> None:
    model = GeminiModel(name, api_key=KEY, http_options={"base_url": server.url})
    assert Agent(model, **given).run("go").text == "Yes."
    model.close()


@pytest.mark.parametrize(
    "name",
    ["deep-research-pro-preview-12-2025", "models/deep-research-max-preview", "antigravity-preview-09-2026"],
)
def test_an_agent_of_the_interactions_api_is_no_model(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"agent of the Interactions API alone"):
        Agent(name)
