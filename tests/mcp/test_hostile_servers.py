"""Servers that hang, die, send rubbish or lie: errors in words, and the run goes on."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, AgentError
from agentkit.mcp import MCP
from agentkit.mcp.declared import MAX_DESCRIPTION, MAX_TOOLS
from agentkit.testing import ScriptedModel, call
from tests.helpers.leftovers import nothing_left
from tests.helpers.until import PATIENCE, stretched, until
from tests.mcp.parts import HERE, SDK, agent, called, hostile, responses, server
from tests.mcp.sdk_server import Behaviour, http_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["hang at once", "floods", "die at once"])
def test_a_server_that_never_answers_is_given_up(mode: str) -> None:
    with (
        hostile(mode, connect_timeout=1.0) as mcp,
        pytest.raises(AgentError, match="Can't connect to the MCP server 'x'"),
    ):
        mcp.tools()


def test_a_call_that_never_ends_is_given_up_and_the_next_one_works() -> None:
    def hangs(longer: float) -> None:
        with hostile("hang", timeout=2.0 * longer) as mcp:
            assert called(mcp, "x_go") == f"ERROR: The MCP server has not answered for {2 * longer:g} s."
            assert [each.name for each in mcp.tools()] == ["x_go"]

    stretched(hangs)


def test_a_server_that_dies_in_a_call_is_started_anew_once_a_run() -> None:
    with hostile("die") as mcp:
        script = [[call("x_go")], [call("x_go", again=True)], [call("x_go", more=True)], "done"]
        run = Agent(ScriptedModel(script), tools=[mcp]).run("Go.")
        assert run.text == "done"
        said = [
            part["functionResponse"]["response"]["error"]
            for c in run.contents
            for part in c["parts"]
            if "functionResponse" in part
        ]
        assert said[0] == said[1] == "The MCP server ended during the call: nobody knows what it did."
        assert said[2] == "The MCP server 'x' ended twice in this run: it is not started again."
        assert mcp._connection.connects == 2
        assert called(mcp, "x_go") == f"ERROR: {said[0]}"  # another run has it started anew


def test_a_server_that_died_between_two_calls_costs_no_call() -> None:
    with server("stdio") as mcp:
        pid = int(called(mcp, "s_pid"))
        os.kill(pid, signal.SIGKILL)
        connection = mcp._connection
        while connection._ready is not None:
            time.sleep(0.01)
        assert int(called(mcp, "s_pid")) != pid


def test_only_a_call_that_reads_is_made_again_after_a_death(tmp_path: Path) -> None:
    with hostile("die once", str(tmp_path / "mark")) as mcp:
        assert "nobody knows" in called(mcp, "x_go")
    from agentkit import Context
    from agentkit.mcp.calls import Call

    with hostile("die once", str(tmp_path / "other")) as mcp:
        context: Context[Any] = Context(deps=None, tool_name="x_go", run_id="r")
        made = Call(mcp._connection, "go", context, is_read=True)
        assert mcp._connection.submit(made.run, {}).result() == "done"


@pytest.mark.parametrize("way", ["http", "http legacy"])
def test_an_http_server_that_was_restarted_costs_no_call(way: str) -> None:
    import uvicorn

    behaviour = Behaviour(legacy="legacy" in way)
    with http_server(behaviour.server.streamable_http_app()) as url:
        mcp = MCP(url, name="s")
        assert called(mcp, "s_add", a=1, b=1) == {"sum": 2}
    assert "ERROR" in called_again(mcp)
    port = int(url.rpartition(":")[2].partition("/")[0])
    with pytest.MonkeyPatch.context() as patch:
        config = uvicorn.Config
        patch.setattr(uvicorn, "Config", lambda app, **options: config(app, **{**options, "port": port}))
        with http_server(Behaviour(legacy="legacy" in way).server.streamable_http_app()):
            assert called(mcp, "s_add", a=1, b=1) == {"sum": 2}
            mcp.close()


def called_again(mcp: MCP) -> str:
    return str(called(mcp, "s_add", a=1, b=1))


def test_a_server_that_only_knows_initialize_is_connected() -> None:
    with hostile("initialize first") as mcp:
        assert called(mcp, "x_go") == "done"


def test_rubbish_between_messages_is_passed_over() -> None:
    with hostile("rubbish") as mcp:
        assert called(mcp, "x_go") == "done"


def test_of_ten_thousand_tools_a_thousand_are_taken_and_the_model_finds_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with hostile("many") as mcp, caplog.at_level(logging.WARNING, "agentkit.mcp"):
        tools = mcp.tools()
        assert len(tools) == MAX_TOOLS
        assert all(each.on_demand for each in tools)
        assert "too many tools" in caplog.text
        run = Agent(
            ScriptedModel([[call("find_tools", query="t7")], [call("x_t7")], "done"]), tools=[mcp]
        ).run("Go.")
        assert responses(run) == ["done"]


def test_a_list_without_end_is_read_so_far() -> None:
    with hostile("endless") as mcp:
        assert [each.name for each in mcp.tools()] == ["x_go"]


def test_names_are_made_those_that_gemini_takes_and_never_ones_of_agentkits() -> None:
    with hostile("names") as mcp:
        names = [each.name for each in mcp.tools()]
        assert names == [
            "x_read_file",
            "x_read_file_2",
            "x_1st",
            "x_" + "x" * 62,
            "x_find_tools",
            "x_read_result",
            "x__n_",
        ]
        assert called(mcp, "x_read_file_2") == "done"
    with hostile("names", name="") as mcp:
        names = [each.name for each in mcp.tools()]
        assert names[2] == "_1st"
        assert names[4:6] == ["find_tools_2", "read_result_2"]


def test_tools_that_cannot_be_declared_are_left_out_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with hostile("schemas") as mcp, caplog.at_level(logging.WARNING, "agentkit.mcp"):
        assert [each.name for each in mcp.tools()] == ["x_good"]
    assert "7 tools" in caplog.text
    assert "'deep'" in caplog.text
    assert "'odd'" in caplog.text


def test_a_list_that_cannot_be_read_at_all_is_told() -> None:
    with hostile("unreadable") as mcp, pytest.raises(AgentError, match="can't be read"):
        mcp.tools()


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_status_that_refuses_a_call_is_told(status: int) -> None:
    app = Behaviour().server.streamable_http_app()

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        method = dict(scope.get("headers") or ()).get(b"mcp-method")
        if method != b"tools/call":
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    with http_server(refusing) as url, MCP(url, name="s") as mcp:
        assert called(mcp, "s_add", a=1, b=2) == f"ERROR: Server returned an error response (HTTP {status})"


def test_a_description_is_cut_and_its_orders_do_not_loosen_anything() -> None:
    with hostile("instructions") as mcp:
        (made,) = mcp.tools()
        assert len(made.description) == MAX_DESCRIPTION + 3
        assert made.untrusted


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("odd content", "ERROR: The MCP server's result is invalid"),
        ("no content", "ERROR: The MCP server's result is invalid"),
        ("bad media", "ERROR: The MCP server sent media that isn't base64"),
        ("long error", "ERROR: xxxxx"),
        ("sampling", "Sampling not supported"),
        ("roots", "List roots not supported"),
        ("logging", "done, and logged"),  # nobody hears it
    ],
)
def test_what_cannot_be_read_or_is_not_supported_is_told(mode: str, said: str) -> None:
    with hostile(mode) as mcp:
        got = str(called(mcp, "x_go"))
        assert got.startswith(said)
        assert len(got) < 3_000
        assert called(mcp, "x_go") is not None  # the connection has outlived it


def test_two_hundred_agents_leave_no_process_thread_or_socket() -> None:
    with nothing_left(30):
        with server("in process") as mcp:
            for _ in range(190):
                agent(mcp, call("s_add", a=1, b=2)).run("Go.")
        for _ in range(10):
            made = hostile("go")
            assert called(made, "x_go") == "done"
            del made  # nobody closes it


def test_an_agent_that_is_dropped_takes_its_server_with_it() -> None:
    with nothing_left(30):
        assert agent(hostile("go"), call("x_go")).run("Go.").text == "done"


def _child(code: str, *args: str) -> subprocess.Popen[str]:
    root = str(HERE.parent.parent)
    lines = textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", lines, *args],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def _ends(pid: int) -> bool:
    until(lambda: not _is_alive(pid))
    return True


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not here")
def test_a_killed_parent_leaves_no_child_even_one_that_ignores_everything() -> None:
    code = """
        import sys, time
        from agentkit.mcp import MCP
        from tests.helpers.leftovers import _children
        server = MCP([sys.executable, sys.argv[1], "stay"], name="x")
        server.tools()
        print(*_children(), flush=True)
        time.sleep(60)
    """
    parent = _child(code, str(HERE / "hostile_server.py"))
    assert parent.stdout is not None
    (pid,) = map(int, parent.stdout.readline().split())
    assert _is_alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert _ends(pid)


def test_a_process_that_ends_without_closing_ends_its_server() -> None:
    code = """
        import sys
        from agentkit.mcp import MCP
        from tests.helpers.leftovers import _children
        server = MCP(sys.argv[1:], name="s")
        server.tools()
        print(*_children(), flush=True)
    """
    parent = _child(code, *SDK)
    assert parent.stdout is not None
    (pid,) = map(int, parent.stdout.readline().split())
    assert parent.wait(PATIENCE) == 0
    parent.stdout.close()
    assert _ends(pid)


def test_a_forked_child_makes_a_connection_of_its_own_and_leaves_the_parents_alone() -> None:
    code = """
        import asyncio, os, sys
        from agentkit.mcp import MCP
        from agentkit.testing import call
        from tests.mcp.parts import agent, responses
        server = MCP(sys.argv[1:], name="s")
        def pid():
            return responses(asyncio.run(agent(server, call("s_pid")).aio.run("Go.")))[0]
        first = pid()
        child = os.fork()
        if child == 0:
            ok = pid() != first
            server.close()
            os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        print(status, pid() == first, flush=True)
    """
    parent = _child(code, *SDK)
    out, _ = parent.communicate(timeout=PATIENCE)
    assert out.split() == ["0", "True"]
