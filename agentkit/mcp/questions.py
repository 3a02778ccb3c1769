"""What a server asks a person in the midst of a call: it becomes calls that wait, in both eras of the protocol.

Up to 2025-11-25 the server asks by a request of its own and waits. Nobody can say for how long, so the question is
answered with `cancel`, the call's result is dropped, and the run stops; when the answer is there, the call is made
once more, and the same question gets it at once. From 2026-07-28 on the server's result says what it needs, with a
state that is sent back along with the answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from agentkit.errors import ToolDeferred, ToolError
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import Approve, Decision, Deny, Edit, PendingCall
from agentkit.wire.content import JsonObject

MAX_QUESTIONS = 20
"""That one call may ask at once."""


@dataclass(slots=True, eq=False)
class Asked:
    """What a call has asked, and what was answered: JSON, kept while the call waits."""

    questions: dict[str, JsonObject] = field(default_factory=dict)
    """Those without an answer, by their keys."""
    answers: dict[str, JsonObject] = field(default_factory=dict)
    """`{"action": "accept" | "decline", "content": {...}}`, by the same keys."""
    request_state: str | None = None
    """What the server wants back along with the answers, unread."""

    @classmethod
    def resumed(cls, context: Context[Any]) -> Asked:
        """Read what a call kept when it began to wait, with what was decided since."""
        kept = (context.resumed or {}).get("asked")
        if not isinstance(kept, dict):
            return cls()
        made = cls(dict(kept["questions"]), dict(kept["answers"]), kept["request_state"])
        for index, (key, question) in enumerate(kept["questions"].items()):
            decision = context.decisions.get(_id(context, index))
            answer = None if decision is None else _answer(decision, question)
            if answer is not None:
                made.answers[key] = answer
                del made.questions[key]
        return made

    def wait(self, context: Context[Any]) -> NoReturn:
        """Let the call wait for answers.

        Raises:
            ToolDeferred: Always.
            ToolError: It asks more than a person would answer.
        """
        if len(self.questions) > MAX_QUESTIONS:
            raise ToolError(f"The MCP server asks {len(self.questions)} questions at once.")
        kept = {"questions": self.questions, "answers": self.answers, "request_state": self.request_state}
        pending = [
            PendingCall(
                call_id=_id(context, index),
                name=context.tool_name,
                args=question,
                kind="deferred",
                why=question["question"],
            )
            for index, question in enumerate(self.questions.values())
        ]
        raise ToolDeferred(
            f"{context.tool_name} asks: {pending[0].why}", state={"asked": kept}, pending=pending
        )


def _id(context: Context[Any], index: int) -> str:
    return f"{context.call_id}?{index}"


def question_of(params: Any) -> JsonObject:
    """Return what is asked, as the arguments of a call that waits: a form with its schema, or an address to go to."""
    made: JsonObject = {"question": params.message[:4_000]}
    if params.mode == "url":
        return {**made, "url": params.url}
    return {**made, "schema": params.requested_schema}


def _answer(decision: Decision, question: JsonObject) -> JsonObject | None:
    """Return a decision as the protocol has it, with the defaults of a form's fields; None where it isn't an answer."""
    if isinstance(decision, Deny):
        return {"action": "decline"}
    if "url" in question:
        return {"action": "accept"}
    fields: JsonObject = question["schema"].get("properties") or {}
    value: Any = {}
    if not isinstance(decision, Approve):
        value = decision.args if isinstance(decision, Edit) else decision.value
    if not isinstance(value, Mapping) and len(fields) == 1:
        value = {next(iter(fields)): value}
    if not isinstance(value, Mapping):
        return None
    defaults = {key: field["default"] for key, field in fields.items() if "default" in field}
    return {"action": "accept", "content": {**defaults, **value}}


class Questions:
    """Finds out which call a server means when it asks, up to 2025-11-25, where the protocol doesn't say.

    It is the one that is under way. When there were several, the question is cancelled, and from then on the calls
    of this server are made one after another.
    """

    def __init__(self) -> None:
        self.in_calls = False
        """Whether the server asks in the midst of calls."""
        self._under_way: list[Asked] = []
        self._one_by_one = False
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def call(self, asked: Asked) -> AsyncGenerator[None, None]:
        """Make a call within the block, so that its questions are known as its own."""
        locked = self.in_calls and self._one_by_one
        if locked:
            await self._lock.acquire()
        self._under_way.append(asked)
        try:
            yield
        finally:
            self._under_way.remove(asked)
            if locked:
                self._lock.release()

    async def ask(self, context: Any, params: Any) -> Any:
        """Answer the server: with what was said of the question before, else with `cancel`."""
        from mcp.types import ElicitResult

        if len(self._under_way) != 1:
            self._one_by_one = True
            return ElicitResult(action="cancel")
        asked, question = self._under_way[0], question_of(params)
        key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]
        if key in asked.answers:
            return ElicitResult(**asked.answers[key])
        asked.questions[key] = question
        return ElicitResult(action="cancel")
