"""Which IP addresses may be connected to: public ones, and those of networks that the developer names."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from agentkit.errors import ConfigurationError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# From IANA's registries of special-purpose addresses (RFC 6890) and of IPv6 unicast assignments. Not
# `is_global`: what it says differs between the versions of Python that we run on.
_NOT_PUBLIC_V4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
_UNICAST_V6 = IPv6Network("2000::/3")
"""All that is assigned to the public Internet. Outside are loopback, unspecified, link-local, unique local,
multicast, and the IPv4-mapped and IPv4-compatible addresses."""
_NOT_PUBLIC_V6 = [
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")
"""An IPv4 address as networks with IPv6 alone write it (RFC 6052)."""

_METADATA = frozenset(
    {
        IPv4Address("169.254.169.254"),  # AWS, Azure, Google, Oracle and most others
        IPv4Address("169.254.170.2"),  # AWS, of containers
        IPv4Address("169.254.170.23"),
        IPv4Address("100.100.100.200"),  # Alibaba
        IPv4Address("168.63.129.16"),  # Azure; looks public
        IPv4Address("192.0.0.192"),  # Oracle
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd00:ec2::23"),
        IPv6Address("fd20:ce::254"),  # Google
    }
)
"""Where a cloud gives out a machine's credentials: never connected to, whatever is allowed."""

_ALLOWABLE: tuple[IPNetwork, ...] = (
    *map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(IPv6Network, ("::1/128", "fc00::/7")),
)


def is_public(ip: IPAddress) -> bool:
    """Return whether an address is one of the public Internet's.

    An IPv4 address inside an IPv6 address isn't, except as NAT64 writes it.
    """
    if ip in _METADATA:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_V4)
    if ip in _NAT64:
        return is_public(IPv4Address(int(ip) & 0xFFFF_FFFF))
    return ip in _UNICAST_V6 and not any(ip in network for network in _NOT_PUBLIC_V6)


def may_connect(ip: IPAddress, allowed: Iterable[IPNetwork]) -> bool:
    """Return whether an address is public, or in one of the networks allowed."""
    return is_public(ip) or (ip not in _METADATA and any(ip in network for network in allowed))


def read_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Read the networks that a developer allows beside the public Internet.

    Raises:
        ConfigurationError: One isn't a network, or isn't within one private or loopback range.
    """
    if isinstance(texts, str):
        raise ConfigurationError(f"allow_networks are several: allow_networks=[{texts!r}].")
    networks = []
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError as error:
            raise ConfigurationError(f"allow_networks: {error}. Give e.g. '10.1.0.0/16'.") from None
        if not any(_within(network, outer) for outer in _ALLOWABLE):
            known = ", ".join(map(str, _ALLOWABLE))
            raise ConfigurationError(
                f"allow_networks: {network} isn't within a private network. Name networks within one of {known}."
            )
        networks.append(network)
    return tuple(networks)


def _within(network: IPNetwork, outer: IPNetwork) -> bool:
    return (
        network.version == outer.version
        and network.network_address in outer
        and network.broadcast_address in outer
    )
