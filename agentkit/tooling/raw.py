"""Raw function declarations: what the API takes, in any casing, with a handler that takes keywords."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

from agentkit.errors import ConfigurationError, ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.schema import InvalidArguments, refuse_bound
from agentkit.tooling.signature import bound_keywords, context_parameters
from agentkit.wire.content import FunctionDeclaration, JsonObject
from agentkit.wire.convert import camel_schema, copy_json, fields_of, to_wire

_OPENAPI = ("parameters", "response")
_JSON_SCHEMAS = ("parametersJsonSchema", "responseJsonSchema")


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
        # The handler may change what it gets; the args belong to the history.
        return [], {**copy.deepcopy(args), **dict.fromkeys(self._contexts, context)}


def wire_declaration(declaration: Any) -> FunctionDeclaration:
    """Read a function declaration: a dict in either casing, or a `google.genai.types.FunctionDeclaration`.

    The schema stays as it is; only the API's own field names become camelCase.

    Raises:
        ToolDefinitionError: It is no function declaration.
    """
    try:
        fields = fields_of(declaration)
        if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
            raise ConfigurationError("it has no name")
        made = {key: _item_in(key, value) for key, value in fields.items() if value is not None}
        for key in ("parametersJsonSchema", "parameters"):
            _check_object(made.get(key, {}))
    except ConfigurationError as error:
        raise ToolDefinitionError(
            f"This is no function declaration, {error}: {declaration!r:.200}. Give a dict with a name, a"
            " description and parametersJsonSchema (or parameters), or a google.genai.types.FunctionDeclaration."
        ) from error
    return cast(FunctionDeclaration, made)


def _item_in(key: str, value: Any) -> Any:
    if key in _OPENAPI:
        return camel_schema(value)
    return copy_json(value) if key in _JSON_SCHEMAS else to_wire(value)


def _check_object(schema: Any) -> None:
    """Refuse what can't be the schema of parameters."""
    if not isinstance(schema, dict):
        raise ConfigurationError(f"its schema is {schema!r:.60} instead of an object")
    if not isinstance(schema.get("properties") or {}, dict):
        raise ConfigurationError("the properties of its schema are no object")
    if not isinstance(schema.get("required") or [], list):
        raise ConfigurationError("what its schema requires is no list")
