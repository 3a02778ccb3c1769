"""The door: what users have in their hands becomes wire JSON here, and nowhere else.

Dicts in camelCase or snake_case and `google.genai.types` objects are taken, and `to_types` hands the latter
out. Everything is copied, so that what a user does with it afterwards changes nothing in a history.
"""

from __future__ import annotations

import base64
import functools
import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from agentkit.errors import ConfigurationError, HistoryError
from agentkit.wire.content import Content, JsonObject, KeptContent, Part, author_of, keep, metadata_of
from agentkit.wire.history import check
from agentkit.wire.mime import sniff
from agentkit.wire.signatures import Author

if TYPE_CHECKING:
    from google.genai import types

UserInput = Any
"""A str; a part or a content, as a dict in either casing or of `google.genai.types`; an image, audio or PDF
as bytes or as a `pathlib.Path`; an uploaded `types.File`; or a list of those."""

# What is under these keys is the user's or the model's own data: its keys stay as they are.
_OPAQUE = frozenset(
    {"args", "response", "partMetadata", "labels", "responseJsonSchema", "headers", "customConfigs"}
)
# What is under these is a schema: of its keys, the names of properties are the user's own.
_SCHEMAS = frozenset({"responseSchema"})
_SCHEMA_MAPS = ("properties", "defs", "$defs")
_SCHEMA_LISTS = ("anyOf", "prefixItems")
_SCHEMA_PARTS = ("items", "additionalProperties")
# Objects under these keys, and under `...Metadata`, only describe the part that they are in.
_DESCRIPTIONS = ("mediaResolution", "mediaProcessing")


@functools.lru_cache(1000)
def camel(key: str) -> str:
    """Turn a snake_case key into the wire's camelCase; other keys stay."""
    return re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda match: match[1].upper(), key)


def to_wire(value: Any) -> Any:
    """Copy a value as wire JSON: keys in camelCase, bytes as base64, `google.genai.types` objects as dicts.

    Raises:
        ConfigurationError: Something in it has no place in JSON.
    """
    fields = fields_of(value)
    if isinstance(fields, Mapping):
        return {key: item_to_wire(key, item) for key, item in fields.items()}
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    return _scalar(value)


def item_to_wire(key: str, item: Any) -> Any:
    """Copy a field of a content or a request as wire JSON."""
    if key in _OPAQUE:
        return copy_json(item)
    return camel_schema(item) if key in _SCHEMAS else to_wire(item)


def fields_of(value: Any) -> Any:
    """Give the fields of an object of google.genai, or of a dict, under their names on the wire.

    The values stay as they are; what is None isn't there. Anything else is given back.

    Raises:
        ConfigurationError: A key of the dict is no str.
    """
    if isinstance(value, BaseModel):
        # Not model_dump: that would go into the user's own data.
        known = type(value).model_fields
        names = {name: (name in known and known[name].alias) or camel(name) for name, _ in value}
        return {names[name]: item for name, item in value if item is not None}
    if not isinstance(value, Mapping):
        return value
    for key in value:
        if not isinstance(key, str):
            raise ConfigurationError(f"A key of wire JSON is a str, not {key!r}.")
    return {camel(key): item for key, item in value.items() if item is not None}


def copy_json(value: Any) -> Any:
    """Copy data whose keys are not ours.

    Raises:
        ConfigurationError: Something in it has no place in JSON.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {str(key): copy_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copy_json(item) for item in value]
    return _scalar(value)


def camel_schema(schema: Any) -> Any:
    """Copy an OpenAPI schema with its field names in camelCase; names of properties, and values, stay.

    Raises:
        ConfigurationError: Something in it has no place in JSON.
    """
    fields = fields_of(schema)
    if not isinstance(fields, Mapping):
        return copy_json(fields)
    made: JsonObject = {}
    for key, value in fields.items():
        if key in _SCHEMA_MAPS and isinstance(value, Mapping):
            made[key] = {str(name): camel_schema(part) for name, part in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, (list, tuple)):
            made[key] = [camel_schema(part) for part in value]
        elif key in _SCHEMA_PARTS:
            made[key] = camel_schema(value)
        else:
            made[key] = copy_json(value)
    return made


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    value = getattr(value, "value", value)  # the SDK's enums
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise ConfigurationError(
        f"{type(value).__name__} has no place in a content. Give str, numbers, bool, None, bytes, lists or dicts."
    )


def history_in(history: Iterable[Any] | None) -> list[Content]:
    """Take a history from outside: copy it as wire JSON and check it. See `authored_in`."""
    return [content for content, _, _ in authored_in(history)]


def authored_in(history: Iterable[Any] | None) -> list[tuple[Content, Author, JsonObject | None]]:
    """Take a history from outside, each content with the model that made it and what that said beside it, where known.

    Args:
        history: Contents, as dicts in either casing or as `types.Content`.

    Raises:
        HistoryError: A content breaks a rule of the server; the message says which and where.
    """
    if history is None:
        return []
    if isinstance(history, (str, bytes, Mapping)):
        raise HistoryError(
            "A history is a list of contents: [{'role': 'user', 'parts': [{'text': '...'}]}, ...].",
            index=0,
            rule=4,
        )
    contents = [
        (_content_in(index, content), author_of(content), metadata_of(content))
        for index, content in enumerate(history)
    ]
    check([content for content, _, _ in contents])
    return contents


def _content_in(index: int, content: Any) -> Content:
    if isinstance(content, KeptContent):
        return cast(Content, content)
    if isinstance(content, str) or not (isinstance(content, Mapping) or hasattr(content, "parts")):
        raise HistoryError(
            f"contents[{index}]: {type(content).__name__} is not a content; "
            "give {'role': 'user', 'parts': [{'text': '...'}]} or a types.Content (rule 4).",
            index=index,
            rule=4,
        )
    try:
        fields = fields_of(content)
        parts = fields.get("parts")
        wire = to_wire({key: item for key, item in fields.items() if key != "parts"})
        if isinstance(parts, (list, tuple)):
            wire["parts"] = [{"text": part} if isinstance(part, str) else _part_in(part) for part in parts]
        elif parts is not None:
            raise ConfigurationError(f"its parts are a list, not {type(parts).__name__}")
    except ConfigurationError as error:
        raise HistoryError(f"contents[{index}]: {error} (rule 4).", index=index, rule=4) from None
    if wire.get("role") in ("assistant", "system", "function", "tool"):
        mend = {"assistant": "it is 'model' here", "system": "give Agent(instructions=...)"}
        raise HistoryError(
            f"contents[{index}]: Gemini knows no role {wire['role']!r}; "
            f"{mend.get(wire['role'], 'function responses are in a content of the user')} (rule 4).",
            index=index,
            rule=4,
        )
    return keep(cast(Content, wire))


def user_input(value: UserInput) -> list[Content]:
    """Turn what a user says into contents, the last of them the user's.

    Raises:
        ConfigurationError: There is nothing in it, or something that is no input.
        HistoryError: Contents in it break a rule of the server.
        OSError: A file can't be read.
    """
    if type(value) is str and value.strip():  # what most people say
        return [keep({"role": "user", "parts": [{"text": value}]})]
    items: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
    contents: list[Any] = []
    open_parts: list[Part] = []
    for item in items:
        if _is_content(item):
            if open_parts:
                contents.append({"role": "user", "parts": open_parts})
                open_parts = []
            contents.append({"role": "user", **fields_of(item)})
        else:
            open_parts.append(_part_in(item))
    if open_parts:
        contents.append({"role": "user", "parts": open_parts})
    if not contents:
        raise ConfigurationError("There is nothing to send: give a text, a part or a content.")
    wire = [_content_in(index, content) for index, content in enumerate(contents)]
    if wire[-1].get("role") != "user":
        raise ConfigurationError(
            "The last content of the input is the user's; earlier ones go in history=[...]."
        )
    for content in wire:
        if content["role"] == "user":
            _check_said(content)
    check(wire)  # whole by itself, it is so after any whole history
    return wire


def _check_said(content: Content) -> None:
    """Refuse a content of the user in which nothing is said, as a misspelt key leaves it."""
    if not content.get("parts"):
        raise ConfigurationError("A content of the input has no parts: give at least one.")
    for part in content["parts"]:
        if not any(_is_data(key, value) for key, value in part.items()):
            raise ConfigurationError(
                f"There is nothing in the part {dict(part)!r:.200}: give {{'text': ...}}, {{'inlineData': ...}},"
                " {'fileData': ...} or another kind of part."
            )


def _is_data(key: str, value: Any) -> bool:
    """Return whether this is what a part says; kinds that agentkit doesn't know yet are objects."""
    if key == "text":
        return isinstance(value, str)
    return isinstance(value, dict) and key not in _DESCRIPTIONS and not key.endswith("Metadata")


def _is_content(item: Any) -> bool:
    if isinstance(item, Mapping):
        return "parts" in item or "role" in item
    return hasattr(item, "parts") and hasattr(item, "role")


def _part_in(item: Any) -> Part:
    if isinstance(item, str):
        if not item.strip():
            raise ConfigurationError("The text to send is empty.")
        return {"text": item}
    if isinstance(item, (bytes, bytearray)):
        return blob_part(bytes(item), _sniff(bytes(item)))
    if isinstance(item, Path):
        mime_type = mimetypes.guess_type(item.name)[0]
        data = item.read_bytes()
        return blob_part(data, mime_type or _sniff(data, str(item)))
    if hasattr(item, "uri") and hasattr(item, "mime_type"):  # types.File
        return {"fileData": {"fileUri": item.uri, "mimeType": item.mime_type}}
    if isinstance(item, (Mapping, BaseModel)):
        wire = to_wire(item)
        if "data" in wire and "mimeType" in wire:  # types.Blob
            return {"inlineData": wire}
        if "fileUri" in wire:  # types.FileData
            return {"fileData": wire}
        return cast(Part, wire)
    raise ConfigurationError(
        f"{type(item).__name__} is no input. Give a str, a part or content (dict or google.genai.types), "
        "bytes of an image, a pathlib.Path, or a list of those."
    )


def blob_part(data: bytes, mime_type: str) -> Part:
    """Make a part of bytes."""
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode("ascii")}}


def _sniff(data: bytes, where: str = "bytes") -> str:
    known = sniff(data)
    if known is None:
        raise ConfigurationError(
            f"Can't tell what kind of data {where} is. Give its type: "
            "{'inlineData': {'mimeType': 'image/png', 'data': ...}}."
        )
    return known


def to_types(contents: Iterable[Content]) -> list[types.Content]:
    """Hand contents out as `google.genai.types.Content`. What the SDK doesn't know of a part is lost."""
    from google.genai import types

    return [types.Content.model_validate(content) for content in contents]
