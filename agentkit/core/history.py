"""The messages of a run or a chat, with the JSON that they are sent as and what they say of tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from agentkit.model import Model
from agentkit.stores.message import Message
from agentkit.tooling.names import ACCEPTED, FIND_TOOLS, OWN, READ_RESULT
from agentkit.tooling.tool import Tool
from agentkit.wire.content import (
    Content,
    FunctionResponse,
    GrownContents,
    Joined,
    Request,
    author_of,
    authored,
    keep,
)
from agentkit.wire.convert import authored_in
from agentkit.wire.metadata import server_tool_read
from agentkit.wire.signatures import Author, foreign_to, signed_for

_MARK = f"; {READ_RESULT}(id="


class History:
    """Messages that grow at their end. `contents` are theirs, in order: valid for the server at any instant."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages: list[Message] = []
        self.contents: list[Content] = []
        self.answered: dict[str, bool] = {}
        """Tools whose words are there, in order; true if they said something, be it in an error."""
        self.read: dict[str, None] = {}
        """Tools of Gemini's own whose words are there, in order."""
        self.found: dict[str, bool] = {}
        """Tools that came to be needed: true are those that were found, and the one that reads results on, from the
        first result that was cut; false are those that were called. In order: each is declared behind those before."""
        self._authors: set[Author] = set()
        self._joined = Joined()
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self.messages)

    def add(self, message: Message) -> None:
        """Add a message to the end; nobody changes its content from now on."""
        keep(message.content)
        self.messages.append(message)
        self.contents.append(message.content)
        if message.model:
            self._authors.add((message.model, message.endpoint))
        self.hear(message)
        if message.content["role"] == "user":
            own: Any = (message.metadata or {}).get(OWN)
            own = own if isinstance(own, list) else []
            for index, part in enumerate(message.content["parts"]):
                if "functionResponse" in part and index not in own:
                    self._note(part["functionResponse"])

    def hear(self, message: Message) -> None:
        """Note whose words a message has read on the server: its own calls come after them, and before it is here."""
        tokens = message.usage.tool_use_prompt_tokens if message.usage is not None else 0
        name = server_tool_read(message.content["parts"], message.metadata, tokens)
        if name is not None:
            self.read[name] = None

    def cut(self, length: int) -> None:
        """Keep so many messages, and forget the others."""
        if length < len(self.messages):
            joined, kept = self._joined, self.messages[:length]
            self.__init__(kept)  # type: ignore[misc] # read anew: what is gone says nothing any more
            self._joined = joined

    def become(self, other: History) -> None:
        """Take the place of another, which is used no longer."""
        self.__dict__.update(other.__dict__)

    def copy(self) -> History:
        """Return a history of its own with the same messages, for a run that may come to nothing."""
        copy = History()
        copy.messages, copy.contents = self.messages.copy(), self.contents.copy()
        copy.answered, copy.found = self.answered.copy(), self.found.copy()
        copy.read = self.read.copy()
        copy._authors, copy._joined = self._authors.copy(), self._joined
        return copy

    def whole(self) -> GrownContents:
        """Return all contents as they are sent; each is encoded once, however often it is."""
        return GrownContents.of(self.contents, self._joined)

    def signed_for(self, request: Request, model: Model, told: Sequence[Message]) -> Request:
        """Return a request as a model takes it: what others signed goes without signatures (rules 3 and 13).

        Args:
            request: Its contents are some of the history, perhaps changed by a hook, and those of `told`.
            model: Who is asked.
            told: Messages that are sent and are not in the history.
        """
        authors = self._authors
        if told:
            authors = authors | {(message.model, message.endpoint) for message in told if message.model}
        reader = (model.name, model.traits.endpoint) if authors else None
        if reader is None or authors == {reader} or not any(foreign_to(reader, author) for author in authors):
            return request
        known = self._by_content(told)
        contents = signed_for(
            request["contents"],
            model.name,
            lambda content: foreign_to(reader, known.get(id(content)) or author_of(content)),
        )
        return cast(Request, {**request, "contents": contents})

    def _by_content(self, told: Sequence[Message]) -> dict[int, Author]:
        return {id(m.content): (m.model, m.endpoint) for m in (*self.messages, *told) if m.model}

    def copies(
        self, contents: Sequence[Content], copies: Sequence[Content], told: Sequence[Message]
    ) -> list[Content]:
        """Note on copies of contents who made them, as `signed_for` has to know of what a hook returns."""
        known = self._by_content(told)
        pairs = zip(contents, copies, strict=True)
        return [authored(copy, *known.get(id(content), (None, None))) for content, copy in pairs]

    def _note(self, response: FunctionResponse) -> None:
        said, name = response["response"], response["name"]
        output: Any = said.get("output")
        if output != ACCEPTED or "parts" in response:
            spoke = output is not None or said.get("error") is not None
            self.answered[name] = self.answered.get(name, False) or spoke
        if name != READ_RESULT:
            self.found.setdefault(name, False)
        if name == FIND_TOOLS and isinstance(output, dict):  # with a note: a hook has changed the query
            output = output.get("result")
        if name == FIND_TOOLS and isinstance(output, list):
            names = (item.get("name") for item in output if isinstance(item, dict))
            self.found |= {found: True for found in names if isinstance(found, str)}
        if isinstance(output, str) and _MARK in output[-300:]:
            self.found[READ_RESULT] = True

    def untrusted(self, tools: Mapping[str, Tool]) -> str | None:
        """Name a tool whose words are there and may be a stranger's; so may those of one that is gone."""
        for name, spoke in self.answered.items():
            if tools[name].untrusted if name in tools else spoke and name not in (FIND_TOOLS, READ_RESULT):
                return name
        return next(iter(self.read), None)


def messages_in(history: Iterable[Any] | None) -> list[Message]:
    """Take a history from outside, checked and copied.

    Raises:
        HistoryError: A content breaks a rule of the server; the message says which and where.
    """
    return [
        Message(content=content, model=model, endpoint=endpoint, metadata=metadata)
        for content, (model, endpoint), metadata in authored_in(history)
    ]
