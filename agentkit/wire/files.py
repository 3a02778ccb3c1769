"""Files on their way to a model: those that are here, and those that the server keeps for a while."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.wire.arguments import reader
from agentkit.wire.content import JsonObject, Part
from agentkit.wire.mime import encode_pil, is_pil, sniff, text_in_bytes

_BEGINNING = 1 << 16
"""So many bytes are looked at to tell what kind of data a file is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file to be uploaded: one on the disk, or bytes."""

    name: str
    """What the model and people know it by."""
    mime_type: str
    size: int
    path: Path | None = None
    data: bytes | None = None
    lost: str = ""
    """The URI under which the server no longer has it, if it was uploaded before."""

    def open(self) -> io.BufferedReader | io.BytesIO:
        """Open it for reading. Raises OSError."""
        return self.path.open("rb") if self.path is not None else io.BytesIO(self.data or b"")

    def read(self) -> bytes:
        """Read it whole. Raises OSError."""
        return self.path.read_bytes() if self.path is not None else self.data or b""

    def sha256(self) -> str:
        """Return the hash of what is in it. Raises OSError."""
        with self.open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file that the server keeps, returned by `agent.upload`. Give it to a run or a chat like any other input."""

    uri: str
    mime_type: str
    name: str = ""
    sha256: str = ""
    path: str | None = None
    """Where it was on the disk. It is uploaded again from there when it has expired."""
    expires: float | None = None
    """When the server deletes it, in seconds since 1970 (UTC)."""
    at: str = ""
    """The endpoint, and the key that uploaded it; other keys can't read it."""

    def to_wire(self) -> JsonObject:
        """Return it as JSON, as in a message's `files`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            "mimeType" if key == "mime_type" else key: value
            for key, value in values.items()
            if value not in (None, "")
        }

    @classmethod
    @reader
    def from_wire(cls, wire: JsonObject) -> UploadedFile:
        """Read what `to_wire` returned. Raises ConfigurationError if it is something else."""
        names = {each.name: "mimeType" if each.name == "mime_type" else each.name for each in fields(cls)}
        return cls(**{name: wire[key] for name, key in names.items() if key in wire})

    def part(self) -> Part:
        """Return the part that refers to it."""
        data = {"fileUri": self.uri, "mimeType": self.mime_type}
        return {"fileData": {key: value for key, value in data.items() if value}}  # type: ignore[typeddict-item]


def file_uri(part: Mapping[str, Any]) -> str:
    """Return the URI of a file's part; empty if it is none."""
    data = part.get("fileData")
    return str(data.get("fileUri", "")) if isinstance(data, dict) else ""


def inline_size(part: Mapping[str, Any]) -> int:
    """Return how many characters of base64 are in a part; 0 if it is none with data."""
    blob = part.get("inlineData")
    data = blob.get("data") if isinstance(blob, dict) else None
    return len(data) if isinstance(data, str) else 0


class FilePart(dict[str, Any]):
    """A part of a file, from the input to where it is uploaded. No part that comes as data is one."""

    __slots__ = ("file",)
    file: LocalFile | UploadedFile

    @classmethod
    def of(cls, file: LocalFile | UploadedFile) -> FilePart:
        """Make the part; what is still to be uploaded has the name in place of a URI."""
        uri = file.uri if isinstance(file, UploadedFile) else file.name
        made = cls({"fileData": {"fileUri": uri, "mimeType": file.mime_type}})
        made.file = file
        return made


def local_file(value: Any, name: str | None = None) -> LocalFile:
    """Look at a path, bytes, an open binary file or an image of Pillow: what kind of data it is.

    Its content says that, and then its name. A file that can be rewound is read from its beginning, as google-genai
    does.

    Raises:
        ConfigurationError: It isn't a file, or is empty, or nobody can tell what kind of data it is.
        OSError: It can't be read.
    """
    path: Path | None = None
    data: bytes | None = None
    if is_pil(value):
        value = encode_pil(value)[0]
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        name, size = name or path.name, path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(_BEGINNING)
    elif not isinstance(value, (bytes, bytearray, memoryview)) and not callable(getattr(value, "read", None)):
        raise ConfigurationError(f"{value!r:.100} isn't a file: give a path, bytes or an open binary file.")
    else:
        data = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else _read(value)
        if not isinstance(data, bytes):
            raise ConfigurationError(f"{value!r:.100} gives text: open it in binary mode, or give its text.")
        opened = getattr(value, "name", None)
        name = name or (Path(opened).name if isinstance(opened, str) else None)
        begin, size = data[:_BEGINNING], len(data)
    if not begin:
        raise ConfigurationError(f"{path or name or 'What was given'} is empty: there is nothing to send.")
    guessed = mimetypes.guess_type(name or "")[0] or ""
    kind = sniff(begin)
    is_named = kind is None and name is not None
    if is_named and text_in_bytes(begin, is_whole=size == len(begin), name=name) is not None:
        kind = guessed if guessed.startswith("text/") else "text/plain"
    elif kind is None and not guessed.startswith("text/"):
        kind = guessed
    if not kind:
        raise ConfigurationError(
            f"Can't tell what kind of data {path or name or 'bytes'} is. Give its type: "
            "{'inlineData': {'mimeType': 'image/png', 'data': ...}}."
        )
    return LocalFile(name=name or "file", mime_type=kind, size=size, path=path, data=data)


def _read(file: Any) -> Any:
    """Read an open file whole: what has just been written to it, or was read before, too."""
    seekable = getattr(file, "seekable", None)
    if callable(seekable) and seekable():
        file.seek(0)
    return file.read()
