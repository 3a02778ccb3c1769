"""The public functions, found by looking, and what each is rightly given: for tests of what they are wrongly given."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterator
from datetime import date
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import agentkit_tools
from agentkit_tools.clock import clock_tools
from agentkit_tools.files import files
from agentkit_tools.todo import plan_in, plan_of, show
from agentkit_tools.weather import weather_tools
from agentkit_tools.weather_demo import DemoServer
from agentkit_tools.web import web_tools

import agentkit as ak
from agentkit import (
    Agent,
    AgentError,
    ChatManager,
    MemoryStore,
    Price,
    RateLimit,
    SQLiteStore,
    Tool,
    ToolRegistry,
)
from agentkit.durable import Queue, SharedRateLimit, SharedSpending
from agentkit.events import from_wire
from agentkit.mcp import MCP
from agentkit.mcp.serve import http_app
from agentkit.mcp.server import make_server
from agentkit.serve import (
    MemoryEventLog,
    create_app,
    create_gemini_app,
    serve_gemini,
    serve_page,
    session_html,
)
from agentkit.skills import Skills
from agentkit.testing import ChaosModel, ScriptedModel, call, check_history, fault, reply

MODULES = [
    *(f"agentkit{each}" for each in ("", ".durable", ".events", ".mcp", ".mcp.serve", ".mcp.server", ".serve")),
    *("agentkit.skills", "agentkit.testing"),
    *(f"agentkit_tools.{each.name}" for each in pkgutil.iter_modules(agentkit_tools.__path__) if each.name[0] != "_"),
]  # fmt: skip

NO_DOORS = {
    "a value that users are handed": "Run Context PendingCall Source UploadedFile Usage Chat DurableEventLog Workers"
    " Task TaskEnded TaskStarted Prompt Resource Skill Step Tool AsyncQueue",
    "what the loop asks of a model, with a request that it made": "*.generate *.agenerate *.stream *.astream"
    " *.count_tokens *.acount_tokens *.upload *.aupload *.prepare_for",
    "what the loop asks of its settings": "*.view Tool.bind Context.at Context.progress Budget.taking"
    " SharedSpending.* SharedRateLimit.settle Limits.check_prices"
    " RetryPolicy.delay RateLimit.settle Agent.run_inside SessionStore.write SessionStore.wait",
    "what the server and the workers ask": "*EventLog.* Queue.fire answer nothing_printed",
    "a reader of what `to_wire` made of it": "Usage.from_wire Source.from_wire UploadedFile.from_wire"
    " PendingCall.from_wire Price.from_wire read_by_model write_by_model to_wire",
    "it makes a model of what it is given, which is a door, and asks Google": "GeminiModel.list GeminiModel.alist",
    "a tool: its arguments are a model's, and its schema checks them": "ask calculate convert write_todo",
    "it hands all on to `make_server`, and serves": "serve_stdio serve_http",
    "a part of a ready-made tool": "find_zone",
}  # fmt: skip


def public() -> Iterator[tuple[str, Any]]:
    """Find the public functions, classes and methods that take something, with their names."""
    for name in MODULES:
        module = importlib.import_module(name)
        for each in getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]:
            value = getattr(module, each)
            home = getattr(value, "__module__", "")
            if not isinstance(value, (type, types.FunctionType)) or not home.startswith("agentkit"):
                continue
            if home != name and (name.startswith("agentkit_tools") or name.count(".") == 2):
                continue
            if isinstance(value, types.FunctionType):
                yield value.__name__, value
            elif not issubclass(value, BaseException) and name != "agentkit.events":
                yield from _methods(value)


def _methods(of: Any) -> Iterator[tuple[str, Any]]:
    if getattr(of, "_is_protocol", False):
        return
    for name in ("__init__", *(each for each in dir(of) if each[0] != "_")):
        static = inspect.getattr_static(of, name)
        function = getattr(static, "__func__", static)
        if isinstance(function, types.FunctionType) and len(inspect.signature(function).parameters) > 1:
            yield (of.__name__, of) if name == "__init__" else (function.__qualname__, function)


def is_door(name: str) -> bool:
    """Return whether users give something there, and are told what is wrong with it."""
    return not any(fnmatch(name, each) for names in NO_DOORS.values() for each in names.split())


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent() -> Any:
    """Make an agent that says hello."""
    return Agent(ScriptedModel(["Hello."] * 9), tools=[add])


def waiting() -> Any:
    """Make an agent whose runs wait for an approval."""
    pay = Tool.of(ak.tool(name="pay", approval=True)(add))
    return Agent(ScriptedModel([call("pay", a=1, b=2), "Done.", "Done."]), tools=[pay])


def store() -> Any:
    """Make a store with a chat."""
    made = MemoryStore()
    made.create("a")
    return made


def manager() -> ChatManager:
    """Make a manager with a chat."""
    return ChatManager(agent(), store())


def registry() -> ToolRegistry:
    """Make a registry with a tool."""
    made = ToolRegistry("r")
    made.tool(add)
    return made


@cache
def queue() -> Queue:
    """Return a queue, the same for all: making one takes a while."""
    return Queue(agent(), store=SQLiteStore(Path.cwd() / "queue.db"))


@cache
def mcp() -> MCP:
    """Return an MCP server in this process, the same for all."""
    return MCP(make_server([add]))


def told(_: str) -> None:
    """End what would serve."""
    raise AgentError("It serves.")


def price() -> Price:
    """Make a price."""
    return Price(input=1.0, output=2.0)


SLOT = RateLimit().reserve(0)
CHAT: dict[str, dict[str, Any]] = {
    "send_message": {"message": "Hi"},
    "send_message_stream": {"message": "Hi"},
    "count_tokens": {"message": "Hi"},
    "get_messages": {},
    "get_history": {},
    "fork": {},
    "resolve": {"call_id": "c", "retry": True},
    "resume": {},
    "resume_stream": {},
    "save": {"file": "chat.json"},
    "load": {"file": "chat.json"},
}
AGENT: dict[str, dict[str, Any]] = {
    "run": {"input": "Hi"},
    "stream": {"input": "Hi"},
    "count_tokens": {"input": "Hi"},
    "map": {"inputs": ["Hi"]},
    "chat": {},
    "upload": {"file": b"x"},
}
MANAGER: dict[str, dict[str, Any]] = {
    **{name: {**CHAT[name], "id": "a"} for name in ("send_message", "resolve", "resume", "resume_stream")},
    "create": {},
    "delete_session": {"id": "a"},
    "expire": {"id": "a", "expires_in": None},
    "export_session": {"id": "a"},
    "fork": {"id": "a"},
    "get": {"id": "a"},
    "get_history": {"id": "a"},
    "import_session": {"exported": "{}"},
    "info": {"id": "a"},
    "list": {},
    "pending": {"id": "a"},
    "rename": {"id": "a", "title": "t"},
    "search": {"text": "x"},
    "undo": {"id": "a"},
}
QUEUE: dict[str, dict[str, Any]] = {
    "cancel": {"task": "t"},
    "decide": {"chat": "c", "decisions": {}},
    "get": {"task": "t"},
    "list": {},
    "resolve": {"chat": "c", "call_id": "i", "retry": True},
    "retry": {"task": "t"},
    "schedule": {"name": "n", "cron": "* * * * *", "chat": "c", "message": "Hi"},
    "send": {"chat": "c", "message": "Hi"},
    "unschedule": {"name": "n"},
    "wait": {"task": "t", "timeout": 0.0},
    "watch": {"task": "t"},
}
METHODS: dict[str, tuple[Callable[[], Any], dict[str, dict[str, Any]]]] = {
    "Agent": (agent, {**AGENT, "as_tool": {}}),
    "AsyncAgent": (lambda: agent().aio, AGENT),
    "AsyncChat": (lambda: agent().aio.chat(), {name: CHAT[name] for name in CHAT if name != "get_history"}),
    "AsyncMCP": (lambda: mcp().aio, {"read": {"uri": "u"}, "prompt": {"name": "p"}}),
    "AsyncQueue": (lambda: queue().aio, QUEUE),
    "Chat": (lambda: agent().chat(), CHAT),
    "ChatManager": (manager, MANAGER),
    "Context": (lambda: ak.Context(deps=None), {"add_usage": {"usage": ak.Usage()}}),
    "DemoServer": (DemoServer, {"weather_tools": {}}),
    "MCP": (mcp, {"read": {"uri": "u"}, "prompt": {"name": "p"}, "from_config": {"path": "mcp.json"}}),
    "Media": (lambda: ak.Media(b"x", "image/png"), {"save": {"path": "x.png"}}),
    "Output": (lambda: ak.Output(int), {"parse": {"text": "1"}, "so_far": {"text": "1"}}),
    "Price": (price, {"in_tier": {"tier": "flex"}, "on": {"day": date(2026, 11, 28)}}),
    "Queue": (queue, {**QUEUE, "workers": {}}),
    "RateLimit": (
        RateLimit,
        {"give_back": {"slot": SLOT}, "reserve": {"tokens": 1}, "slow_down": {}},
    ),
    "Run": (lambda: ak.Run, {"from_json": {"text": "{}"}}),
    "SharedRateLimit": (
        lambda: SharedRateLimit(queue().store, "r"),
        {"give_back": {"slot": SLOT}, "reserve": {"tokens": 1}, "slow_down": {}},
    ),
    "SessionStore": (
        store,
        {
            "create": {"id": "b"},
            "list": {},
            "search": {"text": "x"},
            "rename": {"id": "a", "title": "t"},
            "expire": {"id": "a", "at": None},
            "delete_expired": {"now": 0.0},
            "result": {"id": "a", "result_id": "r"},
            **{name: {"id": "a"} for name in ("load", "info", "results", "delete")},
        },
    ),
    "Tool": (
        lambda: Tool.of(add),
        {"of": {"source": add}, "replace": {}, "from_declaration": {"declaration": {"name": "x"}, "handler": add}},
    ),
    "ToolRegistry": (
        registry,
        {
            "add": {"source": add},
            "tool": {"function": add},
            "get": {"name": "add"},
            "merge": {},
            "prefixed": {"prefix": "p"},
            "remove": {"name": "add"},
            "select": {},
        },
    ),
    "Usage": (
        ak.Usage,
        {name: {} for name in ("cost", "known_cost", "saved", "why_incomplete", "why_unpriced")},
    ),
    "waiting Agent": (waiting, {"resume": {}, "resume_stream": {}}),
    "waiting AsyncAgent": (lambda: waiting().aio, {"resume": {}, "resume_stream": {}}),
}  # fmt: skip
FUNCTIONS: dict[Any, dict[str, Any]] = {  # what is a function without a name here is called for the value
    Agent: {"model": ScriptedModel([]), "tools": [add]},
    ak.Budget: {"usd": 1.0},
    ak.Deny: {},
    ak.DropToolResults: {"keep": 1},
    ak.Edit: {"args": {}},
    ak.GeminiModel: {"name": "gemini-3.8-flash"},
    ak.Hooks: {},
    ak.LastTurns: {"n": 3},
    ak.Limits: {},
    ak.LocalModel: {},
    ak.Media: {"data": b"x", "mime_type": "image/png"},
    ak.Output: {"type": int},
    ak.PostgresStore: {"url": "nowhere"},
    ak.Result: {"value": 1},
    ak.RetryPolicy: {},
    ak.Summarize: {"after_turns": 9, "keep": 3},
    ak.TokenBudget: {"tokens": 1000},
    ak.tool: {"function": add},
    ChaosModel: {"model": ScriptedModel([]), "p": 0.5},
    ChatManager: {"agent": agent()},
    DemoServer: {},
    MCP: {"server": "nothing"},
    MemoryEventLog: {},
    Price: {"input": 1.0, "output": 2.0},
    Queue: {"agents": agent(), "store": lambda: queue().store},
    RateLimit: {},
    SQLiteStore: {"path": ":memory:"},
    ScriptedModel: {"script": []},
    SharedRateLimit: {"store": lambda: queue().store, "name": "r"},
    SharedSpending: {"store": lambda: queue().store},
    Skills: {},
    ToolRegistry: {},
    call: {"name": "add"},
    check_history: {"contents": []},
    clock_tools: {},
    create_app: {"agent": agent()},
    create_gemini_app: {"agent": agent(), "key": "k"},
    fault: {"code": 503},
    files: {"root": "."},
    from_wire: {"wire": {"type": "text_delta", "text": "x"}},
    http_app: {"source": [add]},
    make_server: {"source": [add]},
    plan_in: {"contents": []},
    plan_of: {"response": {}},
    reply: {},
    serve_gemini: {"agent": agent(), "key": "k", "host": "256.0.0.1", "announce": told},
    serve_page: {"agent": agent(), "host": "256.0.0.1", "announce": told},
    session_html: {"session": lambda: store().load("a")},
    show: {"plan": []},
    weather_tools: {},
    web_tools: {},
}
