"""The check that memories make of their arguments."""

from __future__ import annotations

from agentkit.errors import ConfigurationError


def check_number(what: str, value: object, *, least: int = 1) -> None:
    """Raise a ConfigurationError unless a value is a whole number and not below `least`; `what` names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{what}={value!r}: give a whole number, {least} or more.")
