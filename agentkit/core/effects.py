"""What the loop asks a driver to do, and what a run is made of.

The loop yields events, which are passed on to whoever watches, and these effects:

- `CallModel`: ask the model; the driver gives each chunk to `feed` and sends back None, a `ModelError`, or
  `EXPIRED` if the time of the run is up.
- `RunCalls`: run these calls at the same time; the driver sets each one's `outcome` as soon as it has it, and
  stores it. Sent back is None, or `EXPIRED` if the time of the run is up; calls without an outcome were cut off.
  What a hook or the store raises meanwhile is thrown.
- `Save`: store what happened, before anything else happens; with `later`, perhaps together with the next steps.
- `Count`: have the model count the tokens of a request, and send back the number.
- `Resolve`: call a function (sync or async) and send back what it returns, or `EXPIRED`; what it raises is thrown.
- `Extend`: the time of the run ends so many seconds from now.
- `Wait`: let the seconds pass; sent back is None, or `EXPIRED` if they would outlast the time of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from agentkit.core.hooks import Hooks
from agentkit.core.inbox import Inbox
from agentkit.core.rate_limit import RateLimit
from agentkit.core.repair import RetryPolicy, Stop
from agentkit.core.survey import Survey
from agentkit.errors import ToolDeferred
from agentkit.events import Event, OutputDelta, TextDelta, ThoughtDelta
from agentkit.limits import Limits, Usage
from agentkit.memory.base import Memory
from agentkit.model import Model
from agentkit.output import OutputTaker
from agentkit.stores.steps import DeferCall, FinishCall, SaveResult, Step, StoredCall
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.tooling.invoke import Invocation, Outcome
from agentkit.tooling.tool import Tool
from agentkit.wire.content import Content, Joined, JsonObject, Reply, Request
from agentkit.wire.reply import ReplyAssembler


class _Expired:
    """The time of the run is up."""


EXPIRED: Final = _Expired()


@dataclass(slots=True, eq=False)
class CallModel:
    """Ask the model."""

    request: Request
    assembler: ReplyAssembler = field(default_factory=ReplyAssembler)
    model: Model | None = None
    """Which one; None is the run's own."""
    quiet: bool = False
    """Whether the reply is not for whoever watches."""
    begun: str = ""
    """The beginning of the text, where an earlier reply had it and was cut off."""
    so_far: Callable[[str], Any] | None = None
    """Makes, of a text that is JSON, what whoever watches gets to see of it."""
    look_again: int = 0
    """At which length of the text that is made next."""
    shown: bool = False
    """Whether a part of the reply has been passed on."""

    def feed(self, chunk: Reply) -> Iterator[Event]:
        """Take a chunk of the reply, or the whole of it; yield the events to pass on."""
        for part in self.assembler.add(chunk):
            if self.quiet:
                continue
            if text := part.get("text"):
                self.shown = True
                yield ThoughtDelta(text) if part.get("thought") else TextDelta(text)
                if self.so_far is None or part.get("thought") or len(self.text) < self.look_again:
                    continue
                # Each look reads all of it: one for each piece of a long value would take minutes.
                self.look_again = len(self.text) * 65 // 64
                if (value := self.so_far(self.text)) is not None:
                    yield OutputDelta(value)

    @property
    def text(self) -> str:
        """The text so far, thoughts left out."""
        return self.begun + self.assembler.text


class AfterTool(Protocol):
    """Somebody who hears of each call's outcome before it is stored."""

    def hold(self, invocation: Invocation) -> Outcome | None:
        """Take the outcome back until it is settled; None if there is nothing to ask."""
        ...

    def ask(self, invocation: Invocation, held: Outcome) -> Any:
        """Say what to do with it; what is returned may have to be awaited."""
        ...

    def take(self, invocation: Invocation, held: Outcome, said: Any) -> None:
        """Do it."""
        ...


@dataclass(slots=True, eq=False)
class RunCalls:
    """Run these calls at the same time."""

    invocations: Sequence[Invocation]
    indexes: Sequence[int]
    """Which calls of the model's content they are."""
    after: AfterTool | None = None
    """Asked when a call has its outcome, before that is stored; may replace it."""

    def finish(self, position: int) -> list[Step]:
        """Make the steps that store what became of the call at a position of this batch."""
        invocation, index = self.invocations[position], self.indexes[position]
        outcome = invocation.outcome
        assert outcome is not None  # noqa: S101 - the driver asks when it has set it
        invocation.stored = True
        if outcome.deferred is not None:
            return [DeferCall(index, deferred_state(outcome.deferred, invocation.args))]
        kept = [] if outcome.whole is None else [SaveResult(invocation.context.call_id, outcome.whole)]
        return [*kept, FinishCall(index, outcome.part)]


def deferred_state(deferred: ToolDeferred, args: JsonObject | None) -> JsonObject:
    """Write down what a call waits for, as it stands in the ledger; `args` are those that a decision gave it."""
    return {
        "args": args,
        "why": str(deferred),
        "state": deferred.state,
        "pending": [call.to_wire() for call in deferred.pending],
    }


@dataclass(slots=True, eq=False)
class Resolve:
    """Call a function; if it returns an awaitable, await it."""

    function: Callable[[], Any]


@dataclass(slots=True, eq=False)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(slots=True, eq=False)
class Extend:
    """Let the time of the run end so many seconds from now."""

    seconds: float


@dataclass(slots=True, eq=False)
class Save:
    """Store what happened."""

    steps: Sequence[Step]
    later: bool = False
    """Whether this may wait for the next `Save`, if that is what comes next: one transaction for both."""


@dataclass(slots=True, eq=False)
class Count:
    """Count the tokens of a request."""

    request: Request
    model: Model | None = None
    """Which model does; None is the run's own."""


Effect = CallModel | RunCalls | Resolve | Wait | Extend | Save | Count
Steps = Generator[Event | Effect, Any, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is settled before a run begins."""

    tools: Mapping[str, Tool]
    """All that the run may ever call, those on demand too."""
    instructions: str | Callable[[Context[Any]], Any] | None
    tool_choice: str | Sequence[str]
    limits: Limits
    retry: RetryPolicy
    config: JsonObject
    """Request fields (`generationConfig`, ...), as `wire.convert.config_in` makes them."""
    on_error: str
    """`respond` or `raise`."""
    context: Context[Any]
    """What every call's context is made from."""
    jitter: Callable[[], float]
    models: Sequence[Model]
    """Those that answer: each but the first stands in when the one before it fails."""
    memory: Memory | None = None
    model_of: Callable[[str | Model], Model] | None = None
    """Finds a model by its name, for a memory that asks one of its own."""
    hooks: Hooks = field(default_factory=Hooks)
    approver: Callable[[PendingCall, Context[Any]], Any] | None = None
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """What was said of calls that the run stopped for, by their ids."""
    guarded: bool = False
    """Whether untrusted words in the history make sensitive calls need approval."""
    choose_tools: Callable[[Context[Any]], Any] | None = None
    output: OutputTaker[Any] | None = None
    rate_limit: RateLimit | None = None
    result_chars: int = 100_000
    """How much JSON of a result the model gets at once."""
    continue_text: bool = False
    """Whether a text that was cut off is continued."""
    outer_limit: Callable[[], Stop | None] | None = None
    """Of a sub-agent's run: tells whether a limit of the run around it is reached."""


@dataclass(slots=True, eq=False)
class Sent:
    """What was sent, and what it cost: from this a memory knows the size of the next request."""

    view: Sequence[Content] = ()
    usage: Usage | None = None
    base: JsonObject | None = None
    """What the cost depends on beside the contents."""


def nobody(_: Event) -> None:
    """Drop what a tool tells while no one listens, as the late words of one that was left behind."""


@dataclass(slots=True, eq=False)
class OpenTurn:
    """Calls of a run that waits: the model's content, and what is known of each."""

    content: Content
    calls: Sequence[StoredCall]


@dataclass(slots=True, eq=False)
class State:
    """What a run has so far. `contents` is valid history at any instant: calls are added with their responses."""

    contents: list[Content]
    started_with: int
    """How many contents there were before the turn, the user's input not counted."""
    known: int = 0
    """How many contents at the beginning are in the store already."""
    usages: list[Usage] = field(default_factory=list)
    earlier: Sequence[Usage] = ()
    """Those of the turns before the run was resumed; limits don't count them."""
    earlier_usage: Usage = field(default_factory=Usage)
    """All that had been used by then."""
    extra_usages: list[Usage] = field(default_factory=list)
    """What tools spent (`ctx.add_usage`)."""
    live_usages: list[Callable[[], Usage]] = field(default_factory=list)
    """Tell what sub-agents have spent by now."""
    errors: list[Exception] = field(default_factory=list)
    stop: Stop | None = None
    limit: Stop | None = None
    """The limit that was reached, also if the run came to an answer all the same."""
    finish_reason: str | None = None
    pending: list[PendingCall] = field(default_factory=list)
    partial: str = ""
    """Text of a reply that was broken off; it is not in the history."""
    answered: bool = False
    done: bool = False
    resumed: Content | None = None
    """Of a resumed run: the model's content whose calls are still to be answered."""
    ledger: Sequence[StoredCall] = ()
    """What is known of those calls."""
    open: bool = False
    """Whether the calls that the history ends with stay open: somebody must say something about them first."""
    opened: OpenTurn | None = None
    """Those calls."""
    sent: Sent = field(default_factory=Sent)
    """The last request, of the chat if there is one."""
    stored_usages: list[Usage] = field(default_factory=list)
    """Those of `usages` that are stored with their message."""
    summary: tuple[int, str] | None = None
    journal: Callable[[Sequence[Step]], None] | None = None
    """Where the driver stores what happens, if it is kept: may block, and raises `StoreError`."""
    journal_blocks: bool = True
    """Whether it may: a chat without a store keeps what happens in memory."""
    tool_calls: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """Failures in a row, by tool."""
    report: Callable[[Event], None] = nobody
    """Where tools that run tell how far they are; a driver sets it for as long as it listens."""
    cancelled: bool = False
    """Set from any thread to end a sync run; `wake` makes a driver that waits look at it."""
    wake: Callable[[], None] = field(default=lambda: None)
    inbox: Inbox = field(default_factory=Inbox)
    """What the user says while the run goes on."""
    joined: Joined = field(default_factory=Joined)
    """The JSON of the history."""
    survey: Survey = field(default_factory=Survey)
    """What the history says of tools and models."""
    results: dict[str, str] = field(default_factory=dict)
    """The whole of results that were cut, by the call's id."""
    read_result: Callable[[str], str | None] | None = None
    """Reads one that a store has."""
    nudge: str | None = None
    """What the model is told along with the next request, and is not in the history."""
    standing_in: int = 0
    """Which of the plan's models answers."""
    repeated: int = 1
    """How many turns in a row made the same calls and got the same responses."""
    output: Any = None
    """The structured output, once there is one."""

    @property
    def kept(self) -> bool:
        """Whether anybody stores what happens."""
        return self.journal is not None

    def go_on_from(self, history: Sequence[Content]) -> None:
        """Put a history before the user's input; only before the run begins."""
        self.contents[:0] = history
        self.started_with = self.known = len(history)

    def usage(self) -> Usage:
        """Add up all turns and what the tools spent, from where the run was last resumed."""
        return sum(self.usages + self._extra(), Usage())

    def _extra(self) -> list[Usage]:
        return self.extra_usages + [spent() for spent in self.live_usages]

    def usage_of_all(self) -> Usage:
        """Add up all, what came before the run was resumed too."""
        return self.earlier_usage + self.usage()

    def loose_usage(self) -> Usage:
        """Add up what isn't stored with a message: replies that were not taken, summaries, tools."""
        stored = {id(usage) for usage in self.stored_usages}
        loose = [usage for usage in self.usages if id(usage) not in stored]
        return sum(loose + self._extra(), Usage())
