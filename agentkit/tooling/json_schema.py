"""JSON Schema 2020-12 as Gemini takes it, from pydantic's."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonRef,
    JsonSchemaMode,
    JsonSchemaValue,
    JsonSchemaWarningKind,
)
from pydantic_core import CoreSchema, PydanticSerializationError, core_schema

from agentkit.tooling.fields import describe_class
from agentkit.tooling.results import to_json
from agentkit.wire.content import JsonObject

_MAPS = ("properties", "$defs", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "propertyNames", "not")


_PLAIN = (str, int, bool, type(None))
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


class JsonSchema(GenerateJsonSchema):
    """Pydantic's generator, made to say what the validator does, and to refuse rather than to skip."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"non-serializable-default"}  # noqa: RUF012 - pydantic's

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Generate a whole schema, in which a union's tag is required, as the validator has it."""
        self._core_definitions: dict[str, CoreSchema] = {}
        made = super().generate(schema, mode)
        _require_tags(made, made.get("$defs", {}))
        return made

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Say what the source of the model says of its fields."""
        return describe_class(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Say what the source of the dataclass says of its fields."""
        return describe_class(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """Say what the source of the TypedDict says of its fields."""
        return describe_class(super().typed_dict_schema(schema), schema.get("cls"))

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Let a value fit several members where a function, not a tag, tells them apart."""
        made = super().tagged_union_schema(schema)
        if "discriminator" not in made:
            made["anyOf"] = made.pop("oneOf")
        return made

    def dataclass_args_schema(self, schema: core_schema.DataclassArgsSchema) -> JsonSchemaValue:
        """Leave out the fields that the dataclass sets by itself."""
        fields = [field for field in schema["fields"] if field.get("init", True)]
        return super().dataclass_args_schema({**schema, "fields": fields})

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """Refuse items that no set can hold."""
        self._need_hashable(schema)
        return super().set_schema(schema)

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """Refuse items that no frozenset can hold."""
        self._need_hashable(schema)
        return super().frozenset_schema(schema)

    def definitions_schema(self, schema: core_schema.DefinitionsSchema) -> JsonSchemaValue:
        """Keep the definitions, to look into them."""
        self._core_definitions |= {each["ref"]: each for each in schema["definitions"] if "ref" in each}
        return super().definitions_schema(schema)

    def _need_hashable(self, schema: core_schema.SetSchema | core_schema.FrozenSetSchema) -> None:
        items = schema.get("items_schema")
        if items is not None and not _is_hashable(items, self._core_definitions):
            self.handle_invalid_for_json_schema(
                schema, "a set of what can't be in a set, since it is mutable: use a list"
            )

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Refuse what can't be declared in a union, where pydantic would leave it out."""
        if kind == "skipped-choice":
            raise PydanticInvalidForJsonSchema(detail)
        super().emit_warning(kind, detail)

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Say how the validator wants bytes to be encoded."""
        made = super().bytes_schema(schema)
        del made["format"]
        encoding = {"base64": "base64", "hex": "base16"}.get(str(self._config.val_json_bytes))
        return made | ({"contentEncoding": encoding} if encoding else {})

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """Refuse what the validator never accepts from JSON: bytes, and members of enums but text and numbers."""
        for value in schema["expected"]:
            if not isinstance(value, _PLAIN):
                return self.handle_invalid_for_json_schema(schema, f"the literal {value!r}")
        return super().literal_schema(schema)

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """Refuse values that JSON would turn into others, such as tuples."""
        for member in schema["members"]:
            if not isinstance(member.value, (*_PLAIN, float)):
                return self.handle_invalid_for_json_schema(schema, f"an enum with the value {member.value!r}")
        return super().enum_schema(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Refuse keys that no text can be: JSON's keys are text."""
        made = super().dict_schema(schema)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if "$ref" in keys:
            keys = self.get_schema_from_definitions(JsonRef(keys["$ref"])) or {}
        if keys.get("type") in ("array", "object"):
            return self.handle_invalid_for_json_schema(schema, "a dict whose keys can't be strings")
        return made

    def encode_default(self, dft: Any) -> Any:
        """Write bytes as the validator takes them, in the alphabet of everything else on the wire."""
        if not _is_data(dft):
            raise PydanticSerializationError("it is no data")  # then pydantic declares none
        if type(dft) in _PLAIN or self._config.ser_json_bytes == "base64":
            return to_json(dft)
        try:
            return super().encode_default(dft)  # which makes a TypeAdapter
        except UnicodeDecodeError:  # bytes, before pydantic 2.14
            return to_json(dft)

    def generator_schema(self, schema: core_schema.GeneratorSchema) -> JsonSchemaValue:
        """Refuse it: its items would fail inside the tool."""
        return self.handle_invalid_for_json_schema(schema, "an iterator that is read lazily: use a list")

    def is_subclass_schema(self, schema: core_schema.IsSubclassSchema) -> JsonSchemaValue:
        """Refuse it: JSON has no classes."""
        return self.handle_invalid_for_json_schema(schema, "a class")


def _is_hashable(schema: Any, definitions: Mapping[str, CoreSchema]) -> bool:
    """Return whether some value of a type can be in a set."""
    match schema["type"]:
        case "list" | "set" | "dict" | "typed-dict" | "deque" | "generator":
            return False
        case "model" | "dataclass":
            return schema["cls"].__hash__ is not None
        case "tuple":
            fixed = [
                each
                for at, each in enumerate(schema["items_schema"])
                if at != schema.get("variadic_item_index")
            ]
            return all(_is_hashable(each, definitions) for each in fixed)
        case "union" | "tagged-union":
            choices = schema["choices"]
            members = choices.values() if isinstance(choices, dict) else choices
            return any(
                _is_hashable(each[0] if isinstance(each, tuple) else each, definitions) for each in members
            )
        case "definition-ref":
            return _is_hashable(definitions.get(schema["schema_ref"], {"type": "any"}), definitions)
        case "json-or-python":
            return _is_hashable(schema["json_schema"], definitions)
        case "definitions" | "default":
            return _is_hashable(schema["schema"], definitions)
    return True  # a function may make something else of it


def _require_tags(schema: Any, definitions: JsonObject) -> None:
    """Have each member of a tagged union require its tag: without it, the validator doesn't look at the others."""
    if isinstance(schema, list):
        for part in schema:
            _require_tags(part, definitions)
    if not isinstance(schema, dict):
        return
    tag, choices = schema.get("discriminator"), schema.get("oneOf")
    if isinstance(tag, dict) and "propertyName" in tag and isinstance(choices, list):
        for choice in choices:
            _require(choice, tag["propertyName"], definitions)
    for part in list(schema.values()):
        _require_tags(part, definitions)


def _require(schema: JsonObject, name: str, definitions: JsonObject) -> None:
    if "$ref" in schema:
        schema = definitions.get(schema["$ref"].rpartition("/")[2], {})
    for choice in schema.get("oneOf", ()):
        _require(choice, name, definitions)
    if name in schema.get("properties", {}) and name not in schema.get("required", ()):
        schema["required"] = sorted([*schema.get("required", ()), name], key=list(schema["properties"]).index)


def tidy(schema: JsonObject) -> JsonObject:
    """Leave out what says nothing to a model, and write the rest as Gemini takes it (rule 7).

    The API's reference knows `enum`, not `const`, allows nothing beside `$ref`, and has no `discriminator`:
    https://ai.google.dev/api/generate-content#FIELDS.response_json_schema
    """
    made: JsonObject = {}
    for key, value in schema.items():
        if key in _MAPS:
            made[key] = {name: tidy(part) for name, part in value.items()}
        elif key in _LISTS:
            made[key] = [tidy(part) for part in value]
        elif key in _SCHEMAS and isinstance(value, dict):
            made[key] = tidy(value)
        elif key == "const":
            made["enum"] = [value]
        elif key not in ("title", "discriminator") and not (key == "default" and not _is_json(value)):
            made[key] = value
    if "$ref" in made and len(made) > 1:
        made = {"anyOf": [{"$ref": made.pop("$ref")}]} | made
    return made


def set_default(schema: JsonObject, default: Any) -> None:
    """Declare a default, if it is data that JSON can hold; None only where null may be given."""
    if default is None and not _allows_null(schema):
        return
    try:
        if _is_data(default):
            schema["default"] = to_json(default)
    except Exception:  # of an object that isn't ours; the function still gets it
        return


def _is_data(default: Any) -> bool:
    """Return whether a default may be shown to a model: not `os.environ`, nor an open file, nor a secret."""
    if isinstance(default, Mapping):
        return isinstance(default, (dict, types.MappingProxyType)) and all(map(_is_data, default.values()))
    if isinstance(default, (list, tuple, set, frozenset)):
        return all(map(_is_data, default))
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return all(_is_data(getattr(default, each.name)) for each in dataclasses.fields(default))
    if isinstance(default, BaseModel):
        return all(map(_is_data, vars(default).values()))
    return not isinstance(default, Iterator) and not hasattr(
        default, "get_secret_value"
    )  # as pydantic names it


def _allows_null(schema: JsonObject) -> bool:
    if not schema.keys() & {"type", "$ref", "anyOf", "oneOf", "enum", "const"}:
        return True
    return (
        schema.get("type") == "null"
        or None in schema.get("enum", ())
        or any(_allows_null(part) for key in ("anyOf", "oneOf") for part in schema.get(key, ()))
    )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def plain_schema(annotation: Any, description: str | None = None) -> JsonObject | None:
    """Write pydantic's schema of a plain type, for `tidy`, at a small part of the price.

    Plain are str, int, float, bool, None and Any, literals, lists, dicts with text as keys, and unions of them:
    what pydantic never refuses. Of any other type, None.
    """
    made = _plain(annotation)
    if made is None or not description:
        return made
    return dict(sorted({**made, "description": description}.items()))


def _plain(annotation: Any) -> JsonObject | None:
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if type(origin) is type and origin in _TYPES:
        return {"type": _TYPES[origin]}
    if origin is Any:
        return {}
    if origin is list:
        items = _plain(args[0] if args else Any)
        return None if items is None else {"items": items, "type": "array"}
    if origin is dict:
        key, value = args or (str, Any)
        values = _plain(value) if key is str else None
        return None if values is None else {"additionalProperties": values or True, "type": "object"}
    if origin is Literal:
        return _plain_literal(args)
    if origin is Union or origin is types.UnionType:
        members = [_plain(each) for each in args]
        if None in members or any(members.count(each) > 1 for each in members):
            return None
        return {"anyOf": sorted(members, key=lambda each: each == {"type": "null"})}
    return None


def _plain_literal(values: tuple[Any, ...]) -> JsonObject | None:
    kinds = {type(value) for value in values}
    if not kinds or not kinds.issubset(_PLAIN):
        return None
    if not all(value.isprintable() for value in values if isinstance(value, str)):
        return None  # it may be half a surrogate pair, which pydantic refuses
    made = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    return made | ({"type": _TYPES[kinds.pop()]} if len(kinds) == 1 else {})
