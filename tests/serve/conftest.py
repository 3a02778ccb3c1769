"""A real server, and a real Chromium on it: skipped where there is no browser, never in CI."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, MemoryStore
from agentkit.serve.app import create_app
from agentkit.serve.serving import Server, address, listen
from tests.helpers.until import PATIENCE, until
from tests.serve.scenes import scene_agent

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def need(there: Any, reason: str) -> None:
    """Skip a test that can't run here; in CI it fails."""
    if there:
        return
    if os.environ.get("CI"):
        pytest.fail(f"In CI this must run: {reason}.")
    pytest.skip(reason)


class Serving:
    """The page of an agent on a port of its own; it can be stopped and started again."""

    def __init__(self, agent: Agent, **settings: Any) -> None:
        self.agent = agent
        self.store = settings.pop("store", None) or MemoryStore()
        self.settings = settings
        self.port = 0
        self.token: str | None = settings.pop("token", None)
        self.start()

    @property
    def url(self) -> str:
        """The address with the token in it."""
        return f"{self.origin}/?token={self.token}"

    def start(self) -> None:
        """Serve, on the same port as before."""
        listener = listen("127.0.0.1", self.port)
        self.origin, self.port = address(listener), listener.getsockname()[1]
        self.app = create_app(self.agent, self.store, token=self.token, **self.settings)
        self.token = self.app.state.token
        self.server = Server(self.app, listener)
        self.thread = threading.Thread(target=self.server.serve_here, daemon=True)
        self.thread.start()
        until(lambda: self.server.started)

    def stop(self) -> None:
        """End the server."""
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Serve the agent of the scenes."""
    made = Serving(scene_agent())
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start the browser for a module; Playwright's event loop is in this thread until it ends."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        need(False, "playwright isn't installed")
    need(CHROMIUM, "there is no Chromium (apt-get install chromium, or set CHROMIUM)")
    with sync_playwright() as playwright:
        args = [*FLAGS, "--host-resolver-rules=MAP evil.test 127.0.0.1"]
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        yield made
        made.close()


def come_in(browser: Any, serving: Serving, **options: Any) -> Any:
    """Open the page in a context of its own; `page.trouble` collects what a console or a request shouldn't have."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.trouble = []
    page.on("console", lambda m: m.type in ("error", "warning") and page.trouble.append(m.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    own = (serving.origin, "data:", "blob:", "ws:")
    page.on("request", lambda r: r.url.startswith(own) or page.trouble.append("asked " + r.url))
    page.goto(serving.url)
    page.wait_for_url(serving.origin + "/")
    page.wait_for_selector("#log .empty")
    return page


def say(page: Any, text: str) -> None:
    """Send a message on a page."""
    page.fill("#say", text)
    page.keyboard.press("Enter")


def idle(page: Any) -> None:
    """Wait until no run goes on."""
    page.wait_for_selector("#send:not([hidden])", timeout=1000 * PATIENCE)


@pytest.fixture
def page(browser: Any, serving: Serving) -> Iterator[Any]:
    """A page that has come in; a word in its console, or a request to elsewhere, fails the test."""
    made = come_in(browser, serving)
    yield made
    assert not made.trouble, made.trouble
    made.context.close()


@pytest.fixture
def screenshots() -> Path:
    """The folder of screenshots, which git ignores."""
    folder = Path(__file__).parent / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder
