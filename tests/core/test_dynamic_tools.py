"""Tools that change from turn to turn: those a function chooses, and those the model finds on demand."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from agentkit import (
    Agent,
    Approve,
    ConfigurationError,
    Context,
    Edit,
    Hooks,
    Limits,
    Run,
    Tool,
    ToolDefinitionError,
    ToolRegistry,
    ToolRetry,
    tool,
)
from agentkit.output import Output
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import iter_declarations
from tests.helpers.runners import Runner, responses
from tests.helpers.until import PATIENCE


def declared(model: ScriptedModel) -> list[list[str]]:
    """List the names that each request declares, in order."""
    return [[each["name"] for each in iter_declarations(request)] for request in model.requests]


def a() -> str:
    """Do a."""
    return "a"


def b() -> str:
    """Do b."""
    return "b"


def c() -> str:
    """Do c."""
    return "c"


# -- chosen by a function --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_chooses_the_tools_of_each_turn(go: Runner, kind: str) -> None:
    choices: list[Any] = [["c", "a"], None, [Tool.of(b)], (name for name in ["b", "a"]), [], ToolRegistry()]

    def choose(ctx: Context[Any]) -> Any:
        assert ctx.deps == "d"
        return choices[ctx.turn]

    async def achoose(ctx: Context[Any]) -> Any:
        await asyncio.sleep(0)
        return choose(ctx)

    model = ScriptedModel([call("a"), call("b"), call("b"), call("a"), call("a"), "ok"])
    chosen: Any = choose if kind == "sync" else achoose
    run = go(Agent(model, tools=[a, b, c], choose_tools=chosen), "x", deps="d")
    assert declared(model) == [["a", "c"], ["a", "b", "c"], ["b"], ["a", "b"], [], []]
    assert "tools" not in model.requests[4]
    *fine, last = responses(run)
    assert fine == [{"output": "a"}, {"output": "b"}, {"output": "b"}, {"output": "a"}]
    assert "There are no tools" in last["error"]


def test_declarations_are_in_the_same_order_however_they_are_chosen(go: Runner) -> None:
    orders = [["a", "b", "c"], ["c", "b", "a"], {"b", "c", "a"}, None]
    model = ScriptedModel([call("a"), call("b"), call("c"), "ok"])
    go(Agent(model, tools=[a, b, c], choose_tools=lambda ctx: orders[ctx.turn]), "x")
    assert declared(model) == [["a", "b", "c"]] * 4
    assert len({str(request["tools"]) for request in model.requests}) == 1


@pytest.mark.parametrize("nonsense", ["a", 3, ["d"], [None], [{"name": "a"}], [["a"]], ["a", 3], [print]])
def test_a_choice_that_is_none_is_told_so(go: Runner, nonsense: Any) -> None:
    model = ScriptedModel([])
    with pytest.raises(ConfigurationError, match="choose_tools returned"):
        go(Agent(model, tools=[a, b], choose_tools=lambda _: nonsense), "x")
    assert model.requests == []


def test_what_a_choosing_function_raises_ends_the_run(go: Runner) -> None:
    def choose(ctx: Context[Any]) -> Any:
        if ctx.turn:
            raise LookupError("nothing to choose from")

    with pytest.raises(LookupError):
        go(Agent(ScriptedModel([call("a")]), tools=[a], choose_tools=choose), "x")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_limit_of_seconds_holds_while_a_choosing_function_hangs(go: Runner, kind: str) -> None:
    end = threading.Event()

    def hang(_: Context[Any]) -> None:
        end.wait(PATIENCE)

    async def ahang(_: Context[Any]) -> None:
        await asyncio.sleep(PATIENCE)

    chosen: Any = hang if kind == "sync" else ahang
    began = time.monotonic()
    run = go(Agent(ScriptedModel([]), tools=[a], choose_tools=chosen, limits=Limits(seconds=0.1)), "x")
    end.set()
    assert run.stop == "seconds"
    assert time.monotonic() - began < PATIENCE / 2


def test_a_forced_choice_forces_only_what_the_turn_has(go: Runner) -> None:
    for choice, calling in (
        (["a", "b"], {"mode": "ANY", "allowedFunctionNames": ["b"]}),
        (["a"], None),
        ("required", {"mode": "ANY"}),
    ):
        model = ScriptedModel(["ok"])
        go(Agent(model, tools=[a, b], tool_choice=choice, choose_tools=lambda _: ["b"]), "x")
        assert model.requests[0].get("toolConfig", {}).get("functionCallingConfig") == calling


# -- found on demand -------------------------------------------------------------------------------------------------


def _times(n: int) -> Tool:
    def times(x: int) -> int:
        return n * x

    return Tool.of(times, name=f"times_{n}", description=f"Multiplies by number{n}.", on_demand=True)


TIMES = [_times(n) for n in range(600)]
ALWAYS = [each.replace(on_demand=False) for each in TIMES[:512]]
MANY = ToolRegistry("many").merge(TIMES[:300])


def found(run: Run[Any]) -> list[list[str]]:
    """List what each call of find_tools gave."""
    lists = [each.get("output") for each in responses(run)]
    return [[item["name"] for item in each] for each in lists if isinstance(each, list)]


def test_a_tool_among_hundreds_is_found_declared_and_called(go: Runner) -> None:
    model = ScriptedModel([call("find_tools", query="number7"), call("times_7", x=6), "42"])
    run = go(Agent(model, tools=[a, MANY.on_demand(), b]), "x")
    first, second, third = declared(model)
    assert first == ["a", "b", "find_tools"]
    assert "times_7" in second
    assert second == third
    assert 3 < len(second) <= 8
    assert responses(run)[1] == {"output": 42}
    assert found(run) == [second[3:]]


def test_what_was_declared_is_a_prefix_of_what_is_declared_later(go: Runner) -> None:
    def large(n: int) -> str:
        """Give much."""
        return "x" * 2000

    script = [
        call("find_tools", query="number7"),
        call("large", n=1),
        call("find_tools", query="number200"),
        call("find_tools", query="number7"),
        [call("find_tools", query="number31"), call("find_tools", query="number32")],
        call("final_result", result=3),
    ]
    model = ScriptedModel(script)
    agent = Agent(model, tools=[a, MANY, large], max_result_chars=1000)
    run = go(agent, "x", output=Output(int, mode="tool"))
    assert run.output == 3
    names = declared(model)
    for earlier, later in itertools.pairwise(names):
        assert later[: len(earlier)] == earlier
    assert names[0] == ["a", "large", "find_tools", "final_result"]
    assert names[-1].index("read_result") < names[-1].index("times_200")
    assert len(names[-1]) == len(set(names[-1]))


def test_a_tool_that_was_called_before_it_was_found_is_declared_from_then_on(go: Runner) -> None:
    script = [call("times_7", x=6), call("times_7", x=6), call("times_250"), "ok"]
    model = ScriptedModel(script)
    run = go(Agent(model, tools=[MANY, a]), "x")
    unfound, fine, other = responses(run)
    assert unfound == {
        "error": "The tool 'times_7' was not loaded. Now it is: call it again, as its declaration says."
    }
    assert fine == {"output": 42}
    assert "was not loaded" in other["error"]
    before = ["a", "find_tools"]
    assert declared(model) == [
        before,
        [*before, "times_7"],
        [*before, "times_7"],
        [*before, "times_7", "times_250"],
    ]


def test_a_query_that_fits_nothing_is_answered_so(go: Runner) -> None:
    run = go(Agent(ScriptedModel([call("find_tools", query="zebra"), "ok"]), tools=[MANY]), "x")
    assert "No tool fits 'zebra'" in responses(run)[0]["error"]


def test_found_tools_stay_in_a_chat() -> None:
    model = ScriptedModel([call("find_tools", query="number7"), "found", call("times_7", x=6), "42"])
    chat = Agent(model, tools=[MANY]).chat()
    chat.send_message("Find it.")
    run = chat.send_message("Use it.")
    assert run.text == "42"
    assert "times_7" in declared(model)[2]
    assert declared(model)[2] == declared(model)[1]


def test_found_tools_are_gone_when_the_message_that_found_them_is_taken_back() -> None:
    model = ScriptedModel([call("find_tools", query="number7"), "found", "hello"])
    chat = Agent(model, tools=[MANY]).chat()
    chat.send_message("Find it.")
    chat.undo()
    chat.send_message("Hello")
    assert declared(model)[2] == ["find_tools"]


def test_found_tools_stay_when_a_run_is_resumed(go: Runner) -> None:
    held = ToolRegistry("held")
    held.add(Tool.of(a, approval=True))
    model = ScriptedModel(
        [call("find_tools", query="number7"), [call("a"), call("times_7", x=2)], call("times_7", x=6), "42"]
    )
    agent = Agent(model, tools=[MANY, held])
    stopped = go(agent, "x")
    assert stopped.stop == "approval"
    run = agent.resume(stopped.to_json(), {})
    assert run.stop == "approval"
    run = agent.resume(run.to_json(), {run.pending[0].call_id: Approve()})
    assert run.text == "42"
    assert declared(model)[-1] == declared(model)[1]
    assert responses(run)[1:] == [{"output": "a"}, {"output": 14}, {"output": 42}]


def test_a_history_that_is_given_loads_what_was_found_in_it(go: Runner) -> None:
    first = go(Agent(ScriptedModel([call("find_tools", query="number7"), "ok"]), tools=[MANY]), "x")
    model = ScriptedModel([call("times_7", x=1), "ok"])
    run = go(Agent(model, tools=[MANY]), "y", history=first.contents)
    assert responses(run)[-1] == {"output": 7}


def test_names_in_a_history_that_are_tools_no_more_are_left_out(go: Runner) -> None:
    first = go(Agent(ScriptedModel([call("find_tools", query="number7"), "ok"]), tools=[MANY]), "x")
    model = ScriptedModel(["ok"])
    go(Agent(model, tools=[a]), "y", history=first.contents)
    assert declared(model) == [["a"]]


def test_six_hundred_tools_are_fine_on_demand_and_too_many_without(go: Runner) -> None:
    with pytest.raises(ToolDefinitionError, match="on_demand"):
        Agent(ScriptedModel([]), tools=[each.replace(on_demand=False) for each in TIMES])
    model = ScriptedModel([call("find_tools", query="number599"), call("times_599", x=1), "ok"])
    run = go(Agent(model, tools=TIMES), "x")
    assert responses(run)[1] == {"output": 599}


def test_more_tools_than_a_request_takes_are_refused_before_anything_is_sent(go: Runner) -> None:
    model = ScriptedModel(["ok"])
    go(Agent(model, tools=ALWAYS), "x")
    assert len(declared(model)[0]) == 512
    for settings, options in (
        ({"tools": [*ALWAYS, Tool.of(a, on_demand=True)]}, {}),  # there is no room for find_tools
        ({"tools": ALWAYS}, {"output": Output(int, mode="tool")}),
        ({"tools": TIMES, "choose_tools": lambda _: TIMES}, {}),
    ):
        model = ScriptedModel([])
        with pytest.raises(ConfigurationError, match="takes 512"):
            go(Agent(model, **settings), "x", **options)
        assert model.requests == []


def test_of_more_found_tools_than_a_request_takes_the_newest_are_declared(go: Runner) -> None:
    def large() -> str:
        """Give much."""
        return "x" * 2000

    script = [call("find_tools", query=f"number{n}") for n in range(510, 580, 10)] + [call("large"), "ok"]
    model = ScriptedModel(script)
    limits = Limits(repeats=None)
    run = go(
        Agent(model, tools=[*ALWAYS[:506], *TIMES[506:], large], max_result_chars=1000, limits=limits), "x"
    )
    in_order = list(dict.fromkeys(itertools.chain(*found(run))))
    assert len(in_order) > 3
    assert declared(model)[-1][506:] == ["large", "find_tools", *in_order[-3:], "read_result"]


def test_what_finds_tools_is_cut_so_that_it_finds_them_all(go: Runner) -> None:
    tools = [Tool.of(a, name=f"long_{n}", description="word " * 400, on_demand=True) for n in range(5)]
    model = ScriptedModel([call("find_tools", query="word"), call("long_4"), "ok"])
    run = go(Agent(model, tools=tools, max_result_chars=500), "x")
    assert responses(run)[1] == {"output": "a"}
    assert sorted(declared(model)[1][1:]) == [f"long_{n}" for n in range(5)]


def test_a_query_that_a_hook_changed_still_loads_what_it_finds(go: Runner) -> None:
    hooks = Hooks(before_tool=lambda args, ctx: Edit({"query": "number7"}) if "query" in args else None)
    model = ScriptedModel([call("find_tools", query="number8"), call("times_7", x=1), "ok"])
    run = go(Agent(model, tools=[MANY], hooks=hooks), "x")
    assert responses(run)[1] == {"output": 7}


def test_a_choice_may_declare_tools_on_demand_and_what_was_found_stays(go: Runner) -> None:
    model = ScriptedModel([call("times_5", x=1), call("find_tools", query="number7"), "ok"])
    choices: list[Iterable[str]] = [["times_5"], ["a"], ["times_9", "times_3", "a"]]
    run = go(Agent(model, tools=[a, b, MANY], choose_tools=lambda ctx: choices[ctx.turn]), "x")
    one, two, three = declared(model)
    assert one == ["find_tools", "times_5"]
    assert two == ["a", "find_tools"]
    assert three[:4] == ["a", "find_tools", "times_3", "times_9"]
    assert "times_7" in three
    assert responses(run)[0] == {"output": 5}


# -- names -----------------------------------------------------------------------------------------------------------


@tool(name="find_tools")
def my_find_tools(query: str) -> str:
    """Find tools, another way."""
    return query


@tool(name="read_result")
def my_read_result() -> str:
    """Read."""
    return ""


def test_names_of_agentkits_own_tools_are_refused_where_it_needs_them(go: Runner) -> None:
    with pytest.raises(ConfigurationError, match="'read_result' of its own"):
        Agent(ScriptedModel([]), tools=[my_read_result])
    with pytest.raises(ConfigurationError, match="'find_tools' of its own"):
        Agent(ScriptedModel([]), tools=[my_find_tools, MANY])
    with pytest.raises(ConfigurationError, match="'find_tools' of its own"):
        Agent(ScriptedModel([])).run("x", tools=[my_find_tools, MANY])
    run = go(Agent(ScriptedModel([call("find_tools", query="q"), "ok"]), tools=[my_find_tools]), "x")
    assert responses(run) == [{"output": "q"}]


def test_a_tool_with_the_name_of_the_output_is_refused() -> None:
    final = Tool.of(a, name="final_result", on_demand=True)
    with pytest.raises(ConfigurationError, match="final_result"):
        Agent(ScriptedModel([]), tools=[final]).run("x", output=Output(int, mode="tool"))


def test_reading_on_says_what_is_wrong_with_an_id_or_an_offset(go: Runner) -> None:
    def large() -> str:
        """Give much."""
        return "0123456789" * 100

    def id_in(request: Any) -> str:
        output = str(request["contents"][2]["parts"][0]["functionResponse"]["response"]["output"])
        return output.partition('read_result(id="')[2].partition('"')[0]

    script = [
        call("large"),
        call("read_result", id="nope"),
        lambda r: call("read_result", id=id_in(r), offset=1000),
        lambda r: call("read_result", id=id_in(r), offset=-1),
        lambda r: call("read_result", id=id_in(r), offset=990),
        lambda r: call("read_result", id=id_in(r)),
        "ok",
    ]
    run = go(Agent(ScriptedModel(script), tools=[large], max_result_chars=500), "x")
    first, unknown, beyond, before, rest, begin = responses(run)
    assert "No result is kept under 'nope'" in unknown["error"]
    assert "from 0 to 999" in beyond["error"]
    assert "error" in before
    assert rest == {"output": "0123456789"}
    assert begin == first


def test_a_tool_that_asks_again_too_often_counts_for_found_tools_too(go: Runner) -> None:
    def picky() -> None:
        """Refuse."""
        raise ToolRetry("no")

    script = [call("find_tools", query="picky")] + [call("picky")] * 2 + ["ok"]
    picky_tool = Tool.of(picky, on_demand=True, retries=1)
    run = go(Agent(ScriptedModel(script), tools=[picky_tool]), "x")
    assert len(run.errors) == 1
