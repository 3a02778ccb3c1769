"""What a tool may know of the run that called it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from agentkit.core.repair import Stop
from agentkit.limits import Usage
from agentkit.tooling.decisions import Decision, PendingCall

Deps = TypeVar("Deps", default=Any)


def _nowhere(_: Any) -> None:
    """Drop what a context without a run is told."""


def _never() -> None:
    """Tell that no limit is reached, where there is no run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(Generic[Deps]):
    """What a tool, or a function of the instructions, may know of the run.

    A tool asks for it by annotation, under any name: `ctx: Context[MyDeps]`. The model doesn't see it.
    """

    deps: Deps = field(repr=False)
    """What `run(deps=...)` was given; not in the repr, since it often holds keys and connections."""
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
    turn: int = 0
    """How many replies the model has made in this run."""
    resumed: dict[str, Any] | None = field(default=None, repr=False)
    """What the tool gave as `ToolDeferred(state=...)`, now that it is called again."""
    decisions: Mapping[str, Decision] = field(default_factory=dict, repr=False)
    """Then: what was said of the calls in its `ToolDeferred(pending=...)`."""
    on_progress: Callable[[Any], None] = field(default=_nowhere, repr=False)
    on_event: Callable[[Any], None] = field(default=_nowhere, repr=False)
    on_live_usage: Callable[[Callable[[], Usage]], None] = field(default=_nowhere, repr=False)
    """Takes a function that tells what the tool has spent so far, for one that spends much."""
    watched: bool = field(default=False, repr=False)
    """Whether somebody watches the run's events as they happen."""
    limit_reached: Callable[[], Stop | None] = field(default=_never, repr=False)
    """Tells whether a limit of the run is reached by now, for a tool that spends much."""
    share_left: Callable[[float], dict[str, Any]] = field(default=lambda _: {}, repr=False)
    """Gives a share of what is left of the run's limits (tokens, tool_calls, cost), for a sub-agent."""
    approver: Callable[[PendingCall, Context[Any]], Any] | None = field(default=None, repr=False)
    """Who decides about calls of the run that need approval, if anybody does at once."""
    guarded: bool = field(default=False, repr=False)
    """Whether the run asks for approval of what untrusted words could make a model do."""
    on_usage: Callable[[Usage], None] = field(default=_nowhere, repr=False)

    def progress(self, message: Any) -> None:
        """Tell whoever watches the run how far the tool is: a `ToolProgress` event."""
        self.on_progress(message)

    def add_usage(self, usage: Usage) -> None:
        """Count tokens that the tool itself spent, so that they show in `run.usage` and its limits."""
        self.on_usage(usage)
