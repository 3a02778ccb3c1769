from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools._files import directory, text
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import ToolRetry
from tests.helpers.file_box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"one two three\n", "two", "2", b"one 2 three\n"),
        (b"one two three\n", "two ", "", b"one three\n"),
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", b"x\r\ny\r\nz\r\nc\r\n"),
        (b"a\r\nb\r\nc\r\n", "b\r\nc", "b", b"a\r\nb\r\n"),
        (b"a\nb\r\nc\r\nd\r\n", "d", "e\nf", b"a\nb\r\nc\r\ne\r\nf\r\n"),
        (b"a\nb\r\nc\nd\n", "a\nb\nc", "x\ny", b"x\ny\nd\n"),
        (b"a\nb\nc\r\n", "b", "x\r\ny", b"a\nx\ny\nc\r\n"),
        (b"a\rb\rc", "b", "x", b"a\rx\rc"),
        ("\ufeffä\n".encode(), "ä", "ö", "\ufefföö\n".replace("öö", "ö").encode()),
        (b"no end", "end", "end\n", b"no end\n"),
        (b"f(x)[0].*", "f(x)[0].*", r"\1\g<0>", b"\\1\\g<0>"),
        (b"a\r\n\r\nb", "\n\nb", "\nb", b"a\r\nb"),
    ],
)
def test_an_edit_changes_its_place_and_nothing_else(
    box: Box, before: bytes, old: str, new: str, after: bytes
) -> None:
    box.put("x.txt", before)
    box.call("edit_file", path="x.txt", old=old, new=new)
    assert box.data_of("x.txt") == after


@given(
    before=st.lists(st.sampled_from(["a", "b", "ä", "\ra", "\n", "\r\n", "\u2028"]), min_size=1, max_size=12),
    start=st.integers(0, 11),
    length=st.integers(1, 12),
    new=st.text("xä\n", max_size=4),
)
def test_an_edit_keeps_every_byte_around_it(before: list[str], start: int, length: int, new: str) -> None:
    head, middle, tail = before[:start], before[start : start + length], before[start + length :]
    plain, old = ("".join(pieces).replace("\r\n", "\n") for pieces in (before, middle))
    if not old or old == new or plain.find(old) != plain.rfind(old):
        with pytest.raises(ToolRetry):
            text.replace_once("".join(before).encode(), "x", old, new)
        return
    line_end = "\r\n" if before.count("\r\n") > before.count("\n") else "\n"
    after = "".join([*head, new.replace("\n", line_end), *tail])
    for written in (old, old.replace("\n", "\r\n")):
        assert text.replace_once("".join(before).encode(), "x", written, new)[0].decode() == after


def test_an_edit_says_where(box: Box) -> None:
    assert (
        box.call("edit_file", path="notes/today.txt", old="Ann", new="Bob")
        == "Changed 'notes/today.txt' at line 2."
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "x", r"^old is empty: give the text to replace, as it is in the file\.$"),
        ("milk", "milk", r"^old and new are the same: nothing would change\.$"),
        ("oats", "x", r"^'notes/today\.txt' has no such text\. Read the file and copy the text exactly\.$"),
        ("buy milk", "x", r"^'notes/today\.txt' has no such text\. Read the file"),
        (
            "Buy  milk Call",
            "x",
            r"has no such text\. It is there with other spaces or line breaks\. Read the",
        ),
        (
            "l",
            "x",
            r"^'notes/today\.txt' has that text more than once, in line 1, 2\. Add to old what stands",
        ),
    ],
)
def test_an_edit_of_no_single_place_is_a_retry_that_helps(box: Box, old: str, new: str, message: str) -> None:
    with pytest.raises(ToolRetry, match=message):
        box.call("edit_file", path="notes/today.txt", old=old, new=new)
    assert box.data_of("notes/today.txt") == b"Buy milk\nCall Ann\n"


def test_places_that_overlap_are_more_than_one(box: Box) -> None:
    box.put("x.txt", b"aaa")
    with pytest.raises(ToolRetry, match=r"more than once, in line 1\. "):
        box.call("edit_file", path="x.txt", old="aa", new="b")
    box.put("x.txt", b"a\n" * 9)
    with pytest.raises(ToolRetry, match=r"more than once, in line 1, 2, 3, 4, 5 and others\. "):
        box.call("edit_file", path="x.txt", old="a", new="b")


@pytest.mark.parametrize("old", ["a" * 100_000 + "b", "b" + "a" * 100_000, "a", "ab" * 50_000, "\n" * 9])
def test_no_edit_takes_long(box: Box, old: str) -> None:
    box.put("x.txt", b"a" * 5_000_000 + b"\r\n" * 1_000_000)
    started = time.process_time()
    with pytest.raises(ToolRetry):
        box.call("edit_file", path="x.txt", old=old, new="c")
    assert time.process_time() - started < 3


def test_an_edit_of_a_file_that_somebody_else_changes_meanwhile_is_refused(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_once = text.replace_once

    def slowly(*args: Any) -> Any:
        (box.root / "notes/today.txt").write_text("Buy milk!")
        return replace_once(*args)

    monkeypatch.setattr(text, "replace_once", slowly)
    with pytest.raises(
        ToolRetry, match=r"^'notes/today\.txt' was changed by somebody else meanwhile\. Read it"
    ):
        box.call("edit_file", path="notes/today.txt", old="milk", new="bread")
    assert box.data_of("notes/today.txt") == b"Buy milk!"
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]


def test_a_file_that_is_swapped_while_it_is_opened_is_refused(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = directory.DescriptorDirectory.open

    def swapped(self: Any, *args: Any) -> int:
        descriptor = opened(self, *args)
        (box.root / "notes/today.txt").unlink()
        box.put("notes/today.txt", b"another")
        return descriptor

    monkeypatch.setattr(directory.DescriptorDirectory, "open", swapped)
    with pytest.raises(
        ToolRetry, match=r"^'notes/today\.txt' was changed by somebody else meanwhile\. Try again\.$"
    ):
        box.call("read_file", path="notes/today.txt")
