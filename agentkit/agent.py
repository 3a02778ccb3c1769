"""The agent: what a user configures, and the runs that it makes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self

from typing_extensions import TypeVar, Unpack

from agentkit.async_agent import AsyncAgent
from agentkit.core.budget import Budget
from agentkit.core.history import messages_in
from agentkit.core.hooks import Hooks
from agentkit.core.log import log
from agentkit.core.loop import Loop
from agentkit.core.models import NamedModels
from agentkit.core.options import (
    Approver,
    ChooseTools,
    Instructions,
    RunOptions,
    ToolChoice,
    check_budget,
    check_instructions,
    check_names,
    check_observers,
    check_settings,
    for_each,
)
from agentkit.core.rate_limit import RateLimit
from agentkit.core.repair import RetryPolicy
from agentkit.core.resuming import NO_SENDING, Resume, Sending
from agentkit.core.starting import RunStarter, Where
from agentkit.core.state import Observer, Settings
from agentkit.drivers.aio import AsyncDriver
from agentkit.drivers.many import in_threads
from agentkit.drivers.sync import SyncDriver
from agentkit.errors import ConfigurationError
from agentkit.limits import Limits
from agentkit.memory.base import Memory
from agentkit.model import Model
from agentkit.output import AS_GIVEN, OutputType
from agentkit.run import AsyncRunStream, Mapped, Run, RunStream, mapped, resume_of
from agentkit.tooling.context import Context, Deps
from agentkit.tooling.decisions import Decision
from agentkit.tooling.registry import toolbox_of
from agentkit.tooling.tool import Effect, Tool
from agentkit.wire.arguments import checked, refuse_copy
from agentkit.wire.convert import UserInput
from agentkit.wire.files import UploadedFile, local_file

if TYPE_CHECKING:
    from google import genai
    from google.genai import types

    from agentkit.chats.chat import Chat
    from agentkit.chats.conversation import Conversation
    from agentkit.stores.store import SessionStore

T = TypeVar("T", default=Any)


@checked
class Agent(Generic[Deps]):
    """A model with tools and instructions. Each `run` answers one question, however many turns it takes.

    Runs never change an agent. It may be used from many threads and event loops at once. The methods here are
    synchronous; their async counterparts are under `aio`.

    Args:
        model: A Gemini model name, `"local"` for the embedded model, or any `Model`. By default the environment
            variable `AGENTKIT_MODEL`, or else agentkit's default Gemini model. In a list, each model is a fallback for
            the one before it: it takes over for the rest of the run after an outage or an exhausted quota that retries
            don't solve. `run.model` and a `ModelChanged` event say so.
        tools: Functions, `Tool`s, agents, registries, `(declaration, handler)` pairs, sources such as MCP servers and
            skills (see `ToolSource`), and Gemini's own tools, as `types.Tool(google_search=...)` or `{"google_search":
            {}}`.
        instructions: The system instruction: a text, or a function of the context (sync or async) that is called
            before each turn of the model.
        limits: How far each run may go.
        name: The agent's name, as a tool and in traces.
        tool_choice: `"auto"`, `"none"`, `"required"` or a list of names; the latter two apply to the first turn only.
            Or a function of the context (sync or async) that returns one of these for each turn.
        config: Further settings of the request: a `types.GenerateContentConfig` or a dict of its fields in either
            casing, such as `{"temperature": 0, "thinking_config": {...}, "tools": [{"google_search": {}}]}`.
        client: A `genai.Client` for Gemini models, for Vertex AI, proxies or transports of your own.
        on_error: `"respond"`: if a tool raises, the model is told that it failed and the exception is in `run.errors`;
            `"raise"`: the exception ends the run.
        tool_timeout: Seconds that a call may take if its tool sets no timeout; None means no limit.
        retry: How transient failures of a model are retried.
        approver: Decides at once about calls that need approval. Without one, the run stops and they are pending.
        hooks: Functions to call before and after each request and each tool call.
        choose_tools: A function of the context (sync or async) that returns the names of the next turn's tools.
        rate_limit: Requests and tokens per minute. Give the same object to all agents that share a quota.
        budget: US dollars per day, for example. Give the same object to all agents that share it.
        max_result_chars: How much of a tool's result the model gets at once, in characters of JSON. The rest is kept,
            and the model gets a tool, `read_result`, to read on.
        on_max_tokens: `"stop"`: a reply that was cut off ends the run. `"continue"`: the model continues its text; a
            call that was cut off is never run.
        observers: Functions called with `(event, context)` for every event of every run.

    Raises:
        ConfigurationError: An argument can't work; `ToolDefinitionError` if it is a tool.
    """

    def __init__(
        self,
        model: str | Model | Sequence[str | Model] | None = None,
        *,
        tools: Iterable[Any] | Mapping[str, Any] = (),
        instructions: Instructions = None,
        limits: Limits | None = None,
        name: str = "agent",
        tool_choice: ToolChoice = "auto",
        config: Mapping[str, Any] | types.GenerateContentConfig | None = None,
        client: genai.Client | None = None,
        on_error: Literal["respond", "raise"] = "respond",
        tool_timeout: float | None = 60.0,
        retry: RetryPolicy | None = None,
        approver: Approver | None = None,
        hooks: Hooks | None = None,
        choose_tools: ChooseTools | None = None,
        rate_limit: RateLimit | None = None,
        budget: Budget | None = None,
        max_result_chars: int = 100_000,
        on_max_tokens: Literal["stop", "continue"] = "stop",
        observers: Iterable[Observer] = (),
    ) -> None:
        check_settings(on_error, tool_timeout, on_max_tokens, max_result_chars)
        for what, function in (("approver", approver), ("choose_tools", choose_tools)):
            if function is not None and not callable(function):
                raise ConfigurationError(f"Agent({what}={function!r:.100}): give a function, or None.")
        if not isinstance(hooks, (Hooks, type(None))):
            raise ConfigurationError(
                f"Agent(hooks={hooks!r:.100}): give a Hooks(before_tool=...), for example."
            )
        self.name = name
        self.limits = limits or Limits()
        self.instructions = check_instructions(instructions)
        self.toolbox = check_names(toolbox_of(tools))
        named = NamedModels(client)
        settings = Settings(
            hooks=hooks or Hooks(),
            retry=retry or RetryPolicy(),
            rate_limit=rate_limit,
            budget=check_budget(budget),
            model_of=named.find,
            on_error=on_error,
            tool_timeout=tool_timeout,
            max_result_chars=max_result_chars,
            choose_tools=choose_tools,
            continue_text=on_max_tokens == "continue",
            observers=(log, *check_observers(observers)),
        )
        self._runs = RunStarter(
            settings,
            named,
            model,
            toolbox=self.toolbox,
            limits=self.limits,
            tool_choice=tool_choice,
            config=config,
            approver=approver,
        )

    @property
    def model(self) -> Model:
        """The model that answers; the first, if there are several."""
        return self.models[0]

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that answer: each one after the first is a fallback for the one before it."""
        return self._runs.models

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools, in the order in which they are declared; those of sources such as MCP servers as far as known."""
        return self.toolbox.known()

    def close(self) -> None:
        """Close the agent's sources of tools, such as MCP servers. Other agents may share these connections."""
        for source in self.toolbox.sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def aio(self) -> AsyncAgent[Deps]:
        """The same agent for async callers: `await agent.aio.run(...)`."""
        return AsyncAgent(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse_copy(self, "share it (it is never changed by its runs), or make it anew where it is needed.")

    def __repr__(self) -> str:
        return f"Agent({self.model.name!r}, name={self.name!r}, tools={[tool.name for tool in self.tools]})"

    def run(
        self,
        input: UserInput,
        *,
        output: OutputType[T] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[T]:
        """Ask the model, run the tools that it calls, and return the finished run.

        Args:
            input: A text; a file as `pathlib.Path`, bytes or an open file; a part; a content; or a list of those.
            output: The type of `run.output`: any type that pydantic validates, or an `Output` for more control. By
                default the answer is text.
            options: See `RunOptions`: deps, history, and settings that differ from the agent's.

        Returns:
            The run. If there is no answer, `run.stop` says why.

        Raises:
            ConfigurationError: The input or an option can't work; nothing was sent.
            HistoryError: The given history breaks a rule of the server.
            ModelError: The model can't be reached. The error's `run` has everything up to that point.
        """
        return self._stream(input, options, output, stream=False).drain()

    def stream(
        self,
        input: UserInput,
        *,
        output: OutputType[T] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> RunStream[T]:
        """Do the same as `run`, and report what happens as it happens.

        Use it in a `with` block and iterate over its events (`agentkit.events`), or over `texts()`. Nothing is sent
        before the first event is asked for.
        """
        return self._stream(input, options, output, stream=True)

    def resume(
        self,
        run: Run[Any] | str | bytes,
        decisions: Mapping[str, Decision] | None = None,
        *,
        store: SessionStore | None = None,
        output: OutputType[T] = AS_GIVEN,
        **options: Unpack[RunOptions[Deps]],
    ) -> Run[T]:
        """Continue a run that stopped at an approval, a deferred tool, a limit or a fault.

        Calls that have run are not run again. Limits start anew; `usage` keeps adding up.

        Args:
            run: The run, or the JSON that its `to_json` returned, perhaps in another process.
            decisions: Decisions about the calls in `run.pending`, by `call_id`. Calls without one stay pending.
            store: For a chat's run: the store that keeps the chat. (`chat.resume(decisions)` does the same, with the
                chat's memory and deps.)
            output: As in `run`. By default what the run was given; None is text.
            options: As in `run`. By default what the run was given; `history` is the run's.

        Raises:
            ConfigurationError: A decision fits no pending call. Nothing was done and nothing is lost.
        """
        resumed = resume_of(run, decisions, store, Sending.of(options, output))
        return self._stream(None, options, output, stream=False, **resumed).drain()

    def resume_stream(
        self,
        run: Run[Any] | str | bytes,
        decisions: Mapping[str, Decision] | None = None,
        *,
        store: SessionStore | None = None,
        output: OutputType[T] = AS_GIVEN,
        **options: Unpack[RunOptions[Deps]],
    ) -> RunStream[T]:
        """Continue a run that stopped, and report what happens; see `resume` and `stream`."""
        resumed = resume_of(run, decisions, store, Sending.of(options, output))
        return self._stream(None, options, output, stream=True, **resumed)

    def map(
        self,
        inputs: Iterable[UserInput],
        *,
        concurrency: int = 8,
        ordered: bool = True,
        output: OutputType[T] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> Iterator[Mapped[T]]:
        """Run many inputs, several at a time. Yields a `Mapped` for each, with its run or the exception it raised.

        A failure doesn't affect the others. Inputs are read as they are needed. If the iteration is abandoned (by
        `close()` or by leaving a `for` loop), no more runs are started and those in progress are cancelled.

        Args:
            inputs: One input of `run` each.
            concurrency: How many run at the same time.
            ordered: Whether to yield in the order of the inputs, rather than as they finish.
            output: As in `run`, for each.
            options: As in `run`, for each.

        Raises:
            ConfigurationError: `inputs` isn't iterable, or `concurrency` isn't a number above 0.
        """
        self._runs.check_output(output)
        shared = for_each(options)
        done = in_threads(
            inputs,
            lambda value: self._stream(value, shared, output, stream=False),
            concurrency=concurrency,
            ordered=ordered,
        )
        return mapped(done)

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
    ) -> Chat[Deps]:
        """Start a conversation, or continue one from a store.

        Args:
            id: The conversation's id in the store; a new one by default.
            store: Where it is kept, such as `SQLiteStore("chats.db")`. By default only in this object.
            history: What a new conversation starts with: dicts in either casing, or `types.Content`.
            memory: Which part of the history is sent: one of `agentkit.memory`, or a list of them. By default
                everything.
            config: Further settings of each request, merged over the agent's config field by field; an object in a
                field, such as `thinking_config`, replaces it as a whole. A message's own is merged over that.
            deps: What tools get as `ctx.deps`, unless a message brings its own.
            wait: Seconds that a message waits if another writer has the session; 0 is not at all. By default, messages
                sent in this process wait for one another indefinitely, while a change of a chat that is being answered,
                such as `clear()`, and a writer in another process raise `SessionConflict` at once.

        Raises:
            HistoryError: The history breaks a rule of the server.
        """
        from agentkit.chats.chat import Chat
        from agentkit.chats.conversation import Conversation

        conversation = Conversation(id, store, history=messages_in(history), memory=memory, wait=wait)
        return Chat(self, conversation, deps=deps, config=config)

    def upload(self, file: Any, *, name: str | None = None) -> UploadedFile:
        """Upload a file and wait until it can be used, to give it to runs and chats as often as needed.

        Files above the model's `upload_over` are uploaded automatically.

        Args:
            file: A path, bytes, an open binary file, or an image of Pillow.
            name: The name for the model and for people, if the file has none of its own.

        Raises:
            ConfigurationError: The model takes no uploads, or the type of the data can't be determined.
            ModelError: It can't be uploaded, or the server can't use it.
        """
        *_, last = self.model.upload(local_file(file, name))
        assert isinstance(last, UploadedFile)
        return last

    def count_tokens(
        self,
        input: UserInput,
        *,
        output: OutputType[Any] = None,
        **options: Unpack[RunOptions[Deps]],
    ) -> int:
        """Count the tokens that `run` would send first: history, input, instructions, tools and schemas.

        Nothing else is asked of the model, and counting costs nothing. Hooks and retries apply as to every request,
        with `purpose="count"`. If the count fails, the number is estimated.

        Raises:
            ConfigurationError: The input or an option can't work.
            ModelError: The time limit was reached, or a file can't be uploaded.
        """
        return self._count(input, options, output)

    def as_tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        effect: Effect | None = None,
        timeout: float = 600.0,
        share: float = 1.0,
    ) -> Tool:
        """Make this agent a tool of another.

        The tool takes a request in words and returns the answer's text. It gets the outer run's `deps`. Its tokens
        count towards the outer run's usage and limits as they are spent, its events arrive as `AgentEvent`s, and what
        its tools raise is in the outer `run.errors`. If its run stops without an answer, or one of its hooks raises an
        exception, the calling model is told of an error. If it stops for an approval or a deferred tool, the outer run
        stops too, and both resume together. If its approver raises an exception, or a function of its own returns what
        can't be used, that ends the outer run.

        Args:
            name: The tool's name; the agent's own name by default.
            description: What it is for, in words that the calling model understands.
            effect: What the tool does, as for any tool; by default `"read"` if all of its tools are.
            timeout: Seconds that it may take, whatever this agent's limits are.
            share: How much it may use of what is left of the outer run's tokens, cost and tool calls when it is
                called. 1.0 is everything, shared with whatever else is running; 0.5 is half.
        """
        if not 0 < share <= 1:
            raise ConfigurationError(f"as_tool(share={share!r}): give a share of 1, such as 0.5.")
        from agentkit.core.subagents import SubAgent

        return SubAgent(self, share).as_tool(
            name=name or re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", self.name),
            description=description or f"Ask the agent {self.name!r}; give it all that it has to know.",
            effect=effect,
            timeout=timeout,
        )

    def _stream(
        self,
        value: UserInput,
        options: RunOptions[Deps],
        output: OutputType[T] = AS_GIVEN,
        *,
        stream: bool,
        conversation: Conversation | None = None,
        resume: Resume | None = None,
        sending: Sending = NO_SENDING,
    ) -> RunStream[T]:
        where = Where(chat=conversation, stream=stream, limits=self.limits, instructions=self.instructions)
        start = self._runs.start(value, options, output, resume, where)
        state = start.state
        driver = SyncDriver(state, stream=stream)
        steps = driver.drive(Loop(state).steps())
        if conversation is not None:
            restart = partial(self._runs.restart, state, where)
            steps = conversation.send(steps, state, sending, restart, resume=resume is not None)
        return RunStream(steps, state, start.resumed)

    def _astream(
        self,
        value: UserInput,
        options: RunOptions[Deps],
        output: OutputType[T] = AS_GIVEN,
        *,
        stream: bool,
        conversation: Conversation | None = None,
        resume: Resume | None = None,
        outer: Context[Any] | None = None,
        sending: Sending = NO_SENDING,
    ) -> AsyncRunStream[T]:
        where = Where(
            chat=conversation, outer=outer, stream=stream, limits=self.limits, instructions=self.instructions
        )
        start = self._runs.start(value, options, output, resume, where)
        state = start.state
        if outer is not None:
            state.signals.caller = outer._run.caller()
        driver = AsyncDriver(state, stream=stream)
        steps = driver.drive(Loop(state).steps())
        if conversation is not None:
            restart = partial(self._runs.restart, state, where)
            steps = conversation.asend(steps, state, sending, restart, resume=resume is not None)
        return AsyncRunStream(steps, state, start.resumed)

    def _count(
        self,
        value: UserInput,
        options: RunOptions[Deps],
        output: Any,
        conversation: Conversation | None = None,
    ) -> int:
        where = Where(chat=conversation, stream=False, limits=self.limits, instructions=self.instructions)
        state = self._runs.start(value, options, output, None, where).state
        if conversation is not None:
            conversation.look_ahead(state)
        loop = Loop(state)
        for _ in SyncDriver(state, stream=False).drive(loop.count()):
            pass
        return loop.counted()

    async def _acount(
        self,
        value: UserInput,
        options: RunOptions[Deps],
        output: Any,
        conversation: Conversation | None = None,
    ) -> int:
        where = Where(chat=conversation, stream=False, limits=self.limits, instructions=self.instructions)
        state = self._runs.start(value, options, output, None, where).state
        if conversation is not None:
            await conversation.run_off_loop(lambda: conversation.look_ahead(state))
        loop = Loop(state)
        async with aclosing(AsyncDriver(state, stream=False).drive(loop.count())) as events:
            async for _ in events:
                pass
        return loop.counted()

    @property
    def reads(self) -> bool:
        """Whether Gemini's own tools (search, url_context, maps and so on) may bring in untrusted words."""
        kinds = {
            kind for tool in (*self._runs.config.get("tools", ()), *self.toolbox.servers) for kind in tool
        }
        return bool(kinds - {"codeExecution", "code_execution", "computerUse", "computer_use"})

    @property
    def decides(self) -> bool:
        """Whether the agent has its own approver."""
        return self._runs.approver is not None

    def run_inside(
        self,
        outer: Context[Any],
        request: str,
        *,
        resumed: str | None,
        decisions: Mapping[str, Decision],
        limits: Limits,
        approver: Approver | None,
    ) -> AsyncRunStream[Any]:
        """Start or continue a run that answers a call of an outer run; for `as_tool`."""
        options: RunOptions[Deps] = {"deps": outer.deps, "limits": limits, "approver": approver}
        resume = None if resumed is None else Resume(decisions, Run.from_json(resumed))
        return self._astream(
            None if resume else request, options, stream=outer._run.streamed, resume=resume, outer=outer
        )
