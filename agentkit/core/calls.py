"""How the calls of a turn are answered: the part of the loop between two turns of the model."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from agentkit.core.approvals import AfterTool, Desk, check_decisions, is_unknown
from agentkit.core.effects import (
    EXPIRED,
    Effect,
    OpenTurn,
    Plan,
    Resolve,
    RunCalls,
    Save,
    State,
    Steps,
    deferred_state,
)
from agentkit.core.survey import ACCEPTED
from agentkit.errors import AgentError, ToolError, ToolRetriesExceeded, ToolRetry
from agentkit.events import AgentEvent, Event, ToolFinished, ToolProgress, ToolStarted
from agentkit.limits import reached, share_left
from agentkit.stores.message import Message
from agentkit.stores.steps import AddMessage, FinishCall, SaveResult, StartCalls, Step, StoredCall
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation, Outcome, args_of, hold, prepare, refuse
from agentkit.tooling.tool import Tool
from agentkit.wire.content import Content, FunctionCall, calls_of, keep


class CallsOfTurn:
    """The calls of one content of the model, on their way to their responses.

    With a `ledger` the turn is one that a run stopped in, or a process ended in; it says what is known of each.
    """

    def __init__(
        self,
        plan: Plan,
        state: State,
        content: Content,
        tools: Mapping[str, Tool],
        ledger: Sequence[StoredCall] | None = None,
    ) -> None:
        self._plan = plan
        self._state = state
        self._content = content
        self._tools = tools
        self._resumed = ledger is not None
        self._entries = {entry.index: entry for entry in ledger or ()}
        self._begun: set[int] = set()
        self._closing = "the run was cancelled before"
        self.invocations: list[Invocation] = []

    def answer(self) -> Steps:
        """Give every call its one response, in one content, whatever happens (rule 2); or leave the turn open."""
        state = self._state
        state.open = self._resumed  # what waits goes on waiting until it is settled what becomes of it
        try:
            if self._resumed:
                check_decisions(self._plan.decisions, list(self._entries.values()))
            self._look()
            if state.pending:
                state.stop = "unknown_effect"
                return
            if not self._resumed and state.kept:
                entries = [self._entry(index, at_first=True) for index in range(len(self.invocations))]
                yield from save_reply(state, self._content, entries, later=True)
            desk = Desk(self._plan, state, self._tools)
            for index, invocation in enumerate(self.invocations):
                if not invocation.stored and state.stop is None:
                    yield from desk.settle(invocation, self._entries.get(index))
            if self._resumed and state.stop is not None:
                self._hold_all()
            self._list_pending()
            state.open = bool(state.pending)
            if state.stop is None:
                yield from self._run()
            else:
                self._closing = "the time of the run was up before"
            self._list_pending()
            state.open = bool(state.pending)
            if state.open:
                yield from self._wait()
                return
        except Exception:
            self._closing = "the run ended before"
            raise
        finally:
            self._close()
        if state.kept:
            yield Save([*self._wholes(), AddMessage(Message(content=state.contents[-1]))])
        limit = self._plan.limits.tool_calls
        if state.stop is None and limit is not None and state.tool_calls > limit:
            state.stop = "tool_calls"

    def take_output_again(self) -> Steps:
        """Take the structured output that a call gave before the run stopped: it isn't kept with the response."""
        output = self._plan.output
        tool = output.tool if output is not None else None
        for invocation in self.invocations:
            said = invocation.outcome.part["functionResponse"] if invocation.outcome else None
            if tool is None or said is None or said["name"] != tool.name or not invocation.stored:
                continue
            if said["response"] == {"output": ACCEPTED} and invocation.tool is None:
                again = prepare(invocation.call, {tool.name: tool}, invocation.context)
                if again.function is not None:
                    invocation.tool = tool
                    with suppress(ToolRetry, ToolError):  # the model is asked for it again
                        yield Resolve(again.function)

    def _look(self) -> None:
        """Find the tool of each call and validate its arguments; what has its response already keeps it."""
        state = self._state
        state.pending = []
        turn = len(state.earlier) + len(state.usages)
        unknown = any(map(is_unknown, self._entries.values()))
        for index, call in enumerate(calls_of(self._content)):
            entry = self._entries.get(index)
            # The server's ids may be missing, or the same in every turn: this one is an idempotency key.
            call_id = entry.call_id if entry else f"{self._plan.context.run_id}-{turn}-{index}"
            invocation = Invocation(call, self._context(call, call_id))
            self.invocations.append(invocation)
            if entry and entry.response:  # it ran before the run stopped
                invocation.outcome, invocation.stored = Outcome("ok", entry.response), True
            elif entry and is_unknown(entry):
                hold(invocation, "unknown_effect", "Its process ended while it ran.")
            elif not unknown:  # nothing is run before a person has said what became of those
                self._prepare(invocation)
        self._list_pending()

    def _prepare(self, invocation: Invocation) -> None:
        plan, state = self._plan, self._state
        ready = prepare(invocation.call, self._tools, invocation.context, max_chars=plan.result_chars)
        invocation.tool, invocation.function, invocation.outcome = ready.tool, ready.function, ready.outcome
        if ready.tool is not None and plan.output is not None and ready.tool is plan.output.tool:
            return  # it does nothing: it is how the answer is given
        state.tool_calls += 1
        if plan.limits.tool_calls is not None and state.tool_calls > plan.limits.tool_calls:
            text = "The limit of tool calls is reached; this call was not run."
            invocation.outcome = refuse(invocation, text, "refused")

    def _context(self, call: FunctionCall, call_id: str) -> Context[Any]:
        base, state, limits = self._plan.context, self._state, self._plan.limits
        outer = self._plan.outer_limit
        return Context(
            deps=base.deps,
            run_id=base.run_id,
            session_id=base.session_id,
            call_id=call_id,
            tool_name=call["name"],
            retry=state.failures.get(call["name"], 0),
            turn=len(state.usages),
            on_progress=lambda message: state.report(ToolProgress(call_id, call["name"], message)),
            on_event=lambda event: state.report(_from_inside(event, call_id)),
            on_usage=state.extra_usages.append,
            on_live_usage=state.live_usages.append,
            watched=base.watched,
            limit_reached=lambda: reached(limits, state.usage, turns=0) or (outer() if outer else None),
            guarded=self._plan.guarded,
            approver=self._plan.approver,
            share_left=lambda share: share_left(limits, state.usage(), state.tool_calls, share),
        )

    def _list_pending(self) -> None:
        outcomes = [invocation.outcome for invocation in self.invocations]
        self._state.pending = [call for outcome in outcomes if outcome for call in outcome.pending]

    def _hold_all(self) -> None:
        """Let the calls that were not settled wait on: the time was up, and some may need a decision."""
        for invocation in self.invocations:
            if invocation.outcome is None:
                hold(invocation, "approval", "The time of the run was up before it was settled.")

    def _run(self) -> Steps:
        for batch in _batches(self.invocations):
            self._begun.update(batch)
            if (yield from self._run_batch(batch)):
                self._closing = "the time of the run was up before"
                return
            if self._plan.on_error == "raise":
                _raise_failure([self.invocations[index] for index in batch])

    def _run_batch(self, batch: Sequence[int]) -> Generator[Event | Effect, Any, bool]:
        """Run calls at the same time; return whether the time of the run is up."""
        invocations = self.invocations
        ready = [index for index in batch if invocations[index].outcome is None]
        for index in batch:
            told = invocations[index].stored or self._waits(index)  # told when the run stopped, or not yet
            if index not in ready and not told:  # answered without being run
                yield started(invocations[index])
                yield finished(invocations[index], 0.0)
        if not ready:
            return False
        if self._state.kept:
            yield Save([StartCalls(ready)])
        after = AfterTool(self._plan)
        step = RunCalls([invocations[index] for index in ready], ready, after if after.wanted else None)
        return (yield step) is EXPIRED

    def _wait(self) -> Steps:
        """Stop, with what waits in `state.pending` and all else kept."""
        state = self._state
        state.stop = "approval" if any(call.kind == "approval" for call in state.pending) else "deferred"
        self._give_up_begun()
        done: list[Step] = [
            FinishCall(index, invocation.outcome.part)
            for index, invocation in enumerate(self.invocations)
            if invocation.outcome is not None and invocation.outcome.kind != "waits" and not invocation.stored
        ]
        cut_off = [index for index, entry in self._entries.items() if entry.started and self._waits(index)]
        if cut_off:  # when its process ended, and waits again
            done.append(StartCalls(cut_off, started=False))
        if done:
            yield Save([*self._wholes(), *done])

    def _waits(self, index: int) -> bool:
        outcome = self.invocations[index].outcome
        return outcome is not None and outcome.kind == "waits"

    def _wholes(self) -> list[Step]:
        """Give what keeps the results that were cut of calls which didn't run: a decision or a hook brought them."""
        return [
            SaveResult(invocation.context.call_id, invocation.outcome.whole)
            for invocation in self.invocations
            if invocation.outcome is not None
            and invocation.outcome.whole is not None
            and not invocation.stored
        ]

    def _entry(self, index: int, *, at_first: bool = False) -> StoredCall:
        """Write down what is known of a call; `at_first`, before anything has run."""
        invocation, known = self.invocations[index], self._entries.get(index)
        outcome = invocation.outcome
        tool, final = invocation.tool, outcome is not None and outcome.kind != "waits"
        return StoredCall(
            index=index,
            call_id=invocation.context.call_id,
            name=invocation.context.tool_name,
            effect=tool.ledger_effect if tool else known.effect if known else "read",
            started=known is not None and is_unknown(known),
            response=outcome.part if outcome and final and not at_first else None,
            deferred=deferred_state(outcome.deferred, invocation.args)
            if outcome and outcome.deferred
            else None,
        )

    def _close(self) -> None:
        """Add the calls with all their responses to the history, in one go: it is valid before and after."""
        state, invocations = self._state, self.invocations
        for call in calls_of(self._content)[len(invocations) :]:  # broken off before they were looked at
            invocations.append(Invocation(call, self._context(call, "")))
        self._list_pending()
        state.open = state.open or bool(state.pending)  # what waits is not lost to what breaks off the others
        self._give_up_begun()
        if state.open:
            state.opened = OpenTurn(self._content, [self._entry(index) for index in range(len(invocations))])
        failed: dict[str, bool] = {}
        for index, invocation in enumerate(invocations):
            if invocation.outcome is None:
                self._give_up(index)
            outcome, name = invocation.outcome, invocation.context.tool_name
            assert outcome is not None  # noqa: S101 - set above
            failed[name] = failed.get(name, False) or outcome.kind in ("invalid", "retry")
            if outcome.whole is not None:
                state.results[invocation.context.call_id] = outcome.whole
            if outcome.error is not None and (
                outcome.kind in ("error", "timeout") or isinstance(outcome.error, ToolRetriesExceeded)
            ):
                state.errors.append(outcome.error)
        for name, again in failed.items():
            state.failures[name] = state.failures.get(name, 0) + 1 if again else 0
        parts = [invocation.outcome.part for invocation in invocations if invocation.outcome]
        state.contents += [self._content, keep({"role": "user", "parts": parts})]

    def _give_up_begun(self) -> None:
        """Answer the calls that were cut off while they were under way: they are not to be run again."""
        for index in self._begun:
            if self.invocations[index].outcome is None:
                self._give_up(index)

    def _give_up(self, index: int) -> None:
        """Answer a call that has no outcome and will have none."""
        invocation, how = self.invocations[index], "Not run"
        if index in self._begun:
            how = "Not finished: it was under way and may have taken effect"
        invocation.outcome = refuse(invocation, f"{how}; {self._closing}.", "cancelled")


def save_reply(
    state: State, content: Content, calls: Sequence[StoredCall] = (), *, later: bool = False
) -> Steps:
    """Store a reply of the model with what it cost."""
    message = Message(content=content, usage=state.usages[-1], finish_reason=state.finish_reason)
    yield Save([AddMessage(message, calls)], later)
    state.stored_usages.append(state.usages[-1])


def _from_inside(event: Event, call_id: str) -> Event:
    """Pass on what happens in a sub-agent, under the call of this run that it answers."""
    return AgentEvent(event.path, call_id, event.event) if isinstance(event, AgentEvent) else event


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


def started(invocation: Invocation) -> ToolStarted:
    """Make the event that a call begins; where nobody watches, without copies of what is in it."""
    context = invocation.context
    return ToolStarted(context.call_id, context.tool_name, args_of(invocation) if context.watched else {})


def finished(invocation: Invocation, seconds: float) -> ToolFinished:
    """Make the event that a call has its response."""
    outcome, context = invocation.outcome, invocation.context
    assert outcome is not None  # noqa: S101 - the driver's side of the contract
    response = outcome.part["functionResponse"]
    if context.watched:
        response = copy.deepcopy(response)
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
