"""What the loop asks a driver to do, and what a run is made of.

The loop yields events, which are passed on to whoever watches, and these effects:

- `CallModel`: ask the model; the driver gives each chunk to `feed` and sends back None, a `ModelError`, or
  `EXPIRED` if the time of the run is up.
- `RunCalls`: run these calls at the same time; the driver sets each one's `outcome` as soon as it has it, and
  stores it. Sent back is None, or `EXPIRED` if the time of the run is up; calls without an outcome were cut off.
- `Save`: store what happened, before anything else happens.
- `Count`: have the model count the tokens of a request, and send back the number.
- `Resolve`: call a function (sync or async) and send back what it returns.
- `Wait`: let the seconds pass; sent back is None, or `EXPIRED` if they would outlast the time of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentkit.events import Event, TextDelta, ThoughtDelta, ToolProgress
from agentkit.limits import Limits, Usage
from agentkit.memory.base import Memory
from agentkit.models.base import Model
from agentkit.repair import RetryPolicy, Stop
from agentkit.stores.base import FinishCall, Step, StoredCall
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation
from agentkit.tooling.tool import Tool
from agentkit.wire.content import Content, JsonObject, Reply, Request
from agentkit.wire.reply import ReplyAssembler


class _Expired:
    """The time of the run is up."""


EXPIRED: Final = _Expired()


@dataclass(slots=True)
class CallModel:
    """Ask the model."""

    request: Request
    assembler: ReplyAssembler = field(default_factory=ReplyAssembler)
    model: Model | None = None
    """Which one; None is the run's own."""
    quiet: bool = False
    """Whether the reply is not for whoever watches."""
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


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Run these calls at the same time."""

    invocations: Sequence[Invocation]
    indexes: Sequence[int]
    """Which calls of the model's content they are."""

    def finish(self, position: int) -> FinishCall:
        """Make the step that stores the response to the call at a position of this batch."""
        outcome = self.invocations[position].outcome
        assert outcome is not None  # noqa: S101 - the driver asks when it has set it
        return FinishCall(self.indexes[position], outcome.part)


@dataclass(frozen=True, slots=True)
class Resolve:
    """Call a function; if it returns an awaitable, await it."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Save:
    """Store what happened."""

    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Count:
    """Count the tokens of a request."""

    request: Request


Effect = CallModel | RunCalls | Resolve | Wait | Save | Count
Steps = Generator[Event | Effect, Any, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is settled before a run begins."""

    tools: Mapping[str, Tool]
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
    model_name: str = ""
    memory: Memory | None = None
    model_of: Callable[[str | Model], Model] | None = None
    """Finds a model by its name, for a memory that asks one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCall:
    """A call that a person has to say something about."""

    call_id: str
    """The one in the tool's `ctx.call_id`."""
    name: str
    args: JsonObject


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent, and what it cost: from this a memory knows the size of the next request."""

    view: Sequence[Content] = ()
    usage: Usage | None = None
    base: JsonObject | None = None
    """What the cost depends on beside the contents."""


def nobody(_: ToolProgress) -> None:
    """Drop what a tool tells while no one listens, as the late words of one that was left behind."""


@dataclass(slots=True)
class State:
    """What a run has so far. `contents` is valid history at any instant: calls are added with their responses."""

    contents: list[Content]
    started_with: int
    """How many contents there were before the turn, the user's input not counted."""
    known: int = 0
    """How many contents at the beginning are in the store already."""
    usages: list[Usage] = field(default_factory=list)
    extra_usages: list[Usage] = field(default_factory=list)
    """What tools spent (`ctx.add_usage`)."""
    errors: list[Exception] = field(default_factory=list)
    stop: Stop | None = None
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
    """Whether the calls that the history ends with stay open in the store: a person must say what became of them."""
    sent: Sent = field(default_factory=Sent)
    """The last request, of the chat if there is one."""
    stored_usages: list[Usage] = field(default_factory=list)
    """Those of `usages` that are stored with their message."""
    summary: tuple[int, str] | None = None
    journal: Callable[[Sequence[Step]], None] | None = None
    """Where the driver stores what happens, if it is kept: blocks, and raises `StoreError`."""
    tool_calls: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """Failures in a row, by tool."""
    report: Callable[[ToolProgress], None] = nobody
    """Where tools that run tell how far they are; a driver sets it for as long as it listens."""

    def go_on_from(self, history: Sequence[Content]) -> None:
        """Put a history before the user's input; only before the run begins."""
        self.contents[:0] = history
        self.started_with = self.known = len(history)

    def usage(self) -> Usage:
        """Add up all turns and what the tools spent."""
        return sum(self.usages + self.extra_usages, Usage())

    def loose_usage(self) -> Usage:
        """Add up what isn't stored with a message: replies that were not taken, summaries, tools."""
        stored = {id(usage) for usage in self.stored_usages}
        loose = [usage for usage in self.usages if id(usage) not in stored]
        return sum(loose + self.extra_usages, Usage())
