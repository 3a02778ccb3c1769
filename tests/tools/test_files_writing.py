from __future__ import annotations

import errno
import os
import resource
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools._files import directory
from agentkit_tools.files import files

from agentkit.errors import ToolError, ToolRetry
from tests.helpers.file_box import Box


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


def test_a_file_is_made_with_its_directories(box: Box) -> None:
    said = box.call("write_file", path="a/b/ü.txt", content="ä\r\nb")
    assert said == "Made 'a/b/ü.txt': 5 bytes."
    assert box.data_of("a/b/ü.txt") == "ä\r\nb".encode()
    assert box.call("write_file", path="a/b/ü.txt", content="") == "Replaced 'a/b/ü.txt': 0 bytes."
    assert box.data_of("a/b/ü.txt") == b""


def test_the_permissions_of_a_file_are_kept_and_no_special_ones(box: Box) -> None:
    file = box.root / "notes/today.txt"
    for mode, kept in [(0o600, 0o600), (0o755, 0o755), (0o666, 0o666), (0o4711, 0o711)]:
        file.chmod(mode)
        box.call("write_file", path="notes/today.txt", content="Buy milk")
        assert stat.S_IMODE(file.stat().st_mode) == kept
        file.chmod(mode)
        box.call("edit_file", path="notes/today.txt", old="milk", new="bread")
        assert stat.S_IMODE(file.stat().st_mode) == kept


def test_a_private_file_is_private_while_it_is_written(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.root / "notes/today.txt").chmod(0o600)
    copy_mode, modes = directory.DescriptorDirectory.copy_mode, []

    def watched(self: Any, status: os.stat_result, descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        copy_mode(self, status, descriptor)

    monkeypatch.setattr(directory.DescriptorDirectory, "copy_mode", watched)
    box.call("write_file", path="notes/today.txt", content="x")
    assert modes == [0o600]


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
    assert box.data_of("notes/today.txt") == b"Buy milk\nCall Ann\n"


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
    assert box.data_of("notes/today.txt") == b"Buy milk\nCall Ann\n"


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
    assert box.data_of("notes/today.txt") == b"Buy milk\nCall Ann\n"


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
    box.put("closed/x.txt", b"milk")
    box.put("dull/y.txt", b"milk")
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
    assert box.data_of("notes/today.txt") == b"Buy milk\nCall Ann\n"
