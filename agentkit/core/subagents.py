"""An agent as a tool of another: its tokens, limits, events and pending calls belong to the run around it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentkit.errors import ToolDeferred, ToolError
from agentkit.events import AgentEvent, Event, RunFinished
from agentkit.limits import Limits
from agentkit.run import Resume, Run
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import PendingCall
from agentkit.tooling.tool import Tool

if TYPE_CHECKING:
    from agentkit.agent import Agent


class SubAgent:
    """Answers calls with runs of an agent."""

    def __init__(self, agent: Agent, share: float) -> None:
        self._agent = agent
        self._share = share

    def as_tool(self, **options: Any) -> Tool:
        """Make the tool; what the agent's own tools bring in, and what they could do, holds of it too."""
        tools = self._agent.tools
        untrusted = any(tool.untrusted for tool in tools)
        sensitive = any(tool.sensitive or tool.effect == "write" for tool in tools)
        return Tool.of(self._ask, untrusted=untrusted, sensitive=sensitive, **options)

    async def _ask(self, request: str, ctx: Context[Any]) -> str:
        resume = None
        if ctx.resumed is not None:
            inner = Run.from_json(json.dumps(ctx.resumed))
            decisions = {key: said for key, said in ctx.decisions.items() if key != ctx.call_id}
            resume = Resume(decisions, inner)
        stream = self._agent._astream(
            None if resume else request,
            {"deps": ctx.deps, "limits": self._limits(ctx), "approver": self._approver(ctx)},
            stream=ctx.watched,
            resume=resume,
            outer=ctx,
        )
        ctx.on_live_usage(stream.usage_now)
        async with stream as events:
            async for event in events:
                if not isinstance(event, RunFinished):
                    ctx.on_event(self._tell(event, ctx.call_id))
        return self._answer(events.run)

    def _approver(self, ctx: Context[Any]) -> Callable[[PendingCall, Context[Any]], Any] | None:
        """Let whoever decides for the outer run decide inside too, unless the agent has an approver of its own."""
        outer, name = ctx.approver, self._agent.name
        if outer is None or self._agent._approver is not None:
            return None
        return lambda call, inner: outer(dataclasses.replace(call, path=(name, *call.path)), inner)

    def _limits(self, ctx: Context[Any]) -> Limits:
        """Hold the agent's own limits against its share of what is left of the outer run's."""
        limits, left = self._agent.limits, ctx.share_left(self._share)
        outer_prices = left.pop("prices", None)
        for name, rest in left.items():
            if not rest > 0:
                raise ToolError(
                    f"The agent {self._agent.name!r} was not asked: the limit of {name} is reached."
                )
            own = getattr(limits, name)
            left[name] = rest if own is None else min(own, rest)
        prices = outer_prices if limits.prices is None else limits.prices
        return dataclasses.replace(limits, **left, prices=prices)

    def _tell(self, event: Event, call_id: str) -> AgentEvent:
        name = self._agent.name
        if isinstance(event, AgentEvent):
            return AgentEvent((name, *event.path), call_id, event.event)
        return AgentEvent((name,), call_id, event)

    def _answer(self, run: Run[Any]) -> str:
        if run.stop is None:
            return run.text
        if run.stop in ("approval", "deferred"):
            name = self._agent.name
            pending = [dataclasses.replace(call, path=(name, *call.path)) for call in run.pending]
            raise ToolDeferred(
                f"The agent {name!r} waits: {', '.join(call.name for call in pending)}.",
                state=json.loads(run.to_json()),
                pending=pending,
            )
        raise ToolError(
            f"The agent {self._agent.name!r} stopped without an answer: {run.stop}. {run.text}".strip()
        )
