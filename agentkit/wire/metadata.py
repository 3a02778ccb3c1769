"""What a candidate says beside its content: chunks of a stream add to one another (rule 19)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from agentkit.wire.content import Json, JsonObject, Part, Reply, is_json

_KEPT_ELSEWHERE: Final = frozenset(
    {"candidates", "usageMetadata", "content", "finishReason", "index", "continuationToken"}
)


def beside(reply: Reply) -> JsonObject | None:
    """Return what a reply says beside its content, usage and finish reason, in the wire's names; None if nothing.

    What JSON can't hold, as a logarithm of zero, is left out: it could be neither stored nor sent.
    """
    candidates = reply.get("candidates")
    told: Mapping[str, Any] = {**reply, **candidates[0]} if candidates else reply
    said = {
        key: value
        for key, value in told.items()
        if key not in _KEPT_ELSEWHERE and (type(value) is str or is_json(value))
    }
    return said or None


_STEPS: Final = frozenset({"chosenCandidates", "topCandidates"})
"""Lists with an item for each token: two chunks that say the same say it of two tokens."""

_SOUGHT: Final = {
    "groundingMetadata": "Google's search, maps or file search",
    "groundingAttributions": "Google's search",
    "urlContextMetadata": "url_context",
    "urlRetrievalMetadata": "url_context",
}
"""What Gemini's own tools leave beside a content when they have read something, and which they are."""


def server_tool_read(parts: Iterable[Part], metadata: Mapping[str, Any] | None, tokens: int) -> str | None:
    """Name a tool of Gemini's own whose words a reply has read, or return None.

    Such a tool (search, maps, file search, url_context, remote MCP servers) shows in a `toolResponse`, in what the
    candidate says beside its content, or in the tokens of the server's tools alone. Code that the model ran itself
    brings in nobody's words.

    Args:
        parts: Of the reply.
        metadata: What it said beside them.
        tokens: Of the server's own tools, by the reply's usage.
    """
    ran_code = False
    for each in parts:
        part: Mapping[str, Any] = each
        if "toolResponse" in part:
            response = part["toolResponse"]
            kind = response.get("toolType") or response.get("name") if isinstance(response, dict) else None
            return str(kind).lower() if kind else "a tool of Gemini's own"
        ran_code = ran_code or "codeExecutionResult" in part
    for key, name in _SOUGHT.items() if metadata and not metadata.keys().isdisjoint(_SOUGHT) else ():
        said = (metadata or {}).get(key)
        if any(said.values()) if isinstance(said, dict) else said:
            return name
    return "a tool of Gemini's own" if tokens and not ran_code else None


def merged(
    before: Mapping[str, Any], added: Mapping[str, Any], grown: dict[int, list[Any]] | None = None
) -> JsonObject:
    """Add what a chunk says to what those before it said.

    Lists grow, unless the new one says all of the old one again; an object's fields are merged, anything else is
    replaced. The supports of a stream count its sources from the first chunk on; see `counted_on`.

    Args:
        before: What was said so far.
        added: What the chunk says.
        grown: The lists that earlier calls made, by their identity: they grow in place, so that a long stream takes
            no longer for each chunk the longer it is. Without it, `before` stays as it is.
    """
    made: JsonObject = dict(before)
    for key, value in added.items():
        old = made.get(key)
        if value is None:
            continue
        if key == "safetyRatings" and isinstance(value, list) and isinstance(old, list):
            made[key] = _by_category(old, value)
        elif isinstance(value, dict) and isinstance(old, dict):
            made[key] = merged(old, value, grown)
        elif isinstance(value, list) and isinstance(old, list):
            again = key not in _STEPS and value[: len(old)] == old
            made[key] = value if again else _longer(old, value, grown)
        else:
            made[key] = value
    return made


def _longer(old: list[Any], more: list[Any], grown: dict[int, list[Any]] | None) -> list[Any]:
    if grown is None:
        return old + more
    longer = grown.get(id(old))
    if longer is None:
        longer = list(old)
        grown[id(longer)] = longer
    longer += more
    return longer


def shifted(metadata: JsonObject | None, before: Sequence[Part], *, joined: bool = False) -> JsonObject:
    """Return what was said of a reply that goes on behind these parts: where it counts parts and bytes, on from them.

    Args:
        metadata: What was said.
        before: The parts that stand before those of the reply.
        joined: Whether its first text became one with the last of them.
    """
    if not before or not metadata:
        return metadata or {}
    made, parts = dict(metadata), len(before) - joined
    grounding, cited = metadata.get("groundingMetadata"), metadata.get("citationMetadata")
    if isinstance(grounding, dict) and isinstance(supports := grounding.get("groundingSupports"), list):
        last = len(before[-1].get("text", "").encode(errors="replace")) if joined else 0
        moved = [_support_moved(support, parts, last) for support in supports]
        made["groundingMetadata"] = {**grounding, "groundingSupports": moved}
    if isinstance(cited, dict):  # those count from the beginning of the text
        said = "".join(part.get("text") or "" for part in before if not part.get("thought"))
        by = len(said.encode(errors="replace"))
        lists = {key: value for key, value in cited.items() if isinstance(value, list)}
        made["citationMetadata"] = {
            **cited,
            **{key: [_counted_from(each, by) for each in value] for key, value in lists.items()},
        }
    return made


def _support_moved(support: Any, parts: int, last: int) -> Any:
    """Count the part of a support on, and in the first part the bytes too."""
    segment = support.get("segment") if isinstance(support, dict) else None
    if not isinstance(segment, dict):
        return support
    index = segment.get("partIndex")
    index = index if type(index) is int else 0
    segment = segment if index else _counted_from(segment, last)
    return {**support, "segment": {**segment, "partIndex": index + parts}}


def _counted_from(segment: Any, by: int) -> Any:
    """Count a segment's bytes on by so many; one that names none stays as it is."""
    if not by or not isinstance(segment, dict) or type(end := segment.get("endIndex")) is not int:
        return segment
    begin = segment.get("startIndex")
    return {**segment, "startIndex": (begin if type(begin) is int else 0) + by, "endIndex": end + by}


def counted_on(before: Mapping[str, Any], added: JsonObject) -> JsonObject:
    """Return what a reply says that goes on with another, its supports' indices counted on from the other's sources."""
    old, new = before.get("groundingMetadata"), added.get("groundingMetadata")
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return added
    known, chunks, supports = (
        old.get("groundingChunks"),
        new.get("groundingChunks"),
        new.get("groundingSupports"),
    )
    if not (isinstance(chunks, list) and isinstance(known, list) and isinstance(supports, list)):
        return added
    if chunks[: len(known)] == known:
        return added
    moved = [
        {**support, "groundingChunkIndices": [len(known) + index for index in indices_of(support)]}
        for support in supports
        if isinstance(support, dict)
    ]
    return {**added, "groundingMetadata": {**new, "groundingSupports": moved}}


def indices_of(support: Json) -> list[int]:
    """List the sources that a support names."""
    found = support.get("groundingChunkIndices") if isinstance(support, dict) else None
    return [index for index in found if type(index) is int] if isinstance(found, list) else []


def _by_category(old: list[Any], new: list[Any]) -> list[Any]:
    """Return ratings, the newest of each category."""

    def category(rating: Any) -> str:
        return str(rating.get("category")) if isinstance(rating, dict) else repr(rating)

    return list(({category(each): each for each in old} | {category(each): each for each in new}).values())
