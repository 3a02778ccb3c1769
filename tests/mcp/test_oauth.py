"""A server that wants OAuth, reached with the SDK's own provider: registration, a person's consent, refresh."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyHttpUrl, AnyUrl

from agentkit import AgentError
from agentkit.mcp import MCP
from tests.helpers.until import PATIENCE
from tests.mcp.parts import called
from tests.mcp.sdk_server import http_server

BACK = "http://127.0.0.1:9/back"


class Authority:
    """An authorization server that keeps everything in memory; `consents` says what the person says."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.consents = True
        self.asked = 0

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        self.asked += 1
        if not self.consents:
            raise AuthorizeError("access_denied", "The person said no.")
        code = secrets.token_urlsafe(32)
        known = params.model_dump(
            include={"code_challenge", "redirect_uri", "redirect_uri_provided_explicitly", "resource"}
        )
        self.codes[code] = AuthorizationCode(
            code=code,
            client_id=str(client.client_id),
            scopes=[],
            expires_at=time.time() + 60,
            **known,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._issue(str(client.client_id), authorization_code.resource)

    def _issue(self, client_id: str, resource: str | None) -> OAuthToken:
        access, refresh = "access-" + secrets.token_urlsafe(16), "refresh-" + secrets.token_urlsafe(16)
        self.access[access] = AccessToken(token=access, client_id=client_id, scopes=[], resource=resource)
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=client_id, scopes=[])
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=3600)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh[refresh_token.token]
        return self._issue(str(client.client_id), None)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def exchange_identity_assertion(self, *given: Any) -> OAuthToken:
        raise NotImplementedError

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.access.pop(token.token, None)


class Kept:
    """What a client keeps between two starts."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Visits the address, as a browser would, and brings back what the server redirects to."""

    def __init__(self) -> None:
        self.came_back: dict[str, list[str]] = {}

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(timeout=PATIENCE) as browser:
            answer = await browser.get(url)
        self.came_back = parse_qs(urlsplit(answer.headers["location"]).query)

    async def bring(self) -> AuthorizationCodeResult:
        found = {name: values[0] for name, values in self.came_back.items()}
        return AuthorizationCodeResult(
            code=found.get("code", ""), state=found.get("state"), iss=found.get("iss")
        )


def provider(url: str, kept: Kept) -> OAuthClientProvider:
    person = Person()
    about = OAuthClientMetadata(client_name="a test", redirect_uris=[AnyUrl(BACK)])
    return OAuthClientProvider(url, about, kept, person.visit, person.bring)


@contextmanager
def guarded(authority: Authority) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    origin = f"http://127.0.0.1:{port}"
    settings = AuthSettings(
        issuer_url=AnyHttpUrl(origin),
        resource_server_url=AnyHttpUrl(f"{origin}/mcp"),
        client_registration_options=ClientRegistrationOptions(enabled=True),
        validate_token_resource=False,
    )
    server = MCPServer("guarded", auth=settings, auth_server_provider=authority)

    @server.tool()
    def secret_of(person: str) -> str:
        """Say a secret."""
        return f"{person} likes tea"

    with http_server(server.streamable_http_app(), port) as url:
        yield url


def test_a_person_consents_once_and_the_token_is_used_from_then_on() -> None:
    authority, kept = Authority(), Kept()
    with guarded(authority) as url:
        for _ in range(2):  # the second time with what was kept
            with MCP(url, name="s", auth=provider(url, kept)) as mcp:
                assert [tool.name for tool in mcp.tools()] == ["s_secret_of"]
                assert called(mcp, "s_secret_of", person="Ann") == {"result": "Ann likes tea"}
    assert authority.asked == 1
    assert len(authority.clients) == 1


def test_a_token_that_ran_out_is_refreshed_without_asking_the_person() -> None:
    authority, kept = Authority(), Kept()
    with guarded(authority) as url:
        with MCP(url, name="s", auth=provider(url, kept)) as mcp:
            mcp.tools()
        assert kept.tokens is not None
        first, kept.tokens = kept.tokens.access_token, kept.tokens.model_copy(update={"expires_in": -1})
        del authority.access[first]
        with MCP(url, name="s", auth=provider(url, kept)) as mcp:
            assert called(mcp, "s_secret_of", person="Bob") == {"result": "Bob likes tea"}
    assert kept.tokens is not None
    assert kept.tokens.access_token != first


def test_a_person_who_says_no_and_a_missing_token_are_errors_in_words() -> None:
    authority = Authority()
    authority.consents = False
    with guarded(authority) as url:
        with MCP(url, name="s", auth=provider(url, Kept())) as mcp, pytest.raises(AgentError) as refused:
            mcp.tools()
        with MCP(url, name="s") as mcp, pytest.raises(AgentError, match="401"):
            mcp.tools()
    said: Any = str(refused.value)
    assert "Can't connect to the MCP server 's'" in said
