"""Hooks: what each may do, sync and async, and what becomes of a run when one fails, hangs or talks nonsense."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentkit import (
    Agent,
    ConfigurationError,
    Context,
    Deny,
    Edit,
    GeminiModel,
    HistoryError,
    Hooks,
    Limits,
    Result,
    Run,
    Tool,
    ToolError,
    ToolRetry,
    Usage,
    tool,
)
from agentkit.errors import DecisionError
from agentkit.events import AgentEvent, Event, TextDelta, ToolFinished
from agentkit.output import Output
from agentkit.testing import ScriptedModel, call, check_history, reply
from agentkit.tooling.decisions import Approve, PendingCall
from agentkit.wire.content import model_content, user_content
from tests.helpers.gemini_server import GeminiServer, text
from tests.helpers.runners import Runner, responses
from tests.helpers.until import PATIENCE, given_time, stretched

KEY = "test-key-0123456789"
EVERY = ("before_model", "after_model", "before_tool", "after_tool")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Callable[[Callable[..., Any]], Any]:
    """Make a hook of a plain function, or an async one."""

    def make(function: Callable[..., Any]) -> Any:
        async def later(*args: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args)

        return function if request.param == "sync" else later

    return make


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def asking(*replies: Any, **settings: Any) -> Agent:
    """Make an agent that adds."""
    script = replies or ([call("add", a=1, b=2), "3"])
    return Agent(ScriptedModel(script), **{"tools": [add], **settings})


def model_of(agent: Agent) -> ScriptedModel:
    assert isinstance(agent.model, ScriptedModel)
    return agent.model


# -- before the model ------------------------------------------------------------------------------------------------


def test_a_request_may_be_replaced(go: Runner, kind: Any) -> None:
    def louder(request: Any, ctx: Context[Any]) -> Any:
        contents = [*request["contents"], user_content(f"(turn {ctx.turn}, for {ctx.deps})")]
        return {**request, "contents": contents}

    agent = asking(hooks=Hooks(before_model=kind(louder)))
    run = go(agent, "x", deps="Ann")
    sent = [request["contents"][-1] for request in model_of(agent).requests]
    assert sent == [user_content("(turn 0, for Ann)"), user_content("(turn 1, for Ann)")]
    assert len(run.contents) == 4
    assert run.contents[0] == user_content("x")


def test_a_reply_may_be_given_without_asking(go: Runner, kind: Any) -> None:
    agent = Agent(
        ScriptedModel([]), hooks=Hooks(before_model=kind(lambda *_: reply("from a cache", totalTokenCount=9)))
    )
    run = go(agent, "x")
    assert (run.text, run.stop, run.turns) == ("from a cache", None, 1)
    assert run.usage == Usage()
    assert run.contents == [user_content("x"), model_content("from a cache")]
    assert model_of(agent).requests == []


def test_a_reply_given_without_asking_is_told_as_text() -> None:
    hooks = Hooks(before_model=lambda *_: reply("from a cache"))
    with Agent(ScriptedModel([]), hooks=hooks).stream("x") as events:
        assert [event.text for event in events if isinstance(event, TextDelta)] == ["from a cache"]


def test_calls_that_a_hook_made_up_are_run_and_asked_about_as_any(go: Runner, kind: Any) -> None:
    def first_call(request: Any, ctx: Context[Any]) -> Any:
        return reply(call("add", a=20, b=3)) if ctx.turn == 0 else None

    agent = asking("23", hooks=Hooks(before_model=kind(first_call)))
    run = go(agent, "x")
    assert responses(run) == [{"output": 23}]
    assert (run.text, run.turns, run.usage.requests) == ("23", 2, 1)


def test_turns_that_a_hook_replies_in_count_in_the_limits(go: Runner) -> None:
    hooks = Hooks(before_model=lambda *_: reply(call("add", a=1, b=1)))
    run = go(asking(hooks=hooks, limits=Limits(turns=2)), "x")
    assert (run.stop, run.turns) == ("turns", 2)


@pytest.mark.parametrize(("why", "reason"), [("not on Sundays", "not on Sundays"), ("", "a hook refused it")])
def test_a_request_may_be_refused(go: Runner, kind: Any, why: str, reason: str) -> None:
    agent = asking(hooks=Hooks(before_model=kind(lambda *_: Deny(why))))
    run = go(agent, "x")
    assert (run.stop, run.finish_reason, run.text) == ("refused", reason, "")
    assert run.contents == [user_content("x")]
    assert model_of(agent).requests == []


def test_an_empty_reply_of_a_hook_is_repaired_as_a_models_would_be(go: Runner) -> None:
    run = go(Agent(ScriptedModel([]), hooks=Hooks(before_model=lambda *_: {"candidates": []})), "x")
    assert (run.stop, run.turns) == ("empty", 3)


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "marks"), [("gemini-3.8-flash", ["skip_thought_signature_validator"]), ("gemini-2.5-pro", [])]
)
def test_calls_that_a_hook_made_up_have_the_stand_in_for_a_signature_that_gemini_3_demands(
    server: GeminiServer, name: str, marks: list[str]
) -> None:
    server.script([text("23")])
    made_up: list[Any] = [call("add", a=20, b=3), call("add", a=1, b=1)]
    server.rules.issue(made_up, "gemini-of-another")  # so that it is demanded
    model = GeminiModel(name, api_key=KEY, http_options={"base_url": server.url})

    def first_call(request: Any, ctx: Context[Any]) -> Any:
        return reply(*made_up) if ctx.turn == 0 else None

    run = Agent(model, tools=[add], hooks=Hooks(before_model=first_call)).run("x")
    model.close()
    assert run.text == "23"
    (body,) = server.asked(name)
    parts = body["contents"][1]["parts"]
    assert [part["thoughtSignature"] for part in parts if "thoughtSignature" in part] == marks
    assert marks == [] or "thoughtSignature" in parts[0]


# -- after the model -------------------------------------------------------------------------------------------------


def test_a_reply_may_be_replaced(go: Runner, kind: Any) -> None:
    def polite(said: Any, ctx: Context[Any]) -> Any:
        parts = said["candidates"][0]["content"]["parts"]
        return (
            None if "functionCall" in parts[0] else reply(parts[0]["text"] + ", please", finish_reason="STOP")
        )

    agent = asking(hooks=Hooks(after_model=kind(polite)))
    run = go(agent, "x")
    assert run.text == "3, please"
    assert run.contents[-1] == model_content("3, please")
    assert responses(run) == [{"output": 3}]
    assert run.usage.requests == 2


def test_calls_may_be_taken_out_of_a_reply(go: Runner) -> None:
    hooks = Hooks(after_model=lambda *_: reply("No calls today."))
    run = go(asking([call("add", a=1, b=2)], hooks=hooks), "x")
    assert (run.text, len(run.contents)) == ("No calls today.", 2)


def test_a_reply_may_be_refused(go: Runner, kind: Any) -> None:
    def judge(said: Any, ctx: Context[Any]) -> Any:
        return Deny("rude") if ctx.turn == 2 else None

    run = go(asking(hooks=Hooks(after_model=kind(judge))), "x")
    assert (run.stop, run.finish_reason, run.text) == ("refused", "rude", "")
    assert responses(run) == [{"output": 3}]
    assert run.usage.requests == 2
    assert len(run.contents) == 3


# -- before a tool ---------------------------------------------------------------------------------------------------


def test_arguments_may_be_changed_and_the_model_is_told(go: Runner, kind: Any) -> None:
    agent = asking(hooks=Hooks(before_tool=kind(lambda args, ctx: Edit({**args, "b": 40}))))
    (response,) = responses(go(agent, "x"))
    assert response["output"]["result"] == 41
    assert response["output"]["note"].startswith("The program changed the arguments")
    assert '"b": 40' in response["output"]["note"]
    sent = model_of(agent).requests[1]["contents"][1]["parts"][0]["functionCall"]["args"]
    assert sent == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"a": 1}, "b"),
        ({"a": 1, "b": "x"}, "integer"),
        ("x", "give a dict"),
        ({"a": 1, "b": float("nan")}, "JSON"),
    ],
)
def test_an_edit_that_does_not_fit_is_the_developers_mistake_not_the_models(
    go: Runner, args: Any, words: str
) -> None:
    agent = asking(hooks=Hooks(before_tool=lambda *_: Edit(args)))
    with pytest.raises(ConfigurationError, match=words):
        go(agent, "x")
    assert len(model_of(agent).requests) == 1


def test_a_call_may_be_refused(go: Runner, kind: Any) -> None:
    ran: list[int] = []

    def note(n: int) -> int:
        """Note."""
        ran.append(n)
        return n

    def even(args: Any, ctx: Context[Any]) -> Any:
        assert ctx.tool_name == "note"
        return Deny("odd" if args["n"] == 1 else "") if args["n"] % 2 else None

    script = [[call("note", n=n) for n in range(4)], "ok"]
    run = go(Agent(ScriptedModel(script), tools=[note], hooks=Hooks(before_tool=kind(even))), "x")
    assert sorted(ran) == [0, 2]
    assert [response.get("output") for response in responses(run)] == [0, None, 2, None]
    assert responses(run)[1]["error"] == "The program refused this call: odd"
    assert responses(run)[3]["error"] == "The program refused this call."
    assert run.errors == ()


def test_a_result_may_be_given_without_running_the_tool(go: Runner, kind: Any) -> None:
    @tool(approval=True)
    def never() -> None:
        """Never run."""
        raise AssertionError

    hooks = Hooks(before_tool=kind(lambda *_: Result({"cached": [1, 2]})))
    run = go(Agent(ScriptedModel([call("never"), "ok"]), tools=[never], hooks=hooks), "x")
    assert responses(run) == [{"output": {"cached": [1, 2]}}]
    assert (run.stop, run.pending) == (None, ())


def _id_in(request: Any) -> str:
    output: str = request["contents"][-1]["parts"][0]["functionResponse"]["response"]["output"]
    return output.partition('read_result(id="')[2].partition('"')[0]


def test_a_hook_is_asked_before_the_approver_and_may_settle_it(go: Runner, kind: Any) -> None:
    heard: list[tuple[str, Any]] = []

    def hook(args: Any, ctx: Context[Any]) -> Any:
        heard.append(("hook", args["a"]))
        return {1: None, 2: Deny(), 3: Edit({"a": 30, "b": 0}), 4: Result(44)}[args["a"]]

    def approver(pending: PendingCall, ctx: Context[Any]) -> Any:
        heard.append(("approver", pending.args["a"]))
        return Approve()

    agent = Agent(
        ScriptedModel([[call("add", a=n, b=0) for n in (1, 2, 3, 4)], "ok"]),
        tools=[Tool.of(add, approval=True)],
        hooks=Hooks(before_tool=kind(hook)),
        approver=kind(approver),
    )
    run = go(agent, "x")
    order = [("hook", 1), ("approver", 1), ("hook", 2), ("hook", 3), ("approver", 30), ("hook", 4)]
    assert heard == order
    one, two, three, four = responses(run)
    assert one == {"output": 1}
    assert "refused" in two["error"]
    assert three["output"]["result"] == 30
    assert four == {"output": 44}


def test_a_hook_is_not_asked_about_calls_that_can_not_run(go: Runner) -> None:
    heard: list[str] = []
    hooks = Hooks(
        before_tool=lambda _, ctx: heard.append(f"before {ctx.tool_name}"),
        after_tool=lambda _, ctx: heard.append(f"after {ctx.tool_name}"),
    )
    script = [[call("nope"), call("add", a="x"), call("add", a=1, b=1)], "ok"]
    go(Agent(ScriptedModel(script), tools=[add], hooks=hooks), "x")
    assert heard == ["before add", "after add"]


# -- after a tool ----------------------------------------------------------------------------------------------------


def secret() -> str:
    """Tell a secret."""
    return "the secret is 42"


def fail() -> None:
    """Fail."""
    raise ToolError("broken")


def test_a_response_may_be_replaced_or_withheld(go: Runner, kind: Any) -> None:
    heard: list[Any] = []

    def filter_it(response: Any, ctx: Context[Any]) -> Any:
        heard.append((ctx.tool_name, response["response"]))
        if ctx.tool_name == "secret":
            return Deny("withheld") if ctx.deps else Deny()
        return Result({"was": response["response"]["error"]}) if "error" in response["response"] else None

    script = [[call("secret"), call("fail"), call("add", a=1, b=1)], "ok"]
    agent = Agent(
        ScriptedModel(script * 2), tools=[secret, fail, add], hooks=Hooks(after_tool=kind(filter_it))
    )
    run = go(agent, "x", deps=True)
    assert responses(run) == [{"error": "withheld"}, {"output": {"was": "broken"}}, {"output": 2}]
    assert "42" not in str(run.contents)
    assert sorted(name for name, _ in heard) == ["add", "fail", "secret"]
    assert responses(go(agent, "x"))[0] == {"error": "The result of 'secret' is withheld."}


def test_what_a_hook_changes_is_what_events_tell(kind: Any) -> None:
    hooks = Hooks(after_tool=kind(lambda *_: Result("changed")))
    with Agent(ScriptedModel([call("secret"), "ok"]), tools=[secret], hooks=hooks).stream("x") as events:
        (told,) = [event for event in events if isinstance(event, ToolFinished)]
    assert told.response["response"] == {"output": "changed"}


def test_a_large_result_put_in_place_is_cut_and_can_be_read_on(go: Runner) -> None:
    whole = "x" * 3000
    model = ScriptedModel([call("secret"), lambda r: call("read_result", id=_id_in(r), offset=2990), "ok"])
    hooks = Hooks(after_tool=lambda _, ctx: Result(whole) if ctx.tool_name == "secret" else None)
    run = go(Agent(model, tools=[secret], hooks=hooks, max_result_chars=500), "x")
    assert responses(run)[1] == {"output": "x" * 10}


def test_what_can_not_be_json_in_place_of_a_result_is_the_hooks_mistake_not_the_tools(go: Runner) -> None:
    hooks = Hooks(after_tool=lambda *_: Result(object()))
    with pytest.raises(DecisionError, match="after_tool, Result") as raised:
        go(asking(hooks=hooks), "x")
    assert "ended before its result was released" in responses(raised.value.run)[0]["error"]
    assert (raised.value.run.stop, raised.value.run.errors) == ("error", ())


def test_hooks_are_called_one_at_a_time_though_calls_run_side_by_side(go: Runner, kind: Any) -> None:
    active = itertools.count()
    overlaps: list[int] = []
    inside = 0

    def watch(*_: Any) -> None:
        nonlocal inside
        inside += 1
        time.sleep(0.01)
        overlaps.append(inside)
        inside -= 1
        next(active)

    barrier = threading.Barrier(6)

    def meet() -> str:
        """Meet."""
        barrier.wait(PATIENCE)
        return "met"

    hooks = Hooks(before_tool=kind(watch), after_tool=kind(watch))
    run = go(
        Agent(ScriptedModel([[call("meet")] * 6, "ok"]), tools=[Tool.of(meet, effect="read")], hooks=hooks),
        "x",
    )
    assert responses(run) == [{"output": "met"}] * 6
    assert overlaps == [1] * 12


@pytest.mark.slow
def test_a_call_that_was_done_in_time_counts_though_a_hook_is_slow(go: Runner) -> None:
    def done(longer: float) -> None:
        def slow(response: Any, ctx: Context[Any]) -> None:
            time.sleep(1.2 * longer)

        tools = [Tool.of(add, timeout=longer), Tool.of(secret, timeout=longer)]
        script = [[call("add", a=1, b=1), call("secret")], "ok"]
        run = go(Agent(ScriptedModel(script), tools=tools, hooks=Hooks(after_tool=slow)), "x")
        assert responses(run) == [{"output": 2}, {"output": "the secret is 42"}]

    stretched(done)


# -- hooks that fail -------------------------------------------------------------------------------------------------


class Odd(Exception):
    """Nobody else's."""


@pytest.mark.parametrize("where", EVERY)
@pytest.mark.parametrize("error", [Odd, StopIteration, ToolRetry, ToolError])
def test_what_a_hook_raises_ends_the_run_with_a_valid_history(
    no_thread_left: None, where: str, kind: Any, error: type[Exception]
) -> None:
    def broken(*_: Any) -> Any:
        raise error("a hook fails")

    expected = RuntimeError if error is StopIteration else error
    hooks: Any = Hooks(**{where: kind(broken)})
    script = [[call("add", a=1, b=1), call("secret")], "never"]
    events = Agent(ScriptedModel(script), tools=[add, secret], hooks=hooks).stream("x")
    with pytest.raises(expected):
        events.drain()
    _check_after_a_failure(events.run, where)

    async def main() -> Run[Any]:
        stream = Agent(ScriptedModel(script), tools=[add, secret], hooks=hooks).aio.stream("x")
        with pytest.raises(expected):
            await asyncio.wait_for(stream.drain(), PATIENCE)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return stream.run

    _check_after_a_failure(asyncio.run(main()), where)


def _check_after_a_failure(run: Run[Any], where: str) -> None:
    check_history(run.contents)
    assert len(responses(run)) == (2 if "tool" in where else 0)
    if where == "before_tool":
        assert responses(run) == [{"error": "Not run; the run ended before."}] * 2
    assert "42" not in str(run.contents)  # a hook that fails has not let it through
    assert run.text == ""


@pytest.mark.parametrize("where", EVERY)
def test_a_hook_that_returns_nonsense_is_told_so(go: Runner, where: str) -> None:
    for nonsense in (3, "text", True, object(), {"x": 1}, []):
        with pytest.raises(ConfigurationError):
            go(asking(hooks=Hooks(**{where: lambda *_, said=nonsense: said})), "x")


@pytest.mark.parametrize(
    "nonsense",
    [
        {"candidates": "x"},
        {"candidates": [3]},
        {"candidates": [{"content": {"parts": [3]}}]},
        {"candidates": [{"content": {"parts": [{"text": 3}]}}]},
        {"candidates": 3},
    ],
)
@pytest.mark.parametrize("where", ["before_model", "after_model"])
def test_a_reply_that_is_none_is_told_so(go: Runner, where: str, nonsense: Any) -> None:
    with pytest.raises(ConfigurationError, match="which isn't a reply"):
        go(asking(hooks=Hooks(**{where: lambda *_: nonsense})), "x")


@pytest.mark.parametrize("contents", [[], 3, "x", [model_content("x")], [{"role": "user", "parts": []}]])
def test_a_request_that_breaks_a_rule_is_told_so_before_it_is_sent(go: Runner, contents: Any) -> None:
    agent = asking(hooks=Hooks(before_model=lambda request, _: {**request, "contents": contents}))
    with pytest.raises((HistoryError, ConfigurationError)):
        go(agent, "x")
    assert model_of(agent).requests == []


@pytest.mark.parametrize("said", [Approve(), Deny])
def test_an_answer_that_is_for_somebody_else_is_told_so(go: Runner, said: Any) -> None:
    for where in ("before_tool", "after_tool"):
        with pytest.raises(ConfigurationError):
            go(asking(hooks=Hooks(**{where: lambda *_: said})), "x")


@pytest.mark.parametrize("bad", [{"before_model": 3}, {"after_tool": "x"}])
def test_what_is_no_function_is_refused_at_once(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a function"):
        Hooks(**bad)


@pytest.mark.slow
@pytest.mark.parametrize("where", EVERY)
def test_the_limit_of_seconds_holds_while_a_hook_hangs(go: Runner, kind: Any, where: str) -> None:
    begun, end = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        begun.set()
        end.wait(PATIENCE)

    async def ahang(*_: Any) -> None:
        begun.set()
        await asyncio.sleep(PATIENCE)

    function: Any = hang if kind(hang) is hang else ahang

    def hung(seconds: float) -> Run:
        agent = Agent(
            ScriptedModel([call("secret"), "never"]),
            tools=[secret],
            hooks=Hooks(**{where: function}),
            limits=Limits(seconds=seconds),
        )
        return go(agent, "x")

    began = time.monotonic()
    run = given_time(hung, lambda _: begun.is_set())
    end.set()
    assert run.stop == "seconds"
    assert time.monotonic() - began < PATIENCE / 2
    assert "42" not in str(run.contents)  # what a hook did not let through
    assert len(responses(run)) == ("tool" in where)


# -- together with the rest ------------------------------------------------------------------------------------------


def test_hooks_of_a_sub_agent_are_its_own(go: Runner, kind: Any) -> None:
    heard: list[str] = []

    def hear(who: str) -> Any:
        return kind(lambda _, ctx: heard.append(f"{who} {ctx.tool_name} {ctx.deps}"))

    inner = Agent(
        ScriptedModel([call("add", a=1, b=1), "2"]),
        tools=[add],
        name="sums",
        hooks=Hooks(before_tool=hear("inner")),
    )
    outer = Agent(
        ScriptedModel([call("sums", request="1+1"), "two"]),
        tools=[inner.as_tool()],
        hooks=Hooks(before_tool=hear("outer"), after_tool=hear("outer after")),
    )
    run = go(outer, "x", deps="d")
    assert run.text == "two"
    assert heard == ["outer sums d", "inner add d", "outer after sums d"]


def test_a_hook_of_a_sub_agent_that_fails_is_an_error_of_that_call(go: Runner) -> None:
    def broken(*_: Any) -> Any:
        raise Odd("inside")

    inner = Agent(ScriptedModel([]), name="sums", hooks=Hooks(before_model=broken))
    run = go(Agent(ScriptedModel([call("sums", request="x"), "ok"]), tools=[inner.as_tool()]), "x")
    assert [type(error) for error in run.errors] == [Odd]
    assert "internal error" in responses(run)[0]["error"]


def test_a_sub_agent_that_a_hook_refuses_is_told_as_refused(go: Runner) -> None:
    inner = Agent(ScriptedModel([]), name="sums", hooks=Hooks(before_model=lambda *_: Deny("no")))
    run = go(Agent(ScriptedModel([call("sums", request="x"), "ok"]), tools=[inner.as_tool()]), "x")
    assert "refused" in responses(run)[0]["error"]


def test_a_hooks_text_in_a_sub_agent_is_told_outside() -> None:
    inner = Agent(ScriptedModel([]), name="sums", hooks=Hooks(before_model=lambda *_: reply("cached")))
    told: list[Event] = []
    with Agent(ScriptedModel([call("sums", request="x"), "ok"]), tools=[inner.as_tool()]).stream(
        "x"
    ) as events:
        told += [event.event for event in events if isinstance(event, AgentEvent)]
    assert TextDelta("cached") in told


@pytest.mark.parametrize("mode", ["native", "tool"])
def test_structured_output_comes_out_the_same_with_hooks(go: Runner, kind: Any, mode: Any) -> None:
    heard: list[str] = []
    hooks = Hooks(
        before_model=kind(lambda *_: heard.append("before_model")),
        after_model=kind(lambda *_: heard.append("after_model")),
        before_tool=kind(lambda *_: Deny("no tools")),
        after_tool=kind(lambda *_: Deny("no results")),
    )
    script = ['{"result": [1, 2]}'] if mode == "native" else [call("final_result", result=[1, 2])]
    run = go(Agent(ScriptedModel(script), hooks=hooks), "x", output=Output(list[int], mode=mode))
    assert (run.output, run.stop) == ([1, 2], None)
    assert heard == ["before_model", "after_model"]


def test_a_hook_may_give_the_structured_output(go: Runner) -> None:
    agent = Agent(ScriptedModel([]), hooks=Hooks(before_model=lambda *_: reply('{"result": 5}')))
    assert go(agent, "x", output=Output(int, mode="native")).output == 5


def test_a_validator_of_structured_output_that_asks_again_is_heard(go: Runner, kind: Any) -> None:
    def even(value: int, ctx: Context[Any]) -> int:
        if value % 2:
            raise ToolRetry("Only even numbers.")
        return value

    model = ScriptedModel(['{"result": 5}', '{"result": 6}'])
    spec: Output[int] = Output(int, mode="native", validator=kind(even))
    run = go(Agent(model), "x", output=spec)
    assert run.output == 6
    assert "Only even numbers." in str(model.requests[1]["contents"][-1])


def test_hooks_run_in_chats_too() -> None:
    heard: list[Any] = []

    def hear(request: Any, ctx: Context[Any]) -> None:
        heard.append((ctx.session_id, len(request["contents"])))

    agent = Agent(ScriptedModel(["a", "b", "c"]), hooks=Hooks(before_model=hear))
    chat = agent.chat()
    chat.send_message("x")
    chat.send_message("y")
    achat = agent.aio.chat()
    asyncio.run(achat.send_message("x"))
    assert heard == [(chat.id, 1), (chat.id, 3), (achat.id, 1)]
