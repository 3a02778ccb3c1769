"""Rows that are damaged: what is wrong is named, and what is sound is of use."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.agent import Agent
from agentkit.errors import SessionConflict
from agentkit.stores.store import SessionStore
from agentkit.testing.scripted import ScriptedModel
from tests.helpers.stored_chats import made, texts


def damage(store: SessionStore, statement: str, *values: Any) -> None:
    """Change rows past the store."""
    store._db.run([(statement, values)])


def is_sqlite(store: SessionStore) -> bool:
    return not type(store).__name__.startswith("Postgres")


OWNERS = ("", "x", "{", "[]", "[1]", '[1.0, "x", 0, ""]', '[1.0, "x", 1e99, ""]', "-1", "9" * 30, b"\xff")


def test_an_owner_that_cannot_be_read_has_gone(store: SessionStore) -> None:
    made(store, "one").release()
    set_owner = "UPDATE {p}sessions SET owner = CAST(? AS TEXT)"
    for owner in OWNERS:
        if isinstance(owner, bytes) and not is_sqlite(store):
            continue  # there is no text that is none
        chat = Agent(ScriptedModel(["two"])).chat("ann", store)
        damage(store, set_owner, owner)
        assert chat.send_message("one").text == "two"
        damage(store, set_owner, owner)
        chat.clear()
    assert texts(store, "ann") == [] and store.check() == []
    writer = store.write("ann")
    with pytest.raises(SessionConflict):
        store.write("ann")
    writer.release()
