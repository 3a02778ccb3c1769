"""What changes a chat, beside what is said in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentkit.chats.pending import resolve
from agentkit.chats.runs import Seen, backwards
from agentkit.errors import SessionNotFound, StoreError
from agentkit.stores._values import decode_object, encode_object
from agentkit.stores.archive import Archived
from agentkit.stores.base import (
    AddMessage,
    Cut,
    DamagedMessage,
    SaveResult,
    SaveState,
    SessionInfo,
    Step,
)
from agentkit.stores.turns import Turn
from agentkit.wire.content import Content
from agentkit.wire.history import ends_turn, turn_starts

if TYPE_CHECKING:
    from agentkit.chats.conversation import Conversation


class Changing:
    """The changes of a conversation, for who has its turn.

    Args:
        conversation: What is changed.
        turn: Of this process's writers.
        wait: Seconds to wait for the writers of others.
    """

    def __init__(self, conversation: Conversation, turn: Turn, wait: float) -> None:
        self._conversation = conversation
        self._turn = turn
        self._wait = wait
        self._left: Seen | None = None
        """What is there when the change is stored, where that is known without reading it anew."""

    def clear(self) -> None:
        """Remove all messages."""
        self._change_if_there(lambda _: [Cut(0)])

    def undo(self) -> list[Content]:
        """Remove the last turn; return it, as far as it can be read."""
        removed: list[Content] = []

        def steps(info: SessionInfo) -> Sequence[Step]:
            start, contents = self._last_turn_seen(info) or self._last_turn(info.messages)
            removed.extend(contents)
            return [] if start is None else [Cut(start)]

        self._change_if_there(steps)
        return removed

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put another state in the place of the chat's."""
        given = dict(state)

        def steps(info: SessionInfo) -> Sequence[Step]:
            if (seen := self._conversation.seen_at(info.version)) is not None:
                self._left = replace(seen, state=decode_object(encode_object("A state", given)))
            return [SaveState(given)]

        self._change(steps, create=True)

    def replace_with(self, archived: Archived) -> None:
        """Put other messages in place of all, with results that belong to them, and another state."""
        saved: dict[int, list[Step]] = {}
        for result in archived.results:
            saved.setdefault(result.seq, []).append(SaveResult(result.id, result.text))
        steps: list[Step] = [Cut(0), SaveState(archived.state)]
        for seq, message in enumerate(archived.messages):
            steps += saved.get(seq, ())
            steps.append(AddMessage(message, archived.calls if seq == len(archived.messages) - 1 else ()))
        self._change(lambda _: steps, create=True)

    def resolve(self, call_id: str, result: Any, *, retry: bool) -> None:
        """Say what became of a call that nobody knows of: its result, or that it may run again."""

        def steps(_: SessionInfo) -> Sequence[Step]:
            seen = self._conversation.look_back()
            content = seen.contents[-1] if seen.contents else None
            return resolve(content, seen.calls, call_id, result, retry=retry)

        self._change(steps)

    def _change(self, make: Callable[[SessionInfo], Sequence[Step]], *, create: bool = False) -> None:
        """Become the writer, and store steps that are made of what is there."""
        writer = self._conversation.write(self._turn, self._wait, create=create, read=False)
        try:
            if steps := make(writer.info):
                writer.append(steps, release=True)
                self._conversation.forget(self._left and replace(self._left, version=writer.info.version))
        finally:
            writer.release()

    def _change_if_there(self, make: Callable[[SessionInfo], Sequence[Step]]) -> None:
        try:
            self._change(make)
        except SessionNotFound:
            if self._conversation.must_exist:
                raise

    def _last_turn_seen(self, info: SessionInfo) -> tuple[int, Sequence[Content]] | None:
        """Find the last turn in what was seen of the session, if that is what is there, and see what it leaves."""
        seen = self._conversation.seen_at(info.version)
        if seen is None or not (starts := turn_starts(seen.contents)):
            return None
        with suppress(StoreError):  # of the state: whoever asks for that is told
            self._left = seen.cut(starts[-1], self._conversation.load(starts[-1], starts[-1]))
        return starts[-1], seen.contents[starts[-1] :]

    def _last_turn(self, count: int) -> tuple[int | None, Sequence[Content]]:
        """Find where the last turn begins, and what it has; messages that are damaged may be before it, or in it."""
        found = None
        for low in backwards(count):
            if (found := self._turn_behind(low)) is not None:
                break
        return found or (None, [])

    def _turn_behind(self, low: int) -> tuple[int, Sequence[Content]] | None:
        """Find the last turn among the messages from a number on; None if it begins before, or there is none."""
        damaged: list[DamagedMessage] = []
        while True:
            first = damaged[-1].end if damaged else low
            try:
                contents = self._sound(first)
                break
            except DamagedMessage as error:
                damaged.append(error)
        while not (starts := turn_starts(contents)):
            if not damaged:
                return (0, contents) if not low and (first or contents) else None
            end = damaged.pop().seq
            first = damaged[-1].end if damaged else low
            before = self._sound(first, end)
            if not end or (before and ends_turn(before[-1])):  # what is damaged begins the turn
                return end, contents
            contents = [*before, *contents]
        return first + starts[-1], contents[starts[-1] :]

    def _sound(self, start: int, end: int | None = None) -> list[Content]:
        messages = self._conversation.messages(start, end)
        return [message.content for message in messages]
