"""Limits: a run that reaches one stops, or lands softly; what it costs; and runs that go round in circles."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from agentkit import (
    Agent,
    ConfigurationError,
    Context,
    GeminiModel,
    Hooks,
    Limits,
    ModelError,
    Output,
    Price,
    Run,
    Summarize,
    ToolRegistry,
    ToolRetry,
    ToolSource,
    Usage,
    tool,
)
from agentkit.core.meter import Meter
from agentkit.core.repair import LAST_TURN, REPEATED
from agentkit.events import TextDelta, TurnFinished
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.tooling.tool import Tool
from agentkit.traits import PRICES
from agentkit.wire.content import Request, call_part, model_content, user_content
from tests.helpers.gemini_server import GeminiServer
from tests.helpers.gemini_server import call as server_call
from tests.helpers.gemini_server import calls as server_calls
from tests.helpers.gemini_server import fault as server_fault
from tests.helpers.runners import NO_WAIT, Runner, responses
from tests.helpers.until import PATIENCE, given_time

FREE = {"scripted": Price(input=0, output=0)}
DEAR = {"scripted": Price(input=1e6, output=1e6)}  # a dollar a token


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def sleep_async() -> None:
    """Sleep, async."""
    await asyncio.sleep(PATIENCE)


ADD = reply(call("add", a=1, b=1), totalTokenCount=10)
REACHED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "turns": ([ADD, ADD], {"turns": 2}),
    "tool_calls": ([ADD, [call("add", a=1, b=2), call("add", a=2, b=2)]], {"tool_calls": 2}),
    "tokens": ([ADD, ADD], {"tokens": 20}),
    "seconds": ([call("sleep_async")], {"seconds": 0.1}),
    "cost": ([ADD, ADD], {"cost": 20.0, "prices": DEAR}),
    "repeats": ([ADD] * 3, {"repeats": 2}),
}
each_limit = pytest.mark.parametrize("limit", sorted(REACHED))
each_limit_that_stops = pytest.mark.parametrize("limit", sorted(REACHED.keys() - {"repeats"}))


def limited(limit: str, *last: Any, **more: Any) -> tuple[Agent, ScriptedModel]:
    """Make an agent that reaches a limit, and then what its model says."""
    script, limits = REACHED[limit]
    model = ScriptedModel([*script, *last])
    settings = {"tools": [add, sleep_async], "retry": NO_WAIT} | more.pop("settings", {})
    return Agent(model, limits=Limits(**{**limits, **more}), **settings), model


def calling(request: Request) -> Any:
    return request.get("toolConfig", {}).get("functionCallingConfig")


# -- stop ------------------------------------------------------------------------------------------------------------


@each_limit_that_stops
def test_a_limit_stops_the_run_with_what_there_is(go: Runner, limit: str) -> None:
    agent, model = limited(limit)
    run = go(agent, "x")
    assert (run.stop, run.limit, run.text) == (limit, limit, "")
    assert len(run.contents) == 1 + 2 * len(REACHED[limit][0])
    model.assert_complete()


# -- answer ----------------------------------------------------------------------------------------------------------


@each_limit
def test_a_limit_leaves_one_last_turn_to_answer_in(go: Runner, limit: str) -> None:
    agent, model = limited(limit, ["So ", "far 2."], on_limit="answer")
    run = go(agent, "x")
    assert (run.text, run.stop, run.limit) == ("So far 2.", None, limit)
    model.assert_complete()
    before, last = model.requests[-2:]
    assert calling(last) == {"mode": "NONE"}
    assert {k: v for k, v in last.items() if k not in ("contents", "toolConfig")} == {
        k: v for k, v in before.items() if k not in ("contents", "toolConfig")
    }
    assert list(last["contents"]) == [*run.contents[:-1], user_content(LAST_TURN)]
    assert LAST_TURN not in json.dumps(run.contents)
    assert run.contents[-1] == model_content("So ", "far 2.") or run.text == "So far 2."
    assert run.raise_for_stop() is run


def test_without_tools_the_last_turn_names_no_mode(go: Runner) -> None:
    model = ScriptedModel([reply(finish_reason="MALFORMED_RESPONSE"), "done"])
    run = go(Agent(model, limits=Limits(turns=1, on_limit="answer")), "x")
    assert (run.text, run.stop, run.limit) == ("done", None, "turns")
    assert "toolConfig" not in model.requests[1]


def test_an_answer_within_the_limits_names_none(go: Runner) -> None:
    agent = Agent(ScriptedModel([ADD, "2"]), tools=[add], limits=Limits(turns=2, on_limit="answer"))
    run = go(agent, "x")
    assert (run.text, run.stop, run.limit) == ("2", None, None)


@each_limit
def test_a_last_turn_that_calls_tools_anyway_stops_with_the_limit(go: Runner, limit: str) -> None:
    agent, model = limited(limit, ADD, on_limit="answer")
    run = go(agent, "x")
    assert (run.stop, run.limit, run.text) == (limit, limit, "")
    assert len(run.contents) == 1 + 2 * len(REACHED[limit][0])
    model.assert_complete()


@pytest.mark.parametrize(
    ("last", "text"),
    [
        ([["half ", call("add", a=1, b=1)]], ""),
        ([reply()] * 3, ""),
        ([reply(finish_reason="MALFORMED_FUNCTION_CALL")] * 3, ""),
        ([reply(finish_reason="SAFETY")], ""),
        ([{"promptFeedback": {"blockReason": "OTHER"}}], ""),
        ([reply("cut", finish_reason="MAX_TOKENS")], "cut"),
        ([reply("odd", finish_reason="NEVER_SEEN")], "odd"),
    ],
    ids=["text and calls", "empty", "malformed", "refused", "blocked", "cut off", "unknown"],
)
def test_a_last_turn_that_is_no_answer_stops_with_the_limit(go: Runner, last: list[Any], text: str) -> None:
    agent, model = limited("turns", *last, on_limit="answer")
    run = go(agent, "x")
    assert (run.stop, run.limit, run.text) == ("turns", "turns", text)
    model.assert_complete()
    assert LAST_TURN not in json.dumps(run.contents)


@pytest.mark.parametrize(("limit", "code"), [("turns", 400), ("turns", 503), ("seconds", 503)])
def test_a_last_turn_that_fails_raises_with_the_limit_in_its_run(go: Runner, limit: str, code: int) -> None:
    agent, _ = limited(limit, *[fault(code)] * 3, on_limit="answer")
    with pytest.raises(ModelError) as caught:
        go(agent, "x")
    run = caught.value.run
    assert run is not None
    check_history(run.contents)
    assert (run.stop, run.limit) == (limit, limit)
    assert len(run.contents) == 1 + 2 * len(REACHED[limit][0])


@each_limit
@pytest.mark.parametrize("mode", ["native", "tool"])
def test_the_last_turn_gives_the_output_too(go: Runner, limit: str, mode: Any) -> None:
    last = call("final_result", result=2) if mode == "tool" else '{"result": 2}'
    agent, model = limited(limit, last, on_limit="answer")
    run = go(agent, "x", output=Output(int, mode=mode))
    assert (run.output, run.stop, run.limit) == (2, None, limit)
    assert json.loads(run.text) == {"result": 2}
    before, request = model.requests[-2:]
    assert request["tools"] == before["tools"]
    forced = {"mode": "ANY", "allowedFunctionNames": ["final_result"]}
    assert calling(request) == (forced if mode == "tool" else {"mode": "NONE"})
    model.assert_complete()


@pytest.mark.parametrize("mode", ["native", "tool"])
def test_the_last_turn_may_mend_its_output_as_often_as_any(go: Runner, mode: Any) -> None:
    def given(value: Any) -> Any:
        return call("final_result", result=value) if mode == "tool" else json.dumps({"result": value})

    agent, model = limited("turns", given("a"), given("b"), given(2), on_limit="answer")
    run = go(agent, "x", output=Output(int, mode=mode))
    assert (run.output, run.stop, run.limit) == (2, None, "turns")
    agent, model = limited("turns", *[given("a")] * 3, on_limit="answer")
    run = go(agent, "x", output=Output(int, mode=mode))
    assert (run.output, run.stop, run.limit) == (None, "turns", "turns")
    model.assert_complete()
    agent, model = limited("turns", *[call("add", a=1, b=2)] * 3, on_limit="answer")
    run = go(agent, "x", output=Output(int, mode=mode))
    assert (run.output, run.stop, run.limit) == (None, "turns", "turns")


def test_a_text_in_the_last_turn_is_answered_with_force(go: Runner) -> None:
    agent, model = limited("turns", "It is 2.", call("final_result", result=2), on_limit="answer")
    run = go(agent, "x", output=Output(int, mode="tool"))
    assert (run.output, run.limit) == (2, "turns")
    model.assert_complete()


def test_giving_the_output_is_no_tool_call(go: Runner) -> None:
    model = ScriptedModel([ADD, call("final_result", result=2)])
    agent = Agent(model, tools=[add], limits=Limits(tool_calls=1))
    run = go(agent, "x", output=Output(int, mode="tool"))
    assert (run.output, run.stop, run.limit) == (2, None, None)


def test_an_output_in_the_turn_that_reaches_a_limit_is_taken(go: Runner) -> None:
    script = [[call("add", a=1, b=1), call("add", a=2, b=2), call("final_result", result=2)]]
    agent = Agent(ScriptedModel(script), tools=[add], limits=Limits(tool_calls=1))
    run = go(agent, "x", output=Output(int, mode="tool"))
    assert (run.output, run.stop, run.limit) == (2, None, "tool_calls")
    assert "limit" in responses(run)[1]["error"]
    script = [[call("sleep_async"), call("final_result", result=2)]]
    tools = [Tool.of(sleep_async, effect="read")]

    def cut_off(seconds: float) -> Run:
        agent = Agent(ScriptedModel(script), tools=tools, limits=Limits(seconds=seconds))
        return go(agent, "x", output=Output(int, mode="tool"))

    run = given_time(cut_off, responses)
    assert (run.output, run.stop) == (2, None)


def test_the_last_turn_does_not_ask_which_tools_there_are(go: Runner) -> None:
    asked: list[int] = []

    def choose(ctx: Context[Any]) -> list[str]:
        asked.append(ctx.turn)
        return ["add"]

    agent, model = limited("turns", "done", on_limit="answer", settings={"choose_tools": choose})
    run = go(agent, "x")
    assert (run.text, run.limit) == ("done", "turns")
    assert model.requests[2]["tools"] == model.requests[1]["tools"]
    assert len(asked) == 2


def test_hooks_see_the_last_turn_and_may_refuse_it(go: Runner) -> None:
    seen: list[Any] = []
    hooks = Hooks(before_model=lambda request, ctx: seen.append(calling(request)))
    agent, _ = limited("turns", "done", on_limit="answer", settings={"hooks": hooks})
    assert go(agent, "x").text == "done"
    assert seen == [None, None, {"mode": "NONE"}]


def test_a_last_turn_is_continued_as_any(go: Runner) -> None:
    last = [reply("So ", finish_reason="MAX_TOKENS"), "far."]
    agent, model = limited("turns", *last, on_limit="answer", settings={"on_max_tokens": "continue"})
    run = go(agent, "x")
    assert (run.text, run.stop, run.limit) == ("So far.", None, "turns")
    assert LAST_TURN in json.dumps(model.requests[-1]["contents"])


# -- seconds ---------------------------------------------------------------------------------------------------------


class Hanging(ScriptedModel):
    """Hangs in some of its requests, as long as it may; streams a word before it does."""

    def __init__(self, script: list[Any], *, hangs: int) -> None:
        super().__init__(script)
        self._hangs = hangs
        self.timeouts: list[float | None] = []

    def _left(self, timeout: float | None) -> float:
        self.timeouts.append(timeout)
        self._hangs -= 1
        return min(timeout or 50, 50) if self._hangs >= 0 else 0

    def generate(self, request: Request, *, timeout: float | None = None) -> Any:
        if left := self._left(timeout):
            time.sleep(left)
            raise ModelError("too slow", retryable=True)
        return super().generate(request)

    def stream(self, request: Request, *, timeout: float | None = None) -> Any:
        if left := self._left(timeout):
            yield {"candidates": [{"content": model_content("Well, ")}]}
            time.sleep(left)
            raise ModelError("too slow", retryable=True)
        yield from super().stream(request)

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Any:
        if self._left(timeout):
            await asyncio.sleep(PATIENCE)
        return await super().agenerate(request)

    async def astream(self, request: Request, *, timeout: float | None = None) -> Any:
        if self._left(timeout):
            yield {"candidates": [{"content": model_content("Well, ")}]}
            await asyncio.sleep(PATIENCE)
        async for chunk in super().astream(request):
            yield chunk


def test_a_model_that_hangs_leaves_time_for_an_answer(go: Runner) -> None:
    began = time.monotonic()

    def hung(seconds: float) -> tuple[Hanging, Run]:
        model = Hanging(["done"], hangs=1)
        limits = Limits(seconds=seconds, on_limit="answer", answer_seconds=PATIENCE)
        return model, go(Agent(model, limits=limits), "x")

    model, run = given_time(hung, lambda made: len(made[0].timeouts) == 2)
    assert (run.text, run.stop, run.limit) == ("done", None, "seconds")
    assert time.monotonic() - began < PATIENCE / 2
    assert PATIENCE / 2 < (model.timeouts[1] or 0) <= PATIENCE


def test_a_model_that_hangs_in_its_last_turn_is_cut_off_after_answer_seconds(go: Runner) -> None:
    model = Hanging([], hangs=2)
    began = time.monotonic()
    run = go(Agent(model, limits=Limits(seconds=0.1, on_limit="answer", answer_seconds=0.15)), "x")
    assert (run.stop, run.limit) == ("seconds", "seconds")
    assert run.text in ("", "Well, ")
    assert run.contents == [user_content("x")]
    assert 0.2 < time.monotonic() - began < PATIENCE / 2


def test_text_that_was_broken_off_gives_way_to_the_answer_and_stays_without_one() -> None:
    def broken_off(answer: Any) -> tuple[str, Run]:
        def hung(seconds: float) -> tuple[Hanging, str, Run]:
            model = Hanging([answer], hangs=1)
            limits = Limits(seconds=seconds, on_limit="answer", answer_seconds=30)
            with Agent(model, limits=limits).stream("x") as events:
                told = "".join(event.text for event in events if isinstance(event, TextDelta))
            return model, told, events.run

        came = given_time(hung, lambda made: len(made[0].timeouts) == 2 and made[1].startswith("Well, "))
        return came[1:]

    told, run = broken_off("done")
    assert (told, run.text) == ("Well, done", "done")
    assert broken_off(reply(finish_reason="SAFETY"))[1].text == "Well, "


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_that_hangs_leaves_time_for_an_answer(go: Runner, is_async: bool) -> None:
    released = threading.Event()

    def hang() -> None:
        """Hang."""
        released.wait(PATIENCE)

    tools = [
        Tool.of(sleep_async if is_async else hang, name="hang", effect="read"),
        Tool.of(add, effect="read"),
    ]

    def hung(seconds: float) -> Run:
        model = ScriptedModel([[call("hang"), call("add", a=1, b=1)], "done"])
        return go(Agent(model, tools=tools, limits=Limits(seconds=seconds, on_limit="answer")), "x")

    run = given_time(hung, lambda run: {"output": 2} in responses(run))
    released.set()
    assert (run.text, run.stop, run.limit) == ("done", None, "seconds")
    late, fine = responses(run)
    assert "time of the run was up" in late["error"]
    assert fine == {"output": 2}


def test_the_time_that_is_left_holds_for_a_last_turn_that_another_limit_leaves(go: Runner) -> None:
    def hung(seconds: float) -> tuple[Hanging, Run]:
        model = Hanging([call("then_hang")], hangs=0)

        def then_hang() -> int:
            """Have the model hang from now on."""
            model._hangs = 9
            return 1

        limits = Limits(turns=1, seconds=seconds, on_limit="answer", answer_seconds=30)
        return model, go(Agent(model, tools=[then_hang], limits=limits), "x")

    began = time.monotonic()
    _, run = given_time(hung, lambda made: len(made[0].timeouts) == 2 and responses(made[1]))
    assert (run.stop, run.limit) == ("turns", "turns")
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.slow
def test_instructions_and_hooks_that_hang_reach_the_limit_too(go: Runner) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.sleep(PATIENCE)

    limits = Limits(seconds=0.05, on_limit="answer", answer_seconds=0.05)
    run = go(Agent(ScriptedModel([]), instructions=hang, limits=limits), "x")
    assert (run.stop, run.limit) == ("seconds", "seconds")
    for where in ("before_model", "after_model"):
        model = ScriptedModel(["a", "b"])
        run = go(Agent(model, hooks=Hooks(**{where: hang}), limits=limits), "x")
        assert (run.stop, run.limit, run.contents) == ("seconds", "seconds", [user_content("x")])


def test_cancelling_the_last_turn_is_a_cancellation() -> None:
    agent, _ = limited("turns", "one two three", on_limit="answer")
    with agent.stream("x") as events:
        for text in events.texts():
            if text == "one ":
                break
    assert (events.run.stop, events.run.limit, events.run.text) == ("cancelled", "turns", "one ")
    check_history(events.run.contents)


@pytest.mark.slow
def test_the_real_model_is_asked_once_more_without_tools_when_it_hangs(
    server: GeminiServer, ask: Callable[..., Run]
) -> None:
    def hung(seconds: float) -> Run:
        server.forget()
        server.requests.clear()
        server.script([server_fault("hang"), "So far nothing."])
        limits = Limits(seconds=seconds, on_limit="answer", answer_seconds=PATIENCE)
        return ask(limits=limits, tools=[add])

    run = given_time(hung, lambda _: len(server.requests) == 2, seconds=1.0)
    assert (run.text, run.stop, run.limit) == ("So far nothing.", None, "seconds")
    body: Any = server.requests[1].body
    assert calling(body) == {"mode": "NONE"}


def test_the_real_model_is_asked_once_more_without_tools(
    server: GeminiServer, ask: Callable[..., Run]
) -> None:
    server.script([server_calls(server_call("add", {"a": 1, "b": 2})), "It is 3."])
    run = ask(limits=Limits(turns=1, on_limit="answer"), tools=[add])
    assert (run.text, run.stop, run.limit) == ("It is 3.", None, "turns")
    check_history(run.contents, signatures=True)


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key="key") as running:
        yield running


@pytest.fixture
def ask(go: Runner, server: GeminiServer) -> Callable[..., Run]:
    """Run an agent on the real SDK, against the server."""

    def run(**settings: Any) -> Run:
        model = GeminiModel(api_key="key", http_options={"base_url": server.url})
        try:
            return go(Agent(model, **settings), "x")
        finally:
            model.close()

    return run


# -- cost ------------------------------------------------------------------------------------------------------------


def test_the_limit_of_cost_goes_by_the_prices_that_are_given(go: Runner) -> None:
    prices = {"scripted": Price(input=2.0, output=10.0, cached=1.0)}
    turn = reply(  # 0.8 + 0.1 + 0.2 dollars
        call("add", a=1, b=1),
        promptTokenCount=500_000,
        cachedContentTokenCount=100_000,
        candidatesTokenCount=20_000,
        totalTokenCount=520_000,
    )
    for cost, turns in ((1.0, 1), (1.2, 2), (2.2, 2), (2.3, 3)):
        model = ScriptedModel([turn] * turns)
        agent = Agent(model, tools=[add], limits=Limits(cost=cost, prices=prices))
        run = go(agent, "x")
        assert (run.stop, run.turns) == ("cost", turns)
        assert run.usage.cost(prices) == pytest.approx(1.1 * turns)


def test_list_prices_hold_by_default(go: Runner) -> None:
    turn = reply(call("add", a=1, b=1), promptTokenCount=10**7, totalTokenCount=10**7)
    model = ScriptedModel([turn, "2"], name="gemini-2.5-flash")
    run = go(Agent(model, tools=[add], limits=Limits(cost=2.9)), "x")
    assert run.stop == "cost"
    assert run.usage.cost(on=date(2026, 11, 27)) == pytest.approx(3.0)
    model = ScriptedModel([turn, "2"], name="gemini-2.5-flash")
    assert go(Agent(model, tools=[add], limits=Limits(cost=9)), "x").stop is None


@pytest.mark.parametrize("models", [["scripted"], ["gemini-3.8-flash", "scripted"]], ids=len)
def test_a_model_without_a_price_is_refused_before_anything_is_sent(go: Runner, models: list[str]) -> None:
    scripted = [ScriptedModel([], name=name) for name in models]
    with pytest.raises(ConfigurationError) as caught:
        Agent(scripted, limits=Limits(cost=1))
    assert [model.requests for model in scripted] == [[]] * len(models)
    assert "the price of 'scripted' isn't known" in str(caught.value)
    mend = str(caught.value).partition("Give ")[2].partition(", in dollars")[0].replace("...", "1")
    limits = eval(mend, {"Limits": Limits, "Price": Price})
    assert set(limits.prices) == {"scripted"}
    with pytest.raises(ConfigurationError):
        go(Agent(ScriptedModel(["x"], name="gemini-3.8-flash")), "x", model=scripted, limits=Limits(cost=1))
    with pytest.raises(ConfigurationError, match=r"gemini-3\.8-flash"):
        Agent("gemini-3.8-flash", limits=Limits(cost=1, prices={}))
    memory = Summarize(after_turns=2, keep=1, model=ScriptedModel([], name="unheard-of"))
    chat = Agent(ScriptedModel(["x"]), limits=Limits(cost=1, prices=FREE)).chat(memory=memory)
    with pytest.raises(ConfigurationError, match="unheard-of"):
        chat.send_message("x")


def test_a_model_that_stands_in_costs_its_own_price(go: Runner) -> None:
    prices = {"cheap": Price(input=0, output=0), "dear": Price(input=1e6, output=1e6)}
    turn = reply(call("add", a=1, b=1), totalTokenCount=3)
    models = [
        ScriptedModel([turn, *[fault(503)] * 3], name="cheap"),
        ScriptedModel([turn, turn], name="dear"),
    ]
    run = go(
        Agent(models, tools=[add], retry=NO_WAIT, limits=Limits(cost=4.0, prices={**PRICES, **prices})), "x"
    )
    assert (run.stop, run.turns, run.model) == ("cost", 3, "dear")
    assert run.usage.cost(prices) == 6.0


def test_what_nobody_knows_the_price_of_is_not_counted_and_why_says_so(go: Runner) -> None:
    @tool
    def spend(model: str, ctx: Context[Any]) -> None:
        """Spend tokens of some other model."""
        ctx.add_usage(Usage.from_wire({"totalTokenCount": 1}, model))

    def run_of(*script: Any) -> Run:
        return go(Agent(ScriptedModel(script), tools=[spend, add], limits=Limits(cost=6, prices=DEAR)), "x")

    two = reply("2", totalTokenCount=2)
    silent: Any = {"candidates": [{"content": model_content(call("add", a=1, b=1))}], "usageMetadata": {}}
    for turn, why in (
        (reply(call("spend", model="unheard-of"), totalTokenCount=2), "there is no price for 'unheard-of'"),
        (reply(call("spend", model=""), totalTokenCount=2), "without the name of a model"),
        (silent, "a reply told no tokens"),
    ):
        run = run_of(turn, two)
        assert (run.stop, run.limit, run.text) == (None, None, "2")
        assert run.why.startswith("A part of the cost isn't known, and not counted")
        assert why in run.why
        stopped = run_of(turn, *[reply(call("add", a=1, b=n), totalTokenCount=4) for n in range(2)])
        assert stopped.stop == "cost"  # what is known counts all the same
        assert re.search("limit of .6 is reached.*isn't known", stopped.why)
    assert run_of(two).why == ""
    assert run_of(fault(503, retry_after=0), two).why == ""  # an error was all that came: it costs nothing
    assert "a request was given up" in run_of(ModelError("cut off", retryable=True, retry_after=0), two).why


class Later(ToolSource):
    """Gives tools when it is asked; before that, it may know them."""

    def __init__(self, *given: Tool, knows: bool) -> None:
        self.given, self.knows = given, knows

    def tools(self) -> tuple[Tool, ...]:
        return self.given

    def known(self) -> tuple[Tool, ...] | None:
        return self.given if self.knows else None


UNPRICED = Limits(prices={"unheard-of": Price(input=0, output=0)})
"""With which a sub-agent knows what its model costs, and the run around it doesn't."""


@pytest.mark.parametrize(
    "tool_of",
    [
        lambda sub: sub,
        lambda sub: sub.as_tool(name="other"),
        lambda sub: ToolRegistry("some").merge([sub.as_tool()]).prefixed("a").on_demand(),
        lambda sub: Agent(
            ScriptedModel([]), tools=[add, Agent(ScriptedModel([]), tools=[sub], name="middle")]
        ),
        lambda sub: Later(sub.as_tool(), knows=True),
        lambda sub: Agent(ScriptedModel([]), tools=[Later(sub.as_tool(), knows=True)]),
    ],
    ids=["agent", "as_tool", "registry", "two deep", "source", "source inside"],
)
@pytest.mark.parametrize("own", [None, UNPRICED], ids=["", "own prices"])
def test_a_sub_agent_without_a_price_is_refused_before_anything_is_sent(
    go: Runner, tool_of: Callable[[Agent], Any], own: Limits | None
) -> None:
    stand_in = ScriptedModel([], name="unheard-of")
    tool = tool_of(Agent([ScriptedModel([]), stand_in], name="sub", limits=own))
    model, limits = ScriptedModel(["x"] * 5), Limits(cost=1, prices=FREE)
    with pytest.raises(ConfigurationError, match="the price of 'unheard-of' isn't known"):
        Agent(model, tools=[tool], limits=limits)
    with pytest.raises(ConfigurationError, match="unheard-of"):
        go(Agent(model, tools=[tool]), "x", limits=limits)
    with pytest.raises(ConfigurationError, match="unheard-of"):
        go(Agent(model, limits=limits), "x", tools=[tool])
    with pytest.raises(ConfigurationError, match="unheard-of"):
        Agent(model, tools=[tool]).chat().send_message("x", limits=limits)
    assert model.requests == []
    assert go(Agent(model, tools=[tool]), "x").text == "x"  # without such a limit nobody minds


def test_a_source_may_give_a_sub_agent_without_a_price_only_while_a_run_goes_on(go: Runner) -> None:
    model, inner = ScriptedModel([call("late", request="x")]), ScriptedModel([], name="unheard-of")
    later = Later(Agent(inner, name="late").as_tool(), knows=False)
    agent = Agent(model, tools=[later], limits=Limits(cost=1, prices=FREE))
    with pytest.raises(ConfigurationError, match="unheard-of") as caught:
        go(agent, "x")
    assert (model.requests, inner.requests, caught.value.run.turns) == ([], [], 0)


def test_a_sub_agent_of_whose_model_only_the_run_around_it_knows_the_price_is_asked(go: Runner) -> None:
    sub = Agent(ScriptedModel(["2"]), name="sub", limits=Limits(prices={}))
    run = go(
        Agent(ScriptedModel([call("sub", request="x"), "y"]), tools=[sub]),
        "x",
        limits=Limits(cost=1, prices=FREE),
    )
    assert (run.text, responses(run)) == ("y", [{"output": "2"}])


@pytest.mark.parametrize("own", [None, DEAR])
def test_what_a_sub_agent_spends_counts_by_the_prices_of_the_run(go: Runner, own: Any) -> None:
    inner = ScriptedModel([reply("2", totalTokenCount=5)])
    sub = Agent(inner, name="sub", limits=Limits(prices=own)).as_tool()
    outer = ScriptedModel([reply(call("sub", request="x"), totalTokenCount=2)])
    run = go(Agent(outer, tools=[sub], limits=Limits(cost=6, prices=DEAR)), "x")
    assert (run.stop, run.usage.total_tokens) == ("cost", 7)
    assert responses(run) == [{"output": "2"}]


def test_limits_are_named_in_a_fixed_order_and_shared_out_by_what_is_left() -> None:
    used = Usage.from_wire({"totalTokenCount": 30}, "scripted")

    def meter(limits: Limits, usage: Usage = used, *, turns: int = 0, tool_calls: int = 0) -> Meter:
        made = Meter(limits)
        for _ in range(turns):
            made.add_turn(Usage())
        made.add(usage)
        made.tool_calls = tool_calls
        return made

    def reached(limits: Limits, usage: Usage = used, *, turns: int = 0) -> str | None:
        found = meter(limits, usage, turns=turns).reached()
        return found and found[0]

    assert reached(Limits(turns=None), turns=99) is None
    assert reached(Limits(turns=1, tokens=1), turns=1) == "turns"
    assert reached(Limits(turns=2, tokens=30), turns=1) == "tokens"
    assert reached(Limits(tokens=31, cost=30.1, prices=DEAR)) is None
    assert reached(Limits(cost=30, prices=DEAR)) == "cost"
    assert reached(Limits(cost=30, prices={})) is None
    assert reached(Limits(cost=30, prices={}), Usage()) is None
    limits = Limits(tokens=50, tool_calls=9, cost=40, prices=DEAR)
    assert meter(limits, tool_calls=4).share_left(0.5) == {
        "tokens": 10,
        "tool_calls": 2,
        "cost": 5.0,
        "prices": DEAR,
    }
    assert meter(limits, Usage(total_tokens=60, requests=1), tool_calls=10).share_left(1) == {
        "tokens": 0,
        "tool_calls": 0,
        "cost": 40.0,
        "prices": DEAR,
    }
    assert meter(Limits(), tool_calls=4).share_left(1) == {}


@pytest.mark.parametrize(
    "bad",
    [
        *({name: 0} for name in ("turns", "tool_calls", "tokens", "seconds", "cost", "repeats")),
        *({name: float("nan")} for name in ("turns", "seconds", "cost", "answer_seconds", "repeats")),
        *({name: float("inf")} for name in ("turns", "tokens", "seconds", "cost", "answer_seconds")),
        *({name: 2.5} for name in ("turns", "tool_calls", "tokens", "repeats")),
        {"prices": {"m": 3.0}},
        {"prices": [("m", 1)]},
        {"answer_seconds": None},
        {"answer_seconds": 0},
        {"repeats": 1},
        {"cost": "1"},
        {"turns": True},
        {"on_limit": "raise"},
        {"after_untrusted": True},
    ],
    ids=str,
)
def test_limits_that_make_no_sense_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"Limits\\({next(iter(bad))}="):
        Limits(**bad)


# -- going round in circles ------------------------------------------------------------------------------------------


def circling(*script: Any, tools: list[Any] | None = None, **limits: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)
    return Agent(model, tools=[add] if tools is None else tools, limits=Limits(**limits)), model


def nudged(model: ScriptedModel) -> list[int]:
    """List the requests in which the model was told."""
    return [index for index, r in enumerate(model.requests) if REPEATED in json.dumps(r["contents"])]


@pytest.mark.parametrize("on_limit", ["stop", "answer"])
def test_a_model_that_repeats_itself_is_told_once_and_then_has_to_answer(go: Runner, on_limit: str) -> None:
    agent, model = circling(*[call("add", a=1, b=1)] * 6, "It is 2.", on_limit=on_limit)
    run = go(agent, "x")
    assert (run.text, run.stop, run.limit, run.turns) == ("It is 2.", None, "repeats", 7)
    assert "very same calls" in run.why
    assert nudged(model) == [5]
    assert [calling(request) for request in model.requests] == [None] * 6 + [{"mode": "NONE"}]
    assert REPEATED not in json.dumps(run.contents)


def test_one_that_won_t_answer_even_then_is_stopped(go: Runner) -> None:
    agent, model = circling(*[call("add", a=1, b=1)] * 7)
    run = go(agent, "x")
    assert (run.text, run.stop, run.limit, run.turns) == ("", "repeats", "repeats", 7)
    model.assert_complete()


def test_a_limit_that_is_reached_along_with_it_leaves_no_turn_to_answer_in(go: Runner) -> None:
    agent, model = circling(*[call("add", a=1, b=1)] * 6, turns=6)
    run = go(agent, "x")
    assert (run.stop, run.turns) == ("repeats", 6)
    model.assert_complete()


def test_a_status_may_be_asked_for_as_often_as_it_takes(go: Runner) -> None:
    @tool(polls=True)
    def status(job: str) -> str:
        """Say how far a job is."""
        return "running"

    once, other = call("status", job="a"), call("add", a=1, b=1)
    agent, model = circling(*[once] * 20, "It is running.", tools=[status], repeats=2)
    assert (go(agent, "x").text, nudged(model)) == ("It is running.", [])
    agent, model = circling(*[other, once] * 5, "It is running.", tools=[status, add], repeats=2)
    assert (go(agent, "x").text, nudged(model)) == ("It is running.", [])
    agent, model = circling(*[[once, other]] * 3, "It is running.", tools=[status, add], repeats=2)
    run = go(agent, "x")
    assert (run.text, run.limit, nudged(model)) == ("It is running.", "repeats", [2])


def test_one_that_minds_what_it_was_told_goes_on(go: Runner) -> None:
    once = call("add", a=1, b=1)
    agent, model = circling(*[once] * 5, "It is 2.")
    assert (go(agent, "x").limit, nudged(model)) == (None, [5])
    agent, model = circling(once, once, once, call("add", a=1, b=2), once, once, once, "2", repeats=3)
    assert (go(agent, "x").text, nudged(model)) == ("2", [3, 7])


def test_other_ids_signatures_and_texts_make_no_difference(go: Runner) -> None:
    def turn(n: int) -> Any:
        signed: Any = {**call_part("add", {"a": 1, "b": 1}, id=f"id-{n}"), "thoughtSignature": f"c2ln{n}000"}
        return [f"Try {n}.", signed, call_part("add", {"b": 2, "a": 2} if n % 2 else {"a": 2, "b": 2})]

    agent, _ = circling(*map(turn, range(3)), "2", repeats=2)
    assert go(agent, "x").limit == "repeats"


@pytest.mark.parametrize(
    "script",
    [
        [[call("add", a=1, b=n)] for n in range(6)],
        [[call("add", a=1, b=1)], [call("add", a=1, b=2)]] * 3,
        [[call("add", a=1, b=1)] * (n % 2 + 1) for n in range(6)],
        [[call("add", a=1, b=1), call("add", a=n, b=1)] for n in range(6)],
        [[call("count")]] * 6,
    ],
    ids=["arguments", "turn about", "number", "one of two", "results"],
)
def test_turns_that_differ_are_no_repetition(go: Runner, script: list[Any]) -> None:
    counted: list[int] = []

    def count() -> int:
        """Count up."""
        counted.append(1)
        return len(counted)

    agent, model = circling(*script, "done", tools=[add, count], repeats=2)
    assert go(agent, "x").text == "done"
    assert nudged(model) == []


def test_without_the_guard_a_model_may_repeat_itself(go: Runner) -> None:
    agent, model = circling(*[call("add", a=1, b=1)] * 9, "done", repeats=None)
    assert (go(agent, "x").text, nudged(model)) == ("done", [])


@pytest.mark.parametrize(
    "bad", [call("add", a="x"), call("nothing"), call("fail"), call("again")], ids=range(4)
)
def test_calls_that_fail_alike_are_repetitions_however_they_are_counted(go: Runner, bad: Any) -> None:
    def fail() -> None:
        """Fail."""
        raise LookupError("no")

    def again() -> None:
        """Have the model try again."""
        raise ToolRetry("Not like this.")

    agent, _ = circling(*[bad] * 9, tools=[add, fail, again], repeats=3)
    run = go(agent, "x")
    assert (run.stop, run.turns <= 8) == ("repeats", True)


def test_results_that_are_too_long_to_show_are_compared_too(go: Runner) -> None:
    def book() -> str:
        """Give a book."""
        return "All work and no play. " * 100

    model = ScriptedModel([*[call("book")] * 4, "dull"])
    run = go(Agent(model, tools=[book], max_result_chars=500, limits=Limits(repeats=3)), "x")
    assert (run.limit, run.turns) == ("repeats", 5)


def test_what_the_user_says_in_between_begins_the_count_anew() -> None:
    once = call("add", a=1, b=1)
    agent, model = circling(once, once, "2", repeats=2)
    with agent.stream("x") as events:
        for event in events:
            if isinstance(event, TurnFinished) and event.turn == 1:
                events.send("Please check it once more.")
    assert events.run.text == "2"
    assert nudged(model) == []


def test_a_history_counts_only_as_far_as_it_is_repeated_at_once(go: Runner) -> None:
    agent, _ = circling(call("add", a=1, b=1), call("add", a=1, b=1), "2", repeats=2)
    run = go(agent, "x")
    agent, model = circling(call("add", a=1, b=1), "2", repeats=2)
    assert go(agent, "again", history=run.contents).text == "2"
    assert nudged(model) == []
