"""What a server says, as tools return it and as a history has it."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agentkit.errors import ToolError
from agentkit.tooling.results import Media
from agentkit.wire.content import Content, JsonObject, Part

MAX_ERROR = 2_000
"""Characters of a server's error that are told."""
_MIME = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}", re.ASCII)
_UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a server lets clients read."""

    uri: str
    """What `MCP.read` takes. With `{braces}` in it, it is a template."""
    name: str
    description: str = ""
    mime_type: str | None = None
    is_template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that a server has ready."""

    name: str
    description: str = ""
    arguments: tuple[str, ...] = ()
    """The names of what `MCP.prompt` is to be given."""
    required: tuple[str, ...] = ()
    """Those of them that must be given."""


def value_of(result: Any) -> Any:
    """Return what a tool of a server returned: a text, JSON, `Media`, or a list of those.

    Raises:
        ToolError: The server says that the call failed, or what it sent can't be read.
    """
    parts = [_value(block) for block in result.content]
    if result.is_error:
        texts = [part for part in parts if isinstance(part, str)]
        raise ToolError(clip("\n".join(texts)) or "The tool failed, and the server doesn't say why.")
    if result.structured_content is not None:  # the texts beside it say the same once more
        parts = [result.structured_content, *(part for part in parts if isinstance(part, Media))]
    return parts[0] if len(parts) == 1 else parts or None


def clip(said: Any) -> str:
    """Return the beginning of a server's words, as far as they are told; of what can't be read, why."""
    text = str(said)
    if isinstance(said, ValidationError):
        first = said.errors(include_url=False, include_context=False, include_input=False)[0]
        text = f"{first['msg']}, at {'.'.join(map(str, first['loc']))}"
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]}..."


def resource_values(contents: Any) -> list[str | Media]:
    """Return the contents of a resource: texts, and `Media` of the rest."""
    return [_resource(each) for each in contents]


def prompt_contents(messages: Any) -> list[Content]:
    """Return the messages of a prompt as contents of a history."""
    made: list[Content] = []
    for message in messages:
        value = _value(message.content)
        part: Part = value.to_wire() if isinstance(value, Media) else {"text": _as_text(value)}  # type: ignore[assignment]
        made.append({"role": "model" if message.role == "assistant" else "user", "parts": [part]})
    return made


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value.get("text") or value.get("uri"))


def _value(block: Any) -> Any:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            return _media(block.data, block.mime_type)
        case "resource":
            held = _resource(block.resource)
            return held if isinstance(held, Media) else {"uri": str(block.resource.uri), "text": held}
    link: JsonObject = {"uri": str(block.uri), "name": block.name}
    if block.description:
        link["description"] = block.description
    return {**link, "mime_type": block.mime_type} if block.mime_type else link


def _resource(contents: Any) -> str | Media:
    text = getattr(contents, "text", None)
    if isinstance(text, str):
        return text
    return _media(contents.blob, contents.mime_type, str(contents.uri).rpartition("/")[2][:128] or None)


def _media(data: str, mime_type: str | None, name: str | None = None) -> Media:
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolError(f"The MCP server sent media that isn't base64: {error}.") from error
    is_known = mime_type is not None and _MIME.fullmatch(mime_type)
    return Media(decoded, mime_type if is_known and mime_type else _UNKNOWN, name)
