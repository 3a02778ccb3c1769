"""The config of a request as google-genai sends it: checked against its fields, short forms written out.

Importing this module imports google.genai.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google import genai
from google.genai import types
from pydantic import BaseModel, ValidationError

from agentkit.errors import ConfigurationError
from agentkit.gemini.protocol import CALLING, SHOWN
from agentkit.wire.content import JsonObject, Request
from agentkit.wire.convert import camel

_AS_IT_IS = ("contents", "systemInstruction", "continuationToken")
_NOT_CONFIG = frozenset({*_AS_IT_IS, "tools", "toolConfig", "generationConfig", "httpOptions"})
_FUNCTIONS = frozenset({"functionDeclarations", "function_declarations"})


def config_of(request: Request) -> JsonObject:
    """Return what the user's config says in a request, as fields of a `types.GenerateContentConfig`.

    Functions aren't among them, nor what agentkit sets beside them.
    """
    fields: JsonObject = {key: value for key, value in request.items() if key not in _NOT_CONFIG}
    fields |= request.get("generationConfig") or {}
    if servers := [tool for tool in request.get("tools") or () if _FUNCTIONS.isdisjoint(tool)]:
        fields["tools"] = servers
    if settings := {key: value for key, value in _tool_config(request) if key not in CALLING | SHOWN}:
        fields["toolConfig"] = settings
    return fields


def beside_config(request: Request) -> JsonObject:
    """Return what is in a request beside its config."""
    rest: JsonObject = {key: value for key, value in request.items() if key in _AS_IT_IS}
    tools = request.get("tools") or ()
    if any(not _FUNCTIONS.isdisjoint(tool) for tool in tools):
        rest["tools"] = tools  # the server's own too: the whole list takes the place of another
    if ours := {key: value for key, value in _tool_config(request) if key in CALLING | SHOWN}:
        rest["toolConfig"] = ours
    return rest


def _tool_config(request: Request) -> typing.ItemsView[str, Any]:
    return (request.get("toolConfig") or {}).items()


def with_config(request: Request, sent: Mapping[str, Any]) -> Request:
    """Return a request with the fields that the SDK made of its config."""
    rest = beside_config(request)
    made = {**rest, **{key: value for key, value in sent.items() if value or key != "generationConfig"}}
    if "tools" in rest:
        declared = [tool for tool in rest["tools"] if not _FUNCTIONS.isdisjoint(tool)]
        tools = [*declared, *sent.get("tools", ())]
        made["tools"] = rest["tools"] if tools == rest["tools"] else tools  # that one has its JSON
    if "toolConfig" in rest:
        made["toolConfig"] = {**rest["toolConfig"], **sent.get("toolConfig", {})}
    return typing.cast(Request, made)


def merged(request: Request, more: JsonObject) -> Request:
    """Put more fields into a request, as the SDK puts in `extra_body`: objects are joined, all else replaced."""
    if not more:
        return request
    made: Any = {**request}
    names = {camel(name): name for name in made}
    for key, value in more.items():
        name = names.get(camel(key), key)
        both = isinstance(value, dict) and isinstance(made.get(name), dict)
        made[name] = merged(made[name], value) if both else value
    return typing.cast(Request, made)


def secrets_in(fields: JsonObject) -> Iterator[Mapping[str, str]]:
    """Go through what may be a secret in a config: the headers that Gemini sends to a user's servers."""
    for tool in fields.get("tools", ()):
        servers = tool.get("mcpServers")
        for server in servers if isinstance(servers, list) else ():
            transport = server.get("streamableHttpTransport") if isinstance(server, dict) else None
            if isinstance(transport, dict) and isinstance(headers := transport.get("headers"), dict):
                yield {name: value for name, value in headers.items() if isinstance(value, str)}


def checked(fields: JsonObject) -> types.GenerateContentConfig:
    """Make a config of fields.

    Raises:
        ConfigurationError: The installed google-genai has no such field, or it takes no such value.
    """
    try:
        return types.GenerateContentConfig.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
    except (AttributeError, TypeError) as error:  # the SDK's enums read what isn't text
        if len(fields) > 1:
            for key, value in fields.items():
                checked({key: value})
        names = "".join(f"[{_snake(key)!r}]" for key in fields)
        raise ConfigurationError(f"config{names} is not valid: {error}.") from None
    # Of a field for which several types are tried, the first one that isn't there says most.
    first = next((each for each in wrong if each["type"] == "extra_forbidden"), wrong[0])
    place = [_snake(step) for step in first["loc"] if isinstance(step, str)]
    where = "".join(f"[{step!r}]" for step in place)
    if first["type"] != "extra_forbidden":
        raise ConfigurationError(f"config{where} is not valid: {first['msg']}.")
    near = difflib.get_close_matches(place[-1], _fields_at(place[:-1]), n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    raise ConfigurationError(
        f"config{where}: there is no such field{hint} One that the installed google-genai {genai.__version__} doesn't"
        " know yet goes in GeminiModel(http_options={'extra_body': ...})."
    )


def _fields_at(place: Sequence[str]) -> list[str]:
    """List the names of the fields that there are at a place in a config."""
    kinds: list[type[BaseModel]] = [types.GenerateContentConfig]
    for step in place:
        found: list[Any] = [kind.model_fields[step].annotation for kind in kinds if step in kind.model_fields]
        found = [types.Tool] if step == "tools" else found  # of which the SDK's annotation says nothing
        kinds = [kind for annotation in found for kind in _models_in(annotation)] or kinds
    return sorted({name for kind in kinds for name in kind.model_fields})


def _models_in(annotation: Any) -> typing.Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda match: "_" + match[0].lower(), name)
