"""The peers' environments: one each, made on demand outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = {"adk": "google-adk", "pydantic-ai": "pydantic-ai-slim[google]"}


class NoEnvironment(Exception):
    """A peer can't be installed here."""


def cache() -> Path:
    """Return the folder of the environments: AGENTKIT_BENCHMARK_CACHE, or one in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("AGENTKIT_BENCHMARK_CACHE") or Path(home) / "agentkit-benchmark")


def python_of(peer: str) -> str:
    """Return the interpreter of a peer's environment, made if it isn't there yet.

    Raises:
        NoEnvironment: It can't be made; the message is the last line of what said so.
    """
    folder = cache() / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "installed"
    if done.exists():
        return str(python)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", REQUIREMENTS[peer]],
    ):
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            lines = (made.stderr or made.stdout).strip().splitlines() or ["no reason given"]
            raise NoEnvironment(f"it can't be installed here: {lines[-1]}")
    done.touch()
    return str(python)
