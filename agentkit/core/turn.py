"""One turn of the model: asked until there is a usable reply, or the run ends. A part of the loop, sans-IO."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from agentkit.core.effects import EXPIRED, Effect, Resolve, Save, Steps
from agentkit.core.repair import CONTINUE, MAX_CONTINUED, MAX_REPAIRS, Verdict, judge
from agentkit.core.requests import Ask, ModelReply
from agentkit.errors import ToolError, ToolRetry
from agentkit.events import Event, ModelRetry, TurnFinished
from agentkit.model import Model
from agentkit.output import Misfit, validated
from agentkit.stores.message import Message
from agentkit.stores.steps import AddMessage
from agentkit.tooling.context import Purpose
from agentkit.tooling.schema import InvalidArguments
from agentkit.wire.content import (
    Content,
    JsonObject,
    Part,
    Request,
    forced,
    keep,
    parts_of,
    text_in,
    text_of,
    user_content,
)
from agentkit.wire.metadata import beside, counted_on, merged, shifted
from agentkit.wire.text import without_fence

if TYPE_CHECKING:
    from agentkit.core.state import RunState

_MISSING_OUTPUT = "Give your final result by calling {!r}, once, and answer with nothing else."
Asked = Generator[Event | Effect, Any, Message | None]


class Turn:
    """Gets one usable reply, and whatever it takes to get it.

    Args:
        run: The run; its history and its end are what changes.
        base: The request without its contents.
        names: The tools that are declared in it.
        nudge: What the model is told along with the request; it is not in the history.
        last: Whether limits no longer hold: it is the turn that they leave.
    """

    def __init__(
        self, run: RunState, base: JsonObject, names: Sequence[str], *, nudge: str | None, last: bool = False
    ) -> None:
        self._run = run
        self._base = base
        self._names = names
        self._last = last
        self._aside = [_user(nudge)] if nudge else []
        """Messages that are sent and are not in the history."""
        self._partial: Message | None = None
        """The reply so far, if its text was cut off and goes on."""
        self._correction: Message | None = None
        """What the model is told of an unusable reply."""
        self._repairs = self._continued = self._misfits = 0

    def take(self) -> Asked:
        """Return the reply if it makes calls; else add it to the history, or end the run, and return None."""
        run, end = self._run, self._run.end
        purpose: Purpose = "last_turn" if self._last else "turn"
        while (answer := (yield from self._ask(purpose))) is not None:
            verdict = self._judge(answer)
            end.finish_reason = verdict.finish_reason
            parts = parts_of(answer.reply)
            if self._partial is not None:
                parts = [*self._partial.content["parts"], *parts]
            finished = TurnFinished(
                len(run.meter.turns), answer.usage, verdict.finish_reason, answer.model.name, verdict.words
            )
            if verdict.action == "calls":
                yield finished
                return self._message(parts, answer, verdict.finish_reason)
            if verdict.action == "answer" and run.output is not None:
                verdict = yield from self._take_output(parts, verdict)
                parts = without_fence(parts) if verdict.action == "answer" else parts
            used_up = verdict.action == "retry" and self._repairs == MAX_REPAIRS
            if used_up or verdict.action in ("answer", "stop"):
                yield from self._finish(verdict, parts, answer)
                yield finished
                return None
            yield finished
            yield from self._prepare(verdict, parts, answer)
            if not self._last:
                purpose = "continuation" if verdict.action == "continue" else "repair"
                if limit := run.meter.reached():
                    end.end(*limit)
                    break
        if self._partial is not None:  # the rest of it could not be had
            verdict = Verdict("stop", "MAX_TOKENS", end.stop, why=end.why, is_ours=True)
            yield from self._finish(verdict, self._partial.content["parts"], None)
        return None

    def _ask(self, purpose: Purpose) -> Generator[Event | Effect, Any, ModelReply | None]:
        """Send what the memory chooses of the history, with what is said beside it."""
        run, aside, begun = self._run, [*self._aside], ""
        if self._partial is not None:
            aside += [self._partial, _user(CONTINUE)]
            begun = text_of(self._partial.content)
        if self._correction is not None:
            aside.append(self._correction)
        try:
            view: Sequence[Content] | None = run.history.whole()
            if run.views.memory is not None:
                made = run.requests.made
                view = yield from run.views.choose(run.views.memory, self._base)
                summarised = run.requests.made > made and view is not None and not self._last
                if summarised and (limit := run.meter.reached()):
                    run.end.end(*limit)
                    return None
            if view is None:
                return None
            contents = (*view, *(message.content for message in aside)) if aside else view
            request = cast(Request, {"contents": contents, **self._base})
            so_far = run.output.spec.so_far if run.output is not None and run.output.native else None
            ask = Ask(request=request, purpose=purpose, aside=aside, begun=begun, so_far=so_far)
            answer = yield from run.requests.ask(ask)
        except BaseException:
            run.end.partial = run.end.partial or begun
            raise
        if answer is not None:
            run.views.note(view, run.requests.last_usage or answer.usage, self._base)
        return answer

    def _judge(self, answer: ModelReply) -> Verdict:
        run = self._run
        calling = self._base.get("toolConfig", {}).get("functionCallingConfig", {})
        allowed: Sequence[str] = calling.get("allowedFunctionNames") or self._names
        verdict = judge(
            answer.reply,
            () if run.output is not None and run.output.native else self._names,
            allowed=() if calling.get("mode") == "NONE" else allowed,
            continue_text=run.settings.continue_text and self._continued < MAX_CONTINUED,
        )
        if (
            verdict.finish_reason == "CONTINUATION"
            and not self._last
            and (limit := run.meter.reached()) is not None
        ):
            return Verdict("stop", verdict.finish_reason, limit[0], why=limit[1], is_ours=True)
        return verdict

    def _prepare(self, verdict: Verdict, parts: list[Part], answer: ModelReply) -> Steps:
        """Prepare to ask again: for the rest of a text, for a usable reply, or for an output that fits."""
        said = self._message(parts, answer, None)
        self._run.history.hear(said)  # it is sent again, though it isn't in the history
        if verdict.action == "continue":
            self._continued += 1
            self._partial, self._correction = said, None
        elif verdict.action == "misfit":
            begun = "" if self._partial is None else text_of(self._partial.content)
            self._misfits += 1
            self._aside += [said, _user(verdict.nudge or "")]
            tool = self._run.output.tool if self._run.output is not None else None
            if tool is not None:
                self._base = forced(self._base, [tool.name])
            self._partial = self._correction = None
            yield ModelRetry(1 + self._misfits, 0.0, "OUTPUT", begun + answer.shown)
        else:
            self._repairs += 1
            if verdict.nudge:
                self._correction = _user(verdict.nudge)
            why = f"{verdict.finish_reason}: {verdict.words}" if verdict.words else verdict.finish_reason
            yield ModelRetry(1 + self._repairs, 0.0, why, answer.shown)

    def _take_output(self, parts: list[Part], verdict: Verdict) -> Generator[Event | Effect, Any, Verdict]:
        """Take a text for the structured output; return what is to be done about it."""
        output, end = self._run.output, self._run.end
        assert output is not None
        if output.tool is None:
            wrong = yield from take_json(self._run, text_in(parts))
        else:
            name = output.tool.name
            wrong = Misfit(
                _MISSING_OUTPUT.format(name), f"The model answered in words, and didn't call {name!r}."
            )
        if wrong is None:
            return verdict
        if end.stop is None and self._misfits < output.spec.retries:
            return Verdict("misfit", verdict.finish_reason, nudge=wrong.told)
        why = end.why or wrong.why
        return Verdict("stop", verdict.finish_reason, end.stop or "output", why=why, is_ours=True)

    def _finish(self, verdict: Verdict, parts: Sequence[Part], answer: ModelReply | None) -> Steps:
        """Add a reply that ends the run; calls in one that isn't whole are left out, since they are never run."""
        run = self._run
        if verdict.action == "answer":
            run.end.answer()
        else:
            assert verdict.stop is not None
            run.end.end(verdict.stop, verdict.why, said=verdict.said)
            parts = [part for part in parts if not part.keys() & {"functionCall", "functionResponse"}]
        if parts:
            message = self._message(parts, answer, run.end.finish_reason)
            run.history.add(message)
            yield Save([AddMessage(message)], later=not run.context._run.watched)
            run.meter.note_stored(message.usage)
        elif answer is not None:
            run.end.metadata = beside(answer.reply)

    def _message(
        self, parts: Sequence[Part], answer: ModelReply | None, finish_reason: str | None
    ) -> Message:
        model: Model = self._run.requests.model if answer is None else answer.model
        said = None if answer is None else beside(answer.reply)
        if self._partial is not None:
            before, said = self._partial.metadata, shifted(said, self._partial.content["parts"])
            said = merged(before, counted_on(before, said)) if before else said
        return Message(
            content=keep({"role": "model", "parts": list(parts)}),
            model=model.name,
            endpoint=model.traits.endpoint,
            usage=self._run.meter.turns[-1] if answer is None else answer.usage,
            finish_reason=finish_reason,
            metadata=said or None,
        )


def _user(text: str) -> Message:
    return Message(content=user_content(text))


def take_json(run: RunState, text: str) -> Generator[Event | Effect, Any, Misfit | None]:
    """Take the structured output that a text is; return what is wrong with it."""
    taker = run.output
    assert taker is not None
    try:
        made: Any = taker.spec.parse(text)
        if taker.spec.validator is not None:
            made = yield Resolve(partial(taker.spec.validator, made, run.requests.context()))
    except (InvalidArguments, ToolRetry) as error:
        return Misfit.of(error)
    except ToolError as error:
        run.end.errors.append(error)
        run.end.end("output", str(error))
        return Misfit("", str(error))
    if made is EXPIRED:
        run.end.end("seconds")
        return Misfit("", run.end.why)
    taker.value = validated(taker.spec, made)
    return None
