"""The door: what users have in their hands becomes wire JSON here, and nowhere else.

Dicts in camelCase or snake_case and `google.genai.types` objects are taken, and `to_types` hands the latter
out. Everything is copied, so that what a user does with it afterwards changes nothing in a history.
"""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agentkit.errors import ConfigurationError, HistoryError
from agentkit.wire.content import Content, JsonObject, KeptContent, Part, keep
from agentkit.wire.history import check

if TYPE_CHECKING:
    from google.genai import types

UserInput = Any
"""A str; a part or a content, as a dict in either casing or of `google.genai.types`; an image, audio or PDF
as bytes or as a `pathlib.Path`; an uploaded `types.File`; or a list of those."""

# What is under these keys is the user's or the model's own data: its keys stay as they are.
_OPAQUE = frozenset({"args", "response", "partMetadata"})

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_FTYP = {b"heic": "image/heic", b"mif1": "image/heif", b"avif": "image/avif"}

_REQUEST_LEVEL = frozenset(
    {"safetySettings", "cachedContent", "labels", "tools", "toolConfig", "serviceTier"}
)
_NOT_HERE = {
    "systemInstruction": "give Agent(instructions=...)",
    "httpOptions": "give GeminiModel(http_options=...)",
    "automaticFunctionCalling": "agentkit runs the calls itself",
    "automaticContinuation": "agentkit makes each request itself",
    "shouldReturnHttpResponse": "agentkit reads the reply itself",
}


def camel(key: str) -> str:
    """Turn a snake_case key into the wire's camelCase; other keys stay."""
    return re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda match: match[1].upper(), key)


def to_wire(value: Any) -> Any:
    """Copy a value as wire JSON: keys in camelCase, bytes as base64, `google.genai.types` objects as dicts.

    Raises:
        ConfigurationError: Something in it has no place in JSON.
    """
    if hasattr(value, "model_dump"):
        value = value.model_dump(by_alias=True, exclude_none=True)
    if isinstance(value, Mapping):
        out: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigurationError(f"A key of wire JSON is a str, not {key!r}.")
            name = camel(key)
            out[name] = _copy(item) if name in _OPAQUE else to_wire(item)
        return out
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    return _scalar(value)


def _copy(value: Any) -> Any:
    """Copy data whose keys are not ours."""
    if isinstance(value, Mapping):
        return {str(key): _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    return _scalar(value)


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
    """Take a history from outside: copy it as wire JSON and check it.

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
    contents = [_content_in(index, content) for index, content in enumerate(history)]
    check(contents)
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
        wire = to_wire(content)
    except ConfigurationError as error:
        raise HistoryError(f"contents[{index}]: {error}", index=index, rule=4) from None
    if isinstance(wire.get("parts"), list):
        wire["parts"] = [{"text": part} if isinstance(part, str) else part for part in wire["parts"]]
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
    items: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
    contents: list[Any] = []
    open_parts: list[Part] = []
    for item in items:
        if _is_content(item):
            if open_parts:
                contents.append({"role": "user", "parts": open_parts})
                open_parts = []
            contents.append({"role": "user", **item} if isinstance(item, Mapping) else item)
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
    return wire


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
    if (isinstance(item, Mapping) and item) or hasattr(item, "model_dump"):
        return cast(Part, to_wire(item))
    raise ConfigurationError(
        f"{type(item).__name__} is no input. Give a str, a part or content (dict or google.genai.types), "
        "bytes of an image, a pathlib.Path, or a list of those."
    )


def blob_part(data: bytes, mime_type: str) -> Part:
    """Make a part of bytes."""
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode("ascii")}}


def _sniff(data: bytes, where: str = "bytes") -> str:
    for magic, mime_type in _MAGIC:
        if data.startswith(magic):
            return mime_type
    known = (
        _RIFF.get(data[8:12])
        if data[:4] == b"RIFF"
        else _FTYP.get(data[8:12])
        if data[4:8] == b"ftyp"
        else None
    )
    if known:
        return known
    raise ConfigurationError(
        f"Can't tell what kind of data {where} is. Give its type: "
        "{'inlineData': {'mimeType': 'image/png', 'data': ...}}."
    )


def config_in(config: Any) -> JsonObject:
    """Turn a `types.GenerateContentConfig`, or a dict of its fields in either casing, into request fields.

    Raises:
        ConfigurationError: A field has its place elsewhere, or asks for more than one candidate.
    """
    if config is None:
        return {}
    if not isinstance(config, Mapping) and not hasattr(config, "model_dump"):
        raise ConfigurationError(
            f"config= is a dict or a types.GenerateContentConfig, not {type(config).__name__}."
        )
    wire = cast(JsonObject, to_wire(config))
    generation = dict(wire.pop("generationConfig", None) or {})
    request: JsonObject = {}
    for key, value in wire.items():
        if key in _NOT_HERE:
            raise ConfigurationError(f"config[{key!r}] has no effect here: {_NOT_HERE[key]}.")
        if key in _REQUEST_LEVEL:
            request[key] = value
        else:
            generation[key] = value
    if (generation.get("candidateCount") or 1) != 1:
        raise ConfigurationError("config['candidateCount']: a run follows one candidate; leave it out.")
    if any("functionDeclarations" in tool for tool in request.get("tools") or ()):
        raise ConfigurationError(
            "config['tools'] is for the server's own tools; functions go in Agent(tools=[...])."
        )
    if generation:
        request["generationConfig"] = generation
    return request


def to_types(contents: Iterable[Content]) -> list[types.Content]:
    """Hand contents out as `google.genai.types.Content`. What the SDK doesn't know of a part is lost."""
    from google.genai import types

    return [types.Content.model_validate(content) for content in contents]
