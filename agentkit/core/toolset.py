"""Which tools a turn has: the run's own, those found on demand, and those that agentkit adds where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentkit.core.history import CALLED, History
from agentkit.errors import AgentError, ConfigurationError, ToolRetry
from agentkit.events import ToolsLeftOut
from agentkit.output import OutputTaker
from agentkit.tooling.context import Context
from agentkit.tooling.names import FIND_TOOLS, READ_RESULT
from agentkit.tooling.registry import MAX_TOOLS, Toolbox
from agentkit.tooling.results import excerpt
from agentkit.tooling.sources import ToolSource
from agentkit.tooling.tool import Tool
from agentkit.wire.content import Content, EncodedList, JsonObject, calls_of, dumps

if TYPE_CHECKING:
    from agentkit.tooling.search import ToolIndex

FOUND_AT_ONCE = 5
"""How many tools `find_tools` loads at the most."""


class _Unfound:
    """Takes no arguments for a tool that was not found yet."""

    def bind(self, args: JsonObject, context: Context[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Tell the model to call the tool again: from now on it is declared."""
        raise ToolRetry(
            f"The tool {context.tool_name!r} was not loaded. Now it is: call it again, as its declaration says."
        )


class ToolSet:
    """The tools of one run, turn by turn. Those declared first stay first: it is a stable prefix that caches hit.

    Args:
        toolbox: All that the run may ever call, those on demand too, and what gives it more.
        output: Takes the structured output, perhaps by a tool of its own.
        history: Says which tools on demand were found.
        max_chars: How much JSON of a result the model gets at once.
    """

    def __init__(
        self, toolbox: Toolbox, *, output: OutputTaker[Any] | None, history: History, max_chars: int
    ) -> None:
        self.sources = [*toolbox.sources]
        """What is asked for more tools."""
        self.max_chars = max_chars
        self.results: dict[str, str] = {}
        """The whole of results that were cut, by the call's id."""
        self.failures: dict[str, int] = {}
        """How often each has failed in a row."""
        self.read_stored: Callable[[str], str | None] | None = None
        """Reads one that a store has."""
        self._output = output
        self._history = history
        self._own = toolbox.tools
        self._told: set[ToolsLeftOut] = set()
        self._finder: Tool | None = None
        self._reader: Tool | None = None
        self._added: tuple[JsonObject, list[Tool], JsonObject] = ({}, [], {})
        self._have(toolbox.tools)

    def _have(self, tools: Mapping[str, Tool]) -> None:
        """Have these tools from now on."""
        self.all = tools
        self._always = [tool for tool in tools.values() if not tool.on_demand]
        self._on_demand = {name: tool for name, tool in tools.items() if tool.on_demand}
        if self._on_demand:
            self._finder = self._finder or Tool.of(self._find_tools, name=FIND_TOOLS, effect="read")
            self._always.append(self._finder)
        self._index: ToolIndex | None = None
        self._chosen = self._all_chosen = {tool.name: tool for tool in self._always}

    @property
    def polling(self) -> set[str]:
        """Tools whose calls don't count as repeats."""
        return {name for name, tool in self.all.items() if tool.polls}

    def ask_sources(self) -> list[Iterable[Tool] | Exception]:
        """Return the tools that each source gives now, or what it raised. It may block."""
        said: list[Iterable[Tool] | Exception] = []
        for source in self.sources:
            try:
                said.append([*source.tools()])
            except Exception as error:
                said.append(error)
        return said

    def take(self, said: Sequence[Iterable[Tool] | Exception]) -> list[ToolsLeftOut]:
        """Have what the sources gave; return what is left out of it and wasn't told yet."""
        found, left_out, kept = dict(self._own), list[ToolsLeftOut](), list[ToolSource]()
        reserved = {READ_RESULT, FIND_TOOLS}
        if self._output is not None and self._output.tool is not None:
            reserved.add(self._output.tool.name)
        for source, tools in zip(self.sources, said, strict=True):
            if isinstance(tools, Exception):
                reason = str(tools) if isinstance(tools, AgentError) else type(tools).__name__
                left_out.append(ToolsLeftOut(source.name, reason))
                continue
            kept.append(source)
            for tool in tools:
                if tool.name in reserved or found.setdefault(tool.name, tool) is not tool:
                    left_out.append(ToolsLeftOut(source.name, f"There is a tool {tool.name!r} already."))
        self.sources = kept
        if found != self.all:  # compared as objects
            self._have(found)
        new = [each for each in left_out if each not in self._told]
        self._told.update(new)
        return new

    def choose(self, chosen: Any) -> None:
        """Take what the developer's function chose for the next turn: names, in any order; None is all.

        Raises:
            ConfigurationError: There is no tool of a name.
        """
        if chosen is None:
            self._chosen = self._all_chosen
            return
        if isinstance(chosen, str) or not isinstance(chosen, Iterable):
            raise ConfigurationError(
                f"choose_tools returned {chosen!r:.100}: return names of tools, or None."
            )
        names = [each.name if isinstance(each, Tool) else each for each in chosen]
        if unknown := [name for name in names if not isinstance(name, str) or name not in self.all]:
            raise ConfigurationError(
                f"choose_tools returned {unknown!r:.200}; the tools are {list(self.all)!r:.2000}."
            )
        named = (tool for tool in self._always if tool.name in names or tool.name == FIND_TOOLS)
        found = (tool for name, tool in self._on_demand.items() if name in names)
        self._chosen = {tool.name: tool for tool in (*named, *found)}

    def need(self, names: Iterable[str]) -> None:
        """Declare tools from now on, unless the developer's function chooses: those on demand as if they were found."""
        if self._chosen is self._all_chosen:
            self._history.need((name for name in names if name in self._on_demand), FIND_TOOLS)

    def declared(self) -> dict[str, Tool]:
        """Return the tools that the next turn has, by name, in the order in which they are declared.

        Raises:
            ConfigurationError: They are more than a request takes.
        """
        tools = self._chosen.copy()
        if self._output is not None and self._output.tool is not None:
            tools[self._output.tool.name] = self._output.tool
        if len(tools) > MAX_TOOLS:
            raise ConfigurationError(
                f"{len(tools)} tools are to be declared, those that agentkit adds included; Gemini takes {MAX_TOOLS}"
                " in a request. Choose fewer, or let the model find them: registry.on_demand()."
            )
        if self._history.found and (self._on_demand or READ_RESULT in self._history.found):
            for name in self._needed(MAX_TOOLS - len(tools)):
                tools.setdefault(
                    name, self._on_demand[name] if name in self._on_demand else self._read_tool()
                )
        return tools

    def _needed(self, room: int) -> list[str]:
        """List what the history says is needed; of tools that were found the newest, where they are too many."""
        by = {FIND_TOOLS, *(tool.name for tool in self.all.values() if tool.loads)}
        if self._chosen is self._all_chosen:
            by.add(CALLED)  # what was called stays declared (rule 16), if nobody chooses
        needed = [
            name
            for name, named_by in self._history.found.items()
            if name == READ_RESULT or (name in self._on_demand and not by.isdisjoint(named_by))
        ]
        too_many = len(needed) - room
        older = [name for name in needed if name != READ_RESULT][: max(0, too_many)]
        return [name for name in needed if name not in older][:room]

    def _read_tool(self) -> Tool:
        self._reader = self._reader or Tool.of(self._read_on, name=READ_RESULT, effect="read")
        return self._reader

    def added_to(self, base: JsonObject, tools: Mapping[str, Tool]) -> JsonObject:
        """Add the declarations of tools to a request; while both are the same, so is what is returned."""
        of = list(tools.values())
        if self._added[0] is not base or self._added[1] != of:
            made = {**base}
            if tools:
                declared = {"functionDeclarations": [tool.declaration for tool in tools.values()]}
                others = base.get("tools", ())
                encoded = b",".join([tool.encoded for tool in tools.values()])
                encoded = b",".join([b'{"functionDeclarations":[' + encoded + b"]}", *map(dumps, others)])
                made["tools"] = EncodedList([declared, *others], b"[" + encoded + b"]")
            self._added = (base, of, made if self._output is None else self._output.request(made))
        return self._added[2]

    def known(self, declared: Mapping[str, Tool], content: Content) -> Mapping[str, Tool]:
        """Return the tools that the calls of a turn may mean; one that isn't found yet tells how to find it."""
        if not self._on_demand:
            return declared
        called = {call["name"] for call in calls_of(content)} & self._on_demand.keys() - declared.keys()
        return {**declared, **{name: replace(self._on_demand[name], binder=_Unfound()) for name in called}}

    def every(self) -> Mapping[str, Tool]:
        """Return all tools that a call of an earlier turn may mean."""
        return {**self.all, **self.declared()}

    def _find_tools(self, query: str) -> list[JsonObject]:
        """Find more tools, by what they do; those found can be called from then on.

        Args:
            query: What is to be done, in a few words.
        """
        tools = list(self._on_demand.values())
        if self._index is None:
            from agentkit.tooling.search import ToolIndex

            self._index = ToolIndex([tool.declaration for tool in tools])
        found = [tools[position] for position in self._index.rank(query, FOUND_AT_ONCE)]
        if not found:
            raise ToolRetry(f"No tool fits {query!r}. Say it in other words.")
        # a result that is cut names no tools
        room = max(0, self.max_chars // (2 * FOUND_AT_ONCE) - 200)
        return [{"name": tool.name, "description": tool.description[:room]} for tool in found]

    def _read_on(self, id: str, offset: int = 0) -> str:
        """Read on in a result that was cut.

        Args:
            id: The id that the mark at the cut names.
            offset: The character to begin at, counted from 0.
        """
        whole = self.results.get(id)
        if whole is None and self.read_stored is not None:
            whole = self.read_stored(id)
        if whole is None:
            raise ToolRetry(
                f"No result is kept under {id!r:.200}. Take the id from the mark at the cut, as it stands there; if"
                " it does, the rest is not kept any more: call the tool again that it is of."
            )
        if not 0 <= offset < len(whole):
            raise ToolRetry(
                f"The result has {len(whole)} characters: give an offset from 0 to {len(whole) - 1}."
            )
        return excerpt(whole, offset, self.max_chars, key=id)
