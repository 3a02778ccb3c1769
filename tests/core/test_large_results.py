"""Results that are too long for the model at once: cut, kept whole, and read on."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit import (
    Agent,
    ConfigurationError,
    Context,
    Deny,
    Edit,
    Hooks,
    Limits,
    Media,
    Result,
    Run,
    SQLiteStore,
    Tool,
    ToolDeferred,
    tool,
)
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import dumps, responses_of
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]

MARK = re.compile(
    r'\.\.\. \[cut: ([\d,]+) of ([\d,]+) characters are missing; read_result\(id="([^"]*)", offset=(\d+)\)\]$'
)


def outputs(run: Run) -> list[Any]:
    """All responses so far."""
    return [r["response"].get("output") for content in run.contents for r in responses_of(content)]


def read_on(request: Any) -> Any:
    """Do as the mark in the last result says, or answer with the whole."""
    found = MARK.search(responses_of(request["contents"][-1])[-1]["response"]["output"])
    if found:
        return call("read_result", id=found[3], offset=int(found[4]))
    pages = [r["response"]["output"] for content in request["contents"] for r in responses_of(content)]
    return "".join(MARK.sub("", page) for page in pages)


@tool(effect="read")
def later() -> str:
    """Have the result later."""
    raise ToolDeferred("it takes a day")


LONG = "".join(f"line {n}\n" for n in range(300))


@pytest.mark.parametrize("kept", [False, True])
def test_a_long_result_that_a_decision_brings_is_kept_whole(either: Way, tmp_path: Any, kept: bool) -> None:
    agent = Agent(ScriptedModel([call("later")] + [read_on] * 9), tools=[later], max_result_chars=800)
    if not kept:
        run = either.run(agent, "go")
        run = either.resume(agent, run.to_json(), {run.pending[0].call_id: Result(LONG)})
    else:
        with SQLiteStore(tmp_path / "a.db") as store:
            run = either.chat(agent, store).send("go")
            run = either.chat(agent, store).resume({run.pending[0].call_id: Result(LONG)})
    assert run.text == LONG
    assert list(run.results.values()) == [LONG]


def test_a_long_result_is_kept_while_another_call_of_the_turn_goes_on_waiting(
    either: Way, tmp_path: Any
) -> None:
    script = [[call("later"), call("later")]] + [read_on] * 20
    agent = Agent(ScriptedModel(script), tools=[later], max_result_chars=800)
    with SQLiteStore(tmp_path / "a.db") as store:
        chat = either.chat(agent, store)
        first, second = chat.send("go").pending
        assert chat.resume({first.call_id: Result(LONG)}).pending == (second,)
        assert store.result("ann", first.call_id) == LONG
        chat.resume({second.call_id: Result(LONG)})
        assert store.result("ann", second.call_id) == LONG


def test_a_long_result_of_a_hook_before_the_tool_is_kept_whole(way: Way) -> None:
    hooks = Hooks(before_tool=lambda args, ctx: Result(LONG) if ctx.tool_name == "later" else None)
    agent = Agent(
        ScriptedModel([call("later")] + [read_on] * 9), tools=[later], max_result_chars=800, hooks=hooks
    )
    assert way.run(agent, "go").text == LONG


# -- paging ----------------------------------------------------------------------------------------------------------


def log(text: str = LONG) -> str:
    """Read the log."""
    return text


TEXTS = {
    "lines": LONG,
    "quotes": '"\\' * 900,
    "newlines": "\n\r\t\x00\x1f" * 300,
    "emoji": "🦉é\u200d👩‍🚀" * 300,
    "mixed": "".join(f'{n} "🦉"\n' for n in range(300)),
    "marks": '... [cut: 1 of 2 characters are missing; read_result(id="x", offset=1)]' * 40 + "end",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_reading_on_gives_the_whole_to_the_character(kind: str) -> None:
    pages = exhaust(Way(), TEXTS[kind])
    assert "".join(pages) == TEXTS[kind]


@settings(max_examples=25)
@given(st.text(st.characters(exclude_categories=[]), min_size=600, max_size=2500))
def test_reading_on_gives_back_any_text(text: str) -> None:
    assert "".join(exhaust(Way(), text)) == text


def exhaust(way: Way, text: str) -> list[str]:
    """Have a model read a result to its end; give the pages without their marks."""
    pages: list[str] = []

    def answer(request: Any) -> Any:
        shown = responses_of(request["contents"][-1])[0]["response"]["output"]
        assert len(json.dumps(shown, ensure_ascii=False)) <= 500
        found = MARK.search(shown)
        pages.append(MARK.sub("", shown, count=1) if found else shown)
        if not found:
            return "read"
        have = sum(map(len, pages))
        assert int(found[4]) == have
        assert int(found[2].replace(",", "")) == len(text)
        assert int(found[1].replace(",", "")) == len(text) - have
        return call("read_result", id=found[3], offset=have)

    def long() -> str:
        """Read."""
        return text

    model = ScriptedModel([call("long")] + [answer] * 60)
    run = way.run(Agent(model, tools=[long], max_result_chars=500, limits=Limits(turns=70)), "go")
    assert (run.stop, run.text) == (None, "read")
    if len(pages) > 1:
        assert list(run.results.values()) == [text]
    return pages


def test_read_result_is_declared_from_the_cut_on_and_nothing_before_it_changes(way: Way) -> None:
    def short() -> str:
        """Be short."""
        return "ok"

    model = ScriptedModel([call("short"), call("log"), read_on, *[read_on] * 9])
    run = way.run(Agent(model, tools=[short, log], max_result_chars=800, instructions="Be brief."), "go")
    assert run.text.endswith(LONG)
    declared = [
        [each["name"] for each in request["tools"][0]["functionDeclarations"]] for request in model.requests
    ]
    assert declared[:2] == [["short", "log"]] * 2
    assert {tuple(names) for names in declared[2:]} == {("short", "log", "read_result")}
    before = [dumps({k: v for k, v in r.items() if k != "contents"}) for r in model.requests]
    assert before[0] == before[1]
    assert len(set(before[2:])) == 1
    for earlier, later in itertools.pairwise(model.requests):
        contents = b",".join(map(dumps, later["contents"]))
        assert contents.startswith(b",".join(map(dumps, earlier["contents"])))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"id": "nope"}, "No result is kept under 'nope'"),
        ({"id": ""}, "No result is kept under ''"),
        ({"id": "\0" * 999}, "No result is kept under"),
        ({"id": "KEY", "offset": -1}, "offset from 0 to 2589"),
        ({"id": "KEY", "offset": 10**30}, "offset from 0 to"),
        ({"id": "KEY", "offset": "x"}, "offset"),
        ({"offset": 1}, "id"),
    ],
)
def test_what_can_not_be_read_is_said_to_the_model(
    either: Way, tmp_path: Path, args: Any, words: str
) -> None:
    def wrong(request: Any) -> Any:
        shown = responses_of(request["contents"][-1])[0]["response"]["output"]
        found = MARK.search(shown)
        assert found
        return call("read_result", **{k: found[3] if v == "KEY" else v for k, v in args.items()})

    agent = Agent(ScriptedModel([call("log"), wrong, "ok"]), tools=[log], max_result_chars=800)
    with SQLiteStore(tmp_path / "a.db") as store:
        run = either.chat(agent, store).send("go")
    assert run.text == "ok"
    last = responses_of(run.contents[-2])[0]["response"]
    assert re.search(words, last["error"])
    assert run.errors == ()


def test_the_ends_of_a_result_can_be_read(either: Way) -> None:
    def at(offset: int) -> Any:
        return lambda request: call(
            "read_result", id=MARK_ID.findall(str(request["contents"]))[0], offset=offset
        )

    agent = Agent(
        ScriptedModel([call("log"), at(0), at(len(LONG) - 1), "ok"]), tools=[log], max_result_chars=800
    )
    first, again, last = outputs(either.run(agent, "go"))
    assert again == first
    assert last == LONG[-1]


MARK_ID = re.compile(r'read_result\(id="(.*?)"')


# -- where they are kept ---------------------------------------------------------------------------------------------


def test_a_chats_results_are_read_in_another_process_and_in_its_forks(either: Way, tmp_path: Path) -> None:
    agent = Agent(ScriptedModel([call("log"), "cut"]), tools=[log], max_result_chars=800)
    with SQLiteStore(tmp_path / "a.db") as store:
        run = either.chat(agent, store).send("go")
        assert list(run.results.values()) == [LONG]
        agent.chat("ann", store).fork(id="bob")
    (key,) = run.results
    for id in ("ann", "bob"):
        with SQLiteStore(tmp_path / "a.db") as store:
            later = Agent(
                ScriptedModel([call("read_result", id=key, offset=1000)] + [read_on] * 9),
                max_result_chars=800,
            )
            run = either.chat(later, store, id).send("and the rest?")
        assert run.text.endswith(LONG[1000:])
        assert run.results == {}


def test_a_new_run_with_the_history_alone_says_that_the_rest_is_not_there(way: Way) -> None:
    earlier = way.run(Agent(ScriptedModel([call("log"), "cut"]), tools=[log], max_result_chars=800), "go")
    (key,) = earlier.results
    model = ScriptedModel([call("read_result", id=key, offset=700), "I can't"])
    run = way.run(Agent(model, tools=[log]), "and the rest?", history=earlier.contents)
    assert "not kept any more: call the tool again" in responses_of(run.contents[-2])[0]["response"]["error"]


def test_a_run_that_goes_on_has_its_results(either: Way) -> None:
    script = [[call("log"), call("later")], read_on_first, *[read_on] * 9]
    agent = Agent(ScriptedModel(script), tools=[log, later], max_result_chars=800)
    run = either.run(agent, "go")
    assert list(run.results.values()) == [LONG]
    run = either.resume(agent, run.to_json(), {run.pending[0].call_id: Result("short")})
    assert LONG[700:] in run.text


def read_on_first(request: Any) -> Any:
    found = MARK.search(responses_of(request["contents"][-1])[0]["response"]["output"])
    assert found
    return call("read_result", id=found[3], offset=int(found[4]))


def test_results_of_calls_at_the_same_time_are_kept_apart(way: Way) -> None:
    async def count(start: int) -> list[int]:
        """Count."""
        await asyncio.sleep(0)
        return list(range(start, start + 400))

    model = ScriptedModel([[call("count", start=n * 1000) for n in range(4)] + [call("log")], "ok"])
    run = way.run(Agent(model, tools=[count, log], max_result_chars=600), "go")
    wholes = list(run.results.values())
    assert [json.loads(text)[0] for text in wholes[:4]] == [0, 1000, 2000, 3000]
    assert wholes[4] == LONG
    for shown, (key, whole) in zip(outputs(run), run.results.items(), strict=True):
        found = MARK.search(shown)
        assert found
        assert found[3] == key
        assert whole.startswith(MARK.sub("", shown))


def test_media_stay_whole_beside_a_text_that_is_cut(way: Way) -> None:
    def scan() -> list[Any]:
        """Scan."""
        return [LONG, Media(b"\x89PNG", "image/png")]

    run = way.run(Agent(ScriptedModel([call("scan"), "ok"]), tools=[scan], max_result_chars=600), "go")
    (response,) = responses_of(run.contents[-2])
    assert MARK.search(response["response"]["output"])
    assert response["parts"][0]["inlineData"]["mimeType"] == "image/png"
    assert list(run.results.values()) == [LONG]


def test_structure_is_read_on_as_its_json(way: Way) -> None:
    rows = [{"n": n, "word": f"é {n}"} for n in range(200)]

    def table() -> list[dict[str, Any]]:
        """Give a table."""
        return rows

    run = way.run(
        Agent(ScriptedModel([call("table")] + [read_on] * 20), tools=[table], max_result_chars=700), "go"
    )
    assert json.loads(run.text) == rows


def test_an_edited_calls_result_is_cut_with_its_note(either: Way) -> None:
    agent = Agent(
        ScriptedModel([call("log"), *[read_on] * 9]),
        tools=[Tool.of(log, approval=True)],
        max_result_chars=700,
    )
    run = either.run(agent, "go")
    run = either.resume(agent, run, {run.pending[0].call_id: Edit({"text": "abc" * 500})})
    whole = json.loads(run.text)
    assert whole["result"] == "abc" * 500
    assert "changed the arguments" in whole["note"]


def test_a_hook_after_the_tool_changes_what_is_kept(way: Way, tmp_path: Path) -> None:
    def after(response: Any, ctx: Context[Any]) -> Any:
        return {"log": Result("z" * 2000), "hush": Deny("secret")}.get(ctx.tool_name)

    def hush() -> str:
        """Say too much."""
        return LONG

    model = ScriptedModel([[call("log"), call("hush")], "ok"])
    agent = Agent(model, tools=[log, hush], max_result_chars=600, hooks=Hooks(after_tool=after))
    with SQLiteStore(tmp_path / "a.db") as store:
        run = way.chat(agent, store).send("go")
        assert [result.text for result in store.results("ann")] == ["z" * 2000]
    assert list(run.results.values()) == ["z" * 2000]
    assert LONG[:50] not in str(run.contents)


def test_a_sub_agent_reads_on_by_itself_and_its_answer_is_cut_for_the_outer_one(way: Way) -> None:
    inner = Agent(
        ScriptedModel([call("log"), *[read_on] * 9]), tools=[log], name="inner", max_result_chars=700
    )
    outer = ScriptedModel([call("inner", request="r"), *[read_on] * 9])
    run = way.run(Agent(outer, tools=[inner.as_tool()], max_result_chars=900), "go")
    assert run.text == LONG
    assert list(run.results.values()) == [LONG]


def test_a_tool_of_the_users_own_may_not_have_the_name() -> None:
    mine = Tool.of(log, name="read_result")
    with pytest.raises(
        ConfigurationError, match=r"a tool 'read_result' of its own: give yours another name="
    ):
        Agent(ScriptedModel([]), tools=[mine])
    with pytest.raises(ConfigurationError, match="'read_result'"):
        Agent(ScriptedModel([])).run("x", tools=[mine])
    for wrong in (0, 499, -1):
        with pytest.raises(ConfigurationError, match="max_result_chars"):
            Agent(ScriptedModel([]), max_result_chars=wrong)


def test_a_model_that_makes_up_the_tool_is_told_that_there_is_none(either: Way) -> None:
    run = either.run(Agent(ScriptedModel([call("read_result", id="x"), "ok"]), tools=[log]), "go")
    assert "There is no tool 'read_result'" in responses_of(run.contents[-2])[0]["response"]["error"]
