"""What the user says or does while a run goes on: messages, cancellation from elsewhere, cancelled tasks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google import genai

from agentkit import (
    Agent,
    AgentError,
    ConfigurationError,
    Context,
    GeminiModel,
    HistoryError,
    Limits,
    Run,
    Tool,
)
from agentkit.core.hooks import Hooks
from agentkit.core.inbox import Inbox
from agentkit.core.repair import RetryPolicy
from agentkit.events import (
    AgentEvent,
    Event,
    MessageAdded,
    ModelRetry,
    RunFinished,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
)
from agentkit.testing import ScriptedModel, call, check_history, fault
from agentkit.wire.content import Request, model_content, text_of, user_content
from tests.helpers import watching
from tests.helpers.gemini_server import GeminiServer, calls, text
from tests.helpers.gemini_server import call as wire_call
from tests.helpers.gemini_server import fault as wire_fault
from tests.helpers.leftovers import other_tasks
from tests.helpers.runners import responses
from tests.helpers.until import PATIENCE, auntil, stretched
from tests.helpers.watching import said

KEY = "test-key-0123456789"
Way = Callable[..., Run[Any]]


@pytest.fixture(params=watching.WATCHED, ids=lambda way: way.__name__)
def watched(request: pytest.FixtureRequest, no_thread_left: None) -> Way:
    way: Way = request.param
    return way


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def once(kind: type[Event], do: Callable[[Any], None]) -> Callable[[Any, Event], None]:
    """Do something at the first event of a kind."""
    left = [do]

    def watch(stream: Any, event: Event) -> None:
        if isinstance(event, kind) and left:
            left.pop()(stream)

    return watch


def send(message: Any) -> Callable[[Any], None]:
    return lambda stream: stream.send(message)


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [ToolStarted, ToolFinished])
def test_a_message_is_added_before_the_next_turn_and_told(watched: Way, at: type[Event]) -> None:
    model = ScriptedModel([call("add", a=1, b=2), "both"])
    seen: list[Event] = []
    sending = once(at, send("also check Rome"))

    def watch(stream: Any, event: Event) -> None:
        seen.append(event)
        sending(stream, event)

    run = watched(Agent(model, tools=[add]), "Oslo?", watch=watch)
    check_history(run.contents)
    assert said(run.contents) == ["Oslo?", "also check Rome"]
    assert run.contents[3] == user_content("also check Rome")
    assert list(model.requests[1]["contents"]) == run.contents[:4]
    assert run.text == "both"
    (added,) = [n for n, event in enumerate(seen) if isinstance(event, MessageAdded)]
    assert seen[added] == MessageAdded(user_content("also check Rome"))
    assert isinstance(seen[added - 1], ToolFinished)


def test_a_message_sent_before_the_first_event_goes_along_with_the_first_request(watched: Way) -> None:
    model = ScriptedModel([call("add", a=1, b=2), "3"])
    agent = Agent(model, tools=[add], tool_choice="required")
    stream = agent.stream("one") if watched is watching.stream_sync else agent.aio.stream("one")
    stream.send("two")
    run = watching.drain(stream)
    assert said(run.contents) == ["one", "two"]
    assert [r.get("toolConfig") for r in model.requests] == [{"functionCallingConfig": {"mode": "ANY"}}, None]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_tool_may_send_a_message(watched: Way, kind: str) -> None:
    streams: list[Any] = []

    def tell(ctx: Context[Any]) -> str:
        """Tell."""
        streams[0].send("the tool says hello")
        return "told"

    async def atell(ctx: Context[Any]) -> str:
        """Tell."""
        await asyncio.sleep(0)
        return tell(ctx)

    chosen = Tool.of(tell if kind == "sync" else atell, name="tell")
    run = watched(
        Agent(ScriptedModel([call("tell"), "ok"]), tools=[chosen]),
        "x",
        watch=lambda stream, _: streams.append(stream),
    )
    assert said(run.contents) == ["x", "the tool says hello"]
    assert responses(run) == [{"output": "told"}]


def test_another_thread_may_send_while_the_model_thinks(watched: Way) -> None:
    streams: list[Any] = []
    asked, sent = threading.Event(), threading.Event()

    def slow(_: Request) -> Any:
        asked.set()
        sent.wait(PATIENCE)
        return call("add", a=1, b=1)

    def other() -> None:
        asked.wait(PATIENCE)
        streams[0].send("from elsewhere")
        sent.set()

    def first(_: Context[Any]) -> str:
        return "Be brief."

    thread = threading.Thread(target=other)
    thread.start()
    model = ScriptedModel([call("add", a=0, b=0), slow, "ok"])
    run = watched(
        Agent(model, tools=[add], instructions=first), "x", watch=lambda stream, _: streams.append(stream)
    )
    thread.join()
    assert said(run.contents) == ["x", "from elsewhere"]
    assert run.contents[-2] == user_content("from elsewhere")


def test_a_message_sent_during_the_answer_gets_an_answer_of_its_own(watched: Way) -> None:
    model = ScriptedModel(["one two three", "four"])
    run = watched(Agent(model), "x", watch=once(TextDelta, send("and then?")))
    assert run.contents == [
        user_content("x"),
        model_content("one two three"),
        user_content("and then?"),
        model_content("four"),
    ]
    assert (run.text, run.stop, run.turns) == ("four", None, 2)


def test_a_message_sent_when_the_last_turn_is_done_still_gets_its_answer(watched: Way) -> None:
    model = ScriptedModel(["one", "two"])
    run = watched(Agent(model), "x", watch=once(TurnFinished, send("more")))
    assert (run.text, said(run.contents)) == ("two", ["x", "more"])


def test_what_comes_after_the_end_is_refused(watched: Way) -> None:
    streams: list[Any] = []

    def watch(stream: Any, event: Event) -> None:
        streams.append(stream)
        if isinstance(event, RunFinished):
            with pytest.raises(AgentError, match="run is over"):
                stream.send("too late")

    run = watched(Agent(ScriptedModel(["done"])), "x", watch=watch)
    assert said(run.contents) == ["x"]
    assert streams[0].unsent == []


def test_a_message_is_unsent_when_the_run_stops_at_a_limit(watched: Way) -> None:
    streams: list[Any] = []

    def watch(stream: Any, event: Event) -> None:
        if isinstance(event, ToolStarted):
            streams.append(stream)
            stream.send("never added")

    model = ScriptedModel([call("add", a=1, b=1)])
    run = watched(Agent(model, tools=[add], limits=Limits(turns=1)), "x", watch=watch)
    assert run.stop == "turns"
    assert said(run.contents) == ["x"]
    assert streams[0].unsent == [user_content("never added")]


def test_an_answer_stands_when_a_limit_leaves_no_turn_for_what_was_said_during_it(watched: Way) -> None:
    streams: list[Any] = []

    def watch(stream: Any, event: Event) -> None:
        if isinstance(event, TextDelta):
            streams.append(stream)
            stream.send("and?")

    run = watched(Agent(ScriptedModel(["fine"]), limits=Limits(turns=1)), "x", watch=watch)
    assert (run.text, run.stop, run.limit) == ("fine", None, "turns")
    assert streams[0].unsent == [user_content("and?")]


@pytest.mark.parametrize(
    ("script", "stop"),
    [([fault(400)], "error"), ([{"promptFeedback": {"blockReason": "SAFETY"}}], "refused")],
)
def test_a_message_is_unsent_when_the_run_fails_or_is_refused(script: list[Any], stop: Any) -> None:
    events = Agent(ScriptedModel([call("add", a=1, b=1), *script]), tools=[add]).stream("x")
    try:
        for event in events:
            if isinstance(event, TurnFinished) and event.turn == 1 and event.finish_reason == "STOP":
                events.send("first")
            if isinstance(event, MessageAdded):
                events.send("second")
    except AgentError:
        pass
    assert events.run.stop == stop
    assert said(events.run.contents) == ["x", "first"]
    assert events.unsent == [user_content("second")]


def test_breaking_off_between_two_messages_loses_neither() -> None:
    with Agent(ScriptedModel([call("add", a=1, b=1)]), tools=[add]).stream("x") as events:
        for event in events:
            if isinstance(event, ToolFinished):
                events.send("one")
                events.send("two")
                events.send("three")
            if isinstance(event, MessageAdded):
                break
    assert said(events.run.contents) == ["x", "one"]
    assert events.unsent == [user_content("two"), user_content("three")]
    assert events.run.stop == "cancelled"


def test_a_stream_that_never_began_keeps_what_was_sent_as_unsent() -> None:
    with Agent(ScriptedModel([])).stream("x") as events:
        events.send("one")
    assert events.unsent == [user_content("one")]
    with pytest.raises(AgentError):
        events.send("two")


@pytest.mark.parametrize(
    "bad", ["", [], {"role": "model", "parts": [{"text": "x"}]}, {"functionResponse": {"name": "f"}}, 3]
)
def test_a_bad_message_is_refused_and_nothing_is_lost(bad: Any) -> None:
    with Agent(ScriptedModel(["answer"])).stream("x") as events:
        events.send("good")
        with pytest.raises((ConfigurationError, HistoryError)):
            events.send(bad)
        events.send("better")
        run = events.drain()
    assert said(run.contents) == ["x", "good", "better"]


def test_nobody_can_change_a_message_once_it_was_sent() -> None:
    message: Any = {"role": "user", "parts": [{"text": "mine"}]}
    with Agent(ScriptedModel(["ok"])).stream("x") as events:
        events.send(message)
        message["parts"][0]["text"] = "changed"
        for event in events:
            if isinstance(event, MessageAdded):
                event.content["parts"][0]["text"] = "changed too"
        events.unsent.append(user_content("no"))
    assert said(events.run.contents) == ["x", "mine"]


def test_a_chat_remembers_what_was_sent_meanwhile() -> None:
    chat = Agent(ScriptedModel([call("add", a=1, b=1), "two", "again"]), tools=[add]).chat()
    with chat.send_message_stream("x") as events:
        for event in events:
            if isinstance(event, ToolStarted):
                events.send("hurry")
    chat.send_message("y")
    assert said(chat.get_history()) == ["x", "hurry", "y"]


def test_of_messages_that_many_threads_send_while_the_run_ends_none_is_lost_or_doubled(watched: Way) -> None:
    def answer(request: Request) -> Any:
        return str(len(request["contents"]))

    refused: list[str] = []
    lock = threading.Lock()
    go_ahead = threading.Event()
    streams: list[Any] = []

    def work(n: int) -> None:
        go_ahead.wait(PATIENCE)
        for m in range(10):
            try:
                streams[0].send(f"{n}-{m}")
            except AgentError:
                with lock:
                    refused.append(f"{n}-{m}")
            time.sleep(0.0002 * (n % 4))

    def watch(stream: Any, _: Event) -> None:
        if not streams:
            streams.append(stream)
            go_ahead.set()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    run = watched(Agent(ScriptedModel([answer] * 200), limits=Limits(turns=5)), "x", watch=watch)
    for thread in threads:
        thread.join()
    check_history(run.contents)
    left = [text_of(content) for content in streams[0].unsent]
    everything = [f"{n}-{m}" for n in range(8) for m in range(10)]
    assert sorted([*said(run.contents)[1:], *left, *refused]) == sorted(everything)


def test_an_inbox_gives_its_messages_one_by_one_and_closes_only_if_nothing_waits() -> None:
    inbox = Inbox()
    assert inbox.put([user_content("a"), user_content("b")])
    assert not inbox.close(if_empty=True)
    assert next(inbox.take()) == user_content("a")
    assert inbox.left == [user_content("b")]
    assert list(inbox.take()) == [user_content("b")]
    assert inbox.close(if_empty=True)
    assert not inbox.put([user_content("c")])


# -- cancel() from another thread ------------------------------------------------------------------------------------


@pytest.fixture
def cancelled(no_thread_left: None) -> Callable[..., Run[Any]]:
    """Run until something calls the function it is given, which makes another thread cancel."""

    def run(make: Callable[[Callable[[], None]], Agent], *, within: float = PATIENCE / 2) -> Run[Any]:
        ready = threading.Event()
        events = make(ready.set).stream("x")

        def other() -> None:
            if ready.wait(PATIENCE):
                time.sleep(0.02)
            events.cancel()

        thread = threading.Thread(target=other)
        thread.start()
        began = time.monotonic()
        made = events.drain()
        assert time.monotonic() - began < within
        thread.join()
        assert ready.is_set()
        check_history(made.contents)
        assert made.stop == "cancelled"
        return made

    return run


def _blocking(ready: Callable[[], None], ended: threading.Event | None = None) -> Callable[[], str]:
    def block() -> str:
        """Block."""
        ready()
        if ended is not None:
            ended.wait(PATIENCE)
        return "late"

    return block


def test_cancelling_in_an_async_tool_cancels_it(cancelled: Callable[..., Run[Any]]) -> None:
    ended: list[str] = []

    def make(ready: Callable[[], None]) -> Agent:
        async def linger() -> None:
            """Linger."""
            ready()
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                ended.append("tool")

        return Agent(ScriptedModel([call("linger")]), tools=[linger])

    run = cancelled(make)
    assert ended == ["tool"]
    assert "cancelled" in responses(run)[0]["error"]


def test_a_sync_tool_that_can_not_be_stopped_is_abandoned_and_its_late_result_dropped(
    cancelled: Callable[..., Run[Any]],
) -> None:
    begun, end = threading.Event(), threading.Event()

    def make(ready: Callable[[], None]) -> Agent:
        def finished(event: Event, _: Any) -> None:
            if isinstance(event, ToolFinished) and begun.wait(PATIENCE):
                ready()

        return Agent(
            ScriptedModel([[call("block"), call("add", a=1, b=1)]]),
            tools=[Tool.of(_blocking(begun.set, end), effect="read"), Tool.of(add, effect="read")],
            observers=[finished],
        )

    run = cancelled(make)
    end.set()
    time.sleep(0.05)
    late, fine = responses(run)
    assert "may have taken effect" in late["error"]
    assert fine == {"output": 2}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "where", ["approver", "before_model", "after_model", "before_tool", "after_tool", "choose"]
)
def test_cancelling_while_a_function_of_the_developer_runs_ends_the_run(
    cancelled: Callable[..., Run[Any]], where: str, kind: str
) -> None:
    end = threading.Event()

    def make(ready: Callable[[], None]) -> Agent:
        def hang(*_: Any) -> None:
            ready()
            end.wait(PATIENCE)

        async def ahang(*_: Any) -> None:
            ready()
            await asyncio.sleep(PATIENCE)

        function: Any = hang if kind == "sync" else ahang
        held = Tool.of(add, approval=where == "approver")
        settings: dict[str, Any] = {
            "approver": {"approver": function},
            "choose": {"choose_tools": function},
        }.get(where) or {"hooks": Hooks(**{where: function})}
        return Agent(ScriptedModel([call("add", a=1, b=1)]), tools=[held], **settings)

    run = cancelled(make)
    end.set()
    assert len(responses(run)) == (where in ("approver", "before_tool", "after_tool"))


def test_cancelling_while_a_function_of_a_tools_approval_runs_is_not_lost(
    cancelled: Callable[..., Run[Any]],
) -> None:
    def make(ready: Callable[[], None]) -> Agent:
        def ask(args: Any, ctx: Any) -> bool:
            ready()
            time.sleep(0.2)
            return False

        end = threading.Event()
        slow = Tool.of(_blocking(lambda: None, end), approval=ask)
        return Agent(ScriptedModel([call("block")]), tools=[slow], tool_timeout=PATIENCE)

    cancelled(make)


def test_cancelling_in_the_wait_for_a_retry_ends_it(cancelled: Callable[..., Run[Any]]) -> None:
    def make(ready: Callable[[], None]) -> Agent:
        def failing(_: Request) -> Any:
            ready()
            return fault(503, retry_after=50)

        return Agent(ScriptedModel([failing]), retry=RetryPolicy())

    cancelled(make)


def test_cancelling_between_chunks_closes_the_connection(no_thread_left: None) -> None:
    with GeminiServer([text("a b c d e f g h", chunks=8, delay=5)], key=KEY) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        events = Agent(model).stream("x")
        for event in events:
            if isinstance(event, TextDelta):
                threading.Thread(target=events.cancel).start()
        server.wait(lambda: server.disconnects == 1)
        model.close()
    assert events.run.stop == "cancelled"
    assert events.run.contents == [user_content("x")]
    assert 0 < len(events.run.text) < 15


def model_over(way_there: str, server: GeminiServer) -> GeminiModel:
    options: Any = {"base_url": server.url}
    if way_there == "client=":
        options["api_version"] = "v1beta"
        return GeminiModel(client=genai.Client(api_key=KEY, http_options=options))
    if way_there == "httpx2":
        options["client_args"] = {"trust_env": False}
    return GeminiModel(api_key=KEY, http_options=options)


@pytest.mark.parametrize("after", ["", "headers", "chunk"])
@pytest.mark.parametrize("way_there", ["own connections", "httpx2", "client="])
def test_cancelling_ends_the_silence_of_gemini(way_there: str, after: str, no_thread_left: None) -> None:
    with GeminiServer([wire_fault("hang", after=after), text("Still here.")], key=KEY) as server:
        model = model_over(way_there, server)
        events = Agent(model).stream("x")

        def other() -> None:
            server.wait(lambda: len(server.requests) == 1)
            events.cancel()

        thread = threading.Thread(target=other)
        thread.start()
        run = events.drain()
        thread.join()
        assert (run.stop, run.contents) == ("cancelled", [user_content("x")])
        assert (run.usage.requests, run.usage.given_up) == (1, 1)
        assert Agent(model).run("x").text == "Still here."
        model.close()


@pytest.mark.parametrize("way_there", ["own connections", "httpx2", "client="])
def test_ctrl_c_ends_the_silence_of_gemini(way_there: str, no_thread_left: None) -> None:
    with GeminiServer([wire_fault("hang")], key=KEY) as server:
        model = model_over(way_there, server)

        def other() -> None:
            server.wait(lambda: len(server.requests) == 1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=other)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            Agent(model).run("x")
        thread.join()
        model.close()


def test_cancelling_what_is_over_leaves_the_connection_to_others(no_thread_left: None) -> None:
    with GeminiServer([text("a"), text("b")], key=KEY) as server:
        model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})
        first, second = Agent(model).stream("x"), Agent(model).stream("x")
        first.drain()
        for event in second:
            if isinstance(event, TextDelta):
                first.cancel()
        assert second.run.text == "b"
        assert server.open_connections == 1
        model.close()


def test_cancelling_between_events_takes_effect_at_the_next_one(no_thread_left: None) -> None:
    model = ScriptedModel([call("add", a=1, b=1), "never"])
    events = Agent(model, tools=[add]).stream("x")
    for event in events:
        if isinstance(event, ToolFinished):
            events.cancel()
    assert events.run.stop == "cancelled"
    assert responses(events.run) == [{"output": 2}]
    assert len(model.requests) == 1


def test_cancelling_before_the_first_event_sends_nothing_and_after_the_last_changes_nothing() -> None:
    model = ScriptedModel(["done"])
    events = Agent(model).stream("x")
    events.cancel()
    assert events.drain().stop == "cancelled"
    assert model.requests == []
    again = Agent(model).stream("x")
    run = again.drain()
    again.cancel()
    assert (again.run, run.stop, run.text) == (run, None, "done")


def test_a_cancelled_chat_goes_on_with_the_next_message(no_thread_left: None) -> None:
    async def linger() -> None:
        """Linger."""
        await asyncio.sleep(PATIENCE)

    chat = Agent(ScriptedModel([call("linger"), "hello"]), tools=[linger]).chat()
    with chat.send_message_stream("x") as events:
        for event in events:
            if isinstance(event, ToolStarted):
                threading.Thread(target=events.cancel).start()
    assert events.run.stop == "cancelled"
    assert chat.send_message("y").text == "hello"
    check_history(chat.get_history())


# -- cancelled tasks, two agents deep --------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as server:
        yield server


class _Nest:
    """An agent that asks an agent that asks an agent, all of one server; the innermost has two slow tools."""

    def __init__(self, server: GeminiServer) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.inner: list[Run[Any]] = []
        self.release = threading.Event()
        self.model = GeminiModel(api_key=KEY, http_options={"base_url": server.url})

        async def wait() -> str:
            """Wait."""
            self.begun.append("wait")
            try:
                await asyncio.sleep(0.15)
                return "waited"
            finally:
                self.ended.append("wait")

        def block() -> str:
            """Block."""
            self.release.wait(0.1)
            return "blocked"

        low = Agent(self.model, name="low", tools=[wait, block])
        middle = Agent(self.model, name="middle", tools=[low.as_tool()])
        self.agent = Agent(self.model, name="top", tools=[middle.as_tool()])

    @staticmethod
    def script() -> list[Any]:
        def answer(body: Any) -> Any:
            names = [d["name"] for tool in body["tools"] for d in tool["functionDeclarations"]]
            if "functionResponse" in body["contents"][-1]["parts"][0]:
                return text("a b c d", chunks=4, delay=0.02)
            if names[0] == "wait":
                return calls(wire_call("wait"), wire_call("block"))
            return calls(wire_call(names[0], {"request": "go"}))

        return [answer] * 6


def test_a_whole_run_two_agents_deep_comes_to_its_answer(server: GeminiServer) -> None:
    nest = _Nest(server)
    server.script(nest.script())
    run = watching.stream_async(nest.agent, "x")
    assert run.text == "a b c d"
    assert responses(run) == [{"output": "a b c d"}]
    assert run.usage.requests == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "delay", [0.0, 0.01, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26, 0.30, 0.35, 0.4]
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_task_cancelled_at_any_instant_leaves_nothing_of_two_agents_below(
    server: GeminiServer, no_thread_left: None, delay: float, streamed: bool
) -> None:
    nest = _Nest(server)
    server.script(nest.script())

    async def main() -> Run[Any]:
        stream = nest.agent.aio.stream("x") if streamed else nest.agent._astream("x", {}, stream=False)
        task = asyncio.create_task(stream.drain())
        await asyncio.sleep(delay)
        task.cancel()
        ended: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(ended, asyncio.CancelledError) or (ended is stream.run and ended.text == "a b c d")
        assert not await other_tasks()
        await nest.model.aclose()
        return stream.run

    run = asyncio.run(main())
    nest.release.set()
    check_history(run.contents)
    assert run.stop == (None if run.text == "a b c d" else "cancelled")
    assert nest.begun == nest.ended
    for response in responses(run):
        assert "cancelled" in response.get("error", "") or response == {"output": "a b c d"}
    server.wait(lambda: server.open_connections == 0)


def test_cancelling_closes_the_request_of_the_innermost_agent_at_once(server: GeminiServer) -> None:
    nest = _Nest(server)
    server.script(
        [
            calls(wire_call("middle", {"request": "go"})),
            calls(wire_call("low", {"request": "go"})),
            wire_fault("hang"),
        ]
    )

    async def main() -> Run[Any]:
        stream = nest.agent.aio.stream("x")
        task = asyncio.create_task(stream.drain())
        await auntil(lambda: len(server.requests) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stream.run

    run = asyncio.run(main())
    server.wait(lambda: server.disconnects == 1)
    assert "cancelled" in responses(run)[0]["error"]


def test_cancelling_a_sync_run_cancels_the_agents_below(no_thread_left: None) -> None:
    ended: list[str] = []

    async def linger() -> None:
        """Linger."""
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.append("tool")

    low = Agent(ScriptedModel([call("linger")]), tools=[linger], name="low")
    middle = Agent(ScriptedModel([call("low", request="x")]), tools=[low.as_tool()], name="middle")
    events = Agent(ScriptedModel([call("middle", request="x")]), tools=[middle.as_tool()]).stream("x")

    for event in events:
        if isinstance(event, AgentEvent) and event.path == ("middle", "low"):
            threading.Thread(target=events.cancel).start()
    assert events.run.stop == "cancelled"
    assert ended == ["tool"]


def test_a_second_cancellation_while_the_first_cleans_up_gets_through(no_thread_left: None) -> None:
    at: list[str] = []

    async def stubborn() -> None:
        """Take long to clean up."""
        try:
            at.append("work")
            await asyncio.sleep(PATIENCE)
        finally:
            at.append("end")
            await asyncio.sleep(PATIENCE)

    async def main() -> Run[Any]:
        stream = Agent(ScriptedModel([call("stubborn")]), tools=[stubborn]).aio.stream("x")
        task = asyncio.create_task(stream.drain())
        await auntil(lambda: at == ["work"])
        task.cancel()
        await auntil(lambda: at == ["work", "end"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stream.run

    began = time.monotonic()
    run = asyncio.run(main())
    assert time.monotonic() - began < PATIENCE / 2
    check_history(run.contents)
    assert run.stop == "cancelled"


# -- what is done in time, and what is late --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_call_that_was_done_in_time_counts_though_its_watcher_is_slow(watched: Way) -> None:
    def work(ctx: Context[Any]) -> str:
        """Work."""
        ctx.progress("begun")
        return "done"

    async def awork() -> str:
        """Work."""
        return "done"

    def done(longer: float) -> None:
        tools = [Tool.of(work, timeout=1.5 * longer), Tool.of(awork, timeout=1.5 * longer)]
        model = ScriptedModel([[call("work"), call("awork")], "ok"])
        watch = once(ToolProgress, lambda _: time.sleep(2 * longer))
        sync_one, async_one = responses(watched(Agent(model, tools=tools), "x", watch=watch))
        assert sync_one == {"output": "done"}
        if (
            watched is watching.stream_sync
        ):  # the watcher holds up the event loop that async tools share with it
            assert async_one == {"output": "done"}

    stretched(done)


def test_retries_are_told_while_messages_wait(watched: Way) -> None:
    model = ScriptedModel([fault(503), "ok", "more"])
    agent = Agent(model, retry=RetryPolicy(base=0, cap=0))
    run = watched(agent, "x", watch=once(ModelRetry, send("still there?")))
    assert said(run.contents) == ["x", "still there?"]
    assert (run.text, len(model.requests)) == ("more", 3)


# -- the process -----------------------------------------------------------------------------------------------------

_HEADER = """
import asyncio, threading, time
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call

def sleep() -> str:
    "Sleep."
    time.sleep(600)
    return "late"

async def asleep() -> str:
    "Sleep."
    await asyncio.sleep(600)
    return "late"
"""
_PROGRAMS = {
    "a sync tool": """
        agent = Agent(ScriptedModel([[call("sleep"), call("asleep")], "ok"]), tools=[sleep, asleep], tool_timeout=0.1)
        print(agent.run("x").text)
    """,
    "an async run": """
        agent = Agent(ScriptedModel([[call("sleep"), call("asleep")], "ok"]), tools=[sleep, asleep], tool_timeout=0.1)
        print(asyncio.run(agent.aio.run("x")).text)
    """,
    "a run in a thread": """
        agent = Agent(ScriptedModel([[call("sleep"), call("asleep")]]), tools=[sleep, asleep])
        threading.Thread(target=agent.run, args=("x",), daemon=True).start()
        time.sleep(0.2)
        print("ok")
    """,
    "map broken off": """
        def answer(request):
            first = request["contents"][0]["parts"][0]["text"]
            return "ok" if first == "0" else [call("sleep"), call("asleep")]
        agent = Agent(ScriptedModel([answer] * 100), tools=[sleep, asleep])
        for mapped in agent.map(map(str, range(100)), concurrency=4):
            print(mapped.run.text)
            break
    """,
    "an async map broken off": """
        def answer(request):
            first = request["contents"][0]["parts"][0]["text"]
            return "ok" if first == "0" else [call("sleep"), call("asleep")]
        agent = Agent(ScriptedModel([answer] * 100), tools=[sleep, asleep])
        async def main():
            async for mapped in agent.aio.map(map(str, range(100)), concurrency=4):
                print(mapped.run.text)
                break
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("name", _PROGRAMS)
def test_no_thread_keeps_the_process_alive(name: str) -> None:
    program = _HEADER + textwrap.dedent(_PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "took too long" not in line]
    assert (done.stdout, told, done.returncode) == ("ok\n", [], 0)
