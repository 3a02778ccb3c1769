"""What the tests of `PostgresStore` share."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agentkit.errors import StoreError
from agentkit.stores.base import AddMessage
from agentkit.stores.postgres import PostgresStore
from agentkit.stores.turns import TURNS
from agentkit.stores.writer import Writer
from agentkit.wire.content import user_content
from tests.helpers.postgres import PASSWORD
from tests.helpers.stored_chats import added

ROOT = Path(__file__).parents[2]
Open = Callable[..., PostgresStore]


def message(text: str) -> AddMessage:
    return added(user_content(text))


def texts(store: PostgresStore, id: str = "ann") -> list[str]:
    return [each.content["parts"][0]["text"] for each in store.load(id).messages]


def made(store: PostgresStore, *words: str, id: str = "ann") -> Writer:
    store.create(id)
    writer = store.write(id)
    writer.append([message(text) for text in words])
    return writer


def setting(url: str, options: str) -> str:
    """Give the connections of a URL settings of PostgreSQL's."""
    return url.replace("?options=", f"?options={options.replace('=', '%3D').replace(' ', '%20')}%20")


def run(url: str, statement: str) -> list[Any]:
    """Run a statement on a database, past the store."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a function of `postgres_child.py` in a process that is gone at the end."""
    command = [sys.executable, "-m", "tests.helpers.postgres_child", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> Any:
    """Wait for what a child says next."""
    assert process.stdout
    return json.loads(process.stdout.readline())


def fault(make: Callable[[], object]) -> str:
    """Return the words of a StoreError; neither they nor its traceback show the password."""
    with pytest.raises(StoreError) as caught:
        make()
    shown = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in shown and "s3cret" not in shown
    return str(caught.value)


@contextlib.contextmanager
def row_locked(url: str) -> Iterator[None]:
    """Hold the session's row, as somebody at a console might."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM agentkit_sessions FOR UPDATE")
        yield
        connection.rollback()


def as_another_process(store: PostgresStore, id: str = "ann") -> None:
    """Let who takes a session next ask the database alone, as another process does: no writer of this one is known."""
    TURNS.evict((store.identity, id))
