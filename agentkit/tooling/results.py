"""What a tool returned, as the model gets it: JSON, media apart, within a size."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import mimetypes
import os
import re
import wave
from collections import deque
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from agentkit.errors import ConfigurationError
from agentkit.tooling.names import READ_RESULT
from agentkit.wire.arguments import checked
from agentkit.wire.content import MAX_DEPTH, Blob, Json, JsonObject, Part, is_json

_SCALARS = (str, int, float, bool, type(None))
_LISTS = (list, tuple, range, deque, KeysView, ValuesView, ItemsView)
_PLAIN = frozenset(_SCALARS)
_BYTES = (bytes, bytearray, memoryview)
_LONGEST_ITERATOR = 100_000

_NULLED = "Numbers that JSON can't hold (NaN, Infinity) are null in this result."


@checked
@dataclass(frozen=True, slots=True)
class Media:
    """An image, audio or a file: returned by a tool for the model to see, or made by a model (`run.media`)."""

    data: bytes
    mime_type: str
    name: str | None = None
    """A file name for the model to refer to."""
    uri: str = ""
    """Where it is, if the model only says that; `data` is empty then."""

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"Media({self.uri or f'{len(self.data)} bytes'}, {self.mime_type!r}{name})"

    def to_wire(self) -> JsonObject:
        """Return it as a part: base64 `inlineData`, or `fileData` if all that is known of it is its URI."""
        if self.uri:
            found = {"fileUri": self.uri, "mimeType": self.mime_type, "displayName": self.name}
            return {"fileData": {key: value for key, value in found.items() if value}}
        blob: Blob = {"mimeType": self.mime_type, "data": base64.b64encode(self.data).decode()}
        if self.name:
            blob["displayName"] = self.name
        return {"inlineData": blob}

    @checked
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file and return the path. A path without an extension gets the one of the media type.

        Raw audio, as in Gemini's speech (`audio/L16`), becomes a WAV file if the path ends in .wav or has no
        extension.

        Raises:
            ConfigurationError: The path names no file, or the data are at a URI.
            OSError: The file can't be written.
        """
        if self.uri:
            raise ConfigurationError(
                f"Media.save({path!r}): the data aren't here. Fetch them from {self.uri}."
            )
        file = Path(path)
        if not file.name:
            raise ConfigurationError(f"Media.save({path!r}): give the path of a file.")
        kind, _, options = self.mime_type.partition(";")
        is_raw = _is_raw_sound(kind)
        if not file.suffix:
            file = file.with_name(file.name + (".wav" if is_raw else mimetypes.guess_extension(kind) or ""))
        if is_raw and file.suffix.lower() == ".wav":
            rate = re.search(r"rate=(\d{1,6})\b", options)
            with wave.open(str(file), "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(int(rate[1]) if rate else 24_000)
                sound.writeframes(self.data)
        else:
            file.write_bytes(self.data)
        return file


def media_in(parts: Iterable[Part]) -> list[Media]:
    """List the media in parts of a content, those in thoughts left out."""
    found: list[Media] = []
    sounds: dict[int, list[bytes]] = {}
    for part in parts:
        blob: Any = part.get("inlineData") or part.get("fileData")
        if not part.get("thought") and isinstance(blob, dict):
            kind = str(blob.get("mimeType") or "application/octet-stream")
            data, uri = decoded(str(blob.get("data") or "")), str(blob.get("fileUri") or "")
            goes_on = bool(found) and found[-1].mime_type == kind and not (uri or found[-1].uri)
            if goes_on and _is_raw_sound(kind):  # it came in pieces
                sounds.setdefault(len(found) - 1, [found[-1].data]).append(data or b"")
            else:
                found.append(Media(data or b"", kind, blob.get("displayName"), uri))
    for index, pieces in sounds.items():
        found[index] = replace(found[index], data=b"".join(pieces))
    return found


def _is_raw_sound(mime_type: str) -> bool:
    return mime_type.partition(";")[0].strip().lower() in ("audio/l16", "audio/pcm")


def decoded(data: str) -> bytes | None:
    """Decode base64 in either alphabet: the SDK writes the URL's, and the server takes both. None if it isn't any."""
    try:
        return base64.b64decode(data.translate(str.maketrans("-_", "+/")) + "==")
    except ValueError:
        return None


def to_json(value: Any) -> Json:
    """Turn a Python value into JSON values, by pydantic.

    Models go by alias, dates as ISO 8601, Decimal as exact text, bytes as base64 of the standard alphabet (in
    a pydantic model: as its config says), iterators as lists, sets as sorted lists, so that the same result is
    the same text every time.

    Raises:
        ValueError: There is something in it that JSON can't hold, or an iterator goes on for too long. (A NaN is
            left in: `json.dumps` refuses it.)
    """
    if type(value) in _SCALARS:
        return value
    if isinstance(value, _BYTES):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {_key(key): to_json(item) for key, item in value.items()}
    if isinstance(value, _LISTS):
        return [to_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        items = [to_json(item) for item in value]
        try:
            return sorted(items)
        except TypeError:
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, Iterator):
        return [to_json(item) for item in in_full(value)]
    if is_google(value):
        return to_json(value.model_dump(by_alias=True, exclude_none=True, warnings=False))
    is_instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if is_instance and not hasattr(value, "__pydantic_serializer__"):
        return {each.name: to_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return to_jsonable_python(value, by_alias=True, bytes_mode="base64", serialize_as_any=True)


def in_full(iterator: Iterator[Any]) -> list[Any]:
    """Collect what an iterator gives.

    Raises:
        ValueError: It gives more than anybody would read; it may never end.
    """
    items = list(islice(iterator, _LONGEST_ITERATOR + 1))
    if len(items) > _LONGEST_ITERATOR:
        raise ValueError(f"the {type(iterator).__name__} gives more than {_LONGEST_ITERATOR:,} items")
    return items


def _key(key: Any) -> str:
    return key if type(key) is str else str(next(iter(to_jsonable_python({key: None}))))


def sendable(output: Json, source: Any = None) -> tuple[Json, str, str | None]:
    """Make of a result what the server takes; return it, its JSON, and a note to the model if it needs one.

    NaN and infinities are null; `source`, what the output was made of, tells where they were. A result with a key
    `$ref` at any depth is its JSON text: the server would take it for a reference to a part (rule 11). So is one that
    is nested deeper than a history may be.
    """
    is_changed = False
    try:
        text = to_text(output)
    except ValueError:
        output, is_changed = _finite(output), True
        text = to_text(output)
    is_changed = is_changed or ("null" in text and _has_nan(source))  # pydantic makes null of them by itself
    is_deep = text.count("{") + text.count("[") > MAX_DEPTH and not is_json(output)
    if is_deep or ('"$ref"' in text and _has_ref(output)):
        output, text = text, to_text(text)
    return output, text, _NULLED if is_changed else None


def is_plain(value: Any) -> bool:
    """Return whether a value is JSON, a flat list or a flat dict of it; most of what tools return is made of such."""
    kind = type(value)
    if kind is list:
        return _PLAIN.issuperset(map(type, value))
    if kind is dict:
        return _PLAIN.issuperset(map(type, value.values()))
    return kind in _PLAIN


def _has_nan(value: Any, *, in_model: bool = False) -> bool:
    """Return whether a number in a model, which pydantic makes null by itself, is one that JSON can't hold."""
    if not in_model and is_plain(value):
        return False
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(_has_nan(item, in_model=in_model) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return any(_has_nan(item, in_model=in_model) for item in value)
    if isinstance(value, type) or not hasattr(value, "__pydantic_serializer__"):
        return False
    fields = type(value).__pydantic_fields__
    seen = (item for name, item in vars(value).items() if name not in fields or not fields[name].exclude)
    return any(_has_nan(item, in_model=True) for item in seen)


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _has_ref(value: Json) -> bool:
    if isinstance(value, dict):
        return "$ref" in value or any(map(_has_ref, value.values()))
    return isinstance(value, list) and any(map(_has_ref, value))


def cut(
    output: Json, max_chars: int, *, key: str | None = None, text: str | None = None
) -> tuple[Json, str | None]:
    """Give back `output` and None; or, if its JSON is longer than `max_chars`, its beginning and the whole text.

    The beginning ends with a mark that says what is missing and, with a `key`, how to read on. `text` is the JSON
    of the output, where there is one already.

    Raises:
        ValueError: There is a NaN or an infinity in it.
    """
    text = to_text(output) if text is None else text
    if len(text) <= max_chars:
        return output, None
    whole = output if isinstance(output, str) else text
    return excerpt(whole, 0, max_chars, key=key), whole


def excerpt(whole: str, offset: int, max_chars: int, *, key: str | None = None) -> str:
    """Give a text from an offset on, within `max_chars` of JSON; a mark says what is missing and how to read on."""
    room = max_chars
    while True:
        end = offset + room
        shown = whole[offset:end]
        if end < len(whole):
            shown += f"... [cut: {len(whole) - end:,} of {len(whole):,} characters are missing"
            shown += f"; {READ_RESULT}(id={json.dumps(key)}, offset={end})]" if key else "]"
        length = len(to_text(shown))  # quotes and line ends take two characters in JSON
        if length <= max_chars or room == 0:
            return shown
        room = min(room - 1, room * max_chars // length)


def to_text(value: Json) -> str:
    """Write JSON as a person reads it. Raises ValueError if there is a NaN in it."""
    return _READABLE.encode(value)


_READABLE = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def is_google(value: Any) -> bool:
    """Return whether a value is an object of google.genai."""
    return type(value).__module__.startswith("google.genai") and hasattr(value, "model_dump")
