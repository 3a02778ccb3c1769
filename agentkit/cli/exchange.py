"""One question and all that follows, over every approval: the events of its runs as one stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from agentkit.cli.approvals import Decider

if TYPE_CHECKING:
    from agentkit import Run
    from agentkit.events import Event
    from agentkit.run import RunStream

Resume = Callable[["Run[Any]", Mapping[str, Any]], "RunStream[Any]"]


def exchange(stream: RunStream[Any], resume: Resume, decider: Decider) -> Generator[Event, None, None]:
    """Tell the events of a run and, when it stops for calls that wait, ask about them and go on.

    The last event is the one `RunFinished`.
    """
    from agentkit.events import RunFinished

    while True:
        with stream:
            for event in stream:
                if not isinstance(event, RunFinished):
                    yield event
        run = stream.run
        decisions = decider.decide(run.pending, run.held) if run.stop in ("approval", "deferred") else {}
        if not decisions:
            yield RunFinished(run)
            return
        stream = resume(run, decisions)
