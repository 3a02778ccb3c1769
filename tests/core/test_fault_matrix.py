"""Every fault, in every turn of a run of three, in the four ways to run, on the real SDK and a loopback server.

`ROWS` is the table of what comes of each fault. The default suite takes one cell of every row, each time another
position and way; the whole matrix is marked `slow`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from google import genai

from agentkit import Agent, Context, GeminiModel, Model, ModelError, Run, tool
from agentkit.core.repair import RULES, RetryPolicy
from agentkit.testing import check_history
from agentkit.wire.content import Content, responses_of
from tests.helpers.gemini import NO_TLS
from tests.helpers.gemini_server import GeminiServer, Reply, Scripted, call, calls, fault, reply, text
from tests.helpers.leftovers import finish, nothing_left
from tests.helpers.until import PATIENCE, stretched

KEY = "test-key-0123456789"
NAME = "gemini-3.8-flash"
POLICY = RetryPolicy(attempts=4, base=0, cap=0, total=30)
SHORT = 1.0
"""Seconds that a request may take: of those that hang, with room for the good ones on a busy machine, and of others."""


@dataclass(frozen=True)
class Answer:
    """The fault passes: the run does all that it would have done without it, and answers."""

    responses: int = 0
    """How many calls the fault itself makes, all of which are answered."""


@dataclass(frozen=True)
class Stops:
    """The run stops in that turn; what was done before stays."""

    stop: str
    reason: str
    text: str = ""


@dataclass(frozen=True)
class Fails:
    """The run ends in a `ModelError`, which has what was done before."""

    code: int | None
    retryable: bool
    text: str = ""


End = Answer | Stops | Fails


@dataclass(frozen=True)
class Row:
    """What the server says in place of a turn's reply, which it would give next, and what comes of it."""

    name: str
    script: list[Scripted]
    end: End
    streamed: End | None = None
    """Where it is another in a stream: text that somebody has seen is not asked for again."""
    hangs: bool = False
    """Whether it is the time limit that ends it."""
    endless: bool = False
    """Whether nothing ends it in sync use of a client of the user's own: there, `GeminiModel` says so, the time
    limit holds for each read. Those cells are left out."""


def using(usage: Any) -> Reply:
    """Make a reply of a call, with such counts."""
    made = calls(call("add", {"a": 5, "b": 5}))
    made.chunks[-1]["usageMetadata"] = usage
    return made


def body(raw: bytes) -> Any:
    """An answer that isn't what it should be."""
    return fault(200, body=raw)


def with_parts(parts: bytes) -> Any:
    """Make a body that is whole but for its parts."""
    return body(b'{"candidates": [{"content": {"parts": [%b]}, "finishReason": "STOP"}]}' % parts)


PASSES = Answer()
SHOWN = "The first"
BROKE_OFF = Fails(None, True, SHOWN)
TOO_LONG = fault(429, status="RESOURCE_EXHAUSTED", retry_delay="600s")
PER_DAY: Any = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
}
SAY = {"text": "so far"}
ADD = call("add", {"a": 5, "b": 5})
TOOL_CODE = "```tool_code\nprint(default_api.add(a=1, b=2))\n```"
AS_JSON = '{"name": "add", "args": {"a": 1, "b": 2}}'

REFUSED = [
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "PUP_LIMITED_DISABLED",
]  # fmt: skip

ROWS = [
    # -- the server says no: what may pass is asked again, the rest is an error at once
    Row("429 with RetryInfo", [fault(429, retry_delay="0.01s")], PASSES),
    Row("429 with Retry-After", [fault(429, retry_after="0")], PASSES),
    Row("429 without a word", [fault(429)], PASSES),
    Row("429 for longer than a run waits", [TOO_LONG], Fails(429, True)),
    Row("429 for the day", [fault(429, details=[PER_DAY])], Fails(429, False)),
    Row("429 each time", [fault(429)] * 4, Fails(429, True)),
    Row("408", [fault(408)], PASSES),
    Row("500", [fault(500)], PASSES),
    Row("502 in HTML", [fault(502, body=b"<html>Bad gateway</html>")], PASSES),
    Row("503", [fault(503)], PASSES),
    Row("503 each time", [fault(503)] * 4, Fails(503, True)),
    Row("three different faults", [fault(503), fault("reset"), fault(429)], PASSES),
    Row("400", [fault(400, status="INVALID_ARGUMENT")], Fails(400, False)),
    Row("401", [fault(401)], Fails(401, False)),
    Row("403", [fault(403, status="PERMISSION_DENIED")], Fails(403, False)),
    Row("404", [fault(404)], Fails(404, False)),
    # -- the connection
    Row("hang before headers", [fault("hang")], PASSES, hangs=True),
    Row("hang after headers", [fault("hang", after="headers")], PASSES, hangs=True),
    Row("hang after a chunk", [fault("hang", after="chunk")], PASSES, streamed=BROKE_OFF, hangs=True),
    Row("trickle", [fault("trickle")], PASSES, hangs=True, endless=True),
    Row("reset before headers", [fault("reset")], PASSES),
    Row("reset after headers", [fault("reset", after="headers")], PASSES),
    Row("reset after a chunk", [fault("reset", after="chunk")], PASSES, streamed=BROKE_OFF),
    Row("reset each time", [fault("reset")] * 4, Fails(None, True)),
    # -- replies that can't be read
    Row("truncated", [fault("truncated")], PASSES, streamed=BROKE_OFF),
    Row("no JSON", [fault("not-json")], PASSES),
    Row("a broken event", [fault("bad-sse")], PASSES),
    Row("an error in a stream", [fault("stream-error")], PASSES, streamed=Fails(503, True, SHOWN)),
    Row("no body", [body(b" ")], PASSES),
    Row("null", [body(b"null")], PASSES),
    Row("a list", [body(b"[]")], PASSES),
    Row("candidates that are no list", [body(b'{"candidates": "none"}')], PASSES),
    Row("a candidate that is null", [body(b'{"candidates": [null]}')], PASSES),
    Row("a content that is a text", [body(b'{"candidates": [{"content": "hello"}]}')], PASSES),
    Row("parts that are a text", [body(b'{"candidates": [{"content": {"parts": "hello"}}]}')], PASSES),
    Row("a part that is null", [with_parts(b"null")], PASSES),
    Row("a text that is a number", [with_parts(b'{"text": 1}')], PASSES),
    # -- replies with nothing in them
    Row("no candidates", [fault("empty")], PASSES),
    Row("no candidates each time", [fault("empty")] * 3, Stops("empty", "NO_CANDIDATES")),
    Row("no parts", [reply([])], PASSES),
    Row("a thought alone", [reply([{"text": "hm", "thought": True}])], PASSES),
    Row("blocked prompt", [fault("blocked", reason="SAFETY")], Stops("refused", "SAFETY")),
    Row("prompt blocked by a new rule", [fault("blocked", reason="NEW")], Stops("refused", "NEW")),
    # -- finish reasons
    Row("MALFORMED_FUNCTION_CALL", [fault("malformed-call")], PASSES),
    Row(
        "MALFORMED_FUNCTION_CALL each time",
        [fault("malformed-call")] * 3,
        Stops("malformed", "MALFORMED_FUNCTION_CALL"),
    ),
    Row("UNEXPECTED_TOOL_CALL", [reply([call("nope")], finish="UNEXPECTED_TOOL_CALL")], PASSES),
    Row("TOO_MANY_TOOL_CALLS", [reply([], finish="TOO_MANY_TOOL_CALLS")], PASSES),
    Row("MALFORMED_RESPONSE", [reply([SAY], finish="MALFORMED_RESPONSE")], PASSES),
    Row(
        "MISSING_THOUGHT_SIGNATURE",
        [reply([], finish="MISSING_THOUGHT_SIGNATURE")],
        Stops("malformed", "MISSING_THOUGHT_SIGNATURE"),
    ),
    Row("CONTINUATION", [reply([SAY], finish="CONTINUATION")], Stops("max_tokens", "CONTINUATION", "so far")),
    Row("MAX_TOKENS", [reply([SAY], finish="MAX_TOKENS")], Stops("max_tokens", "MAX_TOKENS", "so far")),
    Row(
        "MAX_TOKENS in a call",
        [reply([SAY, ADD], finish="MAX_TOKENS", sign=True)],
        Stops("max_tokens", "MAX_TOKENS", "so far"),
    ),
    *(Row(reason, [reply([SAY], finish=reason)], Stops("refused", reason, "so far")) for reason in REFUSED),
    *(
        Row(reason, [reply([SAY], finish=reason)], Stops("other", reason, "so far"))
        for reason in ("OTHER", "NO_IMAGE", "IMAGE_OTHER")
    ),
    Row("an unknown reason", [reply([SAY], finish="BRAND_NEW")], Stops("other", "BRAND_NEW", "so far")),
    Row("an unknown reason in a call", [reply([ADD], finish="BRAND_NEW")], Stops("other", "BRAND_NEW")),
    # -- calls
    Row("unknown tool", [calls(call("subtract", {"a": 1}))], Answer(1)),
    Row("wrong arguments", [calls(call("add", {"a": "one"}))], Answer(1)),
    Row("no arguments", [calls({"functionCall": {"name": "add", "id": "bare"}})], Answer(1)),
    Row("a call without a name", [reply([{"functionCall": {"args": {}}}])], PASSES),
    Row("no ids", [calls(*(call("add", {"a": n, "b": 1}, id=None) for n in range(2)))], Answer(2)),
    Row("the same ids", [calls(*(call("add", {"a": n, "b": 1}, id="one") for n in range(2)))], Answer(2)),
    Row("no signature", [calls(ADD, sign=False)], Answer(1)),
    Row("8 parallel calls", [calls(*(call("aadd", {"a": n, "b": 1}) for n in range(8)))], Answer(8)),
    Row("a call as code", [text(TOOL_CODE)], PASSES),
    Row("a call as JSON", [text(AS_JSON)], PASSES),
    Row("the same call three times", [calls(ADD)] * 3, Answer(3)),
    Row("the same call five times", [calls(ADD)] * 5, Answer(5)),
    Row("a call that is a text", [with_parts(b'{"functionCall": "add"}')], PASSES),
    Row("arguments that are a list", [with_parts(b'{"functionCall": {"name": "add", "args": [1]}}')], PASSES),
    # -- counts
    Row("no usage", [using(None)], Answer(1)),
    Row("absurd usage", [using({"promptTokenCount": -5, "totalTokenCount": None})], Answer(1)),
    Row("usage that is a list", [body(b'{"candidates": [], "usageMetadata": [3]}')], PASSES),
]

GOOD: list[Scripted] = [
    calls(call("add", {"a": 1, "b": 2})),
    calls(call("note", {"text": "x"})),
    text("done"),
]


Notes = list[str]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def aadd(a: int, b: int) -> int:
    """Add two numbers, async."""
    return a + b


@tool(effect="write")
def note(text: str, ctx: Context[Notes]) -> str:
    """Write a note."""
    ctx.deps.append(text)
    return text.upper()


Client = genai.Client | None


def run_sync(agent: Agent, notes: Notes, client: Client) -> Run:
    return agent.run("go", deps=notes)


def run_stream(agent: Agent, notes: Notes, client: Client) -> Run:
    with agent.stream("go", deps=notes) as events:
        return events.drain()


async def closing(client: Client, run: Awaitable[Run]) -> Run:
    """Close a client of the user's own in its loop, as the user has to."""
    try:
        return await run
    finally:
        if client is not None:
            await client.aio.aclose()


def run_async(agent: Agent, notes: Notes, client: Client) -> Run:
    return finish(lambda: closing(client, agent.aio.run("go", deps=notes)))


def run_astream(agent: Agent, notes: Notes, client: Client) -> Run:
    async def go() -> Run:
        async with agent.aio.stream("go", deps=notes) as events:
            return await events.drain()

    return finish(lambda: closing(client, go()))


Way = Callable[[Agent, Notes, Client], Run]
WAYS: list[Way] = [run_sync, run_stream, run_async, run_astream]


def cells(*, positions: int, client: bool = False) -> list[Any]:
    """List the cells of the matrix: all but one of each row are slow."""
    made = []
    for number, row in enumerate(ROWS):
        for position in range(positions):
            for index, way in enumerate(WAYS):
                if client and row.endless and way in (run_sync, run_stream):
                    continue
                quick = (number % positions, number // positions % len(WAYS)) == (position, index)
                marks = () if quick else (pytest.mark.slow,)
                name = f"{row.name}-turn {position + 1}-{way.__name__}"
                made.append(pytest.param(row, position, way, id=name, marks=marks))
    return made


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)


@pytest.mark.parametrize(("row", "position", "way"), cells(positions=3))
def test_a_fault_has_the_outcome_that_the_table_says(row: Row, position: int, way: Way) -> None:
    end = (row.streamed if "stream" in way.__name__ else None) or row.end

    def look(longer: float) -> None:
        with nothing_left(), GeminiServer(key=KEY) as server:
            timeout = SHORT * longer if row.hangs else PATIENCE
            http: Any = {"base_url": server.url}
            model = GeminiModel(NAME, api_key=KEY, http_options=http, timeout=timeout)
            try:
                look_at_run(server, model, row, position, way, end)
            finally:
                model.close()
            server.wait(lambda: server.open_connections == 0)

    if row.hangs:
        stretched(look)
    else:
        look(1.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* is not a valid :UserWarning")  # the SDK's, of words new to it
@pytest.mark.parametrize(("row", "position", "way"), cells(positions=1, client=True))
def test_so_it_is_through_a_client_of_the_users_own(row: Row, position: int, way: Way) -> None:
    end = (row.streamed if "stream" in way.__name__ else None) or row.end

    def look(longer: float) -> None:
        with nothing_left(), GeminiServer(key=KEY) as server:
            options = genai.types.HttpOptions(
                base_url=server.url,
                client_args={"verify": NO_TLS},
                async_client_args={"verify": NO_TLS, "ssl": NO_TLS},
            )
            client = genai.Client(api_key=KEY, http_options=options)
            try:
                model = GeminiModel(NAME, client=client, timeout=SHORT * longer) if row.hangs else None
                look_at_run(server, model, row, position, way, end, client=client)
            finally:
                client.close()
            server.wait(lambda: server.open_connections == 0)

    if row.hangs:
        stretched(look)
    else:
        look(1.0)


def look_at_run(
    server: GeminiServer,
    model: Model | None,
    row: Row,
    position: int,
    way: Way,
    end: End,
    *,
    client: Client = None,
) -> None:
    """Make a run that meets a fault, and hold all of it against the table."""
    server.script([*GOOD[:position], *row.script, *GOOD[position:]])
    notes: Notes = []
    options: Any = {"tools": [add, aadd, note], "retry": POLICY}
    agent = Agent(model, **options) if model else Agent(NAME, client=client, **options)
    error = None
    try:
        run = way(agent, notes, client)
    except ModelError as raised:
        assert raised.run is not None
        run, error = raised.run, raised
    check_history(run.contents)
    asked = position + len(row.script)
    match end:
        case Answer():
            assert (error, run.stop, run.text) == (None, None, "done")
            asked += len(GOOD) - position
        case Stops():
            assert (error, run.stop, run.finish_reason) == (None, end.stop, end.reason)
            assert run.text == end.text
        case Fails():
            assert error is not None
            assert (error.code, error.retryable, run.stop) == (end.code, end.retryable, "error")
            assert run.text == end.text
            assert KEY not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
            asked -= len(row.script) - 1 if end.text else 0
    assert len(server.requests) == asked
    done = position if not isinstance(end, Answer) else 2
    extra = end.responses if isinstance(end, Answer) else 0
    outputs = [r["response"] for content in run.contents for r in responses_of(content)]
    assert [o for o in ({"output": 3}, {"output": "X"}) if o in outputs] == [{"output": 3}, {"output": "X"}][
        :done
    ]
    assert notes == ["x"][: max(done - 1, 0)]  # a write is made once, or not at all
    assert len(outputs) == done + extra
    accepts_history(server, run.contents)


def accepts_history(server: GeminiServer, contents: list[Content]) -> None:
    """Hold what came of the run against the server's own rules, as the next request would be."""
    server.rules.check({"contents": [*contents, {"role": "user", "parts": [{"text": "and now?"}]}]}, NAME)


def test_the_table_has_every_finish_reason_and_every_row_one_quick_cell() -> None:
    assert RULES.keys() <= {row.name for row in ROWS}
    assert len({row.name for row in ROWS}) == len(ROWS)
    for positions, client in ((3, False), (1, True)):
        quick = [cell for cell in cells(positions=positions, client=client) if not cell.marks]
        assert len(quick) == len(ROWS)
        assert len({(cell.values[1], cell.values[2]) for cell in quick}) == positions * len(WAYS)
