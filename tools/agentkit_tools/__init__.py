"""Ready-made tools for agentkit, one module each with a `ToolRegistry` named after it."""
