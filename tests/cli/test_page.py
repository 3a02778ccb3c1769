"""The page about the command: its help texts are the command's own, and what it shows is what comes out."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest

from agentkit.cli.lint import RULES
from tests.cli.conftest import Agentkit
from tests.helpers.terminal import ROOT

PAGE = ROOT / "agentkit" / "docs" / "command.md"
HEADING = "## Help texts\n"
HELP = [
    [],
    *([name] for name in ("run", "chat", "sessions", "tools", "doctor", "web", "serve", "worker")),
    *(
        ["sessions", name]
        for name in ("list", "show", "search", "export", "import", "fork", "rename", "rm", "check")
    ),
    *(["tools", name] for name in ("list", "show", "call", "lint")),
    ["mcp", "serve"],
    *(["tasks", name] for name in ("list", "show", "watch", "cancel", "retry", "decide")),
]


@pytest.mark.skipif(
    int(version("typer").split(".")[1]) < 29, reason="an older typer lays help out differently"
)
def test_the_help_texts_on_the_page_are_those_of_the_command(agentkit: Agentkit) -> None:
    """Put them there where they aren't: then it fails once, and the page is to be looked at."""
    texts = [f"```text\n{agentkit(*words, '--help').out.rstrip()}\n```\n" for words in HELP]
    page = PAGE.read_text()
    wanted = page.partition(HEADING)[0] + HEADING + "\n" + "\n".join(texts)
    if page != wanted:
        PAGE.write_text(wanted)
    assert page == wanted, "The help texts were put on the page anew."


def test_every_rule_of_lint_is_on_the_page() -> None:
    assert re.findall(r"^\| `([a-z]+-[a-z-]+)` \|", PAGE.read_text(), re.M) == list(RULES)


@pytest.mark.slow
def test_commands_on_the_page_print_what_it_says(agentkit: Agentkit, folder: Path) -> None:
    page = PAGE.read_text()
    for code in re.findall(r"^```python\n(# (\S+)\n.*?)^```$", page, re.M | re.S):
        (folder / code[1]).write_text(code[0])
    ran = 0
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S):
        for command, printed in re.findall(r"^\$ agentkit (.*)\n((?:[^$].*\n)*)", block, re.M):
            assert agentkit(*shlex.split(command))[:2] == (0, printed), command
            ran += 1
    assert ran == 3
