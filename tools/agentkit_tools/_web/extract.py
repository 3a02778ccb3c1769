"""From a page's bytes to text, as a program of its own: what a stranger sends is parsed in no user's process.

It needs the standard library and turbohtml. A request comes on stdin (a line of JSON, then the bytes), the
reply is JSON on stdout. The parent (`_web.reader`) ends it when time is up.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from turbohtml import Document, Element


class Request(TypedDict):
    """What is asked of this program."""

    packages: str
    """The folder that turbohtml is in."""
    kind: str
    """`html` or `text`."""
    charset: str
    """What the site says that it is; may be empty or wrong."""
    url: str
    """What links are relative to."""
    offset: int
    max_chars: int


class Reply(TypedDict):
    """What it answers. Of a file that isn't text, `total` is -1."""

    title: str
    text: str
    """The part that was asked for, to the end of a line where there is one."""
    total: int
    """Characters of the whole text."""


MAX_MEMORY = 1 << 30
MAX_SECONDS = 60
"""Of the processor. The parent's limit is tighter; this one holds if the parent is gone."""
_MAX_TITLE = 300
_MAX_LINK = 1000

_UNSEEN = (
    "script, style, noscript, template, iframe, object, embed, svg, canvas, audio, video, [hidden],"
    " dialog:not([open])"
)
_HIDING = re.compile("none|hidden|collapse", re.IGNORECASE)
_SCHEMES = ("http://", "https://", "mailto:", "tel:")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2064\u3164\ufeff\uffa0"  # without width or ink
    "\u200e\u200f\u202a-\u202e\u2066-\u206f"  # direction
    "\U000e0000-\U000e0fff]"  # tags, which can spell whole sentences unseen
    "|[\ufe00-\ufe0f]{2,}"  # as can rows of variation selectors
)


def extract(request: Request, body: bytes) -> Reply:
    """Make text of a page and cut out the part that is asked for."""
    if request["kind"] == "html":
        title, text = read_html(body, request["charset"], request["url"])
    else:
        title, text = "", decode(body, request["charset"])
        if "\0" in text:
            return {"title": "", "text": "", "total": -1}
    text = tidy(text)
    return {
        "title": tidy(" ".join(title.split()))[:_MAX_TITLE],
        "text": cut(text, request["offset"], request["max_chars"]),
        "total": len(text),
    }


def read_html(body: bytes, charset: str, url: str) -> tuple[str, str]:
    """Read title and text: Markdown without what a browser doesn't show, menus last."""
    from turbohtml import Markdown, parse

    try:
        document = parse(body, encoding=charset or None, detect_encoding=True)
    except LookupError:  # a charset that there isn't
        document = parse(body, detect_encoding=True)
    base = document.base_url(url)
    title = document.select_one("head title")
    _drop_hidden(document)
    _mend_links(document, base)
    _square_tables(document)
    body_element = document.select_one("body")
    for menu in document.select("body nav") if body_element else ():
        assert body_element is not None
        body_element.append(menu)
    text = document.to_markdown(
        Markdown(
            images=Markdown.Images(mode="alt"),
            tables=Markdown.Tables(cell_blocks="text"),
            escaping=Markdown.Escaping(mode="none", asterisks=False, underscores=False),
        )
    )
    return title.text if title else "", text


def _drop_hidden(document: Document) -> None:
    """Drop what is there for programs, and what isn't shown: instructions for models hide in it.

    What the page's own style sheets hide counts; sheets in other files aren't fetched, and colours, sizes and
    places aren't looked at.
    """
    from turbohtml.cssom import computed_style

    def is_hidden(element: Element) -> bool:
        style = computed_style(element)
        values = (style.get(name, "") or "" for name in ("display", "visibility"))
        return any(value.lower() in ("none", "hidden", "collapse") for value in values)

    hidden = [e for e in _styled(document) if e.tag not in ("html", "body") and is_hidden(e)]
    for element in hidden:
        element.decompose()
    document.remove(_UNSEEN)


def _styled(document: Document) -> Iterable[Element]:
    """Find the elements that a style attribute or a rule of a style sheet may hide."""
    from turbohtml.cssom import StyleSheet

    for element in document.select("[style]"):
        if _HIDING.search(element.attr("style") or ""):
            yield element
    for sheet in document.select("style"):
        for rule in StyleSheet(sheet.text).rules:
            if any(_HIDING.search(rule.style.get(name) or "") for name in ("display", "visibility")):
                with contextlib.suppress(ValueError):  # a selector that isn't understood
                    yield from document.select(rule.selector_text)


def _mend_links(document: Document, base: str) -> None:
    """Make links whole; of those that lead to no page, and of endless ones, leave the words alone."""
    document.resolve_links(base)
    for link in document.select("[href]"):
        target = link.attr("href") or ""
        if not target.lower().startswith(_SCHEMES) or len(target) > _MAX_LINK:
            del link.attrs["href"]
    for element in document.select("[title]"):  # shown to nobody but a mouse
        del element.attrs["title"]


def _square_tables(document: Document) -> None:
    """Give all rows of a table as many cells, empty ones where a cell spans several.

    A table that isn't square would stay HTML, with everything that is hidden in its tags.
    """
    tables: dict[Element | None, list[Element]] = {}
    for row in document.select("tr"):
        tables.setdefault(row.closest("table"), []).append(row)
    for rows in tables.values():
        below: dict[int, int] = {}  # of each column, how many rows are taken by a cell further up
        widths = [_fill(row, below) for row in rows]
        for row, width in zip(rows, widths, strict=True):
            row.extend(_cells(max(widths) - width if width else 0))


def _fill(row: Element, below: dict[int, int]) -> int:
    """Put empty cells into a row where others span; return how many cells it has then."""
    column = 0

    def skip() -> list[Element]:
        nonlocal column
        start = column
        while below.get(column, 0) > 0:
            below[column] -= 1
            column += 1
        return _cells(column - start)

    for cell in row.select("td, th"):
        if cell.parent != row:
            continue  # of a table in this one
        cell.insert_before(*skip())
        width, height = _span(cell, "colspan"), _span(cell, "rowspan")
        cell.insert_after(*_cells(width - 1))
        below.update(dict.fromkeys(range(column, column + width), height - 1))
        column += width
    row.extend(skip())
    return column


def _cells(number: int) -> list[Element]:
    from turbohtml import Element

    return [Element("td") for _ in range(number)]


def _span(cell: Element, name: str) -> int:
    """Read a span, within the bounds that browsers have, and remove it."""
    text = str(cell.attrs.pop(name, ""))
    return min(max(int(text), 1), 1000) if re.fullmatch("[0-9]{1,5}", text) else 1


def decode(body: bytes, charset: str) -> str:
    """Decode a text; bytes that are wrong become U+FFFD."""
    from turbohtml.detect import detect  # brings the codecs of the web as well, and no others

    for bom, name in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(name, "replace")
    if charset:
        with contextlib.suppress(LookupError):
            return body.decode(f"whatwg-{charset}", "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode(f"whatwg-{detect(body).encoding or 'windows-1252'}", "replace")


def tidy(text: str) -> str:
    """Drop characters that nobody sees, spaces at the ends of lines, and empty lines after the first."""
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub("\n{3,}", "\n\n", text).strip()


def cut(text: str, offset: int, max_chars: int) -> str:
    """Give the part from `offset`, ending with a line unless that would be less than half."""
    part = text[offset : offset + max_chars]
    if offset + max_chars < len(text):
        end = part.rfind("\n", max_chars // 2) + 1
        part = part[: end or max_chars]
    return part


def main() -> None:  # pragma: no cover - runs in a process of its own
    """Answer the one request on stdin."""
    request: Request = json.loads(sys.stdin.buffer.readline())
    sys.path.append(request["packages"])
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reply = extract(request, sys.stdin.buffer.read())
    sys.stdout.write(json.dumps(reply))


if __name__ == "__main__":  # pragma: no cover - as above
    main()
