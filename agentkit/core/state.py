"""What a run is made of: the parts that its turns and calls work on, each of which owns what it knows."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentkit.core.budget import Budget
from agentkit.core.effects import Signals
from agentkit.core.end import RunEnd
from agentkit.core.history import History
from agentkit.core.hooks import Hooks
from agentkit.core.inbox import Inbox
from agentkit.core.meter import Meter
from agentkit.core.options import Approver
from agentkit.core.prefix import Prefix
from agentkit.core.rate_limit import RateLimit
from agentkit.core.repair import RetryPolicy
from agentkit.core.requests import Requests
from agentkit.core.toolset import ToolSet
from agentkit.core.views import Sent, Views
from agentkit.errors import ToolRetriesExceeded
from agentkit.events import Event
from agentkit.memory.base import Memory
from agentkit.model import Model
from agentkit.output import OutputTaker
from agentkit.stores.message import Message
from agentkit.stores.steps import Step, StoredCall
from agentkit.tooling.context import Context, RunHandle
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.tooling.invoke import Invocation
from agentkit.tooling.registry import Toolbox
from agentkit.wire.content import FunctionCall, JsonObject
from agentkit.wire.history import starts_turn
from agentkit.wire.sources import Source

Observer = Callable[[Event, Context[Any]], None]
"""Hears of each event of a run, when it happens: it is quick, and what it raises is logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all runs of an agent have in common."""

    hooks: Hooks
    retry: RetryPolicy
    rate_limit: RateLimit | None
    budget: Budget | None
    model_of: Callable[[str | Model], Model]
    """Finds a model by its name, for a memory that asks one of its own."""
    on_error: str
    """`respond` or `raise`."""
    tool_timeout: float | None
    """Seconds that a call may take where its tool sets none."""
    max_result_chars: int
    """How much JSON of a result the model gets at once."""
    choose_tools: Callable[[Context[Any]], Any] | None = None
    continue_text: bool = False
    """Whether a text that was cut off is continued."""
    observers: Sequence[Observer] = ()
    """Hear of every event, in order; the first is the log."""


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """Calls that wait: the model's message, and what is known of each."""

    message: Message
    calls: Sequence[StoredCall]


@dataclass(slots=True, eq=False)
class Waiting:
    """The calls that a run was resumed with, and those that it leaves open."""

    resumed: OpenTurn | None = None
    left: OpenTurn | None = None
    began: bool = False
    """Whether any call was begun."""
    pending: list[PendingCall] = field(default_factory=list)
    """Those that somebody must say something about."""

    def open(self, message: Message, calls: Sequence[StoredCall]) -> None:
        """Leave the calls that the history ends with open."""
        self.left = OpenTurn(message, calls)


@dataclass(slots=True, eq=False)
class Session:
    """Where a run belongs: which messages are its own, and who stores them."""

    started_with: int = 0
    """How many messages there were before the turn, the user's input not counted."""
    known: int = 0
    """How many messages at the beginning are stored already."""
    append: Callable[[Sequence[Step]], None] | None = None
    """Stores what happens, if anybody does; raises `StoreError`."""
    unsaved: list[Step] = field(default_factory=list)
    """What is stored with the next steps, or after the end by whoever stores."""
    given: JsonObject | None = None
    """What is kept with each message that begins a turn: what it is given, as far as that can be written down."""
    blocks: bool = True
    """Whether that may block: a chat without a store keeps what happens in memory."""
    state: JsonObject = field(default_factory=dict)
    """The user's own, `ctx.state`; replaced as a whole."""
    outer: Context[Any] | None = None
    """The call that the run answers, if it is a sub-agent's: it has the state, too."""

    def share(self, outer: Context[Any]) -> None:
        """Work on the state of the call that the run answers."""
        self.outer = outer
        self.state = copy.deepcopy(outer.state)

    def keep(self, state: JsonObject) -> None:
        """Put another state in the place of the user's own."""
        self.state = state
        if self.outer is not None:
            around = self.outer.state
            around.clear()
            around.update(copy.deepcopy(state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How one run is set up."""

    models: Sequence[Model]
    toolbox: Toolbox
    """All that the run may ever call, those on demand too, and what gives it more."""
    instructions: str | Callable[[Context[Any]], Any] | None
    tool_choice: Any
    """`auto`, `none`, `required`, names, or a function that says one of these for each turn."""
    config: JsonObject
    """Request fields (`generationConfig`, ...), as `tooling.config.config_in` makes them."""
    output: OutputTaker[Any] | None
    memory: Memory | None
    approver: Approver | None
    decisions: Mapping[str, Decision]
    """What was said of calls that the run stopped for, by their ids."""
    guarded: bool
    """Whether untrusted words in the history make sensitive calls need approval."""
    given: Mapping[str, Any]
    """The options that the run was given."""
    run_id: str
    session_id: str | None
    watched: bool
    """Whether somebody watches the run's events as they happen."""
    streamed: bool
    """Whether models are asked for their replies in chunks."""


class RunState:
    """A run, in parts. `history` is valid for the server at any instant: calls are added with their responses."""

    def __init__(self, setup: Setup, settings: Settings, meter: Meter, history: History) -> None:
        self.settings = settings
        self.history = history
        self.end = RunEnd()
        self.inbox = Inbox()
        self.signals = Signals()
        self.waiting = Waiting()
        self.session = Session()
        self.sources_found: list[Source] = []
        """What the answers of sub-agents rest on whose responses aren't in the history yet."""
        self.suggestions_found: list[str] = []
        """The search suggestions that go with them."""
        self.set_up(setup, meter)

    def set_up(self, setup: Setup, meter: Meter) -> None:
        """Make what depends on how the run is set up; anew only before the run begins."""
        self.setup, self.meter = setup, meter
        self.output = setup.output
        # No cycle: what is dropped lets go of its session at once.
        signals, session = self.signals, self.session
        sources, suggestions = self.sources_found, self.suggestions_found

        def add_sources(found: Sequence[Source], shown: str) -> None:
            sources.extend(found)
            suggestions.extend([shown] if shown else [])

        handle = RunHandle(
            report=lambda event: signals.report(event),
            add_usage=meter.add,
            add_live_usage=meter.add_live,
            add_errors=self.end.errors.extend,
            add_sources=add_sources,
            watched=setup.watched,
            streamed=setup.streamed,
            limit_reached=lambda: meter.reached(turns=False),
            add_call=meter.add_call,
            calls_reached=meter.calls_reached,
            share_left=meter.share_left,
            approver=setup.approver,
            guarded=setup.guarded,
            state=lambda: session.state,
            caller=lambda: signals.caller,
        )
        self.context: Context[Any] = Context(
            deps=setup.given.get("deps"), run_id=setup.run_id, session_id=setup.session_id, _run=handle
        )
        self._plug(setup)

    def _plug(self, setup: Setup) -> None:
        """Make the parts that share the history, the end and the meter."""
        settings, history, end = self.settings, self.history, self.end
        self.requests = Requests(
            setup.models,
            self.context,
            hooks=settings.hooks,
            retry=settings.retry,
            rate_limit=settings.rate_limit,
            budget=settings.budget,
            prefix=Prefix(memory=setup.memory is not None, hook=settings.hooks.before_model is not None),
            jitter=random.random,
            meter=self.meter,
            end=end,
            history=history,
        )
        self.views = Views(setup.memory, settings.model_of, requests=self.requests, end=end, history=history)
        self.tools = ToolSet(
            setup.toolbox, output=self.output, history=history, max_chars=settings.max_result_chars
        )

    @property
    def own_messages(self) -> list[Message]:
        """What the run added, from the user's input on."""
        return self.history.messages[self.session.started_with :]

    def go_on_from(self, history: History) -> None:
        """Put a history before the user's input; only before the run begins."""
        said, own = self.history.messages, self.session
        own.started_with = own.known = len(history)
        for message in said:
            begins = own.given is not None and starts_turn(message.content)
            history.add(replace(message, given=own.given) if begins else message)
        self.history.become(history)

    def go_on_sending(self, last: Sent, summary: tuple[int, str] | None) -> None:
        """Go on from what a chat sent last."""
        self.views.sent, self.views.summary = last, summary
        self.requests.last_usage = last.usage

    def call_context(self, call: FunctionCall, call_id: str) -> Context[Any]:
        """Make the context of a call."""
        base, name = self.context, call["name"]
        return Context(
            deps=base.deps,
            run_id=base.run_id,
            session_id=base.session_id,
            call_id=call_id,
            tool_name=name,
            retry=self.tools.failures.get(name, 0),
            turn=len(self.meter.turns),
            _run=base._run,
        )

    def note_outcomes(self, invocations: Sequence[Invocation]) -> None:
        """Take in what came of a turn's calls: errors, results that were cut, how often each tool has failed."""
        failed: dict[str, bool] = {}
        for invocation in invocations:
            outcome, name = invocation.outcome, invocation.context.tool_name
            if outcome is None:
                continue
            failed[name] = failed.get(name, False) or outcome.kind in ("invalid", "retry")
            if outcome.whole is not None:
                self.tools.results[invocation.context.call_id] = outcome.whole
            used_up = isinstance(outcome.error, ToolRetriesExceeded)
            if outcome.error is not None and (outcome.kind in ("error", "timeout") or used_up):
                self.end.errors.append(outcome.error)
        for name, again in failed.items():
            self.tools.failures[name] = self.tools.failures.get(name, 0) + 1 if again else 0
