"""`agentkit web`, `agentkit serve` and `agentkit mcp serve`, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.cli.conftest import Agentkit
from tests.helpers.terminal import ROOT
from tests.helpers.until import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@contextmanager
def program(folder: Path, *words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command until the block ends, and then press Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "agentkit.cli.main", *words],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tools'}"} | env,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in errors


def answered(method: str, url: str, **more: object) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=PATIENCE) as client:
        return client.request(method, url, **more)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_web_prints_the_address_of_a_page_with_the_targets_tools(folder: Path) -> None:
    with program(folder, "web", "tools_file.py", "-m", "local", "--db", "chats.db") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:")
        url = line.split()[1]
        assert answered("GET", url).status_code == 200
        assert answered("GET", url.partition("?")[0]).status_code == 401
    assert (folder / "chats.db").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_serve_answers_a_gemini_client_that_has_the_key(folder: Path) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "add 2 and 3"}]}]}
    with program(folder, "serve", "tools_file.py", "-m", "local", AGENTKIT_KEY="a-key") as process:
        assert process.stdout is not None
        url = f"{process.stdout.readline().strip()}/v1beta/models/agentkit:generateContent"
        said = answered("POST", url, json=body, headers={"x-goog-api-key": "a-key"})
        assert said.status_code == 200, said.text
        assert "5" in said.json()["candidates"][0]["content"]["parts"][-1]["text"]
        assert answered("POST", url, json=body, headers={"x-goog-api-key": "none"}).status_code in (
            400,
            401,
            403,
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mcp_serve_speaks_nothing_but_the_protocol(folder: Path) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    with program(folder, "mcp", "serve", "tools_file.py:add") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(hello) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "agentkit"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("web",), 2, "Give a target"),
        (("web", "gone.py"), 2, "gone.py"),
        (("web", "tools_file.py", "-m", "local", "--port", "70000"), 2, "65535"),
        (("serve", "tools_file.py"), 2, "--key"),
        (("mcp", "serve"), 2, "Give a target"),
        (("mcp", "serve", "tools_file.py:gone"), 2, "gone"),
    ],
)
def test_what_can_t_be_served_is_said(
    agentkit: Agentkit, words: tuple[str, ...], code: int, said: str
) -> None:
    done = agentkit(*words)
    assert done.code == code
    assert said in done.err
