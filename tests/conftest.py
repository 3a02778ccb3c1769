"""What all tests share: a clean environment, and nothing left behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import find, settings
from hypothesis import strategies as st

from agentkit.drivers.threads import pool
from tests.helpers.runners import go as go
from tests.helpers.until import PATIENCE

settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", deadline=None)
settings.load_profile("thorough" if os.environ.get("CI") else "quick")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # under `nohup`, and in some CI: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PREFIXES = ("GEMINI_", "GOOGLE_", "AGENTKIT_")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs PostgreSQL starts a server, for more than half a second: it is slow."""
    for item in items:
        if "postgres" in item.nodeid:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Leave what is loaded now, half a gigabyte with all tests, out of every collection of garbage to come.

    Hypothesis asks the garbage collector who holds its random numbers when it first runs, and what is frozen
    doesn't answer: it runs once before.
    """
    find(st.none(), lambda value: value is None)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_signal_taken() -> Iterator[None]:
    """Fail if a test leaves a handler of a signal behind: the next Ctrl-C in this process would be its own."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fail if a thread outlives the test."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + PATIENCE
    pause = 0.001
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        pool.close_idle()
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
        if (
            pause > 0.01
        ):  # a model closes its connections when it is collected, perhaps in a cycle of the SDK's
            gc.collect()
    assert not left
