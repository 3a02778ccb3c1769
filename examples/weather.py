"""An agent that knows the weather: python -m examples.weather "Will it rain in Paris tomorrow?"."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from agentkit_tools.weather import weather
from agentkit_tools.weather_demo import DemoServer

from agentkit import Agent, ToolRegistry
from examples.common import answer, arguments, ask_for, choose_model, run_main, say

INSTRUCTIONS = (
    "You answer questions about the weather, from the tools' results only, in a sentence or two. "
    "Who greets you or asks what you can do is told what they can ask, with these examples: "
    '"Will it rain in Paris tomorrow?", "What should I wear in Oslo this week?", "Is it windy in Chicago now?"'
)


def make_agent(model: str | None, tools: ToolRegistry = weather) -> Agent:
    """Make the agent. The embedded model copies the city, the tool reads the question: so there the call is forced."""
    forced = model == "local"
    return Agent(
        model,
        name="weather",
        tools=[tools],
        instructions=INSTRUCTIONS,
        tool_choice="required" if forced else "auto",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = arguments(__doc__ or "", example="examples.weather")
    parser.add_argument("question", nargs="*", help="e.g. what to wear in Oslo this week")
    parser.add_argument(
        "--demo", action="store_true", help="use sample data from this machine, not the network"
    )
    args = parser.parse_args(argv)
    model = choose_model(args.model)
    with ExitStack() as stack:
        tools = stack.enter_context(DemoServer()).weather_tools() if args.demo else weather
        agent = make_agent(model, tools)  # loads the embedded model while the user types
        question = ask_for(args.question, "Where do you want to know the weather?")
        if args.demo:
            say("Demo: the weather is sample data from a stand-in server on this machine.")
        return answer(agent, question, verbose=args.verbose)


if __name__ == "__main__":
    run_main(main)
