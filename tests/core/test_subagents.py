"""Agents as tools of agents: one run to whoever watches, limits it, stops it, decides in it and goes on with it."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    ConfigurationError,
    Context,
    Deny,
    Edit,
    Limits,
    ModelError,
    PendingCall,
    Price,
    Result,
    Run,
    SQLiteStore,
    Tool,
    ToolDeferred,
    ToolDefinitionError,
    Usage,
)
from agentkit.events import AgentEvent, Event, RunFinished, ToolStarted
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import responses_of
from tests.helpers.until import PATIENCE, given_time
from tests.helpers.ways import Way, either, way

__all__ = ["either", "way"]


def said(*parts: Any, tokens: int = 10) -> Any:
    """A reply that cost so many tokens."""
    return reply(*parts, promptTokenCount=tokens - 1, candidatesTokenCount=1, totalTokenCount=tokens)


def look(n: int = 0) -> str:
    """Look."""
    return f"seen {n}"


async def alook(n: int = 0) -> str:
    """Look, async."""
    await asyncio.sleep(0)
    return f"seen {n}"


def endless(tool: str, tokens: int, name: str = "scripted") -> ScriptedModel:
    """A model that goes on calling a tool."""
    return ScriptedModel([said(call(tool, n=n), tokens=tokens) for n in range(9)], name=name)


def asks(*names: str, tokens: int = 10) -> Any:
    """A reply that asks agents."""
    return said(*(call(name, request=name) for name in names), tokens=tokens)


def responses(run: Run) -> list[Any]:
    return [r["response"] for content in run.contents for r in responses_of(content)]


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# -- events ----------------------------------------------------------------------------------------------------------


def test_what_an_async_tool_tells_right_before_it_is_done_is_heard(way: Way) -> None:
    async def quick(ctx: Context[Any]) -> int:
        """Be quick."""
        ctx.progress("almost")
        return 1

    way.run(Agent(ScriptedModel([call("quick"), "ok"]), tools=[quick]), "x")
    if way.streamed:
        told = names(way.events)
        assert told.count("ToolProgress") == 1
        assert told.index("ToolProgress") < told.index("ToolFinished")


def test_events_inside_are_told_once_with_their_path_and_the_call_they_answer(way: Way) -> None:
    leaf = Agent(ScriptedModel([call("alook"), "leaf says"]), tools=[alook], name="leaf")
    mid = Agent(ScriptedModel([asks("leaf"), "mid says"]), tools=[leaf.as_tool()], name="mid")
    run = way.run(Agent(ScriptedModel([asks("mid"), "ok"]), tools=[mid.as_tool()]), "x")
    assert run.text == "ok"
    if not way.streamed:
        return
    inside = [event for event in way.events if isinstance(event, AgentEvent)]
    (outer_call,) = [event.call_id for event in way.events if isinstance(event, ToolStarted)]
    assert {event.call_id for event in inside} == {outer_call}
    assert not any(isinstance(event.event, (AgentEvent, RunFinished)) for event in inside)
    by_path: dict[tuple[str, ...], list[str]] = {}
    for event in inside:
        by_path.setdefault(event.path, []).append(type(event.event).__name__)
    a_run = ["TurnFinished", "ToolStarted", "ToolFinished", "TextDelta", "TextDelta", "TurnFinished"]
    assert by_path == {("mid",): a_run, ("mid", "leaf"): a_run}
    kinds = [name for name in names(way.events) if name != "AgentEvent"]
    assert kinds == [
        "TurnFinished",
        "ToolStarted",
        "ToolFinished",
        "TextDelta",
        "TurnFinished",
        "RunFinished",
    ]


# -- limits ----------------------------------------------------------------------------------------------------------


def test_the_inner_run_stops_as_soon_as_both_have_used_up_the_outer_limit(way: Way) -> None:
    model = endless("look", 30)
    inner = Agent(model, tools=[look], name="inner")
    agent = Agent(ScriptedModel([asks("inner", tokens=40)]), tools=[inner.as_tool()])
    run = way.run(agent, "x", limits=Limits(tokens=100))
    assert (run.stop, run.usage.total_tokens, run.usage.requests) == ("tokens", 100, 3)
    assert len(model.requests) == 2
    assert "stopped without an answer: tokens" in responses(run)[0]["error"]


def test_cost_counts_in_the_outer_limit_by_the_outer_prices(way: Way) -> None:
    a_dollar = Price(input=1_000_000, output=1_000_000)
    model = endless("look", 12, name="small")
    inner = Agent(model, tools=[look], name="inner")
    agent = Agent(ScriptedModel([asks("inner", tokens=12)]), tools=[inner.as_tool()])
    run = way.run(agent, "x", limits=Limits(cost=30, prices={"scripted": a_dollar, "small": a_dollar}))
    assert (run.stop, run.usage.total_tokens, len(model.requests)) == ("cost", 36, 2)
    assert "stopped without an answer: cost" in responses(run)[0]["error"]


def test_an_agent_that_knows_its_own_prices_keeps_them(either: Way) -> None:
    own = {"small": Price(input=1_000_000, output=1_000_000)}
    model = endless("look", 12, name="small")
    inner = Agent(model, tools=[look], name="inner", limits=Limits(cost=20, prices=own))
    agent = Agent(ScriptedModel([asks("inner", tokens=12), "ok"]), tools=[inner.as_tool()])
    assert either.run(agent, "x").stop is None
    assert len(model.requests) == 2


@pytest.mark.parametrize(("share", "turns", "stop"), [(0.5, 2, None), (1.0, 4, "tokens")])
def test_a_share_is_of_what_is_left(either: Way, share: float, turns: int, stop: str | None) -> None:
    model = endless("look", 20)
    inner = Agent(model, tools=[look], name="inner")
    outer = ScriptedModel([asks("inner", tokens=40), said("ok", tokens=1)])
    run = either.run(Agent(outer, tools=[inner.as_tool(share=share)]), "x", limits=Limits(tokens=110))
    assert (len(model.requests), run.stop) == (turns, stop)


def test_tool_calls_are_shared_too(either: Way) -> None:
    model = ScriptedModel([said(*[call("look", n=n) for n in range(4)])])
    inner = Agent(model, tools=[look], name="inner")
    agent = Agent(ScriptedModel([asks("inner"), "ok"]), tools=[inner.as_tool(share=0.5)])
    run = either.run(agent, "x", limits=Limits(tool_calls=5))
    assert "stopped without an answer: tool_calls" in responses(run)[0]["error"]
    assert run.stop is None


@pytest.mark.parametrize("effect", ["read", None], ids=["at once", "one after the other"])
@pytest.mark.parametrize("levels", [1, 2])
def test_calls_of_all_sub_agents_count_in_the_outer_limit(way: Way, levels: int, effect: Any) -> None:
    ran: list[int] = []

    def count(n: int) -> int:
        """Count."""
        ran.append(n)
        return n

    def made(name: str) -> Agent:
        agent = Agent(endless("count", 1), tools=[Tool.of(count, effect=effect)], name=name)
        for level in range(levels - 1):
            script = [asks(agent.name) for _ in range(9)]
            agent = Agent(ScriptedModel(script), tools=[agent], name=f"{name}_{level}")
        return agent

    agents = [made("one"), made("two")]
    outer = Agent(ScriptedModel([asks(*(agent.name for agent in agents)), "ok"]), tools=agents)
    run = way.run(outer, "x", limits=Limits(tool_calls=8, repeats=None))
    assert len(ran) == 8 - 2 * levels if effect else len(ran) <= 8 - 2
    assert run.stop == "tool_calls" if effect else run.stop in (None, "tool_calls")


def test_nobody_is_asked_for_whom_nothing_is_left(either: Way) -> None:
    inner = Agent(ScriptedModel([]), tools=[look], name="inner").as_tool(share=0.5)
    agent = Agent(ScriptedModel([asks("inner"), "ok"]), tools=[inner])
    run = either.run(agent, "x", limits=Limits(tool_calls=2))
    assert "was not asked: the limit of tool_calls is reached" in responses(run)[0]["error"]
    for share in (0, 1.1, -1):
        with pytest.raises(ConfigurationError, match="share="):
            agent.as_tool(share=share)


@pytest.mark.parametrize("limit", [1, 2])
def test_an_agent_without_tools_needs_no_calls_to_be_left(either: Way, limit: int) -> None:
    inner = Agent(ScriptedModel(["inside"]), name="inner").as_tool(share=0.5)
    run = either.run(
        Agent(ScriptedModel([asks("inner"), "ok"]), tools=[inner]), "x", limits=Limits(tool_calls=limit)
    )
    assert responses(run)[0] == {"output": "inside"}
    assert (run.text, run.stop) == ("ok", None)


def test_agents_of_one_name_are_told_by_it() -> None:
    twins = [Agent(ScriptedModel([]), name="twin") for _ in range(2)]
    said = (
        "the agent 'twin': there is a tool 'twin' already, the agent 'twin'. Give one of them another name="
    )
    with pytest.raises(ToolDefinitionError, match=said):
        Agent(ScriptedModel([]), tools=twins)
    with pytest.raises(ToolDefinitionError, match=r"test_subagents:look: .* already, the agent 'look'"):
        Agent(ScriptedModel([]), tools=[Agent(ScriptedModel([]), name="look"), look])


def test_two_at_once_share_the_outer_limit(way: Way) -> None:
    models = [endless("alook", 30), endless("alook", 30)]
    inner = [
        Agent(model, tools=[alook], name=name).as_tool() for model, name in zip(models, "ab", strict=True)
    ]
    run = way.run(Agent(ScriptedModel([asks("a", "b")]), tools=inner), "x", limits=Limits(tokens=130))
    asked = sum(len(model.requests) for model in models)
    assert (run.stop, run.usage.total_tokens) == ("tokens", 10 + 30 * asked)
    assert 4 <= asked <= 5  # both may be under way when it is reached


def test_three_levels_stop_at_the_outermost_limit(way: Way) -> None:
    model = endless("look", 30)
    leaf = Agent(model, tools=[look], name="leaf")
    mid = Agent(ScriptedModel([asks("leaf", tokens=20)]), tools=[leaf.as_tool()], name="mid")
    agent = Agent(ScriptedModel([asks("mid", tokens=20)]), tools=[mid.as_tool()])
    run = way.run(agent, "x", limits=Limits(tokens=100))
    assert (run.stop, run.usage.total_tokens, run.usage.requests) == ("tokens", 100, 4)
    assert len(model.requests) == 2


def test_an_inner_run_lands_softly_unless_it_is_the_outer_limit_that_is_reached(either: Way) -> None:
    model = ScriptedModel([said(call("look")), said("so far")])
    inner = Agent(model, tools=[look], name="inner", limits=Limits(turns=1, on_limit="answer"))
    agent = Agent(ScriptedModel([asks("inner"), "ok"]), tools=[inner.as_tool()])
    assert responses(either.run(agent, "x")) == [{"output": "so far"}]
    model = ScriptedModel([said(call("look"), tokens=90), "never"])
    inner = Agent(model, tools=[look], name="inner", limits=Limits(on_limit="answer"))
    agent = Agent(ScriptedModel([asks("inner")]), tools=[inner.as_tool()])
    assert either.run(agent, "x", limits=Limits(tokens=100)).stop == "tokens"
    assert len(model.requests) == 1


# -- what waits inside -----------------------------------------------------------------------------------------------


class House:
    """A boss, who asks a chief, who asks a clerk; the clerk's orders need approval, and so do the chief's."""

    def __init__(self, *, levels: int, path: Path, way: Way, how: str) -> None:
        self.ran: list[str] = []
        self.levels, self.db, self.way, self.how = levels, path / "a.db", way, how
        self.last: Run | None = None

    def _tools(self) -> list[Any]:
        def order(sku: str, ctx: Context[Any]) -> str:
            """Order."""
            self.ran.append(f"{sku} {ctx.deps}")
            return f"ordered {sku}"

        def mail() -> str:
            """Mail; the answer comes later."""
            raise ToolDeferred("mail sent")

        def note(n: int) -> None:
            """Take a note."""
            self.ran.append(f"note {n}")

        return [
            Tool.of(order, effect="write", approval=True),
            Tool.of(mail, effect="read"),
            Tool.of(note, effect="write"),
        ]

    def agent(self, *script: Any, clerk: list[Any], chief: list[Any] | None = None) -> Agent:
        """Make them all anew, as another process would; each script is what is still to be said."""
        inner = Agent(ScriptedModel(clerk), tools=self._tools(), name="clerk").as_tool()
        if self.levels == 2:
            inner = Agent(ScriptedModel(chief or []), tools=[inner, *self._tools()], name="chief").as_tool()
        return Agent(ScriptedModel(script), tools=[inner, *self._tools()], name="boss")

    @property
    def top(self) -> str:
        return "clerk" if self.levels == 1 else "chief"

    @property
    def path(self) -> tuple[str, ...]:
        return ("clerk",) if self.levels == 1 else ("chief", "clerk")

    def begin(self, agent: Agent) -> Run:
        if self.how == "json":
            self.last = self.way.run(agent, "go", deps="ann")
        else:
            with SQLiteStore(self.db) as store:
                self.last = self.way.chat(agent, store, deps="ann").send("go")
        return self.last

    def resume(self, agent: Agent, decisions: Any) -> Run:
        assert self.last is not None
        if self.how == "json":
            self.last = self.way.resume(agent, self.last.to_json(), decisions, deps="ann")
        else:
            with SQLiteStore(self.db) as store:
                chat = self.way.chat(agent, store, deps="ann")
                assert [(p.call_id, p.path, p.args) for p in chat.pending] == [
                    (p.call_id, p.path, p.args) for p in self.last.pending
                ]
                self.last = chat.resume(decisions)
        return self.last


@pytest.fixture(params=["json-1", "json-2", "store-1", "store-2"])
def house(request: pytest.FixtureRequest, either: Way, tmp_path: Path) -> House:
    how, _, levels = request.param.partition("-")
    return House(levels=int(levels), path=tmp_path, way=either, how=how)


def test_what_waits_inside_is_decided_one_after_another_and_all_else_runs_once(house: House) -> None:
    clerk = [said(call("order", sku="A"), call("note", n=1), call("mail"), call("order", sku="B"))]
    boss = [said(call(house.top, request="r"), call("note", n=2))]
    run = house.begin(house.agent(*boss, clerk=clerk, chief=[asks("clerk")]))
    assert run.stop == "approval"
    assert [(p.name, p.kind, p.path) for p in run.pending] == [
        ("order", "approval", house.path),
        ("mail", "deferred", house.path),
        ("order", "approval", house.path),
    ]
    assert house.ran == []
    a, mail, b = (p.call_id for p in run.pending)
    run = house.resume(house.agent(clerk=[]), {b: Approve()})
    assert [p.call_id for p in run.pending] == [a, mail]
    run = house.resume(house.agent(clerk=[]), {a: Edit({"sku": "Z"})})
    assert (run.stop, [p.call_id for p in run.pending]) == ("deferred", [mail])
    with pytest.raises(ConfigurationError, match=r"[Nn]o (call is pending|pending call)"):
        house.resume(house.agent(clerk=[]), {a: Approve()})
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.extend(r["response"] for r in responses_of(request["contents"][-1]))
        return said("all done")

    agent = house.agent(said("fine"), clerk=[answer], chief=[said("clerk is done")])
    run = house.resume(agent, {mail: Result("came")})
    assert (run.stop, run.text) == (None, "fine")
    assert house.ran == ["Z ann", "note 1", "B ann", "note 2"]
    assert [r.get("output") for r in seen[1:]] == [None, "came", "ordered B"]
    assert seen[0]["output"]["result"] == "ordered Z"
    assert responses(run)[0] == {"output": "all done" if house.levels == 1 else "clerk is done"}
    if house.how == "json":
        assert run.usage.requests == 2 + 2 * house.levels


def test_an_inner_run_that_goes_on_may_wait_again(house: House) -> None:
    run = house.begin(
        house.agent(said(call(house.top, request="r")), clerk=[call("order", sku="A")], chief=[asks("clerk")])
    )
    agent = house.agent(clerk=[call("order", sku="B")])
    again = house.resume(agent, {run.pending[0].call_id: Approve()})
    assert (again.stop, house.ran) == ("approval", ["A ann"])
    assert again.pending[0].call_id != run.pending[0].call_id
    agent = house.agent("fine", clerk=["done"], chief=["done"])
    assert house.resume(agent, {again.pending[0].call_id: Deny("no more")}).text == "fine"
    assert house.ran == ["A ann"]


def test_the_whole_of_an_inner_run_that_waits_can_be_answered_from_outside(either: Way) -> None:
    house = House(levels=1, path=Path(), way=either, how="json")
    run = house.begin(house.agent(asks("clerk"), clerk=[call("order", sku="A")]))
    assert run._parked.opened is not None
    (entry,) = run._parked.opened.calls
    run = house.resume(house.agent("fine", clerk=[]), {entry.call_id: Result("never mind")})
    assert (run.text, responses(run), house.ran) == ("fine", [{"output": "never mind"}], [])


def test_what_sub_agents_spend_is_counted_once_in_the_store(either: Way, tmp_path: Path) -> None:
    house = House(levels=2, path=tmp_path, way=either, how="store")
    run = house.begin(house.agent(asks("chief"), clerk=[said(call("order", sku="A"))], chief=[asks("clerk")]))
    agent = house.agent(said("fine"), clerk=[said("done")], chief=[said("done")])
    house.resume(agent, {run.pending[0].call_id: Approve()})
    with SQLiteStore(house.db) as store:
        assert store.info("ann").usage == Usage(
            requests=6, prompt_tokens=54, candidates_tokens=6, total_tokens=60
        )


# -- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([reply(finish_reason="SAFETY")], "stopped without an answer: refused"),
        (
            [reply("half", finish_reason="MAX_TOKENS")],
            "The reply was cut off at the limit of its tokens. Finish reason: MAX_TOKENS. It had said: half",
        ),
        ([fault(400, "secret")], "internal error (ModelError)"),
    ],
)
def test_an_inner_end_without_an_answer_is_told_to_the_outer_model(way: Way, script: Any, words: str) -> None:
    inner = Agent(ScriptedModel(script), name="inner").as_tool()
    run = way.run(Agent(ScriptedModel([asks("inner"), "ok"]), tools=[inner]), "x")
    assert run.text == "ok"
    assert words in responses(run)[0]["error"]
    assert "secret" not in responses(run)[0]["error"]
    assert len(run.errors) == 1


def test_an_inner_outage_ends_a_run_that_raises(either: Way) -> None:
    inner = Agent(ScriptedModel([fault(400, "down")]), name="inner").as_tool()
    with pytest.raises(ModelError, match="down"):
        either.run(Agent(ScriptedModel([asks("inner")]), tools=[inner], on_error="raise"), "x")


@pytest.mark.parametrize("how", ["close", "seconds", "timeout"])
def test_the_end_of_the_outer_run_ends_the_inner_one(either: Way, how: str) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def linger(ctx: Context[Any]) -> None:
        """Linger."""
        begun.set()
        ctx.progress("under way")
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.set()

    def made(seconds: float) -> tuple[ScriptedModel, Agent]:
        model = ScriptedModel([call("linger")])
        inner = Agent(model, tools=[linger], name="inner").as_tool(timeout=seconds)
        return model, Agent(ScriptedModel([asks("inner"), "ok"]), tools=[inner])

    def cut_off(seconds: float) -> tuple[ScriptedModel, Run]:
        model, agent = made(seconds if how == "timeout" else PATIENCE)
        return model, either.run(agent, "x", limits=Limits(seconds=seconds if how == "seconds" else PATIENCE))

    model, agent = made(PATIENCE)
    began = time.monotonic()
    if how != "close":
        model, run = given_time(cut_off, lambda _: begun.is_set())
    elif either.is_async:

        async def go() -> Run:
            async with agent.aio.stream("x") as stream:
                async for event in stream:
                    if isinstance(event, AgentEvent) and type(event.event).__name__ == "ToolProgress":
                        break
            return stream.run

        run = asyncio.run(go())
    else:
        with agent.stream("x") as stream:
            for event in stream:
                if isinstance(event, AgentEvent) and type(event.event).__name__ == "ToolProgress":
                    break
        run = stream.run
    assert ended.wait(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    check_history(run.contents)
    assert run.stop == {"close": "cancelled", "seconds": "seconds", "timeout": None}[how]
    assert len(model.requests) == 1


def test_an_agent_serves_several_outer_runs_at_once_each_with_its_deps() -> None:
    async def whose(ctx: Context[str]) -> str:
        """Tell whose run it is."""
        await asyncio.sleep(0.001)
        return ctx.deps

    def inner_answers(request: Any) -> Any:
        answers = responses_of(request["contents"][-1])
        return said(answers[0]["response"]["output"] if answers else call("whose"))

    def outer_answers(request: Any) -> Any:
        answers = responses_of(request["contents"][-1])
        return said(answers[0]["response"]["output"]) if answers else asks("inner")

    inner = Agent(ScriptedModel([inner_answers] * 40), tools=[whose], name="inner").as_tool()
    agents = [Agent(ScriptedModel([outer_answers] * 20), tools=[inner]) for _ in range(2)]
    runs: dict[int, Run] = {}

    def work(n: int) -> None:
        agent = agents[n % 2]
        ask = (
            agent.run if n % 4 < 2 else lambda *args, **options: asyncio.run(agent.aio.run(*args, **options))
        )
        runs[n] = ask("x", deps=f"ann {n}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: run.text for n, run in runs.items()} == {n: f"ann {n}" for n in range(8)}
    assert {run.usage.total_tokens for run in runs.values()} == {40}


def test_a_sync_tool_may_run_another_agent_by_itself(way: Way) -> None:
    inner = Agent(ScriptedModel([call("alook"), "seen"]), tools=[alook])

    def ask(question: str) -> str:
        """Ask."""
        return inner.run(question).text

    run = way.run(Agent(ScriptedModel([call("ask", question="q"), "ok"]), tools=[ask]), "x")
    assert responses(run) == [{"output": "seen"}]


def test_an_outer_approver_decides_inside_too_unless_the_inner_agent_has_its_own(way: Way) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def outer_says(pending: PendingCall, ctx: Context[Any]) -> Approve:
        asked.append((pending.name, pending.path))
        return Approve()

    def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    paying = Tool.of(pay, approval=True, effect="write")
    for own in (None, lambda pending, ctx: Deny("mine to say")):
        model = ScriptedModel([call("pay", amount=1), "inner done"])
        inner = Agent(model, tools=[paying], name="inner", approver=own)
        middle = Agent(
            ScriptedModel([call("inner", request="x"), "middle done"]), tools=[inner.as_tool()], name="middle"
        )
        outer = Agent(ScriptedModel([call("middle", request="x"), "done"]), tools=[middle.as_tool()])
        assert way.run(outer, "go", approver=outer_says).text == "done"
        said = model.requests[-1]["contents"][-1]["parts"][0]["functionResponse"]["response"]
        assert said == (
            {"output": "paid 1"} if own is None else {"error": "A person refused this call: mine to say"}
        )
    assert asked == [("pay", ("middle", "inner"))]


def breaks(why: str) -> str:
    """Break."""
    raise LookupError(why)


def breaking(*script: Any, on_error: Any = "respond") -> Agent[Any]:
    """An agent two levels down whose tool breaks before it comes to its script."""
    ask = Tool.of(look, name="ask", approval=True)
    model = ScriptedModel([call("breaks", why="deep"), *script])
    return Agent(model, name="deep", tools=[breaks, ask], on_error=on_error)


def around(deep: Agent[Any], *, resumed: bool = False) -> Agent[Any]:
    """Put it into an agent whose own tool breaks, and that into another."""
    calls = [[call("breaks", why="first"), call("deep", request="?")], call("middle", request="?")]
    inner, outer = ([], []) if resumed else ([calls[0]], [calls[1]])
    middle = Agent(ScriptedModel([*inner, "middle"]), name="middle", tools=[breaks, deep.as_tool()])
    return Agent(ScriptedModel([*outer, "end"]), tools=[middle.as_tool()])


@pytest.mark.parametrize("script", [["done"], [fault(400)], [reply("", finish_reason="SAFETY")]])
def test_what_the_tools_of_sub_agents_raise_is_in_the_errors_of_the_run(way: Way, script: list[Any]) -> None:
    errors = way.run(around(breaking(*script)), "x").errors
    assert sorted(str(error) for error in errors if isinstance(error, LookupError)) == ["deep", "first"]


def test_what_a_sub_agent_is_ended_by_is_in_the_errors_once(way: Way) -> None:
    errors = way.run(around(breaking(on_error="raise")), "x").errors
    assert sorted(str(error) for error in errors) == ["deep", "first"]


def test_what_the_tools_of_a_sub_agent_raised_before_it_waits_is_in_the_errors(way: Way) -> None:
    run = way.run(around(breaking(call("ask"))), "x")
    assert run.stop == "approval"
    assert sorted(str(error) for error in run.errors) == ["deep", "first"]
    again = around(breaking("done"), resumed=True)
    done = way.resume(again, Run.from_json(run.to_json()), {run.pending[0].call_id: Approve()})
    assert (done.text, [str(error) for error in done.errors]) == ("end", ["deep"])
