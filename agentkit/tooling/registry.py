"""Many tools by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, overload

from typing_extensions import Unpack

from agentkit.errors import ConfigurationError, ToolDefinitionError
from agentkit.tooling.signature import place_of
from agentkit.tooling.tool import F, Tool, ToolOptions
from agentkit.wire.content import FunctionDeclaration

MAX_TOOLS = 512
"""Declarations that one request may have (rule 7)."""


class ToolRegistry:
    """A collection of tools, in the order in which they were added. Give it to an agent as it is.

    Fill it before you give it away: an agent reads it once, when it is made (and `run(tools=...)` when the
    run is), so that what is added later isn't seen there.
    """

    def __init__(self, name: str = "tools") -> None:
        self.name = name
        self._tools: dict[str, Tool] = {}

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(self, /, **options: Unpack[ToolOptions]) -> Callable[[F], F]: ...

    def tool(self, function: Any = None, /, **options: Unpack[ToolOptions]) -> Any:
        """Add a function and give it back as it is: `@registry.tool` or `@registry.tool(effect="write", ...)`.

        Raises:
            ToolDefinitionError: It can't be declared, or its name is taken.
        """
        if function is None:
            return partial(self.tool, **options)
        self.add(function, **options)
        return function

    def add(self, source: Callable[..., Any] | Tool, /, **options: Unpack[ToolOptions]) -> Tool:
        """Add a callable or a tool; options given here win.

        Raises:
            ToolDefinitionError: It can't be declared, or its name is taken.
        """
        made = Tool.of(source, **options)
        _put(self._tools, made)
        return made

    def remove(self, name: str) -> Tool:
        """Take a tool out.

        Raises:
            ConfigurationError: There is none of that name.
        """
        self._require([name])
        return self._tools.pop(name)

    def get(self, name: str) -> Tool | None:
        """Find a tool by name, or None."""
        return self._tools.get(name)

    @property
    def function_declarations(self) -> list[FunctionDeclaration]:
        """The declarations of all tools, wire JSON."""
        return [made.declaration for made in self]

    def select(
        self, *, names: Iterable[str] | None = None, tags: Iterable[str] | None = None
    ) -> ToolRegistry:
        """Make a registry of those tools that have one of the names and one of the tags; None is any.

        Raises:
            ConfigurationError: There is no tool of a name given.
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

    def prefixed(self, prefix: str) -> ToolRegistry:
        """Make a registry of the same tools under the names `prefix_name`."""
        return self._new(made.replace(name=f"{prefix}_{made.name}") for made in self)

    def on_demand(self) -> ToolRegistry:
        """Make a registry of the same tools, not declared until the model finds them with the tool `find_tools`.

        For hundreds of tools: what was found is declared from then on, behind what is always there.
        """
        return self._new(made.replace(on_demand=True) for made in self)

    def merge(self, *others: Iterable[Tool]) -> ToolRegistry:
        """Make a registry of these tools and those of other registries.

        Raises:
            ToolDefinitionError: A name is there twice. (`prefixed` tells them apart.)
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
        made = ToolRegistry(self.name)
        for each in tools:
            _put(made._tools, each)
        return made

    def _require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._tools:
                known = ", ".join(self._tools) or "none"
                raise ConfigurationError(f"The registry {self.name!r} has no tool {name!r}. It has: {known}.")


def collect(tools: Any) -> dict[str, Tool]:
    """Make tools of what a user gives an agent, by name, in order.

    That is one of, or an iterable of: functions and other callables, tools, registries and other iterables
    of these, and pairs `(function declaration, handler)`.

    Raises:
        ToolDefinitionError: Something is none of these, can't be declared, or a name is there twice.
    """
    found: dict[str, Tool] = {}
    _collect(tools, found)
    return found


def _collect(source: Any, found: dict[str, Tool]) -> None:
    if isinstance(source, Tool):
        _put(found, source)
    elif _is_google(source, "FunctionDeclaration") or isinstance(source, dict):
        raise ToolDefinitionError(
            f"A function declaration needs a handler: give the pair (declaration, handler), not {source!r:.200}."
        )
    elif isinstance(source, tuple) and len(source) == 2 and _is_declaration(source[0]):
        _put(found, Tool.from_declaration(source[0], source[1]))
    elif callable(source):
        _put(found, Tool.of(source))
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes)) and not _is_google(source):
        for item in source:
            _collect(item, found)
    else:
        mend = "functions, Tools, ToolRegistries or pairs (function declaration, handler)"
        if _is_google(source, "Tool"):
            mend = "each of its function_declarations as a pair (declaration, handler)"
        raise ToolDefinitionError(f"tools= can't take {type(source).__name__} {source!r:.200}. Give {mend}.")


def _put(tools: dict[str, Tool], made: Tool) -> None:
    other = tools.get(made.name)
    if other is not None:
        raise ToolDefinitionError(
            f"{place_of(made.function)}: there is a tool {made.name!r} already, {place_of(other.function)}."
            " Give one of them another name=, or put its registry's .prefixed(...) in its place."
        )
    if not made.on_demand and sum(not each.on_demand for each in tools.values()) >= MAX_TOOLS:
        raise ToolDefinitionError(
            f"{place_of(made.function)}: Gemini takes at most {MAX_TOOLS} tools in a request. Select fewer, or"
            " let the model find them: registry.on_demand()."
        )
    tools[made.name] = made


def _is_declaration(value: Any) -> bool:
    return isinstance(value, dict) or _is_google(value, "FunctionDeclaration")


def _is_google(value: Any, name: str | None = None) -> bool:
    kind = type(value)
    return kind.__module__.startswith("google.genai") and (name is None or kind.__name__ == name)
