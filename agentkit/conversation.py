"""What a sync and an async chat have in common: one conversation in a store, and one send at a time."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from agentkit.drivers.threads import off_loop
from agentkit.effects import Sent, State
from agentkit.errors import AgentError, ConfigurationError, SessionConflict, SessionExists, SessionNotFound
from agentkit.events import Event
from agentkit.limits import Usage
from agentkit.memory.base import Memory
from agentkit.memory.combine import Chain, combine
from agentkit.memory.tokens import TokenBudget
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    FinishCall,
    SessionInfo,
    SessionStore,
    SessionWriter,
    StartCalls,
    StoredCall,
    StoredMessage,
)
from agentkit.stores.memory import MemoryStore
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation, succeed
from agentkit.wire.content import Content, calls_of
from agentkit.wire.history import turn_starts, turns

_STREAMING = (
    "This chat's last answer is still being streamed: read it to the end or close it (use `with`) first."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """How full a chat is."""

    current: int
    """Tokens of all that the next request will have to take along, as of the last reply."""
    max: int | None
    """What the chat's `TokenBudget` allows to be sent, or None without one."""

    @property
    def remaining(self) -> int | None:
        """What is left of `max`; older turns are left out when it is used up."""
        return None if self.max is None else max(0, self.max - self.current)


class Conversation:
    """One session of a store, with what was last seen of it. All methods but `asend` and `acall` may block.

    Args:
        id: The session's; a new one by default.
        store: Where it is kept; by default in this object only.
        history: What a new session begins with.
        memory: What part of it is sent.
        wait: Seconds to wait for other writers. None: sends of this object wait for each other as long as it
            takes, and other writers are a `SessionConflict` at once.
        settings: Of a new session: model, instructions, title, expires, parent.
    """

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - what it is
        store: SessionStore | None = None,
        *,
        history: Sequence[Content] = (),
        memory: Memory | Iterable[Memory] | None = None,
        wait: float | None = None,
        messages: Sequence[StoredMessage] | None = None,
        **settings: Any,
    ) -> None:
        if id is not None and not str(id).strip():
            raise ConfigurationError(f"chat(id={id!r}): an id is a text with something in it.")
        self.id = id or uuid.uuid4().hex
        self.store: SessionStore = MemoryStore() if store is None else store
        self.memory = None if memory is None else combine(memory)
        self._begins_with = list(messages) if messages is not None else _as_messages(history)
        self._settings = settings
        self._wait = wait
        self._begun = False
        self._lock = threading.Lock()
        self._alock = asyncio.Lock()
        self._owner: int | None = None
        self._atask: asyncio.Task[Any] | None = None
        self._version: int | None = None
        self._contents: list[Content] = []
        self._calls: Sequence[StoredCall] = ()
        self._sent = Sent()
        self._summary: tuple[int, str] | None = None
        self.usage = Usage()

    # -- sending

    def send(
        self, steps: Generator[Event, None, None], state: State, *, resume: bool
    ) -> Generator[Event, None, None]:
        """Hold the session from the first step of a send to its end, and keep what comes of it."""
        self._enter()
        try:
            writer = self._open(state, resume=resume)
            try:
                yield from steps
            finally:
                steps.close()
                self._close(writer, state, resume=resume)
        finally:
            self._leave()

    async def asend(
        self, steps: AsyncGenerator[Event, None], state: State, *, resume: bool
    ) -> AsyncGenerator[Event, None]:
        """Do the same in an event loop, without blocking it."""
        await self._aenter()
        try:
            writer = await off_loop(lambda: self._open(state, resume=resume))
            try:
                async with aclosing(steps):
                    async for event in steps:
                        yield event
            finally:
                await off_loop(lambda: self._close(writer, state, resume=resume))
        finally:
            self._atask = None
            self._alock.release()

    def _enter(self) -> None:
        if self._owner == threading.get_ident():  # it would wait for itself
            raise AgentError(_STREAMING)
        if not self._lock.acquire(timeout=-1 if self._wait is None else max(self._wait, 0)):
            raise self._busy()
        self._owner = threading.get_ident()

    def _leave(self) -> None:
        self._owner = None
        self._lock.release()

    async def _aenter(self) -> None:
        if self._atask is not None and self._atask is asyncio.current_task():  # it would wait for itself
            raise AgentError(_STREAMING)
        if self._wait is not None and self._wait <= 0 and self._alock.locked():
            raise self._busy()
        try:
            async with asyncio.timeout(self._wait or None):
                await self._alock.acquire()
        except TimeoutError:
            raise self._busy() from None
        self._atask = asyncio.current_task()

    def _busy(self) -> SessionConflict:
        return SessionConflict(f"The chat {self.id!r} is busy with another message; this one was not sent.")

    def _open(self, state: State, *, resume: bool) -> SessionWriter:
        """Become the session's writer, look what is there, and let the run go on from it."""
        writer = self._writer()
        try:
            self._see(writer)
            if resume:
                if not self._contents:
                    raise AgentError(f"The chat {self.id!r} has nothing to resume: nothing was said yet.")
                state.contents[:] = self._contents
                if calls_of(self._contents[-1]):
                    state.resumed, state.ledger = state.contents.pop(), self._calls
                state.known = len(state.contents)
                state.started_with = turn_starts(self._contents)[-1]
            else:
                if calls_of(self._contents[-1]) if self._contents else False:
                    raise AgentError(
                        f"The chat {self.id!r} broke off while tools were running. Finish that first with resume(), "
                        "or take it back with undo()."
                    )
                state.go_on_from(self._contents)
        except BaseException:
            writer.release()
            raise
        state.sent, state.summary = self._sent, self._summary
        state.journal = writer.append
        return writer

    def _close(self, writer: SessionWriter, state: State, *, resume: bool) -> None:
        """Store what is not stored yet, see what is stored, and let others write."""
        try:
            if not state.open:
                self._settle(writer, state, resume=resume)
            self._sent, self._summary = state.sent, state.summary
            info = self.store.info(self.id)
            if info.messages == len(state.contents) and not state.open:
                self._version, self._contents, self._calls = info.version, list(state.contents), ()
                self.usage = info.usage
            else:
                self._version = None  # read it anew
        finally:
            state.journal = None
            writer.release()

    def _settle(self, writer: SessionWriter, state: State, *, resume: bool) -> None:
        stored = self.store.info(self.id).messages
        said = any(content["role"] == "model" for content in state.contents[state.started_with :])
        said = said or stored > len(state.contents)  # calls that are stored and may have run
        steps: list[Any] = []
        if not said and not resume:  # of a message that nothing came of, nothing stays
            del state.contents[state.started_with :]
            if stored > state.started_with:
                steps.append(Cut(state.started_with))
        else:
            steps += [AddMessage(content) for content in state.contents[stored:]]
        if (loose := state.loose_usage()) != Usage():
            steps.append(AddUsage(loose))
        if steps:
            writer.append(steps)

    def _writer(self) -> SessionWriter:
        wait = self._wait or 0.0
        if self._begins_with and not self._begun:
            self.create()
        try:
            return self.store.write(self.id, wait=wait)
        except SessionNotFound:
            self.create()
            return self.store.write(self.id, wait=wait)

    def create(self, *, exist_ok: bool = True) -> None:
        """Make the session; `exist_ok`: if it isn't there yet, or has nothing to begin with."""
        try:
            self.store.create(self.id, messages=self._begins_with, **self._settings)
        except SessionExists as error:
            if not exist_ok:
                raise
            if self._begins_with:
                raise SessionExists(f"{error} To go on with it, leave out history=.") from None
        self._begun = True

    def _see(self, writer: SessionWriter) -> None:
        if writer.info.version != self._version:
            self._read(writer.load())

    def _read(self, session: Any) -> None:
        self._version = session.info.version
        self._contents = [message.content for message in session.messages]
        self._calls = session.calls
        self._summary = (session.summary.upto, session.summary.text) if session.summary else None
        self._sent = Sent(usage=next((m.usage for m in reversed(session.messages) if m.usage), None))
        self.usage = session.info.usage

    # -- what there is

    def refresh(self) -> None:
        """See what is stored now."""
        try:
            if self.store.info(self.id).version != self._version:
                self._read(self.store.load(self.id))
        except SessionNotFound:
            self._version = None
            self._contents = [message.content for message in self._begins_with]

    def messages(self) -> list[StoredMessage]:
        """Read all messages, with their times and usage."""
        try:
            session = self.store.load(self.id)
        except SessionNotFound:
            return list(self._begins_with)
        return list(session.messages)

    def info(self) -> SessionInfo:
        """Read what is known of the session; it is made if it isn't there yet."""
        try:
            return self.store.info(self.id)
        except SessionNotFound:
            self.create()
            return self.store.info(self.id)

    def contents(self, *, curated: bool) -> list[Content]:
        """Return what was said; `curated`: without the turns that ended without an answer."""
        self.refresh()
        if not curated:
            return list(self._contents)
        return [
            content
            for turn in turns(self._contents)
            if turn[-1]["role"] == "model" and not calls_of(turn[-1])
            for content in turn
        ]

    def token_usage(self) -> TokenUsage:
        """Say how full the chat is."""
        self.refresh()
        usage = self._sent.usage or Usage()
        return TokenUsage(
            current=usage.prompt_tokens + usage.candidates_tokens, max=_token_limit(self.memory)
        )

    # -- changes

    def change(self, steps: Callable[[], Sequence[Any]]) -> None:
        """Become the writer, see what is there, and store steps that are made then."""
        self._enter()
        try:
            writer = self._writer()
            try:
                self._see(writer)
                if made := steps():
                    writer.append(made)
                    self._version = None
                    self._sent = Sent()
            finally:
                writer.release()
        finally:
            self._leave()

    def clear(self) -> None:
        """Remove all messages."""
        self.change(lambda: [Cut(0)] if self._contents else [])

    def undo(self) -> list[Content]:
        """Remove the last turn; return it."""
        removed: list[Content] = []

        def steps() -> Sequence[Any]:
            starts = turn_starts(self._contents)
            if not starts:
                return []
            removed.extend(self._contents[starts[-1] :])
            return [Cut(starts[-1])]

        self.change(steps)
        return removed

    def replace_with(self, messages: Sequence[StoredMessage]) -> None:
        """Put other messages in place of all."""
        added = [AddMessage(m.content, m.usage, m.finish_reason, created=m.created) for m in messages]
        self.change(lambda: [Cut(0), *added])

    def resolve(self, call_id: str, result: Any, *, retry: bool) -> None:
        """Say what became of a call that nobody knows of: its result, or that it may run again."""

        def steps() -> Sequence[Any]:
            entry = next((call for call in self._calls if call.call_id == call_id), None)
            if entry is None or entry.response is not None:
                known = [call.call_id for call in self._calls if call.response is None]
                raise ConfigurationError(f"No open call has the id {call_id!r}; open are {known}.")
            if retry:
                return [StartCalls([entry.index], started=False)]
            call = calls_of(self._contents[-1])[entry.index]
            context = Context(deps=None, call_id=call_id, tool_name=entry.name)
            outcome = succeed(Invocation(call, context), result)
            if outcome.error is not None:
                raise ConfigurationError(str(outcome.error))
            return [FinishCall(entry.index, outcome.part)]

        self.change(steps)

    def fork(self, at: int | None, id: str | None) -> Conversation:  # noqa: A002 - what it is
        """Make a session of the first `at` messages."""
        messages = self.messages()
        end = len(messages) if at is None else at
        if not 0 <= end <= len(messages) or end not in {
            0,
            len(messages),
            *turn_starts([m.content for m in messages]),
        }:
            starts = turn_starts([message.content for message in messages])
            raise ConfigurationError(
                f"fork(at={at}): a history may be cut at {[*starts, len(messages)]} only."
            )
        if end and calls_of(messages[end - 1].content):
            raise ConfigurationError("fork(): the last turn has open calls; finish it with resume() first.")
        info = self.info()
        made = Conversation(
            id,
            self.store,
            memory=self.memory,
            wait=self._wait,
            messages=messages[:end],
            model=info.model,
            instructions=info.instructions,
            title=info.title,
            parent=self.id,
        )
        made.create(exist_ok=False)
        return made


def _token_limit(memory: Memory | None) -> int | None:
    chain = memory.memories if isinstance(memory, Chain) else (memory,)
    return next((each.tokens for each in chain if isinstance(each, TokenBudget)), None)


def _as_messages(history: Sequence[Content]) -> list[StoredMessage]:
    now = time.time()
    return [StoredMessage(seq=seq, content=content, created=now) for seq, content in enumerate(history)]
