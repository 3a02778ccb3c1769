from __future__ import annotations

import errno
import os
import resource
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools import files as module
from agentkit_tools._files import directory, text, tree
from agentkit_tools.files import files
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, ConfigurationError
from agentkit.errors import ToolError, ToolRetry
from agentkit.testing import ScriptedModel, call
from agentkit.tooling.schema import InvalidArguments
from tests.tools.file_box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def unprivileged() -> Iterator[Box]:
    """A box of a user whom permissions bind."""
    with tempfile.TemporaryDirectory() as place:
        if os.geteuid() != 0:
            yield Box(Path(place))
            return
        os.chown(place, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Box(Path(place))
        finally:
            os.seteuid(0)


def put(box: Box, path: str, data: bytes) -> None:
    (box.root / path).parent.mkdir(parents=True, exist_ok=True)
    (box.root / path).write_bytes(data)


def data_of(box: Box, path: str) -> bytes:
    return (box.root / path).read_bytes()


def paths(listed: dict[str, Any]) -> list[str]:
    return [entry["path"] for entry in listed["entries"]]


# The registry


def test_the_tools_say_what_they_do_to_a_run(box: Box) -> None:
    assert {made.name: (made.effect, made.untrusted) for made in box.tools} == {
        "list_files": ("read", True),
        "read_file": ("read", True),
        "search_files": ("read", True),
        "write_file": ("write", False),
        "edit_file": ("write", True),
    }
    assert box.tools.name == "files"
    assert not any(made.approval for made in box.tools)


def test_without_write_there_are_only_tools_that_read(box: Box) -> None:
    assert [made.name for made in files(box.root, write=False)] == ["list_files", "read_file", "search_files"]


def test_approval_is_asked_for_writes_only(box: Box) -> None:
    made = files(box.root, approval=True)
    assert [each.name for each in made if each.approval] == ["write_file", "edit_file"]


def test_every_parameter_is_described_in_few_words(box: Box) -> None:
    for declaration in box.tools.function_declarations:
        assert len(declaration["description"]) < 80
        for schema in declaration["parametersJsonSchema"]["properties"].values():
            assert 10 < len(schema["description"]) < 80


@pytest.mark.parametrize("root", ["missing", "notes/today.txt", "loop", "a\0b"])
def test_a_root_that_is_no_directory_is_an_error_for_the_developer(box: Box, root: str) -> None:
    (box.root / "loop").symlink_to("loop")
    with pytest.raises(
        ConfigurationError, match=r"there is no directory of that path that can be used\. Make it"
    ):
        files(f"{box.root}/{root}")


@pytest.mark.parametrize(
    "options", [{"max_bytes": 0}, {"search_seconds": -1}, {"search_seconds": float("nan")}]
)
def test_a_limit_must_be_above_0(box: Box, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give limits above 0"):
        files(box.root, **options)


def test_a_relative_root_stays_where_it_was_when_the_tools_were_made(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(box.root)
    box.tools = files("notes")
    monkeypatch.chdir("/")
    assert paths(box.call("list_files")) == ["today.txt"]


# Lists


def test_a_list_shows_one_directory_or_as_many_levels_as_asked_for(box: Box) -> None:
    put(box, "notes/old/2023.txt", b"1")
    put(box, "notes/old/far/2022.txt", b"")
    assert box.call("list_files") == {"entries": [{"path": "notes/"}]}
    assert paths(box.call("list_files", depth=2)) == ["notes/", "notes/old/", "notes/today.txt"]
    assert box.call("list_files", path="notes/old/", depth=99) == {
        "entries": [
            {"path": "notes/old/2023.txt", "bytes": 1},
            {"path": "notes/old/far/"},
            {"path": "notes/old/far/2022.txt", "bytes": 0},
        ]
    }


def test_a_list_has_a_limit_and_says_so(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for number in range(3):
        put(box, f"many/{number}", b"")
    assert "note" not in box.call("list_files", path="many")
    put(box, "many/3", b"")
    listed = box.call("list_files", path="many")
    assert paths(listed) == ["many/0", "many/1", "many/2"]
    assert listed["note"] == "There is more: list a directory in it, or a smaller depth."


def test_a_directory_is_not_looked_at_beyond_the_limit(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_SCANNED", 5)
    for number in range(4):
        put(box, f"a/{number}", b"milk")
        put(box, f"b/{number}", b"milk")
    listed = box.call("list_files", depth=2)
    assert (
        paths(listed) == ["a/", *(f"a/{n}" for n in sorted(map(str, range(4))))][:3]
        or len(listed["entries"]) <= 5
    )
    assert listed["note"].startswith("There is more")
    found = box.call("search_files", text="milk")
    assert found["note"] == "Not everything was looked at: name a directory in path, or a pattern in names."


def test_a_list_of_many_files_takes_little_time(box: Box) -> None:
    for number in range(1_000):
        (box.root / f"{number:05}").touch()
    started = time.monotonic()
    listed = box.call("list_files")
    assert len(listed["entries"]) == 500 and listed["entries"][0]["path"] == "00000"
    assert time.monotonic() - started < 1


# Reading


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
    put(box, "x.txt", data)
    assert box.call("read_file", path="x.txt") == {"lines": lines, "text": text}


def test_a_long_file_comes_in_pages_that_say_how_to_read_on(box: Box) -> None:
    lines = [f"line {number}" for number in range(1, 1201)]
    put(box, "x.txt", "\n".join(lines).encode())
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
    put(box, "x.txt", b"1234\n1234\n5\n" + b"a" * 25 + b"\n6\n7\n8\n9\n")
    pages = [box.call("read_file", path="x.txt", offset=offset) for offset in (1, 3, 4, 5)]
    assert [page["text"] for page in pages] == ["1234\n1234", "5", "a" * 10, "6\n7\n8"]
    assert pages[0]["note"] == "There is more: read on with offset=3."
    assert pages[2]["note"] == "Line 4 is cut: it has 25 characters. There is more: read on with offset=5."


def test_the_whole_of_a_page_reaches_the_model(box: Box) -> None:
    put(box, "x.txt", b"x" * 79 + b"\n" + (b"y" * 79 + b"\n") * 5000)
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
    put(box, "x.png", data)
    with pytest.raises(
        ToolError, match=r"^'x\.png' isn't text in UTF-8, so it can't be shown or changed here\.$"
    ):
        box.call(tool, path="x.png", **more)
    assert data_of(box, "x.png") == data
    assert box.call("search_files", text="a", path="x.png") == {
        "note": "Passed over, as no readable text: 1.",
        "hits": [],
    }


def test_a_file_over_the_limit_is_not_read(box: Box) -> None:
    box.tools = files(box.root, max_bytes=20)
    put(box, "x.txt", b"a" * 20)
    assert box.call("read_file", path="x.txt")["text"] == "a" * 20
    put(box, "x.txt", b"a" * 21)
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
    put(box, "notes/Today", b"")
    (box.root / "none").mkdir()
    for number in range(12):
        put(box, f"many/{100 + number}", b"")
    for tool, more in [("read_file", {}), ("edit_file", {"old": "a", "new": "b"})]:
        with pytest.raises(ToolRetry, match=message):
            box.call(tool, path=path, **more)


def test_names_that_are_all_alike_take_no_long_comparison(box: Box) -> None:
    for number in range(1000):
        put(box, f"{'ab' * 100}{number}", b"")
    started = time.monotonic()
    with pytest.raises(ToolRetry, match=r"^There is no"):
        box.call("read_file", path="ba" * 100)
    assert time.monotonic() - started < 3


# Searching


def test_a_search_finds_lines_wherever_they_are(box: Box) -> None:
    put(box, "a.md", b"x\r\nMILK and honey\r\n")
    put(box, "notes/b.md", "\ufeffno\nMilchstraße\nalmond milk".encode())
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
    put(box, "x.txt", b"milk\n" * 101)
    found = box.call("search_files", text="milk", path="x.txt")
    assert [hit["line"] for hit in found["hits"]] == list(range(1, 101))
    assert found["note"] == "Stopped at 100 lines: search in fewer files, or for more of the text."
    put(box, "x.txt", b"milk\n" * 100)
    assert "note" not in box.call("search_files", text="milk", path="x.txt")


def test_a_search_has_a_limit_of_bytes(box: Box) -> None:
    box.tools = files(box.root, max_bytes=20)
    for number in range(12):
        put(box, f"{number:02}.txt", b"a" * 20)
    put(box, "00000.txt", b"a" * 21)
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
    put(box, "x.txt", line.encode())
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
    put(box, "a" * 250, b"a" * 5_000_000)
    started = time.monotonic()
    assert box.call("search_files", text=text, names=names)["hits"] == []
    assert time.monotonic() - started < 2


# Writing


def test_a_file_is_made_with_its_directories(box: Box) -> None:
    said = box.call("write_file", path="a/b/ü.txt", content="ä\r\nb")
    assert said == "Made 'a/b/ü.txt': 5 bytes."
    assert data_of(box, "a/b/ü.txt") == "ä\r\nb".encode()
    assert box.call("write_file", path="a/b/ü.txt", content="") == "Replaced 'a/b/ü.txt': 0 bytes."
    assert data_of(box, "a/b/ü.txt") == b""


def test_the_permissions_of_a_file_are_kept_and_no_special_ones(box: Box) -> None:
    file = box.root / "notes/today.txt"
    for mode, kept in [(0o600, 0o600), (0o755, 0o755), (0o666, 0o666), (0o4711, 0o711)]:
        file.chmod(mode)
        box.call("write_file", path="notes/today.txt", content="Buy milk")
        assert stat.S_IMODE(file.stat().st_mode) == kept
        file.chmod(mode)
        box.call("edit_file", path="notes/today.txt", old="milk", new="bread")
        assert stat.S_IMODE(file.stat().st_mode) == kept


def test_a_new_file_has_the_permissions_that_the_user_wants(box: Box) -> None:
    before = os.umask(0o027)
    try:
        box.call("write_file", path="x/new.txt", content="")
    finally:
        os.umask(before)
    assert stat.S_IMODE((box.root / "x/new.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((box.root / "x").stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_a_file_is_kept_where_that_is_allowed(box: Box) -> None:
    os.chown(box.root / "notes/today.txt", 65534, 65533)
    box.call("edit_file", path="notes/today.txt", old="milk", new="bread")
    status = (box.root / "notes/today.txt").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65533)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
def test_the_file_of_somebody_else_becomes_ones_own(unprivileged: Box) -> None:
    file = unprivileged.root / "notes/today.txt"
    os.seteuid(0)
    os.chown(file, 1, 1)
    file.chmod(0o666)
    os.seteuid(65534)
    unprivileged.call("edit_file", path="notes/today.txt", old="milk", new="bread")
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 and file.stat().st_uid == 65534


def test_what_is_too_large_is_not_written(box: Box) -> None:
    box.tools = files(box.root, max_bytes=20)
    with pytest.raises(ToolRetry, match=r"^The file would have 21 bytes: at most 20 are allowed\.$"):
        box.call("write_file", path="new/x.txt", content="ä" * 10 + "b")
    with pytest.raises(ToolRetry, match=r"^The file would have 2[0-9] bytes: at most 20 are allowed\.$"):
        box.call("edit_file", path="notes/today.txt", old="milk", new="oat milk")
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]
    assert data_of(box, "notes/today.txt") == b"Buy milk\nCall Ann\n"


@pytest.mark.parametrize("content", ["a\0b", "\0", "\ud800"])
def test_what_no_text_file_has_is_not_written(box: Box, content: str) -> None:
    for name, arguments in [
        ("write_file", {"content": content}),
        ("edit_file", {"old": "milk", "new": content}),
    ]:
        tool = box.tools.get(name)
        assert tool is not None
        with pytest.raises(ToolRetry, match=r"^The text has characters that can't be in a text file\."):
            tool(path="notes/today.txt", **arguments)
    assert data_of(box, "notes/today.txt") == b"Buy milk\nCall Ann\n"


def test_a_directory_is_not_written_over(box: Box) -> None:
    with pytest.raises(ToolRetry, match=r"^'notes' is a directory\."):
        box.call("write_file", path="notes", content="x")
    with pytest.raises(ToolRetry, match=r"^'notes/today\.txt' is a file, not a directory\.$"):
        box.call("write_file", path="notes/today.txt/x/y", content="x")


def test_a_write_that_the_system_breaks_off_leaves_everything_as_it_was(box: Box) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for path in ("notes/today.txt", "new.txt"):
            with pytest.raises(ToolError, match=rf"^'{path}' can't be used: it would be too large\.$"):
                box.call("write_file", path=path, content="x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]
    assert data_of(box, "notes/today.txt") == b"Buy milk\nCall Ann\n"


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EIO, "the system refused it"),
        (None, "the system refused it"),
    ],
)
def test_a_failure_of_the_disk_is_told_in_plain_words(
    box: Box, monkeypatch: pytest.MonkeyPatch, number: int | None, word: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, f"No luck with {box.root}") if number else OSError(f"No luck with {box.root}")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ToolError, match=rf"^'notes/today\.txt' can't be used: {word}\.$") as failure:
        box.call("write_file", path="notes/today.txt", content="x")
    assert "No luck" in str(failure.value.__cause__)  # the developer sees it in run.errors
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]


def test_a_write_is_broken_off_without_a_trace_by_ctrl_c(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        box.call("write_file", path="notes/today.txt", content="x")
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]


def test_permissions_hold_for_files_and_directories(unprivileged: Box) -> None:
    box = unprivileged
    put(box, "closed/x.txt", b"milk")
    put(box, "dull/y.txt", b"milk")
    (box.root / "notes/today.txt").chmod(0o444)
    (box.root / "closed").chmod(0o000)
    (box.root / "dull").chmod(0o555)
    try:
        for name, path in [
            ("write_file", "notes/today.txt"),
            ("write_file", "dull/z.txt"),
            ("read_file", "closed/x.txt"),
        ]:
            more = {"content": "x"} if name == "write_file" else {}
            with pytest.raises(ToolError, match=rf"^'{path}|closed' can't be used: permission is denied\.$"):
                box.call(name, path=path, **more)
        assert box.call("list_files", depth=3) == {
            "note": "Directories that can't be read: 1.",
            "entries": [
                {"path": "closed/"},
                {"path": "dull/"},
                {"path": "dull/y.txt", "bytes": 4},
                {"path": "notes/"},
                {"path": "notes/today.txt", "bytes": 18},
            ],
        }
        found = box.call("search_files", text="milk")
        assert len(found["hits"]) == 2 and found["note"] == "Passed over, as no readable text: 1."
    finally:
        (box.root / "closed").chmod(0o700)
        (box.root / "dull").chmod(0o700)
    assert data_of(box, "notes/today.txt") == b"Buy milk\nCall Ann\n"


# Editing


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
    put(box, "x.txt", before)
    box.call("edit_file", path="x.txt", old=old, new=new)
    assert data_of(box, "x.txt") == after


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
    assert data_of(box, "notes/today.txt") == b"Buy milk\nCall Ann\n"


def test_places_that_overlap_are_more_than_one(box: Box) -> None:
    put(box, "x.txt", b"aaa")
    with pytest.raises(ToolRetry, match=r"more than once, in line 1\. "):
        box.call("edit_file", path="x.txt", old="aa", new="b")
    put(box, "x.txt", b"a\n" * 9)
    with pytest.raises(ToolRetry, match=r"more than once, in line 1, 2, 3, 4, 5 and others\. "):
        box.call("edit_file", path="x.txt", old="a", new="b")


@pytest.mark.parametrize("old", ["a" * 100_000 + "b", "b" + "a" * 100_000, "a", "ab" * 50_000, "\n" * 9])
def test_no_edit_takes_long(box: Box, old: str) -> None:
    put(box, "x.txt", b"a" * 5_000_000 + b"\r\n" * 1_000_000)
    started = time.monotonic()
    with pytest.raises(ToolRetry):
        box.call("edit_file", path="x.txt", old=old, new="c")
    assert time.monotonic() - started < 3


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
    assert data_of(box, "notes/today.txt") == b"Buy milk!"
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]


def test_a_file_that_is_swapped_while_it_is_opened_is_refused(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = directory.DescriptorDirectory.open

    def swapped(self: Any, *args: Any) -> int:
        descriptor = opened(self, *args)
        (box.root / "notes/today.txt").unlink()
        put(box, "notes/today.txt", b"another")
        return descriptor

    monkeypatch.setattr(directory.DescriptorDirectory, "open", swapped)
    with pytest.raises(
        ToolRetry, match=r"^'notes/today\.txt' was changed by somebody else meanwhile\. Try again\.$"
    ):
        box.call("read_file", path="notes/today.txt")


def test_a_file_that_goes_away_on_the_way_is_passed_over(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    put(box, "a.txt", b"milk")
    names = directory.DescriptorDirectory.names
    monkeypatch.setattr(
        directory.DescriptorDirectory, "names", lambda self, limit: [*names(self, limit), "gone.txt"]
    )
    assert paths(box.call("list_files")) == ["a.txt", "notes/"]
    assert len(box.call("search_files", text="milk")["hits"]) == 2


def test_nothing_is_left_open(box: Box) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("this system doesn't list open files")
    put(box, "a/b/c/d.txt", b"milk\n" * 200)
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        box.call("list_files", depth=9)
        box.call("search_files", text="milk")  # stops early
        box.call("read_file", path="a/b/c/d.txt")
        box.call("write_file", path="a/b/c/e.txt", content="milk")
        box.call("edit_file", path="a/b/c/e.txt", old="milk", new="bread")
        for path in ("a/b/x", "a/b", "a/b/c/d.txt/x"):
            with pytest.raises(ToolRetry):
                box.call("read_file", path=path)
    assert len(list(descriptors.iterdir())) == before


# In a run


def test_an_agent_works_with_files(box: Box) -> None:
    model = ScriptedModel(
        [
            call("write_file", path="plans/trip.md", content="# Trip\n- tickets\n"),
            call("edit_file", path="plans/trip.md", old="tickets", new="tickets (bought)"),
            call("read_file", path="../outside/secret.txt"),
            [
                call("read_file", path="plans/trip.md"),
                call("search_files", text="bought"),
                call("list_files", depth=2),
            ],
            "All done.",
        ]
    )
    run = Agent(model, tools=[files(box.root)]).run("Plan my trip.")
    assert run.text == "All done."
    responses = [
        part["functionResponse"]["response"]
        for content in run.contents
        for part in content["parts"]
        if "functionResponse" in part
    ]
    assert responses == [
        {"output": "Made 'plans/trip.md': 17 bytes."},
        {"output": "Changed 'plans/trip.md' at line 2."},
        {
            "error": "'../outside/secret.txt' can't be used as a path: "
            'it may only go down by names, without "." and "..".'
        },
        {"output": {"lines": "1 to 2 of 2", "text": "# Trip\n- tickets (bought)"}},
        {"output": {"hits": [{"path": "plans/trip.md", "line": 2, "text": "- tickets (bought)"}]}},
        {
            "output": {
                "entries": [
                    {"path": "notes/"},
                    {"path": "notes/today.txt", "bytes": 18},
                    {"path": "plans/"},
                    {"path": "plans/trip.md", "bytes": 26},
                ]
            }
        },
    ]
    model.assert_complete()


def test_two_directories_go_into_one_agent_with_prefixes(box: Box) -> None:
    model = ScriptedModel([call("work_read_file", path="today.txt"), "Fine."])
    tools = [files(box.root / "notes").prefixed("work"), files(box.outside, write=False).prefixed("home")]
    run = Agent(model, tools=tools).run("What is there to do?")
    assert run.text == "Fine."
    names = [declaration["name"] for declaration in model.requests[0]["tools"][0]["functionDeclarations"]]
    assert len(names) == 8 and "home_list_files" in names
