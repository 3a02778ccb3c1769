"""Chats in a store: across objects and processes, resumed after a crash, with one writer at a time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    AgentError,
    ChatManager,
    ConfigurationError,
    Context,
    Limits,
    MemoryStore,
    ModelError,
    Run,
    SessionConflict,
    SessionNotFound,
    StoreError,
    TokenBudget,
    tool,
)
from agentkit.chats.chat import Chat
from agentkit.errors import SessionExists, StoreVersionError
from agentkit.events import ToolFinished, ToolStarted
from agentkit.stores.base import AddMessage, FinishCall, StartCalls, StoredCall
from agentkit.stores.store import SessionStore
from agentkit.stores.writer import Writer
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import (
    Content,
    call_part,
    calls_of,
    model_content,
    response_part,
    responses_of,
    user_content,
)
from tests.helpers.stored_chats import added
from tests.helpers.until import PATIENCE, auntil, given_time
from tests.stores.conftest import STORES


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with STORES[request.param](tmp_path) as store:
        yield store


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def outputs(contents: list[Content]) -> list[Any]:
    return [response["response"] for content in contents for response in responses_of(content)]


# -- remembering -----------------------------------------------------------------------------------------------------


def test_a_chat_goes_on_by_its_id_in_another_object(store: SessionStore) -> None:
    Agent(ScriptedModel(["Hello Ann."])).chat("ann", store).send_message("I am Ann.")
    model = ScriptedModel([call("add", a=1, b=2), "You are Ann."])
    chat = Agent(model, tools=[add]).chat("ann", store)
    assert len(chat.get_history()) == 2
    assert chat.send_message("Who am I?").text == "You are Ann."
    assert list(model.requests[0]["contents"])[:2] == [user_content("I am Ann."), model_content("Hello Ann.")]
    again = Agent(ScriptedModel([])).chat("ann", store)
    assert again.get_history() == chat.get_history()
    assert again.usage == chat.usage
    assert chat.usage.requests == 3


def test_messages_have_their_time_and_usage(store: SessionStore) -> None:
    model = ScriptedModel([reply("hi", promptTokenCount=4, candidatesTokenCount=1, totalTokenCount=5)])
    chat = Agent(model).chat("ann", store)
    chat.send_message("hello")
    asked, answered = chat.get_messages()
    assert asked.created and answered.created and asked.created <= answered.created
    assert asked.usage is None
    assert answered.usage is not None
    assert (answered.usage.total_tokens, answered.finish_reason) == (5, "STOP")


def test_a_history_begins_a_new_chat_but_never_an_old_one(store: SessionStore) -> None:
    history = [user_content("a"), model_content("b")]
    agent = Agent(ScriptedModel(["d"]))
    chat = agent.chat("ann", store, history=history)
    assert chat.get_history() == history
    chat.send_message("c")
    with pytest.raises(SessionExists, match="leave out history="):
        agent.chat("ann", store, history=history).send_message("e")
    assert len(chat.get_history()) == 4


def test_tools_know_the_session_and_their_calls_have_unique_ids(store: SessionStore) -> None:
    seen: list[Context[Any]] = []

    def note(ctx: Context[Any]) -> None:
        """Note."""
        seen.append(ctx)

    same = call_part("note", id="same")
    chat = Agent(ScriptedModel([[same, same], "ok"] * 2), tools=[note]).chat("ann", store)
    chat.send_message("x")
    chat.send_message("y")
    assert {ctx.session_id for ctx in seen} == {"ann"}
    assert len({ctx.call_id for ctx in seen}) == 4


def test_a_failed_message_leaves_no_trace_and_its_tokens_are_counted(store: SessionStore) -> None:
    chat = Agent(ScriptedModel(["one", reply(finish_reason="SAFETY", totalTokenCount=7), fault(400)])).chat(
        "ann", store
    )
    chat.send_message("first")
    before, used = chat.get_history(), chat.usage.total_tokens
    assert chat.send_message("second").stop == "refused"
    with pytest.raises(ModelError):
        chat.send_message("third")
    assert chat.get_history() == before
    assert chat.usage.total_tokens == used + 7


def test_a_stream_broken_off_keeps_whole_steps_in_the_store(store: SessionStore) -> None:
    chat = Agent(ScriptedModel(["one two", call("add", a=1, b=2), "fine"]), tools=[add]).chat("ann", store)
    with chat.send_message_stream("first") as events:
        next(iter(events.texts()))
    assert chat.get_history() == []
    with chat.send_message_stream("second") as events:
        for event in events:
            if isinstance(event, ToolFinished):
                break
    kept = Agent(ScriptedModel([])).chat("ann", store).get_history()
    check_history(kept)
    assert outputs(kept) == [{"output": 3}]
    assert chat.send_message("third").text == "fine"


def test_the_end_of_a_call_is_told_once_it_is_stored_the_last_with_all_responses(store: SessionStore) -> None:
    @tool(effect="write")
    def note(n: int) -> int:
        """Note a number."""
        return n

    model = ScriptedModel([reply(call("note", n=1), call("note", n=2)), "Done."])
    told = []
    chat = Agent(model, tools=[note]).chat(store=store, id="ann")
    with chat.send_message_stream("Go") as stream:
        for event in stream:
            if isinstance(event, ToolFinished):
                session = store.load("ann")
                told.append(([each.response is not None for each in session.calls], len(session.messages)))
    assert told == [([True, False], 2), ([], 3)]


def test_an_async_chat_keeps_the_same_rows(store: SessionStore) -> None:
    script: list[Any] = [call("add", a=1, b=2), "3", fault(400), "5"]

    async def main() -> list[Content]:
        chat = Agent(ScriptedModel(script), tools=[add]).aio.chat("async", store)
        await chat.send_message("1 + 2")
        with pytest.raises(ModelError):
            await chat.send_message("lost")
        async with chat.send_message_stream("2 + 3") as events:
            assert [text async for text in events.texts()] == ["5"]
        assert (await chat.get_token_usage()).current > 0
        assert len(await chat.get_messages()) == 6
        return await chat.get_history()

    chat = Agent(ScriptedModel(script), tools=[add]).chat("sync", store)
    chat.send_message("1 + 2")
    with pytest.raises(ModelError):
        chat.send_message("lost")
    chat.send_message_stream("2 + 3").drain()
    assert asyncio.run(main()) == chat.get_history()


def test_cancelling_a_task_in_a_tool_leaves_valid_rows_and_a_free_session(store: SessionStore) -> None:
    begun: list[str] = []

    async def linger() -> None:
        """Wait long."""
        begun.append("linger")
        await asyncio.sleep(PATIENCE)

    async def main() -> list[Content]:
        chat = Agent(ScriptedModel([call("linger"), "ok"]), tools=[linger]).aio.chat("ann", store)
        task = asyncio.create_task(chat.send_message("x"))
        await auntil(lambda: begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        kept = await chat.get_history()
        assert (await chat.send_message("go on")).text == "ok"
        return kept

    kept = asyncio.run(main())
    check_history(kept)
    assert "cancelled" in outputs(kept)[0]["error"]


# -- one writer at a time --------------------------------------------------------------------------------------------


def test_another_writer_is_a_conflict_at_once_or_waits_where_asked(store: SessionStore) -> None:
    agent = Agent(ScriptedModel(["one two", "three", "four"]))
    first, second = agent.chat("ann", store), agent.chat("ann", store)
    with first.send_message_stream("a") as events:
        next(iter(events))
        with pytest.raises(SessionConflict):
            second.send_message("b")
        assert second.get_history() == [user_content("a")]  # what is stored is seen
        done: list[str] = []
        patient = agent.chat("ann", store, wait=PATIENCE)
        thread = threading.Thread(target=lambda: done.append(patient.send_message("c").text))
        thread.start()
        thread.join(0.2)
        assert done == []
        events.drain()
    thread.join(PATIENCE)
    assert done == ["three"]
    assert second.send_message("b").text == "four"
    texts = [content["parts"][0]["text"] for content in first.get_history()]
    assert texts == ["a", "one two", "c", "three", "b", "four"]


def test_a_second_message_of_the_same_chat_is_refused_where_asked(store: SessionStore) -> None:
    chat = Agent(ScriptedModel(["one two"])).chat("ann", store, wait=0)
    with chat.send_message_stream("a") as events:
        next(iter(events))
        failed: list[BaseException] = []

        def send() -> None:
            try:
                chat.send_message("b")
            except SessionConflict as error:
                failed.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        thread.join(PATIENCE)
        assert "busy" in str(failed[0])


# -- after a crash ---------------------------------------------------------------------------------------------------


def crashed(
    store: SessionStore, calls: list[StoredCall], finished: dict[int, Any], unstarted: tuple[int, ...] = ()
) -> Any:
    """Leave a session as a process does that ended while calls ran."""
    parts = [call_part(entry.name, {"n": entry.index}) for entry in calls]
    store.create("ann")
    writer = store.write("ann")
    writer.append([added(user_content("go"))])
    writer.append([added(model_content(*parts), calls=calls)])
    writer.append([StartCalls([entry.index for entry in calls if entry.index not in unstarted])])
    for index, value in finished.items():
        writer.append([FinishCall(index, response_part(parts[index]["functionCall"], {"output": value}))])
    writer.release()
    return parts


def entry(index: int, name: Any) -> StoredCall:
    effect: Any = "write" if name == "write" else "read"
    return StoredCall(index=index, call_id=f"id-{index}", name=name, effect=effect)


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def agent_of(ran: list[str]) -> Callable[..., Agent]:
    def read(n: int, ctx: Context[Any]) -> str:
        """Read."""
        ran.append(ctx.call_id)
        return f"read {n}"

    @tool(effect="write")
    def write(n: int, ctx: Context[Any]) -> str:
        """Write."""
        ran.append(ctx.call_id)
        return f"wrote {n}"

    return lambda *script: Agent(ScriptedModel(script), tools=[read, write])


def test_resume_runs_what_did_not_finish_once_and_what_finished_never(
    store: SessionStore, agent_of: Any, ran: list[str]
) -> None:
    crashed(
        store, [entry(0, "read"), entry(1, "write"), entry(2, "read"), entry(3, "write")], {1: "kept"}, (2, 3)
    )
    chat: Chat = agent_of("done").chat("ann", store)
    run = chat.resume()
    assert (run.text, run.stop) == ("done", None)
    assert sorted(ran) == ["id-0", "id-2", "id-3"]
    assert outputs(run.contents) == [{"output": v} for v in ("read 0", "kept", "read 2", "wrote 3")]
    assert run.contents == chat.get_history()
    check_history(run.contents)
    assert chat.resume().text == "done"  # nothing left to do, nothing sent
    assert run.new_contents == run.contents


@pytest.mark.parametrize("retry", [False, True])
def test_a_write_that_was_under_way_is_not_run_again_unless_the_caller_says_so(
    store: SessionStore, agent_of: Any, ran: list[str], retry: bool
) -> None:
    crashed(store, [entry(0, "write"), entry(1, "write")], {}, (1,))
    chat: Chat = agent_of("done").chat("ann", store)
    for _ in range(2):  # asking again changes nothing
        run = chat.resume()
        assert run.stop == "unknown_effect"
        check_history(run.contents)
        assert [(pending.call_id, pending.name, pending.args) for pending in run.pending] == [
            ("id-0", "write", {"n": 0})
        ]
    with pytest.raises(AgentError, match="resume"):
        chat.send_message("hello?")
    with pytest.raises(ConfigurationError, match="id-0"):
        chat.resolve("nonsense", result=1)
    if retry:
        chat.resolve("id-0", retry=True)
    else:
        chat.resolve("id-0", result="done by hand")
    run = chat.resume()
    assert (run.text, run.stop) == ("done", None)
    assert ran == (["id-0", "id-1"] if retry else ["id-1"])
    assert outputs(run.contents)[0] == {"output": "wrote 0" if retry else "done by hand"}


def test_resume_goes_on_from_a_message_without_a_reply_and_from_responses(
    store: SessionStore, agent_of: Any
) -> None:
    store.create("ann")
    writer = store.write("ann")
    writer.append([added(user_content("hello"))])
    writer.release()
    assert agent_of("hi").chat("ann", store).resume().text == "hi"
    chat: Chat = agent_of(call("read", n=1), "done").chat("bob", store)
    assert chat.send_message("go", limits=Limits(turns=1)).stop == "turns"
    assert chat.resume().text == "done"
    assert [content["role"] for content in chat.get_history()] == ["user", "model", "user", "model"]


def test_resume_asks_again_for_a_reply_that_was_cut_off_and_keeps_it_until_there_is_another(
    store: SessionStore,
) -> None:
    model = ScriptedModel([reply("half", finish_reason="MAX_TOKENS"), fault(400), "whole"])
    agent = Agent(model)
    chat = agent.chat("ann", store)
    assert chat.send_message("hi").stop == "max_tokens"
    with pytest.raises(ModelError):
        chat.resume()
    assert chat.get_history()[-1] == model_content("half")
    for again in (agent.chat("ann", store), chat):
        run = again.resume()
        assert (run.stop, run.text) == (None, "whole")
        assert again.get_history() == [user_content("hi"), model_content("whole")]
    model.assert_complete()


def test_there_is_nothing_to_resume_in_an_empty_chat(store: SessionStore, agent_of: Any) -> None:
    with pytest.raises(AgentError, match="nothing to resume"):
        agent_of().chat("ann", store).resume()


def test_an_async_chat_resumes_too(store: SessionStore, agent_of: Any, ran: list[str]) -> None:
    crashed(store, [entry(0, "write"), entry(1, "read")], {})

    async def main() -> Any:
        chat = agent_of("done").aio.chat("ann", store)
        assert (await chat.resume()).stop == "unknown_effect"
        await chat.resolve("id-0", result="yes")
        return await chat.resume()

    assert asyncio.run(main()).text == "done"
    assert ran == ["id-1"]


def test_undo_takes_back_a_turn_that_broke_off(store: SessionStore, agent_of: Any) -> None:
    crashed(store, [entry(0, "write")], {})
    chat: Chat = agent_of("fresh").chat("ann", store)
    assert [content["role"] for content in chat.undo()] == ["user", "model"]
    assert chat.get_history() == []
    assert chat.send_message("again").text == "fresh"


# -- changes ---------------------------------------------------------------------------------------------------------


def conversation(store: SessionStore, *script: Any) -> Chat:
    chat = Agent(ScriptedModel(["one", call("add", a=1, b=2), "two", *script]), tools=[add]).chat(
        "ann", store
    )
    chat.send_message("first")
    chat.send_message("second")
    return chat


def test_undo_and_clear(store: SessionStore) -> None:
    chat = conversation(store, "three")
    assert len(chat.undo()) == 4
    assert chat.get_history() == [user_content("first"), model_content("one")]
    chat.send_message("third")
    chat.clear()
    assert chat.get_history() == []
    assert chat.undo() == []
    assert chat.usage.requests == 4


def test_fork_at_the_beginning_of_a_turn_only(store: SessionStore) -> None:
    chat = conversation(store, "other")
    other = chat.fork(at=2, id="fork")
    assert other.get_history() == chat.get_history()[:2]
    assert other.send_message("else").text == "other"
    assert len(chat.get_history()) == 6
    assert other.info.parent == "ann"
    assert chat.fork().get_history() == chat.get_history()
    for at in (1, 3, 4, 7, -1):
        with pytest.raises(ConfigurationError, match=r"\[0, 2, 6\]"):
            chat.fork(at=at)
    with pytest.raises(SessionExists):
        chat.fork(id="fork")


def test_save_and_load(store: SessionStore, tmp_path: Path) -> None:
    chat = conversation(store)
    file = tmp_path / "chat.json"
    chat.save(file)
    other = Agent(ScriptedModel(["after"])).chat("other", store)
    other.load(file)
    assert other.get_history() == chat.get_history()
    assert [m.usage for m in other.get_messages()] == [m.usage for m in chat.get_messages()]
    assert [m.created for m in other.get_messages()] == [m.created for m in chat.get_messages()]
    assert other.send_message("more").text == "after"
    assert list(tmp_path.glob(".chat*")) == []


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        ("{", "isn't JSON", StoreError),
        ("[1]", "not a chat", StoreError),
        ('{"contents": []}', "not a chat", StoreError),
        ('{"format": "agentkit.chat", "version": 99}', "Upgrade", StoreVersionError),
        ('{"format": "agentkit.chat", "version": 1}', "damaged", StoreError),
        (
            '{"format": "agentkit.chat", "version": 1, "id": "x", "created": 1, "messages": [3]}',
            "damaged",
            StoreError,
        ),
    ],
)
def test_a_damaged_foreign_or_newer_file_changes_nothing(
    store: SessionStore, tmp_path: Path, text: str, words: str, kind: Any
) -> None:
    chat = conversation(store)
    before = chat.get_history()
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(kind, match=words):
        chat.load(file)
    with pytest.raises(StoreError, match="Can't read"):
        chat.load(tmp_path / "none.json")
    assert chat.get_history() == before


def test_a_file_cut_short_or_with_an_orphan_response_is_refused(store: SessionStore, tmp_path: Path) -> None:
    chat = conversation(store)
    file = tmp_path / "chat.json"
    chat.save(file)
    whole = json.loads(file.read_text())
    del whole["messages"][3]
    file.write_text(json.dumps(whole))
    with pytest.raises(StoreError, match="damaged"):
        chat.load(file)


def test_a_save_that_fails_leaves_the_file_as_it_was(store: SessionStore, tmp_path: Path) -> None:
    chat = conversation(store)
    with pytest.raises(StoreError, match="Can't write"):
        chat.save(tmp_path / "no" / "folder.json")
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "x").touch()
    with pytest.raises(StoreError, match="Can't write"):
        chat.save(folder)
    assert sorted(path.name for path in tmp_path.iterdir() if "chats.db" not in path.name) == ["taken"]


def test_curated_history_leaves_out_turns_without_an_answer(store: SessionStore) -> None:
    chat = conversation(store, call("add", a=1, b=1), "end")
    chat.send_message("third", limits=Limits(turns=1))
    chat.send_message("fourth")
    assert len(chat.get_history()) == 11
    curated = chat.get_history(curated=True)
    assert [c["parts"][0].get("text") for c in curated if c["role"] == "user"][-1] == "fourth"
    assert len(curated) == 8
    check_history(curated)


# -- memory ----------------------------------------------------------------------------------------------------------


def test_token_usage_is_true_after_each_turn(store: SessionStore) -> None:
    model = ScriptedModel(
        [
            reply("a", promptTokenCount=10, candidatesTokenCount=2, totalTokenCount=12),
            reply(
                "b", promptTokenCount=30, candidatesTokenCount=5, thoughtsTokenCount=50, totalTokenCount=85
            ),
        ]
    )
    chat = Agent(model).chat("ann", store, memory=TokenBudget(1000))
    assert (chat.token_usage.current, chat.token_usage.max, chat.token_usage.remaining) == (0, 1000, 1000)
    chat.send_message("x")
    assert chat.token_usage.current == 12
    chat.send_message("y")
    assert (chat.token_usage.current, chat.token_usage.remaining) == (35, 965)
    again = Agent(ScriptedModel([])).chat("ann", store)
    assert (again.token_usage.current, again.token_usage.remaining) == (35, None)


def test_a_stop_says_that_a_single_turn_is_too_large(store: SessionStore) -> None:
    model = ScriptedModel(["never"])
    chat = Agent(model).chat("ann", store, memory=TokenBudget(50))
    run = chat.send_message("word " * 500)
    assert run.stop == "too_large"
    assert model.requests == []
    assert "TokenBudget allows 50" in str(run.finish_reason)
    assert chat.get_history() == []


def test_a_tool_running_is_seen_by_whoever_looks(store: SessionStore) -> None:
    chat = Agent(ScriptedModel([call("add", a=1, b=2), "3"]), tools=[add]).chat("ann", store)
    with chat.send_message_stream("x") as events:
        for event in events:
            if isinstance(event, ToolStarted):
                (ledger,) = store.load("ann").calls
                assert ledger.started
    assert not store.load("ann").calls


# -- a store that fails ----------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A store whose disk is full from its nth step on, until there is room again."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def write(self, id: str, **given: Any) -> Any:
        writer: Any = super().write(id, **given)
        append = writer.append

        def limited(steps: Any, **given: Any) -> None:
            self.good -= 1
            if self.good < 0:
                raise StoreError("The disk is full.")
            append(steps, **given)

        writer.append = limited
        return writer


@pytest.mark.parametrize("good", range(6))
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_store_that_fails_at_any_step_ends_the_run_and_what_it_has_can_be_resumed(
    agent_of: Any, ran: list[str], good: int, way: str
) -> None:
    store = Failing(good)
    script = [[call_part("read", {"n": 1}), call_part("write", {"n": 2})], "done"]
    agent: Agent = agent_of(*script, *script)
    steps = 5  # message; reply, start; response, start; response, content; answer
    if good >= steps:
        assert agent.chat("ann", store).send_message("go").text == "done"
        return

    def send() -> Any:
        if way == "sync":
            return agent.chat("ann", store).send_message("go")
        return asyncio.run(agent.aio.chat("ann", store).send_message("go"))

    with pytest.raises(StoreError, match="full"):
        send()
    store.good = 100
    stored = store.load("ann")
    assert len(stored.messages) == (0, 1, 2, 2, 3)[good]
    assert len(ran) <= 2
    if not stored.messages:
        return
    again = Agent(
        ScriptedModel([script[0], "done"] if len(stored.messages) == 1 else ["done"]), tools=list(agent.tools)
    )
    chat = again.chat("ann", store)
    run = chat.resume()
    if run.stop == "unknown_effect":
        chat.resolve(run.pending[0].call_id, retry=True)
        run = chat.resume()
    assert run.text == "done"
    check_history(chat.get_history())


def test_an_async_chat_has_all_that_a_chat_has(store: SessionStore, tmp_path: Path) -> None:
    async def main() -> None:
        chat = Agent(ScriptedModel(["one", "two", "three"])).aio.chat("ann", store, memory=TokenBudget(5_000))
        await chat.send_message("first")
        await chat.send_message("second")
        await chat.save(tmp_path / "chat.json")
        assert len(await chat.undo()) == 2
        fork = await chat.fork(id="fork")
        await fork.load(tmp_path / "chat.json")
        assert len(await fork.get_history()) == 4
        assert (await fork.send_message("third")).text == "three"
        await chat.clear()
        assert await chat.get_history(curated=True) == []
        usage = await fork.get_token_usage()
        assert usage.max == 5_000
        with pytest.raises(ConfigurationError, match="No open call"):
            await chat.resolve("nothing", result=1)

    asyncio.run(main())


def test_an_async_chat_refuses_or_waits_as_asked(store: SessionStore) -> None:
    async def main() -> None:
        agent = Agent(ScriptedModel(["one two", "three"]))
        for wait in (0.0, 0.05):
            chat = agent.aio.chat(f"ann{wait}", store, wait=wait)
            async with chat.send_message_stream("a") as events:
                await anext(events)
                other = asyncio.create_task(chat.send_message("b"))
                with pytest.raises(SessionConflict, match="busy"):
                    await other

    asyncio.run(main())


@pytest.mark.parametrize("id", ["", "  "])
def test_an_id_has_something_in_it(id: str) -> None:
    with pytest.raises(ConfigurationError, match="id"):
        Agent(ScriptedModel([])).chat(id)


def test_a_chat_with_open_calls_is_not_forked(store: SessionStore, agent_of: Any) -> None:
    crashed(store, [entry(0, "write")], {})
    with pytest.raises(ConfigurationError, match="resume"):
        agent_of().chat("ann", store).fork()


# -- odd instants ----------------------------------------------------------------------------------------------------


def test_cancelling_an_async_send_while_it_opens_leaves_the_session_free(store: SessionStore) -> None:
    async def main() -> None:
        agent = Agent(ScriptedModel(["ok"] * 50))
        chat = agent.aio.chat("ann", store)
        held = []
        for n in range(12):
            task = asyncio.create_task(chat.send_message("x"))
            await asyncio.sleep(n * 0.0005)
            task.cancel()
            held.append(task)  # it holds its frames
            await asyncio.gather(task, return_exceptions=True)
        assert (await agent.aio.chat("ann", store).send_message("free?")).text == "ok"
        check_history(await chat.get_history())

    asyncio.run(main())


def test_a_cancelled_send_does_not_wait_for_its_turn_any_longer(store: SessionStore) -> None:
    async def main() -> float:
        agent = Agent(ScriptedModel(["one two"]))
        async with agent.aio.chat("ann", store).send_message_stream("a") as events:
            await anext(events)
            began = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await asyncio.create_task(agent.aio.chat("ann", store, wait=PATIENCE).send_message("b"))
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) < PATIENCE / 2


def test_ctrl_c_at_any_line_of_a_send_leaves_the_chat_usable() -> None:
    import sys

    files = ("conversation.py", "memory.py")
    for stop_at in range(0, 400, 7):
        lines = 0

        def trace(frame: Any, event: str, arg: Any, stop_at: int = stop_at) -> Any:
            nonlocal lines
            if not frame.f_code.co_filename.endswith(files) or frame.f_code.co_name in (
                "_turn",
                "release",
                "__del__",
            ):
                return None if not frame.f_code.co_filename.endswith(files) else trace_nothing
            if event == "line":
                lines += 1
                if lines == stop_at:
                    raise KeyboardInterrupt
            return trace

        def trace_nothing(frame: Any, event: str, arg: Any) -> Any:
            return trace_nothing

        chat = Agent(ScriptedModel(["ok"] * 5)).chat("ann", MemoryStore())
        before = sys.gettrace()  # that of a coverage measurement
        sys.settrace(trace)
        try:
            chat.send_message("x")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert chat.send_message("again").text == "ok"
        check_history(chat.get_history())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_ctrl_c_right_after_a_step_was_stored_gets_out_of_the_chat(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch, nth: int, streamed: bool
) -> None:
    stored, put = list[str](), Writer._put

    def interrupted(self: Writer, change: Any, *, release: bool) -> str:
        stored.append(put(self, change, release=release))
        if len(stored) == nth:
            raise KeyboardInterrupt
        return stored[-1]

    monkeypatch.setattr(Writer, "_put", interrupted)
    chat = Agent(ScriptedModel([call("add", a=1, b=2), "three"]), tools=[add]).chat("ann", store)
    with pytest.raises(KeyboardInterrupt):
        _ = [*chat.send_message_stream("x")] if streamed else chat.send_message("x")
    assert len(stored) == nth  # it doesn't know what it has stored, and stores nothing more
    again = Agent(ScriptedModel(["so"]), tools=[add]).chat("ann", store)
    if again.pending or calls_of(again.get_history()[-1]):
        again.undo()
    assert again.send_message("y").text == "so"
    check_history(again.get_history())


def test_a_write_broken_off_under_way_is_told_apart_from_one_that_never_ran(store: SessionStore) -> None:
    @tool(effect="write")
    async def pay() -> None:
        """Pay."""
        paying.append(1)
        await asyncio.sleep(PATIENCE)

    paying = list[int]()

    def broken_off(seconds: float) -> Run[Any]:
        agent = Agent(ScriptedModel([[call("pay"), call("pay")]]), tools=[pay])
        return agent.chat(f"ann-{seconds}", store).send_message("x", limits=Limits(seconds=seconds))

    run = given_time(broken_off, lambda _: paying)
    under_way, never = (response["error"] for response in outputs(run.contents))
    assert "may have taken effect" in under_way
    assert "Not run" in never


def test_tokens_are_counted_though_storing_their_reply_failed_once() -> None:
    class Once(MemoryStore):
        failed = False

        def write(self, id: str, **given: Any) -> Any:
            writer: Any = super().write(id, **given)
            append = writer.append

            def fail_at_the_reply(steps: Any, **given: Any) -> None:
                if not self.failed and isinstance(steps[0], AddMessage) and steps[0].message.usage:
                    self.failed = True
                    raise StoreError("The disk is full.")
                append(steps, **given)

            writer.append = fail_at_the_reply
            return writer

    chat = Agent(ScriptedModel([reply("x", totalTokenCount=105)])).chat("ann", Once())
    with pytest.raises(StoreError):
        chat.send_message("x")
    assert len(chat.get_history()) == 2  # there was room again
    assert chat.usage.total_tokens == 105


def test_counting_is_tried_again_and_held_to_the_limit_of_seconds(store: SessionStore) -> None:
    class Counting(ScriptedModel):
        faults = 1
        wait = 0.0

        def count_tokens(self, request: Any, *, timeout: float | None = None) -> int:
            self.faults -= 1
            if self.faults >= 0:
                raise fault(503, retry_after=self.wait)
            return 10

    words = "word " * 40
    model = Counting(["fine"])
    assert Agent(model).chat("ann", store, memory=TokenBudget(100)).send_message(words).text == "fine"
    slow = Counting(["never"])
    slow.faults, slow.wait = 100, 5.0
    agent = Agent(slow, limits=Limits(seconds=0.2))
    assert agent.chat("bob", store, memory=TokenBudget(100)).send_message(words).stop == "seconds"


def test_a_call_that_waits_for_approval_is_not_pending_as_unknown(
    store: SessionStore, ran: list[str]
) -> None:
    @tool(effect="write")
    def write(n: int) -> None:
        """Write."""
        ran.append("write")

    @tool(approval=True)
    def held(n: int) -> None:
        """Pay."""
        ran.append("held")

    held_entry = StoredCall(index=0, call_id="id-0", name="held", effect="read")
    crashed(store, [held_entry, entry(1, "write")], {}, (0,))
    chat = Agent(ScriptedModel(["done"]), tools=[write, held]).chat("ann", store)
    run = chat.resume()
    assert [pending.call_id for pending in run.pending] == ["id-1"]
    with pytest.raises(ConfigurationError, match="No open call"):
        chat.resolve("id-0", result="paid")
    wrongs: list[Any] = [{}, {"result": 1, "retry": True}]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError, match="either"):
            chat.resolve("id-1", **wrong)
    chat.resolve("id-1", result="done")
    assert chat.resume().stop == "approval"
    assert ran == []


def test_a_managed_chat_that_was_deleted_is_not_made_again(store: SessionStore) -> None:
    chats = ChatManager(Agent(ScriptedModel(["a", "b"])), store)
    chat = chats.create("ann", instructions="Be nice.")
    chat.send_message("x")
    chats.delete_session("ann")
    for gone in (lambda: chat.send_message("y"), chat.get_history):
        with pytest.raises(SessionNotFound):
            gone()
    assert list(chats.list()) == []


def test_deleting_a_session_while_it_is_written_is_a_conflict_for_the_writer(store: SessionStore) -> None:
    def delete() -> None:
        """Delete the session."""
        store.delete("ann")

    chat = Agent(ScriptedModel([call("delete")]), tools=[delete]).chat("ann", store)
    with pytest.raises(SessionConflict):
        chat.send_message("x")


def test_a_dropped_message_does_not_count_as_what_the_chat_holds(store: SessionStore) -> None:
    script = [
        reply("a", promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=15),
        reply(finish_reason="SAFETY", promptTokenCount=5000, totalTokenCount=5000),
    ]
    chat = Agent(ScriptedModel(script)).chat("ann", store)
    chat.send_message("x")
    chat.send_message("y")
    assert chat.token_usage.current == 15


def test_history_leaves_out_calls_under_way(store: SessionStore, agent_of: Any) -> None:
    crashed(store, [entry(0, "write")], {})
    chat: Chat = agent_of().chat("ann", store)
    assert chat.get_history() == [user_content("go")]
