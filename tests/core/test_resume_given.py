"""A stopped run is a session: it keeps what it was given, is resumed once, and what is damaged is refused at once."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ConfigurationError,
    Context,
    Deny,
    Edit,
    Hooks,
    Limits,
    MemoryStore,
    Output,
    Price,
    Result,
    Run,
    SQLiteStore,
    Tool,
    Usage,
)
from agentkit.testing import ScriptedModel, call, check_history
from agentkit.wire.content import responses_of
from tests.helpers.waiting import Shop, approve_all, everything, later, parked
from tests.helpers.ways import Way, either

__all__ = ["either"]


Write = Callable[[Run[Any]], Any]
AS_IT_IS: Write = lambda run: run  # noqa: E731
AS_JSON: Write = lambda run: run.to_json()  # noqa: E731
BOTH = pytest.mark.parametrize("form", [AS_IT_IS, AS_JSON], ids=["the run", "its JSON"])


# -- what it was given


@BOTH
def test_instructions_tool_choice_limits_and_models_by_name_are_kept(either: Way, form: Write) -> None:
    shop = Shop()
    model = ScriptedModel([[call("order", sku="A")], [call("read", sku="B")], "done"])
    agent = Agent(model, tools=[shop.order, shop.read], instructions="the agent's", tool_choice="auto")
    limits = Limits(
        turns=1, seconds=50.0, tokens=10_000, cost=5.0, prices={"scripted": Price(input=1.0, output=2.0)}
    )
    run = either.run(agent, "x", instructions="the run's", limits=limits, tool_choice=["order"])
    again = either.resume(agent, form(run), approve_all(run))
    assert again.stop == "turns"  # which begin anew
    assert model.requests[1]["systemInstruction"]["parts"] == [{"text": "the run's"}]
    last = either.resume(agent, form(again))
    assert last.text == "done"
    assert model.requests[2]["systemInstruction"]["parts"] == [{"text": "the run's"}]


@BOTH
def test_no_choice_of_tools_stays_none(either: Way, form: Write) -> None:
    shop = Shop()
    model = ScriptedModel([[call("order", sku="A")], "done"])
    agent = Agent(model, tools=[shop.order])
    run = either.run(agent, "x", tool_choice="none")
    either.resume(agent, form(run), approve_all(run))
    assert [request["toolConfig"]["functionCallingConfig"]["mode"] for request in model.requests] == [
        "NONE"
    ] * 2


@BOTH
def test_what_is_given_to_resume_comes_first(either: Way, form: Write) -> None:
    shop = Shop()
    model = ScriptedModel([[call("order", sku="A")], "done"])
    agent = Agent(model, tools=[shop.order])
    run = either.run(agent, "x", instructions="before")
    either.resume(agent, form(run), approve_all(run), instructions="after")
    assert model.requests[1]["systemInstruction"]["parts"] == [{"text": "after"}]


def test_in_the_same_process_all_of_it_is_kept(either: Way) -> None:
    shop = Shop()
    model = ScriptedModel([[call("zz", sku="A")], [call("zz", sku="B")], '{"result": 3}'])
    agent = Agent(ScriptedModel([]))
    seen: list[Any] = []

    def zz(sku: str, ctx: Any = None) -> str:
        """Order."""
        return shop._order(sku)

    def approver(waiting: Any, ctx: Any) -> Any:
        seen.append(ctx.deps)
        return Approve() if waiting.args["sku"] == "B" else None

    run = either.run(
        agent,
        "x",
        model=model,
        tools=[Tool.of(zz, approval=True)],
        output=Output(int, mode="native"),
        deps={"key": 1},
        instructions=lambda ctx: f"with {ctx.deps}",
        approver=approver,
    )
    assert (run.stop, len(run.pending)) == ("approval", 1)
    again = either.resume(agent, run, approve_all(run))
    assert (again.output, shop.ordered, seen) == (3, ["A", "B"], [{"key": 1}] * 2)
    assert model.requests[-1]["systemInstruction"]["parts"] == [{"text": "with {'key': 1}"}]


GIVEN: dict[str, dict[str, Any]] = {
    "deps": {"deps": 1},
    "output": {"output": int},
    "instructions": {"instructions": lambda ctx: "x"},
    "model": {"model": ScriptedModel([lambda request: [call("order", sku="A")]] * 9)},
    "tools": {"tools": [Shop().order]},
}


@pytest.mark.parametrize("name", GIVEN)
def test_from_json_what_could_not_be_written_has_to_be_given_again(either: Way, name: str) -> None:
    shop = Shop()
    agent = shop.agent([call("order", sku="A")], '{"result": 3}')
    run = either.run(agent, "x", **GIVEN[name])
    with pytest.raises(ConfigurationError, match=f"{name}="):
        either.resume(agent, run.to_json(), approve_all(run))
    assert shop.ordered == []
    twice = Run.from_json(run.to_json()).to_json()
    with pytest.raises(ConfigurationError, match=f"{name}="):  # also from what was read and written again
        either.resume(agent, twice, approve_all(run))
    given = {"model": ScriptedModel(['{"result": 3}'])} if name == "model" else GIVEN[name]
    assert either.resume(agent, run.to_json(), approve_all(run), **given).stop is None


@pytest.mark.parametrize(
    "name",
    ["deps", "instructions", "tools", "output"],
)
def test_none_leaves_out_what_it_was_given(either: Way, name: str) -> None:
    shop = Shop()
    agent = shop.agent([call("order", sku="A")], '{"result": 3}')
    run = either.run(agent, "x", **GIVEN[name])
    again = either.resume(agent, run.to_json(), approve_all(run), **{name: None})
    assert (again.text, again.output) == ('{"result": 3}', None)


def test_all_that_is_missing_is_named_at_once(either: Way) -> None:
    shop = Shop()
    agent = shop.agent([call("order", sku="A")])
    run = either.run(agent, "x", deps=1, output=int, instructions=lambda ctx: "x")
    with pytest.raises(ConfigurationError) as caught:
        either.resume(agent, run.to_json(), approve_all(run))
    assert all(f"{name}=" in str(caught.value) for name in ("deps", "output", "instructions"))


@pytest.mark.parametrize("option", ["instructions", "output", "limits"])
def test_a_chat_that_is_resumed_keeps_what_its_message_was_given(option: str, tmp_path: Path) -> None:
    shop = Shop()
    model = ScriptedModel([[call("order", sku="A")], [call("read", sku="B")], '{"result": 3}'])
    agent = Agent(model, tools=[shop.order, shop.read], instructions="the agent's")
    given: dict[str, Any] = {
        "instructions": {"instructions": "the message's"},
        "output": {"output": Output(int, mode="native")},
        "limits": {"limits": Limits(turns=1)},
    }
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = agent.chat("ann", store)
        run = chat.send_message("x", **given[option])
        again = chat.resume(approve_all(run))
    if option == "instructions":
        assert model.requests[1]["systemInstruction"]["parts"] == [{"text": "the message's"}]
    elif option == "output":
        assert again.output == 3
    else:
        assert again.stop == "turns"


def test_a_chat_that_waits_can_be_saved_and_goes_on_elsewhere(tmp_path: Path) -> None:
    shop = Shop()
    agent = shop.agent([call("order", sku="A")], "done")
    chat = agent.chat("ann", MemoryStore())
    run = chat.send_message("x")
    chat.save(tmp_path / "chat.json")
    other = agent.chat("ben", MemoryStore())
    other.load(tmp_path / "chat.json")
    assert other.pending == list(run.pending)
    assert other.resume(approve_all(run)).text == "done"
    assert shop.ordered == ["A"]


# -- once


@BOTH
def test_of_two_calls_that_wait_one_is_settled_and_then_the_other(either: Way, form: Write) -> None:
    shop = Shop()
    agent = shop.agent([call("order", sku="A"), call("order", sku="B"), call("later")], "done")
    run = either.run(agent, "x", instructions="the run's")
    first, second, third = (waiting.call_id for waiting in run.pending)
    half = either.resume(agent, form(run), {first: Edit({"sku": "E"})})
    assert ([waiting.call_id for waiting in half.pending], shop.ordered) == ([second, third], ["E"])
    more = either.resume(agent, form(half), {second: Deny("no")})
    assert [waiting.call_id for waiting in more.pending] == [third]
    last = either.resume(agent, form(more), {third: Result("late")})
    assert (last.text, shop.ordered) == ("done", ["E"])
    assert [r["response"].get("output", "none") for c in last.contents for r in responses_of(c)][2] == "late"


def test_a_run_that_waits_is_resumed_once_in_a_process(either: Way) -> None:
    shop = Shop()
    agent = shop.agent([call("order", sku="A")], "done", "done")
    run = either.run(agent, "x")
    either.resume(agent, run, approve_all(run))
    with pytest.raises(AgentError, match="resumed already"):
        either.resume(agent, run, approve_all(run))
    assert shop.ordered == ["A"]


def test_of_many_who_resume_a_run_at_the_same_time_one_does(no_thread_left: None) -> None:
    for _ in range(20):
        shop = Shop()
        agent = shop.agent([call("order", sku="A")], "done", "done")
        run = agent.run("x")
        said: list[str] = []

        def go() -> None:
            try:
                said.append(agent.resume(run, approve_all(run)).text)  # noqa: B023 - joined below
            except AgentError:
                said.append("refused")  # noqa: B023

        threads = [threading.Thread(target=go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said) == ["done", "refused", "refused", "refused"]
        assert shop.ordered == ["A"]


class Moody:
    """A hook that fails for as long as it is told to."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = None
        self.will_raise = error

    def __call__(self, *args: Any) -> Any:
        if self.error is not None:
            raise self.error
        return None


@pytest.mark.parametrize("error", [LookupError("a bug"), KeyboardInterrupt(), SystemExit(2)], ids=repr)
def test_a_run_of_which_nothing_was_done_can_be_resumed_again(either: Way, error: BaseException) -> None:
    shop, hook = Shop(), Moody(error)
    agent = shop.agent([call("order", sku="A")], "done", hooks=Hooks(before_tool=hook))
    run = either.run(agent, "x")
    hook.error = error
    with pytest.raises(type(error)):
        either.resume(agent, run, approve_all(run))
    hook.error = None
    assert shop.ordered == []
    assert either.resume(agent, run, approve_all(run)).text == "done"
    assert shop.ordered == ["A"]


@pytest.mark.parametrize("where", ["instructions", "choose_tools", "tool_choice"])
def test_a_function_of_the_turn_that_fails_after_the_calls_were_made_leaves_a_run_to_go_on_from(
    either: Way, where: str
) -> None:
    shop, function = Shop(), Moody(LookupError("a bug"))
    agent = shop.agent([call("order", sku="A")], "done", **{where: function})
    run = either.run(agent, "x")
    function.error = function.will_raise
    with pytest.raises(LookupError) as caught:
        either.resume(agent, run, approve_all(run))
    function.error = None
    left: Any = caught.value
    assert (left.run.stop, shop.ordered) == ("error", ["A"])
    assert either.resume(agent, left.run, {}).text == "done"
    assert shop.ordered == ["A"]


def test_a_run_whose_resuming_task_was_cancelled_before_anything_was_done_can_be_resumed_again() -> None:
    shop, wait = Shop(), asyncio.Event()

    async def hook(args: Any, ctx: Any) -> None:
        await wait.wait()

    async def go() -> str:
        agent = shop.agent([call("order", sku="A")], "done", hooks=Hooks(before_tool=hook))
        wait.set()
        run = await agent.aio.run("x")
        wait.clear()
        task = asyncio.create_task(agent.aio.resume(run, approve_all(run)))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wait.set()
        return (await agent.aio.resume(run, approve_all(run))).text

    assert asyncio.run(go()) == "done"
    assert shop.ordered == ["A"]


def test_decisions_about_a_run_of_which_nothing_waits_are_refused(either: Way) -> None:
    agent = Shop().agent("done")
    run = either.run(agent, "x")
    with pytest.raises(ConfigurationError, match=r"[Nn]o (call is pending|pending call)"):
        either.resume(agent, run, {"unknown": Approve()})
    assert either.resume(agent, run).text == "done"


# -- what was written before


def test_a_run_of_the_first_format_is_read_and_goes_on(either: Way) -> None:
    shop, inside = Shop(), Shop()
    text = (Path(__file__).parent / "run_format_1.json").read_text("utf-8")
    wire = json.loads(text)
    run = Run.from_json(text)
    assert (run.run_id, run.stop, run.text) == (wire["runId"], wire["stop"], wire["text"])
    assert run.contents == wire["contents"]
    assert [(waiting.call_id, list(waiting.path)) for waiting in run.pending] == [
        (waiting["callId"], waiting["path"]) for waiting in wire["pending"]
    ]
    assert (run.usage.requests, run.usage.total_tokens, run.turns) == (3, 563, 2)
    assert Run.from_json(run.to_json()).to_json() == run.to_json()
    inner = Agent(ScriptedModel(["inner done"]), name="inner", tools=[inside.order])
    agent = Agent(ScriptedModel(["done"]), tools=[shop.order, shop.read, later, inner.as_tool()])
    again = either.resume(agent, text, approve_all(run))
    assert (again.text, shop.ordered, inside.ordered) == ("done", ["A"], ["in"])
    check_history(again.contents)


def test_a_run_of_the_first_format_says_why_it_stopped() -> None:
    text = (Path(__file__).parent / "run_format_1.json").read_text("utf-8")
    assert Run.from_json(text).why


def test_a_run_of_the_second_format_is_read_and_goes_on(either: Way) -> None:
    text = (Path(__file__).parent / "run_format_2.json").read_text("utf-8")
    wire = json.loads(text)
    run = Run.from_json(text)
    for name in ("text", "said", "stop", "why", "limit", "model"):
        assert getattr(run, name) == wire[name]
    assert (run.run_id, run.finish_reason) == (wire["runId"], wire["finishReason"])
    assert run.contents == [message["content"] for message in wire["messages"]]
    assert [each.args for each in run.pending] == [each["args"] for each in wire["pending"]]
    assert [each.total_tokens for each in run.turn_usages] == [u["totalTokens"] for u in wire["turnUsages"]]
    assert (run.usage.total_tokens, dict(run.results)) == (wire["usage"]["totalTokens"], wire["results"])
    assert [str(error).split()[0] for error in run.errors] == wire["errors"]
    written = run.to_json()
    assert Run.from_json(written).to_json() == written
    given = json.loads(written)["given"]
    assert (given["instructions"], given["toolChoice"], given["limits"]["turns"]) == (
        "be brief",
        ["order"],
        9,
    )
    again = either.resume(everything("done"), written, approve_all(run))
    check_history(again.contents)


# -- what is damaged


Path_ = tuple[Any, ...]
OTHER_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\ud800",
    [], {}, [[]], [None], {"a": 1}, {"": None}, "STOP", "approval", "user", "model",
]  # fmt: skip


def places(value: Any, path: Path_ = ()) -> list[Path_]:
    found = [path] if path else []
    if len(path) > 50:  # what was put in before
        return found
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*found, *(deeper for key, item in items for deeper in places(item, (*path, key)))]


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def bent(value: Any) -> Any:
    """Change a value a little."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value[::-1] + "z"
        case list():
            return value[::-1]
    return [value]


def deep(levels: int) -> Any:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def mutated(text: str, dice: random.Random) -> str:
    wire = json.loads(text)
    for _ in range(dice.choice([1, 1, 1, 2])):
        path = dice.choice(places(wire))
        inside, key = at(wire, path[:-1]), path[-1]
        copied = json.loads(json.dumps(at(wire, dice.choice(places(wire)))))
        match dice.randrange(7):
            case 0:
                del inside[key]
            case 1 | 2:
                inside[key] = dice.choice(OTHER_VALUES)
            case 3:
                inside[key] = copied
            case 4:
                inside[key] = deep(dice.choice([5, 100, 400]))
            case 5:
                inside[key] = bent(inside[key])
            case _ if isinstance(inside, list):
                inside.insert(key, copied)
            case _:
                inside[key + "_"] = copied
    return json.dumps(wire)


def use(run: Run[Any]) -> None:
    """Do with a run that was read what can be done with one."""
    assert repr(run) and str(run)
    assert str([(each.result, each.error) for each in run.calls])
    assert json.dumps([run.contents, run.new_contents, [waiting.args for waiting in run.pending]])
    written = run.to_json()
    assert Run.from_json(written).to_json() == written
    for decisions in ({}, approve_all(run)):
        try:
            again = everything("done", "done", "done").resume(Run.from_json(written), decisions)
        except ConfigurationError:
            continue
        check_history(again.contents)
        assert Run.from_json(again.to_json()).to_json() == again.to_json()


def read_or_refused(seeds: range) -> None:
    text = parked().to_json()
    assert len(Run.from_json(text).pending) == 3
    read = 0
    for seed in seeds:
        try:
            run = Run.from_json(mutated(text, random.Random(seed)))
        except ConfigurationError:
            continue
        read += 1
        try:
            use(run)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert read  # else nothing was tried


def test_a_damaged_run_is_refused_at_once_or_as_good_as_any(caplog: pytest.LogCaptureFixture) -> None:
    read_or_refused(range(150))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(10))
def test_damaged_runs_are_refused_at_once_or_as_good_as_any(
    part: int, caplog: pytest.LogCaptureFixture
) -> None:
    read_or_refused(range(1000 + part * 300, 1000 + part * 300 + 300))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"x"',
        "{}",
        '{"agentkitRun": 3}',
        '{"agentkitRun": true}',
        b"\xff",
        "[" * 100_000,
    ],
    ids=range(11),
)
def test_what_is_no_run_is_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError):
        Run.from_json(text)


@pytest.mark.parametrize("text", [None, 3, {}, [], object()], ids=["None", "int", "dict", "list", "object"])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError):
        Run.from_json(text)


def damaged_first_format(seed: int) -> str:
    text = (Path(__file__).parent / "run_format_1.json").read_text("utf-8")
    return mutated(text, random.Random(seed))


@pytest.mark.parametrize("seeds", [range(100)], ids=["100"])
def test_a_damaged_run_of_the_first_format_is_refused_at_once_or_as_good_as_any(
    seeds: range, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in seeds:
        try:
            run = Run.from_json(damaged_first_format(seed))
        except ConfigurationError:
            continue
        use(run)


# -- what can't be written


def test_a_run_whose_tokens_have_no_end_can_be_written_down(either: Way) -> None:
    huge: Any = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10**30},
    }
    agent = Shop().agent(huge)
    run = either.run(agent, "x")  # which checks that it can be written and read
    assert run.why or run.stop is None


def test_a_run_whose_tool_spent_more_than_there_is_can_be_written_down(either: Way) -> None:
    def spends(ctx: Context[Any]) -> str:
        """Spend."""
        ctx.add_usage(Usage(requests=1, prompt_tokens=10**30))
        return "spent"

    either.run(Agent(ScriptedModel([[call("spends")], "done"]), tools=[spends]), "x")
