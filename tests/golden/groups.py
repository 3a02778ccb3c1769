"""The groups of scenarios, each a module and a file of recordings."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from tests.golden import (
    scenes_agents,
    scenes_approvals,
    scenes_calls,
    scenes_chats,
    scenes_crashes,
    scenes_faults,
    scenes_limits,
    scenes_memory,
    scenes_output,
    scenes_tools,
)

GROUPS: Final[Mapping[str, ModuleType]] = {
    "calls": scenes_calls,
    "faults": scenes_faults,
    "limits": scenes_limits,
    "approvals": scenes_approvals,
    "agents": scenes_agents,
    "output": scenes_output,
    "tools": scenes_tools,
    "memory": scenes_memory,
    "chats": scenes_chats,
    "crashes": scenes_crashes,
}
