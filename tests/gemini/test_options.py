"""How GeminiModel is set up: options of the SDK, credentials, Vertex AI."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from agentkit.errors import ConfigurationError, MissingCredentials, ModelError
from agentkit.gemini.model import GeminiModel
from agentkit.model import Model
from tests.helpers.gemini import (
    HELLO,
    KEY,
    AsyncInProcess,
    GetReply,
    InProcess,
    agenerate,
    answer_ok,
    astream_it,
    every_method,
    full_request,
    generate,
    in_camel_case,
    stream_it,
    text_in,
)
from tests.helpers.gemini_server import GeminiServer
from tests.helpers.until import PATIENCE, until


@every_method
@pytest.mark.parametrize("as_object", [True, False])
def test_transports_headers_version_and_extra_body_are_honoured(ask: GetReply, as_object: bool) -> None:
    transport = InProcess(answer_ok)
    options: dict[str, Any] = {
        "client_args": {"transport": transport, "headers": {"x-mine": "1", "accept": "application/json"}},
        "async_client_args": {
            "transport": AsyncInProcess(transport),
            "headers": {"x-mine": "1", "accept": "application/json"},
        },
        "headers": {"x-team": "tea", "X-Server-Timeout": "77"},
        "api_version": "v1alpha",
        "timeout": 30_000,
        "extra_body": {"labels": {"a": "b"}},
    }
    model = GeminiModel(api_key=KEY, http_options=types.HttpOptions(**options) if as_object else options)
    assert text_in(ask(model, HELLO)) == "ok"
    request = transport.requests[0]
    assert str(request.url).startswith("https://generativelanguage.googleapis.com/v1alpha/models/")
    assert [request.headers[n] for n in ("x-mine", "accept", "x-team")] == ["1", "application/json", "tea"]
    assert request.headers["x-server-timeout"] == "77"
    assert request.extensions["timeout"]["connect"] == 10
    assert json.loads(request.content) == {**HELLO, "labels": {"a": "b"}}


@every_method
@pytest.mark.parametrize("ready", [True, False])
def test_headers_cookies_and_parameters_of_http_clients_go_along_each_time(
    ask: GetReply, *, ready: bool
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        response = answer_ok(request)
        if len(transport.requests) == 2:
            response.headers["set-cookie"] = "place=near"
        return response

    transport = InProcess(answer)
    args: dict[str, Any] = {"headers": {"x-mine": "1"}}
    clients = [
        httpx2.Client(transport=transport, **args),
        httpx2.AsyncClient(transport=AsyncInProcess(transport), **args),
    ]
    options: dict[str, Any] = {
        "client_args": {"transport": transport, **args},
        "async_client_args": {"transport": AsyncInProcess(transport), **args},
    }
    if ready:
        options = {"httpx_client": clients[0], "httpx_async_client": clients[1]}
    model = GeminiModel(api_key=KEY, http_options=options, timeout=30)
    for number in range(4):
        if number == 3:  # what a user does with a client of theirs counts at once
            for client in clients:
                client.headers["x-mine"] = "2"
                client.params = client.params.set("trace", "yes")
        assert text_in(ask(model, HELLO)) == "ok"
    seen = [
        (r.headers["x-mine"], r.headers["x-server-timeout"], r.headers["content-length"])
        for r in transport.requests
    ]
    changed = "2" if ready else "1"
    assert seen == [
        (mine, "30", str(len(transport.requests[0].content))) for mine in ("1", "1", "1", changed)
    ]
    assert ("trace=yes" in str(transport.requests[3].url)) is ready
    asks_in_one_loop = ask.__name__ in ("generate", "stream_it")  # else each has clients of its own
    if ready or asks_in_one_loop:
        assert [r.headers.get("cookie") for r in transport.requests] == [
            None,
            None,
            "place=near",
            "place=near",
        ]


@every_method
def test_parameters_of_http_clients_go_along(ask: GetReply) -> None:
    transport = InProcess(answer_ok)
    options = {
        "client_args": {"transport": transport, "params": {"trace": "yes"}, "cookies": {"a": "b"}},
        "async_client_args": {
            "transport": AsyncInProcess(transport),
            "params": {"trace": "yes"},
            "cookies": {"a": "b"},
        },
    }
    model = GeminiModel(api_key=KEY, http_options=options)
    for _ in range(2):
        assert text_in(ask(model, HELLO)) == "ok"
    for request in transport.requests:
        assert "trace=yes" in str(request.url)
        assert request.headers["cookie"] == "a=b"


@every_method
def test_ready_http_clients_are_used_and_left_open(ask: GetReply) -> None:
    transport = InProcess(answer_ok)
    sync = httpx2.Client(transport=transport)
    asynchronous = httpx2.AsyncClient(transport=AsyncInProcess(transport))
    options = types.HttpOptions(httpx_client=sync, httpx_async_client=asynchronous)
    model = GeminiModel(api_key=KEY, http_options=options)
    assert text_in(ask(model, HELLO)) == "ok"
    model.close()
    asyncio.run(model.aclose())
    assert len(transport.requests) == 1
    assert not sync.is_closed
    assert not asynchronous.is_closed
    sync.close()
    asyncio.run(asynchronous.aclose())


def test_the_sdks_variables_for_address_and_version_are_honoured(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1")
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    server.script(["ok"])
    GeminiModel("m").generate(HELLO)
    assert server.requests[0].path == "/v1/models/m:generateContent"


def test_the_sdk_is_asked_once_per_method_when_a_key_is_the_credential(
    server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for method in ("generate_content", "generate_content_stream", "count_tokens"):
        real = getattr(genai.models.Models, method)

        def spy(self: Any, *, _real: Any = real, _method: str = method, **kwargs: Any) -> Any:
            asked.append(_method)
            return _real(self, **kwargs)

        monkeypatch.setattr(genai.models.Models, method, spy)
    server.script(["ok"] * 6)
    model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
    for _ in range(3):
        model.generate(HELLO)
        list(model.stream(HELLO))
        model.count_tokens(HELLO)
    assert asked == ["generate_content", "generate_content_stream", "count_tokens"]


def test_ssl_contexts_are_made_once_for_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentkit.gemini import http_clients as clients

    first = clients.complete_args({})["verify"]
    assert clients.complete_args({"proxy": None, "ssl": True})["verify"] is first
    certificates = cast(str, __import__("certifi").where())
    monkeypatch.setenv("SSL_CERT_FILE", certificates)
    assert clients.complete_args({})["verify"] is not first
    assert clients.complete_args({"verify": False}) == {"verify": False}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"name": " "}, "give a model's name"),
        ({"timeout": 0}, "seconds above 0"),
        ({"client": genai.Client(api_key=KEY), "api_key": KEY}, "not both"),
        ({"client": genai.Client(api_key=KEY), "http_options": {}}, "not both"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        GeminiModel(**arguments)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"base_urll": "x"}, "http_options"),
        (types.HttpOptions.model_construct(aiohttp_client=object()), "doesn't use aiohttp"),
    ],
)
def test_http_options_that_make_no_sense_are_refused(options: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        GeminiModel(api_key=KEY, http_options=options).generate(HELLO)


def test_it_is_a_model_and_shows_only_its_name() -> None:
    model = GeminiModel("gemini-x", api_key=KEY)
    assert isinstance(model, Model)
    assert (model.name, repr(model)) == ("gemini-x", "GeminiModel('gemini-x')")
    model.close()
    asyncio.run(model.aclose())


def test_importing_and_making_a_model_imports_neither_sdk_nor_http_client() -> None:
    program = (
        "import sys; from agentkit.gemini.model import GeminiModel; m = GeminiModel(api_key='k' * 20);"
        "m.check_credentials();"
        "print([n for n in sys.modules if n.split('.')[0] in ('google', 'httpx2', 'httpx', 'pydantic')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("key", [None, "", "  "])
def test_without_credentials_the_error_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "")
    model = GeminiModel(api_key=key)
    for ask in (model.check_credentials, lambda: model.generate(HELLO), lambda: agenerate(model, HELLO)):
        with pytest.raises(MissingCredentials) as caught:
            ask()
        for word in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", 'model="local"'):
            assert word in str(caught.value)


@pytest.mark.parametrize("key", ["abc\ndef-ghi-jkl", "abc def-ghi-jkl", "schlüssel-abc", "\x00abcdefghijk"])
def test_a_key_that_can_be_none_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="copy it again") as caught:
        GeminiModel(api_key=key).generate(HELLO)
    assert key not in str(caught.value)


def test_a_key_around_which_there_is_space_works(server: GeminiServer) -> None:
    server.script(["ok"])
    GeminiModel(api_key=f" {KEY}\n", http_options={"base_url": server.url}).generate(HELLO)
    assert server.requests[0].headers["x-goog-api-key"] == KEY


def test_a_users_client_needs_no_other_credentials(server: GeminiServer) -> None:
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=server.url)) as client:
        GeminiModel(client=client).check_credentials()


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Choose Vertex AI with credentials whose tokens, the list, a loopback server gives out."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    tokens: list[str] = []

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            tokens.append(f"token-{len(tokens)}-abcdef")
            lifetime = 1 if len(tokens) == 1 else 3600  # the first one is stale at once
            body = json.dumps({"access_token": tokens[-1], "expires_in": lifetime}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Tokens) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        fields = {"type": "service_account", "client_email": "a@b.c", "private_key": key.decode()}
        fields["token_uri"] = f"http://127.0.0.1:{http.server_address[1]}/"
        (tmp_path / "adc.json").write_text(json.dumps(fields))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
        monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "tea")
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
        yield tokens
        http.shutdown()
        thread.join()


def test_vertex_requests_go_to_the_project_with_a_fresh_token(vertex: list[str]) -> None:
    transport = InProcess(answer_ok)
    args = {"transport": transport}
    model = GeminiModel(
        "gemini-x",
        http_options={"client_args": args, "async_client_args": {"transport": AsyncInProcess(transport)}},
    )
    model.check_credentials()
    request = full_request()
    request["tools"] = [*request["tools"], {"googleSearch": {}}]
    for ask in (generate, stream_it, agenerate, astream_it):
        assert text_in(ask(model, request)) == "ok"
    assert model.count_tokens(request) == 7
    base = "https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/tea/locations/europe-west4"
    assert str(transport.requests[0].url) == f"{base}/publishers/google/models/gemini-x:generateContent"
    sent_body = in_camel_case(json.loads(transport.requests[0].content))
    assert sent_body == request  # Vertex doesn't know rule 5's field
    assert json.loads(transport.requests[-1].content).keys() == {
        "contents", "systemInstruction", "tools", "generationConfig"
    }  # fmt: skip
    sent = [r.headers["authorization"] for r in transport.requests]
    assert sent == [f"Bearer {vertex[1]}"] * 5  # the first one went to ask about the config


def test_a_users_vertex_client_is_asked_the_same(vertex: list[str]) -> None:
    transport = InProcess(answer_ok)
    options = types.HttpOptions(httpx_client=httpx2.Client(transport=transport))
    with genai.Client(
        vertexai=True,
        project="tea",
        location="europe-west4",
        credentials=Credentials("given-token-123"),  # type: ignore[no-untyped-call]
        http_options=options,
    ) as client:
        model = GeminiModel("gemini-x", client=client)
        assert text_in(generate(model, full_request())) == "ok"
        assert model.count_tokens(full_request()) == 7
    assert transport.requests[0].headers["authorization"] == "Bearer given-token-123"
    assert "generateContentRequest" not in json.loads(transport.requests[1].content)


def test_vertex_without_credentials_says_so(vertex: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/adc.json")
    with pytest.raises(MissingCredentials, match="application default credentials"):
        GeminiModel().generate(HELLO)


def test_vertex_credentials_that_google_refuses_are_a_model_error(
    vertex: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = json.loads((tmp_path / "adc.json").read_text())
    fields["token_uri"] = "http://127.0.0.1:9/"
    (tmp_path / "adc.json").write_text(json.dumps(fields))
    with pytest.raises(ModelError, match="no access token") as caught:
        GeminiModel().generate(HELLO)
    assert caught.value.retryable


@pytest.mark.slow
@every_method
def test_a_token_that_never_comes_is_waited_for_no_longer_than_a_request_may_take(
    vertex: list[str], ask: GetReply, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def silent(credentials: Any, request: Any) -> None:
        released.wait(PATIENCE)
        credentials.token = "late"

    monkeypatch.setattr("google.oauth2.service_account.Credentials.refresh", silent)
    request: Any = {**HELLO, "generationConfig": {"seed": 1}}
    for asked in (HELLO, request):  # the SDK is asked about a config first
        with pytest.raises(ModelError, match=r"didn't answer in full within 0\.2 s") as caught:
            ask(GeminiModel(timeout=0.2), asked)
        assert caught.value.reached is False
    released.set()
    late = ("agentkit-read", "agentkit-model")
    until(lambda: not any(each.name in late for each in threading.enumerate()))


@every_method
@pytest.mark.parametrize("what", ["missing", "no certificate"])
def test_certificates_that_cannot_be_read_are_told(
    ask: GetReply, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    file = tmp_path / "certificates.pem"
    if what == "no certificate":
        file.write_text("nothing of the kind")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE='.*certificates\.pem'"):
        ask(GeminiModel(api_key=KEY), HELLO)
