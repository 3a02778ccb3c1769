"""Sessions that belong to users, limits of a server, and an application mounted in another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from websockets.sync.client import connect

from agentkit import Agent, Context, MemoryStore, SQLiteStore, tool
from agentkit.serve import create_app
from agentkit.serve.serving import Server, address, listen
from agentkit.testing import ScriptedModel, call
from tests.helpers.stored_chats import made
from tests.helpers.until import PATIENCE, until
from tests.serve.scenes import PICTURE


class Running:
    def __init__(self, app: Any) -> None:
        listener = listen("127.0.0.1", 0)
        self.url = address(listener)
        self.clients: list[httpx.Client] = []
        self.server = Server(app, listener)
        self.thread = threading.Thread(target=self.server.serve_here, daemon=True)
        self.thread.start()

    def client(self, **headers: str) -> httpx.Client:
        known = {"content-type": "application/json", **headers}
        self.clients.append(httpx.Client(base_url=self.url, headers=known, timeout=PATIENCE))
        return self.clients[-1]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join(PATIENCE)


@pytest.fixture
def serve() -> Iterator[Any]:
    running: list[Running] = []

    def begin(app: Any) -> Running:
        running.append(Running(app))
        return running[-1]

    yield begin
    for each in running:
        each.stop()


def by_header(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def rows_until(socket: Any, kind: str) -> list[Any]:
    import json

    rows: list[Any] = []
    while not any(row["type"] == kind for row in rows):
        rows += json.loads(socket.recv(timeout=PATIENCE))
    return rows


def ask(client: Any, session: str, text: str) -> None:
    answer = client.post(f"/api/message?id={session}", json={"text": text})
    assert answer.status_code == 202, answer.text


def settled(client: Any, session: str) -> dict[str, Any]:
    looks: list[dict[str, Any]] = []

    def over() -> bool:
        looks.append(client.get(f"/api/session?id={session}").json())
        return not looks[-1]["live"]

    until(over)
    return looks[-1]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_nobody_sees_changes_or_hears_of_anothers_sessions(serve: Any, kind: str, tmp_path: Any) -> None:
    store: Any = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "chats.db")
    agent = Agent(ScriptedModel(["Secret: 42.", "Hi Bob."]))
    running = serve(create_app(agent, store, identify=by_header))
    ann, bob, nobody = (
        running.client(**{"x-user": "ann"}),
        running.client(**{"x-user": "ann/"}),
        running.client(),
    )
    mine = ann.post("/api/sessions", json={}).json()["id"]
    ask(ann, mine, "My secret?")
    settled(ann, mine)
    assert [s["id"] for s in ann.get("/api/sessions").json()["sessions"]] == [mine]
    assert [s["id"] for s in ann.get("/api/sessions?q=secret").json()["sessions"]] == [mine]
    for other in (bob, nobody):
        status = 401 if other is nobody else 404
        for path in (f"/api/session?id={mine}", f"/api/export?id={mine}", f"/api/turn?id={mine}&message=1"):
            assert other.get(path).status_code == status
        for what in ("message", "decide", "retry", "undo"):
            body = {"text": "x", "decisions": {"a": {"kind": "approve"}}}
            assert other.post(f"/api/{what}?id={mine}", json=body).status_code == status
        assert other.request("PATCH", f"/api/session?id={mine}", json={"title": "x"}).status_code == status
        assert other.delete(f"/api/session?id={mine}").status_code == status
    assert bob.get("/api/sessions").json()["sessions"] == []
    assert bob.get("/api/sessions?q=secret").json()["sessions"] == []
    assert bob.get(f"/api/session?id=ann/{mine}").status_code == 404
    assert bob.get(f"/api/session?id=../ann/{mine}").status_code == 404
    assert nobody.get("/").status_code == 401
    assert settled(ann, mine)["title"] == "My secret?"
    running.stop()
    store.close()


def test_a_search_finds_what_a_user_said_however_much_was_said_since(serve: Any) -> None:
    store = MemoryStore()
    for id, number in (("ann/old", 1), ("ann/talkative", 250), ("a_n/new", 250), ("bob/new", 1_100)):
        made(store, *["a tisane"] * number, id=id).release()
    ann = serve(create_app(Agent(ScriptedModel([])), store, identify=by_header)).client(**{"x-user": "ann"})
    found = ann.get("/api/sessions?q=tisane").json()["sessions"]
    assert [(row["id"], row["snippet"]) for row in found] == [("talkative", "a tisane"), ("old", "a tisane")]


def test_a_socket_hears_only_of_its_users_sessions(serve: Any) -> None:
    running = serve(create_app(Agent(ScriptedModel(["One.", "Two."])), identify=by_header))
    ann, bob = running.client(**{"x-user": "ann"}), running.client(**{"x-user": "bob"})
    hers, his = (each.post("/api/sessions", json={}).json()["id"] for each in (ann, bob))
    url = running.url.replace("http", "ws") + "/api/events"
    with connect(url, additional_headers={"x-user": "bob"}) as socket:
        import json

        now = ann.get(f"/api/session?id={hers}").json()["cursor"]
        socket.send(json.dumps({"watch": {hers: now, his: now, "*": now}}))
        ask(ann, hers, "mine")
        settled(ann, hers)
        ask(bob, his, "yours")
        rows = rows_until(socket, "end")
    assert {row["session"] for row in rows} <= {his, "*"}
    assert "mine" not in str(rows)
    with pytest.raises(Exception, match="403"):
        connect(url)


def test_a_reader_goes_on_from_its_cursor_or_is_told_that_it_cannot(serve: Any) -> None:
    import json

    running = serve(create_app(Agent(ScriptedModel(["One.", "Two."])), identify=by_header))
    ann = running.client(**{"x-user": "ann"})
    mine = ann.post("/api/sessions", json={}).json()["id"]
    before = ann.get(f"/api/session?id={mine}").json()["cursor"]
    ask(ann, mine, "first")
    settled(ann, mine)
    url = running.url.replace("http", "ws") + "/api/events"
    with connect(url, additional_headers={"x-user": "ann"}) as socket:
        socket.send(json.dumps({"watch": {mine: before}}))
        rows = rows_until(socket, "end")
        assert [row["type"] for row in rows][:2] == ["user", "begin"]
        assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)
    ask(ann, mine, "second")
    settled(ann, mine)
    with connect(url, additional_headers={"x-user": "ann"}) as socket:
        socket.send(json.dumps({"watch": {mine: before}}))
        assert rows_until(socket, "reload")[0]["type"] == "reload"
        socket.send(json.dumps({"watch": "rubbish"}))
        with pytest.raises(Exception, match="1011"):
            socket.recv(timeout=PATIENCE)


@pytest.mark.parametrize("slow", ["rename", "load"])
def test_who_looks_while_a_run_begins_or_ends_misses_nothing_of_it(serve: Any, slow: str) -> None:
    import json

    looks: list[dict[str, Any]] = []
    goes_on = threading.Event()

    class Slow(MemoryStore):
        def rename(self, *args: Any, **options: Any) -> Any:
            if slow == "rename" and not looks:  # the run is about to begin
                looks.append(client.get(f"/api/session?id={mine}").json())
                goes_on.set()
            return super().rename(*args, **options)

        def load(self, *args: Any, **options: Any) -> Any:
            found = super().load(*args, **options)
            if slow == "load" and not goes_on.is_set() and found.messages:  # and it ends before this is used
                goes_on.set()
                settled(client, mine)
            return found

    def wait() -> str:
        """Wait."""
        goes_on.wait(PATIENCE)
        return "done"

    agent = Agent(ScriptedModel([call("wait"), "Waited."]), tools=[wait])
    running = serve(create_app(agent, Slow(), identify=by_header))
    client = running.client(**{"x-user": "ann"})
    mine = client.post("/api/sessions", json={}).json()["id"]
    ask(client, mine, "hello")
    while not looks:
        snapshot = client.get(f"/api/session?id={mine}").json()
        looks += [snapshot] if goes_on.is_set() else []
    url = running.url.replace("http", "ws") + "/api/events"
    rows = looks[0]["rows"]
    with connect(url, additional_headers={"x-user": "ann"}) as socket:
        socket.send(json.dumps({"watch": {mine: looks[0]["cursor"]}}))
        rows += rows_until(socket, "end")
    assert [row["type"] for row in rows].count("user") == 1
    assert "Waited." in str(rows)


def test_an_app_is_mounted_in_another_with_its_authentication_and_its_lifespan(serve: Any) -> None:
    begun = threading.Event()

    @tool
    async def wait() -> str:
        """Wait."""
        begun.set()
        await asyncio.sleep(60)
        return "done"

    store = MemoryStore()
    inner = create_app(Agent(ScriptedModel([call("wait")]), tools=[wait]), store, identify=by_header)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with inner.router.lifespan_context(inner):
            yield

    running = serve(Starlette(routes=[Mount("/shop/agent", inner)], lifespan=lifespan))
    ann = running.client(**{"x-user": "ann"})
    assert ann.get("/shop/agent/").status_code == 200
    assert ann.get("/shop/agent/static/app.js").status_code == 200
    mine = ann.post("/shop/agent/api/sessions", json={}).json()["id"]
    assert ann.post(f"/shop/agent/api/message?id={mine}", json={"text": "x"}).status_code == 202
    assert begun.wait(PATIENCE)
    running.stop()
    contents = [message.content for message in store.load(f"ann/{mine}").messages]
    assert "error" in contents[-1]["parts"][0]["functionResponse"]["response"]


def test_deps_are_made_of_the_user(serve: Any) -> None:
    @tool
    def who(ctx: Context[Any]) -> str:
        """Say who asks."""
        return str(ctx.deps)

    agent = Agent(ScriptedModel([call("who"), "Done."]), tools=[who])
    running = serve(create_app(agent, identify=by_header, deps=lambda user: f"account of {user}"))
    ann = running.client(**{"x-user": "ann"})
    mine = ann.post("/api/sessions", json={}).json()["id"]
    ask(ann, mine, "x")
    assert "account of ann" in str(settled(ann, mine)) or "account of ann" in str(agent.model.requests)  # type: ignore[attr-defined]


def test_more_runs_than_allowed_and_a_second_message_of_a_session_are_refused(serve: Any) -> None:
    go_on = threading.Event()

    @tool
    def wait() -> str:
        """Wait."""
        go_on.wait(PATIENCE)
        return "done"

    agent = Agent(ScriptedModel([call("wait"), "First.", "Second."]), tools=[wait])
    running = serve(create_app(agent, identify=by_header, concurrency=1))
    ann = running.client(**{"x-user": "ann"})
    one, two = (ann.post("/api/sessions", json={}).json()["id"] for _ in range(2))
    ask(ann, one, "x")
    assert ann.post(f"/api/message?id={one}", json={"text": "y"}).status_code == 409
    assert ann.post(f"/api/message?id={two}", json={"text": "y"}).status_code == 429
    go_on.set()
    settled(ann, one)
    ask(ann, two, "y")


def test_a_run_ends_when_its_time_is_up(serve: Any) -> None:
    @tool
    async def wait() -> str:
        """Wait."""
        await asyncio.sleep(60)
        return "done"

    agent = Agent(ScriptedModel([call("wait")]), tools=[wait])
    running = serve(create_app(agent, identify=by_header, seconds=0.2))
    ann = running.client(**{"x-user": "ann"})
    mine = ann.post("/api/sessions", json={}).json()["id"]
    ask(ann, mine, "x")
    settled(ann, mine)
    url = running.url.replace("http", "ws") + "/api/events"
    with connect(url, additional_headers={"x-user": "ann"}) as socket:
        socket.send(f'{{"watch": {{"{mine}": {ann.get(f"/api/session?id={mine}").json()["cursor"]}}}}}')
        (end,) = [row for row in rows_until(socket, "end") if row["type"] == "end"]
    assert end["stop"] == "seconds"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Say something"),
        ({"files": [{"mime": "application/x-sh", "data": ""}]}, "picture"),
        ({"files": [{"mime": "image/png", "data": "no base64!"}]}, "base64"),
        ({"files": [{"mime": "image/png", "data": PICTURE}] * 11}, "at most 10"),
        ({"files": "x"}, "at most"),
    ],
)
def test_a_message_that_cannot_be_sent_is_refused_in_words(serve: Any, body: Any, words: str) -> None:
    running = serve(create_app(Agent(ScriptedModel([])), identify=by_header))
    ann = running.client(**{"x-user": "ann"})
    mine = ann.post("/api/sessions", json={}).json()["id"]
    answer = ann.post(f"/api/message?id={mine}", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "decisions", [None, {}, {"a": {"kind": "yes"}}, {"a": {"kind": "edit", "args": 1}}, {"a": 1}]
)
def test_a_decision_that_is_none_is_refused(serve: Any, decisions: Any) -> None:
    running = serve(create_app(Agent(ScriptedModel([])), identify=by_header))
    ann = running.client(**{"x-user": "ann"})
    mine = ann.post("/api/sessions", json={}).json()["id"]
    assert ann.post(f"/api/decide?id={mine}", json={"decisions": decisions}).status_code == 400
