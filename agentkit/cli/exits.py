"""The exit codes, and the errors that only the command has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agentkit.cli.terminal import say

ANSWERED = 0
FAILED = 1
USAGE = 2
NO_CREDENTIALS = 3
STOPPED = 4
CANNOT = 6
"""The embedded model isn't there, or has no answer."""


class UsageFault(Exception):
    """What was given on the command line can't work; the text says what and what to do."""


class EmbeddedModelMissing(Exception):
    """The embedded model was asked for by name, and isn't installed."""


class Leave(Exception):
    """Ends the command with an exit code; what there was to say is said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def errors_as_exits() -> Iterator[None]:
    """Turn the errors that are expected into a line on stderr, and `Leave` with their exit code.

    Raises:
        Leave: One was raised.
        KeyboardInterrupt: So was that, while a module was imported whose code made another error of it.
    """
    try:
        with _ctrl_c_as_itself():
            yield
    except UsageFault as error:
        say(f"Error: {error}")
        raise Leave(USAGE) from None
    except EmbeddedModelMissing as error:
        say(f"Error: {error}")
        raise Leave(CANNOT) from None
    except OSError as error:  # a full disk behind stdout, say
        say(f"Error: {error}")
        raise Leave(FAILED) from None
    except Exception as error:
        from agentkit import AgentError

        if not isinstance(error, AgentError):
            raise
        say(f"{type(error).__name__}: {error}")
        raise Leave(code_of(error)) from None


@contextmanager
def _ctrl_c_as_itself() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None:
            if isinstance(behind, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            behind = behind.__cause__ or behind.__context__
        raise


def code_of(error: Exception) -> int:
    """Return the exit code of an error that agentkit raised."""
    from agentkit import ConfigurationError, MissingCredentials

    if isinstance(error, MissingCredentials):
        return NO_CREDENTIALS
    return USAGE if isinstance(error, ConfigurationError) else FAILED
