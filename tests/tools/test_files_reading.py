from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools import files as module
from agentkit_tools._files import text
from agentkit_tools.files import files

from agentkit.errors import ToolError, ToolRetry
from agentkit.tooling.schema import InvalidArguments
from tests.helpers.file_box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_file_is_read_whole_if_it_is_short(box: Box) -> None:
    assert box.call("read_file", path="notes/today.txt") == {
        "lines": "1 to 2 of 2",
        "text": "Buy milk\nCall Ann",
    }


@pytest.mark.parametrize(
    ("data", "lines", "text"),
    [
        (b"", "none", ""),
        (b"\n", "1 to 1 of 1", ""),
        (b"a", "1 to 1 of 1", "a"),
        (b"a\r\nb\r\n", "1 to 2 of 2", "a\nb"),
        (b"a\rb\x0cc\xe2\x80\xa8d\n", "1 to 1 of 1", "a\rb\x0cc\u2028d"),
        ("\ufeffä\n".encode(), "1 to 1 of 1", "ä"),
        (b"\xef\xbb\xbf", "none", ""),
    ],
)
def test_text_is_read_without_mark_and_with_plain_line_ends(
    box: Box, data: bytes, lines: str, text: str
) -> None:
    box.put("x.txt", data)
    assert box.call("read_file", path="x.txt") == {"lines": lines, "text": text}


def test_a_long_file_comes_in_pages_that_say_how_to_read_on(box: Box) -> None:
    lines = [f"line {number}" for number in range(1, 1201)]
    box.put("x.txt", "\n".join(lines).encode())
    read, offset = [], 1
    while True:
        page = box.call("read_file", path="x.txt", offset=offset)
        read += page["text"].split("\n")
        if "note" not in page:
            break
        assert page["lines"] == f"{offset} to {offset + 499} of 1200"
        assert page["note"] == f"There is more: read on with offset={offset + 500}."
        offset += 500
    assert read == lines
    assert box.call("read_file", path="x.txt", offset=7, limit=2)["text"] == "line 7\nline 8"
    with pytest.raises(ToolRetry, match=r"^'x\.txt' has only 1200 lines: offset=1201 is beyond its end\.$"):
        box.call("read_file", path="x.txt", offset=1201)


@pytest.mark.parametrize("arguments", [{"offset": 0}, {"limit": 0}, {"offset": -1}, {"offset": "x"}])
def test_a_page_that_cannot_be_is_a_wrong_argument(box: Box, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        box.call("read_file", path="notes/today.txt", **arguments)


def test_a_page_ends_where_it_would_get_too_long(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "PAGE_CHARS", 10)
    monkeypatch.setattr(module, "MAX_LINES", 3)
    box.put("x.txt", b"1234\n1234\n5\n" + b"a" * 25 + b"\n6\n7\n8\n9\n")
    pages = [box.call("read_file", path="x.txt", offset=offset) for offset in (1, 3, 4, 5)]
    assert [page["text"] for page in pages] == ["1234\n1234", "5", "a" * 10, "6\n7\n8"]
    assert pages[0]["note"] == "There is more: read on with offset=3."
    assert pages[2]["note"] == "Line 4 is cut: it has 25 characters. There is more: read on with offset=5."


def test_the_whole_of_a_page_reaches_the_model(box: Box) -> None:
    box.put("x.txt", b"x" * 79 + b"\n" + (b"y" * 79 + b"\n") * 5000)
    page = box.call("read_file", path="x.txt", limit=5000)
    assert 30_000 < len(page["text"]) <= 40_000 and "read on with offset=" in page["note"]


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n\0\0", b"caf\xe9", "UTF-16".encode("utf-16"), b"a\0b", b"\xed\xa0\x80", b"\xc0\xaf"],
)
@pytest.mark.parametrize(("tool", "more"), [("read_file", {}), ("edit_file", {"old": "a", "new": "b"})])
def test_what_is_no_text_is_an_error_and_no_garbage(
    box: Box, data: bytes, tool: str, more: dict[str, str]
) -> None:
    box.put("x.png", data)
    with pytest.raises(
        ToolError, match=r"^'x\.png' isn't text in UTF-8, so it can't be shown or changed here\.$"
    ):
        box.call(tool, path="x.png", **more)
    assert box.data_of("x.png") == data
    assert box.call("search_files", text="a", path="x.png") == {
        "note": "Passed over, as no readable text: 1.",
        "hits": [],
    }


def test_a_file_over_the_limit_is_not_read(box: Box) -> None:
    box.tools = files(box.root, max_bytes=20)
    box.put("x.txt", b"a" * 20)
    assert box.call("read_file", path="x.txt")["text"] == "a" * 20
    box.put("x.txt", b"a" * 21)
    for tool, more in [("read_file", {}), ("edit_file", {"old": "a", "new": "b"})]:
        with pytest.raises(ToolError, match=r"^'x\.txt' is too large: at most 20 bytes\.$"):
            box.call(tool, path="x.txt", **more)


def test_a_file_that_grows_while_it_is_read_is_not_read_beyond_the_limit(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.tools = files(box.root, max_bytes=20)
    read = os.read

    def growing(descriptor: int, count: int) -> bytes:
        with (box.root / "notes/today.txt").open("ab") as file:
            file.write(b"more")
        assert count <= 21
        return read(descriptor, min(count, 8))

    monkeypatch.setattr(os, "read", growing)
    with pytest.raises(ToolError, match="too large"):
        box.call("read_file", path="notes/today.txt")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("notes/tody.txt", r"^There is no 'notes/tody\.txt'\. Did you mean 'notes/today\.txt'\?$"),
        ("NOTES/today.txt", r"^There is no 'NOTES'\. Did you mean 'notes'\?$"),
        ("notes/zzzzzzzzzzzzz", r"^There is no 'notes/z+'\. In 'notes' are: 'Today', 'today\.txt'\.$"),
        ("many/zzzz", r"^There is no 'many/zzzz'\. In 'many' are: '100', .*'109' and 2 more\.$"),
        ("none/x", r"^There is no 'none/x'\. In 'none' is nothing\.$"),
        ("qqqqqqq", r"^There is no 'qqqqqqq'\. Here are: 'many', 'none', 'notes'\.$"),
        ("notes", r"^'notes' is a directory\. list_files shows what is in it\.$"),
        ("", r"^Name a file\. list_files shows what is there\.$"),
        ("notes/today.txt/x", r"^'notes/today\.txt' is a file, not a directory\.$"),
    ],
)
def test_a_path_that_fits_nothing_is_a_retry_that_helps(box: Box, path: str, message: str) -> None:
    box.put("notes/Today", b"")
    (box.root / "none").mkdir()
    for number in range(12):
        box.put(f"many/{100 + number}", b"")
    for tool, more in [("read_file", {}), ("edit_file", {"old": "a", "new": "b"})]:
        with pytest.raises(ToolRetry, match=message):
            box.call(tool, path=path, **more)


def test_names_that_are_all_alike_take_no_long_comparison(box: Box) -> None:
    for number in range(1000):
        box.put(f"{'ab' * 100}{number}", b"")
    started = time.process_time()
    with pytest.raises(ToolRetry, match=r"^There is no"):
        box.call("read_file", path="ba" * 100)
    assert time.process_time() - started < 3


def test_a_search_finds_lines_wherever_they_are(box: Box) -> None:
    box.put("a.md", b"x\r\nMILK and honey\r\n")
    box.put("notes/b.md", "\ufeffno\nMilchstraße\nalmond milk".encode())
    found = box.call("search_files", text="milk")
    assert found == {
        "hits": [
            {"path": "a.md", "line": 2, "text": "MILK and honey"},
            {"path": "notes/b.md", "line": 3, "text": "almond milk"},
            {"path": "notes/today.txt", "line": 1, "text": "Buy milk"},
        ]
    }
    assert len(box.call("search_files", text="milk", case=True)["hits"]) == 2
    assert len(box.call("search_files", text="STRASSE")["hits"]) == 1
    assert len(box.call("search_files", text="milk", names="*.MD")["hits"]) == 2
    assert len(box.call("search_files", text="milk", path="notes")["hits"]) == 2
    assert len(box.call("search_files", text="milk", path="notes/b.md")["hits"]) == 1
    assert box.call("search_files", text="m.*k")["hits"] == []


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 501])
def test_a_text_that_is_no_part_of_a_line_is_a_retry(box: Box, text: str) -> None:
    with pytest.raises(ToolRetry, match=r"^text must be a part of one line, at most 500 characters\.$"):
        box.call("search_files", text=text)


@pytest.mark.parametrize("names", ["notes/*.md", "**/*.md", "x" * 501])
def test_a_pattern_for_more_than_names_is_a_retry(box: Box, names: str) -> None:
    with pytest.raises(ToolRetry, match=r"^names is a pattern for the names of files, such as \*\.md\."):
        box.call("search_files", text="x", names=names)


def test_a_search_where_there_is_nothing_is_a_retry(box: Box) -> None:
    with pytest.raises(ToolRetry, match=r"^There is no 'note'\. Did you mean 'notes'\?$"):
        box.call("search_files", text="x", path="note")


def test_a_search_has_a_limit_of_lines(box: Box) -> None:
    box.put("x.txt", b"milk\n" * 101)
    found = box.call("search_files", text="milk", path="x.txt")
    assert [hit["line"] for hit in found["hits"]] == list(range(1, 101))
    assert found["note"] == "Stopped at 100 lines: search in fewer files, or for more of the text."
    box.put("x.txt", b"milk\n" * 100)
    assert "note" not in box.call("search_files", text="milk", path="x.txt")


def test_a_search_has_a_limit_of_bytes(box: Box) -> None:
    box.tools = files(box.root, max_bytes=20)
    for number in range(12):
        box.put(f"{number:02}.txt", b"a" * 20)
    box.put("00000.txt", b"a" * 21)
    found = box.call("search_files", text="a")
    assert len(found["hits"]) == 10
    assert found["note"] == (
        "Stopped at the limit of bytes to read: search in fewer files, or for more of the text."
        " Passed over, as no readable text: 1."
    )


def test_a_search_has_a_limit_of_time(box: Box) -> None:
    box.tools = files(box.root, search_seconds=1e-9)
    assert box.call("search_files", text="milk") == {
        "note": "Not everything was looked at: name a directory in path, or a pattern in names.",
        "hits": [],
    }


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("x" * 100 + "milk" + "y" * 500, "…" + "x" * 60 + "milk" + "y" * 176 + "…"),
        ("milk" + "y" * 500, "milk" + "y" * 236 + "…"),
        ("x" * 500 + "milk", "…" + "x" * 60 + "milk"),
        ("x" * 200 + "milk", "x" * 200 + "milk"),
    ],
)
def test_of_a_long_line_the_place_is_shown(box: Box, line: str, shown: str) -> None:
    box.put("x.txt", line.encode())
    assert box.call("search_files", text="milk", path="x.txt")["hits"][0]["text"] == shown


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(a+)+$", ""),
        ("a" * 400 + "b", ""),
        ("b", "*a" * 60 + "b"),
        ("b", "[" * 400),
        ("b", "*" * 400 + "[!a]*a"),
    ],
)
def test_no_text_and_no_pattern_takes_long(box: Box, text: str, names: str) -> None:
    box.put("a" * 250, b"a" * 5_000_000)
    started = time.process_time()
    assert box.call("search_files", text=text, names=names)["hits"] == []
    assert time.process_time() - started < 2
