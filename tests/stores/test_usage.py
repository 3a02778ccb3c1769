"""A store keeps which model's tokens are which."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.errors import StoreError
from agentkit.limits import ModelUsage, Usage, read_by_model
from agentkit.stores._values import decode_usage, encode_usage
from agentkit.stores.archive import from_archive, to_archive
from agentkit.stores.base import AddUsage, Message
from agentkit.stores.records import Damaged
from agentkit.stores.sqlite import MemoryStore
from agentkit.stores.store import SessionStore
from agentkit.wire.content import model_content, user_content
from tests.helpers.stored_chats import added

MORE = Usage.from_wire({"promptTokenCount": 4}, "a")
WHOLE = MORE + Usage.from_wire({"promptTokenCount": 250_000, "cachedContentTokenCount": 7}, "b")


def test_a_store_keeps_whose_tokens_they_are(store: SessionStore) -> None:
    store.create("ann")
    writer = store.write("ann")
    writer.append([added(user_content("hi"))])
    writer.append([added(model_content("ho"), usage=WHOLE), AddUsage(MORE)])
    writer.release()
    stored = store.load("ann").messages[1].usage
    assert stored is not None
    assert (stored, stored.by_model) == (WHOLE, WHOLE.by_model)
    assert store.info("ann").usage.by_model == (WHOLE + MORE).by_model


def test_an_archive_keeps_whose_tokens_they_are() -> None:
    store = MemoryStore()
    begin = [
        Message(content=user_content("hi"), created=1.0),
        Message(content=model_content("ho"), created=2.0, usage=WHOLE),
    ]
    archive = to_archive(store.create("ann", messages=begin), begin)
    read = from_archive(archive, "It")
    info, messages = read.info, read.messages
    assert messages[1].usage is not None
    assert info.usage.by_model == messages[1].usage.by_model == WHOLE.by_model
    archive["messages"][1]["usage"]["byModel"] = [{"model": "a", "requests": -1}]
    with pytest.raises(
        StoreError, match=r"It is damaged: messages\[1\].usage.byModel\[0\].requests: .* equal to 0, not -1"
    ):
        from_archive(archive, "It")


@pytest.mark.parametrize(
    ("row", "usage"),
    [
        pytest.param(
            '{"requests":1,"prompt_tokens":5}', Usage(requests=1, prompt_tokens=5), id="an early one"
        ),
        pytest.param(
            '{"requests":1,"smiles":"many","by_model":[{"model":"a","input_tokens":5,"moods":[]}]}',
            Usage(requests=1, by_model=(ModelUsage(model="a", input_tokens=5),)),
            id="a later one",
        ),
        pytest.param("{}", Usage(), id="nothing"),
    ],
)
def test_a_row_of_another_agentkit_is_read(row: str, usage: Usage) -> None:
    decoded = decode_usage(row)
    assert decoded is not None
    assert (decoded, decoded.by_model) == (usage, usage.by_model)


def test_a_row_is_read_as_it_was_written() -> None:
    decoded = decode_usage(encode_usage(WHOLE))
    assert decoded is not None
    assert (decoded, decoded.by_model) == (WHOLE, WHOLE.by_model)


@pytest.mark.parametrize(
    "odd",
    [
        *(5, {}, [5], [{}], [{"model": 5}], [{"model": "a", "long": 1}]),
        *(
            [{"model": "a", "requests": True}],
            [{"model": "a", "requests": 1.5}],
            [{"model": "a", "output_tokens": -1}],
        ),
    ],
)
def test_a_damaged_row_is_told(odd: Any) -> None:
    with pytest.raises(ValueError, match="by_model"):
        read_by_model(odd)
    with pytest.raises(Damaged):
        decode_usage(json.dumps({"by_model": odd}))


@pytest.mark.parametrize(
    "counts", [{"estimated": 1}, {"requests": True}, {"requests": -1}, {"requests": 2**100}]
)
def test_a_count_that_is_none_is_told(counts: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match=next(iter(counts))):
        decode_usage(json.dumps(counts))


ODD: Any = 1.5


@pytest.mark.parametrize(
    "usage",
    [
        Usage(requests=ODD),
        Usage(by_model=(ModelUsage(model="a", requests=ODD),)),
        Usage(by_model=(ModelUsage(model="a", requests=-1),)),
        Usage(by_model=(ODD,)),
    ],
)
def test_a_usage_that_could_not_be_read_is_not_stored(
    reopen: Callable[[], SessionStore], usage: Usage
) -> None:
    store = reopen()
    store.create("ann")
    writer = store.write("ann")
    writer.append([AddUsage(MORE)])
    with pytest.raises(StoreError, match="can't be stored"):
        writer.append([added(user_content("hi")), added(model_content("ho"), usage=usage)])
    assert (store.info("ann").messages, store.info("ann").usage) == (0, MORE)
