"""Runs, sync and async, streamed and not: the same decisions, a valid history, nothing left behind."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai

from agentkit import (
    Agent,
    AgentError,
    ConfigurationError,
    Context,
    HistoryError,
    Limits,
    ModelError,
    Run,
    RunStopped,
    Tool,
    ToolDefinitionError,
    ToolError,
    ToolRetry,
    Usage,
    tool,
)
from agentkit.drivers import threads
from agentkit.errors import ToolRetriesExceeded, ToolTimeout
from agentkit.events import (
    Event,
    ModelRetry,
    RunFinished,
    TextDelta,
    ThoughtDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
)
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import Request, call_part, model_content, responses_of, user_content
from tests.helpers.runners import NO_WAIT, Runner, responses
from tests.helpers.until import PATIENCE, auntil, given_time, until


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def aadd(a: int, b: int) -> int:
    """Add two numbers, async."""
    await asyncio.sleep(0)
    return a + b


@pytest.mark.parametrize("function", [add, aadd])
def test_a_call_is_run_and_answered_until_a_text_arrives(go: Runner, function: Any) -> None:
    model = ScriptedModel([call(function.__name__, a=1, b=2), "It is 3."])
    run = go(Agent(model, tools=[function]), "1 + 2?")
    assert run.text == "It is 3."
    assert run.stop is None
    assert run.turns == 2
    assert run.contents == run.new_contents
    assert run.contents == [
        user_content("1 + 2?"),
        model_content(call_part(function.__name__, {"a": 1, "b": 2})),
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": function.__name__, "response": {"output": 3}}}],
        },
        model_content("It is 3."),
    ]
    model.assert_complete()


def test_requests_of_a_run_extend_one_another(go: Runner) -> None:
    model = ScriptedModel([call("add", a=1, b=2), call("add", a=3, b=3), "done"])
    go(Agent(model, tools=[add], instructions="Be brief.", config={"temperature": 0}), "go")
    for earlier, later in itertools.pairwise(model.requests):
        assert later["contents"][: len(earlier["contents"])] == earlier["contents"]
        assert {k: v for k, v in earlier.items() if k != "contents"} == {
            k: v for k, v in later.items() if k != "contents"
        }
    first = model.requests[0]
    assert first["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert first["generationConfig"] == {"temperature": 0}
    assert first["tools"][0]["functionDeclarations"][0]["name"] == "add"


def test_ids_and_signatures_go_back_where_they_came_from(go: Runner) -> None:
    signed: Any = {**call_part("add", {"a": 1, "b": 2}, id="x1"), "thoughtSignature": "c2ln"}
    second = call_part("add", {"a": 2, "b": 2}, id="x2")
    model = ScriptedModel([["let me see", signed, second], "ok"])
    go(Agent(model, tools=[add]), "go")
    assert model.requests[1]["contents"][1] == model_content("let me see", signed, second)
    answers = responses_of(model.requests[1]["contents"][2])
    assert [(a["id"], a["response"]) for a in answers] == [("x1", {"output": 3}), ("x2", {"output": 4})]


def test_a_history_goes_before_the_input(go: Runner) -> None:
    model = ScriptedModel(["blue"])
    history = [user_content("I like blue."), model_content("Noted.")]
    run = go(Agent(model), "Which colour?", history=history)
    assert list(model.requests[0]["contents"]) == [*history, user_content("Which colour?")]
    assert run.new_contents == [user_content("Which colour?"), model_content("blue")]
    assert go(Agent(ScriptedModel(["again"])), "And now?", history=run.contents).contents[:4] == run.contents


def test_changing_what_a_run_hands_out_changes_nothing_else() -> None:
    model = ScriptedModel(["a"])
    run = Agent(model).run("q")
    run.contents[0]["parts"][0]["text"] = "changed"
    assert run.contents == [user_content("q"), model_content("a")]


@pytest.mark.parametrize("kind", ["text", "sync", "async"])
def test_instructions_are_a_text_or_a_function_of_the_context(go: Runner, kind: str) -> None:
    def plain(ctx: Context[str]) -> str:
        return f"Speak to {ctx.deps}."

    async def awaited(ctx: Context[str]) -> str:
        await asyncio.sleep(0)
        return plain(ctx)

    model = ScriptedModel(["hi"])
    instructions: Any = {"text": "Speak to Ann.", "sync": plain, "async": awaited}[kind]
    go(Agent(model, instructions=instructions), "hello", deps="Ann")
    assert model.requests[0]["systemInstruction"]["parts"] == [{"text": "Speak to Ann."}]


def test_instructions_that_fail_or_return_no_text_raise(go: Runner) -> None:
    async def broken(_: Context[Any]) -> str:
        raise LookupError("no such person")

    with pytest.raises(LookupError):
        go(Agent(ScriptedModel([]), instructions=broken), "x")
    with pytest.raises(ConfigurationError, match="returned int"):
        go(Agent(ScriptedModel([]), instructions=lambda _: 3), "x")


def test_overrides_hold_for_one_run_only(go: Runner) -> None:
    first, second = ScriptedModel(["a", "c"]), ScriptedModel([call("aadd", a=1, b=1), "b"])
    agent = Agent(first, tools=[add], instructions="one")
    go(agent, "x")
    run = go(
        agent,
        "x",
        model=second,
        tools=[aadd],
        instructions="two",
        tool_choice="required",
        limits=Limits(turns=5),
    )
    assert run.text == "b"
    assert second.requests[0]["systemInstruction"]["parts"] == [{"text": "two"}]
    assert second.requests[0]["tools"][0]["functionDeclarations"][0]["name"] == "aadd"
    go(agent, "x")
    assert first.requests[0] == first.requests[1]
    assert agent.tools[0].name == "add"


@pytest.mark.parametrize(
    ("choice", "modes"),
    [
        ("auto", [None, None]),
        ("none", [{"mode": "NONE"}, {"mode": "NONE"}]),
        ("required", [{"mode": "ANY"}, None]),
        (["add"], [{"mode": "ANY", "allowedFunctionNames": ["add"]}, None]),
    ],
)
def test_a_forced_call_is_forced_in_the_first_turn_only(go: Runner, choice: Any, modes: list[Any]) -> None:
    model = ScriptedModel([call("add", a=1, b=1), "2"])
    go(Agent(model, tools=[add], tool_choice=choice), "x")
    assert [r.get("toolConfig", {}).get("functionCallingConfig") for r in model.requests] == modes


# -- calls that go wrong ---------------------------------------------------------------------------------------------


def explode() -> None:
    """Fail."""
    raise ZeroDivisionError("the secret is 42")


def give_up() -> None:
    """Give up."""
    raise ToolError("The shop is closed.")


def test_every_call_gets_exactly_one_response_whatever_happens(go: Runner) -> None:
    model = ScriptedModel(
        [[call("add", a=1, b="x"), call("ad"), call("explode"), call("give_up"), call("add", a=1, b=1)], "ok"]
    )
    run = go(Agent(model, tools=[add, explode, give_up]), "x")
    bad, unknown, exploded, closed, fine = responses(run)
    assert "b" in bad["error"]
    assert "pydantic" not in bad["error"]
    assert "add" in unknown["error"]
    assert "secret" not in exploded["error"]
    assert closed["error"] == "The shop is closed."
    assert fine == {"output": 2}
    assert [type(error) for error in run.errors] == [ZeroDivisionError, ToolError]


def test_on_error_raise_lets_a_tools_exception_out_but_not_what_it_says_to_the_model(go: Runner) -> None:
    agent = Agent(
        ScriptedModel([call("give_up"), call("explode")]), tools=[explode, give_up], on_error="raise"
    )
    with pytest.raises(ZeroDivisionError):
        go(agent, "x")


def test_a_retry_is_counted_and_used_up(go: Runner) -> None:
    seen: list[int] = []

    @tool(retries=1)
    def picky(n: int, ctx: Context[Any]) -> int:
        """Take even numbers."""
        seen.append(ctx.retry)
        if n % 2:
            raise ToolRetry("Only even numbers.")
        return n

    model = ScriptedModel([call("picky", n=1), call("picky", n=3), call("picky", n=4), "ok"])
    run = go(Agent(model, tools=[picky]), "x")
    assert seen == [0, 1, 2]
    first, second, third = responses(run)
    assert "Only even numbers." in first["error"]
    assert third == {"output": 4}
    assert second["error"] != first["error"]
    (error,) = run.errors
    assert isinstance(error, ToolRetriesExceeded)
    assert "picky" in str(error)


def test_bad_arguments_count_against_retries_too_and_success_resets_the_count(go: Runner) -> None:
    script = [call("add", a="x"), call("add", a="y"), call("add", a=1, b=1), call("add"), "ok"]
    run = go(Agent(ScriptedModel(script), tools=[add]), "x")
    assert run.errors == ()
    run = go(Agent(ScriptedModel([call("add")] * 3 + ["ok"]), tools=[Tool.of(add, retries=2)]), "x")
    assert [type(error) for error in run.errors] == [ToolRetriesExceeded]


FREE = threading.Event()


@pytest.fixture
def free() -> Iterator[None]:
    """Have `slow_sync` block until the test has ended."""
    FREE.clear()
    yield
    FREE.set()


def slow_sync() -> str:
    """Block."""
    FREE.wait(PATIENCE)
    return "late"


async def slow_async() -> str:
    """Sleep, async."""
    await asyncio.sleep(PATIENCE)
    return "late"


@pytest.mark.parametrize("function", [slow_sync, slow_async])
def test_a_tool_that_outlives_its_time_is_left_behind(go: Runner, function: Any, free: None) -> None:
    model = ScriptedModel([[call(function.__name__), call("add", a=1, b=1)], "ok"])
    run = go(Agent(model, tools=[Tool.of(function, timeout=0.05), add]), "x")
    late, fine = responses(run)
    assert "error" in late
    assert fine == {"output": 2}
    assert [type(error) for error in run.errors] == [ToolTimeout]


def test_a_default_timeout_holds_for_tools_that_set_none(go: Runner) -> None:
    run = go(Agent(ScriptedModel([call("slow_async"), "ok"]), tools=[slow_async], tool_timeout=0.05), "x")
    assert [type(error) for error in run.errors] == [ToolTimeout]


@pytest.mark.parametrize(
    "options", [{"tool_timeout": 0.05}, {"limits": Limits(seconds=0.05)}], ids=["call", "run"]
)
def test_an_async_tool_that_ends_when_it_is_cancelled_holds_nobody_up(
    go: Runner, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        threads, "CLOSING_SECONDS", 3600
    )  # who waited for more than its end would do so for an hour
    go(Agent(ScriptedModel([call("slow_async"), "ok"]), tools=[slow_async], **options), "x")


def test_a_tool_that_exits_or_cancels_itself_is_an_error_of_that_call_only(go: Runner) -> None:
    def leave() -> None:
        """Exit."""
        raise SystemExit(3)

    async def aleave() -> None:
        """Exit, async."""
        raise SystemExit(3)

    async def cancel() -> None:
        """Cancel itself."""
        raise asyncio.CancelledError

    model = ScriptedModel([[call("leave"), call("aleave"), call("cancel"), call("add", a=1, b=1)], "ok"])
    run = go(Agent(model, tools=[leave, aleave, cancel, add]), "x")
    assert ["error" in response for response in responses(run)] == [True, True, True, False]
    assert run.text == "ok"


def test_a_plain_function_may_return_a_coroutine(go: Runner) -> None:
    lazy = Tool.of(lambda: aadd(1, 2), name="lazy", description="Add later.")
    run = go(Agent(ScriptedModel([call("lazy"), "ok"]), tools=[lazy]), "x")
    assert responses(run) == [{"output": 3}]


# -- side by side ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [slow_sync, None])
def test_calls_of_a_turn_run_at_the_same_time(go: Runner, function: Any) -> None:
    barrier = threading.Barrier(8)

    def meet() -> str:
        """Wait for the seven others."""
        barrier.wait(timeout=PATIENCE)
        return "met"

    waiting = 0

    async def ameet() -> str:
        """Wait for the seven others, async."""
        nonlocal waiting
        waiting += 1
        while waiting % 8:
            await asyncio.sleep(0.001)
        return "met"

    chosen: Any = meet if function else ameet
    model = ScriptedModel([[call(chosen.__name__)] * 8, "ok"])
    tools = [Tool.of(chosen, effect="read")]
    assert responses(go(Agent(model, tools=tools), "x")) == [{"output": "met"}] * 8


def test_writes_run_alone_and_in_order(go: Runner) -> None:
    active: list[str] = []
    overlaps: list[tuple[str, ...]] = []
    order: list[int] = []

    def read(n: int) -> int:
        """Read."""
        active.append("read")
        time.sleep(0.02)
        active.remove("read")
        order.append(n)
        return n

    @tool(effect="write")
    async def write(n: int) -> int:
        """Write."""
        overlaps.append(tuple(active))
        active.append("write")
        await asyncio.sleep(0.01)
        active.remove("write")
        order.append(n)
        return n

    script = [call("read", n=1), call("read", n=2), call("write", n=3), call("write", n=4), call("read", n=5)]
    run = go(Agent(ScriptedModel([script, "ok"]), tools=[read, write]), "x")
    assert overlaps == [(), ()]
    assert order[2:] == [3, 4, 5]
    assert [r["output"] for r in responses(run)] == [1, 2, 3, 4, 5]


def test_context_variables_reach_the_tools(go: Runner) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    def who() -> str:
        """Who."""
        return user.get()

    async def awho() -> str:
        """Who, async."""
        return user.get()

    user.set("ann")
    run = go(Agent(ScriptedModel([[call("who"), call("awho")], "ok"]), tools=[who, awho]), "x")
    assert responses(run) == [{"output": "ann"}] * 2


def test_a_tool_knows_its_call_and_tells_how_far_it_is() -> None:
    seen: list[Context[Any]] = []

    def work(ctx: Context[dict[str, int]]) -> int:
        """Work."""
        seen.append(ctx)
        ctx.progress("half")
        ctx.add_usage(Usage(total_tokens=1000))
        return ctx.deps["n"]

    model = ScriptedModel([[call_part("work", id="c1"), call_part("work", id="c1"), call("work")], "ok"])
    with Agent(model, tools=[work]).stream("x", deps={"n": 5}) as events:
        told = [event for event in events if isinstance(event, ToolProgress)]
    run = events.run
    assert sorted(event.call_id for event in told) == sorted(ctx.call_id for ctx in seen)
    assert len({ctx.call_id for ctx in seen}) == 3
    assert {ctx.run_id for ctx in seen} == {run.run_id}
    assert run.usage.total_tokens == 3000 + sum(usage.total_tokens for usage in run.turn_usages)


def test_async_tools_of_sync_callers_keep_one_event_loop_from_run_to_run() -> None:
    loops: list[Any] = []

    async def which() -> None:
        """Note the loop."""
        loops.append(asyncio.get_running_loop())

    for _ in range(2):
        Agent(ScriptedModel([call("which"), "ok"]), tools=[which]).run("x")
    assert loops[0] is loops[1]


def test_a_sync_run_inside_a_running_event_loop_works(no_thread_left: None) -> None:
    async def notebook() -> str:
        return Agent(ScriptedModel([call("aadd", a=1, b=2), "3"]), tools=[aadd]).run("x").text

    assert asyncio.run(notebook()) == "3"


def test_an_async_tool_that_would_wait_for_itself_is_told_so() -> None:
    inner = Agent(ScriptedModel([call("aadd", a=1, b=2), "3"]), tools=[aadd])

    async def nested() -> str:
        """Run another agent, the wrong way."""
        return inner.run("x").text

    run = Agent(ScriptedModel([call("nested"), "ok"]), tools=[nested]).run("x")
    (error,) = run.errors
    assert isinstance(error, AgentError)
    assert "await agent.aio.run()" in str(error)


def test_an_async_tool_that_blocks_is_left_behind_and_the_next_run_works() -> None:
    done = threading.Event()

    async def block() -> None:
        """Block the event loop."""
        done.wait(PATIENCE)

    began = time.monotonic()
    model = ScriptedModel([[call("block"), call("add", a=1, b=1)], "ok"])
    run = Agent(model, tools=[Tool.of(block, timeout=0.1), add]).run("x")
    assert [type(error) for error in run.errors] == [ToolTimeout]
    assert responses(run)[1] == {"output": 2}
    again = Agent(ScriptedModel([call("aadd", a=1, b=2), "ok"]), tools=[aadd]).run("x")
    assert responses(again) == [{"output": 3}]
    assert time.monotonic() - began < PATIENCE / 2
    done.set()


@pytest.mark.parametrize("strike", ["start", "join"])
def test_ctrl_c_while_the_portal_opens_or_closes_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, no_thread_left: None, strike: str
) -> None:
    real = getattr(threading.Thread, strike)
    struck: list[str] = []

    def interrupted(self: threading.Thread, *args: Any) -> None:
        if self.name == "agentkit-portal" and not struck:
            struck.append(strike)
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(threading.Thread, strike, interrupted)
    events = Agent(ScriptedModel([call("aadd", a=1, b=2), "ok"]), tools=[aadd]).stream("x")
    with pytest.raises(KeyboardInterrupt):
        events.drain()
    assert struck
    check_history(events.run.contents)
    for _ in range(2):
        run = Agent(ScriptedModel([call("aadd", a=1, b=2), "ok"]), tools=[aadd]).run("x")
        assert responses(run) == [{"output": 3}]


def test_a_loop_stays_the_one_that_is_kept_though_its_thread_lives_a_moment_longer(
    monkeypatch: pytest.MonkeyPatch, no_thread_left: None
) -> None:
    turned, go_on = threading.Event(), threading.Event()
    turn = threads._turn

    def turn_and_linger(*args: Any) -> None:
        turn(*args)
        turned.set()
        go_on.wait(PATIENCE)

    monkeypatch.setattr(threads, "_turn", turn_and_linger)
    portal = threads.Portal()
    handle = portal.enter()
    loop = handle.loop
    handle.end()
    del handle  # as after a Ctrl-C while its thread is waited for
    assert turned.wait(PATIENCE)
    again = portal.enter()
    assert again.loop is loop
    go_on.set()
    portal.leave(again)
    until(lambda: not again.thread.is_alive())
    portal._close()
    atexit.unregister(portal._close)


def test_ctrl_c_while_a_call_is_looked_at_leaves_a_valid_history(go: Runner) -> None:
    def ask(args: Any, ctx: Any) -> bool:
        raise KeyboardInterrupt

    model = ScriptedModel([[call("add", a=1, b=1), call("held", a=1, b=1), call("add", a=1, b=1)]])
    agent = Agent(model, tools=[add, Tool.of(add, name="held", approval=ask)])
    events = agent.stream("x")
    with pytest.raises(KeyboardInterrupt):
        events.drain()
    check_history(events.run.contents)
    assert len(responses(events.run)) == 3


def test_whoever_gets_arguments_may_change_them_without_changing_the_history() -> None:
    def ask(args: Any, ctx: Any) -> bool:
        args["items"].append("asked")
        return bool(args["items"] == [])

    def count(items: list[str]) -> int:
        """Count."""
        items.append("counted")
        return len(items)

    model = ScriptedModel([call("count", items=["a"]), "ok"])
    with Agent(model, tools=[Tool.of(count, approval=ask)]).stream("x") as events:
        for event in events:
            if isinstance(event, ToolStarted):
                event.args["items"].append("started")
            if isinstance(event, ToolFinished):
                event.response["response"]["output"] = 99
    assert model.requests[1]["contents"][1]["parts"][0]["functionCall"]["args"] == {"items": ["a"]}
    assert responses(events.run) == [{"output": 2}]


def test_a_tool_that_floods_its_progress_is_timed_out_all_the_same(go: Runner) -> None:
    stop = threading.Event()

    def flood(ctx: Context[Any]) -> None:
        """Flood."""
        while not stop.is_set():
            ctx.progress("more")

    run = go(Agent(ScriptedModel([call("flood"), "ok"]), tools=[Tool.of(flood, timeout=0.1)]), "x")
    stop.set()
    assert [type(error) for error in run.errors] == [ToolTimeout]


# -- limits ----------------------------------------------------------------------------------------------------------


def test_the_limit_of_turns_stops_the_run(go: Runner) -> None:
    model = ScriptedModel([call("add", a=1, b=1)] * 3)
    run = go(Agent(model, tools=[add], limits=Limits(turns=3)), "x")
    assert (run.stop, run.turns, run.text) == ("turns", 3, "")
    with pytest.raises(RunStopped, match="turns") as caught:
        run.raise_for_stop()
    assert caught.value.run is run


def test_the_limit_of_tool_calls_answers_the_rest_without_running_them(go: Runner) -> None:
    ran: list[int] = []

    def note(n: int) -> None:
        """Note."""
        ran.append(n)

    model = ScriptedModel([[call("note", n=1), call("note", n=2), call("note", n=3)]])
    run = go(Agent(model, tools=[note], limits=Limits(tool_calls=2)), "x")
    assert run.stop == "tool_calls"
    assert sorted(ran) == [1, 2]
    assert "limit" in responses(run)[2]["error"]


def test_the_limit_of_tokens_stops_before_the_next_turn(go: Runner) -> None:
    model = ScriptedModel([reply(call("add", a=1, b=1), totalTokenCount=100)])
    run = go(Agent(model, tools=[add], limits=Limits(tokens=100)), "x")
    assert (run.stop, run.usage.total_tokens) == ("tokens", 100)
    assert responses(run) == [{"output": 2}]


@pytest.mark.parametrize("function", [slow_sync, slow_async])
def test_the_limit_of_seconds_cuts_tools_off(go: Runner, function: Any, free: None) -> None:
    began = time.monotonic()

    def cut_off(seconds: float) -> Run:
        model = ScriptedModel([call(function.__name__)])
        return go(Agent(model, tools=[function], limits=Limits(seconds=seconds)), "x")

    run = given_time(cut_off, responses)
    assert run.stop == "seconds"
    assert "error" in responses(run)[0]
    assert time.monotonic() - began < PATIENCE / 2


def test_the_limit_of_seconds_holds_for_waits_between_retries(go: Runner) -> None:
    model = ScriptedModel([fault(429, retry_after=30)])
    assert go(Agent(model, limits=Limits(seconds=5)), "x").stop == "seconds"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_limit_of_seconds_holds_for_functions_of_the_instructions(
    go: Runner, kind: str, free: None
) -> None:
    def plain(_: Context[Any]) -> str:
        return slow_sync()

    async def awaited(_: Context[Any]) -> str:
        await asyncio.sleep(PATIENCE)
        return "late"

    agent = Agent(
        ScriptedModel([]), instructions=plain if kind == "sync" else awaited, limits=Limits(seconds=0.1)
    )
    assert go(agent, "x").stop == "seconds"


@pytest.mark.parametrize("bad", [{"turns": 0}, {"tokens": -1}, {"seconds": True}, {"tool_calls": "3"}])
def test_limits_that_make_no_sense_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigurationError):
        Limits(**bad)


# -- the model fails -------------------------------------------------------------------------------------------------


def test_a_passing_fault_is_tried_again_and_seen() -> None:
    model = ScriptedModel([fault(503, "busy"), fault(429), "ok"])
    with Agent(model, retry=NO_WAIT).stream("x") as events:
        retries = [event for event in events if isinstance(event, ModelRetry)]
    assert [event.attempt for event in retries] == [2, 3]
    assert retries[0].reason == "busy"
    assert events.run.text == "ok"
    assert events.run.turns == 1


def test_a_fault_that_lasts_is_raised_with_what_there_was(go: Runner) -> None:
    model = ScriptedModel([call("add", a=1, b=1), fault(503), fault(503), fault(503)])
    with pytest.raises(ModelError) as caught:
        go(Agent(model, tools=[add], retry=NO_WAIT), "x")
    run = caught.value.run
    assert run is not None
    check_history(run.contents)
    assert responses(run) == [{"output": 2}]


def test_a_fault_that_does_not_pass_is_not_tried_again(go: Runner) -> None:
    model = ScriptedModel([fault(400, "bad request")])
    with pytest.raises(ModelError, match="bad request"):
        go(Agent(model), "x")


def test_a_malformed_call_is_tried_again_with_a_nudge_that_stays_out_of_the_history(go: Runner) -> None:
    model = ScriptedModel([reply(finish_reason="MALFORMED_FUNCTION_CALL", totalTokenCount=5), "fine"])
    run = go(Agent(model, tools=[add]), "x")
    assert run.contents == [user_content("x"), model_content("fine")]
    assert run.usage.requests == 2
    assert len(model.requests[1]["contents"]) == 2


def test_text_that_was_shown_of_a_malformed_reply_is_said_to_be_void() -> None:
    model = ScriptedModel([reply("Half an ", finish_reason="MALFORMED_FUNCTION_CALL"), "whole"])
    with Agent(model).stream("x") as events:
        (again,) = [event for event in events if isinstance(event, ModelRetry)]
    assert again.discarded == "Half an "
    assert events.run.text == "whole"


@pytest.mark.parametrize(
    ("script", "stop"),
    [
        ([reply(finish_reason="MALFORMED_FUNCTION_CALL")] * 3, "malformed"),
        ([reply()] * 3, "empty"),
        ([reply(finish_reason="SAFETY")], "refused"),
        ([{"promptFeedback": {"blockReason": "SAFETY"}}], "refused"),
        ([reply("half of", call("add", a=1, b=1), finish_reason="MAX_TOKENS")], "max_tokens"),
        ([reply("so", finish_reason="SOMETHING_NEW")], "other"),
    ],
)
def test_a_reply_that_is_no_answer_stops_the_run(go: Runner, script: list[Any], stop: str) -> None:
    model = ScriptedModel(script)
    run = go(Agent(model, tools=[add]), "x")
    assert run.stop == stop
    model.assert_complete()
    assert not any("functionCall" in part for content in run.contents for part in content["parts"])


def test_text_of_a_cut_off_reply_is_kept(go: Runner) -> None:
    run = go(Agent(ScriptedModel([reply("half of", finish_reason="MAX_TOKENS")])), "x")
    assert (run.text, run.stop) == ("half of", "max_tokens")
    assert run.contents[-1] == model_content("half of")


# -- approvals -------------------------------------------------------------------------------------------------------


def test_a_call_that_needs_approval_waits_and_its_siblings_run(go: Runner) -> None:
    ran: list[str] = []

    @tool(approval=True)
    def order(sku: str) -> None:
        """Order."""
        ran.append(sku)

    @tool(effect="read", approval=lambda args, ctx: args["n"] > 10)
    def take(n: int) -> int:
        """Take some."""
        return n

    def odd(args: Any, ctx: Any) -> bool:
        raise KeyError("no rule")

    judged = Tool.of(add, approval=odd)
    script = [[call("order", sku="TEA"), call("take", n=3), call("take", n=30), call("add", a=1, b=1)]]
    run = go(Agent(ScriptedModel(script), tools=[order, take, judged]), "x")
    assert run.stop == "approval"
    assert ran == []
    assert [pending.name for pending in run.pending] == ["order", "take"]
    assert ["output" in response for response in responses(run)] == [False, True, False, False]
    assert [type(error) for error in run.errors] == [KeyError]


# -- broken off ------------------------------------------------------------------------------------------------------


def test_breaking_off_a_stream_ends_the_run_with_a_valid_history(no_thread_left: None) -> None:
    agent = Agent(ScriptedModel([call("slow_async")]), tools=[slow_async])
    with agent.stream("x") as events:
        for event in events:
            if isinstance(event, ToolStarted):
                break
    run = events.run
    check_history(run.contents)
    assert run.stop == "cancelled"
    assert "cancelled" in responses(run)[0]["error"]


def test_text_of_a_broken_off_reply_is_in_the_run_but_not_in_the_history() -> None:
    with Agent(ScriptedModel(["one two three"])).stream("x") as events:
        for text in events.texts():
            if text.startswith("two"):
                break
    assert events.run.text == "one two "
    assert events.run.contents == [user_content("x")]
    assert events.run.stop == "cancelled"


def test_a_stream_that_was_never_begun_sends_nothing() -> None:
    model = ScriptedModel(["never"])
    with Agent(model).stream("x") as events, pytest.raises(AgentError, match="still goes on"):
        _ = events.run
    assert events.run.stop == "cancelled"
    assert model.requests == []


def test_breaking_off_after_the_answer_is_no_cancellation() -> None:
    with Agent(ScriptedModel(["hi"])).stream("x") as events:
        for event in events:
            if isinstance(event, TurnFinished):
                break
    assert (events.run.stop, events.run.text) == (None, "hi")


def test_ctrl_c_in_a_tools_turn_leaves_a_valid_history(no_thread_left: None) -> None:
    def interrupt() -> None:
        """Press Ctrl-C, while the main thread waits."""
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.3)

    events = Agent(
        ScriptedModel([[call("interrupt"), call("slow_async")]]), tools=[interrupt, slow_async]
    ).stream("x")
    with pytest.raises(KeyboardInterrupt):
        events.drain()
    check_history(events.run.contents)
    assert events.run.stop == "cancelled"


def test_a_cancelled_task_ends_the_run_its_tools_and_its_tasks(no_thread_left: None) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def linger() -> None:
        """Wait long."""
        begun.append("tool")
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.append("tool")

    async def main() -> Run:
        stream = Agent(
            ScriptedModel([[call("linger"), call("slow_sync")]]), tools=[linger, slow_sync]
        ).aio.stream("x")
        task = asyncio.create_task(stream.drain())
        await auntil(lambda: begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return stream.run

    run = asyncio.run(main())
    check_history(run.contents)
    assert (run.stop, ended) == ("cancelled", ["tool"])


def test_breaking_off_an_async_stream_closes_it(no_thread_left: None) -> None:
    async def main() -> Run:
        async with Agent(ScriptedModel(["one two three"])).aio.stream("x") as events:
            async for text in events.texts():
                if text.startswith("two"):
                    break
        return events.run

    run = asyncio.run(main())
    assert (run.stop, run.text) == ("cancelled", "one two ")


# -- events ----------------------------------------------------------------------------------------------------------


def _kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_events_tell_what_happens_in_order_sync_and_async_alike() -> None:
    thought: Any = {"text": "Adding.", "thought": True}

    def model() -> ScriptedModel:
        return ScriptedModel([[thought, call("add", a=1, b=2)], "It is 3."])

    with Agent(model(), tools=[add]).stream("x") as stream:
        events = list(stream)

    async def go() -> list[Event]:
        async with Agent(model(), tools=[add]).aio.stream("x") as stream:
            return [event async for event in stream]

    assert _kinds(events) == [
        "ThoughtDelta",
        "TurnFinished",
        "ToolStarted",
        "ToolFinished",
        "TextDelta",
        "TextDelta",
        "TextDelta",
        "TurnFinished",
        "RunFinished",
    ]
    assert _kinds(asyncio.run(go())) == _kinds(events)
    assert events[0] == ThoughtDelta("Adding.")
    started, finished = events[2], events[3]
    assert isinstance(started, ToolStarted)
    assert isinstance(finished, ToolFinished)
    assert (started.name, started.args) == ("add", {"a": 1, "b": 2})
    assert finished.response == {"name": "add", "response": {"output": 3}}
    assert finished.call_id == started.call_id
    assert finished.seconds >= 0
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "It is 3."
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.run is stream.run


def test_usage_of_all_turns_adds_up(go: Runner) -> None:
    model = ScriptedModel(
        [
            reply(call("add", a=1, b=1), promptTokenCount=10, candidatesTokenCount=2, totalTokenCount=12),
            reply(
                "2", promptTokenCount=20, cachedContentTokenCount=8, thoughtsTokenCount=3, totalTokenCount=25
            ),
        ]
    )
    run = go(Agent(model, tools=[add]), "x")
    assert run.usage == Usage(
        requests=2, prompt_tokens=30, cached_tokens=8, candidates_tokens=2, thoughts_tokens=3, total_tokens=37
    )
    assert [usage.total_tokens for usage in run.turn_usages] == [12, 25]


def test_counts_that_are_no_whole_numbers_are_none() -> None:
    odd: Any = {
        "promptTokenCount": 1.5,
        "totalTokenCount": None,
        "candidatesTokenCount": True,
        "thoughtsTokenCount": -1,
    }
    assert Usage.from_wire(odd) == Usage(requests=1)
    with pytest.raises(TypeError):
        _ = Usage() + 1  # type: ignore[operator]


# -- agents as tools, configuration, threads --------------------------------------------------------------------------


def test_an_agent_is_a_tool_of_another(go: Runner) -> None:
    inner = Agent(
        ScriptedModel([call("aadd", a=1, b=2), reply("three", totalTokenCount=50)]), tools=[aadd], name="sums"
    )
    outer = ScriptedModel([call("sums", request="1 + 2"), "It is three."])
    run = go(Agent(outer, tools=[inner.as_tool(description="Adds numbers.")]), "x", deps="d")
    assert run.text == "It is three."
    assert responses(run) == [{"output": "three"}]
    assert run.usage.total_tokens > 50


def test_an_inner_agent_that_stops_is_an_error_the_outer_model_is_told(go: Runner) -> None:
    inner = Agent(ScriptedModel([reply(finish_reason="SAFETY")]), name="my inner")
    run = go(Agent(ScriptedModel([call("my_inner", request="x"), "ok"]), tools=[inner.as_tool()]), "x")
    assert "refused" in responses(run)[0]["error"]


def test_an_inner_agent_whose_model_fails_has_its_tokens_counted(go: Runner) -> None:
    script = [reply(call("aadd", a=1, b=2), totalTokenCount=50), fault(400)]
    inner = Agent(ScriptedModel(script), tools=[aadd], name="3d")
    outer = ScriptedModel(
        [reply(call("_3d", request="x"), totalTokenCount=1), reply("ok", totalTokenCount=1)]
    )
    run = go(Agent(outer, tools=[inner.as_tool()]), "x")
    assert run.usage.total_tokens == 52
    assert [type(error) for error in run.errors] == [ModelError]


@pytest.mark.parametrize(
    "bad",
    [
        {"functionResponse": {"name": "f", "response": {}}},
        [{"role": "model", "parts": [{"text": "x"}]}, "hi"],
        ["q", {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}, "hi"],
    ],
)
def test_input_that_breaks_a_rule_is_refused(bad: Any) -> None:
    model = ScriptedModel([])
    with pytest.raises(HistoryError):
        Agent(model).run(bad)
    with pytest.raises(HistoryError):
        Agent(model).chat().send_message(bad)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on_error": "ignore"}, "on_error"),
        ({"tool_timeout": 0}, "tool_timeout"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": "required"}, "no tools"),
        ({"tool_choice": ["nope"]}, "name tools"),
        ({"instructions": 3}, "instructions=3"),
        ({"client": object()}, "client"),
        ({"model": 3}, "give a text, a Model"),
        ({"model": "local", "client": genai.Client(api_key="k")}, "there is none here"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(settings: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Agent(**{"model": ScriptedModel([]), **settings})


def test_wrong_options_and_input_are_refused_before_anything_is_sent() -> None:
    model = ScriptedModel([])
    agent = Agent(model)
    with pytest.raises(ConfigurationError, match="has no temperature="):
        agent.run("x", temperature=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError):
        agent.run("")
    with pytest.raises(HistoryError):
        agent.run("x", history=[model_content("hi")])
    with pytest.raises(ToolDefinitionError):
        agent.run("x", tools=["add"])
    assert model.requests == []


def test_the_models_name_comes_from_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Agent().model.name == "gemini-3.8-flash"
    monkeypatch.setenv("AGENTKIT_MODEL", "gemini-x")
    assert Agent().model.name == "gemini-x"
    assert Agent("gemini-y", tools=[add]).model.name == "gemini-y"
    assert repr(Agent("gemini-y", tools=[add])) == "Agent('gemini-y', name='agent', tools=['add'])"
    monkeypatch.setenv("AGENTKIT_MODEL", "local")
    assert Agent().model.name == "local"


def test_one_agent_serves_many_threads_and_event_loops() -> None:
    def answer(request: Request) -> Any:
        last = request["contents"][-1]["parts"][0]
        if "text" in last:
            return call("aadd" if "async" in last["text"] else "add", a=int(last["text"].split()[-1]), b=1)
        return str(last["functionResponse"]["response"]["output"])

    agent = Agent(ScriptedModel([answer] * 200), tools=[add, aadd])
    got: dict[int, str] = {}

    def work(n: int) -> None:
        got[n] = agent.run(f"sync {n}").text if n % 2 else asyncio.run(agent.aio.run(f"async {n}")).text

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: str(n + 1) for n in range(20)}


def test_a_picture_goes_along(tmp_path: Path) -> None:
    model = ScriptedModel(["a dot"])
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    Agent(model).run(["What is this?", picture])
    assert model.requests[0]["contents"][0]["parts"][1]["inlineData"]["mimeType"] == "image/png"


def test_an_async_tool_that_blocks_holds_up_its_own_caller_alone(no_thread_left: None) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    async def block() -> str:
        """Block the event loop."""
        blocked.set()
        return str(go_on.wait(PATIENCE))

    ended: list[Run] = []
    slow = Agent(ScriptedModel([call("block"), "ok"]), tools=[block])
    thread = threading.Thread(target=lambda: ended.append(slow.run("x")))
    thread.start()
    assert blocked.wait(PATIENCE)
    for _ in range(2):
        run = Agent(ScriptedModel([call("aadd", a=1, b=2), "ok"]), tools=[aadd]).run("x")
        assert responses(run) == [{"output": 3}]
    assert not ended
    go_on.set()
    thread.join()
    assert responses(ended[0]) == [{"output": "True"}]


STORM = """
import gc, random, signal, threading, time
from agentkit import Agent
from agentkit.drivers.threads import pool
from agentkit.testing import ScriptedModel, call

async def add(a: int, b: int) -> int:
    "Add."
    return a + b

def strike(*_):
    raise KeyboardInterrupt

def run():
    return Agent(ScriptedModel([call("add", a=1, b=2), "ok"]), tools=[add]).run("x").text

began = time.monotonic()
for _ in range(20):
    run()
usual = (time.monotonic() - began) / 20
signal.signal(signal.SIGALRM, strike)
dice = random.Random(7)

def once():
    try:
        signal.setitimer(signal.ITIMER_REAL, dice.random() * usual + 1e-5)
        run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

for _ in range(200):
    try:
        once()
    except KeyboardInterrupt:
        pass
    except RuntimeError as error:  # what threading makes of a Ctrl-C in its own wait for a thread to start
        if str(error) != "release unlocked lock":
            raise
def left():  # but what a Ctrl-C in Thread.start() has left there for ever, which is threading's own affair
    return [thread.name for thread in threading.enumerate() if thread not in threading._limbo][1:]

gc.collect()
run()  # who comes next ends what is left
until = time.monotonic() + 20
while left() and time.monotonic() < until:
    gc.collect()
    pool.close_idle()
    time.sleep(0.05)
print(run(), left())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX")
def test_a_storm_of_ctrl_c_leaves_no_thread() -> None:
    ran = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=120)
    assert ran.stdout.startswith("ok []"), ran.stderr[-2000:]
