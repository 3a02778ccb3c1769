"""What the commands serve, in processes of their own, and the example of a web application."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from agentkit import Agent, ConfigurationError, MemoryStore
from agentkit.serve import serve_gemini, serve_page
from agentkit.serve.serving import listen
from agentkit.testing import ScriptedModel
from examples.web_app import make_app
from tests.helpers.until import PATIENCE
from tests.serve.test_users import serve as serve

ROOT = Path(__file__).parents[2]

PROGRAM = """
from agentkit import Agent
from agentkit.serve import serve_gemini, serve_page
from agentkit.testing import ScriptedModel
agent = Agent(ScriptedModel(["Hello."]))
{call}
"""


def start(call: str) -> tuple[subprocess.Popen[str], str]:
    program = subprocess.Popen(
        [sys.executable, "-u", "-c", PROGRAM.format(call=call)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tools'}"},
    )
    assert program.stdout is not None
    return program, program.stdout.readline().strip()


def ended(program: subprocess.Popen[str]) -> str:
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=PATIENCE)
    return errors


def answer(url: str, **more: Any) -> httpx.Response:
    until = httpx.HTTPTransport(retries=5)
    with httpx.Client(transport=until, timeout=PATIENCE) as client:
        return client.request(more.pop("method", "GET"), url, **more)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_page_is_served_until_ctrl_c_and_says_its_address() -> None:
    program, url = start("serve_page(agent)")
    assert answer(url).status_code == 200
    assert "set-cookie" in answer(url).headers
    assert answer(url.partition("?")[0]).status_code == 401
    assert "Traceback" not in ended(program)
    assert program.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_gemini_server_is_served_until_ctrl_c() -> None:
    program, url = start("serve_gemini(agent, key='k')")
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    path = f"{url}/v1beta/models/agentkit:generateContent"
    said = answer(path, method="POST", json=body, headers={"x-goog-api-key": "k"})
    assert said.json()["candidates"][0]["content"]["parts"] == [{"text": "Hello."}]
    assert "Traceback" not in ended(program)
    assert program.returncode == 0


def test_a_port_that_is_taken_and_a_missing_key_are_errors_before_anything_is_said() -> None:
    agent = Agent(ScriptedModel([]))
    taken = listen("127.0.0.1", 0)
    taken.listen()
    said: list[str] = []
    try:
        with pytest.raises(ConfigurationError, match="can't be listened on"):
            serve_page(agent, port=taken.getsockname()[1], announce=said.append)
        with pytest.raises(ConfigurationError, match="key"):
            serve_gemini(agent, announce=said.append)
    finally:
        taken.close()
    assert not said


def test_the_example_has_users_with_passwords(serve: Any) -> None:
    running = serve(make_app("local", MemoryStore()))
    client = running.client()
    assert client.get("/").status_code == 200
    refused = client.get("/agent/")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert client.get("/agent/", auth=("ann", "mint")).status_code == 401
    made = client.post("/agent/api/sessions", json={}, auth=("ann", "tea"))
    assert made.status_code == 201
    assert len(client.get("/agent/api/sessions", auth=("ann", "tea")).json()["sessions"]) == 1
    assert client.get("/agent/api/sessions", auth=("bob", "mint")).json()["sessions"] == []
