"""Forks a process for each line it reads, and says how that ended: `python -m tests.helpers.kill_child`.

It has imported all that they need, and runs no thread, so that a fork costs little and is safe.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import agentkit
from tests.helpers.kill_scenarios import SCENARIOS, Caller, open_store
from tests.helpers.killing_store import Commits, When, killing

for _name in dir(agentkit):
    if _name[0].isupper() and _name != "LocalModel":
        getattr(agentkit, _name)


def act(name: str, where: str, folder: str, is_async: bool, id: str, at: int, when: When) -> None:
    """Do a scenario, until the process ends at one of its commits."""
    commits = Commits(Path(folder) / f"{id}.killed", at=at, when=when)
    with open_store(where) as store:
        caller = Caller(SCENARIOS[name], store, Path(folder), id, is_async=is_async)
        caller.store = killing(store, commits, *caller.ids)
        caller.finish()


def main() -> None:
    """Read what to do, line by line."""
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            status = 1
            try:
                act(**json.loads(line))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
