"""A way to a server that breaks off just when a transaction is to be made durable."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

_DONE = b"Z\0\0\0\x05I"  # the server is ready for the next: what was sent is done


class Proxy:
    """Passes connections on to a port of this machine.

    Attributes:
        cut: When a request with `mark` in it comes, break all connections off: before it reaches the server, or after
            the server has done it but before it could say so.
        before_next: What else is to happen before a new connection is passed on.
        closed: Whether new connections are refused from that moment on.
    """

    def __init__(self, port: int) -> None:
        self.cut: Literal["before", "after"] | None = None
        self.mark = b"second"
        self.before_next: Callable[[], None] = lambda: None
        self.closed = False
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._passed: socket.socket | None = None
        self._refusing = self._ended = False
        self._listening.settimeout(0.1)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Pass connections on again."""
        self.closed = self._refusing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        self._thread.join()
        self._listening.close()
        self.break_off()

    def _accept(self) -> None:
        while not self._ended:
            with suppress(TimeoutError):
                client, _ = self._listening.accept()
                if self._refusing:
                    client.close()
                    continue
                self.before_next()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._replies, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut and self.mark in data:
                    self._refusing = self.closed
                    self._passed = server
                    if self.cut == "before":
                        self.break_off()
                        break
                server.sendall(data)
        self._end(client, server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.cut == "after" and self._passed is server and _DONE in data:
                    self.break_off()
                    break
                client.sendall(data)
        self._end(client, server)

    def break_off(self) -> None:
        """End all connections."""
        self.cut = None
        self._end(*self._sockets)
        self._sockets = []

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
