"""Turns of writers: handed on in order, to whoever still waits, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time

import pytest

from agentkit.errors import SessionConflict
from agentkit.stores.turns import TURNS, Turns
from tests.helpers.until import PATIENCE

KEY = ("store", "ann")


def entered(turns: Turns) -> object:
    turn = turns.enter(KEY, None)
    assert turn is not None
    return turn


def test_a_turn_is_handed_on_in_order() -> None:
    turns, order = Turns(), list[int]()
    first = turns.enter(KEY, 0)
    assert first is not None and turns.enter(KEY, 0) is None and turns.enter(KEY, 0.01) is None
    assert turns.enter(("store", "bob"), 0) is not None

    def work(n: int) -> None:
        turn = turns.enter(KEY, PATIENCE)
        assert turn is not None
        order.append(n)
        turns.leave(turn)

    threads = []
    for n in range(5):
        threads.append(threading.Thread(target=work, args=(n,)))
        threads[-1].start()
        while len(turns._waiting[KEY]) <= n:
            time.sleep(0.001)
    turns.leave(first)
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [0, 1, 2, 3, 4] and not turns._held.get(KEY) and not turns._waiting


def test_a_turn_that_nobody_refers_to_any_more_is_given_up() -> None:
    turns = Turns()
    turn = turns.enter(KEY, 0)
    assert turns.enter(KEY, 0) is None
    del turn
    gc.collect()
    assert turns.enter(KEY, 0) is not None


def test_a_turn_that_was_evicted_is_no_turn_any_more() -> None:
    turns = Turns()
    old = turns.enter(KEY, 0)
    turns.evict(KEY)
    new = turns.enter(KEY, 0)
    assert old is not None and new is not None
    turns.leave(old)
    assert turns.holder(KEY) is new


def test_who_waits_in_a_loop_that_is_closed_is_left_out() -> None:
    turns = Turns()
    first = turns.enter(KEY, 0)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(turns.aenter(KEY, None))
    loop.run_until_complete(asyncio.sleep(0))
    assert len(turns._waiting[KEY]) == 1
    loop._ready.clear()  # type: ignore[attr-defined]
    loop.close()
    assert first is not None
    turns.leave(first)
    assert turns.enter(KEY, 0) is not None
    waiting.cancel = lambda: False  # type: ignore[assignment,method-assign,misc]


def test_a_turn_ends_in_a_forked_process() -> None:
    turn = TURNS.enter(KEY, 0)
    assert turn is not None
    child = os.fork()
    if not child:
        os._exit(0 if TURNS.enter(KEY, 0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert TURNS.enter(KEY, 0) is None
    TURNS.leave(turn)


def test_the_one_who_has_the_turn_is_refused_and_so_is_what_it_starts() -> None:
    turns = Turns()
    turn = turns.enter(KEY, 0)
    assert turn is not None
    turn.refuse_holder()
    with turn.running(), pytest.raises(SessionConflict, match="own run"):
        turn.refuse_holder()
    with pytest.raises(SessionConflict, match="still being streamed"):
        turn.refuse_holder()
    other = threading.Thread(target=turn.refuse_holder)
    other.start()
    other.join()


def test_threads_and_loops_with_cancellations_never_overlap() -> None:
    turns, inside, most = Turns(), 0, 0
    until = time.monotonic() + 0.4

    def hold() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1

    def thread() -> None:
        while time.monotonic() < until:
            turn = turns.enter(KEY, random.choice([0.001, 1.0]))
            if turn is not None:
                hold()
                turns.leave(turn)

    async def task() -> None:
        while time.monotonic() < until:
            try:
                async with asyncio.timeout(random.choice([0.0005, 1.0])):
                    turn = await turns.aenter(KEY, None)
            except TimeoutError:
                continue
            if turn is not None:
                hold()
                turns.leave(turn)
            await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*[task() for _ in range(4)])

    workers = [threading.Thread(target=thread) for _ in range(4)]
    workers += [threading.Thread(target=lambda: asyncio.run(tasks())) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert most == 1 and turns.enter(KEY, 0) is not None and not turns._waiting
