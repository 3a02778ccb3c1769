"""The `mcpServers` of other programs' configuration files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.wire.content import JsonObject

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}", re.ASCII)
_OPTIONS = ("env", "cwd", "headers")


def servers_in(path: Path) -> Iterator[tuple[Any, JsonObject]]:
    """Read the servers in a file: each as `MCP` takes it, and its options.

    Raises:
        ConfigurationError: It can't be read, or names a variable that isn't set.
    """
    try:
        servers = json.loads(path.read_text(encoding="utf-8"))["mcpServers"]
        entries = list(servers.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} has no mcpServers that can be read: {error!r}") from error
    for name, entry in entries:
        if not isinstance(entry, dict) or not ({"command", "url"} & entry.keys()):
            raise ConfigurationError(f"{path}: the server {name!r} has neither a command nor a url.")
        if not entry.get("disabled"):
            yield _server(_filled(entry, f"{path}: the server {name!r}"), name)


def _server(entry: JsonObject, name: str) -> tuple[Any, JsonObject]:
    options = {key: entry[key] for key in _OPTIONS if entry.get(key)}
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)[:32]
    options["name"] = f"_{name}"[:32] if name[:1].isdigit() else name
    return entry.get("url") or [entry["command"], *entry.get("args", ())], options


def _filled(value: Any, where: str) -> Any:
    """Put environment variables in the place of `${NAME}`."""
    if isinstance(value, dict):
        return {key: _filled(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            raise ConfigurationError(f"{where} needs the environment variable {match[1]}, which isn't set.")
        return found

    return _VARIABLE.sub(fill, value)
