"""What is written down is read by one reader: what earlier versions wrote, and what is damaged, which it names."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agentkit import ConfigurationError, MemoryStore, Run, SQLiteStore, StoreError
from agentkit.limits import Usage, read_by_model
from agentkit.stores._values import encode_usage
from agentkit.stores.archive import parse_archive
from agentkit.testing import check_history
from tests.helpers.mutations import mutated
from tests.helpers.waiting import approve_all, everything, parked, parked_chat

SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]
JSON = {
    "messages": ("content", "usage", "metadata", "files", "cleared", "given"),
    "calls": ("args", "response", "deferred"),
    "states": ("state",),
    "sessions": ("usage",),
}
"""The columns that hold it."""
SET = "UPDATE {} SET {} = ? WHERE rowid = ?"


@pytest.mark.parametrize("version", [2, 4])
def test_an_archive_of_an_earlier_version_is_loaded_and_goes_on(version: int) -> None:
    file = Path(__file__).parent / "old" / f"archive_{version}.json"
    written = json.loads(file.read_text("utf-8"))
    chat: Any = everything("done").chat("ben", MemoryStore())
    chat.load(file)
    for each, before in zip(chat.get_messages(), written["messages"], strict=True):
        used = before.get("usage")
        assert each.content == before["content"]
        assert encode_usage(each.usage) == (
            used and encode_usage(Usage(**used | {"by_model": read_by_model(used["by_model"])}))
        )
        assert (each.created, each.sender_id) == (before["created"], before.get("sender_id"))
        assert (each.finish_reason, each.given) == (before.get("finish_reason"), before.get("given"))
    assert chat.state == written.get("state", {})
    if version == 2:
        assert chat.send_message("more").text == "done"
        return
    assert [call.name for call in chat.pending] == ["order", "order", "later"]
    run = chat.resume(approve_all(chat))  # the agent inside has one more to make
    assert [call.path for call in run.pending] == [("inner",)]
    assert chat.resume(approve_all(run)).text == "done"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda wire: wire["used"]["usage"].update(requests="many"), "used.usage.requests: "),
        (lambda wire: wire["used"]["usage"].update(requests=float("inf")), "JSON has no number Infinity"),
        (lambda wire: wire["messages"][1]["content"]["parts"].append({}), "contents.1.: a part"),
        (lambda wire: wire["messages"][0].update(given={"limits": {"turns": 0}}), "messages.0..given."),
        (lambda wire: wire["messages"][0].update(files=[{"part": 0}]), "messages.0..files.0..uri: "),
        (lambda wire: wire["waiting"]["calls"][1].update(args=[]), "waiting.calls.1..args: "),
        (lambda wire: wire["waiting"]["calls"][1].update(name="x"), "its open calls are not those"),
        (
            lambda wire: wire["waiting"]["calls"][0]["deferred"]["state"]["ended"].update(why=1),
            "waiting.calls.0..deferred: ended.why: ",
        ),
    ],
)
def test_the_place_of_what_is_damaged_in_a_run_is_named(change: Any, place: str) -> None:
    wire = json.loads(parked().to_json())
    change(wire)
    with pytest.raises(ConfigurationError, match=place):
        Run.from_json(json.dumps(wire))


def test_a_number_without_end_is_no_json(tmp_path: Path) -> None:
    text = parked().to_json().replace('"startedWith": 0', '"startedWith": 1e999')
    with pytest.raises(ConfigurationError, match="JSON has no number 1e999"):
        Run.from_json(text)
    chat = parked_chat(MemoryStore())
    chat.save(tmp_path / "chat.json")
    with pytest.raises(StoreError, match="it isn't JSON: JSON has no number 1e999"):
        parse_archive((tmp_path / "chat.json").read_text().replace('"tea"', "1e999"), "it")


def use(chat: Any) -> None:
    """Do with a chat what can be done with one: all of it, or an error of agentkit's own."""
    assert chat.info and repr(chat.token_usage)
    for step in (
        chat.get_history,
        lambda: chat._conversation.archive(),
        lambda: chat.state,
        lambda: chat.pending,
    ):
        try:
            assert json.dumps(step()) if step is chat.get_history else repr(step())
        except StoreError:
            continue
    for _ in range(3):
        try:
            run = chat.resume(approve_all(chat))
        except (StoreError, ConfigurationError):
            return
        check_history(run.contents)
        assert Run.from_json(run.to_json()).to_json() == run.to_json()
        if not run.pending:
            return


ROUNDS = pytest.mark.parametrize(
    "seeds",
    [range(4), *(pytest.param(range(at, at + 1000), marks=SLOW) for at in (1000, 2000, 3000))],
    ids=lambda seeds: f"from {seeds[0]}",
)


@ROUNDS
def test_a_mutated_archive_that_waits_is_an_error_at_once_or_as_good_as_any(
    seeds: range, tmp_path: Path
) -> None:
    parked_chat(MemoryStore()).save(tmp_path / "whole.json")
    whole = json.loads((tmp_path / "whole.json").read_text())
    for seed in seeds:
        (tmp_path / "chat.json").write_text(json.dumps(mutated(whole, seed)))
        chat = everything("done", "done", "done").chat("ann", MemoryStore())
        try:
            chat.load(tmp_path / "chat.json")
        except StoreError:
            continue
        try:
            chat.save(tmp_path / "again.json")
            use(chat)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error!s:.300}")


@ROUNDS
def test_a_mutated_row_is_an_error_that_names_it_or_as_good_as_any(seeds: range, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "whole.db") as store:
        parked_chat(store)
    whole = (tmp_path / "whole.db").read_bytes()
    with sqlite3.connect(tmp_path / "whole.db") as found:
        cells = [
            (table, column, row, raw)
            for table, columns in JSON.items()
            for column in columns
            for row, raw in found.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL")
        ]
    found.close()
    assert {table for table, *_ in cells} == {*JSON}
    for seed in seeds:
        table, column, row, raw = random.Random(seed).choice(cells)
        file = tmp_path / f"{seed}.db"
        file.write_bytes(whole)
        with sqlite3.connect(file) as damaged:
            wrong = json.dumps(mutated(json.loads(raw), seed))
            damaged.execute(SET.format(table, column), (wrong, row))
        damaged.close()
        with SQLiteStore(file) as store:
            try:
                use(everything("done", "done", "done").chat("ann", store))
            except StoreError:
                pass
            except Exception as error:
                pytest.fail(f"seed {seed}: {table}.{column}: {type(error).__name__}: {error!s:.300}")
        file.unlink()


def test_what_is_nested_too_deep_to_be_read_is_not_stored() -> None:
    chat = parked_chat(MemoryStore())
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    with pytest.raises(StoreError, match="nested more than"):
        chat.state = {"deep": deep}
    assert chat.state == {"cart": ["tea"]}
