"""The agent loop, sans-IO: a generator that yields what is to be done and is sent what came of it.

No I/O, no clock, no thread and no event loop is in here; a driver performs the steps. It yields events, which
are passed on to whoever watches, and these kinds of effects:

- `CallModel`: ask the model; the driver gives each chunk to `feed` and sends back None, a `ModelError`, or
  `EXPIRED` if the time of the run is up.
- `RunCalls`: run these calls at the same time; the driver sets each one's `outcome` as soon as it has it, and
  stores it.
- `Save`: store what happened, before anything else happens.
- `Count`: have the model count the tokens of a request, and send back the number.
- `Resolve`: call a function (sync or async) and send back what it returns.
- `Wait`: let the seconds pass; sent back is None, or `EXPIRED` if they would outlast the time of the run.

After every step, and when it is closed in the midst of one, `state.contents` is a valid history.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from agentkit.errors import ConfigurationError, ModelError, ToolError, ToolRetriesExceeded
from agentkit.events import (
    Event,
    ModelRetry,
    TextDelta,
    ThoughtDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
)
from agentkit.limits import Limits, Usage
from agentkit.memory.base import CountTokens, DoesNotFit, Memory, Situation
from agentkit.repair import RetryPolicy, Stop, Verdict, judge
from agentkit.stores.base import AddMessage, FinishCall, SaveSummary, StartCalls, Step, StoredCall
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation, Outcome, fail, prepare, refuse
from agentkit.tooling.tool import Tool
from agentkit.wire.content import (
    Content,
    FunctionCall,
    JsonObject,
    Reply,
    Request,
    calls_of,
    keep,
    user_content,
)
from agentkit.wire.reply import ReplyAssembler

MAX_REPAIRS: Final = 2
"""How often a turn is asked again after a malformed or empty reply."""


class _Expired:
    """The time of the run is up."""


EXPIRED: Final = _Expired()


@dataclass(slots=True)
class CallModel:
    """Ask the model."""

    request: Request
    assembler: ReplyAssembler = field(default_factory=ReplyAssembler)
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
    memory: Memory | None = None


def nobody(_: ToolProgress) -> None:
    """Drop what a tool tells while no one listens, as the late words of one that was left behind."""


@dataclass(slots=True)
class State:
    """What a run has so far. `contents` is valid history except while a turn's calls are run."""

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
    pending: list[FunctionCall] = field(default_factory=list)
    partial: str = ""
    """Text of a reply that was broken off; it is not in the history."""
    answered: bool = False
    done: bool = False
    ledger: Sequence[StoredCall] = ()
    """Of a resumed run: what is known of the calls that the history ends with."""
    open: bool = False
    """Whether the calls that the history ends with stay open in the store: a person must say what became of them."""
    last_view: Sequence[Content] = ()
    """What was sent last."""
    last_usage: Usage | None = None
    """What the reply to it cost."""
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


def run_loop(plan: Plan, state: State) -> Steps:
    """Go on until the model answers or something stops the run."""
    try:
        yield from _run(plan, state)
    except GeneratorExit:
        if not state.answered and state.stop is None:
            state.stop = "cancelled"
        raise
    finally:
        state.done = True


def _run(plan: Plan, state: State) -> Steps:
    instructions = plan.instructions
    if callable(instructions):
        ask = instructions
        instructions = yield Resolve(lambda: ask(plan.context))
        if instructions is not None and not isinstance(instructions, str):
            raise ConfigurationError(
                f"instructions returned {type(instructions).__name__}; a function of the instructions returns a str."
            )
    base = _base_request(plan, instructions)
    yield Save([AddMessage(content) for content in state.contents[state.known :]])
    first = len(state.contents)
    if state.contents and state.contents[-1]["role"] == "model":  # resumed
        state.answered = not calls_of(state.contents[-1])
        if not state.answered:
            yield from _answer_calls(plan, state, state.contents[-1], state.ledger)
    while state.stop is None and not state.answered:
        forced = plan.tool_choice if len(state.contents) == first else "auto"
        if (yield from _model_turn(plan, state, _with_tool_choice(base, plan, forced))):
            yield from _answer_calls(plan, state, state.contents[-1])


def _base_request(plan: Plan, instructions: str | None) -> JsonObject:
    base: JsonObject = dict(plan.config)
    if instructions:
        base["systemInstruction"] = user_content(instructions)
    if plan.tools:
        declared = {"functionDeclarations": [tool.declaration for tool in plan.tools.values()]}
        base["tools"] = [declared, *base.get("tools", ())]
    return base


def _with_tool_choice(base: JsonObject, plan: Plan, choice: str | Sequence[str]) -> JsonObject:
    """Add the mode. `required` and names force the first turn only: forced on each, a run never ends (rule 9)."""
    if plan.tool_choice == "none":
        calling: JsonObject = {"mode": "NONE"}
    elif choice == "auto" or not plan.tools:
        return base
    elif choice == "required":
        calling = {"mode": "ANY"}
    else:
        calling = {"mode": "ANY", "allowedFunctionNames": list(choice)}
    return {**base, "toolConfig": {**base.get("toolConfig", {}), "functionCallingConfig": calling}}


def _model_turn(plan: Plan, state: State, base: JsonObject) -> Generator[Event | Effect, Any, bool]:
    """Get one usable reply and add its content to the history; return whether it makes calls."""
    repairs = 0
    nudge: str | None = None
    while True:
        if reached := _limit_reached(plan.limits, state):
            state.stop = reached
            return False
        view = yield from _view(plan, state, base)
        if view is None:
            return False
        contents = (*view, user_content(nudge)) if nudge else view
        step = yield from _ask(plan, state, CallModel(cast(Request, {"contents": contents, **base})))
        if step is None:
            return False
        reply = step.assembler.reply()
        usage = Usage.from_wire(reply.get("usageMetadata"))
        state.usages.append(usage)
        state.last_view, state.last_usage = view, usage
        verdict = judge(reply)
        state.finish_reason = verdict.finish_reason
        again = verdict.action == "retry" and repairs < MAX_REPAIRS
        if not again and verdict.action != "calls":
            yield from _take(state, verdict, step.assembler)
        yield TurnFinished(len(state.usages), usage, verdict.finish_reason)
        if verdict.action == "calls":  # from here to where they are answered nothing is yielded
            state.contents.append(keep({"role": "model", "parts": step.assembler.parts}))
            return True
        if not again:
            return False
        repairs += 1
        nudge = verdict.nudge
        yield ModelRetry(1 + repairs, 0.0, verdict.finish_reason)


def _limit_reached(limits: Limits, state: State) -> Stop | None:
    if limits.turns is not None and len(state.usages) >= limits.turns:
        return "turns"
    if limits.tokens is not None and state.usage().total_tokens >= limits.tokens:
        return "tokens"
    return None


def _ask(plan: Plan, state: State, step: CallModel) -> Generator[Event | Effect, Any, CallModel | None]:
    """Ask the model, again where it fails in a passing way; None if the time of the run is up."""
    attempt, waited = 1, 0.0
    while True:
        try:
            result = yield step
        except BaseException:
            state.partial = step.assembler.text
            raise
        if result is EXPIRED:
            state.partial = step.assembler.text
            state.stop = "seconds"
            return None
        if not isinstance(result, ModelError):
            return step
        delay = plan.retry.delay(result, attempt=attempt, waited=waited, jitter=plan.jitter())
        if delay is None or step.shown:
            state.partial = step.assembler.text
            raise result
        attempt, waited = attempt + 1, waited + delay
        yield ModelRetry(attempt, delay, str(result))
        if (yield Wait(delay)) is EXPIRED:
            state.stop = "seconds"
            return None
        step = CallModel(step.request, quiet=step.quiet)


def _view(
    plan: Plan, state: State, base: JsonObject
) -> Generator[Event | Effect, Any, Sequence[Content] | None]:
    """Let the memory choose what is sent; None stops the run."""
    if plan.memory is None:
        return tuple(state.contents)
    situation = Situation(
        base=base, last_view=state.last_view, last_usage=state.last_usage, summary=state.summary
    )
    choosing = plan.memory.view(tuple(state.contents), situation)
    answer: Any = None
    while True:
        try:
            need = choosing.send(answer)
        except StopIteration as chosen:
            return tuple(chosen.value)
        except DoesNotFit as error:
            state.stop, state.finish_reason = "too_large", str(error)
            return None
        if isinstance(need, CountTokens):
            answer = yield Count(cast(Request, {"contents": tuple(need.contents), **base}))
            continue
        step = yield from _ask(plan, state, CallModel(cast(Request, need.request), quiet=True))
        if step is None:
            return None
        answer = step.assembler.text
        state.extra_usages.append(Usage.from_wire(step.assembler.reply().get("usageMetadata")))
        state.summary = (need.upto, answer)
        yield Save([SaveSummary(*state.summary)])


def _take(state: State, verdict: Verdict, assembler: ReplyAssembler) -> Steps:
    """Add a reply that ends the run; calls in one that isn't whole are left out, since they are never run."""
    parts = assembler.parts
    state.answered = verdict.action == "answer"
    if not state.answered:
        state.stop = verdict.stop
        parts = [part for part in parts if "functionCall" not in part]
    if parts:
        content = keep({"role": "model", "parts": parts})
        state.contents.append(content)
        yield Save([AddMessage(content, state.usages[-1], verdict.finish_reason)])


def _answer_calls(
    plan: Plan, state: State, content: Content, ledger: Sequence[StoredCall] | None = None
) -> Steps:
    """Give every call of the turn its one response, in one content, whatever happens (rule 2)."""
    invocations = _prepare(plan, state, content, ledger or ())
    closing = "the run was cancelled before the call was done"
    try:
        if state.open:
            closing = "nobody knows yet whether this call took effect"
            state.stop = "unknown_effect"
            return
        if ledger is None:
            calls = [_entry(index, invocation) for index, invocation in enumerate(invocations)]
            yield Save([AddMessage(content, state.usages[-1], state.finish_reason, calls)])
        for batch in _batches(invocations):
            yield from _run_batch(invocations, batch)
            if plan.on_error == "raise":
                _raise_failure([invocations[index] for index in batch])
    except Exception:
        closing = "the run ended before the call was done"
        raise
    finally:
        _close_turn(state, invocations, closing)
    yield Save([AddMessage(state.contents[-1])])
    if state.pending:
        state.stop = "approval"
    elif plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
        state.stop = "tool_calls"


def _entry(index: int, invocation: Invocation) -> StoredCall:
    effect = invocation.tool.effect if invocation.tool else "read"
    return StoredCall(
        index=index, call_id=invocation.context.call_id, name=invocation.context.tool_name, effect=effect
    )


def _prepare(plan: Plan, state: State, content: Content, ledger: Sequence[StoredCall]) -> list[Invocation]:
    invocations: list[Invocation] = []
    recorded = {entry.index: entry for entry in ledger}
    seen: set[str] = set()
    for index, call in enumerate(calls_of(content)):
        entry = recorded.get(index)
        call_id = entry.call_id if entry else call.get("id") or ""
        if not call_id or call_id in seen:
            call_id = f"{plan.context.run_id}-{len(state.usages)}-{index}"
        seen.add(call_id)
        invocation = prepare(call, plan.tools, _context(plan, state, call, call_id))
        invocations.append(invocation)
        if entry and entry.response:  # it ran before the process ended
            invocation.outcome = Outcome("ok", entry.response)
            continue
        if entry and entry.started and entry.effect == "write":
            state.pending.append(call)
            state.open = True
            continue
        state.tool_calls += 1
        if plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
            _refuse(invocation, "The limit of tool calls is reached; this call was not run.")
        elif invocation.outcome is None:
            _hold_for_approval(state, invocation)
    return invocations


def _context(plan: Plan, state: State, call: FunctionCall, call_id: str) -> Context[Any]:
    base = plan.context
    return Context(
        deps=base.deps,
        run_id=base.run_id,
        session_id=base.session_id,
        call_id=call_id,
        tool_name=call["name"],
        retry=state.failures.get(call["name"], 0),
        on_progress=lambda message: state.report(ToolProgress(call_id, call["name"], message)),
        on_usage=state.extra_usages.append,
    )


def _hold_for_approval(state: State, invocation: Invocation) -> None:
    approval = invocation.tool.approval if invocation.tool else False
    try:
        held = (
            approval(dict(invocation.call.get("args") or {}), invocation.context)
            if callable(approval)
            else approval
        )
    except Exception as error:
        invocation.outcome = fail(invocation, error)
        return
    if held:
        state.pending.append(invocation.call)
        _refuse(invocation, "This call needs a person's approval and was not run.")


def _refuse(invocation: Invocation, reason: str) -> None:
    invocation.outcome = refuse(invocation, reason, "refused")


def _batches(invocations: Sequence[Invocation]) -> Iterator[list[int]]:
    """Split into groups that may run at the same time: a write runs alone, and everything in call order."""
    batch: list[int] = []
    for index, invocation in enumerate(invocations):
        if invocation.outcome is None and invocation.tool is not None and invocation.tool.effect == "write":
            if batch:
                yield batch
            yield [index]
            batch = []
        else:
            batch.append(index)
    if batch:
        yield batch


def _run_batch(invocations: Sequence[Invocation], batch: Sequence[int]) -> Steps:
    ready = [index for index in batch if invocations[index].outcome is None]
    for index in batch:
        if index not in ready:  # answered without being run
            yield started(invocations[index])
            yield finished(invocations[index], 0.0)
    if ready:
        yield Save([StartCalls(ready)])
        yield RunCalls([invocations[index] for index in ready], ready)


def started(invocation: Invocation) -> ToolStarted:
    """Make the event that a call begins."""
    context = invocation.context
    return ToolStarted(context.call_id, context.tool_name, dict(invocation.call.get("args") or {}))


def finished(invocation: Invocation, seconds: float) -> ToolFinished:
    """Make the event that a call has its response."""
    outcome, context = invocation.outcome, invocation.context
    assert outcome is not None  # noqa: S101 - the driver's side of the contract
    response = outcome.part["functionResponse"]
    return ToolFinished(context.call_id, context.tool_name, response, seconds, outcome.error)


def _raise_failure(batch: Sequence[Invocation]) -> None:
    for invocation in batch:
        outcome = invocation.outcome
        if (
            outcome
            and outcome.kind in ("error", "timeout")
            and not isinstance(outcome.error, (ToolError, type(None)))
        ):
            raise outcome.error


def _close_turn(state: State, invocations: Sequence[Invocation], closing: str) -> None:
    failed: dict[str, bool] = {}
    for invocation in invocations:
        outcome = invocation.outcome
        if outcome is None:
            outcome = invocation.outcome = refuse(invocation, f"Not finished: {closing}.", "cancelled")
        name = invocation.context.tool_name
        failed[name] = failed.get(name, False) or outcome.kind in ("invalid", "retry")
        if outcome.error is not None and (
            outcome.kind in ("error", "timeout") or isinstance(outcome.error, ToolRetriesExceeded)
        ):
            state.errors.append(outcome.error)
    for name, again in failed.items():
        state.failures[name] = state.failures.get(name, 0) + 1 if again else 0
    parts = [invocation.outcome.part for invocation in invocations if invocation.outcome]
    state.contents.append(keep({"role": "user", "parts": parts}))
