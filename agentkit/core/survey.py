"""What a history says of the tools and models that made it, read once for each content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit.tooling.results import READ_ON
from agentkit.tooling.tool import Tool
from agentkit.wire.content import Content, FunctionResponse, model_of

FIND_TOOLS = "find_tools"
"""The tool that loads tools on demand."""
ACCEPTED = "accepted"
"""What the tool for structured output answers."""
_MARK = f"; {READ_ON}(id="


@dataclass(slots=True)
class Survey:
    """What is known of the first `upto` contents of a history."""

    upto: int = 0
    answered: dict[str, bool] = field(default_factory=dict)
    """Tools whose words are in the history, in order; true if they returned something."""
    found: dict[str, None] = field(default_factory=dict)
    """Tools that came to be needed: those on demand that were found, and `READ_ON` from the first result that was
    cut. In order, so that each is declared behind those before it."""
    models: set[str] = field(default_factory=set)
    """The models whose replies are known to be there."""

    def read(self, contents: Sequence[Content]) -> None:
        """Take in what was added since; a history that has become shorter is read anew."""
        if len(contents) < self.upto:
            self.upto, self.answered, self.found, self.models = 0, {}, {}, set()
        for content in contents[self.upto :]:
            if model := model_of(content):
                self.models.add(model)
            for part in content["parts"]:
                if "functionResponse" in part:
                    self._take(part["functionResponse"])
        self.upto = len(contents)

    def _take(self, response: FunctionResponse) -> None:
        output: Any = response["response"].get("output")
        name = response["name"]
        if output != ACCEPTED or "parts" in response:
            self.answered[name] = self.answered.get(name, False) or output is not None
        if name == FIND_TOOLS and isinstance(output, dict):  # with a note: a hook has changed the query
            output = output.get("result")
        if name == FIND_TOOLS and isinstance(output, list):
            names = (item.get("name") for item in output if isinstance(item, dict))
            self.found |= {found: None for found in names if isinstance(found, str)}
        if isinstance(output, str) and _MARK in output[-300:]:
            self.found[READ_ON] = None

    def untrusted(self, tools: Mapping[str, Tool]) -> str | None:
        """Name a tool whose words are in the history and may be a stranger's; so may those of one that is gone."""
        for name, returned in self.answered.items():
            if tools[name].untrusted if name in tools else returned and name not in (FIND_TOOLS, READ_ON):
                return name
        return None

    def copy(self) -> Survey:
        """Make a copy of its own, for a run that may come to nothing."""
        return Survey(self.upto, dict(self.answered), dict(self.found), set(self.models))
