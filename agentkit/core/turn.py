"""One turn of the model: asked until there is a usable reply, or the run stops. A part of the loop, sans-IO."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, cast

from agentkit.core.calls import save_reply
from agentkit.core.effects import (
    EXPIRED,
    CallModel,
    Count,
    Effect,
    Plan,
    Resolve,
    Save,
    Sent,
    State,
    Steps,
    Wait,
)
from agentkit.core.hooks import check_request, made_by_hook
from agentkit.core.places import take_place
from agentkit.core.repair import MAX_CONTINUED, MAX_REPAIRS, Stop, Verdict, judge, without_fence
from agentkit.errors import ConfigurationError, ModelError, ToolError, ToolRetry
from agentkit.events import Event, ModelChanged, ModelRetry, TurnFinished
from agentkit.limits import Usage, reached
from agentkit.memory.base import CountTokens, DoesNotFit, Situation
from agentkit.model import Model
from agentkit.output import complaint
from agentkit.stores.steps import SaveSummary
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import Deny
from agentkit.tooling.schema import InvalidArguments
from agentkit.wire.content import (
    Content,
    GrownContents,
    JsonObject,
    Part,
    Reply,
    Request,
    forced,
    keep,
    parts_of,
    text_in,
    user_content,
)
from agentkit.wire.reply import ReplyAssembler
from agentkit.wire.signatures import signed_for

_MISSING_OUTPUT = "Give your final result by calling {!r}, once, and answer with nothing else."


def model_turn(
    plan: Plan, state: State, base: JsonObject, names: Sequence[str], *, last: bool = False
) -> Generator[Event | Effect, Any, Content | None]:
    """Get one usable reply; return its content if it makes calls, else add it to the history or stop the run.

    Args:
        plan: The run's.
        state: The run's. Its `nudge` goes along with the request.
        base: The request without its contents.
        names: The tools that are declared in it.
        last: Whether limits no longer hold: it is the turn that they leave.
    """
    told: list[Content] = [user_content(state.nudge)] if state.nudge else []
    state.nudge = None
    begun: list[Part] = []  # of a text that was cut off and goes on
    cut: list[Content] = []  # that, and that it is to go on
    again: list[Content] = []  # what was wrong with the try before
    repairs = continued = misfits = 0
    native = plan.output is not None and plan.output.native
    while True:
        if not last and (limit := limit_reached(plan, state)):
            state.stop = limit
            break
        try:
            asked = yield from _ask_for_reply(plan, state, base, [*told, *cut, *again], text_in(begun))
        except BaseException:
            state.partial = state.partial or text_in(begun)
            raise
        if asked is None:
            break
        reply, shown = asked
        verdict = judge(
            reply,
            () if native else names,
            continue_text=plan.continue_text and continued < MAX_CONTINUED,
        )
        state.finish_reason = verdict.finish_reason
        parts = [*begun, *parts_of(reply)]
        model = plan.models[state.standing_in].name
        finished = TurnFinished(len(state.usages), state.usages[-1], verdict.finish_reason, model)
        if verdict.action == "calls":
            yield finished
            return keep({"role": "model", "parts": parts}, model=model)
        if verdict.action == "continue":
            continued += 1
            begun, again = parts, []
            cut = [keep({"role": "model", "parts": parts}, model=model), user_content(verdict.nudge or "")]
            yield finished
            continue
        if verdict.action == "retry" and repairs < MAX_REPAIRS:
            repairs += 1
            if verdict.nudge:
                again = [user_content(verdict.nudge)]
            yield finished
            yield ModelRetry(1 + repairs, 0.0, verdict.finish_reason, shown)
            continue
        if verdict.action == "answer" and plan.output is not None:
            if plan.output.tool is None:
                wrong = yield from take_json(plan, state, text_in(parts))
            else:
                wrong = _MISSING_OUTPUT.format(plan.output.tool.name)
            if wrong is not None and state.stop is None and misfits < plan.output.spec.retries:
                misfits += 1
                told += [keep({"role": "model", "parts": parts}, model=model), user_content(wrong)]
                if plan.output.tool is not None:
                    base = forced(base, [plan.output.tool.name])
                yield finished
                yield ModelRetry(1 + misfits, 0.0, "OUTPUT", text_in(begun) + shown)
                begun, cut, again = [], [], []
                continue
            if wrong is not None:
                verdict = Verdict("stop", verdict.finish_reason, state.stop or "output")
            else:
                parts = without_fence(parts)
        yield from _end(state, verdict, parts, model)
        yield finished
        return None
    if begun:  # what there is of a text that could not be continued
        yield from _end(state, Verdict("stop", "MAX_TOKENS", state.stop), begun, model)
    return None


def turn_context(plan: Plan, state: State) -> Context[Any]:
    """Make the context that hooks and functions of a turn get."""
    return dataclasses.replace(plan.context, turn=len(state.usages))


def limit_reached(plan: Plan, state: State) -> Stop | None:
    """Name the limit that is reached before a turn, if any."""
    return reached(plan.limits, state.usage, turns=len(state.usages)) or (
        plan.outer_limit() if plan.outer_limit else None
    )


def _end(state: State, verdict: Verdict, parts: Sequence[Part], model: str) -> Steps:
    """Add a reply that ends the run; calls in one that isn't whole are left out, since they are never run."""
    state.answered = verdict.action == "answer"
    if not state.answered:
        state.stop = verdict.stop
        parts = [part for part in parts if "functionCall" not in part]
    if parts:
        content = keep({"role": "model", "parts": list(parts)}, model=model)
        state.contents.append(content)
        yield from save_reply(state, content)


def take_json(plan: Plan, state: State, text: str) -> Generator[Event | Effect, Any, str | None]:
    """Take the structured output that a text is; return what is wrong with it, for the model."""
    taker = plan.output
    assert taker is not None  # noqa: S101 - asked by the caller
    try:
        made: Any = taker.spec.parse(text)
        if taker.spec.validator is not None:
            made = yield Resolve(partial(taker.spec.validator, made, turn_context(plan, state)))
    except (InvalidArguments, ToolRetry) as error:
        return complaint(error)
    except ToolError as error:
        state.errors.append(error)
        state.stop = "output"
        return str(error)
    if made is EXPIRED:
        state.stop = "seconds"
        return ""
    state.output = made
    return None


# -- asking ----------------------------------------------------------------------------------------------------------


def _ask_for_reply(
    plan: Plan, state: State, base: JsonObject, aside: Sequence[Content], begun: str
) -> Generator[Event | Effect, Any, tuple[Reply, str] | None]:
    """Send what the memory chooses of the history; return the reply and what was shown of it, None on a stop."""
    view = yield from _view(plan, state, base)
    if view is None:
        return None
    request: Any = {"contents": (*view, *aside) if aside else view, **base}
    step: CallModel | None = None
    usage: Usage | None = None
    hooks, model = plan.hooks, plan.models[state.standing_in].name
    if hooks.before_model is not None:
        said = yield from _hear(plan, state, hooks.before_model, request, ("contents", "candidates"))
        if state.stop is not None:
            return None
        if said is not None and "candidates" in said:
            step = CallModel(request, begun=begun, so_far=_so_far(plan))
            yield from step.feed(made_by_hook(said, model))
            usage = Usage()
        elif said is not None:
            check_request(said)
            request = said
    if step is None:
        step = yield from _ask(plan, state, cast(Request, request), begun)
        if step is None:
            return None
        model = plan.models[state.standing_in].name
    reply, shown = step.assembler.reply(), step.assembler.text if step.shown else ""
    if usage is None:
        usage = Usage.from_wire(reply.get("usageMetadata"), model)
    state.usages.append(usage)
    state.sent = Sent(view, usage, _counted(plan, state, base))
    if hooks.after_model is not None:
        said = yield from _hear(plan, state, hooks.after_model, reply, ("candidates",))
        if state.stop is not None:
            return None
        reply = reply if said is None else made_by_hook(said, model)
    return reply, shown


def _hear(
    plan: Plan, state: State, hook: Any, about: Any, keys: Sequence[str]
) -> Generator[Event | Effect, Any, Any]:
    """Ask a hook of the developer's; a refusal stops the run."""
    said = yield Resolve(lambda: hook(about, turn_context(plan, state)))
    if said is EXPIRED:
        state.stop = "seconds"
    elif isinstance(said, Deny):
        state.stop, state.finish_reason = "refused", said.why or "a hook refused it"
    elif said is not None and not (isinstance(said, dict) and any(key in said for key in keys)):
        raise ConfigurationError(
            f"A hook returned {said!r:.100}: return a dict with {' or '.join(keys)}, Deny(why), or None."
        )
    return said


def _ask(
    plan: Plan, state: State, request: Request, begun: str
) -> Generator[Event | Effect, Any, CallModel | None]:
    """Ask the model, and where it fails the one that stands in for it; None if the time of the run is up."""
    while True:
        model = plan.models[state.standing_in]
        step = CallModel(_for_model(state, request, model), model=model, begun=begun, so_far=_so_far(plan))
        try:
            return (yield from _ask_one(plan, state, step, more=state.standing_in + 1 < len(plan.models)))
        except ModelError as error:
            if state.partial or not error.retryable or state.standing_in + 1 >= len(plan.models):
                raise
            state.standing_in += 1
            yield ModelChanged(model.name, plan.models[state.standing_in].name, str(error))


def _so_far(plan: Plan) -> Callable[[str], Any] | None:
    return plan.output.spec.so_far if plan.output is not None and plan.output.native else None


def _for_model(state: State, request: Request, model: Model) -> Request:
    if not state.survey.models <= {model.name} or state.standing_in:
        return cast(Request, {**request, "contents": signed_for(request["contents"], model.name)})
    return request


def _ask_one(
    plan: Plan, state: State, step: CallModel, *, more: bool = False
) -> Generator[Event | Effect, Any, CallModel | None]:
    """Ask a model, again where it fails in a passing way; None if the time of the run is up.

    Where `more` stand in for it, nobody waits as long as the server asks.
    """
    attempt, waited = 1, 0.0
    while True:
        place = yield from take_place(plan, state, step.request)
        if place is None:
            return None
        try:
            result = yield step
        except BaseException:
            _keep_partial(state, step)
            raise
        finally:
            if plan.rate_limit is not None:
                plan.rate_limit.settle(place, _usage(step, "").prompt_tokens)
        if result is EXPIRED:
            _keep_partial(state, step)
            state.stop = "seconds"
            return None
        if not isinstance(result, ModelError):
            return step
        leave = more and (result.retry_after or 0.0) > plan.retry.cap
        if plan.rate_limit is not None and result.code == 429 and not leave:
            plan.rate_limit.slow_down(result.retry_after)  # the next model has a quota of its own
        if step.shown or leave:
            _keep_partial(state, step)
            raise result
        delay = yield from _wait_to_retry(plan, state, result, attempt, waited)
        if delay is None:
            return None
        attempt, waited = attempt + 1, waited + delay
        step = dataclasses.replace(step, assembler=ReplyAssembler(), look_again=0)


def _usage(step: CallModel, model: str) -> Usage:
    return Usage.from_wire(step.assembler.reply().get("usageMetadata"), model)


def _keep_partial(state: State, step: CallModel) -> None:
    """Keep the text of a reply that was broken off, if it is for whoever watches."""
    if not step.quiet:
        state.partial = step.text


def _count(plan: Plan, state: State, request: Request) -> Generator[Event | Effect, Any, int | None]:
    """Have tokens counted, again where that fails in a passing way; None if the time of the run is up."""
    attempt, waited = 1, 0.0
    while True:
        model = plan.models[state.standing_in]
        result = yield Count(_for_model(state, request, model), model)
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


# -- what is sent ----------------------------------------------------------------------------------------------------


def _view(
    plan: Plan, state: State, base: JsonObject
) -> Generator[Event | Effect, Any, Sequence[Content] | None]:
    """Let the memory choose what is sent; None stops the run."""
    if plan.memory is None:
        return GrownContents.of(state.contents, state.joined)
    same = state.sent.base == _counted(plan, state, base)  # else the last usage says nothing of this request
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
            asked = model or plan.models[state.standing_in]
            step = yield from _ask_one(
                plan, state, CallModel(cast(Request, need.request), model=asked, quiet=True)
            )
        except ModelError:  # without a summary all is sent, and it is asked for again next time
            answer = ""
            continue
        if step is None:
            return None
        answer = step.assembler.text
        state.extra_usages.append(_usage(step, asked.name))
        if answer.strip():
            state.summary = (need.upto, answer)
            yield Save([SaveSummary(*state.summary)])


def _counted(plan: Plan, state: State, base: JsonObject) -> JsonObject:
    """Return what a request's tokens depend on beside its contents."""
    return {
        **{key: value for key, value in base.items() if key != "toolConfig"},
        "model": plan.models[state.standing_in].name,
    }
