"""What models write where the schema asks for something else, and what they mean by it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from agentkit.tooling.problems import Path, place_of_problem
from agentkit.wire.content import JsonObject


def correct(error: ValidationError, args: JsonObject, schema: JsonObject) -> JsonObject | None:
    """Return the arguments as they are meant, or None where they are meant as they are.

    - null, for what may be left out and can't be null, is left out.
    - The JSON text of a list or an object, where the schema asks for one, is that.

    Whether they fit then, the caller finds out; each correction leaves less to correct.
    """
    made: JsonObject | None = None
    for detail in error.errors(include_url=False):
        path = place_of_problem(detail, args)
        value = _at(args, path)
        if value is None and _may_be_left_out(schema, path):
            made = made or copy.deepcopy(args)
            _at(made, path[:-1]).pop(path[-1], None)
        elif isinstance(value, str) and path and detail["type"].endswith("_type"):
            meant = _read(value)
            if meant is not None:
                made = made or copy.deepcopy(args)
                _at(made, path[:-1])[path[-1]] = meant
    return made


def _at(value: Any, path: Path) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return ...
    return value


def _read(text: str) -> Any:
    """Read the JSON of a list or an object; None if it is none."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


def _may_be_left_out(schema: JsonObject, path: Path) -> bool:
    """Return whether a place is that of a property which isn't required; the keys of a dict are none."""
    if not path:
        return False
    objects = list(_alternatives(schema, schema))
    for key in path[:-1]:
        objects = [
            each for part in objects for child in _inside(part, key) for each in _alternatives(child, schema)
        ]
    name = path[-1]
    return any(
        name in part.get("properties", {}) and name not in part.get("required", ()) for part in objects
    )


def _inside(schema: JsonObject, key: str | int) -> Iterator[JsonObject]:
    if isinstance(key, int):
        fixed: Sequence[JsonObject] = schema.get("prefixItems", ())
        child = fixed[key] if key < len(fixed) else schema.get("items")
    else:
        child = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    if isinstance(child, dict):
        yield child


def _alternatives(schema: JsonObject, root: JsonObject, within: tuple[str, ...] = ()) -> Iterator[JsonObject]:
    """Go through what a schema may mean: references resolved, unions taken apart."""
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref not in within:
        target = root.get("$defs", {}).get(ref.rpartition("/")[2])
        if target is not None:
            yield from _alternatives(target, root, (*within, ref))
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key, ()):
            yield from _alternatives(part, root, within)
    yield schema
