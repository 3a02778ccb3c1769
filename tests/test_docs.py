"""Every code block of the README and of the docstrings runs, and prints what it says it prints.

Blocks on Gemini run on the real SDK against a loopback server, which has a script for each of them.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentkit_tools
import pytest

import agentkit
from tests.gemini_server import GeminiServer, call, calls, text

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^([ ]*)```python\n(.*?)^\1```$", re.M | re.S)

SCRIPTS: dict[str, list[Any]] = {
    "How many of TEA-1 are left?": [
        calls(call("stock", {"sku": "TEA-1"})),
        text("There are 3 of TEA-1 left."),
    ],
    "What is 1.5 + 2?": [calls(call("add", {"a": 1.5, "b": 2})), text("It is 3.5.")],
    "What is my name?": [text("Ann."), text("Nna.")],
    "Order 10 of TEA-1": [
        calls(call("order", {"sku": "TEA-1", "n": 10})),
        text("Done."),
        text("10 of TEA-1."),
    ],
    "chats.create": [text("Bonjour."), text("Salut.")],
    "LastTurns(20)": [text("Noted.")],
    "Say hello.": [text("Hello!"), text("Bonjour !")],
}


def modules() -> Iterator[str]:
    for package in (agentkit, agentkit_tools):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield module.name


def docstrings(name: str) -> Iterator[str]:
    path = importlib.util.find_spec(name)
    assert path is not None
    assert path.origin is not None
    for node in ast.walk(ast.parse(Path(path.origin).read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


def blocks() -> Iterator[Any]:
    for number, match in enumerate(FENCE.finditer((ROOT / "README.md").read_text()), 1):
        yield pytest.param(match[2], id=f"README-{number}")
    for name in modules():
        for docstring in docstrings(name):
            for number, match in enumerate(FENCE.finditer(docstring), 1):
                yield pytest.param(match[2], id=f"{name}-{number}")


@pytest.mark.parametrize("code", list(blocks()))
def test_a_code_block_prints_what_it_says(code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    script = next((replies for question, replies in SCRIPTS.items() if question in code), [])
    wanted = "".join(f"{line.removeprefix('#> ')}\n" for line in code.splitlines() if line.startswith("#> "))
    printed = io.StringIO()
    with GeminiServer() as server:
        server.script(script)
        monkeypatch.setenv("GEMINI_API_KEY", "a-key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<block>", "exec"), {"__name__": "block"})
        assert len(server.requests) == len(script)
    assert printed.getvalue() == wanted


def test_the_readme_has_blocks_to_run_and_each_script_has_its_block() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(FENCE.findall(readme)) >= 6
    assert all(question in readme for question in SCRIPTS)


def test_no_docstring_has_an_example_that_is_not_a_block() -> None:
    for name in modules():
        assert not any(">>> " in docstring for docstring in docstrings(name)), name
