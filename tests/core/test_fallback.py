"""Models that stand in for one that fails, on the real SDK against a server that knows whose signature is whose."""

from __future__ import annotations

import asyncio
import copy
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentkit import Agent, Approve, GeminiModel, Limits, ModelError, RateLimit, Run, RunStopped, Tool
from agentkit.core.history import History
from agentkit.core.repair import RetryPolicy
from agentkit.events import Event, ModelChanged, ModelRetry, RequestDelayed, TextDelta, TurnFinished
from agentkit.memory.tokens import TokenBudget
from agentkit.model import Traits
from agentkit.stores.message import Message
from agentkit.testing import ScriptedModel, check_history, fault
from agentkit.wire.content import call_part, model_content, user_content
from agentkit.wire.signatures import SKIP, signed_by_nobody
from tests.helpers.gemini_server import GeminiServer, calls, text
from tests.helpers.gemini_server import call as wire_call
from tests.helpers.gemini_server import fault as wire_fault
from tests.helpers.runners import Runner, responses
from tests.helpers.until import PATIENCE

KEY = "test-key-0123456789"
NO_WAIT = RetryPolicy(attempts=2, base=0, cap=0.5)
ONE, TWO, OLD = "gemini-3.8-flash", "gemini-3-pro", "gemini-2.5-flash"
Make = Callable[..., Agent]


class Named(ScriptedModel):
    def __init__(self, name: str, endpoint: str | None) -> None:
        super().__init__([], name=name)
        self._traits = Traits(endpoint=endpoint)

    @property
    def traits(self) -> Traits:
        return self._traits


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def sums(a: int, b: int) -> Any:
    """Make a reply of two calls side by side, the first of them signed."""
    return calls(wire_call("add", {"a": a, "b": b}), wire_call("add", {"a": b, "b": b}), thought="Adding.")


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key=KEY) as server:
        yield server


PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
}
"""Says that a model's quota is used up for today."""


@pytest.fixture
def models(server: GeminiServer) -> Iterator[Callable[[str], GeminiModel]]:
    made: list[GeminiModel] = []

    def make(name: str, *, url: str = server.url) -> GeminiModel:
        made.append(GeminiModel(name, api_key=KEY, http_options={"base_url": url}))
        return made[-1]

    yield make
    for model in made:
        model.close()


@pytest.fixture
def make(models: Callable[[str], GeminiModel]) -> Make:
    def agent(*names: str, **settings: Any) -> Agent:
        return Agent([models(name) for name in names], **{"tools": [add], "retry": NO_WAIT, **settings})

    return agent


def signatures(body: Any) -> list[list[str | None]]:
    """List the signatures of the calls, step by step."""
    steps = [c["parts"] for c in body["contents"] if any("functionCall" in part for part in c["parts"])]
    return [[part.get("thoughtSignature") for part in parts if "functionCall" in part] for parts in steps]


def watched(agent: Agent, question: Any, **options: Any) -> tuple[Run[Any], list[Event]]:
    with agent.stream(question, **options) as stream:
        events = list(stream)
    check_history(stream.run.contents)
    return stream.run, events


# -- when ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "tries"),
    [
        (wire_fault(503), 2),
        (wire_fault(500), 2),
        (wire_fault(429, retry_delay="0.01s"), 2),
        (wire_fault("reset"), 2),
        (wire_fault("not-json"), 2),
        (wire_fault(429, retry_delay="3600s", status="RESOURCE_EXHAUSTED"), 1),
        (wire_fault(503, retry_after="3600"), 1),
        (wire_fault(429, details=[PER_DAY], retry_delay="0.01s"), 1),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_the_next_model_stands_in_for_one_that_fails_for_good(
    go: Runner, server: GeminiServer, make: Make, broken: Any, tries: int
) -> None:
    server.script([broken] * tries, model=ONE)
    server.script([sums(1, 2), "3 and 4"], model=TWO)
    began = time.monotonic()
    run = go(make(ONE, TWO), "1 + 2?")
    assert time.monotonic() - began < PATIENCE / 2  # nobody waits an hour
    assert (run.text, run.stop, run.model) == ("3 and 4", None, TWO)
    assert responses(run) == [{"output": 3}, {"output": 4}]
    assert [(used.model, used.requests) for used in run.usage.by_model] == [(TWO, 2)]
    assert len(server.asked(ONE)) == tries
    assert server.left == 0


def test_the_next_model_stands_in_where_nobody_answers(go: Runner, server: GeminiServer, models: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    server.script(["here"])
    agent = Agent([models(ONE, url=nowhere), models(TWO)], retry=NO_WAIT)
    run = go(agent, "x")
    assert (run.text, run.model) == ("here", TWO)


@pytest.mark.parametrize("code", [400, 403, 404])
def test_what_another_model_would_refuse_too_is_raised(
    go: Runner, server: GeminiServer, make: Make, code: int
) -> None:
    server.script([wire_fault(code)], model=ONE)
    with pytest.raises(ModelError) as caught:
        go(make(ONE, TWO), "x")
    assert caught.value.code == code
    assert server.asked(TWO) == []
    assert caught.value.run is not None
    assert caught.value.run.model == ONE


def test_a_fault_of_the_last_model_is_raised_with_what_there_was(
    go: Runner, server: GeminiServer, make: Make
) -> None:
    server.script([sums(1, 2), *[wire_fault(503)] * 2], model=ONE)
    server.script([wire_fault(429, retry_delay="0.01s"), wire_fault(500, message="the last")], model=TWO)
    with pytest.raises(ModelError, match="the last") as caught:
        go(make(ONE, TWO), "x")
    run = caught.value.run
    assert run is not None
    check_history(run.contents)
    assert responses(run) == [{"output": 3}, {"output": 4}]
    assert run.model == TWO


def test_text_that_was_shown_is_not_said_again_by_another_model(server: GeminiServer, make: Make) -> None:
    server.script([wire_fault("stream-error")], model=ONE)
    events = make(ONE, TWO).stream("x")
    with pytest.raises(ModelError):
        events.drain()
    assert events.run.text == "The first"
    assert server.asked(TWO) == []


def test_a_change_is_told_and_lasts_until_the_run_ends(server: GeminiServer, make: Make) -> None:
    server.script([sums(1, 2), *[wire_fault(503, message="overloaded")] * 2, "back"], model=ONE)
    server.script([sums(3, 4), "done"], model=TWO)
    agent = make(ONE, TWO)
    run, events = watched(agent, "x")
    told = [e for e in events if isinstance(e, (ModelChanged, ModelRetry, TurnFinished))]
    assert [type(event).__name__ for event in told] == [
        "TurnFinished",
        "ModelRetry",
        "ModelChanged",
        "TurnFinished",
        "TurnFinished",
    ]
    changed = told[2]
    assert isinstance(changed, ModelChanged)
    assert (changed.before, changed.after) == (ONE, TWO)
    assert "overloaded" in changed.reason
    assert [event.model for event in told if isinstance(event, TurnFinished)] == [ONE, TWO, TWO]
    assert [(used.model, used.requests) for used in run.usage.by_model] == [(TWO, 2), (ONE, 1)]
    assert run.usage.requests == 3
    again = agent.run("y")  # the next run begins with the first model
    assert (again.text, again.model) == ("back", ONE)


def test_a_chain_of_three_is_gone_through_in_order(go: Runner, server: GeminiServer, make: Make) -> None:
    server.script([wire_fault(503)] * 2, model=ONE)
    server.script([wire_fault(429, retry_delay="100s")], model=TWO)
    server.script(["the third"], model=OLD)
    assert go(make(ONE, TWO, OLD), "x").text == "the third"


def test_a_run_may_have_models_of_its_own(go: Runner, server: GeminiServer, models: Any, make: Make) -> None:
    server.script([wire_fault(503)] * 2, model=TWO)
    server.script(["ok"], model=OLD)
    run = go(make(ONE), "x", model=[models(TWO), models(OLD)])
    assert run.model == OLD
    assert server.asked(ONE) == []


def test_a_shared_rate_limit_does_not_hold_the_next_model_up_for_the_first_ones_quota(
    go: Runner, server: GeminiServer, make: Make
) -> None:
    server.script([wire_fault(429, retry_delay="3600s")], model=ONE)
    server.script(["at once"], model=TWO)
    limit = RateLimit(requests_per_minute=100)
    began = time.monotonic()
    assert go(make(ONE, TWO, rate_limit=limit), "x").text == "at once"
    assert time.monotonic() - began < PATIENCE / 2
    assert limit.pause() == 0


def test_the_limits_hold_across_models(go: Runner, server: GeminiServer, make: Make) -> None:
    server.script([sums(1, 2), *[wire_fault(503)] * 2], model=ONE)
    server.script([sums(3, 4)], model=TWO)
    run = go(make(ONE, TWO, limits=Limits(tokens=30)), "x")
    assert (run.stop, run.usage.total_tokens) == ("tokens", 30)


# -- signatures ------------------------------------------------------------------------------------------------------


def test_steps_of_the_current_turn_are_marked_for_another_model_and_the_history_stays_as_it_was(
    go: Runner, server: GeminiServer, make: Make
) -> None:
    server.script([sums(1, 2), sums(3, 4), *[wire_fault(503)] * 2], model=ONE)
    server.script([sums(5, 6), text("done", sign=True)], model=TWO)
    run = go(make(ONE, TWO), "x")
    first, second = server.asked(TWO)
    assert signatures(first) == [[SKIP, None], [SKIP, None]]
    kept = signatures({"contents": run.contents})
    assert signatures(second) == [[SKIP, None], [SKIP, None], kept[2]]
    assert all(signature and signature != SKIP for signature, _ in kept)
    check_history(run.contents, signatures=True)


@pytest.mark.parametrize("to", [TWO, OLD])
def test_earlier_turns_of_a_chat_go_to_another_model_without_signatures(
    server: GeminiServer, make: Make, to: str
) -> None:
    server.script([sums(1, 2), text("3", sign=True), *[wire_fault(503)] * 2], model=ONE)
    server.script([sums(3, 4), text("7", sign=True)], model=to)
    chat = make(ONE, to).chat()
    chat.send_message("1 + 2?")
    assert chat.send_message("3 + 4?").text == "7"
    first, second = server.asked(to)
    assert signatures(first) == [[None, None]]
    assert "thoughtSignature" not in str(first)
    assert signatures(second)[0] == [None, None]
    assert signatures(second)[1][0] not in (None, SKIP)
    # back with the first model, the second one's go without theirs
    server.script([sums(5, 6), "11"], model=ONE)
    assert chat.send_message("5 + 6?").text == "11"
    last = signatures(server.asked(ONE)[-1])
    assert last[0] == signatures(server.asked(ONE)[1])[0]
    assert last[1] == [None, None]
    assert last[2][0] not in (None, SKIP)
    kept = signatures({"contents": chat.get_history()})
    assert all(step[0] not in (None, SKIP) for step in kept)


def test_a_model_before_gemini_3_gets_no_signature_and_no_mark_of_another(
    go: Runner, server: GeminiServer, make: Make
) -> None:
    server.script([sums(1, 2), *[wire_fault(503)] * 2], model=ONE)
    server.script(["3 and 4"], model=OLD)
    assert go(make(ONE, OLD), "x").text == "3 and 4"
    assert signatures(server.asked(OLD)[0]) == [[None, None]]


def test_unsigned_calls_of_an_older_model_are_marked_for_gemini_3(
    go: Runner, server: GeminiServer, make: Make
) -> None:
    unsigned = calls(wire_call("add", {"a": 1, "b": 2}), sign=False)
    server.script([unsigned, *[wire_fault(503)] * 2], model=OLD)
    server.script(["3"], model=ONE)
    assert go(make(OLD, ONE), "x").text == "3"
    assert signatures(server.asked(ONE)[0]) == [[SKIP]]


def test_a_run_that_is_resumed_elsewhere_knows_whose_signatures_it_has(
    server: GeminiServer, make: Make
) -> None:
    held = Tool.of(add, approval=True)
    server.script([sums(1, 2)], model=ONE)
    server.script(["3 and 4"], model=TWO)
    stopped = make(ONE, tools=[held]).run("x")
    assert stopped.stop == "approval"
    decisions = {each.call_id: Approve() for each in stopped.pending}
    run = make(TWO, tools=[held]).resume(stopped.to_json(), decisions)
    assert run.text == "3 and 4"
    assert signatures(server.asked(TWO)[0]) == [[SKIP, None]]


def test_a_message_sent_meanwhile_begins_a_turn_in_which_no_mark_is_demanded(
    server: GeminiServer, make: Make
) -> None:
    server.script([sums(1, 2), *[wire_fault(503)] * 2], model=ONE)
    server.script(["all"], model=TWO)
    with make(ONE, TWO).stream("x") as events:
        for event in events:
            if isinstance(event, TurnFinished) and event.turn == 1 and event.model == ONE:
                events.send("and more")
    assert events.run.text == "all"
    assert signatures(server.asked(TWO)[0]) == [[None, None]]


def test_tokens_are_counted_of_what_another_model_really_gets(server: GeminiServer, make: Make) -> None:
    def large() -> str:
        """Give so much that it must be counted."""
        return "x " * 1000

    server.script([sums(1, 2), *[wire_fault(503)] * 2], model=ONE)
    server.script([calls(wire_call("large")), "all"], model=TWO)
    chat = make(ONE, TWO, tools=[add, large]).chat(memory=TokenBudget(2_000))
    assert chat.send_message("x").text == "all"
    assert [request.path.rpartition("/")[2] for request in server.requests].count(f"{TWO}:countTokens") == 1


def test_async_tasks_side_by_side_change_models_each_for_itself(server: GeminiServer, make: Make) -> None:
    def flaky(body: Any) -> Any:
        return wire_fault(503) if "bad" in str(body["contents"]) else text("one")

    server.script([flaky] * 20, model=ONE)
    server.script(["two"] * 10, model=TWO)
    agent = make(ONE, TWO)

    async def main() -> list[Run[Any]]:
        return await asyncio.gather(*[agent.aio.run("bad" if n % 2 else "good") for n in range(8)])

    runs = asyncio.run(main())
    assert [(run.text, run.model) for run in runs] == [("one", ONE), ("two", TWO)] * 4


# -- without a server ------------------------------------------------------------------------------------------------


def test_the_time_of_the_run_holds_while_models_are_tried(go: Runner) -> None:
    failing = [ScriptedModel([fault(503)] * 9, name=f"m{n}") for n in range(2)]
    retry = RetryPolicy(attempts=4, base=PATIENCE, cap=PATIENCE)
    began = time.monotonic()
    assert go(Agent(failing, retry=retry, limits=Limits(seconds=0.3)), "x").stop == "seconds"
    assert time.monotonic() - began < PATIENCE / 2


def test_the_first_model_is_asked_as_often_as_the_policy_says_before_the_next(go: Runner) -> None:
    first, second = ScriptedModel([fault(503)] * 3, name="a"), ScriptedModel([fault(503), "ok"], name="b")
    run = go(Agent([first, second], retry=RetryPolicy(attempts=3, base=0, cap=0)), "x")
    assert (run.text, len(first.requests), len(second.requests)) == ("ok", 3, 2)


def test_a_429_that_is_waited_for_is_told_and_shared() -> None:
    limit = RateLimit()
    model = ScriptedModel([fault(429, retry_after=0.05), "ok"])
    with Agent(model, rate_limit=limit, retry=RetryPolicy(base=0, cap=1)).stream("x") as events:
        told = [type(event) for event in events if isinstance(event, (ModelRetry, RequestDelayed, TextDelta))]
    assert told[0] is ModelRetry
    assert told[-1] is TextDelta


def test_histories_are_given_as_each_model_takes_them() -> None:
    signed: Any = {**call_part("f"), "thoughtSignature": "c2ln"}
    end: Any = [{"text": "done"}, {"text": "", "thoughtSignature": "ZW5k"}]
    messages = [
        Message(content=user_content("q")),
        Message(content=model_content(signed, call_part("g")), model="a"),
        Message(content=user_content("r")),
        Message(content=model_content(*end), model="a"),
        Message(content=model_content({"text": "", "thoughtSignature": "ZW5k"}), model="models/a"),
        Message(content=user_content("unknown maker")),
        Message(content=model_content(signed)),
    ]

    def sent(messages: list[Message], model: str, endpoint: str | None = None) -> Any:
        history = History(messages)
        request: Any = {"contents": history.whole()}
        return history.taken_by(Named(model, endpoint), request, ())["contents"]

    history = [message.content for message in messages]
    assert list(sent(messages, "models/a")) == history
    other = sent(messages, "b")
    assert other[1] == model_content(call_part("f"), call_part("g"))
    assert other[3] == model_content("done")
    assert other[4] == model_content(" ")
    assert other[6] == history[6]
    assert sent(messages[:2], "b")[1] == model_content(
        {**call_part("f"), "thoughtSignature": SKIP}, call_part("g")
    )
    assert sent(messages[:2], "models/gemini-2.5-pro")[1] == model_content(call_part("f"), call_part("g"))
    assert history[1]["parts"][0] == signed


def test_signatures_are_for_one_endpoint_alone() -> None:
    signed: Any = {**call_part("f"), "thoughtSignature": "c2ln"}

    def sent(made_at: str | None, read_at: str | None) -> Any:
        history = History(
            [
                Message(content=user_content("q")),
                Message(content=model_content(signed), model=ONE, endpoint=made_at),
            ]
        )
        request: Any = {"contents": history.whole()}
        return history.taken_by(Named(ONE, read_at), request, ())["contents"][1]["parts"][0]

    assert sent("gemini", "gemini") == signed
    assert sent(None, "vertex") == signed  # nobody knows where it was made
    assert sent("gemini", "vertex") == {**call_part("f"), "thoughtSignature": SKIP}


def test_made_up_calls_get_a_mark_unless_they_are_signed_or_nobody_demands_one() -> None:
    signed: Any = {**call_part("f"), "thoughtSignature": "c2ln"}
    plain = call_part("f")
    assert signed_by_nobody([{"text": "x"}, plain, plain], ONE) == [
        {"text": "x"},
        {**plain, "thoughtSignature": SKIP},
        plain,
    ]
    assert signed_by_nobody([signed, plain], ONE) == [signed, plain]
    assert signed_by_nobody([plain], OLD) == [plain]
    assert "thoughtSignature" not in plain


def test_a_copied_history_still_tells_which_model_made_it() -> None:
    signed = {"text": "hi", "thoughtSignature": "c2ln"}
    stand_in = ScriptedModel([signed], name="B")
    agent = Agent([ScriptedModel([fault(503)], name="A"), stand_in], retry=RetryPolicy(attempts=1))
    run = agent.run("x")
    assert run.contents[-1] == model_content(signed)  # type: ignore[arg-type]
    for history in (run.contents, copy.deepcopy(run.contents), run.new_contents):
        own, other = ScriptedModel(["ok"], name="B"), ScriptedModel(["ok"], name="A")
        Agent(own).run("and?", history=history)
        Agent(other).run("and?", history=history)
        assert own.requests[0]["contents"][1]["parts"] == [signed]
        assert other.requests[0]["contents"][1]["parts"] == [{"text": "hi"}]


def test_a_run_that_an_exception_ended_says_so() -> None:
    with pytest.raises(ModelError) as caught:
        Agent(ScriptedModel([fault(400)])).run("x")
    assert caught.value.run is not None
    assert caught.value.run.stop == "error"
    with pytest.raises(RunStopped):
        caught.value.run.raise_for_stop()
    run = Agent(ScriptedModel(["ok"])).resume(caught.value.run)
    assert (run.stop, run.text) == (None, "ok")
