"""The rules of GEMINI.md, written down anew as an oracle for tests: nothing of agentkit is imported."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

import jsonschema

Json = dict[str, Any]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_TOP = {
    "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings",
    "cachedContent", "labels", "model", "store", "serviceTier", "continuationToken", "modelArmorConfig",
}  # fmt: skip
_DATA = {
    "text", "functionCall", "functionResponse", "inlineData", "fileData", "executableCode",
    "codeExecutionResult", "toolCall", "toolResponse",
}  # fmt: skip
_PART = _DATA | {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}
_SKIP = "skip_thought_signature_validator"  # stands for a signature on a call that another model made
_CALLERS_TOOLS = {"functionDeclarations", "computerUse"}
_UNSIGNED = re.compile(r"gemini-[12]\b")
_ANY = "any model"
_IN_RESPONSES = {"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"}


class Refused(Exception):
    """A request breaks a rule."""


class Rules:
    """What a request must keep to, and what the server gave out that must come back."""

    def __init__(self) -> None:
        self._signed: dict[str, tuple[Json, str]] = {}  # signature -> its part, and the model that gave it
        # model -> text and calls of a turn -> its signatures
        self._turns: dict[str, dict[str, set[tuple[str, ...]]]] = {}
        self._ids: set[str] = set()
        self._without_id: list[Json] = []

    def issue(self, parts: Sequence[Json], model: str = _ANY) -> None:
        """Note the parts of a turn as given out by a model of this server."""
        model = _name(model)
        for part in parts:
            if "thoughtSignature" in part:
                self._signed[part["thoughtSignature"]] = part, model
            called = part.get("functionCall")
            if called and called.get("id"):
                self._ids.add(called["id"])
            elif called:
                self._without_id.append(called)
        turns = self._turns.setdefault(model, {})
        turns.setdefault(_turn_key(parts), set()).add(_signatures(parts))

    def check(self, body: Json, model: str) -> None:
        """Refuse a request that breaks a rule."""
        body = _camel(body)
        unknown = body.keys() - _TOP
        need(
            not unknown, f"Invalid JSON payload received. Unknown name {sorted(unknown)}: Cannot find field."
        )
        need(isinstance(body.get("contents"), list) and body["contents"], "contents are required")
        contents = [self._content(content, _name(model)) for content in body["contents"]]
        need(contents[0]["role"] == "user", "rule 4: history starts with a user content")
        self._stand_ins(contents, _name(model))
        answered: list[Json] = []  # the calls that the content at hand must answer
        for content in contents:
            if content["role"] == "user":
                self._answers(content, answered, _name(model))
                answered = []
            answered += [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        need(not answered, "rule 2: the last calls have no responses")
        self._tools(body, model)

    def _stand_ins(self, contents: Sequence[Json], model: str) -> None:
        """Demand a stand-in for the signature of each step of the current turn that another model made.

        It is on the first call and nowhere else; models before Gemini 3 demand none, and know none. Of a step
        that nobody here made, the caller may know that it needs none.
        """
        starts = [index for index, content in enumerate(contents) if _starts_turn(content)]
        for index, content in enumerate(contents):
            called = [part for part in content["parts"] if "functionCall" in part]
            skips = [part for part in content["parts"] if part.get("thoughtSignature") == _SKIP]
            current = bool(called and starts and index > starts[-1]) and not _UNSIGNED.match(model)
            if not current or self._issued(content["parts"], model) is not None:
                need(not skips, "rule 3: a stand-in for a signature where none is demanded")
            elif skips or any(self._issued(content["parts"], other) for other in self._turns):
                need(skips == called[:1], "rule 3: Function call is missing a thought_signature.")

    def _issued(self, parts: Sequence[Json], model: str) -> set[tuple[str, ...]] | None:
        """Find the signatures with which this model gave out a turn; None if it didn't."""
        found = [self._turns.get(name, {}).get(_turn_key(parts)) for name in (model, _ANY)]
        known = [each for each in found if each is not None]
        return set().union(*known) if known else None

    def _content(self, content: Json, model: str) -> Json:
        content = _camel(content)
        need(content.keys() <= {"role", "parts"}, f"Unknown name in a content: {sorted(content)}")
        role = content.setdefault("role", "user")
        need(role in ("user", "model"), f"Please use a valid role: user, model. Not {role!r}.")
        need(isinstance(content.get("parts"), list) and content["parts"], "contents.parts must not be empty")
        content["parts"] = parts = [_camel(part) for part in content["parts"]]
        for part in parts:
            need(part.keys() <= _PART, f"Unknown name in a part: {sorted(part.keys() - _PART)}")
            alone = part.keys() == {"videoMetadata"}  # stands behind the video, as the recordings have it
            need(alone or len(part.keys() & _DATA) == 1, f"a part has one data field: {sorted(part)}")
            wrong = "functionResponse" if role == "model" else "functionCall"
            need(wrong not in part, f"rule 4: {wrong} in a content of role {role}")
            signature = part.get("thoughtSignature")
            if signature is not None and signature != _SKIP:
                need(signature in self._signed, "rule 3: Corrupted thought signature.")
                signed, by = self._signed[signature]
                need(by in (model, _ANY), f"rule 3: Corrupted thought signature: it is one of {by}.")
                need(part == signed, "rule 3: a thought signature is in another part")
            called = part.get("functionCall")
            if called is not None:
                self._call(called)
        issued = self._issued(parts, model)
        if role == "model" and issued is not None:
            need(
                _signatures(parts) in issued, "rule 3: a thought signature is missing or parts changed order"
            )
        return content

    def _call(self, called: Json) -> None:
        need(called.keys() <= {"id", "name", "args"}, f"Unknown name in functionCall: {sorted(called)}")
        need(isinstance(called.get("args", {}), dict), "functionCall.args is an object")
        if called.get("id") and called["id"] not in self._ids:
            bare = {key: value for key, value in called.items() if key != "id"}
            need(bare not in self._without_id, f"rule 1: the id {called['id']!r} is invented")

    def _answers(self, content: Json, asked: Sequence[Json], model: str) -> None:
        given = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        need(
            len(given) == len(asked),
            "rule 2: the number of function response parts must equal the number of function call parts of "
            f"the function call turn ({len(given)} to {len(asked)})",
        )
        for response, called in zip(given, asked, strict=True):
            allowed = {"id", "name", "response", "parts", "willContinue", "scheduling"}
            need(response.keys() <= allowed, f"Unknown name in functionResponse: {sorted(response)}")
            need(response.get("name") == called["name"], "rule 2: names or order of the responses differ")
            need(response.get("id") == called.get("id"), "rule 1: a response doesn't echo its call's id")
            need(isinstance(response.get("response"), dict), "rule 6: functionResponse.response is an object")
            need(
                '"$ref"' not in json.dumps(response["response"]).replace('\\"', ""),
                "rule 11: a $ref in a response",
            )
            for media in response.get("parts", ()):
                kind = (media.get("inlineData") or media.get("fileData") or {}).get("mimeType")
                taken = kind in _IN_RESPONSES and not _UNSIGNED.match(model)
                need(taken, f"rule 10: {model} takes no {kind} in a functionResponse")

    def _tools(self, body: Json, model: str) -> None:
        tools = [_camel(tool) for tool in body.get("tools") or []]
        declared = [_camel(d) for tool in tools for d in tool.get("functionDeclarations") or []]
        names = [declaration.get("name") for declaration in declared]
        need(len(names) <= 512, "rule 7: at most 512 function declarations")
        for declaration, name in zip(declared, names, strict=True):
            need(isinstance(name, str) and _NAME.fullmatch(name), f"rule 7: Invalid function name: {name!r}")
            need(names.count(name) == 1, f"rule 7: Duplicate function declaration found: {name}")
            fields = {"name", "description", "behavior", "response", "responseJsonSchema"}
            fields |= {"parameters", "parametersJsonSchema"}
            need(declaration.keys() <= fields, f"Unknown name in a declaration: {sorted(declaration)}")
            need(
                not {"parameters", "parametersJsonSchema"} <= declaration.keys(),
                "rule 7: parameters and parametersJsonSchema exclude one another",
            )
            wrong = _problem_of(json.dumps(declaration.get("parametersJsonSchema", {})))
            need(wrong is None, f"rule 7: {name}: {wrong}")
        config = _camel(body.get("toolConfig") or {})
        if declared and any(tool.keys() - _CALLERS_TOOLS for tool in tools):
            flag = config.get("includeServerSideToolInvocations")
            need(flag is True, "rule 5: includeServerSideToolInvocations must be true")
        calling = _camel(config.get("functionCallingConfig") or {})
        mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
        need(mode in ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"), f"unknown mode {mode!r}")
        need(not allowed or mode in ("ANY", "VALIDATED"), "allowedFunctionNames need the mode ANY")
        need(mode != "ANY" or declared, "the mode ANY needs function declarations")
        need(set(allowed) <= set(names), f"allowedFunctionNames are not declared: {allowed}")
        formatted = _camel(body.get("generationConfig") or {}).get("responseMimeType") == "application/json"
        need(not (formatted and tools and "gemini-2" in model), "rule 8: JSON replies exclude tools here")


@functools.cache
def _problem_of(schema: str) -> str | None:
    """Say what is wrong with a schema; most requests repeat those of others, and looking takes milliseconds."""
    try:
        jsonschema.Draft202012Validator.check_schema(json.loads(schema))
    except jsonschema.SchemaError as error:
        return error.message
    return None


def _name(model: str) -> str:
    return model.rpartition("/")[2]


def _starts_turn(content: Json) -> bool:
    return content["role"] == "user" and not any("functionResponse" in part for part in content["parts"])


def need(condition: object, message: str) -> None:
    if not condition:
        raise Refused(message)


def _camel(value: Any) -> Json:
    """Read an object's own keys in camelCase: the server takes snake_case too."""
    need(isinstance(value, dict), f"an object was expected, not {value!r}")
    return {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): item for key, item in value.items()}


def _signatures(parts: Sequence[Json]) -> tuple[str, ...]:
    return tuple(part["thoughtSignature"] for part in parts if "thoughtSignature" in part)


def _turn_key(parts: Sequence[Json]) -> str:
    said = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    called = [part["functionCall"] for part in parts if "functionCall" in part]
    return json.dumps([said, called], sort_keys=True)
