"""Every error that agentkit raises.

Exception
├── AgentError                      the errors that agentkit reports to you
│   ├── ConfigurationError          an agent, a run or a model was set up wrongly; nothing was sent
│   │   ├── DecisionError           a decision about a pending call can't be carried out
│   │   ├── MissingCredentials      there is neither an API key nor a Vertex AI project
│   │   └── ToolDefinitionError     a callable can't be declared as a tool
│   ├── HistoryError                contents break a rule of the server
│   ├── ModelError                  the model can't be reached or refused the request
│   ├── RunStopped                  `run.expect()`, `run.raise_for_stop()`: the run ended without an answer
│   ├── StoreError                  a store can't be read or written
│   │   ├── SessionConflict         another writer has the session
│   │   ├── SessionExists           a session with this id exists already
│   │   ├── SessionNotFound         there is no session with this id
│   │   └── StoreVersionError       the store was written by a newer agentkit
│   ├── ToolRetriesExceeded         a tool failed more often than its `retries` allow (in `run.errors`)
│   └── ToolTimeout                 a tool exceeded its timeout (in `run.errors`)
├── ToolRetry                       raised by a tool: the model should try again, differently
├── ToolError                       raised by a tool: the failure is final, and the model is told
└── ToolDeferred                    raised by a tool: its result comes later, from elsewhere
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

DISTRIBUTION = "agentkit-gemini"
"""The name on PyPI, where `agentkit` is a different project."""


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
    """The base class of the errors that agentkit reports to you.

    Attributes:
        run: The `Run` that the error ended, with everything up to that point; None outside a run.
    """

    run: Any = None


class ConfigurationError(AgentError, ValueError):
    """An agent, a run or a model was set up wrongly; nothing was sent."""


class DecisionError(ConfigurationError):
    """A decision of a person, a hook or an approver can't be carried out. The call stays pending, as if undecided."""


class ToolDefinitionError(ConfigurationError):
    """A callable can't be declared as a tool. The message names it, the reason and what to do."""


class MissingCredentials(ConfigurationError):
    """Gemini is needed, but there is neither an API key nor a Vertex AI project."""


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
        code: HTTP status code, or None if there was no reply.
        status: The server's name for the error, such as `RESOURCE_EXHAUSTED`.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds that the server asks to wait (`RetryInfo` or `Retry-After`), if it does.
        reached: Whether the request may have reached the model, and so may have cost something.
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
    """A tool failed more often in a row than its `retries` allow."""


class ToolTimeout(AgentError, TimeoutError):
    """A tool exceeded its timeout. Its late result is dropped."""


class StoreError(AgentError):
    """A store can't be read or written: a full disk, a read-only or damaged file, a lost connection."""


class SessionNotFound(StoreError, LookupError):
    """There is no session with this id."""


class SessionExists(StoreError):
    """A session with this id exists already."""


class SessionConflict(StoreError):
    """Another writer has the session. What was stored before is intact; nothing of this step was stored."""


class StoreVersionError(StoreError):
    """The store was written by a newer agentkit. It was not changed."""


class RunStopped(AgentError):
    """The run ended without an answer.

    Attributes:
        run: The run; `run.stop` says why it ended.
    """

    def __init__(self, message: str, *, run: Any) -> None:
        super().__init__(message)
        self.run = run


class ToolRetry(Exception):
    """Raise it in a tool to have the model try again, differently.

    The model gets the message as the error of the call. It counts against the tool's `retries`.
    """


class ToolError(Exception):
    """Raise it in a tool that failed for a reason that a retry won't fix. The model gets the message and carries on."""


class ToolDeferred(Exception):
    """Raise it in a tool whose result comes later, from elsewhere. The run stops, with the call in `run.pending`.

    When the result is there, `agent.resume(run, {call_id: Result(value)})` continues the run. Give `ctx.call_id` to
    whoever will deliver the result.

    Args:
        message: What the call is waiting for, in words; becomes `PendingCall.why`.
        state: JSON that the tool gets back as `ctx.resumed` when it is called again, after a decision about one of
            `pending`; the decisions are in `ctx.decisions`. Only valid together with `pending`.
        pending: `PendingCall`s of the tool's own that are waiting, like those of a sub-agent. Without any, the call
            itself is waiting: it ends with a `Result` or a `Deny`, and the tool isn't called again.

    Raises:
        ConfigurationError: The state isn't JSON, or there is a state and nothing in `pending`.
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
