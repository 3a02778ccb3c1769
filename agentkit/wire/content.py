"""Gemini's wire JSON: types for it, builders and readers.

The history is a list of these dicts, camelCase, just as the server sends and takes them. The TypedDicts
name what agentkit reads or writes; a dict may hold more (new kinds of parts), which is kept and sent back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Required, TypedDict, cast

Json = Any
"""A value as `json.loads` gives it."""
JsonObject = dict[str, Any]


class FunctionCall(TypedDict, total=False):
    """A call that the model asks for. `id` is there only if the server gave one."""

    id: str
    name: Required[str]
    args: JsonObject


class FunctionResponse(TypedDict, total=False):
    """The one response to a call. Of `response`, the keys `output` and `error` have a meaning."""

    id: str
    name: Required[str]
    response: Required[JsonObject]
    parts: list[JsonObject]


class Blob(TypedDict, total=False):
    """Bytes, as base64 text."""

    mimeType: Required[str]
    data: Required[str]
    displayName: str


class FileData(TypedDict, total=False):
    """A file that the server can fetch."""

    mimeType: str
    fileUri: Required[str]


class Part(TypedDict, total=False):
    """One part of a content: one of its data keys, and perhaps a signature that goes back with it."""

    text: str
    thought: bool
    thoughtSignature: str
    functionCall: FunctionCall
    functionResponse: FunctionResponse
    inlineData: Blob
    fileData: FileData


class Content(TypedDict):
    """A message. Function responses are in a content of the user."""

    role: Literal["user", "model"]
    parts: list[Part]


class UsageMetadata(TypedDict, total=False):
    """Token counts of one reply."""

    promptTokenCount: int
    cachedContentTokenCount: int
    candidatesTokenCount: int
    thoughtsTokenCount: int
    toolUsePromptTokenCount: int
    totalTokenCount: int
    agentkitEstimated: bool
    """Not the server's: the embedded model marks counts that it only estimates."""


class FunctionDeclaration(TypedDict, total=False):
    """A tool as the model sees it."""

    name: Required[str]
    description: str
    parametersJsonSchema: JsonObject
    parameters: JsonObject
    behavior: str
    response: JsonObject
    responseJsonSchema: JsonObject


class Request(TypedDict, total=False):
    """The body of a generateContent request."""

    contents: Required[Sequence[Content]]
    systemInstruction: Content
    tools: list[JsonObject]
    toolConfig: JsonObject
    generationConfig: JsonObject
    safetySettings: list[JsonObject]
    cachedContent: str
    continuationToken: str
    labels: dict[str, str]
    httpOptions: JsonObject
    """How it is sent (timeout, headers, extraBody, apiVersion): of these fields alone none of the body."""


class Candidate(TypedDict, total=False):
    """One of a reply's candidates; agentkit asks for one and reads the first."""

    content: Content
    continuationToken: str
    finishReason: str
    finishMessage: str
    index: int


class Reply(TypedDict, total=False):
    """The body of a reply, or of one chunk of a stream."""

    candidates: list[Candidate]
    promptFeedback: JsonObject
    usageMetadata: UsageMetadata
    modelVersion: str
    responseId: str


def user_content(*parts: str | Part) -> Content:
    """Make a content of the user; a str is a text part."""
    return {"role": "user", "parts": [{"text": p} if isinstance(p, str) else p for p in parts]}


def model_content(*parts: str | Part) -> Content:
    """Make a content of the model; a str is a text part."""
    return {"role": "model", "parts": [{"text": p} if isinstance(p, str) else p for p in parts]}


def call_part(name: str, args: Mapping[str, Json] | None = None, *, id: str | None = None) -> Part:
    """Make a part that calls a function."""
    call: FunctionCall = {"name": name, "args": dict(args or {})}
    if id is not None:
        call["id"] = id
    return {"functionCall": call}


def response_part(call: FunctionCall, response: JsonObject, parts: Sequence[JsonObject] = ()) -> Part:
    """Make the response to `call`: its name and, if it has one, its id are echoed (rules 1 and 6)."""
    answer: FunctionResponse = {"name": call["name"], "response": response}
    if call.get("id"):
        answer["id"] = call["id"]
    if parts:
        answer["parts"] = list(parts)
    return {"functionResponse": answer}


def calls_of(content: Content) -> list[FunctionCall]:
    """List the function calls of a content, in order."""
    return [part["functionCall"] for part in content["parts"] if "functionCall" in part]


def responses_of(content: Content) -> list[FunctionResponse]:
    """List the function responses of a content, in order."""
    return [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]


def text_of(content: Content) -> str:
    """Join the text of a content, thoughts left out."""
    return text_in(content["parts"])


def parts_of(reply: Reply) -> list[Part]:
    """Return the parts of a reply's first candidate."""
    candidates = reply.get("candidates")
    content = candidates[0].get("content") if candidates else None
    return (content.get("parts") if content else None) or []


def text_in(parts: Iterable[Part]) -> str:
    """Join the text of parts, thoughts left out."""
    return "".join([part.get("text") or "" for part in parts if not part.get("thought")])


def forced(base: JsonObject, names: Sequence[str] | None) -> JsonObject:
    """Let a request force a call: of one of these tools, or of any."""
    calling: JsonObject = {"mode": "ANY"}
    if names is not None:
        calling["allowedFunctionNames"] = list(names)
    return with_calling(base, calling)


def with_calling(base: JsonObject, calling: JsonObject) -> JsonObject:
    """Set the function calling config of a request."""
    return {**base, "toolConfig": {**base.get("toolConfig", {}), "functionCallingConfig": calling}}


def dumps(value: Json) -> bytes:
    """Encode as compact UTF-8 JSON, as every request body and stored row is; a lone surrogate becomes `?`.

    Raises:
        ValueError: There is a NaN or an infinity in it: JSON has none.
    """
    return _COMPACT.encode(value).encode("utf-8", "replace")


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


MAX_DEPTH: Final = 100
"""Levels of JSON in a part: more than anybody needs, and few enough to be copied, stored and archived."""


def is_json(value: Json, depth: int = MAX_DEPTH) -> bool:
    """Return whether JSON can hold a value, so many levels deep: no NaN, which Python's reader takes."""
    if not isinstance(value, (dict, list)):
        return not isinstance(value, float) or math.isfinite(value)
    if depth <= 0:
        return False
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list, float)) and not is_json(item, depth - 1):
            return False
    return True


class KeptContent(dict[str, Any]):
    """A content that the history owns: never changed once it is there, so its JSON is made once.

    It is a plain dict to everyone else. Outside the framework only copies are handed out.
    """

    __slots__ = ("_json", "stand_in")
    _json: bytes
    stand_in: tuple[int, Content | None]
    """What `memory.DropToolResults(over=)` sends in its place, if anything: `over`, and that, made once."""

    @property
    def json(self) -> bytes:
        """The content as JSON, encoded at the first use."""
        known: bytes | None = getattr(self, "_json", None)
        if known is None:
            known = self._json = dumps(self)
        return known

    def hand_over_json(self) -> bytes:
        """Return the content as JSON, for somebody else to keep: it is encoded anew where it is asked for again."""
        known: bytes | None = getattr(self, "_json", None)
        if known is None:
            return dumps(self)
        del self._json
        return known


def keep(content: Content) -> Content:
    """Hand a content over to a history: whoever calls this no longer changes it."""
    return cast(Content, content if isinstance(content, KeptContent) else KeptContent(content))


def content_json(content: Content) -> bytes:
    """Encode a content; one that a history keeps is encoded once in its life."""
    return content.json if isinstance(content, KeptContent) else dumps(content)


class EncodedList(list[JsonObject]):
    """A list that is never changed, with its JSON: the declarations of a request, say."""

    __slots__ = ("json",)

    def __init__(self, items: Iterable[JsonObject], json: bytes) -> None:
        super().__init__(items)
        self.json = json


class Joined:
    """The JSON of a history that grows at its end, or is cut there: each content is encoded and joined once."""

    def __init__(self) -> None:
        self._json = bytearray()
        self._upto = 0
        self._last: Content | None = None

    def json(self, contents: Sequence[Content]) -> bytes:
        """Join the JSON of contents; only what is new is looked at."""
        upto = self._upto
        if upto > len(contents) or (upto and contents[upto - 1] is not self._last):
            self._json, upto = bytearray(), 0
        for content in contents[upto:]:
            if self._json:
                self._json += b","
            self._json += content.hand_over_json() if isinstance(content, KeptContent) else dumps(content)
        if contents:
            self._upto, self._last = len(contents), contents[-1]
        return bytes(self._json)


class GrownContents(tuple[Content, ...]):
    """A whole history, as it is sent: it knows where its JSON is joined."""

    joined: Joined

    @classmethod
    def of(cls, contents: Iterable[Content], joined: Joined) -> GrownContents:
        """Take a history as it is now."""
        made = cls(contents)
        made.joined = joined
        return made


def encode_request(request: Request) -> bytes:
    """Encode a request's body, joining contents that were encoded when they were added."""
    contents = request["contents"]
    if isinstance(contents, GrownContents):
        joined = contents.joined.json(contents)
    else:
        joined = b",".join(map(content_json, contents))
    parts = [b'{"contents":[', joined, b"]"]
    for key, value in request.items():
        if key != "contents":
            encoded = value.json if isinstance(value, (EncodedList, KeptContent)) else dumps(value)
            parts += [b",", dumps(key), b":", encoded]
    parts.append(b"}")
    return b"".join(parts)


class ContentCopy(dict[str, Any]):
    """A content outside the framework, to be changed at will, that still has what is known about it."""

    __slots__ = ("endpoint", "metadata", "model")
    model: str | None
    endpoint: str | None
    metadata: JsonObject | None


def authored(
    content: Content, model: str | None, endpoint: str | None, metadata: JsonObject | None = None
) -> Content:
    """Note on a copy of a content which model made it, and what else is known of it, where there is something."""
    if model is None and metadata is None:
        return content
    copy = ContentCopy(content)
    copy.model, copy.endpoint, copy.metadata = model, endpoint, metadata
    return cast(Content, copy)


def author_of(content: object) -> tuple[str | None, str | None]:
    """Return the model and the endpoint that made a content which comes from outside, where they are known."""
    return (content.model, content.endpoint) if isinstance(content, ContentCopy) else (None, None)


def metadata_of(content: object) -> JsonObject | None:
    """Return what else is known of a content which comes from outside."""
    return content.metadata if isinstance(content, ContentCopy) else None


def copy_content(content: Content) -> Content:
    """Copy a content deeply, so that the copy may be changed."""
    return cast(Content, json.loads(content_json(content)))


def iter_declarations(request: Request) -> Iterator[FunctionDeclaration]:
    """Go through the function declarations of a request, in either casing."""
    for tool in request.get("tools") or ():
        yield from tool.get("functionDeclarations") or tool.get("function_declarations") or ()
