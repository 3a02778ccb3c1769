"""One memory from several: each is applied to the view of the one before."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agentkit.errors import ConfigurationError
from agentkit.memory.base import Memory, Need, Situation
from agentkit.memory.results import DropToolResults
from agentkit.memory.summary import Summarize
from agentkit.memory.tokens import TokenBudget
from agentkit.memory.turns import LastTurns
from agentkit.model import Model
from agentkit.wire.content import Content


@dataclass(frozen=True, slots=True)
class Chain:
    """Memories that are applied one after the other. `combine` makes it, and sees to their order."""

    memories: tuple[Memory, ...]

    def view(
        self, contents: Sequence[Content], situation: Situation
    ) -> Generator[Need, Any, Sequence[Content]]:
        """Let each choose from the view of the one before; see `Memory.view`. Without any, it is the whole history."""
        view = contents[:]
        for memory in self.memories:
            view = yield from memory.view(view, situation)
        return view


def combine(memory: Memory | Iterable[Memory]) -> Memory:
    """Make one memory of one or several, applied in their order.

    Not every order makes sense:

    - before `Summarize`, which remembers places in the history, only `DropToolResults` may stand, which
      leaves each content in its place;
    - `LastTurns` doesn't go with `Summarize`: there would be turns that are neither sent nor summarised;
    - `TokenBudget` is the last, since it counts what is sent.

    A memory of your own may stand anywhere but before `Summarize` and after `TokenBudget`.

    Raises:
        ConfigurationError: One of them isn't a memory, or the order makes no sense.
    """
    memories = tuple(_each(memory))
    for index, one in enumerate(memories):
        _check_order(memories[:index], one)
    return memories[0] if len(memories) == 1 else Chain(memories)


def models_of(memory: Memory | None) -> list[str | Model]:
    """List the models that a memory asks beside the chat's own."""
    chain = memory.memories if isinstance(memory, Chain) else (memory,)
    return [one.model for one in chain if isinstance(one, Summarize) and one.model is not None]


def _each(memory: object) -> Iterator[Memory]:
    if isinstance(memory, Chain):
        yield from memory.memories
    elif not isinstance(memory, type) and callable(getattr(memory, "view", None)):
        yield cast(Memory, memory)
    elif isinstance(memory, Iterable) and not isinstance(memory, (str, bytes)):
        for one in memory:
            yield from _each(one)
    else:
        raise ConfigurationError(
            f"memory={memory!r} isn't a memory: give LastTurns(20), TokenBudget(100_000), another, or a list of them."
        )


def _check_order(before: Sequence[Memory], memory: Memory) -> None:
    if any(isinstance(other, TokenBudget) for other in before):
        raise ConfigurationError(
            f"memory: TokenBudget counts what is sent: put it after {memory!r}, as the last."
        )
    if isinstance(memory, Summarize):
        wrong = next((other for other in before if not isinstance(other, DropToolResults)), None)
        if wrong is not None:
            raise ConfigurationError(
                f"memory: Summarize needs every turn, but {wrong!r} comes before it: only DropToolResults may."
            )
    if isinstance(memory, LastTurns) and any(isinstance(other, Summarize) for other in before):
        raise ConfigurationError(
            "memory: LastTurns leaves out what Summarize has not summarised yet, and its summary: use one of them."
        )
