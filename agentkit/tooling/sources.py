"""What gives an agent tools that may be others tomorrow: a server's, say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agentkit.tooling.tool import Tool


class ToolSource:
    """Gives tools: an object of a subclass goes into `tools=` as it is.

    An agent keeps it and asks it for its tools when a run begins or is resumed and before each turn, in a thread:
    nothing is asked when the agent is made. One that raises gives no tools until the run ends, and the run goes on;
    a `ToolsLeftOut` event says so. A tool of the agent's own wins where names are the same, then that of an earlier
    source.
    """

    name: str = "tools"
    """What errors and events call it."""
    untrusted: bool = True
    """Whether its tools may bring in a stranger's words: what an agent that has it is taken for when it is a tool."""

    def tools(self) -> Iterable[Tool]:
        """Return the tools as they are now; those that are as they were are the same objects. It may block.

        Raises:
            AgentError: There are none to be had; its text says why.
        """
        raise NotImplementedError

    def known(self) -> Sequence[Tool] | None:
        """Return the tools as far as they are known without asking anybody; None is not at all."""
        return None

    def close(self) -> None:
        """Let go of connections."""
