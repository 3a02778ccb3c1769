"""Sixty configs: what is sent is what google-genai sends, or is refused as it refuses, on both APIs in both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
from google import genai
from google.genai import types

from agentkit import Agent, ConfigurationError, GeminiModel
from tests.helpers.gemini import KEY, NO_TLS, InProcess, answer_ok

NAME = "gemini-3.8-flash"
OBJECT = {"type": "OBJECT", "properties": {"sku": {"type": "STRING"}}, "required": ["sku"]}
CONFIGS: list[dict[str, Any]] = [
    *({"temperature": value} for value in (0, 0.5, 2.0)),
    *({"top_p": value} for value in (0.0, 0.95)),
    *({"top_k": value} for value in (1, 40.0)),
    *({"max_output_tokens": value} for value in (1, 65_536)),
    *({"stop_sequences": value} for value in (["END"], ["a", "b"])),
    *({"seed": value} for value in (0, 7)),
    {"presence_penalty": 0.25},
    {"frequency_penalty": -1.5},
    *({"response_logprobs": True, **more} for more in ({}, {"logprobs": 3})),
    *({"response_mime_type": value} for value in ("text/plain", "application/json", "text/x.enum")),
    {"response_mime_type": "application/json", "response_schema": OBJECT},
    {
        "response_mime_type": "application/json",
        "response_json_schema": {"type": "array", "items": {"type": "integer"}},
    },
    {"response_mime_type": "text/x.enum", "response_schema": {"type": "STRING", "enum": ["a", "b"]}},
    *({"response_modalities": value} for value in (["TEXT"], ["TEXT", "IMAGE"], ["AUDIO"])),
    *({"media_resolution": f"MEDIA_RESOLUTION_{value}"} for value in ("LOW", "HIGH")),
    {"speech_config": "Kore"},
    {
        "speech_config": {
            "language_code": "de-DE",
            "voice_config": {"prebuilt_voice_config": {"voice_name": "Puck"}},
        }
    },
    {"audio_timestamp": True},
    *({"thinking_config": {"thinking_level": value}} for value in ("LOW", "HIGH")),
    {"thinking_config": {"thinking_budget": 0}},
    {"thinking_config": {"include_thoughts": True, "thinking_budget": 512}},
    {"image_config": {"aspect_ratio": "16:9"}},
    {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
    {
        "safety_settings": [
            {"category": f"HARM_CATEGORY_{kind}", "threshold": "BLOCK_ONLY_HIGH"}
            for kind in ("HATE_SPEECH", "DANGEROUS_CONTENT")
        ]
    },
    {"labels": {"team": "tea", "env": "test"}},
    *({"service_tier": value} for value in ("flex", "priority", "standard")),
    *({"cached_content": value} for value in ("short", "cachedContents/long")),
    {"system_instruction": "Be brief."},
    {"model_armor_config": {"prompt_template_name": "projects/p/locations/l/templates/t"}},
    {"model_selection_config": {"feature_selection_preference": "BALANCED"}},
    {"routing_config": {"manual_mode": {"model_name": "gemini-x"}}},
    {"enable_enhanced_civic_answers": True},
    {"store": False},
    *({"tools": [{kind: {}}]} for kind in ("google_search", "url_context", "code_execution", "google_maps")),
    {"tools": [{"google_search": {}}, {"url_context": {}}]},
    {"tools": [{"google_search": {"exclude_domains": ["example.com"]}}]},
    {"tools": [{"file_search": {"file_search_store_names": ["fileSearchStores/tea"], "top_k": 3}}]},
    {"tools": [{"retrieval": {"vertex_ai_search": {"datastore": "projects/p/d"}}}]},
    {"tools": [{"enterprise_web_search": {}}]},
    {
        "tools": [{"google_maps": {}}],
        "tool_config": {"retrieval_config": {"lat_lng": {"latitude": 35.0, "longitude": 135.8}}},
    },
    {"temperature": 0.2, "top_p": 0.9, "seed": 3, "max_output_tokens": 100, "stop_sequences": ["\n\n"]},
]


def test_there_are_sixty_and_each_says_something_else() -> None:
    assert len({json.dumps(config, sort_keys=True) for config in CONFIGS}) == len(CONFIGS) >= 60


class Way:
    """google-genai itself, and the two ways to Gemini beside it, on one of the APIs."""

    def __init__(self, *, vertex: bool) -> None:
        self.sent = InProcess(answer_ok)
        options: dict[str, Any] = {
            "httpx_client": httpx2.Client(transport=self.sent),
            "httpx_async_client": httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport()),
            "client_args": {"verify": NO_TLS},
            "async_client_args": {"verify": NO_TLS, "ssl": NO_TLS},
        }
        http = cast(types.HttpOptionsDict, options)
        self.client = genai.Client(vertexai=vertex, api_key=KEY, http_options=http)
        self.ours = {
            "own transport": GeminiModel(
                NAME, api_key=KEY, http_options={"httpx_client": options["httpx_client"]}
            ),
            "client=": GeminiModel(NAME, client=self.client),
        }
        for model in self.ours.values():
            model.count_tokens(
                {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
            )  # which makes it

    def sdks(self, config: dict[str, Any]) -> str | None:
        """Return the body that google-genai sends, in order; None where it refuses."""
        try:
            self.client.models.generate_content(model=NAME, contents="Hello", config=cast(Any, config))
        except ValueError:
            return None
        return self.body()

    def body(self) -> str:
        """Return the last body, in order; of an empty generationConfig, which google-genai adds, nothing."""
        body = json.loads(self.sent.requests[-1].content)
        return json.dumps({key: value for key, value in body.items() if value != {}}, sort_keys=True)


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[str, Way]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GOOGLE_GENAI_USE_VERTEXAI", raising=False)
        made = {"Gemini API": Way(vertex=False)}
        patch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")  # with a key: Vertex AI in express mode
        made["Vertex AI"] = Way(vertex=True)
        yield made


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: "+".join(config))
@pytest.mark.parametrize("api", ["Gemini API", "Vertex AI"])
def test_a_config_is_sent_or_refused_as_google_genai_does(
    ways: dict[str, Way], api: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", str(api == "Vertex AI").lower())
    way = ways[api]
    expected = way.sdks(config)
    instructions = config.get("system_instruction")
    rest = {key: value for key, value in config.items() if key != "system_instruction"}
    for name, model in way.ours.items():
        agent = Agent(model, instructions=instructions, config=rest)
        if expected is None:
            with pytest.raises(ConfigurationError):
                agent.run("Hello")
            continue
        assert agent.run("Hello").text == "ok", name
        assert way.body() == expected, name
