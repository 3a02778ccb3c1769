"""Connections of GeminiModel: closed at once, kept per event loop, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import threading
import weakref
from contextlib import aclosing, closing
from typing import Any, cast

import httpx2
import pytest

from agentkit.errors import ModelError
from agentkit.gemini import connections, http_clients
from agentkit.gemini.http11 import Head
from agentkit.gemini.model import GeminiModel
from agentkit.gemini.times import Clock
from agentkit.wire.content import Reply
from tests.helpers.gemini import (
    HELLO,
    KEY,
    AsyncInProcess,
    InProcess,
    Make,
    agenerate,
    answer_ok,
    generate,
    text_in,
)
from tests.helpers.gemini_server import GeminiServer, fault, stream, text
from tests.helpers.leftovers import other_tasks
from tests.helpers.until import PATIENCE, stretched


def long_stream() -> Any:
    chunk = {"candidates": [{"content": {"role": "model", "parts": [{"text": "more"}]}}]}
    return stream([chunk] * 10_000, delay=0.01)


def test_closing_a_stream_closes_its_connection_at_once(make: Make, server: GeminiServer) -> None:
    server.script([long_stream()])
    with closing(make().stream(HELLO)) as chunks:
        next(chunks)
        assert server.open_connections == 1
    server.wait(lambda: server.disconnects == 1 and server.open_connections == 0)


def test_breaking_out_of_a_stream_closes_its_connection(make: Make, server: GeminiServer) -> None:
    server.script([long_stream()])
    for _ in make().stream(HELLO):
        break
    server.wait(lambda: server.disconnects == 1 and server.open_connections == 0)


def test_closing_an_async_stream_closes_its_connection_at_once(make: Make, server: GeminiServer) -> None:
    server.script([long_stream()])
    model = make()

    async def work() -> None:
        gc.disable()  # the connection must not need the garbage collector
        try:
            async with aclosing(model.astream(HELLO)) as chunks:
                await anext(chunks)
            await asyncio.to_thread(server.wait, lambda: server.disconnects == 1)
            await asyncio.sleep(0)
            assert not await other_tasks()
        finally:
            gc.enable()

    asyncio.run(work())


def test_closing_an_async_stream_that_has_more_in_store_closes_it(make: Make, server: GeminiServer) -> None:
    chunk = {"candidates": [{"content": {"role": "model", "parts": [{"text": "more"}]}}]}
    events = [chunk] * 20 + [{"candidates": [{"finishReason": "STOP"}]}]
    server.script([stream(events)])
    model = make()

    async def work() -> None:
        async with aclosing(model.astream(HELLO)) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.05)

    asyncio.run(work())
    model.close()
    server.wait(lambda: server.open_connections == 0)


@pytest.mark.parametrize("what", ["stream", "hanging reply", "hanging headers"])
def test_cancelling_a_task_closes_its_connection_at_once(make: Make, server: GeminiServer, what: str) -> None:
    after = "headers" if what == "hanging reply" else None
    server.script([long_stream() if what == "stream" else fault("hang", after=after)])
    model = make()

    async def consume() -> None:
        if what == "stream":
            async for _ in model.astream(HELLO):
                pass
        else:
            await model.agenerate(HELLO)

    async def work() -> None:
        task = asyncio.create_task(consume())
        await asyncio.to_thread(server.wait, lambda: len(server.requests) == 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait, lambda: server.disconnects == 1)

    asyncio.run(work())


def test_a_task_cancelled_at_any_step_of_connecting_leaves_no_connection(server: GeminiServer) -> None:
    context = ssl.create_default_context()
    head = Head.of(httpx2.URL(f"{server.url}/models/gemini-x:generateContent"), {"x-goog-api-key": KEY})

    async def work(steps: int) -> None:
        async def ask() -> None:
            answer = await own.send(head, b"{}", Clock.of(PATIENCE))
            await answer.aclose()

        own = connections.AsyncConnections(context)
        task = asyncio.create_task(ask())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not await other_tasks()
        await own.aclose()

    gc.disable()  # a connection must not need the garbage collector
    try:
        for steps in range(30):
            asyncio.run(work(steps))
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        server.script([text("hello")] * 31)
        generate(model, HELLO)  # by now the server has accepted all that was connected before
        model.close()
        server.wait(lambda: server.open_connections == 0)
    finally:
        gc.enable()


def test_an_address_that_refuses_or_is_silent_is_passed_over(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.socket() as refusing, socket.socket() as silent, socket.socket() as waiting:
        refusing.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        waiting.connect(silent.getsockname())  # now its queue is full
        found = [refusing.getsockname(), silent.getsockname(), ("127.0.0.1", port)]

        def getaddrinfo(*_: object, flags: int = 0, **__: object) -> list[Any]:
            if flags:
                raise socket.gaierror
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", each) for each in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(connections, "_HEAD_START", 0.01)
        server.script([text("hello")])
        model = GeminiModel(api_key=KEY, http_options={"base_url": "http://gemini.test"})
        assert text_in([asyncio.run(model.agenerate(HELLO))]) == "hello"

        del found[1:]
        with pytest.raises(ModelError, match="Connect call failed"):
            asyncio.run(model.agenerate(HELLO))


def test_one_model_serves_loop_after_loop_and_leaves_nothing_open(server: GeminiServer) -> None:
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
    for _ in range(3):
        server.script(["ok", "ok"])

        async def twice() -> None:
            await model.agenerate(HELLO)
            await model.agenerate(HELLO)
            assert server.open_connections == 1  # kept alive

        asyncio.run(twice())
        server.wait(lambda: server.open_connections == 0)


def test_one_model_serves_loops_and_threads_at_the_same_time(make: Make, server: GeminiServer) -> None:
    server.script([text("ok", delay=0.02)] * 40)
    model = make()
    failures: list[BaseException] = []

    def work(asynchronous: bool) -> None:
        try:
            for _ in range(5):
                assert text_in((agenerate if asynchronous else generate)(model, HELLO)) == "ok"
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(n % 2 == 0,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_concurrent_requests_of_one_loop_run_side_by_side(make: Make, server: GeminiServer) -> None:
    server.script(["ok"] * 8)
    model = make()

    async def work() -> list[Reply]:
        return list(await asyncio.gather(*[model.agenerate(HELLO) for _ in range(8)]))

    assert text_in(asyncio.run(work())) == "ok" * 8


@pytest.mark.parametrize("who", ["agentkit", "user"])
def test_only_so_many_connections_are_open_at_a_time_and_they_are_used_again(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    http: dict[str, Any] = {"base_url": server.url}
    if who == "user":
        http["async_client_args"] = {"limits": httpx2.Limits(max_connections=3)}
    else:
        monkeypatch.setattr(connections, "MOST_CONNECTIONS", 3)
    server.script([text("ok", delay=0.02)] * 9)
    model = GeminiModel(api_key=KEY, http_options=cast(Any, http))

    async def work() -> list[Reply]:
        replies = await asyncio.gather(*[model.agenerate(HELLO) for _ in range(9)])
        assert server.open_connections == 3
        return list(replies)

    assert text_in(asyncio.run(work())) == "ok" * 9
    server.wait(lambda: server.open_connections == 0)


def test_a_request_waits_for_a_connection_only_as_long_as_it_may_take(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 1)
    go_on = threading.Event()
    server.script([lambda _: (go_on.wait(PATIENCE), "ok")[1], "ok"])
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})

    async def work() -> list[Reply]:
        first = asyncio.create_task(model.agenerate(HELLO))
        await asyncio.to_thread(server.wait, lambda: len(server.requests) == 1)
        with pytest.raises(ModelError, match=r"within 0\.1 s"):
            await model.agenerate(HELLO, timeout=0.1)
        go_on.set()
        return [await first, await model.agenerate(HELLO)]

    assert text_in(asyncio.run(work())) == "okok"


@pytest.mark.slow
def test_connections_that_are_no_longer_used_are_closed_by_the_next_request(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(longer: float) -> None:
        monkeypatch.setattr(connections, "KEEPALIVE_SECONDS", 1.5 * longer)
        server.wait(lambda: server.open_connections == 0)
        met = threading.Barrier(4)  # all four are asked at once
        server.forget()
        server.script([lambda _: (met.wait(PATIENCE), "ok")[1]] * 4 + ["ok"] * 2)
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})

        async def work() -> None:
            await asyncio.gather(*[model.agenerate(HELLO) for _ in range(4)])
            await model.agenerate(HELLO)
            assert server.open_connections == 4
            await asyncio.sleep(1.6 * longer)
            await model.agenerate(HELLO)
            await asyncio.to_thread(server.wait, lambda: server.open_connections == 1)

        asyncio.run(work())

    stretched(closed)


def test_close_and_aclose_close_connections_and_the_model_stays_usable(server: GeminiServer) -> None:
    server.script(["ok"] * 4)
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})

    async def work() -> None:
        for _ in range(2):
            model.generate(HELLO)
            await model.agenerate(HELLO)
            assert server.open_connections == 2
            await model.aclose()
            await asyncio.to_thread(server.wait, lambda: server.open_connections == 0)

    asyncio.run(work())


def test_a_collected_model_leaves_no_connection(server: GeminiServer) -> None:
    server.script(["ok"] * 2)
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})

    async def work() -> None:
        nonlocal model
        model.generate(HELLO)
        await model.agenerate(HELLO)
        gone = weakref.ref(model)
        del model
        gc.collect()
        assert gone() is None
        await asyncio.to_thread(server.wait, lambda: server.open_connections == 0)

    asyncio.run(work())


def test_a_model_that_is_collected_as_its_loop_ends_leaves_no_task_behind(
    server: GeminiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(["ok", *[text("ok", delay=0.05)] * 8])

    async def work() -> None:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        model.generate(HELLO)
        await asyncio.gather(*[model.agenerate(HELLO) for _ in range(8)])

    asyncio.run(work())
    gc.collect()
    assert not caplog.records  # asyncio tells of tasks that were under way
    server.wait(lambda: server.open_connections == 0)


def test_a_loop_that_ended_without_goodbye_is_forgotten() -> None:
    transport = InProcess(answer_ok)
    options = {"async_client_args": {"transport": AsyncInProcess(transport)}}
    model = GeminiModel(api_key=KEY, http_options=options)
    for _ in range(2):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(model.agenerate(HELLO))
        loop.close()
    assert len(cast(Any, model._wire_made)._async_link._loops._kept) == 1


def test_no_log_line_holds_the_key(
    make: Make, server: GeminiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script(["ok", "ok", fault(503)])
    model = make()
    model.generate(HELLO)
    list(model.stream(HELLO))
    with pytest.raises(ModelError):
        model.generate(HELLO)
    assert caplog.records
    assert KEY not in caplog.text


def test_certificates_may_be_asked_for_while_their_thread_is_about_to_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        http_clients.complete_args({})  # as another thread's first request does
        real(thread)

    monkeypatch.setattr(http_clients, "_ssl_maker", None)
    monkeypatch.setattr(threading.Thread, "start", start)
    http_clients.begin_ssl.__wrapped__()
    assert "verify" in http_clients.complete_args({})
    assert not cast(Any, http_clients._ssl_maker).is_alive()
