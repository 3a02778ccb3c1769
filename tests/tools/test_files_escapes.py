"""Every way out of the root that we know of, tried for real, with every tool."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools._files import directory
from agentkit_tools._files.paths import MAX_NAME, MAX_PARTS, MAX_PATH
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentkit.errors import ToolError, ToolRetry
from tests.helpers.file_box import SECRET, TOOLS, WRITING, Box, Setup

posix = pytest.mark.skipif(os.name == "nt", reason="made with calls of POSIX")


@pytest.fixture(params=["descriptor", "path"])
def box(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A root, by both ways of keeping to it; the second is that of Windows."""
    if request.param == "descriptor" and not directory.BY_DESCRIPTOR:
        pytest.skip("this system looks nothing up in an open directory")
    monkeypatch.setattr(directory, "BY_DESCRIPTOR", request.param == "descriptor")
    return Box(tmp_path, hidden=True)


def check_harmless(box: Box, path: str, *, refused: bool = True) -> None:
    before, places = box.outside_now(), (str(box.root.parent), os.fspath(box.outside))
    for name in TOOLS:
        done, said = box.attempt(name, path)
        assert SECRET not in said
        assert not (done and refused), f"{name} has done it: {said}"
        if not any(place in path for place in places):
            assert not any(place in said for place in places), "a path of this machine is shown"
        assert "Errno" not in said
        assert box.outside_now() == before


PATHS = {
    "up": "../secret.txt",
    "up alone": "..",
    "up with a slash": "../",
    "up to the outside": "../outside/secret.txt",
    "up in the middle": "notes/../../outside/secret.txt",
    "up and down again": "notes/../notes/today.txt",
    "up after a dot": "./../outside/secret.txt",
    "up and a dot within": "notes/./../../outside/secret.txt",
    "up at the end": "notes/..",
    "up twelve times": "../" * 12 + "etc/passwd",
    "absolute": "{outside}/secret.txt",
    "absolute, of the root": "{root}/notes/today.txt",
    "absolute with two slashes": "//{outside}/secret.txt",
    "the root of the disk": "/",
    "a file of the system": "/etc/passwd",
    "a device": "/dev/zero",
    "the files of this process": "/proc/self/environ",
    "an empty part": "notes//today.txt",
    "two slashes at the end": "notes//",
    "a dot within": "notes/./today.txt",
    "four dots": "..../secret.txt",
    "three dots": ".../outside/secret.txt",
    "home": "~/secret.txt",
    "home alone": "~",
    "home below": "notes/~/x.txt",
    "back slashes": "..\\outside\\secret.txt",
    "both slashes": "..\\../outside/secret.txt",
    "a back slash within": "notes\\today.txt",
    "a drive": "C:\\outside\\secret.txt",
    "a drive and slashes": "C:/outside/secret.txt",
    "a drive alone": "c:",
    "a share": "\\\\server\\share\\secret.txt",
    "a share with slashes": "//server/share/secret.txt",
    "a device path of Windows": "\\\\?\\C:\\secret.txt",
    "a pipe of Windows": "\\\\.\\pipe\\x",
    "a URL": "file://{outside}/secret.txt",
    "NUL": "../outside/secret.txt\0.md",
    "NUL behind a good name": "notes/today.txt\0/../../outside/secret.txt",
    "NUL alone": "\0",
    "a line end": "notes/today.txt\n",
    "an escape": "notes/\x1b[31mtoday.txt",
    "delete": "notes/\x7ftoday.txt",
    "a next line": "notes/\x85today.txt",
    "fullwidth dots": "\uff0e\uff0e/outside/secret.txt",
    "a fullwidth slash": "..\uff0foutside\uff0fsecret.txt",
    "a fullwidth back slash": "..\uff3coutside\uff3csecret.txt",
    "a small back slash": "..\ufe68secret.txt",
    "two dots in one": "\u2025/outside/secret.txt",
    "three dots in one": "\u2026/outside/secret.txt",
    "one dot leader": "\u2024\u2024/outside/secret.txt",
    "a care-of sign": "..\u2105secret.txt",
    "right to left": "notes/\u202etxt.yadot",
    "an isolate": "notes/\u2066today.txt\u2069",
    "nothing of no width": "\u200b../outside/secret.txt",
    "dots joined": ".\u200d./outside/secret.txt",
    "dots and a mark of order": "\ufeff../outside/secret.txt",
    "dots and a soft hyphen": "..\u00ad/outside/secret.txt",
    "a tag": "notes/today\U000e0041.txt",
    "a combining mark in front": "\u0338../outside/secret.txt",
    "a filler in front": "\u3164../outside/secret.txt",
    "private use, a back slash on WSL": "..\uf05csecret.txt",
    "a line separator": "notes/\u2028today.txt",
    "a paragraph separator": "notes/\u2029today.txt",
    "a long name": "x" * (MAX_NAME + 1),
    "a long name in bytes": "é" * (MAX_NAME // 2 + 1),
    "a long path": "a/" * (MAX_PATH // 2) + "b",
    "a deep path": "a/" * MAX_PARTS + "b",
    "a megabyte": "x" * 1_000_000,
    "a megabyte of dots": "../" * 350_000,
}
"""What is refused for its looks."""


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_that_is_not_plain_is_refused_by_every_tool(tmp_path: Path, path: str) -> None:
    box = Box(tmp_path, hidden=True)
    check_harmless(box, path.format(outside=box.outside, root=box.root))
    assert sorted(path.name for path in box.root.rglob("*")) == ["notes", "today.txt"]


LITERAL = {
    "escapes of a URL": "%2e%2e/outside/secret.txt",
    "escapes of a URL, all": "%2e%2e%2foutside%2fsecret.txt",
    "escapes of Python": "\\x2e\\x2e",
    "escapes of HTML": "&#46;&#46;/outside/secret.txt",
    "a variable": "$HOME/secret.txt",
    "a variable of Windows": "%USERPROFILE%/secret.txt",
    "a command": "$(cat secret.txt)",
    "a glob": "*/../*",
    "a glob that fits": "no*",
    "capitals": "NOTES/TODAY.TXT",
    "a normal form": "cafe\u0301/e\u0301.txt",
    "half a character, which a run makes ?": "notes/\ud800today.txt",
    "a stream": "notes/today.txt::$DATA",
    "another user's home": "~root/secret.txt",
    "dots and a space": ".. /secret.txt",
    "dots in a name": "..secret..txt",
    "a fraction slash": "notes\u2044secret.txt",
    "a division slash": "..\u2215..\u2215outside\u2215secret.txt",
}
"""What is either refused or means just these letters, in the root: nothing is unescaped, expanded or folded."""


@pytest.mark.parametrize("path", LITERAL.values(), ids=LITERAL)
def test_a_path_is_never_unescaped_or_expanded(box: Box, path: str) -> None:
    check_harmless(box, path, refused=False)


@pytest.mark.parametrize("path", ["notes/\ud800x.txt", "..\udcc0\udcafsecret.txt", "\udcae\udcae/secret.txt"])
@pytest.mark.parametrize("name", TOOLS)
def test_half_characters_are_refused_where_nothing_has_replaced_them(box: Box, name: str, path: str) -> None:
    tool = box.tools.get(name)
    assert tool is not None
    with pytest.raises(ToolRetry, match=r"it has half a character \(U\+D"):
        tool(path=path, **TOOLS[name])


def link(name: str, target: str) -> Setup:
    return lambda box: (box.root / name).symlink_to(target.format(outside=box.outside, root=box.root))


def hard_link(box: Box) -> None:
    os.link(box.outside / "secret.txt", box.root / "there.txt")


def fifo(box: Box) -> None:
    os.mkfifo(box.root / "there.txt")


def unix_socket(box: Box) -> None:
    with contextlib.chdir(box.root), socket.socket(socket.AF_UNIX) as bound:
        bound.bind("there.txt")


def device(kind: int, major: int, minor: int) -> Setup:
    def make(box: Box) -> None:
        try:
            os.mknod(box.root / "there.txt", kind | 0o666, os.makedev(major, minor))
            os.close(os.open(box.root / "there.txt", os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            pytest.skip("only root may make devices, and not everywhere")

    return make


THINGS: dict[str, tuple[Setup, str]] = {
    "a link to a file": (link("there.txt", "{outside}/secret.txt"), "there.txt"),
    "a relative link to a file": (link("there.txt", "../outside/secret.txt"), "there.txt"),
    "a link within": (link("there.txt", "notes/today.txt"), "there.txt"),
    "a link to a directory": (link("there", "{outside}"), "there"),
    "a file behind a link": (link("there", "{outside}"), "there/secret.txt"),
    "a new file behind a link": (link("there", "{outside}"), "there/new.txt"),
    "a new directory behind a link": (link("there", "{outside}"), "there/new/new.txt"),
    "a directory behind a link": (link("there", "{outside}"), "there/below"),
    "a deep file behind a link": (link("there", "{outside}"), "there/below/deep.txt"),
    "a link with a slash": (link("there", "{outside}"), "there/"),
    "a link and up": (link("there", "{outside}/below"), "there/../secret.txt"),
    "a link to the parent": (link("there", ".."), "there/outside/secret.txt"),
    "a link to the root itself": (link("there", "{root}"), "there/notes/today.txt"),
    "a link to the root of the disk": (link("there", "/"), "there/etc/passwd"),
    "a link in a directory": (link("notes/there", "../../outside"), "notes/there/secret.txt"),
    "a link to nothing": (link("there.txt", "{outside}/new.txt"), "there.txt"),
    "a link to nothing, as a directory": (link("there", "{outside}/new"), "there/new.txt"),
    "a link to itself": (link("there", "there"), "there/x.txt"),
    "a link to a device": (link("there.txt", "/dev/zero"), "there.txt"),
    "a link to the console": (link("there.txt", "/dev/tty"), "there.txt"),
    "a link to this process's root": (link("there", "/proc/self/root"), "there{outside}/secret.txt"),
    "a link to this process's directory": (link("there", "/proc/self/cwd"), "there/pyproject.toml"),
    "a link to an open file": (link("there.txt", "/proc/self/fd/0"), "there.txt"),
    "a hidden link": (link(".there", "{outside}"), ".there/secret.txt"),
    "a hard link": (hard_link, "there.txt"),
    "a FIFO": (fifo, "there.txt"),
    "a FIFO as a directory": (fifo, "there.txt/x.txt"),
    "a socket": (unix_socket, "there.txt"),
    "an endless device": (device(stat.S_IFCHR, 1, 5), "there.txt"),
    "an empty device": (device(stat.S_IFCHR, 1, 3), "there.txt"),
    "a file as a directory": (lambda _: None, "notes/today.txt/x.txt"),
}


@posix
@pytest.mark.parametrize(("setup", "path"), THINGS.values(), ids=THINGS)
def test_nothing_in_the_root_leads_out_of_it(box: Box, setup: Setup, path: str) -> None:
    setup(box)
    check_harmless(box, path.format(outside=box.outside))
    before = box.outside_now()
    for name in ("list_files", "search_files"):  # and nothing is met on the way through everything
        done, said = box.attempt(name, "")
        assert done and SECRET not in said and str(box.root.parent) not in said
    assert box.outside_now() == before


@posix
def test_what_is_no_plain_file_is_listed_for_what_it_is_and_not_searched(box: Box) -> None:
    link("there", "{outside}")(box)
    fifo(box)
    os.link(box.outside / "secret.txt", box.root / "two.txt")
    assert box.call("list_files", depth=5)["entries"] == [
        {"path": "notes/"},
        {"path": "notes/today.txt", "bytes": 18},
        {"path": "there", "note": "a link, and links aren't followed"},
        {"path": "there.txt", "note": "not a regular file"},
        {"path": "two.txt", "bytes": 11},
    ]
    found = box.call("search_files", text="e")
    assert {hit["path"] for hit in found["hits"]} == set()
    assert box.call("search_files", text="a")["hits"][0]["path"] == "notes/today.txt"
    assert found["note"] == "Passed over, as no readable text: 3."


@posix
@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (
            link("there.txt", "{outside}/secret.txt"),
            "'there.txt' is a link, and links aren't followed: it can't",
        ),
        (hard_link, r"'there.txt' has a second name elsewhere \(a hard link\), so it can't be used"),
        (fifo, "'there.txt' is not a regular file: it can't be used"),
    ],
)
@pytest.mark.parametrize("tool", ["read_file", *WRITING])
def test_a_refusal_says_what_is_there(box: Box, tool: str, setup: Setup, message: str) -> None:
    setup(box)
    with pytest.raises(ToolError, match=message):
        box.call(tool, path="there.txt", **TOOLS[tool])


@posix
def test_a_root_that_is_a_link_is_resolved_once(box: Box) -> None:
    alias = box.root.parent / "alias"
    alias.symlink_to(box.root)
    from agentkit_tools.files import files

    box.tools = files(alias)
    alias.unlink()
    alias.symlink_to(box.outside)
    assert box.call("read_file", path="notes/today.txt")["text"] == "Buy milk\nCall Ann"
    check_harmless(box, "secret.txt", refused=False)


@posix
@pytest.mark.parametrize("replace", ["with a link", "with another directory", "with nothing"])
def test_a_root_that_was_replaced_is_refused(box: Box, replace: str) -> None:
    box.root.rename(box.root.parent / "moved")
    if replace == "with a link":
        box.root.symlink_to(box.outside)
    elif replace == "with another directory":
        box.outside.rename(box.root)
        box.outside = box.root
    for path in ("secret.txt", "new.txt"):
        check_harmless(box, path)
    with pytest.raises(ToolError, match=r"^The directory of these files can't be used: "):
        box.call("list_files")


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", "notes/.hidden", ".notes/today.txt", "..x", "...x/y", "\uff0eenv", "\u034f.env"],
)
def test_hidden_files_are_out_of_reach_unless_the_developer_says_so(tmp_path: Path, path: str) -> None:
    box = Box(tmp_path)
    with contextlib.suppress(FileExistsError):
        (box.root / path).parent.mkdir()
    (box.root / path).write_text(SECRET)
    (box.root / "notes" / ".git").mkdir()
    for name in TOOLS:
        done, said = box.attempt(name, path)
        assert not done and SECRET not in said
        assert (box.root / path).read_text() == SECRET
    for name in ("list_files", "search_files"):
        said = str(box.call(name, **({"text": "SECRET"} if name == "search_files" else {"depth": 5})))
        assert SECRET not in said and path not in said and ".git" not in said
    with pytest.raises(ToolRetry, match="There is no") as refusal:
        box.call("read_file", path="notes/env")
    assert path not in str(refusal.value)


def test_hidden_files_can_be_reached_if_the_developer_says_so(tmp_path: Path) -> None:
    box = Box(tmp_path, hidden=True)
    box.call("write_file", path=".config/.env", content="A=1\n")
    assert box.call("read_file", path=".config/.env")["text"] == "A=1"
    assert {"path": ".config/"} in box.call("list_files")["entries"]


PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "~", "notes", "today.txt", "there", "link.txt", "secret.txt", "outside", "\0", "\u2025",
     "\uff0f", "\u200b", "\udc80", "C:", "hard.txt", "%2e", " ", "é", "below", "root", "//"]
)  # fmt: skip
ANY_PATH = st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join) | st.lists(
    PIECES | st.text(min_size=1, max_size=3), max_size=6
).map("/".join)


@posix
@given(path=ANY_PATH)
@example(path="there/secret.txt")
@example(path="notes/../../outside/secret.txt")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_at_all_leads_out(box: Box, path: str) -> None:
    for setup in (link("there", "{outside}"), link("link.txt", "../outside/secret.txt")):
        with contextlib.suppress(FileExistsError):
            setup(box)
    if not (box.root / "hard.txt").exists():
        os.link(box.outside / "secret.txt", box.root / "hard.txt")
    check_harmless(box, path, refused=False)


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_names_that_no_path_can_say_are_left_out_and_counted(box: Box) -> None:
    for name in (b"\xff.txt", b"a\nb", "\u202etxt".encode()):
        (box.root / os.fsdecode(name)).write_text("milk")
    listed: Any = box.call("list_files")
    assert listed == {
        "note": "Left out, as hidden or with a name that can't be used: 3.",
        "entries": [{"path": "notes/"}],
    }
    assert [hit["path"] for hit in box.call("search_files", text="milk")["hits"]] == ["notes/today.txt"]
