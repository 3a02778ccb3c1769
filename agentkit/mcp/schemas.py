"""Schemas and names that a server gives, as Gemini takes them (rules 7 and 15)."""

from __future__ import annotations

import re
from typing import Any

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.names import FIND_TOOLS, READ_RESULT
from agentkit.wire.content import JsonObject

_MAX_NAME, _MAX_DEPTH, _MAX_NODES = 64, 40, 20_000
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_PARTS = ("items", "additionalProperties")
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_LEFT_OUT = {"$schema", "$id", "$anchor", "$comment", "title", "examples", "discriminator", "deprecated"}
_RESERVED = {FIND_TOOLS, READ_RESULT}


def fitting_name(prefix: str, name: str, taken: set[str]) -> str:
    """Return a name of a tool that Gemini takes and that isn't taken; it is taken from then on.

    Characters that Gemini doesn't take become `_`, a long name is cut, and one that is there already is numbered.
    """
    wanted = re.sub(r"[^A-Za-z0-9_]", "_", f"{prefix}_{name}" if prefix else name)
    wanted = re.sub(r"^(?=[^A-Za-z_]|$)", "_", wanted)
    made, number = wanted[:_MAX_NAME], 2
    while made in taken or made in _RESERVED:
        suffix = f"_{number}"
        made, number = wanted[: _MAX_NAME - len(suffix)] + suffix, number + 1
    taken.add(made)
    return made


def fitting_schema(schema: Any) -> JsonObject:
    """Return the schema of a tool's arguments as Gemini takes it. The server validates against its own.

    Left out is what says nothing to a model (`$schema`, `$id`, `title`, `examples`, `discriminator`, `x-...`).
    Written otherwise: `const` as `enum`, `definitions` as `$defs`, exclusive bounds as inclusive ones, `oneOf` and
    lists of types as `anyOf`, `true` as `{}`, and a `$ref` that has siblings as an `anyOf` of one. A `$ref` to
    another place than `$defs` becomes `{}`.

    Raises:
        ToolDefinitionError: It isn't the schema of an object, or is too large or too deep to be one.
    """
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise ToolDefinitionError("the schema of its arguments is not that of an object")
    made = _Fitting().schema(schema, 0)
    made["type"] = "object"
    made.setdefault("properties", {})
    return made


class _Fitting:
    def __init__(self) -> None:
        self._left = _MAX_NODES

    def schema(self, schema: Any, depth: int) -> JsonObject:
        """Write one schema, and those in it, as Gemini takes them."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise ToolDefinitionError("the schema of its arguments is too large or too deep")
        if not isinstance(schema, dict):
            return {}
        made: JsonObject = {}
        for key, value in schema.items():
            self._put(made, key, value, depth + 1)
        if len(made) > 1 and "$ref" in made:
            made["anyOf"] = [{"$ref": made.pop("$ref")}]
        return made

    def _put(self, made: JsonObject, key: str, value: Any, depth: int) -> None:
        """Write one keyword; one whose value makes no sense says nothing."""
        if key in _MAPS:
            parts = {str(each): self.schema(part, depth) for each, part in _dict(value).items()}
            name = "$defs" if key == "definitions" else key
            made[name] = {**made.get(name, {}), **parts}
        elif key in _LISTS:
            name = "anyOf" if key == "oneOf" else key
            members = [self.schema(part, depth) for part in _list(value)]
            made.update({name: [*made.get(name, ()), *members]} if members else {})
        elif key in _PARTS:
            if isinstance(value, dict) or (key == "additionalProperties" and isinstance(value, bool)):
                made[key] = self.schema(value, depth) if isinstance(value, dict) else value
        elif key == "type":
            kinds = [{"type": kind} for kind in _list(value) or [value] if isinstance(kind, str)]
            made.update({"anyOf": [*made.get("anyOf", ()), *kinds]} if len(kinds) > 1 else dict(*kinds))
        elif key == "$ref":
            self._refer(made, value)
        elif key == "const":
            made["enum"] = [value]
        elif key in _BOUNDS:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                made.setdefault(_BOUNDS[key], value)
        elif key not in _LEFT_OUT and not key.startswith("x-"):
            made[key] = value

    @staticmethod
    def _refer(made: JsonObject, value: Any) -> None:
        if isinstance(value, str):
            target = value.replace("#/definitions/", "#/$defs/")
            if target.startswith("#/$defs/"):
                made["$ref"] = target


def _dict(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
