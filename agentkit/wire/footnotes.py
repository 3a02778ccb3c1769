"""Sources as footnotes of a Markdown text, whose code, links and tables stay what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from agentkit.wire.sources import Source, Span


def with_footnotes(text: str, sources: Sequence[Source]) -> str:
    """Put a Markdown footnote behind all that a source supports; at the end, those that support no words of it."""
    if not sources:
        return text
    rest = "".join(f"[^{number}]" for number, source in enumerate(sources, 1) if not source.spans)
    layout, end = _Layout(text), len(text.rstrip())
    if rest and any(begin < end <= last for begin, last in (*layout.blocks, *layout.tables)):
        rest = f"\n\n{rest}"
    return f"{marked(text, sources).rstrip()}{rest}\n\n{footnotes(sources)}"


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
    below_blocks = {last for _, last in layout.blocks}
    for end in sorted(marks, reverse=True):
        written = "".join(f"[^{number}]" for number in sorted(marks[end]))
        text = f"{text[:end]}{chr(10) if end in below_blocks else ''}{written}{text[end:]}"
    return text


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


_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_DELIMITERS: Final = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
"""The row below the head of a table."""
_LINK: Final = re.compile(
    r"!?\[(?:\\.|[^\\\[\]\n])*\]"
    r"\((?:<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)(?:[ \t]+\"[^\"\n]*\")?\)"
    r"|<https?://[^\s<>]*>"
)


class _Layout:
    """Where the marks of footnotes can stand in a Markdown text."""

    def __init__(self, text: str) -> None:
        self._text = text
        lines: list[Span] = []
        at = 0
        for line in text.split("\n"):
            lines.append((at, at + len(line.rstrip())))
            at += len(line) + 1
        self.blocks = list(self._fenced(lines)) if "```" in text or "~~~" in text else []
        """Blocks of code, from where the first fence begins to the end of the last."""
        self._delimiters: dict[Span, Span] = {}
        self.tables = list(self._find_tables(lines)) if "|" in text else []
        links = [found.span() for found in _LINK.finditer(text)] if "](" in text or "<http" in text else []
        self._inline = [*self._inline_code(), *links]

    def place(self, end: int) -> int:
        """Return where the mark of words stands that end at a character."""
        end = len(self._text[:end].rstrip()) or end
        if (table := _around(self.tables, end)) is not None:
            end = self._in_cell(end, self._delimiters[table])
        if (block := _around(self.blocks, end)) is not None:
            return block[1]
        return max((last for begin, last in self._inline if begin < end < last), default=end)

    def _in_cell(self, end: int, delimiters: Span) -> int:
        """Go back to words in a cell: a mark behind the last bar of a row, or among the delimiters, breaks a table."""
        text, at = self._text, end
        while at > 0:
            if delimiters[0] < at <= delimiters[1]:
                at = delimiters[0]
            elif text[at - 1] in " \t\r\n|" and text[max(at - 2, 0) : at] != "\\|":
                at -= 1
            else:
                return at
        return end

    def _fenced(self, lines: Iterable[Span]) -> Iterator[Span]:
        first, fence = 0, ""
        for begin, end in lines:
            found = _FENCE.match(self._text, begin, end)
            if found and not fence:
                first, fence = begin, found[1]
            elif found and found[1].startswith(fence) and found.end() == end:
                yield first, end
                fence = ""

    def _find_tables(self, lines: Sequence[Span]) -> Iterator[Span]:
        text, last = self._text, 0
        for index, (head, below) in enumerate(pairwise(lines)):
            if head[0] < last or "|" not in text[slice(*head)] or "|" not in text[slice(*below)]:
                continue
            if _DELIMITERS.fullmatch(text, *below) and _around(self.blocks, head[1]) is None:
                last = below[1]
                for begin, end in lines[index + 2 :]:
                    if begin == end:
                        break
                    last = end
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


def _around(spans: Iterable[Span], end: int) -> Span | None:
    return next((span for span in spans if span[0] < end <= span[1]), None)
