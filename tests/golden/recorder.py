"""Records what a scenario does in each way of running: requests, events, and what came of it."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from agentkit import MemoryStore, SQLiteStore
from agentkit.testing import ChaosModel, ScriptedModel, check_history
from tests.golden import plain

WAYS = ("run", "stream", "arun", "astream")
STREAMS = ("stream", "astream")
SYNC = ("run", "stream")

Watch = Callable[[Any, Any], Any]
"""Gets the stream and an event; the stream is left if it returns True."""


class Scene:
    """What a scenario is given: it makes models, runs agents in the one way, and records all of it."""

    def __init__(self, way: str, folder: Path, stack: ExitStack, *, racing: bool = False) -> None:
        self.way, _, self.kind = way.partition("/")
        self.folder, self._stack, self._racing = folder, stack, racing
        self.is_async, self.streamed = self.way.startswith("a"), self.way in STREAMS
        self._runner = stack.enter_context(asyncio.Runner()) if self.is_async else None
        self._models: list[tuple[ScriptedModel, ChaosModel | None]] = []
        self._events: list[Any] = []
        self._outcome: list[Any] = []

    # -- what a scenario is made of ----------------------------------------------------------------------------------

    def model(self, *script: Any, name: str = "scripted") -> ScriptedModel:
        """Make a model whose requests are recorded."""
        self._models.append((ScriptedModel(script, name=name), None))
        return self._models[-1][0]

    def chaos(self, *script: Any, p: float, seed: int, faults: Any = None) -> ChaosModel:
        """Make a model that goes wrong, by a seed."""
        scripted = ScriptedModel(script)
        chaos = ChaosModel(scripted, p, seed=seed, faults=faults, seconds=0.001)
        self._models.append((scripted, chaos))
        return chaos

    def store(self) -> Any:
        """Open the store of the scene's kind: none, memory or sqlite."""
        if self.kind == "none":
            return None
        store: Any = MemoryStore() if self.kind == "memory" else SQLiteStore(self.folder / "chats.db")
        return self._stack.enter_context(store)

    # -- what a scenario does ----------------------------------------------------------------------------------------

    def run(self, agent: Any, input: Any = "go", *, watch: Watch | None = None, **options: Any) -> Any:
        """Run an agent; return the run, that of the error if one is raised."""
        return self._drive("run", self._of(agent), ("run", "stream"), (input,), options, watch)

    def resume(
        self, agent: Any, run: Any, decisions: Any = None, *, json: bool = False, **options: Any
    ) -> Any:
        """Go on with a run, as it is or from what it was written down as."""
        kept = run.to_json() if json else run
        return self._drive("resume", self._of(agent), ("resume", ""), (kept, decisions), options, None)

    def chat(self, agent: Any, id: str | None = None, store: Any = None, **options: Any) -> SceneChat:
        """Open a chat."""
        return SceneChat(self, self._of(agent).chat(id, store, **options))

    def map(self, agent: Any, inputs: Any, **options: Any) -> None:
        """Run many inputs."""

        async def go() -> list[Any]:
            return [each async for each in agent.aio.map(inputs, **options)]

        try:
            done = self.wait(go()) if self.is_async else list(agent.map(inputs, **options))
        except Exception as error:
            self.note("map", error)
            return
        for each in sorted(done, key=lambda each: each.index):
            made = plain.fields(each, ("index", "input", "error")) | {"run": plain.run(each.run)}
            self._outcome.append({"map": made})

    def attempt(self, label: str, function: Callable[[], Any]) -> Any:
        """Do something, record what it returns or raises, and return it."""
        try:
            made = self.wait(function())
        except Exception as error:
            self.note(label, error)
            return None
        self.note(label, made)
        return made

    def note(self, label: str, value: Any) -> None:
        """Record a value."""
        self._outcome.append({label: plain.plain(value)})

    def rows(self, store: Any, id: str = "ann") -> None:
        """Record what a store has of a session."""
        if store is not None:
            self._outcome.append({"rows": plain.rows(store, id)})

    def wait(self, made: Any) -> Any:
        """Await what is to be awaited."""
        if self._runner is None or not inspect.isawaitable(made):
            return made

        async def awaited() -> Any:
            return await made

        return self._runner.run(awaited())

    def recorded(self) -> dict[str, list[Any]]:
        """Give all that was recorded, by sections."""
        requests = []
        for scripted, chaos in self._models:
            asked: list[Any] = [_as_sent(request) for request in scripted.requests]
            if self._racing:
                asked.sort(key=plain.text_of)
            requests += [{"model": scripted.name, "request": request} for request in asked]
            if chaos is not None:
                requests.append({"injected": list(chaos.injected)})
        places = plain.Placeholders(str(self.folder))
        sections = {
            "outcome": self._outcome,
            "requests": requests,
            "events": plain.merged(plain.settled(self._events)),
        }
        return {name: places.put(items) for name, items in sections.items()}

    def _of(self, agent: Any) -> Any:
        return agent.aio if self.is_async else agent

    def _drive(
        self, label: str, owner: Any, names: tuple[str, str], args: Any, options: Any, watch: Watch | None
    ) -> Any:
        try:
            if self.streamed and names[1]:
                run = self._stream(getattr(owner, names[1])(*args, **options), watch)
            else:
                run = self.wait(getattr(owner, names[0])(*args, **options))
        except Exception as error:
            run = getattr(error, "run", None)
            self._outcome.append({label: {"raised": plain.error(error), "run": plain.run(run)}})
        else:
            self._outcome.append({label: plain.run(run)})
        if run is not None:
            check_history(run.contents)
        return run

    def _stream(self, stream: Any, watch: Watch | None) -> Any:
        def told(event: Any) -> Any:
            self._events.append(plain.plain(event))
            return watch is not None and watch(stream, event)

        async def go() -> None:
            async with stream:
                async for event in stream:
                    if told(event):
                        break

        if self.is_async:
            self.wait(go())
        else:
            with stream:
                for event in stream:
                    if told(event):
                        break
        if stream.unsent:
            self.note("unsent", stream.unsent)
        return stream.run


class SceneChat:
    """A chat, in the way of its scene."""

    def __init__(self, scene: Scene, chat: Any) -> None:
        self._scene, self.chat = scene, chat

    def send(self, message: Any = "go", *, watch: Watch | None = None, **options: Any) -> Any:
        """Send a message."""
        names = ("send_message", "send_message_stream")
        return self._scene._drive("send", self.chat, names, (message,), options, watch)

    def resume(self, decisions: Any = None, **options: Any) -> Any:
        """Go on with the chat."""
        return self._scene._drive("chat.resume", self.chat, ("resume", ""), (decisions,), options, None)

    def do(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method and record what it gives; what is another chat is not recorded."""
        made = self._scene.attempt(f"chat.{method}", lambda: getattr(self.chat, method)(*args, **options))
        return SceneChat(self._scene, made) if hasattr(made, "send_message") else made

    @property
    def pending(self) -> list[Any]:
        """The calls that wait, recorded too."""
        chat = self.chat
        read = chat.get_pending if self._scene.is_async else lambda: chat.pending
        made: list[Any] = self._scene.attempt("chat.pending", read) or []
        return made

    def state(self) -> None:
        """Record the history, the tokens and the usage."""
        chat = self.chat
        read = chat.get_token_usage if self._scene.is_async else lambda: chat.token_usage
        self.do("get_history")
        try:
            full = self._scene.wait(read())
            self._scene.note("tokens", plain.fields(full, ("current", "max", "remaining")))
        except Exception as error:
            self._scene.note("tokens", error)
        self._scene.note("usage", chat.usage)


def _as_sent(request: Mapping[str, Any]) -> dict[str, Any]:
    """Give a request in the order in which it is encoded: the contents come first."""
    return {"contents": request["contents"], **{k: v for k, v in request.items() if k != "contents"}}


# -- scenarios -------------------------------------------------------------------------------------------------------


def scenario(
    *,
    ways: tuple[str, ...] = WAYS,
    stores: tuple[str, ...] = (),
    cases: Mapping[str, Any] | None = None,
    racing: bool = False,
) -> Callable[[Any], Any]:
    """Mark a function of a scene as a scenario; of `cases`, each is one, and its value the second argument.

    Args:
        ways: The ways of running to record.
        stores: The kinds of store, each with each way; where there are several, all ways are for sqlite alone.
        cases: Names and values.
        racing: Whether runs go side by side: their requests are sorted.
    """

    def mark(function: Any) -> Any:
        kept = [way for way in (ways[0], ways[-1]) if len(stores) > 1]
        each = [f"{way}/{kind}" for kind in stores for way in (ways if kind == "sqlite" else kept or ways)]
        function.golden = (tuple(dict.fromkeys(each)) or ways, cases, racing)
        return function

    return mark


def scenarios_in(module: ModuleType) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Go through a module's scenarios: their names, and functions that record them."""
    for function in list(vars(module).values()):
        if not hasattr(function, "golden"):
            continue
        ways, cases, racing = function.golden
        for case, value in (cases or {"": None}).items():
            args = () if cases is None else (value,)
            name = f"{function.__name__}[{case}]" if case else function.__name__
            yield (
                name,
                lambda function=function, args=args, ways=ways, racing=racing: {  # type: ignore[misc]
                    way: record(function, args, way, racing=racing) for way in ways
                },
            )


def record(function: Any, args: tuple[Any, ...], way: str, *, racing: bool) -> dict[str, list[Any]]:
    """Run a scenario in a way and give what was recorded."""
    with tempfile.TemporaryDirectory(prefix="golden-") as folder, ExitStack() as stack:
        scene = Scene(way, Path(folder), stack, racing=racing)
        function(scene, *args)
        return scene.recorded()
