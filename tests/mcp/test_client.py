"""Servers' tools in runs: what comes through, in every way of reaching a server and in both eras."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mcp import types as T

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ConfigurationError,
    Deny,
    Hooks,
    Limits,
    Media,
    Result,
    Run,
    SQLiteStore,
    tool,
)
from agentkit.events import ToolProgress, ToolsLeftOut
from agentkit.mcp import MCP, Prompt, Resource
from agentkit.testing import ScriptedModel, call
from tests.helpers.until import stretched, until
from tests.mcp.parts import SDK, WAYS, agent, called, responses, server
from tests.mcp.sdk_server import PIXEL, Behaviour
from tests.mcp.sdk_server import tool as declared

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_results_errors_and_pictures_come_through(way: str) -> None:
    with server(way) as mcp:
        run = agent(mcp, call("s_add", a=1, b=2), call("s_picture"), call("s_fail")).run("Go.")
        assert responses(run) == [{"sum": 3}, "A pixel.", "ERROR: no such account"]
        (part,) = run.contents[-2]["parts"][1]["functionResponse"]["parts"]
        assert base64.b64decode(part["inlineData"]["data"]) == PIXEL


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_resources_and_prompts_can_be_read(way: str) -> None:
    with server(way) as mcp:
        assert mcp.resources() == [Resource(uri="memo://one", name="one", mime_type="text/plain")]
        assert mcp.read("memo://one") == ["Buy tea.", Media(PIXEL, "image/png", "p.png")]
        assert mcp.prompts() == [Prompt(name="explain", arguments=("topic",), required=("topic",))]
        assert mcp.prompt("explain", topic="tea") == [{"role": "user", "parts": [{"text": "Explain tea."}]}]
        with pytest.raises(AgentError, match="no such memo"):
            mcp.read("memo://two")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_form_becomes_a_question_that_another_process_may_answer(way: str) -> None:
    with server(way) as mcp:
        first = agent(mcp, call("s_ask")).run("Go.")
        assert first.stop == "deferred"
        (pending,) = first.pending
        assert pending.name == "s_ask"
        assert pending.args["question"] == pending.why == "Which colour?"
        assert pending.args["schema"]["required"] == ["colour"]
        kept = first.to_json()
    with server(way) as mcp:
        second = Agent(ScriptedModel(["done"]), tools=[mcp])
        run = second.resume(kept, {pending.call_id: Result({"colour": "red"})})
        assert responses(run) == ["accept: red"]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_an_address_to_visit_becomes_a_question(way: str) -> None:
    with server(way) as mcp:
        first = agent(mcp, call("s_visit")).run("Go.")
        (pending,) = first.pending
        assert pending.args == {"question": "Sign in", "url": "https://example.com/in"}
        run = Agent(ScriptedModel(["done"]), tools=[mcp]).resume(first, {pending.call_id: Approve()})
        assert responses(run) == ["accept: None"]


@pytest.mark.parametrize(
    ("decision", "said"),
    [(Deny(), "decline: None"), (Result("blue"), "accept: blue"), (Result({"colour": "red"}), "accept: red")],
)
def test_a_question_takes_a_content_a_single_value_or_a_no(decision: Any, said: str) -> None:
    with server("in process") as mcp:
        first = agent(mcp, call("s_ask")).run("Go.")
        run = Agent(ScriptedModel(["done"]), tools=[mcp]).resume(first, {first.pending[0].call_id: decision})
        assert responses(run) == [said]


def test_what_is_no_answer_to_a_form_leaves_the_question_open() -> None:
    behaviour = Behaviour()
    behaviour.form = {
        "type": "object",
        "properties": {"colour": {"type": "string"}, "size": {"type": "string"}},
    }
    with server("in process", behaviour) as mcp:
        first = agent(mcp, call("s_ask")).run("Go.")
        made = Agent(ScriptedModel(["done"]), tools=[mcp])
        again = made.resume(first, {first.pending[0].call_id: Result("red")})
        assert (again.stop, again.pending[0].args) == ("deferred", first.pending[0].args)
        run = made.resume(again, {again.pending[0].call_id: Result({"colour": "red", "size": "S"})})
        assert responses(run) == ["accept: red"]


def test_what_is_left_out_of_a_form_has_its_default() -> None:
    behaviour = Behaviour()
    behaviour.form = {"type": "object", "properties": {"colour": {"type": "string", "default": "green"}}}
    with server("in process", behaviour) as mcp:
        for decision in (Approve(), Result({})):
            first = agent(mcp, call("s_ask")).run("Go.")
            made = Agent(ScriptedModel(["done"]), tools=[mcp])
            assert responses(made.resume(first, {first.pending[0].call_id: decision})) == ["accept: green"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stdio legacy", "http legacy"])
def test_calls_at_once_that_ask_do_not_get_one_anothers_answers(way: str) -> None:
    with server(way) as mcp:
        both = [[call("s_ask"), call("s_visit")], "done"]
        first = Agent(ScriptedModel(both), tools=[mcp]).run("Go.")  # nobody knows whose question is whose
        again = Agent(ScriptedModel(both), tools=[mcp]).run("Go.")  # so from then on one after another
        assert first.stop in (None, "deferred")
        asked: list[str] = []
        asker = Agent(ScriptedModel(["done"]), tools=[mcp])
        while again.stop == "deferred":  # the second, which nobody marked, runs behind the first
            asked += [each.why for each in again.pending]
            said = {
                each.call_id: Result("red") if "schema" in each.args else Approve() for each in again.pending
            }
            again = asker.resume(again, said)
        assert asked == ["Which colour?", "Sign in"]
        assert responses(again) == ["accept: red", "accept: None"]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_progress_is_told_and_a_cancelled_run_cancels_the_servers_handler(way: str) -> None:
    behaviour = Behaviour(legacy="legacy" in way)
    with server(way, behaviour) as mcp:
        told = []
        with agent(mcp, call("s_slow")).stream("Go.") as stream:
            for event in stream:
                if isinstance(event, ToolProgress):
                    told.append(event.message)
                if len(told) == 3:
                    break
        assert told == ["step 1", "step 2", "step 3"]
        if not way.startswith("stdio"):
            until(lambda: behaviour.cancelled == ["slow"])
        assert called(mcp, "s_add", a=1, b=1) == {"sum": 2}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["http", "http legacy", "in process"])
def test_a_request_that_takes_too_long_is_given_up_on_both_sides(way: str) -> None:
    def slow(longer: float) -> None:
        behaviour = Behaviour(legacy="legacy" in way)
        with server(way, behaviour, timeout=2.0 * longer) as mcp:
            assert called(mcp, "s_slow") == f"ERROR: The MCP server has not answered for {2 * longer:g} s."
            until(lambda: behaviour.cancelled == ["slow"])

    stretched(slow)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_tools_that_changed_are_listed_anew_and_those_that_did_not_stay_the_same_objects(way: str) -> None:
    with server(way) as mcp:
        before = {each.name: each for each in mcp.tools()}
        assert called(mcp, "s_change") == "changed"
        until(lambda: "s_added" in {each.name for each in mcp.tools()})
        after = {each.name: each for each in mcp.tools()}
        assert all(after[name] is made for name, made in before.items())
        assert called(mcp, "s_added") == "done"


def test_nothing_is_started_before_the_first_use_and_one_connection_serves_everybody() -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp:
        assert behaviour.connects == 0
        agents = [agent(mcp, call("s_add", a=1, b=2)) for _ in range(8)]
        results: list[Any] = []
        threads = [
            threading.Thread(target=lambda a=each: results.append(responses(a.run("Go."))))
            for each in agents[:6]
        ]
        for thread in threads:
            thread.start()

        async def once(which: Agent) -> None:
            results.append(responses(await which.aio.run("Go.")))

        for each in agents[6:]:  # two event loops
            asyncio.run(once(each))
        for thread in threads:
            thread.join()
        assert results == [[{"sum": 3}]] * 8
        assert behaviour.connects == 1


def test_async_callers_have_the_same_methods() -> None:
    async def main(mcp: MCP) -> None:
        assert [each.name for each in await mcp.aio.tools()] == [each.name for each in mcp.tools()]
        assert (await mcp.aio.read("memo://one"))[0] == "Buy tea."
        assert [each.name for each in await mcp.aio.resources()] == ["one"]
        assert [each.name for each in await mcp.aio.prompts()] == ["explain"]
        assert (await mcp.aio.prompt("explain", topic="tea"))[0]["role"] == "user"
        await mcp.aio.close()
        with pytest.raises(AgentError, match="closed"):
            await mcp.aio.tools()

    with server("in process") as mcp:
        asyncio.run(main(mcp))


def test_only_what_is_said_counts_and_what_loosens_a_rule_only_from_a_trusted_server() -> None:
    with server("in process") as mcp:
        tools = {each.name: each for each in mcp.tools()}
    assert (tools["s_add"].effect, tools["s_note"].effect, tools["s_slow"].effect) == (None, "write", None)
    assert (tools["s_wipe"].effect, tools["s_wipe"].approval, tools["s_add"].approval) == (
        "write",
        True,
        False,
    )
    assert all(each.untrusted for each in tools.values())
    with server("in process", trusted=True) as mcp:
        tools = {each.name: each for each in mcp.tools()}
    assert (tools["s_add"].effect, tools["s_slow"].effect) == ("read", None)
    assert not any(each.untrusted for each in tools.values())


def test_patterns_choose_tools_and_those_that_need_approval() -> None:
    with server("in process", allow=["a*", "wipe"], deny="ask", approval="add") as mcp:
        assert {each.name: each.approval for each in mcp.tools()} == {"s_add": True, "s_wipe": True}
    with server("in process", approval=False) as mcp:
        assert not any(each.approval for each in mcp.tools())
    with server("in process", approval=True, on_demand=True) as mcp:
        assert all(each.approval and each.on_demand for each in mcp.tools())


def test_a_destructive_call_waits_for_approval_and_runs_once_it_is_there() -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp:
        first = agent(mcp, call("s_wipe")).run("Go.")
        assert (first.stop, behaviour.wiped) == ("approval", 0)
        run = Agent(ScriptedModel(["done"]), tools=[mcp]).resume(first, {first.pending[0].call_id: Approve()})
        assert (responses(run), behaviour.wiped) == (["wiped"], 1)


@pytest.mark.parametrize("second", [Approve(), Deny("not that")])
def test_a_declaration_that_changed_after_it_was_shown_asks_again(second: Any) -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp:
        made = Agent(ScriptedModel([[call("s_wipe")], "done"]), tools=[mcp])
        first = made.run("Go.")
        wipe = declared(
            "wipe",
            description="Wipes the neighbour's disk.",
            annotations=T.ToolAnnotations(destructive_hint=True),
        )
        mcp._connection.submit(behaviour.change, None, wipe).result()
        until(lambda: mcp._connection.tools_changed)
        again = made.resume(first, {first.pending[0].call_id: Approve()})
        assert (again.stop, behaviour.wiped) == ("approval", 0)
        (pending,) = again.pending
        assert "neighbour's disk" in pending.why
        run = made.resume(Run.from_json(again.to_json()), {pending.call_id: second})
        assert behaviour.wiped == (1 if isinstance(second, Approve) else 0)
        assert run.text == "done"


def test_words_of_a_server_taint_what_follows_unless_it_is_trusted() -> None:
    @tool(effect="write")
    def pay() -> str:
        """Pay."""
        return "paid"

    for trusted, stop in ((False, "approval"), (True, None)):
        with server("in process", trusted=trusted) as mcp:
            model = ScriptedModel([[call("s_add", a=1, b=2)], [call("pay")], "done"])
            run = Agent(model, tools=[mcp, pay], limits=Limits(after_untrusted="approve")).run("Go.")
            assert run.stop == stop


def test_a_call_in_a_chat_is_in_its_ledger_and_a_question_outlives_the_process(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chats.db")
    with server("in process") as mcp:
        first = agent(mcp, call("s_ask"))
        assert first.chat("c", store).send_message("Go.").stop == "deferred"
    with server("in process") as mcp:
        chat = Agent(ScriptedModel(["done"]), tools=[mcp]).chat("c", store)
        run = chat.resume({chat.pending[0].call_id: Result("red")})
        assert run.text == "done"
        assert "accept: red" in json.dumps(chat.get_history())
    store.close()


def test_limits_count_the_calls() -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp:
        agent(mcp, *[call("s_add", a=1, b=2)] * 3, limits=Limits(tool_calls=2)).run("Go.")
        assert behaviour.calls == ["add", "add"]


def test_sampling_is_refused_plainly() -> None:
    with server("in process") as mcp:
        assert (
            called(mcp, "s_sample")
            == "ERROR: The MCP server asks for sampling/createMessage, which is not supported."
        )


@pytest.mark.slow
def test_a_command_gets_only_the_environment_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a-secret")
    with server("stdio", env={"NAMED": "yes"}) as mcp:
        seen = called(mcp, "s_environment")
    assert seen["NAMED"] == "yes"
    assert seen.keys() - {"NAMED", "LC_CTYPE"} <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}


@pytest.mark.slow
def test_a_command_is_one_text_a_list_or_the_sdks_parameters() -> None:
    from mcp import StdioServerParameters

    parameters = StdioServerParameters(command=SDK[0], args=SDK[1:])
    for given in (" ".join(SDK), parameters):
        with MCP(given, name="s") as mcp:
            assert len(mcp.tools()) == len(Behaviour().tools)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("uvx mcp-server-time --local-timezone=Europe/Rome", "mcp_server_time"),
        ("npx -y @modelcontextprotocol/server-filesystem@2026.1 /data", "server_filesystem"),
        (["python", "-m", "server.py"], "server"),
        ("https://user:pass@mcp.example.com:8443/mcp", "mcp_example_com"),
        ("./7zip", "_7zip"),
    ],
)
def test_a_server_without_a_name_is_called_by_its_command_or_host(given: Any, name: str) -> None:
    assert MCP(given).name == name


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"server": 7}, "give a command"),
        ({"server": ""}, "give a command"),
        ({"server": "x", "name": "a b"}, "letters"),
        ({"server": "x", "headers": {"a": "b"}}, "another kind of server"),
        ({"server": "http://127.0.0.1/", "env": {"a": "b"}}, "another kind of server"),
        ({"server": "x", "timeout": 0}, "above 0"),
        ({"server": "x", "allow": [1]}, "patterns"),
    ],
)
def test_what_cannot_work_is_said_when_it_is_made(options: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        MCP(options.pop("server"), **options)


def test_headers_are_sent_and_a_refusal_is_told_without_them() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]).get(b"authorization"))
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    from tests.mcp.sdk_server import http_server

    with http_server(app) as url, MCP(url, name="s", headers={"Authorization": "Bearer a-secret"}) as mcp:
        with pytest.raises(AgentError, match=r"Can't connect.*HTTP 401") as raised:
            mcp.tools()
        assert "a-secret" not in str(raised.value)
    assert seen[0] == b"Bearer a-secret"


def test_a_server_that_is_not_there_is_an_error_in_words() -> None:
    for given in ("http://127.0.0.1:9/mcp", "no-such-command-here"):
        with MCP(given, name="s") as mcp:
            with pytest.raises(AgentError, match="Can't connect to the MCP server 's'"):
                mcp.tools()
            with Agent(ScriptedModel(["done"]), tools=[mcp]).stream("Go.") as events:
                (told,) = [event for event in events if isinstance(event, ToolsLeftOut)]
            assert (events.run.text, told.source) == ("done", "s")
            assert "Can't connect to the MCP server 's'" in told.reason


def test_a_tool_named_like_one_of_ours_gives_way() -> None:
    @tool
    def s_add(a: int) -> int:
        """Add."""
        return 100 + a

    with server("in process") as mcp:
        made = Agent(ScriptedModel([call("s_add", a=1), "done"]), tools=[mcp, s_add])
        with made.stream("Go.") as events:
            told = [event for event in events if isinstance(event, ToolsLeftOut)]
        assert told == [ToolsLeftOut("s", "There is a tool 's_add' already.")]
        assert responses(events.run) == [101]


def test_an_agent_is_made_without_a_connection_and_ends_the_one_that_it_has() -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp:
        with agent(mcp, call("s_add", a=1, b=2)) as made:
            assert (behaviour.connects, made.tools) == (0, ())
            made.run("Go.")
            assert behaviour.connects == 1
            assert "s_add" in [each.name for each in made.tools]
        with pytest.raises(AgentError, match="closed"):
            mcp.tools()


def test_tools_that_a_server_has_anew_are_there_in_the_next_turn() -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp:
        model = ScriptedModel([call("s_change"), "done"])
        heard = Hooks(after_tool=lambda response, ctx: until(lambda: mcp._connection.tools_changed))
        Agent(model, tools=[mcp], hooks=heard).run("Go.")
        first, second = (str(request["tools"]) for request in model.requests)
        assert ("s_added" in first, "s_added" in second) == (False, True)


def test_a_config_file_of_another_program_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mcp.json"
    servers = {
        "my server": {"command": SDK[0], "args": [*SDK[1:], "${ERA:-legacy}"], "env": {"TOKEN": "${TOKEN}"}},
        "remote": {"type": "http", "url": "https://${HOST}/mcp", "headers": {"X-Key": "${TOKEN}"}},
        "off": {"command": "x", "disabled": True},
    }
    path.write_text(json.dumps({"mcpServers": servers}))
    with pytest.raises(ConfigurationError, match="needs the environment variable TOKEN"):
        MCP.from_config(path)
    monkeypatch.setenv("TOKEN", "t-1")
    monkeypatch.setenv("HOST", "mcp.example.com")
    first, second = MCP.from_config(path, trusted=True)
    assert (first.name, second.name) == ("my_server", "remote")
    assert first._connection.target.command["env"] == {"TOKEN": "t-1"}
    assert first._connection.target.command["args"][-1] == "legacy"
    assert second._connection.target.address == "https://mcp.example.com/mcp"
    path.write_text('{"mcpServers": {"x": {}}}')
    with pytest.raises(ConfigurationError, match="neither a command nor a url"):
        MCP.from_config(path)
    with pytest.raises(ConfigurationError, match="no mcpServers"):
        MCP.from_config(tmp_path / "none.json")


def test_a_config_file_as_people_write_them_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    command = {
        "command": "x",
        "args": ["-p", 80, "${EMPTY}"],
        "env": {"PORT": 8080, "DEBUG": True},
        "cwd": None,
    }
    servers = {
        "loose": command,
        "bare": {"command": "x", "args": None},
        "far": {"url": "http://h/mcp", "headers": {"N": 5}},
    }
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    loose, bare, far = (mcp._connection.target for mcp in MCP.from_config(path))
    assert loose.command["args"] == ["-p", "80", ""]
    assert loose.command["env"] == {"PORT": "8080", "DEBUG": "true"}
    assert bare.command["args"] == []
    assert far._headers == {"N": "5"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"command": "x", "args": "-p 80"}, "its args a list"),
        ({"command": ["x"]}, "its command must be a text"),
        ({"command": "x", "env": {"KEY": None}}, "its env must be an object"),
        ({"command": "x", "env": ["KEY=1"]}, "its env must be an object"),
        ({"url": "ftp://h/mcp"}, "isn't an http"),
        ({"url": ""}, "neither a command nor a url"),
    ],
)
def test_an_entry_of_a_config_file_that_cannot_work_is_named(tmp_path: Path, entry: Any, said: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"odd": entry}}))
    with pytest.raises(ConfigurationError, match=f"server 'odd'.*{said}"):
        MCP.from_config(path)


@pytest.mark.parametrize(("server", "option"), [("x", "env"), ("http://h/mcp", "headers")])
def test_a_value_that_is_no_text_is_refused_without_being_shown(server: str, option: str) -> None:
    wrong: Any = {option: {"KEY": 987654}}
    with pytest.raises(ConfigurationError, match=f"{option}=...\\): 'KEY'") as caught:
        MCP(server, **wrong)
    assert "987654" not in str(caught.value)


def test_a_command_that_ends_at_once_says_where_to_look_for_more() -> None:
    with (
        MCP([sys.executable, "-c", "exit('no key')"]) as mcp,
        pytest.raises(AgentError, match=r"errlog=sys\.stderr"),
    ):
        mcp.tools()


def test_tools_that_cannot_be_listed_again_stay_those_that_were(caplog: pytest.LogCaptureFixture) -> None:
    behaviour = Behaviour()
    with server("in process", behaviour) as mcp, caplog.at_level(logging.WARNING, "agentkit.mcp"):
        before = mcp.tools()
        behaviour.tools = None  # type: ignore[assignment]
        mcp._connection.tools_changed = True
        assert mcp.tools() == before
    assert "can't be listed again" in caplog.text


def test_the_sdk_is_imported_on_first_use_only() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from agentkit.mcp import MCP; from agentkit.mcp.serve import serve_stdio; MCP('uvx x');"
        "assert not {'mcp', 'mcp_types', 'httpx2', 'starlette'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.mcp.transport.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r'pip install "agentkit-gemini\[mcp\]"'):
        MCP("uvx x")
