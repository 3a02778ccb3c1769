"""What a candidate says beside its content: kept with the message, and the sources that a run makes of it."""

from __future__ import annotations

import json
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from agentkit import (
    Agent,
    ChatManager,
    ConfigurationError,
    MemoryStore,
    Result,
    Run,
    Source,
    SQLiteStore,
    ToolDeferred,
)
from agentkit.core.beside import told_in, told_suggestions
from agentkit.events import MediaDelta
from agentkit.testing import ScriptedModel, call
from agentkit.testing.scripted import reply
from agentkit.tooling.results import Media
from agentkit.wire.content import Content, Part, call_part, text_in
from agentkit.wire.footnotes import marked
from agentkit.wire.metadata import merged
from agentkit.wire.reply import ReplyAssembler
from agentkit.wire.sources import sources_of
from tests.helpers.gemini import KEY
from tests.helpers.gemini_server import GeminiServer, stream
from tests.helpers.ways import Way, way

__all__ = ["way"]

HTML = "<div>tea in Kyōto</div>"


def support(text: str, quoted: str, *indices: int, part: int | None = None) -> dict[str, Any]:
    """Make a support of a text's words, counted in bytes of UTF-8 as the server counts."""
    begin = len(text[: text.index(quoted)].encode())
    segment = {"startIndex": begin, "endIndex": begin + len(quoted.encode()), "text": quoted}
    segment |= {} if part is None else {"partIndex": part}
    return {"segment": segment, "groundingChunkIndices": list(indices)}


def page(number: int) -> dict[str, Any]:
    return {"web": {"uri": f"https://example.com/{number}", "title": f"page {number}"}}


def grounded(text: str, *quoted: str, **beside: Any) -> dict[str, Any]:
    """Make a reply whose words each have a source of their own."""
    made: Any = reply(text)
    made["candidates"][0]["groundingMetadata"] = {
        "groundingChunks": [page(number) for number in range(len(quoted))],
        "groundingSupports": [support(text, words, index) for index, words in enumerate(quoted)],
        "searchEntryPoint": {"renderedContent": HTML},
        "webSearchQueries": ["tea"],
    }
    made["candidates"][0] |= beside
    return {**made, "modelVersion": "scripted-1", "responseId": "r-1"}


def supported(run: Run) -> list[list[str]]:
    return [[run.text[begin:end] for begin, end in source.spans] for source in run.sources]


TEXT = "Grüner Tee 🍵 hält lange. Schwarzer auch: 2 Jahre."


def test_all_that_is_said_beside_the_content_is_in_the_message_and_its_json(way: Way) -> None:
    beside = {
        "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
        "avgLogprobs": -0.5,
        "logprobsResult": {"chosenCandidates": [{"token": "Tee", "logProbability": -0.1}]},
        "finishMessage": "Done.",
        "somethingNew": {"x": [1]},
    }
    run = way.run(Agent(ScriptedModel([grounded(TEXT, "Tee 🍵", **beside)])), "go")
    metadata = run.messages[-1].metadata
    assert metadata is not None
    assert {key: metadata[key] for key in beside} == beside
    assert (metadata["modelVersion"], metadata["responseId"]) == ("scripted-1", "r-1")
    assert not {"content", "finishReason", "usageMetadata", "candidates", "index"} & set(metadata)
    again = Run.from_json(run.to_json())
    assert again.messages[-1].metadata == metadata
    assert again.sources == run.sources
    assert again.search_suggestions == run.search_suggestions == HTML


@pytest.mark.parametrize("kind", ["none", "memory", "sqlite"])
def test_a_chat_keeps_it_wherever_it_is_stored(way: Way, kind: str, tmp_path: Path) -> None:
    store: Any = {"none": None, "memory": MemoryStore(), "sqlite": None}[kind]
    store = SQLiteStore(tmp_path / "chats.db") if kind == "sqlite" else store
    agent = Agent(ScriptedModel([grounded(TEXT, "Tee 🍵"), "And so?"]))
    if store is None:
        chat = agent.chat()
        metadata = chat.send_message("go").messages[-1].metadata
        assert chat.fork().get_messages()[-1].metadata == metadata
        return
    metadata = way.chat(agent, store).send("go").messages[-1].metadata
    assert metadata is not None
    chats = ChatManager(agent, store)
    imported = chats.import_session(chats.export_session("ann"), id="imported")
    for kept in (agent.chat("ann", store), agent.chat("ann", store).fork(), imported):
        assert kept.get_messages()[-1].metadata == metadata
    second = agent.chat("ann", store).send_message("more")
    assert second.sources == ()  # of this run, not of the whole chat
    store.close()


def test_sources_support_characters_of_the_text(way: Way) -> None:
    run = way.run(Agent(ScriptedModel([grounded(TEXT, "Tee 🍵 hält", "🍵", "Schwarzer")])), "go")
    assert supported(run) == [["Tee 🍵 hält"], ["🍵"], ["Schwarzer"]]
    assert run.sources[0] == Source(kind="web", uri="https://example.com/0", title="page 0", spans=((7, 17),))


def test_chunks_of_a_stream_add_to_one_another() -> None:
    first, second = "Der Tee 🍵 ", "hält lange."
    chunks: list[Any] = [
        {
            "content": {"parts": [{"text": first}]},
            "groundingMetadata": {},
            "safetyRatings": [{"category": "A"}],
        },
        {
            "groundingMetadata": {
                "groundingChunks": [page(0)],
                "groundingSupports": [support(first, "Tee 🍵", 0)],
                "webSearchQueries": ["a"],
            },
            "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "https://example.com/1"}]},
            "safetyRatings": [{"category": "A", "blocked": True}, {"category": "B"}],
            "logprobsResult": {"chosenCandidates": [{"token": "a"}]},
        },
        {
            "content": {"parts": [{"text": second}]},
            "groundingMetadata": {
                "groundingChunks": [page(1), page(2)],
                "groundingSupports": [support(first + second, "hält", 1)],
                "webSearchQueries": ["b"],
            },
            "urlContextMetadata": {
                "urlMetadata": [
                    {"retrievedUrl": "https://example.com/1"},
                    {"retrievedUrl": "https://x.org", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
                ]
            },
            "logprobsResult": {"chosenCandidates": [{"token": "a"}]},
            "finishReason": "STOP",
        },
    ]
    with GeminiServer([stream([{"candidates": [each], "responseId": "r"} for each in chunks])]) as server:
        from agentkit import GeminiModel

        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        with Agent(model).stream("go") as events:
            run = events.drain()
        model.close()
    assert run.text == first + second
    metadata: Any = run.messages[-1].metadata
    assert metadata["groundingMetadata"]["webSearchQueries"] == ["a", "b"]
    assert metadata["safetyRatings"] == [{"category": "A", "blocked": True}, {"category": "B"}]
    assert len(metadata["logprobsResult"]["chosenCandidates"]) == 2
    assert len(metadata["urlContextMetadata"]["urlMetadata"]) == 2
    found = {source.uri: (source.status, supported(run)[i]) for i, source in enumerate(run.sources)}
    assert found == {
        "https://example.com/0": ("", ["Tee 🍵"]),
        "https://example.com/1": ("", ["hält"]),
        "https://example.com/2": ("", []),
        "https://x.org": ("URL_RETRIEVAL_STATUS_ERROR", []),
    }


def test_each_kind_of_source_is_told_apart() -> None:
    chunks = [
        page(0),
        {"maps": {"uri": "https://maps.example/1", "title": "Tea house", "text": "Open till six."}},
        {"retrievedContext": {"fileSearchStore": "fileSearchStores/x", "text": "Steep for three minutes."}},
        {"retrievedContext": {"uri": "gs://b/tea.pdf", "title": "tea.pdf"}},
    ]
    text = "Steep it, says the poet."
    made: Any = reply(text)
    made["candidates"][0] |= {
        "groundingMetadata": {"groundingChunks": chunks},
        "citationMetadata": {
            "citations": [{}, {"uri": "https://poems.example", "startIndex": 10, "endIndex": 23}]
        },
    }
    run = Agent(ScriptedModel([made])).run("go")
    assert [source.kind for source in run.sources] == ["web", "maps", "file", "retrieved", "citation"]
    assert supported(run)[-1] == ["says the poet"]
    assert run.sources[2].text == "Steep for three minutes."


WORDS = st.text(st.sampled_from("aé ü🍵日.\n"), min_size=1, max_size=12)
PARTS = st.lists(
    st.one_of(
        WORDS.map(lambda text: {"text": text}),
        WORDS.map(lambda text: {"text": text, "thoughtSignature": "c2ln"}),
        WORDS.map(lambda text: {"text": text, "thought": True}),
        st.just({"executableCode": {"code": "1", "language": "PYTHON"}}),
    ),
    min_size=1,
    max_size=6,
)


@given(PARTS, st.data())
def test_the_spans_are_right_to_the_character_whatever_the_parts_are(
    parts: list[Part], data: st.DataObject
) -> None:
    """As the server has it: bytes of the part that it names."""
    assembler = ReplyAssembler()
    for part in parts:
        assembler.add({"candidates": [{"content": {"role": "model", "parts": [part]}}]})
    joined = assembler.parts
    visible = [i for i, part in enumerate(joined) if "text" in part and not part.get("thought")]
    if not visible:
        return
    index = data.draw(st.sampled_from(visible))
    own = joined[index]["text"]
    begin = data.draw(st.integers(0, len(own) - 1))
    end = data.draw(st.integers(begin + 1, len(own)))
    counted = {"startIndex": len(own[:begin].encode()), "endIndex": len(own[:end].encode())}
    segment = {**counted, "partIndex": index, "text": own[begin:end]}
    metadata = {
        "groundingMetadata": {
            "groundingChunks": [page(0)],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        }
    }
    content: Content = {"role": "model", "parts": joined}
    before = sum(len(joined[i]["text"]) for i in visible if i < index)
    for said in (metadata, json.loads(json.dumps(metadata).replace(', "text":', ', "unquoted":'))):
        (source,) = sources_of([(content, said)], text_in(joined))
        assert source.spans == ((before + begin, before + end),)


def test_a_count_that_begins_with_the_first_text_is_found_where_no_part_is_named() -> None:
    """As recorded: code and calls stand before the text, and the segment has no partIndex."""
    parts: list[Part] = [{"toolCall": {"toolType": "FILE_SEARCH"}}, {"text": "Grün 🍵 ist Tee."}]  # type: ignore[typeddict-unknown-key]
    said = {
        "groundingMetadata": {
            "groundingChunks": [page(0)],
            "groundingSupports": [support("Grün 🍵 ist Tee.", "🍵 ist", 0)],
        }
    }
    (source,) = sources_of([({"role": "model", "parts": parts}, said)], "Grün 🍵 ist Tee.")
    assert source.spans == ((5, 10),)


KEYS = (
    "groundingMetadata groundingChunks groundingSupports segment web uri startIndex endIndex partIndex "
    "groundingChunkIndices citationMetadata citations urlContextMetadata urlMetadata text"
)
JUNK = st.recursive(
    st.one_of(st.none(), st.integers(-5, 99), st.text(max_size=5), st.booleans()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JUNK, JUNK)
def test_metadata_of_any_shape_breaks_nothing(first: Any, second: Any) -> None:
    both = merged({"groundingMetadata": first}, {"groundingMetadata": second, "citationMetadata": first})
    run = Agent(ScriptedModel([{**reply("Tee."), "x": first}])).run("go")
    sources = sources_of([({"role": "model", "parts": [{"text": "Tee."}]}, both)], "Tee.")
    for source in sources:
        assert all(0 <= begin <= end <= 4 for begin, end in source.spans)
    assert run.sources == ()


def test_a_number_that_json_has_not_is_left_out() -> None:
    made: Any = reply("Tee.")
    made["candidates"][0] |= {"avgLogprobs": float("nan"), "finishMessage": "ok"}
    run = Agent(ScriptedModel([made])).run("go")
    assert run.messages[-1].metadata == {"finishMessage": "ok"}


def test_a_text_that_was_cut_off_and_goes_on_keeps_the_sources_of_both_pieces(way: Way) -> None:
    cut = grounded("Der Tee 🍵 hält", "Tee 🍵")
    cut["candidates"][0]["finishReason"] = "MAX_TOKENS"
    rest = grounded(" lange, ja.", "lange")
    rest["candidates"][0]["groundingMetadata"]["groundingChunks"] = [page(7)]
    run = way.run(Agent(ScriptedModel([cut, rest]), on_max_tokens="continue"), "go")
    assert run.text == "Der Tee 🍵 hält lange, ja."
    assert [source.uri for source in run.sources] == ["https://example.com/0", "https://example.com/7"]
    assert supported(run) == [["Tee 🍵"], ["lange"]]


def test_footnotes_stand_behind_what_they_support() -> None:
    made = grounded("Tee hält. Kaffee auch.", "Tee hält.")
    web = made["candidates"][0]["groundingMetadata"]["groundingChunks"]
    web += [{"web": {"uri": "javascript:alert(1)", "title": "[x](y)"}}]
    web[0]["web"]["uri"] = "https://example.com/a b>c"
    assert Agent(ScriptedModel([made])).run("go").text_with_sources() == (
        "Tee hält.[^1] Kaffee auch.[^2]\n\n[^1]: [page 0](<https://example.com/a%20b%3Ec>)\n[^2]: \\[x\\](y)"
    )
    assert Agent(ScriptedModel(["No sources."])).run("go").text_with_sources() == "No sources."


def test_what_the_server_counts_within_a_character_is_that_character() -> None:
    text = "日🍵茶"
    for begin, end, words in ((4, 6, "🍵"), (1, 4, "日🍵"), (0, 3, "日"), (8, 10, "茶"), (3, 11, None)):
        segment = {"startIndex": begin, "endIndex": end}
        supports = [{"segment": segment, "groundingChunkIndices": [0, 5]}]
        said = {"groundingMetadata": {"groundingChunks": [page(0)], "groundingSupports": supports}}
        (source,) = sources_of([({"role": "model", "parts": [{"text": text}]}, said)], text)
        assert [text[b:e] for b, e in source.spans] == ([words] if words else [])


def test_a_source_that_says_nothing_is_none_and_the_others_keep_their_spans() -> None:
    made = grounded("Tee hält.", "Tee", "hält.")
    chunks = made["candidates"][0]["groundingMetadata"]["groundingChunks"]
    chunks[0] = {"web": {"domain": "example.com"}}
    made["candidates"][0]["urlContextMetadata"] = {"urlMetadata": [{"urlRetrievalStatus": "X"}, None]}
    run = Agent(ScriptedModel([made])).run("go")
    assert ([source.title for source in run.sources], supported(run)) == (["page 1"], [["hält."]])


def test_code_has_no_footnotes_in_it_they_stand_below(way: Way, tmp_path: Path) -> None:
    text = "So:\n\n```py\nx = 1\n```\n\n~~~~\n~~~\n42\n~~~~\nDone."
    made = grounded(text, "x = 1", "So:", "42", "```py\nx = 1\n```")
    marked = "So:[^2]\n\n```py\nx = 1\n```\n[^1][^4]\n\n~~~~\n~~~\n42\n~~~~\n[^3]\nDone."
    store = SQLiteStore(tmp_path / "chats.db")
    agent = Agent(ScriptedModel([made]))
    assert way.chat(agent, store).send("go").text_with_sources().startswith(f"{marked}\n\n[^1]: ")
    assert marked in ChatManager(agent, store).export_session("ann", "markdown")
    store.close()


LINES = st.lists(
    st.sampled_from(
        [
            "Tee ",
            "`x`",
            "``a ` b`` ",
            "`a\nb`",
            "日🍵 ",
            "| ",
            "\n",
            " [t](https://a.example/b_(c))",
            "<https://a.example>",
            " https://a.example/b.",
        ]
    ),
    min_size=1,
    max_size=5,
).map(lambda pieces: re.sub(r"\s*\n\s*", "\n", "".join(pieces)).strip() or "Tee")
MARKDOWN = st.lists(
    st.one_of(
        LINES,
        st.just("| a | b |\n|---|:-:|\n| `1` | 2 |\n| 3 | |"),
        st.just("a | b\n--|--\nc | d"),
        st.just("```py\n| code |\n```"),
        st.just("```x``` and ``y``"),
        st.just("1. a\n\n    ```py\n    x = 1\n    ```"),
        st.just("- ```py\n  x = 1\n  ```\n- b"),
        st.just("> ```py\n> x\n> ```"),
        st.just("    x = 1\n\n    y = 2"),
        st.just("- a\n\n    b"),
    ),
    min_size=1,
    max_size=3,
).map("\n\n".join)


MARKER = re.compile(r"^(1\.?|[->])\s*\Z", re.M)
"""What a list or a quotation begins with: no words end there."""


def rendered(text: str) -> list[Any]:
    """Say what a Markdown text is, its footnotes left out."""

    def said(tokens: Any) -> list[Any]:
        found = []
        for token in tokens or ():
            content = (
                " ".join(re.sub(r" ?\[\^\d+\]", "", token.content).split()) if not token.children else ""
            )
            if token.type == "inline" or content or token.type not in ("text", "softbreak"):
                found.append((token.type, token.attrs, content, said(token.children)))
        return [each for each in found if each != ("text", {}, "", [])]

    return said(MarkdownIt("commonmark").enable("table").parse(text))


@given(MARKDOWN, st.data())
def test_footnotes_leave_code_links_and_tables_what_they_are(text: str, data: st.DataObject) -> None:
    ends = [end for end in range(1, len(text) + 1) if not MARKER.search(text, 0, end)]
    end = data.draw(st.sampled_from(ends))
    made = marked(text, [replace(page_source(1), spans=((0, end),))])
    assert "[^1]" in made
    assert rendered(re.sub(r"\n[ >]*\[\^1\](?=\n|$)", "", made)) == rendered(text), made


@pytest.mark.parametrize(
    ("text", "supported", "expected"),
    [
        ("Call `a.b()` now.", "Call `a.b", "Call `a.b()`[^1] now."),
        ("Call ``a`b`` now.", "a`", "Call ``a`b``[^1] now."),
        ("See [tea](https://t.example/a) now.", "https://t", "See [tea](https://t.example/a)[^1] now."),
        ("See <https://t.example/a> now.", "t.ex", "See <https://t.example/a>[^1] now."),
        ("Tea.\n\n# More", "Tea.\n\n", "Tea.[^1]\n\n# More"),
        ("| a | b |\n|---|---|\n| c | d |", "| c | d |", "| a | b |\n|---|---|\n| c | d[^1] |"),
        ("| a | b |\n|---|---|\n| c | d |", "| c |", "| a | b |\n|---|---|\n| c[^1] | d |"),
        ("| a | b |\n|---|---|\n| c | d |", "a | b |\n|--", "| a | b[^1] |\n|---|---|\n| c | d |"),
        ("| a | b |\n|---|---|\n| c | d |", "|\n| ", "| a | b[^1] |\n|---|---|\n| c | d |"),
        ("a | b\n--|--\n`c` | d", "--\n`", "a | b\n--|--\n`c`[^1] | d"),
        ("a | b\n--|--\nc | d \\|", "d \\|", "a | b\n--|--\nc | d \\|[^1]"),
        ("```\n| a |\n|---|\n```\nDone.", "| a", "```\n| a |\n|---|\n```\n[^1]\nDone."),
        ("a | b, says it.", "a |", "a |[^1] b, says it."),
        ("It is \\`so.", "It is \\`", "It is \\`[^1]so."),
        ("See https://t.example/a now.", "https://t", "See https://t.example/a [^1] now."),
        ("(As https://t.example/a.)", "(As https://t.example/a.)", "(As https://t.example/a.) [^1]"),
        ("`https://t.example` too.", "https://t", "`https://t.example`[^1] too."),
        ("1. A:\n\n    ```\n    x\n    ```\n2. B", "x", "1. A:\n\n    ```\n    x\n    ```\n    [^1]\n2. B"),
        ("- ```\n  x\n  ```\n- B", "B", "- ```\n  x\n  ```\n- B[^1]"),
        ("```x``` is code.\n```\ny\n```", "is", "```x``` is[^1] code.\n```\ny\n```"),
        ("So:\n\n    x\n\n    y\n\nDone.", "x", "So:\n\n    x\n\n    y\n[^1]\n\nDone."),
        ("- a\n\n    b\n    c", "b", "- a\n\n    b[^1]\n    c"),
    ],
)
def test_a_mark_stands_where_it_breaks_nothing(text: str, supported: str, expected: str) -> None:
    run = Agent(ScriptedModel([grounded(text, supported)])).run("go")
    assert run.text_with_sources() == f"{expected}\n\n[^1]: [page 0](<https://example.com/0>)"


def test_sources_without_words_stand_below_a_table_at_the_end() -> None:
    text = "a | b\n--|--\nc | d"
    made = grounded(text, "c | d")
    made["candidates"][0]["groundingMetadata"]["groundingSupports"] = []
    marked_text = Agent(ScriptedModel([made])).run("go").text_with_sources()
    assert marked_text.startswith(f"{text}\n\n[^1]\n\n[^1]: ")


def test_footnotes_of_its_own_stay_apart_from_those_of_its_sources(way: Way, tmp_path: Path) -> None:
    """As an agent's answer has them that repeats what a sub-agent said with its sources."""
    made = grounded("Tee[^1] hält.[^7]\n\n[^1]: Mine.", "hält.")
    store = SQLiteStore(tmp_path / "chats.db")
    agent = Agent(ScriptedModel([made]))
    marked_text = way.chat(agent, store).send("go").text_with_sources()
    assert marked_text.startswith("Tee[^1] hält.[^8][^7]\n\n[^1]: Mine.\n\n[^8]: [page 0]")
    assert "[^8]: [page 0]" in ChatManager(agent, store).export_session("ann", "markdown")
    store.close()


def test_thousands_of_sources_parts_and_blocks_take_no_time() -> None:
    block, count = "`ü` [a](https://a.example) b\n\n```\nc\n```\n\n| a | b |\n|---|---|\n| c | d |\n\n", 6000
    size = len(block.encode())
    supports: list[Any] = [
        {
            "segment": {
                "startIndex": at * size,
                "endIndex": at * size + 9,
                "text": "not there" if at % 2 else "",
            },
            "groundingChunkIndices": [0, at],
        }
        for at in range(count)
    ]
    chunks = [page(0), *(page(at // 2) for at in range(1, count))]
    said = {"groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports}}
    parts: list[Part] = [{"text": block, "thoughtSignature": "c2ln"} for _ in range(count // 4)]
    text = block * (count // 4)
    found = sources_of([({"role": "model", "parts": parts}, said)], text)
    assert len(found) == count // 2
    spread = [replace(each, spans=((0, at * 17 + 9),)) for at, each in enumerate(found)]
    assert len(re.findall(r"\[\^\d+\]", marked(text, spread))) == len(found)


def test_many_unmatched_backticks_take_no_time() -> None:
    text = " ".join("`" * (1 + number % 500) for number in range(2000)) + "[a" * 20000 + "|" * 20000
    assert len(marked(text, [replace(page_source(1), spans=((0, len(text)),))])) == len(text) + 4


def test_an_agent_around_it_gets_the_sources_and_the_pictures(way: Way) -> None:
    made = grounded("Tee hält.", "Tee hält.")
    made["candidates"][0]["content"]["parts"].append(
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    )
    inner = Agent(ScriptedModel([made]), name="inner")
    outer = Agent(ScriptedModel([call("inner", request="tea?"), "So it is."]), tools=[inner.as_tool()])
    answered = way.run(outer, "go").contents[-2]["parts"][0]["functionResponse"]
    assert "[^1]: [page 0]" in answered["response"]["output"]
    assert answered["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]


def page_source(number: int) -> Source:
    return Source(kind="web", uri=f"https://example.com/{number}", title=f"page {number}")


def outer_of(inner: Agent, *script: Any) -> Agent:
    return Agent(ScriptedModel(list(script)), tools=[inner.as_tool()], name="outer")


def test_what_a_sub_agents_answer_rests_on_is_among_the_sources_of_the_run_around_it(
    way: Way, tmp_path: Path
) -> None:
    made = grounded("Tee hält.", "Tee hält.")
    made["candidates"][0]["content"]["parts"].append(
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    )
    inner = Agent(ScriptedModel([made] * 2), name="inner")
    middle = outer_of(inner, call("inner", request="tea?"), "Says inner.").as_tool(name="middle")
    own = grounded("So it is.", "So", "it is.")
    store = SQLiteStore(tmp_path / "chats.db")
    script: list[Any] = [call("inner", request="tea?"), call("middle", request="tea?"), own, "Bye."]
    outer = Agent(ScriptedModel(script), tools=[inner.as_tool(), middle])
    run = way.chat(outer, store).send("go")
    assert supported(run) == [["So"], ["it is."]]  # page 0 is a source of its own, too
    assert [source.uri for source in run.sources] == ["https://example.com/0", "https://example.com/1"]
    assert [each.data for each in run.calls[0].media] == [b"hi"]
    assert run.search_suggestions == Run.from_json(run.to_json()).search_suggestions == HTML
    stored = [message.metadata for message in store.load("ann").messages if message.metadata]
    assert [metadata["agentkitSources"][0]["title"] for metadata in stored[:2]] == ["page 0"] * 2
    assert Run.from_json(run.to_json()).sources == run.sources
    later = way.chat(outer, store).send("and?")
    assert later.search_suggestions == ""
    assert later.sources == ()  # those of an earlier turn of the chat


def test_its_sources_have_no_spans_and_stand_at_the_end(way: Way) -> None:
    inner = Agent(ScriptedModel([grounded("Tee hält.", "Tee hält.")]), name="inner")
    run = way.run(outer_of(inner, call("inner", request="tea?"), "Tee hält."), "go")
    assert run.sources == (page_source(0),)
    assert run.text_with_sources() == "Tee hält.[^1]\n\n[^1]: [page 0](<https://example.com/0>)"


def test_they_outlast_a_call_beside_it_that_waits(way: Way) -> None:
    def later() -> str:
        """Have it later."""
        raise ToolDeferred("later")

    inner = Agent(ScriptedModel([grounded("Tee hält.", "Tee hält.")]), name="inner")
    both = reply(call_part("inner", {"request": "tea?"}), call_part("later", {}))
    outer = Agent(ScriptedModel([both, "Done."]), tools=[inner.as_tool(), later])
    run = way.run(outer, "go")
    assert (run.stop, run.sources) == ("deferred", (page_source(0),))
    run = way.resume(outer, run.to_json(), {run.pending[0].call_id: Result("ok")})
    assert (run.text, run.sources) == ("Done.", (page_source(0),))
    assert run.search_suggestions == HTML


@pytest.mark.parametrize(
    "odd", [{}, [3], [{"kind": "nothing"}], [{"kind": "web", "spans": 3}], {"kind": "web"}]
)
def test_what_an_archive_has_in_their_place_is_left_out(odd: Any) -> None:
    assert list(told_in({"agentkitSources": odd})) == []
    assert told_suggestions({"agentkitSuggestions": odd}) == []


RATINGS = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}]


def blocked_prompt() -> Any:
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": "no", "safetyRatings": RATINGS}
    return {"promptFeedback": feedback, "responseId": "r-7", "modelVersion": "m-1"}


def blocked_reply() -> Any:
    return {"candidates": [{"finishReason": "SAFETY", "safetyRatings": RATINGS}], "responseId": "r-7"}


@pytest.mark.parametrize("make", [blocked_prompt, blocked_reply])
def test_what_a_blocked_reply_said_is_in_the_run(way: Way, make: Any) -> None:
    run = way.run(Agent(ScriptedModel([make()])), "go")
    assert (run.stop, run.metadata["responseId"]) == ("refused", "r-7")
    assert run.metadata.get("promptFeedback", run.metadata)["safetyRatings"] == RATINGS
    assert Run.from_json(run.to_json()).metadata == run.metadata
    chat = Agent(ScriptedModel([make(), "fine"])).chat("ann", MemoryStore())
    assert chat.send_message("go").metadata["responseId"] == "r-7"
    assert chat.send_message("again").metadata == {}


def test_a_reply_that_is_in_the_history_says_the_same_there_and_in_the_run(way: Way) -> None:
    run = way.run(Agent(ScriptedModel([grounded("Tee hält.", "Tee")])), "go")
    assert run.metadata == run.messages[-1].metadata
    assert run.metadata["responseId"] == "r-1"


def test_media_and_thoughts_of_a_run_are_listed_and_saved(way: Way, tmp_path: Path) -> None:
    sound = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=8000", "data": "AAEAAQ=="}}
    parts: list[Any] = [
        {"text": "Let me see.", "thought": True},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thought": True},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        sound,
    ]
    run = way.run(Agent(ScriptedModel([reply(*parts)])), "draw")
    assert (run.stop, run.text, run.thoughts) == (None, "", "Let me see.")
    assert [media.mime_type for media in run.media] == ["image/png", sound["inlineData"]["mimeType"]]
    assert run.media[0].save(tmp_path / "picture") == tmp_path / "picture.png"
    assert (tmp_path / "picture.png").read_bytes() == b"hi"
    with wave.open(str(run.media[1].save(tmp_path / "sound")), "rb") as saved:
        assert (saved.getframerate(), saved.getnframes()) == (8000, 2)
    assert run.media[1].save(str(tmp_path / "raw.pcm")).read_bytes() == b"\x00\x01\x00\x01"
    assert Media(b"x", "application/x-unknown").save(tmp_path / "x").name == "x"


def test_a_file_of_the_reply_that_is_at_an_address_is_one_of_its_media(way: Way, tmp_path: Path) -> None:
    """On Vertex AI pictures may be written to a bucket."""
    part: Any = {"fileData": {"fileUri": "gs://b/cup.png", "mimeType": "image/png"}}
    inner = Agent(ScriptedModel([reply(part), reply(part)]), name="inner")
    run = way.run(inner, "draw")
    assert (run.stop, run.media) == (None, (Media(b"", "image/png", uri="gs://b/cup.png"),))
    assert [event.part for event in way.events if isinstance(event, MediaDelta)] == [part] * way.streamed
    assert run.media[0].to_wire() == part
    with pytest.raises(ConfigurationError, match=r"gs://b/cup\.png"):
        run.media[0].save(tmp_path / "cup")
    outer = way.run(outer_of(inner, call("inner", request="draw"), "There."), "go")
    assert [each.uri for each in outer.calls[0].media] == ["gs://b/cup.png"]
