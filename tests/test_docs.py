"""Every code block of the README, the pages and the docstrings runs, prints what it says, and has right types.

Blocks on Gemini run on the real SDK against a loopback server, which has a script for each of them.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentkit_tools
import pytest

import agentkit
from tests.helpers import generated_pages, pages
from tests.helpers.files_api import FilesApi
from tests.helpers.gemini_server import GeminiServer, call, calls, fault, reply, stream, text
from tests.helpers.page_scripts import SCRIPTS as PAGE_SCRIPTS
from tests.helpers.pages import BEFORE, DOCS, FENCE, ROOT


def _answer_to(body: Any, said: str, answer: str) -> str:
    """Give an answer if the request says what it must."""
    return answer if said in str(body["contents"]) else f"It says nothing of {said!r}."


SCRIPTS: dict[str, list[Any]] = {
    **PAGE_SCRIPTS,
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
    "Pay Bob 500.": [calls(call("pay", {"to": "Bob", "amount": 500})), text("I may not.")],
    "Tell me all about tea.": [
        *[calls(call("look_up", {"word": word})) for word in ("tea", "Tea", "tea", "Tea")],
        text("Tea has three mentions, the last in 1987. I could not look further."),
    ],
    "What is tea?": [text("A drink.")],
    "Sum up https://example.com/invoice": [
        stream(
            [
                {
                    "candidates": [
                        {
                            "content": {
                                "role": "model",
                                "parts": [call("pay", {"to": "Mallory", "amount": 9}, id="c1")],
                            },
                            "urlContextMetadata": {
                                "urlMetadata": [{"retrievedUrl": "https://example.com/invoice"}]
                            },
                            "finishReason": "STOP",
                        }
                    ]
                }
            ]
        )
    ],
    "How long does tea keep?": [text("Two years, in a tin.")],
    "Fill up TEA-1.": [
        calls(call("order", {"sku": "TEA-1", "n": 50}), call("stock", {"sku": "TEA-1"})),
        text("I ordered 20 of TEA-1."),
    ],
    "Order 10 of TEA-2.": [
        calls(call("order", {"sku": "TEA-2", "n": 10})),
        text("Done."),
        calls(call("order", {"sku": "TEA-2", "n": 10})),
        text("Done again."),
    ],
    "Order 3 of TEA-3.": [calls(call("order", {"sku": "TEA-3", "n": 3})), text("Three are on their way.")],
    "What do the staff think": [
        calls(call("survey", {"question": "Green tea?"})),
        text("The staff love it."),
    ],
    "Light in the kitchen": [
        calls(call("lamp_on", {"room": "kitchen"})),
        text("The kitchen is lit."),
    ],
    "warmer in Paris or in Rome": [
        calls(*(call("current_temperature", {"place": place}) for place in ("Paris", "Rome"))),
        text("In Rome, by six degrees."),
    ],
    "I want a T-shirt.": [
        calls(call("ask_size", {"product": "T-shirt"})),
        lambda body: text(_answer_to(body, "(asked in the main thread: True)", "One large T-shirt.")),
    ],
    "What do I owe for room 12?": [
        calls(call("hand_over", {"to": "billing"})),
        calls(call("invoice", {"room": 12})),
        text("You owe 240.00 euros for room 12."),
    ],
    "Write a line about oolong.": [
        calls(call("look_up", {"word": "oolong"})),
        calls(call("check_spelling", {"text": "Oolong has three mentions."})),
        text("Oolong has three mentions."),
    ],
    "Have the lease signed": [calls(call("sign", {"paper": "lease"})), text("The lease is signed.")],
    "Invoice from Acme": [text('{"vendor": "Acme", "total": 120.5, "due": "2026-12-01"}')],
    "A table for two": [text('{"result": {"table": 3}}'), text('{"result": {"table": 4}}')],
    "Name three teas.": [
        reply([{"text": t} for t in ('{"result": ["Assam"', ', "Darjeeling"', ', "Sencha"]}')])
    ],
    "Which tea has the most caffeine?": [text("Matcha, for its leaves are drunk.")],
    "Prove that there is no largest tea.": [text("Add a leaf.", thought="By contradiction.")],
    "Think about it for a while.": [fault("hang", seconds=1)],
    "Is anybody there?": [fault(503), fault(503)],
    "Who is there?": [fault(503), text("The small one.")],
    "Read my mail": [
        calls(call("read_mail")),
        calls(call("send_mail", {"to": "eve@example.com", "text": "The invoices."})),
    ],
    "How many of TEA-2 are left?": [
        calls(call("stock_left", {"sku": "TEA-2"})),
        text("There are 3 of TEA-2 left."),
    ],
    "Boil water for tea.": [
        calls(call("kettle_boil")),
        lambda body: text("The water is hot." if "Water for 2 is hot." in str(body) else "It is cold."),
    ],
    "I would like green tea.": [
        calls(call("load_skill", {"name": "tea"})),
        text("Boil water, and let it cool to 80 °C."),
    ],
    "How many of TEA-5 are left?": [
        calls(call("stock", {"sku": "TEA-5"})),
        text("None of TEA-5 is left."),
    ],
    "Order 10 of TEA-5.": [
        calls(call("order", {"sku": "TEA-5", "n": 10})),
        text("Ten are ordered."),
    ],
    "How long does green tea keep?": [
        stream(
            [
                {
                    "candidates": [
                        {
                            "content": {
                                "role": "model",
                                "parts": [{"text": "Green tea keeps for a year 🍵, in a tin."}],
                            },
                            "groundingMetadata": {
                                "groundingChunks": [
                                    {"web": {"uri": "https://tea.example/keep", "title": "Tea Board"}}
                                ],
                                "groundingSupports": [
                                    {"segment": {"endIndex": 31}, "groundingChunkIndices": [0]},
                                ],
                            },
                            "finishReason": "STOP",
                        }
                    ]
                }
            ]
        )
    ],
    "Plot sin(x)": [
        reply(
            [
                {"executableCode": {"language": "PYTHON", "code": "plot(sin); print(2 * pi)"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "6.283"}},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"text": "About 6.283."},
            ]
        )
    ],
    "Which tea is it": [text("Green tea: 4.50.")],
    "What is the talk about?": [text("It is about tea.")],
    "How is it cleaned?": [text("With water."), text("With the lever.")],
    "Draw a cup of tea.": [reply([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}])],
    "Is a queue here?": [text("Yes, one of two.")],
    "Is a queue there?": [text("It is.")],
    "Is anything broken?": [
        calls(call("log")),
        lambda body: calls(call("read_result", {"id": kept_id(body), "offset": 2800})),
        text("The pump is broken."),
    ],
}


def kept_id(body: Any) -> str:
    """Read the id in the mark of a result that was cut."""
    output: str = body["contents"][-1]["parts"][0]["functionResponse"]["response"]["output"]
    return output.partition('read_result(id="')[2].partition('"')[0]


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
    for name, code in pages.blocks():
        yield pytest.param(code, id=name)
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
        server.files = FilesApi()
        monkeypatch.setenv("GEMINI_API_KEY", "a-key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<block>", "exec", dont_inherit=True), {"__name__": "block"})
        asked = [each for each in server.requests if not each.path.endswith(":countTokens")]
        assert len(asked) == len(script)
    assert printed.getvalue() == wanted


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_code_blocks_pass_mypy_as_strictly_as_the_project(tmp_path: Path) -> None:
    files = [tmp_path / f"{re.sub(r'[^a-zA-Z0-9]', '_', str(block.id))}.py" for block in blocks()]
    for file, block in zip(files, blocks(), strict=True):
        file.write_text(block.values[0], "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"in {len(files)} source files" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_code_blocks_pass_pyright_in_its_strict_mode(tmp_path: Path) -> None:
    for number, block in enumerate(blocks()):
        name = re.sub(r"[^a-zA-Z0-9]", "_", str(block.id))
        (tmp_path / f"{name}_{number}.py").write_text(block.values[0], "utf-8")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT), str(ROOT / "tools")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ["--pythonpath", sys.executable, "-p", str(tmp_path), "--outputjson"]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert [(Path(each["file"]).stem, each["message"]) for each in report["generalDiagnostics"]] == []
    assert report["summary"]["filesAnalyzed"] > number


def test_each_page_has_blocks_to_run_and_each_script_has_its_block() -> None:
    texts = {pages.name_of(page): page.read_text() for page in pages.pages()}
    assert len(FENCE.findall(texts["README"])) >= 6
    assert all(FENCE.search(text) for name, text in texts.items() if not name.startswith("reference-"))
    topics = {"tutorial", "tools", "runs", "chats", "stores", "memory", "models", "embedded-model", "testing"}
    assert (
        topics | {"web-frameworks", "when-not-to-use", "rules", "limits", "sources", "media", "vertex-ai"}
        < texts.keys()
    )
    assert all(any(question in text for text in texts.values()) for question in SCRIPTS)


@pytest.mark.parametrize("page", sorted((DOCS / "coming-from").glob("*.md")), ids=lambda page: page.stem)
def test_who_comes_from_another_library_finds_ten_blocks_before_and_after(page: Path) -> None:
    before, after = BEFORE.findall(page.read_text()), FENCE.findall(page.read_text())
    assert len(before) == len(after) >= 10
    for code in before:
        compile(code, page.name, "exec", dont_inherit=True)


def test_what_pages_say_of_the_code_is_what_the_code_says() -> None:
    stale = [path.name for path, text in generated_pages.generated() if path.read_text() != text]
    assert not stale, "python -m tests.helpers.generated_pages"


def test_no_docstring_has_an_example_that_is_not_a_block() -> None:
    for name in modules():
        assert not any(">>> " in docstring for docstring in docstrings(name)), name


def test_the_commands_of_readme_are_those_that_ci_runs() -> None:
    commands = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.M | re.S)[:2]
    ci = (ROOT / ".ci" / "run").read_text()
    assert len(commands) == 2
    assert all(command in ci for command in commands)
