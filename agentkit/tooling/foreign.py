"""Function declarations as other programs have them, read as Gemini's: MCP's, Anthropic's, OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from agentkit.errors import ConfigurationError
from agentkit.tooling.results import is_google
from agentkit.wire.content import JsonObject
from agentkit.wire.convert import camel, copy_json, fields_of

_OURS = {
    "name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior",
}  # fmt: skip
_RENAMED = {"inputSchema": "parametersJsonSchema", "outputSchema": "responseJsonSchema"}
_LEFT_OUT = {
    "type", "strict", "annotations", "cacheControl", "title", "icons", "_meta", "execution", "deferLoading",
    "inputExamples", "allowedCallers", "eagerInputStreaming",
}  # fmt: skip
"""What says how another vendor's API, or a client, treats the tool."""

_OPENAPI = {
    "type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering",
    "default", "items", "minimum", "maximum",
}  # fmt: skip
"""What `parameters` takes: https://ai.google.dev/api/caching#Schema."""
_OPENAPI_ALONE = {"nullable", "example", "propertyOrdering"}
_EITHER = {"additionalProperties", "defs", "ref"}
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_PARTS = ("items", "additionalProperties", "not", "contains", "propertyNames")


def fields_of_declaration(declaration: Any) -> JsonObject:
    """Give the fields of a declaration under Gemini's names; values stay as they are, except schemas in dicts.

    Raises:
        ConfigurationError: It has no name, or what Gemini has no field for.
    """
    fields = fields_of(declaration)
    if isinstance(fields, Mapping) and fields.get("type") == "function" and "function" in fields:
        fields = fields_of(fields["function"])  # OpenAI's
    if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
        raise ConfigurationError("it has no name")
    kind = fields.get("type") or "function"
    if kind not in ("function", "custom"):
        raise ConfigurationError(f"it is a tool of the type {kind!r}, which another vendor's API runs")
    unknown = sorted(fields.keys() - _OURS - _LEFT_OUT - _RENAMED.keys())
    if unknown and not is_google(declaration):  # a newer SDK may know more
        raise ConfigurationError(f"it has the field {unknown[0]!r}, which Gemini's declarations don't have")
    made: JsonObject = {}
    for key, value in fields.items():
        name = _RENAMED.get(key, key)
        if name in _OURS and value is not None:
            if name in made:
                raise ConfigurationError(f"it has {name} twice, under two names")
            made[name] = value
    if not made.get("description") and isinstance(fields.get("title"), str):
        made["description"] = fields["title"]
    return _with_schemas(made)


def effect_of(declaration: Any) -> Literal["read", "write"] | None:
    """Return the effect of a tool that says so, in MCP's `readOnlyHint`."""
    hints = fields_of(fields_of(declaration).get("annotations"))
    read_only = hints.get("readOnlyHint") if isinstance(hints, Mapping) else None
    if not isinstance(read_only, bool):
        return None
    return "read" if read_only else "write"


def _with_schemas(made: JsonObject) -> JsonObject:
    """Put the schemas where their kind belongs: OpenAPI and JSON Schema have a field each."""
    for openapi, json_schema in (("parameters", "parametersJsonSchema"), ("response", "responseJsonSchema")):
        given = [key for key in (openapi, json_schema) if key in made]
        if len(given) == 2:
            raise ConfigurationError(f"it has both {openapi} and {json_schema}: give one")
        for key in given:
            if isinstance(made[key], Mapping):
                schema = made.pop(key)
                field = _field_for(schema, key, openapi, json_schema)
                made[field] = _as_json_schema(schema) if field == json_schema else schema
    return made


def _field_for(schema: Any, key: str, openapi: str, json_schema: str) -> str:
    parts = list(_parts(schema))
    names = {camel(name) for part in parts for name in part}
    typed = any(_is_openapi_type(part.get("type")) for part in parts)
    only_json = names - _OPENAPI - _EITHER or any(_is_json_schema(part) for part in parts)
    if only_json or (names & _EITHER and not typed):
        return json_schema
    return openapi if typed or names & _OPENAPI_ALONE else key


def _is_openapi_type(kind: Any) -> bool:
    kind = getattr(kind, "value", kind)
    return isinstance(kind, str) and kind.isupper()


def _is_json_schema(part: Mapping[str, Any]) -> bool:
    values = part.get("enum")
    return isinstance(part.get("type"), (list, tuple)) or (
        isinstance(values, (list, tuple)) and not all(isinstance(getattr(v, "value", v), str) for v in values)
    )


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Go through a schema and those in it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key, value in schema.items():
        name = camel(key) if isinstance(key, str) else key
        if name in _MAPS and isinstance(value, Mapping):
            for part in value.values():
                yield from _parts(part)
        elif name in _LISTS and isinstance(value, (list, tuple)):
            for part in value:
                yield from _parts(part)
        elif name in _PARTS:
            yield from _parts(value)


def _as_json_schema(schema: Any) -> Any:
    """Copy a JSON schema, with what OpenAPI says in other words put in its own."""
    if not isinstance(schema, Mapping):
        return copy_json(schema)
    made: JsonObject = {}
    for key, value in schema.items():
        name = camel(key) if camel(key) in _OPENAPI | _EITHER else key
        name = "$defs" if name == "definitions" else name
        if name in _MAPS and isinstance(value, Mapping):
            made[name] = {str(each): _as_json_schema(part) for each, part in value.items()}
        elif name in _LISTS and isinstance(value, (list, tuple)):
            made[name] = [_as_json_schema(part) for part in value]
        elif name in _PARTS:
            made[name] = _as_json_schema(value)
        elif name == "$ref" and isinstance(value, str):
            made[name] = value.replace("#/definitions/", "#/$defs/")
        elif name == "example":
            made["examples"] = [copy_json(value)]
        elif name not in ("$schema", "nullable", "propertyOrdering"):
            made[name] = copy_json(value)
    if _is_openapi_type(made.get("type")):
        made["type"] = made["type"].lower()
    return _nullable(made) if schema.get("nullable") is True else made


def _nullable(schema: JsonObject) -> JsonObject:
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
