"""What part of a long chat is sent."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, DropToolResults, LastTurns, RetryPolicy, Summarize, TokenBudget
from agentkit.testing import call, fault, reply
from tests.golden.recorder import Scene, scenario
from tests.golden.shop import look

LONG = "word " * 120


def _turns(count: int) -> list[Any]:
    made: list[Any] = []
    for n in range(count):
        made += [call("note", n=n), f"Answer {n}."]
    return made


def note(n: int) -> str:
    """Take a note."""
    return f"note {n} {LONG}"


@scenario(
    cases={
        "last turns": lambda s: LastTurns(2),
        "last turns in steps": lambda s: LastTurns(3, step=2),
        "budget": lambda s: TokenBudget(700),
        "budget trimmed": lambda s: TokenBudget(900, trim_to=0.5),
        "too large": lambda s: TokenBudget(120),
        "results": lambda s: DropToolResults(keep=1, step=1, over=100),
        "summary": lambda s: Summarize(
            after_turns=2, keep=1, model=s.model(*[f"Summary {n}." for n in range(9)], name="small")
        ),
        "summary by tokens": lambda s: Summarize(
            after_tokens=500, keep=2, model=s.model(*[f"Summary {n}." for n in range(9)], name="small")
        ),
        "list": lambda s: [
            DropToolResults(keep=1, step=1, over=100),
            Summarize(after_turns=3, keep=2, model=s.model(*["A summary."] * 9, name="small")),
            TokenBudget(2000),
        ],
    }
)
def memories(s: Scene, make: Any) -> None:
    agent = Agent(s.model(*_turns(6)), tools=[note], instructions="Be short.")
    chat = s.chat(agent, memory=make(s))
    for n in range(5):
        chat.send(f"Question {n}.")
    chat.state()


@scenario(stores=("memory", "sqlite"))
def a_summary_is_kept(s: Scene) -> None:
    store = s.store()
    agent = Agent(s.model(*[f"Answer {n}." for n in range(9)]))
    small = s.model(*[f"Summary {n}." for n in range(9)], name="small")
    for n in range(5):
        chat = s.chat(agent, "ann", store, memory=Summarize(after_turns=2, keep=1, model=small))
        chat.send(f"Question {n}.")
    s.rows(store)
    chat.do("undo")
    chat.do("undo")
    s.rows(store)
    chat.send("Again.")


@scenario(
    cases={
        "fault": [fault(400), "Summary."],
        "empty": [reply(), reply(), reply(), "Summary."],
        "refused": [reply(finish_reason="SAFETY"), "Summary."],
        "transient": [fault(503), "Summary."],
    }
)
def a_summary_that_fails(s: Scene, script: list[Any]) -> None:
    agent = Agent(s.model(*[f"Answer {n}." for n in range(9)]), retry=RetryPolicy(base=0))
    small = s.model(*script, *["Summary."] * 3, name="small")
    chat = s.chat(agent, memory=Summarize(after_turns=2, keep=1, model=small))
    for n in range(4):
        chat.send(f"Question {n}.")
    chat.state()


@scenario()
def a_summary_by_the_same_model(s: Scene) -> None:
    script = ["Answer 0.", "Answer 1.", "The summary.", "Answer 2.", call("look"), "Answer 3."]
    agent = Agent(s.model(*script), tools=[look], instructions="Be short.")
    chat = s.chat(agent, memory=Summarize(after_turns=2, keep=1, instructions="Sum up."))
    for n in range(4):
        chat.send(f"Question {n}.")
    chat.state()


@scenario()
def wrong_memories(s: Scene) -> None:
    s.attempt("LastTurns(0)", lambda: LastTurns(0))
    s.attempt("Summarize()", lambda: Summarize())
    agent = Agent(s.model())
    s.attempt("chat(memory=7)", lambda: agent.chat(memory=7))  # type: ignore[arg-type]
