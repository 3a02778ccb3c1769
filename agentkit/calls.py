"""How the calls of a turn are answered: the part of the loop between two turns of the model."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from agentkit.effects import EXPIRED, Effect, PendingCall, Plan, RunCalls, Save, State, Steps
from agentkit.errors import AgentError, ToolError, ToolRetriesExceeded
from agentkit.events import Event, ToolFinished, ToolProgress, ToolStarted
from agentkit.stores.base import AddMessage, StartCalls, StoredCall
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation, Outcome, fail, prepare, refuse
from agentkit.wire.content import Content, FunctionCall, JsonObject, calls_of, keep


def answer_calls(
    plan: Plan, state: State, content: Content, ledger: Sequence[StoredCall] | None = None
) -> Steps:
    """Give every call of the turn its one response, in one content, whatever happens (rule 2)."""
    invocations: list[Invocation] = []
    begun: set[int] = set()
    closing = "the run was cancelled before"
    entries = {entry.index: entry for entry in ledger or ()}
    state.open = any(map(_is_unknown, entries.values()))
    try:
        for index, call in enumerate(calls_of(content)):
            entry = entries.get(index)
            # The server's ids may be missing, or the same in every turn: this one is an idempotency key.
            call_id = entry.call_id if entry else f"{plan.context.run_id}-{len(state.usages)}-{index}"
            invocations.append(Invocation(call, _context(plan, state, call, call_id)))
            _prepare(plan, state, invocations[-1], entry)
        if state.open:
            closing = "nobody knows yet what became of the calls under way"
            state.stop = "unknown_effect"
            return
        if ledger is None:
            calls = [_entry(index, invocation) for index, invocation in enumerate(invocations)]
            yield from save_reply(state, content, calls)
        for batch in _batches(invocations):
            begun.update(batch)
            expired = yield from _run_batch(invocations, batch)
            if expired:
                closing = "the time of the run was up before"
                break
            if plan.on_error == "raise":
                _raise_failure([invocations[index] for index in batch])
    except Exception:
        closing = "the run ended before"
        raise
    finally:
        _close_turn(plan, state, content, invocations, begun, closing)
    yield Save([AddMessage(state.contents[-1])])
    if state.pending:
        state.stop = "approval"
    elif plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
        state.stop = "tool_calls"


def save_reply(state: State, content: Content, calls: Sequence[StoredCall] = ()) -> Steps:
    """Store a reply of the model with what it cost."""
    yield Save([AddMessage(content, state.usages[-1], state.finish_reason, calls)])
    state.stored_usages.append(state.usages[-1])


def _is_unknown(entry: StoredCall) -> bool:
    """Tell whether nobody knows if a call took effect: a write that was under way when its process ended."""
    return entry.started and entry.effect == "write" and entry.response is None


def _entry(index: int, invocation: Invocation) -> StoredCall:
    effect = invocation.tool.effect if invocation.tool else "read"
    return StoredCall(
        index=index, call_id=invocation.context.call_id, name=invocation.context.tool_name, effect=effect
    )


def _prepare(plan: Plan, state: State, invocation: Invocation, entry: StoredCall | None) -> None:
    """Make a call ready to be run, or answer it right away."""
    if entry and entry.response:  # it ran before the process ended
        invocation.outcome = Outcome("ok", entry.response)
        return
    if entry and _is_unknown(entry):
        state.pending.append(_pending(invocation))
    if state.open:  # nothing is run before a person has said what became of those
        return
    ready = prepare(invocation.call, plan.tools, invocation.context)
    invocation.tool, invocation.function, invocation.outcome = ready.tool, ready.function, ready.outcome
    state.tool_calls += 1
    if plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
        _refuse(invocation, "The limit of tool calls is reached; this call was not run.")
    elif invocation.outcome is None:
        _hold_for_approval(state, invocation)


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


def _pending(invocation: Invocation) -> PendingCall:
    context = invocation.context
    return PendingCall(call_id=context.call_id, name=context.tool_name, args=_args(invocation))


def _hold_for_approval(state: State, invocation: Invocation) -> None:
    approval = invocation.tool.approval if invocation.tool else False
    try:
        held = approval(_args(invocation), invocation.context) if callable(approval) else approval
    except Exception as error:
        invocation.outcome = fail(invocation, error)
        return
    if held:
        state.pending.append(_pending(invocation))
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


def _run_batch(
    invocations: Sequence[Invocation], batch: Sequence[int]
) -> Generator[Event | Effect, Any, bool]:
    """Run calls at the same time; return whether the time of the run is up."""
    ready = [index for index in batch if invocations[index].outcome is None]
    for index in batch:
        if index not in ready:  # answered without being run
            yield started(invocations[index])
            yield finished(invocations[index], 0.0)
    if ready:
        yield Save([StartCalls(ready)])
        return (yield RunCalls([invocations[index] for index in ready], ready)) is EXPIRED
    return False


def _args(invocation: Invocation) -> JsonObject:
    """Copy a call's arguments: whoever gets them may do with them what they like."""
    return copy.deepcopy(invocation.call.get("args") or {})


def started(invocation: Invocation) -> ToolStarted:
    """Make the event that a call begins."""
    context = invocation.context
    return ToolStarted(context.call_id, context.tool_name, _args(invocation))


def finished(invocation: Invocation, seconds: float) -> ToolFinished:
    """Make the event that a call has its response."""
    outcome, context = invocation.outcome, invocation.context
    assert outcome is not None  # noqa: S101 - the driver's side of the contract
    response = copy.deepcopy(outcome.part["functionResponse"])
    return ToolFinished(context.call_id, context.tool_name, response, seconds, outcome.error)


def _raise_failure(batch: Sequence[Invocation]) -> None:
    for invocation in batch:
        outcome = invocation.outcome
        if (
            outcome
            and outcome.kind in ("error", "timeout")
            and not isinstance(outcome.error, (ToolError, type(None)))
        ):
            if isinstance(outcome.error, StopIteration):  # a generator can't raise it
                raise AgentError(f"A tool raised {outcome.error!r}.") from outcome.error
            raise outcome.error


def _close_turn(
    plan: Plan,
    state: State,
    content: Content,
    invocations: list[Invocation],
    begun: set[int],
    closing: str,
) -> None:
    """Add the calls with all their responses to the history, in one go: it is valid before and after."""
    for call in calls_of(content)[len(invocations) :]:  # broken off before they were looked at
        invocations.append(Invocation(call, _context(plan, state, call, "")))
    failed: dict[str, bool] = {}
    for index, invocation in enumerate(invocations):
        outcome = invocation.outcome
        if outcome is None:
            how = "Not finished: it was under way and may have taken effect" if index in begun else "Not run"
            outcome = invocation.outcome = refuse(invocation, f"{how}; {closing}.", "cancelled")
        name = invocation.context.tool_name
        failed[name] = failed.get(name, False) or outcome.kind in ("invalid", "retry")
        if outcome.error is not None and (
            outcome.kind in ("error", "timeout") or isinstance(outcome.error, ToolRetriesExceeded)
        ):
            state.errors.append(outcome.error)
    for name, again in failed.items():
        state.failures[name] = state.failures.get(name, 0) + 1 if again else 0
    parts = [invocation.outcome.part for invocation in invocations if invocation.outcome]
    state.contents += [content, keep({"role": "user", "parts": parts})]
