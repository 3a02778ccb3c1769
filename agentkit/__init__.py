"""A function-calling agent framework for Gemini: the public names, imported when first used (PEP 562)."""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = (
    False  # a type checker takes it for typing's, which costs more to import than all that is here
)

if TYPE_CHECKING:
    from agentkit_local.model import LocalModel as LocalModel

    from agentkit.agent import Agent as Agent
    from agentkit.chats.chat import Chat as Chat
    from agentkit.chats.manager import ChatManager as ChatManager
    from agentkit.core.budget import Budget as Budget
    from agentkit.core.budget import Spending as Spending
    from agentkit.core.hooks import Hooks as Hooks
    from agentkit.core.rate_limit import RateLimit as RateLimit
    from agentkit.core.repair import RetryPolicy as RetryPolicy
    from agentkit.errors import AgentError as AgentError
    from agentkit.errors import ConfigurationError as ConfigurationError
    from agentkit.errors import DecisionError as DecisionError
    from agentkit.errors import HistoryError as HistoryError
    from agentkit.errors import MissingCredentials as MissingCredentials
    from agentkit.errors import ModelError as ModelError
    from agentkit.errors import RunStopped as RunStopped
    from agentkit.errors import SessionConflict as SessionConflict
    from agentkit.errors import SessionExists as SessionExists
    from agentkit.errors import SessionNotFound as SessionNotFound
    from agentkit.errors import StoreError as StoreError
    from agentkit.errors import StoreVersionError as StoreVersionError
    from agentkit.errors import ToolDeferred as ToolDeferred
    from agentkit.errors import ToolDefinitionError as ToolDefinitionError
    from agentkit.errors import ToolError as ToolError
    from agentkit.errors import ToolRetriesExceeded as ToolRetriesExceeded
    from agentkit.errors import ToolRetry as ToolRetry
    from agentkit.errors import ToolTimeout as ToolTimeout
    from agentkit.gemini.model import GeminiModel as GeminiModel
    from agentkit.limits import Limits as Limits
    from agentkit.limits import Usage as Usage
    from agentkit.memory.results import DropToolResults as DropToolResults
    from agentkit.memory.summary import Summarize as Summarize
    from agentkit.memory.tokens import TokenBudget as TokenBudget
    from agentkit.memory.turns import LastTurns as LastTurns
    from agentkit.model import Model as Model
    from agentkit.output import Output as Output
    from agentkit.run import Run as Run
    from agentkit.stores.postgres import PostgresStore as PostgresStore
    from agentkit.stores.sqlite import MemoryStore as MemoryStore
    from agentkit.stores.sqlite import SQLiteStore as SQLiteStore
    from agentkit.tooling.context import Context as Context
    from agentkit.tooling.decisions import Approve as Approve
    from agentkit.tooling.decisions import Deny as Deny
    from agentkit.tooling.decisions import Edit as Edit
    from agentkit.tooling.decisions import PendingCall as PendingCall
    from agentkit.tooling.decisions import Result as Result
    from agentkit.tooling.registry import ToolRegistry as ToolRegistry
    from agentkit.tooling.results import Media as Media
    from agentkit.tooling.sources import ToolSource as ToolSource
    from agentkit.tooling.tool import Tool as Tool
    from agentkit.tooling.tool import tool as tool
    from agentkit.traits import Price as Price
    from agentkit.wire.files import UploadedFile as UploadedFile
    from agentkit.wire.sources import Source as Source
else:  # a type checker sees the imports above, and so that a name isn't there
    _NAMES = {
        "agentkit.agent": "Agent",
        "agentkit.chats.chat": "Chat",
        "agentkit.chats.manager": "ChatManager",
        "agentkit.core.budget": "Budget Spending",
        "agentkit.core.hooks": "Hooks",
        "agentkit.core.rate_limit": "RateLimit",
        "agentkit.core.repair": "RetryPolicy",
        "agentkit.errors": "AgentError ConfigurationError DecisionError HistoryError MissingCredentials ModelError"
        " RunStopped SessionConflict SessionExists SessionNotFound StoreError StoreVersionError ToolDeferred"
        " ToolDefinitionError ToolError ToolRetriesExceeded ToolRetry ToolTimeout",
        "agentkit.gemini.model": "GeminiModel",
        "agentkit.limits": "Limits Usage",
        "agentkit.memory.results": "DropToolResults",
        "agentkit.memory.summary": "Summarize",
        "agentkit.memory.tokens": "TokenBudget",
        "agentkit.memory.turns": "LastTurns",
        "agentkit.model": "Model",
        "agentkit.output": "Output",
        "agentkit.traits": "Price",
        "agentkit.run": "Run",
        "agentkit.stores.postgres": "PostgresStore",
        "agentkit.stores.sqlite": "MemoryStore SQLiteStore",
        "agentkit.tooling.context": "Context",
        "agentkit.tooling.decisions": "Approve Deny Edit PendingCall Result",
        "agentkit.tooling.registry": "ToolRegistry",
        "agentkit.tooling.results": "Media",
        "agentkit.tooling.sources": "ToolSource",
        "agentkit.tooling.tool": "Tool tool",
        "agentkit.wire.files": "UploadedFile",
        "agentkit.wire.sources": "Source",
        "agentkit_local.model": "LocalModel",
    }
    _HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
    __all__ = sorted([*_HOMES, "__version__"])

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            from agentkit.errors import other_agentkit

            raise AttributeError(f"module 'agentkit' has no attribute {name!r}. {other_agentkit()}".rstrip())
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return __all__
