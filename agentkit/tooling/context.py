"""What a tool may know of the run that called it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from agentkit.limits import Usage

Deps = TypeVar("Deps", default=Any)


def _nowhere(_: Any) -> None:
    """Drop what a context without a run is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(Generic[Deps]):
    """What a tool, or a function of the instructions, may know of the run.

    A tool asks for it by annotation, under any name: `ctx: Context[MyDeps]`. The model doesn't see it.
    """

    deps: Deps
    """What `run(deps=...)` was given."""
    run_id: str = ""
    """Unique to the run."""
    session_id: str | None = None
    """The chat's id, if the run belongs to one that has an id."""
    call_id: str = ""
    """Unique to this call, the same when a chat is resumed after a crash: an idempotency key."""
    tool_name: str = ""
    """The name under which the model called."""
    retry: int = 0
    """How many calls of this tool have failed in a row before this one."""
    on_progress: Callable[[Any], None] = field(default=_nowhere, repr=False)
    on_usage: Callable[[Usage], None] = field(default=_nowhere, repr=False)

    def progress(self, message: Any) -> None:
        """Tell whoever watches the run how far the tool is: a `ToolProgress` event."""
        self.on_progress(message)

    def add_usage(self, usage: Usage) -> None:
        """Count tokens that the tool itself spent, so that they show in `run.usage` and its limits."""
        self.on_usage(usage)
