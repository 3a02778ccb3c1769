"""The one connection of a tab: it says what it watches, and gets the rows from its cursors on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from agentkit import AgentError
from agentkit.serve.log import EventLog, Row, read_all
from agentkit.serve.sessions import User

_WATCHED = 50
LIST = "*"
"""What the client calls the stream that tells of its list of sessions."""


class Watcher:
    """A client's connection.

    The client sends `{"watch": {session id or "*": cursor}}`, which replaces what it watched before; it gets lists of
    rows, each with `session`. A cursor older than what is kept is answered with a row `reload`.
    """

    def __init__(self, socket: WebSocket, user: User, log: EventLog) -> None:
        self._socket = socket
        self._user = user
        self._log = log
        self._cursors: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Send rows until the client goes."""
        await self._socket.accept(subprotocol="agentkit" if self._socket.scope.get("subprotocols") else None)
        tasks = {asyncio.create_task(self._listen()), asyncio.create_task(self._send())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
            await self._socket.close(1011)

    async def _listen(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, ValueError, AgentError):
            while True:
                self._watch(json.loads(await self._socket.receive_text()))
                self._changed.set()

    def _watch(self, said: Any) -> None:
        match said:
            case {"watch": dict(watch)} if len(watch) <= _WATCHED:
                cursors, names = {}, {}
                for name, cursor in watch.items():
                    stream = self._user.list_stream if name == LIST else self._user.session(name).stream
                    cursors[stream], names[stream] = int(cursor), name
                self._cursors, self._names = cursors, names
            case _:
                raise ValueError("no watch")

    async def _send(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                self._changed.clear()
                waiting = asyncio.create_task(self._log.wait(self._cursors))
                changed = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.sleep(0)  # both wait before it is looked: nothing is missed
                    if rows := await self._news():
                        await self._socket.send_text(json.dumps(rows, ensure_ascii=True))
                        continue
                    await asyncio.wait({waiting, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                    changed.cancel()

    async def _news(self) -> list[Row]:
        out: list[Row] = []
        for stream, rows in (await read_all(self._log, dict(self._cursors))).items():
            if stream not in self._cursors:  # no longer watched
                continue
            name = self._names[stream]
            if rows is None:
                self._cursors[stream] = await self._log.last(stream)
                out.append({"session": name, "type": "reload", "seq": self._cursors[stream]})
                continue
            self._cursors[stream] = rows[-1]["seq"]
            out += [{**row, "session": name} for row in rows]
        return out
