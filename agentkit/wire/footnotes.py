"""Sources as footnotes of a Markdown text, whose code, links and tables stay what they are."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from agentkit.wire.sources import Source, Span


def with_footnotes(text: str, sources: Sequence[Source]) -> str:
    """Put a Markdown footnote behind all that a source supports; at the end, those that support no words of it."""
    if not sources:
        return text
    first = first_free([text])
    rest = "".join(f"[^{number}]" for number, source in enumerate(sources, first) if not source.spans)
    layout, end = _Layout(text), len(text.rstrip())
    if rest and (_around(layout.blocks, end) or _around(layout.tables, end)):
        rest = f"\n\n{rest}"
    elif rest and layout.is_bare(end):
        rest = f" {rest}"
    return f"{marked(text, sources, first=first).rstrip()}{rest}\n\n{footnotes(sources, first=first)}"


def first_free(texts: Iterable[str]) -> int:
    """Return the number of the first footnote behind those that texts have already."""
    return 1 + max((int(number) for text in texts for number in _OWN.findall(text)), default=0)


def marked(text: str, sources: Sequence[Source], *, at: int = 0, first: int = 1) -> str:
    """Put the marks of footnotes into a text, or into the piece of one that begins at a character of it.

    A mark stands behind the last word that is supported. Where it would break Markdown it stands behind code of a line
    or a link, below a block of code, and inside the cells of a table.
    """
    marks: dict[int, set[int]] = {}
    layout = _Layout(text)
    for number, each in enumerate(sources, first):
        for _, end in each.spans:
            if 0 < end - at <= len(text):
                marks.setdefault(layout.place(end - at), set()).add(number)
    pieces, done = list[str](), 0
    for end in sorted(marks):
        pieces += text[done:end], layout.gap(end), *(f"[^{number}]" for number in sorted(marks[end]))
        done = end
    return "".join((*pieces, text[done:]))


def footnotes(sources: Sequence[Source], *, first: int = 1) -> str:
    """Write sources as footnotes in Markdown, one a line."""
    return "\n".join(f"[^{number}]: {_linked(source)}" for number, source in enumerate(sources, first))


def _linked(source: Source) -> str:
    title = " ".join((source.title or source.uri or source.text[:80] or source.kind).split())
    title = re.sub(r"([\\\[\]<>*_`!])", r"\\\1", title)
    if not re.match(r"https?://", source.uri, re.I):
        return title
    uri = re.sub(r"[\s<>\\]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), source.uri)
    return f"[{title}](<{uri}>)"


_OWN: Final = re.compile(r"\[\^(\d{1,9})\]")
_FENCE: Final = re.compile(r"([ \t>]*)((?:[-*+]|\d{1,9}[.)])[ \t]+)?(`{3,}(?!.*`)|~{3,})")
_INDENTED: Final = re.compile(r" {0,3}\t| {4}")
_ITEM: Final = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_DELIMITERS: Final = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
"""The row below the head of a table."""
_LINK: Final = re.compile(
    r"!?\[(?:\\.|[^\\\[\]\n])*\]"
    r"\((?:<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)(?:[ \t]+\"[^\"\n]*\")?\)"
    r"|<https?://[^\s<>]*>"
    r"|(?P<bare>https?://[^\s<|`\u3000-\u303f\uff00-\uffef]+)",
    re.I,
)
_SPACES: Final = re.compile(r"\s+")
_FILLER: Final = re.compile(r"(?:[ \t\r\n]|(?<!\\)\|)+")
"""What is between the words of a table's cells."""


class _Layout:
    """Where the marks of footnotes can stand in a Markdown text."""

    def __init__(self, text: str) -> None:
        self._text = text
        lines: list[Span] = []
        at = 0
        for line in text.split("\n"):
            lines.append((at, at + len(line.rstrip())))
            at += len(line) + 1
        self._prefixes: dict[int, str] = {}
        """What stands before the last line of a block of code, by where the block ends."""
        self.blocks = list(self._fenced(lines)) if "```" in text or "~~~" in text else []
        """Blocks of code, from where the first fence begins to the end of the last."""
        if "    " in text or "\t" in text:
            self.blocks = sorted((*self.blocks, *self._indented(lines)))
        self._delimiters: dict[Span, Span] = {}
        self.tables = list(self._find_tables(lines)) if "|" in text else []
        code = list(self._inline_code())
        links = list(_LINK.finditer(text)) if "](" in text or "://" in text else []
        self._bare = {each.end() for each in links if each["bare"] and not _around(code, each.start() + 1)}
        """Where URLs end that stand there as they are: whatever follows without a space would be a part of them."""
        spans = (each.span() for each in links if not each["bare"] or each.end() in self._bare)
        self._inline = list(_joined([*code, *spans]))
        self._spaces = [each.span() for each in _SPACES.finditer(text)]
        self._filler = [each.span() for each in _FILLER.finditer(text)] if self.tables else []

    def place(self, end: int) -> int:
        """Return where the mark of words stands that end at a character."""
        end = _before(self._spaces, end) or end
        if (table := _around(self.tables, end)) is not None:
            end = self._in_cell(end, self._delimiters[table])
        if (block := _around(self.blocks, end)) is not None:
            return block[1]
        inline = _around(self._inline, end)
        return end if inline is None else inline[1]

    def gap(self, end: int) -> str:
        """Return what stands between the text and a mark."""
        if end in self._prefixes:
            return f"\n{self._prefixes[end]}"
        return " " if self.is_bare(end) else ""

    def is_bare(self, end: int) -> bool:
        """Return whether a URL ends there that stands there as it is."""
        return end in self._bare

    def _in_cell(self, end: int, delimiters: Span) -> int:
        """Go back to words in a cell: a mark behind the last bar of a row, or among the delimiters, breaks a table."""
        at, last = end, -1
        while at != last:
            last, at = at, _before(self._filler, at)
            at = delimiters[0] if delimiters[0] < at <= delimiters[1] else at
        return at or end

    def _ended(self, first: int, last: int, prefix: str = "") -> Span:
        self._prefixes[last] = prefix
        return first, last

    def _fenced(self, lines: Iterable[Span]) -> Iterator[Span]:
        first, fence = 0, ""
        for begin, end in lines:
            found = _FENCE.match(self._text, begin, end)
            if found and not fence:
                first, fence = begin, found[3]
            elif found and not found[2] and found[3].startswith(fence) and found.end() == end:
                yield self._ended(first, end, found[1])
                fence = ""

    def _indented(self, lines: Iterable[Span]) -> Iterator[Span]:
        """Go through code that is indented: behind an empty line, and in no item of a list."""
        first, last, in_list, after_empty = -1, 0, False, True
        for begin, end in lines:
            if begin == end or _around(self.blocks, end):
                after_empty = True
                continue
            indented = _INDENTED.match(self._text, begin, end) is not None
            if indented and (first >= 0 or (after_empty and not in_list)):
                first, last = (begin if first < 0 else first), end
                continue
            if first >= 0:
                yield self._ended(first, last)
            first = -1
            goes_on = not after_empty or self._text[begin] in " \t"
            in_list = _ITEM.match(self._text, begin, end) is not None or (in_list and goes_on)
            after_empty = False
        if first >= 0:
            yield self._ended(first, last)

    def _find_tables(self, lines: Sequence[Span]) -> Iterator[Span]:
        text, last = self._text, 0
        for index, (head, below) in enumerate(pairwise(lines)):
            if head[0] < last or "|" not in text[slice(*head)] or "|" not in text[slice(*below)]:
                continue
            if _DELIMITERS.fullmatch(text, *below) and _around(self.blocks, head[1]) is None:
                index += 1
                while index + 1 < len(lines) and len(set(lines[index + 1])) > 1:
                    index += 1
                last = lines[index][1]
                self._delimiters[head[0], last] = below
                yield head[0], last

    def _inline_code(self) -> Iterator[Span]:
        """Go through code in lines: from some backticks to the next ones that are as many, in the same paragraph."""
        runs = [found.span() for found in re.finditer("`+", self._text)]
        same: dict[int, int] = {}
        closing: list[int | None] = []
        for index, (begin, end) in reversed(list(enumerate(runs))):
            closing.append(same.get(end - begin))
            same[end - begin] = index
        closing.reverse()
        done = 0
        for (begin, end), other in zip(runs, closing, strict=True):
            if begin < done:
                continue
            done = end
            if other is not None and self._text[max(begin - 1, 0) : begin] != "\\":
                between = self._text.find("\n\n", end, runs[other][0])
                done = runs[other][1] if between < 0 else end
            yield begin, done


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Make one of spans that overlap; they come in order."""
    begin = last = 0
    for span in sorted(spans):
        if span[0] >= last:
            yield begin, last
            begin = span[0]
        last = max(last, span[1])
    yield begin, last


def _around(spans: Sequence[Span], end: int) -> Span | None:
    """Return which of these spans, which come in order, what ends there ends in."""
    found = spans[at - 1] if (at := bisect_left(spans, (end,))) else (0, 0)
    return found if end <= found[1] else None


def _before(spans: Sequence[Span], end: int) -> int:
    """Go back to where what ends there begins, if it is one of these spans."""
    found = _around(spans, end)
    return end if found is None else found[0]
