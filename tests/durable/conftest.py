"""The stores that queues are tested on, and queues on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agentkit.durable import Queue
from agentkit.stores.store import SessionStore
from tests.helpers.postgres import schema_url
from tests.helpers.queue_worker import open_queue, open_store


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The path or URL of a database: each kind."""
    return str(tmp_path / "chats.db") if request.param == "sqlite" else schema_url(tmp_path)


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which calls are written down."""
    file = tmp_path / "effects"
    monkeypatch.setenv("EFFECTS", str(file))
    return file


@pytest.fixture
def reopen(where: str, effects: Path) -> Iterator[Callable[[], Queue]]:
    """Opens the same queue again, as another process would."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(open_queue(opened.enter_context(open_store(where))))


@pytest.fixture
def queue(reopen: Callable[[], Queue]) -> Queue:
    """A queue on each kind of database."""
    return reopen()


@pytest.fixture
def store(queue: Queue) -> SessionStore:
    """Its store."""
    return queue.store
