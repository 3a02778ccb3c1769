"""The trace of a session, on the page and in a file, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agentkit import MemoryStore
from agentkit.stores.base import AddMessage, Message
from agentkit.testing import call
from agentkit.tooling.names import SECONDS
from agentkit.wire.content import calls_of, response_part, user_content
from tests.serve.conftest import Serving, come_in, idle, say
from tests.serve.scenes import scene_agent

expect: Any = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.slow


def test_the_trace_shows_turns_calls_and_the_wait_and_a_turn_opens(page: Any, tmp_path: Path) -> None:
    say(page, "order")
    page.click("button:has-text('Approve')")
    page.wait_for_selector("text=on their way")
    idle(page)
    page.click("#tracing")
    page.wait_for_selector(".bar i.tool")
    assert page.locator(".bar i.model").count() == 2
    assert page.locator(".bar i.wait").count() == 1
    page.click(".lane button >> nth=1")
    page.wait_for_selector(".turn pre:has-text('on their way')")
    assert page.locator("summary:has-text('rebuilt from what is stored')").count() == 1
    page.reload()
    page.click("#tracing")
    page.wait_for_selector(".lanes:has-text('2 turns · 1 call')")


def test_the_trace_of_a_stored_session_says_what_is_known_of_its_times(browser: Any) -> None:
    asked: Any = {
        "role": "model",
        "parts": [call("stock", sku="x"), call("stock", sku="y"), call("order", sku="z")],
    }
    responses: Any = [response_part(each, {"output": 3}) for each in calls_of(asked)]
    store = MemoryStore()
    store.create("week")
    writer = store.write("week")
    for at, content in (
        (0.0, user_content("Tea?")),
        (2.0, asked),
        (5.0, user_content(*responses)),
    ):
        took = {SECONDS: [0.0, 1.5, None]} if at == 5.0 else None
        writer.append([AddMessage(Message(content=content, created=1_000.0 + at, metadata=took))])
    writer.release()
    serving = Serving(scene_agent(), store=store)
    page = come_in(browser, serving)
    page.click("#sessions button")
    page.wait_for_selector(".card.done >> nth=2")
    page.click("#tracing")
    expect(page.locator(".lane > span:last-child")).to_have_text(["2.0 s", "0 ms", "1.5 s", "≤ 3.0 s"])
    page.context.close()
    serving.stop()


@pytest.fixture
def exported(page: Any, tmp_path: Path) -> Path:
    say(page, "stock of TEA-1? <script>window.pwned=1</script> \u202e")
    page.wait_for_selector("td:has-text('Lyon')")
    idle(page)
    page.click("#menu-more summary")
    with page.expect_download() as download:
        page.click("#export-html")
    download.value.save_as(tmp_path / "session.html")
    return tmp_path / "session.html"


def test_a_session_in_one_html_file_shows_the_same_without_a_server(page: Any, exported: Path) -> None:
    context = page.context.browser.new_context(offline=True)
    file = context.new_page()
    trouble: list[str] = []
    file.on("console", lambda m: trouble.append(m.text))
    file.on("pageerror", lambda error: trouble.append(str(error)))
    file.goto(exported.as_uri())
    file.wait_for_selector("td:has-text('Lyon')")
    assert file.locator(".card.done").count() == 2
    assert file.locator(".card.failed").count() == 1
    assert file.evaluate("window.pwned") is None
    file.click(".lane button >> nth=0")
    file.wait_for_selector(".turn pre:has-text('TEA-1')")
    assert not trouble
    assert not re.findall(r'(?:src|href)="(?!https://example)', exported.read_text())
    context.close()
