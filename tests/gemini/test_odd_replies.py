"""Whatever the server sends, a run ends with a stop or a `ModelError`, and can be written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth.credentials
import google.auth.exceptions
import httpx2
import pytest
from google import genai
from google.genai import types

from agentkit import Agent, Limits, ModelError, RetryPolicy, Run, SQLiteStore, tool
from agentkit.errors import AgentError
from agentkit.events import TurnFinished
from agentkit.gemini.model import GeminiModel
from tests.helpers.gemini import KEY, AsyncInProcess, InProcess, answer_ok
from tests.helpers.raw_server import RawServer
from tests.helpers.until import given_time
from tests.helpers.ways import WAYS, Way, way

__all__ = ["way"]

Bodies = list[Any]


def saying(*bodies: Any) -> InProcess:
    """Make a transport that answers with these bodies, one each, and then with the last one; a list is a stream."""
    left = list(bodies)

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = left.pop(0) if len(left) > 1 else left[0]
        texts = [each if isinstance(each, str) else json.dumps(each) for each in body]
        if "alt=sse" in str(request.url):
            return httpx2.Response(200, content="".join(f"data: {each}\r\n\r\n" for each in texts).encode())
        return httpx2.Response(200, content=texts[-1].encode())

    return InProcess(answer)


def models(transport: InProcess) -> list[GeminiModel]:
    """Make a model of either way to Gemini."""
    args: dict[str, Any] = {
        "client_args": {"transport": transport},
        "async_client_args": {"transport": AsyncInProcess(transport)},
    }
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(**args))
    return [GeminiModel(api_key=KEY, http_options=args), GeminiModel(client=client)]


@tool
def look(a: int = 0) -> int:
    """Look."""
    return a


def said(*parts: Any, **candidate: Any) -> Any:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": "STOP", **candidate}]}


def asked(**call: Any) -> Any:
    return said({"functionCall": call})


DEEP = "[" * 3000 + "]" * 3000
ERRORS: dict[str, Any] = {
    "an error in a word": {"error": "x"},
    "an empty error": {"error": {}},
    "an error that is a list": {"error": [1]},
    "an error with an odd code": {"error": {"code": "x", "message": ["m"]}},
    "an error with a code that is no whole number": {"error": {"code": 503.0}},
    "details that are a text": {"error": {"code": 503, "message": "m", "details": "boom"}},
    "details that are a number": {"error": {"code": 503, "details": 7}},
    "violations that are none": {"error": {"code": 503, "details": [{"violations": 3}, {"violations": [3]}]}},
    "a delay that is none": {"error": {"code": 503, "details": [{"@type": ["RetryInfo"], "retryDelay": 3}]}},
    "a candidate that is a number": {"candidates": [-1]},
    "candidates that are a text": {"candidates": "x"},
    "parts that are a text": {"candidates": [{"content": {"parts": "x"}, "finishReason": "STOP"}]},
    "a part that is a number": said(3),
    "a content that is a text": {"candidates": [{"content": "x"}]},
    "usage that is a list": {**said({"text": "x"}), "usageMetadata": [1]},
    "feedback that is a text": {"promptFeedback": "x"},
    "a list": [1],
    "a number": 3,
    "a page": "<html>",
    "half of it": '{"candidates": [',
    "too deep": f'{{"candidates": [{{"content": {{"parts": [{{"text": "x", "more": {DEEP}}}]}}}}]}}',
}
"""What is no reply, and may be one the next time."""


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_no_reply_is_an_error_that_is_worth_a_retry(name: str) -> None:
    for each in WAYS.values():
        for model in models(saying([ERRORS[name]], [said({"text": "fine"})])):
            agent = Agent(model, retry=RetryPolicy(attempts=2, base=0, cap=0))
            try:
                run = each.run(agent, "x")
            except ModelError as error:
                pytest.fail(f"{each} {model}: {error}")
            # The SDK gives a user's client no more of a streamed list or null than an empty reply.
            assert run.text == "fine" or (model._client is not None and name in ("a list", "a number"))


@pytest.mark.parametrize(
    ("details", "code"), [([{"reason": ["a"]}], 400), ([{"reason": {}}], 403), ("x", 404)]
)
def test_errors_with_odd_details_keep_their_kind(details: Any, code: int) -> None:
    body = {"error": {"code": code, "message": "no", "details": details}}
    for each in WAYS.values():
        for model in models(saying([body])):
            with pytest.raises(ModelError) as caught:
                each.run(Agent(model), "x")
            assert (caught.value.code, caught.value.retryable) == (code, False)


ODD: dict[str, tuple[Any, set[str | None]]] = {
    "a finish reason that is a list": (said({"text": "x"}, finishReason=["STOP"]), {"other"}),
    "a finish reason that is a number": (said({"text": "x"}, finishReason=3), {"other"}),
    "a new finish reason": (said({"text": "x"}, finishReason="BRAND_NEW"), {"other"}),
    "a block reason that is a list": ({"promptFeedback": {"blockReason": ["SAFETY"]}}, {"refused"}),
    "a call that is a text": (said({"functionCall": "x"}), {"malformed"}),
    "a call with an id that is none": (asked(name="look", id=3, args={}), {"malformed"}),
    "a call with a list of arguments": (asked(name="look", args=[1]), {"malformed"}),
    "a call with NaN": (asked(name="look", args={"a": float("nan")}), {"malformed"}),
    "a response of the model's": (
        said({"functionResponse": {"name": "look", "response": {}}}),
        {"malformed"},
    ),
    "counts beyond counting": (
        {**said({"text": "x"}), "usageMetadata": {"promptTokenCount": 10**40, "totalTokenCount": "x"}},
        {None},
    ),
    "nothing": ({}, {"empty"}),
    "no candidates": ({"candidates": [], "usageMetadata": {"totalTokenCount": 3}}, {"empty"}),
}
"""Replies, and how a run may end with them."""


@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")  # the SDK's, in a user's client
@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_ends_in_a_stop(name: str) -> None:
    body, stops = ODD[name]
    for each in WAYS.values():
        for model in models(saying([body])):
            agent = Agent(model, tools=[look], retry=RetryPolicy(attempts=1))
            try:
                assert each.run(agent, "x").stop in stops
            except ModelError as error:  # the SDK refuses some of them in a user's client's stream
                assert error.retryable
                assert model._client is not None and each.streamed
                assert error.run.to_json()


def test_without_candidates_a_stream_is_empty_as_a_whole_reply_is_and_counts() -> None:
    counted = {"promptTokenCount": 3, "totalTokenCount": 3}
    for each in WAYS.values():
        for model in models(saying([{"candidates": [], "usageMetadata": counted}])):
            run = each.run(Agent(model, retry=RetryPolicy(attempts=1)), "x")
            assert (run.stop, run.finish_reason) == ("empty", "NO_CANDIDATES")
            assert run.usage.total_tokens == 3 * run.turns


def test_of_several_candidates_a_run_follows_the_first_and_mixes_none_into_it() -> None:
    """They may be asked for in `extra_body`; a stream brings them in any order."""

    def piece(index: int, text: str, **more: Any) -> Any:
        return {"index": index, "content": {"role": "model", "parts": [{"text": text}]}, **more}

    begun, other = {"candidates": [piece(1, "No."), piece(0, "Y")]}, {"candidates": [piece(1, "Never.")]}
    ended = {"candidates": [piece(0, "es.", finishReason="STOP"), piece(1, "!", finishReason="SAFETY")]}
    whole = {"candidates": [piece(1, "No."), piece(0, "Yes.", finishReason="STOP")]}
    for each in WAYS.values():
        for model in models(saying(*([begun, other, ended] if each.streamed else [whole],))):
            run = each.run(Agent(model), "x")
            assert (run.text, run.stop) == ("Yes.", None)


def test_a_stream_that_breaks_off_in_its_candidate_is_cut_off_still() -> None:
    for model in models(saying([{"candidates": [{"content": {"parts": [{"text": "x"}]}}]}])):
        with pytest.raises(ModelError, match="truncated"):
            WAYS["stream"].run(Agent(model, retry=RetryPolicy(attempts=1)), "x")


def test_what_the_server_says_of_a_finish_reason_is_told_to_all() -> None:
    words = "Malformed function call: look(a=="
    bad = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": words}]}
    for each in WAYS.values():
        transport = saying([bad])
        run = each.run(Agent(models(transport)[0], tools=[look]), "x")
        assert run.stop == "malformed"
        assert words in run.why
        assert words in json.loads(transport.requests[1].content)["contents"][-1]["parts"][0]["text"]
        if each.streamed:
            told = [event for event in each.events if isinstance(event, TurnFinished)]
            assert [event.finish_message for event in told] == [words] * 3


def test_why_a_prompt_was_blocked_is_said(way: Way) -> None:
    blocked = {"promptFeedback": {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "It has a jailbreak."}}
    for model in models(saying([blocked])):
        run = way.run(Agent(model), "x")
        assert (run.stop, run.finish_reason) == ("refused", "MODEL_ARMOR")
        assert "It has a jailbreak." in run.why


def calling(name: str) -> Any:
    return said({"functionCall": {"name": name, "args": {"a": 3}}}, finishReason="UNEXPECTED_TOOL_CALL")


def test_an_unexpected_call_of_a_declared_tool_is_made_and_of_another_is_asked_for_again(way: Way) -> None:
    for name, turns in (("look", 4), ("list_files", 2)):
        transport = saying([calling(name)], [said({"text": "done"})])
        run: Run = way.run(Agent(models(transport)[0], tools=[look]), "x")
        assert run.text == "done"
        assert len(run.contents) == turns
    transport = saying([calling("look")], [said({"text": "done"})])
    assert len(way.run(Agent(models(transport)[0], tools=[look], tool_choice="none"), "x").contents) == 2


class Credentials(google.auth.credentials.Credentials):
    """Credentials that give no token."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._refresh = refresh

    def refresh(self, request: Any) -> None:
        self._refresh()


def failing(error: Exception) -> Callable[[], None]:
    def refresh() -> None:
        raise error

    return refresh


@pytest.mark.parametrize(
    ("refresh", "retryable"),
    [
        (lambda: None, False),
        (failing(google.auth.exceptions.RefreshError("no access")), False),  # type: ignore[no-untyped-call]
        (failing(google.auth.exceptions.TransportError("no network")), True),  # type: ignore[no-untyped-call]
    ],
)
def test_a_client_whose_credentials_give_no_token_is_a_model_error(
    way: Way, refresh: Any, retryable: bool
) -> None:
    transport = InProcess(answer_ok)
    client = genai.Client(
        vertexai=True,
        project="p",
        location="l",
        credentials=Credentials(refresh),
        http_options=types.HttpOptions(
            client_args={"transport": transport}, async_client_args={"transport": AsyncInProcess(transport)}
        ),
    )
    with pytest.raises(AgentError) as caught:
        way.run(Agent(GeminiModel(client=client), retry=RetryPolicy(attempts=1)), "x")
    assert isinstance(caught.value, ModelError)
    assert (caught.value.retryable, caught.value.status) == (retryable, "UNAUTHENTICATED")


def in_chunks(body: bytes, *headers: str) -> bytes:
    """Make an answer that is streamed, and whose end doesn't come."""
    head = "\r\n".join(
        ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", *headers]
    )
    return b"%s\r\n\r\n%x\r\n%s\r\n" % (head.encode(), len(body), body)


BROKEN: dict[str, bytes] = {
    "the connection breaks": b"",
    "an error follows": b'data: {"error": {"code": 503, "message": "overloaded"}}\r\n\r\n',
    "half an event follows": b'data: {"candi\r\n\r\n',
    "no reply follows": b'data: {"candidates": [{"content": {"parts": "x"}}]}\r\n\r\n',
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_fails_behind_the_last_word_takes_nothing_from_a_reply(
    way: Way, broken: str, tmp_path: Path
) -> None:
    events = [said({"text": "Tea "}, finishReason=None), said({"text": "lasts."})]
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in events) + BROKEN[broken]
    with RawServer([in_chunks(body, "connection: close")]) as server:
        model = GeminiModel("gemini-4-neon", api_key=KEY, http_options={"base_url": server.url})
        store = SQLiteStore(tmp_path / "chats.db")
        run = way.chat(Agent(model, retry=RetryPolicy(attempts=1)), store).send("x")
        assert (run.text, run.stop, run.usage.given_up) == ("Tea lasts.", None, 0)
        assert [message.content for message in store.load("ann").messages] == run.contents
        store.close()
        model.close()


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_a_reply_that_is_whole_is_one_though_its_connection_stays_open(is_async: bool) -> None:
    whole = b"data: " + json.dumps(said({"text": "Tea lasts."})).encode() + b"\r\n\r\n"
    with RawServer([in_chunks(whole)] * 9) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        way = Way(is_async=is_async, streamed=True)
        run = given_time(
            lambda seconds: way.run(Agent(model, limits=Limits(seconds=seconds)), "x"), lambda run: run.text
        )
        assert (run.text, run.stop) == ("Tea lasts.", None)
        assert run.contents[-1]["role"] == "model"
        model.close()
