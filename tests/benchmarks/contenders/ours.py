"""agentkit, as its README shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agentkit import Agent, tool
from tests.benchmarks.contender import Ask, AskAsync, Contender, Stream, Tools
from tests.benchmarks.work import INSTRUCTIONS, MODEL


class Ours(Contender):
    """An `Agent`, nothing switched off and nothing tuned.

    Its tools are marked as what they are, tools that only read: calls of others run one after the other.
    """

    distributions = ("agentkit-gemini", "google-genai", "pydantic")

    def runner(self, tools: Tools) -> Ask:
        agent = _agent(tools)
        return lambda prompt: agent.run(prompt).text

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        kept = None
        if store:
            from agentkit import SQLiteStore  # not before, as it takes memory

            kept = SQLiteStore(store)
        chat = _agent(tools).chat("benchmark" if kept else None, kept)
        return lambda prompt: chat.send_message(prompt).text

    def streamer(self) -> Stream:
        agent = _agent(())

        def stream(prompt: str) -> Iterator[str]:
            with agent.stream(prompt) as events:
                yield from events.texts()

        return stream

    def async_runner(self, tools: Tools) -> AskAsync:
        agent = _agent(tools)

        async def ask(prompt: str) -> str:
            return (await agent.aio.run(prompt)).text

        return ask

    def hold(self, contents: Sequence[dict[str, Any]]) -> Any:
        chat = _agent(()).chat(history=contents)
        chat.send_message("Go on. chain=0")
        return chat


def _agent(tools: Tools) -> Agent:
    return Agent(MODEL, tools=[tool(effect="read")(each) for each in tools], instructions=INSTRUCTIONS)


CONTENDER = Ours
