"""Each kind of reply that Gemini has, whole and in chunks, by either way to it: all is kept, told and sent back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Run, SQLiteStore
from agentkit.events import ServerToolFinished
from tests.helpers.gemini import Make
from tests.helpers.gemini_server import GeminiServer, stream
from tests.helpers.ways import Way, way

__all__ = ["way"]

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A reply: `chunks` are what a stream has of its candidate, and together they say `parts` and `beside`."""

    parts: Sequence[Json]
    beside: Json
    chunks: Sequence[Json]
    sources: Sequence[tuple[str, str, str, Sequence[str]]] = ()
    """Of each: kind, URI or title, text, and the words that it supports."""
    thoughts: str = ""
    media: Sequence[str] = ()
    tools: Sequence[tuple[str, str]] = ()
    """Which of Gemini's own ran, and how that went."""


def segment(text: str, words: str, **more: Any) -> Json:
    """Count bytes, as the server does; it leaves out what is 0."""
    begin = len(text[: text.index(words)].encode())
    found = {"startIndex": begin, "endIndex": begin + len(words.encode()), "text": words, **more}
    return {key: value for key, value in found.items() if value != 0}


def support(text: str, words: str, *indices: int, **more: Any) -> Json:
    return {"segment": segment(text, words), "groundingChunkIndices": list(indices), **more}


def web(number: int) -> Json:
    return {"web": {"uri": f"https://{number}.example", "title": f"{number}.example", "domain": "example"}}


def said(*parts: Any, **beside: Any) -> Json:
    texts = [{"text": part} if isinstance(part, str) else part for part in parts]
    return {"content": {"role": "model", "parts": texts}, **beside}


def search() -> Kind:
    """Sources come in several chunks of a stream, each but once; supports count from the first of all."""
    first, second = "🫖 Assam steht 4 Minuten, ", "Ōolong 🍃 nur 3."
    text = first + second
    pages = [web(0), web(1), web(2)]
    picture = {
        "image": {"sourceUri": "https://p.example", "imageUri": "https://p.example/1.png", "title": "Ōolong"}
    }
    supports = [
        support(text, "4 Minuten", 0, 1, confidenceScores=[0.9, 0.5]),
        support(text, "Ōolong 🍃", 1, 3, renderedParts=[0]),
        support(text, "nur 3", 2),
    ]
    shown = {"renderedContent": "<div>🫖</div>", "sdkBlob": "W1siYSJdXQ=="}
    end = {
        "searchEntryPoint": shown,
        "imageSearchQueries": ["Ōolong"],
        "retrievalMetadata": {"googleSearchDynamicRetrievalScore": 0.25},
    }
    return Kind(
        parts=[{"text": text}],
        beside={
            "groundingMetadata": {
                "webSearchQueries": ["assam", "oolong"],
                "groundingChunks": [*pages, picture],
                "groundingSupports": supports,
                **end,
            }
        },
        chunks=[
            said(first, groundingMetadata={"webSearchQueries": ["assam"]}),
            said(
                second[:3],
                groundingMetadata={"groundingChunks": pages[:2], "groundingSupports": supports[:1]},
            ),
            said(
                second[3:],
                groundingMetadata={
                    "groundingChunks": [pages[2], picture],
                    "groundingSupports": supports[1:],
                    "webSearchQueries": ["oolong"],
                },
            ),
            {"groundingMetadata": end},
        ],
        sources=[
            ("web", "https://0.example", "", ["4 Minuten"]),
            ("web", "https://1.example", "", ["4 Minuten", "Ōolong 🍃"]),
            ("web", "https://2.example", "", ["nur 3"]),
            ("web", "https://p.example", "", ["Ōolong 🍃"]),
        ],
        tools=[("google_search", "")] * 3,
    )


def maps() -> Kind:
    text = "Café Å 🥐 hat bis 18 Uhr offen."
    snippet = {
        "reviewId": "r-1",
        "googleMapsUri": "https://maps.example/r-1",
        "title": "Gut",
        "review": "Schön dort",
        "authorAttribution": {"displayName": "Ann"},
    }
    place = {
        "maps": {
            "uri": "https://maps.example/?cid=1",
            "title": "Café Å",
            "placeId": "places/1",
            "text": "Offen bis 18 Uhr.",
            "placeAnswerSources": {"reviewSnippets": [snippet]},
            "route": {"distanceMeters": 300, "duration": "240s", "encodedPolyline": "ab"},
        }
    }
    grounding = {
        "groundingChunks": [place],
        "groundingSupports": [support(text, "18 Uhr", 0)],
        "googleMapsWidgetContextToken": "widgetcontent/abc",
    }
    return Kind(
        parts=[{"text": text}],
        beside={"groundingMetadata": grounding},
        chunks=[said(text[:7]), said(text[7:], groundingMetadata=grounding)],
        sources=[("maps", "https://maps.example/?cid=1", "Offen bis 18 Uhr.", ["18 Uhr"])],
    )


def file_search() -> Kind:
    """The server's own parts stand before the text, and aren't counted in its segments."""
    text = "Drei Minuten ⏱, steht im Heft."
    called = {"toolCall": {"id": "t1", "toolType": "FILE_SEARCH"}, "thoughtSignature": "c2lnMQ=="}
    stored = {
        "retrievedContext": {
            "title": "heft.pdf",
            "text": "Drei Minuten.",
            "fileSearchStore": "fileSearchStores/tee",
            "pageNumber": 4,
            "mediaId": "m-1",
            "customMetadata": [
                {"key": "year", "numericValue": 2024.0},
                {"key": "tags", "stringListValue": {"values": ["tee"]}},
            ],
        }
    }
    indexed = {
        "retrievedContext": {
            "uri": "gs://b/tee.pdf",
            "title": "tee.pdf",
            "ragChunk": {"text": "Nicht länger.", "pageSpan": {"firstPage": 1, "lastPage": 2}},
        }
    }
    grounding = {
        "groundingChunks": [stored, indexed],
        "groundingSupports": [support(text, "Drei Minuten ⏱", 0), support(text, "Heft", 0, 1)],
        "retrievalQueries": ["ziehen"],
    }
    return Kind(
        parts=[called, {"text": text}],
        beside={"groundingMetadata": grounding},
        chunks=[said(called), said(text[:14]), said(text[14:], groundingMetadata=grounding)],
        sources=[
            ("file", "heft.pdf", "Drei Minuten.", ["Drei Minuten ⏱", "Heft"]),
            ("retrieved", "gs://b/tee.pdf", "Nicht länger.", ["Heft"]),
        ],
        tools=[("retrieval", ""), ("file_search", "")],
    )


def url_context() -> Kind:
    pages = [
        {"retrievedUrl": "https://a.example/ü", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
        {"retrievedUrl": "https://b.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_PAYWALL"},
    ]
    return Kind(
        parts=[{"text": "Da steht 🍵."}],
        beside={"urlContextMetadata": {"urlMetadata": pages}},
        chunks=[
            said("Da ", urlContextMetadata={"urlMetadata": pages[:1]}),
            said("steht 🍵.", urlContextMetadata={"urlMetadata": pages[1:]}),
        ],
        sources=[("web", "https://a.example/ü", "", []), ("web", "https://b.example", "", [])],
        tools=[("url_context", page["urlRetrievalStatus"]) for page in pages],
    )


def code_execution() -> Kind:
    parts: list[Json] = [
        {"text": "Ich rechne. ", "thought": True},
        {"text": "Erst 🧮:"},
        {
            "executableCode": {"language": "PYTHON", "code": "print('é' * 2)", "id": "c1"},
            "thoughtSignature": "c2lnMg==",
        },
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "éé\n", "id": "c1"}},
        {"inlineData": {"mimeType": "image/png", "data": "+/+/"}},
        {"executableCode": {"language": "PYTHON", "code": "1/0", "id": "c2"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError", "id": "c2"}},
        {"text": "Fertig."},
    ]
    return Kind(
        parts=parts,
        beside={},
        chunks=[said(part) for part in parts],
        thoughts="Ich rechne. ",
        media=["image/png"],
        tools=[("code_execution", "OUTCOME_OK"), ("code_execution", "OUTCOME_FAILED")],
    )


def pictures() -> Kind:
    """A draft among the thoughts is none of the pictures that are the answer."""
    parts: list[Json] = [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thought": True},
        {"text": "Hier 🖼: "},
        {"inlineData": {"mimeType": "image/png", "data": "/+8="}, "thoughtSignature": "c2lnMw=="},
        {"inlineData": {"mimeType": "image/jpeg", "data": "//79", "displayName": "zwei.jpg"}},
    ]
    return Kind(
        parts=parts,
        beside={},
        chunks=[said(*parts[:2]), said(*parts[2:])],
        media=["image/png", "image/jpeg"],
    )


def sound() -> Kind:
    spoken = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "AAEC/w=="}}
    return Kind(parts=[spoken], beside={}, chunks=[said(spoken)], media=["audio/L16;codec=pcm;rate=24000"])


def citations() -> Kind:
    text, words = "„Süßer Tee 🍯“, schrieb sie. Und: „Bitterer 🌿.“", ("Süßer Tee 🍯", "Bitterer 🌿")
    first, second = [
        {
            **{key: value for key, value in segment(text, each).items() if key != "text"},
            "uri": f"https://{n}.example",
        }
        for n, each in enumerate(words)
    ]
    first["license"] = "cc-by"
    return Kind(
        parts=[{"text": text}],
        beside={"citationMetadata": {"citationSources": [first, second]}},
        chunks=[
            said(text[:14], citationMetadata={"citationSources": [first]}),
            said(text[14:], citationMetadata={"citationSources": [second]}),
        ],
        sources=[("citation", f"https://{n}.example", "", [each]) for n, each in enumerate(words)],
    )


def logprobs() -> Kind:
    tokens = [
        {"token": token, "tokenId": number, "logProbability": -0.5} for number, token in enumerate("Tè🍵🍵")
    ]
    steps = [
        {"candidates": [token, {"token": "x", "tokenId": 9, "logProbability": -2.0}]} for token in tokens
    ]

    def result(begin: int, end: int) -> Json:
        return {"chosenCandidates": tokens[begin:end], "topCandidates": steps[begin:end]}

    return Kind(
        parts=[{"text": "Tè🍵🍵"}],
        beside={"avgLogprobs": -0.5, "logprobsResult": {**result(0, 4), "logProbabilitySum": -2.0}},
        chunks=[
            said("Tè", logprobsResult=result(0, 2)),
            said("🍵", logprobsResult=result(2, 3)),
            said("🍵", logprobsResult={**result(3, 4), "logProbabilitySum": -2.0}, avgLogprobs=-0.5),
        ],
    )


def safety() -> Kind:
    """Of each category the last word counts."""

    def rating(category: str, probability: str, score: float) -> Json:
        kind = {"category": f"HARM_CATEGORY_{category}", "probability": probability}
        return {
            **kind,
            "probabilityScore": score,
            "severity": "HARM_SEVERITY_LOW",
            "severityScore": 0.25,
            "blocked": False,
        }

    low, medium = rating("HARASSMENT", "NEGLIGIBLE", 0.125), rating("HARASSMENT", "MEDIUM", 0.5)
    other = rating("HATE_SPEECH", "LOW", 0.25)
    return Kind(
        parts=[{"text": "Na gut."}],
        beside={"safetyRatings": [medium, other]},
        chunks=[said("Na ", safetyRatings=[low, other]), said("gut.", safetyRatings=[medium, other])],
    )


def thoughts() -> Kind:
    """Signatures stay where they were; the last, empty part has one, too."""
    parts: list[Json] = [
        {"text": "**Plan** 🤔\n\n", "thought": True},
        {"text": "Tee.", "thoughtSignature": "c2lnNA=="},
        {"text": " Und noch einer.", "partMetadata": {"stream": 1}},
        {"text": "", "thoughtSignature": "c2lnNQ=="},
    ]
    return Kind(
        parts=parts,
        beside={},
        chunks=[
            said({"text": "**Plan**", "thought": True}),
            said({"text": " 🤔\n\n", "thought": True}, parts[1]),
            said(parts[2]),
            said(parts[3]),
        ],
        thoughts="**Plan** 🤔\n\n",
    )


KINDS = {
    make.__name__: make()
    for make in (
        search, maps, file_search, url_context, code_execution, pictures, sound, citations, logprobs, safety, thoughts
    )
}  # fmt: skip
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
ROUND = {"modelVersion": "loopback", "responseId": "r-1"}


def answer(kind: Kind, *, streamed: bool) -> Any:
    """Write it as the server does: with the reason of its end in the last chunk."""
    candidates = (
        kind.chunks if streamed else [{"content": {"role": "model", "parts": kind.parts}, **kind.beside}]
    )
    chunks: list[Any] = [{"candidates": [{**each, "index": 0}], **ROUND} for each in candidates]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    chunks[-1]["usageMetadata"] = USAGE
    return stream(chunks) if streamed else chunks[0]


def found(run: Run) -> list[tuple[str, str, str, list[str]]]:
    return [
        (each.kind, each.uri or each.title, each.text, [run.text[begin:end] for begin, end in each.spans])
        for each in run.sources
    ]


def check(run: Run, kind: Kind) -> None:
    """Check what a run says of a reply, and of what is beside its content."""
    assert run.contents[-1] == {"role": "model", "parts": [*kind.parts]}
    # The SDK has a name of its own for these, which is another endpoint's.
    metadata = json.loads(json.dumps(run.messages[-1].metadata).replace('"citations"', '"citationSources"'))
    assert metadata == {**kind.beside, **ROUND}
    assert run.text == "".join(each.get("text", "") for each in kind.parts if not each.get("thought"))
    assert (run.thoughts, [each.mime_type for each in run.media]) == (kind.thoughts, [*kind.media])
    assert found(run) == [*kind.sources]
    assert (run.stop, run.usage.total_tokens) == (None, 15)


@pytest.mark.slow
def test_nothing_of_it_is_lost(make: Make, server: GeminiServer, way: Way, tmp_path: Path) -> None:
    agent, store = Agent(make()), SQLiteStore(tmp_path / "chats.db")
    for name, kind in KINDS.items():
        content = {"role": "model", "parts": [*kind.parts]}
        server.trust([content])
        server.script([answer(kind, streamed=way.streamed)] * 2 + ["Gern."])
        check(way.run(agent, "Tee?"), kind)
        ran = [(each.name, each.status) for each in way.events if isinstance(each, ServerToolFinished)]
        assert ran == ([*kind.tools] if way.streamed else []), name

        chat = way.chat(agent, store, name)
        check(run := chat.send("Tee?"), kind)
        again = agent.chat(name, store).get_messages()[-1]
        assert (again.content, again.metadata) == (content, run.messages[-1].metadata), name
        assert chat.send("Danke.").text == "Gern."
        assert server.requests[-1].body["contents"][1] == content, name
    store.close()
