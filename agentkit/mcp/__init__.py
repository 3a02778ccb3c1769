"""The Model Context Protocol, both ways: servers' tools for an agent, and an agent's tools for other programs.

The extra `mcp` brings the official SDK, which is imported on first use.
"""

from agentkit.mcp.client import MCP as MCP
from agentkit.mcp.content import Prompt as Prompt
from agentkit.mcp.content import Resource as Resource
