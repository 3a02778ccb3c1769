"""From the chunks of a stream to one reply, with nothing lost and no signed part touched (rule 3)."""

from __future__ import annotations

from typing import Any, Final, cast

from agentkit.errors import ModelError
from agentkit.wire.content import JsonObject, Part, Reply, is_json
from agentkit.wire.metadata import counted_on, merged, shifted
from agentkit.wire.partial_args import CallInPieces, is_piece

_PLAIN_TEXT: Final = frozenset({"text", "thought"})
_COUNTS: Final = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
)
"""What a `totalTokenCount` adds up."""


def misshapen(reply: Any) -> str | None:
    """Name what in a reply, or in a chunk of one, has not the shape that everything else relies on.

    Calls may have any: they are told to the model.
    """
    if not isinstance(reply, dict):
        return "it isn't an object"
    for name in ("usageMetadata", "promptFeedback"):
        if (said := reply.get(name)) and not isinstance(said, dict):
            return f"{name} isn't an object"
    candidates = reply.get("candidates") or []
    if not isinstance(candidates, list):
        return "candidates isn't a list"
    for candidate in candidates:
        content = candidate.get("content") or {} if isinstance(candidate, dict) else None
        parts = content.get("parts") or [] if isinstance(content, dict) else None
        if not isinstance(parts, list):
            return "a candidate has no list of parts"
        for part in parts:
            if not isinstance(part, dict):
                return "a part isn't an object"
            for key, value in part.items():
                if type(value) is str or key == "functionCall":
                    continue
                if key == "text" and value is not None:
                    return "a part's text isn't a string"
                if not is_json(value):
                    return "a part has something in it that JSON can't hold, or is nested too deep"
    return None


class ReplyAssembler:
    """Joins the chunks of a stream; a reply that came in one piece is a stream of one chunk."""

    def __init__(self) -> None:
        self._reply: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._grown: dict[int, list[Any]] = {}
        """The lists in that which belong to no chunk."""
        self._parts: list[Part] = []
        self._texts: list[str] = []
        """Of the last part, if that is plain text: it is joined when somebody asks for it."""
        self._call: CallInPieces | None = None
        self.length = 0
        """How many characters of text there are so far, thoughts left out."""

    def add(self, chunk: Reply, *, whole: bool = False) -> list[Part]:
        """Take a chunk, or a whole reply that goes on with those before it; return the parts that came with it.

        Raises:
            ModelError: It hasn't the shape of a reply.
        """
        wrong: object = misshapen(chunk)
        if wrong is None:
            try:
                return self._add(chunk, whole=whole)
            except (AttributeError, TypeError, ValueError, LookupError, RecursionError) as error:
                wrong = repr(error)
        raise ModelError(f"The model sent a reply of an odd shape: {wrong:.200}", retryable=True)

    def _add(self, chunk: Reply, *, whole: bool) -> list[Part]:
        for key, value in chunk.items():
            if value is None or key == "candidates":
                continue
            known = self._reply.get(key)
            if key == "usageMetadata":
                self._reply[key] = _counted(known or {}, cast(JsonObject, value))
            elif isinstance(value, dict) and isinstance(known, dict):
                self._reply[key] = {**known, **value}
            else:
                self._reply[key] = value
        candidates: Any = chunk.get("candidates")
        if not candidates:
            return []
        candidate = self._behind(candidates[0]) if whole else candidates[0]
        self._candidate = merged(self._candidate, candidate, self._grown)
        self._candidate.pop("content", None)
        parts: list[Part] = []
        for each in (candidate.get("content") or {}).get("parts") or ():
            if None in each.values():
                each = {key: value for key, value in each.items() if value is not None}
            if each:
                parts.append(each)
                self._join(each)
        return parts

    def _behind(self, candidate: Any) -> Any:
        """Return what goes on with the reply so far: what it says of its parts and sources, counted on from those."""
        first: Any = next(iter((candidate.get("content") or {}).get("parts") or ()), {})
        joined = "text" in first and _PLAIN_TEXT.issuperset(first) and self._is_joined(first)
        return counted_on(self._candidate, shifted(candidate, self.parts, joined=joined))

    def _is_joined(self, text: Part) -> bool:
        """Return whether a plain text becomes one with the last part."""
        return bool(self._texts) and bool(self._parts[-1].get("thought")) == bool(text.get("thought"))

    def _join(self, part: Part) -> None:
        if is_piece(part, self._call):
            self._call = self._call or CallInPieces()
            if self._call.add(part):
                self._end_call()
            return
        if self._call is not None:
            self._end_call()
        plain = "text" in part and _PLAIN_TEXT.issuperset(part)
        if plain and not part["text"]:
            return
        if "text" in part and not part.get("thought"):
            self.length += len(part["text"])
        if plain and self._texts and self._is_joined(part):
            self._texts.append(part["text"])
            return
        self.parts.append(part)
        self._texts = [part["text"]] if plain else []

    def _end_call(self) -> None:
        assert self._call is not None
        self.parts.append(self._call.part())
        self._texts, self._call = [], None

    @property
    def parts(self) -> list[Part]:
        """The parts so far, adjacent unsigned texts joined; a call whose arguments still come is none."""
        if len(self._texts) > 1:
            self._parts[-1] = cast(Part, {**self._parts[-1], "text": "".join(self._texts)})
            self._texts = [self._parts[-1]["text"]]
        return self._parts

    @property
    def text(self) -> str:
        """The text so far, thoughts left out."""
        return "".join(part.get("text") or "" for part in self.parts if not part.get("thought"))

    @property
    def finished(self) -> bool:
        """Whether its last chunk has come."""
        return bool(self._candidate.get("finishReason"))

    def reply(self) -> Reply:
        """Return all that came, as one reply."""
        if self._call is not None:
            self._end_call()
        self._grown = {}  # they are the reply's now
        reply = dict(self._reply)
        if self._candidate or self._parts:
            content = {"role": "model", "parts": self.parts}
            reply["candidates"] = [{**self._candidate, "content": content}]
        return cast(Reply, reply)


def _counted(before: JsonObject, now: JsonObject) -> JsonObject:
    """Return the usage that a stream has told by now: of each counter the last word.

    A total is the sum of the counters beside it: one that isn't told any more and doesn't fit in, is over.
    """
    usage, told, parts = dict(before), [], 0
    for key, value in now.items():
        if value is not None:
            usage[key] = value
    total = usage.get("totalTokenCount")
    for key in _COUNTS:
        if type(usage.get(key)) is int:
            told.append(key)
            parts += usage[key]
    if type(total) is not int or parts == total:
        return usage
    if "totalTokenCount" not in now:
        return {**usage, "totalTokenCount": parts} if any(key in now for key in _COUNTS) else usage
    if parts > total:
        usage = {key: value for key, value in usage.items() if key not in told or key in now}
    return usage
