"""What a site or a page does to harm its reader ends in plain words, in time, within bounds."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools._web import extract
from agentkit_tools.web import web_tools

from agentkit.errors import ToolError, ToolRetry
from tests.helpers.until import PATIENCE
from tests.helpers.web_server import (
    OPEN,
    SECRET,
    Answer,
    Network,
    WebServer,
    failure_from,
    fetch,
    fetch_from,
    in_process,
    network,
    page,
    redirect,
    silent,
)

__all__ = ["in_process", "network"]
pytestmark = pytest.mark.usefixtures("network", "no_thread_left")


# --- what fails --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("404 x", ToolRetry, "There is no page at this address (404 Not Found). Check the address."),
        ("410 x", ToolRetry, "There is no page at this address (410 Gone). Check the address."),
        ("403 do this now", ToolError, "The site doesn't give out this page (403 Forbidden)."),
        ("302 no location", ToolError, "The site doesn't give out this page (302 Found)."),
        ("429 x", ToolError, "The site can't answer now (429 Too Many Requests). Try another page."),
        ("503 x", ToolError, "The site can't answer now (503 Service Unavailable). Try another page."),
        ("799 x", ToolError, "The site can't answer now (799). Try another page."),
    ],
)
def test_a_status_is_told_in_our_words(status: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        fetch_from(page(SECRET, status=status))
    assert str(caught.value) == said


def test_a_site_that_is_not_there_is_named_as_such() -> None:
    with WebServer() as server:
        pass
    with pytest.raises(ToolError, match="can't be reached"):
        fetch(server.url(), server, allow_networks=OPEN)


def raw(*parts: bytes, pause: float = 0, repeat: bool = False) -> Answer:
    def answer(connection: socket.socket, head: str) -> None:
        for part in parts:
            connection.sendall(part)
        while repeat:
            connection.sendall(parts[-1])
            time.sleep(pause)

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
UNREADABLE = "The site sent an answer that can't be read."


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"220 mail.example ESMTP\r\n"),
        raw(b""),
        raw(OK + b"Content-Length: 100\r\n\r\nshort"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        raw(OK, b"X: " + b"y" * 60_000 + b"\r\n", repeat=True),
        raw(OK, b"X: y\r\n" * 1000, repeat=True),
        raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnogzi"),
    ],
)
def test_an_answer_that_is_no_http_ends_in_plain_words(answer: Answer) -> None:
    assert failure_from(answer) == UNREADABLE


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "gzip,br", "x"])
def test_packing_that_was_not_asked_for_is_not_unpacked(encoding: str) -> None:
    said = failure_from(page(gzip.compress(b"x"), f"Content-Encoding: {encoding}"))
    assert said == "The site packed the page in a way that can't be read here."


def test_gzip_is_unpacked() -> None:
    assert fetch_from(page(gzip.compress(b"<p>Tea"), "Content-Encoding: GZIP")) == "Tea"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    zeros, packer, crc = bytes(1 << 20), zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), 0
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(300):
        crc = zlib.crc32(zeros, crc)
    return gzip.compress(b"")[:10] + 300 * block + b"\3\0" + struct.pack("<II", crc, 300 << 20)


@pytest.fixture
def peak() -> Iterator[list[int]]:
    """The most memory that Python had at once, after the test's own part."""
    tracemalloc.start()
    try:
        yield [tracemalloc.get_traced_memory()[0]]
    finally:
        tracemalloc.stop()


TOO_LARGE = "The page is too large: more than 5,000,000 bytes."


def test_a_bomb_is_not_unpacked_beyond_the_limit(bomb: bytes, peak: list[int]) -> None:
    assert len(bomb) < 400_000  # 300 MB unpacked
    assert failure_from(page(bomb, "Content-Encoding: gzip")) == TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] - peak[0] < 20_000_000


@pytest.mark.parametrize("headers", [b"", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n"])
def test_an_endless_body_is_left_at_the_limit(headers: bytes, peak: list[int]) -> None:
    # Of gzip, blocks that unpack to nothing: what is sent counts as well.
    filling = {b"": b"x" * 50_000, b"Content-Encoding: gzip\r\n": b"\0\0\0\xff\xff" * 10_000}.get(headers)
    chunk = filling or b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)
    start = gzip.compress(b"")[:10] if b"gzip" in headers else b""
    said = failure_from(raw(OK + headers + b"\r\n" + start, chunk, repeat=True))
    assert said == TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] - peak[0] < 20_000_000


@pytest.mark.parametrize("length", ["5000001", "9" * 5000])
def test_a_body_that_announces_too_much_is_not_read(length: str) -> None:
    with WebServer(raw(OK + f"Content-Length: {length}\r\n\r\n".encode())) as server:
        with pytest.raises(ToolError):
            fetch(server.url(), server, allow_networks=OPEN)
        assert server.left.wait(PATIENCE)


def test_a_body_of_just_the_limit_is_read() -> None:
    assert fetch_from(page("a" * 1000, kind="text/plain"), max_bytes=1000) == "a" * 1000
    assert failure_from(page("a" * 1001, kind="text/plain"), max_bytes=1000).startswith(
        "The page is too large"
    )
    packed = gzip.compress(b"a" * 1001)
    assert failure_from(page(packed, "Content-Encoding: gzip"), max_bytes=1000).startswith(
        "The page is too large"
    )


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"", b"H", pause=0.05, repeat=True),
        raw(OK + b"\r\n", b"x", pause=0.05, repeat=True),
        raw(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.001, repeat=True),
        silent,
    ],
    ids=["head", "body", "continue", "silence"],
)
def test_a_server_that_trickles_ends_when_the_time_is_up(answer: Answer) -> None:
    begun = time.monotonic()
    assert failure_from(answer, seconds=0.5) == "The page took too long: more than 0.5 seconds."
    assert 0.5 <= time.monotonic() - begun < PATIENCE / 2


def test_the_time_is_that_of_all_redirects_together() -> None:
    def slowly(connection: socket.socket, head: str) -> None:
        time.sleep(0.2)
        redirect("/again")(connection, head)

    begun = time.monotonic()
    assert failure_from(slowly, seconds=0.5) == "The page took too long: more than 0.5 seconds."
    assert time.monotonic() - begun < PATIENCE / 2


def test_a_name_server_that_does_not_answer_holds_nobody_up(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(PATIENCE))
    tool = web_tools(seconds=0.2).get("fetch_page")
    assert tool is not None
    begun = time.monotonic()
    with pytest.raises(ToolError, match="too long"):
        asyncio.run(tool("http://slow.example/"))
    assert time.monotonic() - begun < PATIENCE / 2
    release.set()


def test_a_cancelled_fetch_closes_its_connection_at_once() -> None:
    with WebServer(silent) as server:

        async def main() -> None:
            tool = web_tools(allow_networks=OPEN, ports=[server.port]).get("fetch_page")
            assert tool is not None
            task = asyncio.create_task(tool(server.url()))
            while not server.heads:
                await asyncio.sleep(0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.left.wait, PATIENCE)

        asyncio.run(main())


# --- pages made to harm their reader -----------------------------------------------------------------------

HARMFUL = {
    "nested": "<div>" * 990_000 + "hi",
    "nested bold": "<b>" * 1_600_000 + "hi",
    "nested fonts": "".join(f"<font color={n}>" for n in range(200_000)) + "<p>x" * 5000,
    "nested lists": "<ul><li>" * 600_000 + "hi",
    "nested tables": "<table><tr><td>" * 300_000 + "hi",
    "nested quotes": "<blockquote>" * 400_000 + "hi",
    "nested links": "<a href=x><b><i><p>" * 200_000 + "hi",
    "attributes": "<p " + " ".join(f"a{n}=1" for n in range(500_000)) + ">hi",
    "a table of many cells": "<table>" + ("<tr>" + "<td>x" * 1000) * 900,
    "wide cells": "<table><tr><td colspan=1000 rowspan=60000>x" * 100_000,
    "brackets": "<" * 4_900_000,
    "ampersands": "&" * 4_900_000,
    "comments": "<!--" * 1_200_000,
    "styles": "<style>" + ".a .b .c *{display:none}" * 20_000 + "</style>" + "<p class=a>x" * 50_000,
    "selectors": "<style>"
    + ":has(" * 50_000
    + "</style>hi"
    + "<style>*:not(a):has(* ~ *){display:none}</style>",
    "a nested selector": "<style>" + ":not(" * 500_000 + "a" + ")" * 500_000 + "{display:none}</style>hi",
    "spaces": "<pre>" + " " * 4_000_000 + "x",
    "carriage returns": "<pre>" + "\r" * 4_000_000 + "x",
    "links": "<a href='" + "a" * 4_000_000 + "'>hi</a>",
    "a base": "<base href='" + "a/" * 900 + "'>" + "<a href=x>a</a>" * 250_000,
}


QUICK = ("nested", "attributes", "styles", "a nested selector", "spaces")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in HARMFUL]
)
def test_a_page_made_to_hang_its_reader_is_read_or_refused_in_time(name: str, peak: list[int]) -> None:
    begun = time.monotonic()
    with WebServer(page(HARMFUL[name])) as server:
        try:
            text = fetch(server.url(), server, seconds=1, allow_networks=OPEN)
        except ToolError as error:
            text = str(error)
            assert text in (
                "The page took too long: more than 1 seconds.",
                "The page is made in such a way that it can't be read.",
            )
    assert len(text) < 21_000
    assert time.monotonic() - begun < PATIENCE / 2
    assert tracemalloc.get_traced_memory()[1] - peak[0] < 60_000_000


@pytest.mark.parametrize(
    ("program", "seconds", "said"),
    [
        ("while True: pass", 1, "The page took too long: more than 1 seconds."),
        ("import os; os.abort()", PATIENCE, "The page is made in such a way that it can't be read."),
        (
            "import sys; sys.stdin.buffer.read()\nwhile True: print('x' * 65536)",
            PATIENCE,
            "The page is made in such a way that it can't be read.",
        ),
        (
            "import sys; sys.stdin.close(); 1 / 0",
            PATIENCE,
            "The page is made in such a way that it can't be read.",
        ),
    ],
)
def test_a_reader_that_runs_wild_is_ended(
    program: str, seconds: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[-1]

    (tmp_path / "wild.py").write_text(program)
    monkeypatch.setattr(extract, "__file__", str(tmp_path / "wild.py"))
    monkeypatch.setattr(subprocess, "Popen", start)
    assert failure_from(page("x" * 1_000_000), seconds=seconds) == said
    assert started[0].wait(PATIENCE) is not None


def test_a_reader_has_no_more_memory_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = tmp_path / "greedy.py"
    source = Path(extract.__file__).read_text()
    greedy.write_text(
        source.replace("    reply = extract(", "    len(bytes(MAX_MEMORY))\n    reply = extract(")
    )
    assert greedy.read_text() != source
    monkeypatch.setattr(extract, "__file__", str(greedy))
    assert failure_from(page("x")) == "The page is made in such a way that it can't be read."


def test_a_reader_gets_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", SECRET)
    teller = tmp_path / "teller.py"
    teller.write_text("import json, os, sys; sys.stdin.buffer.read()\n"
                      "print(json.dumps({'title': '', 'text': str(dict(os.environ)), 'total': 9}))")  # fmt: skip
    monkeypatch.setattr(extract, "__file__", str(teller))
    assert SECRET not in fetch_from(page("x"))
