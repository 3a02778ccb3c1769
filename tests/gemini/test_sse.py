"""Server-sent events, split and ended in every way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.gemini.sse import SSEDecoder


def decode(*pieces: bytes) -> list[str]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"data: a\n\n", ["a"]),
        (b"data:a\n\ndata:  b\n\n", ["a", " b"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c", ["a", "b", "c"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\n", [""]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b": ping\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n\n\n", ["a"]),
        ("data: \u2028\x85\x0bé\n\n".encode(), ["\u2028\x85\x0bé"]),
        (b"data: \xff\n\n", ["\ufffd"]),
    ],
)
def test_a_stream_gives_its_events_wherever_it_is_split(stream: bytes, events: list[str]) -> None:
    assert decode(stream) == events
    assert decode(*[stream[at : at + 1] for at in range(len(stream))]) == events
    for at in range(len(stream)):
        assert decode(stream[:at], b"", stream[at:]) == events


def test_lines_that_are_no_field_are_kept_apart() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b'{"error":\n "x"}\n\n') == []
    assert decoder.stray == [b'{"error":', b' "x"}']


LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8)


@given(
    st.lists(
        st.tuples(st.lists(LINE, min_size=1, max_size=3), st.sampled_from(["\n", "\r\n", "\r"])), max_size=4
    ),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_any_data_comes_through_any_split(events: list[tuple[list[str], str]], cuts: list[int]) -> None:
    stream = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines, end in events).encode()
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(at)]
    assert decode(*pieces) == ["\n".join(lines) for lines, _ in events]
