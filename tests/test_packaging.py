"""What is installed: its names, its files, and that importing costs nothing that isn't used."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import agentkit

ROOT = Path(__file__).parent.parent


def run(*args: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(a) for a in args], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_public_names_are_just_those_listed_and_all_of_them_are_there() -> None:
    names: list[str] = vars(agentkit)["__all__"]
    assert names == sorted(names) == dir(agentkit)
    assert all(getattr(agentkit, name) is not None for name in names)
    with pytest.raises(AttributeError, match="nothing_here"):
        getattr(agentkit, "nothing_here")  # noqa: B009 - a type checker knows it, and so must the runtime


def test_type_checkers_see_the_same_names_as_the_runtime_and_no_others() -> None:
    source = (ROOT / "agentkit" / "__init__.py").read_text()
    seen = set(re.findall(r"^    from \S+ import (\w+) as \1$", source, re.M))
    assert seen | {"__version__"} == set(vars(agentkit)["__all__"])


def test_every_error_class_can_be_imported_from_agentkit() -> None:
    from agentkit import errors

    classes = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert set(classes) <= set(dir(agentkit))


def test_importing_agentkit_loads_no_sdk_no_http_client_and_no_tool() -> None:
    code = """
import sys
import agentkit
light = set(sys.modules)
from agentkit import Agent, Chat, GeminiModel, ToolRegistry, tool
Agent("gemini-3.8-flash", tools=[print] and [])
heavy = ("google.genai", "httpx", "httpx2", "aiohttp", "requests", "pint", "needle", "agentkit_local", "agentkit_tools",
         "sqlalchemy")
loaded = [name for name in sys.modules if name.startswith(heavy)]
assert not loaded, loaded
assert "pydantic" not in light and "asyncio" not in light
"""
    run(sys.executable, "-c", code)


@pytest.mark.timeout(300)
def test_the_wheel_installs_in_a_new_environment_and_every_module_of_it_imports(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("agentkit-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "agentkit",
        "agentkit_local",
        "agentkit_tools",
    }
    shipped = {name for name in names if ".dist-info/" not in name}
    there = {
        str(path.relative_to(base))
        for base, package in (
            (ROOT, "agentkit"),
            (ROOT / "tools", "agentkit_local"),
            (ROOT / "tools", "agentkit_tools"),
        )
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == there
    assert {f"{package}/py.typed" for package in ("agentkit", "agentkit_local", "agentkit_tools")} <= shipped

    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel)
    # What it depends on is taken from this environment, which on a path has no editable install.
    code = """
import importlib, pkgutil, sys
import agentkit, agentkit_local, agentkit_tools
for package in (agentkit, agentkit_local, agentkit_tools):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
for generic in ("tools", "tests", "examples"):
    try:
        importlib.import_module(generic)
    except ImportError:
        continue
    raise AssertionError(generic)
"""
    run(python, "-c", code, site, cwd=tmp_path, env={"PYTHONPATH": sysconfig.get_path("purelib")})


def test_the_changelog_has_the_version() -> None:
    assert f"## {agentkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()
