"""A loopback server that sends just what a test says, byte by byte, and a network that ends at this machine."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

import pytest
from agentkit_tools import web as web_module
from agentkit_tools._web import extract
from agentkit_tools._web.fetch import Page
from agentkit_tools.web import web_tools

from agentkit.errors import ToolError, ToolRetry
from tests.helpers.until import PATIENCE

OPEN = ("127.0.0.1/32",)
"""The network that a test allows, for nothing else is there to fetch from."""
SECRET = "the-secret-of-the-inner-network"
Answer = Callable[[socket.socket, str], None]
"""Gets the connection and the head of the request."""


def page(
    body: str | bytes = SECRET, *headers: str, status: str = "200 OK", kind: str | None = "text/html"
) -> Answer:
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    raw = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data
    return lambda connection, head: connection.sendall(raw)


def redirect(location: str, status: str = "302 Found") -> Answer:
    return page("", f"Location: {location}", status=status)


def silent(connection: socket.socket, head: str) -> None:
    """Wait for the other side to end."""
    while connection.recv(1000):
        pass


class WebServer:
    """Serves until the `with` ends. `heads` has the requests, `accepted` counts connections, `left` those ended."""

    def __init__(
        self,
        answer: Answer | Iterable[Answer] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> None:
        answer = page() if answer is None else answer
        self._answers = None if callable(answer) else iter(answer)
        self._answer = answer if callable(answer) else None
        self._tls = tls
        self._socket = socket.create_server(
            ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family
        )
        self.port: int = self._socket.getsockname()[1]
        self.heads: list[str] = []
        self.accepted = 0
        self.left = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> WebServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: TracebackType | type[BaseException] | BaseException | None) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
                connection.do_handshake()
            head = b""
            while not head.endswith(
                (b"\r\n\r\n", b"\x16")
            ):  # or the beginning of TLS, which isn't spoken here
                data = connection.recv(1)
                if not data:
                    break
                head += data
            self.heads.append(head.decode())
            answer = self._answer or next(self._answers or iter(()))
            answer(connection, head.decode())
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        connection.close()
        self.left.set()


class Network:
    """What the process may reach in a test: nothing but loopback. Names have the addresses given here."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        """Of each name, its addresses at the first look-up, at the second, ...; the last ones stay."""
        self.asked: list[str] = []
        self.connected: list[str] = []
        """The IP addresses that somebody wanted to connect to."""

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        known = self.names.get(name)
        if known is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = known.pop(0) if len(known) > 1 else known[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in addresses
        ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Nothing leaves this machine, even if the tool fails to keep it from that."""
    made = Network()
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = str(address[0])
        made.connected.append(host)
        if not host.startswith("127.") and host != "::1":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read pages without a process of their own: quicker, and measured by coverage."""

    async def read_page(page: Page, packages: str, *, offset: int, max_chars: int) -> extract.Reply:
        request: extract.Request = {
            "packages": packages,
            "kind": page.kind,
            "charset": page.charset,
            "url": page.url,
            "offset": offset,
            "max_chars": max_chars,
        }
        return extract.extract(request, page.body)

    monkeypatch.setattr(web_module, "read_page", read_page)


def fetch(url: str, *servers: WebServer, offset: int = 0, **settings: Any) -> str:
    """Call the tool, which may use the ports of the servers and those of the web."""
    settings.setdefault("ports", [80, 443, *(server.port for server in servers)])
    tool = web_tools(**{"seconds": PATIENCE, **settings}).get("fetch_page")
    assert tool is not None
    text = asyncio.run(tool(url, offset))
    assert isinstance(text, str)
    return text


def failure(url: str, *servers: WebServer, **settings: Any) -> str:
    """Call the tool and give the words with which it fails."""
    with pytest.raises((ToolError, ToolRetry)) as caught:
        fetch(url, *servers, **settings)
    return str(caught.value)


def fetch_from(answer: Answer | list[Answer], **settings: Any) -> str:
    """Fetch what a server answers; the text without the line of its address."""
    with WebServer(answer) as server:
        text = fetch(server.url(), server, **{"allow_networks": OPEN, **settings})
        return text.replace(f"Address: {server.url()}\n\n", "")


def failure_from(answer: Answer | list[Answer], **settings: Any) -> str:
    """Fetch what a server answers and give the words with which that fails."""
    with WebServer(answer) as server:
        return failure(server.url(), server, **{"allow_networks": OPEN, **settings})
