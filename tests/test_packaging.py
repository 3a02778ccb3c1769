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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, cwd=ROOT)
    (built,) = folder.glob("agentkit_gemini-*.whl")
    return built


def install(wheel: Path, folder: Path) -> tuple[Path, str]:
    """Make an environment with the wheel in it; return its Python, and the folder that holds the packages."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel)
    return python, site


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_installs_in_a_new_environment_and_every_module_of_it_imports(
    wheel: Path, tmp_path: Path
) -> None:
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

    python, site = install(wheel, tmp_path / "env")
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_project_that_is_called_agentkit_is_told_where_it_lies_in_the_same_folder(
    wheel: Path, tmp_path: Path
) -> None:
    python, site = install(wheel, tmp_path / "env")
    other = Path(site, "agentkit-0.0.4.dist-info")
    other.mkdir()
    other.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: agentkit\nVersion: 0.0.4\n")
    other.joinpath("RECORD").write_text("agentkit/__init__.py,,\nagentkit/agents/base_agent.py,,\n")
    env = {"PYTHONPATH": sysconfig.get_path("purelib")}
    said = "run pip uninstall agentkit, then pip install --force-reinstall agentkit-gemini"

    code = """
import agentkit
from agentkit.errors import how_to_install
print(how_to_install("mcp"))
try:
    agentkit.BaseAgent
except AttributeError as error:
    print(error)
"""
    hint, missing = run(python, "-c", code, cwd=tmp_path, env=env).splitlines()
    assert hint.startswith('pip install "agentkit-gemini[mcp]". Another project, "agentkit", is installed')
    assert hint.endswith(said)
    assert missing.startswith("module 'agentkit' has no attribute 'BaseAgent'. Another project")

    Path(site, "agentkit", "__init__.py").write_text("")  # installed over ours, whose files it leaves
    done = subprocess.run(
        [python, "-m", "agentkit.cli.main", "doctor"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (2, True)


def test_the_changelog_has_the_version() -> None:
    assert f"## {agentkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()
