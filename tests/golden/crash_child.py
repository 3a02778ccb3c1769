"""A chat that copies its store's files at each moment of its second turn, in a process that then ends.

Each copy is what a crash at that moment would leave. `python -m tests.golden.crash_child FOLDER`
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentkit import Agent, Hooks, SQLiteStore
from agentkit.testing import ScriptedModel, call
from tests.golden.shop import Shop

MOMENTS = ("in a read", "in a write", "before a call", "after a call", "before a request", "after a request")
SCRIPT = [call("order", sku="A"), [call("check"), call("pay"), call("order", sku="B")], "All done."]


def tools(shop: Shop, crash: Callable[[str], Any]) -> list[Any]:
    """The tools of the chat."""
    return [
        shop.order(),
        shop.doing("check", lambda: crash("in a read") or "checked", effect="read"),
        shop.doing("pay", lambda: crash("in a write") or "paid", effect="write"),
    ]


def main(folder: Path) -> None:
    """Run the chat."""
    shop, taken = Shop(), set[str]()

    def crash(moment: str) -> None:
        if shop.ran and moment not in taken:  # in the second turn, and once
            taken.add(moment)
            (folder / moment).mkdir()
            for file in folder.glob("chats.db*"):
                if not file.name.endswith("-shm"):
                    shutil.copy(file, folder / moment)

    hooks = Hooks(
        before_model=lambda *_: crash("before a request"),
        after_model=lambda *_: crash("after a request"),
        before_tool=lambda *_: crash("before a call"),
        after_tool=lambda _, ctx: crash("after a call") if ctx.tool_name == "pay" else None,
    )
    with SQLiteStore(folder / "chats.db") as store:
        agent = Agent(ScriptedModel(SCRIPT), tools=tools(shop, crash), hooks=hooks)
        agent.chat("ann", store).send_message("Go.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
