"""What the loop asks a driver to do.

The loop yields events, which are passed on to whoever watches, and these effects. `EXPIRED` is sent back where
the time of the run is up.

- `CallModel`: ask the model; the driver gives each chunk to `feed` and sends back None or a `ModelError`. It takes
  what the request `hold`s of a budget first, and settles that however the request ends.
- `Upload`: bring a file to where the model reads it; sent back is the file, None if it is lost, or a `ModelError`.
- `StartCalls`: begin to run these calls, at the same time, and wait for what comes first of them.
- `NextNews`: wait for what comes next of the calls under way: an event that a tool tells, or the `CallDone` of
  one of them. When the last one is done, or the time is up, the driver cancels and leaves what still runs.
- `Save`: store what happened, before anything else happens; with `later`, perhaps together with the next steps.
- `Count`: have the model count the tokens of a request; sent back is the number or a `ModelError`.
- `AskLimit`: ask a rate limit something, which may have to ask somebody else; sent back is what it says.
- `Resolve`: call a function (sync or async) and send back what it returns; what it raises is thrown.
- `Extend`: the time of the run ends so many seconds from now.
- `Wait`: let the seconds pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentkit.core.budget import Hold
from agentkit.core.rate_limit import RateLimit
from agentkit.core.server_tools import FOUND, ServerTools, found
from agentkit.errors import ModelError
from agentkit.events import Event, MediaDelta, OutputDelta, TextDelta, ThoughtDelta, UploadProgress
from agentkit.limits import Usage
from agentkit.model import Model
from agentkit.stores.steps import Step
from agentkit.tooling.caller import Caller
from agentkit.tooling.invoke import Invocation
from agentkit.wire.content import Reply, Request, UsageMetadata
from agentkit.wire.files import LocalFile, UploadedFile
from agentkit.wire.reply import ReplyAssembler


class _Expired:
    """The time of the run is up."""


EXPIRED: Final = _Expired()


@dataclass(slots=True, eq=False)
class CallModel:
    """Ask the model."""

    request: Request
    model: Model
    assembler: ReplyAssembler = field(default_factory=ReplyAssembler)
    quiet: bool = False
    """Whether the reply is not for whoever watches."""
    begun: str = ""
    """The beginning of the text, where an earlier reply had it and was cut off."""
    so_far: Callable[[str], Any] | None = None
    """Makes, of a text that is JSON, what whoever watches gets to see of it."""
    look_again: int = 0
    """At which length of the text that is made next."""
    server: ServerTools = field(default_factory=ServerTools)
    """What Gemini's own tools do meanwhile."""
    rests: bool = False
    """Whether the reply says what it rests on."""
    shown: bool = False
    """Whether a part of the reply has been passed on."""
    settle: AskLimit | None = None
    """What the rate limit is told when the request is over, however it ended."""
    hold: Hold | None = None
    """What is taken of a budget before the request is sent, and settled when it is over."""
    refused: str = ""
    """Why the budget has no room for it, in words."""
    sent: bool = False
    """Whether the model was asked."""
    failed: ModelError | None = None
    """What the model raised."""

    def feed(self, chunk: Reply) -> Iterator[Event]:
        """Take a chunk of the reply, or the whole of it; yield the events to pass on."""
        parts = self.assembler.add(chunk)
        if self.quiet:
            return
        for part in parts:
            if text := part.get("text"):
                self.shown = True
                yield ThoughtDelta(text) if part.get("thought") else TextDelta(text)
                if self.so_far is not None and not part.get("thought"):
                    yield from self._output_so_far(self.so_far)
            elif "functionCall" not in part:
                for event in self.server.part(part):
                    self.shown = self.shown or isinstance(event, MediaDelta)
                    yield event
        for candidate in (chunk.get("candidates") or ())[:1]:
            if not FOUND.isdisjoint(candidate):
                self.rests = True
                yield from self.server.beside(candidate)

    def end(self) -> Iterator[Event]:
        """Tell what is known once the whole reply has come: a stream may say what it rests on behind its last word."""
        yield from self.server.end()
        if self.rests:
            yield from found(self.assembler, self.begun)

    def _output_so_far(self, read: Callable[[str], Any]) -> Iterator[Event]:
        length = len(self.begun) + self.assembler.length
        if length < self.look_again:
            return
        # Each look reads all of it: one for each piece of a long value would take minutes.
        self.look_again = length * 65 // 64
        if (value := read(self.text)) is not None:
            yield OutputDelta(value)

    @property
    def text(self) -> str:
        """The text so far, thoughts left out."""
        return self.begun + self.assembler.text

    @property
    def free(self) -> bool:
        """Whether it isn't charged: it never reached the model, or an error was all that came."""
        error = self.failed
        refused = error is not None and error.code is not None and not self.assembler.parts
        return not self.sent or refused or (error is not None and not error.reached)

    def usage_in(self, told: UsageMetadata | None) -> Usage:
        """Read counts of tokens as those of this request: of its model, in the tier that it asks for."""
        return Usage.from_wire(told, self.model.name, asked_tier=self.request.get("serviceTier"))

    def again(self) -> CallModel:
        """Return the same request, to be made once more."""
        return CallModel(
            self.request,
            self.model,
            quiet=self.quiet,
            begun=self.begun,
            so_far=self.so_far,
            server=self.server.again(),
            settle=self.settle,
        )


@dataclass(slots=True, eq=False)
class Upload:
    """Bring a file to where a model reads it, unless it is there."""

    file: LocalFile | UploadedFile
    model: Model
    result: UploadedFile | None = None
    """The file as it is there; None if it was there, and is to be had nowhere any more."""

    def feed(self, step: int | UploadedFile) -> Iterator[Event]:
        """Take what an upload says; yield the event to pass on."""
        size = self.file.size if isinstance(self.file, LocalFile) else 0
        if isinstance(step, UploadedFile):
            self.result = step
            yield UploadProgress(self.file.name, size, size, True)
        else:
            yield UploadProgress(self.file.name, step, size)


@dataclass(slots=True, eq=False)
class StartCalls:
    """Begin to run these calls, and wait for what comes first of them."""

    invocations: Sequence[Invocation]


@dataclass(slots=True, eq=False)
class NextNews:
    """Wait for what comes next of the calls under way."""


@dataclass(slots=True, eq=False)
class CallDone:
    """A call has come to its end: returned, raised, or been given up because its time was up."""

    position: int
    """Which of the calls that were started."""
    value: Any
    error: BaseException | None
    seconds: float
    """How long it took."""


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
    model: Model


@dataclass(slots=True, eq=False)
class AskLimit:
    """Ask a rate limit something."""

    limit: RateLimit
    function: Callable[[], Any]
    undo: Callable[[Any], None] | None = None
    """Takes back what it has given, where nobody wants it any more."""


Performed = StartCalls | NextNews | Resolve | Wait | Extend | Save | Count | AskLimit
"""Effects of which nothing is passed on while they are performed."""
Effect = CallModel | Upload | Performed
EFFECTS = frozenset({CallModel, Upload, StartCalls, NextNews, Resolve, Wait, Extend, Save, Count, AskLimit})
"""The kinds of all effects: whatever else a loop yields is an event."""
Steps = Generator[Event | Effect, Any, None]


def drop(_: Event) -> None:
    """Drop what a tool tells while no one listens, as the late words of one that was left behind."""


def _do_nothing() -> None:
    """Wake nobody."""


@dataclass(slots=True, eq=False)
class Signals:
    """How tools, callers and other threads reach the driver of a run."""

    cancelled: bool = False
    """Set from any thread to end a sync run."""
    report: Callable[[Event], None] = drop
    """Where tools that run tell how far they are; a driver sets it for as long as it listens."""
    wake: Callable[[], None] = _do_nothing
    """Makes a driver that waits look whether the run was cancelled."""
    caller: Caller = field(default_factory=Caller)
    """Where tools that ask a person are called; of a sub-agent's run, that of the run around it."""

    def unplug(self) -> None:
        """Let nobody be told or woken any more."""
        self.report, self.wake = drop, _do_nothing

    def cancel(self) -> None:
        """End the run at the next instant at which the driver looks."""
        self.cancelled = True
        self.wake()
