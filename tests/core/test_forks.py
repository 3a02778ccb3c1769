"""A process that has used agentkit forks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.until import PATIENCE

PROGRAM = """
import asyncio, faulthandler, gc, os
from agentkit import Agent
from agentkit.testing import ScriptedModel, call

async def look() -> str:
    "Look."
    await asyncio.sleep(0)
    return "seen"

def go() -> str:
    return Agent(ScriptedModel([[call("look")], "done"]), tools=[look]).run("x").text

faulthandler.dump_traceback_later(20, exit=True)
print(go())
child = os.fork()
if child == 0:
    gc.collect()
    print(go(), flush=True)
    gc.collect()
    os._exit(0)
print(os.waitpid(child, 0)[1], go())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_both_processes_go_on_after_a_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-W", "ignore", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.split("\n") == ["done", "done", "0 done", ""], done.stderr
