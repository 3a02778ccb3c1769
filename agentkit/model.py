"""What a model is: whatever answers wire JSON with wire JSON."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from agentkit.errors import ConfigurationError, ModelError
from agentkit.wire.content import Reply, Request, encode_request
from agentkit.wire.files import LocalFile, UploadedFile
from agentkit.wire.reply import ReplyAssembler

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a model takes and how it behaves. The defaults refuse nothing."""

    endpoint: str | None = None
    """Where it is asked, if its thought signatures are for one endpoint alone: `gemini` or `vertex` (rule 13)."""
    window: int | None = None
    """Tokens that it takes in a request, or None where nobody knows."""
    json_schema: bool = True
    """Whether it takes a JSON schema for its reply at all."""
    schema_with_tools: bool = True
    """Whether it takes a JSON schema for its reply beside tools (rule 8)."""
    server_tools_with_functions: bool = True
    """Whether it takes Gemini's own tools beside functions (rule 5)."""
    media_in_responses: frozenset[str] | None = None
    """Kinds of media that a function response may hold (rule 10); None is any."""
    caches: bool = True
    """Whether there are explicit caches for it (rule 12)."""
    refuses: frozenset[str] = frozenset()
    """Fields of `generationConfig` that are an error, by their path, perhaps of one value alone (rule 18)."""
    inline_bytes: int | None = None
    """How large a file may be that goes into a request; a larger one is uploaded. None is any."""
    connect_seconds: float = 10.0
    """How long a connection may take."""
    first_byte_seconds: float = 300.0
    """How long it may be silent before it begins to reply."""
    slow_first_byte_seconds: float = 900.0
    """The same where it thinks at its highest level, or takes its time for less money (the flex tier)."""
    thinks_long: bool = False
    """Whether it thinks at its highest level unless the request says otherwise."""
    chunk_seconds: float = 120.0
    """How long it may be silent within a streamed reply."""


NO_TRAITS: Final = Traits()


class Model(ABC):
    """A model: Gemini, the embedded one, a scripted one, or your own subclass with a `name` and a `stream`.

    Every method takes a request body and `timeout`, and raises `ModelError` if there is no proper reply; its
    `retryable` says whether the same request may succeed later. A call takes at most `timeout` seconds (what is left
    of the run's time) and at most the model's own default, which alone applies if `timeout` is None. A model never
    retries by itself. The loop does, so that retries are counted, limited and visible. A model doesn't modify the
    request.

    `stream` yields chunks, each a `Reply`. The last one has a `finishReason`; a stream that ends without one is a
    `ModelError`. Closing the generator closes the connection at once. By default, the async methods run the sync
    ones in threads, and `generate` joins what `stream` yields.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's name, as requests and traces show it."""

    @property
    def traits(self) -> Traits:
        """What the model accepts and how it behaves."""
        return NO_TRAITS

    @abstractmethod
    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Answer a request in chunks."""

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request."""
        assembler = ReplyAssembler()
        try:
            with closing(self.stream(request, timeout=timeout)) as chunks:
                for chunk in chunks:
                    assembler.add(chunk)
        except ModelError:
            if not assembler.finished:
                raise
        return assembler.reply()

    def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, including tools and system instruction; by default one per four bytes."""
        return len(encode_request(request)) // 4

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Answer a request in chunks, async."""
        async with aclosing(_in_thread(lambda: self.stream(request, timeout=timeout))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        """Answer a request, async."""
        assembler = ReplyAssembler()
        try:
            async with aclosing(self.astream(request, timeout=timeout)) as chunks:
                async for chunk in chunks:
                    assembler.add(chunk)
        except ModelError:
            if not assembler.finished:
                raise
        return assembler.reply()

    async def acount_tokens(self, request: Request, *, timeout: float | None = None) -> int:
        """Count the tokens of a request, async."""
        return await call_in_thread(lambda: self.count_tokens(request, timeout=timeout))

    @property
    def uploads_to(self) -> str | None:
        """Where uploaded files go and who can read them: empty if that isn't known, None if there are no uploads."""
        return ""

    def upload(
        self, file: LocalFile, *, timeout: float | None = None
    ) -> Generator[int | UploadedFile, None, None]:
        """Upload a file: yield the number of bytes that have arrived each time it changes, and finally the file."""
        yield from ()
        raise ConfigurationError(
            f"The model {self.name!r} takes no uploads: give the file in the request itself."
        )

    async def aupload(
        self, file: LocalFile, *, timeout: float | None = None
    ) -> AsyncGenerator[int | UploadedFile, None]:
        """Upload a file, async."""
        async with aclosing(_in_thread(lambda: self.upload(file, timeout=timeout))) as steps:
            async for step in steps:
                yield step

    def prepare_for(self, request: Request) -> None:  # noqa: B027 - most models need not
        """Prepare for the first requests. By default this does nothing."""


class Interrupt:
    """Ends, from any thread, what a model waits for in another one: a sync model notes how, while it waits."""

    def __init__(self) -> None:
        self.called = False
        self._lock = threading.RLock()  # a signal's handler may call it in the midst of `note`
        self._end: Callable[[], None] | None = None

    def __call__(self) -> None:
        """End what is waited for, now and later."""
        with self._lock:
            self.called = True
            if self._end is not None:
                self._end()

    def note(self, end: Callable[[], None] | None) -> None:
        """Note what ends the wait that begins, or None when it is over: from then on, it isn't called any more."""
        with self._lock:
            self._end = end
            if end is not None and self.called:
                end()


class _Here(threading.local):
    interrupt: Interrupt | None = None


here: Final = _Here()
"""What ends the waits of this thread, while a driver asks a model in it."""


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a function that blocks in a thread of its own: nobody who gives up waits for it, nor does a loop's end."""

    def once() -> Generator[tuple[T], None, None]:
        yield (function(),)

    async with aclosing(_in_thread(once)) as results:
        return (await anext(results))[0]


async def _in_thread(make: Callable[[], Generator[T, None, None]]) -> AsyncGenerator[T, None]:
    """Yield what a generator does in a thread of its own."""
    loop, items, left = asyncio.get_running_loop(), asyncio.Queue[Any](), threading.Event()

    def put(item: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(items.put_nowait, item)

    def work() -> None:
        try:
            with closing(make()) as chunks:
                for chunk in chunks:
                    if left.is_set():
                        return
                    put(chunk)
            put(None)
        except BaseException as error:
            put(error)

    _start(work)
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()  # whoever is in the generator closes it: it can't be closed from here


def _start(work: Callable[[], None]) -> None:
    """Begin work in a thread of its own, which keeps nothing waiting that is given up."""
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="agentkit-model", daemon=True).start()
