"""The agent loop, sans-IO: a generator that yields what is to be done and is sent what came of it.

No I/O, no clock, no thread and no event loop is in here; a driver performs the effects (`agentkit.core.effects`).
After every step, and when it is closed in the midst of one, the run's history is valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from agentkit.core.calls import Calls
from agentkit.core.effects import EXPIRED, Effect, Extend, Resolve, Save, Steps
from agentkit.core.repair import LAST_TURN, REPEATED
from agentkit.core.state import RunState
from agentkit.core.turn import Turn, take_json
from agentkit.errors import ConfigurationError, DecisionError, ModelError, ToolError, ToolRetriesExceeded
from agentkit.events import Event, MessageAdded
from agentkit.limits import LANDING
from agentkit.output import OutputTaker
from agentkit.stores.message import Message
from agentkit.stores.steps import AddMessage
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Outcome
from agentkit.tooling.tool import Tool
from agentkit.wire.content import (
    Content,
    JsonObject,
    calls_of,
    copy_content,
    forced,
    keep,
    model_content,
    responses_of,
    text_of,
    user_content,
    with_calling,
)
from agentkit.wire.history import starts_turn

_COUNTS = re.compile(r"[0-9a-f]{32}-\d+-\d+|failed \d+ times in a row")
"""What differs between calls that are the same: their ids, and how often they have failed."""


class Loop:
    """Goes on until the model answers or something stops the run."""

    def __init__(self, run: RunState) -> None:
        self._run = run
        self._base: JsonObject = dict(run.settings.config)
        self._nudge: str | None = None
        """What the model is told along with the next request, and is not in the history."""
        self._repeated = 1
        """How many turns in a row made the same calls and got the same responses."""

    def steps(self) -> Steps:
        """Yield what happens and what is to be done, to the end."""
        run = self._run
        try:
            yield from self._steps()
            run.end.note(run.meter.why_cost_unknown())
        except GeneratorExit:
            if not run.end.answered and run.end.stop is None:
                run.end.end("cancelled")
            raise
        finally:
            run.inbox.close()
            run.end.over = True

    def _steps(self) -> Steps:
        run, end = self._run, self._run.end
        resumed = run.waiting.resumed
        if run.approvals.decisions and resumed is None:
            raise DecisionError("No call waits: there is nothing to decide.")
        instructions = run.settings.instructions
        if callable(instructions):
            instructions = yield from self._ask_for_instructions(instructions)
            if end.stop is not None:
                return
        if instructions:
            self._base["systemInstruction"] = user_content(instructions)
        if run.stored:
            yield Save([AddMessage(message) for message in run.history.messages[run.session.known :]])
        last = run.history.contents[-1]
        fresh = starts_turn(last)  # else its first turn, which may be forced, is behind
        if resumed is not None:
            yield from self._answer(resumed.message, run.tools.every(), resumed=True)
        elif last["role"] == "model":
            yield from self._take_up_answer(last)
        yield from self._turns(fresh=fresh and resumed is None)
        if (
            run.end.stop in LANDING
            and run.meter.limits.on_limit == "answer"
            and not run.meter.outer_reached()
        ):
            yield from self._land()

    def _ask_for_instructions(
        self, ask: Callable[[Context[Any]], Any]
    ) -> Generator[Event | Effect, Any, str | None]:
        """Ask the function of the instructions for them; the run ends if there is no time."""
        said = yield Resolve(lambda: ask(self._run.context))
        if said is EXPIRED:
            self._run.end.end("seconds")
            return None
        if said is not None and not isinstance(said, str):
            kind = type(said).__name__
            raise ConfigurationError(
                f"instructions returned {kind}; a function of the instructions returns a str."
            )
        return said

    def _take_up_answer(self, content: Content) -> Steps:
        """Take an answer that a resumed run has already; if it doesn't fit as an output, the model is told why."""
        wrong = None
        if self._run.output is not None:
            wrong = yield from take_json(self._run, text_of(content))
        if wrong is None:
            self._run.end.answer()
        self._nudge = wrong

    def _turns(self, *, fresh: bool) -> Steps:
        run, end = self._run, self._run.end
        while end.stop is None:
            if end.answered and run.inbox.close(if_empty=True):
                return
            if (limit := run.meter.reached()) is not None:
                if end.answered:  # the answer stands; what was said during it is left unsent
                    end.limit, end.why = limit
                else:
                    end.end(*limit)
                return
            end.go_on()
            if run.output is not None:
                run.output.value = None
            if run.inbox.contents:
                yield from self._take_messages()
            tools = yield from self._tools()
            if tools is None:
                return
            base = self._with_choice(
                run.tools.added_to(self._base, tools), list(tools), first=fresh and not run.meter.turns
            )
            nudge, self._nudge = self._nudge, None
            message = yield from Turn(run, base, list(tools), nudge=nudge).take()
            if message is not None:
                yield from self._answer(message, run.tools.known(tools, message.content))

    def _land(self) -> Steps:
        """Give the model a last turn, to answer without tools."""
        run, end, output = self._run, self._run.end, self._run.output
        stop, why, partial = end.stop, end.why, end.partial
        assert stop is not None
        if stop == "seconds":
            yield Extend(run.meter.limits.answer_seconds)
        tools = run.tools.declared()
        base, tries = run.tools.added_to(self._base, tools), 1
        if output is not None and output.tool is not None:
            base, tries = forced(base, [output.tool.name]), 1 + output.spec.retries
            tools = {output.tool.name: output.tool}
        elif tools:
            base = with_calling(base, {"mode": "NONE"})
        end.go_on()
        self._nudge = LAST_TURN
        try:
            for _ in range(tries):
                nudge, self._nudge = self._nudge, None
                message = yield from Turn(run, base, list(tools), nudge=nudge, last=True).take()
                if message is None or output is None or output.tool is None:
                    break
                yield from self._answer(message, tools)
                if end.answered or end.stop is not None:
                    break
        except ModelError:
            end.end(stop, why)
            raise
        if end.answered:
            end.limit, end.why = stop, why
        else:
            end.end(stop, why)
            end.partial = end.partial or partial

    def _take_messages(self) -> Steps:
        """Add what the user has said meanwhile."""
        for content in self._run.inbox.take():
            message = Message(content=keep(content))
            self._run.history.add(message)
            yield Save([AddMessage(message)])
            yield MessageAdded(copy_content(content))

    def _tools(self) -> Generator[Event | Effect, Any, dict[str, Tool] | None]:
        """Find the tools of the next turn; None if the time of the run is up."""
        choose = self._run.settings.choose_tools
        if choose is not None:
            context = self._run.requests.context()
            chosen = yield Resolve(lambda: choose(context))
            if chosen is EXPIRED:
                self._run.end.end("seconds")
                return None
            self._run.tools.choose(chosen)
        return self._run.tools.declared()

    def _with_choice(self, base: JsonObject, names: Sequence[str], *, first: bool) -> JsonObject:
        """Add the mode. `required` and names force the first turn only: forced on each, a run never ends (rule 9)."""
        choice, output = self._run.settings.tool_choice, self._run.output
        alone = len(names) == 1 and not self._base.get("tools")
        if output is not None and output.tool is not None and (choice == "none" or alone):
            return forced(base, [output.tool.name])  # there is nothing else that it may do
        if choice == "none" and names:
            return with_calling(base, {"mode": "NONE"})
        if choice == "auto" or not names or not first:
            return base
        if choice == "required":
            return forced(base, None)
        allowed = [name for name in choice if name in names]
        return forced(base, allowed) if allowed else base

    def _answer(self, message: Message, tools: Mapping[str, Tool], *, resumed: bool = False) -> Steps:
        """Answer the calls of a turn, and see what follows from that."""
        run, turn = self._run, self._run.waiting.resumed
        calls = Calls(run, message, tools, turn.calls if resumed and turn else None)
        yield from calls.answer()
        if run.output is not None and run.output.tool is not None:
            if resumed and run.waiting.left is None:
                yield from calls.take_output_again()
            yield from self._end_with_output(calls, run.output)
        if run.end.stop is None and not run.end.answered:
            self._watch_repeats()

    def _end_with_output(self, calls: Calls, output: OutputTaker[Any]) -> Steps:
        """End the run if a call gave its structured output: the history ends with that as the model's text."""
        run, end = self._run, self._run.end
        outcomes: list[tuple[str, Outcome]] = [
            (invocation.context.call_id, invocation.outcome)
            for invocation in calls.invocations
            if invocation.outcome is not None and invocation.tool is output.tool
        ]
        taken = (output.given(call_id) for call_id, outcome in outcomes if outcome.kind == "ok")
        first = next(filter(None, taken), None)
        if first is not None and (end.stop is None or end.stop in LANDING):
            output.value, text = first
            message = Message(content=keep(model_content(text)), model=run.requests.model.name)
            run.history.add(message)
            end.answer()
            yield Save([AddMessage(message)])
            return
        for _, outcome in outcomes:
            if isinstance(outcome.error, (ToolRetriesExceeded, ToolError)):
                if end.stop is None:
                    end.end("output", str(outcome.error))
            elif outcome.kind == "error" and outcome.error is not None:
                raise outcome.error

    def _watch_repeats(self) -> None:
        """Count turns that are the same as the one before; tell the model once, then stop."""
        contents, most = self._run.history.contents, self._run.meter.limits.repeats
        if most is None or len(contents) < 4 or not calls_of(contents[-2]):
            return
        before, now = contents[-4:-2], contents[-2:]
        same = _asked(before[0]) == _asked(now[0]) and _told(before[1]) == _told(now[1])
        self._repeated = self._repeated + 1 if same else 1
        if self._repeated > most:
            self._run.end.end("repeats")
        elif self._repeated == most:
            self._nudge = REPEATED


def _asked(content: Content) -> list[Any]:
    """Return the calls of a content, without their ids."""
    return [(call["name"], call.get("args") or {}) for call in calls_of(content)]


def _told(content: Content) -> list[Any]:
    """Return the responses of a content, without ids and without how often a call has failed by now."""
    return [
        (
            {k: _COUNTS.sub("", v) if isinstance(v, str) else v for k, v in response["response"].items()},
            response.get("parts"),
        )
        for response in responses_of(content)
    ]
