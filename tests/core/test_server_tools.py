"""What Gemini's own tools do while a reply comes is told as it happens, and each beginning has an end."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from agentkit import Agent, ChatManager, GeminiModel, MemoryStore
from agentkit.chats.transcript import transcript
from agentkit.cli.lines import CallLines
from agentkit.events import (
    AgentEvent,
    Event,
    MediaDelta,
    ServerToolFinished,
    ServerToolStarted,
    SourcesFound,
    TextDelta,
    TurnFinished,
)
from agentkit.testing import ScriptedModel, call
from agentkit.testing.scripted import fault, reply
from agentkit.tooling.results import media_in
from tests.helpers.gemini import KEY
from tests.helpers.gemini_server import GeminiServer, stream
from tests.helpers.ways import Way, way

__all__ = ["way"]

PLOT: Any = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
CODE: Any = {
    "executableCode": {"language": "PYTHON", "code": "print(6 * 7)", "id": "x1"},
    "thoughtSignature": "c2ln",
}
PRINTED: Any = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n", "id": "x1"}}
FAILED: Any = {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "SyntaxError"}}


def of(events: list[Event]) -> list[tuple[str, ...]]:
    """Say in short what was told: the kind, the name, and the status of an end."""
    short: list[tuple[str, ...]] = []
    for event in events:
        name = type(event).__name__
        if isinstance(event, ServerToolStarted):
            short.append((name, event.name))
        elif isinstance(event, ServerToolFinished):
            short.append((name, event.name, event.status))
        elif not isinstance(event, TextDelta) or event.text.strip():
            short.append((name,))
    return short


@pytest.fixture(params=["stream", "astream"])
def streamed(request: pytest.FixtureRequest, no_thread_left: None) -> Way:
    return Way(is_async=request.param == "astream", streamed=True)


def test_code_its_output_and_its_plot_are_told_between_the_texts(streamed: Way) -> None:
    run = streamed.run(Agent(ScriptedModel([["So: ", CODE, PRINTED, PLOT, "It is 42."]])), "go")
    events = [
        event for event in streamed.events if isinstance(event, (ServerToolStarted, ServerToolFinished))
    ]
    assert events == [
        ServerToolStarted("x1", "code_execution", {"language": "PYTHON", "code": "print(6 * 7)"}),
        ServerToolFinished("x1", "code_execution", "OUTCOME_OK", {"output": "42\n"}),
    ]
    assert of(streamed.events)[:5] == [
        ("TextDelta",),
        ("ServerToolStarted", "code_execution"),
        ("ServerToolFinished", "code_execution", "OUTCOME_OK"),
        ("MediaDelta",),
        ("TextDelta",),
    ]
    assert [media.data for media in run.media] == [b"hi"]


def test_code_without_an_id_is_paired_and_each_reply_has_ids_of_its_own(streamed: Way) -> None:
    code: Any = {"executableCode": {"language": "PYTHON", "code": "foo("}}
    script = [[code, FAILED, code, FAILED, call("look")], [code, FAILED, "No."]]

    def look() -> str:
        """Look."""
        return "seen"

    streamed.run(Agent(ScriptedModel(script), tools=[look]), "go")
    events = [
        event for event in streamed.events if isinstance(event, (ServerToolStarted, ServerToolFinished))
    ]
    begun = [event.call_id for event in events if isinstance(event, ServerToolStarted)]
    assert len(set(begun)) == 3
    assert [event.call_id for event in events if isinstance(event, ServerToolFinished)] == begun
    assert {event.status for event in events if isinstance(event, ServerToolFinished)} == {"OUTCOME_FAILED"}


def test_results_end_what_began_first_where_their_ids_say_nothing(streamed: Way) -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    strange = {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "id": "x9"}}
    streamed.run(Agent(ScriptedModel([[code, code, result, strange, "So."]])), "go")
    begun = [each.call_id for each in streamed.events if isinstance(each, ServerToolStarted)]
    ended = [each for each in streamed.events if isinstance(each, ServerToolFinished)]
    assert len(set(begun)) == 2
    assert [(each.call_id, each.status) for each in ended] == [
        *zip(begun, ["OUTCOME_OK", "OUTCOME_FAILED"], strict=True)
    ]


def test_a_search_and_pages_read_by_2x_are_told_once_with_arguments_and_status(streamed: Way) -> None:
    page = {"retrievedUrl": "https://a.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"}
    chunks = [
        {"content": {"parts": [{"text": "Tee"}]}, "groundingMetadata": {"webSearchQueries": ["", "tea"]}},
        {
            "urlContextMetadata": {"urlMetadata": [page]},
            "groundingMetadata": {"webSearchQueries": ["tea", "age"]},
        },
        {
            "finishReason": "STOP",
            "groundingMetadata": {"searchEntryPoint": {"renderedContent": "<b>tea</b>"}},
        },
    ]
    with GeminiServer([stream([{"candidates": [each]} for each in chunks])]) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        streamed.run(Agent(model), "go")
        model.close()
    started = [(e.name, e.args) for e in streamed.events if isinstance(e, ServerToolStarted)]
    assert started == [
        ("google_search", {"queries": ["tea"]}),
        ("google_search", {"queries": ["age"]}),
        ("url_context", {"urls": ["https://a.example"]}),
    ]
    finished = [(e.name, e.status) for e in streamed.events if isinstance(e, ServerToolFinished)]
    assert finished[-1] == ("url_context", "URL_RETRIEVAL_STATUS_ERROR")
    (found,) = [event for event in streamed.events if isinstance(event, SourcesFound)]
    assert (found.sources[0].uri, found.suggestions) == ("https://a.example", "<b>tea</b>")


@pytest.mark.parametrize("last", ["with its last word", "behind it", "behind its usage"])
def test_sources_are_told_wherever_in_a_stream_they_stand(streamed: Way, last: str) -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [{"segment": {"endIndex": 3, "text": "Tee"}, "groundingChunkIndices": [0]}],
        "webSearchQueries": ["tea"],
    }
    said: Any = {"content": {"parts": [{"text": "Tee."}]}, "finishReason": "STOP"}
    chunks: list[Any] = [{"candidates": [said]}, {"candidates": [{"groundingMetadata": grounding}]}]
    if last == "with its last word":
        chunks = [{"candidates": [{**said, "groundingMetadata": grounding}]}]
    elif last == "behind its usage":
        chunks.insert(1, {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 4}})
    with GeminiServer([stream(chunks)]) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        run = streamed.run(Agent(model), "go")
        model.close()
    told = [e for e in streamed.events if isinstance(e, (ServerToolFinished, SourcesFound, TurnFinished))]
    assert [type(event).__name__ for event in told] == ["ServerToolFinished", "SourcesFound", "TurnFinished"]
    assert isinstance(told[1], SourcesFound)
    assert told[1].sources == run.sources
    assert run.sources[0].spans == ((0, 3),)


def test_calls_of_3x_are_told_from_their_parts_alone(streamed: Way) -> None:
    parts: list[Any] = [
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["tea"]}, "id": "t1"}},
        {
            "toolResponse": {
                "toolType": "GOOGLE_SEARCH_WEB",
                "response": {"search_suggestions": "<b>"},
                "id": "t1",
            }
        },
        {"toolCall": {"toolType": "FILE_SEARCH", "id": "t2"}},
        "Two years.",
    ]
    made: Any = reply(*parts)
    made["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["tea"]}
    streamed.run(Agent(ScriptedModel([made])), "go")
    assert of([e for e in streamed.events if isinstance(e, (ServerToolStarted, ServerToolFinished))]) == [
        ("ServerToolStarted", "google_search"),
        ("ServerToolFinished", "google_search", ""),
        ("ServerToolStarted", "file_search"),
        ("ServerToolFinished", "file_search", ""),
    ]


def test_what_was_under_way_when_a_reply_breaks_off_is_ended_before_it_is_asked_for_again(
    streamed: Way,
) -> None:
    with GeminiServer([stream([{"candidates": [{"content": {"parts": [CODE]}}]}]), "Done."]) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        run = streamed.run(Agent(model), "go")
        model.close()
    assert run.text == "Done."
    assert [each[0] for each in of(streamed.events)][:3] == [
        "ServerToolStarted",
        "ServerToolFinished",
        "ModelRetry",
    ]


def test_those_of_a_sub_agent_are_told_as_its_events_and_end_with_it(streamed: Way) -> None:
    inner = Agent(ScriptedModel([[CODE, PRINTED, "42."]]), name="inner")
    outer = Agent(ScriptedModel([call("inner", request="6 * 7?"), "So it is."]), tools=[inner.as_tool()])
    streamed.run(outer, "go")
    inside = [event.event for event in streamed.events if isinstance(event, AgentEvent)]
    assert ("ServerToolFinished", "code_execution", "OUTCOME_OK") in of(inside)


def test_they_are_shown_in_quiet_lines_the_log_the_transcript_and_the_export(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agentkit")
    made: Any = reply("Look: ", CODE, PRINTED, PLOT, "It is 42, **ja** 🍵. Bye.")
    cited = {"startIndex": 0, "endIndex": len("It is 42, **ja** 🍵.".encode()), "partIndex": 4}
    made["candidates"][0]["groundingMetadata"] = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [{"segment": cited, "groundingChunkIndices": [0]}],
    }
    store = MemoryStore()
    events: list[Event] = []
    agent = Agent(ScriptedModel([made]), observers=[lambda event, _: events.append(event)])
    lines = CallLines(80)
    run = way.chat(agent, store).send("go")
    assert "Gemini used its 'code_execution': OUTCOME_OK" in caplog.text
    assert [line for event in events if (line := lines.line(event))] == [
        '  code_execution(language="PYTHON", code="print(6 * 7)") = 42',
        "  [image/png, 1 kB]",
        "  Source: A https://a.example",
    ]
    text = transcript(run.messages)
    assert (
        'code_execution(language="PYTHON", code="print(6 * 7)")\n    = 42\n  Source: A https://a.example'
        in text
    )
    exported = ChatManager(agent, store).export_session("ann", "markdown")
    for block in ("```python\nprint(6 * 7)\n```", "```\n42\n```", "It is 42, **ja** 🍵.[^1] Bye."):
        assert block in exported
    assert exported.rstrip().endswith("[^1]: [A](<https://a.example>)")


def test_a_picture_alone_is_an_answer(way: Way) -> None:
    run = way.run(Agent(ScriptedModel([[PLOT]])), "draw")
    assert (run.stop, run.text, len(run.media)) == (None, "", 1)


def test_pieces_of_a_sound_are_one(streamed: Way) -> None:
    pieces: list[Any] = [
        {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": data}}
        for data in ("AAE=", "AgM=")
    ]
    run = streamed.run(Agent(ScriptedModel([[*pieces, PLOT]])), "speak")
    assert [media.data for media in run.media] == [b"\x00\x01\x02\x03", b"hi"]
    assert len([event for event in streamed.events if isinstance(event, MediaDelta)]) == 3


def test_a_long_sound_in_pieces_takes_no_time_and_one_at_an_address_stays_apart() -> None:
    kind = "audio/L16;rate=24000"
    piece: Any = {"inlineData": {"mimeType": kind, "data": "AAEC" * 30}}
    stored: list[Any] = [{"fileData": {"fileUri": f"gs://b/{at}", "mimeType": kind}} for at in range(2)]
    sound, *others = media_in([*[piece] * 150_000, *stored])
    assert sound.data == b"\x00\x01\x02" * 30 * 150_000
    assert [media.uri for media in others] == ["gs://b/0", "gs://b/1"]


def test_a_picture_that_was_shown_is_not_asked_for_again(streamed: Way) -> None:
    with GeminiServer([stream([{"candidates": [{"content": {"parts": [PLOT]}}]}])]) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        with pytest.raises(Exception, match="without a finish reason"):
            streamed.run(Agent(model), "go")
        model.close()
    assert fault(503).retryable
