"""Ready-made tools for agentkit, one module each with a `ToolRegistry`, or a tool, named after it."""
