"""What gives an agent tools that may be others tomorrow: a server's, say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agentkit.tooling.tool import Tool


class ToolSource:
    """Provides tools: an object of a subclass goes into `tools=` as it is.

    The agent asks it for its tools, in a thread, when a run starts or is resumed and before each turn. Nothing is
    asked when the agent is created. If it raises, it provides no tools for the rest of the run, and the run
    continues; a `ToolsLeftOut` event says so. If names clash, the agent's own tool is used, then that of the earlier
    source.
    """

    name: str = "tools"
    """Its name in errors and events."""
    untrusted: bool = True
    """Whether its tools may bring in a stranger's words. An agent with such a source is an untrusted tool of another.
    """

    def tools(self) -> Iterable[Tool]:
        """Return the current tools, as the same objects where they haven't changed. It may block.

        Raises:
            AgentError: The tools can't be obtained; the message says why.
        """
        raise NotImplementedError

    def known(self) -> Sequence[Tool] | None:
        """Return the tools as far as they are known without asking; None if they have to be asked for."""
        return None

    def close(self) -> None:
        """Close connections."""
