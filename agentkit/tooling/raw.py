"""Raw function declarations: what the API takes, in any casing, with a handler that takes keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.schema import InvalidArguments, refuse_bound
from agentkit.tooling.signature import bound_keywords, context_parameters
from agentkit.wire.content import FunctionDeclaration, JsonObject


class RawSignature:
    """The parameters of a raw declaration: names are checked, values go to the handler as they are."""

    def __init__(self, declaration: FunctionDeclaration, handler: Callable[..., Any]) -> None:
        schema: JsonObject = declaration.get("parametersJsonSchema") or declaration.get("parameters") or {}
        self._known: JsonObject = schema.get("properties") or {}
        self._required: list[str] = schema.get("required") or []
        self._open = not self._known or bool(schema.get("additionalProperties"))
        self._contexts = context_parameters(handler)
        self._bound = bound_keywords(handler)

    def bind(self, args: JsonObject, context: Context[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Turn the args of a call into keywords.

        Raises:
            InvalidArguments: A required one is missing, or one isn't declared.
        """
        problems = [f"{name} is required" for name in self._required if name not in args]
        if not self._open:
            known = ", ".join(self._known)
            problems += [
                f"{name} is not a parameter; the parameters are: {known}"
                for name in args
                if name not in self._known
            ]
        if problems:
            raise InvalidArguments(problems)
        refuse_bound(self._bound, args)
        return [], {**args, **dict.fromkeys(self._contexts, context)}


def wire_declaration(declaration: Any) -> FunctionDeclaration:
    """Read a function declaration: a dict in either casing, or a `google.genai.types.FunctionDeclaration`.

    The schema stays as it is; only the API's own field names become camelCase.

    Raises:
        ToolDefinitionError: It is no function declaration.
    """
    if hasattr(declaration, "model_dump"):
        schema = getattr(declaration, "parameters_json_schema", None)  # would lose its nulls in a dump
        declaration = declaration.model_dump(mode="json", by_alias=True, exclude_none=True)
        if schema is not None:
            declaration["parametersJsonSchema"] = schema
    if not isinstance(declaration, Mapping) or not isinstance(declaration.get("name"), str):
        raise ToolDefinitionError(
            f"This is no function declaration: {declaration!r:.200}. Give a dict with a name, a description and"
            " parametersJsonSchema (or parameters), or a google.genai.types.FunctionDeclaration."
        )
    made = {_camel(key): value for key, value in declaration.items() if value is not None}
    for key in ("parameters", "response"):
        if key in made:
            made[key] = _camel_schema(made[key])
    return cast(FunctionDeclaration, made)


def _camel_schema(schema: Any) -> Any:
    """Write the field names of an OpenAPI schema in camelCase; names of properties and values stay."""
    if not isinstance(schema, Mapping):
        return schema
    made: JsonObject = {}
    for key, value in schema.items():
        name = _camel(key)
        if name in ("properties", "defs", "$defs"):
            made[name] = {own: _camel_schema(part) for own, part in value.items()}
        elif name in ("items", "additionalProperties"):
            made[name] = _camel_schema(value)
        elif name in ("anyOf", "prefixItems"):
            made[name] = [_camel_schema(part) for part in value]
        else:
            made[name] = value
    return made


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
