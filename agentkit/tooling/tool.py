"""A tool: a callable, how the model sees it, and how a run treats it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, overload

from typing_extensions import Unpack

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.callables import code_of, is_async, named_function, place_of
from agentkit.tooling.context import Context
from agentkit.tooling.foreign import effect_of
from agentkit.tooling.marks import Mark, is_in_class_body, mark_of, marked, restore
from agentkit.tooling.options import Approval as Approval
from agentkit.tooling.options import Effect as Effect
from agentkit.tooling.options import ToolOptions as ToolOptions
from agentkit.tooling.options import check_options, problem_of
from agentkit.tooling.raw import RawSignature, unhandled, wire_declaration
from agentkit.tooling.schema import CallSignature
from agentkit.tooling.signature import UnresolvedReference
from agentkit.wire.content import FunctionDeclaration, JsonObject, dumps

F = TypeVar("F", bound=Callable[..., Any])


class Binder(Protocol):
    """The way from a call's args to the arguments of a function."""

    def bind(self, args: JsonObject, context: Context[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Give positional and keyword arguments, or raise InvalidArguments."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool:
    """A callable that a model may call. Create one with `Tool.of` or `Tool.from_declaration`."""

    name: str
    """The name that the model calls."""
    function: Callable[..., Any] = field(repr=False)
    """The function that runs. Calling the tool calls it."""
    declaration: FunctionDeclaration = field(repr=False)
    """The declaration as it is sent to the model."""
    binder: Binder = field(repr=False)
    """Validates the arguments of a call."""
    effect: Effect | None = None
    """`read`: its calls may run in parallel, and again after a crash. `write`: it changes something. None: not stated.
    All but `read` run alone, in the order of the calls, and after a crash may have taken effect. Only `write` needs
    approval after untrusted words."""
    approval: Approval = False
    """Whether a person must approve a call, or a function of its arguments and context that says so."""
    timeout: float | None = None
    """Seconds that a call may take; `math.inf` means no limit, None the agent's default."""
    retries: int = 2
    """Failures in a row after which the next one is final: the model is told to stop."""
    tags: frozenset[str] = frozenset()
    """Words by which `ToolRegistry.select` finds it."""
    untrusted: bool = False
    """Whether its results may contain a stranger's words."""
    sensitive: bool = False
    """Whether its calls need approval once untrusted words are in the history."""
    on_demand: bool = False
    """Whether the model must find it with `find_tools` before it may call it."""
    polls: bool = False
    """Whether repeating a call with the same arguments is normal, as when polling a status."""
    interactive: bool = False
    """Whether it asks a person at the terminal. It is then called in the caller's thread, alone and without a timeout.
    """
    loads: bool = False
    """Whether its results load on-demand tools, by naming them as `{"tools": ["name", ...]}`."""

    def __post_init__(self) -> None:
        problem = problem_of(vars(self)) or _problem_of_code(self.function)
        if problem:
            raise ToolDefinitionError(f"{place_of(self.function)}: {problem}")

    @classmethod
    def of(cls, source: Callable[..., Any] | Tool, /, **options: Unpack[ToolOptions]) -> Tool:
        """Create a tool from a callable, or a changed copy of a tool.

        Options given here take precedence over those given to `@tool`.

        Raises:
            ToolDefinitionError: It can't be declared. The message names the parameter, the reason and what to do.
        """
        if isinstance(source, Tool):
            return source.replace(**options)
        if not callable(source):
            raise ToolDefinitionError(
                f"{source!r:.200} can't be a tool: it is not callable. Give a function."
            )
        mark = mark_of(source) or Mark({})
        if mark.tool is not None and mark.tool.function is source:  # functools.wraps copies the mark
            made: Tool = mark.tool
            return made.replace(**options)
        check_options(source, options)  # those of the mark were
        merged: ToolOptions = {**mark.options, **options}
        signature = CallSignature(source)
        name = merged.pop("name", None) or _name_of(source)
        description = merged.pop("description", None)
        description = signature.doc.description if description is None else description
        declaration: FunctionDeclaration = {"name": name}
        if description:
            declaration["description"] = description
        declaration["parametersJsonSchema"] = signature.schema
        return cls(
            name=name,
            function=source,
            declaration=declaration,
            binder=signature,
            **_as_fields(merged),
        )

    @classmethod
    def from_declaration(
        cls, declaration: Any, handler: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]
    ) -> Tool:
        """Create a tool from a function declaration and the callable that handles its calls.

        The declaration is a dict in either casing or a `google.genai.types.FunctionDeclaration`; its schema is sent
        unchanged. Declarations of MCP, Anthropic and OpenAI are accepted too. Only the names of arguments are
        checked (required, unknown). The handler gets them as keywords, and a parameter annotated with `Context` gets
        the context. Without a handler, the run stops at a call, which is then in `run.pending` with the kind
        `deferred`, and continues when it is resumed with the call's `Result`.

        Raises:
            ToolDefinitionError: It isn't a function declaration, or the handler isn't callable.
        """
        wire = wire_declaration(declaration)
        if handler is not None and not callable(handler):
            raise ToolDefinitionError(f"The handler of {wire['name']!r} is not callable: {handler!r:.200}.")
        function = unhandled if handler is None else handler
        made = cls(
            name=wire["name"],
            function=function,
            declaration=wire,
            binder=RawSignature(wire, function),
            effect="read" if handler is None else effect_of(declaration),  # that nothing is run has no effect
        )
        return made.replace(**options)

    def replace(self, **options: Unpack[ToolOptions]) -> Tool:
        """Return a copy with other options; without any, the tool itself, which never changes."""
        if not options:
            return self
        check_options(self.function, options)
        declaration = self.declaration
        if "name" in options:
            declaration = {**declaration, "name": options["name"]}
        if "description" in options:
            declaration = {**declaration, "description": options["description"]}
        return dataclasses.replace(self, declaration=declaration, **_as_fields(options))

    def bind(self, args: JsonObject, context: Context[Any]) -> Callable[[], Any]:
        """Validate the arguments of a call and return it, ready to run.

        Calling the result runs the function; for an async function it returns the coroutine.

        Raises:
            InvalidArguments: Some don't fit; all of them are listed.
        """
        positional, keywords = self.binder.bind(args, context)
        return functools.partial(self.function, *positional, **keywords)

    @property
    def description(self) -> str:
        """The description that the model reads; may be empty."""
        return self.declaration.get("description", "")

    @functools.cached_property
    def is_async(self) -> bool:
        """Whether the function returns an awaitable."""
        return is_async(self.function)

    @functools.cached_property
    def encoded(self) -> bytes:
        """The declaration as JSON, encoded on first use."""
        return dumps(self.declaration)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A value that changes when the declaration does."""
        return hashlib.sha256(self.encoded).hexdigest()[:32]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[F], F]: ...


def tool(function: Any = None, /, **options: Unpack[ToolOptions]) -> Any:
    """Mark a function as a tool, with options: `@tool` or `@tool(effect="write", ...)`.

    It remains a function. The options apply when it is given to an agent or a registry, also as a bound method.
    `tool(name="x")(f)` returns a separate function; `f` isn't changed.

    Raises:
        ToolDefinitionError: It can't be declared, or an option is invalid. What can't be checked yet (a method
            without its object, a name that is defined later) is checked when the tool is registered.
    """
    if function is None:
        return functools.partial(tool, **options)
    if isinstance(function, (staticmethod, classmethod)):
        made = _mark(function.__func__, options)
        return function if made is function.__func__ else type(function)(made)
    return _mark(function, options)


def _mark(function: Any, options: ToolOptions) -> Any:
    if not callable(function):
        raise ToolDefinitionError(
            f"@tool takes a function or options by name, e.g. @tool(name=...), not {function!r}."
        )
    check_options(function, options)
    before = mark_of(function)
    mark = Mark({**(before.options if before else {}), **options})
    made = marked(function, mark, copied=bool(options))
    if is_in_class_body(made):
        return made
    try:
        mark.tool = Tool.of(made)
    except UnresolvedReference:
        pass
    except Exception:
        restore(made, before)
        raise
    return made


def _as_fields(options: ToolOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in options.items() if name != "description"}
    if "tags" in fields:
        fields["tags"] = frozenset(fields["tags"])
    return fields


def _name_of(function: Any) -> str:
    function = named_function(function)
    return getattr(function, "__name__", None) or type(function).__name__


def _problem_of_code(function: Any) -> str | None:
    code = code_of(function)
    if any(map(inspect.isasyncgenfunction, code)):
        return "it is an async generator. Collect what it yields and return a list."
    if any(map(inspect.isgeneratorfunction, code)):
        return "it is a generator. Collect what it yields and return a list."
    if isinstance(getattr(function, "registry", None), MappingProxyType):
        return (
            "functools.singledispatch chooses by the type of an argument, which only its first function declares."
            " Write a function with a union of types around it."
        )
    return None
