"""Somebody acts between any two steps of a file tool: each place is tried, one after the other."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools._files import directory
from agentkit_tools._files.directory import DescriptorDirectory, Directory, PathDirectory

from agentkit.errors import ToolError, ToolRetry
from tests.helpers.file_box import SECRET, TOOLS, Box

pytestmark = pytest.mark.skipif(os.name == "nt", reason="made with calls of POSIX")

STEPS = ("enter", "names", "stat", "open", "mkdir", "rename", "unlink", "copy_mode", "sync")
"""All that a `Directory` does; each is one call of the system, or a check of the path and one."""


def swap_directory(box: Box) -> None:
    (box.root / "notes").rename(box.root / "away")
    (box.root / "notes").symlink_to(box.outside)


def swap_directory_for_a_file(box: Box) -> None:
    (box.root / "notes").rename(box.root / "away")
    (box.root / "notes").write_text("mine")


def remove_directory(box: Box) -> None:
    shutil.rmtree(box.root / "notes")


def swap_file(make: Callable[[Path, Path], object]) -> Callable[[Box], None]:
    def swap(box: Box) -> None:
        file = box.root / "notes" / "secret.txt"
        file.unlink(missing_ok=True)
        make(file, box.outside / "secret.txt")

    return swap


def unix_socket(file: Path, _: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(file.parent)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(file.name)
    finally:
        os.fchdir(here)
        os.close(here)


SWAPS: dict[str, Callable[[Box], None]] = {
    "a directory for a link": swap_directory,
    "a directory for a file": swap_directory_for_a_file,
    "a directory for nothing": remove_directory,
    "a file for a link": swap_file(lambda file, secret: file.symlink_to(secret)),
    "a file for a link to nothing": swap_file(
        lambda file, secret: file.symlink_to(secret.parent / "new.txt")
    ),
    "a file for a link to a device": swap_file(lambda file, _: file.symlink_to("/dev/zero")),
    "a file for a hard link": swap_file(lambda file, secret: os.link(secret, file)),
    "a file for a FIFO": swap_file(lambda file, _: os.mkfifo(file)),
    "a file for a socket": swap_file(unix_socket),
    "a file for a directory": swap_file(lambda file, _: file.mkdir()),
    "a file for another": swap_file(lambda file, _: file.write_text("mine, too")),
    "a file for nothing": swap_file(lambda *_: None),
}


def start_anew(box: Box) -> None:
    for path in box.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (box.root / "notes").mkdir()
    (box.root / "notes" / "secret.txt").write_text("mine")


def cases() -> Iterator[Any]:
    quick = {"a directory for a link", "a file for a link", "a file for a hard link", "a file for a FIFO"}
    for kind in (DescriptorDirectory, PathDirectory):
        for name, swap in SWAPS.items():
            marks = [] if name in quick else [pytest.mark.slow]
            yield pytest.param(swap, kind, id=f"{name}-{kind.__name__}", marks=marks)


@pytest.mark.parametrize(("swap", "kind"), list(cases()))
def test_what_is_swapped_before_any_step_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Box], None], kind: type[Directory]
) -> None:
    monkeypatch.setattr(directory, "BY_DESCRIPTOR", kind is DescriptorDirectory)
    if kind is PathDirectory:  # for systems that have no such flag
        monkeypatch.setattr(directory, "_FILE", os.O_NONBLOCK)
    box = Box(tmp_path)
    before, steps, at, opened = box.outside_now(), 0, 0, set[tuple[int, int]]()
    secret = ((box.outside / "secret.txt").stat().st_dev, (box.outside / "secret.txt").stat().st_ino)

    def counting(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            nonlocal steps
            if steps == at:
                swap(box)
            steps += 1
            made = step(*args)
            if step.__name__ == "open":
                opened.add((os.fstat(made).st_dev, os.fstat(made).st_ino))
            return made

        return run

    for step in STEPS:
        monkeypatch.setattr(kind, step, counting(getattr(kind, step)))
    for name in TOOLS:
        for at in count():
            start_anew(box)
            steps = 0
            arguments = TOOLS[name] | ({"old": "mine"} if name == "edit_file" else {})
            path = "notes" if name in ("list_files", "search_files") else "notes/secret.txt"
            try:
                said = str(box.call(name, path=path, **arguments))
            except (ToolRetry, ToolError) as refusal:
                said = str(refusal)
            assert SECRET not in said and "below" not in said and str(tmp_path) not in said
            assert box.outside_now() == before
            assert kind is PathDirectory or not list(box.root.rglob("*.tmp"))
            if steps <= at:
                break
        assert at > 3
    assert secret not in opened or swap is SWAPS["a file for a hard link"]  # not even for a look
