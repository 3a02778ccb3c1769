"""What runs do is what was recorded before: each request, each event, each outcome, each stored row."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.golden import files, scenes_limits
from tests.golden.groups import GROUPS
from tests.golden.recorder import scenarios_in
from tests.helpers.until import stretched

SLOW = ("the_time_is_up_in", "a_tool_times_out", "resumed_after_a_crash")
"""Scenarios that wait, or kill a process."""
SCENARIOS = [
    pytest.param(
        group, name, make, id=f"{group}-{name}", marks=pytest.mark.slow if name.startswith(SLOW) else ()
    )
    for group, module in GROUPS.items()
    for name, make in scenarios_in(module)
]
recorded = cache(files.read)


@pytest.mark.parametrize(("group", "name", "make"), SCENARIOS)
def test_a_scenario_goes_as_recorded(
    group: str, name: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name in recorded(group), f"Record it first: python -m tests.golden.record {group}/{name}"

    def compare(longer: float) -> None:
        monkeypatch.setattr(scenes_limits, "SECONDS", 0.25 * longer)
        if changed := files.difference(recorded(group)[name], make()):
            pytest.fail(f"{group}/{name}: {changed}", pytrace=False)

    if name.startswith("the_time_is_up_in"):
        stretched(compare)
    else:
        compare(1.0)


def test_nothing_is_recorded_that_no_scenario_makes() -> None:
    for group, module in GROUPS.items():
        assert set(recorded(group)) == {name for name, _ in scenarios_in(module)}
