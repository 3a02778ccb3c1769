"""What a sync and an async chat have in common: one conversation in a store, and one send at a time."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from agentkit.core.approvals import is_unknown
from agentkit.core.effects import Sent, State
from agentkit.core.survey import Survey
from agentkit.drivers.threads import off_loop
from agentkit.errors import (
    AgentError,
    ConfigurationError,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreError,
)
from agentkit.events import Event
from agentkit.limits import Usage
from agentkit.memory.base import Memory
from agentkit.memory.combine import Chain, combine
from agentkit.memory.sizes import estimate
from agentkit.memory.tokens import TokenBudget
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    FinishCall,
    SaveResult,
    SessionInfo,
    SessionStore,
    SessionWriter,
    StartCalls,
    Step,
    StoredCall,
    StoredMessage,
    StoredResult,
    StoredSession,
)
from agentkit.stores.memory import MemoryStore
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import PendingCall
from agentkit.tooling.invoke import Invocation, succeed
from agentkit.wire.content import Content, Joined, JsonObject, calls_of, keep
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A session as it was at one instant; replaced as a whole, so that no thread sees a half of it."""

    version: int | None = None
    contents: Sequence[Content] = ()
    calls: Sequence[StoredCall] = ()
    sent: Sent = field(default_factory=Sent)
    summary: tuple[int, str] | None = None
    usage: Usage = field(default_factory=Usage)
    survey: Survey = field(default_factory=Survey)
    joined: Joined = field(default_factory=Joined)
    half: bool = False
    """Whether the last content is a reply that was no answer: cut off, or blocked in the midst of it."""

    @classmethod
    def of(cls, session: StoredSession) -> _Seen:
        last = next((message.usage for message in reversed(session.messages) if message.usage), None)
        return cls(
            version=session.info.version,
            contents=tuple(_made_by(message) for message in session.messages),
            calls=session.calls,
            sent=Sent(usage=last),
            summary=(session.summary.upto, session.summary.text) if session.summary else None,
            usage=session.info.usage,
            half=bool(session.messages) and _is_half(session.messages[-1]),
        )


class Conversation:
    """One session of a store, with what was last seen of it. All methods but `asend` and `acall` may block.

    Args:
        id: The session's; a new one by default.
        store: Where it is kept; by default in this object only.
        history: What a new session begins with.
        memory: What part of it is sent.
        wait: Seconds to wait for other writers. None: sends of this object wait for each other as long as it
            takes, and other writers are a `SessionConflict` at once.
        messages: What it begins with, times and usage included; instead of `history`.
        must_exist: Never make the session: whoever deleted it meant it.
        settings: Of a new session: model, instructions, title, expires, parent, results.
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
        must_exist: bool = False,
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
        self._must_exist = must_exist
        self._begun = False
        self._free = threading.Condition()
        self._holder: tuple[object, threading.Thread] | None = None
        self._alock = asyncio.Lock()
        self._atask: asyncio.Task[Any] | None = None
        self._seen = _Seen()

    @property
    def kept(self) -> bool:
        """Whether its store may outlive the process."""
        return not isinstance(self.store, MemoryStore)

    @property
    def usage(self) -> Usage:
        """Tokens of the whole chat, as last seen."""
        return self._seen.usage

    # -- sending

    def send(
        self, steps: Generator[Event, None, None], state: State, *, resume: bool
    ) -> Generator[Event, None, None]:
        """Hold the session from the first step of a send to its end, and keep what comes of it."""
        opened: list[SessionWriter] = []
        with self._turn() as deadline:
            try:
                self._open(opened, state, resume=resume, deadline=deadline)
                yield from steps
            except Exception:
                steps.close()
                with suppress(StoreError):  # what ended the send is told, not what came of it
                    self._close(opened, state, resume=resume)
                raise
            finally:
                steps.close()
                self._close(opened, state, resume=resume)

    async def asend(
        self, steps: AsyncGenerator[Event, None], state: State, *, resume: bool
    ) -> AsyncGenerator[Event, None]:
        """Do the same in an event loop, without blocking it."""
        opened: list[SessionWriter] = []
        async with self.aturn() as deadline:
            try:
                await self._aopen(opened, state, resume=resume, deadline=deadline)
                async with aclosing(steps):
                    async for event in steps:
                        yield event
            except Exception:
                with suppress(StoreError):
                    await off_loop(lambda: self._close(opened, state, resume=resume))
                raise
            finally:
                await steps.aclose()
                await off_loop(lambda: self._close(opened, state, resume=resume))

    async def _aopen(
        self, opened: list[SessionWriter], state: State, *, resume: bool, deadline: float
    ) -> None:
        """Open without a thread that waits: a cancellation is not kept waiting either."""
        pause = 0.005
        while True:
            try:
                return await off_loop(lambda: self._open(opened, state, resume=resume, deadline=0))
            except SessionConflict:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    @contextmanager
    def _turn(self) -> Iterator[float]:
        """Wait for this object's turn; give the time until when to wait for other writers."""
        deadline = time.monotonic() + (self._wait or 0)
        holder = threading.current_thread()
        token = object()
        try:
            with self._free:
                if self._holder is not None and self._holder[1] is holder:  # it would wait for itself
                    raise AgentError(_STREAMING)
                longest = None if self._wait is None else min(max(self._wait, 0), threading.TIMEOUT_MAX)
                if not self._free.wait_for(lambda: self._holder is None, longest):
                    raise self._busy()
                self._holder = (token, holder)
            yield deadline
        finally:
            with self._free:
                if self._holder is not None and self._holder[0] is token:
                    self._holder = None
                    self._free.notify()

    @asynccontextmanager
    async def aturn(self) -> AsyncIterator[float]:
        """Do the same in an event loop."""
        deadline = time.monotonic() + (self._wait or 0)
        for _ in range(3):  # a stream that was dropped is closed when the loop turns
            if self._atask is None or self._atask is not asyncio.current_task():
                break
            await asyncio.sleep(0)
        else:
            raise AgentError(_STREAMING)  # it would wait for itself
        if self._wait is not None and self._wait <= 0 and self._alock.locked():
            raise self._busy()
        try:
            async with asyncio.timeout(self._wait or None):
                await self._alock.acquire()
        except TimeoutError:
            raise self._busy() from None
        try:
            self._atask = asyncio.current_task()
            yield deadline
        finally:
            self._atask = None
            self._alock.release()

    def _busy(self) -> SessionConflict:
        return SessionConflict(f"The chat {self.id!r} is busy with another message; this one was not sent.")

    def _open(self, opened: list[SessionWriter], state: State, *, resume: bool, deadline: float) -> None:
        """Become the session's writer, look what is there, and let the run go on from it."""
        writer = self._writer(deadline)
        try:
            seen = self._see(writer)
            contents = seen.contents
            open_calls = bool(contents and calls_of(contents[-1]))
            if resume:
                if not contents:
                    raise AgentError(f"The chat {self.id!r} has nothing to resume: nothing was said yet.")
                state.contents[:] = contents
                if open_calls:
                    state.resumed, state.ledger = state.contents.pop(), seen.calls
                elif seen.half:
                    state.contents.pop()  # it is asked for again, and stays until there is another
                state.known = len(state.contents)
                state.started_with = turn_starts(contents)[-1]
            elif open_calls:
                raise AgentError(
                    f"The chat {self.id!r} has calls that are not answered yet: they wait for a decision (see "
                    "pending), or it broke off while they ran. Finish that first with resume(), or take it back "
                    "with undo()."
                )
            else:
                state.go_on_from(contents)
            state.sent, state.summary, state.survey = seen.sent, seen.summary, seen.survey.copy()
            state.joined = seen.joined
            state.journal = _replacing(len(contents) - 1, writer) if resume and seen.half else writer.append
            state.read_result = lambda key: self.store.result(self.id, key)
            opened.append(writer)
        except BaseException:
            writer.release()
            raise

    def _close(self, opened: list[SessionWriter], state: State, *, resume: bool) -> None:
        """Store what is not stored yet, see what is stored, and let others write; once."""
        if not opened:
            return
        writer = opened.pop()
        try:
            info = self.store.info(self.id)
            kept, steps = self._settle(info, state, resume=resume)
            if steps:
                writer.append(steps)
                info = self.store.info(self.id)
            whole = info.messages == len(state.contents) and not state.open
            self._seen = _Seen(
                version=info.version if whole else None,  # else it is read anew
                contents=tuple(state.contents),
                sent=state.sent if kept else self._seen.sent,
                summary=state.summary,
                usage=info.usage,
                survey=state.survey if kept and whole else Survey(),
                joined=state.joined,
                half=state.stop is not None
                and bool(state.contents)
                and state.contents[-1]["role"] == "model",
            )
        finally:
            state.journal = None
            writer.release()

    def _settle(self, info: SessionInfo, state: State, *, resume: bool) -> tuple[bool, list[Step]]:
        """Say whether a send is kept or, if nothing came of it, taken back; and what is still to be stored."""
        stored = info.messages
        said = any(content["role"] == "model" for content in state.contents[state.started_with :])
        kept = (
            state.open or said or resume or stored > len(state.contents)
        )  # calls that are stored may have run
        steps: list[Step] = []
        if state.open:
            pass  # the last turn stays as it is stored
        elif kept:
            steps += [AddMessage(content) for content in state.contents[stored:]]
        else:
            del state.contents[state.started_with :]
            if stored > state.started_with:
                steps.append(Cut(state.started_with))
        if (loose := state.loose_usage()) != Usage():
            steps.append(AddUsage(loose))
        return kept, steps

    def _writer(self, deadline: float) -> SessionWriter:
        wait = max(0.0, deadline - time.monotonic())
        if self._begins_with and not self._begun:
            self.create()
        try:
            return self.store.write(self.id, wait=wait)
        except SessionNotFound:
            if self._must_exist:
                raise
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

    def _see(self, writer: SessionWriter) -> _Seen:
        seen = self._seen
        if writer.info.version != seen.version:
            seen = self._seen = _Seen.of(writer.load())
        return seen

    # -- what there is

    def recall(self, other: Conversation) -> None:
        """Begin with what another object of this session saw last; if the session has changed, it is read anew."""
        self._seen = other._seen

    def look(self) -> _Seen:
        """See what is stored now."""
        try:
            if self.store.info(self.id).version != self._seen.version:
                self._seen = _Seen.of(self.store.load(self.id))
        except SessionNotFound:
            if self._must_exist:
                raise
            self._seen = _Seen(contents=tuple(message.content for message in self._begins_with))
        return self._seen

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
        contents = self.look().contents
        if calls_of(contents[-1]) if contents else False:
            contents = contents[:-1]  # open: not yet, or after a crash not any more, part of a valid history
        if not curated:
            return list(contents)
        return [
            content
            for turn in turns(contents)
            if turn[-1]["role"] == "model" and not calls_of(turn[-1])
            for content in turn
        ]

    def token_usage(self) -> TokenUsage:
        """Say how full the chat is."""
        seen = self.look()
        usage = seen.sent.usage or Usage()
        last = next(
            (n for n in reversed(range(len(seen.contents))) if seen.contents[n]["role"] == "model"), None
        )
        added = seen.contents[last + 1 :] if last is not None else seen.contents
        current = usage.prompt_tokens + usage.candidates_tokens + estimate(added, {})
        return TokenUsage(current=current, max=_token_limit(self.memory))

    def pending(self) -> list[PendingCall]:
        """List the calls that wait: for a decision, for their results, or to be resolved."""
        seen = self.look()
        if not (seen.contents and calls_of(seen.contents[-1])):
            return []
        calls = calls_of(seen.contents[-1])
        return [
            call for entry in seen.calls for call in _pending_in(entry, calls[entry.index].get("args") or {})
        ]

    # -- changes

    def change(self, steps: Callable[[_Seen], Sequence[Step]]) -> None:
        """Become the writer, see what is there, and store steps that are made of that."""
        with self._turn() as deadline:
            writer = self._writer(deadline)
            try:
                if made := steps(self._see(writer)):
                    writer.append(made)
                    self._seen = _Seen()  # it is read anew
            finally:
                writer.release()

    def clear(self) -> None:
        """Remove all messages."""
        self.change(lambda seen: [Cut(0)] if seen.contents else [])

    def undo(self) -> list[Content]:
        """Remove the last turn; return it."""
        removed: list[Content] = []

        def steps(seen: _Seen) -> Sequence[Step]:
            starts = turn_starts(seen.contents)
            if not starts:
                return []
            removed.extend(seen.contents[starts[-1] :])
            return [Cut(starts[-1])]

        self.change(steps)
        return removed

    def replace_with(self, messages: Sequence[StoredMessage], results: Sequence[StoredResult] = ()) -> None:
        """Put other messages in place of all, with results that belong to them."""
        saved: dict[int, list[Step]] = {}
        for result in results:
            saved.setdefault(result.seq, []).append(SaveResult(result.id, result.text))
        steps: list[Step] = [Cut(0)]
        for m in messages:
            steps += saved.get(m.seq, ())
            steps.append(AddMessage(m.content, m.usage, m.finish_reason, created=m.created))
        self.change(lambda _: steps)

    def resolve(self, call_id: str, result: Any, *, retry: bool) -> None:
        """Say what became of a call that nobody knows of: its result, or that it may run again."""

        def steps(seen: _Seen) -> Sequence[Step]:
            unknown = {call.call_id: call for call in seen.calls if call.started and call.response is None}
            entry = unknown.get(call_id)
            if entry is None:
                raise ConfigurationError(f"No open call has the id {call_id!r}; open are {list(unknown)}.")
            if retry:
                return [StartCalls([entry.index], started=False)]
            call = calls_of(seen.contents[-1])[entry.index]
            context = Context(deps=None, call_id=call_id, tool_name=entry.name)
            outcome = succeed(Invocation(call, context), result)
            if outcome.error is not None:
                raise ConfigurationError(str(outcome.error))
            kept = [] if outcome.whole is None else [SaveResult(call_id, outcome.whole)]
            return [*kept, FinishCall(entry.index, outcome.part)]

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
        info, results = self.info(), self.store.results(self.id)
        made = Conversation(
            id,
            self.store,
            memory=self.memory,
            wait=self._wait,
            messages=messages[:end],
            results=[result for result in results if result.seq < end],
            model=info.model,
            instructions=info.instructions,
            title=info.title,
            parent=self.id,
        )
        made.create(exist_ok=False)
        return made


def _is_half(message: StoredMessage) -> bool:
    whole = message.finish_reason in (None, "STOP", "FINISH_REASON_UNSPECIFIED")
    return message.content["role"] == "model" and not calls_of(message.content) and not whole


def _replacing(seq: int, writer: SessionWriter) -> Callable[[Sequence[Step]], None]:
    """Make a journal that puts the first thing it stores in the place of a message."""
    left: list[Step] = [Cut(seq)]

    def journal(steps: Sequence[Step]) -> None:
        if steps:
            writer.append([*left, *steps])
            left.clear()

    return journal


def _made_by(message: StoredMessage) -> Content:
    """Note which model made a content, as far as its usage tells: its signatures are for that one only."""
    models = {used.model for used in message.usage.by_model} if message.usage else set()
    return keep(message.content, model=models.pop() if len(models) == 1 else None)


def _pending_in(entry: StoredCall, args: JsonObject) -> list[PendingCall]:
    if entry.response is not None:
        return []
    if entry.deferred is not None and not is_unknown(entry):
        nested = [PendingCall.from_wire(call) for call in entry.deferred["pending"]]
        why, args = entry.deferred["why"], entry.deferred.get("args") or args
        own = PendingCall(call_id=entry.call_id, name=entry.name, args=args, kind="deferred", why=why)
        return nested or [own]
    if entry.started and entry.effect == "read":
        return []
    kind: Literal["approval", "unknown_effect"] = "unknown_effect" if entry.started else "approval"
    return [PendingCall(call_id=entry.call_id, name=entry.name, args=args, kind=kind)]


def _token_limit(memory: Memory | None) -> int | None:
    chain = memory.memories if isinstance(memory, Chain) else (memory,)
    return next((each.tokens for each in chain if isinstance(each, TokenBudget)), None)


def _as_messages(history: Sequence[Content]) -> list[StoredMessage]:
    now = time.time()
    return [StoredMessage(seq=seq, content=content, created=now) for seq, content in enumerate(history)]
