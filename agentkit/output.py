"""Structured output: a value of the caller's type, instead of a text."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Final, Generic, Literal, cast, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypeVar

from agentkit.errors import ConfigurationError, ToolRetry
from agentkit.model import Model
from agentkit.tooling.annotations import make_typed_dict, supported
from agentkit.tooling.context import Context
from agentkit.tooling.corrections import correct
from agentkit.tooling.json_schema import JsonSchema, tidy
from agentkit.tooling.names import ACCEPTED, FIND_TOOLS, READ_RESULT
from agentkit.tooling.problems import describe_problems, reason_of
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool
from agentkit.wire.arguments import checked
from agentkit.wire.content import JsonObject, dumps
from agentkit.wire.text import unfence

T = TypeVar("T")
Mode = Literal["auto", "native", "tool"]


class _AsGiven:
    """Nothing is said of the output."""

    def __repr__(self) -> str:
        return "AS_GIVEN"


AS_GIVEN: Final[Any] = _AsGiven()
"""For `resume(output=...)`: the output that the run was given."""


class Output(Generic[T]):
    """The type of a run's output, and how to ask for it. `agent.run(..., output=Invoice)` is the short form.

    Args:
        type: Any type that pydantic validates: a model, dataclass, TypedDict, list, union, Literal and so on. For a
            type checker to see a union or a Literal, write `Output[A | B](A | B)`; so does mypy need it where the
            validator is a lambda.
        validator: A function (sync or async) of the value and the context that returns the value to use. It may
            raise `ToolRetry(message)`: the model is told and tries again; or `ToolError`: the run stops.
        retries: How often the model may try again after an invalid value.
        mode: `native`: the request has the JSON schema, and the reply's text is the value. `tool`: the model passes
            the value as the arguments of a tool. `auto`: native if the models support it together with the run's
            tools (Gemini 3 and later, rule 8), otherwise the tool. In either case `run.text` is the JSON, and the
            history ends with it.
        name: The name of that tool.
        description: What the value is, in words for the model; the type's docstring by default.

    Raises:
        ConfigurationError: There is no JSON schema for the type.
    """

    @overload
    def __init__(
        self,
        type: type[T],
        *,
        validator: Callable[[T, Context[Any]], T | Awaitable[T]] | None = None,
        retries: int = 2,
        mode: Mode = "auto",
        name: str = "final_result",
        description: str | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        type: Any,
        *,
        validator: Callable[[T, Context[Any]], T | Awaitable[T]] | None = None,
        retries: int = 2,
        mode: Mode = "auto",
        name: str = "final_result",
        description: str | None = None,
    ) -> None: ...

    @checked
    def __init__(
        self,
        type: Any,
        *,
        validator: Callable[[T, Context[Any]], T | Awaitable[T]] | None = None,
        retries: int = 2,
        mode: Mode = "auto",
        name: str = "final_result",
        description: str | None = None,
    ) -> None:
        if retries < 0:
            raise ConfigurationError(f"Output(retries={retries!r}): give a whole number, 0 or more.")
        if name in (FIND_TOOLS, READ_RESULT):
            raise ConfigurationError(
                f"Output(name={name!r}): agentkit has a tool of that name; give another."
            )
        self.type = type
        self.validator = validator
        self.retries = retries
        self.mode = mode
        self.name = name
        if isinstance(type, Mapping):
            raise ConfigurationError(
                f"output={type!r:.100}: give a type. For a JSON schema that is"
                " Annotated[dict[str, Any], pydantic.WithJsonSchema(schema)], with a validator= that holds it to it."
            )
        try:
            self.schema, self._adapter, self._wrapped = _schema_of(type)
        except Exception as error:
            raise ConfigurationError(
                f"output={type!r:.200}: there is no JSON schema for it ({reason_of(error)}) Give a type, not a value or"
                " its name: a pydantic model, a dataclass, list[int] and so on."
            ) from error
        if description is not None:
            self.schema = {**self.schema, "description": description}
        own = self.schema.get("description")
        self.description: str = own or "The final result: call it once, when you have all of it."

    def __repr__(self) -> str:
        return f"Output({getattr(self.type, '__name__', self.type)!s:.100})"

    @checked
    def parse(self, text: bytes | str) -> T:
        """Return the value of its JSON.

        Raises:
            InvalidArguments: It doesn't fit; every problem is listed.
        """
        if isinstance(text, str):
            text = unfence(text)[1].encode("utf-8", "replace")
        try:
            if b"NaN" in text or b"Infinity" in text:  # the validator takes them; JSON has none
                from_json(text, allow_inf_nan=False)
            made: Any = self._adapter.validate_json(text)
        except ValidationError as error:
            return self._parse_meant(text, error)
        except ValueError as error:
            raise InvalidArguments([f"it isn't valid JSON: {error}"]) from error
        return cast(T, made["result"] if self._wrapped else made)

    def _parse_meant(self, text: bytes, error: ValidationError) -> T:
        """Take what doesn't fit as it is meant, or say what is wrong with it."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            reason = error.errors()[0]["msg"].removeprefix("Invalid JSON: ")
            raise InvalidArguments([f"it isn't valid JSON: {reason}"]) from error
        if self._wrapped and not (isinstance(given, dict) and "result" in given):
            problem = 'give an object with the value in it: {"result": ...}'
            raise InvalidArguments([f"{problem} (got {text.decode(errors='replace'):.60})"]) from error
        meant = correct(error, given, self.schema) if isinstance(given, dict) else None
        if meant is not None:
            return self.parse(dumps(meant))
        raise InvalidArguments(describe_problems(error, given, self.schema.get("properties", ()))) from error

    @checked
    def so_far(self, text: str) -> Any:
        """Return the value so far, as plain JSON, while its text is still arriving; None if there is nothing yet.

        It only grows: a number appears only once it is complete.
        """
        try:
            made = from_json(
                text.rstrip("-.0123456789").encode("utf-8", "replace"), allow_partial="trailing-strings"
            )
        except ValueError:
            return None
        return made.get("result") if self._wrapped and isinstance(made, dict) else made


def validated(spec: Output[T], value: T) -> T:
    """Return what a validator returned. Raises ConfigurationError if it has forgotten to return anything."""
    if value is None and spec.validator is not None:
        try:
            spec.parse('{"result": null}')
        except InvalidArguments:
            raise ConfigurationError(
                f"The validator of {spec!r} returned None: have it return the value that is to be used."
            ) from None
    return value


def _schema_of(annotation: Any) -> tuple[JsonObject, TypeAdapter[Any], bool]:
    """Make the schema of an object: anything else is wrapped in one, as arguments of a tool must be."""
    annotation = supported(annotation, {})
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    schema = adapter.json_schema(schema_generator=JsonSchema)
    if ref := schema.get("$ref"):
        schema = {**schema["$defs"][ref.rpartition("/")[2]], "$defs": schema["$defs"]}
    wrapped = schema.get("type") != "object"
    if wrapped:
        adapter = TypeAdapter(make_typed_dict("Output", {"result": annotation}))
        schema = adapter.json_schema(schema_generator=JsonSchema)
    return tidy(schema), adapter, wrapped


Given = TypeVar("Given", default=Any)
OutputType = type[Given] | Output[Given] | UnionType | None
"""What an output may be given as; of `A | B`, only some type checkers see what it makes."""


class OutputTaker(Generic[T]):
    """Takes the output of one run."""

    def __init__(self, output: Output[T], *, native: bool) -> None:
        self.spec = output
        self.native = native
        self.tool = None if native else self._make_tool()
        self.value: T | None = None
        """The value, once there is one."""
        self._given: dict[str, tuple[T, str]] = {}

    def given(self, call_id: str) -> tuple[T, str] | None:
        """Return the value that a call of the tool gave, and its JSON."""
        return self._given.get(call_id)

    def request(self, base: JsonObject) -> JsonObject:
        """Add the schema to a request."""
        if not self.native:
            return base
        settings = {
            "responseMimeType": "application/json",
            "responseJsonSchema": self.spec.schema,
        }
        return {**base, "generationConfig": {**base.get("generationConfig", {}), **settings}}

    def _call(self, value: T, text: str, context: Context[Any]) -> Any:
        """Take what a call of the tool gave."""
        checked = value if self.spec.validator is None else self.spec.validator(value, context)
        if inspect.isawaitable(checked):
            return self._take_later(checked, text, context.call_id)
        return self._take(checked, text, context.call_id)

    async def _take_later(self, checked: Awaitable[T], text: str, call_id: str) -> str:
        return self._take(await checked, text, call_id)

    def _take(self, value: T, text: str, call_id: str) -> str:
        self._given[call_id] = (validated(self.spec, value), text)
        return ACCEPTED

    def _make_tool(self) -> Tool:
        spec = self.spec
        return Tool(
            name=spec.name,
            function=self._call,
            declaration={
                "name": spec.name,
                "description": spec.description,
                "parametersJsonSchema": spec.schema,
            },
            binder=_Binder(spec),
            effect="read",
            retries=spec.retries,
        )


class _Binder:
    def __init__(self, spec: Output[Any]) -> None:
        self._spec = spec

    def bind(self, args: JsonObject, context: Context[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Validate the value that the arguments are."""
        text = dumps(args)
        return [self._spec.parse(text), text.decode(), context], {}


def takes_schema(model: Model, *, with_tools: bool) -> bool:
    """Return whether a model takes a JSON schema for its reply (rule 8)."""
    return model.traits.json_schema and (model.traits.schema_with_tools or not with_tools)


@dataclass(frozen=True, slots=True)
class Misfit:
    """What is wrong with a reply that was to be an output."""

    told: str
    """That in words for the model."""
    why: str
    """That in words for a person."""

    @classmethod
    def of(cls, error: InvalidArguments | ToolRetry) -> Misfit:
        """Say what is wrong with JSON."""
        problems = error.problems if isinstance(error, InvalidArguments) else [str(error)]
        lines = "\n".join(f"- {problem}" for problem in problems)
        return cls(
            f"Your reply doesn't fit:\n{lines}\nGive the whole JSON again, mended, and nothing else.",
            f"The model's last reply doesn't fit the type that was asked for: {'; '.join(problems)}",
        )
