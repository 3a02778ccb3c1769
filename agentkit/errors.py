"""Every error that agentkit raises.

Exception
├── AgentError                      anything that agentkit reports to the developer
│   ├── ConfigurationError          an agent, a run or a model was set up wrongly; nothing was sent
│   │   ├── DecisionError           what was said of a call that waits can't be done; it waits on
│   │   ├── MissingCredentials      no key and no project for Gemini
│   │   └── ToolDefinitionError     a callable can't be declared as a tool
│   ├── HistoryError                contents break a rule of the server
│   ├── ModelError                  the model can't be reached or refused the request
│   ├── RunStopped                  `run.expect()`, `run.raise_for_stop()`: the run ended without an answer
│   ├── StoreError                  a store can't be read or written
│   │   ├── SessionConflict         another writer has the session
│   │   ├── SessionExists           there is a session of that id already
│   │   ├── SessionNotFound         there is no session of that id
│   │   └── StoreVersionError       the store was written by a newer agentkit
│   ├── ToolRetriesExceeded         a tool was retried more often than it allows (in `run.errors`)
│   └── ToolTimeout                 a tool ran longer than it may (in `run.errors`)
├── ToolRetry                       raised by a tool: the model should try again, differently
├── ToolError                       raised by a tool: final; the model is told
└── ToolDeferred                    raised by a tool: its result comes later, from elsewhere
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

DISTRIBUTION = "agentkit-gemini"
"""What agentkit is called where packages are installed from; there, `agentkit` is somebody else's."""


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra; and what is wrong, if another project lies in agentkit's folder."""
    command = f'pip install "{DISTRIBUTION}[{extra}]"'
    return f"{command}. {fault}" if (fault := other_agentkit()) else command


def other_agentkit() -> str:
    """Say what to do if the project that is called agentkit on PyPI is installed over this one, or below it."""
    from importlib import metadata

    try:
        files = metadata.distribution("agentkit").files or ()
    except metadata.PackageNotFoundError:
        return ""
    if not any(file.parts[0] == "agentkit" for file in files):
        return ""
    return (
        'Another project, "agentkit", is installed in the same folder: run pip uninstall agentkit, then'
        f" pip install --force-reinstall {DISTRIBUTION}"
    )


class AgentError(Exception):
    """Anything that agentkit reports to the developer.

    Attributes:
        run: The `Run` that the error ended, with what there was; None outside a run.
    """

    run: Any = None


class ConfigurationError(AgentError, ValueError):
    """An agent, a run or a model was set up wrongly; nothing was sent."""


class DecisionError(ConfigurationError):
    """What a person, a hook or an approver said of a call can't be done: it waits on, as if nothing had been said."""


class ToolDefinitionError(ConfigurationError):
    """A callable can't be declared as a tool; the message names it, the reason and what to do."""


class MissingCredentials(ConfigurationError):
    """Gemini was asked for, but there is no API key and no Vertex project."""


class HistoryError(AgentError, ValueError):
    """Contents break a rule of the server.

    Attributes:
        index: Position of the offending content.
        rule: Number of the rule broken, as in `agentkit.wire.history.check`.
    """

    def __init__(self, message: str, *, index: int, rule: int) -> None:
        super().__init__(message)
        self.index = index
        self.rule = rule


class ModelError(AgentError):
    """The model can't be reached, or it refused the request.

    Attributes:
        code: HTTP status code, or None where there was no reply.
        status: The server's word for it, e.g. `RESOURCE_EXHAUSTED`.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds that the server asks to wait (`RetryInfo` or `Retry-After`), if it does.
        reached: Whether the request may have reached the model: then it may have cost something.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        status: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        reached: bool = True,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after
        self.reached = reached


class ToolRetriesExceeded(AgentError):
    """A tool was retried more often than it allows."""


class ToolTimeout(AgentError, TimeoutError):
    """A tool ran longer than it may; its late result is dropped."""


class StoreError(AgentError):
    """A store can't be read or written: a full disk, a read-only or damaged file, a lost connection."""


class SessionNotFound(StoreError, LookupError):
    """There is no session of that id."""


class SessionExists(StoreError):
    """There is a session of that id already."""


class SessionConflict(StoreError):
    """Another writer has the session. What was stored stays; nothing of this writer's step was."""


class StoreVersionError(StoreError):
    """The store was written by a newer agentkit; it is left as it is."""


class RunStopped(AgentError):
    """The run ended without an answer.

    Attributes:
        run: The run; `run.stop` says why it ended.
    """

    def __init__(self, message: str, *, run: Any) -> None:
        super().__init__(message)
        self.run = run


class ToolRetry(Exception):
    """Raise it in a tool when the model should try again, differently.

    The message goes to the model as the error of the call. It counts against the tool's `retries`.
    """


class ToolError(Exception):
    """Raise it in a tool when it failed and a retry would not help: the model is told the message and goes on."""


class ToolDeferred(Exception):
    """Raise it in a tool whose result comes later, from elsewhere: the run stops, with the call in `run.pending`.

    When the result is there, `agent.resume(run, {call_id: Result(value)})` goes on; `ctx.call_id` is the key to
    hand to whoever will bring it.

    Args:
        message: What it waits for, in words: `PendingCall.why`.
        state: JSON that the tool gets back as `ctx.resumed` when a decision is there about one of `pending`:
            then the tool is called again, and `ctx.decisions` has what was said. It goes with `pending` alone.
        pending: `PendingCall`s of the tool's own that wait, as those of a sub-agent do. Without any, the call itself
            waits: it ends with a `Result` or a `Deny`, and the tool isn't called again.

    Raises:
        ConfigurationError: The state is no JSON, or there is no call in `pending` to call the tool again for.
    """

    def __init__(
        self, message: str = "", *, state: dict[str, Any] | None = None, pending: Sequence[Any] = ()
    ) -> None:
        super().__init__(message)
        try:
            json.dumps(state, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"ToolDeferred(state=...): it is JSON, to be kept: {error}") from error
        try:
            json.dumps([call.to_wire() for call in pending], allow_nan=False)
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"ToolDeferred(pending=...): give PendingCalls whose args are JSON: {error}"
            ) from error
        if state is not None and not pending:
            raise ConfigurationError(
                "ToolDeferred(state=...) goes with pending=[PendingCall(...), ...]: the tool is called again, with the"
                " state in ctx.resumed, when one of those is decided. Without pending=, the call ends with its Result,"
                " and nobody would read the state: leave it out."
            )
        self.state = state
        self.pending = tuple(pending)
