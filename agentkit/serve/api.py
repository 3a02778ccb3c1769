"""What the page asks of the server: sessions, messages, decisions, files."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agentkit import ConfigurationError, DecisionError, SessionConflict, SessionNotFound
from agentkit.chats.manager import ChatManager
from agentkit.serve.decisions import Said, read_decision
from agentkit.serve.export import session_html, text_file
from agentkit.serve.guard import FRAME_CSP, error_response, path_in
from agentkit.serve.live import TooManyRuns
from agentkit.serve.runs import Runs
from agentkit.serve.sessions import Identify, Session, list_sessions
from agentkit.serve.stored import suggestions_of
from agentkit.serve.turns import reply_at, turn_of
from agentkit.wire.content import text_of

_FILES = 10
_KINDS = ("image/", "audio/", "video/", "text/", "application/pdf", "application/json")


class Api:
    """The page's endpoints, over runs and a store."""

    def __init__(self, runs: Runs, identify: Identify) -> None:
        self._runs = runs
        self._store = runs.store
        self._identify = identify
        self._manager = ChatManager(runs.agent, runs.store, memory=runs.settings.memory)

    def routes(self) -> list[BaseRoute]:
        """List the routes."""
        return [
            Route("/api/agent", self._agent),
            Route("/api/sessions", self._sessions),
            Route("/api/sessions", self._create, methods=["POST"]),
            Route("/api/session", self._snapshot),
            Route("/api/session", self._rename, methods=["PATCH"]),
            Route("/api/session", self._delete, methods=["DELETE"]),
            Route("/api/message", self._message, methods=["POST"]),
            Route("/api/decide", self._decide, methods=["POST"]),
            Route("/api/retry", self._retry, methods=["POST"]),
            Route("/api/stop", self._stop, methods=["POST"]),
            Route("/api/undo", self._undo, methods=["POST"]),
            Route("/api/turn", self._turn),
            Route("/api/export", self._export),
            Route("/suggestions", self._suggestions),
        ]

    async def _session(self, request: Request) -> Session:
        user = await self._identify(request)
        return user.session(request.query_params.get("id", ""))

    async def _agent(self, request: Request) -> Response:
        await self._identify(request)
        agent = self._runs.agent
        tools = [{"name": tool.name, "description": tool.description} for tool in agent.tools]
        return JSONResponse({"name": agent.name, "tools": tools, "tasks": self._runs.has_tasks})

    async def _sessions(self, request: Request) -> Response:
        user = await self._identify(request)
        query = request.query_params.get("q", "").strip()
        asked = request.query_params.get("limit", "50")
        limit = min(int(asked), 1_000) if asked.isdigit() else 50
        cursor = await self._runs.log.last(user.list_stream)
        found = await asyncio.to_thread(list_sessions, self._store, user, query=query, limit=limit)
        active = await self._runs.active()
        for row in found:
            row["live"] = user.session(row["id"]).stored in active
        return JSONResponse({"sessions": found, "cursor": cursor})

    async def _create(self, request: Request) -> Response:
        session = (await self._identify(request)).new_session()
        await asyncio.to_thread(self._store.create, session.stored)
        await self._runs.tell_list(session.user)
        return JSONResponse({"id": session.id}, 201)

    async def _snapshot(self, request: Request) -> Response:
        return JSONResponse(await self._runs.snapshot(await self._session(request)))

    async def _rename(self, request: Request) -> Response:
        session, body = await self._session(request), await read_json(request)
        title = " ".join(str(body.get("title") or "").split())[:200] or None
        await asyncio.to_thread(self._store.rename, session.stored, title)
        await self._runs.tell_list(session.user)
        return JSONResponse({})

    async def _delete(self, request: Request) -> Response:
        session = await self._session(request)
        await self._runs.stop(session)
        await asyncio.to_thread(self._store.delete, session.stored)
        await self._runs.changed(session, "deleted")
        return JSONResponse({})

    async def _message(self, request: Request) -> Response:
        session, body = await self._session(request), await read_json(request)
        await asyncio.to_thread(
            self._store.info, session.stored
        )  # the page makes it first; else it was deleted
        await self._runs.begin(session, read_message(body))
        return JSONResponse({}, 202)

    async def _decide(self, request: Request) -> Response:
        session, body = await self._session(request), await read_json(request)
        await self._runs.begin(session, said=read_decisions(body))
        return JSONResponse({}, 202)

    async def _retry(self, request: Request) -> Response:
        await self._runs.retry(await self._session(request))
        return JSONResponse({}, 202)

    async def _stop(self, request: Request) -> Response:
        return JSONResponse({"stopped": await self._runs.stop(await self._session(request))})

    async def _undo(self, request: Request) -> Response:
        session = await self._session(request)
        if self._runs.is_live(session):
            raise SessionConflict("This session is answering; stop it first.")
        await asyncio.to_thread(self._store.info, session.stored)  # a chat would be made of nothing
        chat = self._runs.agent.aio.chat(session.stored, self._store)
        removed = await chat.undo()
        await self._runs.changed(session)
        return JSONResponse({"text": text_of(removed[0]) if removed else ""})

    async def _turn(self, request: Request) -> Response:
        session = await self._session(request)
        stored = await asyncio.to_thread(self._store.load, session.stored)
        try:
            index = int(request.query_params.get("message", "-1"))
            at = float(request.query_params.get("at", "nan"))
        except ValueError:
            raise ConfigurationError("A turn is named by message=INDEX or at=SECONDS.") from None
        return JSONResponse(turn_of(self._runs.agent, stored, index if index >= 0 else reply_at(stored, at)))

    async def _export(self, request: Request) -> Response:
        session = await self._session(request)
        match request.query_params.get("as", "json"):
            case "html":
                stored = await asyncio.to_thread(self._store.load, session.stored)
                html = await asyncio.to_thread(session_html, stored, self._runs.agent)
                return text_file(html, "html", "text/html")
            case "markdown":
                text = await asyncio.to_thread(self._manager.export_session, session.stored, "markdown")
                return text_file(text, "md", "text/markdown")
            case "json":
                text = await asyncio.to_thread(self._manager.export_session, session.stored)
                return text_file(text, "json", "application/json")
        raise ConfigurationError("Export as=json, markdown or html.")

    async def _suggestions(self, request: Request) -> Response:
        session, number = await self._session(request), request.query_params.get("message", "")
        stored = await asyncio.to_thread(self._store.load, session.stored)
        there = number.isdigit() and int(number) < len(stored.messages)
        html = suggestions_of(stored, int(number)) if there else ""
        page = f'<!doctype html><html lang="en"><base target="_blank"><title>Search suggestions</title>{html}'
        return HTMLResponse(page, headers={"content-security-policy": FRAME_CSP})


async def read_json(request: Request) -> dict[str, Any]:
    """Read a request's body. Raises `ConfigurationError` unless it is a JSON object."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ConfigurationError("Send a JSON object.")
    return body


def read_decisions(body: Mapping[str, Any]) -> dict[str, Said]:
    """Read `{decisions: {call id: decision}}`. Raises `ConfigurationError` unless it is that."""
    given = body.get("decisions")
    if not isinstance(given, dict) or not given:
        raise ConfigurationError("Give decisions: an object of call ids and decisions.")
    return {str(call_id): read_decision(each) for call_id, each in given.items()}


def read_message(body: Mapping[str, Any]) -> list[Any]:
    """Read `{text, files: [{mime, data}]}`, the data in base64, as what a chat is sent.

    Raises:
        ConfigurationError: There is nothing in it, or a file that can't be sent.
    """
    files, text = body.get("files") or [], str(body.get("text") or "").strip()
    if not isinstance(files, list) or len(files) > _FILES:
        raise ConfigurationError(f"A message takes at most {_FILES} files.")
    parts: list[Any] = [_file_part(each) for each in files]
    if text:
        parts.append(text)
    if not parts:
        raise ConfigurationError("Say something, or add a file.")
    return parts


def _file_part(file: Any) -> dict[str, Any]:
    match file:
        case {"mime": str(mime), "data": str(data)} if mime.startswith(_KINDS):
            try:
                base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                raise ConfigurationError("A file's data is base64.") from None
            return {"inlineData": {"mimeType": mime, "data": data}}
    raise ConfigurationError("A file is a picture, audio, video, PDF or text, as {mime, data}.")


STATUSES: Mapping[type[Exception], int] = {
    SessionNotFound: 404,
    SessionConflict: 409,
    TooManyRuns: 429,
    DecisionError: 400,
    ConfigurationError: 400,
}
"""Which errors of agentkit have which HTTP status; all others are conflicts: nothing of them was done."""


async def failed(request: Request, error: Exception) -> Response:
    """Answer with an error of agentkit's."""
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 409)
    return error_response(path_in(request.scope), status, str(error)[:1000])
