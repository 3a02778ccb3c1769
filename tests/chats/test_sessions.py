"""What a chat promises of its session: who waits, who is refused, what is taken once, what is undone with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ChatManager,
    ConfigurationError,
    Context,
    Limits,
    MemoryStore,
    ModelError,
    SessionConflict,
    SessionNotFound,
    SQLiteStore,
    StoreError,
    Summarize,
    tool,
)
from agentkit.chats.chat import Chat
from agentkit.drivers import threads
from agentkit.stores.base import DamagedMessage, StoredCall, StoredSession
from agentkit.stores.store import SessionStore
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import Request, call_part, model_content, responses_of, user_content
from tests.helpers.stored_chats import CALL, LEDGER, added
from tests.helpers.until import PATIENCE
from tests.stores.conftest import STORES
from tests.stores.test_sqlite import sql

ROOT = Path(__file__).parents[2]


def echo(request: Request) -> str:
    return f"to {request['contents'][-1]['parts'][0].get('text')}"


@pytest.fixture(params=["memory", "sqlite", "postgres", None])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore | None]:
    """Each kind of store, and none."""
    if request.param is None:
        yield None
        return
    with STORES[request.param](tmp_path) as store:
        yield store


def said(chat: Chat) -> list[Any]:
    return [content["parts"][0].get("text") for content in chat.get_history()]


# -- waiting


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_handles_of_one_chat_wait_for_each_other_in_threads_and_loops(kind: str, tmp_path: Path) -> None:
    with STORES[kind](tmp_path) as store:
        agent = Agent(ScriptedModel([echo] * 60))

        def sync(n: int) -> None:
            agent.chat("ann", store).send_message(f"sync {n}")

        def loop(n: int) -> None:
            async def main() -> None:
                sends = [agent.aio.chat("ann", store).send_message(f"async {n}.{m}") for m in range(4)]
                await asyncio.gather(*sends)

            asyncio.run(main())

        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(job, n) for n in range(5) for job in (sync, loop)]
            for job in jobs:
                job.result(PATIENCE)
        history = said(agent.chat("ann", store))
        assert len(history) == 2 * 25 and history[1::2] == [f"to {text}" for text in history[::2]]


def test_a_message_may_say_how_long_it_waits(store: SessionStore | None) -> None:
    agent = Agent(ScriptedModel([echo] * 2))
    chat = agent.chat("ann", store, wait=PATIENCE)

    def refused() -> None:
        with pytest.raises(SessionConflict, match="wait="):
            chat.send_message("no", wait=0)

    with ThreadPoolExecutor(1) as pool, chat.send_message_stream("one") as events:
        next(iter(events))
        pool.submit(refused).result(PATIENCE)
        waiting = pool.submit(lambda: chat.send_message("two"))
        events.drain()
        assert waiting.result(PATIENCE).text == "to two"
    assert said(chat) == ["one", "to one", "two", "to two"]


def test_who_waits_asynchronously_may_be_cancelled_and_the_next_has_the_turn() -> None:
    async def main() -> list[str]:
        gate = asyncio.Event()

        async def hold() -> str:
            """Hold."""
            await gate.wait()
            return "held"

        agent = Agent(ScriptedModel([call("hold"), "first", echo]), tools=[hold])
        chat = agent.aio.chat()
        first = asyncio.create_task(chat.send_message("one"))
        await asyncio.sleep(0.05)
        cancelled = asyncio.create_task(chat.send_message("two"))
        third = asyncio.create_task(chat.send_message("three"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        gate.set()
        await first
        assert (await third).text == "to three"
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return [content["parts"][0].get("text", "") for content in await chat.get_history()]

    assert asyncio.run(main())[-2:] == ["three", "to three"]


HOLD = """
import sys
import threading
from agentkit.stores.{module} import {name}
store = {name}({where!r})
writer = store.write("ann", create={{}})
print("ready", flush=True)
sys.stdin.readline()
writer.release()
sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_another_process_is_waited_for_and_named(kind: str, way: str, tmp_path: Path) -> None:
    from tests.helpers.postgres import schema_url

    names = {"sqlite": ("sqlite", "SQLiteStore"), "postgres": ("postgres", "PostgresStore")}
    where = str(tmp_path / "chats.db") if kind == "sqlite" else schema_url(tmp_path)
    code = HOLD.format(module=names[kind][0], name=names[kind][1], where=where)
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == "ready\n"
        with STORES[kind](tmp_path) as store:
            agent = Agent(ScriptedModel([echo] * 2))

            def send(wait: float) -> str:
                if way == "sync":
                    return agent.chat("ann", store).send_message("x", wait=wait).text
                return asyncio.run(agent.aio.chat("ann", store).send_message("x", wait=wait)).text

            with pytest.raises(SessionConflict, match=r"another process.*wait="):
                send(0)
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(send, PATIENCE)
                time.sleep(0.4)
                assert not waiting.done()
                child.stdin.write("release\n")
                child.stdin.flush()
                assert waiting.result(PATIENCE) == "to x"
        child.kill()


# -- a chat from within its own run


def changes(chat: Chat) -> dict[str, Callable[[], object]]:
    return {
        "send": lambda: chat.send_message("again"),
        "resume": lambda: chat.resume(),
        "clear": lambda: chat.clear(),
        "undo": lambda: chat.undo(),
        "state": lambda: setattr(chat, "state", {}),
    }


@pytest.mark.parametrize("name", ["send", "resume", "clear", "undo", "state"])
@pytest.mark.parametrize("other", [False, True])
def test_a_tool_that_changes_its_own_chat_is_refused_at_once(
    store: SessionStore | None, name: str, other: bool
) -> None:
    errors: list[BaseException] = []

    def meddle(ctx: Context[Any]) -> str:
        """Meddle."""
        chat = agent.chat("ann", store) if other and store is not None else mine
        try:
            changes(chat)[name]()
        except SessionConflict as error:
            errors.append(error)
        assert len(chat.get_history()) >= 1  # it may be read
        return "done"

    agent = Agent(ScriptedModel([call("meddle"), "ok"]), tools=[meddle])
    mine = agent.chat("ann", store)
    assert mine.send_message("x").text == "ok"
    assert "from within its own run" in str(errors[0])
    check_history(mine.get_history())


@pytest.mark.parametrize("name", ["clear", "undo", "state"])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_change_from_a_thread_that_knows_nothing_of_the_run_is_refused_and_made_never(
    store: SessionStore | None, name: str, pooled: bool
) -> None:
    errors: list[BaseException] = []

    def act() -> None:
        try:
            changes(mine)[name]()
        except SessionConflict as error:
            errors.append(error)

    def meddle() -> str:
        """Meddle."""
        if pooled:
            pool.submit(act).result(PATIENCE)
        else:
            thread = threading.Thread(target=act)
            thread.start()
            thread.join(PATIENCE)
            assert not thread.is_alive()
        return "done"

    agent = Agent(ScriptedModel([call("meddle"), "ok"]), tools=[meddle])
    mine = agent.chat("ann", store)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # its thread is older than the run
        assert mine.send_message("x").text == "ok"
    assert "is answering a message" in str(errors[0])
    assert len(mine.get_history()) == 4
    changes(mine)[name]()


def test_an_async_tool_and_what_it_starts_are_refused_too(store: SessionStore | None) -> None:
    errors: list[str] = []

    async def meddle() -> str:
        """Meddle."""
        for act in (mine.clear, lambda: asyncio.create_task(mine.send_message("x"))):
            try:
                await act()
            except SessionConflict as error:
                errors.append(str(error))
        try:
            await asyncio.to_thread(agent.chat("ann", store).clear if store else (lambda: 1 / 0))
        except (SessionConflict, ZeroDivisionError) as error:
            errors.append(str(error))
        return "done"

    agent = Agent(ScriptedModel([call("meddle"), "ok"]), tools=[meddle])
    mine = agent.aio.chat("ann", store)

    async def main() -> None:
        assert (await mine.send_message("x")).text == "ok"

    asyncio.run(main())
    assert len(errors) == 3 and all("its own run" in error or "division" in error for error in errors)


def test_a_task_that_the_caller_starts_while_an_answer_is_streamed_waits() -> None:
    async def main() -> str:
        chat = Agent(ScriptedModel(["one two", echo])).aio.chat()
        async with chat.send_message_stream("first") as events:
            await anext(events)
            second = asyncio.create_task(chat.send_message("second"))
            await asyncio.sleep(0.02)
            assert not second.done()
            await events.drain()
        return (await second).text

    assert asyncio.run(main()) == "to second"


# -- the sender's id


def test_a_message_that_was_answered_is_not_sent_again(store: SessionStore | None) -> None:
    model = ScriptedModel([echo] * 3)
    chat = Agent(model).chat("ann", store)
    assert chat.send_message("one", id="m1").text == "to one"
    assert chat.send_message("one", id="m1").text == "to one"  # the last turn
    assert chat.send_message("two", id="m2").text == "to two"
    run = chat.send_message("one", id="m1")  # the chat has gone on
    assert (run.text, run.new_contents) == ("to one", [user_content("one"), model_content("to one")])
    assert said(chat) == ["one", "to one", "two", "to two"]
    assert len(model.requests) == 2
    assert [message.sender_id for message in chat.get_messages()] == ["m1", None, "m2", None]
    assert chat.send_message("three").text == "to three"


def test_a_message_that_broke_off_goes_on_from_where_it_is(store: SessionStore | None) -> None:
    ran: list[int] = []

    def look(n: int) -> str:
        """Look."""
        ran.append(n)
        return "seen"

    model = ScriptedModel([call("look", n=1), fault(400), "done"])
    chat = Agent(model, tools=[look]).chat("ann", store)
    with pytest.raises(ModelError):
        chat.send_message("go", id="m1")
    assert chat.send_message("go", id="m1").text == "done"
    assert ran == [1] and len(chat.get_history()) == 4


def test_a_message_that_was_taken_back_may_be_sent_again(store: SessionStore | None) -> None:
    chat = Agent(ScriptedModel([fault(400), echo, echo])).chat("ann", store)
    with pytest.raises(ModelError):
        chat.send_message("one", id="m1")
    assert chat.send_message("one", id="m1").text == "to one"
    chat.undo()
    assert chat.send_message("one", id="m1").text == "to one"
    assert len(chat.get_history()) == 2


def test_an_async_message_is_taken_once_too(store: SessionStore | None) -> None:
    async def main() -> list[str]:
        agent = Agent(ScriptedModel([echo] * 3))
        chat = agent.aio.chat("ann", store)
        sends = [chat.send_message("one", id="m1") for _ in range(4)]
        texts = [run.text for run in await asyncio.gather(*sends)]
        async with chat.send_message_stream("two", id="m2") as events:
            return [*texts, "".join([text async for text in events.texts()])]

    assert asyncio.run(main()) == ["to one"] * 4 + ["to two"]


@pytest.mark.parametrize("id", ["", "x" * 201])
def test_what_is_no_id_of_a_sender_is_refused(tmp_path: Path, id: str) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel([echo])).chat("ann", store)
        with pytest.raises(StoreError, match="sender's id has 1 to 200"):
            chat.send_message("x", id=id)
        assert chat.get_history() == []


# -- its state


def test_a_chats_state_is_undone_forked_and_kept_with_its_messages(store: SessionStore | None) -> None:
    agent = Agent(ScriptedModel([echo] * 4))
    chat = agent.chat("ann", store)
    assert chat.state == {}
    chat.state = {"cart": ["tea"]}
    chat.send_message("one")
    assert chat.state == {"cart": ["tea"]}
    chat.state = {"cart": ["tea", "milk"]}
    chat.send_message("two")
    chat.state = {"cart": []}
    assert (chat.fork(at=2).state, chat.fork().state) == ({"cart": ["tea", "milk"]}, {"cart": []})
    chat.undo()
    assert chat.state == {"cart": ["tea", "milk"]}
    chat.undo()
    assert chat.state == {"cart": ["tea"]}
    with pytest.raises(TypeError):
        chat.state["cart"] = 1  # type: ignore[index, unused-ignore]
    chat.state["cart"].append("mine")
    assert chat.state == {"cart": ["tea"]}
    if store is not None:
        assert agent.chat("ann", store).state == {"cart": ["tea"]}


def test_a_state_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel([])).chat("ann", store)
        with pytest.raises(StoreError, match="A state can't be stored"):
            chat.state = {"x": {1, 2}}


def test_an_async_chat_has_a_state(store: SessionStore | None) -> None:
    async def main() -> Any:
        chat = Agent(ScriptedModel([echo])).aio.chat("ann", store)
        await chat.set_state({"x": 1})
        await chat.send_message("one")
        return dict(await chat.get_state()), (await chat.get_info()).messages

    assert asyncio.run(main()) == ({"x": 1}, 2)


# -- reading makes nothing


def test_reading_a_chat_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel([echo])).chat("ann", store)
        assert (chat.info.id, chat.info.messages, chat.pending, chat.undo()) == ("ann", 0, [], [])
        chat.clear()
        assert (chat.get_history(), chat.get_messages(), dict(chat.state)) == ([], [], {})
        chat.save(tmp_path / "chat.json")
        with pytest.raises(AgentError, match="nothing to resume"):
            chat.resume()
        assert list(store.list()) == []
        chat.send_message("x")
        assert [info.id for info in store.list()] == ["ann"]


def test_a_chat_whose_session_was_deleted_says_so_and_makes_it_not_again(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel([echo] * 2)).chat("ann", store)
        chat.send_message("x")
        store.delete("ann")
        attempts: list[Callable[[], object]] = [
            *(
                lambda: chat.info,
                lambda: chat.pending,
                lambda: chat.state,
                chat.get_history,
                chat.get_messages,
            ),
            *(chat.undo, chat.clear, chat.resume, chat.fork, lambda: chat.send_message("y")),
        ]
        for attempt in attempts:
            with pytest.raises(SessionNotFound, match="ann"):
                attempt()
        assert list(store.list()) == []


# -- a chat without a store


def test_a_chat_without_a_store_needs_no_thread_and_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    real = threads.begin

    def begin(job: Any, name: str) -> Any:
        begun.append(name)
        return real(job, name)

    monkeypatch.setattr(threads, "begin", begin)

    async def look() -> str:
        """Look."""
        return "seen"

    async def main() -> None:
        agent = Agent(ScriptedModel([call("look"), "one", "two"]), tools=[look])
        chat = agent.aio.chat()
        await chat.send_message("x", id="m")
        async with chat.send_message_stream("y") as events:
            await events.drain()
        fork = await chat.fork(at=4)
        await chat.undo()
        await chat.set_state({"x": 1})
        assert len(await chat.get_history()) == len(await fork.get_history()) == 4
        await chat.clear()
        assert await chat.get_messages() == []

    asyncio.run(main())
    assert begun == []


def test_a_chat_without_a_store_is_resumed_saved_and_loaded(tmp_path: Path) -> None:
    def look(n: int) -> str:
        """Look."""
        return "seen " * 30_000

    model = ScriptedModel([call("look", n=1), "done", "more"])
    chat = Agent(model, tools=[look]).chat()
    assert chat.send_message("go", limits=Limits(turns=1)).stop == "turns"
    assert chat.resume().text == "done"
    usage = chat.usage
    chat.save(tmp_path / "chat.json")
    other = Agent(ScriptedModel(["again"])).chat()
    other.load(tmp_path / "chat.json")
    assert other.get_history() == chat.get_history()
    assert other.send_message("x").text == "again"
    messages = chat.get_messages()
    assert [bool(message.usage) for message in messages] == [False, True, False, True]
    assert all(message.created for message in messages) and messages[3].finish_reason == "STOP"
    messages[0].content["parts"].clear()
    assert chat.get_messages()[0].content == user_content("go")
    assert chat.usage == usage and len(chat.fork(at=0).get_history()) == 0


# -- what is damaged


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[tuple[Chat, SQLiteStore, Path]]:
    """A chat of three turns, whose fourth message can't be read."""
    db = tmp_path / "chats.db"
    with SQLiteStore(db) as store:
        chat = Agent(ScriptedModel([echo] * 9)).chat("ann", store)
        for text in ("one", "two", "three"):
            chat.send_message(text)
        sql(db, "UPDATE messages SET content = '{' WHERE seq = 3")
        yield Agent(ScriptedModel([echo] * 9)).chat("ann", store), store, db


Damaged = tuple[Chat, SQLiteStore, Path]


def test_what_is_damaged_is_named_and_what_is_sound_can_be_read(damaged: Damaged) -> None:
    chat, store, _ = damaged
    for attempt in (chat.get_history, chat.get_messages, lambda: chat.send_message("x"), chat.fork):
        with pytest.raises(DamagedMessage, match=r"chats\.db is damaged: message 3 of session 'ann'"):
            attempt()
    assert len(chat.get_messages(end=3)) == 3 and len(chat.get_messages(4)) == 2
    assert said(chat.fork(at=2, id="fork")) == ["one", "to one"]
    with pytest.raises(DamagedMessage):
        chat.fork(at=3)
    chats = ChatManager(Agent(ScriptedModel([])), store)
    chats.import_session(chats.export_session("ann", end=2), id="copy")
    assert [info.id for info in store.list()] == ["copy", "fork", "ann"]
    assert [hit.seq for hit in store.search("three")] == [5, 4]
    chats.delete_session("ann")


def test_a_damaged_chat_is_undone_turn_by_turn_and_can_be_cleared(damaged: Damaged) -> None:
    chat, store, _ = damaged
    assert chat.undo() == [user_content("three"), model_content("to three")]
    assert chat.undo() == [user_content("two")]  # what can be read of it
    assert said(chat) == ["one", "to one"] and store.check() == []
    assert chat.send_message("two").text == "to two"


@pytest.mark.parametrize("near", [1, 20])
@pytest.mark.parametrize("lost", [4, 5, 6])
@pytest.mark.parametrize("kind", STORES)
def test_undoing_a_damaged_turn_leaves_the_sound_one_before_it(
    kind: str, lost: int, near: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.chats.runs._NEAR", near)

    def look() -> str:
        """Look."""
        return "seen"

    with STORES[kind](tmp_path) as store:

        def damage(seq: int) -> Chat:
            """Damage a message; return the chat as one sees it who opens it then."""
            database: Any = store
            database._db.run([("UPDATE {p}messages SET content = '{' WHERE seq = ?", (seq,))])
            return Agent("local").chat("ann", store)

        chat = Agent(ScriptedModel(["one", "two", call("look"), "three"]), tools=[look]).chat("ann", store)
        for text in ("1", "2", "3"):
            chat.send_message(text)
        chat = damage(lost)
        assert len(chat.undo()) == 3 and said(chat) == ["1", "one", "2", "two"]
        chat = damage(0)
        assert [len(chat.undo()), chat.info.messages] == [2, 2]
        assert [len(chat.undo()), chat.info.messages] == [1, 0]


@pytest.mark.parametrize("calls", [0, 6, 60])
def test_undo_reads_little_more_than_the_turn_that_it_removes(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    history = [make(f"{n}") for n in range(500) for make in (user_content, model_content)]
    read: list[int] = []
    with MemoryStore() as store:
        agent = Agent(
            ScriptedModel([call("look")] * calls + ["done"]),
            tools=[look],
            limits=Limits(turns=99, repeats=None),
        )
        agent.chat("ann", store, history=history).send_message("go")
        chat = agent.chat("ann", store)
        load = store.load

        def noted(id: str, *, start: int = 0, end: int | None = None) -> StoredSession:
            read.append(len(history) + 2 * calls + 2 - start)
            return load(id, start=start, end=end)

        monkeypatch.setattr(store, "load", noted)
        assert len(chat.undo()) == 2 + 2 * calls
        assert read and max(read) <= 20 + 4 * (2 + 2 * calls)
        assert chat.get_history() == history


def test_a_message_after_a_change_of_ones_own_reads_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [make(f"{n}") for n in range(50) for make in (user_content, model_content)]
    read: list[int] = []
    with MemoryStore() as store:
        model = ScriptedModel([echo] * 5)
        chat = Agent(model).chat("ann", store, history=history)
        chat.send_message("one")
        run = store._db.run

        def noted(statements: Any, **given: Any) -> Any:
            found = run(statements, **given)
            read.extend(
                len(rows) for (text, _), rows in zip(statements, found, strict=True) if "content" in text
            )
            return found

        monkeypatch.setattr(store._db, "run", noted)
        assert chat.undo() == [user_content("one"), model_content("to one")]
        chat.send_message("two")
        assert len(model.requests[-1]["contents"]) == 101
        chat.state = {"cart": ("tea",)}
        chat.send_message("more")
        assert len(model.requests[-1]["contents"]) == 103 and chat.state == {"cart": ["tea"]}
        assert sum(read) == 4  # those that were added
        Agent(model).chat("ann", store).send_message("three")
        assert chat.undo()[0] == user_content("three")  # what somebody else has said is seen
        chat.send_message("four")
        assert len(model.requests[-1]["contents"]) == 105


def test_what_is_known_after_undo_is_what_reading_it_anew_tells(store: SessionStore | None) -> None:
    def note(ctx: Context[Any]) -> str:
        """Note something."""
        ctx.state["noted"] = ctx.state.get("noted", 0) + 1
        return "noted"

    memory = Summarize(after_turns=2, keep=1, model=ScriptedModel(["sum"] * 9))
    script = [answer for n in range(5) for answer in (call("note"), reply(f"to {n}", totalTokenCount=n))]
    chat = Agent(ScriptedModel(script), tools=[note]).chat("ann", store, memory=memory)
    for n in range(5):
        chat.send_message(str(n))
    for left in (16, 12, 8, 4, 0):
        chat.undo()
        assert chat._conversation.seen_at(chat.info.version) is not None
        known = chat._conversation.look()
        chat._conversation.forget()
        anew = chat._conversation.look()
        assert known is not anew and len(known.contents) == left
        assert [*known.calls] == [*anew.calls] == []
        for name in ("version", "contents", "state", "summary", "usage", "half"):
            assert getattr(known, name) == getattr(anew, name), name
        assert known.sent.usage == anew.sent.usage
        assert known.state == ({"noted": left // 4} if left else {})
        assert known.history.answered == anew.history.answered


@pytest.mark.parametrize("reads", [2, 40])
def test_a_call_that_waits_in_a_long_turn_is_pending_and_can_be_resolved(
    store: SessionStore | None, reads: int
) -> None:
    """It is looked for from the end backwards: 20 messages first, which is less than the longer of these turns."""

    @tool(effect="write")
    def pay() -> str:
        """Pay."""
        raise AssertionError("it has run already")

    @tool(approval=True)
    def sign() -> str:
        """Sign."""
        return "signed"

    @tool
    def look() -> str:
        """Look."""
        return "seen"

    script = ["hello", *[call("look")] * reads, call("sign"), "done"]
    agent = Agent(ScriptedModel(script), tools=[pay, sign, look], limits=Limits(turns=99, repeats=None))
    first = agent.chat("ann", store)
    first.send_message("hi")
    assert first.send_message("go", limits=Limits(turns=reads, repeats=None)).stop == "turns"
    writer = first._conversation.store.write("ann")  # then it leaves off as a process does that ends
    entry = StoredCall(index=0, call_id="id-pay", name="pay", effect="write", started=True)
    writer.append([added(model_content(call_part("pay", {})), [entry])], release=True)

    def opened() -> Chat:
        """Open the chat as one who has seen nothing of it, where somebody else can."""
        return first if store is None else agent.chat("ann", store)

    assert opened().resume().stop == "unknown_effect"
    (unknown,) = opened().pending
    assert (unknown.name, unknown.kind, opened().info.messages) == ("pay", "unknown_effect", 4 + 2 * reads)
    with pytest.raises(ConfigurationError, match=unknown.call_id):
        opened().resolve("nonsense", retry=True)
    opened().resolve(unknown.call_id, result="paid by hand")
    assert opened().pending == []
    run = opened().resume()
    assert run.stop == "approval"
    (waiting,) = opened().pending
    assert (waiting.name, waiting.kind) == ("sign", "approval")
    chat = opened()
    assert chat.resume({waiting.call_id: Approve()}).text == "done"
    check_history(chat.get_history())
    said = [each["response"] for content in chat.get_history() for each in responses_of(content)]
    assert said == [*[{"output": "seen"}] * reads, {"output": "paid by hand"}, {"output": "signed"}]


def test_a_damaged_chat_can_be_cleared(damaged: Damaged) -> None:
    chat, store, _ = damaged
    chat.clear()
    assert chat.get_history() == [] and store.check() == []


def test_a_ledger_that_is_damaged_is_named_and_can_be_cut(tmp_path: Path) -> None:
    db = tmp_path / "chats.db"
    with SQLiteStore(db) as store:
        writer = store.write("ann", create={})
        writer.append([added(user_content("x")), added(CALL, LEDGER)])
        writer.release()
        sql(db, "UPDATE calls SET args = '{' WHERE number = 0")
        chat = Agent(ScriptedModel([echo])).chat("ann", store)
        assert chat.get_history() == [user_content("x")]  # what was said is sound
        for attempt in (lambda: chat.pending, chat.resume, lambda: chat.send_message("x")):
            with pytest.raises(StoreError, match=r"chats\.db is damaged: the ledger of session 'ann'"):
                attempt()
        chat.clear()
        assert chat.send_message("x").text == "to x"


def test_a_chat_without_a_store_takes_for_its_state_what_a_store_would() -> None:
    chat = Agent(ScriptedModel([echo])).chat()
    cart = ["tea"]
    chat.state = {"cart": cart}
    cart.append("milk")
    assert chat.state == {"cart": ["tea"]}
    with pytest.raises(StoreError, match="JSON"):
        chat.state = {"x": {1, 2}}
    assert chat.state == {"cart": ["tea"]}
