"""What a tool may know of the run that called it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Literal

from typing_extensions import TypeVar

from agentkit.events import Event, ToolProgress
from agentkit.limits import MOST_TOKENS, Stop, Usage
from agentkit.tooling.caller import Caller
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.arguments import checked
from agentkit.wire.content import JsonObject, dumps
from agentkit.wire.sources import Source

Deps = TypeVar("Deps", default=Any)

Purpose = Literal["turn", "repair", "continuation", "summary", "last_turn", "count"]
"""What a request is for: a turn of the model, the same once more after an unusable reply, the rest of a text that
was cut off, a summary, the turn that a limit leaves, a count of tokens."""


def _nowhere(*_: Any) -> None:
    """Drop what a context without a run is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle:
    """What agents that run as tools need of the run around them."""

    report: Callable[[Event], None] = _nowhere
    """Takes an event for whoever watches."""
    add_usage: Callable[[Usage], None] = _nowhere
    add_live_usage: Callable[[Callable[[], Usage]], None] = _nowhere
    """Takes a function that returns what the tool has spent so far."""
    add_errors: Callable[[Sequence[Exception]], None] = _nowhere
    """Takes what the tools of a sub-agent raised."""
    add_sources: Callable[[Sequence[Source], str], None] = _nowhere
    """Takes what the answer of a sub-agent rests on, and the search suggestions that go with it."""
    watched: bool = False
    """Whether somebody watches the run's events as they happen."""
    streamed: bool = False
    """Whether models are asked for their replies in chunks."""
    limit_reached: Callable[[], tuple[Stop, str] | None] = lambda: None
    """Returns the limit of the run that is reached by now, and that in words."""
    add_call: Callable[[], tuple[Stop, str] | None] = lambda: None
    """Counts a call of a sub-agent's, and returns the limit of the run that it exceeds, if any."""
    calls_reached: Callable[[], tuple[Stop, str] | None] = lambda: None
    """Returns the limit of function calls, if more were made than the run may make."""
    share_left: Callable[[float], dict[str, Any]] = lambda _: {}
    """Returns a share of what is left of the run's limits (tokens, tool_calls, cost)."""
    approver: Callable[[PendingCall, Context[Any]], Any] | None = None
    """Who decides about calls of the run that need approval, if anybody does at once."""
    caller: Callable[[], Caller] = Caller
    """Returns where tools that ask a person are called."""
    state: Callable[[], JsonObject] = dict
    """Returns the chat's state as the calls that are done have left it; nobody changes it in place."""
    guarded: bool = False
    """Whether the run asks for approval of what untrusted words could make a model do."""


NO_RUN: Final = RunHandle()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(Generic[Deps]):
    """What a tool, a hook, or a function for the instructions can know about the run.

    A tool asks for it by annotation, under any name: `ctx: Context[MyDeps]`. The model doesn't see it.
    """

    deps: Deps = field(repr=False)
    """The `deps` of the run. Not in the repr, because it often holds keys and connections."""
    run_id: str = ""
    """Unique to the run."""
    session_id: str | None = None
    """The chat's id, if the run belongs to one that has an id."""
    call_id: str = ""
    """Unique to this call, and the same when a chat is resumed after a crash: use it as an idempotency key."""
    tool_name: str = ""
    """The name by which the model called the tool."""
    retry: int = 0
    """How many calls of this tool have failed in a row before this one."""
    turn: int = 0
    """How many replies the model has made in this run."""
    purpose: Purpose = "turn"
    """For `before_model` and `after_model`: what the request is for."""
    resumed: dict[str, Any] | None = field(default=None, repr=False)
    """The state given to `ToolDeferred(state=...)`, when the tool is called again."""
    decisions: Mapping[str, Decision] = field(default_factory=dict, repr=False)
    """Then also the decisions about the calls in `ToolDeferred(pending=...)`, by call id."""
    _run: RunHandle = field(default=NO_RUN, repr=False)
    _state: list[tuple[JsonObject, JsonObject]] = field(default_factory=list, repr=False, compare=False)
    """The chat's state when it was first asked for, and the copy that was given."""

    @property
    def state(self) -> JsonObject:
        """The chat's state, a JSON object of your own. Each call gets its own copy, made on first access.

        A tool's changes are stored together with the call's result, key by key. If the tool raises or is given up,
        they are dropped; a value that isn't JSON is an error of the tool. Calls that run at the same time need not see
        each other's changes. The tools of a sub-agent share the copy of the call that they answer. Without a chat, the
        state starts empty. Hooks before a call share the call's copy; elsewhere, treat it as read-only.
        """
        if not self._state:
            known = self._run.state()
            self._state.append((known, copy.deepcopy(known)))
        return self._state[0][1]

    def _state_after(self, now: JsonObject) -> JsonObject:
        """Return what a state becomes by what was changed in the copy.

        Raises:
            TypeError, ValueError, RecursionError: The copy is no JSON any more.
        """
        known, given = self._state[0] if self._state else (now, now)
        if given is known:
            return now
        mine: JsonObject = json.loads(dumps(given))
        gone = known.keys() - mine.keys()
        changed = {
            key: each for key, each in mine.items() if key not in known or dumps(each) != dumps(known[key])
        }
        if not gone and not changed:
            return now
        return {**{key: each for key, each in now.items() if key not in gone}, **changed}

    @property
    def watched(self) -> bool:
        """Whether the run's events are being watched as they happen."""
        return self._run.watched

    def progress(self, message: Any) -> None:
        """Report how far the tool has got, as a `ToolProgress` event."""
        self._run.report(ToolProgress(self.call_id, self.tool_name, message))

    @checked
    def add_usage(self, usage: Usage) -> None:
        """Count tokens that the tool itself used, in `run.usage` and towards its limits.

        Raises:
            TypeError: It isn't a `Usage`.
            ValueError: The numbers are implausibly large.
        """
        if not isinstance(usage, Usage):
            raise TypeError(f"ctx.add_usage({usage!r:.100}): give a Usage.")
        if usage.total_tokens >= MOST_TOKENS or usage.prompt_tokens >= MOST_TOKENS:
            raise ValueError(
                f"ctx.add_usage(...): nothing takes {max(usage.total_tokens, usage.prompt_tokens)} tokens."
            )
        self._run.add_usage(usage)

    def at(self, *, turn: int, purpose: Purpose) -> Context[Deps]:
        """Return the same context at another point of the run."""
        return replace(self, turn=turn, purpose=purpose, _state=[])
