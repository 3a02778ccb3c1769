"""The `config=` of an agent and of a run, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.tooling.config import config_in
from agentkit.wire.content import JsonObject

_ONE_OF = frozenset({"responseSchema", "responseJsonSchema"})


def merged_config(*configs: Any) -> JsonObject:
    """Merge configs, each a `config_in` or what that takes: a field of a later one stands in the place of an earlier's.

    Raises:
        ConfigurationError: As `config_in`.
    """
    merged: JsonObject = {}
    generation: JsonObject = {}
    for config in configs:
        fields = config_in(config)
        said = fields.pop("generationConfig", {})
        if (old := merged.get("httpOptions")) and (new := fields.get("httpOptions")):
            headers = {**old.get("headers", {}), **new.get("headers", {})}  # as the SDK merges them
            fields["httpOptions"] = {**old, **new, **({"headers": headers} if headers else {})}
        if said.keys() & _ONE_OF:
            generation = {key: value for key, value in generation.items() if key not in _ONE_OF}
        merged, generation = {**merged, **fields}, {**generation, **said}
    return {**merged, "generationConfig": generation} if generation else merged


def with_servers(config: JsonObject, servers: Sequence[JsonObject]) -> JsonObject:
    """Add Gemini's own tools to a config."""
    return {**config, "tools": [*config.get("tools", ()), *servers]} if servers else config


def check_cached(config: JsonObject, tool_choice: object, choose_tools: object) -> None:
    """Refuse to choose among tools that are in a cache (rule 12)."""
    if config.get("cachedContent") and (tool_choice != "auto" or choose_tools is not None):
        what = "choose_tools=" if choose_tools is not None else f"tool_choice={tool_choice!r}"
        raise ConfigurationError(
            f"{what} can't go with config['cached_content']: the tools, and which of them may be called, are in the"
            " cache (rule 12). Make the cache with that tool_config, or leave one of the two out."
        )
