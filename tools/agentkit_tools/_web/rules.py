"""What a developer lets the tool fetch, and how much of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentkit.errors import ConfigurationError
from agentkit_tools._web.networks import IPAddress, IPNetwork, may_connect
from agentkit_tools._web.urls import Address, BadUrl, read_url

_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "localdomain", "lan")
"""Domains of networks of one's own (RFC 6761, 6762 and 8375, and custom)."""


class Refused(Exception):
    """An address that isn't public, or none at all: nobody is told which."""


class Forbidden(Exception):
    """A host or a port that the developer doesn't want fetched; the message says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings of a web tool, checked."""

    allow_hosts: frozenset[str] | None
    deny_hosts: frozenset[str]
    networks: tuple[IPNetwork, ...]
    ports: frozenset[int]
    max_bytes: int

    def check(self, address: Address) -> None:
        """Judge a URL by its words, before anything is looked up.

        Raises:
            Forbidden: Its host or port isn't among those that may be fetched.
            Refused: Its host isn't a public one.
        """
        if self.allow_hosts is not None and not _covers(self.allow_hosts, address.host):
            raise Forbidden("This site isn't among those that may be fetched.")
        if _covers(self.deny_hosts, address.host):
            raise Forbidden("This site is among those that may not be fetched.")
        if address.port not in self.ports:
            raise Forbidden(f"The port {address.port} may not be used: leave it out of the address.")
        # Its IP addresses would be judged as well, but to ask for them tells a name server of the name.
        local = "." not in address.host or _covers(_LOCAL_NAMES, address.host)
        if local and address.ip is None and not self.networks:
            raise Refused

    def check_ips(self, ips: Sequence[IPAddress]) -> None:
        """Judge all the IP addresses that a host has.

        Raises:
            Refused: There is none, or one of them may not be connected to.
        """
        if not ips or not all(may_connect(ip, self.networks) for ip in ips):
            raise Refused


def read_hosts(name: str, hosts: Iterable[str]) -> frozenset[str]:
    """Read host names as a developer writes them.

    Raises:
        ConfigurationError: One isn't a host name.
    """
    if isinstance(hosts, str):
        raise ConfigurationError(f"{name} are several: {name}=[{hosts!r}].")
    read = set()
    for host in hosts:
        if not isinstance(host, str):
            raise ConfigurationError(f"{name}: {host!r:.60} isn't a host name: give e.g. 'example.com'.")
        try:
            address = read_url(f"https://[{host}]" if ":" in host else f"https://{host}")
        except BadUrl as error:
            raise ConfigurationError(f"{name}: {host!r} isn't a host name. {error}") from None
        if (address.target, address.port) != ("/", 443):
            raise ConfigurationError(f"{name}: {host!r} is more than a host name: give e.g. 'example.com'.")
        read.add(address.host)
    return frozenset(read)


def _covers(hosts: Iterable[str], host: str) -> bool:
    """Return whether a host is one of these, or below one of them."""
    return any(host == each or host.endswith(f".{each}") for each in hosts)
