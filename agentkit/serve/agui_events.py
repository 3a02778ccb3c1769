"""Events of a run in the words of AG-UI 1.0: what one opens, it closes, and no id is told twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ag_ui.core import (
    AssistantMessage,
    BaseEvent,
    CustomEvent,
    MessagesSnapshotEvent,
    ReasoningEndEvent,
    ReasoningMessageContentEvent,
    ReasoningMessageEndEvent,
    ReasoningMessageStartEvent,
    ReasoningStartEvent,
    SubagentFinishedEvent,
    SubagentStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    TokenUsage,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
    ToolMessage,
)

from agentkit import Usage
from agentkit.events import (
    AgentEvent,
    Event,
    MediaDelta,
    ModelRetry,
    ServerToolFinished,
    ServerToolStarted,
    SourcesFound,
    TextDelta,
    ThoughtDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    to_wire,
)
from agentkit.serve.rows import Scope


class Mapper:
    """Makes AG-UI's events of a run's.

    Args:
        run_id: The client's id of the run; what is told has ids that begin with it.
        known: Calls that the client was told of in an earlier run.
        before: The messages that the client has already: for snapshots, which take a text back.
    """

    def __init__(self, run_id: str, known: Iterable[str] = (), before: Sequence[Any] = ()) -> None:
        self._run_id = run_id
        self._told = set(known)
        self._messages = list(before)
        self._open: dict[Scope, tuple[str, str]] = {}  # the kind and the id of the text under way
        self._parents: dict[Scope, str] = {}  # the message of this turn, on which its calls hang
        self._subagents: dict[Scope, str] = {}
        self._count = 0

    def tell(self, event: Event, scope: Scope = ()) -> list[BaseEvent]:
        """Give the events that tell one of ours."""
        sub = self._subagents.get(scope)
        match event:
            case TextDelta(text):
                return self._delta(scope, "text", text)
            case ThoughtDelta(text):
                return self._delta(scope, "thought", text)
            case ToolStarted(call_id, name, args):
                return self.call(call_id, name, args, scope)
            case ToolProgress(call_id, _, _):
                message = to_wire(event)["message"]
                value = {"toolCallId": call_id, "message": message}
                return [CustomEvent(name="agentkit.progress", value=value, subagent_run_id=sub)]
            case ToolFinished():
                return self._finished(event, scope)
            case AgentEvent(path, call_ids, inner):
                return [*self._begin_subagents(path, call_ids), *self.tell(inner, call_ids)]
            case ModelRetry():
                return self._retry(event, scope)
            case ServerToolStarted() | ServerToolFinished() | MediaDelta() | SourcesFound():
                told = to_wire(event)
                return [CustomEvent(name=f"agentkit.{told['type']}", value=told, subagent_run_id=sub)]
            case TurnFinished():
                return self._close(scope)
        return []

    def call(self, call_id: str, name: str, args: Any, scope: Scope = ()) -> list[BaseEvent]:
        """Tell a call, unless the client knows it: twice told, its arguments would be there twice."""
        if call_id in self._told:
            return []
        self._told.add(call_id)
        sub, text = self._subagents.get(scope), json.dumps(args)
        out, parent = self._close(scope), self._parent(scope)
        if not scope:
            message = self._assistant(parent)
            call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}
            self._put(message.model_copy(update={"tool_calls": [*(message.tool_calls or []), call]}))
        return [
            *out,
            ToolCallStartEvent(
                tool_call_id=call_id, tool_call_name=name, parent_message_id=parent, subagent_run_id=sub
            ),
            ToolCallArgsEvent(tool_call_id=call_id, delta=text, subagent_run_id=sub),
            ToolCallEndEvent(tool_call_id=call_id, subagent_run_id=sub),
        ]

    def end(self) -> list[BaseEvent]:
        """Close what is open: a run that finishes with anything open is an error to the client."""
        out = [event for scope in list(self._open) for event in self._close(scope)]
        for call_id in {scope[0] for scope in self._subagents}:
            out += self._end_subagents(call_id, waits=False)
        return out

    def _finished(self, event: ToolFinished, scope: Scope) -> list[BaseEvent]:
        self._parents.pop(scope, None)  # what the model says next is another message
        out = self._end_subagents(event.call_id, waits=event.waits)
        if event.waits:
            return out  # its result comes later
        result_id, content = f"{event.call_id}:result", json.dumps(event.response["response"])
        if not scope:
            self._put(ToolMessage(id=result_id, role="tool", tool_call_id=event.call_id, content=content))
        made = ToolCallResultEvent(
            message_id=result_id,
            tool_call_id=event.call_id,
            content=content,
            role="tool",
            subagent_run_id=self._subagents.get(scope),
            metadata={"seconds": round(event.seconds, 3), "failed": "error" in event.response["response"]},
        )
        return [*out, made]

    def _retry(self, event: ModelRetry, scope: Scope) -> list[BaseEvent]:
        out = self._close(scope)
        if (
            event.discarded
        ):  # the turn's text, whose end may have been told; only a snapshot without it takes it back
            message_id = self._parents.pop(scope, None)
            left = [each for each in self._messages if each.id != message_id]
            if not scope and len(left) < len(self._messages):
                self._messages = left
                out.append(MessagesSnapshotEvent(messages=left))
        value = {"attempt": event.attempt, "delay": event.delay, "reason": event.reason}
        note = CustomEvent(name="agentkit.retry", value=value, subagent_run_id=self._subagents.get(scope))
        return [*out, note]

    def _delta(self, scope: Scope, kind: str, text: str) -> list[BaseEvent]:
        if not text:
            return []
        sub, out = self._subagents.get(scope), []
        if self._open.get(scope, ("", ""))[0] != kind:
            out = self._close(scope)
            message_id = self._parent(scope) if kind == "text" else self._new_id()
            self._open[scope] = (kind, message_id)
            if kind == "text":
                out.append(
                    TextMessageStartEvent(message_id=message_id, role="assistant", subagent_run_id=sub)
                )
            else:
                out.append(ReasoningStartEvent(message_id=message_id, subagent_run_id=sub))
                out.append(
                    ReasoningMessageStartEvent(message_id=message_id, role="reasoning", subagent_run_id=sub)
                )
        message_id = self._open[scope][1]
        if kind == "thought":
            return [
                *out,
                ReasoningMessageContentEvent(message_id=message_id, delta=text, subagent_run_id=sub),
            ]
        if not scope:
            message = self._assistant(message_id)
            self._put(message.model_copy(update={"content": (message.content or "") + text}))
        return [*out, TextMessageContentEvent(message_id=message_id, delta=text, subagent_run_id=sub)]

    def _close(self, scope: Scope) -> list[BaseEvent]:
        kind, message_id = self._open.pop(scope, ("", ""))
        sub = self._subagents.get(scope)
        if kind == "text":
            return [TextMessageEndEvent(message_id=message_id, subagent_run_id=sub)]
        if kind == "thought":
            return [
                ReasoningMessageEndEvent(message_id=message_id, subagent_run_id=sub),
                ReasoningEndEvent(message_id=message_id, subagent_run_id=sub),
            ]
        return []

    def _begin_subagents(self, names: tuple[str, ...], scope: Scope) -> list[BaseEvent]:
        out: list[BaseEvent] = []
        for depth, (name, call_id) in enumerate(zip(names, scope, strict=True), start=1):
            inside, around = scope[:depth], scope[: depth - 1]
            if inside in self._subagents:
                continue
            self._subagents[inside] = self._new_id()
            started = SubagentStartedEvent(
                subagent_run_id=self._subagents[inside],
                name=name,
                parent_subagent_run_id=self._subagents.get(around),
                parent_tool_call_id=call_id,
            )
            out.append(started)
        return out

    def _end_subagents(self, call_id: str, *, waits: bool) -> list[BaseEvent]:
        out: list[BaseEvent] = []
        for scope in sorted((s for s in self._subagents if call_id in s), key=len, reverse=True):
            out += self._close(scope)
            outcome: Any = {"type": "suspended" if waits else "success"}
            out.append(SubagentFinishedEvent(subagent_run_id=self._subagents.pop(scope), outcome=outcome))
            self._parents.pop(scope, None)
        return out

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._run_id}:{self._count}"

    def _parent(self, scope: Scope) -> str:
        if scope not in self._parents:
            self._parents[scope] = self._new_id()
        return self._parents[scope]

    def _assistant(self, message_id: str) -> AssistantMessage:
        found = next((each for each in self._messages if each.id == message_id), None)
        return found or AssistantMessage(id=message_id, role="assistant")

    def _put(self, message: Any) -> None:
        for index, each in enumerate(self._messages):
            if each.id == message.id:
                self._messages[index] = message
                return
        self._messages.append(message)


def token_usages(usage: Usage) -> list[TokenUsage]:
    """Give a usage by model; tokens sent include the cached ones, tokens out the thoughts."""
    return [
        TokenUsage(
            provider="google",
            model=used.model,
            input_tokens=used.input_tokens + used.cached_tokens,
            cached_input_tokens=used.cached_tokens,
            output_tokens=used.output_tokens,
            total_tokens=used.tokens,
        )
        for used in usage.by_model
    ]
