"""The table of commands, how light it is, and `agentkit doctor`."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentkit import SQLiteStore, __version__
from agentkit.cli.commands import COMMANDS, Entry, made_app
from agentkit.cli.exits import Leave
from tests.cli.conftest import Agentkit
from tests.helpers.terminal import ROOT, environment


def test_help_names_the_commands_that_are_there(agentkit: Agentkit) -> None:
    done = agentkit("--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in ("run", "chat", "sessions", "tools", "doctor"))
    assert agentkit("--version").out == f"agentkit {__version__}\n"
    assert agentkit("nope").code == 2


def test_the_way_in_and_help_and_an_unknown_command_load_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
before = set(sys.modules)  # whoever measures what is covered is here already
from agentkit.cli.main import main
print(sorted(name for name in set(sys.modules) - before if not name.startswith(("importlib", "warnings"))))
for args in (["--help"], ["nope"], ["shop.py"]):
    main(args)
print([name for name in set(sys.modules) - before if name.startswith("pydantic")])
main(["--version"])
heavy = ("rich", "prompt_toolkit", "google", "asyncio", "agentkit.agent", "agentkit.tooling", "agentkit.cli.run",
         "agentkit.stores", "sqlite3", "httpx2", "agentkit_local")
print([name for name in set(sys.modules) - before if name.startswith(heavy)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    first, *_, validation, _version, last = done.stdout.splitlines()
    assert set(ast.literal_eval(first)) <= {"__future__", "agentkit", "agentkit.cli", "agentkit.cli.main"}
    assert validation == "[]"  # it takes as long to load as all the rest
    assert last == "[]"


def test_a_command_whose_extra_is_missing_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    table = {
        "page": Entry("needs_more", "Serve.", "serve"),
        "later": Entry("agentkit.cli.doctor", "Imports it later.", "serve", "not_installed_at_all"),
        "gone": Entry("no_such_module", "Not there.", "x"),
    }
    for name in ("page", "later"):
        done = CliRunner().invoke(made_app(table), [name])
        assert isinstance(done.exception, Leave)
        assert done.exception.code == 2
        assert (
            f'"agentkit {name}" needs the extra "serve": pip install "agentkit-gemini[serve]"' in done.output
        )
    shown = CliRunner().invoke(made_app(table), ["--help"]).output
    assert "page" in shown
    assert "gone" not in shown


def test_without_typer_it_says_what_to_install(agentkit: Agentkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    assert agentkit("run") == (
        2,
        "",
        'The command needs the extra "cli": pip install "agentkit-gemini[cli]"\n',
    )


def test_every_command_of_the_table_that_is_there_has_an_app() -> None:
    import importlib

    for name in COMMANDS:
        assert importlib.import_module(COMMANDS[name].module).app is not None


# -- doctor


def test_doctor_looks_at_everything_and_tells_no_secret(
    agentkit: Agentkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "SECRET-KEY")
    done = agentkit("doctor")
    assert done.code == 0, done.out
    for words in ("Python", "google-genai", "GEMINI_API_KEY set", "embedded model", "sessions"):
        assert words in done.out
    assert "SECRET" not in done.out + done.err


@pytest.mark.slow
def test_doctor_asks_one_question(agentkit: Agentkit) -> None:
    done = agentkit("doctor", "--ask")
    assert done.code == 0
    assert "local: 5" in done.out


def test_doctor_ends_with_1_where_something_is_wrong(
    agentkit: Agentkit, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.db").write_bytes(b"no database" * 100)
    assert agentkit("doctor", "--db", "bad.db").code == 1
    assert agentkit("doctor", "--db", "nope.db").code == 1
    SQLiteStore("good.db").close()
    with monkeypatch.context() as without:
        without.setattr("agentkit_local.model._installed", lambda: None)
        done = agentkit("doctor")
        assert (done.code, "Set GEMINI_API_KEY, or pip install" in done.out) == (1, True)
    monkeypatch.setenv("GEMINI_API_KEY", "a key with spaces")
    done = agentkit("doctor")
    assert done.code == 1
    assert "a key with" not in done.out
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"agentkit": ["agentkit", "other"]}
    )
    done = agentkit("doctor")
    assert (done.code, "agentkit, other" in done.out) == (1, True)


def test_the_script_is_installed_under_its_name() -> None:
    assert 'agentkit = "agentkit.cli.main:main"' in (ROOT / "pyproject.toml").read_text()


def test_a_ctrl_c_that_an_import_made_another_error_of_is_a_ctrl_c(folder: Path, agentkit: Agentkit) -> None:
    pressed = "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    raise TypeError('odd')\n"
    (folder / "pressed.py").write_text(pressed)
    done = agentkit("run", "pressed.py", "Hi")
    assert (done.code, done.err) == (130, "Interrupted.\n")
