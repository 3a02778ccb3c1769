"""Values on the command line and at a prompt: JSON, or JSON where it can be and else text."""

from __future__ import annotations

import json
from typing import Any

from agentkit.cli.exits import UsageFault


def json_or_text(text: str) -> Any:
    """Return what a JSON text says, or the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_of(text: str, what: str) -> Any:
    """Return what a JSON text says. Raises UsageFault, which begins with `what`, where it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageFault(f"{what}: it isn't valid JSON: {error}.") from None


def key_and_value(word: str, wrong: str) -> tuple[str, Any]:
    """Split `key=value`; the value is JSON where it can be. Raises UsageFault, as `wrong` says, without a key."""
    key, sign, text = word.partition("=")
    if not sign or not key.strip():
        raise UsageFault(wrong)
    return key.strip(), json_or_text(text)
