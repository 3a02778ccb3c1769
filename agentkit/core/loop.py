"""The agent loop, sans-IO: a generator that yields what is to be done and is sent what came of it.

No I/O, no clock, no thread and no event loop is in here; a driver performs the effects (`agentkit.core.effects`).
After every step, and when it is closed in the midst of one, the run's history is valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, cast

from agentkit.core.calls import Calls
from agentkit.core.effects import EXPIRED, Effect, Extend, Resolve, Save, Steps
from agentkit.core.options import check_choice_of_turn
from agentkit.core.repair import LAST_TURN, REPEATED
from agentkit.core.state import RunState
from agentkit.core.subagents import check_prices
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
    FunctionCall,
    JsonObject,
    Request,
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
        self._base: JsonObject = {}
        self._instructions: str | None = None
        """Those in the base."""
        self._nudge: str | None = None
        """What the model is told along with the next request, and is not in the history."""
        self._repeated = 1
        """How many turns in a row made the same calls and got the same responses."""
        self._tokens: int | None = None
        """Of the first request, where that is counted."""

    def steps(self) -> Steps:
        """Yield what happens and what is to be done, to the end."""
        run = self._run
        try:
            fresh = yield from self._begin()
            if fresh is not None:
                yield from self._turns(fresh=fresh)
            if run.end.stop in LANDING and self._may_land():
                yield from self._land()
            if run.meter.limits.cost is not None:
                run.end.note(run.meter.why_cost_unknown())
        except BaseException as error:
            if not (isinstance(error, Exception) or run.end.answered or run.end.stop):
                run.end.end("cancelled")
            raise
        finally:
            run.inbox.close()
            run.end.over = True

    def _begin(self) -> Generator[Event | Effect, Any, bool | None]:
        """Take up what there is; return whether the first turn is still ahead, or None if the time of the run is up."""
        run = self._run
        self._base = run.setup.config
        resumed = run.waiting.resumed
        if run.setup.decisions and resumed is None:
            raise DecisionError("No call is pending: there is nothing to decide.")
        if not (yield from self._add_files()):
            return None
        if run.session.append is not None:
            yield Save([AddMessage(message) for message in run.history.messages[run.session.known :]])
        last = run.history.contents[-1]
        fresh = starts_turn(last)  # else its first turn, which may be forced, is behind
        if resumed is not None:
            if not (yield from self._ask_sources()):
                return None
            yield from self._respond(resumed.message, run.tools.every(), resumed=True)
        elif last["role"] == "model":
            yield from self._take_up_answer(last)
        return fresh and resumed is None

    def count(self) -> Steps:
        """Count the first request instead of sending it, for `counted`; nobody is asked for a summary.

        What is larger than a memory may send is counted as if there were none.
        """
        run, views = self._run, self._run.views
        self._base = run.setup.config
        if not (yield from self._add_files()):
            return
        plan = yield from self._plan(first=starts_turn(run.history.contents[-1]))
        if plan is None:
            return
        view: Sequence[Content] | None = run.history.whole()
        if views.memory is not None:
            chosen = yield from views.choose(views.memory, plan[0], summarises=False)
            if chosen is None and run.end.stop == "too_large":
                run.end.reopen()
            else:
                view = chosen
        if view is not None:
            request = cast(Request, {"contents": view, **plan[0]})
            self._tokens = yield from run.requests.count(request)

    def counted(self) -> int:
        """Return the tokens that `count` has counted. Raises ModelError if there was no time for it."""
        if self._tokens is None:
            raise ModelError(f"The tokens were not counted. {self._run.end.why}", retryable=True)
        return self._tokens

    def _may_land(self) -> bool:
        """Return whether the model gets a last turn: as the limits say, and to answer if it goes round in circles."""
        stop, meter = self._run.end.stop, self._run.meter
        if meter.outer_reached():
            return False
        return meter.limits.on_limit == "answer" or (stop == "repeats" and not meter.reached())

    def _take_up_answer(self, content: Content) -> Steps:
        """Take an answer that a resumed run has already; if it doesn't fit as an output, the model is told why."""
        wrong = None
        if self._run.output is not None:
            wrong = yield from take_json(self._run, text_of(content))
        if wrong is None:
            self._run.end.answer()
        else:
            self._nudge = wrong.told

    def _turns(self, *, fresh: bool) -> Steps:
        run, end = self._run, self._run.end
        while end.stop is None:
            if end.answered and run.inbox.close(if_empty=True):
                return
            if (limit := run.meter.reached()) is not None:
                if end.answered:  # the answer stands; what was said during it is left unsent
                    end.note_limit(*limit)
                else:
                    end.end(*limit)
                return
            if end.answered:  # there is more to say
                end.reopen()
                if run.output is not None:
                    run.output.value = None
            if run.inbox.contents:
                yield from self._take_messages()
            plan = yield from self._plan(first=fresh and not run.meter.turns)
            if plan is None:
                return
            base, tools = plan
            nudge, self._nudge = self._nudge, None
            message = yield from Turn(run, base, list(tools), nudge=nudge).take()
            if message is not None:
                yield from self._respond(message, run.tools.known(tools, message.content))

    def _land(self) -> Steps:
        """Give the model a last turn, to answer without tools."""
        run, end, output = self._run, self._run.end, self._run.output
        stop, why, partial = end.stop, end.why, end.partial
        assert stop is not None
        if stop == "seconds":
            yield Extend(run.meter.limits.answer_seconds)
        end.reopen()
        if not (yield from self._instruct()):
            end.end(stop, why)
            end.partial = partial
            return
        tools = run.tools.declared()
        base, tries = run.tools.added_to(self._base, tools), 1
        if output is not None and output.tool is not None:
            base, tries = forced(base, [output.tool.name]), 1 + output.spec.retries
            tools = {output.tool.name: output.tool}
        elif tools:
            base = with_calling(base, {"mode": "NONE"})
        self._nudge = LAST_TURN
        try:
            for _ in range(tries):
                nudge, self._nudge = self._nudge, None
                message = yield from Turn(run, base, list(tools), nudge=nudge, last=True).take()
                if message is None or output is None or output.tool is None:
                    break
                yield from self._respond(message, tools)
                if end.answered or end.stop is not None:
                    break
        except ModelError:
            end.end(stop, why)
            raise
        if end.answered:
            end.note_limit(stop, why)
        else:
            end.end(stop, why)
            end.partial = end.partial or partial

    def _add_files(self) -> Generator[Event | Effect, Any, bool]:
        """Upload what the run was given, as far as that is needed; return False if the time of the run is up."""
        run = self._run
        for index, message in enumerate(run.history.messages[run.session.known :], run.session.known):
            made = yield from run.requests.files.added(message, run.requests.model)
            if made is None:
                return False
            if made is not message:
                run.history.replace(index, made)
        return True

    def _take_messages(self) -> Steps:
        """Add what the user has said meanwhile."""
        run = self._run
        for content in run.inbox.take():
            said = Message(content=keep(content), given=run.session.given)
            message = yield from run.requests.files.added(said, run.requests.model)
            if message is None:
                run.inbox.put_back(content)
                return
            run.history.add(message)
            yield Save([AddMessage(message)])
            yield MessageAdded(copy_content(content))

    def _plan(
        self, *, first: bool
    ) -> Generator[Event | Effect, Any, tuple[JsonObject, dict[str, Tool]] | None]:
        """Make what the next turn has beside the history: instructions, tools, whether it must make a call.

        None if the time of the run is up. A tool choice that isn't a function forces the first turn alone: forced on
        each, a run never ends (rule 9).
        """
        setup, settings, tools = self._run.setup, self._run.settings, self._run.tools
        choice: Any = setup.tool_choice
        if setup.instructions != self._instructions and not (yield from self._instruct()):
            return None
        if tools.sources and not (yield from self._ask_sources()):
            return None
        if settings.choose_tools is not None:
            chosen = yield from self._ask(settings.choose_tools)
            if chosen is EXPIRED:
                return None
            tools.choose(chosen)
        if callable(choice):
            said = yield from self._ask(choice)
            if said is EXPIRED:
                return None
            choice = "auto" if said is None else check_choice_of_turn(said, tools.all)
        elif choice != "none" and not first:
            choice = "auto"
        if not isinstance(choice, str):
            tools.need(choice)
        declared = tools.declared()
        return self._with_choice(tools.added_to(self._base, declared), list(declared), choice), declared

    def _ask_sources(self) -> Generator[Event | Effect, Any, bool]:
        """Have the tools that sources give by now; return False if the time of the run is up."""
        tools = self._run.tools
        if tools.sources:
            said = yield Resolve(tools.ask_sources)
            if said is EXPIRED:
                self._run.end.end("seconds")
                return False
            yield from tools.take(said)
            check_prices(self._run.meter.limits, (), tools.all.values())
        return True

    def _instruct(self) -> Generator[Event | Effect, Any, bool]:
        """Give the base the instructions of the next turn; return False if the time of the run is up."""
        setup = self._run.setup
        said: Any = setup.instructions
        if callable(said):
            said = yield from self._ask(said)
            if said is EXPIRED:
                return False
            if said is not None and not isinstance(said, str):
                kind = type(said).__name__
                raise ConfigurationError(
                    f"instructions returned {kind}; a function of the instructions returns a str."
                )
        if said != self._instructions:
            self._instructions = said
            instructed = {"systemInstruction": keep(user_content(said))} if said else {}
            self._base = {**setup.config, **instructed}
        return True

    def _ask(self, function: Callable[[Context[Any]], Any]) -> Generator[Event | Effect, Any, Any]:
        """Ask a function of the developer's what the next turn has; if there is no time for that, the run ends."""
        context = self._run.requests.context()
        said = yield Resolve(lambda: function(context))
        if said is EXPIRED:
            self._run.end.end("seconds")
        return said

    def _with_choice(self, base: JsonObject, names: Sequence[str], choice: str | Sequence[str]) -> JsonObject:
        """Add the mode: whether calls are forced."""
        output = self._run.output
        alone = len(names) == 1 and not self._base.get("tools")
        if output is not None and output.tool is not None and (choice == "none" or alone):
            return forced(base, [output.tool.name])  # there is nothing else that it may do
        if choice == "none" and names:
            return with_calling(base, {"mode": "NONE"})
        if choice == "auto" or not names:
            return base
        if choice == "required":
            return forced(base, None)
        allowed = [name for name in choice if name in names]
        return forced(base, allowed) if allowed else base

    def _respond(self, message: Message, tools: Mapping[str, Tool], *, resumed: bool = False) -> Steps:
        """Answer the calls of a turn, and see what follows from that."""
        run, turn = self._run, self._run.waiting.resumed
        calls = Calls(run, message, tools, turn.calls if resumed and turn else None)
        yield from calls.respond()
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
        if most is None or len(contents) < 4 or not (calls := calls_of(contents[-2])):
            return
        before, now = contents[-4:-2], contents[-2:]
        earlier = calls_of(before[0])
        same = len(earlier) == len(calls) and all(map(_are_same, earlier, calls))
        same = same and _comparable(before[1]) == _comparable(now[1])
        if same and all(call["name"] in self._run.tools.polling for call in calls):
            same = False
        self._repeated = self._repeated + 1 if same else 1
        if self._repeated > most:
            self._run.end.end("repeats")
        elif self._repeated == most:
            self._nudge = REPEATED


def _are_same(call: FunctionCall, other: FunctionCall) -> bool:
    """Return whether two calls are the same but for their ids."""
    return call["name"] == other["name"] and (call.get("args") or {}) == (other.get("args") or {})


def _comparable(content: Content) -> list[Any]:
    """Return the responses of a content, without ids and without how often a call has failed by now."""
    return [
        (
            {k: _COUNTS.sub("", v) if isinstance(v, str) else v for k, v in response["response"].items()},
            response.get("parts"),
        )
        for response in responses_of(content)
    ]
