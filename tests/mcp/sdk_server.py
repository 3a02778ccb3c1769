"""A server on the SDK, in both eras: in this process, on stdio (as a program), or by HTTP on loopback."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn
from mcp import MCPError, stdio_server
from mcp import types as T
from mcp.server import NotificationOptions, Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.message import SessionMessage

from tests.helpers.until import PATIENCE

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FORM = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
NUMBERS = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"a": {"type": "number", "title": "A"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}


def tool(name: str, schema: dict[str, Any] | None = None, **fields: Any) -> T.Tool:
    return T.Tool(name=name, input_schema=schema or EMPTY, **{"description": f"Does {name}.", **fields})


TOOLS = [
    tool("add", NUMBERS, annotations=T.ToolAnnotations(read_only_hint=True)),
    tool("wipe", annotations=T.ToolAnnotations(destructive_hint=True)),
    tool("note", annotations=T.ToolAnnotations(read_only_hint=False)),
    tool("picture"),
    tool("slow"),
    tool("ask"),
    tool("visit"),
    tool("sample"),
    tool("fail"),
    tool("crash"),
    tool("pid"),
    tool("environment"),
    tool("change"),
]


class Behaviour:
    """What a server does, and what it has seen."""

    def __init__(self, *, legacy: bool = False) -> None:
        self.bus = InMemorySubscriptionBus()
        self.tools = list(TOOLS)
        self.form = FORM
        self.calls: list[str] = []
        self.cancelled: list[str] = []
        self.connects = 0
        self.wiped = 0
        self.server: Server[Any] = Server(
            "test",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=ListenHandler(self.bus),
            on_list_resources=self._resources,
            on_read_resource=self._read,
            on_list_prompts=self._prompts,
            on_get_prompt=self._prompt,
            lifespan=self._life,
        )
        if legacy:
            self.server.middleware.append(_refuse_discover)

    @asynccontextmanager
    async def _life(self, _: Any) -> AsyncGenerator[dict[str, Any], None]:
        self.connects += 1
        yield {}

    async def _list(self, ctx: Any, params: Any) -> T.ListToolsResult:
        half = len(self.tools) // 2
        if params is not None and params.cursor == "more":
            return T.ListToolsResult(tools=self.tools[half:])
        return T.ListToolsResult(tools=self.tools[:half], next_cursor="more")

    async def _resources(self, ctx: Any, params: Any) -> T.ListResourcesResult:
        return T.ListResourcesResult(
            resources=[T.Resource(uri="memo://one", name="one", mime_type="text/plain")]
        )

    async def _read(self, ctx: Any, params: Any) -> T.ReadResourceResult:
        if str(params.uri) != "memo://one":
            raise MCPError(T.INVALID_PARAMS, "no such memo")
        return T.ReadResourceResult(
            contents=[
                T.TextResourceContents(uri="memo://one", text="Buy tea."),
                T.BlobResourceContents(uri="memo://one/p.png", blob=_b64(PIXEL), mime_type="image/png"),
            ]
        )

    async def _prompts(self, ctx: Any, params: Any) -> T.ListPromptsResult:
        topic = T.PromptArgument(name="topic", required=True)
        return T.ListPromptsResult(prompts=[T.Prompt(name="explain", arguments=[topic])])

    async def _prompt(self, ctx: Any, params: Any) -> T.GetPromptResult:
        said = T.TextContent(text=f"Explain {params.arguments['topic']}.")
        return T.GetPromptResult(messages=[T.PromptMessage(role="user", content=said)])

    async def _call(self, ctx: Any, params: Any) -> Any:
        self.calls.append(params.name)
        args = params.arguments or {}
        match params.name:
            case "add":
                total = args["a"] + args["b"]
                return T.CallToolResult(content=[_text(str(total))], structured_content={"sum": total})
            case "picture":
                image = T.ImageContent(data=_b64(PIXEL), mime_type="image/png")
                return T.CallToolResult(content=[_text("A pixel."), image])
            case "wipe":
                self.wiped += 1
                return T.CallToolResult(content=[_text("wiped")])
            case "slow":
                return await self._slow(ctx)
            case "ask" | "visit":
                return await self._ask(ctx, params)
            case "sample":
                asked = T.CreateMessageRequest(params=T.CreateMessageRequestParams(messages=[], max_tokens=1))
                return T.InputRequiredResult(input_requests={"s": asked})
            case "fail":
                return T.CallToolResult(content=[_text("no such account")], is_error=True)
            case "crash":
                os._exit(3)
            case "pid":
                return T.CallToolResult(content=[_text(str(os.getpid()))])
            case "environment":
                return T.CallToolResult(content=[], structured_content=dict(os.environ))
            case "change":
                await self.change(ctx, tool("added"))
                return T.CallToolResult(content=[_text("changed")])
        return T.CallToolResult(content=[_text("done")])

    async def change(self, ctx: Any, added: T.Tool) -> None:
        """Have another tool, and tell so."""
        self.tools = [each for each in self.tools if each.name != added.name] + [added]
        await self.bus.publish(ToolsListChanged())
        if ctx is not None and ctx.protocol_version < "2026-07-28":
            await ctx.session.send_tool_list_changed()

    async def _slow(self, ctx: Any) -> T.CallToolResult:
        for step in (1, 2, 3):
            await ctx.session.report_progress(step, 3, f"step {step}")
        try:
            await asyncio.sleep(60)
        except BaseException:
            self.cancelled.append("slow")
            raise
        return T.CallToolResult(content=[_text("awake")])

    async def _ask(self, ctx: Any, params: Any) -> Any:
        if params.name == "visit":
            asked: Any = T.ElicitRequestURLParams(
                message="Sign in", url="https://example.com/in", elicitation_id="1"
            )
        else:
            asked = T.ElicitRequestFormParams(message="Which colour?", requested_schema=self.form)
        if ctx.protocol_version >= "2026-07-28":
            if not params.input_responses:
                return T.InputRequiredResult(
                    input_requests={"q": T.ElicitRequest(params=asked)}, request_state="the state"
                )
            assert params.request_state == "the state"
            answer = params.input_responses["q"]
        elif params.name == "visit":
            answer = await ctx.session.elicit_url(
                asked.message, asked.url, "1", related_request_id=ctx.request_id
            )
        else:
            answer = await ctx.session.elicit_form(
                asked.message, self.form, related_request_id=ctx.request_id
            )
        return T.CallToolResult(content=[_text(f"{answer.action}: {(answer.content or {}).get('colour')}")])


async def _refuse_discover(ctx: Any, call_next: Any) -> Any:
    if ctx.method == "server/discover":
        raise MCPError(T.METHOD_NOT_FOUND, "Method not found")
    return await call_next(ctx)


def _text(text: str) -> T.TextContent:
    return T.TextContent(text=text)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def http_server(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an ASGI app on loopback; give its address."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="error", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


class _Older:
    """Messages of a client, for a server that has never heard of `server/discover`."""

    def __init__(self, read: Any, write: Any) -> None:
        self._read, self._write = read, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read, name)

    def __aiter__(self) -> _Older:
        return self

    async def __aenter__(self) -> _Older:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._read.aclose()

    async def __anext__(self) -> Any:
        while True:
            item = await self._read.__anext__()
            if getattr(item.message, "method", None) != "server/discover":
                return item
            error = T.ErrorData(code=T.METHOD_NOT_FOUND, message="Method not found")
            await self._write.send(
                SessionMessage(T.JSONRPCError(jsonrpc="2.0", id=item.message.id, error=error))
            )


async def _main() -> None:
    server = Behaviour().server
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (read, write):
        await server.run(_Older(read, write) if "legacy" in sys.argv else read, write, options)


if __name__ == "__main__":
    anyio.run(_main)
