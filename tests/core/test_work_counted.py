"""A turn with a call does so much work and no more, counted in a process of its own, at 10 contents as at 2,000."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import harness
from tests.benchmarks.harness import Server

ROOT = Path(__file__).parents[2]

# The most of each. `calls` are of agentkit's own functions, generators each time they go on; the others are
# anybody's. How often an event loop goes round varies by one, so the async ones have a little room. Of the
# statements, each transaction's beginning and end are two.
MOST = {
    ("none", "sync"): {"calls": 714, "encodes": 11, "decodes": 2, "statements": 0, "commits": 0},
    ("none", "async"): {"calls": 774, "encodes": 11, "decodes": 2, "statements": 0, "commits": 0},
    ("sqlite", "sync"): {"calls": 936, "encodes": 19, "decodes": 2, "statements": 29, "commits": 5},
    ("sqlite", "async"): {"calls": 1068, "encodes": 19, "decodes": 2, "statements": 29, "commits": 5},
}
BYTES = {
    "none": {"bytes_encoded": 640, "bytes_decoded": 780},
    "sqlite": {"bytes_encoded": 1620, "bytes_decoded": 780},
}
"""With some room for the digits of ids, times and numbers."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with harness.serving() as running:
        yield running


def _check(server: Server, folder: Path, store: str, way: str, repetitions: int) -> None:
    command = [sys.executable, "-m", "tests.helpers.count_work", server.url, str(folder), way, store]
    done = subprocess.run([*command, str(repetitions)], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    short, long = json.loads(done.stdout).values()
    assert len(short) == len(long) == repetitions
    for name, most in (MOST[store, way] | BYTES[store]).items():
        for counts in (*short, *long):
            # Work that is saved makes the bound lower; work that isn't seen at all would be a fault of the test.
            assert most // 3 <= counts[name] <= most, name
        least_and_most = [(min(c[name] for c in each), max(c[name] for c in each)) for each in (short, long)]
        spread = 2 if name == "calls" and way == "async" else 20 if name in BYTES[store] else 0
        for shorter, longer in zip(*least_and_most, strict=True):
            assert abs(longer - shorter) <= spread, name


@pytest.mark.parametrize(("store", "way"), MOST)
def test_a_turn_does_so_much_work_however_long_the_history_is(
    server: Server, tmp_path: Path, store: str, way: str
) -> None:
    _check(server, tmp_path, store, way, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("store", "way"), MOST)
def test_a_turn_does_the_same_work_each_time(server: Server, tmp_path: Path, store: str, way: str) -> None:
    _check(server, tmp_path, store, way, 20)
