"""`python -m agentkit.mcp serve TARGET`."""

import sys

from agentkit.mcp.serve import main

if __name__ == "__main__":
    sys.exit(main())
