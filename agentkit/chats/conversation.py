"""What a sync and an async chat have in common: one conversation, and one send at a time."""

from __future__ import annotations

import asyncio
import copy
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agentkit.chats import runs
from agentkit.chats.changing import Changing
from agentkit.chats.given import Given, given_of
from agentkit.chats.own_session import OwnSession, SessionWriter
from agentkit.chats.pending import pending_in
from agentkit.chats.runs import Journal, Seen
from agentkit.chats.token_usage import TokenUsage, has_counted, token_usage
from agentkit.core.history import History
from agentkit.core.resuming import Sending
from agentkit.core.state import RunState
from agentkit.drivers.threads import off_loop
from agentkit.errors import ConfigurationError, SessionConflict, SessionExists, SessionNotFound, StoreError
from agentkit.events import Event
from agentkit.limits import Usage
from agentkit.memory.base import Memory
from agentkit.memory.combine import combine
from agentkit.stores.archive import to_archive
from agentkit.stores.base import (
    DamagedMessage,
    Message,
    SessionInfo,
    SessionSettings,
    StoredCall,
    StoredResult,
    StoredSession,
)
from agentkit.stores.message import copies_of
from agentkit.stores.turns import TURNS, Turn
from agentkit.tooling.decisions import PendingCall
from agentkit.wire.content import Content, JsonObject, calls_of, copy_content
from agentkit.wire.history import ends_turn, starts_turn, turn_starts, turns

if TYPE_CHECKING:
    from agentkit.stores.store import SessionStore

T = TypeVar("T")
Restart = Callable[[Mapping[str, Any]], None]
_SLICE = 0.25
"""Seconds for which a thread may wait for another process, in async: a cancellation waits for its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Send:
    """A send that is under way."""

    writer: SessionWriter
    resume: bool
    """Whether it goes on with what is there."""
    journal: Journal | None
    """Stores its steps; None if it only says again what was answered before."""
    given: Given | None
    """What its message is given."""


class Conversation:
    """One session, with what was last seen of it. All methods but `asend` and `achange` may block.

    Args:
        id: The session's; a new one by default.
        store: Where it is kept; by default in this object.
        history: What a new session begins with.
        memory: What part of it is sent.
        wait: Seconds to wait for other writers. None: those of this process are waited for as long as it takes,
            and those of others are a `SessionConflict` at once.
        messages: What it begins with, times and usage included; instead of `history`.
        results: What belongs to these.
        state: What `chat.state` begins with.
        calls: The ledger, if the last of the messages has calls that wait.
        must_exist: Never make the session: whoever deleted it meant it.
        settings: Of a new session: model, instructions, title, expires, parent.
    """

    def __init__(
        self,
        id: str | None = None,
        store: SessionStore | None = None,
        *,
        history: Sequence[Message] = (),
        memory: Memory | Iterable[Memory] | None = None,
        wait: float | None = None,
        messages: Sequence[Message] | None = None,
        results: Sequence[StoredResult] = (),
        state: JsonObject | None = None,
        calls: Sequence[StoredCall] = (),
        must_exist: bool = False,
        **settings: Any,
    ) -> None:
        if id is not None and not str(id).strip():
            raise ConfigurationError(f"chat(id={id!r}): an id is a text with something in it.")
        self.id = id or uuid.uuid4().hex
        self.store: SessionStore | OwnSession = OwnSession() if store is None else store
        self.memory = None if memory is None else combine(memory)
        self._begins_with = list(messages) if messages is not None else _as_messages(history)
        self._begins_with_more: dict[str, Any] = {"results": results, "state": state, "calls": calls}
        self._settings = cast(SessionSettings, settings)
        self._wait = wait
        self.must_exist = must_exist
        self._seen = Seen()
        self._given: Given | None = None

    @property
    def kept(self) -> bool:
        """Whether a store has it: somebody else may open it, and decide. A store may block, too."""
        return not isinstance(self.store, OwnSession)

    @property
    def usage(self) -> Usage:
        """Tokens of the whole chat, as last seen."""
        return self._seen.usage

    async def run_off_loop(self, function: Callable[[], T]) -> T:
        """Call a function in a thread if it may block, else here."""
        return await off_loop(function) if self.kept else function()

    # -- sending

    def send(
        self,
        steps: Generator[Event, None, None],
        state: RunState,
        sending: Sending,
        restart: Restart,
        *,
        resume: bool,
    ) -> Generator[Event, None, None]:
        """Hold the session from the first step of a send to its end, and keep what comes of it.

        Args:
            steps: The run's.
            state: The run's.
            sending: What is said about this send alone.
            restart: Sets the run up anew, with other options.
            resume: Whether it goes on with what is there.
        """
        opened: list[_Send] = []
        with self._turn(sending.wait) as (turn, left):
            try:
                writer = self._writer(turn, left(), sending.id, resume=resume)
                self._open(opened, state, writer, sending, restart, resume=resume)
                if not state.setup.streamed:
                    with turn.running():
                        yield from steps
                while state.setup.streamed:
                    with (
                        turn.running()
                    ):  # not while the caller has the event: what that starts isn't the run's
                        event = next(steps, None)
                    if event is None:
                        break
                    yield event
            except GeneratorExit:  # closed: nothing else is told
                raise
            except BaseException:
                steps.close()
                with suppress(StoreError):  # what ended the send is told, not what came of it
                    self._close(opened, state)
                raise
            finally:
                with turn.running():
                    steps.close()
                self._close(opened, state)

    async def asend(
        self,
        steps: AsyncGenerator[Event, None],
        state: RunState,
        sending: Sending,
        restart: Restart,
        *,
        resume: bool,
    ) -> AsyncGenerator[Event, None]:
        """Do the same in an event loop, without blocking it."""
        opened: list[_Send] = []

        def open_now(turn: Turn) -> None:
            writer = self._writer(turn, 0, sending.id, resume=resume)
            self._open(opened, state, writer, sending, restart, resume=resume)

        async with self._aturn(sending.wait) as (turn, left):
            try:
                await self._until_free(left, lambda: open_now(turn))
                if not state.setup.streamed:
                    with turn.running():
                        async for told in steps:
                            yield told
                while state.setup.streamed:
                    with turn.running():
                        event = await anext(steps, None)
                    if event is None:
                        break
                    yield event
            except GeneratorExit:
                raise
            except BaseException:
                with suppress(StoreError):
                    await self.run_off_loop(lambda: self._close(opened, state))
                raise
            finally:
                with turn.running():
                    await steps.aclose()
                await self.run_off_loop(lambda: self._close(opened, state))

    def _open(
        self,
        opened: list[_Send],
        state: RunState,
        writer: SessionWriter,
        sending: Sending,
        restart: Restart,
        *,
        resume: bool,
    ) -> None:
        """Look what is there, and let the run go on from it."""
        try:
            seen = self.see(writer)
            sent, repeats = writer.sent, False
            if sent is not None:  # again: from where it is, or what was answered, if the chat has gone on
                repeats = turn_starts(seen.contents)[-1] != sent
                resume = True
            if repeats and sent is not None:
                runs.repeat(state, seen, sent)
                given, journal, store = None, None, runs.refuse(self.id)
            else:
                given = self._give(seen, state, sending, restart, resume=resume)
                (runs.go_on if resume else runs.begin)(state, seen, self.id, given.written)
                journal = store = Journal(writer, seen, given.note, resume=resume, sender_id=sending.id)
            runs.connect(state, store, lambda key: self.store.result(self.id, key), blocks=self.kept)
            opened.append(_Send(writer=writer, resume=resume, journal=journal, given=given))
        except BaseException:
            writer.release()
            raise

    def _give(
        self, seen: Seen, state: RunState, sending: Sending, restart: Restart, *, resume: bool
    ) -> Given:
        """Say what a message is given, and let its run go on with that.

        Raises:
            ConfigurationError: It was given something that was not written down, and has to be given again.
            StoreError: What is stored of it is damaged.
        """
        said, merged = sending.given, sending.merged
        if not resume or not seen.contents:
            return Given.now(said, len(seen.contents))
        at = turn_starts(seen.contents)[-1]
        written, given = seen.history.messages[at].given, self._given
        if merged is None:  # the run that is resumed knows all that its message was given
            return Given.anew(state.setup.given, at, written, noted=bool(said))
        if given is None or not given.is_of(at, written):
            given = given_of(written, at, self.id)
        again = given.again(at, said, merged(said))
        if given.options:
            restart(merged(again.options))
        return again

    def _close(self, opened: list[_Send], state: RunState) -> None:
        """Store what is not stored yet, see what is stored, and let others write; once."""
        if not opened:
            return
        send = opened.pop()
        writer = send.writer
        try:
            if send.journal is None:
                return
            kept, steps = runs.settle(state, send.journal, writer.info, self._seen, resume=send.resume)
            if steps:
                try:
                    writer.append(steps, release=True)
                except StoreError:  # an answer may be among them: once more, and it failed all the same
                    with suppress(StoreError):
                        writer.append(steps, release=True)
                    raise
            info = writer.info
            self._seen = runs.see_end(state, info, self._seen, kept=kept)
            if send.given is not None and (send.journal.note is None or send.journal.note in steps):
                self._given = send.given  # else nothing was done, and what was given before holds
                self._given.end = info.messages
        finally:
            runs.disconnect(state)
            writer.release()

    def look_ahead(self, state: RunState) -> None:
        """Let a run begin that is not to be sent: the session stays as it is."""
        runs.begin(state, self.look(), self.id)

    # -- one at a time

    @contextmanager
    def _turn(
        self, wait: float | None, *, change: bool = False
    ) -> Iterator[tuple[Turn, Callable[[], float]]]:
        """Wait for the turn among this process's writers; give it, and what says how long to wait for others."""
        key = self._refuse_itself(change=change)
        wait, left = self._deadline(wait)
        turn = TURNS.enter(key, wait)
        if turn is None:
            raise self._busy()
        try:
            yield turn, left
        finally:
            TURNS.leave(turn)

    @asynccontextmanager
    async def _aturn(
        self, wait: float | None, *, change: bool = False
    ) -> AsyncIterator[tuple[Turn, Callable[[], float]]]:
        """Do the same in an event loop."""
        for _ in range(3):  # a stream that was dropped is closed when the loop turns
            with suppress(SessionConflict):
                key = self._refuse_itself(change=change)
                break
            await asyncio.sleep(0)
        else:
            key = self._refuse_itself(change=change)
        wait, left = self._deadline(wait)
        turn = await TURNS.aenter(key, wait)
        if turn is None:
            raise self._busy()
        try:
            yield turn, left
        finally:
            TURNS.leave(turn)

    def _refuse_itself(self, *, change: bool) -> tuple[Any, str]:
        """Raise SessionConflict if whoever has the turn is who asks, or may be; return the key of the turn.

        A thread that a tool started by itself knows nothing of the run, and can't be told from anybody else's. Did its
        change wait, the tool might wait for it, and what the run said would be gone after its end.
        """
        key = (self.store.identity, self.id)
        if (holder := TURNS.holder(key)) is not None:
            holder.refuse_holder()
            if change and holder.runs and self._wait is None:
                raise SessionConflict(
                    f"The chat {self.id!r} is answering a message, in this process. Nothing was changed; do it when "
                    "the run has ended, or open the chat with `wait=` seconds."
                )
        return key

    def _deadline(self, wait: float | None) -> tuple[float | None, Callable[[], float]]:
        wait = self._wait if wait is None else wait
        until = time.monotonic() + (wait or 0)
        return wait, lambda: max(0.0, until - time.monotonic())

    def _busy(self) -> SessionConflict:
        return SessionConflict(
            f"The chat {self.id!r} is busy with another message, in this process; this one was not sent. Give `wait=` "
            "more seconds to wait for it."
        )

    def _writer(self, turn: Turn, wait: float, sender_id: str | None, *, resume: bool) -> SessionWriter:
        """Become the writer for a send, which makes the session if it may not be there yet."""
        try:
            return self.write(turn, wait, sender_id, create=not resume)
        except SessionNotFound:
            if resume and not self.must_exist:
                raise runs.nothing_to_resume(self.id) from None
            raise

    def write(
        self,
        turn: Turn,
        wait: float,
        sender_id: str | None = None,
        *,
        create: bool = False,
        read: bool = True,
    ) -> SessionWriter:
        """Become the session's writer; `read`: who comes with the session, if it isn't as it was last seen."""
        if self._begins_with and not self.must_exist:
            self.create()
            create = False
        writer = self.store.write(
            self.id,
            wait=wait,
            create=self._settings if create and not self.must_exist else None,
            seen=(-1 if self._seen.version is None else self._seen.version) if read else None,
            sender_id=sender_id,
            turn=turn,
        )
        self.must_exist = True  # whoever deletes it from now on means it
        return writer

    def create(self, *, exist_ok: bool = True) -> None:
        """Make the session; `exist_ok`: if it isn't there yet, or has nothing to begin with."""
        try:
            self.store.create(self.id, messages=self._begins_with, **self._begins_with_more, **self._settings)
        except SessionExists as error:
            if not exist_ok:
                raise
            if self._begins_with:
                raise SessionExists(f"{error} To go on with it, leave out history=.") from None
        self.must_exist = True

    def see(self, writer: SessionWriter) -> Seen:
        """See what the writer has found."""
        if (session := writer.session) is not None:
            self._seen = Seen.of(session)
        return self._seen

    def forget(self, left: Seen | None = None) -> None:
        """Read anew what is stored, the next time that somebody asks, unless it is known what a change has left."""
        self._seen, self._given = left or Seen(), None

    def seen_at(self, version: int) -> Seen | None:
        """Return what was seen of the session, if that was at this version."""
        return self._seen if self._seen.version == version else None

    # -- what there is: reading makes nothing

    def recall(self, other: Conversation) -> None:
        """Begin with what another object of this session saw last; if the session has changed, it is read anew."""
        self._seen, self._given = other._seen, other._given

    def look(self) -> Seen:
        """See what is stored now."""
        return self.look_back(None)

    def look_back(self, enough: Callable[[Sequence[Message]], bool] | None = bool) -> Seen:
        """See what is stored now, but of the messages the last turns only: as many as are enough."""

        def stored() -> Seen:
            info = self.store.info(self.id)
            self.must_exist = True
            if info.version == self._seen.version:
                return self._seen
            seen, whole = runs.see(lambda start: self.store.load(self.id, start=start), info.messages, enough)
            self._seen = seen if whole else self._seen
            return seen

        return self._read(stored, self._begin)

    def _begin(self) -> Seen:
        self._seen = Seen(history=History(self._begins_with), state=self._begins_with_more["state"] or {})
        return self._seen

    def _read(self, stored: Callable[[], T], begins_with: Callable[[], T]) -> T:
        """Read what is stored or, of a session that isn't there yet, what it would begin with."""
        try:
            return stored()
        except SessionNotFound:
            if self.must_exist:
                raise
            return begins_with()

    def messages(self, start: int = 0, end: int | None = None) -> list[Message]:
        """Read messages, with what is known about them."""
        return _copied(self.load(start, end).messages)

    def load(self, start: int = 0, end: int | None = None) -> StoredSession:
        """Read the session; of one that isn't there yet, what it would begin with."""
        return self._read(
            lambda: self.store.load(self.id, start=start, end=end),
            lambda: StoredSession(
                info=self._info_of_new(),
                messages=self._begins_with[start:end],
                own=self._begins_with_more["state"] or {},
            ),
        )

    def info(self) -> SessionInfo:
        """Read what is known of the session; of one that isn't there yet, what it would begin with."""
        return self._read(lambda: self.store.info(self.id), self._info_of_new)

    def _info_of_new(self) -> SessionInfo:
        now, count = time.time(), len(self._begins_with)
        return SessionInfo(id=self.id, created=now, updated=now, messages=count, **self._settings)

    def results(self) -> Sequence[StoredResult]:
        """Read the whole texts that the messages have parts of."""
        return self._read(lambda: self.store.results(self.id), list)

    def state(self) -> JsonObject:
        """Return a copy of the chat's state."""
        return copy.deepcopy(self.look_back().state)

    def archive(self) -> JsonObject:
        """Make the JSON of the session; see `to_archive`."""
        session = self.load()
        return to_archive(session.info, session.messages, self.results(), session.state, session.calls)

    def contents(self, *, curated: bool) -> list[Content]:
        """Return a copy of what was said; `curated`: without the turns that ended without an answer."""
        try:
            messages: Sequence[Message] = self.look().history.messages
        except DamagedMessage:
            raise
        except StoreError:  # of the ledger or the state: what was said is sound
            messages = self.messages()
        # Open calls are not yet, or after a crash not any more, part of a valid history.
        is_open = bool(messages) and bool(calls_of(messages[-1].content))
        contents = copies_of(messages[:-1] if is_open else messages)
        if not curated:
            return contents
        return [content for turn in turns(contents) if ends_turn(turn[-1]) for content in turn]

    def token_usage(self) -> TokenUsage:
        """Say how full the chat is."""
        return token_usage(self.look_back(has_counted), self.memory)

    def pending(self) -> list[PendingCall]:
        """List the calls that wait: for a decision, for their results, or to be resolved."""
        seen = self.look_back()
        return pending_in(seen.contents[-1], seen.calls) if seen.has_open_calls else []

    # -- changes

    def change(self, function: Callable[[Changing], T]) -> T:
        """Wait for the turn, and change the session."""
        with self._turn(None, change=True) as (turn, left):
            return function(Changing(self, turn, left()))

    async def achange(self, function: Callable[[Changing], T]) -> T:
        """Do the same in an event loop, without blocking it."""
        async with self._aturn(None, change=True) as (turn, left):
            return await self._until_free(left, lambda: function(Changing(self, turn, 0)))

    async def _until_free(self, left: Callable[[], float], function: Callable[[], T]) -> T:
        """Call a function that becomes the writer, again and again while another process is, and there is time left.

        No thread waits for long: a cancellation isn't kept waiting either.
        """
        while True:
            try:
                return await self.run_off_loop(function)
            except SessionConflict:
                if left() <= 0:
                    raise
            await self.run_off_loop(lambda: self.store.wait(self.id, min(left(), _SLICE)))

    def fork(self, at: int | None, id: str | None) -> Conversation:
        """Make a session of the first `at` messages."""
        if at is not None and not self._is_whole(at, count := self.info().messages):
            starts = turn_starts(self.look().contents)
            raise ConfigurationError(f"fork(at={at}): a history may be cut at {[*starts, count]} only.")
        session = self.load(end=at)
        info, messages = session.info, _copied(session.messages)
        if messages and calls_of(messages[-1].content):
            raise ConfigurationError("fork(): the last turn has open calls; finish it with resume() first.")
        made = Conversation(
            id,
            None if isinstance(self.store, OwnSession) else self.store,
            memory=self.memory,
            wait=self._wait,
            messages=messages,
            results=[result for result in self.results() if result.seq < len(messages)],
            state=session.state,
            model=info.model,
            instructions=info.instructions,
            title=info.title,
            parent=self.id,
        )
        made.create(exist_ok=False)
        return made

    def _is_whole(self, end: int, messages: int) -> bool:
        """Return whether the first messages are a history of whole turns; a damaged one may follow."""
        if end in (0, messages):
            return True
        if not 0 <= end <= messages:
            return False
        try:
            return starts_turn(self.messages(end, end + 1)[0].content)
        except DamagedMessage:
            return ends_turn(self.messages(end - 1, end)[0].content)


def _copied(messages: Sequence[Message]) -> list[Message]:
    return [replace(message, content=copy_content(message.content)) for message in messages]


def _as_messages(history: Sequence[Message]) -> list[Message]:
    now = time.time()
    return [replace(message, created=now) for message in history]
