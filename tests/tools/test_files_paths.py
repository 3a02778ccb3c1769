"""Paths as text: which are taken apart, and which are refused."""

from __future__ import annotations

import os

import pytest
from agentkit_tools._files.paths import problem_of, read_path, usable
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import ToolError, ToolRetry

WINDOWS = [
    "a:b", "today.txt:stream", "today.txt::$DATA", "today.txt.", "today.txt ", "notes./x", "notes /x", "CON", "con.txt",
    "nul", "NUL.tar.gz", "aux .txt", "com1", "COM¹", "lpt9.log", "conin$", "CONOUT$", "prn.", "a?", "a*", "a<b", "a>b",
    'a"b', "a|b", "PROGRA~1", "GIT~1", "LONGNA~1.TXT", "notes/NUL",
]  # fmt: skip


@pytest.mark.parametrize("path", WINDOWS)
def test_names_that_windows_reads_otherwise_are_refused_there(path: str) -> None:
    with pytest.raises(ToolRetry, match="can't be used as a path"):
        read_path(path, hidden=False, windows=True)


@pytest.mark.parametrize(
    "path", ["console", "com", "com10", "nullable.txt", "a.b.c", "a~b", "x.con", "a b", "com1x"]
)
def test_names_that_windows_takes_are_taken_there(path: str) -> None:
    assert read_path(path, hidden=False, windows=True) == (path,)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", ()),
        (".", ()),
        ("./", ()),
        ("a", ("a",)),
        ("./a", ("a",)),
        ("a/", ("a",)),
        ("a/b c/ü.txt", ("a", "b c", "ü.txt")),
        ("12:30, Re: 買い物 🛒.md", ("12:30, Re: 買い物 🛒.md",)),
        ("a..b/c...", ("a..b", "c...")),
        ("~$draft.docx", ("~$draft.docx",)),
    ],
)
def test_plain_paths_are_taken_apart(path: str, names: tuple[str, ...]) -> None:
    assert read_path(path, hidden=False, windows=False) == names


def test_a_name_that_this_computer_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("latin-1"))
    assert problem_of("ü", windows=False) is None
    assert problem_of("買", windows=False) == "this computer can't write its characters"


@given(
    name=st.text(min_size=1, max_size=12).filter(lambda name: "/" not in name),
    windows=st.booleans(),
    hidden=st.booleans(),
)
def test_what_is_listed_can_be_named(name: str, windows: bool, hidden: bool) -> None:
    listed = usable([name], hidden=hidden, windows=windows)
    try:
        assert read_path(f"a/{name}", hidden=hidden, windows=windows) == ("a", name)
        readable = True
    except (ToolError, ToolRetry):
        readable = False
    assert readable == bool(listed)
