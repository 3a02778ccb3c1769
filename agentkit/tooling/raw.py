"""Raw function declarations: what the API takes, in any casing, with a handler that takes keywords."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

from agentkit.errors import ConfigurationError, ToolDeferred, ToolDefinitionError
from agentkit.tooling.callables import bound_keywords
from agentkit.tooling.context import Context
from agentkit.tooling.foreign import fields_of_declaration
from agentkit.tooling.schema import NO_PARAMETERS, InvalidArguments, name_problem, refuse_bound
from agentkit.tooling.signature import context_parameters
from agentkit.wire.content import FunctionDeclaration, JsonObject
from agentkit.wire.convert import camel_schema, copy_json, to_wire

_OPENAPI = ("parameters", "response")
_BARE = {"type", "title", "description", "additionalProperties"}
_JSON_SCHEMAS = ("parametersJsonSchema", "responseJsonSchema")


def unhandled(**_: Any) -> None:
    """Leave the call to whoever made the run: it comes back unrun, in `run.pending`."""
    raise ToolDeferred("It has no handler here: make the call, and resume with its Result.")


class RawSignature:
    """The parameters of a raw declaration: names are checked, values go to the handler as they are."""

    def __init__(self, declaration: FunctionDeclaration, handler: Callable[..., Any]) -> None:
        schema: JsonObject = declaration.get("parametersJsonSchema") or declaration.get("parameters") or {}
        self._known: JsonObject = schema.get("properties") or {}
        self._required: list[str] = schema.get("required") or []
        self._open = not self._known or bool(schema.get("additionalProperties"))
        self._by_position, self._contexts = context_parameters(handler)
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
        positional = [context] * self._by_position
        return positional, {**copy.deepcopy(args), **dict.fromkeys(self._contexts, context)}


def wire_declaration(declaration: Any) -> FunctionDeclaration:
    """Read a function declaration: a dict in either casing, or a `google.genai.types.FunctionDeclaration`.

    The schema stays as it is; only the API's own field names become camelCase. Declarations of MCP, Anthropic and
    OpenAI are read too, see `agentkit.tooling.foreign`.

    Raises:
        ToolDefinitionError: It isn't a function declaration, or a parameter has a name that Gemini doesn't take.
    """
    try:
        fields = fields_of_declaration(declaration)
        made = {key: _item_in(key, value) for key, value in fields.items()}
        for key in ("parametersJsonSchema", "parameters"):
            _check_object(made.get(key, {}))
    except ConfigurationError as error:
        raise ToolDefinitionError(
            f"This isn't a function declaration, {error}: {declaration!r:.200}. Give a dict with a name, a"
            " description and parametersJsonSchema (or parameters), or a google.genai.types.FunctionDeclaration."
        ) from error
    schema = made.get("parametersJsonSchema") or made.get("parameters") or {}
    for name in schema.get("properties") or ():
        if problem := name_problem(name):
            raise ToolDefinitionError(f"{made['name']}: parameter {name!r} {problem} Rename it.")
    if not schema:
        made.pop("parameters", None)
        made["parametersJsonSchema"] = dict(NO_PARAMETERS)
    elif schema.keys() <= _BARE:
        schema["properties"] = {}
    return cast(FunctionDeclaration, made)


def _item_in(key: str, value: Any) -> Any:
    if key in _OPENAPI:
        return camel_schema(value)
    return copy_json(value) if key in _JSON_SCHEMAS else to_wire(value)


def _check_object(schema: Any) -> None:
    """Refuse what can't be the schema of parameters."""
    if not isinstance(schema, dict):
        raise ConfigurationError(f"its schema is {schema!r:.60} instead of an object")
    kind = schema.get("type")
    if isinstance(kind, str) and kind.lower() != "object":
        raise ConfigurationError(f"its schema is that of type {kind!r}, but arguments are an object")
    if not isinstance(schema.get("properties") or {}, dict):
        raise ConfigurationError("the properties of its schema aren't an object")
    if not isinstance(schema.get("required") or [], list):
        raise ConfigurationError("what its schema requires isn't a list")
