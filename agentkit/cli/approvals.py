"""Decisions about calls that wait: by a rule, or by the person at the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentkit.chats.plain_text import inert, one_line, value_text, written
from agentkit.cli.terminal import can_ask, read_line, say
from agentkit.cli.values import json_or_text

if TYPE_CHECKING:
    from agentkit import Approve, Deny, Edit, PendingCall, Result
    from agentkit.core.beside import HeldCall

    Decision = Approve | Deny | Edit | Result

Policy = Literal["ask", "yes", "no"]

NOBODY = "Nobody is there to approve it."


class Decider:
    """Decides about calls that wait, as the policy says. What the person leaves for later is not asked again.

    Args:
        policy: `ask` the person, or `yes` or `no` to all; None is `ask` at a terminal, else `no`.
        read: Reads one answer of the person after a prompt; raises EOFError where there is none.
    """

    def __init__(self, policy: Policy | None, read: Callable[[str], str] | None = None) -> None:
        self.policy: Policy = policy or ("ask" if can_ask() else "no")
        self._read = read or read_answer
        self._later: set[str] = set()
        self._told: set[str] = set()

    def forget(self) -> None:
        """Ask again about what was left for later."""
        self._later.clear()
        self._told.clear()

    def decide(self, pending: Sequence[PendingCall], held: Iterable[HeldCall] = ()) -> dict[str, Decision]:
        """Return a decision for each call, but none for those that are left for later; say what waits behind them."""
        from agentkit import Approve, Deny

        if self.policy == "ask" or any(call.kind != "approval" for call in pending):
            for later in held:
                if later.call_id not in self._told:
                    say(f"  {written(later.name, later.args)} waits behind {one_line(later.behind)}")
                self._told.add(later.call_id)
        decisions: dict[str, Decision] = {}
        for call in pending:
            if call.call_id in self._later or call.kind == "unknown_effect":
                continue
            if call.kind == "deferred":
                decision = self._result_of(call) if self.policy == "ask" else None
            elif self.policy == "ask":
                decision = self._ask(call)
            elif self.policy == "yes":
                say(f"Approved: {written(call.name, call.args)}")
                decision = Approve()
            else:
                say(f"Denied: {written(call.name, call.args)}. {NOBODY} (--approve yes allows it.)")
                decision = Deny(NOBODY)
            if decision is None:
                self._later.add(call.call_id)
            else:
                decisions[call.call_id] = decision
        return decisions

    def _ask(self, call: PendingCall) -> Decision | None:
        """Ask about one call, until the answer is one."""
        from agentkit import Approve, Deny, Edit

        say(described(call, "needs your approval"))
        while True:
            word, _, rest = self._answer("  [a]pprove, [d]eny, [e]dit the arguments, [l]ater? ").partition(
                " "
            )
            if word in ("a", "approve", "y", "yes"):
                return Approve()
            if word in ("d", "deny", "n", "no"):
                return Deny(rest or self._answer("  Why? (Enter for no reason) "))
            if word in ("e", "edit"):
                args = self._edited(call.args, rest)
                if args is not None:
                    return Edit(args)
            if word in ("l", "later"):
                return None

    def _result_of(self, call: PendingCall) -> Decision | None:
        from agentkit import Result

        say(described(call, "waits for its result"))
        text = self._answer("  The result (JSON or text; Enter for later): ")
        return Result(json_or_text(text)) if text and text != "l" else None

    def outcome_of(self, call: PendingCall) -> tuple[Literal["result", "retry"], Any] | None:
        """Ask what became of a call that may have taken effect before a crash; None is left for later."""
        if self.policy != "ask" or call.call_id in self._later:
            return None
        say(described(call, "was under way when the program ended: nobody knows whether it took effect"))
        while True:
            word, _, rest = self._answer(
                "  [d]one, with what result? [n]ot done: run it, [l]ater? "
            ).partition(" ")
            if word in ("d", "done"):
                return "result", json_or_text(rest or self._answer("  The result (JSON or text): "))
            if word in ("n", "not"):
                return "retry", None
            if word in ("l", "later"):
                self._later.add(call.call_id)
                return None

    def _answer(self, prompt: str) -> str:
        try:
            return self._read(prompt).strip()
        except EOFError:
            say("")
            return "l"

    def _edited(self, args: dict[str, Any], given: str) -> dict[str, Any] | None:
        """Return the arguments as the person changed them: given inline, or in an editor, or at a prompt."""
        if not given:
            before = json.dumps(args, ensure_ascii=False, indent=2)
            given = (
                in_editor(before)
                if _editor()
                else self._answer(f"  {value_text(args)}\n  New arguments, JSON: ")
            )
        changed = json_or_text(given)
        if isinstance(changed, dict):
            return changed
        say('  Arguments are a JSON object, such as {"to": "Ann"}.')
        return None


def described(call: PendingCall, what: str) -> str:
    """Write a call down whole, however long its arguments are: nothing of what is approved may be hidden."""
    inside = f" (in {' > '.join(call.path)})" if call.path else ""
    why = f": {one_line(call.why)}" if call.why else ""
    lines = [f"{one_line(call.name)}{inside} {what}{why}"]
    lines += [f"    {one_line(key)} = {inert(value_text(value))}" for key, value in call.args.items()]
    return "\n".join(lines)


def read_answer(prompt: str) -> str:
    """Read one line of the person; what was typed before the prompt was there doesn't count."""
    with contextlib.suppress(Exception):
        import termios

        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    print(inert(prompt), end="", file=sys.stderr, flush=True)
    line = read_line()
    if not line:
        raise EOFError
    return line


def _editor() -> str:
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""


def in_editor(text: str) -> str:
    """Let the person change a text in `$VISUAL` or `$EDITOR`; return it as it was if the editor fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arguments.json"
        file.write_text(text, "utf-8")
        try:
            subprocess.run([*shlex.split(_editor()), str(file)], check=True)  # noqa: S603 - the person's own editor
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            say(f"  The editor failed: {error}")
        return file.read_text("utf-8", "replace")
