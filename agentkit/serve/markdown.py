"""Markdown to HTML that is safe to insert: raw HTML off, no images, links that can only be http(s) or mailto."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_WORDS = (
    "and|as|async|await|break|case|class|const|continue|def|del|elif|else|except|false|False|finally|for|from|"
    "function|if|import|in|is|let|match|None|not|null|or|pass|raise|return|true|True|try|var|while|with|yield"
)
_CODE = re.compile(
    r"(?P<c>\#[^\n]*|//[^\n]*|/\*.*?\*/)"
    r"|(?P<s>'''.*?'''|\"\"\".*?\"\"\"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<n>\b\d[\d_.]*\b)"
    rf"|(?P<k>\b(?:{_WORDS})\b)",
    re.S,
)
_LINK = re.compile(r"(?i)(https?://|mailto:)[^\s\\]+")
_COLOURED = 20_000
_NOTE = re.compile("\ue000(\\d{1,3})\ue001")


def render(text: str, notes: Sequence[tuple[int, int]] = ()) -> str:
    """Render a whole text.

    Args:
        text: Markdown.
        notes: Footnotes, as pairs of the position that they follow and the number that they show.
    """
    text = re.sub("[\ue000\ue001]", "", text) if not notes else _with_notes(text, notes)
    return _NOTE.sub(r'<sup class="ref">\1</sup>', _markdown().render(text))


def _with_notes(text: str, notes: Sequence[tuple[int, int]]) -> str:
    text = re.sub("[\ue000\ue001]", " ", text)
    for position, number in sorted(notes, reverse=True):
        text = f"{text[:position]}\ue000{number}\ue001{text[position:]}"
    return text


class Stream:
    """Text that grows. Only what follows the last closed top-level block is parsed again."""

    def __init__(self) -> None:
        self.text = ""
        self._open = ""
        self._closed: list[str] = []
        self._sent = ""

    def feed(self, delta: str) -> list[tuple[int, str]]:
        """Add to the text; return the blocks that changed, as pairs of number and HTML."""
        delta = delta.replace("\r", "")
        self.text += delta
        self._open += delta
        blocks = _blocks(_markdown().parse(self._open))
        if not blocks:
            return []
        changed = []
        if len(blocks) > 1:
            start = (blocks[-1][0].map or [0])[0]
            for block in blocks[:-1]:
                changed.append((len(self._closed), _html(block)))
                self._closed.append(changed[-1][1])
            self._open = "".join(re.split(r"(?<=\n)", self._open)[start:])
            self._sent = ""
        html = _html(blocks[-1])
        if html != self._sent:
            self._sent = html
            changed.append((len(self._closed), html))
        return changed

    def end(self) -> str | None:
        """Return the whole as HTML where the pieces differ from it: a link was defined after it was used, say."""
        whole = render(self.text)
        return None if whole == "".join([*self._closed, self._sent]) else whole


def _blocks(tokens: list[Token]) -> list[list[Token]]:
    blocks: list[list[Token]] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            blocks.append([])
        blocks[-1].append(token)
    return blocks


def _html(tokens: list[Token]) -> str:
    markdown = _markdown()
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _highlight(code: str, _lang: str, _attrs: str) -> str:
    """Colour comments, strings, numbers and common keywords; everything is escaped."""
    if len(code) > _COLOURED:
        return escape(code)
    out, at = [], 0
    for match in _CODE.finditer(code):
        out += [
            escape(code[at : match.start()]),
            f'<span class="hl-{match.lastgroup}">{escape(match.group())}</span>',
        ]
        at = match.end()
    return "".join([*out, escape(code[at:])])


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "highlight": _highlight})
    made.enable(["table", "strikethrough"]).disable(["image"])
    made.validateLink = lambda url: bool(_LINK.fullmatch(url))  # type: ignore[method-assign]
    rules: dict[str, Any] = {
        "link_open": _link_open,
        "table_open": lambda *_: '<div class="wide" tabindex="0" role="region" aria-label="Table"><table>',
        "table_close": lambda *_: "</table></div>",
        "th_open": _cell_open,
        "td_open": _cell_open,
    }
    for name, rule in rules.items():
        made.add_render_rule(name, rule)
    return made


def _link_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, index, options, env))


def _cell_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    style = str(tokens[index].attrs.pop("style", ""))  # the page's policy blocks it: a class says the same
    if style:
        tokens[index].attrSet("class", "to-" + style.rpartition(":")[2])
    return str(renderer.renderToken(tokens, index, options, env))
