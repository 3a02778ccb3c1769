"""Server-sent events, as far as Gemini's streams use them."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"


class SSEDecoder:
    """Takes a stream's bytes, split anywhere, and gives each event's data as text.

    Lines end in LF, CRLF or CR only: U+2028 and its like stand unescaped in JSON strings. The last event
    counts without its blank line too: whether a reply is complete shows in its finish reason.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False
        self._at_start = True
        self.stray: list[bytes] = []
        """Lines that aren't fields of an event: a gateway answered with something else, e.g. plain JSON."""

    def feed(self, data: bytes) -> list[str]:
        """Take the next bytes and list the data of the events that they complete."""
        if not data:
            return []
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        events: list[str] = []
        for piece in data.splitlines(keepends=True):
            if not piece.endswith((b"\n", b"\r")):
                self._line += piece
            elif self._line:
                self._take_line(bytes(self._line + piece), events)
                self._line.clear()
            else:
                self._take_line(piece, events)
        return events

    def end(self) -> list[str]:
        """Take the end of the stream and list the data of the event that it cut short, if any."""
        events: list[str] = []
        self._take_line(bytes(self._line), events)
        self._dispatch(events)
        return events

    def _take_line(self, line: bytes, events: list[str]) -> None:
        line = line.rstrip(b"\r\n")
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field not in (b"", b"event", b"id", b"retry"):
            self.stray.append(line)

    def _dispatch(self, events: list[str]) -> None:
        if self._data:
            events.append(b"\n".join(self._data).decode("utf-8", "replace"))
            self._data.clear()
