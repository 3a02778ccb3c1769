"""The Gemini-compatible server, as clients of the Gemini API use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from google import genai
from google.genai import errors, types

from agentkit import Agent, ConfigurationError, Limits, tool
from agentkit.serve import create_gemini_app
from agentkit.serve.serving import Server, address, listen
from agentkit.testing import ScriptedModel, call, fault, reply
from tests.helpers.until import PATIENCE
from tests.serve.conftest import need
from tests.serve.scenes import scene_agent

KEY = "a-key-of-this-test"


class Running:
    def __init__(self, agent: Agent, **settings: Any) -> None:
        listener = listen("127.0.0.1", 0)
        self.url = address(listener)
        self.clients: list[genai.Client] = []
        self.server = Server(create_gemini_app(agent, key=KEY, **settings), listener)
        self.thread = threading.Thread(target=self.server.serve_here, daemon=True)
        self.thread.start()

    def client(self, key: str = KEY) -> genai.Client:
        made = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=self.url))
        self.clients.append(made)  # one that nobody holds closes itself
        return made

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join(PATIENCE)


@pytest.fixture
def serve() -> Iterator[Any]:
    running: list[Running] = []

    def begin(agent: Agent, **settings: Any) -> Running:
        running.append(Running(agent, **settings))
        return running[-1]

    yield begin
    for each in running:
        each.stop()


@tool
def stock(sku: str) -> int:
    """Items left in stock."""
    return 3


@tool(effect="write", approval=True)
def order(sku: str) -> str:
    """Order an item."""
    return "ordered"


def agent(*script: Any, **settings: Any) -> Agent:
    return Agent(ScriptedModel(list(script)), tools=[stock, order], **settings)


def used(text: Any) -> Any:
    parts = text if isinstance(text, list) else [text]
    return reply(*parts, promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=15)


def test_a_client_sees_a_model_whose_tools_have_run(serve: Any) -> None:
    made = agent(used(call("stock", sku="TEA-1")), used("There are 3 left."))
    answer = serve(made).client().models.generate_content(model="agentkit", contents="How many?")
    assert answer.text == "There are 3 left."
    assert answer.candidates[0].finish_reason == "STOP"
    assert answer.usage_metadata.total_token_count == 30
    assert answer.model_version == "agentkit"


def test_a_stream_has_the_text_of_all_turns_and_usage_at_its_end(serve: Any) -> None:
    made = agent(used(["Let me look.", call("stock", sku="TEA-1")]), used("There are 3 left."))
    chunks = list(serve(made).client().models.generate_content_stream(model="agentkit", contents="How many?"))
    assert "".join(chunk.text or "" for chunk in chunks) == "Let me look.\n\nThere are 3 left."
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert chunks[-1].usage_metadata.total_token_count == 30
    assert len(chunks) > 4


def test_media_of_the_reply_are_in_a_stream_as_in_a_whole_one(serve: Any) -> None:
    parts: list[Any] = [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/cup.png"}},
    ]
    models = serve(Agent(ScriptedModel([reply(*parts)] * 2))).client().models
    whole = models.generate_content(model="agentkit", contents="Draw.")
    chunks = list(models.generate_content_stream(model="agentkit", contents="Draw."))
    for replies in ([whole], chunks):
        made = [part for each in replies for part in each.parts or () if part.inline_data or part.file_data]
        assert made[0].inline_data.data == b"hi"
        assert [part.file_data.file_uri for part in made[1:]] == ["gs://b/cup.png"]


def test_a_client_of_its_own_keeps_a_chat_streamed_or_not(serve: Any) -> None:
    made = agent("Hello Ann.", "You are Ann.", "Yes, Ann.")
    chat = serve(made).client().chats.create(model="agentkit")
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream("I am Ann.")) == "Hello Ann."
    assert chat.send_message("Who am I?").text == "You are Ann."
    assert chat.send_message("Really?").text == "Yes, Ann."
    sent = made.model.requests[-1]["contents"]  # type: ignore[attr-defined]
    assert [content["role"] for content in sent][-1] == "user"
    assert "I am Ann." in str(sent)


def test_async_clients_are_served_side_by_side(serve: Any) -> None:
    made = agent(*["Hi there."] * 9)
    client = serve(made).client()

    async def ask() -> list[Any]:
        async def streamed() -> str:
            chunks = await client.aio.models.generate_content_stream(model="agentkit", contents="x")
            return "".join([chunk.text or "" async for chunk in chunks])

        chat = client.aio.chats.create(model="agentkit")
        plain = [client.aio.models.generate_content(model="agentkit", contents="x") for _ in range(4)]
        answers = await asyncio.gather(*plain)
        texts = [answer.text for answer in answers] + await asyncio.gather(*[streamed() for _ in range(4)])
        texts.append((await chat.send_message("x")).text)
        await client.aio.aclose()
        return texts

    assert asyncio.run(ask()) == ["Hi there."] * 9


def test_models_are_listed_and_tokens_are_counted(serve: Any) -> None:
    client = serve(agent(), name="shop").client()
    assert [model.name for model in client.models.list()] == ["models/shop"]
    assert client.models.get(model="shop").input_token_limit > 0
    assert client.models.count_tokens(model="shop", contents="hello").total_tokens > 0
    with pytest.raises(errors.ClientError, match="models/shop") as raised:
        client.models.generate_content(model="other", contents="x")
    assert raised.value.code == 404


def test_the_clients_instructions_stand_beside_the_agents(serve: Any) -> None:
    made = agent("Yes.", instructions="You sell tea.")
    config = {"system_instruction": "Be kind.", "temperature": 0.1, "max_output_tokens": 50}
    serve(made).client().models.generate_content(model="agentkit", contents="x", config=config)
    request = made.model.requests[0]  # type: ignore[attr-defined]
    assert request["systemInstruction"]["parts"][0]["text"] == "You sell tea.\n\nBe kind."


def add(a: int) -> int:
    """Add."""
    return a


@pytest.mark.parametrize(
    "config",
    [
        {"tools": [add]},
        {"tools": [{"google_search": {}}], "temperature": 0},
        {"tool_config": {"function_calling_config": {"mode": "ANY"}}},
        {"cached_content": "cachedContents/x"},
        {"candidate_count": 2},
        {"response_mime_type": "application/json"},
        {"response_mime_type": "application/json", "response_schema": {"type": "STRING"}},
        {"response_mime_type": "application/json", "response_json_schema": {"type": "string"}},
    ],
    ids=lambda config: "+".join(config),
)
def test_what_an_agent_cannot_give_is_refused_plainly_and_nothing_runs(serve: Any, config: Any) -> None:
    made = agent("never")
    client = serve(made).client()
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="agentkit", contents="x", config=config)
    assert raised.value.code == 400
    assert "This model" in str(raised.value)
    assert not made.model.requests  # type: ignore[attr-defined]


ADDRESS = {"fileData": {"fileUri": "gs://theirs/a.png", "mimeType": "image/png"}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"system_instruction": {"parts": [5]}}, "systemInstruction"),
        ({"systemInstruction": "Be kind."}, "systemInstruction"),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction"),
        ({"generationConfig": 5}, "generationConfig"),
        ({"contents": [{"role": "user", "parts": [ADDRESS, {"text": "Look."}]}]}, "inlineData"),
        ({"contents": "x"}, "contents"),
    ],
)
@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "countTokens"])
def test_a_request_that_cannot_be_read_or_answered_is_refused(
    serve: Any, method: str, body: Any, said: str
) -> None:
    made = agent("never")
    running = serve(made)
    asked = {"contents": [{"role": "user", "parts": [{"text": "x"}]}], **body}
    url = f"{running.url}/v1beta/models/agentkit:{method}"
    answer = httpx.post(url, json=asked, headers={"x-goog-api-key": KEY}, timeout=PATIENCE)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert said in answer.json()["error"]["message"]
    assert not made.model.requests  # type: ignore[attr-defined]


def test_a_run_that_stops_says_so_in_words_and_in_its_finish_reason(serve: Any) -> None:
    client = serve(agent(used(call("order", sku="x")))).client()
    answer = client.models.generate_content(model="agentkit", contents="Order!")
    assert "approval" in answer.text
    assert answer.candidates[0].finish_reason == "OTHER"
    cut = agent(reply("Half of", finish_reason="MAX_TOKENS"))
    answer = serve(cut).client().models.generate_content(model="agentkit", contents="x")
    assert (answer.text, answer.candidates[0].finish_reason) == ("Half of", "MAX_TOKENS")
    limited = agent(call("stock", sku="x"), limits=Limits(turns=1))
    chunks = list(serve(limited).client().models.generate_content_stream(model="agentkit", contents="x"))
    assert "turns" in chunks[-1].text


def test_faults_have_googles_form(serve: Any) -> None:
    broken = serve(agent(fault(403, "no permission for the owner's key")))
    with pytest.raises(errors.ClientError, match="API key not valid") as raised:
        broken.client("wrong").models.generate_content(model="agentkit", contents="x")
    assert raised.value.code == 401
    assert raised.value.status == "UNAUTHENTICATED"
    with pytest.raises(errors.ServerError) as outage:
        broken.client().models.generate_content(model="agentkit", contents="x")
    assert outage.value.code == 503


def test_more_runs_than_allowed_are_refused_and_it_goes_on_afterwards(serve: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @tool
    def wait() -> str:
        """Wait."""
        begun.set()
        go_on.wait(PATIENCE)
        return "done"

    made = Agent(ScriptedModel([call("wait"), "First.", "Second."]), tools=[wait])
    client = serve(made, concurrency=1).client()
    answers: list[Any] = []
    first = threading.Thread(
        target=lambda: answers.append(client.models.generate_content(model="agentkit", contents="x").text)
    )
    first.start()
    assert begun.wait(PATIENCE)
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="agentkit", contents="y")
    assert raised.value.code == 429
    go_on.set()
    first.join(PATIENCE)
    assert answers == ["First."]
    assert client.models.generate_content(model="agentkit", contents="z").text == "Second."


def test_a_server_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="key"):
        create_gemini_app(agent(), key=" ")


ADK = """
import asyncio, os, sys
url, key = sys.argv[1:]
os.environ["GOOGLE_API_KEY"] = key
from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.models import Gemini
from google.adk.runners import InMemoryRunner
from google.genai import types

async def ask(text, mode, **more):
    agent = LlmAgent(name="front", model=Gemini(model="agentkit", base_url=url), **more)
    runner = InMemoryRunner(agent=agent, app_name="x")
    session = await runner.session_service.create_session(app_name="x", user_id="u")
    said = types.Content(role="user", parts=[types.Part(text=text)])
    config = RunConfig(streaming_mode=mode)
    async for event in runner.run_async(user_id="u", session_id=session.id, new_message=said, run_config=config):
        if not event.partial:
            parts = event.content.parts if event.content else []
            text = "".join(part.text or "" for part in parts if not part.thought)
            print("refused" if "runs its own tools" in str(event.error_message) else text)

def f(x: int) -> int:
    "Do."
    return x

asyncio.run(ask("hello", StreamingMode.NONE, instruction="be kind"))
asyncio.run(ask("hello stream", StreamingMode.SSE))
try:
    asyncio.run(ask("hello", StreamingMode.NONE, tools=[f]))
except Exception as error:
    assert "runs its own tools" in str(error), error
"""
PYDANTIC_AI = """
import asyncio, sys
url, key = sys.argv[1:]
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

agent = Agent(GoogleModel("agentkit", provider=GoogleProvider(api_key=key, base_url=url)), instructions="be kind")
first = agent.run_sync("hello")
print(first.output)
print(agent.run_sync("again", message_history=first.all_messages()).output)

async def stream():
    async with agent.run_stream("stream") as result:
        print("".join([text async for text in result.stream_text(delta=True)]))

asyncio.run(stream())
print(agent.run_sync("order").output)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("package", "code", "printed"),
    [
        (
            "google-adk",
            ADK,
            ["You said: hello", "You said: hello stream", "refused"],
        ),
        (
            "pydantic-ai-slim[google]",
            PYDANTIC_AI,
            [
                *("You said: hello", "You said: again", "You said: stream"),
                *("I need a signature for this one.", ""),
                "The agent stopped: approval. Calls wait for a person's decision: order.",
            ],
        ),
    ],
    ids=["google-adk", "pydantic-ai"],
)
def test_other_frameworks_use_it_as_their_model(
    serve: Any, tmp_path: Path, package: str, code: str, printed: list[str]
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    install = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", package], capture_output=True, text=True, check=False
    )
    need(install.returncode == 0, f"{package} can't be installed: {install.stderr[-300:]}")
    running = serve(scene_agent(0.001))
    done = subprocess.run(
        [python, "-c", code, running.url, KEY], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == printed
