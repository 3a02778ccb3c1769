"""One HTTP/1.1 request after another, as bytes: h11 writes the head once for all, and what comes back is read here.

h11 reads replies as well, for as much CPU as all else that a request costs; the tests hold this reader against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h11
import httpx2

PIECE = 64 * 1024
"""The most bytes that are read at a time."""
NEED_DATA = object()
"""What `Exchange.next` returns where more has to be read."""
_LONGEST_HEAD = 100 * 1024
_LONGEST_SIZE = 4096
"""Of the line before a chunk, which may say more than the chunk's size."""
_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\0\r\n\v\f]*)?")
_FIELDS = re.compile(rb"(?:[\w!#$%&'*+.^`|~-]+:[^\0\r\n\v\f]*(?:\r?\n|\r?\Z))*")
_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,20})(?:;[^\r\n]*)?[ \t]*\r\n")
_LENGTH = re.compile(r"([0-9]{1,20})(?:[ \t]*,[ \t]*\1)*")
"""It may stand there more than once."""
_NOT_GIVEN = frozenset({b"content-length", b"transfer-encoding"})


class Head(NamedTuple):
    """Where a request goes, and its headers."""

    url: httpx2.URL
    given: Mapping[str, str]
    """The headers that httpx2 doesn't set by itself."""
    origin: tuple[str, str, int]
    """Scheme, host and port."""
    start: bytes
    """All of its lines, but for the length of the body."""
    is_last: bool
    """Whether the connection is to be closed after it."""

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
        origin = url.scheme, url.raw_host.decode("ascii"), port
        return cls(url, given, origin, lines[:-2], _says_close(built.headers))


class Exchange:
    """The requests of a connection, one at a time, and their replies (RFC 9112)."""

    def __init__(self) -> None:
        self._data = bytearray()
        """What has come and isn't read yet."""
        self._read: Callable[[], Any] | None = self._head
        """What reads on; None once the reply is whole."""
        self._left = 0
        """Bytes of the body, or of its chunk, that are still to come."""
        self._searched = 0
        self._is_kept = False

    def begin(self, head: Head, body: bytes) -> bytes:
        """Return the bytes of a request."""
        self._is_kept = not head.is_last
        return b"%bcontent-length: %d\r\n\r\n%b" % (head.start, len(body), body)

    def next(self, data: bytes | None = None) -> Any:
        """Take the next bytes, if there are any (none: no more will come), and return what has come.

        That is status and headers, then the pieces of the body, then None at the end. `NEED_DATA` asks for more.

        Raises:
            h11.RemoteProtocolError: The server doesn't keep to HTTP, or has closed the connection too early.
        """
        if data:
            self._data += data
        event = None if self._read is None else self._read()
        if event is NEED_DATA and data == b"":
            if self._read == self._head:
                raise h11.RemoteProtocolError("Server disconnected without sending a response.")
            if self._read != self._until_closed:
                raise h11.RemoteProtocolError("Server disconnected in the middle of its response.")
            event = self._read = None
        return event

    def end(self) -> bool:
        """Return whether the reply has come whole, and the connection can be used again."""
        if self._read is not None or not self._is_kept or self._data:
            return False  # what nobody asked for would be taken for the next reply
        self._read = self._head
        return True

    def _head(self) -> Any:
        while True:
            lines = self._lines()
            if lines is None:
                return NEED_DATA
            match = _STATUS.fullmatch(lines[0])
            if match is None or match[2] == b"101":
                raise h11.RemoteProtocolError("A response doesn't begin with a status line of HTTP/1.1.")
            headers = _fields(lines[1])
            if match[2] >= b"200":  # what comes before isn't the reply yet (RFC 9110, 15.2)
                break
        self._is_kept = self._is_kept and match[1] == b"1" and not _says_close(headers)
        status = int(match[2])
        self._read = self._body(status, headers)
        return status, headers

    def _body(self, status: int, headers: Mapping[str, str]) -> Callable[[], Any]:
        """Return what reads the body (RFC 9112, 6.3)."""
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and coding.lower() != "chunked":
            raise h11.RemoteProtocolError("The transfer-encoding of a response isn't chunked.")
        match = None if length is None else _LENGTH.fullmatch(length)
        if length is not None and match is None:
            raise h11.RemoteProtocolError("The content-length of a response isn't a number.")
        self._left = 0
        if status in (204, 304):
            return self._counted
        if coding is not None:
            self._is_kept = self._is_kept and length is None
            self._data[:0] = b"\r\n"  # each chunk begins where the line before it ends
            return self._chunked
        if match is None:
            self._is_kept = False
            return self._until_closed
        self._left = int(match[1])
        return self._counted

    def _counted(self) -> Any:
        if not self._left:
            self._read = None
            return None
        return self._piece() if self._data else NEED_DATA

    def _until_closed(self) -> Any:
        self._left = len(self._data)
        return self._piece() if self._data else NEED_DATA

    def _chunked(self) -> Any:
        data, pieces = self._data, list[bytes]()
        while True:
            if self._left:
                if not data:
                    break
                pieces.append(self._piece())
                continue
            match = _SIZE.match(data)
            if match is None:
                if (
                    not data.startswith(b"\r\n"[: len(data)])
                    or b"\n" in data[2:]
                    or len(data) > _LONGEST_SIZE
                ):
                    raise h11.RemoteProtocolError("A chunk of a response has no size.")
                break
            self._left = int(match[1], 16)
            del data[: match.end() - 2 if not self._left else match.end()]
            if not self._left:
                self._read = self._trailers
                break
        if pieces:
            return b"".join(pieces)
        return NEED_DATA if self._read == self._chunked else self._trailers()

    def _trailers(self) -> Any:
        lines = self._lines()
        if lines is None:
            return NEED_DATA
        _fields(lines[1])
        self._read = None
        return None

    def _piece(self) -> bytes:
        piece = bytes(self._data[: self._left])
        del self._data[: self._left]
        self._left -= len(piece)
        return piece

    def _lines(self) -> tuple[bytes, bytes] | None:
        """Take the first line, and all others before one that is empty, once they are there."""
        if not self._data:
            return None
        end = _HEAD_END.search(self._data, self._searched)
        if len(self._data if end is None else self._data[: end.start()]) > _LONGEST_HEAD:
            raise h11.RemoteProtocolError("The head of a response is too long.")
        if end is None:
            self._searched = max(len(self._data) - 2, 0)
            return None
        first, _, rest = bytes(self._data[: end.start()]).partition(b"\n")
        del self._data[: end.end()]
        self._searched = 0
        return first.removesuffix(b"\r"), _FOLD.sub(b" ", rest)


def _says_close(headers: Mapping[str, str]) -> bool:
    said = headers.get("connection")
    return said is not None and "close" in map(str.strip, said.lower().split(","))


def _fields(lines: bytes) -> dict[str, str]:
    if not _FIELDS.fullmatch(lines):
        raise h11.RemoteProtocolError("A header of a response is malformed.")
    headers: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\n") if lines else ():
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t\r")
        if name in headers and (
            name == "transfer-encoding" or (name == "content-length" and headers[name] != value)
        ):
            raise h11.RemoteProtocolError(f"A response has more than one {name}.")
        headers[name] = value
    return headers
