"""Many chats by their ids, for async callers."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from typing_extensions import TypeVar, Unpack

from agentkit.chats.chat import AsyncChat, Chat
from agentkit.drivers.threads import off_loop
from agentkit.output import AS_GIVEN, OutputType
from agentkit.run import AsyncRunStream, Run
from agentkit.stores.base import Hit, Message, SessionInfo
from agentkit.tooling.context import Deps
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.arguments import checked
from agentkit.wire.content import Content
from agentkit.wire.convert import UserInput

if TYPE_CHECKING:
    from agentkit.chats.manager import ChatManager
    from agentkit.core.options import RunOptions

Out = TypeVar("Out", default=Any)


@checked
class AsyncChatManager(Generic[Deps]):
    """The chats of a `ChatManager`, whose methods these are. The store never blocks the event loop."""

    def __init__(self, manager: ChatManager[Deps]) -> None:
        self._manager = manager

    def __repr__(self) -> str:
        return f"{self._manager!r}.aio"

    async def create(
        self,
        id: str | None = None,
        *,
        model: str | None = None,
        instructions: str | None = None,
        title: str | None = None,
        expires_in: timedelta | None = None,
    ) -> AsyncChat[Deps]:
        """Create a chat; see `ChatManager.create`."""
        made = await off_loop(
            lambda: self._manager.create(
                id, model=model, instructions=instructions, title=title, expires_in=expires_in
            )
        )
        return self._of(made)

    async def get(self, id: str) -> AsyncChat[Deps]:
        """Return the chat with this id. Raises `SessionNotFound`."""
        return self._of(await off_loop(lambda: self._manager.get(id)))

    @overload
    async def send_message(
        self,
        id: str,
        message: UserInput,
        *,
        stream: Literal[False] = False,
        output: OutputType[Out] = None,
        message_id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]: ...

    @overload
    async def send_message(
        self,
        id: str,
        message: UserInput,
        *,
        stream: Literal[True],
        output: OutputType[Out] = None,
        message_id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncRunStream[Out]: ...

    async def send_message(
        self,
        id: str,
        message: UserInput,
        *,
        stream: bool = False,
        output: OutputType[Out] = None,
        message_id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out] | AsyncRunStream[Out]:
        """Send a message in a chat; see `ChatManager.send_message`. Use a stream in an `async with` block."""
        chat = await self.get(id)
        if stream:
            return chat.send_message_stream(message, output=output, id=message_id, wait=wait, **options)
        return await chat.send_message(message, output=output, id=message_id, wait=wait, **options)

    async def resume(
        self,
        id: str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]:
        """Continue the last message of a chat; see `Chat.resume`."""
        return await (await self.get(id)).resume(decisions, output=output, wait=wait, **options)

    async def resume_stream(
        self,
        id: str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncRunStream[Out]:
        """Continue the last message of a chat, and report what happens; see `Chat.resume_stream`."""
        return (await self.get(id)).resume_stream(decisions, output=output, wait=wait, **options)

    async def pending(self, id: str) -> builtins.list[PendingCall]:
        """Return the calls of a chat that need a decision; see `Chat.pending`."""
        return await (await self.get(id)).get_pending()

    async def resolve(self, id: str, call_id: str, **said: Any) -> None:
        """Decide a call of a chat whose effect is unknown, with `result=` or `retry=True`; see `Chat.resolve`."""
        await (await self.get(id)).resolve(call_id, **said)

    async def undo(self, id: str) -> builtins.list[Content]:
        """Remove the last message of a chat and everything after it; return the contents removed."""
        return await (await self.get(id)).undo()

    async def info(self, id: str) -> SessionInfo:
        """Return what is known about a chat. Raises `SessionNotFound`."""
        return await off_loop(lambda: self._manager.info(id))

    async def get_history(self, id: str, start: int = 0, end: int | None = None) -> builtins.list[Message]:
        """Return the messages of a chat; see `ChatManager.get_history`."""
        return await off_loop(lambda: self._manager.get_history(id, start, end))

    async def list(
        self, *, limit: int = 50, after: SessionInfo | None = None, prefix: str = ""
    ) -> Sequence[SessionInfo]:
        """List chats whose ids start with `prefix`, latest used first; `after` is the last of the previous page."""
        return await off_loop(lambda: self._manager.list(limit=limit, after=after, prefix=prefix))

    async def search(
        self, text: str, *, limit: int = 20, prefix: str = "", distinct: bool = False
    ) -> Sequence[Hit]:
        """Find messages that contain all these words; see `SessionStore.search`."""
        search = self._manager.search
        return await off_loop(lambda: search(text, limit=limit, prefix=prefix, distinct=distinct))

    async def export_session(
        self, id: str, format: Literal["json", "markdown"] = "json", *, end: int | None = None
    ) -> str:
        """Return a chat as text; see `ChatManager.export_session`."""
        return await off_loop(lambda: self._manager.export_session(id, format, end=end))

    async def import_session(
        self, exported: str | bytes | Mapping[str, Any], *, id: str | None = None
    ) -> AsyncChat[Deps]:
        """Create a chat from what `export_session` returned; see `ChatManager.import_session`."""
        return self._of(await off_loop(lambda: self._manager.import_session(exported, id=id)))

    async def fork(self, id: str, *, at: int | None = None, new_id: str | None = None) -> AsyncChat[Deps]:
        """Create a chat that starts with the messages of another; see `Chat.fork`."""
        return self._of(await off_loop(lambda: self._manager.fork(id, at=at, new_id=new_id)))

    async def rename(self, id: str, title: str | None) -> None:
        """Give a chat a title."""
        await off_loop(lambda: self._manager.rename(id, title))

    async def expire(self, id: str, expires_in: timedelta | None) -> None:
        """Set the time from now after which `delete_expired` may delete a chat; None is never."""
        await off_loop(lambda: self._manager.expire(id, expires_in))

    async def delete_session(self, id: str) -> None:
        """Delete a chat. Raises `SessionNotFound`."""
        await off_loop(lambda: self._manager.delete_session(id))

    async def delete_expired(self) -> int:
        """Delete the chats that have expired; return how many there were."""
        return await off_loop(self._manager.delete_expired)

    def _of(self, chat: Chat[Deps]) -> AsyncChat[Deps]:
        return AsyncChat(chat._agent, chat._conversation, deps=chat._deps, **chat._options)
