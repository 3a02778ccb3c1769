"""`GeminiModel.list`: the models of the Gemini API and of Vertex AI, own transport and `client=`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx2
import pytest
from google import genai
from google.oauth2.credentials import Credentials

from agentkit import GeminiModel, MissingCredentials, ModelError
from agentkit.gemini.listing import ListedModel
from tests.gemini.test_options import vertex
from tests.helpers.gemini import KEY, NO_TLS, InProcess
from tests.helpers.gemini_server import GeminiServer

__all__ = ["vertex"]

List = Callable[..., Sequence[ListedModel]]


def alist(**options: Any) -> Sequence[ListedModel]:
    return asyncio.run(GeminiModel.alist(**options))


either = pytest.mark.parametrize("find", [GeminiModel.list, alist], ids=["sync", "async"])
own_or_client = pytest.mark.parametrize("own", [True, False], ids=["own transport", "client="])


def entry(name: str, *methods: str, **more: Any) -> dict[str, Any]:
    return {"name": f"models/{name}", "supportedGenerationMethods": [*methods], **more}


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as running:
        running.models = [
            entry(
                "gemini-a",
                "generateContent",
                "countTokens",
                displayName="Gemini A",
                description="The first.",
                inputTokenLimit=1_048_576,
                outputTokenLimit=65_536,
                thinking=True,
            ),
            entry("embed-1", "embedContent"),
            entry("gemini-b", "generateContent"),
            *(entry(f"gemini-{n}", "generateContent") for n in range(5)),
        ]
        yield running


def given(server: GeminiServer, *, own: bool, key: str = KEY) -> dict[str, Any]:
    http: dict[str, Any] = {"base_url": server.url, "api_version": "v1beta"}
    if own:
        return {"api_key": key, "http_options": http}
    http |= {"client_args": {"verify": NO_TLS}, "async_client_args": {"verify": NO_TLS, "ssl": NO_TLS}}
    return {"client": genai.Client(api_key=key, http_options=http)}  # type: ignore[arg-type]


@either
@own_or_client
def test_all_pages_of_it_are_read(find: List, own: bool, server: GeminiServer) -> None:
    found = find(**given(server, own=own))
    assert [model.name for model in found] == ["gemini-a", "gemini-b", *(f"gemini-{n}" for n in range(5))]
    assert found[0] == ListedModel(
        name="gemini-a",
        title="Gemini A",
        description="The first.",
        window=1_048_576,
        longest_reply=65_536,
        thinks=True if own else found[0].thinks,  # a field that the SDK's parser doesn't read everywhere
    )
    assert (found[1].window, found[1].title) == (None, "")
    assert [path.partition("?")[0] for path, _ in server.listed] == ["/v1beta/models"] * 3
    assert {headers["x-goog-api-key"] for _, headers in server.listed} == {KEY}


def test_each_page_is_asked_for_as_the_sdk_does(server: GeminiServer) -> None:
    GeminiModel.list(**given(server, own=True))
    ours = [path for path, _ in server.listed]
    server.listed.clear()
    GeminiModel.list(**given(server, own=False))
    assert ours == [path for path, _ in server.listed]


@either
@own_or_client
def test_a_key_that_is_refused_is_told_without_it(find: List, own: bool, server: GeminiServer) -> None:
    with pytest.raises(ModelError, match=r"The list of models answered 400.*Check the API key") as caught:
        find(**given(server, own=own, key="another-key-0123"))
    assert "another-key-0123" not in str(caught.value)


def test_a_place_where_there_is_none_is_told(server: GeminiServer) -> None:
    def not_found(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json={"error": {"code": 404, "message": "Not Found"}})

    http: Any = {"httpx_client": httpx2.Client(transport=InProcess(not_found))}
    with pytest.raises(ModelError, match=r"Not Found\. Check base_url and api_version"):
        GeminiModel.list(api_key=KEY, http_options=http)


@either
@own_or_client
def test_all_of_it_ends_in_time_however_many_pages_there_are(find: List, own: bool) -> None:
    asked = itertools.count()

    def endless(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"models": [entry("a")], "nextPageToken": f"t{next(asked)}"})

    http: Any = {"httpx_client": httpx2.Client(transport=InProcess(endless))}
    http |= {"client_args": {"verify": NO_TLS}, "async_client_args": {"verify": NO_TLS, "ssl": NO_TLS}}
    client = genai.Client(api_key=KEY, http_options=http)
    with pytest.raises(ModelError, match="The list of models didn't answer in"):
        find(**({"api_key": KEY, "http_options": http} if own else {"client": client}), timeout=0.03)


@pytest.mark.parametrize("body", [b"[]", b"not json", b'{"models": [7, {"name": 3}], "nextPageToken": "x"}'])
def test_what_is_no_list_is_told_or_empty_and_pages_end(body: bytes) -> None:
    http: Any = {
        "httpx_client": httpx2.Client(transport=InProcess(lambda _: httpx2.Response(200, content=body)))
    }
    if body.startswith(b"{"):
        assert GeminiModel.list(api_key=KEY, http_options=http) == []
        return
    with pytest.raises(ModelError, match="can't be read"):
        GeminiModel.list(api_key=KEY, http_options=http)


@either
def test_without_credentials_it_says_which_variables_to_set(find: List) -> None:
    with pytest.raises(MissingCredentials, match=r"The list of models needs credentials.*GEMINI_API_KEY"):
        find()


@either
@own_or_client
def test_on_vertex_ai_it_is_that_of_googles_models(find: List, own: bool, vertex: list[str]) -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        begin = int(request.url.params.get("pageToken", 0))
        models = [{"name": f"publishers/google/models/gemini-{n}", "versionId": "1"} for n in range(4)]
        more = {"nextPageToken": "3"} if begin == 0 else {}
        return httpx2.Response(200, json={"publisherModels": models[begin : begin + 3], **more})

    transport = InProcess(page)
    http: Any = {"httpx_client": httpx2.Client(transport=transport)}
    options: dict[str, Any] = {"http_options": http}
    if not own:
        place = {"vertexai": True, "project": "tea", "location": "europe-west4"}
        credentials = Credentials("given-token-123")  # type: ignore[no-untyped-call]
        options = {"client": genai.Client(**place, credentials=credentials, http_options=http)}  # type: ignore[arg-type]
    found = find(**options)
    assert found == [ListedModel(name=f"gemini-{n}") for n in range(4)]
    sent = transport.requests[-1]
    assert sent.url.path == "/v1beta1/publishers/google/models"
    assert dict(sent.url.params) == {"pageSize": "100", "pageToken": "3"}
    assert sent.headers["authorization"] == f"Bearer {vertex[0] if own else 'given-token-123'}"
