"""The page and AG-UI with a queue behind them: any server shows what any worker does, also from the midst of it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agentkit.durable import DurableEventLog, Queue
from agentkit.serve import EventLog, create_app
from agentkit.serve.sessions import User
from tests.helpers.queue_worker import effects_in, let_go, plan
from tests.helpers.until import PATIENCE, auntil

SESSION = User().session("ann")


def serving(queue: Queue) -> Any:
    """Make a server's runs, of a page whose agent is the queue's."""
    return create_app(queue.agents["planned"], queue=queue, token="t").state.runs


def run(talk: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, where no task may have failed unheard."""
    troubles: list[Any] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        found = await talk
        gc.collect()
        return found

    found = asyncio.run(watched())
    gc.collect()
    assert troubles == []
    return found


async def rows_of(runs: Any, snapshot: Any) -> list[Any]:
    return [*snapshot["rows"], *(await runs.log.read(SESSION.stream, snapshot["cursor"]) or [])]


def types_in(rows: list[Any]) -> list[str]:
    return [row["type"] for row in rows]


def test_a_reload_on_another_server_goes_on_in_the_midst_of_an_answer(
    queue: Queue, reopen: Callable[[], Queue], effects: Path
) -> None:
    async def talk() -> None:
        first, second = serving(queue), serving(reopen())
        message = plan(("read", {"hold": True}), "write", say="There it is.")
        await first.begin(SESSION, [message])
        await auntil(lambda: effects_in(effects))
        await first.close()  # as a server that is restarted
        assert await second.active() == {"ann"}
        snapshot = await second.snapshot(SESSION)
        assert snapshot["live"]
        let_go()
        await auntil(lambda: not second.is_live(SESSION))
        rows = await rows_of(second, snapshot)
        assert types_in(rows)[:2] == ["user", "begin"]
        assert types_in(rows).count("user") == types_in(rows).count("end") == 1
        assert types_in(rows).count("tool_finished") == 2
        end = next(row for row in rows if row["type"] == "end")
        assert (end["stop"], [each["name"] for each in end["done"]]) == (None, ["read", "write"])
        assert "There it is." in str(rows)
        again = await second.snapshot(SESSION)
        assert not again["live"]

    with queue.workers():
        run(talk())


def test_a_call_is_approved_on_another_server_than_the_one_that_was_asked(
    queue: Queue, reopen: Callable[[], Queue], effects: Path
) -> None:
    from agentkit import Approve

    async def talk() -> None:
        first, second = serving(queue), serving(reopen())
        await first.begin(SESSION, [plan("asked", say="Allowed.")])
        await auntil(lambda: not first.is_live(SESSION))
        snapshot = await second.snapshot(SESSION)
        (pending,) = [row for row in snapshot["rows"] if row["type"] == "pending"]
        assert effects_in(effects) == []
        await second.begin(SESSION, said={pending["calls"][0]["callId"]: Approve()})
        await auntil(lambda: not second.is_live(SESSION))
        assert "Allowed." in str(await second.snapshot(SESSION))

    with queue.workers():
        run(talk())


def test_stopping_on_any_server_ends_the_task(
    queue: Queue, reopen: Callable[[], Queue], effects: Path
) -> None:
    async def talk() -> None:
        first, second = serving(queue), serving(reopen())
        await first.begin(SESSION, [plan(("read", {"hold": True}))])
        await auntil(lambda: effects_in(effects))
        assert await second.stop(SESSION)
        await auntil(lambda: not first.is_live(SESSION))
        assert [task.status for task in queue.list()] == ["cancelled"]

    with queue.workers():
        run(talk())


def test_a_client_of_ag_ui_that_comes_back_gets_the_answer(
    queue: Queue, reopen: Callable[[], Queue], effects: Path
) -> None:
    body = {
        "threadId": "ann",
        "runId": "r1",
        "messages": [{"id": "m1", "role": "user", "content": plan(("read", {"hold": True}), say="Here.")}],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
    }

    async def ask(server: Queue, leave: bool) -> list[Any]:
        app = create_app(server.agents["planned"], queue=server, token="t", hosts=["*"])
        runs = app.state.runs
        from ag_ui.core import RunAgentInput

        from agentkit.serve.agui import AgUi

        endpoint = AgUi(runs, None)  # type: ignore[arg-type]
        told = []
        stream = endpoint._stream(SESSION, RunAgentInput.model_validate(body))
        async for line in stream:
            told.append(json.loads(line.removeprefix("data: ")))
            if leave and effects_in(effects):
                break
            if not leave and len(told) == 2:  # it follows the run
                let_go()
        await stream.aclose()  # type: ignore[attr-defined]
        return told

    async def talk() -> tuple[list[Any], list[Any]]:
        first = await ask(queue, leave=True)
        return first, await ask(reopen(), leave=False)

    with queue.workers():
        first, second = run(talk())
    assert first[-1]["type"] != "RUN_FINISHED"
    assert second[-1]["type"] == "RUN_FINISHED"
    assert "Here." in "".join(event.get("delta", "") for event in second)
    assert len(effects_in(effects)) == 2


def test_the_log_in_tables_is_an_event_log(queue: Queue, reopen: Callable[[], Queue]) -> None:
    async def talk() -> None:
        one: EventLog = queue.log
        two: EventLog = reopen().log
        waiting = asyncio.create_task(two.wait(["s"]))
        await asyncio.sleep(0.3)
        last = await one.append("s", [{"type": "a"}, {"type": "b", "key": "k"}])
        async with asyncio.timeout(PATIENCE):
            await waiting
        assert await two.last("s") == last
        assert [row["type"] for row in await two.read("s", last - 2) or []] == ["a", "b"]
        await two.append("s", [{"type": "c", "key": "k"}])
        assert [row["type"] for row in await one.read("s", last - 2) or []] == ["a", "c"]
        assert await one.read("s", await one.last("s")) == []
        await one.drop("s")
        assert await two.read("s", last) is None
        assert await two.read("s", await two.last("s")) == []
        assert await two.read("nothing", 5) == []

    run(talk())
    log = DurableEventLog(queue.engine.db, queue.signals, keep=10)
    for n in range(30):
        log.tell("long", [{"type": "a", "n": n}]).result(PATIENCE)
    log.trim()
    rows = log.look("long", None) or []
    assert [row["n"] for row in rows] == list(range(20, 30))
    assert log.look("long", rows[0]["seq"] - 5) is None
    log.close()
