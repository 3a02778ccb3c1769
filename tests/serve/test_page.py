"""What a person does with the page, done in a real browser."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agentkit_local.model import available

from agentkit import Agent, SQLiteStore, tool
from tests.gemini.test_uploads import VIDEO, model_on
from tests.helpers.files_api import FilesApi
from tests.helpers.gemini_server import GeminiServer
from tests.serve.conftest import Serving, come_in, idle, say
from tests.serve.scenes import png, scene_agent

expect: Any = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.slow


class Gate:
    """Holds what a page asks of an address until it is opened."""

    def __init__(self, page: Any, pattern: str) -> None:
        self._page, self._pattern = page, pattern
        self._held: list[Any] = []
        page.route(pattern, lambda route: self._held.append(route))

    def wait(self) -> None:
        """Wait until something was asked."""
        until = time.monotonic() + 30
        while not self._held and time.monotonic() < until:
            self._page.wait_for_timeout(20)
        assert self._held

    def open(self) -> None:
        """Let through what was asked, and all that is asked from now on."""
        held, self._held = self._held, []
        for route in held:
            route.continue_()
        self._page.unroute(self._pattern)


NOTE_WHAT_PASSES = """() => {
  window.passed = new Set();
  const note = () => {
    if (document.querySelector(".card.run")) passed.add("running");
    const times = [...document.querySelectorAll(".time")];
    if (times.some((time) => time.textContent.includes("of 3"))) passed.add("progress");
    const goesOn = document.querySelector("#stop:not([hidden])");
    if (goesOn && document.querySelector("#log .text p")) passed.add("streams");
  };
  const all = {subtree: true, childList: true, attributes: true, characterData: true};
  new MutationObserver(note).observe(document.body, all);
}"""


def test_an_answer_streams_with_a_card_for_each_call(page: Any) -> None:
    page.evaluate(NOTE_WHAT_PASSES)
    say(page, "stock of TEA-1?")
    page.wait_for_selector("td:has-text('Lyon')")
    idle(page)
    assert page.evaluate("[...passed].sort()") == ["progress", "running", "streams"]
    assert page.locator(".card.done").count() == 2
    assert page.locator(".card.failed pre:has-text('Nice is closed')").count() == 1
    page.wait_for_selector("#sessions button:has-text('stock of TEA-1?')")
    assert not page.locator("details.thought").get_attribute("open")
    assert "66 % cached" in page.inner_text(".foot:not(.older)")
    assert "$" in page.inner_text("#usage")


def test_a_call_is_approved_with_the_keyboard_alone(page: Any) -> None:
    expect(page.locator("#say")).to_be_focused()  # where one begins
    page.keyboard.type("order")
    page.keyboard.press("Enter")
    page.wait_for_selector("button:has-text('Approve')")
    assert page.locator("text=more than ten at once").count() == 1
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent") == "Approve":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("text=on their way")
    page.keyboard.press("Escape")
    assert page.locator("text=I need a signature").count() == 1


def test_a_message_is_sent_once_and_what_is_typed_meanwhile_stays(page: Any) -> None:
    gate = Gate(page, "**/api/message*")
    page.fill("#say", "hello")
    page.evaluate("for (const _ of [1, 2]) document.getElementById('form').requestSubmit()")
    gate.wait()
    page.keyboard.type("and then")
    gate.open()
    page.wait_for_selector("text=You said: hello")
    idle(page)
    assert page.input_value("#say") == "and then"
    assert page.locator(".user").count() == 1
    page.wait_for_selector("#sessions li button")
    assert page.locator("#sessions li").count() == 1


def test_a_message_that_cannot_be_sent_comes_back_with_its_files(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "tea.png"
    picture.write_bytes(png(20, 20))
    page.set_input_files("#file", [picture])
    page.wait_for_selector("#files li:has-text('tea.png')")
    page.route("**/api/message*", lambda route: route.abort())
    say(page, "look at this")
    page.wait_for_selector("#state.bad:has-text('reached')")
    expect(page.locator("#say")).to_have_value("look at this")
    page.wait_for_selector("#files li:has-text('tea.png')")
    page.trouble.clear()  # the browser says that the request was broken off
    page.unroute("**/api/message*")
    page.click("#send")
    page.wait_for_selector(".user img.media")
    idle(page)


def test_a_decision_is_sent_once_and_the_focus_stays_at_the_call(page: Any) -> None:
    say(page, "order")
    page.wait_for_selector("button:has-text('Approve')")
    page.focus("button:has-text('Approve')")
    page.evaluate("for (const _ of [1, 2]) document.activeElement.click()")
    page.wait_for_selector("text=on their way")
    idle(page)
    assert page.evaluate("document.activeElement.closest('.card') !== null")
    assert page.inner_text("#state") == ""


def test_the_focus_stays_in_the_list_of_sessions_when_it_changes(page: Any) -> None:
    for text in ("first", "second"):
        page.click("#new")
        page.wait_for_selector("#log .empty")
        say(page, text)
        page.wait_for_selector(f"#sessions button:has-text('{text}')")
        idle(page)
    first = page.locator("#sessions button:has-text('first')")
    first.focus()
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("text=You said: second")
    other.click("#new")
    other.wait_for_selector("#log .empty")
    say(other, "third")
    page.wait_for_selector("#sessions button:has-text('third')")
    expect(page.locator(":focus")).to_contain_text("first")


@pytest.mark.parametrize("address", ["no-such-session", "%E0%A4%A"])
def test_where_there_is_no_such_session_the_next_message_begins_one(page: Any, address: str) -> None:
    page.evaluate("(id) => { location.hash = '/' + id }", address)
    page.wait_for_selector("text=can't be shown")
    page.trouble.clear()  # the browser says that it got a 404
    say(page, "hello")
    page.wait_for_selector("text=You said: hello")
    idle(page)


def test_a_dialog_gives_the_focus_back_to_the_menu(page: Any) -> None:
    say(page, "hello")
    page.wait_for_selector("text=You said: hello")
    idle(page)
    page.focus("#menu-more summary")
    for key in ("Enter", "Tab", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#dialog[open]")
    page.keyboard.press("Escape")
    expect(page.locator("#menu-more summary")).to_be_focused()


def test_escape_in_the_search_clears_it_and_stops_nothing(page: Any) -> None:
    say(page, "slow please")
    page.wait_for_selector(".card.run")
    page.fill("#find", "x")
    page.keyboard.press("Escape")
    expect(page.locator("#find")).to_have_value("")
    page.focus("#say")
    assert page.is_visible(".card.run")
    page.keyboard.press("Escape")
    page.wait_for_selector(".banner:has-text('Stopped')")


def test_a_call_is_edited_and_a_wrong_edit_leaves_it_waiting(page: Any) -> None:
    say(page, "order")
    page.click("button:has-text('Edit…')")
    page.fill(".editing textarea", "no json")
    page.click("button:has-text('Run with these')")
    page.wait_for_selector("text=This isn't valid JSON")
    page.fill(".editing textarea", '{"sku": 5, "n": "many"}')
    page.click("button:has-text('Run with these')")
    page.wait_for_selector(".banner.bad")
    page.click("button:has-text('Edit…')")
    page.fill(".editing textarea", '{"sku": "TEA-1", "n": 7}')
    page.click("button:has-text('Run with these')")
    page.wait_for_selector("pre:has-text('ordered 7 x TEA-1')")
    page.wait_for_selector("text=on their way")


def test_a_call_is_denied_with_a_reason(page: Any) -> None:
    say(page, "order")
    page.click("button:has-text('Deny…')")
    page.fill("input[aria-label=Reason]", "too dear")
    page.keyboard.press("Enter")
    page.wait_for_selector("pre:has-text('too dear')")
    idle(page)


def test_of_two_calls_that_wait_each_is_decided_in_its_place(page: Any) -> None:
    say(page, "two orders")
    page.wait_for_selector(".card.wait >> nth=1")
    page.click(".card.wait >> nth=1 >> button:has-text('Approve')")
    approve = page.locator(".card.wait button:has-text('Approve')")
    expect(approve).to_have_count(1)  # what is approved runs in its order, behind the other
    assert page.locator("pre:has-text('ordered')").count() == 0
    approve.click()
    page.wait_for_selector("pre:has-text('ordered 40 x TEA-1')")
    page.wait_for_selector("pre:has-text('ordered 50 x TEA-2')")
    page.wait_for_selector("text=on their way")


@pytest.mark.parametrize("decision", ["Approve", "Deny…"])
def test_a_call_that_waits_behind_another_says_so_and_runs_once_that_is_settled(
    page: Any, serving: Serving, decision: str
) -> None:
    say(page, "orders in a row")
    other = page.context.new_page()
    for tab in (page, other):
        held = tab.locator(".card.held")
        if tab is other:  # where it is told from the store, not as it happened
            serving.stop()
            page.wait_for_selector("#state.bad")
            serving.start()
            page.wait_for_selector("#state:not(.bad)", state="attached")
            page.trouble.clear()  # the browser says that it lost the connection
            tab.goto(page.url)
        expect(held).to_have_count(1)
        expect(held).to_contain_text("waits for a call above")
        expect(held.get_by_role("img", name="not begun")).to_be_visible()
        expect(held.locator("button")).to_have_count(0)  # there is nothing to decide about it
        held.locator("summary").click()
        expect(held.locator("pre")).to_contain_text("TEA-2")
        expect(tab.locator(".card.done")).to_have_count(1)  # what only reads waits for nobody
        expect(tab.locator(".card.wait button:has-text('Approve')")).to_have_count(1)
        expect(tab.locator("#say")).to_be_disabled()
        tab.click("#tracing")
        expect(tab.locator(".bar i.wait")).to_have_count(1)
        expect(tab.locator(".bar i.tool")).to_have_count(1)
    page.click(f"button:has-text('{decision}')")
    if decision != "Approve":
        page.keyboard.press("Enter")
    for tab in (page, other):
        expect(tab.locator(".card.held")).to_have_count(0)
        late = tab.locator(".card.done", has_text="TEA-2")
        expect(late.locator("pre").last).to_have_text("ordered 2 x TEA-2")
        expect(late.locator(".time")).not_to_contain_text("waits")
        expect(tab.locator(".card.done")).to_have_count(3 if decision == "Approve" else 2)
        expect(tab.locator(".card.failed")).to_have_count(0 if decision == "Approve" else 1)
        idle(tab)
        expect(tab.locator("#say")).to_be_enabled()


def test_a_question_is_answered(page: Any) -> None:
    say(page, "question")
    page.wait_for_selector(".ask:has-text('Which warehouse?')")
    page.click("button:has-text('Answer…')")
    page.fill(".editing textarea", "Lyon")
    page.click("button:has-text('Send answer')")
    page.wait_for_selector(".card.done pre:has-text('Lyon')")
    page.wait_for_selector("text=Thank you, noted.")


def test_a_call_in_a_sub_agent_is_a_card_in_a_card(page: Any) -> None:
    say(page, "research green tea")
    page.wait_for_selector(".card .inner .card.done")
    idle(page)
    page.wait_for_selector("strong:has-text('two years')")


def test_pictures_and_structured_output_are_shown(page: Any) -> None:
    say(page, "chart")
    page.wait_for_selector(".card.done img.media")
    idle(page)
    say(page, "table please")
    page.wait_for_selector("th[scope=col]:has-text('sku')")
    idle(page)
    page.reload()
    page.wait_for_selector("td:has-text('TEA-2')")
    assert page.locator(".card.done img.media").count() == 1
    assert page.evaluate("document.querySelector('img.media').naturalWidth") == 60


def test_code_that_gemini_ran_is_a_card_with_what_it_printed(page: Any) -> None:
    say(page, "compute")
    page.wait_for_selector(".card:has-text('Code, run by Gemini')")
    page.wait_for_selector(".card pre:has-text('42')")
    idle(page)
    assert page.locator("text=It is 42.").count() == 1


def test_stop_ends_tools_too_and_says_what_had_taken_effect(page: Any) -> None:
    say(page, "slow please")
    page.wait_for_selector(".card.done")
    page.wait_for_selector(".card.run")
    page.click("#stop")
    page.wait_for_selector(".banner:has-text('Had taken effect by then: order')")
    assert "Was under way: slow." in page.inner_text(".banner")
    assert page.locator(".card.run").count() == 0
    say(page, "hello")
    page.wait_for_selector("text=You said: hello")


def test_a_message_of_which_nothing_was_kept_can_be_sent_again(page: Any, serving: Serving) -> None:
    serving.agent.model.pace = 60  # type: ignore[attr-defined]
    say(page, "hello")
    page.wait_for_selector("#stop:not([hidden])")
    page.click("#stop")
    page.wait_for_selector(".banner:has-text('Nothing had taken effect')")
    page.reload()
    serving.agent.model.pace = 0.01  # type: ignore[attr-defined]
    page.click("button:has-text('Retry')")
    page.wait_for_selector("text=You said: hello")
    idle(page)
    page.reload()
    page.wait_for_selector("text=You said: hello")
    assert page.locator(".user").count() == 1


def test_a_text_that_no_longer_counts_is_taken_away(page: Any) -> None:
    say(page, "malformed")
    page.wait_for_selector("text=Asked again")
    page.wait_for_selector(".banner.bad")
    assert page.locator(".text:has-text('Wrong words')").count() <= 1  # the last one, which stopped the run


def test_an_error_is_shown_with_what_to_do(page: Any) -> None:
    say(page, "nothing")
    page.wait_for_selector(".banner.bad button:has-text('Retry')")
    idle(page)
    say(page, "hello")
    page.wait_for_selector("text=You said: hello")


def test_a_reload_in_the_midst_goes_on(page: Any, serving: Serving) -> None:
    serving.agent.model.pace = 1.0  # type: ignore[attr-defined]  # minutes, until it has been looked at
    say(page, "long story")
    page.wait_for_selector(".text p")
    page.reload()
    page.wait_for_selector(".text p")
    early = len(page.inner_text("#log"))
    assert page.locator("#stop").is_visible()
    serving.agent.model.pace = 0.005  # type: ignore[attr-defined]
    idle(page)
    assert len(page.inner_text("#log")) > early
    live = page.inner_text("#log .text")
    page.reload()
    page.wait_for_selector(".foot", state="attached")
    assert page.inner_text("#log .text").split() == live.split()


def test_what_is_sent_while_the_page_loads_is_for_the_session_in_its_address(
    page: Any, tmp_path: Path
) -> None:
    say(page, "hello")
    page.wait_for_selector("text=You said: hello")
    idle(page)
    where = page.url
    gate = Gate(page, "**/api/agent*")
    page.reload()
    gate.wait()
    with page.expect_response("**/api/message*"):
        say(page, "early")
    gate.open()
    page.wait_for_selector("text=You said: early")
    assert page.url == where
    empty = tmp_path / "empty.txt"
    empty.touch()
    page.set_input_files("#file", [empty])
    page.wait_for_selector("#state.bad:has-text('is empty')")


def test_two_tabs_see_the_same(page: Any) -> None:
    say(page, "stock of TEA-1?")
    page.wait_for_selector(".card")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".card")
    for tab in (page, other):
        tab.wait_for_selector("td:has-text('Lyon')")
        idle(tab)
    assert other.locator(".card.done").count() == page.locator(".card.done").count() == 2
    page.click("#menu-more summary")
    page.click("#undo")
    for tab in (page, other):
        tab.wait_for_selector("#log .empty")
    assert page.input_value("#say") == "stock of TEA-1?"


def test_twelve_tabs_work_while_an_answer_streams(page: Any, serving: Serving) -> None:
    serving.agent.model.pace = 1.0  # type: ignore[attr-defined]  # it is stopped: minutes are left to open tabs
    say(page, "long story")
    page.wait_for_selector(".text p")
    tabs = []
    for _ in range(11):
        tabs.append(page.context.new_page())
        tabs[-1].goto(page.url)
    for tab in tabs:
        tab.wait_for_selector(".text p")
    tabs[-1].click("#stop")
    for tab in [page, *tabs]:
        tab.wait_for_selector(".banner:has-text('Stopped')")


def test_a_server_that_stops_and_comes_back_goes_on_with_what_is_stored(browser: Any, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        serving = Serving(scene_agent(0.05), store=store)
        page = come_in(browser, serving)
        say(page, "order")
        page.wait_for_selector("button:has-text('Approve')")
        serving.stop()
        page.wait_for_selector("#state.bad")
        serving.start()
        page.wait_for_selector("#state:not(.bad)", state="attached")
        page.click("button:has-text('Approve')")
        page.wait_for_selector("text=on their way")
        page.context.close()
        serving.stop()


def test_a_stopped_server_ends_the_run_as_cancelled_and_loses_nothing(browser: Any, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        serving = Serving(scene_agent(), store=store)
        page = come_in(browser, serving)
        say(page, "slow please")
        page.wait_for_selector(".card.run")
        serving.stop()
        page.wait_for_selector(".banner:has-text('Stopped')")
        page.context.close()
        (info,) = store.list()
        contents = [message.content for message in store.load(info.id).messages]
        assert [content["role"] for content in contents] == ["user", "model", "user"]
        first, second = [part["functionResponse"]["response"] for part in contents[-1]["parts"]]
        assert first == {"output": "ordered 1 x TEA-9"}
        assert "error" in second


def test_sessions_are_found_renamed_exported_and_deleted(page: Any) -> None:
    say(page, "hello")
    page.wait_for_selector("text=You said: hello")
    idle(page)
    page.click("#menu-more summary")
    page.click("#rename")
    page.fill("#dialog-value", "Greetings")
    page.keyboard.press("Enter")
    page.wait_for_selector("#sessions button:has-text('Greetings')")
    page.wait_for_selector("h1:has-text('Greetings')")
    page.fill("#find", "said")
    page.wait_for_selector("#sessions .snippet:has-text('hello')")
    page.fill("#find", "camels")
    page.wait_for_selector("text=Nothing found")
    page.fill("#find", "")
    for kind, words in (("markdown", "You said: hello"), ("json", '"parts"'), ("html", "<!doctype html>")):
        page.click("#menu-more summary")
        with page.expect_download() as download:
            page.click(f"#export-{kind}")
        assert words in Path(download.value.path()).read_text()
    page.click("#menu-more summary")
    page.click("#delete")
    page.click("#dialog button:has-text('OK')")
    page.wait_for_selector("#log .empty")
    page.wait_for_selector("#sessions button", state="detached")


def test_files_go_along_by_choosing_pasting_and_dropping(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "tea.png"
    picture.write_bytes(png(20, 20))
    other = tmp_path / "program.bin"
    other.write_bytes(b"\0\1")
    page.set_input_files("#file", [picture, other])
    page.wait_for_selector("#files li:has-text('tea.png')")
    page.wait_for_selector("#state.bad:has-text('program.bin')")
    page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File(["a,b"], "b.csv", {type: "text/csv"}));
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
      const more = new DataTransfer();
      more.items.add(new File(["x"], "x.txt", {type: "text/plain"}));
      document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: more, bubbles: true, cancelable: true}));
    }""")
    page.wait_for_selector("#files li >> nth=2")
    page.click("button[aria-label='Remove x.txt']")
    say(page, "look")
    page.wait_for_selector(".user img.media")
    page.wait_for_selector(".user .note:has-text('text/csv')")
    page.wait_for_selector("#files li", state="detached")
    idle(page)


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_has_expired_is_uploaded_again_or_missed_in_a_note(
    browser: Any, tmp_path: Path, there: bool
) -> None:
    """As in a session that was begun in a terminal, days ago."""
    talk = tmp_path / "talk.mp4"
    talk.write_bytes(VIDEO)
    with GeminiServer() as gemini, SQLiteStore(tmp_path / "chats.db") as store:
        gemini.files = FilesApi(lifetime=30.0)  # less than is left of it when it is sent
        gemini.script(["A talk.", "It is about tea."])
        model = model_on(gemini)
        Agent(model).chat("talk", store).send_message(["Look.", talk])
        gemini.files.lifetime = 48 * 3600.0
        if not there:
            talk.unlink()
        serving = Serving(Agent(model), store=store)
        page = come_in(browser, serving)
        page.click("#sessions button")
        page.wait_for_selector("text=A talk.")
        say(page, "What is it about?")
        note = "talk.mp4 was uploaded." if there else "talk.mp4 is no longer available."
        page.wait_for_selector(f".note:has-text('{note}')")
        page.wait_for_selector("text=It is about tea.")
        idle(page)
        assert not page.trouble
        page.context.close()
        serving.stop()
        model.close()


def test_a_new_session_shows_what_the_tools_are(page: Any) -> None:
    assert page.inner_text("#log .empty li >> nth=0") == "stock Items left in stock."
    assert page.locator("#log .empty li").count() == 7


def test_a_plan_is_shown_as_it_changes(page: Any) -> None:
    say(page, "plan the day")
    page.wait_for_selector("text=All is done.")
    assert page.locator(".plan").count() == 2
    assert page.locator(".card details[open] .plan li.done").count() == 2
    assert "Order <b>more</b>" in page.inner_text(".card details[open] .plan")
    idle(page)
    page.reload()
    page.wait_for_selector(".card details[open] .plan li.done")
    assert page.locator(".card details[open] .plan").count() == 1


KILLED = """
import os, sys
from agentkit import Agent, MemoryStore, SQLiteStore, tool
from agentkit.stores.base import AddMessage, Message
from agentkit.testing import call
from agentkit.tooling.names import SECONDS
from agentkit.wire.content import calls_of, response_part, user_content
from agentkit_local.model import available
from agentkit.testing import ScriptedModel, call

@tool(effect="write")
def order(sku: str, n: int) -> str:
    "Order items."
    os._exit(9)

agent = Agent(ScriptedModel([call("order", sku="TEA-1", n=4)]), tools=[order])
agent.chat("killed", SQLiteStore(sys.argv[1])).send_message("order four")
"""


def test_a_call_that_was_under_way_when_its_process_was_killed_asks_what_became_of_it(
    browser: Any, tmp_path: Path
) -> None:
    db = tmp_path / "sessions.db"
    died = subprocess.run([sys.executable, "-c", KILLED, db], check=False, capture_output=True)
    assert died.returncode == 9, died.stderr
    with SQLiteStore(db) as store:
        serving = Serving(scene_agent(), store=store)
        page = come_in(browser, serving)
        page.click("#sessions button")
        page.wait_for_selector(".ask:has-text('nobody knows whether it took effect')")
        page.reload()
        page.click("button:has-text('It had no effect: run again')")
        page.wait_for_selector("text=on their way")
        page.wait_for_selector(".card.done pre:has-text('ordered 4 x TEA-1')")
        assert not page.trouble
        page.context.close()
        serving.stop()


@pytest.mark.skipif(not available(), reason="the embedded model has no engine for this machine")
def test_the_embedded_model_answers_on_the_page(browser: Any) -> None:

    @tool(effect="read")
    def stock(sku: str) -> int:
        """Items left in stock.

        Args:
            sku: Product code, such as "TEA-1".
        """
        return {"TEA-1": 3, "TEA-2": 40}[sku]

    serving = Serving(Agent("local", tools=[stock]))
    page = come_in(browser, serving)
    say(page, "How many of TEA-2 are in stock?")
    page.wait_for_selector(".card.done .name:has-text('stock')", timeout=60_000)
    idle(page)
    assert "40" in page.inner_text("#log .text")
    assert not page.trouble
    page.context.close()
    serving.stop()
