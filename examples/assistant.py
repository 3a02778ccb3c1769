"""An assistant with all the ready-made tools, to chat with: python -m examples.assistant.

It is what `agentkit chat` is, with an agent of its own: it streams its answers and remembers the conversation.
Ctrl-C stops an answer, not the program; /exit or Ctrl-D ends it, and /help shows what else there is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack

from agentkit_tools.calculator import calculator
from agentkit_tools.clock import clock
from agentkit_tools.units import units
from agentkit_tools.weather import weather
from agentkit_tools.weather_demo import DemoServer

from agentkit import Agent, MemoryStore, ToolRegistry
from agentkit.cli.chat import talk
from agentkit.cli.setup import Setup
from examples.common import arguments, choose_model, run_main, say

INSTRUCTIONS = (
    "You are a helpful assistant. Use the tools for weather, arithmetic, units and time; be brief. "
    "Who greets you or asks what you can do is told what they can ask, with these examples: "
    '"Will it rain in Paris tomorrow?", "How many cups are in 2 litres?", "What time is it in Tokyo?"'
)


def make_agent(model: str | None, weather_tools: ToolRegistry = weather) -> Agent:
    """Make the agent."""
    return Agent(
        model, name="assistant", tools=[weather_tools, calculator, units, clock], instructions=INSTRUCTIONS
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = arguments(__doc__ or "", example="examples.assistant")
    parser.add_argument(
        "--demo", action="store_true", help="use sample weather from this machine, not the network"
    )
    args = parser.parse_args(argv)
    model = choose_model(args.model)
    with ExitStack() as stack:
        tools = stack.enter_context(DemoServer()).weather_tools() if args.demo else weather
        say("Ask about the weather, a calculation, units or the time. /exit or Ctrl-D ends the chat.")
        talk(Setup(make_agent(model, tools), "assistant"), sys.stdout, MemoryStore(), full=args.verbose)
    return 0


if __name__ == "__main__":
    run_main(main)
