"""What a run's replies have beside their text: sources, media, thoughts; computed from its messages."""

from __future__ import annotations

from abc import ABC, abstractmethod

from agentkit.stores.message import Message
from agentkit.tooling.results import Media, media_in
from agentkit.wire.sources import Source, sources_of, suggestions_of, with_footnotes


class BesideText(ABC):
    """A run, as far as its replies are looked at."""

    __slots__ = ()
    text: str

    @property
    @abstractmethod
    def replies(self) -> list[Message]:
        """What the model said in the run."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the replies of this run rest on: pages, files, citations; with what of `text` each supports."""
        return sources_of([(message.content, message.metadata) for message in self.replies], self.text)

    def text_with_sources(self) -> str:
        """Return the text with its sources as footnotes, in Markdown."""
        return with_footnotes(self.text, self.sources)

    @property
    def search_suggestions(self) -> str:
        """The HTML that Google's terms ask to be shown along with an answer that rests on its search; else empty."""
        return "\n".join(dict.fromkeys(filter(None, (suggestions_of(m.metadata) for m in self.replies))))

    @property
    def media(self) -> tuple[Media, ...]:
        """Pictures, sound and files that the model made in this run; plots of code that it ran, too."""
        return tuple(found for message in self.replies for found in media_in(message.content["parts"]))

    @property
    def thoughts(self) -> str:
        """What the model told of its thoughts in this run, where it was asked to."""
        parts = (part for message in self.replies for part in message.content["parts"])
        return "\n\n".join(part["text"] for part in parts if part.get("thought") and part.get("text"))
