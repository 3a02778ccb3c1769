"""A tool that asks a person a question: the run stops until the answer is there.

Give it to an agent as `tools=[ask]`. The run stops with `stop="deferred"` and the question in `run.pending`; the
answer comes with `resume`, in this process or, from the run's JSON or a chat's store, in another one. On a
terminal:

    run = agent.run("Book me a table for tonight.")
    while run.stop == "deferred":
        run = agent.resume(run, {call.call_id: Result(input(f"{call.why} ")) for call in run.pending})
    print(run.text)
"""

from __future__ import annotations

from agentkit.errors import ToolDeferred, ToolRetry
from agentkit.tooling.tool import tool

MAX_CHOICES = 20


@tool(effect="read")
def ask(question: str, choices: list[str] | None = None) -> str:
    """Ask the user a question that only they can answer, and wait for the answer.

    Args:
        question: The question, as the user shall read it.
        choices: The answers to choose from, if there are only some.

    Raises:
        ToolDeferred: Always: the result is the person's answer. `PendingCall.why` is the question with its
            choices, `PendingCall.args` has both by themselves.
        ToolRetry: There is no question, or the choices are none.
    """
    question = " ".join(question.split())
    if not question:
        raise ToolRetry("Say what to ask.")
    if choices is None:
        raise ToolDeferred(question)
    choices = [" ".join(choice.split()) for choice in choices]
    if not 2 <= len(choices) <= MAX_CHOICES or not all(choices) or len(set(choices)) < len(choices):
        raise ToolRetry(f"Give 2 to {MAX_CHOICES} different choices, or none.")
    raise ToolDeferred(f"{question} ({', '.join(choices[:-1])} or {choices[-1]})")
