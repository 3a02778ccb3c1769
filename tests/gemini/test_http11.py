"""The reader of replies, beside h11: what both take means the same to both, however it comes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import h11
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.gemini.http11 import NEED_DATA, Exchange, Head

T = TypeVar("T")
HEAD = Head.of(httpx2.URL("http://127.0.0.1:1/v1beta/models/m:generateContent"), {})


class Seen(NamedTuple):
    """What a reader made of the bytes of a connection."""

    status: int
    headers: dict[str, str]
    """But for those that say how long the body is, which h11 writes anew."""
    body: bytes
    is_kept: bool
    """Whether the connection can be used for another request."""


def ours(pieces: Sequence[bytes]) -> Seen:
    """Read a reply; after the pieces the server closes the connection."""
    exchange = Exchange()
    exchange.begin(HEAD, b"{}")
    coming = iter([*pieces, b""])

    def read() -> Any:
        event = exchange.next()
        while event is NEED_DATA:
            event = exchange.next(next(coming))
        return event

    status, headers = read()
    body = b"".join(iter(read, None))
    assert read() is None
    is_kept = exchange.end()
    return Seen(status, without_length(headers), body, is_kept and not any(coming))


def by_h11(pieces: Sequence[bytes]) -> Seen:
    """Do the same with h11."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=100 * 1024)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    coming, response, body = iter([*pieces, b""]), None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(next(coming))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("closed")
    assert response is not None
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in response.headers}
    left = any(connection.trailing_data) or any(coming)
    is_kept = connection.their_state is h11.DONE and not left
    return Seen(response.status_code, without_length(headers), body, is_kept)


def without_length(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in headers.items() if name not in ("content-length", "transfer-encoding")
    }


def outcome(read: Callable[[Sequence[bytes]], Seen], pieces: Sequence[bytes]) -> Seen | None:
    """Read; None if the server doesn't keep to HTTP."""
    try:
        return read(pieces)
    except h11.RemoteProtocolError:
        return None


class Draw(Protocol):
    """What takes an example of a strategy."""

    def __call__(self, strategy: st.SearchStrategy[T], /) -> T: ...


TOKENS = st.text("abcXYZ-_.!~019", min_size=1, max_size=8).map(lambda name: b"x" + name.encode())
WORDS = st.text([chr(each) for each in (*range(0x21, 0x7F), 1, 0xE4, 0xFF)], max_size=6).map(
    lambda word: word.encode("latin-1")
)
BLANKS = st.sampled_from([b"", b" ", b"\t", b"  \t"])
VALUES = st.lists(WORDS, max_size=3).map(b" ".join)
FIELDS = st.tuples(TOKENS, BLANKS, VALUES, BLANKS).map(lambda each: b"%b:%b%b%b" % each)
FOLDED = st.tuples(FIELDS, VALUES).map(lambda each: b"%b\r\n \t%b" % each)
BODIES = st.binary(max_size=40)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Make replies as servers may send them."""
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    fields = draw(st.lists(st.one_of(FIELDS, FIELDS, FOLDED), max_size=4))
    status = draw(st.sampled_from([b"200", b"200", b"200", b"204", b"304", b"429", b"503", b"599"]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    reason = draw(st.sampled_from([b" OK", b" Not \xe4t all", b" ", b""]))
    fields += draw(
        st.sampled_from(
            [[], [], [b"Connection: close"], [b"connection: Keep-Alive, Close"], [b"connection: x"]]
        )
    )
    body, framing = draw(BODIES), draw(st.sampled_from(["length", "twice", "chunked", "none"]))
    length = b"%d" % len(body)
    if framing == "length":
        fields.append(draw(st.sampled_from([b"Content-Length: %b", b"content-length:0%b"])) % length)
    elif framing == "twice":
        fields += [b"content-length: %b, %b" % (length, length)]
    elif framing == "chunked":
        fields.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked "])))
        body = chunked(draw, body)
    before = draw(
        st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hint\r\na: b\r\n\r\n"])
    )
    fields = draw(st.permutations(fields))
    head = end.join([b"HTTP/%b %b%b" % (version, status, reason), *fields, b"", b""])
    return before + head + body + draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 200 OK\r\n\r\n"]))


def chunked(draw: Draw, body: bytes) -> bytes:
    """Cut a body into chunks."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(body))), max_size=4)))
    said = b""
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        if piece := body[start:stop]:
            size = draw(st.sampled_from([b"%x", b"%X", b"00%x", b"%x;a=b", b"%x; c", b"%x  "])) % len(piece)
            said += b"%b\r\n%b\r\n" % (size, piece)
    trailers = draw(st.sampled_from([b"", b"", b"a: b\r\n", b"a: b\r\nc: d\n"]))
    return said + draw(st.sampled_from([b"0\r\n", b"000\r\n", b"0;x\r\n"])) + trailers + b"\r\n"


def split(draw: Draw, data: bytes) -> list[bytes]:
    """Let the bytes come in pieces, one by one sometimes."""
    if draw(st.booleans()):
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data))), max_size=5)))
    pieces = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


@given(st.data())
def test_a_reply_is_read_as_h11_reads_it(data: st.DataObject) -> None:
    reply = data.draw(replies())
    pieces = split(data.draw, reply)
    assert outcome(ours, pieces) == outcome(by_h11, [reply])


@given(st.data())
def test_what_h11_refuses_is_refused(data: st.DataObject) -> None:
    reply = bytearray(data.draw(replies()))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(reply)))
        cut = data.draw(st.sampled_from([0, 0, 1, 1, 2, 8, 200]))
        reply[at : at + cut] = data.draw(
            st.sampled_from(
                [b"", b" ", b"\n", b"\r", b"\r\n", b"\0", b":", b",", b"0", b"9", b";", b"\x0b", b"\xff"]
            )
        )
    seen = outcome(ours, split(data.draw, bytes(reply)))
    if seen is not None:
        assert seen == outcome(by_h11, [bytes(reply)])


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: \xb2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1" + b";" * 5_000,
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 200_000,
        b"HTTP/1.1 200 OK\r\na : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
    ],
)
def test_what_is_no_reply_is_an_error(reply: bytes) -> None:
    assert outcome(ours, [reply[i : i + 1_000] for i in range(0, len(reply), 1_000)]) is None


def test_a_connection_whose_reply_has_two_lengths_is_not_used_again() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
    assert ours([head, b"1\r\na\r\n0\r\n\r\n"]) == Seen(200, {}, b"a", is_kept=False)


def test_a_connection_whose_request_says_close_is_not_used_again() -> None:
    exchange = Exchange()
    exchange.begin(Head.of(HEAD.url, {"Connection": "close"}), b"{}")
    exchange.next(b"HTTP/1.1 204 OK\r\n\r\n")
    assert exchange.next() is None
    assert not exchange.end()


def test_replies_come_one_after_another() -> None:
    exchange = Exchange()
    for body in (b"first", b"second"):
        assert exchange.begin(HEAD, b"{}").endswith(b"content-length: 2\r\n\r\n{}")
        exchange.next(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        assert exchange.next() == body
        assert not exchange.end()
        assert exchange.next() is None
        assert exchange.end()
