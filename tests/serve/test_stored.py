"""What is stored, told in the rows of the page."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, MemoryStore
from agentkit.serve.export import session_html
from agentkit.serve.live import tells_more
from agentkit.serve.rows import Teller
from agentkit.serve.stored import broken_off, stored_rows, suggestions_of, waiting
from agentkit.serve.turns import reply_at, turn_of
from agentkit.stores.base import AddMessage, StoredCall
from agentkit.stores.message import Message
from agentkit.testing import ScriptedModel, call
from agentkit.testing.scripted import reply
from agentkit.tooling.names import SECONDS, SUGGESTIONS


def kept(*contents: Any, calls: Any = (), metadata: Any = None) -> Any:
    store = MemoryStore()
    store.create("s", title="Tea </script><script>alert(1)</script>")
    writer = store.write("s")
    for number, (role, parts) in enumerate(contents):
        last = number == len(contents) - 1
        beside = metadata if last else None
        message = Message(content={"role": role, "parts": parts}, created=1000.0 + number, metadata=beside)
        writer.append([AddMessage(message, calls if last else ())])
    writer.release()
    return store.load("s")


def rows_of(session: Any) -> list[Any]:
    return stored_rows(session, len(session.messages))


def kinds(rows: list[Any]) -> list[str]:
    return [row["type"] for row in rows]


ASKED = ("user", [{"text": "Tea?"}])
RESPONSE: Any = {"functionResponse": {"name": "stock", "response": {"output": 3}}}


def test_a_turn_with_calls_is_told_as_it_was_live() -> None:
    session = kept(
        ASKED,
        ("model", [{"text": "Hm.", "thought": True}, {"text": "I look."}, call("stock", sku="x")]),
        ("user", [RESPONSE]),
        ("model", [{"text": "Three."}]),
    )
    rows = rows_of(session)
    assert kinds(rows) == [
        *(
            "user",
            "thought",
            "text",
            "turn_finished",
            "tool_started",
            "tool_finished",
            "text",
            "turn_finished",
        )
    ]
    assert [row["at"] for row in rows] == [1000.0] + [1001.0] * 4 + [1002.0] + [1003.0] * 2
    started, finished = rows[4], rows[5]
    assert started["callId"] == finished["callId"]
    assert (finished["failed"], finished["seconds"], finished["at"]) == (False, None, 1002.0)
    assert broken_off(session) is None


def test_a_call_that_waits_is_told_as_waiting_and_its_response_when_it_is_there() -> None:
    entries = [
        StoredCall(index=0, call_id="a", name="stock", effect="read", started=True, response=RESPONSE),
        StoredCall(index=1, call_id="b", name="ask", effect="read", deferred={"why": "w", "pending": []}),
        StoredCall(index=2, call_id="c", name="order", effect="write"),
    ]
    rows = rows_of(kept(ASKED, ("model", [call("stock"), call("ask"), call("order")]), calls=entries))
    ended = {row["callId"]: row for row in rows if row["type"] == "tool_finished"}
    assert [row["callId"] for row in rows if row["type"] == "tool_started"] == ["a", "b", "c"]
    assert ended.keys() == {"a", "b"}
    assert (ended["a"]["waits"], ended["b"]["waits"]) == (False, True)
    started = {row["callId"]: row["waits"] for row in rows if row["type"] == "tool_started"}
    assert started == {"a": False, "b": False, "c": True}


def test_calls_that_wait_for_a_person_and_those_behind_them_are_told_apart() -> None:
    asked = [call("order", n=1), call("order", n=2), call("order", n=3)]
    entries = [
        StoredCall(index=0, call_id="a", name="order", effect="write", why="dear"),
        StoredCall(index=1, call_id="b", name="order", effect="write", args={"n": 5}),
        StoredCall(index=2, call_id="c", name="order", effect="write"),
    ]
    waits = waiting(kept(ASKED, ("model", asked), calls=entries))
    assert waits is not None and waits["at"] == 1001.0
    assert [(each["callId"], each["kind"], each["why"]) for each in waits["calls"]] == [
        ("a", "approval", "dear")
    ]
    assert [(each["callId"], each["args"]) for each in waits["held"]] == [("b", {"n": 5}), ("c", {"n": 3})]
    # Where the program ended before anybody was asked, each is asked about: none waits behind another for ever.
    blank = [StoredCall(index=n, call_id=f"{n}", name="order", effect="write") for n in range(3)]
    waits = waiting(kept(ASKED, ("model", asked), calls=blank))
    assert waits is not None and waits["held"] == []
    assert [each["callId"] for each in waits["calls"]] == ["0", "1", "2"]
    assert waiting(kept()) is None and waiting(kept(ASKED)) is None
    html = session_html(kept(ASKED, ("model", asked), calls=entries))
    assert '"type": "pending"' in html


def test_a_session_without_an_answer_says_so() -> None:
    end = broken_off(kept(ASKED))
    assert end is not None
    assert "Retry" in end["why"]
    assert broken_off(kept()) is None


def test_a_stored_call_says_how_long_it_took_where_that_is_known() -> None:
    asked = ("model", [call("stock"), call("stock"), call("stock")])
    session = kept(ASKED, asked, ("user", [RESPONSE] * 3), metadata={SECONDS: [0.5, None]})
    ended = [row for row in rows_of(session) if row["type"] == "tool_finished"]
    assert [row["seconds"] for row in ended] == [0.5, None, None]


def test_code_that_gemini_ran_and_its_pictures_are_told() -> None:
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
        {"inlineData": {"mimeType": "image/png", "data": "aaaa"}},
        {"text": "One."},
    ]
    rows = rows_of(kept(ASKED, ("model", parts)))
    server = ["server_tool_started", "server_tool_finished", "media_delta"]
    assert kinds(rows) == ["user", *server, "text", "turn_finished"]
    assert rows[1]["args"]["code"] == "print(1)"
    assert (rows[2]["callId"], rows[2]["failed"]) == (rows[1]["callId"], False)


def test_sources_are_told_live_as_they_are_from_the_store() -> None:
    code: Any = {"executableCode": {"language": "PYTHON", "code": "1"}}
    result: Any = {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "no"}}
    segment = {"startIndex": 0, "endIndex": len("Grün.".encode()), "partIndex": 3, "text": "Grün."}
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        "searchEntryPoint": {"renderedContent": "<b>tea</b>"},
    }
    made: Any = reply("Tee? ", code, result, "Grün. Ja.")
    made["candidates"][0]["groundingMetadata"] = grounding
    live = Teller("t")
    with Agent(ScriptedModel([made])).stream("go") as events:
        for event in events:
            live.tell(event)
    reply_parts = events.run.contents[-1]["parts"]
    session = kept(ASKED, ("model", reply_parts), metadata={"groundingMetadata": grounding})
    stored = rows_of(session)[1:]
    told = live.take()
    for rows in (told, stored):
        assert next(row["failed"] for row in rows if row["type"] == "server_tool_finished")
        (sources,) = [row for row in rows if row["type"] == "sources"]
        assert sources["sources"][0]["uri"] == "https://a.example"
        texts = {row["text"]: row["html"] for row in rows if row["type"] == "text"}
        assert [html.strip() for html in texts.values()] == [
            "<p>Tee?</p>",
            '<p>Grün.<sup class="ref">1</sup> Ja.</p>',
        ]
    assert [row["suggestions"] for row in stored if row["type"] == "sources"] == [1]
    assert tells_more(events.run)


def test_search_suggestions_of_a_sub_agent_are_told_with_its_answer() -> None:
    asked = ("model", [call("stock")])
    session = kept(ASKED, asked, ("user", [RESPONSE]), metadata={SUGGESTIONS: ["<b>tea</b>", "<b>cup</b>"]})
    rows = rows_of(session)
    assert kinds(rows)[-2:] == ["tool_finished", "sources"]
    assert (rows[-1]["sources"], rows[-1]["suggestions"]) == ([], 2)
    assert suggestions_of(session, 2) == "<b>tea</b>\n<b>cup</b>"


def test_media_too_large_to_be_shown_are_told_without_their_data() -> None:
    blob = {"inlineData": {"mimeType": "image/png", "data": "a" * 6_000_004}}
    (row,) = rows_of(kept(("user", [blob])))
    assert row["media"] == [{"inlineData": {"mimeType": "image/png", "data": "", "size": 4_500_003}}]


def test_a_turn_is_found_by_its_message_or_by_its_time() -> None:
    session = kept(ASKED, ("model", [{"text": "Yes."}]), ASKED, ("model", [{"text": "No."}]))
    agent = Agent(ScriptedModel([]), instructions="Be brief.")
    assert reply_at(session, 1003.2) == 3
    assert reply_at(session, 2000.0) == -1
    turn = turn_of(agent, session, 3)
    assert turn["rebuilt"] is True
    assert turn["request"]["systemInstruction"] == "Be brief."
    assert len(turn["request"]["contents"]) == 3
    assert turn["reply"]["parts"] == [{"text": "No."}]
    with pytest.raises(Exception, match="not stored"):
        turn_of(agent, session, 2)


def test_a_file_of_a_session_has_each_content_once() -> None:
    said = [
        ("user" if n % 2 == 0 else "model", [{"text": f"unheard-of {n} " + "x" * 1_000}]) for n in range(100)
    ]
    html = session_html(kept(*said), Agent(ScriptedModel([]), instructions="Be brief."))
    assert html.count("unheard-of 42 ") == 2  # as it is shown, and as it was sent
    assert html.count("Be brief.") == 1


def test_a_file_of_a_session_closes_no_script_of_its_own() -> None:
    hostile = [{"text": "</script><script>alert(1)</script>"}]
    html = session_html(kept(ASKED, ("model", hostile)))
    assert html.count("</script>") == 2
    assert "<script>alert" not in html
    script = html.partition('type="module">')[2]
    assert not [line for line in script.splitlines() if line.startswith(("import ", "export "))]
