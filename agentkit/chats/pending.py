"""The calls of a chat that wait for somebody: which there are, and what a decision about one becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from agentkit.core.approvals import is_unknown, why_unknown
from agentkit.errors import ConfigurationError
from agentkit.stores.base import FinishCall, SaveResult, StartCalls, Step, StoredCall
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import PendingCall
from agentkit.tooling.invoke import Invocation, succeed
from agentkit.wire.content import Content, JsonObject, calls_of


def pending_in(content: Content, ledger: Sequence[StoredCall]) -> list[PendingCall]:
    """List the calls of a model's content that wait: for a decision, for their results, or to be resolved.

    Those that only wait for others in front of them are left out.
    """
    calls = calls_of(content)
    asked = [e for e in ledger if e.started or e.why is not None or e.deferred is not None]
    found = [call for entry in asked for call in _pending(entry, calls[entry.index].get("args") or {})]
    if found:
        return found
    return [call for entry in ledger for call in _pending(entry, calls[entry.index].get("args") or {})]


def _pending(entry: StoredCall, args: JsonObject) -> list[PendingCall]:
    if entry.response is not None:
        return []
    if entry.args is not None:
        args = entry.args
    if entry.deferred is not None and not is_unknown(entry):
        nested = [PendingCall.from_wire(call) for call in entry.deferred["pending"]]
        why, args = entry.deferred["why"], entry.deferred.get("args") or args
        own = PendingCall(call_id=entry.call_id, name=entry.name, args=args, kind="deferred", why=why)
        return nested or [own]
    if entry.started and entry.effect == "read":
        return []
    kind: Literal["approval", "unknown_effect"] = "unknown_effect" if entry.started else "approval"
    why = why_unknown(entry) if entry.started else entry.why or ""
    return [PendingCall(call_id=entry.call_id, name=entry.name, args=args, kind=kind, why=why)]


def resolve(
    content: Content | None, ledger: Sequence[StoredCall], call_id: str, result: Any, *, retry: bool
) -> list[Step]:
    """Make the steps that say what became of a call that nobody knows of: its result, or that it may run again.

    Raises:
        ConfigurationError: There is no such call, or the result can't be taken.
    """
    unknown = {call.call_id: call for call in ledger if call.started and call.response is None}
    entry = unknown.get(call_id)
    if entry is None or content is None:
        raise ConfigurationError(f"No open call has the id {call_id!r}; open are {list(unknown)}.")
    if retry:
        return [StartCalls([entry.index], started=False)]
    call = calls_of(content)[entry.index]
    context = Context(deps=None, call_id=call_id, tool_name=entry.name)
    outcome = succeed(Invocation(call, context), result)
    if outcome.error is not None:
        raise ConfigurationError(str(outcome.error))
    kept = [] if outcome.whole is None else [SaveResult(call_id, outcome.whole)]
    return [*kept, FinishCall(entry.index, outcome.part)]
