"""What connections of our own do as a client of httpx2 does: TLS, compression, keeping and closing, proxies."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest

from agentkit import Agent
from agentkit.errors import ModelError
from agentkit.gemini.connections import Connections
from agentkit.gemini.model import GeminiModel
from agentkit.wire.content import Reply, user_content
from tests.helpers.certificates import certificate
from tests.helpers.gemini import HELLO, KEY, text_in
from tests.helpers.raw_server import RawServer
from tests.helpers.until import until

OK = json.dumps(
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}
).encode()
Twice = Callable[[GeminiModel, Callable[[], object]], list[Reply]]


def answer(body: bytes = OK, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def sync_twice(model: GeminiModel, between: Callable[[], object]) -> list[Reply]:
    first = model.generate(HELLO)
    between()
    return [first, model.generate(HELLO)]


def async_twice(model: GeminiModel, between: Callable[[], object]) -> list[Reply]:
    async def work() -> list[Reply]:
        first = await model.agenerate(HELLO)
        between()
        return [first, await model.agenerate(HELLO)]

    return asyncio.run(work())


both_twice = pytest.mark.parametrize("twice", [sync_twice, async_twice])


def model_at(url: str) -> GeminiModel:
    return GeminiModel("gemini-x", api_key=KEY, http_options={"base_url": url})


def nothing() -> None:
    pass


@both_twice
def test_a_connection_is_proved_by_its_certificate_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: Twice
) -> None:
    context, trusted = certificate(tmp_path, IPv4Address("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with RawServer([answer()] * 2, tls=context) as server:
        model = model_at(server.url)
        assert text_in(twice(model, nothing)) == "okok"
        assert isinstance(cast(Any, model._wire_made)._link, Connections)
        assert server.accepted == 1
        model.close()


def test_cancelling_ends_the_silence_of_a_server_below_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, IPv4Address("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    half = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\ndata: "
    with RawServer([half, answer()], tls=context) as server:
        model = model_at(server.url)
        events = Agent(model).stream("x")

        def other() -> None:
            until(lambda: server.requests)
            events.cancel()

        thread = threading.Thread(target=other)
        thread.start()
        assert events.drain().stop == "cancelled"
        thread.join()
        assert text_in([model.generate(HELLO)]) == "ok"
        model.close()


@both_twice
@pytest.mark.parametrize("name", ["site.example", None])
def test_a_certificate_of_another_name_or_that_nobody_vouches_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: Twice, name: str | None
) -> None:
    context, trusted = certificate(tmp_path, name or IPv4Address("127.0.0.1"))
    if name is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with RawServer([answer()], tls=context) as server, pytest.raises(ModelError) as caught:
        twice(model_at(server.url), nothing)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    assert not caught.value.retryable and not caught.value.reached


@both_twice
def test_a_compressed_reply_is_read(twice: Twice) -> None:
    with RawServer([answer(gzip.compress(OK), "content-encoding: gzip")] * 2) as server:
        model = model_at(server.url)
        assert text_in(twice(model, nothing)) == "okok"
        assert b"\r\naccept-encoding: gzip\r\n" in server.requests[0].lower()
        model.close()


@both_twice
def test_a_packed_reply_is_read_however_its_packing_is_spelt_and_a_broken_one_is_a_fault(
    twice: Twice,
) -> None:
    spelt = [answer(gzip.compress(OK), f"content-encoding: {name}") for name in ("GZIP", "x-gzip")]
    with RawServer([*spelt, answer(b"not packed", "content-encoding: gzip")]) as server:
        model = model_at(server.url)
        assert text_in(twice(model, nothing)) == "okok"
        with pytest.raises(ModelError, match="DecodingError") as raised:
            twice(model, nothing)
        assert raised.value.retryable
        model.close()


@both_twice
def test_a_connection_that_the_server_has_closed_is_not_used_again(twice: Twice) -> None:
    with RawServer([answer()] * 2) as server:
        model = model_at(server.url)
        assert text_in(twice(model, server.drop)) == "okok"
        assert server.accepted == 2
        model.close()


@both_twice
def test_a_server_that_closes_after_each_answer_gets_a_connection_for_each(twice: Twice) -> None:
    with RawServer([answer(OK, "connection: close")] * 2) as server:
        assert text_in(twice(model_at(server.url), nothing)) == "okok"
        assert server.accepted == 2


@both_twice
def test_what_nobody_asked_for_is_not_taken_for_the_next_reply(twice: Twice) -> None:
    with RawServer([answer() + answer(b'{"error": {}}'), answer()]) as server:
        assert text_in(twice(model_at(server.url), nothing)) == "okok"
        assert server.accepted == 2


@both_twice
def test_what_a_server_says_before_it_has_read_all_of_a_request_is_told(
    monkeypatch: pytest.MonkeyPatch, twice: Twice
) -> None:
    monkeypatch.setitem(cast(Any, HELLO), "contents", [user_content("much " * 1_000_000)])
    refused = answer(b'{"error": {"message": "too much"}}', "connection: close", status="413 Too Large")
    with RawServer([refused], reads=False) as server, pytest.raises(ModelError, match="too much") as caught:
        twice(model_at(server.url), nothing)
    assert caught.value.code == 413


@both_twice
def test_a_server_that_closes_without_an_answer_is_told(twice: Twice) -> None:
    with RawServer([b""]) as server, pytest.raises(ModelError, match="failed: RemoteProtocolError") as caught:
        twice(model_at(server.url), nothing)
    assert caught.value.retryable and caught.value.reached


@both_twice
@pytest.mark.parametrize("secret", ["Bearer of-somebody\n", 'of-some\nbody\'s "own"', " of-somebody"])
def test_a_header_that_cannot_be_sent_is_refused_and_kept_secret(twice: Twice, secret: str) -> None:
    http: Any = {"base_url": "http://gemini.invalid", "headers": {"x-token": secret}}
    model = GeminiModel("gemini-x", api_key=KEY, http_options=http)
    with pytest.raises(ModelError, match="Illegal header value") as caught:
        twice(model, nothing)
    assert not caught.value.retryable and not caught.value.reached
    assert "of-some" not in str(caught.value)


@both_twice
def test_a_proxy_of_the_environment_is_used_by_httpx2(monkeypatch: pytest.MonkeyPatch, twice: Twice) -> None:
    with RawServer([answer()] * 2) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        model = model_at("http://gemini.example")
        assert text_in(twice(model, nothing)) == "okok"
        assert proxy.requests[0].startswith(b"POST http://gemini.example/v1beta/models/gemini-x:")
        model.close()
