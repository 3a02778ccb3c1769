"""From the chunks of a stream to one reply, with nothing lost and no signed part touched (rule 3)."""

from __future__ import annotations

from typing import Any, cast

from agentkit.errors import ModelError
from agentkit.wire.content import Content, Part, Reply
from agentkit.wire.metadata import merged

_PLAIN_TEXT = frozenset({"text", "thought"})


class ReplyAssembler:
    """Joins the chunks of a stream; a reply that came in one piece is a stream of one chunk."""

    def __init__(self) -> None:
        self._reply: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._parts: list[Part] = []

    def add(self, chunk: Reply) -> list[Part]:
        """Take a chunk; return the parts that came with it.

        Raises:
            ModelError: It hasn't the shape of a reply.
        """
        try:
            return self._add(chunk)
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise ModelError(f"The model sent a reply of an odd shape: {error!r:.200}") from error

    def _add(self, chunk: Reply) -> list[Part]:
        for key, value in chunk.items():
            if value is None or key == "candidates":
                continue
            if key in ("promptFeedback", "usageMetadata") and not isinstance(value, dict):
                raise TypeError(f"{key} is no object")
            if isinstance(value, dict) and isinstance(self._reply.get(key), dict):
                self._reply[key] = {**self._reply[key], **value}
            else:
                self._reply[key] = value
        candidates = chunk.get("candidates") or []
        if not candidates:
            return []
        candidate = candidates[0]
        self._candidate = merged(self._candidate, {k: v for k, v in candidate.items() if k != "content"})
        content = candidate.get("content") or cast(Content, {})
        whole: Any = [
            {key: value for key, value in part.items() if value is not None}
            for part in content.get("parts") or ()
        ]
        parts: list[Part] = [part for part in whole if part]
        if any(not isinstance(part.get("text", ""), str) for part in parts):
            raise TypeError("a part's text is no text")
        for part in parts:
            self._join(part)
        return parts

    def _join(self, part: Part) -> None:
        plain = "text" in part and _PLAIN_TEXT.issuperset(part)
        if plain and not part["text"]:
            return
        last = self._parts[-1] if self._parts else None
        if (
            plain
            and last is not None
            and "text" in last
            and _PLAIN_TEXT.issuperset(last)
            and bool(last.get("thought")) == bool(part.get("thought"))
        ):
            self._parts[-1] = cast(Part, {**last, "text": last["text"] + part["text"]})
        else:
            self._parts.append(part)

    @property
    def parts(self) -> list[Part]:
        """The parts so far, adjacent unsigned texts joined."""
        return self._parts

    @property
    def text(self) -> str:
        """The text so far, thoughts left out."""
        return "".join(part.get("text") or "" for part in self._parts if not part.get("thought"))

    @property
    def finished(self) -> bool:
        """Whether its last chunk has come."""
        return bool(self._candidate.get("finishReason"))

    def reply(self) -> Reply:
        """Return all that came, as one reply."""
        reply = dict(self._reply)
        if self._candidate or self._parts:
            content = {"role": "model", "parts": self._parts}
            reply["candidates"] = [{**self._candidate, "content": content}]
        return cast(Reply, reply)
