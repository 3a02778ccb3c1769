"""What runs do is what was recorded before: each request, each event, each outcome, each stored row."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.golden import files
from tests.golden.groups import GROUPS
from tests.golden.recorder import scenarios_in

SCENARIOS = [
    pytest.param(group, name, make, id=f"{group}-{name}")
    for group, module in GROUPS.items()
    for name, make in scenarios_in(module)
]
recorded = cache(files.read)


@pytest.mark.parametrize(("group", "name", "make"), SCENARIOS)
def test_a_scenario_goes_as_recorded(group: str, name: str, make: Callable[[], Any]) -> None:
    assert name in recorded(group), f"Record it first: python -m tests.golden.record {group}/{name}"
    changed = files.difference(recorded(group)[name], make())
    if changed:
        pytest.fail(f"{group}/{name}: {changed}", pytrace=False)


def test_nothing_is_recorded_that_no_scenario_makes() -> None:
    for group, module in GROUPS.items():
        assert set(recorded(group)) == {name for name, _ in scenarios_in(module)}
