"""The agent loop, sans-IO: a generator that yields what is to be done and is sent what came of it.

No I/O, no clock, no thread and no event loop is in here; a driver performs the steps. It yields events, which
are passed on to whoever watches, and four kinds of effects:

- `CallModel`: ask the model; the driver gives each chunk to `feed` and sends back None, a `ModelError`, or
  `EXPIRED` if the time of the run is up.
- `RunCalls`: run these calls at the same time; the driver sets each one's `outcome` as soon as it has it.
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
from agentkit.repair import RetryPolicy, Stop, Verdict, judge
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation, fail, prepare, refuse
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
    shown: bool = False
    """Whether a part of the reply has been passed on."""

    def feed(self, chunk: Reply) -> Iterator[Event]:
        """Take a chunk of the reply, or the whole of it; yield the events to pass on."""
        for part in self.assembler.add(chunk):
            if text := part.get("text"):
                self.shown = True
                yield ThoughtDelta(text) if part.get("thought") else TextDelta(text)


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Run these calls at the same time."""

    invocations: Sequence[Invocation]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Call a function; if it returns an awaitable, await it."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass."""

    seconds: float


Effect = CallModel | RunCalls | Resolve | Wait
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


def nobody(_: ToolProgress) -> None:
    """Drop what a tool tells while no one listens, as the late words of one that was left behind."""


@dataclass(slots=True)
class State:
    """What a run has so far. `contents` is valid history except while a turn's calls are run."""

    contents: list[Content]
    started_with: int
    """How many contents there were before the run, the user's input not counted."""
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
    tool_calls: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """Failures in a row, by tool."""
    report: Callable[[ToolProgress], None] = nobody
    """Where tools that run tell how far they are; a driver sets it for as long as it listens."""

    def go_on_from(self, history: Sequence[Content]) -> None:
        """Put a history before the user's input; only before the run begins."""
        self.contents[:0] = history
        self.started_with = len(history)

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
    first = len(state.contents)
    while state.stop is None:
        forced = plan.tool_choice if len(state.contents) == first else "auto"
        verdict = yield from _model_turn(plan, state, _with_tool_choice(base, plan, forced))
        if verdict is None or verdict.action != "calls":
            return
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


def _model_turn(plan: Plan, state: State, base: JsonObject) -> Generator[Event | Effect, Any, Verdict | None]:
    """Get one usable reply and add its content to the history; None if the run stops without one."""
    limits = plan.limits
    repairs, attempt, waited = 0, 1, 0.0
    nudge: str | None = None
    while True:
        if limits.turns is not None and len(state.usages) >= limits.turns:
            state.stop = "turns"
            return None
        if limits.tokens is not None and state.usage().total_tokens >= limits.tokens:
            state.stop = "tokens"
            return None
        contents = (*state.contents, user_content(nudge)) if nudge else tuple(state.contents)
        step = CallModel(cast(Request, {"contents": contents, **base}))
        try:
            result = yield step
        except BaseException:
            state.partial = step.assembler.text
            raise
        if result is EXPIRED:
            state.partial = step.assembler.text
            state.stop = "seconds"
            return None
        if isinstance(result, ModelError):
            delay = plan.retry.delay(result, attempt=attempt, waited=waited, jitter=plan.jitter())
            if delay is None or step.shown:
                state.partial = step.assembler.text
                raise result
            attempt, waited = attempt + 1, waited + delay
            yield ModelRetry(attempt, delay, str(result))
            if (yield Wait(delay)) is EXPIRED:
                state.stop = "seconds"
                return None
            continue
        reply = step.assembler.reply()
        usage = Usage.from_wire(reply.get("usageMetadata"))
        state.usages.append(usage)
        verdict = judge(reply)
        state.finish_reason = verdict.finish_reason
        again = verdict.action == "retry" and repairs < MAX_REPAIRS
        if not again and verdict.action != "calls":
            _take(state, verdict, step.assembler)
        yield TurnFinished(len(state.usages), usage, verdict.finish_reason)
        if again:
            repairs += 1
            nudge = verdict.nudge
            yield ModelRetry(attempt + repairs, 0.0, verdict.finish_reason)
            continue
        if verdict.action == "calls":  # from here to their answers nothing is yielded: no call is left open
            _take(state, verdict, step.assembler)
        return verdict


def _take(state: State, verdict: Verdict, assembler: ReplyAssembler) -> None:
    """Add a reply's content; the calls of a reply that isn't whole are left out, since they are never run."""
    parts = assembler.parts
    state.answered = verdict.action == "answer"
    if verdict.action not in ("calls", "answer"):
        state.stop = verdict.stop
        parts = [part for part in parts if "functionCall" not in part]
    if parts:
        state.contents.append(keep({"role": "model", "parts": parts}))


def _answer_calls(plan: Plan, state: State, content: Content) -> Steps:
    """Give every call of the turn its one response, in one content, whatever happens (rule 2)."""
    invocations = _prepare(plan, state, content)
    closing = "the run was cancelled before the call was done"
    try:
        for batch in _batches(invocations):
            yield from _run_batch(batch)
            if plan.on_error == "raise":
                _raise_failure(batch)
    except Exception:
        closing = "the run ended before the call was done"
        raise
    finally:
        _close_turn(state, invocations, closing)
    if state.pending:
        state.stop = "approval"
    elif plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
        state.stop = "tool_calls"


def _prepare(plan: Plan, state: State, content: Content) -> list[Invocation]:
    invocations: list[Invocation] = []
    seen: set[str] = set()
    for index, call in enumerate(calls_of(content)):
        call_id = call.get("id") or ""
        if not call_id or call_id in seen:
            call_id = f"{plan.context.run_id}-{len(state.usages)}-{index}"
        seen.add(call_id)
        context = _context(plan, state, call, call_id)
        invocation = prepare(call, plan.tools, context)
        state.tool_calls += 1
        if plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
            _refuse(invocation, "The limit of tool calls is reached; this call was not run.")
        elif invocation.outcome is None:
            _hold_for_approval(state, invocation)
        invocations.append(invocation)
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


def _batches(invocations: Sequence[Invocation]) -> Iterator[list[Invocation]]:
    """Split into groups that may run at the same time: a write runs alone, and everything in call order."""
    batch: list[Invocation] = []
    for invocation in invocations:
        writes = (
            invocation.outcome is None and invocation.tool is not None and invocation.tool.effect == "write"
        )
        if writes:
            if batch:
                yield batch
            yield [invocation]
            batch = []
        else:
            batch.append(invocation)
    if batch:
        yield batch


def _run_batch(batch: Sequence[Invocation]) -> Steps:
    ready = [invocation for invocation in batch if invocation.outcome is None]
    for invocation in batch:
        if invocation.outcome is not None:  # answered without being run
            yield started(invocation)
            yield finished(invocation, 0.0)
    if ready:
        yield RunCalls(ready)


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
