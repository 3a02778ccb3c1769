"""A thousand runs among faults: whatever goes wrong, a run ends well and leaves a valid history and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from agentkit import ModelError, Run, Usage
from agentkit.limits import Stop
from agentkit.testing import check_history
from agentkit.testing.chaos import FAULTS
from tests.helpers.chaos_runs import Scenario, Total
from tests.helpers.leftovers import nothing_left

pytestmark = pytest.mark.slow

NEVER = {"cancelled", "unknown_effect", "too_large", "cost", "approval", "deferred"}
"""Stops that these runs don't come to: nobody breaks them off, and all that waits is decided about."""
MOST_REQUESTS = 40


@dataclass(frozen=True)
class Ended:
    """How a run among faults ended."""

    scenario: Scenario
    end: Run | ModelError

    @property
    def run(self) -> Run:
        if isinstance(self.end, ModelError):
            run: Run = self.end.run
            return run
        return self.end

    @property
    def fingerprint(self) -> Any:
        run, scenario = self.run, self.scenario
        return (
            type(self.end).__name__,
            (run.stop, run.limit, run.finish_reason, run.model, run.text, run.output),
            run.contents,
            (run.usage, run.turn_usages),
            [type(error).__name__ for error in run.errors],
            [chaos.injected for chaos in scenario.chaos],
            (len(scenario.shop.orders), scenario.segments),
        )


def make(seeds: Sequence[int], way: str = "") -> list[Ended]:
    """Make these runs; nothing may be left of them."""
    with pytest.MonkeyPatch.context() as patch, nothing_left():
        patch.setattr("random.random", lambda: 0.0)  # no jitter when a server says how long to wait
        scenarios = [Scenario(seed, way) for seed in seeds]
        return [Ended(scenario, scenario.go()) for scenario in scenarios]


@pytest.fixture(scope="module")
def runs() -> list[Ended]:
    return make(range(200))


def ends_well(ended: Ended) -> bool:
    """Tell whether it is an answer, a typed stop or a typed error; anything else was raised before."""
    run, scenario = ended.run, ended.scenario
    if isinstance(ended.end, ModelError):
        return ended.end.code == 400 or ended.end.retryable
    if run.stop is None:
        wanted = run.output == Total(3) if scenario.output else run.text == "It is done."
        continued = run.text.endswith("It is done.")
        return (wanted or continued) and run.contents[-1]["role"] == "model"
    return run.stop in set(get_args(Stop)) - NEVER and run.output is None


def has_valid_history(ended: Ended) -> bool:
    check_history(ended.run.contents)
    return Run.from_json(ended.run.to_json()).contents == ended.run.contents


def has_usage_that_adds_up(ended: Ended) -> bool:
    """Compare with what the models said that they gave; a run cut off by the clock may not have got all of it.

    Requests that were given up are counted too, and nobody has told what they cost.
    """
    usage, given = ended.run.usage, sum((recorder.usage for recorder in ended.scenario.recorders), Usage())
    if not ended.scenario.exact:
        begun = sum(recorder.broken_off.total_tokens for recorder in ended.scenario.recorders)
        return usage.total_tokens <= given.total_tokens + begun
    answered = replace(usage, requests=usage.requests - usage.given_up, given_up=0)
    asked = sum(recorder.requests for recorder in ended.scenario.recorders)
    return answered == given and ended.run.turns <= usage.requests <= asked


def ran_no_write_twice(ended: Ended) -> bool:
    orders = ended.scenario.shop.orders
    return len(set(orders)) == len(orders) <= sum(brain.orders for brain in ended.scenario.brains)


def asked_a_bounded_number_of_times(ended: Ended) -> bool:
    asked = sum(recorder.requests for recorder in ended.scenario.recorders)
    return asked <= MOST_REQUESTS * ended.scenario.segments


PROPERTIES = [
    ends_well,
    has_valid_history,
    has_usage_that_adds_up,
    ran_no_write_twice,
    asked_a_bounded_number_of_times,
]


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda f: f.__name__)
def test_every_run_among_faults(holds: Any, runs: list[Ended]) -> None:
    assert [(ended.scenario.seed, ended.run.stop) for ended in runs if not holds(ended)] == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(200, 1000, 100))
def test_every_run_of_many_more_among_faults(first: int) -> None:
    runs = make(range(first, first + 100))
    wrong = [(e.scenario.seed, f.__name__) for e in runs for f in PROPERTIES if not f(e)]
    assert wrong == []


def test_the_runs_meet_every_fault_and_come_to_many_kinds_of_ends(runs: list[Ended]) -> None:
    met = {kind for ended in runs for chaos in ended.scenario.chaos for kind in chaos.injected}
    assert met == set(FAULTS)
    ends = {ended.run.stop for ended in runs}
    assert ends >= {None, "refused", "malformed", "max_tokens", "other", "turns", "tool_calls", "tokens"}
    assert sum(isinstance(ended.end, ModelError) for ended in runs) > 5
    assert sum(ended.run.stop is None for ended in runs) > 100
    assert sum(ended.run.limit is not None and ended.run.stop is None for ended in runs) > 2
    assert sum(ended.scenario.segments > 1 for ended in runs) > 20
    assert sum(len(ended.scenario.shop.orders) for ended in runs) > 50
    assert any(ended.run.model == "model-1" for ended in runs)  # the one that stands in


@pytest.mark.slow
@pytest.mark.parametrize("ways", [("sync", "async"), ("stream", "astream")], ids=" ".join)
def test_the_same_seed_makes_the_same_run_sync_and_async(ways: tuple[str, str]) -> None:
    seeds = [seed for seed in range(28) if Scenario(seed).exact]
    sync, again = make(seeds, ways[0]), make(seeds, ways[1])
    assert [e.fingerprint for e in sync] == [e.fingerprint for e in again]
