"""How the page looks and reads: six screenshots to look at, and what axe says of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import Serving, come_in, need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STATIC = Path(__file__).parents[2] / "agentkit" / "serve" / "static"
WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 800}


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Packages of npm, installed once into a folder that git ignores."""
    folder = Path(__file__).parent / "node_modules"
    need(shutil.which("npm"), "npm isn't installed")
    if not (folder / "axe-core").exists() or not (folder / "typescript").exists():
        command = [
            "npm",
            "install",
            "--no-save",
            "--no-package-lock",
            "axe-core@4",
            "typescript@7",
            "@ag-ui/client@1",
        ]
        done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)
        need(done.returncode == 0, f"npm can't install: {done.stderr[-300:]}")
    return folder


def say(page: Any, text: str, until: str) -> None:
    page.fill("#say", text)
    page.keyboard.press("Enter")
    page.wait_for_selector(until)
    page.wait_for_selector("#send:not([hidden])", timeout=30_000)


def check_looks(page: Any, node_modules: Path) -> None:
    """Check that nothing is wider than the page, and that axe finds nothing serious."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.new_cdp_session(page).send("Page.setBypassCSP", {"enabled": True})
    page.evaluate((node_modules / "axe-core" / "axe.min.js").read_text() + "; 0")
    found = page.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.slice(0, 4).map(n => n.html)]))"
    )
    assert [violation for violation in found if violation[0] in ("serious", "critical")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_page(
    browser: Any, serving: Serving, node_modules: Path, scheme: Any, size: Any
) -> None:
    page = come_in(browser, serving, viewport=size, color_scheme=scheme)
    say(page, "stock of TEA-1?", "td:has-text('Lyon')")
    say(page, "table please", "td:has-text('TEA-2')")
    say(page, "nothing", ".banner.bad")
    say(page, "order", "button:has-text('Approve')")
    page.click("#tracing")
    page.wait_for_selector(".lane button")
    page.click(".lane button")
    page.wait_for_selector(".turn pre")
    page.click("#menu-more summary")
    check_looks(page, node_modules)
    page.context.close()


SHOTS = {
    "wide-light-answer": (WIDE, "light", "answer"),
    "wide-dark-approval": (WIDE, "dark", "approval"),
    "wide-light-trace": (WIDE, "light", "trace"),
    "phone-light-approval": (PHONE, "light", "approval"),
    "phone-dark-answer": (PHONE, "dark", "answer"),
    "phone-light-error": (PHONE, "light", "error"),
}


@pytest.mark.parametrize("name", SHOTS)
def test_a_screenshot_is_made_to_look_at(
    browser: Any, serving: Serving, screenshots: Path, name: str
) -> None:
    size, scheme, scene = SHOTS[name]
    page = come_in(browser, serving, viewport=size, color_scheme=scheme)
    match scene:
        case "approval":
            say(page, "order", "button:has-text('Approve')")
        case "error":
            say(page, "stock of TEA-1?", "td:has-text('Lyon')")
            say(page, "nothing", ".banner.bad")
        case _:
            say(page, "stock of TEA-1?", "td:has-text('Lyon')")
    if scene == "trace":
        say(page, "research green tea", "strong:has-text('two years')")
        page.click("#tracing")
        page.wait_for_selector(".lane button")
        page.click(".lane button >> nth=0")
        page.wait_for_selector(".turn pre")
    page.screenshot(path=screenshots / f"{name}.png")
    assert (screenshots / f"{name}.png").stat().st_size > 10_000
    page.context.close()


FROM_THE_END = """async () => {
  for (let n = 0; n < 5; n++) await new Promise(requestAnimationFrame);
  const place = document.getElementById("scroll");
  return place.scrollHeight - place.scrollTop - place.clientHeight;
}"""
GROW = """async (much) => {
  for (const px of much) {
    const block = document.createElement("div");
    block.style.height = px + "px";
    document.getElementById("log").append(block);
    await new Promise(requestAnimationFrame); // it is scrolled to in this frame, and said so in the next
    await new Promise(setTimeout);
  }
}"""


def test_who_reads_the_end_stays_there_however_fast_it_grows_and_who_reads_above_does_too(page: Any) -> None:
    say(page, "long story", ".text p")
    page.evaluate(GROW, [50, 500] * 10)
    assert page.evaluate(FROM_THE_END) < 2
    page.evaluate("() => document.getElementById('scroll').scrollBy(0, -900)")
    assert page.evaluate(FROM_THE_END) > 800
    page.evaluate(GROW, [400])
    assert page.evaluate(FROM_THE_END) > 1_200
    page.evaluate("() => document.getElementById('scroll').scrollBy(0, 9000)")
    assert page.evaluate(FROM_THE_END) < 2
    page.evaluate(GROW, [400])
    assert page.evaluate(FROM_THE_END) < 2


def test_the_scripts_are_typed(node_modules: Path) -> None:
    command = [
        node_modules / ".bin" / "tsc",
        *("--checkJs", "--allowJs", "--noEmit", "--strict", "--target", "es2023", "--module", "esnext"),
        *("--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable"),
        *(STATIC / name for name in ("app.js", "file.js")),
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_stays_small_and_asks_nobody_else() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in STATIC.iterdir()}
    assert sum(count for path, count in lines.items() if path.suffix == ".js") <= 1_500
    assert sum(count for path, count in lines.items() if path.suffix == ".css") <= 500
    assert max(lines.values()) <= 400
    assert not [path for path in lines if "http://" in path.read_text().replace("http://www.w3.org", "")]
