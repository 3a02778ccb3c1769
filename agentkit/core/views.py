"""What is sent of the history: all of it, or what the chat's memory chooses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agentkit.core.effects import Effect, Save
from agentkit.core.end import RunEnd
from agentkit.core.history import History
from agentkit.core.repair import judge
from agentkit.core.requests import Ask, Requests
from agentkit.errors import ModelError
from agentkit.events import Event
from agentkit.limits import Usage
from agentkit.memory.base import CountTokens, DoesNotFit, MakeSummary, Memory, Situation
from agentkit.model import Model
from agentkit.stores.steps import SaveSummary
from agentkit.wire.content import Content, JsonObject, Request, parts_of, text_in


@dataclass(slots=True, eq=False)
class Sent:
    """What was sent last, and what it cost: from this a memory knows the size of the next request."""

    view: Sequence[Content] = ()
    usage: Usage | None = None
    base: JsonObject | None = None
    """What the cost depends on beside the contents."""


class Views:
    """Chooses what is sent of the history, request by request.

    Args:
        memory: Chooses; None is all.
        model_of: Finds a model by its name, for a memory that asks one of its own.
        sent: The last request, of the chat if there is one.
        summary: The newest summary: up to which message, and its text.
    """

    def __init__(
        self,
        memory: Memory | None,
        model_of: Callable[[str | Model], Model],
        *,
        requests: Requests,
        end: RunEnd,
        history: History,
    ) -> None:
        self.memory = memory
        self._model_of = model_of
        self._requests = requests
        self._end = end
        self._history = history
        self.sent = Sent()
        self.summary: tuple[int, str] | None = None

    def note(self, view: Sequence[Content], usage: Usage, base: JsonObject) -> None:
        """Note what was sent, and what it cost."""
        self.sent = Sent(view, usage, self._counted(base) if self.memory is not None else None)

    def choose(
        self, memory: Memory, base: JsonObject, *, summarises: bool = True
    ) -> Generator[Event | Effect, Any, Sequence[Content] | None]:
        """Return the contents that a memory chooses; None where the run has ended.

        Args:
            memory: Chooses.
            base: The rest of the request, which counts too.
            summarises: Whether a summary may be made; else it is as where none can be had.
        """
        same = self.sent.base == self._counted(base)  # else the last usage says nothing of this request
        situation = Situation(
            base=base,
            last_view=self.sent.view,
            last_usage=self.sent.usage if same else None,
            summary=self.summary,
        )
        choosing = memory.view(tuple(self._history.contents), situation)
        answer: Any = None
        while True:
            try:
                need = choosing.send(answer)
            except StopIteration as chosen:
                return tuple(chosen.value)
            except DoesNotFit as error:
                self._end.finish_reason = str(error)
                self._end.end("too_large", str(error))
                return None
            if isinstance(need, CountTokens):
                request = {"contents": tuple(need.contents), **base}
                answer = yield from self._requests.count(cast(Request, request))
            else:
                answer = (yield from self._summarise(need, base)) if summarises else ""
            if self._end.stop is not None:
                return None

    def _summarise(self, need: MakeSummary, base: JsonObject) -> Generator[Event | Effect, Any, str]:
        """Have a summary made; an empty one where there is none: then all is sent, and it is asked for again."""
        shared = {key: base[key] for key in ("safetySettings", "labels") if key in base}
        ask = Ask(
            request=cast(Request, {**need.request, **shared}),
            purpose="summary",
            model=None if need.model is None else self._model_of(need.model),
        )
        try:
            answer = yield from self._requests.ask(ask)
        except ModelError:
            return ""
        if answer is None or judge(answer.reply).action != "answer":
            return ""
        text = text_in(parts_of(answer.reply))
        if text.strip():
            self.summary = (need.upto, text)
            yield Save([SaveSummary(*self.summary)])
        return text

    def _counted(self, base: JsonObject) -> JsonObject:
        """Return what a request's tokens depend on beside its contents."""
        return {
            **{key: value for key, value in base.items() if key != "toolConfig"},
            "model": self._requests.model.name,
        }
