"""A contender at work, in a process of its own.

    python -m tests.benchmarks.worker CONTENDER '{"MEASURE": {"option": ...}, ...}'

Prints one line of JSON: `versions`, and of each measure its `metrics`, the `answers` that it got and the
`requests` that the server saw; or that it is `unavailable`, and why.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

from tests.benchmarks.contender import Contender, NotAvailable

MODULES = {
    "agentkit": "ours",
    "sdk": "sdk",
    "afc": "afc",
    "floor": "floor",
    "adk": "adk",
    "pydantic-ai": "pydantic_ai_peer",
}


def main(name: str, measures: str) -> None:
    """Measure some things, one after another."""
    contender: Contender = import_module(f"tests.benchmarks.contenders.{MODULES[name]}").CONTENDER()
    found = {measure: _measure(contender, measure, given) for measure, given in json.loads(measures).items()}
    print(json.dumps({"versions": contender.versions(), "measures": found}))


def _measure(contender: Contender, measure: str, options: dict[str, Any]) -> dict[str, Any]:
    home = "measures_ours" if measure.startswith("own_") else "measures"
    function = getattr(import_module(f"tests.benchmarks.{home}"), measure)
    answers: list[str] = []
    try:
        metrics = function(contender, answers, **options)
    except NotAvailable as error:
        return {"unavailable": str(error) or "n/a"}
    return {"metrics": metrics, "answers": answers, "requests": _requests()}


def _requests() -> Any:
    from urllib.request import urlopen  # not before, as it takes memory

    with urlopen(os.environ["GOOGLE_GEMINI_BASE_URL"] + "/log") as response:
        return json.load(response)["requests"]


if __name__ == "__main__":
    main(*sys.argv[1:])
