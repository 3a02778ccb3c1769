"""What a reply rests on: its sources, and which of its text each supports.

The server counts bytes of UTF-8 from the beginning of a part; here, positions are characters of the reply's text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
                spans=tuple(sorted({*known.spans, *source.spans})),
            )
    return tuple(found.values())


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
        self._begins: list[int] = []
        """At which character the visible text from each part on begins."""
        at = 0
        for part in parts:
            self._begins.append(at)
            at += 0 if part.get("thought") else len(part.get("text") or "")
        said = "".join(part.get("text") or "" for part in parts if not part.get("thought"))
        self._text = said if said == text else None

    def of_segment(self, segment: Mapping[str, Any]) -> Span | None:
        """Return where a segment is in the text; None where it isn't there."""
        begin, end = _count(segment, "startIndex"), _count(segment, "endIndex")
        if self._text is None or end <= begin:
            return None
        quoted, named = _text(segment, "text"), _count(segment, "partIndex")
        first = self._begins[named] if named < len(self._begins) else 0
        for at in dict.fromkeys((first, *self._begins)):
            span = self._counted(at, begin, end)
            if span and (not quoted or self._text[span[0] : span[1]] == quoted):
                return span
        if quoted and self._text.count(quoted) == 1:
            at = self._text.index(quoted)
            return at, at + len(quoted)
        return None

    def _counted(self, at: int, begin: int, end: int) -> Span | None:
        """Count bytes from a character on, in whole characters; None where they end beyond the text."""
        raw = (self._text or "")[at:].encode(errors="replace")
        if end > len(raw):
            return None
        within = end < len(raw) and raw[end] & 0xC0 == 0x80  # it ends in the midst of a character
        return at + len(raw[:begin].decode(errors="ignore")), at + len(
            raw[:end].decode(errors="ignore")
        ) + within


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
