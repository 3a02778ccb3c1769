"""A pooler as PgBouncer is in its `transaction` mode: each transaction gets the connection that was used last."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import Self

_READY = b"Z\0\0\0\x05I"
_KEY = b"K\0\0\0\x0c"  # which process serves the connection


class Pooler:
    """Passes transactions on to a port of this machine; clients log in there themselves."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._idle: list[socket.socket] = []
        self._all: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._all):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._all += [client, server]
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, first: socket.socket) -> None:
        server: socket.socket | None = first
        with suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([client] if server is None else [client, server], [], [])
                if client in ready:
                    data = client.recv(65536)
                    if not data or data[:1] == b"X":
                        break
                    if server is None:
                        with self._lock:
                            server = self._idle.pop()
                    server.sendall(data)
                if server is not None and server in ready:
                    data = server.recv(65536)
                    if (key := data.find(_KEY)) >= 0:  # clients know the pooler's process, not the server's
                        data = data[: key + 5] + b"\0\0\0\x07" + data[key + 9 :]
                    client.sendall(data)
                    if data.endswith(_READY):
                        with self._lock:
                            self._idle.append(server)
                        server = None
        client.close()
