"""An agent as a tool of another: its tokens, limits, events and pending calls belong to the run around it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from agentkit.errors import ConfigurationError, HistoryError, ToolDeferred, ToolError
from agentkit.events import AgentEvent, Event, RunFinished
from agentkit.limits import Limits, Usage
from agentkit.model import Model
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.tooling.registry import Toolbox
from agentkit.tooling.tool import Tool
from agentkit.traits import PRICES


class InnerStream(Protocol):
    """The events of a run that answers a call."""

    @property
    def run(self) -> Any:
        """The run, once it is over."""
        ...

    def usage_now(self) -> Usage:
        """Return what was used so far."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *exc: Any) -> None: ...


class InnerAgent(Protocol):
    """An agent that answers calls."""

    name: str
    limits: Limits

    @property
    def models(self) -> Sequence[Model]:
        """The models that answer."""
        ...

    @property
    def toolbox(self) -> Toolbox:
        """Its tools."""
        ...

    @property
    def reads(self) -> bool:
        """Whether tools of Gemini's own bring in words."""
        ...

    @property
    def decides(self) -> bool:
        """Whether it has an approver of its own."""
        ...

    def run_inside(
        self,
        outer: Context[Any],
        request: str,
        *,
        resumed: str | None,
        decisions: Mapping[str, Decision],
        limits: Limits,
        approver: Callable[[PendingCall, Context[Any]], Any] | None,
    ) -> InnerStream:
        """Begin a run that answers a call of an outer one, or go on with it."""
        ...


class Mistake(Exception):
    """What ended a run inside is for whoever decides, or wrote the program, and not for the model."""

    def __init__(self, error: BaseException, waits: ToolDeferred | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.waits = waits
        """What the call around it waits for now, if it does."""


class SubAgent:
    """Answers calls with runs of an agent."""

    def __init__(self, agent: InnerAgent, share: float) -> None:
        self.agent = agent
        self._share = share

    @property
    def __agentkit_place__(self) -> str:
        """How errors name its tool."""
        return f"the agent {self.agent.name!r}"

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The agent's, as far as they are known."""
        return self.agent.toolbox.known()

    def as_tool(self, **options: Any) -> Tool:
        """Make the tool; what the agent's own tools bring in, and what they could do, holds of it too."""
        box = self.agent.toolbox
        tools, unknown = box.known(), [source for source in box.sources if source.known() is None]
        if options.get("effect") is None:
            reads = not unknown and all(tool.effect == "read" and not tool.interactive for tool in tools)
            options["effect"] = "read" if reads else None
        untrusted = self.agent.reads or any(tool.untrusted for tool in tools)
        untrusted = untrusted or any(source.untrusted for source in unknown)
        sensitive = bool(unknown) or any(tool.sensitive or tool.effect == "write" for tool in tools)
        return Tool.of(self._ask, untrusted=untrusted, sensitive=sensitive, **options)

    async def _ask(self, request: str, ctx: Context[Any]) -> Any:
        stream = self.agent.run_inside(
            ctx,
            request,
            resumed=None if ctx.resumed is None else json.dumps(ctx.resumed),
            decisions={key: said for key, said in ctx.decisions.items() if key != ctx.call_id},
            limits=self._limits(ctx),
            approver=self._approver(ctx),
        )
        ctx._run.add_live_usage(stream.usage_now)
        try:
            async with stream as events:
                async for event in events:
                    if not isinstance(event, RunFinished):
                        ctx._run.report(self._tell(event, ctx.call_id))
        except BaseException as error:
            known = error, error.__cause__  # a StopIteration gets out as the cause of another error
            ctx._run.add_errors([each for each in stream.run.errors if not any(each is one for one in known)])
            if _is_of_the_call(error, stream.run):
                raise
            raise Mistake(error, self._wait(stream.run, ctx) if stream.run.pending else None) from error
        return self._answer(stream.run, ctx)

    def _approver(self, ctx: Context[Any]) -> Callable[[PendingCall, Context[Any]], Any] | None:
        """Let whoever decides for the outer run decide inside too, unless the agent has an approver of its own."""
        outer = ctx._run.approver
        if outer is None or self.agent.decides:
            return None
        return lambda call, inner: outer(self._inside(call, ctx), inner)

    def _inside(self, call: PendingCall, ctx: Context[Any]) -> PendingCall:
        """Say of a call that waits where it is."""
        path, call_ids = (self.agent.name, *call.path), (ctx.call_id, *call.call_ids)
        return dataclasses.replace(call, path=path, call_ids=call_ids)

    def _limits(self, ctx: Context[Any]) -> Limits:
        """Hold the agent's own limits against its share of what is left of the outer run's."""
        limits, left = self.agent.limits, ctx._run.share_left(self._share)
        priced, outer_prices = "cost" in left, left.pop("prices", None)
        box = self.agent.toolbox
        if not (box.known() or box.sources):  # it makes no calls: none have to be left
            left.pop("tool_calls", None)
        for name, rest in left.items():
            if not rest > 0:
                raise ToolError(
                    f"The agent {self.agent.name!r} was not asked: the limit of {name} is reached."
                )
            own = getattr(limits, name)
            left[name] = rest if own is None else min(own, rest)
        prices = outer_prices if limits.prices is None else limits.prices
        if priced and limits.prices is not None:  # the outer run's prices have every model (`check_prices`)
            prices = {**(PRICES if outer_prices is None else outer_prices), **limits.prices}
        return dataclasses.replace(limits, **left, prices=prices)

    def _tell(self, event: Event, call_id: str) -> AgentEvent:
        name = self.agent.name
        if isinstance(event, AgentEvent):
            return AgentEvent((name, *event.path), (call_id, *event.call_ids), event.event)
        return AgentEvent((name,), (call_id,), event)

    def _wait(self, run: Any, ctx: Context[Any]) -> ToolDeferred:
        """Make what says that a run inside waits."""
        pending = [self._inside(call, ctx) for call in run.pending]
        return ToolDeferred(
            f"The agent {self.agent.name!r} waits: {', '.join(call.name for call in pending)}.",
            state=json.loads(run.to_json()),
            pending=pending,
        )

    def _answer(self, run: Any, ctx: Context[Any]) -> Any:
        """Return the answer's text with its sources, and the pictures, sounds and files that were made."""
        ctx._run.add_errors(run.errors)
        if run.stop is None:
            ctx._run.add_sources(run.sources, run.search_suggestions)
            text = str(run.text_with_sources())
            return [*([text] if text else []), *run.media] if run.media else text
        if run.stop in ("approval", "deferred"):
            raise self._wait(run, ctx)
        said = f" It had said: {run.text}" if run.text else ""
        raise ToolError(
            f"The agent {self.agent.name!r} stopped without an answer: {run.stop}. {run.why}{said}"
        )


def _is_of_the_call(error: BaseException, run: Any) -> bool:
    """Return whether what ended a run is a failure of the call that it answers: an outage, a hook's or a tool's error.

    What somebody has said or set up wrongly isn't, nor what leaves calls waiting: an approver that failed, say.
    """
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)) or any(
        error is each for each in run.errors
    ):
        return True
    return not (run.pending or isinstance(error, (ConfigurationError, HistoryError)))


def agents_in(tools: Iterable[Tool]) -> list[InnerAgent]:
    """List the agents that tools are, and those that are tools of theirs, as far as they are known, each once."""
    found: list[InnerAgent] = []
    left = [*tools]
    for tool in left:
        inside = getattr(tool.function, "__self__", None)
        if isinstance(inside, SubAgent) and inside.agent not in found:
            found.append(inside.agent)
            left += inside.agent.toolbox.known()
    return found


def check_prices(
    limits: Limits, models: Iterable[Model], tools: Iterable[Tool], *, budget: object = None
) -> None:
    """Refuse a limit of cost, or a budget, that can't be held, since nobody knows what a model costs.

    The limit holds for the agents that tools are, too; a budget is that of one agent.

    Raises:
        ConfigurationError: A model has no price.
    """
    limits.check_prices([model.name for model in models], budget=budget)
    if limits.cost is not None:
        limits.check_prices(model.name for agent in agents_in(tools) for model in agent.models)


def interactive_in(tools: Collection[Tool]) -> set[str]:
    """Name the tools that ask a person at the terminal, those of sub-agents too."""
    inside = [tool for agent in agents_in(tools) for tool in agent.toolbox.known()]
    return {tool.name for tool in (*tools, *inside) if tool.interactive}
