"""The event log, and text in safe blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, MemoryStore, Usage
from agentkit.events import ModelRetry, OutputDelta, TextDelta, ThoughtDelta, TurnFinished
from agentkit.serve.live import RunSettings
from agentkit.serve.log import MemoryEventLog, Row
from agentkit.serve.markdown import Stream, render
from agentkit.serve.rows import Teller
from agentkit.serve.runs import Runs
from agentkit.serve.sessions import User
from agentkit.testing import ScriptedModel, call
from tests.serve import hostile


def row(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


def kinds(rows: Any) -> list[str]:
    return [each["type"] for each in rows]


def test_rows_are_read_from_a_cursor_and_each_is_read_once() -> None:
    async def go() -> None:
        log = MemoryEventLog()
        first = await log.append("s", [row("a"), row("b")])
        await log.append("other", [row("x")])
        await log.append("s", [row("c")])
        assert kinds(await log.read("s", first)) == ["c"]
        assert kinds(await log.read("s", first - 1)) == ["b", "c"]
        assert await log.read("s", await log.last("s")) == []

    asyncio.run(go())


def test_a_cursor_older_than_what_is_kept_is_told() -> None:
    async def go() -> None:
        log = MemoryEventLog(keep=2)
        before = await log.last("s")
        assert await log.read("s", before) == []
        await log.append("s", [row("a"), row("b"), row("c")])
        assert await log.read("s", before) is None
        assert kinds(await log.read("s", before + 1)) == ["b", "c"]
        await log.drop("s")
        assert await log.read("s", before + 1) is None
        assert await log.read("s", await log.last("s")) == []
        assert await log.read("never", before - 1) is None  # of an earlier process

    asyncio.run(go())


def test_a_row_takes_the_place_of_the_last_of_its_key() -> None:
    async def go() -> None:
        log = MemoryEventLog()
        before = await log.last("s")
        await log.append("s", [row("text", n=1, key="k"), row("x"), row("text", n=2, key="k")])
        rows = await log.read("s", before)
        assert rows is not None
        assert [(each["type"], each.get("n")) for each in rows] == [("x", None), ("text", 2)]

    asyncio.run(go())


def test_who_waits_is_woken_by_its_streams_only() -> None:
    async def go() -> None:
        log = MemoryEventLog()
        mine, other = (asyncio.create_task(log.wait([name])) for name in ("s", "other"))
        await asyncio.sleep(0)
        await log.append("s", [row("a")])
        await mine
        assert not other.done()
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert not log._watchers

    asyncio.run(go())


PIECES = (
    *(
        "# Title\n\n",
        "- one\n",
        "- two\n\n",
        "```py\nx = 1\n",
        "```\n",
        "| a | b |\n|--|--|\n",
        "| 1 | 2 |\n",
    ),
    *(
        "\n\n",
        "text ",
        "**bold** ",
        "> quote\n",
        "1. a\n",
        "    code\n",
        "---\n",
        "[a][r] ",
        "\n[r]: http://x\n\n",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES))


@given(TEXTS, st.integers(1, 7))
def test_a_text_that_streams_ends_like_the_whole(pieces: list[str], size: int) -> None:
    whole = "".join(pieces)
    stream, blocks = Stream(), dict[int, str]()
    for at in range(0, len(whole), size):
        blocks.update(stream.feed(whole[at : at + size]))
    end = stream.end()
    assert ("".join(blocks[n] for n in sorted(blocks)) if end is None else end) == render(whole)


@pytest.mark.parametrize("text", hostile.MARKDOWN)
def test_no_html_image_or_odd_link_of_a_text_gets_through(text: str) -> None:
    html = render(text).lower()
    assert not [
        tag
        for tag in ("<script", "<img", "<svg", "<iframe", "<form", "<style", "<base", "<meta")
        if tag in html
    ]
    assert not [
        odd for odd in ('href="javascript', 'href="data', 'href="vbs', 'href="file', 'href="/') if odd in html
    ]


def test_notes_stand_where_they_belong_and_cannot_be_forged() -> None:
    assert render("Tea keeps. Yes.", [(10, 1), (15, 2)]) == (
        '<p>Tea keeps.<sup class="ref">1</sup> Yes.<sup class="ref">2</sup></p>\n'
    )
    assert "<sup" not in render("\ue0001\ue001")


def test_text_is_merged_until_it_is_taken_and_stands_in_order() -> None:
    teller = Teller("t")
    for event in (ThoughtDelta("Hm. "), ThoughtDelta("Well."), TextDelta("One "), TextDelta("two.")):
        teller.tell(event)
    rows = teller.take()
    assert [(each["type"], each["html"]) for each in rows] == [
        ("thought", "<p>Hm. Well.</p>\n"),
        ("text", "<p>One two.</p>\n"),
    ]
    assert teller.take() == []


@pytest.mark.parametrize("ended", [True, False])
def test_a_text_that_is_taken_back_is_named_and_json_becomes_an_output(ended: bool) -> None:
    teller = Teller("t")
    teller.tell(TextDelta("Wrong"))
    if ended:
        teller.tell(TurnFinished(1, Usage(), "MALFORMED_FUNCTION_CALL"))
    teller.tell(ModelRetry(2, 0.1, "why", "Wrong"))
    teller.tell(OutputDelta({"a": 1}))
    teller.tell(TextDelta('{"a": 1}'))
    teller.tell(TurnFinished(1, Usage(), "STOP"))
    rows = teller.take()
    (retry,) = [each for each in rows if each["type"] == "model_retry"]
    assert retry["texts"] == [rows[0]["text"]]
    outputs = [each for each in rows if each["type"] == "output"]
    assert {each["value"]["a"] for each in outputs} == {1}
    assert {each["text"] for each in outputs} != {rows[0]["text"]}


class Distant(MemoryEventLog):
    """A log that takes its time, before and after what it does, as one in another process does."""

    async def append(self, stream: str, rows: Sequence[Row]) -> int:
        await asyncio.sleep(0.003)
        last = await super().append(stream, rows)
        await asyncio.sleep(0.003)
        return last

    async def last(self, stream: str) -> int:
        await asyncio.sleep(0.001)
        last = await super().last(stream)
        await asyncio.sleep(0.001)
        return last

    async def drop(self, stream: str) -> None:
        await super().drop(stream)
        await asyncio.sleep(0.002)


@pytest.mark.slow
def test_whoever_looks_while_a_run_begins_is_told_all_of_it_whatever_time_the_log_takes() -> None:
    async def talk() -> None:
        log, session = Distant(), User().session("ann")
        with MemoryStore() as store:
            runs = Runs(Agent(ScriptedModel(["One.", "Two."])), store, log, RunSettings())
            for text in ("Hello", "Again"):
                beginning = asyncio.create_task(runs.begin(session, [text]))
                looks = []
                while not beginning.done() or runs.is_live(session):
                    await asyncio.sleep(0.0005)
                    looks.append(asyncio.create_task(runs.snapshot(session)))
                await beginning
                seen = [
                    each
                    for each in await asyncio.gather(*looks, return_exceptions=True)
                    if isinstance(each, dict)
                ]
                for snapshot in seen:
                    news = await log.read(session.stream, snapshot["cursor"])
                    rows = [*snapshot["rows"], *(news or [])]
                    if news is None:  # it is told so, and looks again
                        continue
                    said = [row["text"] for row in rows if row["type"] == "user"]
                    assert said.count(text) == 1, (snapshot, rows)
                assert seen

    asyncio.run(talk())


class SlowToEnd(MemoryEventLog):
    """A log that is long about the last rows of the first run."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def append(self, stream: str, rows: Sequence[Row]) -> int:
        if "end" in kinds(rows):
            await self.go_on.wait()
        return await super().append(stream, rows)


def test_a_run_that_begins_while_the_end_of_the_last_one_is_told_has_rows_of_its_own() -> None:
    async def talk() -> None:
        decided, log, session = asyncio.Event(), SlowToEnd(), User().session("ann")

        async def decide() -> str:
            """Decide."""
            await decided.wait()
            return "decided"

        model = ScriptedModel(["One.", call("decide"), "Two."])
        with MemoryStore() as store:
            runs = Runs(Agent(model, tools=[decide]), store, log, RunSettings())
            await runs.begin(session, ["Hello"])
            first = runs._live[session.stored].task
            assert first is not None
            while runs.is_live(session):
                await asyncio.sleep(0.001)
            beginning = asyncio.create_task(runs.begin(session, ["Again"]))
            for _ in range(50):
                await asyncio.sleep(0.001)
            log.go_on.set()
            await asyncio.gather(first, beginning)
            snapshot = await runs.snapshot(session)
            assert snapshot["live"] and runs.is_live(session)
            assert "end" not in kinds(await log.read(session.stream, snapshot["cursor"]))
            decided.set()
            while runs.is_live(session):
                await asyncio.sleep(0.001)
            assert kinds(await log.read(session.stream, snapshot["cursor"])).count("end") == 1

    asyncio.run(talk())
