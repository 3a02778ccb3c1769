"""The agent loop, sans-IO: a generator that yields what is to be done and is sent what came of it.

No I/O, no clock, no thread and no event loop is in here; a driver performs the steps (`agentkit.effects`).
After every step, and when it is closed in the midst of one, `state.contents` is a valid history.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, cast

from agentkit.calls import answer_calls, save_reply
from agentkit.effects import EXPIRED, CallModel, Count, Effect, Plan, Resolve, Save, Sent, State, Steps, Wait
from agentkit.errors import ConfigurationError, ModelError
from agentkit.events import Event, ModelRetry, TurnFinished
from agentkit.limits import Limits, Usage
from agentkit.memory.base import CountTokens, DoesNotFit, Situation
from agentkit.repair import Stop, Verdict, judge
from agentkit.stores.base import AddMessage, SaveSummary
from agentkit.wire.content import Content, JsonObject, Request, keep, user_content
from agentkit.wire.reply import ReplyAssembler

MAX_REPAIRS: Final = 2
"""How often a turn is asked again after a malformed or empty reply."""


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
        if instructions is EXPIRED:
            state.stop = "seconds"
            return
        if instructions is not None and not isinstance(instructions, str):
            raise ConfigurationError(
                f"instructions returned {type(instructions).__name__}; a function of the instructions returns a str."
            )
    base = _base_request(plan, instructions)
    yield Save([AddMessage(content) for content in state.contents[state.known :]])
    first = len(state.contents)
    if state.resumed is not None:
        yield from answer_calls(plan, state, state.resumed, state.ledger)
    elif state.contents[-1]["role"] == "model":
        state.answered = True
    while state.stop is None and not state.answered:
        forced = plan.tool_choice if len(state.contents) == first else "auto"
        if calls := (yield from _model_turn(plan, state, _with_tool_choice(base, plan, forced))):
            yield from answer_calls(plan, state, calls)


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


def _model_turn(plan: Plan, state: State, base: JsonObject) -> Generator[Event | Effect, Any, Content | None]:
    """Get one usable reply; return its content if it makes calls, else add it to the history."""
    repairs = 0
    nudge: str | None = None
    while True:
        if reached := _limit_reached(plan.limits, state):
            state.stop = reached
            return None
        view = yield from _view(plan, state, base)
        if view is None:
            return None
        contents = (*view, user_content(nudge)) if nudge else view
        step = yield from _ask(plan, state, CallModel(cast(Request, {"contents": contents, **base})))
        if step is None:
            return None
        reply = step.assembler.reply()
        usage = Usage.from_wire(reply.get("usageMetadata"), plan.model_name)
        state.usages.append(usage)
        state.sent = Sent(view, usage, _counted(plan, base))
        verdict = judge(reply)
        state.finish_reason = verdict.finish_reason
        again = verdict.action == "retry" and repairs < MAX_REPAIRS
        if not again and verdict.action != "calls":
            yield from _take(state, verdict, step.assembler)
        yield TurnFinished(len(state.usages), usage, verdict.finish_reason)
        if verdict.action == "calls":
            return keep({"role": "model", "parts": step.assembler.parts})
        if not again:
            return None
        repairs += 1
        nudge = verdict.nudge
        yield ModelRetry(1 + repairs, 0.0, verdict.finish_reason, step.assembler.text if step.shown else "")


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
        if step.shown:
            state.partial = step.assembler.text
            raise result
        delay = yield from _wait_to_retry(plan, state, result, attempt, waited)
        if delay is None:
            return None
        attempt, waited = attempt + 1, waited + delay
        step = CallModel(step.request, model=step.model, quiet=step.quiet)


def _count(plan: Plan, state: State, request: Request) -> Generator[Event | Effect, Any, int | None]:
    """Have tokens counted, again where that fails in a passing way; None if the time of the run is up."""
    attempt, waited = 1, 0.0
    while True:
        result = yield Count(request)
        if result is EXPIRED:
            state.stop = "seconds"
            return None
        if not isinstance(result, ModelError):
            return cast(int, result)
        delay = yield from _wait_to_retry(plan, state, result, attempt, waited)
        if delay is None:
            return None
        attempt, waited = attempt + 1, waited + delay


def _wait_to_retry(
    plan: Plan, state: State, error: ModelError, attempt: int, waited: float
) -> Generator[Event | Effect, Any, float | None]:
    """Wait before a request is made again and return how long; None if the time of the run is up.

    Raises:
        ModelError: It is not to be made again.
    """
    delay = plan.retry.delay(error, attempt=attempt, waited=waited, jitter=plan.jitter())
    if delay is None:
        raise error
    yield ModelRetry(attempt + 1, delay, str(error))
    if (yield Wait(delay)) is EXPIRED:
        state.stop = "seconds"
        return None
    return delay


def _view(
    plan: Plan, state: State, base: JsonObject
) -> Generator[Event | Effect, Any, Sequence[Content] | None]:
    """Let the memory choose what is sent; None stops the run."""
    if plan.memory is None:
        return tuple(state.contents)
    same = state.sent.base == _counted(plan, base)  # else the last usage says nothing of this request
    situation = Situation(
        base=base,
        last_view=state.sent.view,
        last_usage=state.sent.usage if same else None,
        summary=state.summary,
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
            answer = yield from _count(plan, state, cast(Request, {"contents": tuple(need.contents), **base}))
            if answer is None:
                return None
            continue
        model = plan.model_of(need.model) if plan.model_of and need.model is not None else None
        try:
            step = yield from _ask(
                plan, state, CallModel(cast(Request, need.request), model=model, quiet=True)
            )
        except ModelError:  # without a summary all is sent, and it is asked for again next time
            state.partial, answer = "", ""
            continue
        if step is None:
            return None
        answer = step.assembler.text
        name = model.name if model else plan.model_name
        state.extra_usages.append(Usage.from_wire(step.assembler.reply().get("usageMetadata"), name))
        if answer.strip():
            state.summary = (need.upto, answer)
            yield Save([SaveSummary(*state.summary)])


def _counted(plan: Plan, base: JsonObject) -> JsonObject:
    """Return what a request's tokens depend on beside its contents."""
    return {**{key: value for key, value in base.items() if key != "toolConfig"}, "model": plan.model_name}


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
        yield from save_reply(state, content)
