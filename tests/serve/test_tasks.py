"""The tasks of a queue on the page: listed, watched, ended, sent again and decided about; what workers obey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from pydantic import BaseModel

from agentkit import Agent, ConfigurationError, Limits, MemoryStore, SQLiteStore
from agentkit.durable import Queue
from agentkit.serve import create_app
from agentkit.testing import ScriptedModel
from tests.helpers.until import PATIENCE
from tests.serve.conftest import Serving, come_in
from tests.serve.scenes import Scene, scene_agent
from tests.serve.test_looks import PHONE, WIDE, check_looks
from tests.serve.test_looks import node_modules as node_modules


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """A queue of the agent of the scenes."""
    with SQLiteStore(tmp_path / "chats.db") as store, Queue({"shop": scene_agent()}, store=store) as made:
        yield made


@pytest.fixture
def queued(queue: Queue) -> Iterator[Serving]:
    """Its page; whoever needs workers starts them."""
    made = Serving(queue.agents["shop"], store=queue.store, queue=queue)
    yield made
    made.stop()


def row(page: Any, text: str) -> Any:
    return page.locator("#tasks tbody tr", has_text=text).first


@pytest.mark.slow
def test_tasks_are_watched_decided_about_ended_and_sent_again(
    browser: Any, queue: Queue, queued: Serving
) -> None:
    failed = queue.send("dora", "stock", options={"tool_choice": "no_such_tool"})
    later = queue.send("carl", "later <b>on</b>", delay=3600)
    page = come_in(browser, queued)
    page.click("#listing")
    page.wait_for_selector("#tasks td:has-text('carl')")
    row(page, "carl").locator("button:has-text('Cancel')").click()
    page.wait_for_selector("#tasks td.cancelled")
    assert queue.wait(later, PATIENCE).status == "cancelled"
    with queue.workers():
        assert queue.wait(failed, 60).status == "failed"
        page.wait_for_selector("#tasks td.failed")
        assert row(page, "dora").locator("button:has-text('Retry')").count() == 1
        waits = queue.wait(queue.send("ann", "order"), 60)
        assert waits.stop == "approval"
        page.wait_for_selector('#tasks pre:has-text(\'"note": "for Paris"\')')
        page.click("#tasks .ask button:has-text('Approve')")
        page.wait_for_selector("#tasks td:has-text('on their way')")
        assert page.locator("#tasks .ask").count() == 0
        assert queue.list(chat="ann")[0].text.startswith("Ordered")
        queue.send("bob", "long")
        page.wait_for_selector("#tasks td.running")
        row(page, "bob").locator("button:has-text('Cancel')").click()
        page.wait_for_selector("#tasks td.running", state="detached")
        assert queue.wait(queue.list(chat="bob")[0].id, 60).status == "cancelled"
        row(page, "carl").locator("button:has-text('Retry')").click()
        page.wait_for_selector("#tasks tbody tr:nth-child(1) td.done")
        assert queue.list(chat="carl")[0].message == [{"text": "later <b>on</b>"}]
        page.select_option("#tasks select", "failed")
        page.wait_for_selector("#tasks tbody tr:nth-child(2)", state="detached")
        page.select_option("#tasks select", "")
        page.wait_for_selector("#tasks td:has-text('on their way')")
        row(page, "on their way").locator("button:has-text('Watch')").click()
        page.wait_for_selector("#log .card.done")
        assert "/ann" in page.url
    assert not page.trouble
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious_in_the_list_of_tasks(
    browser: Any, queue: Queue, queued: Serving, node_modules: Path, size: Any, screenshots: Path
) -> None:
    with queue.workers():
        queue.wait(queue.send("ann", "order"), 60)
        queue.wait(queue.send("bob", "stock"), 60)
    queue.cancel(queue.send("carl", "later " * 60, delay=3600))
    page = come_in(browser, queued, viewport=size)
    page.click("#listing")
    page.wait_for_selector("#tasks .ask button:has-text('Approve')")
    page.screenshot(path=screenshots / f"tasks-{size['width']}.png")
    check_looks(page, node_modules)
    page.context.close()


def ask(origin: str, user: str, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
    headers = {"x-user": user, "origin": origin}
    return httpx.request(method, origin + path, params=query, json=body, headers=headers, timeout=PATIENCE)


def test_users_see_and_change_the_tasks_of_their_own_chats_alone(queue: Queue) -> None:
    serving = Serving(
        queue.agents["shop"],
        store=queue.store,
        queue=queue,
        identify=lambda connection: connection.headers.get("x-user"),
    )
    try:
        own = queue.send("ann/one", "stock", delay=3600)
        other = queue.send("ann2/one", "stock", delay=3600)
        queue.send("elsewhere", "stock", delay=3600)
        listed = ask(serving.origin, "ann", "GET", "/api/tasks").json()["tasks"]
        assert [(each["id"], each["session"], each["status"]) for each in listed] == [(own, "one", "queued")]
        wrong = {"do": "decide", "decisions": {"c": {"kind": "approve"}}}
        for id, body, status in (
            (other, {"do": "cancel"}, 404),
            (own, {"do": "burn"}, 400),
            (own, wrong, 409),
            (own, {"do": "retry"}, 400),
        ):
            assert ask(serving.origin, "ann", "POST", "/api/task", body, id=id).status_code == status
        assert ask(serving.origin, "ann", "GET", "/api/tasks", status="odd").status_code == 400
        assert ask(serving.origin, "", "GET", "/api/tasks").status_code == 401
        assert ask(serving.origin, "ann", "POST", "/api/task", {"do": "cancel"}, id=own).status_code == 200
        assert [task.status for task in queue.list()] == ["queued", "queued", "cancelled"]
    finally:
        serving.stop()


def test_what_only_workers_could_obey_is_refused_beside_a_queue(queue: Queue) -> None:
    agent = queue.agents["shop"]
    odd: dict[str, Any] = {"store": MemoryStore(), "deps": str, "output": int, "memory": []}
    for name, value in odd.items():
        with pytest.raises(ConfigurationError, match=f"{name}="):
            create_app(agent, queue=queue, **{name: value})


class Left(BaseModel):
    """What is left."""

    sku: str
    left: int


def test_output_and_seconds_hold_on_the_workers(tmp_path: Path) -> None:
    agent = Agent(ScriptedModel(['{"sku": "TEA-1", "left": 3}']))
    slow = Agent(Scene(pace=0.2), limits=Limits(seconds=300.0))
    with SQLiteStore(tmp_path / "chats.db") as store:
        with Queue(agent, store=store, output=Left) as queue, queue.workers():
            done = queue.wait(queue.send("ann", "How many?"), PATIENCE)
            assert (done.status, done.text) == ("done", '{"sku": "TEA-1", "left": 3}')
            sent: Any = agent.model
            assert "responseJsonSchema" in str(sent.requests[0])
        with Queue({"slow": slow}, store=store) as queue, queue.workers():
            done = queue.wait(queue.send("bob", "long", options={"seconds": 1}), PATIENCE)
            assert (done.status, done.stop) == ("done", "seconds")
            for wrong in (0, -1, "60", True, float("nan")):
                with pytest.raises(ConfigurationError, match="seconds"):
                    queue.send("bob", "long", options={"seconds": wrong})
