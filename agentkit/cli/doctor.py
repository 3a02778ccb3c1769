"""`agentkit doctor`: whether what is needed is there."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from agentkit.cli import terminal
from agentkit.cli.chat import Database
from agentkit.cli.exits import ANSWERED, FAILED, Leave
from agentkit.cli.run import ModelName
from agentkit.errors import DISTRIBUTION, how_to_install, other_agentkit

app = typer.Typer(rich_markup_mode=None, add_completion=False)

KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
VERTEX = (
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS",
)


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was looked at."""

    what: str
    found: str
    fault: str = ""
    """What to do about it, if it keeps something from working."""


@app.command(help="Check versions, credentials, extras and a store. Exits with 1 if something is wrong.")
def doctor(
    db: Database = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask the model one question.")] = False,
    model: ModelName = None,
) -> None:
    """Print a line for each thing that was looked at."""
    faults = 0
    for check in checks(db, model if ask else None, ask=ask):
        terminal.put(f"{'!' if check.fault else ' '} {check.what:<22} {check.found}")
        if check.fault:
            faults += 1
            terminal.put(f"  {'':<22} {check.fault}")
    raise Leave(FAILED if faults else ANSWERED)


def checks(db: Path | None, model: str | None, *, ask: bool) -> Iterator[Check]:
    """Look at one thing after the other."""
    import agentkit

    yield Check("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("agentkit", f"{agentkit.__version__} in {Path(agentkit.__file__).parent}")
    yield from packages()
    yield from extras()
    yield credentials()
    yield engine()
    yield store(db)
    if ask:
        yield answer(model)


def packages() -> Iterator[Check]:
    """Look for what agentkit needs, and for another package that is imported by the same name."""
    for name in ("google-genai", "pydantic"):
        found = version_of(name)
        yield Check(name, found or "not installed", "" if found else f"pip install {name}")
    owners = sorted(set(metadata.packages_distributions().get("agentkit", ())))
    if len(owners) > 1:
        yield Check(
            "import agentkit",
            f"is of several packages: {', '.join(owners)}",
            other_agentkit() or "Uninstall all but one.",
        )
    elif not hasattr(__import__("agentkit"), "Agent"):  # a folder of that name in the way
        yield Check("import agentkit", "is another package", "Run elsewhere, or rename what is in the way.")


def version_of(name: str) -> str | None:
    """Return the version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def extras() -> Iterator[Check]:
    """Look which extras are there, as agentkit's own metadata has them."""
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Check("extras", "not known: agentkit runs from a folder and isn't installed")
        return
    missing: dict[str, list[str]] = {}
    for line in required:
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        name = re.match(r"[\w.-]+", line)
        if extra and name and extra[1] != "dev":
            absent = missing.setdefault(extra[1], [])
            if version_of(name[0]) is None and name[0] != DISTRIBUTION:
                absent.append(name[0])
    for each, names in missing.items():
        yield Check(f"extra {each}", f"lacks {', '.join(names)}" if names else "installed")


def credentials() -> Check:
    """Say which variables have credentials, never what is in them."""
    from agentkit_local.model import available

    from agentkit import ConfigurationError, GeminiModel, MissingCredentials

    seen = [name for name in (*KEYS, *VERTEX) if os.environ.get(name, "").strip()]
    said = f"{', '.join(seen)} set" if seen else "none"
    try:
        GeminiModel().check_credentials()
    except MissingCredentials:
        if available():
            return Check("Gemini credentials", f"{said}: without a key the embedded model answers")
        return Check("Gemini credentials", said, f"Set GEMINI_API_KEY, or {how_to_install('local')}")
    except ConfigurationError as error:
        return Check("Gemini credentials", said, str(error))
    return Check("Gemini credentials", said)


def engine() -> Check:
    """Look for the embedded model, without starting it."""
    from agentkit_local.model import available

    here = "installed" if available() else f"not installed: {how_to_install('local')}"
    return Check("embedded model", here)


def store(db: Path | None) -> Check:
    """Look whether the file of sessions is sound, if there is one."""
    from agentkit.cli.places import data_folder, open_store

    file = db or data_folder() / "sessions.db"
    if not file.is_file():
        return Check("sessions", f"none yet ({file})", f"There is no file {db}." if db else "")
    try:
        with open_store(db) as opened:
            problems = list(opened.check())
    except Exception as error:  # whatever is wrong with the file is what is to be told
        problems = [f"{type(error).__name__}: {error}"]
    return Check("sessions", str(file), "; ".join(problems))


def answer(model: str | None) -> Check:
    """Ask the model one question, with one tool."""
    from agentkit import Agent, AgentError
    from agentkit.cli.exits import EmbeddedModelMissing
    from agentkit.cli.setup import choose_model

    def add(a: int, b: int) -> int:
        """Add two whole numbers, such as 2 and 3: how much is a plus b.

        Args:
            a: The first number.
            b: The second number.
        """
        return a + b

    try:
        run = Agent(choose_model(model), tools=[add]).run("Add 2 and 3.")
    except (AgentError, EmbeddedModelMissing) as error:
        return Check("one question", "failed", f"{type(error).__name__}: {error}")
    said = " ".join(run.text.split())[:100]
    return Check(
        "one question", f"{run.model}: {said}", "" if "5" in said else f"No answer: {run.stop or 'not 5'}."
    )
