"""What the check tells, and what reading and using a session refuses, for whatever is wrong with any column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentkit.agent import Agent
from agentkit.chats.chat import Chat
from agentkit.chats.manager import ChatManager
from agentkit.errors import AgentError, ConfigurationError, DecisionError, StoreError
from agentkit.limits import ModelUsage, Usage
from agentkit.stores.base import SaveResult, SaveSummary
from agentkit.stores.store import SessionStore
from agentkit.testing.scripted import ScriptedModel
from agentkit.wire.content import model_content, user_content
from tests.helpers.mutations import mutated
from tests.helpers.stored_chats import added
from tests.helpers.waiting import approve_all, everything, parked_chat

TABLES = ("sessions", "instructions", "messages", "calls", "summaries", "results", "states")
NOT_LOOKED_AT = {("messages", "words"), ("sessions", "fence"), ("sessions", "owner"), ("sessions", "waited")}
"""The database's own check compares the first with its index; the others are who writes, and end with that."""
MEANT: dict[tuple[str, str], tuple[type[Exception], ...]] = {
    ("sessions", "id"): (AgentError,),
    ("calls", "started"): (DecisionError, StoreError),
    ("messages", "given"): (ConfigurationError,),
}
"""What is refused though nothing is damaged: another session's id, calls that may have run, tools that there aren't."""
NUMBERS = (-1, 0, 1, 3, 2**40, 2**62)
TIMES = (-1.0, 0.0, 1e11, 1e300)
TEXTS = ("", "x", "[]", "{}", "7", "{", "\\", "\\ud800", "user", "model", "read", "scripted", '{"x": 1}')


class Rows:
    """The rows of a store with all that there can be, one of which is damaged at a time."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self._sqlite = not type(store).__name__.startswith("Postgres")
        parked_chat(store)
        store.create("eve", instructions="Be kind.", title="Eve", parent="ann", expires=4e9)
        writer = store.write("eve")
        used = Usage(requests=1, total_tokens=3, by_model=(ModelUsage(model="scripted", requests=1),))
        files = [{"part": 0, "uri": "u", "mimeType": "text/plain", "expires": 9e9}]
        given = {"instructions": "Be brief.", "limits": {"turns": 3}}
        writer.append([added(user_content("one"), sender_id="m-1", given=given, files=files)])
        known: dict[str, Any] = {
            "usage": used,
            "finish_reason": "STOP",
            "model": "scripted",
            "endpoint": "gemini",
        }
        writer.append([SaveResult("r", "whole"), added(model_content("1"), metadata={"a": 1}, **known)])
        writer.append([added(user_content("two"), cleared={"c": "gone"}), added(model_content("2"), **known)])
        writer.append([SaveSummary(2, "One.")], release=True)
        Agent(ScriptedModel([])).chat("eve", store).state = {"cart": ["tea"]}
        for table in TABLES:
            self.run(f"CREATE TABLE kept_{table} AS SELECT * FROM {{p}}{table}")

    def run(self, *statements: str, values: Any = ()) -> list[Any]:
        return self.store._db.run([(text, values) for text in statements])[-1]

    def restore(self) -> None:
        own = "" if self._sqlite else " OVERRIDING SYSTEM VALUE"
        copies = (f"INSERT INTO {{p}}{table}{own} SELECT * FROM kept_{table}" for table in TABLES)
        self.run("DELETE FROM {p}sessions", *copies)

    def columns(self, table: str) -> list[str]:
        if self._sqlite:
            return [row[1] for row in self.run(f"PRAGMA table_info({table})")]
        name = (
            f"SELECT attname FROM pg_attribute WHERE attrelid = 'agentkit_{table}'::regclass AND attnum > 0"
        )
        return [row[0] for row in self.run(name)]

    def damages(self, table: str) -> Iterator[tuple[str, Any, Any]]:
        """Go through what may be wrong with a table: a column, a value that is there, another one."""
        for column in self.columns(table):
            if (table, column) in NOT_LOOKED_AT:
                continue
            for (value,) in self.run(
                f"SELECT DISTINCT {column} FROM {{p}}{table} WHERE {column} IS NOT NULL ORDER BY 1 LIMIT 2"
            ):
                yield from ((column, value, other) for other in (None, *self.others(value)) if other != value)

    def others(self, value: Any) -> Iterator[Any]:
        if isinstance(value, int):
            yield from NUMBERS
        elif isinstance(value, float):
            yield from TIMES
        else:
            yield from TEXTS
            if self._sqlite:
                yield b"\xff"
            if value.startswith("{"):
                yield from (json.dumps(mutated(json.loads(value), seed)) for seed in range(6))

    def damage(self, table: str, column: str, value: Any, other: Any) -> bool:
        """Damage a row; return whether the database takes it."""
        to = "CAST(? AS TEXT)" if isinstance(other, bytes) else "?"
        try:
            done = self.run(
                f"UPDATE {{p}}{table} SET {column} = {to} WHERE {column} = ?", values=(other, value)
            )
        except StoreError:  # a constraint, or no value of its type
            return False
        return bool(done)


def uses(store: SessionStore) -> dict[str, Callable[[], Any]]:
    """What can be done with two sessions, one of which waits."""
    chats = ChatManager(Agent(ScriptedModel(["more"] * 3)), store)

    def ann() -> Chat:
        return everything("done", "done", "done").chat("ann", store)

    return {
        "list": lambda: [info.id for info in store.list()],
        "search": lambda: store.search("two"),
        "load ann": lambda: repr((store.load("ann"), store.load("ann").state, store.load("ann").calls)),
        "load eve": lambda: repr((store.load("eve"), store.load("eve").state, store.load("eve").calls)),
        "results": lambda: (store.results("ann"), store.results("eve"), store.result("eve", "r")),
        "history": lambda: (
            ann().get_history(),
            chats.get("eve").get_history(),
            chats.get("eve").token_usage,
        ),
        "export ann": lambda: chats.export_session("ann"),
        "export eve": lambda: (chats.export_session("eve"), chats.export_session("eve", "markdown")),
        "fork": lambda: chats.fork("eve", at=2, new_id="fork"),
        "send": lambda: chats.send_message("eve", "three").text,
        "undo eve": lambda: (chats.undo("eve"), chats.undo("eve"), chats.get("eve").get_history()),
        "resume eve": lambda: chats.resume("eve"),
        "pending": lambda: ann().pending,
        "resume ann": lambda: ann().resume(approve_all(ann())),  # type: ignore[arg-type]
        "undo ann": lambda: ann().undo(),
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("table", TABLES)
def test_the_check_tells_whatever_is_refused_and_what_it_passes_is_of_use(
    store: SessionStore, table: str
) -> None:
    rows = Rows(store)
    assert [*store.check()] == []
    told_of = set[str]()
    for column, value, other in [*rows.damages(table)]:
        where = f"{table}.{column}: {other!r:.200} in place of {value!r:.80}"
        if not rows.damage(table, column, value, other):
            continue
        told = [*store.check()]
        told_of |= {column} if told else set()
        for name, use in uses(store).items():
            try:
                use()
            except AgentError as error:
                passes = isinstance(error, MEANT.get((table, column), ()))
                assert told or passes, f"{where}: {name}: {type(error).__name__}: {error}"
            except Exception as error:
                pytest.fail(f"{where}: {name}: {type(error).__name__}: {error}")
        for id in [info.id for info in store.list()]:
            if (table, column) != ("sessions", "id"):
                Agent(ScriptedModel([])).chat(id, store).clear()
                assert store.load(id).messages == [], where
        rows.restore()
    assert told_of or table == "instructions"  # any text is one
