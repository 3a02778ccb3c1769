"""The stores that the contract is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from agentkit.stores.base import SessionStore
from agentkit.stores.memory import MemoryStore
from agentkit.stores.sql import SQLStore
from agentkit.stores.sqlite import SQLiteStore
from tests.helpers.postgres import postgres_store, schema_url, sql_sqlite_store

STORES: dict[str, Callable[[Path], AbstractContextManager[SessionStore]]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SQLiteStore(folder / "chats.db"),
    "postgres": postgres_store,
    "sql-sqlite": sql_sqlite_store,
}
"""What opens a store, by name. The same folder is the same store, but for "memory", where each is a new one."""


_KINDS = {
    name: pytest.param(name, marks=pytest.mark.slow if name == "sql-sqlite" else ())
    for name in sorted(STORES)
}
"""SQLStore's own code runs on PostgreSQL already; on SQLite it does so in CI."""


@pytest.fixture(params=_KINDS.values())
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a kind of store."""
    name: str = request.param
    return name


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[SessionStore]:
    """An empty store of each kind."""
    with STORES[kind](tmp_path) as opened:
        yield opened


@pytest.fixture(params=[kind for name, kind in _KINDS.items() if name != "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SessionStore]]:
    """Opens the same store again, as another process would; of each kind that outlives its process."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(STORES[request.param](tmp_path))


@pytest.fixture(params=["postgres", pytest.param("sqlite", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database of each kind."""
    if request.param == "postgres":
        return schema_url(tmp_path)
    return f"sqlite:///{tmp_path / 'sql.db'}"


@pytest.fixture
def postgres(tmp_path: Path) -> str:
    """The URL of a new schema in PostgreSQL."""
    return schema_url(tmp_path)


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    """An SQLite file that isn't there yet."""
    return tmp_path / "sql.db"


@pytest.fixture
def open_store() -> Iterator[Callable[..., SQLStore]]:
    """Opens stores that are closed in the end."""
    with ExitStack() as opened:
        yield lambda *args, **options: opened.enter_context(SQLStore(*args, **options))
