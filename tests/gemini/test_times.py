"""The times of a request: to connect, to begin, between two pieces, and in all; however requests are sent."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx2
import pytest
from google import genai
from google.genai import types

from agentkit import Agent, Limits
from agentkit.core.repair import RetryPolicy
from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.model import GeminiModel
from agentkit.gemini.times import times_for
from agentkit.traits import traits_of
from agentkit.wire.content import Request
from tests.helpers.gemini import HELLO, KEY, NO_TLS, GetReply, every_method, stream_it, text_in
from tests.helpers.gemini import astream_it as astream
from tests.helpers.gemini_server import GeminiServer, fault, stream, text
from tests.helpers.runners import Runner
from tests.helpers.until import PATIENCE, stretched

Make = Callable[..., GeminiModel]
every_stream = pytest.mark.parametrize("ask", [stream_it, astream])


@pytest.fixture(params=["own connections", "httpx2", "client="])
def make(request: pytest.FixtureRequest, server: GeminiServer) -> Iterator[Make]:
    """Make a model on the server, in each of the ways to send a request."""
    clients: list[genai.Client] = []

    def model(name: str = "gemini-x", *, url: str = server.url, **times: Any) -> GeminiModel:
        http: dict[str, Any] = {"base_url": url}
        if request.param == "own connections":
            return GeminiModel(name, api_key=KEY, http_options=cast(Any, http), **times)
        args: dict[str, Any] = {"verify": NO_TLS}
        if request.param == "httpx2":
            args["limits"] = httpx2.Limits(max_connections=10)
            http |= {"client_args": args, "async_client_args": args}
            return GeminiModel(name, api_key=KEY, http_options=cast(Any, http), **times)
        http |= {"api_version": "v1beta", "headers": {"Connection": "close"}}
        http |= {"client_args": args, "async_client_args": args | {"ssl": NO_TLS}}
        clients.append(genai.Client(api_key=KEY, http_options=cast(types.HttpOptionsDict, http)))
        return GeminiModel(name, client=clients[-1], **times)

    yield model
    for client in clients:
        client.close()


def error_of(ask: GetReply, model: GeminiModel) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(model, HELLO)
    return caught.value


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("after", [None, "headers"])
def test_a_server_that_is_silent_is_given_up_when_it_should_have_begun(
    make: Make, server: GeminiServer, ask: GetReply, after: str | None
) -> None:
    def silent(longer: float) -> None:
        server.forget()
        server.script([fault("hang", after=after, seconds=longer)])
        error = error_of(ask, make(first_byte_timeout=0.2 * longer, chunk_timeout=PATIENCE))
        assert f"didn't begin to reply within {0.2 * longer:g} s" in str(error)
        assert error.retryable and error.reached

    stretched(silent)


@pytest.mark.slow
@every_stream
def test_a_server_that_falls_silent_in_the_middle_is_given_up_sooner(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    def silent(longer: float) -> None:
        server.forget()
        server.script([fault("hang", after="chunk", seconds=longer)])
        error = error_of(ask, make(first_byte_timeout=PATIENCE, chunk_timeout=0.2 * longer))
        assert f"was silent for {0.2 * longer:g} s in the middle of its reply" in str(error)
        assert error.retryable and error.reached

    stretched(silent)


@pytest.mark.slow
@every_method
def test_a_reply_that_begins_late_has_the_time_for_that(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    def late(longer: float) -> None:
        server.forget()
        server.script([text("late", delay=longer)])
        assert text_in(ask(make(first_byte_timeout=PATIENCE, chunk_timeout=0.7 * longer), HELLO)) == "late"

    stretched(late)


@pytest.mark.slow
@every_stream
def test_a_reply_may_take_longer_in_all_than_any_of_its_times(
    make: Make, server: GeminiServer, ask: GetReply
) -> None:
    piece = {"candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}}]}

    def long(longer: float) -> None:
        end = {"candidates": [{"finishReason": "STOP"}]}
        server.forget()
        server.script([stream([*[piece] * 60, end], delay=0.02 * longer)])
        times = {"first_byte_timeout": 1.2 * longer, "chunk_timeout": 1.2 * longer}
        assert text_in(ask(make(**times), HELLO)) == "a" * 60

    stretched(long)


@pytest.mark.slow
@every_method
def test_nothing_outlasts_the_time_of_the_whole(make: Make, server: GeminiServer, ask: GetReply) -> None:
    server.script([fault("trickle", every=0.02)])
    assert "didn't answer in full within 0.3 s" in str(error_of(ask, make(timeout=0.3)))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hang", "trickle"])
def test_a_run_ends_when_its_seconds_are_up_however_slow_the_server_is(
    make: Make, server: GeminiServer, go: Runner, what: str, request: pytest.FixtureRequest
) -> None:
    if "client=-sync" in request.node.name and what == "trickle":
        pytest.skip(
            "the SDK's read can't be broken off: a thread goes on with it for as long as the server does"
        )

    def slow(longer: float) -> None:
        server.forget()
        server.script([fault("hang", seconds=2 * longer) if what == "hang" else fault("trickle", every=0.02)])
        run = go(Agent(make(), limits=Limits(seconds=0.8 * longer)), "Hello")
        assert run.stop == "seconds"
        assert run.usage.given_up == 1 and not run.cost_is_complete

    stretched(slow)


@pytest.mark.slow
@every_method
def test_a_server_that_does_not_take_the_connection_is_told_and_was_not_reached(
    make: Make, server: GeminiServer, ask: GetReply, request: pytest.FixtureRequest
) -> None:
    if "client=" in request.node.name:
        pytest.skip("a client connects as it was made to")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it never says its part of the TLS handshake
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        error = error_of(ask, make(url=url, connect_timeout=0.2))
    assert "couldn't be connected to within 0.2 s" in str(error)
    assert error.retryable and not error.reached


@pytest.mark.slow
def test_a_try_that_took_too_long_is_made_again_and_counted(
    make: Make, server: GeminiServer, go: Runner
) -> None:
    def again(longer: float) -> None:
        server.forget()
        server.script([fault("hang", seconds=2 * longer), "there"])
        retry = RetryPolicy(attempts=2, base=0, cap=0)
        run = go(Agent(make(first_byte_timeout=0.8 * longer), retry=retry), "Hello")
        assert (run.text, run.usage.requests, run.usage.given_up) == ("there", 2, 1)

    stretched(again)


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "first_byte_timeout", "chunk_timeout"])
def test_a_time_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}=0\): give seconds above 0"):
        GeminiModel(**cast(Any, {name: 0}))


def thinking(level: str) -> Any:
    return {"generationConfig": {"thinkingConfig": {"thinkingLevel": level}}}


@pytest.mark.parametrize(
    ("name", "more", "seconds"),
    [
        ("gemini-2.5-pro", {}, 300),
        ("gemini-3.8-flash", {}, 300),
        ("gemini-3.8-flash", thinking("high"), 900),
        ("models/gemini-3.8-flash", thinking("HIGH"), 900),
        ("gemini-3.8-flash", {"serviceTier": "flex"}, 900),
        ("gemini-3.8-flash", {"serviceTier": "priority"}, 300),
        ("gemini-3.1-pro-preview", {}, 900),
        ("gemini-3.1-pro-preview", thinking("LOW"), 300),
        ("gemini-3.1-flash-lite", {}, 300),
        ("gemini-4-argon", {}, 900),
        ("gemini-4-argon", thinking("LOW"), 300),
        ("my-own", {}, 300),
    ],
)
def test_there_is_more_time_to_begin_where_the_model_thinks_long_or_is_cheap(
    name: str, more: Any, seconds: float
) -> None:
    request = cast(Request, {**HELLO, **more})
    times = times_for(traits_of(name, "gemini"), request)
    assert (times.connect, times.first_byte, times.chunk, times.whole) == (10, seconds, 120, None)


@every_method
def test_what_may_be_long_in_coming_is_streamed(make: Make, server: GeminiServer, ask: GetReply) -> None:
    server.script(["ok", "ok"])
    model = make("gemini-3.8-flash")
    assert (
        text_in(ask(model, HELLO))
        == text_in(ask(model, cast(Request, {**HELLO, **thinking("HIGH")})))
        == "ok"
    )
    assert "streamGenerateContent" in server.requests[1].path
    assert ("streamGenerateContent" in server.requests[0].path) is ("stream" in ask.__name__)
