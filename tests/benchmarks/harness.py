"""Runs contenders against the server, one process at a time, and gathers what they measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.work import KEY, MODEL

ROOT = Path(__file__).parents[2]
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A file system where an fsync costs nothing: what is left is the store's own work."""


@dataclass(frozen=True)
class Outcome:
    """What came of one measurement; `why` says it where there are no metrics."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    work: tuple[Any, ...] = ()
    """What it was answered, and what the server was asked for that: the same for all who did the same."""
    versions: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    failed: bool = False


class Server:
    """The benchmark's server, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"

    def log(self) -> dict[str, Any]:
        """Return what was asked since the last look."""
        with _OPENER.open(self.url + "/log", timeout=30) as response:
            found: dict[str, Any] = json.load(response)
            return found


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def serving() -> Iterator[Server]:
    """Run the server for the time of a `with` block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.server"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield Server(process, int(process.stdout.readline()))
        process.stdin.close()
        process.wait(10)


def measure(server: Server, contender: str, name: str, options: Mapping[str, Any]) -> Outcome:
    """Let a contender measure one thing in a new process."""
    return measure_all(server, contender, {name: options})[name]


def measure_all(
    server: Server, contender: str, measures: Mapping[str, Mapping[str, Any]], *, timeout: float = 1800
) -> dict[str, Outcome]:
    """Let a contender measure some things in a new process.

    `{folder}` in an option is one of its own, and `{memory}` one in a memory file system if there is one.
    """
    try:
        python = _python(contender)
    except peers.NoEnvironment as error:
        return dict.fromkeys(measures, Outcome(why=str(error)))
    server.log()
    with TemporaryDirectory() as folder, TemporaryDirectory(dir=IN_MEMORY) as memory:
        folders = {"folder": folder, "memory": memory}
        given = {
            name: {k: v.format(**folders) if isinstance(v, str) else v for k, v in options.items()}
            for name, options in measures.items()
        }
        ran = subprocess.run(
            [python, "-m", "tests.benchmarks.worker", contender, json.dumps(given)],
            cwd=ROOT,
            env=_environment(server),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    if ran.returncode:
        return dict.fromkeys(measures, _failed(ran.stderr))
    said = json.loads(ran.stdout.splitlines()[-1])
    return {name: _outcome(found, said["versions"]) for name, found in said["measures"].items()}


def _outcome(found: Mapping[str, Any], versions: Mapping[str, str]) -> Outcome:
    if "unavailable" in found:
        return Outcome(why=found["unavailable"])
    return Outcome(found["metrics"], (sorted(found["answers"]), sorted(found["requests"])), versions)


# -- from nothing ----------------------------------------------------------------------------------------------------

_BY_MODULE = "from tests.benchmarks.contenders.{} import CONTENDER; CONTENDER().runner(())('chain=0')"
PROGRAMS = {
    "agentkit": (
        "import agentkit",
        "from agentkit import Agent, tool",
        f"from agentkit import Agent; Agent({MODEL!r}).run('chain=0')",
    ),
    "sdk": (
        "import google.genai",
        "from google.genai import types",
        f"from google import genai; c = genai.Client(); c.models.generate_content(model={MODEL!r}, contents='chain=0')",
    ),
    "floor": ("import httpx2", "import httpx2, json", _BY_MODULE.format("floor")),
    "adk": ("import google.adk", "from google.adk.agents import LlmAgent", _BY_MODULE.format("adk")),
    "pydantic-ai": (
        "import pydantic_ai",
        "from pydantic_ai import Agent",
        _BY_MODULE.format("pydantic_ai_peer"),
    ),
}
"""What is imported, what a user imports, and the shortest program that asks something."""


def start_up(server: Server, contender: str, *, repeat: int) -> Outcome:
    """Import a contender in a new process, and start one that asks something, up to the first byte sent."""
    try:
        python = _python(contender)
    except peers.NoEnvironment as error:
        return Outcome(why=str(error))
    try:
        return _start_up(server, python, contender, repeat)
    except subprocess.CalledProcessError as error:
        return _failed(error.stderr)


def _start_up(server: Server, python: str, contender: str, repeat: int) -> Outcome:
    plain, usual, program = PROGRAMS[contender]
    metrics: dict[str, float] = {}
    for key, statement in (("import_cpu", plain), ("usual_import_cpu", usual)):
        code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
        metrics[key] = median([float(_python_says(server, python, code)) * 1e3 for _ in range(repeat)])
    waits = []
    for _ in range(repeat):
        server.log()
        began = time.monotonic()
        _python_says(server, python, program)
        waits.append((server.log()["first_byte"] - began) * 1e3)
    return Outcome({**metrics, "first_byte_wall": median(waits)})


def _python_says(server: Server, python: str, code: str) -> str:
    return subprocess.run(
        [python, "-c", code],
        cwd=ROOT,
        env=_environment(server),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout


def _failed(stderr: str) -> Outcome:
    print(stderr, file=sys.stderr)
    return Outcome(why=f"failed: {(stderr.strip().splitlines() or ['no reason given'])[-1]}", failed=True)


def _python(contender: str) -> str:
    return peers.python_of(contender) if contender in peers.REQUIREMENTS else sys.executable


def _environment(server: Server) -> dict[str, str]:
    """Leave out what would lead a contender elsewhere, and name the server.

    Bytecode is kept, as it is of every installed package: an editable one would be compiled again and again.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if key != "PYTHONDONTWRITEBYTECODE"
        and not key.startswith(("GOOGLE_", "GEMINI_", "AGENTKIT_", "COVERAGE_", "COV_"))
        and not key.lower().endswith("_proxy")
    }
    return kept | {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": server.url}
