"""A model that goes wrong: any other, with faults by a seed, to see what an agent makes of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import aclosing, closing
from typing import Final, NamedTuple, get_args

from agentkit.errors import ConfigurationError
from agentkit.model import Model, Traits
from agentkit.testing.faults import (
    CHANGES,
    FAILURES,
    FaultKind,
    beginning,
    changed,
    failure,
    fits,
    instead,
    victim,
)
from agentkit.testing.scripted import chunks_of
from agentkit.wire.arguments import checked
from agentkit.wire.content import Reply, Request, encode_request
from agentkit.wire.files import LocalFile, UploadedFile
from agentkit.wire.reply import ReplyAssembler

FAULTS: Final[tuple[str, ...]] = get_args(FaultKind)
"""The names of all that can go wrong; `FaultKind` says what each is."""


class ChaosModel(Model):
    '''A `Model` that asks another, and lets something go wrong at each request with a probability.

    ```python
    from agentkit import Agent, ModelError
    from agentkit.core.repair import RetryPolicy
    from agentkit.testing import ChaosModel, ScriptedModel, call, check_history

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    answers = 0
    for seed in range(50):
        model = ChaosModel(ScriptedModel([call("add", a=1, b=2), "It is 3."]), 0.3, seed=seed)
        agent = Agent(model, tools=[add], retry=RetryPolicy(base=0))
        try:
            run = agent.run("1 + 2?")
        except ModelError as error:  # it was refused, or an outage lasted
            run = error.run
        check_history(run.contents)  # valid, whatever happened
        answers += run.stop is None and run.text == "It is 3."
    assert answers > 25
    ```

    What goes wrong depends on the seed, the request and how often that very request was made before, and on
    nothing else: the same seed makes the same trouble again, sync or async, streamed or not, in whatever order
    threads come to ask. A fault in place of a reply uses up none of the model's: a script goes on where it was.
    No call that the model didn't make is ever run: those that are made up lack their arguments.

    Args:
        model: The model that answers.
        p: The probability that something goes wrong, from 0 to 1.
        seed: Which faults there are, and when.
        faults: The names of those that may be (`agentkit.testing.chaos.FaultKind` says what each is); by default
            all. One that doesn't fit, such as other ids for the calls of a reply without calls, doesn't happen.
        seconds: How long a hang lasts and how late a slow reply is, if the timeout isn't up before.

    Raises:
        ConfigurationError: `p` is no probability, or there is no fault of a name.
    '''

    @checked
    def __init__(
        self,
        model: Model,
        p: float,
        *,
        seed: int = 0,
        faults: Collection[FaultKind] | None = None,
        seconds: float = 0.05,
    ) -> None:
        if not 0 <= p <= 1:
            raise ConfigurationError(f"ChaosModel(p={p!r}): give a probability, from 0 to 1.")
        chosen = FAULTS if faults is None else tuple(dict.fromkeys(faults))
        if unknown := [name for name in chosen if name not in FAULTS]:
            raise ConfigurationError(
                f"ChaosModel(faults=...) names {unknown}; the faults are {', '.join(FAULTS)}."
            )
        self._model = model
        self._p = p
        self._seed = seed
        self._faults = chosen
        self._seconds = seconds
        self._asked: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self.injected: list[str] = []
        """The names of the faults there were so far, in order."""

    @property
    def name(self) -> str:
        """The name of the model that answers."""
        return self._model.name

    @property
    def traits(self) -> Traits:
        """The traits of the model that answers."""
        return self._model.traits

    @property
    def uploads_to(self) -> str | None:
        """Where the files of the model that answers go."""
        return self._model.uploads_to

    def upload(
        self, file: LocalFile, *, timeout: float | None = None
    ) -> Generator[int | UploadedFile, None, None]:
        """Upload a file, by the model that answers."""
        return self._model.upload(file, timeout=timeout)

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request, or let something go wrong."""
        trouble = self._draw(request)
        trouble.wait_late(timeout)
        trouble.raise_failure(timeout)
        if trouble.reply is not None:
            return trouble.reply
        return self._change(trouble, self._model.generate(request, timeout=timeout))

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Answer a request in chunks, or let something go wrong."""
        trouble = self._draw(request)
        trouble.wait_late(timeout)
        yield from trouble.beginning
        trouble.raise_failure(timeout)
        if trouble.reply is not None:
            yield from chunks_of(trouble.reply)
            return
        whole = ReplyAssembler()
        with closing(self._model.stream(request, timeout=timeout)) as chunks:
            for chunk in chunks:
                if trouble.kind in CHANGES:
                    whole.add(chunk)
                else:
                    yield chunk
        if trouble.kind in CHANGES:
            yield from chunks_of(self._change(trouble, whole.reply()))

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, or fail."""
        trouble = self._draw(request, counting=True)
        trouble.wait_late(timeout)
        trouble.raise_failure(timeout)
        return self._model.count_tokens(request, timeout=timeout)

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request, or let something go wrong, async."""
        trouble = self._draw(request)
        await trouble.await_late(timeout)
        trouble.raise_failure(timeout)
        if trouble.reply is not None:
            return trouble.reply
        return self._change(trouble, await self._model.agenerate(request, timeout=timeout))

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Answer a request in chunks, or let something go wrong, async."""
        trouble = self._draw(request)
        await trouble.await_late(timeout)
        for chunk in trouble.beginning:
            yield chunk
        trouble.raise_failure(timeout)
        if trouble.reply is not None:
            for chunk in chunks_of(trouble.reply):
                yield chunk
            return
        whole = ReplyAssembler()
        async with aclosing(self._model.astream(request, timeout=timeout)) as chunks:
            async for chunk in chunks:
                if trouble.kind in CHANGES:
                    whole.add(chunk)
                else:
                    yield chunk
        if trouble.kind in CHANGES:
            for chunk in chunks_of(self._change(trouble, whole.reply())):
                yield chunk

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, or fail, async."""
        trouble = self._draw(request, counting=True)
        await trouble.await_late(timeout)
        trouble.raise_failure(timeout)
        return await self._model.acount_tokens(request, timeout=timeout)

    def _draw(self, request: Request, *, counting: bool = False) -> _Trouble:
        """Choose what goes wrong with a request."""
        digest = hashlib.sha256(encode_request(request) + b"counted" * counting).digest()
        with self._lock:
            asked = self._asked[digest] = self._asked.get(digest, 0) + 1
        rng = random.Random(b"%d %d %b" % (self._seed, asked, digest))
        wrong, tool = rng.random() < self._p, victim(request, rng)
        kinds = [kind for kind in self._faults if fits(kind, tool)]
        if counting:
            kinds = [kind for kind in kinds if kind == "slow" or kind in FAILURES]
        if not wrong or not kinds:
            return _Trouble("", 0.0, [], None)
        kind = rng.choice(kinds)
        if kind not in CHANGES:
            self._note(kind)
        return _Trouble(
            kind,
            self._seconds if kind in ("hang", "slow") else 0.0,
            beginning(tool, rng) if kind == "broken-stream" else [],
            instead(kind, tool),
        )

    def _change(self, trouble: _Trouble, made: Reply) -> Reply:
        if trouble.kind not in CHANGES:
            return made
        made, done = changed(trouble.kind, made)
        if done:
            self._note(trouble.kind)
        return made

    def _note(self, kind: str) -> None:
        with self._lock:
            self.injected.append(kind)


class _Trouble(NamedTuple):
    """What goes wrong with one request; `kind` is empty if nothing does."""

    kind: str
    late: float
    beginning: list[Reply]
    reply: Reply | None

    def wait_late(self, timeout: float | None) -> None:
        """Let the time pass by which it is late."""
        if self.late > 0:
            time.sleep(self._seconds(timeout))

    async def await_late(self, timeout: float | None) -> None:
        """Let the time pass, async."""
        if self.late > 0:
            await asyncio.sleep(self._seconds(timeout))

    def _seconds(self, timeout: float | None) -> float:
        return self.late if timeout is None else max(min(self.late, timeout), 0.0)

    def raise_failure(self, timeout: float | None) -> None:
        """Raise what it is, if it is an error."""
        if self.kind in FAILURES:
            raise failure(self.kind)
        if timeout is not None and timeout < self.late:  # a slow reply that came too late
            raise failure("hang")
