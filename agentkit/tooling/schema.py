"""From a signature and a docstring to the JSON schema of the parameters and the validator of the arguments."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, get_args, get_origin

import typing_extensions
from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.errors import (
    PydanticInvalidForJsonSchema,
    PydanticSchemaGenerationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, SchemaError

from agentkit.errors import AgentError, ToolDefinitionError
from agentkit.tooling.annotations import (
    Undeclarable,
    is_typed_dict,
    make_typed_dict,
    supported,
    typed_dict_fields,
    unpacked,
)
from agentkit.tooling.callables import named_function, place_of
from agentkit.tooling.context import Context
from agentkit.tooling.corrections import correct
from agentkit.tooling.docstrings import Doc, read_docstring
from agentkit.tooling.fields import class_doc
from agentkit.tooling.json_schema import JsonSchema, plain_schema, set_default, tidy
from agentkit.tooling.problems import describe_problems, reason_of
from agentkit.tooling.signature import (
    Kind,
    Parameter,
    UnresolvedReference,
    read_signature,
)
from agentkit.wire.content import JsonObject, dumps

_CONFIG = ConfigDict(extra="forbid", val_json_bytes="base64", ser_json_bytes="base64", allow_inf_nan=False)
_NOTHING = inspect.Parameter.empty
_NO_SCHEMA = (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}
"""The schema of a tool without parameters: under mode ANY each declared function needs one (rule 14)."""

_log = logging.getLogger("agentkit")


class InvalidArguments(AgentError):
    """A call's arguments don't fit the tool's parameters.

    Attributes:
        problems: One line for each bad argument, for the model to read.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


def name_problem(name: str) -> str | None:
    """Say why Gemini takes no parameter of a name (rule 15), or None if it does."""
    if _NAME.fullmatch(name):
        return None
    return (
        "has a name that Gemini doesn't take: a letter or _, then letters, digits and _ (ASCII), at most 64."
    )


def refuse_bound(bound: Collection[str], args: JsonObject) -> None:
    """Refuse args that would replace what a partial has bound; `**kwargs` would let them through."""
    if bound and (taken := sorted(set(bound) & args.keys())):
        raise InvalidArguments([f"{name} is not a parameter" for name in taken])


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument that the model may give."""

    name: str
    wire_name: str
    annotation: Any
    required: bool
    default: Any
    plain: JsonObject | None = None
    """The schema, where the type is a plain one (see `plain_schema`)."""


class CallSignature:
    """What a function takes from the model: its JSON schema, and the way from a call's args to Python values.

    Attributes:
        schema: JSON Schema 2020-12 of the parameters; where there are none, an object without any (rule 14).
        doc: What the docstring says.

    Raises:
        UnresolvedReference: An annotation can't be resolved (yet).
        ToolDefinitionError: A parameter can't be declared.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._place = place_of(function)
        signature = read_signature(function)
        self._parameters, self._names, self._bound = signature.parameters, signature.names, signature.bound
        self._arguments: dict[str, _Argument] = {}
        self._extras: Any = _NOTHING
        self.doc = self._read_doc(function, signature.every)
        for parameter in self._parameters:
            if parameter.is_context:
                continue
            if parameter.kind is Kind.VAR_KEYWORD and unpacked(parameter.annotation) is None:
                self._extras = self._supported(parameter.name, parameter.annotation)
                continue
            for argument in self._arguments_of(parameter):
                self._add(argument)
        self._has_varargs = any(p.kind is Kind.VAR_POSITIONAL for p in self._parameters)
        self._by_keyword = not self._has_varargs and not any(
            p.is_context or p.kind is Kind.POSITIONAL_ONLY for p in self._parameters
        )
        self.schema = self._declare()

    def _read_doc(self, function: Callable[..., Any], every: set[str]) -> Doc:
        """Read the docstring; words on `**kwargs`, which the model has no parameter for, stay in the description."""
        open_ended = [p for p in self._parameters if p.kind is Kind.VAR_KEYWORD]
        unpack = [unpacked(p.annotation) for p in open_ended]
        keys = {key for each in unpack if is_typed_dict(each) for key in each.__annotations__}
        hidden = every - {p.name for p in open_ended}
        names = keys | {p.name for p in self._parameters if p.name in hidden and not p.is_context}
        named = named_function(function)
        if isinstance(named, type):
            return class_doc(named, names, hidden)
        doc = read_docstring(function, names, hidden)
        for each in filter(is_typed_dict, unpack):
            doc.parameters.update({**class_doc(each, keys).parameters, **doc.parameters})
        return doc

    def _add(self, argument: _Argument) -> None:
        name = argument.wire_name
        if name in self._arguments:
            raise self._error(name, "is there twice. Rename one of them.")
        if problem := name_problem(name):
            raise self._error(
                name, f'{problem} Rename it, or give it an alias: Annotated[..., Field(alias="...")].'
            )
        self._arguments[name] = argument

    def bind(self, args: JsonObject, context: Context[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Validate and coerce the args of a call into positional and keyword arguments.

        Raises:
            InvalidArguments: Some don't fit; all of them are listed.
        """
        values = self._validate(args)
        refuse_bound(self._bound, args)
        if self._by_keyword:  # as most are
            return [], values
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self._parameters:
            by_position = parameter.kind is Kind.POSITIONAL_ONLY or (
                parameter.kind is Kind.POSITIONAL_OR_KEYWORD and self._has_varargs
            )
            if parameter.kind is Kind.VAR_POSITIONAL:
                positional.extend(values.pop(parameter.name, ()))
            elif parameter.is_context:
                values[parameter.name] = context
            if by_position:
                positional.append(values.pop(parameter.name, parameter.default))
            elif parameter.name in values:
                keywords[parameter.name] = values.pop(parameter.name)
        return positional, keywords | values  # what is left belongs to **kwargs

    def _validate(self, args: JsonObject) -> dict[str, Any]:
        try:
            text = dumps(args)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArguments([f"the arguments aren't valid JSON: {error}"]) from error
        try:
            values: dict[str, Any] = self._adapter.validate_json(text)
        except ValidationError as error:
            meant = correct(error, args, self.schema)
            if meant is not None:
                return self._validate(meant)
            raise InvalidArguments(describe_problems(error, args, self._arguments)) from error
        return values

    def _arguments_of(self, parameter: Parameter) -> list[_Argument]:
        """List what the model may give for a parameter: one argument, or those of `**kwargs: Unpack[...]`."""
        name, default = parameter.name, parameter.default
        annotation = parameter.annotation
        inside = unpacked(annotation)
        if parameter.kind is Kind.VAR_KEYWORD:
            if not is_typed_dict(inside):
                raise self._error(name, "unpacks something other than a TypedDict. Give a TypedDict.")
            try:
                fields = typed_dict_fields(inside, self._names)
            except NameError as error:
                raise self._unresolved(name, error) from error
            return [
                self._argument(key, hint, _NOTHING, required=required)
                for key, (hint, required) in fields.items()
            ]
        if parameter.kind is Kind.VAR_POSITIONAL:
            annotation = list[annotation] if inside is None else inside  # type: ignore[valid-type]
            fixed = inside is not None and Ellipsis not in get_args(inside)
            return [self._argument(name, annotation, _NOTHING, required=fixed)]
        if isinstance(default, FieldInfo):
            annotation, default = Annotated[annotation, default], _NOTHING
        return [self._argument(name, annotation, default)]

    def _argument(
        self,
        name: str,
        annotation: Any,
        default: Any,
        *,
        required: bool = True,
    ) -> _Argument:
        # The keys of a TypedDict may be no identifiers; whether they can be declared, pydantic knows.
        plain = plain_schema(annotation, self.doc.parameters.get(name)) if name.isidentifier() else None
        if plain is not None:
            return _Argument(name, name, annotation, required and default is _NOTHING, default, plain)
        annotation = self._supported(name, annotation)
        info = FieldInfo.from_annotation(annotation)
        alias = info.validation_alias or info.alias
        if not isinstance(alias, (str, type(None))):
            raise self._error(
                name, f"has several names or a path for one, {alias!r}. Give one alias, a text."
            )
        extra: dict[str, Any] = {}
        if info.description is None and (words := _words_in(info.metadata) or self.doc.parameters.get(name)):
            extra["description"] = words
        if default is not _NOTHING and not info.is_required():
            extra["default"] = default  # the signature's default wins over that of Field
        if extra:
            annotation = Annotated[annotation, Field(**extra)]
        return _Argument(
            name=name,
            wire_name=alias or name,
            annotation=annotation,
            required=required and default is _NOTHING and info.is_required(),
            default=default,
        )

    def _supported(self, name: str, annotation: Any) -> Any:
        try:
            return supported(annotation, self._names)
        except Undeclarable as error:
            raise self._error(name, str(error)) from error
        except NameError as error:
            raise self._unresolved(name, error) from error

    def _error(self, name: str, reason: str) -> ToolDefinitionError:
        return ToolDefinitionError(f"{self._place}: parameter {name!r} {reason}")

    def _unresolved(self, name: str, error: NameError) -> UnresolvedReference:
        reason = (
            f"has a type in which a name can't be resolved: {error}. Define it before the tool is registered."
        )
        return UnresolvedReference(f"{self._place}: parameter {name!r} {reason}")

    def _declare(self) -> JsonObject:
        arguments = self._arguments.values()
        if self._extras is _NOTHING and all(argument.plain is not None for argument in arguments):
            schema: JsonObject = {"additionalProperties": False, "properties": {}}
            if required := [argument.wire_name for argument in arguments if argument.required]:
                schema["required"] = required
            schema["type"] = "object"
        else:
            schema = self._generate()
        for argument in arguments:
            if argument.plain is not None:
                schema["properties"][argument.wire_name] = argument.plain
            if argument.default is not _NOTHING:
                set_default(schema["properties"][argument.wire_name], argument.default)
        schema = tidy(schema)
        takes_any = bool(schema["properties"]) or schema["additionalProperties"] is not False
        return schema if takes_any else dict(NO_PARAMETERS)

    def _generate(self) -> JsonObject:
        """Have pydantic make the schema; what can't be declared is left out if it may be, and refused if not."""
        while True:
            try:
                return self._adapter.json_schema(schema_generator=JsonSchema)
            except Exception as error:
                self.__dict__.pop("_adapter", None)
                argument, own_error = self._find_fault(error)
                name = self._parameters[-1].name if argument is None else argument.name
                annotation = self._extras if argument is None else argument.annotation
                refusal = self._refuse(f"parameter {name!r}", annotation, own_error)
                if (argument is not None and argument.required) or not isinstance(own_error, _NO_SCHEMA):
                    raise refusal from error
                if argument is None:
                    self._extras = _NOTHING
                else:
                    del self._arguments[argument.wire_name]
                _log.warning("%s It needn't be given, so the model isn't told of it.", refusal)

    @cached_property
    def _adapter(self) -> TypeAdapter[dict[str, Any]]:
        """The validator, most of a tool's price. Where all types are plain, it can't fail and waits for a call.

        Should two threads make it at once, either will do.
        """
        return self._adapt(self._arguments.values(), self._extras)

    def _adapt(self, arguments: Iterable[_Argument], extras: Any = _NOTHING) -> TypeAdapter[dict[str, Any]]:
        # A TypedDict takes any name for a key, tells what was left out, and validates to a plain dict.
        fields = {
            a.name: a.annotation if a.required else typing_extensions.NotRequired[a.annotation]
            for a in arguments
        }
        shape = make_typed_dict("Arguments", fields)
        shape.__pydantic_config__ = ConfigDict(**_CONFIG, defer_build=True)
        if extras is not _NOTHING:
            shape = Annotated[shape, _Extras(extras)]
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(shape)
        adapter.rebuild(raise_errors=True, _types_namespace=self._names)
        return adapter

    def _find_fault(self, error: Exception) -> tuple[_Argument | None, Exception]:
        """Find the argument that can't be declared, and what is wrong with it alone."""
        for argument in self._arguments.values():
            try:
                self._adapt([argument]).json_schema(schema_generator=JsonSchema)
            except Exception as own_error:
                return argument, own_error
        return None, error

    def _refuse(self, what: str, annotation: Any, error: Exception) -> ToolDefinitionError:
        while get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        shown = inspect.formatannotation(annotation)
        if isinstance(error, NameError) or getattr(error, "code", "") == "class-not-fully-defined":
            return UnresolvedReference(
                f"{self._place}: {what} has the type {shown}, in which a name can't be resolved: {reason_of(error)}"
                " Define it before the tool is registered."
            )
        if isinstance(error, _NO_SCHEMA):
            return ToolDefinitionError(
                f"{self._place}: {what} has the type {shown}, for which there is no JSON schema ({reason_of(error)})"
                " Use types that JSON can carry (str, float, list, dict, a dataclass, a pydantic model, ...);"
                " what only your program has comes in through Context.deps."
            )
        reason = reason_of(error)
        if isinstance(error, SchemaError) and "regex" in str(error):
            reason = (
                f"its pattern can't be used: {reason}. Check it in the function, which may raise ToolRetry."
            )
        return ToolDefinitionError(f"{self._place}: {what} of type {shown} can't be declared: {reason}")


def _words_in(metadata: Iterable[Any]) -> str | None:
    """Find plain text, or PEP 727's `Doc`, in the metadata of `Annotated`."""
    for item in metadata:
        words = getattr(item, "documentation", item)
        if isinstance(words, str):
            return words
    return None


@dataclass(frozen=True, slots=True)
class _Extras:
    """Metadata that lets a TypedDict have more keys, with values of one type."""

    annotation: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        shape: Any = handler.resolve_ref_schema(schema)
        shape["extra_behavior"] = "allow"
        shape["extras_schema"] = handler.generate_schema(self.annotation)
        return schema
