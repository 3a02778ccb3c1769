"""What may not come in, and what may not get out of a text."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentkit import MemoryStore
from agentkit.stores.base import AddMessage
from agentkit.stores.message import Message
from tests.helpers.until import PATIENCE
from tests.serve import hostile
from tests.serve.conftest import Serving, come_in
from tests.serve.scenes import scene_agent

pytestmark = pytest.mark.slow

LOOK = """() => ({
  pwned: window.pwned,
  bad: [...document.querySelectorAll(`#log script, #log svg, #log iframe, #log form, #log style, #log link,
    #log meta, #log base, #log math, #log img, #log [onclick], #log [onerror], #log [style], #log .text [id],
    #log .text [name]`)].map((e) => e.outerHTML),
  links: [...document.querySelectorAll("#log .text a")].map((a) => [a.protocol, a.rel, a.target]),
})"""


def assert_inert(page: Any) -> None:
    page.evaluate(
        "document.querySelectorAll('#log a').forEach(a => a.dispatchEvent(new MouseEvent('mouseover')))"
    )
    seen = page.evaluate(LOOK)
    assert seen["pwned"] is None
    assert not seen["bad"]
    for protocol, rel, target in seen["links"]:
        assert protocol in ("http:", "https:", "mailto:")
        assert "noopener" in rel
        assert target == "_blank"


def test_hostile_texts_are_inert_live_and_stored(page: Any) -> None:
    page.fill("#say", "hostile <img src=x onerror=window.pwned=1> \u202e")
    page.keyboard.press("Enter")
    page.wait_for_selector("button:has-text('Approve')")
    page.click("#tracing")
    for _ in range(2):  # live, and as it is stored
        assert_inert(page)
        assert "\\u{202e}" in page.inner_text(".card >> nth=0")
        assert "\\u{202e}" in page.inner_text(".card.wait pre")
        page.reload()
        page.wait_for_selector("button:has-text('Approve')")
    page.click("button:has-text('Deny…')")
    page.fill("input[aria-label=Reason]", "<script>window.pwned=1</script>\u202e")
    page.keyboard.press("Enter")
    page.wait_for_selector("pre:has-text('window.pwned')")
    assert_inert(page)


def keep(store: MemoryStore, session_id: str, title: str, *messages: Message) -> None:
    store.create(session_id, title=title)
    writer = store.write(session_id)
    writer.append([AddMessage(message) for message in messages])
    writer.release()


def said(role: Any, text: str, **known: Any) -> Message:
    return Message(content={"role": role, "parts": [{"text": text}]}, **known)


def test_each_hostile_text_alone_is_inert_in_texts_and_titles(page: Any, serving: Serving) -> None:
    for number, text in enumerate(hostile.MARKDOWN):
        keep(serving.store, f"h{number}", text[:100], said("user", text), said("model", text))
        page.goto(f"{serving.origin}/#/h{number}")
        page.wait_for_selector("#log .text > div", state="attached")
        assert_inert(page)


def test_hostile_file_names_are_inert(page: Any) -> None:
    page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "<img src=x onerror=window.pwned=1>\u202egnp.txt", {type: "text/plain"}));
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
    }""")
    page.wait_for_selector("#files li:has-text('u{202e}')")
    assert page.evaluate("window.pwned") is None


GROUNDING = {
    "webSearchQueries": ["tea <b>"],
    "groundingChunks": [
        {"web": {"uri": "javascript:window.pwned=1", "title": "<img src=x onerror=window.pwned=1>\u202e"}},
        {"web": {"uri": "https://example.com/tea", "title": "Tea"}},
    ],
    "groundingSupports": [
        {"segment": {"endIndex": len("Grüner Tee keeps.".encode())}, "groundingChunkIndices": [1]}
    ],
    "searchEntryPoint": {"renderedContent": hostile.SUGGESTIONS},
}


@pytest.fixture
def sourced(serving: Serving, browser: Any) -> Iterator[Any]:
    answer = said("model", "Grüner Tee keeps. Drink it.", metadata={"groundingMetadata": GROUNDING})
    keep(serving.store, "s", "Tea", said("user", "Tea?"), answer)
    page = come_in(browser, serving)
    page.goto(f"{serving.origin}/#/s")
    page.wait_for_selector(".sources")
    yield page
    page.context.close()


def test_sources_are_footnotes_and_hostile_ones_are_inert(sourced: Any) -> None:
    assert sourced.inner_text(".text") == "Grüner Tee keeps.2 Drink it."
    assert sourced.locator(".sources li").count() == 2
    assert sourced.locator(".sources a").get_attribute("href") == "https://example.com/tea"
    assert "\\u{202e}" in sourced.inner_text(".sources")
    assert sourced.evaluate("window.pwned") is None


def test_search_suggestions_bring_their_style_and_nothing_else(sourced: Any) -> None:
    frame = sourced.wait_for_selector("iframe.suggestions").content_frame()
    frame.wait_for_selector(".chip")
    assert frame.evaluate("getComputedStyle(document.querySelector('.chip')).borderRadius") == "16px"
    assert frame.evaluate("getComputedStyle(document.querySelector('.container')).padding") == "8px"
    assert sourced.evaluate("window.pwned") is None
    assert "scripted" not in frame.inner_text("body")
    with sourced.context.expect_page() as popup:
        frame.evaluate("document.querySelector('.chip').click()")
    assert popup.value.url.startswith(("https://www.google.com", "about:blank", "chrome-error"))


def raw(serving: Serving, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(
        method, path, body if isinstance(body, (str, bytes)) else body and json.dumps(body), named
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_only_who_has_cookie_and_key_or_the_token_comes_in(page: Any, serving: Serving) -> None:
    (kept,) = page.context.cookies()
    assert kept["httpOnly"]
    assert kept["sameSite"] == "Strict"
    cookie = f"{kept['name']}={kept['value']}"
    key = page.evaluate("localStorage.getItem('agentkit-key /')")
    json_kind = {"Content_Type": "application/json"}
    ok = {"Cookie": cookie, "X_Agentkit_Key": key, **json_kind}
    made = [
        raw(serving, "GET", "/api/sessions", Cookie=cookie),  # what a server on another port could steal
        raw(serving, "GET", "/api/sessions"),
        raw(serving, "GET", "/api/sessions", Cookie=cookie.split("=")[0] + "=wrong", X_Agentkit_Key=key),
        raw(serving, "GET", "/api/sessions", Authorization="Bearer wrong"),
        raw(serving, "GET", "/?token=wrong"),
        raw(serving, "GET", "/static/app.js"),
        raw(serving, "POST", "/agui", "{}", Cookie=cookie, **json_kind),
    ]
    assert [status for status, _ in made] == [401] * len(made)
    assert raw(serving, "GET", "/api/sessions", **ok)[0] == 200
    assert raw(serving, "GET", "/api/sessions", Authorization=f"Bearer {serving.token}")[0] == 200
    assert raw(serving, "GET", "/static/..%2fapp.py", **ok)[0] == 404
    assert raw(serving, "GET", "/healthz") == (200, "ok")
    assert raw(serving, "GET", "/readyz") == (200, "ok")


def test_another_host_another_page_and_another_form_are_refused(page: Any, serving: Serving) -> None:
    bearer = {"Authorization": f"Bearer {serving.token}"}
    ok = {**bearer, "Content_Type": "application/json"}
    assert raw(serving, "GET", "/api/sessions", **ok, Host="evil.test")[0] == 400
    assert raw(serving, "GET", "/api/sessions", **ok, Host=f"127.0.0.1.evil.test:{serving.port}")[0] == 400
    assert raw(serving, "POST", "/api/sessions", "{}", **ok)[0] == 201
    assert raw(serving, "POST", "/api/sessions", "{}", **ok, Origin=serving.origin)[0] == 201
    for origin in ("http://127.0.0.1:9", "null", "https://evil.test"):
        assert raw(serving, "POST", "/api/sessions", "{}", **ok, Origin=origin)[0] == 403
    for site in ("same-site", "cross-site"):
        assert raw(serving, "POST", "/api/sessions", "{}", **ok, Sec_Fetch_Site=site)[0] == 403
    assert raw(serving, "POST", "/api/sessions", "{}", **bearer, Content_Type="text/plain")[0] == 415
    assert raw(serving, "POST", "/api/sessions", "{}", **bearer)[0] == 415
    assert raw(serving, "POST", "/api/message?id=x", "x" * 20_000_001, **ok)[0] == 413
    assert raw(serving, "POST", "/api/message?id=x", "no json", **ok)[0] in (400, 404)
    assert raw(serving, "GET", "/api/events", **UPGRADE, Origin=serving.origin)[0] == 403
    assert raw(serving, "GET", "/api/events", **UPGRADE, **bearer, Origin="http://evil.test")[0] == 403
    assert raw(serving, "GET", "/api/events", **UPGRADE, **bearer, Host="evil.test")[0] in (400, 403)


def test_a_click_on_another_sites_page_comes_in(browser: Any, serving: Serving) -> None:
    """A Strict cookie isn't sent along a redirect that another site began: the first answer must be a page."""
    context = browser.new_context()
    made = context.new_page()
    link = f'<a id=a href="{serving.url}">open</a>'
    made.route("http://evil.test/**", lambda route: route.fulfill(content_type="text/html", body=link))
    made.goto("http://evil.test/")
    made.click("#a")
    made.wait_for_selector("#log .empty")
    assert "token" not in made.url
    assert "key" not in made.url
    context.close()


def test_every_answer_has_the_policy_and_scripts_see_no_cookie(page: Any, serving: Serving) -> None:
    answer = page.request.get(serving.origin + "/static/app.js")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.evaluate("document.cookie") == ""
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")
    page.trouble.clear()  # the policy says so


def test_two_pages_on_one_host_do_not_lock_each_other_out(page: Any, serving: Serving) -> None:
    other = Serving(scene_agent())
    second = page.context.new_page()
    second.goto(other.url)
    second.wait_for_selector("#log .empty")
    page.reload()
    page.wait_for_selector("#log .empty")
    second.close()
    other.stop()
