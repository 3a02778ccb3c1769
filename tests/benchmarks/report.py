"""The report: Markdown, made of the figures and of nothing else."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.harness import Outcome
from tests.benchmarks.scenarios import Bound, Scenario

_METHOD = (
    "Each contender in a process of its own, in turns; medians over the rounds, ratios within this run. CPU is of"
    " all threads, user and system."
)
Figures = Mapping[str, Mapping[str, Sequence[Outcome]]]
"""By scenario and contender, an outcome of each round."""


def write(
    scenarios: Sequence[Scenario], figures: Figures, arguments: Sequence[str], *, quick: bool = False
) -> str:
    """Write the whole report; `arguments` are the command's."""
    lines = [
        "# Results of the benchmark",
        "",
        f"Made by `{shlex.join(['python', '-m', 'tests.benchmarks', *arguments])}`, not by hand."
        + " **In small, to see that it works: the sizes are not those of the titles.**" * quick,
        "",
        f"{_machine()} {_METHOD}",
        "",
        *_versions(figures),
        "",
        "## Bounds",
        "",
        "| scenario | bound | limit | measured | |",
        "|---|---|---|---|---|",
        *(_bound(scenario, bound, figures) for scenario in scenarios for bound in scenario.bounds),
    ]
    for scenario in scenarios:
        lines += ["", f"## {scenario.title}", "", *_table(scenario, figures[scenario.name])]
        if scenario.note:
            lines += ["", scenario.note]
    return "\n".join(lines) + "\n"


def short(scenarios: Sequence[Scenario], figures: Figures) -> str:
    """Write the table that README shows: agentkit first, the floor last."""
    names = {"agentkit": "agentkit", "sdk": "google-genai, a loop by hand", "afc": "google-genai, automatic"}
    names |= {"adk": "google-adk", "pydantic-ai": "pydantic-ai", "floor": "httpx2 by hand"}
    lines = [
        f"| | {' | '.join(names.values())} |",
        "|---" + "|--:" * len(names) + "|",
    ]
    for scenario in scenarios:
        for metric, text in scenario.short.items():
            cells = [_cell(figures[scenario.name], contender, metric) for contender in names]
            lines.append(f"| {text} | {' | '.join(cells)} |")
    versions = dict.fromkeys(line.partition(": ")[2] for line in _versions(figures))
    return "\n".join([*lines, "", f"{_machine()} {'; '.join(versions)}."])


def put_between(marks: tuple[str, str], text: str, document: str) -> str:
    """Replace what stands between two lines of a document."""
    before, rest = document.split(marks[0])
    _, after = rest.split(marks[1])
    return f"{before}{marks[0]}\n{text}\n{marks[1]}{after}"


def raw(figures: Figures) -> dict[str, Any]:
    """Return every figure of every round."""
    return {
        name: {
            contender: [dict(outcome.metrics) or {"unavailable": outcome.why} for outcome in outcomes]
            for contender, outcomes in by_contender.items()
        }
        for name, by_contender in figures.items()
    }


def differences(figures: Figures) -> list[str]:
    """Tell who did not do the same work as the first contender of a scenario, and in what."""
    found = []
    for name, by_contender in figures.items():
        works = {c: outcomes[-1].work for c, outcomes in by_contender.items() if outcomes[-1].work}
        first = next(iter(works), "")
        for contender, work in works.items():
            for what, mine, others in zip(("answers", "requests"), work, works[first], strict=False):
                if mine != others:
                    found.append(f"{name}: the {what} of {contender} differ from those of {first}")
    return found


def _machine() -> str:
    return (
        f"{datetime.date.today():%d %B %Y}, Python {platform.python_version()}, {platform.system()} on"
        f" {platform.machine()}, {os.cpu_count()} cores."
    )


def _versions(figures: Figures) -> list[str]:
    versions: dict[str, dict[str, str]] = {}
    for by_contender in figures.values():
        for contender, outcomes in by_contender.items():
            for outcome in outcomes:
                versions.setdefault(contender, {}).update(outcome.versions)
    return [
        f"- {contender}: {', '.join(f'{name} {version}' for name, version in found.items())}"
        for contender, found in versions.items()
        if found and "+" not in contender
    ]


def _bound(scenario: Scenario, bound: Bound, figures: Figures) -> str:
    limit = f"at most {bound.most:g}" if bound.most is not None else f"at least {bound.least:g}"
    try:
        value = bound.value(lambda contender, metric: _of(figures[scenario.name], contender, metric))
    except (KeyError, ZeroDivisionError):
        return f"| {scenario.name} | {bound.text} | {limit} | n/a | |"
    met = "met" if bound.met(value) else "**not met**"
    return f"| {scenario.name} | {bound.text} | {limit} | {value:.{bound.digits}f} | {met} |"


def _of(by_contender: Mapping[str, Sequence[Outcome]], contender: str, metric: str) -> float:
    values = [outcome.metrics[metric] for outcome in by_contender[contender] if metric in outcome.metrics]
    if not values:
        raise KeyError(metric)
    return median(values)


def _table(scenario: Scenario, by_contender: Mapping[str, Sequence[Outcome]]) -> list[str]:
    rounds = max((len(outcomes) for outcomes in by_contender.values()), default=0)
    lines = [
        f"| {rounds} round{'s' * (rounds != 1)} | {' | '.join(scenario.columns.values())} |",
        "|---" + "|--:" * len(scenario.columns) + "|",
    ]
    for contender, outcomes in by_contender.items():
        why = next((outcome.why for outcome in outcomes if outcome.why), "")
        cells = [_cell(by_contender, contender, metric) for metric in scenario.columns]
        reason = f" ({why})" if why and why != "n/a" else ""
        lines.append(f"| {contender}{reason} | {' | '.join(cells)} |")
    return lines


def _cell(by_contender: Mapping[str, Sequence[Outcome]], contender: str, metric: str) -> str:
    try:
        value = _of(by_contender, contender, metric)
    except KeyError:
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if value else "0"
