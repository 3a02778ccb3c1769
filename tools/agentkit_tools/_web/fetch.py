"""Fetching a page: each host is looked up once, judged, and connected to at the very address that was judged."""

from __future__ import annotations

import functools
import os
import re
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from agentkit import __version__
from agentkit.drivers import threads
from agentkit.errors import ToolError, ToolRetry
from agentkit_tools._web.networks import IPAddress
from agentkit_tools._web.rules import Forbidden, Refused, Rules
from agentkit_tools._web.urls import Address, BadUrl, read_url

if TYPE_CHECKING:
    import httpx2

MAX_REDIRECTS = 5
_MAX_TRIES = 3
"""How many of a host's IP addresses are tried."""
_CONNECT_SECONDS = 5.0
_HEADERS = {
    "User-Agent": f"agentkit/{__version__} (web tool)",
    "Accept": "text/html, application/xhtml+xml, text/*;q=0.9, application/json;q=0.9, application/xml;q=0.8",
    "Accept-Encoding": "gzip",
    "Connection": "close",
}
_REDIRECTS = {301, 302, 303, 307, 308}
_REFUSED = "This address can't be fetched: only pages of the public web can. Check the address."

_HTML = {"text/html", "application/xhtml+xml"}
_TEXT = re.compile(r"text/[\w.+-]+|application/(?:[\w.+-]+\+)?(?:json|xml)")
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")
_CHARSET = re.compile(r"[A-Za-z0-9._:-]{1,40}")


@dataclass(frozen=True, slots=True)
class Page:
    """What a site sent."""

    url: str
    """Where it was found, after redirects."""
    kind: Literal["html", "text"]
    charset: str
    """As the site says; may be empty."""
    body: bytes


async def fetch(url: str, rules: Rules) -> Page:
    """Fetch a page, following redirects; each is judged as the first address was.

    Raises:
        ToolRetry: The URL is a bad one.
        ToolError: The page can't be had.
    """
    try:
        address = read_url(url)
    except BadUrl as error:
        raise ToolRetry(str(error)) from None
    for _ in range(1 + MAX_REDIRECTS):
        found = await _visit(address, rules)
        if isinstance(found, Page):
            return found
        if (address.scheme, found.scheme) == ("https", "http"):
            raise ToolError("The page leads on to an address without encryption (http): that isn't followed.")
        address = found
    raise ToolError(f"The page leads on to other addresses, more than {MAX_REDIRECTS} times.")


async def _visit(address: Address, rules: Rules) -> Page | Address:
    """Get the page that is there, or the address to which it leads on. The connection ends with this."""
    import httpx2

    try:
        rules.check(address)
        ips = [address.ip] if address.ip else await _look_up(address.host, address.port)
        rules.check_ips(ips)
        async with _open(address, ips) as response:
            location = response.headers.get("location")
            if response.status_code in _REDIRECTS and location:
                return _follow(address, location)
            return await _read(address, response, rules.max_bytes)
    except Refused:
        raise ToolError(_REFUSED) from None
    except Forbidden as error:
        raise ToolError(str(error)) from None
    except httpx2.NetworkError as error:
        if _is_about_certificate(error):
            raise ToolError(
                "The site can't prove that it is this site: its certificate isn't valid."
            ) from error
        raise ToolError("The site can't be reached (no connection). Try another page.") from error
    except httpx2.TimeoutException as error:
        raise ToolError("The site can't be reached (no answer). Try another page.") from error
    except httpx2.HTTPError as error:
        raise ToolError("The site sent an answer that can't be read.") from error


async def _look_up(host: str, port: int) -> Sequence[IPAddress]:
    """Ask for a host's IP addresses, once: to ask again could give others than those that were judged."""

    def ask() -> list[IPAddress]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [ip_address(sockaddr[0]) for *_, sockaddr in found]

    try:
        # A thread that nobody waits for when time is up: a name server may take its own.
        return list(dict.fromkeys(await threads.begin(ask, "agentkit-web-lookup")))
    except (OSError, UnicodeError):
        # As if it had been refused: whether a name of an inner network exists is nobody's business.
        raise Refused from None


@asynccontextmanager
async def _open(address: Address, ips: Sequence[IPAddress]) -> AsyncGenerator[httpx2.Response, None]:
    """Send the request to the first of the IP addresses that answers, and give the live response."""
    import httpx2

    failure: Exception | None = None
    for ip in ips[:_MAX_TRIES]:
        # A transport and no client: it has no cookies, no proxies, no redirects of its own.
        transport = httpx2.AsyncHTTPTransport(
            verify=_ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
            trust_env=False,
        )
        url = httpx2.URL(
            scheme=address.scheme, host=str(ip), port=address.port, raw_path=address.target.encode()
        )
        extensions = {
            "timeout": {"connect": _CONNECT_SECONDS},
            "sni_hostname": address.host,  # the name in the handshake, and the one that the certificate must have
        }
        request = httpx2.Request(
            "GET", url, headers={"Host": address.authority, **_HEADERS}, extensions=extensions
        )
        async with transport:
            try:
                response = await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
                continue
            try:
                yield response
            finally:
                await response.aclose()
            return
    assert failure is not None
    raise failure


@functools.cache
def _ssl_context(cafile: str | None, capath: str | None) -> ssl.SSLContext:
    """Make an SSL context, once for each setting of the environment (which it reads): it costs many milliseconds."""
    import httpx2

    del cafile, capath
    return httpx2.create_ssl_context()


def _follow(address: Address, location: str) -> Address:
    try:
        return read_url(location, base=address)
    except BadUrl:
        raise ToolError("The page redirects to an address that isn't a web page's.") from None


async def _read(address: Address, response: httpx2.Response, max_bytes: int) -> Page:
    _check_status(response.status_code)
    kind, charset = _read_type(response.headers.get("content-type", ""))
    body = await _read_body(response, max_bytes)
    return Page(str(address), kind, charset, body)


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    if status in (404, 410):
        raise ToolRetry(f"There is no page at this address ({phrase}). Check the address.")
    if status == 429 or status >= 500:
        raise ToolError(f"The site can't answer now ({phrase}). Try another page.")
    raise ToolError(f"The site doesn't give out this page ({phrase}).")


def _read_type(header: str) -> tuple[Literal["html", "text"], str]:
    """Read a Content-Type header: how to read the page, and its charset.

    Raises:
        ToolError: It isn't text.
    """
    message = Message()
    message["Content-Type"] = header
    kind = (
        message.get_content_type() if header else "text/html"
    )  # browsers look inside; most often it is that
    charset = message.get_param("charset", "")
    charset = charset if isinstance(charset, str) and _CHARSET.fullmatch(charset) else ""
    if kind in _HTML:
        return "html", charset
    if _TEXT.fullmatch(kind):
        return "text", charset
    what = f" ({kind})" if _TYPE.fullmatch(kind) else ""
    raise ToolError(f"This file{what} isn't text, so it can't be read here.")


async def _read_body(response: httpx2.Response, max_bytes: int) -> bytes:
    """Read a body, within the limit both as it is sent and unpacked."""
    too_large = ToolError(f"The page is too large: more than {max_bytes:,} bytes.")
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise ToolError("The site packed the page in a way that can't be read here.")
    # Our own, for httpx2's decoders would unpack as much as is sent, and packed parcels in parcels.
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    body, sent = bytearray(), 0
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            sent += len(chunk)
            try:
                body += unpack.decompress(chunk, max_bytes + 1 - len(body)) if unpack else chunk
            except zlib.error:
                raise ToolError("The site sent an answer that can't be read.") from None
            if max(sent, len(body)) > max_bytes:
                raise too_large
    return bytes(body)


def _is_about_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
