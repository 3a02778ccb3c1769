"""The oracle itself: each rule of GEMINI.md, broken, is refused by the loopback server by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.helpers.gemini_server import GeminiServer, call, calls, reply, stream, text
from tests.helpers.until import PATIENCE

Body = dict[str, Any]
HELLO: Body = {"role": "user", "parts": [{"text": "Hello"}]}


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as running:
        yield running


def ask(
    server: GeminiServer, body: Body, method: str = "generateContent", model: str = "gemini-3"
) -> httpx2.Response:
    url = f"{server.url}/v1beta/models/{model}:{method}"
    return httpx2.post(url, json=body, headers={"x-goog-api-key": "k"}, trust_env=False, timeout=PATIENCE)


def answered(server: GeminiServer) -> Body:
    """Make a good body: a turn of two calls, the first of them signed, with its responses."""
    server.script([calls(call("f", {"a": 1}), call("g", id=None))])
    turn = ask(server, {"contents": [HELLO]}).json()["candidates"][0]["content"]
    called = [part["functionCall"] for part in turn["parts"]]
    responses = [
        {
            "functionResponse": {key: c[key] for key in ("id", "name") if key in c}
            | {"response": {"output": 1}}
        }
        for c in called
    ]
    return {
        "contents": [copy.deepcopy(HELLO), turn, {"role": "user", "parts": responses}],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f"},
                    {"name": "g", "parametersJsonSchema": {"type": "object"}},
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    }


def edit(*path: Any, to: Any = None) -> Callable[[Body], None]:
    """Make an edit of the good body: set what is at `path`, or remove it."""

    def change(body: Body) -> None:
        at: Any = body
        for key in path[:-1]:
            at = at[key]
        if to is None:
            del at[path[-1]]
        else:
            at[path[-1]] = to

    return change


CALLS, ANSWERS = ("contents", 1, "parts"), ("contents", 2, "parts")
DECLARED, CALLING = ("tools", 0, "functionDeclarations"), ("toolConfig", "functionCallingConfig")
BROKEN: list[tuple[Callable[[Body], None], str]] = [
    (edit("wishes", to=1), "Unknown name ['wishes']"),
    (edit("contents"), "contents are required"),
    (edit("contents", 0), "rule 4: history starts"),
    (edit("contents", 0, "role", to="system"), "valid role"),
    (edit("contents", 0, "mood", to="glad"), "Unknown name in a content"),
    (edit("contents", 0, "parts", to=[]), "must not be empty"),
    (edit("contents", 0, "parts", 0, to={"words": "x"}), "Unknown name in a part"),
    (edit("contents", 0, "parts", 0, to={"thought": True}), "one data field"),
    (edit("contents", 0, "parts", 0, to={"text": "x", "fileData": {}}), "one data field"),
    (edit("contents", 0, "parts", 0, to=call("f")), "rule 4: functionCall in a content of role user"),
    (edit("contents", 2), "rule 2: the last calls have no responses"),
    (edit("contents", 2, to=copy.deepcopy(HELLO)), "rule 2: the number of function response parts"),
    (edit(*CALLS, 0, "functionCall", "id", to="mine"), "rule 3: a thought signature is in another part"),
    (edit(*CALLS, 0, "functionCall", "args", "a", to=2), "rule 3: a thought signature is in another part"),
    (edit(*CALLS, 0, "thoughtSignature", to="bWluZQ=="), "rule 3: Corrupted"),
    (edit(*CALLS, 0, "thoughtSignature"), "rule 3: a thought signature is missing"),
    (edit(*CALLS, 1, "functionCall", "id", to="mine"), "rule 1: the id 'mine' is invented"),
    (edit(*CALLS, 1, "functionCall", "args", to=[]), "functionCall.args is an object"),
    (edit(*CALLS, 1, "functionCall", "why", to=1), "Unknown name in functionCall"),
    (edit(*ANSWERS, 0), "rule 2: the number"),
    (lambda body: body["contents"][2]["parts"].reverse(), "rule 2: names or order"),
    (edit(*ANSWERS, 0, "functionResponse", "id"), "rule 1: a response doesn't echo"),
    (edit(*ANSWERS, 1, "functionResponse", "id", to="x"), "rule 1: a response doesn't echo"),
    (edit(*ANSWERS, 0, "functionResponse", "response", to="3"), "rule 6"),
    (edit(*ANSWERS, 0, "functionResponse", "output", to="3"), "Unknown name in functionResponse"),
    (edit(*DECLARED, 0, "name", to="1st"), "rule 7: Invalid function name"),
    (edit(*DECLARED, 0, "name", to="g"), "rule 7: Duplicate"),
    (edit(*DECLARED, to=[{"name": f"f{n}"} for n in range(513)]), "rule 7: at most 512"),
    (edit(*DECLARED, 0, "returns", to={}), "Unknown name in a declaration"),
    (edit(*DECLARED, 1, "parameters", to={}), "exclude one another"),
    (edit(*DECLARED, 1, "parametersJsonSchema", to={"type": "text"}), "rule 7: g:"),
    (edit("tools", 0, "googleSearch", to={}), "rule 5"),
    (edit(*CALLING, "mode", to="MUST"), "unknown mode"),
    (edit(*CALLING, "mode", to="AUTO"), "need the mode ANY"),
    (edit("tools"), "needs function declarations"),
    (edit(*CALLING, "allowedFunctionNames", to=["h"]), "not declared"),
    (edit("toolConfig", to=3), "an object was expected"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_rule_is_refused_by_name(
    server: GeminiServer, change: Callable[[Body], None], message: str
) -> None:
    body = answered(server)
    server.script(["never"])
    change(body)
    refused = ask(server, body)
    assert refused.status_code == 400
    assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert message in refused.json()["error"]["message"]
    assert server.left == 1


def test_what_keeps_the_rules_is_answered_in_either_casing(server: GeminiServer) -> None:
    body = answered(server)
    server.script(["ok", "ok"])
    assert ask(server, body).status_code == 200
    snake = {
        "contents": copy.deepcopy(body["contents"]),
        "tools": [{"function_declarations": body["tools"][0]["functionDeclarations"]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
    }
    first = snake["contents"][1]["parts"][0]
    snake["contents"][1]["parts"][0] = {
        "function_call": first["functionCall"],
        "thought_signature": first["thoughtSignature"],
    }
    assert ask(server, snake).status_code == 200
    assert ask(server, body).json()["error"]["message"] == "GeminiServer: the script is used up"


def test_json_replies_beside_tools_are_refused_for_the_models_of_two(server: GeminiServer) -> None:
    body = answered(server)
    body["generationConfig"] = {"responseMimeType": "application/json"}
    server.script(["ok"])
    other = {**body, "contents": [HELLO]}
    assert "rule 8" in ask(server, other, model="gemini-2.5-pro").text
    assert ask(server, body).status_code == 200


SKIP = "skip_thought_signature_validator"


def _with_signature(body: Body, signature: str | None, *, at: int = 0) -> Body:
    """Copy a body with another signature in a call of its second content, and none in the others."""
    changed = copy.deepcopy(body)
    for part in changed["contents"][1]["parts"]:
        part.pop("thoughtSignature", None)
    if signature is not None:
        changed["contents"][1]["parts"][at]["thoughtSignature"] = signature
    return changed


def test_a_model_takes_a_stand_in_for_another_models_signature_and_nothing_else(server: GeminiServer) -> None:
    body = answered(server)
    stand_in = _with_signature(body, SKIP)
    server.script(["ok"] * 4)
    assert "one of gemini-3" in ask(server, body, model="gemini-4").text
    assert "is missing" in ask(server, _with_signature(body, None), model="gemini-4").text
    assert "is missing" in ask(server, _with_signature(body, SKIP, at=1), model="gemini-4").text
    assert ask(server, stand_in, model="gemini-4").status_code == 200
    assert "none is demanded" in ask(server, stand_in, model="gemini-2.5-pro").text
    assert ask(server, _with_signature(body, None), model="gemini-2.5-pro").status_code == 200
    assert "is missing" in ask(server, stand_in).text  # the model that signed it takes its own only
    assert ask(server, body).status_code == 200
    later = {**stand_in, "contents": [*stand_in["contents"], HELLO]}
    assert "none is demanded" in ask(server, later, model="gemini-4").text


def test_a_model_may_have_a_script_of_its_own(server: GeminiServer) -> None:
    server.script(["mine"], model="gemini-4")
    server.script(["any"])
    assert "mine" in ask(server, {"contents": [HELLO]}, model="gemini-4").text
    assert "used up" in ask(server, {"contents": [HELLO]}, model="gemini-4").text
    assert server.left == 1
    assert "any" in ask(server, {"contents": [HELLO]}).text
    assert (len(server.asked("gemini-4")), server.left) == (2, 0)


def test_counting_wants_either_contents_or_a_request_of_the_same_model(server: GeminiServer) -> None:
    inner = {"contents": [HELLO], "model": "models/gemini-3"}
    assert ask(server, {"generateContentRequest": inner}, "countTokens").json()["totalTokens"] > 0
    assert (
        "exclude" in ask(server, {"generateContentRequest": inner, "contents": [HELLO]}, "countTokens").text
    )
    other = {"generateContentRequest": inner | {"model": "models/gemini-4"}}
    assert "must be models/gemini-3" in ask(server, other, "countTokens").text


def test_callers_without_a_key_a_known_method_or_json_are_refused(server: GeminiServer) -> None:
    url = f"{server.url}/v1beta/models/m:generateContent"
    assert httpx2.post(url, json={}, trust_env=False, timeout=PATIENCE).status_code == 403
    assert ask(server, {"contents": [HELLO]}, "embedContent").status_code == 404
    headers = {"x-goog-api-key": "k"}
    assert (
        httpx2.post(url, content=b"{", headers=headers, trust_env=False, timeout=PATIENCE).status_code == 400
    )
    short = {**headers, "X-Server-Timeout": "5"}
    assert "too short" in httpx2.post(url, json={}, headers=short, trust_env=False, timeout=PATIENCE).text


def test_trusted_signatures_and_computed_replies_work(server: GeminiServer) -> None:
    old = {"role": "model", "parts": [{"text": "Hi", "thoughtSignature": "b2xk"}]}
    body = {"contents": [HELLO, old, HELLO]}
    server.script([lambda received: f"{len(received['contents'])} contents", {"promptFeedback": {}}])
    assert "Corrupted" in ask(server, body).text
    server.trust(body["contents"])
    assert "3 contents" in ask(server, body).text
    assert ask(server, body).json() == {"promptFeedback": {}}


def test_a_stream_has_a_chunk_for_each_part_and_signs_an_empty_last_one(server: GeminiServer) -> None:
    server.script([text("abc", chunks=3, thought="hm", sign=True), stream([{"candidates": []}]), reply([])])
    events = ask(server, {"contents": [HELLO]}, "streamGenerateContent?alt=sse").text.split("\r\n\r\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event]
    parts = [chunk["candidates"][0]["content"]["parts"][0] for chunk in chunks]
    assert [part["text"] for part in parts] == ["hm", "a", "b", "c", ""]
    assert [("thoughtSignature" in part) for part in parts] == [False] * 4 + [True]
    assert ["finishReason" in chunk["candidates"][0] for chunk in chunks] == [False] * 4 + [True]
    assert ask(server, {"contents": [HELLO]}).json() == {"candidates": []}
    assert ask(server, {"contents": [HELLO]}).json()["candidates"] == [{"index": 0, "finishReason": "STOP"}]
    without = {"role": "model", "parts": [{"text": "abc"}]}
    assert "rule 3" in ask(server, {"contents": [HELLO, without, HELLO]}).text


def test_waiting_for_what_never_happens_fails() -> None:
    with GeminiServer() as server, pytest.raises(AssertionError, match="didn't come true"):
        server.wait(lambda: False, seconds=0.01)
