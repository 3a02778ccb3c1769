"""A function-calling agent framework for Gemini: the public names, imported when first used (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentkit._version import __version__

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.chats.chat import Chat
    from agentkit.chats.manager import ChatManager
    from agentkit.core.hooks import Hooks
    from agentkit.core.rate_limit import RateLimit
    from agentkit.core.repair import RetryPolicy
    from agentkit.errors import (
        AgentError,
        ConfigurationError,
        HistoryError,
        ModelError,
        RunStopped,
        SessionConflict,
        SessionNotFound,
        StoreError,
        ToolDeferred,
        ToolDefinitionError,
        ToolError,
        ToolRetry,
    )
    from agentkit.gemini.model import GeminiModel
    from agentkit.limits import Limits, Usage
    from agentkit.memory.results import DropToolResults
    from agentkit.memory.summary import Summarize
    from agentkit.memory.tokens import TokenBudget
    from agentkit.memory.turns import LastTurns
    from agentkit.model import Model
    from agentkit.models.local import LocalModel
    from agentkit.output import Output
    from agentkit.prices import Price
    from agentkit.run import Run
    from agentkit.stores.memory import MemoryStore
    from agentkit.stores.sql import SQLStore
    from agentkit.stores.sqlite import SQLiteStore
    from agentkit.tooling.context import Context
    from agentkit.tooling.decisions import Approve, Deny, Edit, PendingCall, Result
    from agentkit.tooling.registry import ToolRegistry
    from agentkit.tooling.results import Media
    from agentkit.tooling.tool import Tool, tool

__all__ = [
    "Agent",
    "AgentError",
    "Approve",
    "Chat",
    "ChatManager",
    "ConfigurationError",
    "Context",
    "Deny",
    "DropToolResults",
    "Edit",
    "GeminiModel",
    "HistoryError",
    "Hooks",
    "LastTurns",
    "Limits",
    "LocalModel",
    "Media",
    "MemoryStore",
    "Model",
    "ModelError",
    "Output",
    "PendingCall",
    "Price",
    "RateLimit",
    "Result",
    "RetryPolicy",
    "Run",
    "RunStopped",
    "SQLStore",
    "SQLiteStore",
    "SessionConflict",
    "SessionNotFound",
    "StoreError",
    "Summarize",
    "TokenBudget",
    "Tool",
    "ToolDeferred",
    "ToolDefinitionError",
    "ToolError",
    "ToolRegistry",
    "ToolRetry",
    "Usage",
    "__version__",
    "tool",
]

_HOMES = {
    "prices": ["Price"],
    "core.rate_limit": ["RateLimit"],
    "output": ["Output"],
    "core.hooks": ["Hooks"],
    "tooling.decisions": ["Approve", "Deny", "Edit", "PendingCall", "Result"],
    "agent": ["Agent"],
    "chats.chat": ["Chat"],
    "errors": [
        "AgentError",
        "ConfigurationError",
        "HistoryError",
        "ModelError",
        "RunStopped",
        "SessionConflict",
        "SessionNotFound",
        "StoreError",
        "ToolDeferred",
        "ToolDefinitionError",
        "ToolError",
        "ToolRetry",
    ],
    "limits": ["Limits", "Usage"],
    "chats.manager": ["ChatManager"],
    "memory.results": ["DropToolResults"],
    "memory.summary": ["Summarize"],
    "memory.tokens": ["TokenBudget"],
    "memory.turns": ["LastTurns"],
    "model": ["Model"],
    "gemini.model": ["GeminiModel"],
    "models.local": ["LocalModel"],
    "core.repair": ["RetryPolicy"],
    "run": ["Run"],
    "stores.memory": ["MemoryStore"],
    "stores.sql": ["SQLStore"],
    "stores.sqlite": ["SQLiteStore"],
    "tooling.context": ["Context"],
    "tooling.registry": ["ToolRegistry"],
    "tooling.results": ["Media"],
    "tooling.tool": ["Tool", "tool"],
}
_HOME_OF = {name: f"agentkit.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'agentkit' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
