"""An agent's methods for async callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Self

from typing_extensions import TypeVar, Unpack

from agentkit.core.history import messages_in
from agentkit.core.options import RunOptions, for_each
from agentkit.core.resuming import Sending
from agentkit.drivers.many import as_tasks
from agentkit.drivers.threads import off_loop
from agentkit.memory.base import Memory
from agentkit.output import AS_GIVEN, OutputType
from agentkit.run import AsyncRunStream, Mapped, Run, amapped, resume_of
from agentkit.tooling.context import Deps
from agentkit.tooling.decisions import Decision
from agentkit.wire.arguments import checked
from agentkit.wire.convert import UserInput
from agentkit.wire.files import UploadedFile, local_file

if TYPE_CHECKING:
    from google.genai import types

    from agentkit.agent import Agent
    from agentkit.chats.chat import AsyncChat
    from agentkit.stores.store import SessionStore

T = TypeVar("T", default=Any)


@checked
class AsyncAgent(Generic[Deps]):
    """The methods of an agent for async callers; see `Agent`."""

    def __init__(self, agent: Agent[Deps]) -> None:
        self._agent = agent

    def __repr__(self) -> str:
        return f"{self._agent!r}.aio"

    async def close(self) -> None:
        """Close the agent's sources of tools; see `Agent.close`."""
        await off_loop(self._agent.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def run(
        self,
        input: UserInput,
        *,
        output: OutputType[T] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[T]:
        """Return the finished run; see `Agent.run`. Cancelling the task ends the run, its request and its tools."""
        async with self._agent._astream(input, options, output, stream=False) as events:
            return await events.drain()

    def stream(
        self,
        input: UserInput,
        *,
        output: OutputType[T] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncRunStream[T]:
        """Report what happens as it happens; see `Agent.stream`. Use it in an `async with` block."""
        return self._agent._astream(input, options, output, stream=True)

    async def resume(
        self,
        run: Run[Any] | str | bytes,
        decisions: Mapping[str, Decision] | None = None,
        *,
        store: SessionStore | None = None,
        output: OutputType[T] = AS_GIVEN,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[T]:
        """Continue a run that stopped; see `Agent.resume`."""
        resumed = resume_of(run, decisions, store, Sending.of(options, output))
        async with self._agent._astream(None, options, output, stream=False, **resumed) as events:
            return await events.drain()

    def resume_stream(
        self,
        run: Run[Any] | str | bytes,
        decisions: Mapping[str, Decision] | None = None,
        *,
        store: SessionStore | None = None,
        output: OutputType[T] = AS_GIVEN,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncRunStream[T]:
        """Continue a run that stopped, and report what happens; see `Agent.resume_stream`."""
        resumed = resume_of(run, decisions, store, Sending.of(options, output))
        return self._agent._astream(None, options, output, stream=True, **resumed)

    def map(
        self,
        inputs: Iterable[UserInput] | AsyncIterable[UserInput],
        *,
        concurrency: int = 8,
        ordered: bool = True,
        output: OutputType[T] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> AsyncGenerator[Mapped[T], None]:
        """Run many inputs, several at a time; they may come from an async iterable. See `Agent.map`.

        Closing the iteration cancels those under way.
        """
        self._agent._runs.check_output(output)
        shared = for_each(options)
        done = as_tasks(
            inputs,
            lambda value: self.run(value, output=output, **shared),
            concurrency=concurrency,
            ordered=ordered,
        )
        return amapped(done)

    async def count_tokens(
        self,
        input: UserInput,
        *,
        output: OutputType[Any] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> int:
        """Count the tokens that `run` would send first; see `Agent.count_tokens`."""
        return await self._agent._acount(input, options, output)

    async def upload(self, file: Any, *, name: str | None = None) -> UploadedFile:
        """Upload a file and wait until it can be used; see `Agent.upload`."""
        found = await asyncio.to_thread(local_file, file, name)
        async with aclosing(self._agent.model.aupload(found)) as steps:
            last = [step async for step in steps][-1]
        assert isinstance(last, UploadedFile)
        return last

    def chat(
        self,
        id: str | None = None,
        store: SessionStore | None = None,
        *,
        history: Iterable[Any] | None = None,
        memory: Memory | Iterable[Memory] | None = None,
        config: Mapping[str, Any] | types.GenerateContentConfig | None = None,
        deps: Deps | None = None,
        wait: float | None = None,
    ) -> AsyncChat[Deps]:
        """Start a conversation, or continue one from a store; see `Agent.chat`."""
        from agentkit.chats.chat import AsyncChat
        from agentkit.chats.conversation import Conversation

        conversation = Conversation(id, store, history=messages_in(history), memory=memory, wait=wait)
        return AsyncChat(self._agent, conversation, deps=deps, config=config)
