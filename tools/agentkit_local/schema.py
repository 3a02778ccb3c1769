"""Declarations as the engine reads them, and values checked against them: pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.wire.content import FunctionDeclaration, Json, JsonObject

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""Checked on the way out; the engine isn't told of them: it bends a number that doesn't fit until it does."""

_QUESTION = "The user's whole question, word for word."
"""All that the engine is told of such a parameter, whatever else its description has."""


def schema_of(declaration: FunctionDeclaration) -> JsonObject:
    """Give a declaration's parameters in the plain JSON Schema that the engine reads.

    References are inlined (five levels deep, then anything goes), unions become their first member that
    isn't null, type names are lower case, and what the engine doesn't know is left out.
    """
    wire: Mapping[str, Any] = declaration
    found = (
        wire.get("parametersJsonSchema") or wire.get("parameters_json_schema") or wire.get("parameters") or {}
    )
    schema = _plain(found, found.get("$defs") or {}, 5)
    return schema if schema.get("properties") else {"type": "object", "properties": {}}


def _plain(schema: Json, defs: JsonObject, depth: int) -> JsonObject:
    if not isinstance(schema, dict) or depth < 0:
        return {"type": "string"}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = defs.get(reference.rpartition("/")[2], {})
        return _plain({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, defs, depth - 1)
    for union in ("anyOf", "oneOf", "any_of", "allOf"):
        members = [m for m in schema.get(union) or () if isinstance(m, dict) and _type(m) != "null"]
        if members:
            rest = {k: v for k, v in schema.items() if k != union}
            return _plain({**members[0], **rest}, defs, depth - 1)
    plain: JsonObject = {"type": _type(schema)}
    if schema.get("description"):
        plain["description"] = str(schema["description"])
    if schema.get("default") is not None:
        plain["default"] = schema["default"]
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    elif schema.get("enum"):
        plain["enum"] = [value for value in schema["enum"] if value is not None]
    plain |= {key: schema[key] for key in (*_BOUNDS, "format") if schema.get(key) is not None}
    if plain["type"] == "object":
        properties = schema.get("properties") or {}
        plain["properties"] = {name: _plain(value, defs, depth - 1) for name, value in properties.items()}
        plain["required"] = [name for name in schema.get("required") or () if name in properties]
    elif plain["type"] == "array":
        items: Json = schema.get("items") or next(iter(schema.get("prefixItems") or ()), {})
        plain["items"] = _plain(items, defs, depth - 1)
    return plain


def _type(schema: JsonObject) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if str(k).lower() != "null"), "string")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind).lower()


def engine_tool(declaration: FunctionDeclaration, *, forced: bool) -> JsonObject:
    """Make the engine's form of a declaration; `forced` makes it call some tool whatever the text says.

    A parameter that gets the user's text as it is (see `is_verbatim`) is left out unless it is the only one:
    trying to fill it, the engine loses the others. What may be left out only because a whole question may
    stand for it is required of the engine.
    """
    schema = schema_of(declaration)
    properties = {name: field for name, field in schema["properties"].items() if not is_verbatim(field)}
    if properties:
        required = [name for name in schema.get("required", ()) if name in properties]
        if question_of(declaration) is not None:
            required = [name for name, field in properties.items() if "default" not in field]
        schema = {**schema, "properties": properties, "required": required}
    elif question := question_of(declaration):
        schema = {**schema, "properties": {question: {"type": "string", "description": _QUESTION}}}
    tool: JsonObject = {
        "name": declaration["name"],
        "description": declaration.get("description") or declaration["name"].replace("_", " "),
        "parameters": _unbounded(schema),
    }
    if forced:
        tool["triggers"] = ["."]
    return tool


def _unbounded(schema: Json) -> Json:
    if isinstance(schema, list):
        return [_unbounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if k not in (*_BOUNDS, "format") or isinstance(v, dict)}
    return {key: _unbounded(value) for key, value in kept.items()}


def is_verbatim(schema: JsonObject) -> bool:
    """Return whether a parameter's description asks for the user's text as it is."""
    return schema.get("type") == "string" and "word for word" in schema.get("description", "").casefold()


def question_of(declaration: FunctionDeclaration) -> str | None:
    """Return the parameter that takes the user's whole question, if the tool needs nothing else.

    Such a tool reads the question by itself, and says so where it can't.
    """
    schema = schema_of(declaration)
    for name, field in schema["properties"].items():
        if is_verbatim(field) and "whole question" in field["description"].casefold():
            return name if set(schema.get("required", ())) <= {name} else None
    return None


def has_dates(declaration: FunctionDeclaration) -> bool:
    """Return whether a parameter is a date, for which the engine must be told today's."""
    return any(is_date(field) for field in schema_of(declaration)["properties"].values())


def is_date(schema: JsonObject) -> bool:
    """Return whether a schema is that of a date."""
    return schema.get("format") in ("date", "date-time")


def fit(value: Json, schema: JsonObject) -> Json:
    """Check a value against a schema of `schema_of`, and give it as the declared type (5.0 becomes 5).

    Raises:
        ValueError: It doesn't fit; the message says why, in words for a person.
    """
    kind = schema.get("type")
    if kind == "object":
        return _fit_object(value, schema)
    if kind == "array":
        if not isinstance(value, list):
            raise ValueError("isn't a list")
        return [fit(item, schema.get("items", {})) for item in value]
    if kind == "boolean":
        if not isinstance(value, bool):
            raise ValueError("is neither true nor false")
    elif kind in ("integer", "number"):
        value = _fit_number(value, schema, whole=kind == "integer")
    elif isinstance(value, (dict, list, bool)) or value is None:
        raise ValueError("isn't text")
    elif not isinstance(value, str):
        value = f"{value:g}"
    if "enum" in schema:
        return _fit_enum(value, schema["enum"])
    return value


def plain(name: str) -> str:
    """Write a parameter's name as words."""
    return name.replace("_", " ")


def _fit_object(value: Json, schema: JsonObject) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError("isn't an object")
    properties: JsonObject = schema.get("properties", {})
    given = {name: v for name, v in value.items() if v is not None and name in properties}
    for name in schema.get("required", ()):
        if given.get(name, "") == "":
            raise ValueError(f"it doesn't say which {plain(name)} is meant")
    fitted: JsonObject = {}
    for name, item in given.items():
        try:
            fitted[name] = fit(item, properties[name])
        except ValueError as error:
            raise ValueError(f"the {plain(name)} that I read in it {error}") from None
    return fitted


def _fit_number(value: Json, schema: JsonObject, *, whole: bool) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("isn't a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("isn't a number") from None
    if not math.isfinite(number) or (whole and number != int(number)):
        raise ValueError("isn't a whole number" if whole else "isn't a finite number")
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    if not (low <= number <= high and above < number < below):
        raise ValueError("is out of range")
    return int(number) if whole else number


def _fit_enum(value: Json, choices: Sequence[Json]) -> Json:
    for choice in choices:
        if choice == value or str(choice).casefold() == str(value).casefold():
            return choice
    raise ValueError(f"isn't one of {', '.join(map(str, choices))}")
