"""What a run has beside its text: calls, sources, media, thoughts; computed from its messages."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, cast

from agentkit.stores.message import Message
from agentkit.tooling.names import SECONDS, SOURCES, SUGGESTIONS
from agentkit.tooling.results import Media, media_in
from agentkit.wire.content import FunctionResponse, JsonObject, Part, calls_of, model_content, responses_of
from agentkit.wire.footnotes import with_footnotes
from agentkit.wire.sources import Source, sources_of, suggestions_of

if TYPE_CHECKING:
    from agentkit.core.resuming import Parked
    from agentkit.stores.steps import StoredCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that the model made, and what came of it."""

    name: str
    args: JsonObject
    response: JsonObject
    """What the model is told, as it stands in the history; of a call that waits, that it does."""
    media: tuple[Media, ...] = field(default=(), repr=False)
    """Pictures, sound and files among what the tool, or a sub-agent, returned."""
    seconds: float | None = field(default=None, repr=False)
    """How long the tool took; None where it wasn't run or hasn't ended, or where that isn't known."""

    @property
    def result(self) -> Any:
        """What the tool returned, as JSON; None where it failed or waits."""
        return self.response.get("output")

    @property
    def error(self) -> str | None:
        """What the model is told of what went wrong; None where nothing did."""
        error = self.response.get("error")
        return error["message"] if isinstance(error, dict) and set(error) == {"message"} else error


def calls_in(messages: Sequence[Message]) -> Iterator[Call]:
    """List the calls in messages, in order, each with its response."""
    for message, following in pairwise([*messages, Message(content=model_content())]):
        made = calls_of(message.content) if message.content["role"] == "model" else []
        answered: list[FunctionResponse] = responses_of(following.content)[: len(made)]
        for call, answer, seconds in zip_longest(made, answered, seconds_of(following)[: len(made)]):
            response = {} if answer is None else answer["response"]
            media = () if answer is None else tuple(media_in(cast("list[Part]", answer.get("parts", []))))
            args = call.get("args", {})
            yield Call(name=call["name"], args=args, response=response, media=media, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """A call that has not begun, since one in front of it waits."""

    call_id: str
    name: str
    args: JsonObject
    behind: str
    """The name of the tool whose call it waits for."""


def held_in(message: Message, ledger: Sequence[StoredCall]) -> list[HeldCall]:
    """List the calls of a model's message that wait for others in front of them."""
    calls = calls_of(message.content)
    held: list[HeldCall] = []
    front = ""
    for entry in ledger:
        if entry.response is not None:
            continue
        if entry.started or entry.deferred is not None or entry.why is not None:
            front = front or entry.name
        elif front:
            args = calls[entry.index].get("args") or {} if entry.args is None else entry.args
            held.append(HeldCall(call_id=entry.call_id, name=entry.name, args=args, behind=front))
    return held


def seconds_of(message: Message) -> list[float | None]:
    """Return how long each of the calls took that a message answers, as far as that is noted with it."""
    noted = (message.metadata or {}).get(SECONDS)
    return [
        seconds if isinstance(seconds, (int, float)) and 0 <= seconds < math.inf else None
        for seconds in (noted if isinstance(noted, list) else ())
    ]


def told_in(metadata: JsonObject | None) -> Iterator[Source]:
    """Go through the sources of sub-agents that are noted with their responses."""
    told = (metadata or {}).get(SOURCES)
    for each in told if isinstance(told, list) else ():
        with suppress(ValueError, AttributeError, TypeError):
            yield Source.from_wire(each)


def told_suggestions(metadata: JsonObject | None) -> list[str]:
    """List the search suggestions of sub-agents that are noted with their responses."""
    told = (metadata or {}).get(SUGGESTIONS)
    return [html for html in told if isinstance(html, str)] if isinstance(told, list) else []


class BesideText(ABC):
    """A run, as far as its replies are looked at."""

    __slots__ = ()
    text: str
    _parked: Parked

    @property
    @abstractmethod
    def new_messages(self) -> Sequence[Message]:
        """What the run added to the history."""

    @property
    def held(self) -> tuple[HeldCall, ...]:
        """The calls that have not begun, since one of `pending` in front of them waits; in their order."""
        opened = self._parked.opened
        return () if opened is None else tuple(held_in(opened.message, opened.calls))

    @property
    def replies(self) -> list[Message]:
        """What the model said in this run, with what is known about it; not to be changed."""
        return [message for message in self.new_messages if message.content["role"] == "model"]

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the replies of this run rest on: pages, files, citations; with what of `text` each supports.

        What the answers of sub-agents rest on comes last, without spans: those were in their own texts.
        """
        own = sources_of([(message.content, message.metadata) for message in self.replies], self.text)
        known = {(source.kind, source.uri, source.title) for source in own}
        told = dict.fromkeys(found for message in self.new_messages for found in told_in(message.metadata))
        return (*own, *(each for each in told if (each.kind, each.uri, each.title) not in known))

    def text_with_sources(self) -> str:
        """Return the text with its sources as footnotes, in Markdown."""
        return with_footnotes(self.text, self.sources)

    @property
    def search_suggestions(self) -> str:
        """The HTML that Google's terms ask to be shown along with an answer that rests on its search; else empty."""
        own = [suggestions_of(message.metadata) for message in self.replies]
        told = [html for message in self.new_messages for html in told_suggestions(message.metadata)]
        return "\n".join(dict.fromkeys(filter(None, (*own, *told))))

    @property
    def media(self) -> tuple[Media, ...]:
        """Pictures, sound and files that the model made in this run; plots of code that it ran, too.

        Those of tools and sub-agents are in `calls`.
        """
        return tuple(found for message in self.replies for found in media_in(message.content["parts"]))

    @property
    def thoughts(self) -> str:
        """What the model told of its thoughts in this run, where it was asked to."""
        parts = (part for message in self.replies for part in message.content["parts"])
        return "\n\n".join(part["text"] for part in parts if part.get("thought") and part.get("text"))
