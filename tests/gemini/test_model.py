"""GeminiModel against a server on loopback: replies, streams, what goes on the wire."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any, cast

import httpx2
import pytest

from agentkit import Agent
from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.model import DEFAULT_MODEL, GeminiModel
from agentkit.wire.content import Request, response_part, user_content
from tests.helpers.gemini import (
    HELLO,
    KEY,
    STOCK,
    GetReply,
    InProcess,
    Make,
    every_method,
    full_request,
    in_camel_case,
    text_in,
)
from tests.helpers.gemini_server import GeminiServer, call, calls, fault, reply, text
from tests.helpers.ways import Way, way

__all__ = ["way"]


def without_empty_config(body: dict[str, Any]) -> dict[str, Any]:
    """Drop the empty generationConfig that the SDK adds: to the server it is none."""
    return {key: value for key, value in body.items() if (key, value) != ("generationConfig", {})}


@every_method
def test_a_text_comes_back_whole(make: Make, server: GeminiServer, ask: GetReply) -> None:
    server.script([text("Good day, Ann \u2028 \N{CAT FACE}", chunks=4)])
    replies = ask(make(), HELLO)
    assert text_in(replies) == "Good day, Ann \u2028 \N{CAT FACE}"
    assert replies[-1]["candidates"][0]["finishReason"] == "STOP"
    assert replies[-1]["usageMetadata"]["totalTokenCount"] == 15


@every_method
def test_a_turn_of_calls_can_be_answered_with_what_came_back(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    args = {"sku": "TEA-1", "n": None, "nested_key": {"a_b": [1, None]}}
    server.script([calls(call("stock", args), call("stock", {}, id=None), thought="Hm."), "Three."])
    model = make()
    parts = [p for r in ask(model, HELLO) for p in r["candidates"][0].get("content", {}).get("parts", [])]
    assert parts[1]["functionCall"] == {"id": "call-1", "name": "stock", "args": args}
    assert parts[1]["thoughtSignature"]
    assert "id" not in parts[2]["functionCall"]
    responses = [response_part(part["functionCall"], {"output": 3}) for part in parts[1:]]
    history = [*HELLO["contents"], {"role": "model", "parts": parts}, user_content(*responses)]
    request = cast(Request, {"contents": history, "tools": [{"functionDeclarations": [STOCK]}]})
    assert text_in(ask(model, request)) == "Three."  # the server has checked the signature and the ids


@every_method
def test_a_blocked_prompt_and_an_empty_reply_are_replies(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    server.script([fault("blocked", reason="SAFETY"), fault("malformed-call")])
    model = make()
    assert ask(model, HELLO)[-1]["promptFeedback"]["blockReason"] == "SAFETY"
    assert ask(model, HELLO)[-1]["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"


@every_method
def test_nothing_of_a_reply_is_lost_on_the_own_path(server: GeminiServer, ask: GetReply) -> None:
    part = {"hologram": {"depth": 3}}
    server.script([reply([part], finish="NOVEL_REASON", message="why not")])
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
    candidate = ask(model, HELLO)[-1]["candidates"][0]
    assert candidate["content"] == {"role": "model", "parts": [part]}
    assert (candidate["finishReason"], candidate["finishMessage"]) == ("NOVEL_REASON", "why not")


def test_bytes_that_the_sdk_has_parsed_are_standard_base64_again(make: Make, server: GeminiServer) -> None:
    data = "+/+/++++////AAA="
    server.script(
        [reply([{"inlineData": {"mimeType": "image/png", "data": data}, "thoughtSignature": data}])]
    )
    part = next(make().stream(HELLO))["candidates"][0]["content"]["parts"][0]
    assert part == {"inlineData": {"mimeType": "image/png", "data": data}, "thoughtSignature": data}


def test_a_stream_is_read_in_whatever_pieces_it_arrives(server: GeminiServer) -> None:
    chunks = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": letter}]}}]} for letter in "añb"
    ]
    last = {"candidates": [{"finishReason": "STOP"}]}
    events = "".join(f"data: {json.dumps(c, ensure_ascii=False)}\r\n\r\n" for c in [*chunks, last]).encode()
    pieces = [events[at : at + 1] for at in range(len(events))]
    transport = InProcess(lambda request: httpx2.Response(200, content=iter(pieces)))
    model = GeminiModel(api_key=KEY, http_options={"client_args": {"transport": transport}})
    assert list(model.stream(HELLO)) == [*chunks, last]


@every_method
def test_the_request_goes_out_as_it_is_and_stays_as_it_is(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    request = full_request()
    before = copy.deepcopy(request)
    server.script(["ok"])
    ask(make(), request)
    assert in_camel_case(server.requests[0].body) == before == request


@every_method
def test_path_and_headers_are_the_sdks(make: Make, server: GeminiServer, ask: GetReply) -> None:
    server.script(["ok"])
    ask(make("models/gemini-x"), HELLO)
    method = "streamGenerateContent?alt=sse" if "stream" in ask.__name__ else "generateContent"
    received = server.requests[0]
    assert received.path == f"/v1beta/models/gemini-x:{method}"
    assert received.headers["x-goog-api-key"] == KEY
    assert received.headers["user-agent"].startswith("google-genai-sdk/")
    assert received.headers["content-type"] == "application/json"


@every_method
def test_the_server_is_told_the_deadline_but_none_it_refuses(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    server.script(["ok"] * 3)
    ask(make(), HELLO)
    ask(make(timeout=3), HELLO)
    ask(make(timeout=30.5), HELLO)
    assert [r.headers.get("x-server-timeout") for r in server.requests] == [None, "10", "31"]


@every_method
def test_the_servers_own_tools_beside_functions_ask_for_their_calls(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    tools: list[dict[str, Any]] = [{"googleSearch": {}}, {"functionDeclarations": [STOCK]}]
    request: Request = {**HELLO, "tools": tools, "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}
    before = copy.deepcopy(request)
    server.script(["ok"])
    ask(make(), request)
    config = server.requests[0].body["toolConfig"]
    assert config == {"functionCallingConfig": {"mode": "AUTO"}, "includeServerSideToolInvocations": True}
    assert request == before


@pytest.mark.parametrize(
    ("tools", "config"),
    [
        ([{"googleSearch": {}}], None),
        ([{"functionDeclarations": [STOCK]}, {"computerUse": {}}], None),
        (
            [{"google_search": {}, "function_declarations": [STOCK]}],
            {"include_server_side_tool_invocations": True},
        ),
    ],
)
def test_tools_that_need_no_such_flag_get_none(
    make: Make, server: GeminiServer, tools: list[Any], config: Any
) -> None:
    request = cast(Request, {**HELLO, "tools": tools, **({"toolConfig": config} if config else {})})
    server.script(["ok"])
    make().generate(request)
    assert server.requests[0].body.get("toolConfig") == config


def test_tokens_are_counted_with_tools_and_instruction(make: Make, server: GeminiServer) -> None:
    model, request = make(), full_request()
    bare, full = model.count_tokens(HELLO), model.count_tokens(request)
    assert bare < full
    assert asyncio.run(model.acount_tokens(request)) == full
    assert without_empty_config(server.requests[0].body) == HELLO
    for received in server.requests[1:]:
        inner = received.body["generateContentRequest"]
        assert in_camel_case(inner) == {"model": f"models/{DEFAULT_MODEL}", **request}
        assert received.body.get("contents", []) == []


def test_the_sdk_has_nothing_to_say_in_its_log_of_what_it_is_given(
    make: Make, server: GeminiServer, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(["ok"])
    agent = Agent(make())
    assert agent.count_tokens("Hello") > 0
    assert asyncio.run(agent.aio.count_tokens("Hello")) > 0
    way.run(agent, "Hello")
    assert [each for each in caplog.records if each.name.startswith("google")] == []


def test_a_count_without_a_number_is_an_error(make: Make, server: GeminiServer) -> None:
    transport = InProcess(lambda _: httpx2.Response(200, json={"totalTokens": "many"}))
    model = GeminiModel(api_key=KEY, http_options={"client_args": {"transport": transport}})
    with pytest.raises(ModelError, match="no totalTokens"):
        model.count_tokens(HELLO)


def test_a_request_that_is_no_json_is_refused_before_it_is_sent(server: GeminiServer) -> None:
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
    for value in (float("nan"), object()):
        with pytest.raises(ConfigurationError, match="can't be written as JSON"):
            model.generate({**HELLO, "generationConfig": {"temperature": value}})
    assert server.requests == []
