"""The file tools while somebody else renames, links and kills."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agentkit_tools._files import directory

from agentkit.errors import ToolError, ToolRetry
from tests.helpers.file_box import SECRET, TOOLS, Box
from tests.helpers.files_child import SIZE

pytestmark = pytest.mark.skipif(
    not directory.BY_DESCRIPTOR, reason="this system looks nothing up in an open directory"
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns far more often
    yield Box(tmp_path)
    sys.setswitchinterval(before)


@contextlib.contextmanager
def again_and_again(step: Callable[[], None]) -> Iterator[list[int]]:
    """Run a step in a thread as often as it can; give how often it has."""
    ended, rounds, errors = threading.Event(), [0], []

    def run() -> None:
        try:
            while not ended.is_set():
                step()
                rounds[0] += 1
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rounds
    finally:
        ended.set()
        thread.join()
    assert not errors


def swap_directory(box: Box) -> Callable[[], None]:
    """Swap `notes` for a link to the outside, and back."""
    notes, away = box.root / "notes", box.root.parent / "away"
    notes.mkdir(exist_ok=True)
    (notes / "secret.txt").write_text("mine")

    def step() -> None:
        notes.rename(away)
        with contextlib.suppress(FileExistsError):  # write_file has made the directory anew
            notes.symlink_to(box.outside)
        while True:
            with contextlib.suppress(FileNotFoundError):
                if notes.is_symlink():
                    notes.unlink()
            shutil.rmtree(notes, ignore_errors=True)
            with contextlib.suppress(OSError):
                away.rename(notes)
                return

    return step


def swap_file(kind: str) -> Callable[[Box], Callable[[], None]]:
    """Swap `notes/secret.txt` for a link, another name of the secret file or a FIFO, and back."""

    def make(box: Box) -> Callable[[], None]:
        file, away = box.root / "notes" / "secret.txt", box.root.parent / "away"

        def step() -> None:
            away.write_text("mine")
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
            with contextlib.suppress(FileExistsError):  # write_file has made the file anew
                if kind == "link":
                    file.symlink_to(box.outside / "secret.txt")
                elif kind == "hard link":
                    os.link(box.outside / "secret.txt", file)
                else:
                    os.mkfifo(file)
            away.rename(file)

        return step

    return make


RACES = {
    "a directory and a link": swap_directory,
    "a file and a link": swap_file("link"),
    "a file and a hard link": swap_file("hard link"),
    "a file and a FIFO": swap_file("FIFO"),
}


def race(box: Box, step: Callable[[], None], seconds: float) -> None:
    step()
    before, done, refused = box.outside_now(), 0, 0
    del before["beside"]  # where what is swapped is put away
    until = time.monotonic() + seconds
    with again_and_again(step) as rounds:
        while time.monotonic() < until or not done or not refused:
            assert time.monotonic() < until + 30, "the race has only one side"
            for name in TOOLS:
                arguments = TOOLS[name] | ({"old": "mine"} if name == "edit_file" else {})
                path = "notes" if name in ("list_files", "search_files") else "notes/secret.txt"
                try:
                    said = str(box.call(name, path=path, **arguments))
                    done += 1
                except (ToolRetry, ToolError) as refusal:
                    said = str(refusal)
                    refused += 1
                assert SECRET not in said and "below" not in said and str(box.root.parent) not in said
            after = box.outside_now()
            del after["beside"]
            assert after == before
    assert rounds[0] > 20
    left = [path.name for path in box.root.rglob("*") if path.name.endswith(".tmp")]
    assert left == []


@pytest.mark.parametrize("swap", RACES.values(), ids=RACES)
def test_what_is_swapped_between_look_and_use_leads_nowhere(
    box: Box, swap: Callable[[Box], Callable[[], None]]
) -> None:
    race(box, swap(box), 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("swap", RACES.values(), ids=RACES)
def test_what_is_swapped_for_long_between_look_and_use_leads_nowhere(
    box: Box, swap: Callable[[Box], Callable[[], None]]
) -> None:
    race(box, swap(box), 5)


def kill_again_and_again(box: Box, rounds: int) -> None:
    chosen, file = random.Random(7), box.root / "notes" / "big.txt"
    wholes = {letter * SIZE + end for letter, end in ("a-", "a+", "b-")}
    seen: set[str] = set()
    for _ in range(rounds):
        command = [sys.executable, "-m", "tests.helpers.files_child", str(box.root), "notes/big.txt"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                time.sleep(chosen.uniform(0, 0.05))
            finally:
                process.kill()
        content = file.read_text()
        assert content in wholes, f"a mixture of {set(content)}"
        seen.add(content[-2:])
        assert box.call("list_files", path="notes")["entries"][0]["path"] == "notes/big.txt"
    assert len(list(box.root.rglob("*.tmp"))) <= rounds
    if rounds > 20:
        assert len(seen) > 1


def test_a_kill_at_any_instant_leaves_the_old_content_or_the_new(box: Box) -> None:
    kill_again_and_again(box, 4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_kills_leave_the_old_content_or_the_new(box: Box) -> None:
    kill_again_and_again(box, 40)


def test_a_reader_sees_whole_contents_only_while_others_write(box: Box) -> None:
    contents = [letter * 200_000 for letter in "ab"]
    box.call("write_file", path="x.txt", content=contents[0])

    def step() -> None:
        for content in contents:
            box.call("write_file", path="x.txt", content=content)

    seen: set[str] = set()
    until = time.monotonic() + 0.5
    with again_and_again(step):
        while time.monotonic() < until or len(seen) < 2:
            assert time.monotonic() < until + 30
            text = (box.root / "x.txt").read_text()
            assert text in contents
            seen.add(text[0])
    assert sorted(path.name for path in box.root.iterdir()) == ["notes", "x.txt"]


def test_edits_at_the_same_time_are_all_kept(box: Box) -> None:
    words = [f"word{number}" for number in range(12)]
    box.call("write_file", path="x.txt", content="\n".join(f"<{word}>" for word in words))
    threads = [
        threading.Thread(
            target=box.call, args=("edit_file",), kwargs={"path": "x.txt", "old": f"<{w}>", "new": w}
        )
        for w in words
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (box.root / "x.txt").read_text() == "\n".join(words)


def test_directories_made_at_the_same_time_are_shared(box: Box) -> None:
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            box.call("write_file", path=f"a/b/c/{number}.txt", content="")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(box.call("list_files", path="a/b/c")["entries"]) == 8
