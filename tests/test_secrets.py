"""A key shows up nowhere but in the request's header: not in logs, events, errors, reprs, rows or files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import traceback
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from google import genai

from agentkit import Agent, Limits, ModelError, RetryPolicy, SQLiteStore, ToolError, tool
from agentkit.errors import AgentError
from agentkit.events import to_wire as event_json
from agentkit.gemini.model import GeminiModel
from tests.helpers.gemini import AsyncInProcess, InProcess
from tests.helpers.gemini_server import GeminiServer, call, calls, fault, text
from tests.helpers.ways import WAYS

KEY = "AIzaSyD-seeded-secret-key-0123456789abc"
SECRET_OF_A_TOOL = "postgres://app:hunter2-seeded@db"


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    if word == "bad":
        raise RuntimeError(f"can't connect to {SECRET_OF_A_TOOL}")
    if word == "worse":
        raise ToolError("The archive is closed.")
    return f"{word}: nothing"


@tool(effect="write", approval=True)
def order(n: int) -> str:
    """Order."""
    return f"ordered {n}"


def told(error: BaseException) -> str:
    """Write down all that an error may show: its chain, its attributes."""
    lines = traceback.format_exception(error)
    seen: BaseException | None = error
    while seen is not None:
        lines += [repr(seen), str(seen), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(lines)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("use", ["sync", "async"])
def test_a_key_is_in_no_log_event_error_repr_row_or_file(
    use: str, streamed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    with GeminiServer() as server, SQLiteStore(tmp_path / "chats.db") as store:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url}, timeout=5)
        agent = Agent(
            model,
            tools=[look_up, order],
            retry=RetryPolicy(attempts=2, base=0, cap=0),
            limits=Limits(on_limit="answer"),
        )

        def send(message: str) -> Any:
            chat = agent.chat("ann", store)
            with chat.send_message_stream(message) as events:
                for event in events:
                    seen.append(repr(event))
            return events.run

        async def asend(message: str) -> Any:
            chat = agent.aio.chat("ann", store)
            if not streamed:
                return await chat.send_message(message)
            async with chat.send_message_stream(message) as events:
                async for event in events:
                    seen.append(repr(event))
            return events.run

        def ask(message: str) -> Any:
            if use == "async":
                return asyncio.run(asend(message))
            return send(message) if streamed else agent.chat("ann", store).send_message(message)

        server.script(
            [
                calls(call("look_up", {"word": "bad"}), call("look_up", {"word": "worse"})),
                fault(503, message=f"no capacity for {KEY}"),
                text("Nothing."),
            ]
        )
        run = ask("look")
        assert run.text == "Nothing."
        kept = [repr(run), run.to_json()]
        assert SECRET_OF_A_TOOL in str(run.errors[0])  # it is the developer's to see, where they ask for it
        assert not [words for words in [*kept, *seen] if SECRET_OF_A_TOOL in words]

        server.script([calls(call("order", {"n": 3}))])
        run = ask("order")
        assert run.stop == "approval"
        kept += [repr(run), run.to_json(), repr(run.pending)]
        chat = agent.chat("ann", store)
        chat.undo()

        for code in (400, 403, 500):
            server.script([fault(code, message=f"key {KEY} is not good", details=[{"key": KEY}])] * 2)
            with pytest.raises(ModelError) as caught:
                ask("fail")
            kept.append(told(caught.value))
        server.script([fault("not-json", body=KEY.encode())] * 2)
        with pytest.raises(AgentError) as caught_body:
            ask("garbage")
        kept.append(told(caught_body.value))
        chat.save(tmp_path / "chat.json")
        kept += [repr(each) for each in (agent, model, chat, store, agent.aio, agent.tools, chat.info)]
        kept += [chat.fork().id, repr(chat.get_messages())]
        sent = [request.headers for request in server.requests]
        assert all(headers["x-goog-api-key"] == KEY for headers in sent)  # the test would be blind otherwise
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert not [data for data in files if KEY.encode() in data or SECRET_OF_A_TOOL.encode() in data]
    for words in [*seen, *kept, caplog.text, *(str(vars(record)) for record in caplog.records)]:
        assert KEY not in words


def test_what_the_developer_hands_in_is_not_in_the_contexts_repr() -> None:
    told_by: list[str] = []

    def instructions(ctx: Any) -> str:
        told_by.append(repr(ctx))
        return "Be brief."

    from agentkit.testing import ScriptedModel

    Agent(ScriptedModel(["ok"]), instructions=instructions).run("x", deps={"token": KEY})
    assert KEY not in told_by[0]
    with contextlib.suppress(IndexError):
        assert "run_id" in told_by[0]


PLANTED = {
    "header": "planted-team-secret-31",
    "cookie": "planted-cookie-secret-32",
    "body": "planted-body-Secret33",
    "password": "planted-pass-34",
    "param": "planted-param-35",
    "tool": "planted-mcp-header-36",
}
"""What a user hands to a model beside the key."""


def echoing(how: str) -> Any:
    """Answer with all of the request, as gateways do in their errors."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        whole = f"{request.url} {dict(request.headers)} {request.content.decode()}"
        bodies: dict[str, Any] = {
            "400": {
                "error": {"code": 400, "status": whole, "message": whole, "details": [{"reason": whole}]}
            },
            "no JSON": whole,
            "half": '{"candidates": "' + whole,
            "an error with 200": {"error": whole},
            "finish message": {"candidates": [{"finishReason": "SAFETY", "finishMessage": whole}]},
            "finish reason": {"candidates": [{"finishReason": whole}]},
            "finish reason in a list": {"candidates": [{"finishReason": [whole]}]},
            "block in an object": {"promptFeedback": {"blockReason": {"x": whole}}},
            "bad call": {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": whole}]},
            "block": {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": whole}},
        }
        body = bodies[how] if isinstance(bodies[how], str) else json.dumps(bodies[how])
        if "alt=sse" in str(request.url) and how not in ("400", "no JSON"):
            body = f"data: {body}\r\n\r\n"
        return httpx2.Response(400 if how == "400" else 200, content=body.encode())

    return answer


@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")  # the SDK's, in a user's client
@pytest.mark.parametrize("owner", ["own", "users"])
@pytest.mark.parametrize(
    "how",
    [
        "400",
        "no JSON",
        "half",
        "an error with 200",
        "finish message",
        "finish reason",
        "bad call",
        "block",
        "finish reason in a list",
        "block in an object",
    ],
)
def test_what_a_server_repeats_of_a_request_is_shown_nowhere(
    how: str, owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    transport = InProcess(echoing(how))
    more = {"cookies": {"session": PLANTED["cookie"]}, "params": {"sig": PLANTED["param"]}}
    http: Any = {
        "base_url": f"https://ann:{PLANTED['password']}@gateway.example.com",
        "headers": {"X-Team": PLANTED["header"]},
        "extra_body": {"labels": {"token": PLANTED["body"]}},
        "client_args": {"transport": transport, **more},
        "async_client_args": {"transport": AsyncInProcess(transport), **more},
    }
    server_tool = {
        "name": "files",
        "streamable_http_transport": {
            "url": "https://example.com",
            "headers": {"authorization": f"Bearer {PLANTED['tool']}"},
        },
    }
    client = genai.Client(api_key=KEY, http_options=http)
    model = GeminiModel(api_key=KEY, http_options=http) if owner == "own" else GeminiModel(client=client)
    shown: list[str] = []

    def hear(event: Any, _: Any) -> None:
        shown.append(repr(event) + json.dumps(event_json(event)))

    for way in WAYS.values():
        agent = Agent(
            model,
            tools=[look_up, {"mcp_servers": [server_tool]}],
            retry=RetryPolicy(attempts=2, base=0, cap=0),
            observers=[hear],
        )
        try:
            run = way.run(agent, "Hello")
        except AgentError as error:
            shown.append(told(error))
            run = error.run
        shown += [repr(run), run.to_json(), run.why, repr(agent), repr(model), repr(way.events)]
    sent = transport.requests[-1]
    whole = f"{sent.url} {sent.headers} {sent.content.decode()}"
    # else the test would be blind
    assert not [name for name, secret in PLANTED.items() if secret not in whole and name != "password"]
    records = [str(vars(r)) for r in caplog.records if owner == "own" or r.name.startswith("agentkit")]
    for words in [*shown, *records]:
        # The HTTP client's own log has the address, with the parameters that the user asks for in each.
        may = {"param"} if words in records and "HTTP Request" in words else set()
        assert not {name for name, secret in PLANTED.items() if secret in words} - may
        assert KEY not in words


def test_http_options_that_are_refused_are_not_shown() -> None:
    for options in ({"headers": PLANTED["header"]}, {"timeout": PLANTED["header"]}, {PLANTED["header"]: 1}):
        with pytest.raises(AgentError) as caught:
            Agent(GeminiModel(api_key=KEY, http_options=cast(Any, options))).run("x")
        if PLANTED["header"] not in options:  # a name is shown, as no secret is one
            assert PLANTED["header"] not in told(caught.value)
