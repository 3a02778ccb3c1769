"""How a run of an agent begins: what it was given, over what the agent has."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentkit.core.config import check_cached, merged_config, with_servers
from agentkit.core.history import History, messages_in
from agentkit.core.meter import Meter
from agentkit.core.models import NamedModels
from agentkit.core.options import (
    Approver,
    RunOptions,
    ToolChoice,
    check_choice,
    check_decisions,
    check_ends,
    check_instructions,
    check_names,
    check_options,
    going_on,
    prepare,
)
from agentkit.core.resuming import Parked, Resume, resumed_state
from agentkit.core.state import RunState, Settings, Setup
from agentkit.core.subagents import check_prices
from agentkit.errors import ConfigurationError
from agentkit.limits import Limits
from agentkit.memory.base import Memory
from agentkit.model import Model
from agentkit.output import AS_GIVEN, Output, OutputTaker, takes_schema
from agentkit.stores.message import Message
from agentkit.tooling.config import config_in
from agentkit.tooling.context import Context
from agentkit.tooling.registry import Toolbox, toolbox_of
from agentkit.wire.content import JsonObject, keep
from agentkit.wire.convert import UserInput, user_input


class ChatOfRun(Protocol):
    """What a run has to know of the chat that it belongs to."""

    id: str
    memory: Memory | None

    @property
    def kept(self) -> bool:
        """Whether its store may outlive the process."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run that is ready to be driven."""

    state: RunState
    resumed: Parked | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a run takes place."""

    chat: ChatOfRun | None = None
    outer: Context[Any] | None = None
    """The call that it answers, if it is a sub-agent's."""
    stream: bool
    """Whether models are asked for their replies in chunks."""
    limits: Limits
    """The agent's."""
    instructions: Any
    """The agent's."""


class RunStarter:
    """Begins the runs of an agent.

    Args:
        settings: What they have in common.
        named: Finds models by their names.
        model: Those that answer, as a user gives them.
        toolbox: The agent's tools.
        limits: The agent's.
        tool_choice: The agent's.
        config: The agent's.
        approver: The agent's.

    Raises:
        ConfigurationError: They don't go together.
    """

    def __init__(
        self,
        settings: Settings,
        named: NamedModels,
        model: str | Model | Sequence[str | Model] | None,
        *,
        toolbox: Toolbox,
        limits: Limits,
        tool_choice: ToolChoice,
        config: Any,
        approver: Approver | None,
    ) -> None:
        self.settings = settings
        self.toolbox = toolbox
        self.config = config_in(config)
        self.approver = approver
        self._tool_choice = check_choice(tool_choice, toolbox)
        check_cached(self.config, tool_choice, settings.choose_tools)
        self._named = named
        self._outputs: dict[Any, Output[Any]] = {}
        self._lock = threading.Lock()
        self.models = named.each(model)
        check_prices(limits, self.models, toolbox.known(), budget=settings.budget)
        prepare(self.models[0], toolbox.tools, "none" if settings.choose_tools else self._tool_choice)

    def start(
        self, value: UserInput, options: RunOptions[Any], output: Any, resume: Resume | None, where: Where
    ) -> Start:
        """Begin a run, or go on with one.

        Raises:
            ConfigurationError: What was given can't work.
        """
        run: Any = resume.run if resume else None
        parked: Parked | None = run._parked if run else None
        check_options(options, where.chat is not None, parked is not None)
        given: dict[str, Any] = {**options} if output is AS_GIVEN else {**options, "output": output}
        if resume is not None:
            given = going_on(resume.given if parked is None else parked.given, given)
        history = messages_in(given.pop("history")) if "history" in given else []
        decisions = check_decisions(resume.decisions) if resume else {}
        setup, meter = self._set_up(given, decisions, run.run_id if run else uuid.uuid4().hex, where)
        if parked is not None:
            parked.take()
            meter.go_on_from(run.turn_usages, run.usage)
            state = resumed_state(parked, run, setup, self.settings, meter)
            if where.outer is not None:
                state.session.share(where.outer)
            return Start(state=state, resumed=parked)
        said = [] if resume else user_input(value, inline_bytes=setup.models[0].traits.inline_bytes)
        state = RunState(setup, self.settings, meter, History(history))
        if where.outer is not None:
            state.session.share(where.outer)
        state.session.started_with = state.session.known = len(history)
        for content in said:
            state.history.add(Message(content=keep(content)))
        return Start(state=state, resumed=None)

    def restart(self, state: RunState, where: Where, given: Mapping[str, Any]) -> None:
        """Set a run up anew, before it begins: only now its chat knows what its message was given.

        Raises:
            ConfigurationError: What was given can't work.
        """
        state.set_up(*self._set_up(given, state.setup.decisions, state.setup.run_id, where))

    def _set_up(
        self,
        given: Mapping[str, Any],
        decisions: Mapping[str, Any],
        run_id: str,
        where: Where,
    ) -> tuple[Setup, Meter]:
        chat, outer = where.chat, where.outer
        own, limits = given.get("tools") is None, given.get("limits") or where.limits
        toolbox = self.toolbox if own else check_names(toolbox_of(given["tools"]))
        more = given.get("config")
        own_config = self.config if more is None else merged_config(self.config, more)
        config = with_servers(own_config, toolbox.servers) if toolbox.servers else own_config
        choice = given.get("tool_choice", self._tool_choice if own else "auto")
        if "cachedContent" in config:
            check_cached(config, choice, self.settings.choose_tools)
        models = self.models if given.get("model") is None else self._named.each(given["model"])
        memory = chat.memory if chat else None
        if limits.cost is not None or self.settings.budget is not None:
            from agentkit.memory.combine import models_of  # here, as it is seldom needed

            asked = [*models, *(self._named.find(each) for each in models_of(memory))]
            check_prices(limits, asked, toolbox.known(), budget=self.settings.budget)
        if callable(choice):
            check_ends(choice, limits)
        approver = given.get("approver") or self.approver
        kept = chat is not None and chat.kept
        inherited = outer is not None and outer._run.guarded  # what waits inside waits outside
        guarded = {"approve": True, "allow": False, "auto": kept or approver is not None or inherited}
        instructions, output = where.instructions, given.get("output")
        if "instructions" in given:
            instructions = check_instructions(given["instructions"])
        setup = Setup(
            models=models,
            toolbox=toolbox,
            instructions=instructions,
            tool_choice=choice if choice is self._tool_choice else check_choice(choice, toolbox),
            config=config,
            output=None if output is None else self._taker(output, models, toolbox, config),
            memory=memory,
            approver=approver,
            decisions=decisions,
            guarded=guarded[limits.after_untrusted],
            given=given,
            run_id=run_id,
            session_id=chat.id if chat else None,
            watched=where.stream or len(self.settings.observers) > 1 or (outer is not None and outer.watched),
            streamed=where.stream,
        )
        return setup, Meter(limits, outer=outer._run if outer else None)

    def _taker(
        self, output: Any, models: Sequence[Model], toolbox: Toolbox, config: JsonObject
    ) -> OutputTaker[Any]:
        spec = output if isinstance(output, Output) else self._output_of(output)
        with_tools = bool(toolbox.tools or toolbox.sources or config.get("tools"))
        native = spec.mode == "native" or (
            spec.mode == "auto" and all(takes_schema(model, with_tools=with_tools) for model in models)
        )
        if not native and config.get("cachedContent"):
            raise ConfigurationError(
                "This output needs a function, which can't be declared beside config['cached_content'] (rule 12):"
                ' give Output(type, mode="native").'
            )
        if not native and spec.name in toolbox.tools:
            raise ConfigurationError(f"There is a tool {spec.name!r} already: give Output(name=...) another.")
        return OutputTaker(spec, native=native)

    def check_output(self, output: Any) -> None:
        """Refuse what can't be an output."""
        if output is not None and not isinstance(output, Output):
            self._output_of(output)

    def _output_of(self, kind: Any) -> Output[Any]:
        """Make an `Output` of a type, once."""
        try:
            with self._lock:
                if kind not in self._outputs:
                    self._outputs[kind] = Output(kind)
                return self._outputs[kind]
        except TypeError:  # it can't be a key
            return Output(kind)
