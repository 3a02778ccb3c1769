"""Media in what a tool returned: found at any depth, and taken out as parts that the model gets to see."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, ValuesView
from typing import Any

from pydantic import BaseModel

from agentkit.tooling.results import Media, decoded, in_full, is_google, is_plain
from agentkit.wire.content import JsonObject
from agentkit.wire.mime import encode_pil, is_pil, sniff

_BYTES = (bytes, bytearray, memoryview)
_LISTS = (list, tuple, set, frozenset, deque, ValuesView)
_KEYS = frozenset(("inlineData", "inline_data", "fileData", "file_data"))
_ASIDE = ("thought", "thoughtSignature", "thought_signature", "mediaResolution", "mediaProcessing")
_GOOGLE = ("Blob", "FileData", "FunctionResponseBlob", "FunctionResponseFileData", "Image", "Video", "File")
_UNKNOWN = "application/octet-stream"


def split_media(value: Any) -> tuple[Any, list[JsonObject]]:
    """Take the media out of a result: what is left, and their parts, `inlineData` or `fileData`.

    Media are `Media`, the bytes of an image, a sound or a PDF, PIL images, parts in wire JSON, and of
    google.genai parts, `Image`, `Video`, `Blob`, `FileData` and `File`; alone, or in lists, dicts, models,
    dataclasses and iterators, at any depth.

    In their place is a line that names them. Of a list of media and others, the others are left; one of them
    stands alone.
    """
    if is_plain(value):
        return value, []
    if (part := _media(value)) is not None:
        return _attached([part]), [part]
    if isinstance(value, Iterator):
        value = in_full(value)
    parts: list[JsonObject] = []
    if type(value) not in (list, tuple):
        return _without_media(value, parts), parts
    rest, found = [], False
    for item in value:
        if not is_plain(item) and (part := _media(item)) is not None:
            parts.append(part)
            found = True
        else:
            rest.append(_without_media(item, parts))
    if not found:
        return (rest if parts else value), parts
    if not rest:
        return _attached(parts), parts
    return (rest[0] if len(rest) == 1 else rest), parts


def _without_media(value: Any, parts: list[JsonObject]) -> Any:
    """Put a line in the place of each of the media in a value, and their parts in the list; the value isn't changed."""
    if is_plain(value):
        return value
    if (part := _media(value)) is not None:
        parts.append(part)
        return _attached([part])
    if isinstance(value, Mapping):
        items = (
            value.items() if _KEYS.isdisjoint(value) else [(key, _as_part(key, value[key])) for key in value]
        )
        return _changed(value, {key: _without_media(item, parts) for key, item in items})
    if isinstance(value, Iterator):
        value = in_full(value)
    if isinstance(value, _LISTS):
        items = [_without_media(item, parts) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, BaseModel):
        fields = {name: _without_media(item, parts) for name, item in _fields(value).items()}
        changed = {name: item for name, item in fields.items() if item is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_without(value, parts)
    return value


def _changed(old: Mapping[Any, Any], new: dict[Any, Any]) -> Mapping[Any, Any]:
    return new if any(item is not old[key] for key, item in new.items()) else old


def _as_part(key: Any, item: Any) -> Any:
    """Give the media under the wire's own key as a part, for what is beside them isn't part of it."""
    return {key: item} if key in _KEYS and _media({key: item}) is not None else item


def _fields(model: BaseModel) -> dict[str, Any]:
    known = type(model).model_fields
    seen = {name: item for name, item in vars(model).items() if name not in known or not known[name].exclude}
    return {**seen, **(model.model_extra or {})}


def _dataclass_without(value: Any, parts: list[JsonObject]) -> Any:
    fields = {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
    changed = {name: _without_media(item, parts) for name, item in fields.items()}
    if all(changed[name] is item for name, item in fields.items()):
        return value
    made = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(made, name, item)
    return made


def _media(value: Any) -> JsonObject | None:
    """Make a part of a value, if it is one of the media."""
    if type(value) in (list, tuple):
        return None
    if isinstance(value, Media):
        return value.to_wire()
    if isinstance(value, _BYTES):
        data = bytes(value)
        mime_type = sniff(data)
        return Media(data, mime_type).to_wire() if mime_type else None
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if is_google(value):
        return _of_google(value)
    return Media(*encode_pil(value)).to_wire() if is_pil(value) else None


def _of_mapping(value: Mapping[Any, Any]) -> JsonObject | None:
    if _KEYS.isdisjoint(value):
        return None
    keys = [key for key in value if value[key] is not None and key not in _ASIDE and not _is_metadata(key)]
    if len(keys) != 1 or keys[0] not in _KEYS or not isinstance(value[keys[0]], Mapping):
        return None
    blob = value[keys[0]]
    mime_type = blob.get("mimeType") or blob.get("mime_type")
    name = blob.get("displayName") or blob.get("display_name")
    if keys[0] in ("fileData", "file_data"):
        uri = blob.get("fileUri") or blob.get("file_uri")
        return _file(uri, mime_type, name) if isinstance(uri, str) else None
    data = blob.get("data")
    if isinstance(data, str):
        data = decoded(data)
    return Media(data, mime_type or _UNKNOWN, name).to_wire() if isinstance(data, bytes) else None


def _is_metadata(key: Any) -> bool:
    return isinstance(key, str) and key.endswith(("Metadata", "_metadata"))


def _of_google(value: Any) -> JsonObject | None:
    inner = getattr(value, "inline_data", None) or getattr(value, "file_data", None)
    if inner is not None:
        return _of_google(inner)
    if type(value).__name__ not in _GOOGLE:
        return None
    data = _first(value, ("data", "image_bytes", "video_bytes"))
    uri = _first(value, ("file_uri", "gcs_uri", "uri"))
    mime_type, name = _first(value, ("mime_type",)), _first(value, ("display_name",))
    if data:
        return Media(data, mime_type or sniff(data) or _UNKNOWN, name).to_wire()
    return _file(uri, mime_type, name) if uri else None


def _first(value: Any, names: Iterable[str]) -> Any:
    return next((found for name in names if (found := getattr(value, name, None))), None)


def _file(uri: str, mime_type: str | None, name: str | None) -> JsonObject:
    fields = {"fileUri": uri, "mimeType": mime_type, "displayName": name}
    return {"fileData": {key: item for key, item in fields.items() if item}}


def _attached(parts: list[JsonObject]) -> str:
    return f"attached: {', '.join(_name_of(part) for part in parts)}"


def _name_of(part: JsonObject) -> str:
    blob = part.get("inlineData") or part["fileData"]
    kind = blob.get("mimeType", "a file")
    name = blob.get("displayName") or blob.get("fileUri")
    return f"{name} ({kind})" if name else str(kind)
