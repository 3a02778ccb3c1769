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
from agentkit.wire.content import (
    MAX_DEPTH,
    Content,
    JsonObject,
    KeptContent,
    Part,
    author_of,
    is_json,
    keep,
    metadata_of,
)
from agentkit.wire.files import FilePart, UploadedFile, local_file
from agentkit.wire.history import check
from agentkit.wire.mime import is_pil, text_in_bytes
from agentkit.wire.signatures import Author

if TYPE_CHECKING:
    from google.genai import types

UserInput = Any
"""A str; a part or a content, as a dict in either casing or of `google.genai.types`; a picture, sound, video, PDF or
text as `pathlib.Path`, bytes or an open binary file; an image of Pillow; an uploaded file; or a list of those. In a
list, a str that is the URL of a YouTube video, or a `gs://` URL, is that file."""

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
        ConfigurationError: A key of the dict isn't a str.
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
    if value is None or (isinstance(value, (str, int, float, bool)) and is_json(value)):
        return value
    if isinstance(value, float):
        raise ConfigurationError(f"{value!r} can't be part of a content: JSON has no such number.")
    raise ConfigurationError(
        f"{type(value).__name__} can't be part of a content. Give str, numbers, bool, None, bytes, lists or dicts."
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


def _content_in(index: int, content: Any, inline_bytes: int | None = None) -> Content:
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
        return keep(cast(Content, _content_fields(content, inline_bytes)))
    except RecursionError:
        problem = f"it is nested more than {MAX_DEPTH} deep"
    except ConfigurationError as error:
        problem = str(error)
    raise HistoryError(f"contents[{index}]: {problem} (rule 4).", index=index, rule=4)


def _content_fields(content: Any, inline_bytes: int | None) -> JsonObject:
    fields = fields_of(content)
    parts = fields.get("parts")
    wire: JsonObject = to_wire({key: item for key, item in fields.items() if key != "parts"})
    if isinstance(parts, (list, tuple)):
        wire["parts"] = [
            {"text": part} if isinstance(part, str) else _part_in(part, inline_bytes) for part in parts
        ]
    elif parts is not None:
        raise ConfigurationError(f"its parts are a list, not {type(parts).__name__}")
    if not is_json(wire.get("parts"), MAX_DEPTH + 10):  # what a call or a result is in takes a few
        raise ConfigurationError(f"it is nested more than {MAX_DEPTH} deep")
    if wire.get("role") in ("assistant", "system", "function", "tool"):
        mend = {"assistant": "it is 'model' here", "system": "give Agent(instructions=...)"}
        raise ConfigurationError(
            f"Gemini knows no role {wire['role']!r}; "
            f"{mend.get(wire['role'], 'function responses are in a content of the user')}"
        )
    return wire


def user_input(value: UserInput, *, inline_bytes: int | None = None) -> list[Content]:
    """Turn what a user says into contents, the last of them the user's.

    Args:
        value: What is said.
        inline_bytes: Files that are larger become `FilePart`s, to be uploaded; None: all goes into the content.

    Raises:
        ConfigurationError: There is nothing in it, or something that is no input.
        HistoryError: Contents in it break a rule of the server.
        OSError: A file can't be read.
    """
    if type(value) is str and value.strip():  # what most people say
        return [keep({"role": "user", "parts": [{"text": value}]})]
    try:
        return _user_input(value, inline_bytes)
    except RecursionError:
        raise ConfigurationError(f"The input is nested more than {MAX_DEPTH} deep.") from None


def _user_input(value: UserInput, inline_bytes: int | None) -> list[Content]:
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
            open_parts.append(_part_in(_url(item) if item is not value else item, inline_bytes))
    if open_parts:
        contents.append({"role": "user", "parts": open_parts})
    if not contents:
        raise ConfigurationError("There is nothing to send: give a text, a part or a content.")
    wire = [_content_in(index, content, inline_bytes) for index, content in enumerate(contents)]
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
        raise ConfigurationError(
            "A content of the input has no parts. Gemini's form is"
            ' {"role": "user", "parts": [{"text": "..."}]}.'
        )
    blobs = [part["inlineData"] for part in content["parts"] if isinstance(part.get("inlineData"), dict)]
    if not all(blob.get("data", "-") for blob in blobs):
        raise ConfigurationError("A part of the input has empty data: there is nothing to send.")
    said = [any(_is_data(key, value) for key, value in part.items()) for part in content["parts"]]
    for part, says in zip(content["parts"], said, strict=True):
        if not says and not (part.keys() == {"videoMetadata"} and any(said)):
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


def _part_in(item: Any, inline_bytes: int | None = None) -> Part:
    if isinstance(item, FilePart):
        return cast(Part, item)
    if isinstance(item, str):
        if not item.strip():
            raise ConfigurationError("The text to send is empty.")
        return {"text": item}
    is_data = isinstance(item, (bytes, bytearray, memoryview, Path)) or is_pil(item)
    if is_data or callable(getattr(item, "read", None)):
        return _of_file(item, inline_bytes)
    if isinstance(item, UploadedFile):
        return cast(Part, FilePart.of(item))
    if hasattr(item, "uri") and hasattr(item, "mime_type"):  # types.File
        expires = getattr(item, "expiration_time", None)
        known = UploadedFile(
            uri=item.uri,
            mime_type=item.mime_type,
            name=getattr(item, "display_name", None) or getattr(item, "name", None) or "",
            expires=None if expires is None else expires.timestamp(),
        )
        return cast(Part, FilePart.of(known)) if known.expires is not None else known.part()
    if isinstance(item, (Mapping, BaseModel)):
        wire = to_wire(item)
        if "data" in wire and "mimeType" in wire:  # types.Blob
            return {"inlineData": wire}
        if "fileUri" in wire:  # types.FileData
            return {"fileData": wire}
        if isinstance(wire.get("uri"), str) and "name" in wire:  # the dump of a types.File
            return {"fileData": {"fileUri": wire["uri"], "mimeType": wire.get("mimeType")}}
        return cast(Part, wire)
    raise ConfigurationError(
        f"{type(item).__name__} isn't a valid input. Give a str, a part or content (dict or google.genai.types), "
        "bytes or an open file of an image, a sound, a video, a PDF or a text, a pathlib.Path, or a list of those."
    )


def _of_file(value: Any, inline_bytes: int | None) -> Part:
    """Make the part of a file: its text under its name, its bytes, or where it is too large, what is to be uploaded."""
    file = local_file(value)
    if inline_bytes is not None and file.size > inline_bytes:
        return cast(Part, FilePart.of(file))
    data = file.read()
    if file.mime_type.startswith("text/") and (text := text_in_bytes(data, name=file.name)) is not None:
        return {"text": text if file.name == "file" else f"{file.name}:\n{text}"}
    return blob_part(data, file.mime_type)


_YOUTUBE = re.compile(
    r"https?://(?:(?:www\.|m\.)?youtube\.com/(?:watch\?\S+|shorts/\S+|live/\S+)|youtu\.be/\S+)", re.I
)


def _url(item: Any) -> Any:
    """Return the part of a str that is the URL of a file which the server reads itself; else what is given."""
    if not isinstance(item, str):
        return item
    if _YOUTUBE.fullmatch(item.strip()):
        return {"fileData": {"fileUri": item.strip(), "mimeType": "video/mp4"}}
    if not re.fullmatch(r"gs://\S+", item.strip()):
        return item
    kind = mimetypes.guess_type(item.strip())[0]
    if kind is None:
        raise ConfigurationError(
            f"Can't tell what kind of data {item.strip()!r:.200} is. Give its type: "
            "{'fileData': {'fileUri': 'gs://...', 'mimeType': 'video/mp4'}}."
        )
    return {"fileData": {"fileUri": item.strip(), "mimeType": kind}}


def blob_part(data: bytes, mime_type: str) -> Part:
    """Make a part of bytes."""
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode("ascii")}}


def to_types(contents: Iterable[Content]) -> list[types.Content]:
    """Hand contents out as `google.genai.types.Content`. What the SDK doesn't know of a part is lost."""
    from google.genai import types

    return [types.Content.model_validate(content) for content in contents]
