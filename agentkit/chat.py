"""A conversation that remembers what was said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from agentkit.errors import AgentError
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

    def commit(self, state: State) -> None:
        """Take over what a send added, if the model said anything at all; else it leaves no trace."""
        self.usage += state.usage()
        if len(state.contents) > state.started_with and any(
            content["role"] == "model" for content in state.contents[state.started_with :]
        ):
            self.contents = list(state.contents)


class Send:
    """One send of a sync chat: holds the conversation from its first step to its end."""

    def __init__(self, conversation: Conversation, lock: Turnstile) -> None:
        self._conversation = conversation
        self._lock = lock
        self._begun = False

    def begin(self) -> Sequence[Content]:
        """Wait until no other send goes on; return the history."""
        self._lock.acquire()
        self._begun = True
        return self._conversation.contents

    def end(self, state: State) -> None:
        """Take over what was added, and let the next one in."""
        if self._begun:
            self._begun = False
            self._conversation.commit(state)
            self._lock.release()


class Turnstile:
    """A lock that refuses, rather than deadlocks, whoever holds it already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def acquire(self) -> None:
        """Wait for the lock."""
        if self._owner == threading.get_ident():
            raise AgentError(
                "This chat's last answer is still being streamed: read it to the end or close it (use `with`) first."
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def release(self) -> None:
        """Let the next one in."""
        self._owner = None
        self._lock.release()


class AsyncSend:
    """One send of an async chat."""

    def __init__(self, conversation: Conversation, lock: asyncio.Lock) -> None:
        self._conversation = conversation
        self._lock = lock
        self._begun = False

    async def begin(self) -> Sequence[Content]:
        """Wait until no other send goes on; return the history."""
        await self._lock.acquire()
        self._begun = True
        return self._conversation.contents

    def end(self, state: State) -> None:
        """Take over what was added, and let the next one in."""
        if self._begun:
            self._begun = False
            self._conversation.commit(state)
            self._lock.release()


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
        self._lock = Turnstile()

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
        send = Send(self._conversation, self._lock)
        return self._agent._stream(message, options, stream=stream, send=send)


class AsyncChat:
    """A conversation for async callers; see `Chat`. Its sends are of one event loop and wait for each other."""

    def __init__(self, agent: Agent, *, history: Sequence[Content] = (), deps: Any = None) -> None:
        self._agent = agent
        self._deps = deps
        self._conversation = Conversation(history)
        self._lock = asyncio.Lock()

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
        send = AsyncSend(self._conversation, self._lock)
        return self._agent._astream(message, options, stream=stream, send=send)
