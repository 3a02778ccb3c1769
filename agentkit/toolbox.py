"""Which tools a turn has: the run's own, those found on demand, and those that agentkit adds where needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentkit.effects import Plan, State
from agentkit.errors import ConfigurationError, ToolRetry
from agentkit.survey import FIND_TOOLS
from agentkit.tooling.registry import MAX_TOOLS
from agentkit.tooling.results import READ_ON, excerpt
from agentkit.tooling.search import ToolIndex
from agentkit.tooling.tool import Tool
from agentkit.wire.content import JsonObject

FOUND_AT_ONCE = 5
"""How many tools `find_tools` loads at the most."""


class Toolbox:
    """The tools of one run, turn by turn. Those declared first stay first: it is a stable prefix that caches hit."""

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self._always = [tool for tool in plan.tools.values() if not tool.on_demand]
        self._on_demand = {name: tool for name, tool in plan.tools.items() if tool.on_demand}
        if self._on_demand:
            self._always.append(Tool.of(self._find_tools, name=FIND_TOOLS))
        self._index: ToolIndex | None = None
        self._read_result: Tool | None = None
        self._chosen: Sequence[Tool] = self._always

    def choose(self, chosen: Any) -> None:
        """Take what the developer's function chose for the next turn: names, in any order; None is all.

        Raises:
            ConfigurationError: There is no tool of a name.
        """
        if chosen is None:
            self._chosen = self._always
            return
        if isinstance(chosen, str) or not isinstance(chosen, Iterable):
            raise ConfigurationError(
                f"choose_tools returned {chosen!r:.100}: return names of tools, or None."
            )
        names = {each.name if isinstance(each, Tool) else each for each in chosen}
        if unknown := names - self._plan.tools.keys():
            raise ConfigurationError(
                f"choose_tools returned {sorted(map(str, unknown))}; the tools are {list(self._plan.tools)}."
            )
        self._chosen = [
            *(tool for tool in self._always if tool.name in names or tool.name == FIND_TOOLS),
            *(tool for name, tool in self._on_demand.items() if name in names),
        ]

    def declared(self) -> dict[str, Tool]:
        """Give the tools that the next turn has, by name, in the order in which they are declared."""
        survey, output = self._state.survey, self._plan.output
        room = MAX_TOOLS - survey.cut - (output is not None and output.tool is not None)
        tools = {tool.name: tool for tool in self._chosen[:room]}
        if output is not None and output.tool is not None:
            tools[output.tool.name] = output.tool
            room += 1
        for name in survey.found:
            if name in self._on_demand and len(tools) < room:
                tools.setdefault(name, self._on_demand[name])
        if survey.cut:
            self._read_result = self._read_result or Tool.of(self._read_on, name=READ_ON)
            tools[READ_ON] = self._read_result
        return tools

    def every(self) -> Mapping[str, Tool]:
        """Give all tools that a call of an earlier turn may mean."""
        return {**self._plan.tools, **self.declared()}

    def _find_tools(self, query: str) -> list[JsonObject]:
        """Find more tools, by what they do; those found can be called from then on.

        Args:
            query: What is to be done, in a few words.
        """
        tools = list(self._on_demand.values())
        if self._index is None:
            self._index = ToolIndex([tool.declaration for tool in tools])
        found = [tools[position] for position in self._index.rank(query, FOUND_AT_ONCE)]
        if not found:
            raise ToolRetry(f"No tool fits {query!r}. Say it in other words.")
        return [{"name": tool.name, "description": tool.description} for tool in found]

    def _read_on(self, id: str, offset: int = 0) -> str:  # noqa: A002 - as the mark says
        """Read on in a result that was cut.

        Args:
            id: The id that the mark at the cut names.
            offset: The character to begin at, counted from 0.
        """
        whole = self._state.results.get(id)
        if whole is None and self._state.read_result is not None:
            whole = self._state.read_result(id)
        if whole is None:
            raise ToolRetry(f"No result is kept under {id!r}. Take the id from the mark at the cut.")
        if not 0 <= offset < len(whole):
            raise ToolRetry(
                f"The result has {len(whole)} characters: give an offset from 0 to {len(whole) - 1}."
            )
        return excerpt(whole, offset, self._plan.result_chars, key=id)
