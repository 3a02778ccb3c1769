"""What each contender offers to the measurements; what it can't do raises `NotAvailable`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, ClassVar

Tools = Sequence[Callable[..., Any]]
Ask = Callable[[str], str]
AskAsync = Callable[[str], Awaitable[str]]
Stream = Callable[[str], Iterator[str]]


async def gathered(results: Sequence[Any]) -> list[Any]:
    """Await those results that are awaitable, all at the same time."""
    waiting = [result for result in results if inspect.isawaitable(result)]
    if not waiting:
        return list(results)
    return list(await asyncio.gather(*waiting))


class NotAvailable(Exception):
    """The contender has no way to do this."""


class Contender:
    """One way to do the work. Each `Ask` that it makes is a function from a prompt to the answer's text."""

    distributions: ClassVar[Sequence[str]] = ()
    """Whose versions matter."""

    def runner(self, tools: Tools) -> Ask:
        """Make an agent; each question is a run of its own."""
        raise NotAvailable

    def chat(self, tools: Tools, store: str | None = None) -> Ask:
        """Begin a conversation; each question goes on with it. `store` is a file to keep it in."""
        raise NotAvailable

    def streamer(self) -> Stream:
        """Make an agent without tools whose answers come in pieces of text."""
        raise NotAvailable

    def async_runner(self, tools: Tools) -> AskAsync:
        """Make an agent for many runs at the same time."""
        raise NotAvailable

    def hold(self, contents: Sequence[dict[str, Any]]) -> Any:
        """Take a history over, as it is held between two questions, and send one."""
        raise NotAvailable

    def versions(self) -> dict[str, str]:
        """Tell the versions of what is measured."""
        return {name: metadata.version(name) for name in self.distributions}
