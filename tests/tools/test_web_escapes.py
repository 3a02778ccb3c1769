"""Each way from a URL to an address that isn't public, tried for real on a loopback server with a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import pytest
from agentkit_tools._web.networks import is_public
from agentkit_tools.web import web_tools
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import ConfigurationError, ToolRetry
from tests.helpers.web_server import OPEN, SECRET, Network, WebServer, failure, fetch, network, page, redirect

__all__ = ["network"]
pytestmark = pytest.mark.usefixtures("network", "no_thread_left")
REFUSED = "This address can't be fetched: only pages of the public web can. Check the address."
PUBLIC = "93.184.215.14"
NAT64 = IPv6Network("64:ff9b::/96")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as made:
        yield made


FORBIDDEN_HOSTS = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1.2.3",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "localhost.localdomain",
    "printer.local",
    "intranet",
    "metadata.google.internal",
    "metadata.google.internal.",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:93.184.215.14]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[5f00::1]",
    "127。0。0。1",  # ideographic full stops
    "127．0．0．1",
    "localhost。",
    "nobody-has-this.example",
    "inner.example",  # the name server gives 10.1.2.3
    "loopback.example",
    "mixed.example",  # a public address and a loopback one
    "mapped.example",
    "linklocal.example",
]


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_an_address_that_is_not_public_gets_no_connection_and_always_the_same_words(
    host: str, server: WebServer, network: Network
) -> None:
    network.names = {
        "inner.example": [["10.1.2.3"]],
        "loopback.example": [["127.0.0.1"]],
        "mixed.example": [[PUBLIC, "127.0.0.1"]],
        "mapped.example": [["::ffff:127.0.0.1"]],
        "linklocal.example": [["fe80::1%2"]],
        "localhost": [["127.0.0.1"]],
    }
    assert failure(server.url(host=host), server) == REFUSED
    assert failure(f"http://{host}/", server) == REFUSED
    assert (server.accepted, network.connected) == (0, [])


MISLEADING = [
    # IPv4 addresses as only some readers take them: decimal, octal, hexadecimal, short
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.0.0.01:{port}/",
    "http://127.0.0.0x1:{port}/",
    "http://127.0.0.1..:{port}/",
    "http://0:{port}/",
    "http://0x:{port}/",
    "http://127.0.0.256:{port}/",
    "http://1.2.3.4.5:{port}/",
    # digits and letters of other scripts
    "http://１２７.０.０.１:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/",
    "http://localhoſt:{port}/",
    "http://١٢٧.٠.٠.١:{port}/",
    "http://example.com:８０/",
    # two hosts in one
    "http://example.com@127.0.0.1:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@example.com/",
    "http://@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://example.com:80:{port}/",
    "http://[::1]@example.com/",
    "http://[::1].example.com/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[v1.x]:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://::1:{port}/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1%2eexample.com/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://%6cocalhost:{port}/",
    # white space and characters that nobody sees
    "http://127.0.0.1:{port}/ http://example.com/",
    "http://127.0.0.1 .example.com/",
    "http://127.0.0.1\t:{port}/",
    "http://exam\nple.com/",
    "http://127.0.0.1\r\nHost: example.com/",
    "http://exam\u00adple.com/",
    "http://exam\u200bple.com/",
    "http://example.com/\x00",
    "http://example.com/\ud800",
    # no web address
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_x",
    "ws://127.0.0.1:{port}/",
    "data:text/html,x",
    "javascript:alert(1)",
    "view-source:http://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "/etc/passwd",
    "127.0.0.1:{port}",
    "http:127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "http://",
    "http://:{port}/",
    "http://?@127.0.0.1:{port}/",
    "http://#@127.0.0.1:{port}/",
    "http://./",
    "http://.example.com/",
    "http://a..example.com/",
    "http://-.example.com/",
    "http://" + "a" * 64 + ".example.com/",
    "http://xn--\u00fc.example.com/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:+{port}/",
    "http://127.0.0.1:{port}0000/",
    "http://example.com/" + "a" * 4000,
    "",
]


@pytest.mark.parametrize("url", MISLEADING)
def test_a_url_that_two_readers_could_take_differently_is_sent_back_even_where_loopback_is_allowed(
    url: str, server: WebServer, network: Network
) -> None:
    with pytest.raises(ToolRetry) as caught:
        fetch(url.replace("{port}", str(server.port)), server, allow_networks=OPEN)
    assert SECRET not in str(caught.value)
    assert (server.accepted, network.connected, network.asked) == (0, [], [])


def test_a_password_in_a_url_is_named_as_what_is_wrong(server: WebServer) -> None:
    said = failure(server.url(host="ann:pw@127.0.0.1"), server, allow_networks=OPEN)
    assert said == "The address has a user name or password in it: leave that out."


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 65536, 99999])
def test_other_ports_than_those_of_the_web_are_not_used(port: int, network: Network) -> None:
    assert (
        failure(f"http://{PUBLIC}:{port}/")
        == f"The port {port} may not be used: leave it out of the address."
    )
    assert network.connected == []


def test_white_space_around_a_url_does_not_matter(server: WebServer) -> None:
    assert SECRET in fetch(f"  {server.url()}\n", server, allow_networks=OPEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1.", "inner.example", "INNER.example.", "localhost"])
def test_what_the_developer_allows_by_its_exact_network_is_reached(
    host: str, server: WebServer, network: Network
) -> None:
    network.names = {"inner.example": [["127.0.0.1"]], "localhost": [["127.0.0.1"]]}
    assert SECRET in fetch(server.url(host=host), server, allow_networks=OPEN)
    assert network.connected == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254"])
def test_an_allowed_network_opens_nothing_beside_it(host: str, server: WebServer, network: Network) -> None:
    assert failure(server.url(host=host), server, allow_networks=OPEN) == REFUSED
    assert (server.accepted, network.connected) == (0, [])


@pytest.mark.parametrize("host", ["192.0.0.192", "100.100.100.200", "[fd00:ec2::254]", "[fd20:ce::254]"])
def test_where_a_cloud_keeps_credentials_stays_closed_in_an_allowed_network(
    host: str, network: Network
) -> None:
    assert failure(f"http://{host}/", allow_networks=["100.64.0.0/10", "fc00::/7"]) == REFUSED
    assert network.connected == []


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/7",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "8.8.8.8",
        "10.0.0.1/8",
        "x",
        "fe80::/64",
    ],
)
def test_only_private_networks_can_be_allowed(text: str) -> None:
    with pytest.raises(ConfigurationError, match="allow_networks"):
        web_tools(allow_networks=[text])


@given(st.ip_addresses() | st.ip_addresses(network="::/16") | st.ip_addresses(network="2001::/16"))
def test_no_address_counts_as_public_that_python_knows_to_be_something_else(
    ip: IPv4Address | IPv6Address,
) -> None:
    if is_public(ip):
        other = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast
        assert not (other or ip.is_reserved or ip.is_unspecified) or ip in NAT64


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", PUBLIC, "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::8.8.8.8", "2a00:1450::1"],
)
def test_public_addresses_are_public(text: str, network: Network) -> None:
    assert is_public(ip_address(text))
    host = f"[{text}]" if ":" in text else text
    assert failure(f"http://{host}/") == "The site can't be reached (no connection). Try another page."
    assert network.connected == [str(ip_address(text))]


# --- redirects -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [h for h in FORBIDDEN_HOSTS if not re.fullmatch(r"127\D0\D0\D1\D?", h)])
def test_a_redirect_to_an_address_that_is_not_public_is_not_followed(host: str, network: Network) -> None:
    network.names = {"inner.example": [["10.1.2.3"]], "mixed.example": [[PUBLIC, "127.0.0.2"]]}
    network.names["mapped.example"] = [["::ffff:127.0.0.1"]]
    network.names["loopback.example"] = [["127.0.0.2"]]
    raw = host.encode().decode("latin-1")
    with WebServer() as secret, WebServer(redirect(f"http://{raw}:{secret.port}/")) as first:
        said = failure(first.url(), first, secret, allow_networks=OPEN)
        assert said in (REFUSED, "The page redirects to an address that isn't a web page's.")
        assert (secret.accepted, network.connected) == (0, ["127.0.0.1"])


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:text/html,x",
        "http://a@127.0.0.1:{port}/",
        "http://2130706433:{port}/",
        "\\\\127.0.0.1:{port}/",
        "/a b",
        "http://[::1",
        "x" * 5000,
    ],
)
def test_a_redirect_to_what_is_no_plain_web_address_is_not_followed(location: str) -> None:
    with WebServer() as secret:
        with WebServer(redirect(location.replace("{port}", str(secret.port)))) as first:
            said = failure(first.url(), first, secret, allow_networks=OPEN)
        assert said == "The page redirects to an address that isn't a web page's."
        assert secret.accepted == 0


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
def test_redirects_are_followed_and_the_answer_names_where_they_end(status: str) -> None:
    with WebServer([redirect("../b?q=ü#part", status), page("<p>There")]) as server:
        text = fetch(server.url("/x/a"), server, allow_networks=OPEN)
        assert text == f"Address: {server.url('/b?q=%C3%BC')}\n\nThere"
        assert server.accepted == 2


def test_redirects_end(network: Network) -> None:
    with WebServer(redirect("/again")) as server:
        said = failure(server.url(), server, allow_networks=OPEN)
        assert said == "The page leads on to other addresses, more than 5 times."
        assert server.accepted == 6


def test_a_redirect_keeps_to_the_hosts_and_ports_that_the_developer_named(network: Network) -> None:
    network.names = {"a.example": [["127.0.0.1"]], "b.example": [["127.0.0.1"]]}
    with WebServer() as other, WebServer(redirect(other.url(host="b.example"))) as first:
        settings: dict[str, Any] = {"allow_networks": OPEN, "allow_hosts": ["a.example"]}
        assert "among those" in failure(first.url(host="a.example"), first, other, **settings)
        assert f"port {other.port}" in failure(first.url(host="a.example"), first, allow_networks=OPEN)
        assert other.accepted == 0
