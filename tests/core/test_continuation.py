"""A reply that outgrows one request (rule 17) is one reply, whatever comes between its pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Context, Limits, ModelError, RetryPolicy, SQLiteStore, tool
from agentkit.core.hooks import Hooks
from agentkit.events import SourcesFound, TextDelta, TurnFinished
from agentkit.gemini.model import GeminiModel
from tests.helpers.gemini import KEY
from tests.helpers.gemini_server import GeminiServer, Reply, fault, stream
from tests.helpers.ways import WAYS, Way, way

__all__ = ["way"]


@tool
def look(sku: str) -> str:
    """Look."""
    return f"{sku}: 3"


def piece(*parts: Any, token: str | None = None, reason: str = "CONTINUATION", **more: Any) -> Reply:
    """Make a piece of a reply that goes on with a token, or its last one; each costs 15 tokens."""
    chunks: list[Any] = [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]
    candidate = {"finishReason": reason, **({"continuationToken": token} if token else {}), **more}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return stream([*chunks, {"candidates": [candidate], "usageMetadata": usage}])


def last(*parts: Any) -> Reply:
    return piece(*parts, reason="STOP")


def said(text: str) -> Any:
    return {"text": text}


CALL: Any = {"functionCall": {"name": "look", "args": {"sku": "A"}}}


@pytest.fixture
def server() -> Any:
    with GeminiServer() as running:
        yield running


def agent_at(server: GeminiServer, **options: Any) -> Agent:
    http = {"base_url": server.url, "headers": {"Connection": "close"}}
    options.setdefault("retry", RetryPolicy(attempts=2, base=0, cap=0))
    return Agent(GeminiModel("gemini-4-neon", api_key=KEY, http_options=http), **options)


def tokens(server: GeminiServer) -> list[str | None]:
    return [request.body.get("continuationToken") for request in server.requests]


def test_pieces_are_one_reply_and_their_usage_adds_up(way: Way, server: GeminiServer) -> None:
    server.script(
        [piece(said("One, "), token="dG9r"), piece(said("two, "), token="ZW4="), last(said("three."))]
    )
    run = way.run(agent_at(server), "Count.")
    assert (run.text, run.stop, run.finish_reason) == ("One, two, three.", None, "STOP")
    assert run.contents[1:] == [{"role": "model", "parts": [said("One, two, three.")]}]
    assert tokens(server) == [None, "dG9r", "ZW4="]
    bodies = [{**request.body, "continuationToken": 0} for request in server.requests]
    assert bodies[0] == bodies[1] == bodies[2]  # but for the token, the request is repeated
    assert (run.usage.requests, run.usage.total_tokens, run.turns) == (3, 45, 3)
    assert run.messages[-1].usage == run.usage
    if way.streamed:
        assert [event.text for event in way.events if isinstance(event, TextDelta)] == [
            "One, ",
            "two, ",
            "three.",
        ]
        (finished,) = [event for event in way.events if isinstance(event, TurnFinished)]
        assert (finished.usage.total_tokens, finished.finish_reason) == (45, "STOP")


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("how", ["on request", "cut off"])
def test_each_piece_counts_its_own_sources(way: Way, server: GeminiServer, quoted: bool, how: str) -> None:
    def resting_on(uri: str, words: str, said: str) -> Any:
        begin = len(said[: said.index(words)].encode())
        segment: Any = {"startIndex": begin, "endIndex": begin + len(words.encode())}
        segment |= {"text": words} if quoted else {}
        return {
            "groundingChunks": [{"web": {"uri": uri}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        }

    def cited(uri: str, words: str, said: str) -> Any:
        begin = len(said[: said.index(words)].encode())
        return {"citations": [{"uri": uri, "startIndex": begin, "endIndex": begin + len(words.encode())}]}

    pieces = [("Eins 🍵. ", "Eins 🍵", "🍵."), ("Zwei 日本. ", "日本", "Zwei"), ("Drei é.", "Drei é", "é")]
    goes_on = "CONTINUATION" if how == "on request" else "MAX_TOKENS"
    server.script(
        [
            piece(
                said(text),
                token=f"dG9r{number}" if how == "on request" and number < 3 else None,
                reason=goes_on if number < 3 else "STOP",
                groundingMetadata=resting_on(f"https://{number}.example", words, text),
                citationMetadata=cited(f"https://cited.example/{number}", cite, text),
            )
            for number, (text, words, cite) in enumerate(pieces, 1)
        ]
    )
    run = way.run(agent_at(server, on_max_tokens="continue"), "Count.")
    found = [run.text[begin:end] for source in run.sources for begin, end in source.spans]
    assert found == ["Eins 🍵", "日本", "Drei é", "🍵.", "Zwei", "é"]
    told = [source for event in way.events if isinstance(event, SourcesFound) for source in event.sources]
    assert not way.streamed or {*told} == {*run.sources}


def test_a_call_may_come_in_the_last_piece_or_in_one_before(way: Way, server: GeminiServer) -> None:
    signed = {**CALL, "thoughtSignature": "c2ln"}
    for pieces in (
        [piece(said("I look."), token="dG9r"), last(signed)],
        [piece(said("I look."), signed, token="dG9r"), last()],
    ):
        server.rules.issue([said("I look."), signed])
        server.script([*pieces, last(said("Three."))])
        run = way.run(agent_at(server, tools=[look]), "?")
        assert run.text == "Three."
        assert run.contents[1]["parts"] == [said("I look."), signed]
        assert run.contents[2]["parts"][0]["functionResponse"]["response"] == {"output": "A: 3"}
        assert run.usage.total_tokens == 45


def test_the_limits_of_the_run_bound_the_pieces_and_what_there_is_is_kept(
    way: Way, server: GeminiServer
) -> None:
    for limits, stop in ((Limits(turns=2), "turns"), (Limits(tokens=30), "tokens")):
        server.script([piece(said("One, "), token="YQ=="), piece(said("two, "), token="Yg==")])
        run = way.run(agent_at(server, limits=limits), "Count.")
        assert (run.stop, run.text, run.turns) == (stop, "One, two, ", 2)
        assert run.contents[-1]["parts"] == [said("One, two, ")]
        assert run.messages[-1].finish_reason == "CONTINUATION"


@pytest.mark.parametrize("end", [piece(said("two")), piece(said("two"), token="dG9r")])
def test_without_a_new_token_the_reply_was_cut_off(server: GeminiServer, end: Reply) -> None:
    for each in WAYS.values():
        server.script([piece(said("One, "), token="dG9r"), end])
        run = each.run(agent_at(server), "Count.")
        assert (run.stop, run.finish_reason, run.text) == ("max_tokens", "CONTINUATION", "One, two")


def test_a_fault_between_pieces_is_met_and_one_that_lasts_keeps_the_text(
    way: Way, server: GeminiServer
) -> None:
    server.script([piece(said("One, "), token="dG9r"), fault(503), last(said("two."))])
    assert way.run(agent_at(server), "Count.").text == "One, two."
    assert tokens(server) == [None, "dG9r", "dG9r"]
    server.script([piece(said("One, "), token="dG9r"), fault(503), fault(503)])
    spare = agent_at(server).model
    with pytest.raises(ModelError) as caught:  # a token says nothing to another model
        way.run(
            Agent([agent_at(server).model, spare], retry=RetryPolicy(attempts=2, base=0, cap=0)), "Count."
        )
    assert caught.value.run.text == "One, "
    assert caught.value.run.usage.total_tokens >= 15


def test_each_request_passes_the_hooks_and_the_reply_once(way: Way, server: GeminiServer) -> None:
    heard: list[Any] = []

    def before(request: Any, ctx: Context[Any]) -> None:
        heard.append((ctx.purpose, request.get("continuationToken")))

    def after(reply: Any, ctx: Context[Any]) -> None:
        heard.append((ctx.purpose, reply["candidates"][0]["content"]["parts"]))

    server.script([piece(said("One, "), token="dG9r"), last(said("two."))])
    way.run(agent_at(server, hooks=Hooks(before_model=before, after_model=after)), "Count.")
    assert heard == [("turn", None), ("continuation", "dG9r"), ("turn", [said("One, two.")])]


def test_a_value_may_come_in_pieces(way: Way, server: GeminiServer) -> None:
    server.script([piece(said('{"result": [1, '), token="dG9r"), last(said("2]}"))])
    run = way.run(agent_at(server), "Count.", output=list[int])
    assert run.output == [1, 2]


def test_a_chat_keeps_one_message_with_the_usage_of_all(
    way: Way, server: GeminiServer, tmp_path: Path
) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        server.script([piece(said("One, "), token="dG9r"), last(said("two.")), last(said("three."))])
        agent = agent_at(server)
        assert way.chat(agent, store).send("Count.").text == "One, two."
        assert way.chat(agent, store).send("More.").text == "three."
        messages = agent.chat("ann", store).get_messages()
        assert [message.usage.total_tokens for message in messages if message.usage] == [30, 15]
        assert agent.chat("ann", store).info.usage.total_tokens == 45
    assert "continuationToken" not in json.dumps(server.requests[-1].body)


def test_a_users_client_goes_on_too(server: GeminiServer) -> None:
    from google import genai

    for each in WAYS.values():
        server.script([piece(said("One, "), token="dG9r"), last(said("two."))])
        http: Any = {"base_url": server.url, "api_version": "v1beta", "headers": {"Connection": "close"}}
        client = genai.Client(api_key=KEY, http_options=http)
        run = each.run(Agent(GeminiModel("gemini-4-neon", client=client)), "Count.")
        assert run.text == "One, two."
        assert tokens(server)[-2:] == [None, "dG9r"]
        client.close()
