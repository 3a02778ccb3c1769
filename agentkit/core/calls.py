"""How the calls of a turn are answered: the part of the loop between two turns of the model."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from agentkit.core.approvals import Approvals, is_unknown, waiting_inside, was_approved, why_unknown
from agentkit.core.effects import EXPIRED, CallDone, Effect, NextNews, Resolve, Save, StartCalls, Steps
from agentkit.core.log import note_in_order
from agentkit.core.outcomes import Outcomes
from agentkit.core.subagents import Mistake
from agentkit.errors import AgentError, DecisionError, ToolDeferred, ToolError, ToolRetry
from agentkit.events import Event, ToolFinished, ToolStarted
from agentkit.limits import Stop
from agentkit.stores import steps as store
from agentkit.stores.message import Message
from agentkit.tooling.invoke import (
    Invocation,
    Outcome,
    args_of,
    edit,
    fail,
    hold,
    hold_back,
    make_ready,
    prepare,
    refuse,
    succeed,
)
from agentkit.tooling.names import ACCEPTED, OWN, SECONDS, SOURCES, SUGGESTIONS
from agentkit.tooling.tool import Tool
from agentkit.wire.content import JsonObject, Part, calls_of, keep

if TYPE_CHECKING:
    from agentkit.core.state import RunState

_TIME_UP = "the time of the run was up before"
_ENDED = "the run ended before"


class Calls:
    """The calls of one message of the model, on their way to their responses.

    With a `ledger` the turn is one that a run stopped in, or a process ended in; it says what is known of each.
    """

    def __init__(
        self,
        run: RunState,
        message: Message,
        tools: Mapping[str, Tool],
        ledger: Sequence[store.StoredCall] | None = None,
    ) -> None:
        self._run = run
        self._message = message
        self._tools = tools
        self._resumed = ledger is not None
        self._entries = {entry.index: entry for entry in ledger or ()}
        self._begun: set[int] = set()
        self._unsettled = self._resumed  # what waits goes on waiting until it is settled what becomes of it
        self._closing = "the run was cancelled before"
        self._mistake: BaseException | None = None
        self._stored_state = run.session.state
        self._outcomes = Outcomes(run.settings.hooks, run.end, max_chars=run.tools.max_chars)
        self._approvals = Approvals(run, self._outcomes)
        self.invocations: list[Invocation] = []
        self._untold: list[ToolFinished] = []

    # -- the whole of it

    def respond(self) -> Steps:
        """Give every call its one response, in one content, whatever happens (rule 2); or leave the turn open."""
        end = self._run.end
        self._run.history.hear(self._message)
        try:
            self._look()
            if self._resumed:
                yield from self._check_decisions()
                if self._list_pending():
                    end.end("unknown_effect")
                    return
            if not self._resumed and self._run.session.append is not None:
                entries = [self._entry(index, at_first=True) for index in range(len(self.invocations))]
                yield Save([store.AddMessage(self._message, entries)], later=True)
                self._run.meter.note_stored(self._message.usage)
            yield from self._settle()
            if self._run.session.append is not None:
                yield from self._store_waiting()
            self._unsettled = False
            if end.stop is None:
                yield from self._make_calls()
            else:
                self._closing = _TIME_UP
            if self._list_pending():
                yield from self._leave_open()
                return
        except Exception:
            self._closing = _ENDED
            raise
        finally:
            self._close()
        if self._run.session.append is not None:
            # With an output there is one more message at once: after a crash it must not be asked for again.
            output = self._run.output is not None and any(map(self._gives_output, self.invocations))
            yield Save([*self._wholes(), store.AddMessage(self._run.history.messages[-1])], later=output)
            yield from self._untold
        if end.stop is None and (limit := self._run.meter.calls_reached()):
            end.end(*limit)

    def take_output_again(self) -> Steps:
        """Take the structured output that a call gave before the run stopped: it isn't kept with the response."""
        tool = self._run.output.tool if self._run.output is not None else None
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

    # -- before anything runs

    def _look(self) -> None:
        """Find the tool of each call and validate its arguments; what has its response already keeps it."""
        run = self._run
        turn = len(run.meter.earlier) + len(run.meter.turns)
        unknown = any(map(is_unknown, self._entries.values()))
        for index, call in enumerate(calls_of(self._message.content)):
            entry = self._entries.get(index)
            # The server's ids may be missing, or the same in every turn: this one is an idempotency key.
            call_id = entry.call_id if entry else f"{run.context.run_id}-{turn}-{index}"
            invocation = Invocation(call, run.call_context(call, call_id))
            self.invocations.append(invocation)
            if entry and entry.response:  # it ran before the run stopped
                invocation.outcome, invocation.stored = Outcome("ok", entry.response), True
            elif entry and is_unknown(entry):
                invocation.args = entry.args
                hold(invocation, "unknown_effect", why_unknown(entry))
            elif not unknown:  # nothing is run before a person has said what became of those
                self._prepare(invocation, entry)

    def _prepare(self, invocation: Invocation, entry: store.StoredCall | None) -> None:
        run, max_chars = self._run, self._run.tools.max_chars
        make_ready(invocation, self._tools, max_chars=max_chars)
        invocation.approved = entry is not None and was_approved(entry)
        if (
            invocation.tool is not None
            and entry is not None
            and entry.args is not None
            and not entry.deferred
        ):
            edit(invocation, entry.args, "A person", max_chars=max_chars)
        if self._gives_output(invocation):
            return  # it does nothing: it is how the answer is given
        if run.meter.add_call() is not None:
            text = "The limit of tool calls is reached; this call was not run."
            invocation.outcome = refuse(invocation, text, "refused")

    def _gives_output(self, invocation: Invocation) -> bool:
        """Return whether a call is how the structured output is given: its validator is asked, hooks aren't."""
        output = self._run.output
        return output is not None and invocation.tool is not None and invocation.tool is output.tool

    def _check_decisions(self) -> Steps:
        try:
            self._approvals.check(list(self._entries.values()))
        except DecisionError:
            yield from self._keep_waiting("No valid decision was made.", anew=True)
            raise

    def _settle(self) -> Steps:
        """Settle what becomes of each call: it runs, waits, or has its outcome without running."""
        run = self._run
        for index, invocation in enumerate(self.invocations):
            if invocation.stored or run.end.stop is not None:
                continue
            try:
                yield from self._approvals.settle(invocation, self._entries.get(index), self._tools)
            except DecisionError as error:
                if not self._resumed:
                    invocation.outcome = None
                yield from self._keep_waiting(
                    f"What was said of it can't be done: {error}", anew=self._resumed
                )
                raise
        if run.end.stop is not None and (
            self._resumed or any(map(self._is_waiting, range(len(self.invocations))))
        ):
            yield from self._keep_waiting("The time of the run was up before it was settled.")

    def _keep_waiting(self, why: str, *, anew: bool = False) -> Steps:
        """Let the calls that were not settled wait; with `anew`, all that have not run: nothing was said of any."""
        front = None
        for index, invocation in enumerate(self.invocations):
            entry = self._entries.get(index)
            known = invocation.stored or (entry is not None and is_unknown(entry))
            if invocation.outcome is None or (anew and not known):
                if entry is not None and entry.deferred is not None:
                    self._wait_for_result(invocation, entry.deferred, entry)
                elif entry is not None and entry.why is None and front is not None:
                    hold_back(invocation, front)  # nobody is asked about it
                else:
                    hold(invocation, "approval", why)
            front = front or self._name_if_waiting(index)
        if self._run.session.append is not None:
            yield from self._store_waiting()

    def _queue_behind_waiting(self) -> None:
        """Let what runs in order wait behind a call that waits; what only reads goes on beside."""
        front = None
        for index, invocation in enumerate(self.invocations):
            if invocation.outcome is not None:
                front = front or self._name_if_waiting(index)
            elif front is not None:
                entry, tool = self._entries.get(index), invocation.tool
                begun = entry is not None and entry.deferred is not None
                if tool is not None and tool.effect != "read" and not begun:
                    hold_back(invocation, front)

    def _name_if_waiting(self, index: int) -> str | None:
        """Name the tool of a call if what runs in order waits for it."""
        return self.invocations[index].context.tool_name if self._is_waiting(index) else None

    def _store_waiting(self) -> Steps:
        """Store why calls wait for a decision, and what was declared, where a store doesn't know it yet."""
        held: list[store.Step] = []
        for index in filter(self._is_waiting, range(len(self.invocations))):
            entry, known = self._entry(index), self._entries.get(index)
            if entry.why is not None and (
                known is None or known.why is None or known.declared != entry.declared
            ):
                held.append(store.HoldCall(index, entry.why, entry.declared))
        if held:
            yield Save(held, later=True)

    def _list_pending(self) -> bool:
        """List the calls that somebody must say something about; return whether there are any."""
        outcomes = [each.outcome for each in self.invocations if each.outcome is not None]
        self._run.waiting.pending = pending = [call for outcome in outcomes for call in outcome.pending]
        return bool(pending)

    # -- running them

    def _make_calls(self) -> Steps:
        if len(self.invocations) > 1:
            note_in_order([call.tool for call in self.invocations if call.outcome is None and call.tool])
        for batch in _batches(self.invocations):
            self._queue_behind_waiting()
            self._begun.update(batch)
            for index in batch:
                invocation = self.invocations[index]  # told when the run stopped, or not yet
                if invocation.outcome is not None and not (invocation.stored or self._is_waiting(index)):
                    yield started_event(invocation)
                    yield finished_event(invocation, 0.0)
            ready = [index for index in batch if self.invocations[index].outcome is None]
            if ready and (yield from self._run_batch(ready)):
                self._closing = _TIME_UP
                yield from self._tell_cut_off(ready)
                return
            if isinstance(self._mistake, DecisionError):
                yield from self._keep_waiting("It was not run: what was said of another call can't be done.")
                raise DecisionError(str(self._mistake)) from self._mistake
            if self._mistake is not None:
                raise self._mistake
            if self._run.settings.on_error == "raise":
                _raise_failure([self.invocations[index] for index in batch])

    def _run_batch(self, ready: Sequence[int]) -> Generator[Event | Effect, Any, bool]:
        """Run calls at the same time; return whether the time of the run is up."""
        run, invocations = self._run, [self.invocations[index] for index in ready]
        if run.session.append is not None:
            edited = [
                store.EditCall(index, args)
                for index, each in zip(ready, invocations, strict=True)
                if (args := each.args) is not None
            ]
            yield Save([*edited, store.StartCalls(ready)])
        if run.context._run.watched:
            yield from map(started_event, invocations)
        run.waiting.began = True
        left = len(invocations)
        wait: StartCalls | NextNews = StartCalls(invocations)
        while left:
            news = yield wait
            wait = NextNews()
            if news is EXPIRED:
                return True
            if not isinstance(news, CallDone):
                yield news
                continue
            left -= 1
            invocation = invocations[news.position]
            invocation.seconds = round(news.seconds, 3)
            yield from self._take(invocation, news, ready[news.position])
            end = finished_event(invocation, news.seconds)
            if run.session.append is not None:
                watched = run.context._run.watched
                steps = self._steps_of_end(ready[news.position])
                is_last = watched and not left and self._is_whole()
                yield Save(steps, later=is_last or not (left or watched))
                if is_last:
                    self._untold.append(end)
                    return False
            yield end
            if run.end.stop is not None:  # while a hook was asked
                return True
        return False

    def _is_whole(self) -> bool:
        """Return whether the content with all responses comes next: what is told of the last call waits for it."""
        open_or_output = any(
            each.outcome is None or each.outcome.kind == "waits" or self._gives_output(each)
            for each in self.invocations
        )
        begun = len(self.invocations) - 1 in self._begun
        return (
            begun and not open_or_output and self._mistake is None and self._run.settings.on_error != "raise"
        )

    def _take(self, invocation: Invocation, done: CallDone, index: int) -> Steps:
        """Make the outcome of a call that was run."""
        if isinstance(done.error, Mistake):  # told when all calls of the batch are done
            self._mistake, waits = done.error.error, done.error.waits
            if waits is not None:
                invocation.outcome = fail(invocation, waits)
            else:
                self._closing = _ENDED
                self._give_up(index)
            return
        if isinstance(done.error, DecisionError) and invocation.context.decisions:  # of a tool's own calls
            entry = self._entries[index]
            self._mistake = done.error
            self._wait_for_result(invocation, entry.deferred or {}, entry)
            return
        if done.error is not None:
            made = fail(invocation, done.error)
        else:
            made = succeed(invocation, done.value, max_chars=self._run.tools.max_chars)
        state = self._run.session.state
        if invocation.context._state and made.kind in ("ok", "waits"):
            try:
                state = invocation.context._state_after(state)
            except (TypeError, ValueError, RecursionError) as error:
                made = fail(
                    invocation,
                    ToolError(
                        f"The tool has run, but ctx.state can't be kept, for it isn't JSON now: {error}"
                    ),
                )
        withheld = self._outcomes.after_tool is not None and made.kind not in ("timeout", "waits")
        if withheld and not self._gives_output(invocation):
            yield from self._outcomes.release(invocation, made)
        else:
            invocation.outcome = made
        if state is not self._run.session.state:
            self._run.session.keep(state)

    @staticmethod
    def _wait_for_result(invocation: Invocation, deferred: JsonObject, entry: store.StoredCall) -> None:
        """Let a call wait for its result as it did before."""
        inside = waiting_inside(entry)
        invocation.outcome = fail(
            invocation, ToolDeferred(deferred["why"], state=deferred["state"], pending=inside)
        )

    def _steps_of_end(self, index: int) -> list[store.Step]:
        """Make the steps that store what became of a call that was run."""
        invocation = self.invocations[index]
        outcome = invocation.outcome
        assert outcome is not None
        invocation.stored = True
        kept: list[store.Step] = []
        if self._run.session.state is not self._stored_state:
            self._stored_state = self._run.session.state
            kept.append(store.SaveState(self._stored_state))
        if outcome.deferred is not None:
            return [*kept, store.DeferCall(index, deferred_state(outcome.deferred, invocation.args))]
        if outcome.whole is not None:
            kept.append(store.SaveResult(invocation.context.call_id, outcome.whole))
        return [*kept, store.FinishCall(index, outcome.part)]

    def _tell_cut_off(self, ready: Sequence[int]) -> Steps:
        """Tell that the calls which were under way have come to their end."""
        for index in ready:
            if self.invocations[index].outcome is None:
                self._give_up(index)
                yield finished_event(self.invocations[index], 0.0)

    # -- waiting

    def _leave_open(self) -> Steps:
        """Stop, with what waits listed and all else kept."""
        pending = self._run.waiting.pending
        kind: Stop = "approval" if any(call.kind == "approval" for call in pending) else "deferred"
        names = ", ".join(dict.fromkeys(call.name for call in pending))
        what = "a person's decision" if kind == "approval" else "results that come later"
        behind = [self.invocations[index] for index in self._held_back()]
        later = ", ".join(dict.fromkeys(call.context.tool_name for call in behind))
        later = f" Behind them, not begun: {later}." if later else ""
        self._run.end.end(kind, f"Calls wait for {what}: {names}.{later}")
        self._give_up_begun()
        done: list[store.Step] = [
            store.FinishCall(index, invocation.outcome.part)
            for index, invocation in enumerate(self.invocations)
            if invocation.outcome is not None and not self._is_waiting(index) and not invocation.stored
        ]
        for index in self._held_back():
            held = self._entry(index)
            if held.args is not None:
                done.append(store.EditCall(index, held.args))
            if held.declared is not None:
                done.append(store.HoldCall(index, None, held.declared))
        cut_off = [
            index for index, entry in self._entries.items() if entry.started and self._is_waiting(index)
        ]
        if cut_off:  # when its process ended, and waits again
            done.append(store.StartCalls(cut_off, started=False))
        if done:
            yield Save([*self._wholes(), *done])

    def _is_waiting(self, index: int) -> bool:
        outcome = self.invocations[index].outcome
        return outcome is not None and outcome.kind == "waits"

    def _held_back(self) -> list[int]:
        """List the calls that wait for others in front of them."""
        outcomes = [invocation.outcome for invocation in self.invocations]
        waits = filter(self._is_waiting, range(len(outcomes)))
        return [index for index in waits if (outcome := outcomes[index]) is not None and not outcome.pending]

    def _wholes(self) -> list[store.Step]:
        """Return what keeps the results that were cut of calls which didn't run: a decision or a hook brought them."""
        return [
            store.SaveResult(invocation.context.call_id, invocation.outcome.whole)
            for invocation in self.invocations
            if invocation.outcome is not None
            and invocation.outcome.whole is not None
            and not invocation.stored
        ]

    def _entry(self, index: int, *, at_first: bool = False) -> store.StoredCall:
        """Write down what is known of a call; `at_first`, before anything has run."""
        invocation, known = self.invocations[index], self._entries.get(index)
        outcome = invocation.outcome
        tool, final = invocation.tool, outcome is not None and outcome.kind != "waits"
        deferred = outcome.deferred if outcome else None
        held = outcome is not None and deferred is None and any(p.kind == "approval" for p in outcome.pending)
        return store.StoredCall(
            index=index,
            call_id=invocation.context.call_id,
            name=invocation.context.tool_name,
            effect=tool.effect if tool else known.effect if known else "read",
            started=known is not None and is_unknown(known),
            response=outcome.part if outcome and final and not at_first else None,
            deferred=deferred_state(deferred, invocation.args) if deferred else None,
            args=invocation.args,
            why=outcome.pending[0].why if held and outcome else None,
            declared=tool.fingerprint if (held or invocation.approved) and tool else None,
        )

    # -- the end

    def _close(self) -> None:
        """Add the calls with all their responses to the history, in one go: it is valid before and after."""
        run, invocations = self._run, self.invocations
        # Those behind were not looked at yet when it broke off.
        for call in calls_of(self._message.content)[len(invocations) :]:
            invocations.append(Invocation(call, run.call_context(call, "")))
        if self._list_pending() or self._unsettled:  # what waits is not lost to what breaks off the others
            self._give_up_begun()
            run.waiting.open(self._message, [self._entry(index) for index in range(len(invocations))])
        for index, invocation in enumerate(invocations):
            if invocation.outcome is None:
                self._give_up(index)
        run.note_outcomes(invocations)
        parts, failed = list[Part](), False
        for invocation in invocations:
            if (outcome := invocation.outcome) is not None:
                parts.append(outcome.part)
                failed = failed or outcome.error is not None
        own = [index for index, each in enumerate(invocations) if self._is_own(each)] if failed else []
        run.history.add(self._message)
        content = keep({"role": "user", "parts": parts})
        said: JsonObject = {OWN: own} if own else {}
        took = [invocation.seconds for invocation in invocations]
        if set(took) != {None}:
            said[SECONDS] = took
        if run.sources_found:
            said[SOURCES] = [asdict(replace(source, spans=())) for source in run.sources_found]
            run.sources_found.clear()
        if run.suggestions_found:
            said[SUGGESTIONS] = [*run.suggestions_found]
            run.suggestions_found.clear()
        run.history.add(Message(content=content, metadata=said or None))

    def _is_own(self, invocation: Invocation) -> bool:
        """Return whether no word of a response is a tool's: there was none, or it is how the output is given."""
        outcome = invocation.outcome
        if outcome is None or outcome.error is None:
            return False
        return outcome.kind == "unknown" or self._gives_output(invocation)

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


def deferred_state(deferred: ToolDeferred, args: JsonObject | None) -> JsonObject:
    """Write down what a call waits for, as it stands in the ledger; `args` are those that a decision gave it."""
    return {
        "args": args,
        "why": str(deferred),
        "state": deferred.state,
        "pending": [call.to_wire() for call in deferred.pending],
    }


def _batches(invocations: Sequence[Invocation]) -> Iterator[list[int]]:
    """Split into groups that may run at the same time: only what reads and asks nobody does; all in call order."""
    batch: list[int] = []
    for index, invocation in enumerate(invocations):
        tool = invocation.tool if invocation.outcome is None else None
        if tool is not None and (tool.effect != "read" or tool.interactive):
            if batch:
                yield batch
            yield [index]
            batch = []
        else:
            batch.append(index)
    if batch:
        yield batch


def started_event(invocation: Invocation) -> ToolStarted:
    """Make the event that a call begins; where nobody watches, without copies of what is in it."""
    context = invocation.context
    return ToolStarted(
        context.call_id, context.tool_name, args_of(invocation) if context._run.watched else {}
    )


def finished_event(invocation: Invocation, seconds: float) -> ToolFinished:
    """Make the event that a call has its response."""
    outcome, context = invocation.outcome, invocation.context
    assert outcome is not None
    response = outcome.part["functionResponse"]
    if context._run.watched:
        response = copy.deepcopy(response)
    waits = outcome.kind == "waits"
    return ToolFinished(context.call_id, context.tool_name, response, seconds, outcome.error, waits)


def _raise_failure(batch: Sequence[Invocation]) -> None:
    for invocation in batch:
        outcome = invocation.outcome
        error = outcome.error if outcome and outcome.kind in ("error", "timeout") else None
        if error is None or isinstance(error, ToolError):
            continue
        if isinstance(error, StopIteration):  # a generator can't raise it
            raise AgentError(f"A tool raised {error!r}.") from error
        raise error
