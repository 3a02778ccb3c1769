"""Everything that a manager does has its async counterpart, and does the same."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta
from pathlib import Path

import pytest

from agentkit import Agent, Approve, ChatManager, SessionNotFound, SQLiteStore, tool
from agentkit.chats.async_manager import AsyncChatManager
from agentkit.chats.chat import AsyncChat, Chat
from agentkit.run import AsyncRunStream, RunStream
from agentkit.testing import ScriptedModel, call


@tool(effect="write", approval=True)
def order(sku: str) -> str:
    """Order something."""
    return f"ordered {sku}"


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_the_async_manager_has_all_that_the_sync_one_has() -> None:
    assert public(AsyncChatManager) == public(ChatManager) - {"aio"}


def test_the_async_chat_has_all_that_the_sync_one_has() -> None:
    read = {
        "pending": "get_pending",
        "info": "get_info",
        "state": "get_state",
        "token_usage": "get_token_usage",
    }
    wanted = {read.get(name, name) for name in public(Chat)}
    assert wanted <= public(AsyncChat)


def test_the_async_stream_has_all_that_the_sync_one_has() -> None:
    assert {"aclose" if name == "close" else name for name in public(RunStream)} <= public(AsyncRunStream)


def test_chats_are_made_used_decided_and_deleted_async(tmp_path: Path) -> None:
    agent = Agent(
        ScriptedModel(["Hello.", call("order", sku="A"), "done", "streamed", '{"result": 3}']), tools=[order]
    )

    async def main() -> None:
        with SQLiteStore(tmp_path / "a.db") as store:
            chats = ChatManager(agent, store).aio
            await chats.create("ann", title="Ann", instructions="Be brief.")
            assert (await chats.send_message("ann", "Hi")).text == "Hello."
            run = await chats.send_message("ann", "Order A.")
            assert [each.name for each in await chats.pending("ann")] == ["order"]
            async with await chats.resume_stream("ann", {run.pending[0].call_id: Approve()}) as resumed:
                assert (await resumed.drain()).text == "done"
            async with await chats.send_message("ann", "Stream.", stream=True) as events:
                assert "".join([text async for text in events.texts()]) == "streamed"
            assert (await chats.send_message("ann", "How many?", output=int)).expect() == 3
            assert len(await chats.undo("ann")) == 2
            copy = await chats.import_session(await chats.export_session("ann"), id="ben")
            assert await copy.get_history() == await (await chats.get("ann")).get_history()
            assert {info.id for info in await chats.list()} == {"ann", "ben"}
            assert [hit.session_id for hit in await chats.search("brief streamed")] == []
            assert (await chats.info("ann")).title == "Ann"
            await chats.rename("ann", "Anna")
            assert (await (await chats.fork("ann", new_id="eve")).get_info()).title == "Anna"
            await chats.expire("eve", timedelta(seconds=-1))
            assert await chats.delete_expired() == 1
            await chats.delete_session("ann")
            with pytest.raises(SessionNotFound):
                await chats.get("ann")

    asyncio.run(main())


def test_the_async_methods_are_coroutines() -> None:
    methods = [getattr(AsyncChatManager, name) for name in public(AsyncChatManager)]
    assert all(map(inspect.iscoroutinefunction, methods))
