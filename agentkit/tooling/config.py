"""A `config=`, as it goes into a request."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from agentkit.errors import ConfigurationError
from agentkit.tooling.json_schema import JsonSchema, tidy
from agentkit.wire.content import JsonObject
from agentkit.wire.convert import copy_json, fields_of, item_to_wire

_REQUEST_LEVEL = frozenset(  # rule 24
    {
        "safetySettings", "cachedContent", "labels", "tools", "toolConfig", "serviceTier", "store",
        "continuationToken", "modelArmorConfig", "generationOutputConfig",
    }
)  # fmt: skip
_NOT_HERE = {
    "systemInstruction": "give Agent(instructions=...)",
    "automaticFunctionCalling": "agentkit runs the calls itself",
    "automaticContinuation": "agentkit makes each request itself",
    "shouldReturnHttpResponse": "agentkit reads the reply itself",
}


def config_in(config: Any) -> JsonObject:
    """Turn a `types.GenerateContentConfig`, or a dict of its fields in either casing, into request fields.

    A type as `response_schema`, such as a pydantic model class, becomes the `responseJsonSchema` of it.
    Names of fields aren't checked here: a Gemini model does so at its first request, when google-genai is loaded.

    Raises:
        ConfigurationError: A field has its place elsewhere, asks for more than one candidate, or would force
            a call in every turn.
    """
    try:
        return {} if config is None else _config_in(config)
    except RecursionError:
        raise ConfigurationError("config= is nested too deep to be written as JSON.") from None


def _config_in(config: Any) -> JsonObject:
    fields = fields_of(config)
    if not isinstance(fields, Mapping):
        raise ConfigurationError(
            f"config= is a dict or a types.GenerateContentConfig, not {type(config).__name__}."
        )
    request: JsonObject = {}
    generation: dict[str, Any] = {}
    for key, value in fields.items():
        if key in _NOT_HERE:
            raise ConfigurationError(f"config[{key!r}] has no effect here: {_NOT_HERE[key]}.")
        if key == "continuationToken" and isinstance(value, bytes):
            request[key] = base64.urlsafe_b64encode(value).decode("ascii")  # as the SDK does
        elif key == "httpOptions":
            request[key] = _http_in(value)
        elif key in _REQUEST_LEVEL:
            request[key] = item_to_wire(key, value)
        elif key == "generationConfig":
            said = fields_of(value)
            if not isinstance(said, Mapping):
                kind = type(value).__name__
                raise ConfigurationError(f"config[{key!r}] is a dict of its fields, not {kind}.")
            generation = {**said, **generation}
        else:
            generation[key] = value
    generation = _generation_in(generation)
    _check_shapes(request, generation)
    if any("functionDeclarations" in tool for tool in request.get("tools") or ()):
        raise ConfigurationError(
            "config['tools'] is for the server's own tools; functions go in Agent(tools=[...])."
        )
    if _calling_mode(request.get("toolConfig")) == "ANY":
        raise ConfigurationError(
            "config['toolConfig']: the mode ANY holds for every turn, so that no run would end in text (rule 9)."
            ' Give tool_choice="required" or a list of names: it forces the first turn only. A function of the context'
            " says it for each turn."
        )
    if generation:
        request["generationConfig"] = generation
    return request


_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-goog-api-key"})
_HTTP: dict[str, tuple[Callable[[Any], bool], str]] = {
    "timeout": (lambda value: type(value) is int and value > 0, "milliseconds, a whole number above 0"),
    "headers": (
        lambda value: (
            isinstance(value, dict) and all(type(each) is str for each in (*value, *value.values()))
        ),
        "a dict of texts",
    ),
    "extraBody": (lambda value: isinstance(value, dict), "a dict"),
    "apiVersion": (lambda value: bool(value) and type(value) is str, "a text"),
}
"""What `types.HttpOptions` can say of one request."""


def _http_in(options: Any) -> JsonObject:
    """Turn the HTTP options of a request into JSON: how it is sent, and none of its body."""
    fields = fields_of(options)
    if not isinstance(fields, Mapping):
        raise ConfigurationError("config['httpOptions'] is a dict or a types.HttpOptions.")
    made: JsonObject = {}
    for key, value in fields.items():
        if key not in _HTTP:
            instead = "Agent(retry=...)" if key == "retryOptions" else "GeminiModel(http_options=...)"
            raise ConfigurationError(
                f"config['httpOptions'][{key!r}] isn't set for one request: give {instead}."
            )
        fits, what = _HTTP[key]
        if not fits(value):
            raise ConfigurationError(f"config['httpOptions'][{key!r}] isn't valid: give {what}.")
        made[key] = (
            {name.lower(): each for name, each in value.items()} if key == "headers" else copy_json(value)
        )
    if secret := _CREDENTIALS & made.get("headers", {}).keys():
        raise ConfigurationError(
            f"config['httpOptions']: the header {min(secret)!r} would be stored with a run that stops: give"
            " GeminiModel(api_key=..., http_options=...)."
        )
    return made


def _check_shapes(request: JsonObject, generation: JsonObject) -> None:
    """Refuse what is looked into here, and by the traits, before google-genai sees it, and has another shape."""
    calling = request.get("toolConfig")
    found = {**generation, **request, **(calling if isinstance(calling, dict) else {})}
    for key in ("toolConfig", "thinkingConfig", "functionCallingConfig"):
        if not isinstance(value := found.get(key, {}), dict):
            kind = type(value).__name__
            raise ConfigurationError(f"config: {key} is an object, a dict of its fields, not {kind}.")
    tools = request.get("tools", [])
    if not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise ConfigurationError("config['tools'] is a list of tools, each a dict or a types.Tool.")


def _calling_mode(tool_config: Any) -> str | None:
    calling = tool_config.get("functionCallingConfig") if isinstance(tool_config, dict) else None
    return str(calling.get("mode")).upper() if isinstance(calling, dict) else None


def _generation_in(fields: Mapping[str, Any]) -> JsonObject:
    generation: JsonObject = {}
    for key, value in fields.items():
        if key in ("responseSchema", "responseJsonSchema") and _is_type(value):
            generation["responseJsonSchema"] = _schema_of(value)
        else:
            generation[key] = item_to_wire(key, value)
    if (generation.get("candidateCount") or 1) != 1:
        raise ConfigurationError("config['candidateCount']: a run follows one candidate; leave it out.")
    return generation


def _is_type(schema: Any) -> bool:
    return schema is not None and not isinstance(schema, (Mapping, BaseModel))


def _schema_of(kind: Any) -> JsonObject:
    try:
        return tidy(TypeAdapter(kind).json_schema(schema_generator=JsonSchema))
    except Exception as error:  # pydantic's, or that of a schema of the user's own
        raise ConfigurationError(
            f"config: {kind!r:.200} as a response schema: {str(error).partition(chr(10))[0]}"
            " Give a pydantic model class, a types.Schema or a JSON schema as response_json_schema."
        ) from error
