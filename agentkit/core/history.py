"""The messages of a run or a chat, with the JSON that they are sent as and what they say of tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from agentkit.model import Model
from agentkit.stores.message import Message
from agentkit.tooling.names import ACCEPTED, FIND_TOOLS, OWN, READ_RESULT
from agentkit.tooling.tool import Tool
from agentkit.wire.content import (
    Content,
    FunctionResponse,
    GrownContents,
    Joined,
    JsonObject,
    Request,
    author_of,
    authored,
)
from agentkit.wire.convert import authored_in
from agentkit.wire.files import UploadedFile, file_uri, inline_size
from agentkit.wire.metadata import server_tool_read
from agentkit.wire.placing import holds_media, media_placed
from agentkit.wire.signatures import Author, foreign_to, signed_for

CALLED: Final = ""
"""Stands among the tools that name another: it was called."""
_MARK = f"; {READ_RESULT}(id="


class History:
    """Messages that grow at their end. `contents` are theirs, in order: valid for the server at any instant."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages: list[Message] = []
        self.contents: list[Content] = []
        self.answered: dict[str, bool] = {}
        """Tools whose words are there, in order; true if they said something, be it in an error."""
        self._heard: Message | None = None
        self.read: dict[str, None] = {}
        """Tools of Gemini's own whose words are there, in order."""
        self.found: dict[str, frozenset[str]] = {}
        """Tools that came to be needed, each with the tools whose results named it: those on demand that were found or
        loaded; with `CALLED`, those that were called; and the one that reads results on, from the first result that
        was cut. In order, so that each is declared behind those before it."""
        self._authors: set[Author] = set()
        self._joined = Joined()
        self.files: dict[str, UploadedFile] = {}
        """Files that are referred to, by the URI that stands in their content: as they are now."""
        self.renewed: set[int] = set()
        """Which messages have files that were uploaded again, and aren't stored so yet."""
        self.inline = 0
        """Characters of data in the user's contents."""
        self._holds_media = False
        self._placed: dict[tuple[int, frozenset[str]], tuple[Content, Content]] = {}
        """Contents as models that take these kinds of media get them, with what they are made of."""
        self._joined_placed: dict[frozenset[str], Joined] = {}
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self.messages)

    def add(self, message: Message) -> None:
        """Add a message to the end; nobody changes its content from now on."""
        self.messages.append(message)
        self.contents.append(message.content)
        if message.model:
            self._authors.add((message.model, message.endpoint))
        for each in message.files:
            file = UploadedFile.from_wire(each)
            self.files.setdefault(_uri_of(message, each) or file.uri, file)
        if message.content["role"] == "model":
            if message is not self._heard:
                self.hear(message)
        else:
            own: Any = (message.metadata or {}).get(OWN)
            own = own if isinstance(own, list) else []
            for index, part in enumerate(message.content["parts"]):
                if "functionResponse" in part and index not in own:
                    self._note(part["functionResponse"])
                elif "inlineData" in part:
                    self.inline += inline_size(part)

    def renew(self, uri: str, file: UploadedFile) -> None:
        """Note where a file is now that was uploaded again; `uri` stands in the contents, which stay as they are."""
        self.files[uri] = file
        for index, message in enumerate(self.messages):
            files = [
                {"part": each["part"], **file.to_wire()} if _uri_of(message, each) == uri else each
                for each in message.files
            ]
            if files != [*message.files]:
                self.messages[index] = replace(message, files=files)
                self.renewed.add(index)

    def hear(self, message: Message) -> None:
        """Note whose words a message has read on the server: its own calls come after them, and before it is here."""
        if message.content["role"] != "model":
            return
        self._heard = message
        tokens = message.usage.tool_use_prompt_tokens if message.usage is not None else 0
        name = server_tool_read(message.content["parts"], message.metadata, tokens)
        if name is not None:
            self.read[name] = None

    def replace(self, index: int, message: Message) -> None:
        """Put a message in the place of one that was not sent yet."""
        following = self.messages[index + 1 :]
        self.cut(index)
        for each in (message, *following):
            self.add(each)

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
        copy = object.__new__(History)
        copy.become(self)  # what was encoded and placed is shared
        copy.messages, copy.contents = self.messages.copy(), self.contents.copy()
        copy.answered, copy.found = self.answered.copy(), self.found.copy()
        copy.read, copy.files, copy.renewed = self.read.copy(), self.files.copy(), set()
        copy._authors = self._authors.copy()
        return copy

    def whole(self) -> GrownContents:
        """Return all contents as they are sent; each is encoded once, however often it is."""
        return GrownContents.of(self.contents, self._joined)

    def taken_by(self, model: Model, request: Request, aside: Sequence[Message]) -> Request:
        """Return a request as a model takes it: without what others signed, and with media of results in their place.

        Args:
            model: Who is asked.
            request: Its contents are some of the history, perhaps changed by a hook, and those of `aside`.
            aside: Messages that are sent and are not in the history.
        """
        contents = request["contents"]
        if self._holds_media or not isinstance(contents, GrownContents):
            contents = self._with_media_placed(contents, model.traits.media_in_responses)
        if self._authors or aside:
            contents = self._signed_for(contents, model, aside)
        return (
            request if contents is request["contents"] else cast(Request, {**request, "contents": contents})
        )

    def _signed_for(
        self, contents: Sequence[Content], model: Model, aside: Sequence[Message]
    ) -> Sequence[Content]:
        """Return contents without what others signed (rules 3 and 13)."""
        authors = self._authors
        if aside:
            authors = authors | {(message.model, message.endpoint) for message in aside if message.model}
        reader = model.name, model.traits.endpoint
        if authors == {reader} or not any(foreign_to(reader, author) for author in authors):
            return contents
        known = self._by_content(aside)
        return signed_for(
            contents,
            model.name,
            lambda content: foreign_to(reader, known.get(id(content)) or author_of(content)),
        )

    def _with_media_placed(
        self, contents: Sequence[Content], kinds: frozenset[str] | None
    ) -> Sequence[Content]:
        """Return contents with media of results where a model takes them (rule 10); each is made and encoded once."""
        if kinds is None:
            return contents
        placed = [self._media_placed(each, kinds) if holds_media(each) else each for each in contents]
        if all(new is old for new, old in zip(placed, contents, strict=True)):
            return contents
        if isinstance(contents, GrownContents):
            return GrownContents.of(placed, self._joined_placed.setdefault(kinds, Joined()))
        return placed

    def _media_placed(self, content: Content, kinds: frozenset[str]) -> Content:
        known = self._placed.get((id(content), kinds))
        if known is not None and known[0] is content:
            return known[1]
        made = media_placed(content, kinds)
        if type(content) is not dict:  # but one that a history owns
            self._placed[id(content), kinds] = content, made
        return made

    def _by_content(self, aside: Sequence[Message]) -> dict[int, Author]:
        return {id(m.content): (m.model, m.endpoint) for m in (*self.messages, *aside) if m.model}

    def copies(
        self, contents: Sequence[Content], copies: Sequence[Content], aside: Sequence[Message]
    ) -> list[Content]:
        """Note on copies of contents who made them, as `taken_by` has to know of what a hook returns."""
        known = self._by_content(aside)
        pairs = zip(contents, copies, strict=True)
        return [authored(copy, *known.get(id(content), (None, None))) for content, copy in pairs]

    def _note(self, response: FunctionResponse) -> None:
        said, name = response["response"], response["name"]
        output: Any = said.get("output")
        self._holds_media = self._holds_media or "parts" in response
        if output != ACCEPTED or "parts" in response:
            spoke = output is not None or said.get("error") is not None
            self.answered[name] = self.answered.get(name, False) or spoke
        if name != READ_RESULT:
            self.need([name], CALLED)
        if isinstance(output, str) and _MARK in output[-300:]:
            self.need([READ_RESULT], name)
        if isinstance(output, dict) and isinstance(output.get("note"), str):  # a hook has changed the query
            output = output.get("result", output)
        if name == FIND_TOOLS and isinstance(output, list):
            self.need((item.get("name") for item in output if isinstance(item, dict)), name)
        elif isinstance(output, dict) and isinstance(output.get("tools"), list):
            self.need(output["tools"], name)

    def need(self, names: Iterable[Any], by: str) -> None:
        """Note that a tool names others."""
        for name in names:
            if isinstance(name, str):
                self.found[name] = self.found.get(name, frozenset()) | {by}

    def untrusted(self, tools: Mapping[str, Tool]) -> str | None:
        """Name a tool whose words are there and may be a stranger's; so may those of one that is gone."""
        for name, spoke in self.answered.items():
            if tools[name].untrusted if name in tools else spoke and name not in (FIND_TOOLS, READ_RESULT):
                return name
        return next(iter(self.read), None)


def _uri_of(message: Message, file: JsonObject) -> str:
    """Return the URI in the part of a message's content that one of its files is of; empty if there is none."""
    parts, index = message.content["parts"], file.get("part")
    return file_uri(parts[index]) if type(index) is int and 0 <= index < len(parts) else ""


def messages_in(history: Iterable[Any] | None) -> list[Message]:
    """Take a history from outside, checked and copied.

    Raises:
        HistoryError: A content breaks a rule of the server; the message says which and where.
    """
    return [
        Message(content=content, model=model, endpoint=endpoint, metadata=metadata)
        for content, (model, endpoint), metadata in authored_in(history)
    ]
