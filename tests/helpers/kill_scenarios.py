"""What a person does with a chat, step by step, so that any process can go on where the one before was killed."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentkit import (
    Agent,
    Approve,
    Context,
    Edit,
    Output,
    PostgresStore,
    Result,
    SQLiteStore,
    Summarize,
    Tool,
    ToolDeferred,
)
from agentkit.testing import ScriptedModel, call, reply
from tests.helpers.killing_store import stored

LONG = "".join(f"line {n}\n" for n in range(300))
WRITES = ("change", "order", "mail")
FORK = "-fork"
State = dict[str, list[str]]
"""The user's messages of each session, by what its id ends with."""


def open_store(where: str) -> Any:
    """Open the store of a file, or of PostgreSQL's URL."""
    return PostgresStore(where) if "://" in where else SQLiteStore(where)


@dataclass(frozen=True)
class Scenario:
    """What is done, and what the model and the person in charge say."""

    replies: tuple[Any, ...]
    """Of the model to each message, one for each request."""
    steps: tuple[tuple[str, ...], ...] = (("send", "", "go"),)
    decide: Callable[[Any], Any] = lambda pending: Approve()
    sub_agent: tuple[Any, ...] = ()
    """The sub-agent's replies."""
    agent: Mapping[str, Any] = field(default_factory=dict)
    chat: Mapping[str, Any] = field(default_factory=dict)
    send: Mapping[str, Any] = field(default_factory=dict)
    commits: int = 4
    """There are at least so many."""


class World:
    """What outlives a process beside the store: the effects of tools, and what the caller knows is done."""

    def __init__(self, folder: Path, id: str) -> None:
        self._files = {name: folder / f"{id}.{name}" for name in ("effects", "done", "asked")}

    def note(self, name: str, *words: str) -> None:
        """Add a line, in one system call."""
        handle = os.open(self._files[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(handle, (" ".join(words) + "\n").encode())
        finally:
            os.close(handle)

    def lines(self, name: str) -> list[list[str]]:
        """Read the lines, word by word."""
        file = self._files[name]
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def effects(self, *names: str) -> Counter[str]:
        """Count how often each call of these tools had its effect, by call id."""
        return Counter(call_id for name, call_id, _ in self.lines("effects") if name in names or not names)


class Caller:
    """Does a scenario's steps on a session, from the first that isn't done yet."""

    def __init__(
        self, scenario: Scenario, store: Any, folder: Path, id: str, *, is_async: bool = False
    ) -> None:
        self.scenario = scenario
        self.store = store
        self.id = id
        self.world = World(folder, id)
        self.ids = (id, id + FORK)
        self._async = is_async
        self._agent = make_agent(scenario, self.world)
        self._chats: dict[str, Any] = {}
        self.unknown = 0
        """Calls that nobody knew of."""

    def do(self, name: str, *args: Any, which: str = "", **options: Any) -> Any:
        """Call a method of the chat, sync or async."""
        if not self._async:
            if which not in self._chats:
                self._chats[which] = self._agent.chat(
                    self.id + which, self.store, wait=10, **self.scenario.chat
                )
            return getattr(self._chats[which], name)(*args, **options)

        async def wait() -> Any:
            chat = self._agent.aio.chat(self.id + which, self.store, wait=10, **self.scenario.chat)
            done = getattr(chat, name)(*args, **options)
            return await done if inspect.isawaitable(done) else done

        return asyncio.run(wait())

    def finish(self) -> Any:
        """Do what isn't done yet; return the last run."""
        run = None
        states = [State({"": [], FORK: []})]
        for step in self.scenario.steps:
            states.append(_after(step, states[-1]))
        for number in range(len(self.world.lines("done")), len(self.scenario.steps)):
            what, which, *args = self.scenario.steps[number]
            now = self.state()
            assert now in states[number : number + 2], (now, self.scenario.steps[number])
            begun = now == states[number + 1]
            if what == "send":
                run = self._settle(self._resume(which) if begun else self._send(which, *args), which)
            elif not begun and what == "delete":
                self.store.delete(self.id + which)
            elif not begun:
                self.do(what, **({"id": self.id + FORK} if what == "fork" else {}))
            assert self.state() == states[number + 1]
            self.world.note("done", what)
        return run

    def state(self) -> State:
        """Read what the user has said."""
        found = stored(self.store, *self.ids)
        return {
            which: [
                content["parts"][0]["text"]
                for content in (found[self.id + which] or {"contents": []})["contents"]
                if content["role"] == "user" and "text" in content["parts"][0]
            ]
            for which in ("", FORK)
        }

    def _send(self, which: str, text: str) -> Any:
        return self.do("send_message", text, which=which, **self.scenario.send)

    def _resume(self, which: str, decisions: Any = None) -> Any:
        return self.do("resume", decisions, which=which, **self.scenario.send)

    def _settle(self, run: Any, which: str) -> Any:
        for _ in range(12):
            if run.stop is None:
                return run
            decisions = {}
            if run.stop == "unknown_effect":
                for pending in run.pending:
                    self._resolve(pending, which)
            elif run.pending:
                decisions = {run.pending[0].call_id: self.scenario.decide(run.pending[0])}
            run = self._resume(which, decisions)
        raise AssertionError(f"It never ends: {run.stop}")

    def _resolve(self, pending: Any, which: str) -> None:
        """Look whether a call took effect, as a person does, and say so."""
        self.unknown += 1
        assert pending.kind == "unknown_effect"
        assert pending.name in (*WRITES, "clerk")
        if pending.name == "clerk":
            done = bool(self.world.effects(*WRITES))
            result = "the clerk is done"
        else:
            done = pending.call_id in self.world.effects(pending.name)
            result = f"{pending.name} done"
        said: Any = {"result": result} if done else {"retry": True}
        self.do("resolve", pending.call_id, which=which, **said)


def _after(step: tuple[str, ...], state: State) -> State:
    match step:
        case ("send", which, text):
            return {**state, which: [*state[which], text]}
        case ("undo", which):
            return {**state, which: state[which][:-1]}
        case ("clear" | "delete", which):
            return {**state, which: []}
        case ("fork", which):
            return {**state, FORK: state[which]}
    raise AssertionError(step)


def make_agent(scenario: Scenario, world: World) -> Agent:
    """Make the agent, whose tools' effects are seen in the world."""

    def working(name: str, **options: Any) -> Tool:
        def work(n: int, ctx: Context[Any]) -> str:
            """Work."""
            world.note("effects", name, ctx.call_id, str(n))
            if name == "mail":
                raise ToolDeferred("mail sent")
            return LONG if name == "read_all" else f"{name} done"

        return Tool.of(work, name=name, **options)

    change = working("change", effect="write")
    order = working("order", effect="write", approval=True)
    tools = [
        working("look", effect="read"),
        working("read_all", effect="read"),
        change,
        order,
        working("mail", effect="write"),
    ]
    if scenario.sub_agent:
        clerk = Agent(
            _model(scenario.sub_agent, world),
            tools=[working("peek", effect="read"), change, order],
            name="clerk",
        )
        effect: Any = (
            "write" if any("change" in str(r) or "order" in str(r) for r in scenario.sub_agent) else "read"
        )
        tools.append(clerk.as_tool(effect=effect))
    return Agent(_model(scenario.replies, world), tools=tools, **scenario.agent)


def _model(replies: tuple[Any, ...], world: World) -> ScriptedModel:
    """Make a model that looks how far the turn is, so that it is the same in each process."""

    def answer(request: Any) -> Any:
        said = 0
        for content in request["contents"]:
            said = said + 1 if content["role"] == "model" else said
            said = 0 if content["role"] == "user" and "text" in content["parts"][0] else said
        chosen = replies[said]
        return chosen(request, world) if callable(chosen) else chosen

    return ScriptedModel([answer] * 200)


def _read_on(request: Any, world: World) -> Any:
    """Read on where the last result was cut."""
    cut = json.dumps(request["contents"][-1])
    found = re.search(r'id=\\*"([^"\\]+)\\*", offset=(\d+)', cut)
    assert found, cut
    return call("read_result", id=found[1], offset=int(found[2]))


def _cut_once(request: Any, world: World) -> Any:
    """Cut the first reply ever."""
    world.note("asked", "once")
    return reply("half of", finish_reason="MAX_TOKENS") if len(world.lines("asked")) == 1 else "the whole"


def _edit_second(pending: Any) -> Any:
    return Edit({"n": 20}) if pending.args["n"] == 2 else Approve()


_SENDS = tuple(("send", "", f"message {n}") for n in range(3))

SCENARIOS = {
    "a plain answer": Scenario(("done",)),
    "a read": Scenario((call("look", n=1), "done"), commits=6),
    "a write": Scenario((call("change", n=1), "done"), commits=6),
    "two reads and a write": Scenario(
        ([call("look", n=1), call("change", n=2), call("look", n=3)], "done"), commits=8
    ),
    "two turns of calls": Scenario(
        ([call("look", n=1), call("change", n=2)], [call("change", n=3), call("look", n=4)], "done"),
        commits=10,
    ),
    "a call that is approved": Scenario((call("order", n=1), "done"), commits=9),
    "a call that is edited": Scenario(
        ([call("order", n=1), call("look", n=5), call("order", n=2)], "done"),
        decide=_edit_second,
        commits=14,
    ),
    "a deferred call": Scenario(
        ([call("look", n=1), call("mail", n=2)], "done"),
        decide=lambda pending: Result("mail done"),
        commits=10,
    ),
    "a sub-agent that reads": Scenario(
        (call("clerk", request="look"), "done"),
        sub_agent=(call("peek", n=1), "the clerk is done"),
        commits=6,
    ),
    "a sub-agent that writes": Scenario(
        (call("clerk", request="change"), "done"),
        sub_agent=(call("change", n=1), "the clerk is done"),
        commits=6,
    ),
    "a sub-agent whose call is approved": Scenario(
        (call("clerk", request="order"), "done"),
        sub_agent=(call("order", n=1), "the clerk is done"),
        commits=10,
    ),
    "an output by tool": Scenario(
        (call("look", n=1), call("final_result", n=3)),
        send={"output": Output(dict[str, int], mode="tool")},
        commits=7,
    ),
    "a summary": Scenario(
        (call("look", n=1), "done"),
        steps=_SENDS,
        chat={"memory": Summarize(after_turns=2, keep=1, model=ScriptedModel(["the summary"] * 200))},
        commits=19,
    ),
    "a large result": Scenario(
        (call("read_all", n=1), _read_on, "done"), agent={"max_result_chars": 800}, commits=8
    ),
    "undo, fork, clear and delete": Scenario(
        (call("change", n=1), "done"),
        steps=(
            *(("send", "", "one"), ("send", "", "two"), ("undo", ""), ("fork", "")),
            *(("send", FORK, "three"), ("clear", ""), ("send", "", "four"), ("delete", FORK)),
        ),
        commits=32,
    ),
    "a reply that was cut": Scenario((_cut_once,), commits=7),
}
