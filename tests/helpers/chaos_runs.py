"""Runs among faults, each made by its seed: what it has (tools, limits, a stand-in, ...) and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from agentkit import Agent, Context, Limits, Model, ModelError, Output, Run, ToolRetry, Usage, tool
from agentkit.core.repair import RetryPolicy
from agentkit.errors import ToolDeferred
from agentkit.testing import ChaosModel, ScriptedModel
from agentkit.tooling.decisions import Approve, Decision, Deny, Edit, PendingCall, Result
from agentkit.wire.content import Reply, Request, encode_request, iter_declarations, responses_of
from agentkit.wire.reply import ReplyAssembler
from tests.helpers.gemini_rules import Rules
from tests.helpers.leftovers import finish
from tests.helpers.until import PATIENCE

P = 0.3
MAX_TURNS = 12
MAX_SEGMENTS = 12
MAY_GO_ON = {"turns", "tool_calls", "tokens", "repeats", "max_tokens", "malformed", "refused", "other"}


class Recorder(Model):
    """Holds what an agent sends against the server's rules, and counts the replies that it gets whole."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._rules = Rules()
        self.requests = 0
        self.usage = Usage()
        self.broken_off = Usage()
        """What streams said that were closed before their end."""

    @property
    def name(self) -> str:
        return self._model.name

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        self._begin(request)
        return self._end(self._model.generate(request, timeout=timeout))

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        self._begin(request)
        whole = ReplyAssembler()
        with closing(self._model.stream(request, timeout=timeout)) as chunks:
            for chunk in chunks:
                whole.add(chunk)
                with self._until_closed(chunk):
                    yield chunk
        self._end(whole.reply())

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        return self._model.count_tokens(request, timeout=timeout)

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        self._begin(request)
        return self._end(await self._model.agenerate(request, timeout=timeout))

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        self._begin(request)
        whole = ReplyAssembler()
        async with aclosing(self._model.astream(request, timeout=timeout)) as chunks:
            async for chunk in chunks:
                whole.add(chunk)
                with self._until_closed(chunk):
                    yield chunk
        self._end(whole.reply())

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        return await self._model.acount_tokens(request, timeout=timeout)

    @contextmanager
    def _until_closed(self, chunk: Reply) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:
            self.broken_off += Usage.from_wire(chunk.get("usageMetadata"), self.name)
            raise

    def _begin(self, request: Request) -> None:
        self.requests += 1
        self._rules.check(json.loads(encode_request(request)), self.name)

    def _end(self, reply: Reply) -> Reply:
        self.usage += Usage.from_wire(reply.get("usageMetadata"), self.name)
        for candidate in reply.get("candidates") or ():
            if "content" in candidate:
                self._rules.issue(json.loads(json.dumps(candidate["content"]["parts"])))
        return reply


class Brain:
    """Answers as a model would that does one thing after another: looks things up, picks, orders, and tells."""

    def __init__(self, *, wrong_first: bool = False) -> None:
        self._numbers = itertools.count(1)
        self._wrong_first = wrong_first  # of structured output
        self.orders = 0

    def __call__(self, request: Request) -> Any:
        tools = {declaration["name"] for declaration in iter_declarations(request)}
        calling = request["toolConfig"]["functionCallingConfig"] if "toolConfig" in request else {}
        responses = [r for content in request["contents"] for r in responses_of(content)]
        errors = [r["response"].get("error", "") for r in responses]
        done = {
            r["name"]
            for r, error in zip(responses, errors, strict=True)
            if not error.startswith("The arguments") and "odd" not in error
        }
        steps = [{"look", "alook", "slow", "aslow"}, {"pick", "fail", "helper", "later"}, {"order", "aorder"}]
        if calling.get("mode") != "NONE" and "allowedFunctionNames" not in calling:
            for step in steps:
                if left := sorted(step & tools - done):
                    odd = any("odd" in error for error in errors)
                    return ["Let me see.", *self._calls([(name, _args(name, odd)) for name in left])]
        return self._end(tools, request.get("generationConfig", {}))

    def _calls(self, wanted: list[tuple[str, dict[str, Any]]]) -> Iterator[Any]:
        for index, (name, args) in enumerate(wanted):
            number = next(self._numbers)
            self.orders += name in ("order", "aorder")
            part: dict[str, Any] = {"functionCall": {"id": f"id-{number}", "name": name, "args": args}}
            if index == 0:
                part["thoughtSignature"] = base64.b64encode(b"signature %d" % number).decode()
            yield part

    def _end(self, tools: set[str], settings: dict[str, Any]) -> Any:
        total: Any = 3
        if self._wrong_first:
            self._wrong_first, total = False, "many"
        if "final_result" in tools:
            return list(self._calls([("final_result", {"total": total})]))
        if "responseJsonSchema" in settings:
            return json.dumps({"total": total})
        signature = base64.b64encode(b"signature %d" % next(self._numbers)).decode()
        return ["It is done.", {"text": "", "thoughtSignature": signature}]


def _args(name: str, odd: bool) -> dict[str, Any]:
    if name == "helper":
        return {"request": "Look things up."}
    return {"sku": "TEA-1"} if name in ("order", "aorder") else {"n": 2 if odd else 1}


@dataclass
class Total:
    """What the model is to find out."""

    total: int


@dataclass
class Shop:
    """What the tools work on, and what they did."""

    orders: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


@tool
def look(n: int) -> int:
    """Look something up."""
    return n


@tool
async def alook(n: int) -> int:
    """Look something up, async."""
    await asyncio.sleep(0)
    return n


@tool(timeout=0.01)
def slow(n: int, ctx: Context[Shop]) -> int:
    """Take too long."""
    ctx.deps.closed.wait(PATIENCE)
    return n


@tool(timeout=0.01)
async def aslow(n: int) -> int:
    """Take too long, async."""
    await asyncio.sleep(PATIENCE)
    return n


@tool
def pick(n: int) -> int:
    """Pick an even number."""
    if n % 2:
        raise ToolRetry("That number is odd.")
    return n


@tool
def fail(n: int) -> int:
    """Fail."""
    raise ZeroDivisionError(n)


@tool
def later(n: int) -> int:
    """Have the result later."""
    raise ToolDeferred(f"Number {n} is on its way.")


def order(sku: str, ctx: Context[Shop]) -> str:
    """Order something."""
    ctx.deps.orders.append(ctx.call_id)
    return f"ordered {sku}"


async def aorder(sku: str, ctx: Context[Shop]) -> str:
    """Order something, async."""
    await asyncio.sleep(0)
    return order(sku, ctx)


OUTPUTS: list[Output[Total]] = [Output(Total, mode="native"), Output(Total, mode="tool")]
ORDERS = {
    approval: [tool(effect="write", approval=approval)(each) for each in (order, aorder)]
    for approval in (False, True)
}
WAYS = ("sync", "stream", "async", "astream")


@dataclass
class Scenario:
    """One run among faults, made by its seed; `go` makes it and returns how it ended."""

    seed: int
    way: str = ""
    segments: int = 1
    shop: Shop = field(default_factory=Shop)
    recorders: list[Recorder] = field(default_factory=list)
    chaos: list[ChaosModel] = field(default_factory=list)
    brains: list[Brain] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"scenario {self.seed}")
        self.way = self.way or WAYS[self.seed % len(WAYS)]
        self.output = self._pick(0.3, OUTPUTS)
        limit: Any = self._pick(
            0.25, [{"turns": 2}, {"tool_calls": 2}, {"tokens": 300}, {"seconds": 0.02}, {"repeats": 2}]
        )
        self.limits = Limits(
            **{"turns": MAX_TURNS, **(limit or {})},
            on_limit=self._rng.choice(["stop", "answer"]),
            answer_seconds=PATIENCE,
        )
        self._approval = self._rng.random() < 0.4
        models = [self._model() for _ in range(1 + (self._rng.random() < 0.25))]
        self._retry = RetryPolicy(attempts=4 if len(models) == 1 else 1, base=0, cap=0)
        self.agent = Agent(
            models,
            tools=self._tools(),
            limits=self.limits,
            retry=self._retry,
            on_max_tokens=self._rng.choice(["stop", "continue"]),
        )

    @property
    def exact(self) -> bool:
        """Whether the clock has no say in how it ends."""
        return self.limits.seconds is None

    def _pick(self, p: float, choices: list[Any]) -> Any:
        return self._rng.choice(choices) if self._rng.random() < p else None

    def _model(self) -> Model:
        self.brains.append(Brain(wrong_first=self._rng.random() < 0.3))
        scripted = ScriptedModel([self.brains[-1]] * 300, name=f"model-{len(self.recorders)}")
        self.chaos.append(ChaosModel(scripted, P, seed=self._rng.randrange(10**9), seconds=0.002))
        self.recorders.append(Recorder(self.chaos[-1]))
        return self.recorders[-1]

    def _tools(self) -> list[Any]:
        ordering = self._rng.choice(ORDERS[self._approval])
        tools: list[Any] = [look, alook, pick, ordering]
        tools += [each for each in (slow, aslow, fail, later) if self._rng.random() < 0.1]
        if self._rng.random() < 0.2:
            inner = Agent(
                self._model(),
                tools=[look, ordering],
                limits=Limits(turns=6),
                retry=self._retry,
                name="helper",
            )
            tools.append(inner.as_tool(effect="write"))
        return tools

    def go(self) -> Run | ModelError:
        """Run, and go on with what stopped, until it is over."""
        try:
            end = self._attempt(self._begin)
            while (again := self._again(end)) is not None and self.segments < MAX_SEGMENTS:
                self.segments += 1
                end = self._attempt(again)
            return end
        finally:
            self.shop.closed.set()

    def _attempt(self, make: Callable[[], Run]) -> Run | ModelError:
        try:
            return make()
        except ModelError as error:
            assert error.run is not None
            return error

    def _begin(self) -> Run:
        agent, options = self.agent, {"deps": self.shop, "output": self.output}
        if self.way == "sync":
            return agent.run("Go.", **options)
        if self.way == "stream":
            return agent.stream("Go.", **options).drain()
        if self.way == "async":
            return finish(lambda: agent.aio.run("Go.", **options))

        async def stream() -> Run:
            async with agent.aio.stream("Go.", **options) as events:
                return await events.drain()

        return finish(stream)

    def _again(self, end: Run | ModelError) -> Callable[[], Run] | None:
        """Find out how to go on: with decisions, from a limit, after a fault."""
        if isinstance(end, ModelError):
            assert end.run is not None
            run, decisions = end.run, {}
            if self._rng.random() < 0.5:
                return None
        elif end.stop in ("approval", "deferred"):
            run, decisions = end, {call.call_id: self._decide(call) for call in end.pending}
        elif end.stop in MAY_GO_ON and self._rng.random() < 0.3:
            run, decisions = end, {}
        else:
            return None
        kept: Any = run.to_json() if self._rng.random() < 0.5 else run
        options = {"deps": self.shop, "output": self.output}
        if self.way in ("sync", "stream"):
            return lambda: self.agent.resume(kept, decisions, **options)
        return lambda: finish(lambda: self.agent.aio.resume(kept, decisions, **options))

    def _decide(self, call: PendingCall) -> Decision:
        choices: list[Decision] = [Result("It is here."), Deny("Not today.")]
        if call.kind == "approval":
            choices += [Approve(), Approve(), Edit({"sku": "MILK-2"})]
        return self._rng.choice(choices)
