"""How a chat shows what happens: as Markdown that grows at a terminal, as plain text elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, TextIO

from agentkit.chats.plain_text import clip, inert, one_line
from agentkit.cli import terminal
from agentkit.cli.approvals import read_answer
from agentkit.cli.lines import CallLines
from agentkit.cli.run import print_answer
from agentkit.events import (
    AgentEvent,
    Event,
    ModelRetry,
    RunFinished,
    ServerToolStarted,
    SourcesFound,
    TextDelta,
    ThoughtDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from agentkit import Run

_FENCE = re.compile(r" {0,3}(```|~~~)")


class PlainView:
    """Shows answers on stdout, as they arrive, and all else on stderr."""

    def __init__(self, out: TextIO, *, full: bool = False) -> None:
        self.out = out
        self.full = full
        self.asking: Collection[str] = ()

    def show(self, events: Iterable[Event], waiting: str) -> Run[Any]:
        """Show what happens; return the run."""
        return print_answer(events, self.out, CallLines(terminal.width(), full=self.full), live=True)

    def note(self, text: str) -> None:
        """Say something that isn't the answer."""
        terminal.say(text)

    def read(self, prompt: str) -> str:
        """Ask the person something. Raises EOFError where nobody answers."""
        return read_answer(prompt)


class RichView:
    """Shows what happens at a terminal: finished blocks as Markdown, below them what is under way."""

    def __init__(self, console: Console, *, full: bool = False) -> None:
        self.console = console
        self.full = full
        self.asking: Collection[str] = ()
        """Tools that ask at the terminal: nothing moves there while they do."""
        self._live: Live | None = None
        self._text = ""
        self._thought = ""
        self._blocks = False
        """Whether the last thing that was shown is a block of text."""
        self._waiting = ""
        self._since = 0.0
        self._lines = CallLines(console.width, full=full)

    def note(self, text: str) -> None:
        """Say something that isn't the answer."""
        from rich.text import Text

        self.console.print(Text(inert(text), style="dim"), soft_wrap=True)

    def read(self, prompt: str) -> str:
        """Ask the person something while nothing moves on the screen."""
        self._pause()
        try:
            return read_answer(prompt)
        finally:
            self._go_on()

    def _begin(self) -> Live:
        from rich.live import Live

        live = Live(
            get_renderable=self._under_way, console=self.console, refresh_per_second=8, transient=True
        )
        live.start()
        return live

    def _pause(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _go_on(self) -> None:
        if self._live is not None:
            self._since = time.monotonic()
            self._live = self._begin()  # anew: one that was stopped would erase what was written since

    def show(self, events: Iterable[Event], waiting: str) -> Run[Any]:
        """Show what happens; return the run. `waiting` says what is awaited before anything comes."""
        self._text, self._waiting, self._since = "", waiting, time.monotonic()
        self._blocks = False
        self._lines = CallLines(self.console.width, full=self.full)
        last: Any = None
        try:
            self._live = self._begin()
            for event in events:
                last = event
                self._tell(event)
        finally:
            self._pause()
            self._live = None
            self._print_block(self._text)
            self._text = ""
            self.console.print()
        return last.run  # type: ignore[no-any-return]

    def _tell(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._text += event.text
                if "\n" in event.text:
                    ready, self._text = split_ready(self._text)
                    self._print_block(ready)
            case ThoughtDelta():
                self._thought = (self._thought + event.text)[-500:]
            case ModelRetry() if event.discarded:
                self._text = ""
                self.note("  (what was said since the last call is dropped)")
            case SourcesFound():
                self._print_block(self._text)
                self._text = ""
            case ToolStarted() | ServerToolStarted() | TurnFinished() | RunFinished() | AgentEvent():
                self._print_block(self._text)
                self._text = self._thought = ""
                self._waiting, self._since = "thinking", time.monotonic()
        line = self._lines.line(event)
        if line is not None:
            self._blocks = False
            self.note(line)
        inner = event.event if isinstance(event, AgentEvent) else event
        if isinstance(inner, ToolStarted) and inner.name in self.asking:
            self._pause()
        elif isinstance(inner, ToolFinished) and inner.name in self.asking:
            self._go_on()

    def _print_block(self, text: str) -> None:
        if not text.strip():
            return
        if self._blocks:
            self.console.print()
        self._blocks = True
        self.console.print(markdown(text))

    def _under_way(self) -> RenderableType:
        """Return what is shown below all that is finished: the block that grows, calls that run, a sign of life."""
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        width, room = self.console.width, max(3, self.console.height - 6)
        said: list[RenderableType] = []
        if self._text.strip():
            lines = self._text.splitlines()
            whole = len(self._text) < width * room // 2 and len(lines) < room
            said.append(
                markdown(self._text) if whole else Text(inert("\n".join(lines[-room:])[-width * room // 2 :]))
            )
        said += [
            Text(clip(f"  {call} …", width), style="dim")
            for call in list(self._lines.running.values())[-room:]
        ]
        if not self._text.strip():
            seconds = int(time.monotonic() - self._since)
            waiting = "" if self._lines.running else self._waiting
            label = one_line(self._thought)[-(width - 20) :] if self._thought else waiting
            label = f"{label} {seconds} s".strip() if seconds > 2 else label
            utf = (self.console.encoding or "").startswith("utf")
            said.append(
                Spinner(
                    "dots" if utf else "line", text=Text(clip(label, width - 4), style="dim"), style="dim"
                )
            )
        return Group(*said)


def markdown(text: str) -> RenderableType:
    """Render Markdown: lines stay lines, HTML is shown as it is written, and links show where they lead."""
    from markdown_it import MarkdownIt
    from rich.markdown import Markdown

    made = Markdown("", hyperlinks=False, code_theme="ansi_dark")
    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")
    made.parsed = parser.parse(inert(text))
    for token in made.parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return made


def split_ready(text: str) -> tuple[str, str]:
    """Split Markdown behind its last finished block: what stands before an empty line that is in no fenced code."""
    fence, at, position = "", 0, 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1] == fence:
            fence = ""
        elif not fence and not line.strip() and line.endswith("\n"):
            at = position
    return text[:at], text[at:]


def make_view(out: TextIO, *, full: bool) -> PlainView | RichView:
    """Choose the view: that of a terminal where both ends are one, and it can move its cursor."""
    import os

    if (
        not (terminal.is_terminal(out) and terminal.is_terminal(sys.stdin))
        or os.environ.get("TERM") == "dumb"
    ):
        return PlainView(out, full=full)
    from rich.console import Console

    return RichView(Console(file=out, highlight=False, markup=False, emoji=False), full=full)
