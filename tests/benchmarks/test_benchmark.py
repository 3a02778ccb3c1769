"""The benchmark runs from end to end, and whoever takes part does the same work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.benchmarks import __main__, harness, peers, report
from tests.benchmarks.harness import Outcome, Server
from tests.benchmarks.scenarios import SCENARIOS, Scenario

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_SHARED = [each for each in SCENARIOS if len(each.contenders) > 1 and each.measure != "start_up"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with harness.serving() as running:
        yield running


@pytest.fixture(scope="module")
def tiny(server: Server) -> Mapping[str, Mapping[str, Outcome]]:
    """All that contenders share, in small: by contender and measure."""
    measures = {scenario.measure: scenario.quick for scenario in _SHARED}
    contenders = ("floor", "sdk", "afc", "agentkit")
    return {each: harness.measure_all(server, each, measures) for each in contenders}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", _SHARED, ids=lambda each: each.name)
def test_all_contenders_ask_the_same_and_get_the_same_answers(
    scenario: Scenario, tiny: Mapping[str, Mapping[str, Outcome]]
) -> None:
    works = {
        name: found[scenario.measure].work for name, found in tiny.items() if name in scenario.contenders
    }
    answers, requests = works["floor"]
    assert requests
    assert answers or scenario.name == "history"
    assert all(work == works["floor"] for work in works.values() if work)
    assert [name for name, work in works.items() if not work] == []


@pytest.mark.slow
@pytest.mark.parametrize("scenario", _SHARED, ids=lambda each: each.name)
def test_every_column_and_bound_finds_its_figure(
    scenario: Scenario, tiny: Mapping[str, Mapping[str, Outcome]]
) -> None:
    metrics = tiny["agentkit"][scenario.measure].metrics
    assert set(scenario.columns) <= set(metrics)
    for bound in scenario.bounds:
        bound.value(lambda contender, metric: metrics[metric])
        assert (bound.most is None) is not (bound.least is None)


@pytest.mark.slow
def test_the_server_is_asked_for_what_the_scenario_says(tiny: Mapping[str, Mapping[str, Outcome]]) -> None:
    _, requests = tiny["agentkit"]["tool_turns"].work
    # Three tool turns and an answer, three times over: 1, 3, 5 and 7 contents, a tool, a response a turn.
    assert [request[:3] for request in requests] == sorted([[1, 1, 0], [3, 1, 1], [5, 1, 2], [7, 1, 3]] * 3)
    answers, _ = tiny["agentkit"]["tool_turns"].work
    assert answers == ["The answer is 3."] * 3


def test_the_command_writes_a_report_of_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, raw = tmp_path / "results.md", tmp_path / "raw.json"
    options = ["turns", "--quick", "--contenders", "floor,agentkit", "--output", str(out), "--json", str(raw)]
    assert __main__.main(options) == 0
    text = out.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "## A run of 10 tool turns" in text
    assert "--quick" in text and "In small" in text
    assert "- floor: httpx2 " in text and "- agentkit: agentkit-gemini " in text
    assert "CPU of the hand-written SDK loop | at most 0.2 | n/a |" in text
    assert '"run_cpu"' in raw.read_text()


@pytest.mark.slow
def test_the_whole_benchmark_writes_the_table_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Mapping[str, Mapping[str, Outcome]]
) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "RESULTS.md"
    readme.write_text((harness.ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    before, _ = readme.read_text().split(__main__.MARKS[0])
    monkeypatch.setattr(__main__, "_README", readme)
    monkeypatch.setattr(__main__, "_RESULTS", results)
    monkeypatch.setattr(__main__, "SCENARIOS", (_BY_NAME["turns"],))
    monkeypatch.setattr(
        harness, "measure", lambda _, name, measure, options: tiny.get(name, {}).get(measure, Outcome())
    )
    for _ in range(2):  # the second time there is a table to be replaced
        assert __main__.main(["--json", str(tmp_path / "raw.json")]) == 0
    text = readme.read_text()
    assert text.startswith(before)
    assert text.count("| A run of 10 tool turns, CPU, ms |") == 1
    assert "agentkit-gemini 0.1.0, google-genai" in text
    assert results.read_text().startswith("# Results of the benchmark")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["turms"], "there is no scenario turms"),
        (["turns", "--contenders", "agnetkit,floor"], "there is no contender agnetkit"),
        (["turns", "--rounds", "0"], "--rounds is at least 1"),
    ],
)
def test_what_there_is_not_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        __main__.main(arguments)
    assert told in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_runs_in_small(tmp_path: Path) -> None:
    out = tmp_path / "results.md"
    options = ["--quick", "--no-peers", "--output", str(out), "--json", str(tmp_path / "raw.json")]
    assert __main__.main(options) == 0
    assert "failed" not in out.read_text()


# -- the report ------------------------------------------------------------------------------------------------------


def _figures(**cpu: float) -> dict[str, dict[str, list[Outcome]]]:
    return {"turns": {name: [Outcome({"run_cpu": each, "run_wall": 1.0})] for name, each in cpu.items()}}


def test_a_bound_is_met_or_not_by_the_medians() -> None:
    figures = _figures(sdk=100.0, floor=10.0, agentkit=12.0)
    figures["turns"]["agentkit"] += [Outcome({"run_cpu": 900.0}), Outcome({"run_cpu": 11.0})]
    text = report.write([_BY_NAME["turns"]], figures, [])
    assert "| turns | CPU of the hand-written SDK loop | at most 0.2 | 0.12 | met |" in text
    assert "| turns | CPU of the floor | at most 1.3 | 1.20 | met |" in text
    text = report.write([_BY_NAME["turns"]], _figures(sdk=100.0, floor=10.0, agentkit=21.0), [])
    assert "| at most 0.2 | 0.21 | **not met** |" in text
    assert "| at most 1.3 | 2.10 | **not met** |" in text


def test_a_bound_from_below_is_met_from_there_on() -> None:
    bound = next(bound for bound in _BY_NAME["concurrent"].bounds if bound.least)
    assert bound.met(3.0) and not bound.met(2.99)


def test_whoever_does_other_work_is_named() -> None:
    same = Outcome({}, (["a"], [[1]]))
    figures = {"turns": {"floor": [same], "sdk": [same], "afc": [Outcome(why="n/a")]}}
    assert report.differences(figures) == []
    figures["turns"]["sdk"] = [dataclasses.replace(same, work=(["a"], [[1], [1]]))]
    assert report.differences(figures) == ["turns: the requests of sdk differ from those of floor"]


def test_a_peer_that_cannot_be_installed_has_a_row_that_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(peer: str) -> str:
        raise peers.NoEnvironment("it can't be installed here: no network")

    monkeypatch.setattr(peers, "python_of", fail)
    outcomes = [
        harness.measure(server, "adk", "tool_turns", {}),
        harness.start_up(server, "adk", repeat=1),
    ]
    for outcome in outcomes:
        text = report.write([_BY_NAME["turns"]], {"turns": {"adk": [outcome]}}, [])
        assert "| adk (it can't be installed here: no network) | n/a | n/a |" in text


def test_a_contender_that_fails_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = dataclasses.replace(_BY_NAME["turns"], quick={"turns": 1, "repeat": 0}, contenders=("floor",))
    monkeypatch.setattr(__main__, "SCENARIOS", (broken,))
    assert __main__.main(["--quick", "--json", str(tmp_path / "raw.json")]) == 1
    assert (
        "| floor (failed: ZeroDivisionError: float division by zero) | n/a | n/a |" in capsys.readouterr().out
    )
