"""One HTTP/1.1 request after another, as bytes: h11 writes the head once for all and reads what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import h11
import httpx2

PIECE = 64 * 1024
"""The most bytes that are read at a time."""
_LONGEST_HEAD = 100 * 1024
_NOT_GIVEN = frozenset({b"content-length", b"transfer-encoding"})


class Head(NamedTuple):
    """Where a request goes, and its headers."""

    url: httpx2.URL
    given: Mapping[str, str]
    """The headers that httpx2 doesn't set by itself."""
    origin: tuple[str, str, int]
    """Scheme, host and port."""
    event: h11.Request
    start: bytes
    """All of its lines, but for the length of the body."""

    @classmethod
    def of(cls, url: httpx2.URL, given: Mapping[str, str]) -> Head:
        """Make it as httpx2 does, but for kinds of compression that only others can read.

        Raises:
            h11.LocalProtocolError: A header can't be sent.
        """
        built = httpx2.Request("POST", url, headers={"accept": "*/*", "connection": "keep-alive", **given})
        built.headers["accept-encoding"] = "gzip"
        raw = [(name, value) for name, value in built.headers.raw if name.lower() not in _NOT_GIVEN]
        event = h11.Request(method="POST", target=url.raw_path, headers=raw)
        lines = h11.Connection(h11.CLIENT).send(event) or b""
        port = url.port or (443 if url.scheme == "https" else 80)
        return cls(url, given, (url.scheme, url.raw_host.decode("ascii"), port), event, lines[:-2])


class Exchange:
    """The requests of a connection, one at a time, and their replies."""

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)

    def begin(self, head: Head, body: bytes) -> bytes:
        """Return the bytes of a request. h11 is told only that there is one."""
        self._h11.send(head.event)
        self._h11.send(h11.EndOfMessage())
        return b"%bcontent-length: %d\r\n\r\n%b" % (head.start, len(body), body)

    def next(self, data: bytes | None = None) -> Any:
        """Take the next bytes, if there are any (none: no more will come), and return what has come.

        That is status and headers, then the pieces of the body, then None at the end. `h11.NEED_DATA` asks for more.

        Raises:
            h11.RemoteProtocolError: The server doesn't keep to HTTP, or has closed the connection too early.
        """
        if data is not None:
            if not data and self._h11.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("Server disconnected without sending a response.")
            self._h11.receive_data(data)
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.Response):
                headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
                return event.status_code, headers
            if not isinstance(event, h11.InformationalResponse):
                return event if event is h11.NEED_DATA else None

    def end(self) -> bool:
        """Return whether the reply has come whole, and the connection can be used again."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        if self._h11.trailing_data[0]:
            return False  # what nobody asked for would be taken for the next reply
        self._h11.start_next_cycle()
        return True
