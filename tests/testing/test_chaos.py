"""A model that goes wrong does so as it is told, by its seed, in all the ways to ask it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from agentkit import Agent, ConfigurationError, GeminiModel, Model, ModelError
from agentkit.core.repair import RetryPolicy, judge
from agentkit.testing import ChaosModel, ScriptedModel, call, reply
from agentkit.testing.chaos import FAULTS
from agentkit.wire.content import Part, Reply, Request, calls_of, user_content
from agentkit.wire.reply import ReplyAssembler
from tests.helpers.until import PATIENCE

Ask = Callable[..., Reply]

TOOL = {"name": "add", "parametersJsonSchema": {"type": "object", "required": ["a"]}}
ASKED: Request = {"contents": [user_content("1 + 2?")], "tools": [{"functionDeclarations": [TOOL]}]}
PLAIN: Request = {"contents": [user_content("Hello")]}


def generate(model: Model, request: Request, **options: Any) -> Reply:
    return model.generate(request, **options)


def stream(model: Model, request: Request, **options: Any) -> Reply:
    whole = ReplyAssembler()
    for chunk in model.stream(request, **options):
        whole.add(chunk)
    return whole.reply()


def agenerate(model: Model, request: Request, **options: Any) -> Reply:
    return asyncio.run(model.agenerate(request, **options))


def astream(model: Model, request: Request, **options: Any) -> Reply:
    async def go() -> Reply:
        whole = ReplyAssembler()
        async for chunk in model.astream(request, **options):
            whole.add(chunk)
        return whole.reply()

    return asyncio.run(go())


@pytest.fixture(params=[generate, stream, agenerate, astream], ids=lambda f: f.__name__)
def ask(request: pytest.FixtureRequest) -> Ask:
    return cast(Ask, request.param)


def chaos(kind: Any, *script: Any, p: float = 1, **options: Any) -> ChaosModel:
    return ChaosModel(ScriptedModel(script), p, faults=[kind], **options)


@pytest.mark.parametrize(
    ("kind", "code", "retryable", "retry_after"),
    [
        ("429", 429, True, None),
        ("429-retry-after", 429, True, 0.01),
        ("500", 500, True, None),
        ("503", 503, True, None),
        ("400", 400, False, None),
        ("connection", None, True, None),
        ("hang", None, True, None),
        ("broken-stream", None, True, None),
    ],
)
def test_a_failure_is_a_typed_error_and_the_model_is_not_asked(
    ask: Ask, kind: str, code: int | None, retryable: bool, retry_after: float | None
) -> None:
    model = chaos(kind, seconds=0.001)
    with pytest.raises(ModelError, match=kind) as caught:
        ask(model, ASKED)
    error = caught.value
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, retry_after)
    assert model.injected == [kind]


@pytest.mark.parametrize(
    ("kind", "action", "word"),
    [
        ("empty", "retry", "STOP"),
        ("no-candidates", "retry", "NO_CANDIDATES"),
        ("blocked", "stop", "SAFETY"),
        ("malformed-call", "retry", "MALFORMED_FUNCTION_CALL"),
        ("malformed-response", "retry", "MALFORMED_RESPONSE"),
        ("unexpected-call", "retry", "UNEXPECTED_TOOL_CALL"),
        ("too-many-calls", "retry", "TOO_MANY_TOOL_CALLS"),
        ("missing-signature", "stop", "MISSING_THOUGHT_SIGNATURE"),
        ("max-tokens", "stop", "MAX_TOKENS"),
        ("max-tokens-call", "stop", "MAX_TOKENS"),
        ("safety", "stop", "SAFETY"),
        ("unknown-reason", "stop", "CHAOS"),
        ("unknown-tool", "calls", "STOP"),
        ("bad-arguments", "calls", "STOP"),
        ("no-arguments", "calls", "STOP"),
        ("many-calls", "calls", "STOP"),
        ("call-as-text", "retry", "STOP"),
        ("tool-code", "retry", "STOP"),
    ],
)
def test_a_reply_in_place_of_the_models_is_what_its_name_says(
    ask: Ask, kind: str, action: str, word: str
) -> None:
    model = chaos(kind)
    verdict = judge(ask(model, ASKED), ["add"])
    assert (verdict.action, verdict.finish_reason) == (action, word)
    assert model.injected == [kind]


SIGNED: Part = {"functionCall": {"id": "1", "name": "add", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
OTHER: Part = {"functionCall": {"id": "2", "name": "add", "args": {"a": 2}}}
CALLING = reply(SIGNED, OTHER, totalTokenCount=7)


@pytest.mark.parametrize(
    ("kind", "ids", "signed", "usage"),
    [
        ("same-ids", ["chaos", "chaos"], True, {"totalTokenCount": 7}),
        ("no-ids", [None, None], True, {"totalTokenCount": 7}),
        ("no-signature", ["1", "2"], False, {"totalTokenCount": 7}),
        ("no-usage", ["1", "2"], True, None),
        ("slow", ["1", "2"], True, {"totalTokenCount": 7}),
    ],
)
def test_the_models_own_reply_is_changed_in_a_copy(
    ask: Ask, kind: str, ids: list[Any], signed: bool, usage: Any
) -> None:
    model = chaos(kind, CALLING, seconds=0.001)
    made = ask(model, ASKED)
    content = made["candidates"][0]["content"]
    assert [found.get("id") for found in calls_of(content)] == ids
    assert ("thoughtSignature" in content["parts"][0]) == signed
    assert made.get("usageMetadata") == usage
    assert model.injected == [kind]
    assert calls_of(CALLING["candidates"][0]["content"])[0]["id"] == "1"


def test_absurd_counts_are_no_counts(ask: Ask) -> None:
    made = ask(chaos("absurd-usage", "hello"), PLAIN)
    kinds = {type(value) for value in made["usageMetadata"].values() if value is not None}
    assert kinds == {int, str, bool, float}  # one that is null says nothing, and joined chunks leave it out


@pytest.mark.parametrize("kind", ["same-ids", "no-ids", "no-signature", "no-usage"])
def test_a_change_that_does_not_fit_leaves_the_reply_as_it_is(ask: Ask, kind: str) -> None:
    model = chaos(kind, {"candidates": [{"finishReason": "STOP"}]}, {"promptFeedback": {"blockReason": "X"}})
    ask(model, PLAIN)
    ask(model, PLAIN)
    assert model.injected == ([] if kind != "no-usage" else [kind] * 2)


@pytest.mark.parametrize(
    "kind", ["max-tokens-call", "bad-arguments", "no-arguments", "many-calls", "call-as-text"]
)
def test_calls_are_made_up_only_of_tools_that_need_arguments(ask: Ask, kind: str) -> None:
    free: Any = {"name": "now", "parametersJsonSchema": {"type": "object", "properties": {}}}
    model = chaos(kind, "hello")
    made = ask(model, {**PLAIN, "tools": [{"functionDeclarations": [free]}]})
    assert made["candidates"][0]["content"]["parts"] == [{"text": "hello"}]
    assert model.injected == []


@pytest.mark.parametrize("kind", FAULTS)
def test_no_tool_runs_that_the_model_did_not_call(kind: str) -> None:
    ran: list[int] = []

    def add(a: int) -> int:
        """Add."""
        ran.append(a)
        return a

    model = ChaosModel(ScriptedModel([call("add", a=1), "done"]), 0.7, faults=[kind], seconds=0)  # type: ignore[list-item]
    try:
        Agent(model, tools=[add], retry=RetryPolicy(attempts=9, base=0)).run("go")
    except ModelError as error:
        assert error.code == 400
    assert ran in ([], [1])


def test_a_slow_reply_that_comes_after_the_timeout_is_an_error_and_a_hang_ends_with_it(ask: Ask) -> None:
    for kind in ("slow", "hang"):
        began = time.monotonic()
        with pytest.raises(ModelError, match="hang") as caught:
            ask(chaos(kind, "hello", seconds=PATIENCE), PLAIN, timeout=0.01)
        assert caught.value.retryable
        assert time.monotonic() - began < PATIENCE / 2


def test_a_stream_breaks_off_after_nothing_a_text_or_a_call() -> None:
    begun: Counter[str] = Counter()
    for seed in range(40):
        stream = chaos("broken-stream", seed=seed).stream(ASKED)
        parts: list[str] = []
        try:
            for chunk in stream:
                parts += [key for part in chunk["candidates"][0]["content"]["parts"] for key in part]
        except ModelError:
            begun[" ".join(parts)] += 1
    assert begun.total() == 40
    assert begun.keys() == {"", "text", "functionCall"}


@pytest.mark.parametrize("count", ["sync", "async"])
def test_counting_tokens_fails_too_or_is_late(count: str) -> None:
    def ask(model: ChaosModel) -> int:
        if count == "sync":
            return model.count_tokens(PLAIN)
        return asyncio.run(model.acount_tokens(PLAIN))

    with pytest.raises(ModelError, match="503"):
        ask(chaos("503"))
    assert ask(chaos("slow", seconds=0.001)) == ask(chaos("empty")) == ScriptedModel([]).count_tokens(PLAIN)


def outcome(model: ChaosModel, request: Request, way: Ask = generate) -> str:
    try:
        made = way(model, request)
    except ModelError as error:
        return str(error)
    (candidate,) = made.get("candidates") or [cast(Any, {})]
    parts = candidate.get("content", {}).get("parts")
    usage: Any = made.get("usageMetadata")
    usage = usage and {key: count for key, count in usage.items() if count is not None}
    return repr((made.get("promptFeedback"), candidate.get("finishReason"), parts, usage))


def test_what_goes_wrong_hangs_on_the_seed_and_on_the_request_alone(ask: Ask) -> None:
    each: list[Request] = [{"contents": [user_content(f"{n}")]} for n in range(12)]
    requests = each * 4
    options: Any = {"faults": [kind for kind in FAULTS if kind != "slow"], "seconds": 0.0, "seed": 3}

    def model() -> ChaosModel:
        return ChaosModel(ScriptedModel([reply("yes", totalTokenCount=3)] * 48), 0.5, **options)

    one = model()
    wanted = sorted(outcome(one, request, ask) for request in requests)
    with ThreadPoolExecutor(8) as pool:
        other = model()
        assert sorted(pool.map(lambda request: outcome(other, request), reversed(requests))) == wanted
    assert Counter(one.injected) == Counter(other.injected)
    assert 12 < len(one.injected) < 36
    assert outcome(ChaosModel(ScriptedModel(["x"]), 1, seed=4), PLAIN) != outcome(
        ChaosModel(ScriptedModel(["x"]), 1, seed=5), PLAIN
    )


def test_without_probability_nothing_goes_wrong(ask: Ask) -> None:
    model = ChaosModel(ScriptedModel(["a", "b"], name="inner"), 0)
    assert [judge(ask(model, PLAIN)).action for _ in range(2)] == ["answer", "answer"]
    assert model.injected == []
    assert model.name == "inner"


def test_closing_a_stream_closes_that_of_the_model() -> None:
    closed: list[str] = []

    class Slow(ScriptedModel):
        def stream(self, request: Request, *, timeout: float | None = None) -> Any:
            try:
                yield from super().stream(request, timeout=timeout)
            finally:
                closed.append("sync")

        async def astream(self, request: Request, *, timeout: float | None = None) -> Any:
            try:
                async for chunk in super().astream(request, timeout=timeout):
                    yield chunk
            finally:
                closed.append("async")

    model = ChaosModel(Slow(["a b c"] * 2), 0)
    chunks = model.stream(PLAIN)
    next(chunks)
    chunks.close()

    async def go() -> None:
        chunks = model.astream(PLAIN)
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(go())
    assert closed == ["sync", "async"]


def test_what_the_model_takes_is_what_the_one_that_answers_takes() -> None:
    assert ChaosModel(ScriptedModel([]), 0).traits.schema_with_tools
    old = ChaosModel(GeminiModel("gemini-2.5-flash", api_key="k"), 0)
    assert (old.traits.schema_with_tools, old.traits.json_schema) == (False, True)
    assert isinstance(old, Model)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"p": 1.5}, "probability"),
        ({"p": -0.1}, "probability"),
        ({"p": 0.1, "faults": ["flood"]}, "flood"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ChaosModel(ScriptedModel([]), **settings)
