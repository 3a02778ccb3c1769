"""What must be settled before a call runs: hooks, approvals, decisions about calls that waited, untrusted words."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from agentkit.core.effects import EXPIRED, Effect, Plan, Resolve, State
from agentkit.errors import ConfigurationError, ToolDeferred
from agentkit.events import Event
from agentkit.stores.steps import StoredCall
from agentkit.tooling.decisions import Approve, Decision, Deny, Edit, PendingCall, Result
from agentkit.tooling.invoke import Invocation, Outcome, args_of, edit, fail, hold, prepare, refuse, succeed
from agentkit.tooling.tool import Tool
from agentkit.wire.content import JsonObject

Deciding = Generator[Event | Effect, Any, None]

_SAID = (Approve, Deny, Edit, Result)


def check_decisions(decisions: Mapping[str, Decision], ledger: Sequence[StoredCall]) -> None:
    """Refuse decisions that fit no call that waits, before anything is done.

    Raises:
        ConfigurationError: An id is none of theirs, or what is said is no decision.
    """
    waiting = [entry.call_id for entry in ledger if entry.response is None]
    for entry in ledger:
        waiting += [call.call_id for call in _nested(entry)]
    for call_id, decision in decisions.items():
        if call_id not in waiting:
            raise ConfigurationError(f"No call waits under the id {call_id!r}; those that do: {waiting}.")
        if not isinstance(decision, _SAID):
            raise ConfigurationError(
                f"{decision!r:.100} is no decision: give Approve(), Deny(why), Edit(args) or Result(value)."
            )
    for entry in ledger:
        if is_unknown(entry) and entry.call_id in decisions:
            raise ConfigurationError(
                f"Nobody knows whether the call {entry.call_id!r} of {entry.name!r} took effect: find out, and say"
                " so with chat.resolve(call_id, result=...) or chat.resolve(call_id, retry=True)."
            )


def is_unknown(entry: StoredCall) -> bool:
    """Tell whether nobody knows if a call took effect: a write that was under way when its process ended."""
    return entry.started and entry.effect == "write" and entry.response is None


def _nested(entry: StoredCall) -> list[PendingCall]:
    if entry.deferred is None or entry.response is not None:
        return []
    return [PendingCall.from_wire(call) for call in entry.deferred["pending"]]


class Desk:
    """Settles what becomes of the calls of one turn, before any of them runs."""

    def __init__(self, plan: Plan, state: State, tools: Mapping[str, Tool]) -> None:
        self._plan = plan
        self._state = state
        self._tools = tools

    def settle(self, invocation: Invocation, entry: StoredCall | None) -> Deciding:
        """Let a call run, or give it an outcome without; `state.stop` is set if the time is up."""
        if entry is not None and entry.deferred is not None:
            self._go_on(invocation, entry, entry.deferred)
            return
        decision = self._plan.decisions.get(invocation.context.call_id)
        if self._is_settled(invocation):
            self._answer_anyway(invocation, decision)
            return
        yield from self._hear_hook(invocation)
        if self._is_settled(invocation):
            return
        if decision is None and (why := self._why_not(invocation)):
            pending = hold(invocation, "approval", why)
            if self._plan.approver is not None:
                decision = yield from self._ask(self._plan.approver, pending, invocation)
            if decision is None:
                return
            invocation.outcome = None
        if decision is not None:
            self._apply(invocation, decision, "A person")

    def _is_settled(self, invocation: Invocation) -> bool:
        return invocation.outcome is not None or self._state.stop is not None

    def _answer_anyway(self, invocation: Invocation, decision: Decision | None) -> None:
        """Hear what was said of a call that can't run: its tool is gone, say, since it began to wait."""
        if isinstance(decision, (Deny, Result)):
            self._apply(invocation, decision, "A person")
        elif decision is not None:
            self._need_tool(invocation)

    def _need_tool(self, invocation: Invocation) -> None:
        if invocation.tool is None:
            raise ConfigurationError(
                f"The agent has no tool {invocation.context.tool_name!r} any more to run this call: give it the"
                " tool, or say Deny(why) or Result(value)."
            )

    def _why_not(self, invocation: Invocation) -> str | None:
        """Say why a call must not simply run, or None if it may."""
        tool = invocation.tool
        assert tool is not None  # noqa: S101 - what has no tool has its outcome
        try:
            held: Any = tool.approval
            if callable(held):
                held = held(args_of(invocation), invocation.context)
        except Exception as error:
            invocation.outcome = fail(invocation, error)
            return None
        if held:
            return held if isinstance(held, str) else f"The tool {tool.name!r} needs approval."
        if self._plan.guarded and (tool.effect == "write" or tool.sensitive):
            self._state.survey.read(self._state.contents)
            if source := self._state.survey.untrusted(self._plan.tools):
                return (
                    f"Words that {source!r} brought in may be a stranger's; {tool.name!r} could act on them."
                )
        return None

    def _hear_hook(self, invocation: Invocation) -> Deciding:
        hook = self._plan.hooks.before_tool
        if hook is None or _gives_output(self._plan, invocation):
            return
        said = yield from self._ask(hook, args_of(invocation), invocation)
        if self._state.stop is None and said is not None:
            self._apply(invocation, said, "The program", allowed=(Edit, Deny, Result))

    def _ask(self, function: Any, about: Any, invocation: Invocation) -> Generator[Event | Effect, Any, Any]:
        said = yield Resolve(lambda: function(about, invocation.context))
        if said is EXPIRED:
            self._state.stop = "seconds"
            return None
        return said

    def _apply(self, invocation: Invocation, said: Any, who: str, allowed: tuple[type, ...] = _SAID) -> None:
        if not isinstance(said, allowed):
            names = ", ".join(each.__name__ for each in allowed)
            raise ConfigurationError(
                f"{said!r:.100} is no answer about the call of {invocation.context.tool_name!r}: give {names}."
            )
        match said:
            case Edit(args):
                self._edit(invocation, args, who)
            case Deny(why):
                because = f": {why}" if why else "."
                invocation.outcome = refuse(invocation, f"{who} refused this call{because}", "refused")
            case Result(value):
                invocation.outcome = succeed(invocation, value, max_chars=self._plan.result_chars)
                self._refuse_bad(invocation, "Result", who)

    def _refuse_bad(self, invocation: Invocation, what: str, who: str) -> None:
        """Give a person's mistake back to them, not to the model."""
        outcome = invocation.outcome
        if who == "A person" and outcome is not None and outcome.error is not None:
            raise ConfigurationError(
                f"{what}(...) of {invocation.context.tool_name!r}: {outcome.error}"
            ) from outcome.error

    def _edit(self, invocation: Invocation, args: JsonObject, who: str) -> None:
        """Change the arguments; ones that don't fit are a mistake of whoever gave them, not of the model."""
        name = invocation.context.tool_name
        try:
            edit(invocation, copy.deepcopy(args), who, max_chars=self._plan.result_chars)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"Edit(...) of {name!r}: this is no JSON: {error}") from error
        if invocation.outcome is not None:
            raise ConfigurationError(f"Edit(...) of {name!r}: {invocation.outcome.error}")

    def _go_on(self, invocation: Invocation, entry: StoredCall, deferred: JsonObject) -> None:
        """Go on with a call whose result was to come later."""
        decisions, nested = self._plan.decisions, _nested(entry)
        invocation.args = deferred.get("args")
        said = decisions.get(entry.call_id)
        if said is not None and not (nested and isinstance(said, Approve)):
            if isinstance(said, (Approve, Edit)):
                raise ConfigurationError(
                    f"The call {entry.call_id!r} waits for its result: give Result(value) or Deny(why)."
                )
            self._apply(invocation, said, "A person")
            return
        answers = {call.call_id: decisions[call.call_id] for call in nested if call.call_id in decisions}
        if answers:
            self._need_tool(invocation)
            state = copy.deepcopy(deferred["state"])
            invocation.context = dataclasses.replace(invocation.context, resumed=state, decisions=answers)
            if invocation.args is not None:
                edit(invocation, invocation.args, "Somebody", max_chars=self._plan.result_chars)
                return
            again = prepare(
                invocation.call, self._tools, invocation.context, max_chars=self._plan.result_chars
            )
            invocation.function, invocation.outcome = again.function, again.outcome
            return
        still = ToolDeferred(deferred["why"], state=deferred["state"], pending=nested)
        invocation.outcome = fail(invocation, still)


def _gives_output(plan: Plan, invocation: Invocation) -> bool:
    """Tell whether a call is how the structured output is given: hooks of tools aren't asked, its validator is."""
    return plan.output is not None and invocation.tool is not None and invocation.tool is plan.output.tool


class AfterTool:
    """Hears the developer's hook about a response, before that is stored.

    Until the hook has said what becomes of it, the response is withheld: one that it is to keep from the model
    must not get there because the hook fails, or the time is up before it answers.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def wanted(self) -> bool:
        """Tell whether there is a hook."""
        return self._plan.hooks.after_tool is not None

    def hold(self, invocation: Invocation) -> Outcome | None:
        """Take the outcome back until it is settled; None if there is nothing to ask."""
        held = invocation.outcome
        if held is None or held.kind == "waits" or _gives_output(self._plan, invocation):
            return None
        text = "The call was made; the run ended before its result was released."
        invocation.outcome = refuse(invocation, text, "cancelled")
        return held

    def ask(self, invocation: Invocation, held: Outcome) -> Any:
        """Call the hook; what it returns may have to be awaited."""
        hook = self._plan.hooks.after_tool
        assert hook is not None  # noqa: S101 - asked only if wanted
        return hook(copy.deepcopy(held.part["functionResponse"]), invocation.context)

    def take(self, invocation: Invocation, held: Outcome, said: Any) -> None:
        """Do as it said."""
        match said:
            case None:
                invocation.outcome = held
            case Result(value):
                invocation.outcome = succeed(invocation, value, max_chars=self._plan.result_chars)
            case Deny(why):
                text = why or f"The result of {invocation.context.tool_name!r} is withheld."
                invocation.outcome = refuse(invocation, text, "refused")
            case _:
                raise ConfigurationError(f"after_tool returned {said!r:.100}: return Result, Deny or None.")
