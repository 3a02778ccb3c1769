"""A folder to work in, with a file of functions and a file of scripted agents, and the command in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agentkit.cli.main import main

TOOLS = '''
"""Ten functions."""
import time

def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b

def reverse(text: str) -> str:
    """Reverse a text."""
    return text[::-1]

def shout(text: str) -> str:
    """Write a text in capitals."""
    return text.upper()

def words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())

def slow(seconds: float) -> str:
    """Wait so many seconds."""
    time.sleep(seconds)
    return "waited"

def fail(why: str) -> str:
    """Fail always."""
    raise ValueError(why)

def hostile() -> str:
    """Return what steers a terminal."""
    return "\\x1b]0;pwned\\x07\\x1b[2Jred"

def table(rows: int) -> list[dict[str, int]]:
    """Make a table."""
    return [{"n": n, "square": n * n} for n in range(rows)]

def delete_file(path: str) -> str:
    """Delete a file."""
    return f"deleted {path}"

def chatty(text: str) -> str:
    """Print something, and return it."""
    print("printed by the tool")
    return text

def untyped(x):
    return x

def _private(x: int) -> int:
    return x
'''

AGENTS = '''
import time
from pathlib import Path
from agentkit import Agent, ToolDeferred, tool
from agentkit.testing.scripted import ScriptedModel, call, fault, reply
import tools_file

@tool(effect="write", approval=True)
def pay(to: str, amount: float) -> str:
    """Pay somebody."""
    with Path("paid.txt").open("a") as file:
        file.write(f"{to} {amount}\\n")
    return f"paid {amount} to {to}"

@tool(effect="write")
def order(n: int) -> str:
    """Order something, which takes a while."""
    with Path("ordered.txt").open("a") as file:
        file.write(f"{n}\\n")
    time.sleep(300)
    return f"ordered {n}"

@tool(effect="read")
def ask_boss(question: str) -> str:
    """Ask the boss, who answers later."""
    raise ToolDeferred("the boss is out")

MARKDOWN = """# Title

Some **bold** text.

```python
print(1)

print(2)
```

- one
- two

first line
second line

日本語 <b>html</b> [link](http://example.com) end"""
SCRIPT = {
    "add": lambda: [call("add", a=1, b=2), call("reverse", text="abc")],
    "pay": lambda: ["Paying.", call("pay", to="Bob", amount=500.0)],
    "two": lambda: [call("pay", to="Bob", amount=1.0), call("pay", to="Eve", amount=2.0)],
    "order": lambda: call("order", n=3),
    "boss": lambda: call("ask_boss", question="May I?"),
    "slow": lambda: call("slow", seconds=300),
    "hostile": lambda: ["\\x1b]0;pwned\\x07\\x1b[2Jtext ", call("hostile"), call("no\\x1b[31mpe", x="\\x1b[2J")],
    "fail": lambda: call("fail", why="it \\x1b[2Jbroke"),
    "chatty": lambda: call("chatty", text="said"),
    "outage": lambda: fault(400, "bad \\x1b[2Jrequest"),
    "blocked": lambda: reply("", finish_reason="SAFETY"),
    "markdown": lambda: MARKDOWN,
    "helper": lambda: call("helper", request="add"),
    "think": lambda: print("Thinking.", flush=True) or time.sleep(300) or "thought",
}

def said(request):
    for content in reversed(request["contents"]):
        texts = [part["text"] for part in content["parts"] if "text" in part]
        if content["role"] == "user" and texts:
            return "".join(texts)

def answer(request):
    responses = [p["functionResponse"] for p in request["contents"][-1]["parts"] if "functionResponse" in p]
    if responses:
        return "Result: " + "; ".join(str(each["response"].get("output", each["response"])) for each in responses)
    asked = said(request)
    return SCRIPT[asked]() if asked in SCRIPT else f"You said: {asked}"

def scripted(*tools):
    return Agent(ScriptedModel([answer] * 500), tools=list(tools), name="scripted")

inner = scripted(tools_file.add, tools_file.reverse)
agent = scripted(
    tools_file.add, tools_file.reverse, tools_file.slow, tools_file.fail, tools_file.hostile, tools_file.chatty,
    pay, order, ask_boss, inner.as_tool(name="helper", description="Helps."),
)

def maker() -> Agent:
    return scripted(tools_file.add)

def bare():
    return scripted(tools_file.add)

def broken() -> Agent:
    raise RuntimeError("no luck")

def wrong() -> Agent:
    return 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with two files; nothing of them stays in this process."""
    (tmp_path / "tools_file.py").write_text(TOOLS)
    (tmp_path / "agents.py").write_text(AGENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("AGENTKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    before, logger = set(sys.modules), logging.getLogger("agentkit")
    handlers, propagate = list(logger.handlers), logger.propagate
    yield tmp_path
    logger.handlers, logger.propagate = handlers, propagate
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


class Done(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


Agentkit = Callable[..., Done]


@pytest.fixture
def agentkit(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Agentkit:
    """Run the command in this process."""

    def run(*args: str, stdin: str | None = None) -> Done:
        file = folder / "stdin.txt"
        file.write_text(stdin or "")
        with file.open() as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            code = main(list(args))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run
