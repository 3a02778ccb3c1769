"""A process whose chat waits again and again, to be killed: `python -m tests.helpers.approval_child STORE LOG`.

Each message makes a read, a write, a write and a read that need approval, a deferred call, and a question to a
sub-agent whose write needs approval. What waits is decided one by one. Each tool that runs, and each decision
before it is given, appends a line to LOG, in one system call.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from agentkit import Agent, Approve, Context, Result, SQLiteStore, Tool, ToolDeferred
from agentkit.chats.chat import Chat
from agentkit.run import Run
from agentkit.stores.postgres import PostgresStore
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call
from agentkit.tooling.decisions import Decision
from agentkit.wire.content import Request, responses_of

CALLS = [
    call("look"),
    call("change"),
    call("order"),
    call("pay"),
    call("mail"),
    call("clerk", request="order"),
]


def answer(request: Request) -> Any:
    """Make all calls, then say how many responses there were."""
    responses = responses_of(request["contents"][-1])
    return f"done: {len(responses)}" if responses else CALLS


def clerk(request: Request) -> Any:
    """Order, then say so."""
    return "ordered" if responses_of(request["contents"][-1]) else call("order")


def open_store(where: str) -> SessionStore:
    """Open a store by its file or its URL."""
    return PostgresStore(where) if "://" in where else SQLiteStore(where)


def note(log: Path, *words: str) -> None:
    """Write a line down at once."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, (" ".join(words) + "\n").encode())
    finally:
        os.close(handle)


def make_agent(log: Path) -> Agent:
    """Make the agent and its clerk."""

    def working(name: str, **options: Any) -> Tool:
        def work(ctx: Context[Any]) -> str:
            """Work."""
            note(log, name, ctx.call_id)
            time.sleep(0.002)
            return f"{name} done"

        return Tool.of(work, name=name, **options)

    def mail(ctx: Context[Any]) -> str:
        """Have the answer later."""
        note(log, "mail", ctx.call_id)
        raise ToolDeferred("mail sent")

    order = working("order", effect="write", approval=True)
    helper = Agent(ScriptedModel([clerk] * 100_000), tools=[order], name="clerk")
    tools = [
        working("look"),
        working("change", effect="write"),
        order,
        working("pay", approval=True),
        Tool.of(mail, effect="write"),
        helper.as_tool(),
    ]
    return Agent(ScriptedModel([answer] * 100_000), tools=tools)


def settle(chat: Chat, log: Path) -> Run:
    """Go on with a chat that may wait, one decision after another, until there is an answer."""
    run = chat.resume()
    while run.stop is not None:
        pending = run.pending[0]
        if run.stop == "unknown_effect":
            if any(
                line.split()[1] == pending.call_id for line in log.read_text().splitlines() if " " in line
            ):
                chat.resolve(pending.call_id, result="it did")
            else:
                chat.resolve(pending.call_id, retry=True)
            run = chat.resume()
            continue
        assert [each.call_id for each in chat.pending] == [each.call_id for each in run.pending]
        decision: Decision = Result("came") if pending.kind == "deferred" else Approve()
        note(log, "said", pending.call_id)
        run = chat.resume({pending.call_id: decision})
        print("left", len(run.pending), flush=True)
    return run


def main(where: str, log: str) -> None:
    chat = make_agent(Path(log)).chat("ann", open_store(where), wait=10)
    while True:
        if chat.get_history():
            settle(chat, Path(log))
        run = chat.send_message("go")
        print("stored", len(run.contents), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
