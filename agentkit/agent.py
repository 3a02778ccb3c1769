"""The agent: what a user configures, and the runs that it makes."""

from __future__ import annotations

import os
import random
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from typing_extensions import Unpack

from agentkit.chat import AsyncChat, Chat
from agentkit.conversation import Conversation
from agentkit.drivers.aio import AsyncDriver
from agentkit.drivers.sync import SyncDriver
from agentkit.effects import Plan, State
from agentkit.errors import ConfigurationError, ModelError, ToolError
from agentkit.limits import Limits
from agentkit.loop import run_loop
from agentkit.memory.base import Memory
from agentkit.models.base import Model
from agentkit.repair import RetryPolicy
from agentkit.run import AsyncRunStream, Run, RunStream
from agentkit.stores.base import SessionStore
from agentkit.tooling.context import Context
from agentkit.tooling.registry import collect
from agentkit.tooling.tool import Effect, Tool
from agentkit.wire.convert import UserInput, config_in, history_in, user_input
from agentkit.wire.history import check

if TYPE_CHECKING:
    from google import genai

Instructions = str | Callable[[Context[Any]], Any] | None
"""A text, or a function of the context (sync or async) that returns one."""

ToolChoice = Literal["auto", "none", "required"] | Sequence[str]
"""`auto`: the model decides. `none`: no calls. `required`, or names of tools: the first turn makes a call."""


class RunOptions(TypedDict, total=False):
    """What a single run may be given, beside its input; what is left out is as the agent has it."""

    deps: Any
    """What tools get as `ctx.deps`."""
    history: Iterable[Any] | None
    """Contents before the input: dicts in either casing, or `types.Content`."""
    model: str | Model | None
    """Another model, for this run."""
    instructions: Instructions
    """Other instructions, for this run."""
    tools: Iterable[Any] | None
    """Other tools, for this run: they replace the agent's."""
    tool_choice: ToolChoice
    """Another tool choice, for this run."""
    limits: Limits | None
    """Other limits, for this run."""


@dataclass(frozen=True, slots=True)
class _Start:
    """A run that is ready to be driven."""

    plan: Plan
    state: State
    model: Model


class Agent:
    """A model with tools and instructions; each `run` is one question and all that it takes to answer it.

    An agent is never changed by its runs and may be used from many threads and event loops at once.
    Sync methods are here, their async counterparts under `aio`.

    Args:
        model: A Gemini model name, `"local"` for the embedded model, or any `Model`. Without one, the
            environment's `AGENTKIT_MODEL` or else agentkit's default Gemini model.
        tools: Functions, `Tool`s, registries, and `(declaration, handler)` pairs.
        instructions: The system instruction: a text, or a function of the context (sync or async).
        limits: How far each run may go.
        name: The agent's name, when it is used as a tool and in traces.
        tool_choice: `"auto"`, `"none"`, `"required"` or a list of names; the latter two force the first turn.
        config: More of the request: a `types.GenerateContentConfig` or a dict of its fields in either casing,
            e.g. `{"temperature": 0, "thinking_config": {...}, "tools": [{"google_search": {}}]}`.
        client: A ready `genai.Client` for a Gemini model (Vertex, proxies, transports of your own).
        on_error: `"respond"`: the model is told that a tool failed and the exception is in `run.errors`;
            `"raise"`: the exception of a tool ends the run.
        tool_timeout: Seconds that a call may take where its tool sets none; None is no limit.
        retry: How a model that fails in a passing way is asked again.

    Raises:
        ConfigurationError: Something in it can't work; `ToolDefinitionError` if it is a tool.
    """

    def __init__(
        self,
        model: str | Model | None = None,
        *,
        tools: Iterable[Any] = (),
        instructions: Instructions = None,
        limits: Limits | None = None,
        name: str = "agent",
        tool_choice: ToolChoice = "auto",
        config: Any = None,
        client: genai.Client | None = None,
        on_error: Literal["respond", "raise"] = "respond",
        tool_timeout: float | None = 60.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        if on_error not in ("respond", "raise"):
            raise ConfigurationError(f"Agent(on_error={on_error!r}): it is 'respond' or 'raise'.")
        if tool_timeout is not None and not tool_timeout > 0:
            raise ConfigurationError(f"Agent(tool_timeout={tool_timeout!r}): give seconds above 0, or None.")
        self.name = name
        self.limits = limits or Limits()
        self.instructions = _check_instructions(instructions)
        self._tools = collect(tools)
        self._tool_choice = _check_choice(tool_choice, self._tools)
        self._config = config_in(config)
        self._client = client
        self._on_error = on_error
        self._tool_timeout = tool_timeout
        self._retry = retry or RetryPolicy()
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()
        self._model = self._resolve_model(model)

    @property
    def model(self) -> Model:
        """The model that answers."""
        return self._model

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools, in the order in which they are declared."""
        return tuple(self._tools.values())

    @property
    def aio(self) -> AsyncAgent:
        """The same agent for async callers: `await agent.aio.run(...)`."""
        return AsyncAgent(self)

    def __repr__(self) -> str:
        return f"Agent({self._model.name!r}, name={self.name!r}, tools={list(self._tools)})"

    def run(self, input: UserInput, **options: Unpack[RunOptions]) -> Run:  # noqa: A002 - what it is
        """Ask, run the tools that the model calls, and return the answer.

        Args:
            input: A str, an image as `pathlib.Path` or bytes, a part, a content, or a list of those.
            options: See `RunOptions`: deps, history, and what is to differ from the agent's settings.

        Returns:
            The run; `run.stop` says why there is no answer, if there is none.

        Raises:
            ConfigurationError: The input or an option can't work; nothing was sent.
            HistoryError: The history given breaks a rule of the server.
            ModelError: The model can't be reached; its `run` has what there was.
        """
        return self._stream(input, options, stream=False).drain()

    def stream(self, input: UserInput, **options: Unpack[RunOptions]) -> RunStream:  # noqa: A002 - what it is
        """Do as `run` does, and tell what happens while it happens.

        Use it in a `with` block and iterate over its events (`agentkit.events`), or over `texts()`.
        Nothing is sent before the first event is asked for.
        """
        return self._stream(input, options, stream=True)

    def chat(
        self,
        id: str | None = None,  # noqa: A002 - what it is
        store: SessionStore | None = None,
        *,
        history: Iterable[Any] | None = None,
        memory: Memory | Iterable[Memory] | None = None,
        deps: Any = None,
        wait: float | None = None,
    ) -> Chat:
        """Begin a conversation, or go on with one that a store keeps.

        Args:
            id: The conversation's, in the store. A new one by default.
            store: Where it is kept: `SQLiteStore("chats.db")`, say. By default only in this object.
            history: What a new conversation begins with: dicts in either casing, or `types.Content`.
            memory: What part of it is sent: one of `agentkit.memory`, or a list of them. All by default.
            deps: What tools get as `ctx.deps`, unless a message brings its own.
            wait: Seconds that a message waits for its turn, if another writer has the session; 0 is not at
                all. By default messages of this object wait for each other as long as it takes, and another
                writer, in this process or elsewhere, is a `SessionConflict` at once.

        Raises:
            HistoryError: The history breaks a rule of the server.
        """
        conversation = Conversation(id, store, history=history_in(history), memory=memory, wait=wait)
        return Chat(self, conversation, deps=deps)

    def as_tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        effect: Effect = "read",
        timeout: float = 600.0,
    ) -> Tool:
        """Make this agent a tool of another.

        The tool takes a request in words and returns the answer's text. `deps` are handed on, and the tokens
        count in the outer run's usage. A run that stops without an answer is an error that the caller is told.

        Args:
            name: The tool's name; the agent's own name by default.
            description: What it is for, in words that the calling model understands.
            effect: `"write"` if its tools change something, so that it runs alone and in order.
            timeout: Seconds that it may take, whatever this agent's limits are.
        """

        async def ask(request: str, ctx: Context[Any]) -> str:
            try:
                run = await self.aio.run(request, deps=ctx.deps)
            except ModelError as error:
                if error.run is not None:
                    ctx.add_usage(error.run.usage)
                raise
            ctx.add_usage(run.usage)
            if run.stop is not None:
                raise ToolError(
                    f"The agent {self.name!r} stopped without an answer: {run.stop}. {run.text}".strip()
                )
            return run.text

        return Tool.of(
            ask,
            name=name or re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", self.name),
            description=description or f"Ask the agent {self.name!r}; give it all that it has to know.",
            effect=effect,
            timeout=timeout,
        )

    def _stream(
        self,
        value: UserInput,
        options: RunOptions,
        *,
        stream: bool,
        conversation: Conversation | None = None,
        resume: bool = False,
    ) -> RunStream:
        start = self._start(value, options, conversation, resume=resume)
        driver = SyncDriver(
            start.model, stream=stream, seconds=start.plan.limits.seconds, tool_timeout=self._tool_timeout
        )

        steps = driver.drive(run_loop(start.plan, start.state), start.state)
        events = steps if conversation is None else conversation.send(steps, start.state, resume=resume)
        return RunStream(events, start.plan.context.run_id, start.state)

    def _astream(
        self,
        value: UserInput,
        options: RunOptions,
        *,
        stream: bool,
        conversation: Conversation | None = None,
        resume: bool = False,
    ) -> AsyncRunStream:
        start = self._start(value, options, conversation, resume=resume)
        driver = AsyncDriver(
            start.model, stream=stream, seconds=start.plan.limits.seconds, tool_timeout=self._tool_timeout
        )

        steps = driver.drive(run_loop(start.plan, start.state), start.state)
        events = steps if conversation is None else conversation.asend(steps, start.state, resume=resume)
        return AsyncRunStream(events, start.plan.context.run_id, start.state)

    def _start(
        self, value: UserInput, options: RunOptions, conversation: Conversation | None, *, resume: bool
    ) -> _Start:
        unknown = set(options) - set(RunOptions.__annotations__)
        if unknown:
            raise ConfigurationError(
                f"A run has no option {sorted(unknown)[0]!r}; there are {', '.join(RunOptions.__annotations__)}."
            )
        tools = self._tools if options.get("tools") is None else collect(options.get("tools") or ())
        choice = options.get("tool_choice", self._tool_choice if options.get("tools") is None else "auto")
        if conversation is not None and options.get("history") is not None:
            raise ConfigurationError("A chat has its own history: give history= to agent.chat().")
        history = history_in(options.get("history"))
        model = self._model if options.get("model") is None else self._resolve_model(options.get("model"))
        plan = Plan(
            tools=tools,
            instructions=_check_instructions(options.get("instructions", self.instructions)),
            tool_choice=_check_choice(choice, tools),
            limits=options.get("limits") or self.limits,
            retry=self._retry,
            config=self._config,
            on_error=self._on_error,
            context=Context(
                deps=options.get("deps"),
                run_id=uuid.uuid4().hex,
                session_id=conversation.id if conversation else None,
            ),
            jitter=random.random,
            model_name=model.name,
            memory=conversation.memory if conversation else None,
            model_of=self._resolve_model,
        )
        said = [] if resume else user_input(value)
        check(said)  # whole by itself, it is so after any whole history
        state = State(contents=[*history, *said], started_with=len(history), known=len(history))
        return _Start(plan, state, model)

    def _resolve_model(self, model: str | Model | None) -> Model:
        if model is None:
            model = os.environ.get("AGENTKIT_MODEL") or ""
        if not isinstance(model, str):
            if self._client is not None:
                raise ConfigurationError(
                    "Agent(client=...) goes with the name of a Gemini model, not with a Model."
                )
            if not isinstance(model, Model):
                raise ConfigurationError(
                    f"model={model!r} is neither a name nor a Model (see agentkit.models.base)."
                )
            return model
        with self._lock:
            if model not in self._models:
                self._models[model] = self._make_model(model)
            return self._models[model]

    def _make_model(self, name: str) -> Model:
        if name == "local":
            if self._client is not None:
                raise ConfigurationError(
                    "Agent(client=...) goes with the name of a Gemini model, not with 'local'."
                )
            from agentkit.models.local import LocalModel

            return LocalModel()
        from agentkit.models.gemini import DEFAULT_MODEL, GeminiModel

        return GeminiModel(name or DEFAULT_MODEL, client=self._client)


class AsyncAgent:
    """An agent's methods for async callers; see `Agent`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def run(self, input: UserInput, **options: Unpack[RunOptions]) -> Run:  # noqa: A002 - what it is
        """Do as `Agent.run` does. Cancelling the task ends the run, its request and its tools."""
        async with self._agent._astream(input, options, stream=False) as events:
            return await events.drain()

    def stream(self, input: UserInput, **options: Unpack[RunOptions]) -> AsyncRunStream:  # noqa: A002 - what it is
        """Do as `Agent.stream` does; use it in an `async with` block."""
        return self._agent._astream(input, options, stream=True)

    def chat(
        self,
        id: str | None = None,  # noqa: A002 - what it is
        store: SessionStore | None = None,
        *,
        history: Iterable[Any] | None = None,
        memory: Memory | Iterable[Memory] | None = None,
        deps: Any = None,
        wait: float | None = None,
    ) -> AsyncChat:
        """Begin a conversation, or go on with one that a store keeps; see `Agent.chat`."""
        conversation = Conversation(id, store, history=history_in(history), memory=memory, wait=wait)
        return AsyncChat(self._agent, conversation, deps=deps)


def _check_instructions(instructions: Instructions) -> Instructions:
    if instructions is None or isinstance(instructions, str) or callable(instructions):
        return instructions
    raise ConfigurationError(
        f"instructions={instructions!r}: give a text, or a function of the context that returns one."
    )


def _check_choice(choice: ToolChoice, tools: dict[str, Tool]) -> ToolChoice:
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise ConfigurationError(
                f"tool_choice={choice!r}: it is 'auto', 'none', 'required' or a list of names."
            )
        if choice == "required" and not tools:
            raise ConfigurationError("tool_choice='required', but there are no tools.")
        return choice
    names = list(choice)
    unknown = [name for name in names if name not in tools]
    if unknown or not names:
        raise ConfigurationError(f"tool_choice={names!r}: name tools of the agent, which are {list(tools)}.")
    return names
