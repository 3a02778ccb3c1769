"""Tools and agents as an MCP server, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal

from agentkit import __version__
from agentkit.agent import Agent
from agentkit.core.log import log_failure
from agentkit.core.subagents import interactive_in
from agentkit.errors import ConfigurationError, ToolError, ToolTimeout
from agentkit.events import AgentEvent, Event, ToolProgress, ToolStarted
from agentkit.mcp.exposed import annotations_of, content_of, schema_of
from agentkit.tooling.context import Context, RunHandle
from agentkit.tooling.decisions import Approve, Decision, Deny, PendingCall
from agentkit.tooling.invoke import Outcome, fail, prepare, succeed
from agentkit.tooling.registry import collect
from agentkit.tooling.tool import Tool
from agentkit.wire.arguments import checked
from agentkit.wire.content import JsonObject

ASK = "ask"
"""The name of the tool that asks an agent itself."""
MAX_PROGRESS = 1_000
MAX_ROUNDS = 10
"""How often one call may ask the client for approval, up to 2025-11-25."""

_FORM = {
    "type": "object",
    "properties": {"allow": {"type": "boolean", "title": "Allow this call?"}},
    "required": ["allow"],
}

Approvals = Literal["ask", "refuse"]


@checked
def make_server(
    source: Any,
    *,
    name: str = "agentkit",
    deps: Any = None,
    approvals: Approvals = "ask",
    ask: bool = False,
    timeout: float | None = 60.0,
) -> Any:
    """Make a `Server` of the SDK whose tools are those of a registry or an agent.

    Args:
        source: An `Agent`, or what an agent's `tools=` takes. Tools that ask at the terminal are left out.
        name: The server's.
        deps: What tools get as `ctx.deps`.
        approvals: What becomes of calls that need approval. `"ask"`: the person at the client is asked by
            elicitation; where the client can't, the call is refused. `"refuse"`: they all are.
        ask: Whether the agent itself is a tool, `ask`, too.
        timeout: Seconds that a call may take where its tool sets none; None means no limit.

    Raises:
        ConfigurationError: Something in it can't work.
    """
    from mcp.server import Server
    from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity

    if approvals not in ("ask", "refuse"):
        raise ConfigurationError(f"approvals={approvals!r}: it is 'ask' or 'refuse'.")
    tools = _tools_of(source, ask=ask)
    serving = _Serving(tools, deps, asks=approvals == "ask", timeout=timeout)
    server: Any = Server(
        name, version=__version__, on_list_tools=serving.list_tools, on_call_tool=serving.call_tool
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=name))
    return server


def _tools_of(source: Any, *, ask: bool) -> dict[str, Tool]:
    is_agent = isinstance(source, Agent)
    found = source.toolbox.load() if is_agent else collect(source)
    tools = {key: tool for key, tool in found.items() if not interactive_in([tool])}
    if ask and not is_agent:
        raise ConfigurationError("ask=True: give an agent; tools alone can't be asked.")
    if ask and ASK in tools:
        raise ConfigurationError(f"ask=True: there is a tool {ASK!r} already.")
    if ask and (asking := interactive_in(source.tools)):
        names = ", ".join(sorted(asking))
        raise ConfigurationError(
            f"ask=True: the agent has tools that ask at the terminal, {names}: leave them out."
        )
    if ask:
        tools[ASK] = source.as_tool(name=ASK)
    if not tools:
        raise ConfigurationError("There are no tools to serve.")
    return tools


class _Serving:
    """Answers the requests of clients."""

    def __init__(self, tools: dict[str, Tool], deps: Any, *, asks: bool, timeout: float | None) -> None:
        self._tools = tools
        self._deps = deps
        self._asks = asks
        self._timeout = timeout

    async def list_tools(self, ctx: Any, params: Any) -> Any:
        from mcp.types import ListToolsResult
        from mcp.types import Tool as Declared

        return ListToolsResult(
            tools=[
                Declared(
                    name=tool.name,
                    title=tool.name.replace("_", " ").strip().capitalize() or None,
                    description=tool.description or None,
                    input_schema=schema_of(tool),
                    annotations=annotations_of(tool),
                )
                for tool in self._tools.values()
            ]
        )

    async def call_tool(self, ctx: Any, params: Any) -> Any:
        from mcp import MCPError
        from mcp.types import INVALID_PARAMS

        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:200]}")
        return await _Call(self, ctx, tool, params).answer()


class _Call:
    """Answers one request to call a tool."""

    def __init__(self, serving: _Serving, ctx: Any, tool: Tool, params: Any) -> None:
        self._serving = serving
        self._ctx = ctx
        self._tool = tool
        self._args: JsonObject = params.arguments or {}
        self._progress = _Progress(ctx)
        self._params = params
        self._context: Context[Any] = Context(
            deps=serving._deps,
            run_id=uuid.uuid4().hex,
            call_id=uuid.uuid4().hex,
            tool_name=tool.name,
            _run=RunHandle(report=self._progress.report, watched=True, streamed=True),
        )

    async def answer(self) -> Any:
        """Make the call, asking for approval where it is needed; return what the protocol has for that."""
        try:
            if self._ctx.protocol_version >= "2026-07-28":
                outcome = await self._make(self._said_before())
                return self._input_required(outcome) or content_of(outcome)
            outcome = await self._make({})
            for _ in range(MAX_ROUNDS):
                if not (self._can_ask and _asks(outcome)):
                    break
                outcome = await self._make({each.call_id: await self._ask(each) for each in outcome.pending})
            return content_of(outcome)
        finally:
            await self._progress.end()

    async def _make(self, decisions: dict[str, Decision]) -> Outcome:
        """Validate the arguments and run the tool, unless its approval is missing."""
        if decisions:
            self._context = dataclasses.replace(self._context, decisions=decisions)
        call: Any = {"name": self._tool.name, "args": self._args}
        invocation = prepare(call, self._serving._tools, self._context)
        if invocation.outcome is not None:
            return invocation.outcome
        said = decisions.get(self._context.call_id)
        if isinstance(said, Deny):
            return fail(invocation, ToolError(f"The call was not allowed. {said.why}".strip()))
        try:
            if said is None and self._context.resumed is None and (why := self._needs_approval()):
                pending = PendingCall(
                    call_id=self._context.call_id, name=self._tool.name, args=self._args, why=why
                )
                return dataclasses.replace(
                    fail(invocation, ToolError(_REFUSED)), kind="waits", pending=(pending,)
                )
            assert invocation.function is not None
            outcome = succeed(invocation, await self._run(invocation.function))
        except (Exception, SystemExit) as error:  # the latter would end the server
            outcome = fail(invocation, error)
        log_failure(self._tool.name, outcome.error, self._context.run_id)
        if outcome.deferred is not None:
            self._context = dataclasses.replace(self._context, resumed=outcome.deferred.state)
        return outcome

    def _needs_approval(self) -> str | None:
        held: Any = self._tool.approval
        if callable(held):
            held = held(json.loads(json.dumps(self._args)), self._context)
        return (held if isinstance(held, str) else f"{self._tool.name} needs approval.") if held else None

    async def _run(self, function: Callable[[], Any]) -> Any:
        import anyio

        limit = self._tool.timeout or self._serving._timeout
        with anyio.move_on_after(limit if limit is not None and math.isfinite(limit) else None):
            if self._tool.is_async:
                return await function()
            return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)
        raise ToolTimeout(f"The tool {self._tool.name!r} took over {limit:g} s.")

    # -- asking for approval

    @property
    def _can_ask(self) -> bool:
        capabilities = self._ctx.session.client_capabilities
        return self._serving._asks and capabilities is not None and capabilities.elicitation is not None

    async def _ask(self, pending: PendingCall) -> Decision:
        """Ask the person at the client (up to 2025-11-25)."""
        answer = await self._ctx.session.elicit_form(
            _question(pending), _FORM, related_request_id=self._ctx.request_id
        )
        return _decision(answer)

    def _input_required(self, outcome: Outcome) -> Any:
        """Return what says that an approval is needed, with all that the call needs to go on (from 2026-07-28 on)."""
        from mcp.types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

        if not (self._can_ask and _asks(outcome)):
            return None
        state = {"callId": self._context.call_id, "args": self._args, "resumed": self._context.resumed}
        return InputRequiredResult(
            input_requests={
                each.call_id: ElicitRequest(
                    params=ElicitRequestFormParams(message=_question(each), requested_schema=_FORM)
                )
                for each in outcome.pending
            },
            request_state=json.dumps({**state, "asked": [each.call_id for each in outcome.pending]}),
        )

    def _said_before(self) -> dict[str, Decision]:
        """Read what was said of an earlier request of this call. The state is sealed: no client can forge it."""
        if not self._params.request_state:
            return {}  # answers without it belong to no question of ours
        state = json.loads(self._params.request_state)
        if state["args"] != self._args:
            return {}
        self._context = dataclasses.replace(self._context, call_id=state["callId"], resumed=state["resumed"])
        answers = self._params.input_responses or {}
        return {key: _decision(answers[key]) for key in state["asked"] if key in answers}


_REFUSED = "The call needs a person's approval, and nobody can be asked for it."


def _asks(outcome: Outcome) -> bool:
    return bool(outcome.pending) and all(each.kind == "approval" for each in outcome.pending)


def _question(pending: PendingCall) -> str:
    args = json.dumps(pending.args, ensure_ascii=False)
    shown = args if len(args) <= 2_000 else f"{args[:2_000]}..."
    return f"Allow {'.'.join([*pending.path, pending.name])}({shown})? {pending.why}"


def _decision(answer: Any) -> Decision:
    allowed = answer.action == "accept" and (answer.content or {}).get("allow") is True
    return Approve() if allowed else Deny("The person at the client refused it.")


class _Progress:
    """Tells the client how far a call is, from whatever thread that is said in."""

    def __init__(self, ctx: Any) -> None:
        self._session = ctx.session
        self._loop = asyncio.get_running_loop()
        self._sent: list[Any] = []

    def report(self, event: Event) -> None:
        """Take an event of the tool, or of an agent in it."""
        inner = event.event if isinstance(event, AgentEvent) else event
        if isinstance(inner, ToolProgress):
            self._send(str(inner.message))
        elif isinstance(inner, ToolStarted):
            self._send(f"calls {inner.name}")

    def _send(self, message: str) -> None:
        if len(self._sent) < MAX_PROGRESS:
            told = self._session.report_progress(len(self._sent) + 1, None, message[:2_000])
            self._sent.append(asyncio.run_coroutine_threadsafe(told, self._loop))

    async def end(self) -> None:
        """Wait until all is sent: what comes after the result is lost."""
        waiting: Iterable[Any] = [asyncio.wrap_future(each) for each in self._sent]
        await asyncio.gather(*waiting, return_exceptions=True)
