"""The `mcpServers` of other programs' configuration files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.mcp.transport import is_url
from agentkit.wire.content import JsonObject

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}", re.ASCII)


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
        where = f"{path}: the server {name!r}"
        if not isinstance(entry, dict) or not (entry.get("command") or entry.get("url")):
            raise ConfigurationError(f"{where} has neither a command nor a url.")
        if not entry.get("disabled"):
            yield _server(_filled(entry, where), name, where)


def _server(entry: JsonObject, name: str, where: str) -> tuple[Any, JsonObject]:
    url, command, args = entry.get("url"), entry.get("command"), entry.get("args") or []
    if url and not is_url(url):
        raise ConfigurationError(f"{where} has a url that isn't an http(s) address.")
    if not url and not (isinstance(command, str) and isinstance(args, list)):
        raise ConfigurationError(f"{where}: its command must be a text, and its args a list.")
    options: JsonObject = {
        key: _texts(entry[key], f"{where}: its {key}") for key in ("env", "headers") if entry.get(key)
    }
    if entry.get("cwd"):
        options["cwd"] = str(entry["cwd"])
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)[:32]
    options["name"] = f"_{name}"[:32] if name[:1].isdigit() else name
    return url or [command, *map(_text, args)], options


def _texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or None in value.values():
        raise ConfigurationError(f"{where} must be an object with a text for each name.")
    return {key: _text(each) for key, each in value.items()}


def _text(value: Any) -> str:
    """Return what others write as a number or as true, too, as a text."""
    return value if isinstance(value, str) else json.dumps(value)


def _filled(value: Any, where: str) -> Any:
    """Put environment variables in the place of `${NAME}`."""
    if isinstance(value, dict):
        return {key: _filled(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found and match[2] is not None:
            found = match[2]
        if found is None:
            raise ConfigurationError(f"{where} needs the environment variable {match[1]}, which isn't set.")
        return found

    return _VARIABLE.sub(fill, value)
