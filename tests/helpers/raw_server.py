"""A server that answers each request with the very bytes of a script, in the clear or by TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self


class RawServer:
    """Answers with one entry of the script after the other; an empty one closes the connection without an answer.

    After an answer that says `connection: close` it closes too. If it doesn't read bodies, it answers a head at once.
    """

    def __init__(
        self, answers: Sequence[bytes], *, tls: ssl.SSLContext | None = None, reads: bool = True
    ) -> None:
        self.requests: list[bytes] = []
        self.accepted = 0
        self._answers, self._tls, self._reads = list(answers), tls, reads
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._open):
            each.close()

    def drop(self) -> None:
        """Close the connections that are open."""
        while self._open:
            connection = self._open.pop()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            while self._answers and (request := self._read(connection)):
                self.requests.append(request)
                answer = self._answers.pop(0)
                connection.sendall(answer)
                if not self._reads:  # what still comes is taken, or the system would drop what was said
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                if not answer or b"connection: close" in answer:
                    connection.close()
                    return

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while self._reads and len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body
