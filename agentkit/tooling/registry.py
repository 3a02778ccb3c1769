"""Many tools by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, overload

from pydantic import BaseModel
from typing_extensions import Unpack

from agentkit.errors import ConfigurationError, ToolDefinitionError
from agentkit.tooling.callables import place_of
from agentkit.tooling.options import Effect, problem_of
from agentkit.tooling.results import is_google
from agentkit.tooling.sources import ToolSource
from agentkit.tooling.tool import F, Tool, ToolOptions
from agentkit.wire.arguments import checked
from agentkit.wire.content import FunctionDeclaration, JsonObject
from agentkit.wire.convert import fields_of, to_wire

MAX_TOOLS = 512
"""Declarations that one request may have (rule 7)."""


class ToolRegistry:
    """A collection of tools, in the order in which they were added. Give it to an agent as it is.

    Fill it first: an agent reads it once, when it is created (or when the run starts, for `run(tools=...)`), so
    tools that are added later aren't seen.

    Args:
        name: For errors and logs.
        effect: The `effect` of each added tool that doesn't set its own.
    """

    def __init__(self, name: str = "tools", *, effect: Effect | None = None) -> None:
        if problem := problem_of({"effect": effect}):
            raise ToolDefinitionError(f"ToolRegistry({name!r}): {problem}")
        if not isinstance(name, str):
            raise ToolDefinitionError(f"ToolRegistry({name!r:.60}): give a name, or nothing.")
        self.name = name
        self.effect = effect
        self._tools: dict[str, Tool] = {}

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(self, /, **options: Unpack[ToolOptions]) -> Callable[[F], F]: ...

    @checked
    def tool(self, function: Any = None, /, **options: Unpack[ToolOptions]) -> Any:
        """Add a function and return it unchanged: `@registry.tool` or `@registry.tool(effect="write", ...)`.

        Raises:
            ToolDefinitionError: It can't be declared, or its name is taken.
        """
        if function is None:
            return partial(self.tool, **options)
        self.add(function, **options)
        return function

    @checked
    def add(self, source: Callable[..., Any] | Tool, /, **options: Unpack[ToolOptions]) -> Tool:
        """Add a callable or a tool. Options given here take precedence.

        Raises:
            ToolDefinitionError: It can't be declared, or its name is taken.
        """
        made = Tool.of(source, **options)
        if made.effect is None and self.effect is not None:
            made = made.replace(effect=self.effect)
        _put(self._tools, made)
        return made

    @checked
    def remove(self, name: str) -> Tool:
        """Remove a tool.

        Raises:
            ConfigurationError: There is no tool with this name.
        """
        self._require([name])
        return self._tools.pop(name)

    @checked
    def get(self, name: str) -> Tool | None:
        """Return the tool with this name, or None."""
        return self._tools.get(name)

    @property
    def function_declarations(self) -> list[FunctionDeclaration]:
        """The declarations of all tools, as they are sent."""
        return [made.declaration for made in self]

    @checked
    def select(
        self, *, names: str | Iterable[str] | None = None, tags: str | Iterable[str] | None = None
    ) -> ToolRegistry:
        """Return a registry of the tools that have one of the names and one of the tags; None is any.

        Raises:
            ConfigurationError: There is no tool with one of the names.
        """
        chosen = list(self)
        if names is not None:
            wanted = {names} if isinstance(names, str) else set(names)
            self._require(wanted)
            chosen = [made for made in chosen if made.name in wanted]
        if tags is not None:
            words = {tags} if isinstance(tags, str) else set(tags)
            chosen = [made for made in chosen if made.tags & words]
        return self._new(chosen)

    @checked
    def prefixed(self, prefix: str) -> ToolRegistry:
        """Return a registry of the same tools, named `prefix_name`."""
        return self._new(made.replace(name=f"{prefix}_{made.name}") for made in self)

    def on_demand(self) -> ToolRegistry:
        """Return a registry of the same tools, not declared until the model finds them with the tool `find_tools`.

        For hundreds of tools. What was found is declared from then on, after the tools that are always declared.
        """
        return self._new(made.replace(on_demand=True) for made in self)

    @checked
    def merge(self, *others: Iterable[Tool]) -> ToolRegistry:
        """Return a registry of these tools and those of other registries.

        Raises:
            ToolDefinitionError: Two tools have the same name. (`prefixed` tells them apart.)
        """
        return self._new(made for tools in (self, *others) for made in tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(list(self._tools.values()))

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __repr__(self) -> str:
        return f"ToolRegistry({self.name!r}: {', '.join(self._tools)})"

    def _new(self, tools: Iterable[Tool]) -> ToolRegistry:
        made = ToolRegistry(self.name, effect=self.effect)
        for each in tools:
            _put(made._tools, each)
        return made

    def _require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._tools:
                known = ", ".join(self._tools) or "none"
                raise ConfigurationError(f"The registry {self.name!r} has no tool {name!r}. It has: {known}.")


@dataclass(slots=True, eq=False)
class Toolbox:
    """What a user gives an agent as tools."""

    tools: dict[str, Tool] = field(default_factory=dict)
    """By name, in order."""
    servers: list[JsonObject] = field(default_factory=list)
    """Gemini's own, as `{"google_search": {}}`, in wire JSON."""
    sources: list[ToolSource] = field(default_factory=list)
    """What gives more of them when it is asked."""

    def known(self) -> tuple[Tool, ...]:
        """Return the tools as far as they are known without asking anybody."""
        found = dict(self.tools)
        for source in self.sources:
            for tool in source.known() or ():
                found.setdefault(tool.name, tool)
        return tuple(found.values())

    def load(self) -> dict[str, Tool]:
        """Return all tools, also those of the sources, which are asked now.

        Raises:
            AgentError: A source can't be reached.
            ToolDefinitionError: A name is there twice.
        """
        found = dict(self.tools)
        for source in self.sources:
            for tool in source.tools():
                _put(found, tool)
        return found


def toolbox_of(tools: Any) -> Toolbox:
    """Sort what a user gives an agent as tools.

    That is one of, or an iterable of: functions and other callables, tools, agents, registries and other iterables
    of these, function declarations and `types.Tool`s of them, pairs `(declarations, handler)`, Gemini's own tools,
    sources, and toolboxes. The calls of declarations without a handler come back unrun.

    Raises:
        ToolDefinitionError: Something is none of these, can't be declared, or a name is there twice.
    """
    box = Toolbox()
    _collect(tools, box)
    return box


def collect(tools: Any) -> dict[str, Tool]:
    """Make tools of what a user gives, by name, in order; sources are asked for theirs. See `toolbox_of`.

    Raises:
        ToolDefinitionError: As there, and where Gemini's own tools are among them.
        AgentError: A source can't be reached.
    """
    box = toolbox_of(tools)
    if box.servers:
        raise ToolDefinitionError(
            f"Only functions can be taken here; {min(box.servers[0])!r} of {tools!r:.200} is the server's own."
        )
    return box.load()


def _collect(source: Any, box: Toolbox) -> None:
    found = box.tools
    if isinstance(source, Tool):
        _put(found, source)
    elif isinstance(source, ToolSource):
        if source not in box.sources:
            box.sources.append(source)
    elif isinstance(source, Toolbox):
        box.servers += source.servers
        _collect([*source.tools.values(), *source.sources], box)
    elif own := _servers_own(source):
        box.servers.append(own)
        _collect({"functionDeclarations": fields_of(source).get("functionDeclarations", [])}, box)
    elif (declarations := _declarations_in(source)) is not None:
        for each in declarations:
            _put(found, Tool.from_declaration(each))
    elif isinstance(source, tuple) and len(source) == 2 and _is_handled(source[0], source[1]):
        for each in _declarations_in(source[0]) or source[0]:
            _put(found, _handled(each, source[1]))
    elif hasattr(type(source), "as_tool"):  # as an agent has
        _put(found, source.as_tool())
    elif callable(source):
        _put(found, Tool.of(source))
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes)) and not is_google(source):
        for item in source:
            _collect(item, box)
    else:
        if isinstance(source, ModuleType):
            name = source.__name__
            raise ToolDefinitionError(
                f"tools= can't take the module {name}. Give what is in it: from {name} import {name.rpartition('.')[2]}"
            )
        raise ToolDefinitionError(
            f"tools= can't take {type(source).__name__} {source!r:.200}. Give functions, Tools, ToolRegistries,"
            " agents, ToolSources such as MCP(...), function declarations or pairs (function declarations, handler)."
        )


def _servers_own(source: Any) -> JsonObject:
    """Return what of a `types.Tool`, or of a dict of its form, the server runs itself, in wire JSON."""
    if not (isinstance(source, dict) or (is_google(source) and type(source).__name__ == "Tool")):
        return {}
    own = {key: value for key, value in fields_of(source).items() if key != "functionDeclarations"}
    is_declaration = not own.keys().isdisjoint(("name", "type", "function"))
    if is_declaration or not all(isinstance(value, (Mapping, list, BaseModel)) for value in own.values()):
        return {}
    wire: JsonObject = to_wire(own)
    return wire


def _declarations_in(source: Any) -> list[Any] | None:
    """List the declarations that a value is, or that are in a `types.Tool` or a dict of its form; else None."""
    if isinstance(source, dict) or (is_google(source) and type(source).__name__ == "Tool"):
        fields = fields_of(source)
        if "functionDeclarations" not in fields and isinstance(source, dict):
            return [source]
        if others := sorted(fields.keys() - {"functionDeclarations"}):
            raise ToolDefinitionError(
                f"Only functions can be taken here; {others[0]!r} of {source!r:.200} is the server's own. Give it in"
                " Agent(tools=[...]), apart from function_declarations that have a handler."
            )
        return list(fields.get("functionDeclarations") or ())
    is_one = isinstance(source, BaseModel) and (
        type(source).__name__ == "FunctionDeclaration" or "inputSchema" in type(source).model_fields
    )
    return [source] if is_one else None


def _is_handled(declarations: Any, handler: Any) -> bool:
    """Return whether two values are declarations, one or many, and what is to handle their calls."""
    if _declarations_in(handler) is not None:
        return False
    if _declarations_in(declarations) is not None:
        return True
    many = isinstance(declarations, (list, tuple)) and bool(declarations)
    return many and callable(handler) and all(_declarations_in(each) is not None for each in declarations)


def _handled(declaration: Any, handler: Any) -> Tool:
    if handler is None:
        raise ToolDefinitionError(
            f"The handler of {declaration!r:.200} is not callable: None. Give the declaration alone to get its"
            " calls back unrun."
        )
    return Tool.from_declaration(declaration, handler)


def _put(tools: dict[str, Tool], made: Tool) -> None:
    other = tools.get(made.name)
    if other is not None:
        raise ToolDefinitionError(
            f"{place_of(made.function)}: there is a tool {made.name!r} already, {place_of(other.function)}."
            " Give one of them another name=, or put its registry's .prefixed(...) in its place."
        )
    many = not made.on_demand and len(tools) >= MAX_TOOLS
    if many and sum(not each.on_demand for each in tools.values()) >= MAX_TOOLS:
        raise ToolDefinitionError(
            f"{place_of(made.function)}: Gemini takes at most {MAX_TOOLS} tools in a request. Select fewer, or"
            " let the model find them: registry.on_demand()."
        )
    tools[made.name] = made
