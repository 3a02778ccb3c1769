"""What a reply rests on: its sources, and which of its text each supports.

The server counts bytes of UTF-8 from the beginning of a part; here, positions are characters of the reply's text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, Literal, get_args

from agentkit.wire.arguments import reader
from agentkit.wire.content import Content, JsonObject, Part
from agentkit.wire.metadata import indices_of

SourceKind = Literal["web", "maps", "file", "retrieved", "citation"]
Span = tuple[int, int]
"""Where it begins and ends, in characters of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A page, place, file or text that an answer is based on."""

    kind: SourceKind
    """`web`: found by search, or read by its URL. `maps`: a place. `file`: from a file search store. `retrieved`: from
    another index. `citation`: the model quotes it."""
    uri: str = ""
    title: str = ""
    status: str = ""
    """For a page that was read by its URL, the status of that, such as `URL_RETRIEVAL_STATUS_SUCCESS`."""
    text: str = ""
    """The passage that was found, if the server says so."""
    spans: tuple[Span, ...] = ()
    """The parts of `run.text` that it supports: `run.text[begin:end]`."""

    @classmethod
    @reader
    def from_wire(cls, wire: Mapping[str, Any]) -> Source:
        """Read what `dataclasses.asdict` returned. Raises ConfigurationError if it is something else."""
        texts = {key: str(wire.get(key, "")) for key in ("uri", "title", "status", "text")}
        kind: Any = wire.get("kind")
        spans = wire.get("spans", ())
        if kind not in get_args(SourceKind) or not isinstance(spans, (list, tuple)):
            raise ValueError(f"{kind!r:.50} isn't a kind of source")
        return cls(kind=kind, spans=tuple((int(begin), int(end)) for begin, end in spans), **texts)


def sources_of(replies: Iterable[tuple[Content, Mapping[str, Any] | None]], text: str) -> tuple[Source, ...]:
    """List the sources of replies, each once; spans are those in `text`, if it is the last reply's."""
    found: dict[tuple[str, ...], Source] = {}
    supported: dict[tuple[str, ...], set[Span]] = {}
    replies = list(replies)
    for index, (content, metadata) in enumerate(replies):
        is_last = index == len(replies) - 1
        spans = _Spans(content["parts"], text if is_last else None)
        for source in _sources(metadata or {}, spans):
            if not (source.uri or source.title or source.text):
                continue
            key = (source.uri,) if source.uri else (source.kind, source.title, source.text)
            known = found.get(key, source)
            found[key] = replace(
                known,
                title=known.title or source.title,
                status=known.status or source.status,
                text=known.text or source.text,
            )
            supported.setdefault(key, set()).update(source.spans)
    return tuple(replace(each, spans=tuple(sorted(supported[key]))) for key, each in found.items())


def suggestions_of(metadata: Mapping[str, Any] | None) -> str:
    """Return the search suggestions of a reply, as HTML: Google's terms ask to show them."""
    entry = _object(_object(metadata, "groundingMetadata"), "searchEntryPoint")
    return _text(entry, "renderedContent")


def shift(source: Source, by: int) -> Source:
    """Return a source whose spans stand so many characters further on."""
    return replace(source, spans=tuple((begin + by, end + by) for begin, end in source.spans))


def _sources(metadata: Mapping[str, Any], spans: _Spans) -> Iterator[Source]:
    """Go through the sources of one reply: what grounds it, the pages that were read, the citations."""
    grounding = _object(metadata, "groundingMetadata")
    chunks = [_of_chunk(chunk) for chunk in _objects(grounding, "groundingChunks")]
    supported: dict[int, list[Span]] = {}
    for support in _objects(grounding, "groundingSupports"):
        if span := spans.of_segment(_object(support, "segment")):
            for index in indices_of(support):
                supported.setdefault(index, []).append(span)
    for index, source in enumerate(chunks):
        yield replace(source, spans=tuple(supported.get(index, ())))
    for page in _objects(_object(metadata, "urlContextMetadata"), "urlMetadata"):
        yield Source(kind="web", uri=_text(page, "retrievedUrl"), status=_text(page, "urlRetrievalStatus"))
    cited = _object(metadata, "citationMetadata")
    for citation in (*_objects(cited, "citations"), *_objects(cited, "citationSources")):
        uri, title = _text(citation, "uri"), _text(citation, "title")
        if uri or title:
            span = spans.of_segment(citation)
            yield Source(kind="citation", uri=uri, title=title, spans=(span,) if span else ())


def _of_chunk(chunk: JsonObject) -> Source:
    if maps := _object(chunk, "maps"):
        return Source(
            kind="maps", uri=_text(maps, "uri"), title=_text(maps, "title"), text=_text(maps, "text")
        )
    if found := _object(chunk, "retrievedContext"):
        named = any(found.get(key) for key in ("fileSearchStore", "documentName", "mediaId"))
        return Source(
            kind="file" if named else "retrieved",
            uri=_text(found, "uri"),
            title=_text(found, "title") or _text(found, "documentName"),
            text=_text(found, "text") or _text(_object(found, "ragChunk"), "text"),
        )
    page = _object(chunk, "web") or _object(chunk, "image")
    return Source(kind="web", uri=_text(page, "uri") or _text(page, "sourceUri"), title=_text(page, "title"))


class _Spans:
    """Finds what the server counted in bytes in the text of a reply.

    Its counts begin with the part that it names, which is the first one where it names none, even if that is a
    thought or code and the text comes later; parts that a stream had and that say nothing count too. So what a
    segment quotes decides: the count that fits is the right one.
    """

    def __init__(self, parts: Sequence[Part], text: str | None) -> None:
        said = [("" if part.get("thought") else part.get("text") or "") for part in parts]
        whole = "".join(said)
        self._said = said
        self._text = whole if whole == text else ""

    @cached_property
    def _characters(self) -> Sequence[int]:
        """At which byte each character begins, and the last one ends."""
        if self._text.isascii():
            return range(len(self._text) + 1)
        raw = self._text.encode(errors="replace")
        return [*(at for at, byte in enumerate(raw) if byte & 0xC0 != 0x80), len(raw)]

    @cached_property
    def _begins(self) -> list[int]:
        """At which byte the visible text from each part on begins."""
        lengths = accumulate(map(len, self._said), initial=0)
        return [self._characters[at] for at in lengths]

    @cached_property
    def _others(self) -> list[int]:
        return list(dict.fromkeys(self._begins))

    def of_segment(self, segment: Mapping[str, Any]) -> Span | None:
        """Return where a segment is in the text; None where it isn't there."""
        begin, end = _count(segment, "startIndex"), _count(segment, "endIndex")
        if not self._text or end <= begin:
            return None
        quoted, named = _text(segment, "text"), _count(segment, "partIndex")
        first = self._begins[named] if named < len(self._begins) else 0
        span = self._counted(first, begin, end)
        if not quoted:
            return span or self._counted(0, begin, end)
        if span and self._text[slice(*span)] == quoted:
            return span
        at = self._text.find(quoted)
        if at < 0 or self._text.find(quoted, at + 1) < 0:
            return None if at < 0 else (at, at + len(quoted))
        spans = (self._counted(each, begin, end) for each in self._others)
        return next((span for span in spans if span and self._text[slice(*span)] == quoted), None)

    def _counted(self, at: int, begin: int, end: int) -> Span | None:
        """Count bytes from one on, in whole characters; None where they end beyond the text."""
        if at + end > self._characters[-1]:
            return None
        return bisect_right(self._characters, at + begin) - 1, bisect_left(self._characters, at + end)


_NONE: Final[JsonObject] = {}


def _object(value: Mapping[str, Any] | None, key: str) -> JsonObject:
    found = (value or _NONE).get(key)
    return found if isinstance(found, dict) else _NONE


def _objects(value: Mapping[str, Any], key: str) -> list[JsonObject]:
    found = value.get(key)
    return [each if isinstance(each, dict) else {} for each in found] if isinstance(found, list) else []


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _count(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key)
    return found if type(found) is int and found >= 0 else 0
