"""What must be settled before a call runs: hooks, approvals, decisions about calls that waited, untrusted words."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from agentkit.core.effects import EXPIRED, Effect, Resolve
from agentkit.core.outcomes import Outcomes
from agentkit.errors import DecisionError, ToolDeferred
from agentkit.events import Event
from agentkit.stores.steps import StoredCall
from agentkit.tooling.decisions import Approve, Decision, Deny, Edit, PendingCall, Result
from agentkit.tooling.invoke import Invocation, args_of, edit, fail, hold, prepare
from agentkit.tooling.tool import Tool
from agentkit.wire.content import JsonObject

if TYPE_CHECKING:
    from agentkit.core.state import RunState

Settling = Generator[Event | Effect, Any, None]

_SAID = (Approve, Deny, Edit, Result)
_HOOK_SAYS = (Edit, Deny, Result)


class Approvals:
    """Settles what becomes of calls before any of them runs."""

    def __init__(self, run: RunState, outcomes: Outcomes) -> None:
        self._run = run
        self._outcomes = outcomes
        self._decisions = run.setup.decisions

    def check(self, ledger: Sequence[StoredCall]) -> None:
        """Refuse decisions that fit no call that waits, before anything is done.

        Raises:
            DecisionError: An id is none of theirs, or what is said isn't a decision.
        """
        waiting = [entry.call_id for entry in ledger if entry.response is None]
        for entry in ledger:
            waiting += [call.call_id for call in waiting_inside(entry)]
        for call_id, decision in self._decisions.items():
            if call_id not in waiting:
                raise DecisionError(f"There is no pending call with the id {call_id!r}. Pending: {waiting}.")
            if not isinstance(decision, _SAID):
                raise DecisionError(
                    f"{short(decision)} isn't a decision: give Approve(), Deny(why), Edit(args) or Result(value)."
                )
        for entry in ledger:
            if is_unknown(entry) and entry.call_id in self._decisions:
                raise DecisionError(
                    f"Nobody knows whether the call {entry.call_id!r} of {entry.name!r} took effect: find out, and"
                    " say so with chat.resolve(call_id, result=...) or chat.resolve(call_id, retry=True)."
                )

    def settle(self, invocation: Invocation, entry: StoredCall | None, tools: Mapping[str, Tool]) -> Settling:
        """Let a call run, or give it an outcome without; the run has ended if the time is up.

        Raises:
            DecisionError: What a person, a hook or the approver said can't be done. The call waits.
        """
        if entry is not None and entry.deferred is not None:
            self._resume(invocation, entry, entry.deferred, tools)
            return
        decision = self._decisions.get(invocation.context.call_id)
        if self._is_settled(invocation):
            self._answer_anyway(invocation, decision)
            return
        if decision is None and invocation.approved:
            decision = Approve()
        changed = _changed(invocation, entry) if isinstance(decision, (Approve, Edit)) else None
        hook, output = self._run.settings.hooks.before_tool, self._run.output
        if hook is not None and not (output is not None and invocation.tool is output.tool):
            yield from self._hear_hook(hook, invocation)
            if self._is_settled(invocation):
                return
        if changed is not None:
            decision = None
        if decision is None and (why := changed or self._why_not(invocation)):
            pending = hold(invocation, "approval", why)
            if self._run.setup.approver is None:
                return
            decision = yield from self._ask(self._run.setup.approver, pending, invocation)
            if decision is None:
                return
            self._check(decision, _SAID, invocation)
            if isinstance(decision, Approve):
                invocation.outcome = None
        invocation.approved = isinstance(decision, (Approve, Edit))
        if decision is not None and not isinstance(decision, Approve):
            self._outcomes.say(invocation, decision, "A person")

    def _is_settled(self, invocation: Invocation) -> bool:
        return invocation.outcome is not None or self._run.end.stop is not None

    def _answer_anyway(self, invocation: Invocation, decision: Decision | None) -> None:
        """Hear what was said of a call that can't run: its tool is gone, say, since it began to wait."""
        misfit = invocation.outcome is not None and invocation.outcome.kind == "invalid"
        if isinstance(decision, (Deny, Result)) or (isinstance(decision, Edit) and misfit):
            self._outcomes.say(invocation, decision, "A person")
        elif decision is not None:
            self._need_tool(invocation)

    def _need_tool(self, invocation: Invocation) -> None:
        if invocation.tool is None:
            raise DecisionError(
                f"The agent has no tool {invocation.context.tool_name!r} any more to run this call: give it the"
                " tool, or say Deny(why) or Result(value)."
            )

    def _why_not(self, invocation: Invocation) -> str | None:
        """Return why a call must not simply run, or None if it may."""
        tool = invocation.tool
        assert tool is not None
        try:
            held: Any = tool.approval
            if callable(held):
                held = held(args_of(invocation), invocation.context)
        except Exception as error:
            invocation.outcome = fail(invocation, error)
            return None
        if held:
            return held if isinstance(held, str) else f"The tool {tool.name!r} needs approval."
        if self._run.setup.guarded and (tool.effect == "write" or tool.sensitive):
            source = self._run.history.untrusted(self._run.tools.all)
            if source:
                return (
                    f"Words that {source!r} brought in may be a stranger's; {tool.name!r} could act on them."
                )
        return None

    def _hear_hook(self, hook: Any, invocation: Invocation) -> Settling:
        said = yield from self._ask(hook, args_of(invocation), invocation)
        if self._run.end.stop is None and said is not None:
            self._check(said, _HOOK_SAYS, invocation)
            self._outcomes.say(invocation, said, "The program")

    def _ask(self, function: Any, about: Any, invocation: Invocation) -> Generator[Event | Effect, Any, Any]:
        said = yield Resolve(lambda: function(about, invocation.context))
        if said is EXPIRED:
            self._run.end.end("seconds")
            return None
        return said

    @staticmethod
    def _check(said: Any, allowed: tuple[type, ...], invocation: Invocation) -> None:
        if not isinstance(said, allowed):
            names = ", ".join(each.__name__ for each in allowed)
            raise DecisionError(
                f"{short(said)} isn't a valid decision for the call of {invocation.context.tool_name!r}: give {names}."
            )

    def _resume(
        self, invocation: Invocation, entry: StoredCall, deferred: JsonObject, tools: Mapping[str, Tool]
    ) -> None:
        """Go on with a call whose result was to come later."""
        decisions, inside = self._decisions, waiting_inside(entry)
        invocation.args = deferred.get("args")
        said = decisions.get(entry.call_id)
        if said is not None and not (inside and isinstance(said, Approve)):
            if isinstance(said, (Approve, Edit)):
                raise DecisionError(
                    f"The call {entry.call_id!r} waits for its result: give Result(value) or Deny(why)."
                )
            self._outcomes.say(invocation, said, "A person")
            return
        answers = {call.call_id: decisions[call.call_id] for call in inside if call.call_id in decisions}
        if not answers:
            still = ToolDeferred(deferred["why"], state=deferred["state"], pending=inside)
            invocation.outcome = fail(invocation, still)
            return
        self._need_tool(invocation)
        state = copy.deepcopy(deferred["state"])
        invocation.context = dataclasses.replace(invocation.context, resumed=state, decisions=answers)
        max_chars = self._outcomes.max_chars
        if invocation.args is not None:
            edit(invocation, invocation.args, "A person", max_chars=max_chars)
            return
        again = prepare(invocation.call, tools, invocation.context, max_chars=max_chars)
        invocation.function, invocation.outcome = again.function, again.outcome


def is_unknown(entry: StoredCall) -> bool:
    """Return whether nobody knows if a call took effect: it was under way when its process ended."""
    return entry.started and entry.effect != "read" and entry.response is None


def was_approved(entry: StoredCall) -> bool:
    """Return whether somebody said that a call may run, while another in front of it still waited."""
    return entry.why is None and entry.declared is not None


def why_unknown(entry: StoredCall) -> str:
    """Say why nobody knows."""
    if entry.effect == "write":
        return "Its process ended while it ran."
    return (
        f"Its process ended while it ran, and nobody said what {entry.name!r} does: where it only reads,"
        " @tool(effect='read') has it run again."
    )


def _changed(invocation: Invocation, entry: StoredCall | None) -> str | None:
    """Say that a tool isn't what whoever decided was shown; None if it is."""
    tool = invocation.tool
    if entry is None or entry.declared is None or tool is None or tool.fingerprint == entry.declared:
        return None
    return (
        f"The tool {tool.name!r} is declared otherwise than when its call was shown: {tool.description[:500]}"
    )


def waiting_inside(entry: StoredCall) -> list[PendingCall]:
    """List the calls inside a call that wait, such as those of a sub-agent."""
    if entry.deferred is None or entry.response is not None:
        return []
    return [PendingCall.from_wire(call) for call in entry.deferred["pending"]]
