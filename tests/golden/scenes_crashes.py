"""Chats whose process ended, and how they go on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from agentkit import Agent, Approve
from tests.golden.crash_child import MOMENTS, SCRIPT, tools
from tests.golden.recorder import Scene, scenario
from tests.golden.shop import Shop, later, look


@cache
def _left_by_a_crash() -> dict[str, dict[str, bytes]]:
    """The files of the store at each moment: made once, by a process that has ended."""
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-P", "-m", "tests.golden.crash_child", folder]
        subprocess.run(command, check=True, env=environment)
        return {
            moment: {file.name: file.read_bytes() for file in (Path(folder) / moment).iterdir()}
            for moment in MOMENTS
        }


def _crashed(s: Scene, moment: str) -> Any:
    """Open the store as it was at the moment."""
    for name, content in _left_by_a_crash()[moment].items():
        (s.folder / name).write_bytes(content)
    store = s.store()
    s.rows(store)
    return store


def _agent(s: Scene, shop: Shop, *script: Any) -> Agent:
    return Agent(s.model(*script), tools=tools(shop, lambda moment: None))


@scenario(stores=("sqlite",), cases={moment: moment for moment in MOMENTS})
def resumed_after_a_crash(s: Scene, moment: str) -> None:
    store, shop = _crashed(s, moment), Shop()
    agent = _agent(s, shop, *SCRIPT[2 if moment != "after a request" else 1 :], "Once more.")
    s.chat(agent, "ann", store).send("Are you there?")
    chat = s.chat(agent, "ann", store)
    chat.do("get_history")
    run = chat.resume()
    s.note("pending", chat.pending)
    s.rows(store)
    if run is not None and run.stop == "unknown_effect":
        chat.do("resolve", "nobody", result=1)
        chat.do("resolve", run.pending[0].call_id)
        chat.do("resolve", run.pending[0].call_id, result={"paid": True})
        chat.resume()
        s.rows(store)
    s.note("ran", shop.ran)


@scenario(stores=("sqlite",), cases={"retry": True, "forget": False})
def a_write_of_unknown_effect(s: Scene, retry: bool) -> None:
    store, shop = _crashed(s, "in a write"), Shop()
    chat = s.chat(_agent(s, shop, *SCRIPT[2:]), "ann", store)
    run = chat.resume()
    chat.resume({run.pending[0].call_id: Approve()})
    if retry:
        chat.do("resolve", run.pending[0].call_id, retry=True)
        chat.resume()
    else:
        chat.do("undo")
    chat.state()
    s.rows(store)
    s.note("ran", shop.ran)


@scenario(stores=("sqlite",))
def a_crash_and_other_tools(s: Scene) -> None:
    store = _crashed(s, "before a call")
    chat = s.chat(Agent(s.model("Gone.", "Bye."), tools=[look, later]), "ann", store)
    chat.resume()
    chat.send("Bye.")
    s.rows(store)
