"""An agent that calculates: python -m examples.calculator "What is 12.5% of 340?"."""

from __future__ import annotations

from collections.abc import Sequence

from agentkit_tools.calculator import calculator

from agentkit import Agent
from examples.common import answer, arguments, ask_for, choose_model, run_main

INSTRUCTIONS = (
    "You are a calculator. Work everything out with the calculate tool; answer in one short sentence. "
    "Who greets you or asks what you can do is told what they can ask, with these examples: "
    '"What is 12.5% of 340?", "a third of 90", "Split 94.50 between 6 people, how much each?"'
)


def make_agent(model: str | None) -> Agent:
    """Make the agent. The embedded model copies the question into the tool, so there the call is forced."""
    forced = model == "local"
    return Agent(
        model,
        name="calculator",
        tools=[calculator],
        instructions=INSTRUCTIONS,
        tool_choice="required" if forced else "auto",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = arguments(__doc__ or "", example="examples.calculator")
    parser.add_argument("question", nargs="*", help="what to calculate, in symbols or in words")
    args = parser.parse_args(argv)
    agent = make_agent(choose_model(args.model))  # loads the embedded model while the user types
    question = ask_for(args.question, "What shall I calculate?")
    return answer(agent, question, verbose=args.verbose)


if __name__ == "__main__":
    run_main(main)
