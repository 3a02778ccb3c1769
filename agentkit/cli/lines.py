"""Quiet lines for what happens in a run beside its text."""

from __future__ import annotations

from typing import Any

from agentkit.chats.plain_text import clip, inert, one_line, result_text, seconds_text, value_text, written
from agentkit.events import (
    AgentEvent,
    Event,
    FileLost,
    MediaDelta,
    ModelChanged,
    ModelRetry,
    RequestDelayed,
    ServerToolFinished,
    ServerToolStarted,
    SourcesFound,
    ToolFinished,
    ToolProgress,
    ToolsLeftOut,
    ToolStarted,
    UploadProgress,
)


class CallLines:
    """Makes a line of an event, or none; calls inside of sub-agents are indented.

    Args:
        width: Columns that a line may take.
        full: Whether arguments and results are shown whole.
    """

    def __init__(self, width: int, *, full: bool = False) -> None:
        self.width = width
        self.full = full
        self.running: dict[tuple[str, ...], str] = {}
        """The calls under way, as code, by their id and those around them."""

    def line(self, event: Event, path: tuple[str, ...] = ()) -> str | None:
        """Return the line of an event, without control characters, or None."""
        indent = "  " * (len(path) + 1)
        match event:
            case AgentEvent():
                return self.line(event.event, event.call_ids)
            case ToolStarted() | ServerToolStarted():
                self.running[*path, event.call_id] = written(event.name, event.args)
                return None
            case ToolFinished():
                call = self.running.pop((*path, event.call_id), one_line(event.name))
                return self._finished(call, event, indent)
            case ServerToolFinished():
                call = self.running.pop((*path, event.call_id), one_line(event.name))
                return self._clip(f"{indent}{call}{self._came_of(event)}")
            case MediaDelta():
                blob = event.part.get("inlineData") or event.part.get("fileData") or {}
                kilobytes = f"{max(1, len(blob.get('data') or '') * 3 // 4096):,} kB"
                kind, size = blob.get("mimeType") or "a file", blob.get("fileUri") or kilobytes
                return self._clip(f"{indent}[{one_line(f'{kind}, {size}')}]")
            case UploadProgress(name=name, sent=sent, total=total, done=done):
                said = "uploaded" if done else f"{sent * 100 // max(total, 1)} %"
                return self._clip(f"{indent}{one_line(name)}: {said}")
            case FileLost():
                return self._clip(f"{indent}the file {one_line(event.name)} is no longer available")
            case SourcesFound() if event.sources:
                found = (one_line(f"{source.title} {source.uri}") for source in event.sources)
                return "\n".join(self._clip(f"{indent}Source: {each}") for each in found)
            case ToolProgress():
                said = event.message if isinstance(event.message, str) else value_text(event.message)
                return clip(f"{indent}{one_line(event.name)}: {one_line(said)}", self.width)
            case ModelRetry():
                return self._clip(
                    f"{indent}asking again in {seconds_text(event.delay)}: {one_line(event.reason)}"
                )
            case ToolsLeftOut():
                return self._clip(
                    f"{indent}tools of {one_line(event.source)} are left out: {one_line(event.reason)}"
                )
            case RequestDelayed():
                return f"{indent}waiting {seconds_text(event.seconds)} for the rate limit"
            case ModelChanged():
                return self._clip(f"{indent}{one_line(event.after)} stands in for {one_line(event.before)}")
        return None

    def _finished(self, call: str, event: ToolFinished, indent: str) -> str:
        if event.name == "write_todo" and (plan := _plan_of(event)):
            return "\n".join(self._clip(f"{indent}{one_line(step)}") for step in plan)
        response: Any = event.response["response"]
        if event.waits:
            return clip(f"{indent}{call} waits", self.width)
        sign = "!" if "error" in response else "="
        said, took = result_text(response), f"  ({seconds_text(event.seconds)})"
        if self.full:
            body = inert(said).replace("\n", f"\n{indent}    ")
            return f"{indent}{call}\n{indent}  {sign} {body}{took}"
        room = max(self.width - len(indent) - len(took), 16)
        call = clip(call, max(room * 3 // 5, room - len(said) - 3))
        return f"{indent}{clip(f'{call} {sign} {one_line(said)}', room)}{took}"

    def _came_of(self, event: ServerToolFinished) -> str:
        said = event.result.get("output")
        ended = "" if event.status in ("", "OUTCOME_OK") else f" ({one_line(event.status)})"
        return f" = {one_line(said)}{ended}" if isinstance(said, str) and said.strip() else ended

    def _clip(self, line: str) -> str:
        return line if self.full else clip(line, self.width)


def _plan_of(event: ToolFinished) -> list[str]:
    """Return the lines of the plan that the tool `todo` has written down; none of another tool of that name."""
    from agentkit_tools.todo import plan_of, show

    plan = plan_of(event.response)
    return show(plan).splitlines() if plan else []
