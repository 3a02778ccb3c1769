"""Gemini's wire form, from the server's side: requests read, a run told as a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentkit import Agent, ConfigurationError, Run
from agentkit.events import Event, MediaDelta, TextDelta, ThoughtDelta, ToolStarted
from agentkit.wire.content import JsonObject

_FINISH: Final = {"max_tokens": "MAX_TOKENS", "tokens": "MAX_TOKENS", "refused": "SAFETY"}
_REFUSED: Final = {
    "tools": "This model runs its own tools: it takes no function declarations or tools of a request.",
    "toolConfig": "This model runs its own tools: it takes no tool config.",
    "cachedContent": "This model has no cached contents.",
}
_CONFIG: Final = {
    "responseSchema": "This model takes no response schema: its answer is the agent's.",
    "responseJsonSchema": "This model takes no response schema: its answer is the agent's.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks."""

    contents: list[Any]
    instructions: str | None


def read_request(body: Mapping[str, Any]) -> Asked:
    """Read a request.

    Raises:
        ConfigurationError: It asks for what an agent can't give: it is said, never done in part.
    """
    for name, why in _REFUSED.items():
        if _get(body, name):
            raise ConfigurationError(why)
    config = _get(body, "generationConfig") or {}
    if not isinstance(config, dict):
        raise ConfigurationError("generationConfig must be an object.")
    for name, why in _CONFIG.items():
        if _get(config, name):
            raise ConfigurationError(why)
    if (_get(config, "responseMimeType") or "text/plain") != "text/plain":
        raise ConfigurationError("This model answers in plain text: it takes no other response MIME type.")
    if (_get(config, "candidateCount") or 1) != 1:
        raise ConfigurationError("This model gives one candidate.")
    contents = body.get("contents") or []
    contents = [contents] if isinstance(contents, dict) else contents
    if not isinstance(contents, list) or not contents or not all(isinstance(each, dict) for each in contents):
        raise ConfigurationError("contents is not specified")
    if any(_get(part, "fileData") for each in contents for part in _parts(each)):
        raise ConfigurationError("This model has no files: send media as inlineData.")
    return Asked(contents, _instructions(_get(body, "systemInstruction")))


def _instructions(content: Any) -> str | None:
    texts = [part.get("text") if isinstance(part, dict) else None for part in _parts(content)]
    if not all(isinstance(text, str) for text in texts) or not isinstance(content or {}, dict):
        raise ConfigurationError("systemInstruction must be a content whose parts are texts.")
    return "\n\n".join(filter(None, texts)).strip() or None


def _parts(content: Any) -> list[Any]:
    parts = (content.get("parts") if isinstance(content, dict) else None) or []
    return parts if isinstance(parts, list) else [parts]


def _get(body: Any, name: str) -> Any:
    """Get a field in camelCase or snake_case: clients send both."""
    snake = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)
    return body.get(name, body.get(snake)) if isinstance(body, dict) else None


def options_of(agent: Agent, asked: Asked) -> dict[str, Any]:
    """Give the options of the run: the client's instructions stand beside the agent's, never instead of them."""
    *before, _ = asked.contents
    options: dict[str, Any] = {"history": before} if before else {}
    if asked.instructions:
        own = agent.instructions
        if own is not None and not isinstance(own, str):
            raise ConfigurationError("This model has its own instructions and takes none.")
        options["instructions"] = f"{own}\n\n{asked.instructions}" if own else asked.instructions
    return options


def reply_of(run: Run[Any], name: str) -> JsonObject:
    """Tell what came of a run as a reply. It always has a text: clients ask again for an empty one."""
    finish = (run.finish_reason or "STOP") if run.stop is None else _FINISH.get(run.stop, "OTHER")
    stopped = f"The agent stopped: {run.stop}. {run.why}".strip() if run.stop else ""
    texts = [run.text, stopped if finish == "OTHER" or not run.text else ""]
    text = "\n\n".join(filter(None, texts)) or ("" if run.media else "The agent gave no text.")
    candidate: JsonObject = {
        "content": {"role": "model", "parts": [{"text": text}, *(each.to_wire() for each in run.media)]},
        "index": 0,
        "finishReason": finish,
    }
    if stopped:
        candidate["finishMessage"] = stopped
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(run),
        "modelVersion": name,
        "responseId": run.run_id,
    }


def _usage(run: Run[Any]) -> JsonObject:
    usage = run.usage
    counts = {"promptTokenCount": usage.prompt_tokens, "candidatesTokenCount": usage.candidates_tokens}
    more = {
        "cachedContentTokenCount": usage.cached_tokens,
        "thoughtsTokenCount": usage.thoughts_tokens,
        "toolUsePromptTokenCount": usage.tool_use_prompt_tokens,
    }
    known = {key: count for key, count in more.items() if count}
    return {**counts, **known, "totalTokenCount": usage.total_tokens}


class Chunks:
    """Makes a stream's chunks of a run's events. It has the text of all turns, with a blank line between."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spoken = self._gap = False

    def tell(self, event: Event) -> JsonObject | None:
        """Make the chunk of an event, if it is one for the client."""
        match event:
            case ToolStarted():
                self._gap = self._spoken
            case TextDelta(text):
                gap = "\n\n" if self._gap else ""
                self._gap, self._spoken = False, True
                return self._chunk({"text": gap + text})
            case MediaDelta(part):
                self._spoken = True
                return self._chunk({key: part[key] for key in ("inlineData", "fileData") if key in part})
            case ThoughtDelta(text):
                return self._chunk({"text": text, "thought": True})
        return None

    def last(self, run: Run[Any]) -> JsonObject:
        """Make the last chunk: usage and finish reason, and why the run stopped if it did."""
        reply = reply_of(run, self._name)
        if self._spoken:
            content = reply["candidates"][0]["content"]
            stopped = reply["candidates"][0].get("finishMessage", "")
            content["parts"] = [{"text": f"\n\n{stopped}" if stopped else ""}]
        return reply

    def _chunk(self, part: JsonObject) -> JsonObject:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        return {"candidates": [candidate], "modelVersion": self._name}
