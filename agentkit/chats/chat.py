"""A conversation that remembers what was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from typing_extensions import TypeVar, Unpack

from agentkit.chats.changing import Changing
from agentkit.chats.conversation import Conversation
from agentkit.chats.token_usage import TokenUsage
from agentkit.core.options import going_on
from agentkit.core.resuming import Resume, Sending
from agentkit.drivers.threads import off_loop
from agentkit.errors import ConfigurationError
from agentkit.limits import Usage
from agentkit.output import AS_GIVEN, OutputType
from agentkit.run import AsyncRunStream, Run, RunStream
from agentkit.stores.archive import read_archive, write_archive
from agentkit.stores.base import Message, SessionInfo
from agentkit.tooling.context import Deps
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.arguments import checked, refuse_copy
from agentkit.wire.content import Content, copy_content
from agentkit.wire.convert import UserInput

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.core.options import RunOptions

T = TypeVar("T")
Out = TypeVar("Out", default=Any)

_UNSAID: Any = object()


def _said(result: Any, *, retry: bool) -> Any:
    if (result is _UNSAID) is not retry:
        raise ConfigurationError(
            "resolve(): give either the call's result=..., or retry=True if it took no effect."
        )
    return result


class _BaseChat(Generic[Deps]):
    def __init__(
        self, agent: Agent[Deps], conversation: Conversation, *, deps: Deps | None = None, **options: Any
    ) -> None:
        self._agent = agent
        self._conversation = conversation
        self._deps = deps
        self._options = {name: value for name, value in options.items() if value is not None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self._agent!r})"

    @property
    def id(self) -> str:
        """The session's id: `agent.chat(id, store=...)` goes on with it, in any process."""
        return self._conversation.id

    @property
    def usage(self) -> Usage:
        """Tokens of the whole chat, as of the last message or the last look at its history."""
        return self._conversation.usage

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy(self, "fork() copies what was said; elsewhere, go on with agent.chat(chat.id, store).")

    def _sending(
        self, options: RunOptions[Deps], output: Any, id: str | None = None, wait: float | None = None
    ) -> Sending:
        return Sending.of(options, output, merged=self._merged, id=id, wait=wait)

    def _merged(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run is given by the chat and, over that, for itself."""
        return going_on({"deps": self._deps, **self._options}, given)


@checked
class Chat(_BaseChat[Deps]):
    """A conversation. Each message is sent with everything said before, or with what the memory chooses.

    If a message fails or is cut off before the model has said anything complete, nothing of it stays. If it is cut off
    later, its complete steps stay, and unfinished calls are answered as cancelled. One message is sent at a time; see
    `Agent.chat` for what happens to a second one.

    In a store, every step is kept as it happens: the user's message, each reply, each call before it runs, each
    response. After a crash, `resume` continues from there.
    """

    def send_message(
        self,
        message: UserInput,
        *,
        output: OutputType[Out] = None,
        id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]:
        """Send a message and return the run that answers it; see `Agent.run`.

        Args:
            message: The message.
            output: The type of the answer.
            id: The sender's own id for the message, which the chat accepts once. Sent again, the last message
                continues where it stopped; an earlier one returns its answer, and nothing is sent.
            wait: Seconds to wait for other writers, instead of the chat's; see `Agent.chat`.
            options: Options of the run.

        Raises:
            SessionConflict: Another writer has this session; nothing was sent.
            StoreError: The store can't be written; what it has is intact.
            HistoryError: Calls of the chat wait for a decision, or it was interrupted while they ran: resume it first.
        """
        return self._stream(message, self._sending(options, output, id, wait), stream=False).drain()

    def send_message_stream(
        self,
        message: UserInput,
        *,
        output: OutputType[Out] = None,
        id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> RunStream[Out]:
        """Send a message and report what happens as it happens; see `send_message` and `Agent.stream`."""
        return self._stream(message, self._sending(options, output, id, wait), stream=True)

    def resume(
        self,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]:
        """Continue the last message after an approval, a deferred tool, a limit, a fault or a crash.

        The calls that need a decision are in `pending`. `decisions` has `Approve()`, `Deny(why)`, `Edit(args)` or
        `Result(value)` for each, by `call_id`. Calls without a decision stay pending.

        Finished calls are not run again, and calls that had not started are run. If the process ended while calls were
        in progress, those of `read` tools run again. Others don't: nobody knows whether they took effect, so the run
        stops with `stop="unknown_effect"` and they are in `pending`. Call `resolve` for each, and resume again. A
        `write` tool therefore runs at most once per call unless you decide otherwise, and a `read` tool at least once.
        `ctx.call_id` stays the same: pass it on as an idempotency key. If the last message has its answer already,
        nothing is sent.

        The settings that the message was given still apply, also in another process, unless you give others now.

        Raises:
            ConfigurationError: A decision fits no pending call, or the message was given something that can't be
                stored and must be given again. Nothing was done and nothing is lost.
        """
        sending = self._sending(options, output, wait=wait)
        return self._stream(None, sending, stream=False, resume=Resume(decisions or {})).drain()

    def resume_stream(
        self,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> RunStream[Out]:
        """Continue the last message, and report what happens; see `resume` and `Agent.stream`."""
        sending = self._sending(options, output, wait=wait)
        return self._stream(None, sending, stream=True, resume=Resume(decisions or {}))

    @property
    def pending(self) -> list[PendingCall]:
        """The calls that need a decision before the chat can continue, as in `run.pending`.

        They are read from the store, so another process sees them too.
        """
        return self._conversation.pending()

    def resolve(self, call_id: str, *, result: Any = _UNSAID, retry: bool = False) -> None:
        """Decide a call in `run.pending` whose effect is unknown (`stop="unknown_effect"`).

        Args:
            call_id: The id of the pending call.
            result: What the tool returned, or would have returned.
            retry: True if the call took no effect, so that `resume` may run it.

        Raises:
            ConfigurationError: No open call has this id, or not exactly one of `result` and `retry` is given.
        """
        value = _said(result, retry=retry)
        self._conversation.change(lambda chat: chat.resolve(call_id, value, retry=retry))

    def get_history(self, *, curated: bool = False) -> list[Content]:
        """Return a copy of the history, valid for the server.

        Calls that are in progress, or were when the process ended, are left out until they have their responses.

        Args:
            curated: Leave out turns that ended without an answer, as the SDK's own chat does.
        """
        return self._conversation.contents(curated=curated)

    def get_messages(self, start: int = 0, end: int | None = None) -> list[Message]:
        """Return the messages (`[start:end]` of them), with what is known about each."""
        return self._conversation.messages(start, end)

    @property
    def state(self) -> Mapping[str, Any]:
        """The chat's state: a JSON object of your own (a cart, preferences), kept with its messages.

        Assign to it to change it. It is forked, exported and saved with the messages. `undo` and `clear` restore what
        it was before the messages that they remove.
        """
        return MappingProxyType(self._conversation.state())

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._conversation.change(lambda chat: chat.set_state(state))

    @property
    def token_usage(self) -> TokenUsage:
        """How full the chat is: current, maximum and remaining tokens."""
        return self._conversation.token_usage()

    def count_tokens(
        self,
        message: UserInput,
        *,
        output: OutputType[Any] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> int:
        """Count the tokens that `send_message` would send first, and leave the chat unchanged.

        Counts what the memory would send, but makes no new summary for it. See `Agent.count_tokens`.

        Raises:
            HistoryError: Calls of the chat wait for a decision, or it was interrupted while they ran: resume it first.
        """
        merged: Any = self._merged({**options})
        return self._agent._count(message, merged, output, self._conversation)

    def clear(self) -> None:
        """Delete all messages."""
        self._conversation.change(lambda chat: chat.clear())

    def undo(self) -> list[Content]:
        """Remove the user's last message and everything after it; return the contents removed."""
        return [copy_content(content) for content in self._conversation.change(lambda chat: chat.undo())]

    def fork(self, *, at: int | None = None, id: str | None = None) -> Chat[Deps]:
        """Create a separate chat that starts with this one's messages.

        Args:
            at: How many messages to copy, up to the beginning of a turn; all by default.
            id: The new chat's id; a new one by default.
        """
        return Chat(self._agent, self._conversation.fork(at, id), deps=self._deps, **self._options)

    def save(self, file: str | Path) -> None:
        """Write the chat to a file as JSON: all of it or, if that fails, nothing.

        Pending calls are included. If two chats have the same ones, resume only one of them: nothing keeps the other
        from running them again.

        Raises:
            StoreError: The file can't be written; an existing file is unchanged.
        """
        write_archive(Path(file), self._conversation.archive())

    def load(self, file: str | Path) -> None:
        """Replace this chat's messages with those that `save` wrote.

        Raises:
            StoreError: The file can't be read, isn't a chat or is damaged; `StoreVersionError` if it is newer. Nothing
                was changed.
        """
        archived = read_archive(Path(file))
        self._conversation.change(lambda chat: chat.replace_with(archived))

    @property
    def info(self) -> SessionInfo:
        """What is known about the session. If it isn't stored yet, what it would start with."""
        return self._conversation.info()

    def _stream(
        self,
        message: UserInput,
        sending: Sending,
        *,
        stream: bool,
        resume: Resume | None = None,
    ) -> RunStream[Any]:
        options: Any = self._merged(sending.given)
        output, chat = options.pop("output", AS_GIVEN), self._conversation
        return self._agent._stream(
            message, options, output, stream=stream, conversation=chat, resume=resume, sending=sending
        )


@checked
class AsyncChat(_BaseChat[Deps]):
    """A conversation for async callers; see `Chat`, whose methods these are. The store never blocks the event loop.

    Its sends wait for each other, and for those of others in this process, without a thread.
    """

    async def send_message(
        self,
        message: UserInput,
        *,
        output: OutputType[Out] = None,
        id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]:
        """Send a message and return the run that answers it; see `Chat.send_message`."""
        sending = self._sending(options, output, id, wait)
        async with self._stream(message, sending, stream=False) as events:
            return await events.drain()

    def send_message_stream(
        self,
        message: UserInput,
        *,
        output: OutputType[Out] = None,
        id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncRunStream[Out]:
        """Send a message and report what happens as it happens; see `send_message` and `Agent.stream`."""
        return self._stream(message, self._sending(options, output, id, wait), stream=True)

    async def resume(
        self,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]:
        """Continue the last message; see `Chat.resume`."""
        sending = self._sending(options, output, wait=wait)
        async with self._stream(None, sending, stream=False, resume=Resume(decisions or {})) as events:
            return await events.drain()

    def resume_stream(
        self,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncRunStream[Out]:
        """Continue the last message, and report what happens; see `Chat.resume_stream`."""
        sending = self._sending(options, output, wait=wait)
        return self._stream(None, sending, stream=True, resume=Resume(decisions or {}))

    async def get_pending(self) -> list[PendingCall]:
        """Return the calls that need a decision; see `Chat.pending`."""
        return await self._read(lambda chat: chat.pending())

    async def resolve(self, call_id: str, *, result: Any = _UNSAID, retry: bool = False) -> None:
        """Decide a call whose effect is unknown; see `Chat.resolve`."""
        value = _said(result, retry=retry)
        await self._change(lambda chat: chat.resolve(call_id, value, retry=retry))

    async def get_history(self, *, curated: bool = False) -> list[Content]:
        """Return a copy of the history; see `Chat.get_history`."""
        return await self._read(lambda chat: chat.contents(curated=curated))

    async def get_messages(self, start: int = 0, end: int | None = None) -> list[Message]:
        """Return the messages, with what is known about each; see `Chat.get_messages`."""
        return await self._read(lambda chat: chat.messages(start, end))

    async def get_state(self) -> Mapping[str, Any]:
        """Return the chat's state; see `Chat.state`."""
        return MappingProxyType(await self._read(lambda chat: chat.state()))

    async def set_state(self, state: Mapping[str, Any]) -> None:
        """Replace the chat's state; see `Chat.state`."""
        await self._change(lambda chat: chat.set_state(state))

    async def get_info(self) -> SessionInfo:
        """Return what is known about the session; see `Chat.info`."""
        return await self._read(lambda chat: chat.info())

    async def get_token_usage(self) -> TokenUsage:
        """Return how full the chat is; see `Chat.token_usage`."""
        return await self._read(lambda chat: chat.token_usage())

    async def count_tokens(
        self,
        message: UserInput,
        *,
        output: OutputType[Any] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> int:
        """Count the tokens that `send_message` would send first; see `Chat.count_tokens`."""
        merged: Any = self._merged({**options})
        return await self._agent._acount(message, merged, output, self._conversation)

    async def clear(self) -> None:
        """Delete all messages; see `Chat.clear`."""
        await self._change(lambda chat: chat.clear())

    async def undo(self) -> list[Content]:
        """Remove the user's last message and everything after it; return the contents removed."""
        return [copy_content(content) for content in await self._change(lambda chat: chat.undo())]

    async def fork(self, *, at: int | None = None, id: str | None = None) -> AsyncChat[Deps]:
        """Create a separate chat that starts with this one's messages; see `Chat.fork`."""
        conversation = await self._read(lambda chat: chat.fork(at, id))
        return AsyncChat(self._agent, conversation, deps=self._deps, **self._options)

    async def save(self, file: str | Path) -> None:
        """Write the chat to a file; see `Chat.save`."""
        await off_loop(lambda: write_archive(Path(file), self._conversation.archive()))

    async def load(self, file: str | Path) -> None:
        """Replace this chat's messages with those that `save` wrote; see `Chat.load`."""
        archived = await off_loop(lambda: read_archive(Path(file)))
        await self._change(lambda chat: chat.replace_with(archived))

    async def _read(self, function: Callable[[Conversation], T]) -> T:
        return await self._conversation.run_off_loop(lambda: function(self._conversation))

    async def _change(self, function: Callable[[Changing], T]) -> T:
        return await self._conversation.achange(function)

    def _stream(
        self,
        message: UserInput,
        sending: Sending,
        *,
        stream: bool,
        resume: Resume | None = None,
    ) -> AsyncRunStream[Any]:
        options: Any = self._merged(sending.given)
        output, chat = options.pop("output", AS_GIVEN), self._conversation
        return self._agent._astream(
            message, options, output, stream=stream, conversation=chat, resume=resume, sending=sending
        )
