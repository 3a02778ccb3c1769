"""The agent loop, sans-IO: a generator that yields what is to be done and is sent what came of it.

No I/O, no clock, no thread and no event loop is in here; a driver performs the steps (`agentkit.core.effects`).
After every step, and when it is closed in the midst of one, `state.contents` is a valid history.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from agentkit.core.calls import CallsOfTurn
from agentkit.core.effects import EXPIRED, Effect, Extend, Plan, Resolve, Save, State, Steps
from agentkit.core.repair import LANDING, LAST_TURN, REPEATED
from agentkit.core.toolbox import Toolbox
from agentkit.core.turn import limit_reached, model_turn, take_json, turn_context
from agentkit.errors import ConfigurationError, ModelError, ToolError, ToolRetriesExceeded
from agentkit.events import Event, MessageAdded
from agentkit.stores.message import Message
from agentkit.stores.steps import AddMessage
from agentkit.tooling.tool import Tool
from agentkit.wire.content import (
    Content,
    EncodedList,
    JsonObject,
    calls_of,
    copy_contents,
    dumps,
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


def run_loop(plan: Plan, state: State) -> Steps:
    """Go on until the model answers or something stops the run."""
    try:
        yield from _Run(plan, state).steps()
    except GeneratorExit:
        if not state.answered and state.stop is None:
            state.stop = "cancelled"
        raise
    finally:
        state.inbox.close()
        state.done = True


class _Run:
    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self._box = Toolbox(plan, state)
        self._base: JsonObject = dict(plan.config)
        self._declared: tuple[list[str], JsonObject] = ([], {})

    def steps(self) -> Steps:
        plan, state = self._plan, self._state
        if plan.decisions and state.resumed is None:
            raise ConfigurationError("No call waits: there is nothing to decide.")
        instructions = plan.instructions
        if callable(instructions):
            ask = instructions
            instructions = yield Resolve(lambda: ask(plan.context))
            if instructions is EXPIRED:
                state.stop = state.limit = "seconds"
                return
            if instructions is not None and not isinstance(instructions, str):
                kind = type(instructions).__name__
                raise ConfigurationError(
                    f"instructions returned {kind}; a function of the instructions returns a str."
                )
        if instructions:
            self._base["systemInstruction"] = user_content(instructions)
        if state.kept:
            yield Save([AddMessage(Message(content=content)) for content in state.contents[state.known :]])
        fresh = starts_turn(state.contents[-1])  # else its first turn, which may be forced, is behind
        state.survey.read(state.contents)
        if state.resumed is not None:
            yield from self._answer(state.resumed, self._box.every(), resumed=True)
        elif state.contents[-1]["role"] == "model":
            state.nudge = yield from self._take_up_answer(state.contents[-1])
        yield from self._turns(fresh=fresh and state.resumed is None)
        if state.stop in LANDING:
            state.limit = state.stop
            if plan.limits.on_limit == "answer" and not (plan.outer_limit and plan.outer_limit()):
                yield from self._land()

    def _take_up_answer(self, content: Content) -> Generator[Event | Effect, Any, str | None]:
        """Take an answer that a resumed run has already; return what is wrong with it as an output, if anything."""
        plan, state = self._plan, self._state
        wrong = None if plan.output is None else (yield from take_json(plan, state, text_of(content)))
        state.answered = wrong is None
        return wrong

    def _turns(self, *, fresh: bool) -> Steps:
        plan, state = self._plan, self._state
        while state.stop is None:
            if state.answered and state.inbox.close(if_empty=True):
                return
            if (limit := limit_reached(plan, state)) is not None:
                if state.answered:  # the answer stands; what was said during it is left unsent
                    state.limit = limit
                else:
                    state.stop = limit
                return
            state.answered, state.output = False, None
            yield from self._take_messages()
            tools = yield from self._tools()
            if tools is None:
                return
            base = self._with_tools(tools)
            names = list(tools)
            base = self._with_choice(base, names, first=fresh and not state.usages)
            content = yield from model_turn(plan, state, base, names)
            if content is not None:
                yield from self._answer(content, self._box.known(tools, content))

    def _land(self) -> Steps:
        """Give the model a last turn, to answer without tools."""
        plan, state = self._plan, self._state
        limit, partial, output = state.stop, state.partial, plan.output
        if limit == "seconds":
            yield Extend(plan.limits.answer_seconds)
        state.survey.read(state.contents)
        tools = self._box.declared()
        base, tries = self._with_tools(tools), 1
        if output is not None and output.tool is not None:
            base, tries = forced(base, [output.tool.name]), 1 + output.spec.retries
            tools = {output.tool.name: output.tool}
        elif tools:
            base = with_calling(base, {"mode": "NONE"})
        state.stop, state.partial, state.nudge = None, "", LAST_TURN
        try:
            for _ in range(tries):
                content = yield from model_turn(plan, state, base, list(tools), last=True)
                if content is None or output is None or output.tool is None:
                    break
                yield from self._answer(content, tools)
                if state.answered or state.stop is not None:
                    break
        except ModelError:
            state.stop = limit
            raise
        if not state.answered:
            state.stop, state.partial = limit, state.partial or partial

    def _take_messages(self) -> Steps:
        """Add what the user has said meanwhile."""
        state = self._state
        for content in state.inbox.take():
            state.contents.append(keep(content))
            yield Save([AddMessage(Message(content=state.contents[-1]))])
            yield MessageAdded(*copy_contents([content]))

    def _tools(self) -> Generator[Event | Effect, Any, dict[str, Tool] | None]:
        """Find the tools of the next turn; None if the time of the run is up."""
        plan, state = self._plan, self._state
        if plan.choose_tools is not None:
            choose = plan.choose_tools
            chosen = yield Resolve(lambda: choose(turn_context(plan, state)))
            if chosen is EXPIRED:
                state.stop = "seconds"
                return None
            self._box.choose(chosen)
        state.survey.read(state.contents)
        return self._box.declared()

    def _with_tools(self, tools: Mapping[str, Tool]) -> JsonObject:
        """Add the declarations; while they are the same, so is the request's base."""
        names = list(tools)
        if not self._declared[1] or self._declared[0] != names:
            base = {**self._base}
            if tools:
                declared = {"functionDeclarations": [tool.declaration for tool in tools.values()]}
                others = base.get("tools", ())
                encoded = b",".join(tool.encoded for tool in tools.values())
                encoded = b",".join([b'{"functionDeclarations":[' + encoded + b"]}", *map(dumps, others)])
                base["tools"] = EncodedList([declared, *others], b"[" + encoded + b"]")
            if self._plan.output is not None:
                base = self._plan.output.request(base)
            self._declared = (names, base)
        return self._declared[1]

    def _with_choice(self, base: JsonObject, names: Sequence[str], *, first: bool) -> JsonObject:
        """Add the mode. `required` and names force the first turn only: forced on each, a run never ends (rule 9)."""
        choice, output = self._plan.tool_choice, self._plan.output
        alone = len(names) == 1 and not self._base.get("tools")
        if output is not None and output.tool is not None and (choice == "none" or alone):
            return forced(base, [output.tool.name])  # there is nothing else that it may do
        if choice == "none":
            return with_calling(base, {"mode": "NONE"})
        if choice == "auto" or not names or not first:
            return base
        if choice == "required":
            return forced(base, None)
        allowed = [name for name in choice if name in names]
        return forced(base, allowed) if allowed else base

    def _answer(self, content: Content, tools: Mapping[str, Tool], *, resumed: bool = False) -> Steps:
        """Answer the calls of a turn, and see what follows from that."""
        plan, state = self._plan, self._state
        calls = CallsOfTurn(plan, state, content, tools, state.ledger if resumed else None)
        yield from calls.answer()
        if plan.output is not None and plan.output.tool is not None:
            if resumed and not state.open:
                yield from calls.take_output_again()
            yield from self._end_with_output(calls)
        if state.stop is None and not state.answered:
            self._watch_repeats()

    def _end_with_output(self, calls: CallsOfTurn) -> Steps:
        """End the run if a call gave its structured output: the history ends with that as the model's text."""
        state, output = self._state, self._plan.output
        assert output is not None  # noqa: S101 - asked by the caller
        outcomes = [
            (invocation.context.call_id, invocation.outcome)
            for invocation in calls.invocations
            if invocation.outcome is not None and invocation.tool is output.tool
        ]
        taken = (output.given(call_id) for call_id, outcome in outcomes if outcome.kind == "ok")
        first = next(filter(None, taken), None)
        if first is not None and (state.stop is None or state.stop in LANDING):
            state.output, text = first
            content = keep(model_content(text))
            state.contents.append(content)
            state.answered, state.limit, state.stop = True, state.limit or state.stop, None
            yield Save([AddMessage(Message(content=content))])
            return
        for _, outcome in outcomes:
            if isinstance(outcome.error, (ToolRetriesExceeded, ToolError)):
                state.stop = state.stop or "output"
            elif outcome.kind == "error" and outcome.error is not None:
                raise outcome.error

    def _watch_repeats(self) -> None:
        """Count turns that are the same as the one before; tell the model once, then stop."""
        state, most = self._state, self._plan.limits.repeats
        if most is None or len(state.contents) < 4 or not calls_of(state.contents[-2]):
            return
        before, now = state.contents[-4:-2], state.contents[-2:]
        same = _asked(before[0]) == _asked(now[0]) and _told(before[1]) == _told(now[1])
        state.repeated = state.repeated + 1 if same else 1
        if state.repeated > most:
            state.stop = "repeats"
        elif state.repeated == most:
            state.nudge = REPEATED


def _asked(content: Content) -> list[Any]:
    """Give the calls of a content, without their ids."""
    return [(call["name"], call.get("args") or {}) for call in calls_of(content)]


def _told(content: Content) -> list[Any]:
    """Give the responses of a content, without ids and without how often a call has failed by now."""
    return [
        (
            {k: _COUNTS.sub("", v) if isinstance(v, str) else v for k, v in response["response"].items()},
            response.get("parts"),
        )
        for response in responses_of(content)
    ]
