"""Names of the tools that agentkit adds where they are needed."""

from typing import Final

FIND_TOOLS: Final = "find_tools"
"""The tool that finds tools on demand."""
READ_RESULT: Final = "read_result"
"""The tool that reads on in a result that was cut."""
SOURCES: Final = "agentkitSources"
"""In the metadata of responses: what the answers of sub-agents among them rest on."""
SUGGESTIONS: Final = "agentkitSuggestions"
"""In the metadata of responses: the search suggestions that go with the answers of sub-agents among them."""
SECONDS: Final = "agentkitSeconds"
"""In the metadata of responses: how long each call took; null where it wasn't run, or in a process that ended."""
OWN: Final = "agentkitOwn"
"""The key of a message's metadata that lists the parts of it, responses to calls, in which no word is a tool's."""
ACCEPTED: Final = "accepted"
"""What the tool for structured output answers."""
