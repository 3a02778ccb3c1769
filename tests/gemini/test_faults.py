"""What can go wrong between GeminiModel and the server, and what the error says."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import httpx2
import pytest
from google import genai
from google.genai import types

from agentkit.errors import ConfigurationError, ModelError
from agentkit.gemini.faults import Faults
from agentkit.gemini.model import DEFAULT_MODEL, GeminiModel
from agentkit.wire.content import Request, user_content
from tests.helpers.gemini_server import GeminiServer, fault, reply, stream
from tests.helpers.until import PATIENCE, given_time

KEY = "secret-key-0123456789"
HELLO: Request = {"contents": [user_content("Hello")]}
QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"

Ask = Callable[..., object]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as running:
        yield running


NO_TLS = ssl.SSLContext(
    ssl.PROTOCOL_TLS_CLIENT
)  # the SDK would make two of them, with certificates, each time


def options(url: str) -> types.HttpOptionsDict:
    return {
        "base_url": url,
        "api_version": "v1beta",
        "headers": {"Connection": "close"},
        "client_args": {"verify": NO_TLS},
        "async_client_args": {"verify": NO_TLS, "ssl": NO_TLS},
    }


@pytest.fixture(params=["own client", "user's client"])
def model_at(request: pytest.FixtureRequest) -> Iterator[Callable[[str], GeminiModel]]:
    clients: list[genai.Client] = []

    def make(url: str) -> GeminiModel:
        if request.param == "own client":
            return GeminiModel(api_key=KEY, http_options=cast(dict[str, Any], options(url)))
        clients.append(genai.Client(api_key=KEY, http_options=options(url)))
        return GeminiModel(client=clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def model(model_at: Callable[[str], GeminiModel], server: GeminiServer) -> GeminiModel:
    return model_at(server.url)


def generate(model: GeminiModel, timeout: float | None = None) -> object:
    return model.generate(HELLO, timeout=timeout)


def stream_it(model: GeminiModel, timeout: float | None = None) -> object:
    return list(model.stream(HELLO, timeout=timeout))


def agenerate(model: GeminiModel, timeout: float | None = None) -> object:
    return asyncio.run(model.agenerate(HELLO, timeout=timeout))


def astream_it(model: GeminiModel, timeout: float | None = None) -> object:
    async def work() -> object:
        return [chunk async for chunk in model.astream(HELLO, timeout=timeout)]

    return asyncio.run(work())


every_method = pytest.mark.parametrize("ask", [generate, stream_it, agenerate, astream_it])
every_stream = pytest.mark.parametrize("ask", [stream_it, astream_it])
every_whole = pytest.mark.parametrize("ask", [generate, agenerate])


def error_of(ask: Ask, model: GeminiModel, **kwargs: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(model, **kwargs)
    return caught.value


@every_method
def test_an_http_error_is_told_with_code_status_and_message(
    model: GeminiModel, server: GeminiServer, ask: Ask
) -> None:
    table = {
        400: False,
        408: True,
        409: False,
        429: True,
        500: True,
        501: False,
        502: True,
        503: True,
        504: True,
    }
    for code, retryable in table.items():
        server.script([fault(code, status="SOME_STATUS", message="some words")])
        error = error_of(ask, model)
        assert (error.code, error.status, error.retryable) == (code, "SOME_STATUS", retryable)
        assert f"{DEFAULT_MODEL} answered {code} SOME_STATUS: some words" in str(error)
        assert error.retry_after is None
    assert len(server.requests) == len(table)  # the run retries, the model doesn't


@every_method
def test_the_servers_word_on_when_to_retry_is_kept(
    model: GeminiModel, server: GeminiServer, ask: Ask
) -> None:
    table: list[tuple[dict[str, str], float | None]] = [
        ({"retry_delay": "3s"}, 3.0),
        ({"retry_delay": "1.5s", "retry_after": "60"}, 1.5),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "soon"}, None),
        ({"retry_delay": "-3s"}, None),
        ({"retry_delay": "infs", "retry_after": "2"}, 2.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
    ]
    for hints, seconds in table:
        server.script([fault(429, status="RESOURCE_EXHAUSTED", **hints)])
        error = error_of(ask, model)
        assert error.retryable
        assert error.retry_after == seconds


def test_a_date_to_retry_after_is_read_as_seconds_from_now(model: GeminiModel, server: GeminiServer) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.script([fault(503, retry_after=date)])
    assert 50 < cast(float, error_of(generate, model).retry_after) <= 100


@every_method
def test_a_daily_quota_that_is_used_up_is_not_worth_a_retry(
    model: GeminiModel, server: GeminiServer, ask: Ask
) -> None:
    per_day = {"@type": QUOTA, "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
    per_minute = {"@type": QUOTA, "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
    server.script([fault(429, details=[d], retry_delay="30s") for d in (per_day, per_minute)])
    daily, brief = error_of(ask, model), error_of(ask, model)
    assert not daily.retryable
    assert "daily quota" in str(daily)
    assert brief.retryable


@every_method
@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (502, b"<html>\n bad   gateway </html>", "<html> bad gateway </html>"),
        (500, b"", "no message"),
        (500, b"[]", "no message"),
        (500, b"7", "no message"),
        (500, b'[{"error": {"message": "in a list", "status": "X"}}]', "in a list"),
        (500, b'{"error": "just words"}', "just words"),
    ],
)
def test_an_error_in_another_form_is_told_as_far_as_it_can_be(
    server: GeminiServer, ask: Ask, code: int, body: bytes, words: str
) -> None:
    server.script([fault(code, body=body or b" ")])
    error = error_of(ask, GeminiModel(api_key=KEY, http_options={"base_url": server.url}))
    assert error.code == code
    assert error.retryable
    assert words in str(error)


@every_method
def test_an_unknown_model_is_named(model: GeminiModel, server: GeminiServer, ask: Ask) -> None:
    server.script([fault(404, status="NOT_FOUND", message="is not found")])
    error = error_of(ask, model)
    assert not error.retryable
    assert f"Check the model's name, {DEFAULT_MODEL!r}" in str(error)


@every_method
@pytest.mark.parametrize("code", [401, 403])
def test_refused_credentials_name_the_variables(
    model: GeminiModel, server: GeminiServer, ask: Ask, code: int
) -> None:
    server.script([fault(code, message="no")])
    assert "GOOGLE_API_KEY" in str(error_of(ask, model))


@every_method
def test_a_wrong_key_names_the_variables_and_stays_hidden(model_at: Any, ask: Ask) -> None:
    with GeminiServer(key="another") as server:  # it repeats the key in its message
        error = error_of(ask, model_at(server.url))
    assert "GEMINI_API_KEY" in str(error)
    assert "API key not valid: [secret]" in str(error)


@every_method
def test_no_server_there_is_a_connection_fault(model_at: Any, ask: Ask) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = error_of(ask, model_at(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert error.retryable
    assert error.code is None
    assert "ConnectError" in str(error)


@every_method
@pytest.mark.parametrize("after", [None, "headers", "chunk"])
def test_a_connection_that_breaks_is_worth_a_retry(
    model: GeminiModel, server: GeminiServer, ask: Ask, after: str | None
) -> None:
    server.script([fault("reset", after=after)])
    error = error_of(ask, model)
    assert error.retryable
    assert "connection to" in str(error)


def given_up(ask: Callable[[float], object], server: GeminiServer, what: Any) -> ModelError:
    """Ask a server that never comes to an end, until a request has got there in its time; give its error."""
    server.script([what] * 9)

    def asked(seconds: float) -> ModelError:
        with pytest.raises(ModelError) as caught:
            ask(seconds)
        error = caught.value
        assert f"within {seconds:g} s" in str(error)
        return error

    return given_time(asked, lambda _: server.requests)


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("after", [None, "headers", "chunk"])
def test_a_server_that_hangs_runs_into_the_timeout(
    model: GeminiModel, server: GeminiServer, ask: Ask, after: str | None
) -> None:
    error = given_up(lambda seconds: ask(model, timeout=seconds), server, fault("hang", after=after))
    assert error.retryable
    server.wait(lambda: server.disconnects == len(server.requests))


@every_method
def test_a_server_that_trickles_runs_into_the_timeout(
    model: GeminiModel, server: GeminiServer, ask: Ask
) -> None:
    started = time.monotonic()
    given_up(lambda seconds: ask(model, timeout=seconds), server, fault("trickle"))
    assert time.monotonic() - started < PATIENCE / 2
    if model._client is None or ask not in (
        generate,
        stream_it,
    ):  # else a thread still reads: it can't be broken off
        server.wait(lambda: server.disconnects == len(server.requests))


@every_stream
def test_a_stream_of_many_chunks_ends_at_the_timeout(
    model: GeminiModel, server: GeminiServer, ask: Ask
) -> None:
    chunk = {"candidates": [{"content": {"role": "model", "parts": [{"text": "more"}]}}]}
    server.script([stream([chunk] * 1000, delay=0.02)])
    assert "within 0.3 s" in str(error_of(ask, model, timeout=0.3))


@every_stream
def test_a_truncated_stream_is_an_error_after_its_chunks(
    model: GeminiModel, server: GeminiServer, ask: Ask
) -> None:
    server.script([fault("truncated")])
    error = error_of(ask, model)
    assert error.retryable
    assert "truncated" in str(error)


@every_whole
def test_a_truncated_body_is_an_error(model: GeminiModel, server: GeminiServer, ask: Ask) -> None:
    server.script([fault("truncated")])
    error = error_of(ask, model)
    assert error.retryable
    assert "can't be read" in str(error)


@every_method
@pytest.mark.parametrize("kind", ["not-json", "bad-sse"])
def test_a_reply_that_cannot_be_read_is_an_error(
    model: GeminiModel, server: GeminiServer, ask: Ask, kind: str
) -> None:
    server.script([fault(kind)])
    error = error_of(ask, model)
    assert error.retryable
    assert "can't be read" in str(error)


@every_whole
def test_json_that_is_no_object_is_an_error(model_at: Any, ask: Ask) -> None:
    with Bodies(b"[1]") as url:
        assert "not a JSON object" in str(error_of(ask, model_at(url)))


@every_method
def test_an_error_inside_a_reply_is_an_error(model: GeminiModel, server: GeminiServer, ask: Ask) -> None:
    server.script(
        [fault("stream-error", code=503), fault("stream-error", code=400, status="INVALID_ARGUMENT")]
    )
    first, second = error_of(ask, model), error_of(ask, model)
    assert (first.code, first.status, first.retryable) == (503, "UNAVAILABLE", True)
    assert (second.code, second.retryable) == (400, False)


@every_stream
@pytest.mark.parametrize(
    "body",
    [
        b'{"error":\n {"code": 429,\n "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}\n',
        b'[{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}]',
    ],
)
def test_an_error_in_plain_json_where_a_stream_should_be_is_read(ask: Ask, body: bytes) -> None:
    with Bodies(body) as url:
        error = error_of(ask, GeminiModel(api_key=KEY, http_options={"base_url": url}))
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")


@every_method
def test_a_redirect_is_not_followed_with_the_key(server: GeminiServer, ask: Ask) -> None:
    with Bodies(b"", "HTTP/1.1 307 Moved", f"Location: {server.url}/x:generateContent") as url:
        error = error_of(ask, GeminiModel(api_key=KEY, http_options={"base_url": url}))
    assert error.code == 307
    assert server.requests == []


def test_an_unknown_finish_reason_is_a_reply(server: GeminiServer) -> None:
    server.script([reply([{"text": "x"}], finish="NOVEL")] * 2)
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
    assert model.generate(HELLO)["candidates"][0]["finishReason"] == "NOVEL"
    assert next(model.stream(HELLO))["candidates"][0]["finishReason"] == "NOVEL"


@every_method
def test_a_model_name_that_the_sdk_refuses_is_a_configuration_error(server: GeminiServer, ask: Ask) -> None:
    model = GeminiModel("a?b", api_key=KEY, http_options={"base_url": server.url})
    with pytest.raises(ConfigurationError, match="google-genai refused"):
        ask(model)
    assert server.requests == []


@pytest.mark.parametrize(
    ("exception", "retryable"),
    [
        (httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), False),
        (httpx2.UnsupportedProtocol("ftp"), False),
        (httpx2.RemoteProtocolError("closed"), True),
        (ConnectionResetError("gone"), True),
        (TimeoutError(), True),
    ],
)
def test_lasting_faults_of_a_connection_are_not_worth_a_retry(exception: Exception, retryable: bool) -> None:
    error = Faults("m").of_exception(exception, None)
    assert isinstance(error, ModelError)
    assert error.retryable is retryable


def test_a_bug_is_no_model_error() -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        raise KeyError("a bug in a transport")

    transport = httpx2.MockTransport(broken)
    model = GeminiModel(api_key=KEY, http_options={"client_args": {"transport": transport}})
    with pytest.raises(KeyError):
        model.generate(HELLO)


def test_a_body_that_the_sdk_wrapped_as_a_message_is_unwrapped() -> None:
    inner = json.dumps({"error": {"code": 400, "message": "too short", "status": "INVALID_ARGUMENT"}})
    error = Faults("m").of_reply(400, {"message": inner, "status": "Bad Request"})
    assert (error.status, "400 INVALID_ARGUMENT: too short" in str(error)) == ("INVALID_ARGUMENT", True)
    assert "{oops" in str(Faults("m").of_reply(400, {"message": "{oops"}))


FAULTS = [
    *[
        fault(code, message=f"you sent {KEY} in x-goog-api-key", body=None)
        for code in (400, 401, 404, 429, 500)
    ],
    fault(502, body=f"<html>{KEY}</html>".encode()),
    *[fault(kind) for kind in ("reset", "truncated", "not-json", "bad-sse")],
    fault("reset", after="headers"),
    fault("stream-error", message=f"bad key {KEY}"),
    fault("hang"),
]


def test_headers_of_single_requests_are_hidden_and_forgotten_after_many_others() -> None:
    faults = Faults("gemini-x")
    faults.hide(["the key of all"])
    for number in range(3_000):
        faults.hide_headers({"x-request-id": f"request-{number:06d}"}, passing=True)
    said = "the key of all, request-002999, request-000000"
    assert faults.scrub(said) == "[secret], [secret], request-000000"


@every_method
def test_no_error_shows_the_key(model: GeminiModel, server: GeminiServer, ask: Ask) -> None:
    for what in FAULTS:
        server.script([what])
        error = error_of(ask, model, timeout=0.2 if what.kind == "hang" else 10)
        told = "".join(traceback.format_exception(error)) + repr(vars(error))
        chain: BaseException | None = error
        while chain is not None:
            told += str(chain) + repr(chain)
            chain = chain.__cause__
        assert KEY not in told


class Bodies:
    """A server that answers each connection with the same bytes."""

    def __init__(self, body: bytes, *head: str) -> None:
        lines = [*(head or ("HTTP/1.1 200 OK",)), f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self._answer = "\r\n".join(lines).encode() + body

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rb") as received:
                    length = 0
                    while (line := received.readline()) != b"\r\n":
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.partition(b":")[2])
                    received.read(length)
                    connection.sendall(self._answer)


@every_method
def test_no_exception_that_holds_the_request_stays_in_the_chain(
    model_at: Callable[[str], GeminiModel], ask: Ask
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    error: BaseException | None = error_of(ask, model_at(url), timeout=5)
    assert error is not None
    assert error.__context__ is None
    assert error.__cause__ is None


@every_method
def test_an_error_of_the_server_has_no_chain(model: GeminiModel, server: GeminiServer, ask: Ask) -> None:
    server.script([fault(503)])
    error = error_of(ask, model)
    assert (error.__context__, error.__cause__) == (None, None)


@every_method
def test_the_models_own_time_limit_holds_where_the_run_has_more_left(server: GeminiServer, ask: Ask) -> None:
    http = cast(dict[str, Any], options(server.url))

    def asked(seconds: float) -> object:
        return ask(GeminiModel(api_key=KEY, http_options=http, timeout=seconds), timeout=60)

    given_up(asked, server, fault("hang"))
    server.wait(lambda: server.disconnects == len(server.requests))
