"""One call of a server's tool: made, made again where that is safe, and its failures in words."""

from __future__ import annotations

import asyncio
from typing import Any

from agentkit.errors import ToolError, ToolRetry
from agentkit.mcp.connection import Connection, pages
from agentkit.mcp.content import clip, value_of
from agentkit.mcp.declared import MAX_TOOLS
from agentkit.mcp.questions import Asked, question_of
from agentkit.tooling.context import Context
from agentkit.wire.content import JsonObject

MAX_PROGRESS = 1_000
"""Notes of progress of one call that are told."""
MAX_ROUNDS = 10
"""How often a server may say that it isn't ready yet, without asking anything."""

_CLOSED, _INVALID_REQUEST, _INVALID_PARAMS, _TIMEOUT = -32000, -32600, -32602, -32001
_URL_NEEDED, _HEADER_MISMATCH = -32042, -32020
_REFUSED = "Server returned an error response"
"""What the SDK makes of a status such as 401 or 429 without a message of the protocol's."""
_SESSION_LOST = ("Session not found", "Session terminated")
"""What a restarted HTTP server says up to 2025-11-25: the call did nothing."""


class Call:
    """A call of a tool, on the connection's loop.

    Args:
        connection: To the server.
        name: The tool's, as the server has it.
        context: Of the call in the run.
        is_read: Whether it changes nothing, so that it may be made again when nobody knows whether it ran.
    """

    def __init__(self, connection: Connection, name: str, context: Context[Any], *, is_read: bool) -> None:
        self._connection = connection
        self._name = name
        self._context = context
        self._is_read = is_read
        self._told = 0
        self._asked = Asked.resumed(context)

    async def run(self, args: JsonObject) -> Any:
        """Make the call, and return its result.

        Raises:
            ToolRetry: The arguments are wrong.
            ToolError: It failed; the words are the server's own, or say what became of the connection.
            ToolDeferred: The server asks something first.
        """
        from pydantic import ValidationError

        if self._asked.questions:  # only some were answered
            self._asked.wait(self._context)
        try:
            result = await self._try_twice(args)
        except (ValidationError, RuntimeError) as error:
            raise ToolError(f"The MCP server's result is invalid: {clip(error)[:300]}") from error
        if self._asked.questions:
            self._asked.wait(self._context)
        return value_of(result)

    async def _try_twice(self, args: JsonObject) -> Any:
        from mcp import MCPError

        for is_last in (False, True):
            client = await self._connection.client(self._context.run_id)
            try:
                return await self._send(client, args)
            except MCPError as error:
                if self._asked.questions or self._took_addresses(error):
                    return None
                if not is_last and await self._may_retry(client, error):
                    continue
                raise self._failure(error) from error
        return None

    async def _may_retry(self, client: Any, error: Any) -> bool:
        """Return whether the call may be made once more; what is lost has been given up then."""
        if error.code == _HEADER_MISMATCH:  # it did nothing: the server's declaration has changed
            await pages(client.list_tools, "tools", MAX_TOOLS)
            return True
        lost = error.code == _INVALID_REQUEST and error.message in _SESSION_LOST
        if lost or error.code == _CLOSED:
            self._connection.forget(client)
        return lost or (error.code == _CLOSED and self._is_read)

    def _failure(self, error: Any) -> Exception:
        if error.code == _CLOSED:
            return ToolError("The MCP server ended during the call: nobody knows what it did.")
        if error.code == _TIMEOUT:
            return ToolError(f"The MCP server has not answered for {self._connection.timeout:g} s.")
        if error.code == _INVALID_PARAMS:
            return ToolRetry(f"{clip(error.message)} ({error.code})")
        status = self._connection.target.refusal if error.message == _REFUSED else f" ({error.code})"
        return ToolError(f"{clip(error.message)}{status}")

    def _took_addresses(self, error: Any) -> bool:
        """Take down the addresses that a person must visit first, where an error says so (2025-11-25)."""
        from mcp.types import ElicitRequestURLParams

        if error.code != _URL_NEEDED or not isinstance(error.data, dict):
            return False
        for each in error.data.get("elicitations") or ():
            params = ElicitRequestURLParams.model_validate(each)
            self._asked.questions[params.url] = question_of(params)
        return bool(self._asked.questions)

    async def _send(self, client: Any, args: JsonObject) -> Any:
        questions = self._connection.questions
        if questions.in_calls:
            async with questions.call(self._asked):
                return await self._request(client, args)
        return await self._until_ready(client, args)

    async def _until_ready(self, client: Any, args: JsonObject) -> Any:
        """Make the call; where the server needs something first, take down what, or ask again (from 2026-07-28 on)."""
        from mcp.types import InputRequiredResult

        asked = self._asked
        for round_ in range(MAX_ROUNDS):
            result = await self._request(client, args)
            if not isinstance(result, InputRequiredResult):
                return result
            asked.request_state, asked.answers = result.request_state, {}
            for key, request in (result.input_requests or {}).items():
                if request.method != "elicitation/create":
                    raise ToolError(f"The MCP server asks for {request.method}, which is not supported.")
                asked.questions[key] = question_of(request.params)
            if asked.questions:
                return None
            await asyncio.sleep(min(0.25, 0.05 * 2**round_))
        raise ToolError("The MCP server was not ready for the call.")

    async def _request(self, client: Any, args: JsonObject) -> Any:
        from mcp.types import (
            CallToolRequest,
            CallToolRequestParams,
            CallToolResult,
            ElicitResult,
            InputRequiredResult,
        )
        from pydantic import TypeAdapter

        answers = {} if self._connection.questions.in_calls else self._asked.answers
        params = CallToolRequestParams(
            name=self._name,
            arguments=args,
            input_responses={key: ElicitResult(**answer) for key, answer in answers.items()} or None,
            request_state=self._asked.request_state,
        )
        # not session.call_tool(), which lists all tools first where this connection hasn't
        made: TypeAdapter[Any] = TypeAdapter(CallToolResult | InputRequiredResult)
        request = CallToolRequest(params=params)
        return await client.session.send_request(request, made, progress_callback=self._progress)

    async def _progress(self, done: float, total: float | None, message: str | None) -> None:
        self._told += 1
        if self._told <= MAX_PROGRESS:
            self._context.progress(clip(message) if message else f"{done:g} of {total or '?'}")
