"""The gate that every request passes on its way to a model, whatever it is for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from reprlib import repr as short
from typing import Any, Final, cast

from agentkit.core.budget import Budget, Hold
from agentkit.core.effects import EXPIRED, AskLimit, CallModel, Count, Effect, Resolve, Wait
from agentkit.core.end import RunEnd
from agentkit.core.files import Files
from agentkit.core.history import History
from agentkit.core.hooks import Hooks, check_request, made_by_hook
from agentkit.core.meter import Meter
from agentkit.core.prefix import Prefix
from agentkit.core.rate_limit import RateLimit, Slot
from agentkit.core.repair import MAX_CONTINUED, Retries, RetryPolicy
from agentkit.core.server_tools import ServerTools
from agentkit.core.takes import check_takes
from agentkit.errors import ConfigurationError, ModelError
from agentkit.events import Event, ModelChanged, PrefixChanged, RequestDelayed
from agentkit.limits import NO_USAGE, Usage, no_price, total_of
from agentkit.memory.sizes import estimate
from agentkit.model import Model
from agentkit.stores.message import Message
from agentkit.tooling.context import Context, Purpose
from agentkit.tooling.decisions import Deny
from agentkit.wire.content import (
    JsonObject,
    Reply,
    Request,
    UsageMetadata,
    encode_request,
    parts_of,
    text_in,
)
from agentkit.wire.reply import ReplyAssembler

Asking = Generator[Event | Effect, Any, Any]
EXPECTED_OUTPUT: Final = 1000
"""Tokens that a first reply is expected to have, where a budget has to be asked before it is there."""


@dataclass(slots=True, eq=False, kw_only=True)
class ModelReply:
    """What came back: the whole reply, who made it, and what it cost."""

    reply: Reply
    model: Model
    usage: Usage
    shown: str
    """What of its text was passed on to whoever watches."""


@dataclass(slots=True, eq=False, kw_only=True)
class Ask:
    """A request, and what it is for."""

    request: Request
    purpose: Purpose
    aside: Sequence[Message] = ()
    """Messages in it that are not in the history."""
    begun: str = ""
    """The beginning of the text, where an earlier reply had it and was cut off."""
    so_far: Callable[[str], Any] | None = None
    """Makes, of a text that is JSON, what whoever watches gets to see of it."""
    model: Model | None = None
    """Who is asked, if not the run's own models."""


class Requests:
    """Asks the run's models: hooks, rate limit, retries, stand-ins and usage are the same for every request.

    Args:
        models: Those that answer: each but the first stands in when the one before it fails.
        context: What hooks get, less the turn and the purpose.
        hooks: The developer's; `before_model` and `after_model` are called here.
        retry: How a transient failure is met.
        rate_limit: Where each request takes a slot, if there is one.
        budget: What each request takes money of, if there is one.
        prefix: Sees whether each request extends the one before it.
        jitter: Gives random numbers in [0, 1).
    """

    def __init__(
        self,
        models: Sequence[Model],
        context: Context[Any],
        *,
        hooks: Hooks,
        retry: RetryPolicy,
        rate_limit: RateLimit | None,
        budget: Budget | None,
        prefix: Prefix,
        jitter: Callable[[], float],
        meter: Meter,
        end: RunEnd,
        history: History,
    ) -> None:
        self.model, *self._fallbacks = models
        self._context = context
        self._hooks = hooks
        self._retry = retry
        self._retries = partial(Retries, retry, jitter, end)
        self._limit = rate_limit
        self._budget = budget
        self._prefix = prefix
        self._meter = meter
        self._end = end
        self._history = history
        self.files = Files(history, end, self._retries)
        self.made = 0
        """How many requests were made."""
        self.last_usage: Usage | None = None
        """What the last reply of the run's own model cost: the size of the next request is guessed from it."""

    def context(self, purpose: Purpose = "turn") -> Context[Any]:
        """Make the context that hooks and functions of a turn get."""
        return self._context.at(turn=len(self._meter.turns), purpose=purpose)

    def ask(self, ask: Ask) -> Generator[Event | Effect, Any, ModelReply | None]:
        """Send a request and return what came back; None where the run has ended or, of a summary, a hook denied it.

        Raises:
            ModelError: No model answered.
            ConfigurationError: A hook returned what can't be sent or taken.
        """
        pieces: list[ModelReply] = []
        next_ask = ask
        while True:
            try:
                piece = yield from self._ask_once(next_ask)
            except BaseException:
                self._note_partial(next_ask, pieces)
                raise
            if piece is None:
                self._note_partial(next_ask, pieces)
                return None
            pieces.append(piece)
            token = _token_of(piece.reply)
            if (
                token is None
                or token == next_ask.request.get("continuationToken")
                or not self._has_room(pieces, ask)
            ):
                break
            next_ask = replace(
                ask,
                request={**ask.request, "continuationToken": token},
                purpose="continuation" if ask.purpose in ("turn", "repair") else ask.purpose,
                begun=next_ask.begun + text_in(parts_of(piece.reply)),
            )
        answer = pieces[0] if len(pieces) == 1 else self._joined(pieces, ask.purpose)
        if self._hooks.after_model is not None:
            said = yield from self._hear_after(self._hooks.after_model, answer.reply, ask.purpose)
            if isinstance(said, Deny) or self._end.stop is not None:
                return None
            if said is not None:
                answer = replace(answer, reply=made_by_hook(said, answer.model.name))
        return answer

    def _ask_once(self, ask: Ask) -> Generator[Event | Effect, Any, ModelReply | None]:
        """Send one request, which the developer's hook hears of before; count what comes back."""
        request, model = ask.request, ask.model or self.model
        said: Any = None
        if self._hooks.before_model is not None:
            said = yield from self._hear_before(self._hooks.before_model, request, ask.purpose, ask.aside)
            if isinstance(said, Deny) or self._end.stop is not None:
                return None
        if said is not None and "candidates" in said:
            call = self._call(ask, request, model)
            yield from call.feed(made_by_hook(said, model.name))
            yield from call.end()
            reply, usage = call.assembler.reply(), NO_USAGE
        else:
            sent = yield from self._send(ask, request if said is None else cast(Request, said))
            if sent is None:
                return None
            call, model = sent, sent.model
            reply = call.assembler.reply()
            usage = call.usage_in(reply.get("usageMetadata"))
        if ask.purpose == "summary":
            self._meter.add(usage)
        else:
            self._meter.add_turn(usage)
            self.last_usage = usage
        return ModelReply(
            reply=reply, model=model, usage=usage, shown=call.assembler.text if call.shown else ""
        )

    # -- a reply in pieces (rule 17)

    def _has_room(self, pieces: Sequence[ModelReply], ask: Ask) -> bool:
        """Return whether the limits leave room for one more piece of a reply."""
        if ask.purpose == "last_turn":  # which no limit holds
            return len(pieces) <= MAX_CONTINUED
        return self._meter.reached() is None

    def _note_partial(self, ask: Ask, pieces: Sequence[ModelReply]) -> None:
        if pieces and ask.purpose != "summary":
            self._end.partial = self._end.partial or ask.begun

    def _joined(self, pieces: Sequence[ModelReply], purpose: Purpose) -> ModelReply:
        """Make one reply of its pieces: what came of each stands behind what came before, and usage adds up."""
        whole = ReplyAssembler()
        for piece in pieces:
            left = () if piece is pieces[-1] else ("continuationToken",)
            candidates = [
                {key: value for key, value in each.items() if key not in left}
                for each in piece.reply.get("candidates") or ()
            ]
            reply = cast(Reply, {**piece.reply, "candidates": candidates, "usageMetadata": None})
            whole.add(reply, whole=True)
        usages = [piece.usage for piece in pieces]
        usage = total_of(usages) if purpose == "summary" else self._meter.joined(usages)
        shown = "".join(piece.shown for piece in pieces)
        return ModelReply(reply=whole.reply(), model=pieces[-1].model, usage=usage, shown=shown)

    # -- hooks

    def _hear_before(self, hook: Any, request: Request, purpose: Purpose, aside: Sequence[Message]) -> Asking:
        """Show the hook a copy of the request; what it returns, or has changed in place, is what it says."""
        body = encode_request(request)
        given = json.loads(body)
        given["contents"] = self._history.copies(request["contents"], given["contents"], aside)
        said = yield from self._hear(hook, given, purpose, ("contents", "candidates"))
        if said is None and given.get("contents") and _encoded(given) == body:
            return None
        said = given if said is None else said
        if isinstance(said, dict) and "candidates" not in said:
            check_request(said)
            _encoded(said)
        return said

    def _hear_after(self, hook: Any, reply: Reply, purpose: Purpose) -> Asking:
        """Show the hook a copy of the reply; what it returns, or has changed in place, is what it says."""
        try:
            given = copy.deepcopy(reply)
        except RecursionError:
            raise ModelError("The model sent a reply that is nested too deep.", retryable=True) from None
        said = yield from self._hear(hook, given, purpose, ("candidates",))
        return given if said is None and given != reply else said

    def _hear(self, hook: Any, about: Any, purpose: Purpose, keys: Sequence[str]) -> Asking:
        """Ask a hook of the developer's; what it denies ends the run, unless the run can do without."""
        said = yield Resolve(lambda: hook(about, self.context(purpose)))
        if said is EXPIRED:
            self._end.end("seconds")
        elif isinstance(said, Deny):
            if purpose not in ("summary", "count"):
                self._end.finish_reason = str(said.why or "a hook refused it")
                self._end.end(
                    "refused", f"A hook refused it: {said.why}" if said.why else "A hook refused it."
                )
        elif said is not None and not (isinstance(said, dict) and any(key in said for key in keys)):
            raise ConfigurationError(
                f"A hook returned {short(said)}: return a dict with {' or '.join(keys)}, Deny(why), or None."
            )
        return said

    # -- sending

    def _send(self, ask: Ask, request: Request) -> Generator[Event | Effect, Any, CallModel | None]:
        """Ask the model, again after a transient failure, and where it fails the one that stands in for it.

        None if the time of the run is up.

        Raises:
            ModelError: None of them answers.
        """
        call, retries = None, self._retries()
        while True:
            model = ask.model or self.model
            if call is None:
                sent: Request | None = request
                if self._history.files or self._history.inline:
                    sent = yield from self.files.sent(request, model)
                if sent is None:
                    return None
                call = self._call(ask, sent, model)
            if ask.purpose != "summary" and (
                why := self._prefix.why_changed(call.request, len(ask.aside), model.name)
            ):
                yield PrefixChanged(why)
            if self._limit is not None and not (yield from self._take_slot(self._limit, call)):
                return None
            if self._budget is not None:
                call.hold = self._hold(self._budget, call)
            try:
                error = yield call
                # What fails behind its last word takes nothing from a reply.
                is_whole = not call.refused if error is None else call.assembler.finished
                if is_whole:
                    yield from call.end()
            except BaseException as raised:
                self._keep_partial(call)
                if isinstance(raised, GeneratorExit):  # cancelled
                    self._count_given_up(call)
                raise
            if is_whole:
                return call
            if call.refused:
                self._end.end("cost", call.refused)
                return None
            self._count_given_up(call)
            if error is EXPIRED:
                self._keep_partial(call)
                self._end.end("seconds")
                return None
            call = yield from self._recover(ask, call, error, retries)
            if self._end.stop is not None:
                return None

    def _recover(
        self, ask: Ask, call: CallModel, error: ModelError, retries: Retries
    ) -> Generator[Event | Effect, Any, CallModel | None]:
        """Return a request that failed, to be made again; None if it has to be made anew, or the time is up.

        Raises:
            ModelError: There is nothing more to try.
        """
        # A continuation token says nothing to another model.
        can_fall_back = (
            ask.model is None and bool(self._fallbacks) and "continuationToken" not in call.request
        )
        is_of_model = error.retryable or error.code == 429  # another model has its own quota
        # Where more stand in for a model, nobody waits as long as the server asks, or for another day.
        is_long = not error.retryable or (error.retry_after or 0.0) > self._retry.cap
        leave = can_fall_back and is_of_model and is_long
        if self._limit is not None and error.code == 429 and not leave:
            yield AskLimit(self._limit, partial(self._limit.slow_down, error.retry_after))
        if call.shown or leave:
            self._keep_partial(call)
        elif (in_time := (yield from retries.wait(error))) is not None:
            return call.again() if in_time else None
        if can_fall_back and is_of_model and not self._end.partial:
            self.model = self._fallbacks.pop(0)
            retries.made, retries.waited = 0, 0.0
            yield ModelChanged(call.model.name, self.model.name, str(error))
        elif not self.files.forget(call.request, error):
            raise error
        return None

    def _call(self, ask: Ask, request: Request, model: Model) -> CallModel:
        """Make the effect that asks a model, if it takes the request."""
        request = self._history.taken_by(model, request, ask.aside)
        # At first of those too that may stand in: what they don't take is known before anything is sent.
        for each in dict.fromkeys((model,) if self.made else (model, self.model, *self._fallbacks)):
            check_takes(each, request)
        self.made += 1
        return CallModel(
            request,
            model,
            quiet=ask.purpose == "summary",
            begun=ask.begun,
            so_far=ask.so_far,
            server=ServerTools(f"{self._context.run_id}-{self.made}"),
        )

    def _keep_partial(self, call: CallModel) -> None:
        if not call.quiet:
            self._end.partial = call.text

    def _count_given_up(self, call: CallModel) -> None:
        """Count a request of which nothing comes, but which may be charged: with the tokens that it told, if any."""
        if call.free:
            return
        told = call.assembler.reply().get("usageMetadata")
        usage = call.usage_in(told)
        self._meter.add(usage if told and call.assembler.finished else replace(usage, given_up=1))

    # -- the rate limit

    def _take_slot(self, limit: RateLimit, call: CallModel) -> Generator[Event | Effect, Any, bool]:
        """Wait for a request's slot, to be settled when it is over; return whether there was time for it.

        A slot whose request isn't sent, since the run was cancelled or its time was up, is given back.
        """
        tokens = self._expected_tokens(call.request)
        while True:
            slot: Slot = yield AskLimit(limit, lambda: limit.reserve(tokens), limit.give_back)
            if slot.seconds <= 0:
                break
            kept = False
            try:
                yield RequestDelayed(slot.seconds)
                if (yield Wait(slot.seconds)) is EXPIRED:
                    self._end.end("seconds")
                    return False
                # Where the server refused somebody meanwhile, everybody waits anew.
                kept = (yield AskLimit(limit, limit.pause)) <= 0
            finally:
                if not kept:
                    limit.give_back(slot)
            if kept:
                break

        def settle() -> None:
            if call.sent:
                limit.settle(slot, _prompt_tokens(call))
            else:
                limit.give_back(slot)

        call.settle = AskLimit(limit, settle)
        return True

    def _expected_tokens(self, request: Request) -> int:
        last = self.last_usage
        if last and last.prompt_tokens:  # the next prompt has the reply too
            return last.prompt_tokens + last.candidates_tokens
        return estimate(request["contents"], {})

    # -- the budget

    def _hold(self, budget: Budget, call: CallModel) -> Hold:
        """Make what a request takes of the budget.

        Raises:
            ConfigurationError: Nobody knows what the model costs; nothing was sent.
        """
        prices = self._meter.prices
        usd = self._expected_usage(call).cost(prices)
        if usd is None:
            raise no_price(f"A {budget!r}", call.model.name, call.request.get("serviceTier"))

        def cost() -> float | None:
            if call.free:
                return 0.0
            told = call.assembler.reply().get("usageMetadata")
            return call.usage_in(told).cost(prices) if told else None

        return Hold(budget, usd, self.context(), cost)

    def _expected_usage(self, call: CallModel) -> Usage:
        """Guess what a request will use, by what the last one did."""
        last, config = self.last_usage, call.request.get("generationConfig") or {}
        output = last.candidates_tokens + last.thoughts_tokens if last else EXPECTED_OUTPUT
        most = config.get("maxOutputTokens")
        guess: UsageMetadata = {
            "promptTokenCount": self._expected_tokens(call.request),
            "candidatesTokenCount": min(output, most) if type(most) is int else output,
        }
        return call.usage_in(guess)

    # -- counting

    def count(self, request: Request) -> Generator[Event | Effect, Any, int | None]:
        """Count the tokens of a request; None if the time of the run is up.

        The hooks hear of it and transient failures are met as ever; where it can't be counted, it is estimated.
        """
        said: Any = None
        if self._hooks.before_model is not None:
            said = yield from self._hear_before(self._hooks.before_model, request, "count", ())
        if self._end.stop is not None:
            return None
        if isinstance(said, dict) and "contents" in said:
            request = cast(Request, said)
        if isinstance(said, Deny) or (isinstance(said, dict) and "candidates" in said):
            return _estimated(request)
        retries = self._retries()
        while True:
            model = self.model
            sent = yield from self.files.sent(request, model)
            result = sent and (yield Count(self._history.taken_by(model, sent, ()), model))
            if result is EXPIRED or result is None:
                self._end.end("seconds")
                return None
            if not isinstance(result, ModelError):
                return cast(int, result)
            in_time = yield from retries.wait(result)
            if in_time is None:
                return _estimated(request)
            if not in_time:
                return None


def _token_of(reply: Reply) -> str | None:
    """Return the token with which a reply goes on, if it isn't whole."""
    candidate: Any = (reply.get("candidates") or [{}])[0]
    token = candidate.get("continuationToken")
    return (
        token
        if candidate.get("finishReason") == "CONTINUATION" and token and isinstance(token, str)
        else None
    )


def _encoded(request: Any) -> bytes:
    try:
        return encode_request(request)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"before_model made a request that isn't JSON: {error!r:.200}") from error


def _prompt_tokens(call: CallModel) -> int:
    return Usage.from_wire(call.assembler.reply().get("usageMetadata")).prompt_tokens


def _estimated(request: Request) -> int:
    base: JsonObject = {key: value for key, value in request.items() if key != "contents"}
    return estimate(request["contents"], base)
