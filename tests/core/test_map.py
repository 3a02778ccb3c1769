"""Many runs of one agent: so many at a time, each for itself, none left behind; and one agent used from everywhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from agentkit import Agent, ConfigurationError, Context, GeminiModel, Hooks, Limits, ModelError, Usage, tool
from agentkit.run import Mapped
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import Request
from tests.helpers.gemini_server import GeminiServer
from tests.helpers.gemini_server import fault as wire_fault
from tests.helpers.leftovers import other_tasks
from tests.helpers.until import PATIENCE, until

Mapper = Callable[..., list[Mapped]]


def _map(agent: Agent, inputs: Any, **options: Any) -> list[Mapped]:
    return list(agent.map(inputs, **options))


def _amap(agent: Agent, inputs: Any, **options: Any) -> list[Mapped]:
    async def go() -> list[Mapped]:
        mapped = [each async for each in agent.aio.map(inputs, **options)]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return mapped

    return asyncio.run(go())


async def _later(inputs: Iterable[Any]) -> AsyncIterator[Any]:
    for each in inputs:
        await asyncio.sleep(0)
        yield each


def _amap_later(agent: Agent, inputs: Any, **options: Any) -> list[Mapped]:
    return _amap(agent, _later(inputs), **options)


@pytest.fixture(params=[_map, _amap, _amap_later], ids=["map", "amap", "amap of an async iterable"])
def mapper(request: pytest.FixtureRequest, no_thread_left: None) -> Mapper:
    mapper: Mapper = request.param
    return mapper


def question(request: Request) -> str:
    return request["contents"][0]["parts"][0]["text"]


class Crowd:
    """An async tool that counts how many of it run, and keeps each until the ones before it are done if told so."""

    def __init__(self, *, reverse: int = 0) -> None:
        self.inside = 0
        self.most = 0
        self.began: list[str] = []
        self.lock = threading.Lock()
        self._reverse = reverse

    async def work(self, name: str) -> str:
        """Work."""
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.began.append(name)
        try:
            await asyncio.sleep(0.05 * (self._reverse - int(name)) if self._reverse else 0.004)
        finally:
            with self.lock:
                self.inside -= 1
        return name


def working(crowd: Crowd, count: int) -> Agent:
    """Make an agent that lets the crowd work once for each input, and answers with the input."""

    def answer(request: Request) -> Any:
        if len(request["contents"]) == 1:
            return reply(call("work", name=question(request)), totalTokenCount=int(question(request)))
        return reply(f"done {question(request)}", totalTokenCount=1)

    return Agent(ScriptedModel([answer] * (2 * count)), tools=[crowd.work])


def test_two_hundred_inputs_come_back_in_order_and_never_too_many_run(mapper: Mapper) -> None:
    crowd = Crowd()
    got = mapper(working(crowd, 200), map(str, range(200)), concurrency=7)
    assert [(each.index, each.input, each.error) for each in got] == [(n, str(n), None) for n in range(200)]
    assert [each.run.text for each in got if each.run] == [f"done {n}" for n in range(200)]
    assert [each.run.usage for each in got if each.run] == [
        Usage(requests=2, total_tokens=n + 1) for n in range(200)
    ]
    assert 1 < crowd.most <= 7
    assert sorted(crowd.began, key=int) == [str(n) for n in range(200)]
    for each in got[::50]:
        assert each.run is not None
        check_history(each.run.contents)


def test_they_come_as_they_are_done_if_asked_so(mapper: Mapper) -> None:
    got = mapper(working(Crowd(reverse=6), 6), map(str, range(6)), concurrency=6, ordered=False)
    assert sorted(each.index for each in got) == list(range(6))
    assert [each.index for each in got] != list(range(6))
    assert got[0].index > got[-1].index


def test_one_at_a_time_is_one_at_a_time(mapper: Mapper) -> None:
    crowd = Crowd()
    got = mapper(working(crowd, 5), map(str, range(5)), concurrency=1)
    assert crowd.most == 1
    assert crowd.began == [each.input for each in got] == list("01234")


def test_no_inputs_give_nothing(mapper: Mapper) -> None:
    assert mapper(Agent(ScriptedModel([])), []) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_one_that_fails_ends_none_of_the_others(mapper: Mapper, ordered: bool) -> None:
    def answer(request: Request) -> Any:
        return fault(400, "no") if question(request) == "2" else question(request)

    inputs: list[Any] = ["0", "", "2", {"role": "model", "parts": [{"text": "x"}]}, "4", 5]
    got = mapper(Agent(ScriptedModel([answer] * 6)), inputs, ordered=ordered)
    by_index = {each.index: each for each in got}
    assert len(got) == 6
    assert [by_index[n].run is not None for n in range(6)] == [True, False, False, False, True, False]
    error = by_index[2].error
    assert isinstance(error, ModelError)
    assert error.run is not None
    assert all(isinstance(by_index[n].error, ConfigurationError) for n in (1, 3, 5))
    if ordered:
        assert [each.index for each in got] == list(range(6))


def test_a_run_that_cancels_or_exits_by_itself_is_an_error_of_that_input(mapper: Mapper) -> None:
    async def cancel(request: Any, ctx: Context[Any]) -> None:
        if question(request) == "1":
            raise asyncio.CancelledError

    agent = Agent(ScriptedModel(["ok"] * 3), hooks=Hooks(before_model=cancel))
    got = mapper(agent, ["0", "1", "2"])
    assert [each.error is None for each in got] == [True, False, True]
    assert "CancelledError" in str(got[1].error)


def test_inputs_are_read_as_they_are_needed(no_thread_left: None) -> None:
    read: list[int] = []

    def source() -> Iterator[str]:
        for n in range(100):
            read.append(n)
            yield str(n)

    mapped = working(Crowd(), 100).map(source(), concurrency=3)
    assert read == []
    first = next(mapped)
    assert first.index == 0
    assert len(read) <= 4
    for _ in range(5):
        next(mapped)
    time.sleep(0.05)  # a slow reader lets nothing pile up
    assert len(read) <= 9
    mapped.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("later", [False, True])
def test_inputs_are_read_as_they_are_needed_async(later: bool) -> None:
    read: list[int] = []

    def source() -> Iterator[str]:
        for n in range(100):
            read.append(n)
            yield str(n)

    async def main() -> None:
        inputs = _later(source()) if later else source()
        mapped = working(Crowd(), 100).aio.map(inputs, concurrency=3)
        assert read == []
        await anext(mapped)
        await asyncio.sleep(0.05)
        assert len(read) <= 4
        await mapped.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_an_input_that_can_not_be_read_is_raised_when_what_was_begun_is_done(
    mapper: Mapper, ordered: bool
) -> None:
    def source() -> Iterator[str]:
        yield from ("0", "1", "2")
        raise OSError("the file ends here")

    got: list[Mapped] = []

    collect = _collect if mapper is _map else _acollect
    with pytest.raises(OSError, match="ends here"):
        collect(working(Crowd(), 3), _later(source()) if mapper is _amap_later else source(), got, ordered)
    assert sorted(each.index for each in got) == [0, 1, 2]
    assert all(each.run is not None for each in got)


def _collect(agent: Agent, inputs: Any, got: list[Mapped], ordered: bool) -> None:
    for each in agent.map(inputs, ordered=ordered):
        got.append(each)


def _acollect(agent: Agent, inputs: Any, got: list[Mapped], ordered: bool) -> None:
    async def go() -> None:
        async for each in agent.aio.map(inputs, ordered=ordered):
            got.append(each)

    asyncio.run(go())


@pytest.mark.parametrize("way", ["leave", "close", "raise"])
def test_breaking_off_starts_no_more_and_ends_what_is_under_way(no_thread_left: None, way: str) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def linger(name: str) -> str:
        """Linger."""
        begun.append(name)
        try:
            await asyncio.sleep(0 if name == "0" else PATIENCE)
        finally:
            ended.append(name)
        return name

    def answer(request: Request) -> Any:
        return call("linger", name=question(request)) if len(request["contents"]) == 1 else "done"

    model = ScriptedModel([answer] * 100)
    agent = Agent(model, tools=[linger])
    mapped: Any = agent.map(map(str, range(50)), concurrency=4)
    next(mapped)
    until(lambda: len(begun) == 4)  # the others wait in their tools
    began = time.monotonic()
    if way == "close":
        mapped.close()
    elif way == "raise":
        with pytest.raises(KeyError):
            mapped.throw(KeyError())
    del mapped  # as leaving a `for` does
    assert time.monotonic() - began < PATIENCE / 2
    asked = len(model.requests)
    assert asked == 5
    time.sleep(0.05)
    assert len(model.requests) == asked
    assert sorted(ended) == sorted({question(request) for request in model.requests})


def test_breaking_off_an_async_map_cancels_its_tasks_and_requests() -> None:
    with GeminiServer(["first", *[wire_fault("hang")] * 10], key="k") as server:
        model = GeminiModel(api_key="k", http_options={"base_url": server.url})

        async def main() -> None:
            mapped = Agent(model).aio.map(map(str, range(50)), concurrency=3, ordered=False)
            async for _ in mapped:
                break
            await mapped.aclose()
            assert not await other_tasks()

        asyncio.run(main())
        server.wait(lambda: server.open_connections == 0)
        assert len(server.requests) <= 4


def test_a_cancelled_task_that_maps_leaves_nothing(no_thread_left: None) -> None:
    async def linger() -> None:
        """Linger."""
        await asyncio.sleep(PATIENCE)

    agent = Agent(ScriptedModel([call("linger")] * 10), tools=[linger])

    async def main() -> None:
        async def work() -> list[Mapped]:
            return [each async for each in agent.aio.map(map(str, range(10)), concurrency=4)]

        task = asyncio.create_task(work())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_output_and_options_hold_for_each(mapper: Mapper) -> None:
    def answer(request: Request) -> Any:
        return f'{{"result": {len(question(request))}}}'

    agent = Agent(ScriptedModel([answer] * 3), instructions="agent's")
    got = mapper(agent, ["a", "bb", "ccc"], output=int, instructions="own", limits=Limits(turns=1))
    assert [each.run.output for each in got if each.run] == [1, 2, 3]
    assert isinstance(agent.model, ScriptedModel)
    assert {r["systemInstruction"]["parts"][0]["text"] for r in agent.model.requests} == {"own"}


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "8", None])
def test_a_concurrency_that_is_none_is_refused_at_once(concurrency: Any) -> None:
    agent = Agent(ScriptedModel([]))
    with pytest.raises(ConfigurationError, match="concurrency"):
        agent.map(["x"], concurrency=concurrency)
    with pytest.raises(ConfigurationError, match="concurrency"):
        agent.aio.map(["x"], concurrency=concurrency)


@pytest.mark.parametrize("inputs", ["one question", b"x", 3, None, {"role": "user", "parts": []}])
def test_what_is_no_list_of_inputs_is_refused_at_once(inputs: Any) -> None:
    agent = Agent(ScriptedModel([]))
    with pytest.raises(ConfigurationError, match="give a list"):
        agent.map(inputs)
    with pytest.raises(ConfigurationError, match="give a list"):
        agent.aio.map(inputs)


def test_context_variables_reach_each_run(mapper: Mapper) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    def who() -> str:
        """Who."""
        return user.get()

    def answer(request: Request) -> Any:
        if len(request["contents"]) == 1:
            return call("who")
        return request["contents"][-1]["parts"][0]["functionResponse"]["response"]["output"]

    user.set("ann")
    got = mapper(Agent(ScriptedModel([answer] * 6), tools=[who]), ["1", "2", "3"])
    assert [each.run.text for each in got if each.run] == ["ann"] * 3


def test_a_map_within_a_tool_of_a_map_works(no_thread_left: None) -> None:
    inner = Agent(ScriptedModel(["in"] * 40))

    def many() -> list[str]:
        """Map."""
        return [each.run.text for each in inner.map(["a", "b"], concurrency=2) if each.run]

    def answer(request: Request) -> Any:
        return call("many") if len(request["contents"]) == 1 else "out"

    got = list(Agent(ScriptedModel([answer] * 20), tools=[many]).map(map(str, range(10)), concurrency=4))
    assert [each.run.text for each in got if each.run] == ["out"] * 10


# -- one agent, everywhere -------------------------------------------------------------------------------------------


@tool(effect="write")
async def double(n: int, ctx: Context[str]) -> str:
    """Double, and say for whom."""
    await asyncio.sleep(0.001)
    return f"{2 * n} for {ctx.deps}"


def add(n: int, ctx: Context[str]) -> str:
    """Add one, and say for whom."""
    return f"{n + 1} for {ctx.deps}"


def test_one_agent_with_tools_hooks_and_chats_serves_many_threads_and_event_loops(
    no_thread_left: None,
) -> None:
    def answer(request: Request) -> Any:
        last = request["contents"][-1]["parts"]
        if "text" in last[0]:
            n = int(last[0]["text"])
            return [call("double", n=n), call("add", n=n), call("double", n=n + 1)]
        return " ".join(str(part["functionResponse"]["response"]["output"]) for part in last)

    heard: list[str] = []

    async def hear(args: Any, ctx: Context[str]) -> None:
        heard.append(ctx.deps)

    agent = Agent(
        ScriptedModel([answer] * 2000),
        tools=[double, add],
        hooks=Hooks(before_tool=hear, after_tool=lambda _, ctx: heard.append(ctx.deps)),
        choose_tools=lambda _: ["double", "add"],
    )

    def expected(n: int, name: str) -> str:
        return f"{2 * n} for {name} {n + 1} for {name} {2 * n + 2} for {name}"

    wrong: list[Any] = []

    def check(got: str, n: int, name: str) -> None:
        if got != expected(n, name):
            wrong.append((n, name, got))

    def in_thread(k: int) -> None:
        chat = agent.chat(deps=f"t{k}")
        for n in range(4):
            check(agent.run(str(n), deps=f"t{k}").text, n, f"t{k}")
            check(chat.send_message(str(n)).text, n, f"t{k}")
        if len(chat.get_history()) != 16:
            wrong.append(len(chat.get_history()))

    async def in_loop(k: int) -> None:
        chat = agent.aio.chat(deps=f"l{k}")
        for n in range(4):
            runs = await asyncio.gather(*[agent.aio.run(str(m), deps=f"l{k}") for m in range(3)])
            for m, run in enumerate(runs):
                check(run.text, m, f"l{k}")
            check((await chat.send_message(str(n))).text, n, f"l{k}")

    threads = [threading.Thread(target=in_thread, args=(k,)) for k in range(6)]
    threads += [threading.Thread(target=lambda k=k: asyncio.run(in_loop(k))) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    runs = 6 * 8 + 6 * 16
    assert len(heard) == runs * 3 * 2


def test_what_is_done_is_handed_out_while_the_next_input_is_waited_for() -> None:
    async def talk() -> list[str]:
        answered, closed = asyncio.Event(), []

        async def source() -> AsyncIterator[str]:
            yield "first"
            await answered.wait()
            try:
                yield "second"
                await asyncio.Event().wait()
            finally:
                closed.append("source")

        mapped = Agent(ScriptedModel(["1", "2"])).aio.map(source())
        got = [(await anext(mapped)).run]
        answered.set()
        got.append((await anext(mapped)).run)
        await mapped.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return [*(run.text for run in got if run), *closed]

    assert asyncio.run(talk()) == ["1", "2", "source"]


def test_async_inputs_are_no_iterable_for_threads() -> None:
    with pytest.raises(ConfigurationError, match="give a list"):
        Agent(ScriptedModel([])).map(_later(["x"]))  # type: ignore[arg-type]
