"""Write what pages say of the code: the table of models, the reference, and `llms.txt`.

`python -m tests.helpers.generated_pages` writes them; a test holds that they are what the code says.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentkit
from agentkit.model import NO_TRAITS
from agentkit.traits import TABLE
from tests.helpers.pages import DOCS

ABSTRACT = (
    "> A function-calling agent framework for Gemini in Python: `pip install agentkit-gemini`, `import agentkit`."
    " Typed functions are tools; Agent(model, tools=[...]).run(question) calls the model and the tools until there"
    " is an answer; sync, and async under `.aio`."
)
GROUPS = {
    "agents": ("Agents and runs", ("Agent Run RunStopped Limits Usage Price Budget Spending"
        " RetryPolicy RateLimit Hooks Output Source")),
    "tools": (
        "Tools and decisions",
        ("tool Tool ToolRegistry ToolSource Context Media ToolRetry ToolError ToolDeferred"
        " PendingCall Approve Deny Edit Result"),
    ),
    "chats": (
        "Chats, stores, memory",
        "Chat ChatManager SQLiteStore PostgresStore MemoryStore LastTurns TokenBudget Summarize DropToolResults",
    ),
    "models": ("Models", "Model GeminiModel LocalModel"),
    "errors": ("Errors", ""),
}  # fmt: skip
MODULES = {
    "events": ("Events", "agentkit.events"),
    "testing": ("Testing", "agentkit.testing.scripted agentkit.testing.chaos"),
}


def reference() -> Iterator[tuple[Path, str]]:
    """Make a page for each group of public names, from their docstrings; what no group has goes to the errors."""
    grouped = {name for _, names in GROUPS.values() for name in names.split()}
    rest = [name for name in dir(agentkit) if name not in grouped and name != "__version__"]
    index = "# Reference\n\nMade from the docstrings.\n"
    for stem, (title, names) in GROUPS.items():
        listed = names.split() or rest
        body = "".join(f"\n::: {getattr(agentkit, name).__module__}.{name}\n" for name in listed)
        index += f"\n- [{title}]({stem}.md): {', '.join(f'`{name}`' for name in listed)}"
        yield DOCS / "reference" / f"{stem}.md", f"# {title}\n{body}"
    for stem, (title, modules) in MODULES.items():
        body = "".join(f"\n::: {module}\n" for module in modules.split())
        index += f"\n- [{title}]({stem}.md)"
        yield DOCS / "reference" / f"{stem}.md", f"# {title}\n{body}"
    yield DOCS / "reference" / "index.md", index + "\n"


def models() -> str:
    """Make the table of models: what each family has that is not what agentkit takes for granted."""
    lines = ["| names that begin with | what holds | seen | source |", "|---|---|---|---|"]
    for row in TABLE:
        differs = [
            f"`{field.name}`: {_shown(getattr(row.traits, field.name))}"
            for field in dataclasses.fields(row.traits)
            if getattr(row.traits, field.name) != getattr(NO_TRAITS, field.name)
        ]
        family = row.family.replace("\\b", "").replace("|", "\\|")
        lines.append(f"| `{family}` | {'; '.join(differs)} | {row.seen} | [docs]({row.source}) |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return ", ".join(f"`{each}`" for each in sorted(value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def rules() -> tuple[Path, str]:
    """Make the page of rules anew, with the table in it."""
    page = DOCS / "rules.md"
    text = re.sub(
        r"(<!-- made by [^\n]*-->\n).*?(<!-- until here -->)",
        lambda match: f"{match[1]}{models()}\n{match[2]}",
        page.read_text(),
        flags=re.S,
    )
    return page, text


def llms_txt() -> tuple[Path, str]:
    """List the pages for language models: https://llmstxt.org."""
    lines = [
        "# agentkit",
        "",
        ABSTRACT,
        "",
        "## Pages",
        "",
    ]
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), page.stem)
        lines.append(f"- [{title}]({page.relative_to(DOCS).as_posix()})")
    return DOCS / "llms.txt", "\n".join(lines) + "\n"


def generated() -> list[tuple[Path, str]]:
    """List what is generated, and what it ought to be."""
    return [*reference(), rules(), llms_txt()]


if __name__ == "__main__":
    for _ in range(2):  # the list of pages has those that were new
        for path, text in generated():
            path.write_text(text)
