"""Our tools for other programs: in both eras, by standard input and output and by HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp import types as T

from agentkit import Agent, ConfigurationError, Deny, Result, ToolRegistry, __version__
from agentkit.cli.main import main
from agentkit.mcp import MCP
from agentkit.mcp.serve import TOKEN, http_app
from agentkit.mcp.server import make_server
from agentkit.testing import ScriptedModel, call
from tests.helpers.until import PATIENCE
from tests.mcp import served
from tests.mcp.parts import HERE, agent, responses
from tests.mcp.sdk_server import http_server

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

ERAS = ["auto", "legacy"]
ROOT = HERE.parent.parent


def with_client(use: Callable[[Client], Any], mode: str = "auto", source: Any = None, **options: Any) -> Any:
    """Have a client of the SDK use a server of ours."""
    answer = options.pop("elicitation_callback", None)

    async def main_() -> Any:
        server = make_server(source or served.registry, **options)
        async with Client(server, mode=mode, cache=None, elicitation_callback=answer) as client:
            try:
                return await use(client)
            except MCPError as error:  # which the client's own block would put into groups
                return error

    result = asyncio.run(main_())
    if isinstance(result, MCPError):
        raise result
    return result


def call_it(
    name: str, args: dict[str, Any] | None = None, mode: str = "auto", **options: Any
) -> T.CallToolResult:
    result: T.CallToolResult = with_client(lambda client: client.call_tool(name, args or {}), mode, **options)
    return result


def text(result: T.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, T.TextContent)
    return block.text


@pytest.mark.parametrize("mode", ERAS)
def test_tools_are_declared_with_schemas_titles_and_what_was_said_of_them(mode: str) -> None:
    listed = with_client(lambda client: client.list_tools(), mode)
    tools = {each.name: each for each in listed.tools}
    assert list(tools) == ["weather", "pay", "picture", "count", "fail", "sleep", "slow"]
    weather = tools["weather"]
    assert (weather.title, weather.description) == ("Weather", "Say what the weather is like.")
    assert weather.input_schema["required"] == ["place"]
    assert "village" in json.dumps(weather.input_schema)
    hints = {name: each.annotations.model_dump(exclude_none=True) for name, each in tools.items()}
    assert hints["weather"] == {"read_only_hint": True}
    assert hints["pay"] == {"read_only_hint": False, "destructive_hint": True}
    assert hints["picture"] == {"open_world_hint": True}
    assert hints["count"] == {}


@pytest.mark.parametrize("mode", ERAS)
def test_results_are_structured_and_media_keep_their_kinds(mode: str) -> None:
    result = call_it("weather", {"place": {"name": "Rome"}}, mode)
    assert result.structured_content == json.loads(text(result)) == {"place": "Rome", "sky": "blue"}
    blocks = call_it("picture", mode=mode).content
    assert [block.type for block in blocks] == ["text", "image", "resource"]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("weather", {"place": {"name": 1}}, "The arguments of 'weather' are wrong"),
        ("weather", {}, "place"),
        ("fail", {"how": "retry"}, "Say it otherwise."),
        ("fail", {"how": "error"}, "It is broken."),
        ("fail", {"how": "later"}, "later"),
        ("fail", {"how": "x"}, "failed with an internal error (ValueError)"),
        ("slow", {}, "took too long"),
    ],
)
def test_failures_are_results_that_say_so_and_nothing_else(
    mode: str, name: str, args: Any, said: str
) -> None:
    result = call_it(name, args, mode)
    assert result.is_error
    assert said in text(result)
    assert "a secret" not in text(result)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("name", ["nothing", "terminal"])
def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(mode: str, name: str) -> None:
    with pytest.raises(MCPError, match=f"Unknown tool: {name}") as raised:
        call_it(name, mode=mode)
    assert raised.value.code == T.INVALID_PARAMS


@pytest.mark.parametrize("mode", ERAS)
def test_progress_is_told_before_the_result(mode: str) -> None:
    told: list[Any] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    with_client(lambda client: client.call_tool("count", {}, progress_callback=note), mode)
    assert told == [(1, "at 0"), (2, "at 1"), (3, "at 2")]


@pytest.mark.parametrize("mode", ERAS)
def test_a_client_that_gives_up_cancels_the_tool(mode: str) -> None:
    served.begun.clear()
    served.cancelled.clear()

    async def give_up(client: Client) -> None:
        calling = asyncio.create_task(client.call_tool("sleep", {}))
        assert await asyncio.to_thread(served.begun.wait, 30)
        calling.cancel()
        assert await asyncio.to_thread(served.cancelled.wait, 30)

    with_client(give_up, mode)


@pytest.mark.parametrize("mode", ERAS)
def test_a_tool_that_exits_fails_and_the_server_goes_on(mode: str) -> None:
    async def use(client: Client) -> tuple[Any, Any]:
        return await client.call_tool("fail", {"how": "exit"}), await client.call_tool(
            "fail", {"how": "error"}
        )

    first, second = with_client(use, mode)
    assert (first.is_error, text(first)) == (
        True,
        "The tool 'fail' failed with an internal error (SystemExit).",
    )
    assert text(second) == "It is broken."


def test_what_a_tool_raises_is_in_the_log_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def use(client: Client) -> Any:
        await client.call_tool("fail", {"how": "error"})  # the client's affair
        return await client.call_tool("fail", {"how": "x"})

    with_client(use, ERAS[0])
    (told,) = [each for each in caplog.records if each.name == "agentkit.tools"]
    assert "The tool 'fail' raised ValueError" in told.getMessage()
    assert told.exc_info is not None


def test_a_server_says_its_version() -> None:
    async def use(client: Client) -> Any:
        return client.server_info

    assert with_client(use).version == __version__


def answering(action: Any, content: Any = None, asked: list[str] | None = None) -> Any:
    async def answer(ctx: Any, params: Any) -> T.ElicitResult:
        if asked is not None:
            asked.append(params.message)
        return T.ElicitResult(action=action, content=content)

    return answer


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answering("accept", {"allow": True}), "paid 500"),
        (answering("accept", {"allow": False}), "not allowed"),
        (answering("accept", {}), "not allowed"),
        (answering("decline"), "not allowed"),
        (answering("cancel"), "not allowed"),
        (None, "nobody can be asked"),
    ],
)
def test_a_call_that_needs_approval_asks_the_person_at_the_client_or_is_refused(
    mode: str, answer: Any, said: str
) -> None:
    served.paid.clear()
    assert said in text(call_it("pay", {"amount": 500}, mode, elicitation_callback=answer))
    assert served.paid == ([500] if said == "paid 500" else [])


@pytest.mark.parametrize("mode", ERAS)
def test_nobody_is_asked_about_a_call_that_needs_no_approval_or_when_all_are_refused(mode: str) -> None:
    asked: list[str] = []
    answer = answering("accept", {"allow": True}, asked)
    assert text(call_it("pay", {"amount": 5}, mode, elicitation_callback=answer)) == "paid 5"
    refused = call_it("pay", {"amount": 500}, mode, elicitation_callback=answer, approvals="refuse")
    assert "nobody can be asked" in text(refused)
    assert asked == []
    call_it("pay", {"amount": 500}, mode, elicitation_callback=answer)
    assert asked == ['Allow pay({"amount": 500})? It is much.']


def test_an_approval_can_be_neither_forged_nor_taken_to_other_arguments() -> None:
    yes = T.ElicitResult(action="accept", content={"allow": True})

    async def use(client: Client) -> None:
        session = client.session
        asked = await session.call_tool("pay", {"amount": 500}, allow_input_required=True)
        assert isinstance(asked, T.InputRequiredResult)
        answers: Any = dict.fromkeys(asked.input_requests or {}, yes)
        without = await session.call_tool(
            "pay", {"amount": 500}, input_responses=answers, allow_input_required=True
        )
        assert isinstance(without, T.InputRequiredResult)
        for args, state in (({"amount": 500}, "forged"), ({"amount": 900}, asked.request_state)):
            with pytest.raises(MCPError):
                await session.call_tool("pay", args, input_responses=answers, request_state=state)
        done = await session.call_tool(
            "pay", {"amount": 500}, input_responses=answers, request_state=asked.request_state
        )
        assert text(done) == "paid 500"

    served.paid.clear()
    with_client(use, elicitation_callback=answering("decline"))
    assert served.paid == [500]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("allow", [True, False])
def test_an_agent_can_be_asked_itself_and_its_calls_need_approval_too(mode: str, allow: bool) -> None:
    served.paid.clear()
    asked: list[str] = []
    result = call_it(
        "ask",
        {"request": "Pay 500."},
        mode,
        source=served.assistant_that_pays(500),
        ask=True,
        elicitation_callback=answering("accept", {"allow": allow}, asked),
    )
    assert text(result) == "I have paid."
    assert served.paid == ([500] if allow else [])
    assert asked == ['Allow assistant.pay({"amount": 500})? It is much.']


@pytest.mark.parametrize("inside", [False, True])
def test_an_agent_that_asks_at_the_terminal_can_not_be_asked(inside: bool) -> None:
    asker = Agent(ScriptedModel([]), tools=[served.registry.select(names=["terminal"])], name="asker")
    tools = [asker.as_tool()] if inside else list(asker.tools)
    with pytest.raises(ConfigurationError, match="ask at the terminal, terminal"):
        make_server(Agent(ScriptedModel([]), tools=[*tools, served.registry.select(names=["pay"])]), ask=True)
    with pytest.raises(ConfigurationError, match="no tools to serve"):
        make_server(tools)


@pytest.mark.parametrize("decision", [Result({"allow": True}), Deny()])
def test_our_client_and_our_server_understand_each_other(decision: Any) -> None:
    served.paid.clear()
    with MCP(make_server(served.registry), name="s", approval=False) as mcp:
        first = agent(mcp, call("s_pay", amount=500), call("s_weather", place={"name": "Rome"})).run("Go.")
        assert first.pending[0].why == 'Allow pay({"amount": 500})? It is much.'
        run = Agent(ScriptedModel(["done"]), tools=[mcp]).resume(first, {first.pending[0].call_id: decision})
        assert responses(run)[1] == {"place": "Rome", "sky": "blue"}
        assert served.paid == ([500] if isinstance(decision, Result) else [])


def test_what_cannot_be_served_is_said() -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([], {}, "no tool"),
        (served.registry, {"ask": True}, "give an agent"),
        (served.registry, {"approvals": "perhaps"}, "'ask' or 'refuse'"),
        (7, {}, "can't take int"),
    ]
    for source, options, problem in cases:
        with pytest.raises(ConfigurationError, match=problem):
            make_server(source, **options)

    registry = ToolRegistry()
    registry.tool(name="ask")(lambda: "x")
    with pytest.raises(ConfigurationError, match="already"):
        make_server(Agent(ScriptedModel([]), tools=[registry]), ask=True)


def test_a_declaration_in_openapi_is_served_as_json_schema() -> None:
    parameters = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    listed = with_client(
        lambda client: client.list_tools(),
        source=[({"name": "old", "description": "d", "parameters": parameters}, lambda **_: "x")],
    )
    assert listed.tools[0].input_schema == {
        "type": "object",
        "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    }


# -- as a program


def command(*more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "agentkit.cli.main",
        "mcp",
        "serve",
        str(HERE / "served.py") + ":registry",
        *more,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools"), *sys.path])}


@pytest.mark.slow
def test_on_standard_output_is_nothing_but_the_protocol() -> None:
    first: dict[str, Any] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    asked: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": first},
        {"method": "notifications/initialized"},
        {
            "id": 2,
            "method": "tools/call",
            "params": {"name": "weather", "arguments": {"place": {"name": "Rome"}}},
        },
    ]
    process = subprocess.Popen(
        command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines = []
    for message in asked:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        if "id" in message:
            lines.append(process.stdout.readline())
    rest, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert rest == ""
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    for printed in ("printed when it is imported", "by a child", "printed in a call"):
        assert printed in errors


@pytest.mark.slow
def test_our_client_starts_our_server() -> None:
    with MCP(command(), name="s", env={"PYTHONPATH": environment()["PYTHONPATH"]}) as mcp:
        run = agent(mcp, call("s_weather", place={"name": "Rome"})).run("Go.")
        assert responses(run) == [{"place": "Rome", "sky": "blue"}]


def test_http_wants_its_token_and_refuses_other_hosts_and_origins() -> None:
    app, token = http_app(served.registry)
    bearer = {"Authorization": f"Bearer {token}"}
    accept = {"Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with http_server(app) as url, httpx2.Client(timeout=PATIENCE) as client:
        refused: list[tuple[dict[str, str], int]] = [
            ({}, 401),
            ({"Authorization": "Bearer x"}, 401),
            ({**bearer, "Host": "evil.example.com"}, 421),
            ({**bearer, "Origin": "https://evil.example.com"}, 403),
        ]
        for headers, status in refused:
            assert client.post(url, json=body, headers={**accept, **headers}).status_code == status
        with MCP(url, name="s", headers=bearer) as mcp:
            assert responses(agent(mcp, call("s_count")).run("Go.")) == ["3"]
    with pytest.raises(ConfigurationError, match="16 characters"):
        http_app(served.registry, token="short")


@pytest.mark.slow
def test_the_program_serves_by_http_with_a_token_of_the_environment() -> None:
    token = "a-token-of-the-environment"
    process = subprocess.Popen(
        command("--http"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), TOKEN: token},
    )
    try:
        assert process.stderr is not None
        line = ""
        while "Serving on" not in line:
            line = process.stderr.readline()
            assert line
        assert token not in line
        url = line.split()[-1]
        with MCP(url, name="s", headers={"Authorization": f"Bearer {token}"}) as mcp:
            assert responses(agent(mcp, call("s_count")).run("Go.")) == ["3"]
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nothing"], "no file and no module 'nothing'"),
        (["no.such.module:x"], "no module 'no.such.module'"),
        (["no_such_file.py:x"], "no_such_file.py"),
        (["json:nothing"], "json has no 'nothing'"),
        ([str(HERE / "served.py") + ":assistant", "-t", "calculator"], "is an agent"),
        ([], "Give a target"),
        (["json:dumps"], "no type annotations"),
    ],
)
def test_a_target_that_is_not_there_is_said(
    words: list[str], problem: str, capfd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["mcp", "serve", *words]) == 2
    assert problem in capfd.readouterr().err
