"""A conversation or a run as plain text for people: what was asked, called, answered, used, and why it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from agentkit.chats.plain_text import clip, inert, one_line, result_text, seconds_text, written
from agentkit.core.beside import seconds_of
from agentkit.core.server_tools import ServerTools
from agentkit.events import ServerToolFinished, ServerToolStarted
from agentkit.limits import Usage
from agentkit.stores.message import Message
from agentkit.wire.content import calls_of, responses_of, text_of
from agentkit.wire.sources import sources_of

RESULT_LINES = 4
"""How many lines of a result are shown, unless all is asked for."""


def transcript(
    messages: Sequence[Message],
    *,
    usage: Usage | None = None,
    stop: str | None = None,
    why: str = "",
    width: int = 80,
    full: bool = False,
    times: bool = False,
) -> str:
    """Write messages down for people to read. Control characters in them are shown as escapes.

    Args:
        messages: Of a run or a session, in order.
        usage: What they used, for the last line.
        stop: Why there is no answer, if there is none: `Run.stop`.
        why: That in words.
        width: Columns that calls and results may take; what is said is not cut.
        full: Show arguments and results whole, however long they are.
        times: Show when each message was said, where that is known.
    """
    lines: list[str] = []
    limit = None if full else width
    for index, message in enumerate(messages):
        following = messages[index + 1] if index + 1 < len(messages) else None
        lines += _message(message, following, limit, times=times)
    if stop:
        lines += [one_line(f"Stopped without an answer: {stop}. {why}".strip()), ""]
    if usage is not None and usage.requests:
        lines.append(usage_text(usage))
    return "\n".join(lines).rstrip("\n")


def _message(message: Message, following: Message | None, width: int | None, *, times: bool) -> Iterator[str]:
    """Write one message, with an empty line behind it; responses stand with their calls, in the message before."""
    content = message.content
    said = inert(text_of(content)).strip("\n")
    media = [_media(part) for part in content["parts"] if "inlineData" in part or "fileData" in part]
    if content["role"] == "user" and (said or media):
        yield f"> {_when(message.created) if times else ''}You"
    if said:
        yield said
    yield from media
    yield from _calls(message, following, width)
    server = list(_server(message)) if content["role"] == "model" else []
    yield from (_clipped(line, width) for line in server)
    if said or media or server or calls_of(content):
        yield ""


def _calls(message: Message, following: Message | None, width: int | None) -> Iterator[str]:
    """Write the calls of a reply, each with what came of it and how long it took, or all did together."""
    calls = calls_of(message.content)
    responses: list[Any] = list(responses_of(following.content)) if calls and following is not None else []
    took = seconds_of(following)[: len(calls)] if responses and following is not None else []
    for call, response, seconds in zip_longest(calls, responses[: len(calls)], took):
        yield _clipped(f"  {written(call['name'], call.get('args', {}))}", width)
        if response is None:
            yield "    waits"
        else:
            yield from _response(response["response"], width)
        if seconds is not None and seconds >= 0.05:
            yield f"    ({seconds_text(seconds)})"
    if took:
        return
    if responses and following is not None and following.created is not None and message.created is not None:
        yield f"    ({seconds_text(max(0.0, following.created - message.created))})"


def _response(response: Any, width: int | None) -> Iterator[str]:
    """Write what came of a call, indented below it; a long result is cut."""
    mark = "!" if isinstance(response, dict) and "error" in response else "="
    lines = inert(result_text(response)).splitlines() or [""]
    shown = lines if width is None else lines[:RESULT_LINES]
    yield _clipped(f"    {mark} {shown[0]}", width)
    for line in shown[1:]:
        yield _clipped(f"      {line}", width)
    if len(lines) > len(shown):
        yield f"      … {len(lines) - len(shown)} more lines"


def _clipped(line: str, width: int | None) -> str:
    return line if width is None else clip(line, width)


def _media(part: Any) -> str:
    data = part.get("inlineData") or part.get("fileData") or {}
    return one_line(
        f"[{data.get('mimeType') or 'a file'}{' ' + data['fileUri'] if 'fileUri' in data else ''}]"
    )


def _server(message: Message) -> Iterator[str]:
    """Write what Gemini's own tools did for a reply, and what the reply rests on."""
    server, content = ServerTools(""), message.content
    told = [event for part in content["parts"] for event in server.part(part)]
    for event in (*told, *server.beside(message.metadata or {}), *server.end()):
        if isinstance(event, ServerToolStarted):
            yield f"  {written(event.name, event.args)}"
        elif isinstance(event, ServerToolFinished):
            ended = "" if event.status in ("", "OUTCOME_OK") else one_line(event.status)
            said = inert(str(event.result.get("output") or "")).splitlines()
            yield from (f"    = {line}" for line in [*said, ended] if line)
    for source in sources_of([(content, message.metadata)], text_of(content)):
        yield "  " + one_line(f"Source: {source.title} {source.uri}")


def _when(created: float | None) -> str:
    if created is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(created):%Y-%m-%d %H:%M} "
    except (OSError, OverflowError, ValueError):
        return ""


def usage_text(usage: Usage) -> str:
    """Write what was used: requests, tokens and, where it is known, the cost in US dollars."""
    about = "about " if usage.estimated else ""
    requests = f"{usage.requests} request{'s' if usage.requests != 1 else ''}"
    out = usage.candidates_tokens + usage.thoughts_tokens
    cached = f", {usage.cached_tokens:,} of them cached" if usage.cached_tokens else ""
    line = (
        f"{requests}, {about}{usage.total_tokens:,} tokens ({usage.prompt_tokens:,} in{cached}, {out:,} out)"
    )
    cost = usage.cost()
    saved = usage.saved()
    caches = f", ${saved:.4f} saved by caches" if saved >= 0.0001 else ""
    return line if cost is None else f"{line}, ${cost:.4f}{caches}"
