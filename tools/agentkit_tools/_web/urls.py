"""Reading a URL that a stranger wrote, strictly: what two readers could take differently is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from agentkit_tools._web.networks import IPAddress

_MAX_LENGTH = 4000
_DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"https?://(?P<authority>[^/?#]+)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]@%]+)(?::(?P<port>[0-9]{0,5}))?")
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.|\Z))+(?<!\.)")
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""A host that URL readers take for an IPv4 address: its last label is a number (WHATWG, "ends in a number")."""


class BadUrl(ValueError):
    """A text is no URL of a web page; the message says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in lower-case ASCII without a dot at its end, or an IP address without brackets."""
    port: int
    target: str
    """Path and query, percent-encoded."""
    ip: IPAddress | None
    """The host, if it is an IP address."""

    @property
    def authority(self) -> str:
        """Host and port, as the Host header has them."""
        host = f"[{self.host}]" if isinstance(self.ip, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def read_url(text: str, base: Address | None = None) -> Address:
    """Read the URL of a web page; a relative one only with a base, as a redirect has it.

    Raises:
        BadUrl: It is none, or isn't written plainly.
    """
    import httpx2

    text = text.strip(" \t\r\n")
    if len(text) > _MAX_LENGTH:
        raise BadUrl(f"The address is too long: {_MAX_LENGTH} characters at most.")
    if any(not c.isprintable() or c in " \\" for c in text):
        raise BadUrl("The address has a space, a backslash or an invisible character in it.")
    try:
        if base is not None:
            text = str(httpx2.URL(str(base)).join(text))
        start = _URL.match(text)
        if start is None:
            raise BadUrl("Give the whole address of a web page, beginning with https:// or http://.")
        if "@" in start["authority"]:
            raise BadUrl("The address has a user name or password in it: leave that out.")
        parts = _AUTHORITY.fullmatch(start["authority"])
        if parts is None:
            raise BadUrl("The address has no proper host name.")
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeError):
        raise BadUrl("The address is not written as a web address is.") from None
    host, ip = _read_host(url.raw_host.decode("ascii"), bracketed=parts["host"].startswith("["))
    port = int(parts["port"] or _DEFAULT_PORTS[url.scheme])
    return Address(url.scheme, host, port, url.raw_path.decode("ascii"), ip)


def _read_host(host: str, *, bracketed: bool) -> tuple[str, IPAddress | None]:
    host = host.removesuffix(".")
    try:
        if bracketed:
            return IPv6Address(host).compressed, IPv6Address(host)
        if _NUMBER.fullmatch(host):
            return host, IPv4Address(host)
    except AddressValueError:
        raise BadUrl("Write an IP address plainly, such as 192.0.2.1.") from None
    if not _NAME.fullmatch(host):
        raise BadUrl("The address has no proper host name.")
    return host, None
