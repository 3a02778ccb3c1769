"""What an agent's config becomes on the wire: what google-genai itself sends, or a refusal that says what to give."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import httpx2
import pytest
from google import genai
from google.genai import types

from agentkit import Agent, Model, tool
from agentkit.core.repair import RetryPolicy
from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.model import GeminiModel
from agentkit.testing import ScriptedModel, call, reply
from tests.helpers.gemini import (
    HELLO,
    KEY,
    AsyncInProcess,
    GetReply,
    InProcess,
    Make,
    answer_ok,
    every_method,
)
from tests.helpers.gemini_server import GeminiServer, calls, fault, text
from tests.helpers.gemini_server import call as asked
from tests.helpers.ways import WAYS, Way, either, way

__all__ = ["either", "way"]

CONFIGS: dict[str, Any] = {
    "numbers": {"temperature": 0, "top_k": 3, "seed": 7, "stop_sequences": ["END"]},
    "store": {"store": False, "service_tier": "flex"},
    "labels": {"labels": {"my_team": "a_b"}},
    "voice": {"speech_config": "Kore", "response_modalities": ["AUDIO"]},
    "token": {"continuation_token": b"\xfb\xffgo on"},
    "cache": {"cached_content": "short"},
    "thoughts": {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_level="low")},  # type: ignore[arg-type]
    "safety": {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]},
    "search": {"tools": [{"google_search": {}}, types.Tool(url_context=types.UrlContext())]},
    "maps": {
        "tools": [{"google_maps": {}}],
        "tool_config": {"retrieval_config": {"lat_lng": {"latitude": 1.5, "longitude": 2}}},
    },
    "mcp": {
        "tools": [
            {
                "mcp_servers": [
                    {
                        "name": "files",
                        "streamable_http_transport": {
                            "url": "https://example.com",
                            "headers": {"X_Team_Id": "1", "authorization": "Bearer t"},
                        },
                    }
                ]
            }
        ]
    },
    "schema": {
        "response_mime_type": "application/json",
        "response_schema": {"type": "OBJECT", "properties": {"a_b": {"type": "STRING", "max_length": 3}}},
    },
}
"""As the SDK's users write them."""

FORMS: dict[str, Callable[[Any], Any]] = {
    "as given": lambda config: config,
    "object": types.GenerateContentConfig.model_validate,
    "dump": lambda config: types.GenerateContentConfig.model_validate(config).model_dump(),
}


def sdks_own(server: GeminiServer, config: Any) -> dict[str, Any]:
    """Let the SDK send a request with a config, and return what beside the contents it sent."""
    client = genai.Client(
        api_key=KEY, http_options={"base_url": server.url, "headers": {"Connection": "close"}}
    )
    client.models.generate_content(model="gemini-3.8-flash", contents="Hello", config=config)
    client.close()
    return beside_contents(server)


def beside_contents(server: GeminiServer) -> dict[str, Any]:
    body = server.requests[-1].body
    return {key: value for key, value in body.items() if key != "contents" and value != {}}


def anything_goes(_: Any, __: str) -> None:
    """Take the newest fields too, which the server's rules don't know yet."""


@pytest.fixture(autouse=True)
def lenient(server: GeminiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.rules, "check", anything_goes)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_sent_as_the_sdk_sends_it(make: Make, server: GeminiServer, name: str) -> None:
    server.script(["ok"] * 20)
    expected = sdks_own(server, CONFIGS[name])
    for form in FORMS:
        agent = Agent(make("gemini-3.8-flash"), config=FORMS[form](CONFIGS[name]))
        for each in (*WAYS.values(), WAYS["run"]):  # the first one is asked about
            each.run(agent, "Hello")
            sent = beside_contents(server)
            assert json.dumps(sent, sort_keys=True) == json.dumps(expected, sort_keys=True), (form, each)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"temprature": 1}, "config['temprature']: there is no such field; did you mean 'temperature'"),
        ({"temperature": "hot"}, "config['temperature'] is not valid: Input should be a valid number"),
        ({"thinkingConfig": {"includeThoght": 1}}, "['include_thoght']: .* did you mean 'include_thoughts'"),
        ({"tools": [{"google_serach": {}}]}, "['google_serach']: .* did you mean 'google_search'"),
        ({"brand_new_thing": 1}, "extra_body"),
        (
            {"temperature": 1, "thinking_config": {"thinking_level": 5}},
            "config['thinking_config'] is not valid: 'int'",
        ),
        ({"response_schema": {"typ": "STRING"}}, "config['response_schema'] is not valid: typ: Extra inputs"),
        ({"tools": [{"mcp_servers": [5]}]}, "config['tools']['mcp_servers'] is not valid"),
        ({"model_armor_config": {}}, "model_armor_config"),  # of Vertex AI alone
    ],
)
def test_a_wrong_config_is_refused_at_the_first_request_with_the_nearest_names(
    make: Make, server: GeminiServer, either: Way, config: Any, words: str
) -> None:
    agent = Agent(make(), config=config)
    with pytest.raises(ConfigurationError, match=words.replace("[", r"\[")) as caught:
        either.run(agent, "Hello")
    assert caught.value.__cause__ is None
    assert server.requests == []
    assert "secret-1" not in str(caught.value.__context__)


HTTP: Any = {
    "timeout": 20_000,
    "headers": {"X-Team": "tea"},
    "extra_body": {"labels": {"a": "b"}, "generation_config": {"seed": 4}},
    "api_version": "v1alpha",
}


def test_http_options_of_a_message_are_those_of_the_sdks_request(make: Make, server: GeminiServer) -> None:
    """And of no request after it."""

    def sent() -> tuple[str, dict[str, str | None], dict[str, Any]]:
        request, names = server.requests[-1], ("x-team", "x-server-timeout", "x-goog-api-key")
        return request.path, {name: request.headers.get(name) for name in names}, beside_contents(server)

    server.script(["ok"] * 20)
    config = types.GenerateContentConfig(temperature=0.5, http_options=types.HttpOptions(**HTTP))
    sdks_own(server, config)
    _, headers, body = sent()
    assert headers == {"x-team": "tea", "x-server-timeout": "20", "x-goog-api-key": KEY}
    agent = Agent(make("gemini-3.8-flash"))
    for each in WAYS.values():
        each.run(agent, "Hello", config=config)
        path, *rest = sent()
        assert path.startswith("/v1alpha/models/gemini-3.8-flash:")
        assert rest == [headers, body]
        each.run(agent, "Hello")
        assert sent()[0].startswith("/v1beta/")
        assert sent()[1:] == ({**dict.fromkeys(headers), "x-goog-api-key": KEY}, {})
    assert agent.count_tokens("Hello", config=config) > 0
    path, counted, body = sent()
    assert (path, counted) == ("/v1alpha/models/gemini-3.8-flash:countTokens", headers)
    assert body["generateContentRequest"]["generationConfig"] == {"seed": 4, "temperature": 0.5}


@pytest.mark.slow
def test_the_timeout_of_a_message_stands_in_the_place_of_the_models(
    make: Make, server: GeminiServer, way: Way
) -> None:
    def answer(body: Any) -> Any:  # the first one may not get here in its time
        return fault("hang") if "labels" in body else text("Late.", delay=0.2)

    server.script([answer, answer])
    agent = Agent(make(timeout=0.1), retry=RetryPolicy(attempts=1))
    with pytest.raises(ModelError, match=r"didn't answer in full within 0\.05 s"):
        way.run(agent, "Hello", config={"http_options": {"timeout": 50}, "labels": {"a": "b"}})
    assert way.run(agent, "Hello", config={"http_options": {"timeout": 90_000}}).text == "Late."


@every_method
@pytest.mark.parametrize("owner", ["own", "users"])
def test_what_the_sdk_doesnt_know_goes_in_the_extra_body(ask: GetReply, owner: str) -> None:
    transport = InProcess(answer_ok)
    extra = {"generation_config": {"brandNew": 1}, "anotherOne": [2], "labels": {"a": "b"}}
    http: Any = {
        "extra_body": extra,
        "client_args": {"transport": transport},
        "async_client_args": {"transport": AsyncInProcess(transport)},
    }
    given: Any = (
        {"api_key": KEY, "http_options": http}
        if owner == "own"
        else {"client": genai.Client(api_key=KEY, http_options=http)}
    )
    ask(GeminiModel(**given), {**HELLO, "generationConfig": {"seed": 1}})
    expected = {
        **HELLO,
        "generationConfig": {"seed": 1, "brandNew": 1},
        "anotherOne": [2],
        "labels": {"a": "b"},
    }
    assert json.loads(transport.requests[0].content) == expected
    assert GeminiModel("gemini-x", **given).count_tokens({**HELLO, "generationConfig": {"seed": 1}}) == 7
    counted = json.loads(transport.requests[1].content)
    assert counted["generateContentRequest"] == {"model": "models/gemini-x", **expected}


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def test_with_a_cache_go_no_instructions_and_tools_and_calls_are_run_as_ever(
    make: Make, server: GeminiServer, way: Way
) -> None:
    server.script([calls(asked("add", {"a": 1, "b": 2})), "Three."])
    cached = {"cached_content": "cachedContents/c", "tools": [{"google_search": {}}]}
    run = way.run(
        Agent(make("gemini-3.8-flash"), tools=[add], instructions="Be brief.", config=cached), "1+2?"
    )
    assert run.text == "Three."
    assert [request.body.keys() - {"generationConfig"} for request in server.requests] == [
        {"contents", "cachedContent"}
    ] * 2
    response = server.requests[1].body["contents"][2]["parts"][0]["functionResponse"]["response"]
    assert response == {"output": 3}


def test_what_a_cache_excludes_is_refused(make: Make) -> None:
    cached = {"cached_content": "c"}
    with pytest.raises(ConfigurationError, match="rule 12"):
        Agent(make(), tools=[add], config=cached, tool_choice="required")
    with pytest.raises(ConfigurationError, match="rule 12"):
        Agent(make(), tools=[add], config=cached).run("x", tool_choice=["add"])
    with pytest.raises(ConfigurationError, match="rule 12"):
        Agent(make("gemini-2.5-flash"), tools=[add], config=cached).run("x", output=int)
    with pytest.raises(ConfigurationError, match="no explicit caches"):
        Agent(make("gemini-4-neon"), config=cached).run("x")


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_a_function_calling_config_goes_only_where_a_function_is_declared(
    make: Make, server: GeminiServer, choice: Any
) -> None:
    server.script(["ok"] * 3)
    calling = {"function_calling_config": {"mode": "VALIDATED"}}
    for config in (
        {"tool_config": calling},
        {"tool_config": calling, "tools": [{"google_search": {}}]},
        None,
    ):
        WAYS["astream"].run(Agent(make(), config=config, tool_choice=choice), "Hello")
        assert "toolConfig" not in server.requests[-1].body


GIVEN: list[Any] = [
    {"google_search": {}},
    {"googleSearch": {}},
    types.Tool(google_search=types.GoogleSearch()),
    types.Tool(google_search=types.GoogleSearch()).model_dump(),
    [types.Tool(google_search=types.GoogleSearch())],
]


@pytest.mark.parametrize("given", GIVEN)
def test_geminis_own_tools_are_tools_like_any(
    make: Make, server: GeminiServer, either: Way, given: Any
) -> None:
    server.script(["ok"] * 4)
    either.run(Agent(make(), tools=given), "Hello")
    assert server.requests[-1].body["tools"] == [{"googleSearch": {}}]
    agent = Agent(make(), tools=[add, given], config={"tools": [{"url_context": {}}]})
    assert [each.name for each in agent.tools] == ["add"]
    either.run(agent, "Hello")
    declared, *others = server.requests[-1].body["tools"]
    assert (declared.keys(), others) == ({"functionDeclarations"}, [{"urlContext": {}}, {"googleSearch": {}}])
    either.run(agent, "Hello", tools=[given])
    assert server.requests[-1].body["tools"] == [{"urlContext": {}}, {"googleSearch": {}}]
    either.run(agent, "Hello", tools=[])
    assert server.requests[-1].body["tools"] == [{"urlContext": {}}]


def test_a_tool_of_declarations_and_of_the_servers_is_both(make: Make, server: GeminiServer) -> None:
    server.script(["ok"])
    both = types.Tool(
        google_search=types.GoogleSearch(), function_declarations=[types.FunctionDeclaration(name="look")]
    )
    agent = Agent(make(), tools=[both])
    agent.run("Hello")
    declared, search = server.requests[-1].body["tools"]
    assert [each["name"] for each in declared["functionDeclarations"]] == ["look"]
    assert search == {"googleSearch": {}}


def test_an_agent_is_a_tool_as_it_is(way: Way) -> None:
    inner = Agent(ScriptedModel(["It is sunny."]), name="weather")
    outer: Model = ScriptedModel([reply(call("weather", request="Paris?")), "Sunny."])
    run = way.run(Agent(outer, tools=[inner]), "Weather?")
    assert run.text == "Sunny."
    assert run.contents[2]["parts"][0]["functionResponse"]["response"] == {"output": "It is sunny."}


def test_short_names_of_caches_are_those_of_the_project_on_vertex_ai() -> None:
    class Token:
        """Credentials that are good."""

        token, quota_project_id, expired = "t", None, False

        def refresh(self, _: Any) -> None: ...

    transport = InProcess(answer_ok)
    client = genai.Client(
        vertexai=True,
        project="p",
        location="l",
        credentials=cast(Any, Token()),
        http_options=types.HttpOptions(httpx_client=httpx2.Client(transport=transport)),
    )
    config = {
        "cached_content": "c",
        "model_armor_config": {"prompt_template_name": "t"},
        "generation_output_config": {"output_uri_prefix": "gs://b/o"},
    }
    Agent(GeminiModel("gemini-3.8-flash", client=client), config=config).run("Hello")
    client.models.generate_content(model="gemini-3.8-flash", contents="Hello", config=cast(Any, config))
    ours, theirs = [json.loads(request.content) for request in transport.requests]
    assert ours == theirs
    assert ours["cachedContent"] == "projects/p/locations/l/cachedContents/c"
