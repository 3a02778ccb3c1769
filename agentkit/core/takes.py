"""What a model doesn't take, by its traits: said before anything is sent, not by the server's 400."""

from __future__ import annotations

from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.model import Model
from agentkit.wire.content import JsonObject, Request, iter_declarations

_CALLERS = frozenset({"functionDeclarations", "computerUse"})
"""Tools that the caller runs. All others are the server's own."""
_SCHEMAS = frozenset({"responseJsonSchema", "responseSchema"})


def check_takes(model: Model, request: Request) -> None:
    """Refuse a request that a model doesn't take.

    Raises:
        ConfigurationError: It has fields, or tools beside each other, that the model's traits exclude.
    """
    traits, generation = model.traits, request.get("generationConfig") or {}
    tools = () if request.get("cachedContent") else request.get("tools") or ()  # those are in the cache
    own = set().union(*tools) - _CALLERS
    schema = not _SCHEMAS.isdisjoint(generation)
    declared = None
    if tools and (own or schema):
        declared = next((each["name"] for each in iter_declarations(request)), None)
    if own and declared is not None and not traits.server_tools_with_functions:
        _refuse(
            model,
            f"{min(own)} beside functions, as {declared!r} is (rule 5)",
            "ask an agent of its own with the one of them, given to this one as a tool, or a model from gemini-3 on",
        )
    if schema and not traits.json_schema:
        _refuse(model, "a schema for its reply", 'leave it out, or give run(output=...) with mode="tool"')
    if schema and (own or declared is not None) and not traits.schema_with_tools:
        what = min(own) if own else f"{declared!r}"
        _refuse(
            model,
            f"a schema for its reply beside tools, as {what} is (rule 8)",
            "leave out the one or the other; run(output=...) takes its value by a function where there are others",
        )
    if request.get("cachedContent") and not traits.caches:
        _refuse(model, "config['cached_content']: there are no explicit caches for it", "leave it out")
    for path in sorted(traits.refuses) if generation else ():
        if _is_there(generation, path):
            _refuse(model, f"generationConfig.{path}", "leave it out")


def _refuse(model: Model, what: str, instead: str) -> None:
    raise ConfigurationError(f"The model {model.name!r} doesn't take {what}. Nothing was sent: {instead}.")


def _is_there(generation: JsonObject, path: str) -> bool:
    """Return whether a field is set, or where the path names a value, whether it is that."""
    names, _, value = path.partition("=")
    found: Any = generation
    for name in names.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found is not None and (not value or str(found).upper() == value)
