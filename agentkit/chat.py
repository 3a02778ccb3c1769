"""A conversation that remembers what was said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from agentkit.errors import AgentError
from agentkit.events import Event
from agentkit.limits import Usage
from agentkit.loop import State
from agentkit.run import AsyncRunStream, Run, RunStream
from agentkit.wire.content import Content, copy_contents
from agentkit.wire.convert import UserInput

if TYPE_CHECKING:
    from agentkit.agent import Agent, RunOptions


class Conversation:
    """What was said so far, and the one send that may go on at a time."""

    def __init__(self, contents: Sequence[Content]) -> None:
        self.contents = list(contents)
        self.usage = Usage()
        self._lock = threading.Lock()
        self._alock = asyncio.Lock()
        self._owner: int | None = None

    def send(self, steps: Generator[Event, None, None], state: State) -> Generator[Event, None, None]:
        """Hold the conversation from the first step of a send to its end."""
        if self._owner == threading.get_ident():  # it would wait for itself
            raise AgentError(
                "This chat's last answer is still being streamed: read it to the end or close it (use `with`) first."
            )
        with self._lock:
            self._owner = threading.get_ident()
            try:
                state.go_on_from(self.contents)
                yield from steps
            finally:
                self._owner = None
                self._take(state)

    async def asend(self, steps: AsyncGenerator[Event, None], state: State) -> AsyncGenerator[Event, None]:
        """Do the same in an event loop."""
        async with self._alock:
            state.go_on_from(self.contents)
            try:
                async with aclosing(steps):
                    async for event in steps:
                        yield event
            finally:
                self._take(state)

    def _take(self, state: State) -> None:
        """Take over what a send added, if the model said anything whole; else it leaves no trace."""
        self.usage += state.usage()
        if any(content["role"] == "model" for content in state.contents[state.started_with :]):
            self.contents = list(state.contents)


class Chat:
    """A conversation: each message is sent with all that was said before.

    Of a message that fails or is broken off before the model has said anything whole, nothing stays; of one
    that is broken off later, the whole steps stay, with calls that were not finished answered as cancelled.
    Sends from several threads wait for each other.
    """

    def __init__(self, agent: Agent, *, history: Sequence[Content] = (), deps: Any = None) -> None:
        self._agent = agent
        self._deps = deps
        self._conversation = Conversation(history)

    @property
    def usage(self) -> Usage:
        """Tokens of all messages of this chat so far."""
        return self._conversation.usage

    def send_message(self, message: UserInput, **options: Unpack[RunOptions]) -> Run:
        """Send a message and return the run that answers it; see `Agent.run`."""
        return self._stream(message, options, stream=False).drain()

    def send_message_stream(self, message: UserInput, **options: Unpack[RunOptions]) -> RunStream:
        """Send a message and tell what happens while it happens; see `Agent.stream`."""
        return self._stream(message, options, stream=True)

    def get_history(self) -> list[Content]:
        """Return what was said so far: a copy, valid for the server."""
        return copy_contents(self._conversation.contents)

    def _stream(self, message: UserInput, options: RunOptions, *, stream: bool) -> RunStream:
        options.setdefault("deps", self._deps)
        return self._agent._stream(message, options, stream=stream, conversation=self._conversation)


class AsyncChat:
    """A conversation for async callers; see `Chat`. Its sends are of one event loop and wait for each other."""

    def __init__(self, agent: Agent, *, history: Sequence[Content] = (), deps: Any = None) -> None:
        self._agent = agent
        self._deps = deps
        self._conversation = Conversation(history)

    @property
    def usage(self) -> Usage:
        """Tokens of all messages of this chat so far."""
        return self._conversation.usage

    async def send_message(self, message: UserInput, **options: Unpack[RunOptions]) -> Run:
        """Send a message and return the run that answers it; see `Agent.run`."""
        async with self._stream(message, options, stream=False) as events:
            return await events.drain()

    def send_message_stream(self, message: UserInput, **options: Unpack[RunOptions]) -> AsyncRunStream:
        """Send a message and tell what happens while it happens; see `Agent.stream`."""
        return self._stream(message, options, stream=True)

    def get_history(self) -> list[Content]:
        """Return what was said so far: a copy, valid for the server."""
        return copy_contents(self._conversation.contents)

    def _stream(self, message: UserInput, options: RunOptions, *, stream: bool) -> AsyncRunStream:
        options.setdefault("deps", self._deps)
        return self._agent._astream(message, options, stream=stream, conversation=self._conversation)
