"""The stores that the contract is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from agentkit.stores.postgres import PostgresStore
from agentkit.stores.sqlite import MemoryStore, SQLiteStore
from agentkit.stores.store import SessionStore
from tests.helpers.postgres import postgres_store, schema_url

STORES: dict[str, Callable[[Path], AbstractContextManager[SessionStore]]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SQLiteStore(folder / "chats.db"),
    "postgres": postgres_store,
}
"""What opens a store, by name. The same folder is the same store, but for "memory", where each is a new one."""


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a kind of store."""
    name: str = request.param
    return name


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[SessionStore]:
    """An empty store of each kind."""
    with STORES[kind](tmp_path) as opened:
        yield opened


@pytest.fixture(params=[name for name in STORES if name != "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SessionStore]]:
    """Opens the same store again, as another process would; of each kind that outlives its process."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(STORES[request.param](tmp_path))


@pytest.fixture
def postgres(tmp_path: Path) -> str:
    """The URL of a new schema in PostgreSQL."""
    return schema_url(tmp_path)


@pytest.fixture
def open_store() -> Iterator[Callable[..., PostgresStore]]:
    """Opens stores that are closed in the end."""
    with ExitStack() as opened:
        yield lambda *args, **options: opened.enter_context(PostgresStore(*args, **options))
