"""Names: looked up once, allowed and denied, and proved by their certificates."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools._web import fetch as fetch_module
from agentkit_tools.web import web_tools

from agentkit.errors import ConfigurationError
from tests.helpers.certificates import certificate
from tests.helpers.web_server import (
    OPEN,
    SECRET,
    Network,
    WebServer,
    failure,
    fetch,
    network,
    page,
    redirect,
    silent,
)

__all__ = ["network"]
pytestmark = pytest.mark.usefixtures("network", "no_thread_left")
REFUSED = "This address can't be fetched: only pages of the public web can. Check the address."
PUBLIC = "93.184.215.14"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as made:
        yield made


# --- names -----------------------------------------------------------------------------------------------


def test_a_name_is_looked_up_once_so_that_a_second_answer_leads_nowhere(
    server: WebServer, network: Network
) -> None:
    network.names = {"rebound.example": [[PUBLIC], ["127.0.0.1"]]}
    said = failure(server.url(host="rebound.example"), server)
    assert said == "The site can't be reached (no connection). Try another page."
    assert (network.asked, network.connected, server.accepted) == (["rebound.example"], [PUBLIC], 0)


def test_a_name_that_changes_its_address_before_a_redirect_is_judged_again(network: Network) -> None:
    network.names = {"rebound.example": [["127.0.0.1"], ["127.0.0.2"]]}
    with WebServer(redirect("/secret")) as server:
        assert failure(server.url(host="rebound.example"), server, allow_networks=OPEN) == REFUSED
        assert (server.accepted, network.connected) == (1, ["127.0.0.1"])


def test_the_next_address_of_a_name_is_tried_when_the_first_does_not_answer(
    server: WebServer, network: Network
) -> None:
    network.names = {"two.example": [["2606:4700::1", PUBLIC, "127.0.0.1", "127.0.0.1"]]}
    assert SECRET in fetch(server.url(host="two.example"), server, allow_networks=OPEN)
    assert network.connected == ["2606:4700::1", PUBLIC, "127.0.0.1"]


def test_an_ipv6_server_is_reached_by_the_address_that_is_allowed() -> None:
    with WebServer(page("<p>Six"), family=socket.AF_INET6) as server:
        assert "Six" in fetch(server.url(host="[::1]"), server, allow_networks=["::1/128"])
        assert f"Host: [::1]:{server.port}" in server.heads[0]


@pytest.mark.parametrize(
    ("host", "allow", "deny", "ok"),
    [
        ("a.example", ["a.example"], [], True),
        ("www.a.example", ["A.Example."], [], True),
        ("xa.example", ["a.example"], [], False),
        ("a.example.evil.example", ["a.example"], [], False),
        ("bücher.example", ["xn--bcher-kva.example"], [], True),
        ("127.0.0.1", ["127.0.0.1"], [], True),
        ("127.0.0.1", ["a.example"], [], False),
        ("a.example", None, ["a.example"], False),
        ("www.a.example.", None, ["a.example"], False),
        ("www.a.example", ["a.example"], ["www.a.example"], False),
        ("a.example", [], [], False),
        ("b.example", None, ["a.example"], True),
    ],
)
def test_hosts_can_be_allowed_and_denied_with_what_is_below_them(
    host: str, allow: Iterable[str] | None, deny: list[str], ok: bool, server: WebServer, network: Network
) -> None:
    names = [
        "a.example",
        "www.a.example",
        "xa.example",
        "a.example.evil.example",
        "b.example",
        "xn--bcher-kva.example",
    ]
    network.names = {name: [["127.0.0.1"]] for name in names}
    settings: dict[str, Any] = {"allow_networks": OPEN, "allow_hosts": allow, "deny_hosts": deny}
    if ok:
        assert SECRET in fetch(server.url(host=host), server, **settings)
    else:
        assert "among those" in failure(server.url(host=host), server, **settings)
        assert (server.accepted, network.asked) == (0, [])


@pytest.mark.parametrize("host", ["http://a.example", "a.example/x", "a.example:80", "*.example", "", "a b"])
def test_a_host_list_takes_host_names_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="deny_hosts"):
        web_tools(deny_hosts=[host])


def test_a_single_text_is_no_list() -> None:
    with pytest.raises(ConfigurationError, match="give a list"):
        web_tools(allow_hosts="a.example")
    with pytest.raises(ConfigurationError, match="give a list"):
        web_tools(allow_networks="10.0.0.0/8")


def test_an_ipv6_host_can_be_named_in_a_list(network: Network) -> None:
    assert "may not be fetched" in failure("http://[2606:4700::1]/", deny_hosts=["2606:4700:0::1"])
    assert network.connected == []


def test_proxies_of_the_environment_are_not_used(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer(page("proxied")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        assert SECRET in fetch(server.url(), server, allow_networks=OPEN)
        assert failure("http://10.0.0.1/") == REFUSED
        assert proxy.accepted == 0


# --- TLS -------------------------------------------------------------------------------------------------


NOT_PROVEN = "The site can't prove that it is this site: its certificate isn't valid."


def test_https_is_checked_against_the_name_though_the_connection_is_to_an_ip_address(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.names = {"site.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}
    context, trusted = certificate(tmp_path, "site.example")
    asked: list[str] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with WebServer(tls=context) as server:
        url = server.url(host="site.example", scheme="https")
        assert SECRET in fetch(url, server, allow_networks=OPEN)
        assert f"Host: site.example:{server.port}\r\n" in server.heads[0]
        assert asked == ["site.example"]
        for host in ("other.example", "127.0.0.1"):
            url = server.url(host=host, scheme="https")
            assert failure(url, server, allow_networks=OPEN) == NOT_PROVEN
        assert len(server.heads) == 1


def test_an_ip_address_may_have_a_certificate_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, IPv4Address("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with WebServer(tls=context) as server:
        assert SECRET in fetch(server.url(scheme="https"), server, allow_networks=OPEN)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, network: Network) -> None:
    network.names = {"site.example": [["127.0.0.1"]]}
    context, _ = certificate(tmp_path, "site.example")
    with WebServer(tls=context) as server:
        url = server.url(host="site.example", scheme="https")
        assert failure(url, server, allow_networks=OPEN) == NOT_PROVEN
        assert server.heads == []


def test_a_server_without_tls_is_no_https_server(server: WebServer) -> None:
    said = failure(server.url(scheme="https"), server, allow_networks=OPEN)
    assert said == "The site can't be reached (no connection). Try another page."


def test_a_server_that_never_greets_is_given_up_as_not_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "_CONNECT_SECONDS", 0.2)
    with WebServer(silent) as server:
        said = failure(server.url(scheme="https"), server, allow_networks=OPEN)
    assert said == "The site can't be reached (no answer). Try another page."


def test_a_redirect_from_https_to_http_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, IPv4Address("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with WebServer() as plain, WebServer(redirect(plain.url()), tls=context) as first:
        said = failure(first.url(scheme="https"), first, plain, allow_networks=OPEN)
        assert said == "The page leads on to an address without encryption (http): that isn't followed."
        assert plain.accepted == 0
