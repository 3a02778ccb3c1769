"""What Gemini's own tools do while a reply comes, as events: from its parts, and from what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agentkit.events import Event, MediaDelta, ServerToolFinished, ServerToolStarted, SourcesFound
from agentkit.wire.content import JsonObject, Part
from agentkit.wire.metadata import beside
from agentkit.wire.reply import ReplyAssembler
from agentkit.wire.sources import Source, shift, sources_of, suggestions_of

_NAMES = {"GOOGLE_SEARCH_WEB": "google_search", "GOOGLE_SEARCH_IMAGE": "google_search"}
_QUERIES = {
    "webSearchQueries": "google_search",
    "imageSearchQueries": "google_search",
    "retrievalQueries": "retrieval",
}
"""Where a reply tells of searches that are in none of its parts, as those of 2.x do."""

FOUND: Final = frozenset({"groundingMetadata", "urlContextMetadata", "citationMetadata"})
"""Where a candidate says what it rests on."""


class ServerTools:
    """Makes events of the chunks of one reply.

    Args:
        mark: What the ids begin with that the server doesn't give.
    """

    def __init__(self, mark: str = "") -> None:
        self._mark = mark
        self._made = 0
        self._open: dict[str, str] = {}
        self._told: set[str] = set()
        """Tools whose calls are parts, and what was searched for and read besides."""

    def again(self) -> ServerTools:
        """Return what reads another reply to the same request."""
        return ServerTools(f"{self._mark}+")

    def part(self, part: Part | Mapping[str, Any]) -> Iterator[Event]:
        """Tell of a part."""
        if part.get("thought"):
            return
        if call := _object(part, "toolCall"):
            name = _name(call)
            self._told.add(name)
            yield self._start(name, _object(call, "args"), call.get("id"))
        elif answer := _object(part, "toolResponse"):
            yield self._finish(answer.get("id"), _name(answer), "", _object(answer, "response"))
        elif code := _object(part, "executableCode"):
            args = {key: value for key, value in code.items() if key != "id"}
            yield self._start("code_execution", args, code.get("id"))
        elif result := _object(part, "codeExecutionResult"):
            said = {key: value for key, value in result.items() if key not in ("id", "outcome")}
            outcome = str(result.get("outcome") or "")
            yield self._finish(result.get("id"), "code_execution", outcome, said)
        elif _object(part, "inlineData") or _object(part, "fileData"):
            yield MediaDelta(dict(part))

    def beside(self, candidate: Mapping[str, Any]) -> Iterator[Event]:
        """Tell of what a candidate, or a chunk of one, says beside its parts: searches and pages that it read."""
        grounding = _object(candidate, "groundingMetadata")
        for field, name in _QUERIES.items():
            queries = [query for query in _list(grounding, field) if query and isinstance(query, str)]
            if name not in self._told and (new := [query for query in queries if self._is_new(name, query)]):
                yield from self._both(name, {"queries": new}, "")
        for page in _list(_object(candidate, "urlContextMetadata"), "urlMetadata"):
            url = page.get("retrievedUrl") if isinstance(page, dict) else None
            if isinstance(url, str) and "url_context" not in self._told and self._is_new("url_context", url):
                status = str(page.get("urlRetrievalStatus") or "")
                yield from self._both("url_context", {"urls": [url]}, status)

    def end(self) -> Iterator[Event]:
        """End what has no result, as the searches of file search have none, when the reply is over."""
        for call_id, name in list(self._open.items()):
            yield self._finish(call_id, name, "", {})

    def _is_new(self, name: str, what: str) -> bool:
        key = f"{name} {what}"
        is_new = key not in self._told
        self._told.add(key)
        return is_new

    def _both(self, name: str, args: JsonObject, status: str) -> Iterator[Event]:
        started = self._start(name, args, None)
        yield started
        yield self._finish(started.call_id, name, status, {})

    def _start(self, name: str, args: JsonObject, call_id: Any) -> ServerToolStarted:
        self._made += 1
        own = call_id if call_id and isinstance(call_id, str) else f"{self._mark}-s{self._made}"
        self._open[own] = name
        return ServerToolStarted(own, name, args)

    def _finish(self, call_id: Any, name: str, status: str, result: JsonObject) -> ServerToolFinished:
        own = str(call_id or "")
        if (
            own not in self._open
        ):  # it has no id of its own, or that of nothing that was told: the first one ends
            own = next((key for key, open in self._open.items() if open == name), own)
        return ServerToolFinished(own, self._open.pop(own, name), status, result)


def found(reply: ReplyAssembler, begun: str = "") -> Iterator[SourcesFound]:
    """Tell of the sources of a reply, if it has any; their spans count from the beginning of its text."""
    metadata = beside(reply.reply()) or {}
    sources: Iterable[Source] = sources_of([({"role": "model", "parts": reply.parts}, metadata)], reply.text)
    suggestions = suggestions_of(metadata)
    if sources or suggestions:
        yield SourcesFound(tuple(shift(source, len(begun)) for source in sources), suggestions)


def _name(call: JsonObject) -> str:
    kind = str(call.get("toolType") or "server_tool")
    return _NAMES.get(kind, kind.lower())


def _object(value: Mapping[str, Any], key: str) -> JsonObject:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
