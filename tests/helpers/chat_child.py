"""A process that chats on and on, to be killed: `python -m tests.helpers.chat_child DB LOG`.

Its model answers message n with a read, two writes and a read, then with a text. Each write appends its call id
to LOG, in one system call. It prints a line for each thing that it was told is done.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from agentkit import Agent, Context, SQLiteStore, tool
from agentkit.testing import ScriptedModel
from agentkit.wire.content import Request, call_part, responses_of


def answer(request: Request) -> Any:
    """Call in the first step, call once more in the second, then tell how many responses there were."""
    turn: list[Any] = []
    for content in request["contents"]:
        if content["role"] == "user" and not responses_of(content):
            turn = []
        turn.append(content)
    steps = sum(1 for content in turn if responses_of(content))
    if steps == 0:
        return [
            call_part("look"),
            call_part("change", id="a"),
            call_part("change", id="b"),
            call_part("look"),
        ]
    if steps == 1:
        return [call_part("change")]
    return f"done: {sum(len(responses_of(content)) for content in turn)}"


@tool(effect="read")
def look() -> str:
    """Look."""
    time.sleep(0.001)
    return "seen"


def make_agent(log: Path) -> Agent:
    @tool(effect="write")
    async def change(ctx: Context[Any]) -> str:
        """Change something."""
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(handle, f"{ctx.session_id}/{ctx.call_id}\n".encode())
        finally:
            os.close(handle)
        await asyncio.sleep(0.001)
        return "changed"

    return Agent(ScriptedModel([answer] * 100_000), tools=[look, change])


def main(db: str, log: str) -> None:
    chat = make_agent(Path(log)).chat("ann", SQLiteStore(db))
    while True:
        said = len(chat.get_history())
        run = chat.send_message(f"message {said}")
        print("stored", len(run.contents), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
