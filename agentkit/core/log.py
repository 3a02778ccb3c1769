"""What a run writes to the log: an observer like any other, for the tree of loggers below `agentkit`.

- WARNING: a tool raised an exception of its own (with its traceback), or was given up.
- INFO: a model is asked again, another stands in for it, a request waits for the rate limit; once for a tool, that its
  calls ran one after the other since nobody said what it does.
- DEBUG: replies with their usage, calls with their times, how the run ended. Contents are never logged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agentkit.errors import AgentError, ToolError, ToolRetriesExceeded, ToolRetry, ToolTimeout
from agentkit.events import (
    Event,
    FileLost,
    ModelChanged,
    ModelRetry,
    RequestDelayed,
    RunFinished,
    ServerToolFinished,
    ToolFinished,
    ToolsLeftOut,
    ToolStarted,
    TurnFinished,
)
from agentkit.tooling.callables import place_of
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Unserialisable
from agentkit.tooling.tool import Tool

_ALL = logging.getLogger("agentkit")
_RUN = logging.getLogger("agentkit.run")
_MODEL = logging.getLogger("agentkit.model")
_TOOLS = logging.getLogger("agentkit.tools")
_LOGGED = frozenset(
    {
        *(ToolFinished, ToolStarted, ServerToolFinished, ModelRetry),
        *(ModelChanged, RequestDelayed, TurnFinished, RunFinished, ToolsLeftOut, FileLost),
    }
)
_USUAL = frozenset({ToolStarted, ServerToolFinished, TurnFinished, RunFinished})
"""Say no more than that all goes well."""


def log(event: Event, context: Context[Any]) -> None:
    """Write an event to the log, if it is one of those."""
    kind = type(event)
    if kind not in _LOGGED or (
        (kind in _USUAL or (isinstance(event, ToolFinished) and event.error is None))
        and not _ALL.isEnabledFor(logging.DEBUG)
    ):
        return
    run = context.run_id
    match event:
        case ToolFinished():
            if not log_failure(event.name, event.error, run):
                _TOOLS.debug("The tool %r took %.3f s (run %s)", event.name, event.seconds, run)
        case ToolStarted():
            _TOOLS.debug("The tool %r is called (run %s)", event.name, run)
        case ServerToolFinished():
            _TOOLS.debug("Gemini used its %r: %s (run %s)", event.name, event.status or "done", run)
        case ToolsLeftOut():
            _TOOLS.warning("Tools of %r are left out (run %s): %s", event.source, run, event.reason)
        case FileLost():
            _MODEL.info("The file %r is no longer available (run %s)", event.name, run)
        case ModelRetry():
            _MODEL.info(
                "Asking again in %.1f s (try %d, run %s): %s", event.delay, event.attempt, run, event.reason
            )
        case ModelChanged():
            _MODEL.info("%s stands in for %s (run %s): %s", event.after, event.before, run, event.reason)
        case RequestDelayed():
            _MODEL.info("A request waits %.1f s for the rate limit (run %s)", event.seconds, run)
        case TurnFinished():
            usage = event.usage
            _MODEL.debug(
                "%s answered (turn %d, %s, %d + %d tokens, run %s)",
                *(
                    event.model,
                    event.turn,
                    event.finish_reason,
                    usage.prompt_tokens,
                    usage.candidates_tokens,
                    run,
                ),
            )
        case RunFinished():
            _RUN.debug("The run %s ended: %s", run, event.run.stop or "answered")
        case _:
            pass


_noted: set[tuple[str, str]] = set()
"""Tools of which it was told that their calls ran in order."""


def note_in_order(tools: Sequence[Tool]) -> None:
    """Write to the log, once for a tool, that calls of a turn will not run at the same time.

    Args:
        tools: Those of the calls that are about to run, one for each.
    """
    if len(tools) < 2 or not _TOOLS.isEnabledFor(logging.INFO):
        return
    for tool, calls in Counter(tool for tool in tools if tool.effect is None).items():
        key = tool.name, place_of(tool.function)
        if calls > 1 and key not in _noted:
            _noted.add(key)
            _TOOLS.info(
                "%d calls of %s ran one after the other; effect='read' lets them run together.",
                calls,
                tool.name,
            )


def log_failure(name: str, error: Exception | None, run: str) -> bool:
    """Write to the log what went wrong in a call, and return whether it is anybody's affair but the model's."""
    if isinstance(error, (ToolTimeout, ToolRetriesExceeded, Unserialisable)):  # whose texts may have contents
        what = {ToolTimeout: "took too long", ToolRetriesExceeded: "used up its retries"}
        _TOOLS.warning("The tool %r %s (run %s)", name, what.get(type(error), "returned no JSON"), run)
    elif error is None or isinstance(error, (ToolError, ToolRetry, AgentError)):
        return False
    else:
        _TOOLS.warning("The tool %r raised %s (run %s)", name, type(error).__name__, run, exc_info=error)
    return True
