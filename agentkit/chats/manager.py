"""Many chats by their ids, over one store."""

from __future__ import annotations

import builtins
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, overload

from typing_extensions import TypeVar, Unpack

from agentkit.chats.chat import Chat
from agentkit.chats.conversation import Conversation
from agentkit.errors import ConfigurationError
from agentkit.memory.base import Memory
from agentkit.output import AS_GIVEN, OutputType
from agentkit.run import Run, RunStream
from agentkit.stores.archive import archive_text, from_archive, parse_archive, to_archive, to_markdown
from agentkit.stores.base import Hit, Message, SessionInfo
from agentkit.stores.sqlite import MemoryStore
from agentkit.stores.store import SessionStore
from agentkit.tooling.context import Deps
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.arguments import checked, refuse_copy
from agentkit.wire.content import Content
from agentkit.wire.convert import UserInput

if TYPE_CHECKING:
    from google.genai import types

    from agentkit.agent import Agent
    from agentkit.chats.async_manager import AsyncChatManager
    from agentkit.core.options import RunOptions


_RECENT = 32
Out = TypeVar("Out", default=Any)


@checked
class ChatManager(Generic[Deps]):
    """Many chats of one agent, by id. They are kept in the store, so idle chats use no memory.

    The histories of the 32 most recently used chats are cached. A cached history is read from the store again only if
    another writer has changed it.

    Args:
        agent: Answers in all chats; each may have its own model and instructions.
        store: Where they are kept; by default only in this object.
        memory: Which part of a history is sent; see `Agent.chat`.
        config: Further settings of each request; see `Agent.chat`.
        deps: What tools get as `ctx.deps`, unless a message brings its own.
        wait: Seconds that a message waits for another writer of its session; see `Agent.chat`.
    """

    def __init__(
        self,
        agent: Agent[Deps],
        store: SessionStore | None = None,
        *,
        memory: Memory | Iterable[Memory] | None = None,
        config: Mapping[str, Any] | types.GenerateContentConfig | None = None,
        deps: Deps | None = None,
        wait: float | None = None,
    ) -> None:
        self._agent = agent
        self._store: SessionStore = store if store is not None else MemoryStore()
        self._memory = memory
        self._config = config
        self._deps = deps
        self._wait = wait
        self._recent: OrderedDict[str, Conversation] = OrderedDict()
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"ChatManager({self._agent!r}, {self._store!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy(self, "make it anew, over the same store, where it is needed.")

    def create(
        self,
        id: str | None = None,
        *,
        model: str | None = None,
        instructions: str | None = None,
        title: str | None = None,
        expires_in: timedelta | None = None,
    ) -> Chat[Deps]:
        """Create a chat.

        Args:
            id: Its id; a new one by default.
            model: The name of its model, if not the agent's.
            instructions: Its system instruction, if not the agent's.
            title: The title that `list` shows.
            expires_in: After this time, `delete_expired` deletes it; never by default.

        Raises:
            SessionExists: A chat with this id exists already.
        """
        expires = None if expires_in is None else time.time() + expires_in.total_seconds()
        return self._make(id, model=model, instructions=instructions, title=title, expires=expires)

    def get(self, id: str) -> Chat[Deps]:
        """Return the chat with this id. Raises `SessionNotFound`."""
        return self._chat(self._store.info(id))

    @overload
    def send_message(
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
    def send_message(
        self,
        id: str,
        message: UserInput,
        *,
        stream: Literal[True],
        output: OutputType[Out] = None,
        message_id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> RunStream[Out]: ...

    def send_message(
        self,
        id: str,
        message: UserInput,
        *,
        stream: bool = False,
        output: OutputType[Out] = None,
        message_id: str | None = None,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out] | RunStream[Out]:
        """Send a message in a chat; see `Chat.send_message` and `Chat.send_message_stream`.

        `message_id` is their `id`: the sender's own id for the message.

        If a stream isn't read to the end, the message counts as cut off; see `Chat`.
        """
        chat = self.get(id)
        send = chat.send_message_stream if stream else chat.send_message
        return send(message, output=output, id=message_id, wait=wait, **options)

    def resume(
        self,
        id: str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[Out]:
        """Continue the last message of a chat; see `Chat.resume`."""
        return self.get(id).resume(decisions, output=output, wait=wait, **options)

    def resume_stream(
        self,
        id: str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        output: OutputType[Out] = AS_GIVEN,
        wait: float | None = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> RunStream[Out]:
        """Continue the last message of a chat, and report what happens; see `Chat.resume_stream`."""
        return self.get(id).resume_stream(decisions, output=output, wait=wait, **options)

    def pending(self, id: str) -> builtins.list[PendingCall]:
        """Return the calls of a chat that need a decision; see `Chat.pending`."""
        return self.get(id).pending

    def resolve(self, id: str, call_id: str, **said: Any) -> None:
        """Decide a call of a chat whose effect is unknown, with `result=` or `retry=True`; see `Chat.resolve`."""
        self.get(id).resolve(call_id, **said)

    def undo(self, id: str) -> builtins.list[Content]:
        """Remove the last message of a chat and everything after it; return the contents removed."""
        return self.get(id).undo()

    def info(self, id: str) -> SessionInfo:
        """Return what is known about a chat. Raises `SessionNotFound`."""
        return self._store.info(id)

    @property
    def aio(self) -> AsyncChatManager[Deps]:
        """The same chats for async callers."""
        from agentkit.chats.async_manager import AsyncChatManager

        return AsyncChatManager(self)

    def get_history(self, id: str, start: int = 0, end: int | None = None) -> builtins.list[Message]:
        """Return the messages of a chat (`[start:end]` of them), with what is known about each.

        Raises:
            SessionNotFound: There is no chat with this id.
        """
        return builtins.list(self._store.load(id, start=start, end=end).messages)

    def list(
        self, *, limit: int = 50, after: SessionInfo | None = None, prefix: str = ""
    ) -> Sequence[SessionInfo]:
        """List chats whose ids start with `prefix`, latest used first; `after` is the last of the previous page."""
        return self._store.list(limit=limit, after=after, prefix=prefix)

    def search(
        self, text: str, *, limit: int = 20, prefix: str = "", distinct: bool = False
    ) -> Sequence[Hit]:
        """Find messages that contain all these words; see `SessionStore.search`."""
        return self._store.search(text, limit=limit, prefix=prefix, distinct=distinct)

    def export_session(
        self, id: str, format: Literal["json", "markdown"] = "json", *, end: int | None = None
    ) -> str:
        """Return a chat, or its first `end` messages, as text: JSON, which `import_session` accepts, or Markdown."""
        session = self._store.load(id, end=end)
        if format == "markdown":
            return to_markdown(session.info, session.messages)
        if format != "json":
            raise ConfigurationError(f"export_session(format={format!r}): it is 'json' or 'markdown'.")
        results = self._store.results(id)
        return archive_text(to_archive(session.info, session.messages, results, session.state, session.calls))

    def import_session(
        self, exported: str | bytes | Mapping[str, Any], *, id: str | None = None
    ) -> Chat[Deps]:
        """Create a chat from what `export_session` returned.

        Args:
            exported: The JSON, as text or already parsed.
            id: The new chat's id; by default that of the exported chat.

        Raises:
            StoreError: It isn't a chat, or is damaged; `StoreVersionError` if it is newer.
            SessionExists: A chat with this id exists already.
        """
        where = "What is to be imported"
        if isinstance(exported, (str, bytes)):
            archived = parse_archive(exported, where)
        else:
            archived = from_archive(exported, where)
        info = archived.info
        return self._make(
            id or info.id,
            model=info.model,
            instructions=info.instructions,
            title=info.title,
            messages=archived.messages,
            results=archived.results,
            state=archived.state,
            calls=archived.calls,
        )

    def fork(self, id: str, *, at: int | None = None, new_id: str | None = None) -> Chat[Deps]:
        """Create a chat that starts with the messages of another; see `Chat.fork`."""
        return self.get(id).fork(at=at, id=new_id)

    def rename(self, id: str, title: str | None) -> None:
        """Give a chat a title."""
        self._store.rename(id, title)

    def expire(self, id: str, expires_in: timedelta | None) -> None:
        """Set the time from now after which `delete_expired` may delete a chat; None is never."""
        self._store.expire(id, None if expires_in is None else time.time() + expires_in.total_seconds())

    def delete_session(self, id: str) -> None:
        """Delete a chat. Raises `SessionNotFound`."""
        with self._lock:
            self._recent.pop(id, None)
        self._store.delete(id)

    def delete_expired(self) -> int:
        """Delete the chats that have expired; return how many there were."""
        with self._lock:
            self._recent.clear()
        return self._store.delete_expired(time.time())

    def _make(self, id: str | None, **settings: Any) -> Chat[Deps]:
        conversation = Conversation(id, self._store, memory=self._memory, wait=self._wait, **settings)
        conversation.create(exist_ok=False)
        return self._chat(conversation.info())

    def _chat(self, info: SessionInfo) -> Chat[Deps]:
        conversation = Conversation(
            info.id, self._store, memory=self._memory, wait=self._wait, must_exist=True
        )
        # Each chat has an object of its own, so that a second message waits, or is refused, as `wait` says.
        with self._lock:
            if last := self._recent.pop(info.id, None):
                conversation.recall(last)
            self._recent[info.id] = conversation
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        own = {"model": info.model, "instructions": info.instructions, "config": self._config}
        return Chat(self._agent, conversation, deps=self._deps, **own)
