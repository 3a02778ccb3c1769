"""A config for a run, a message or a chat: merged over the agent's field by field, and known when it is resumed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from google.genai import types
from pydantic import BaseModel

from agentkit import Agent, Approve, ChatManager, Run, SQLiteStore, Tool, tool
from agentkit.core.config import merged_config
from agentkit.errors import ConfigurationError
from agentkit.model import Traits
from agentkit.testing import ScriptedModel, call
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

OWN = {
    "temperature": 0.1,
    "max_output_tokens": 50,
    "thinking_config": {"thinking_level": "low"},
    "labels": {"team": "a"},
    "tools": [{"google_search": {}}],
}


@tool(effect="write", approval=True)
def pay() -> str:
    """Pay."""
    return "paid"


def agent_of(*script: Any, tools: Any = ()) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)
    return Agent(model, config=OWN, tools=tools), model


def temperatures(model: ScriptedModel) -> list[Any]:
    return [settings(model, number)["temperature"] for number in range(len(model.requests))]


def settings(model: ScriptedModel, number: int) -> Any:
    request: Any = model.requests[number]
    return request["generationConfig"]


def test_each_field_stands_in_the_place_of_the_agents_and_the_others_stay(way: Way) -> None:
    agent, model = agent_of("a", "b")
    way.run(
        agent,
        "hi",
        config={"temperature": 0.9, "thinkingConfig": {"includeThoughts": True}, "labels": {"x": "y"}},
    )
    way.run(agent, "hi")
    requests: list[Any] = [dict(request) for request in model.requests]
    changed, own = ({k: v for k, v in request.items() if k != "contents"} for request in requests)
    assert changed == {
        "generationConfig": {
            "temperature": 0.9,
            "maxOutputTokens": 50,
            "thinkingConfig": {"includeThoughts": True},
        },
        "labels": {"x": "y"},
        "tools": [{"googleSearch": {}}],
    }
    assert own["generationConfig"]["temperature"] == 0.1
    assert own["labels"] == {"team": "a"}


def test_a_config_of_the_sdk_says_only_what_is_set_in_it(either: Way) -> None:
    agent, model = agent_of("a")
    either.run(agent, "hi", config=types.GenerateContentConfig(temperature=0.7))
    assert settings(model, 0) == {
        "temperature": 0.7,
        "maxOutputTokens": 50,
        "thinkingConfig": {"thinkingLevel": "low"},
    }


def test_of_two_ways_to_say_a_schema_the_later_one_holds() -> None:
    class Invoice(BaseModel):
        total: float

    merged = merged_config({"response_schema": {"type": "STRING"}, "seed": 3}, {"response_schema": Invoice})
    assert merged["generationConfig"].keys() == {"seed", "responseJsonSchema"}
    again = merged_config({"response_schema": Invoice}, {"response_schema": {"type": "STRING"}}, None)
    assert again["generationConfig"].keys() == {"responseSchema"}


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        "hot",
        {"candidate_count": 3},
        {"system_instruction": "x"},
        {"tools": [{"function_declarations": []}]},
        *({name: "x"} for name in ("tools", "tool_config", "thinking_config", "generation_config")),
        {"tools": {"google_search": {}}},
        {"tools": [5]},
        {"tool_config": {"function_calling_config": 5}},
    ],
    ids=str,
)
def test_what_is_no_config_is_refused_before_anything_is_sent(way: Way, wrong: Any) -> None:
    agent, model = agent_of("a")
    with pytest.raises(ConfigurationError, match="config"):
        way.run(agent, "hi", config=wrong)
    assert model.requests == []


@pytest.mark.parametrize("through", ["the run", "its JSON"])
def test_a_run_that_is_resumed_has_what_it_was_given(either: Way, through: str) -> None:
    agent, model = agent_of(call("pay"), "done", "more", tools=[pay])
    run = either.run(agent, "pay", config={"temperature": 0.9, "seed": 1})
    kept: Any = run if through == "the run" else run.to_json()
    decisions = {run.pending[0].call_id: Approve()}
    again = either.resume(agent, kept, decisions, config={"seed": 2})
    assert again.text == "done"
    assert settings(model, 1) == {
        **settings(model, 0),
        "seed": 2,
    }
    assert Run.from_json(again.to_json()).to_json() == again.to_json()


def test_http_options_are_merged_field_by_field_and_so_are_headers(either: Way) -> None:
    given = {"http_options": {"timeout": 9000, "headers": {"X-A": "1", "x-b": "1"}}}
    model = ScriptedModel([call("pay"), "done"])
    agent = Agent(model, config={**OWN, **given}, tools=[pay])
    options = types.HttpOptions(api_version="v1", headers={"X-B": "2"})
    run = either.run(agent, "pay", config=types.GenerateContentConfig(http_options=options))
    either.resume(agent, run.to_json(), {run.pending[0].call_id: Approve()})
    for request in cast("list[dict[str, Any]]", model.requests):
        assert request["httpOptions"] == {
            "timeout": 9000,
            "apiVersion": "v1",
            "headers": {"x-a": "1", "x-b": "2"},
        }
        assert request["generationConfig"]["temperature"] == 0.1


def test_a_run_that_was_given_none_is_written_down_without_one(either: Way) -> None:
    agent, _ = agent_of("a")
    assert '"given":{}' in either.run(agent, "hi").to_json().replace(" ", "")


def test_a_message_a_chat_and_a_manager_each_have_one(either: Way, tmp_path: Path) -> None:
    agent, model = agent_of(*"abcdef")
    with SQLiteStore(tmp_path / "a.db") as store:
        chat = either.chat(agent, store, config={"temperature": 0.5, "seed": 4})
        chat.send("one")
        chat.send("two", config={"temperature": 0.6})
        assert temperatures(model) == [0.5, 0.6]
        assert settings(model, 1)["seed"] == 4
        manager = ChatManager(agent, store, config={"temperature": 0.2})
        if either.is_async:

            async def go() -> None:
                await manager.aio.create("bob")
                await manager.aio.send_message("bob", "three")
                await manager.aio.send_message("bob", "four", config={"temperature": 0.3})
                made = await (await manager.aio.get("bob")).fork(id="cem")
                await made.send_message("five")

            asyncio.run(go())
        else:
            manager.create("bob")
            manager.send_message("bob", "three")
            manager.send_message("bob", "four", config={"temperature": 0.3})
            manager.get("bob").fork(id="cem").send_message("five")
    assert temperatures(model)[2:] == [0.2, 0.3, 0.2]


def test_a_chat_that_is_resumed_has_what_its_message_was_given() -> None:
    agent, model = agent_of(call("pay"), "done", tools=[pay])
    chat = agent.chat(config={"seed": 4})
    run = chat.send_message("pay", config={"temperature": 0.9})
    chat.resume({run.pending[0].call_id: Approve()})
    assert settings(model, 1) == settings(model, 0)
    assert temperatures(model) == [0.9, 0.9]


def test_every_run_of_a_map_has_it() -> None:
    agent, model = agent_of("a", "b")
    assert [each.error for each in agent.map(["x", "y"], config={"temperature": 0.9})] == [None, None]

    async def go() -> None:
        async for each in agent_again.aio.map(["x", "y"], config={"temperature": 0.8}):
            assert each.error is None

    agent_again, other = agent_of("a", "b")
    asyncio.run(go())
    assert temperatures(model) + temperatures(other) == [0.9, 0.9, 0.8, 0.8]


def test_an_output_is_taken_as_the_tools_of_a_runs_config_allow(either: Way) -> None:
    class Old(ScriptedModel):
        """Takes no schema beside tools."""

        @property
        def traits(self) -> Traits:
            return Traits(schema_with_tools=False)

    model = Old(['{"result": 3}'])
    asked = either.run(Agent(model), "count", output=int, config={"seed": 1})
    assert asked.output == 3
    model = Old([call("final_result", result=3)])
    asked = either.run(Agent(model), "count", output=int, config={"tools": [{"code_execution": {}}]})
    assert asked.output == 3
    assert "functionDeclarations" in str(model.requests[0]["tools"])


def test_a_sub_agent_has_its_own_alone(either: Way) -> None:
    inner = ScriptedModel(["4"])
    helper: Tool = Agent(inner, config={"temperature": 0.3}, name="helper").as_tool()
    outer = ScriptedModel([call("helper", request="2+2"), "4"])
    either.run(Agent(outer, tools=[helper]), "2+2?", config={"temperature": 0.9})
    assert temperatures(inner) == [0.3]
    assert temperatures(outer) == [0.9, 0.9]
