"""What a run goes on from: what was parked of it, and what was said of the calls that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit.core.beside import told_in, told_suggestions
from agentkit.core.history import History
from agentkit.core.meter import Meter
from agentkit.core.state import OpenTurn, RunState, Settings, Setup
from agentkit.errors import AgentError
from agentkit.output import AS_GIVEN
from agentkit.stores.message import Message
from agentkit.tooling.decisions import Decision
from agentkit.traits import PRICES, Price
from agentkit.wire.content import JsonObject
from agentkit.wire.sources import Source


@dataclass(frozen=True, slots=True)
class Resume:
    """That a run goes on, and what was said of the calls that wait."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    run: Any = None
    """Which `Run`; None is the last one of a chat."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The options that it was given, if `run` doesn't know."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What is said about one send of a chat alone."""

    merged: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Puts the options of a run over the chat's; None where the run knows all that its message was given."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The options that are given now."""
    id: str | None = None
    """The sender's own, of the message."""
    wait: float | None = None
    """Seconds to wait for other writers, instead of the chat's."""

    @classmethod
    def of(cls, options: Mapping[str, Any], output: Any, **more: Any) -> Sending:
        """Say that a run is given these options, and an output if that isn't as it was given before."""
        return cls(given={**options} if output is AS_GIVEN else {**options, "output": output}, **more)


NO_SENDING = Sending()


class Parked:
    """What a run goes on from, if it is resumed.

    Args:
        messages: The whole history.
        started_with: How many there were before the run's own.
        opened: The calls that the history ends with, if they wait.
        given: The options that the run was given, `output` among them.
        said: All of the model's words so far.
        shared: What the run was resumed from and nothing came of: only one of the two goes on.
        prices: What tokens cost; None is the default.
        metadata: What the last reply said beside its content, if that isn't in the history.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        started_with: int,
        opened: OpenTurn | None = None,
        given: Mapping[str, Any] | None = None,
        said: str = "",
        shared: Parked | None = None,
        prices: Mapping[str, Price] | None = None,
        metadata: JsonObject | None = None,
    ) -> None:
        self.metadata = metadata
        self.prices = PRICES if prices is None else prices
        self.messages = tuple(messages)
        self.started_with = started_with
        self.opened = opened
        self.given = dict(given or {})
        self.said = said
        self._taken: threading.Lock = threading.Lock() if shared is None else shared._taken

    def take(self) -> None:
        """Note that the run goes on from here: calls that wait are run once.

        Raises:
            AgentError: It does already.
        """
        if self.opened is not None and not self._taken.acquire(blocking=False):
            raise AgentError("This run has been resumed already: use the run that resume() returned.")

    def give_back(self) -> None:
        """Note that nothing came of it."""
        if self._taken.locked():
            self._taken.release()


def resumed_state(parked: Parked, run: Any, setup: Setup, settings: Settings, meter: Meter) -> RunState:
    """Make the state from which a run goes on."""
    messages, found, shown = list(parked.messages), list[Source](), list[str]()
    if parked.opened is not None:
        found += told_in(messages[-1].metadata)
        shown += told_suggestions(messages[-1].metadata)
        del messages[-2:]  # the calls, and what stands in for their responses
    elif run.stop is not None and messages[-1].content["role"] == "model":
        del messages[-1]  # a reply that wasn't an answer: it is asked for again
    state = RunState(setup, settings, meter, History(messages))
    state.session.started_with, state.session.known = parked.started_with, len(messages)
    state.sources_found += found
    state.suggestions_found += shown
    state.waiting.resumed = parked.opened
    state.tools.results = dict(run.results)
    return state
