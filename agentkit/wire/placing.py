"""Where the media of results stand in a request: by what the model that is asked takes (rule 10)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, cast

from agentkit.wire.content import Content, JsonObject, Part, keep


def holds_media(content: Content) -> bool:
    """Return whether a content has function responses with media in them."""
    return content["role"] == "user" and any(
        part["functionResponse"].get("parts") for part in content["parts"] if "functionResponse" in part
    )


def media_placed(content: Content, kinds: AbstractSet[str]) -> Content:
    """Return a content of function responses as a model takes it.

    Media of other kinds than these stand behind all the responses, each below a line that says whose it is.
    """
    parts: list[Part] = []
    behind: list[Part] = []
    for number, part in enumerate(content["parts"], 1):
        response: Any = part.get("functionResponse") or {}
        media: list[JsonObject] = response.get("parts") or []
        inside = [each for each in media if _kind_of(each) in kinds]
        for each in media:
            if _kind_of(each) not in kinds:
                behind += _standing_alone(each, f"the response of {response['name']!r}, part {number}")
        if len(inside) < len(media):
            kept = {"parts": inside} if inside else {}
            left = {key: value for key, value in response.items() if key != "parts"} | kept
            part = cast(Part, {**part, "functionResponse": left})
        parts.append(part)
    return keep({"role": content["role"], "parts": [*parts, *behind]}) if behind else content


def _kind_of(media: JsonObject) -> str | None:
    data: Any = media.get("inlineData") or media.get("fileData") or {}
    kind = data.get("mimeType")
    return str(kind).partition(";")[0].strip().lower() if kind else None


def _standing_alone(media: JsonObject, where: str) -> list[Part]:
    """Make parts of media of a response; their name, which only a response may have, is in the line."""
    key, data = next(((key, value) for key, value in media.items() if isinstance(value, dict)), ("", {}))
    name = data.get("displayName") or data.get("mimeType") or "a file"
    unnamed = {name: value for name, value in data.items() if name != "displayName"}
    return [{"text": f"{name}, of {where}:"}, cast(Part, {**media, key: unnamed} if key else media)]
