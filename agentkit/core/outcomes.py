"""What becomes of a call: every outcome is made here, whoever it comes from, and is JSON or an error of theirs."""

from __future__ import annotations

import copy
from collections.abc import Generator
from reprlib import repr as short
from typing import Any

from agentkit.core.effects import EXPIRED, Effect, Resolve
from agentkit.core.end import RunEnd
from agentkit.core.hooks import Hooks
from agentkit.errors import DecisionError
from agentkit.events import Event
from agentkit.tooling.decisions import Deny, Edit, Result
from agentkit.tooling.invoke import Invocation, Outcome, edit, refuse, succeed
from agentkit.wire.content import JsonObject


class Outcomes:
    """Makes the outcomes of calls.

    What a person, a hook or an approver says that can't be done is their mistake: it raises, and is never told to
    the model as an outcome of the call.
    """

    def __init__(self, hooks: Hooks, end: RunEnd, *, max_chars: int) -> None:
        self.after_tool = hooks.after_tool
        self._end = end
        self.max_chars = max_chars

    def say(self, invocation: Invocation, said: Edit | Deny | Result, who: str) -> None:
        """Do what somebody said about a call that has not run.

        Raises:
            DecisionError: It can't be done; nothing has changed.
        """
        name = invocation.context.tool_name
        match said:
            case Deny(why):
                because = f": {why}" if why else "."
                invocation.outcome = refuse(invocation, f"{who} refused this call{because}", "refused")
            case Result(value):
                invocation.outcome = self._of_value(invocation, value, f"Result(...) of {name!r}")
            case Edit(args):
                self._edit(invocation, args, who)

    def _of_value(self, invocation: Invocation, value: Any, what: str) -> Outcome:
        outcome = succeed(invocation, value, max_chars=self.max_chars)
        if outcome.error is not None:
            raise DecisionError(f"{what}: {outcome.error}") from outcome.error
        return outcome

    def _edit(self, invocation: Invocation, args: JsonObject, who: str) -> None:
        name, before = (
            invocation.context.tool_name,
            (invocation.function, invocation.args, invocation.outcome),
        )
        if invocation.tool is None:
            raise DecisionError(
                f"The agent has no tool {name!r} any more to run this call: give it the tool, or say Deny(why) or"
                " Result(value)."
            )
        try:
            edit(invocation, copy.deepcopy(args), who, max_chars=self.max_chars)
        except (TypeError, ValueError, RecursionError) as error:
            invocation.function, invocation.args, invocation.outcome = before
            raise DecisionError(f"Edit(...) of {name!r}: the arguments aren't JSON: {error}") from error
        if (outcome := invocation.outcome) is not None:
            invocation.function, invocation.args, invocation.outcome = before
            raise DecisionError(f"Edit(...) of {name!r}: {outcome.error}") from outcome.error

    def release(self, invocation: Invocation, made: Outcome) -> Generator[Event | Effect, Any, None]:
        """Give a call that was run its outcome, when the developer's hook has heard of it.

        Until the hook has said what becomes of it, the outcome is withheld: one that it is to keep from the model
        must not get there because the hook fails, or the time is up before it answers.
        """
        hook = self.after_tool
        assert hook is not None
        text = "The call was made; the run ended before its result was released."
        invocation.outcome = refuse(invocation, text, "cancelled")
        told = copy.deepcopy(made.part["functionResponse"])
        said = yield Resolve(lambda: hook(told, invocation.context))
        match said:
            case None:
                invocation.outcome = made
            case Result(value):
                what = f"after_tool, Result(...) of {invocation.context.tool_name!r}"
                invocation.outcome = self._of_value(invocation, value, what)
            case Deny(why):
                text = why or f"The result of {invocation.context.tool_name!r} is withheld."
                invocation.outcome = refuse(invocation, text, "refused")
            case _ if said is EXPIRED:
                self._end.end("seconds")
            case _:
                raise DecisionError(f"after_tool returned {short(said)}: return Result, Deny or None.")
