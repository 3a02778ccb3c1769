"""Whatever is changed in a reply, a run's JSON or an archive: a stop, or an error of agentkit's; all can be kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agentkit import Agent, Limits, MemoryStore, RetryPolicy, Run, tool
from agentkit.errors import AgentError, ConfigurationError, StoreError
from agentkit.gemini.model import GeminiModel
from agentkit.stores.archive import archive_text, parse_archive, read_archive
from agentkit.testing import ScriptedModel, call, check_history
from agentkit.wire.content import dumps
from tests.helpers.gemini import KEY, AsyncInProcess, InProcess
from tests.helpers.mutations import mutated

SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROUNDS = [
    pytest.param(range(80), id="80"),
    *(pytest.param(range(at, at + 3000), id=f"from {at}", marks=SLOW) for at in (10_000, 20_000, 30_000)),
]

USAGE = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 24,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
}
SIGNED = {"thoughtSignature": "c2lnbmF0dXJl"}


def reply(*parts: Any, **candidate: Any) -> Any:
    content = {"role": "model", "parts": list(parts)}
    made = {"content": content, "finishReason": "STOP", "index": 0, **candidate}
    return {"candidates": [made], "usageMetadata": USAGE, "modelVersion": "gemini-x", "responseId": "r-1"}


LOOK = {"functionCall": {"name": "look", "args": {"sku": "A", "deep": {"a": [1, {"b": None}]}}}}
REPLIES: list[Any] = [
    reply({"text": "Three are left."}),
    reply({"text": "Hm.", "thought": True}, {"text": "Three."}, {"text": "", **SIGNED}),
    reply({**LOOK, **SIGNED}, LOOK, finishMessage="Model generated function call(s)."),
    reply({"functionCall": {**LOOK["functionCall"], "id": "c-1"}, **SIGNED}),
    reply(
        {"executableCode": {"language": "PYTHON", "code": "print(3)", "id": "x1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "3\n"}},
        {"text": "It is 3."},
    ),
    reply(
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["tea"]}, "id": "s1"}, **SIGNED},
        {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "response": {"suggestions": "<b>"}, "id": "s1"}},
        {"text": "Tea is a drink."},
        groundingMetadata={
            "webSearchQueries": ["tea"],
            "groundingChunks": [{"web": {"uri": "https://example.com", "title": "Tea"}}],
            "groundingSupports": [
                {"segment": {"startIndex": 0, "endIndex": 3}, "groundingChunkIndices": [0]}
            ],
        },
        safetyRatings=[{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
        citationMetadata={"citations": [{"startIndex": 0, "endIndex": 3, "uri": "https://example.com"}]},
        avgLogprobs=-0.5,
    ),
    reply({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
    reply(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: look("),
    reply({"text": "half"}, finishReason="CONTINUATION", continuationToken="dG9rZW4="),
    {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}, "usageMetadata": USAGE},
    {"error": {"code": 429, "message": "slow", "details": [{"@type": "RetryInfo", "retryDelay": "3s"}]}},
]
"""Of the shapes that the server sends."""

PIECES = [
    reply({"functionCall": {"name": "look", "willContinue": True}, **SIGNED}),
    reply(
        {"functionCall": {"partialArgs": [{"jsonPath": "$.sku", "stringValue": "A"}], "willContinue": True}}
    ),
    reply({"functionCall": {}}),
]


@tool
def look(sku: str, deep: dict[str, Any] | None = None) -> str:
    """Look."""
    return f"{sku}: 3"


def kept(run: Run) -> None:
    """Check that what came of a run can be kept: written down, read back, given as a history, put into an archive."""
    check_history(run.contents)
    again = Run.from_json(run.to_json())
    assert again.to_json() == run.to_json()
    if run.stop not in ("approval", "deferred", "unknown_effect"):
        chat = Agent(ScriptedModel(["ok"])).chat("a", MemoryStore(), history=run.contents)
        Run.from_json(chat.send_message("?").to_json())
        parse_archive(archive_text(chat._conversation.archive()), "it")


def answer_with(bodies: list[Any]) -> InProcess:
    """Answer with these bodies as the chunks of a stream, or with the last as a whole; then with a text."""
    asked: list[int] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(1)
        told = bodies if len(asked) == 1 else [reply({"text": "Done."})]
        texts = [json.dumps(each) for each in told]
        if "alt=sse" in str(request.url):
            return httpx2.Response(200, content="".join(f"data: {each}\r\n\r\n" for each in texts).encode())
        return httpx2.Response(200, content=texts[-1].encode())

    return InProcess(answer)


def runs_with(bodies: list[Any], seed: int) -> None:
    transport = answer_with(bodies)
    http = {
        "client_args": {"transport": transport},
        "async_client_args": {"transport": AsyncInProcess(transport)},
    }
    agent = Agent(
        GeminiModel(api_key=KEY, http_options=http),
        tools=[look],
        retry=RetryPolicy(attempts=2, base=0, cap=0, total=0.1),
        limits=Limits(turns=4),
    )
    try:
        if seed % 4 == 0:
            run = agent.run("x")
        elif seed % 4 == 1:
            with agent.stream("x") as events:
                run = events.drain()
        elif seed % 4 == 2:
            run = asyncio.run(agent.aio.run("x"))
        else:

            async def go() -> Run:
                async with agent.aio.stream("x") as events:
                    return await events.drain()

            run = asyncio.run(go())
    except AgentError as error:
        run = error.run
    kept(run)


@pytest.mark.parametrize("seeds", ROUNDS)
def test_a_mutated_reply_ends_in_a_stop_or_an_error_and_can_be_kept(seeds: range) -> None:
    for seed in seeds:
        whole = REPLIES[seed % len(REPLIES)]
        bodies = mutated(PIECES, seed) if seed % 13 == 0 else [mutated(whole, seed)]
        try:
            runs_with(bodies if isinstance(bodies, list) else [bodies], seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error!s:.300}")


def a_run() -> Any:
    waiting = Agent(
        ScriptedModel([[call("order", n=3), call("look", sku="A")]]),
        tools=[look, tool(effect="write", approval=True, name="order")(lambda n: n)],
    )
    given = {"temperature": 0, "tools": [{"google_search": {}}]}
    return json.loads(waiting.run("x", limits=Limits(tokens=10**6), config=given).to_json())


@pytest.mark.parametrize("seeds", ROUNDS)
def test_a_mutated_run_is_refused_or_is_one_that_can_be_kept(seeds: range) -> None:
    whole = a_run()
    for seed in seeds:
        text = json.dumps(mutated(whole, seed))
        try:
            run = Run.from_json(text)
        except ConfigurationError:
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error!s:.300}")
        check_history(run.contents)
        assert Run.from_json(run.to_json()).to_json() == run.to_json(), seed


@pytest.mark.parametrize("seeds", ROUNDS)
def test_a_mutated_archive_is_refused_or_is_one_that_can_be_kept(seeds: range, tmp_path: Path) -> None:
    agent = Agent(ScriptedModel([[call("look", sku="A")], "Three.", "Bye."]), tools=[look])
    chat = agent.chat()
    chat.send_message("How many?")
    chat.send_message("Thanks.")
    chat.save(tmp_path / "chat.json")
    whole = json.loads((tmp_path / "chat.json").read_text())
    for seed in seeds:
        try:
            archived = parse_archive(json.dumps(mutated(whole, seed)), "it")
        except StoreError:
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error!s:.300}")
        check_history([message.content for message in archived.messages])
        (tmp_path / "again.json").write_text(json.dumps(mutated(whole, seed)))
        other = Agent(ScriptedModel(["ok"])).chat()
        other.load(tmp_path / "again.json")
        other.save(tmp_path / "third.json")
        again = read_archive(tmp_path / "third.json")
        assert [dumps(each.content) for each in again.messages] == [
            dumps(m.content) for m in archived.messages
        ]
