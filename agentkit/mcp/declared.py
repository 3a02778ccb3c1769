"""From what a server declares to the tools of a run: which, under what names, and how a run treats them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.tooling.tool import Effect

MAX_LISTED, MAX_TOOLS = 10_000, 1_000
"""Of a server's tools: so many are read, and so many of those that are wanted are used, with a warning."""
MAX_DESCRIPTION = 4_000
"""Characters of a description that are declared."""
MANY = 100
"""Tools of a server up to which all are declared, where nobody says otherwise."""


def patterns_in(value: str | Iterable[str] | None, what: str) -> tuple[str, ...] | None:
    """Read patterns of names, one or several; None where there are none.

    Raises:
        ConfigurationError: They are something else.
    """
    if value is None:
        return None
    found = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(each, str) for each in found):
        raise ConfigurationError(f"MCP({what}={value!r:.100}): give names or patterns such as 'read_*'.")
    return found


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether one of the patterns fits a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is made of the tools of a server."""

    allow: tuple[str, ...] | None
    deny: tuple[str, ...]
    approval: bool | tuple[str, ...] | None
    trusted: bool

    def has(self, tool: Any) -> bool:
        """Return whether a tool is one of those wanted, and one that can be called at all."""
        if tool.execution is not None and tool.execution.task_support == "required":
            return False
        allowed = self.allow is None or fits(tool.name, self.allow)
        return allowed and not fits(tool.name, self.deny)

    def needs_approval(self, tool: Any) -> bool:
        """Return whether a person must allow its calls: the developer says so, or the server, and nobody denies it."""
        if isinstance(self.approval, bool):
            return self.approval
        says_so = tool.annotations is not None and tool.annotations.destructive_hint is True
        return says_so or (self.approval is not None and fits(tool.name, self.approval))

    def effect(self, tool: Any) -> Effect | None:
        """Return the effect that was said. What would loosen a rule is believed of a trusted server alone."""
        hints = tool.annotations
        if hints is None:
            return None
        if hints.destructive_hint is True or hints.read_only_hint is False:
            return "write"
        return "read" if self.trusted and hints.read_only_hint is True else None


def description_of(tool: Any) -> str:
    """Return what the model reads of a tool."""
    text = (tool.description or tool.title or "").strip()
    return text if len(text) <= MAX_DESCRIPTION else f"{text[:MAX_DESCRIPTION]}..."


def fingerprint(tool: Any) -> str:
    """Return what changes when a declaration does."""
    said = tool.model_dump_json(include={"name", "title", "description", "input_schema", "annotations"})
    return hashlib.sha256(said.encode()).hexdigest()[:16]
