"""Every public function says what is wrong with a wrong value, and what a name of another library is called here."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from agentkit import (
    Agent,
    AgentError,
    Approve,
    ChatManager,
    ConfigurationError,
    DropToolResults,
    GeminiModel,
    Hooks,
    LastTurns,
    Limits,
    Media,
    MemoryStore,
    Output,
    Price,
    RateLimit,
    Result,
    RetryPolicy,
    SQLiteStore,
    Summarize,
    TokenBudget,
    Tool,
    ToolRegistry,
    tool,
)
from agentkit.events import TextDelta, ToolStarted
from agentkit.testing import ChaosModel, ScriptedModel, call

WRONG = [None, 3, -1, "x", "", b"x", True, 1.5, [], {}, (), object(), int, print, LastTurns(3), Limits()]
"""Given for each parameter; beside them, an agent, a chat, a run and a store."""

FREE = {"deps", "value", "extra"}
"""Parameters that take any object: it is handed on to the user's own code."""


AGENT: Any = Agent
LIMITS: Any = Limits


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent() -> Any:
    return Agent(ScriptedModel(["Hello."] * 9), tools=[add])


def waiting() -> Any:
    """Return a run that waits for an approval."""
    pay = Tool.of(tool(name="pay", approval=True)(add))
    return Agent(ScriptedModel([call("pay", a=1, b=2), "Done.", "Done."]), tools=[pay])


def manager() -> ChatManager:
    chats = ChatManager(agent(), MemoryStore())
    chats.create("a")
    return chats


def registry() -> ToolRegistry:
    made = ToolRegistry("r")
    made.tool(add)
    return made


def asynchronous(of: Any) -> Callable[..., Any]:
    """Make a sync function of an async one, or of one that returns an async stream."""

    @wraps(of)
    def wait(*args: Any, **kwargs: Any) -> Any:
        async def whole() -> Any:
            result = of(*args, **kwargs)
            if inspect.isawaitable(result) and not hasattr(result, "__aiter__"):
                return await result
            if hasattr(result, "__aiter__"):
                return [each async for each in result]
            return result

        return asyncio.run(whole())

    return wait


CONSTRUCTORS: dict[Any, dict[str, Any]] = {
    Agent: {"model": ScriptedModel([]), "tools": [add]},
    ChatManager: {"agent": agent()},
    ChaosModel: {"model": ScriptedModel([]), "p": 0.5},
    DropToolResults: {"keep": 1},
    GeminiModel: {"name": "gemini-3.8-flash"},
    Hooks: {},
    LastTurns: {"n": 3},
    Limits: {},
    Media: {"data": b"x", "mime_type": "image/png"},
    Output: {"type": int},
    Price: {"input": 1.0, "output": 2.0},
    RateLimit: {},
    Result: {"value": 1},
    RetryPolicy: {},
    ScriptedModel: {"script": []},
    SQLiteStore: {"path": ":memory:"},
    Summarize: {"after_turns": 9, "keep": 3},
    TokenBudget: {"tokens": 1000},
    ToolRegistry: {},
}
MADE: dict[str, tuple[Callable[[], Any], dict[str, dict[str, Any]]]] = {
    "Agent": (
        agent,
        {
            "run": {"input": "Hi"},
            "stream": {"input": "Hi"},
            "count_tokens": {"input": "Hi"},
            "map": {"inputs": ["Hi"]},
            "chat": {},
            "as_tool": {},
        },
    ),
    "AsyncAgent": (
        lambda: agent().aio,
        {
            "run": {"input": "Hi"},
            "stream": {"input": "Hi"},
            "count_tokens": {"input": "Hi"},
            "map": {"inputs": ["Hi"]},
            "chat": {},
        },
    ),
    "Agent, waiting": (waiting, {"resume": {}}),
    "AsyncAgent, waiting": (lambda: waiting().aio, {"resume": {}}),
    "Chat": (
        lambda: agent().chat(),
        {
            "send_message": {"message": "Hi"},
            "send_message_stream": {"message": "Hi"},
            "count_tokens": {"message": "Hi"},
            "get_messages": {},
            "get_history": {},
            "fork": {},
            "resolve": {"call_id": "c"},
            "resume": {},
            "save": {"file": "chat.json"},
            "load": {"file": "chat.json"},
        },
    ),
    "AsyncChat": (
        lambda: agent().aio.chat(),
        {
            "send_message": {"message": "Hi"},
            "send_message_stream": {"message": "Hi"},
            "count_tokens": {"message": "Hi"},
            "get_messages": {},
            "fork": {},
            "resolve": {"call_id": "c"},
            "resume": {},
            "save": {"file": "chat.json"},
            "load": {"file": "chat.json"},
        },
    ),
    "ChatManager": (
        manager,
        {
            "create": {},
            "get": {"id": "a"},
            "send_message": {"id": "a", "message": "Hi"},
            "get_history": {"id": "a"},
            "search": {"text": "x"},
            "list": {},
            "export_session": {"id": "a"},
            "import_session": {"archive": "{}"},
            "delete_session": {"id": "a"},
        },
    ),
    "ToolRegistry": (
        registry,
        {"add": {"source": add}, "remove": {"name": "add"}, "select": {}, "prefixed": {"prefix": "p"}},
    ),
}


def parameters(function: Any) -> Iterator[str]:
    """Name the parameters of a function, those of its options too."""
    from agentkit.core.options import RunOptions
    from agentkit.tooling.options import ToolOptions

    for name, each in inspect.signature(function).parameters.items():
        if each.kind is each.VAR_KEYWORD:
            yield from (RunOptions if "RunOptions" in str(each.annotation) else ToolOptions).__annotations__
        elif name != "self":
            yield name


def wrong_values() -> list[Any]:
    run = Agent(ScriptedModel(["Hi."])).run("Hi")
    return [*WRONG, agent(), agent().chat(), run, MemoryStore(), registry()]


def attempt(function: Any, kwargs: dict[str, Any], name: str, value: Any) -> str:
    """Call a function; return what is wrong with how it takes the value, or nothing."""
    given = {**kwargs, name: value}
    positional = [
        given.pop(each.name)
        for each in inspect.signature(function).parameters.values()
        if each.kind is each.POSITIONAL_ONLY and each.name in given
    ]
    try:
        result = function(*positional, **given)
        if hasattr(result, "__next__"):
            with closing(result):
                list(result)
    except (AgentError, OSError):
        return ""
    except Exception as error:
        return f"{name}={type(value).__name__} {value!r:.40}: {type(error).__name__}: {error}"
    if type(value) is object and name not in FREE:
        return f"{name}=object() is taken"
    return ""


@pytest.mark.parametrize("made", CONSTRUCTORS, ids=lambda each: each.__name__)
def test_a_class_is_not_made_with_what_it_cannot_use(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kwargs = CONSTRUCTORS[made]
    made(**kwargs)
    faults = [attempt(made, kwargs, name, value) for name in parameters(made) for value in wrong_values()]
    assert not [each for each in faults if each]


@pytest.mark.parametrize(
    ("of", "method"), [pytest.param(of, name, id=f"{of}.{name}") for of in MADE for name in MADE[of][1]]
)
def test_a_method_refuses_what_it_cannot_use(
    of: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, methods = MADE[of]
    faults = []
    for name in parameters(getattr(make(), method)):
        for value in wrong_values():
            it, kwargs = make(), dict(methods[method])
            if "waiting" in of:
                kwargs["run"] = waiting().run("Hi")
            function = getattr(it, method)
            if of.startswith("Async"):
                function = asynchronous(function)
            faults.append(attempt(function, kwargs, name, value))
    assert not [each for each in faults if each]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AGENT(system_instruction="x"), "Agent has no system_instruction=. Did you mean instructions=...?"),
        (lambda: AGENT(system_prompt="x"), "Did you mean instructions=...?"),
        (lambda: AGENT(max_turns=3), r"Did you mean limits=Limits(turns=...)?"),
        (lambda: LIMITS(max_steps=3), "Limits has no max_steps=. Did you mean turns=...?"),
        (lambda: agent().run("x", max_steps=3), "Agent.run has no max_steps=. Did you mean limits=Limits(turns=...)?"),
        (lambda: AGENT(api_key="x"), "Did you mean client=genai.Client(api_key=...)?"),
        (lambda: agent().run("x", api_key="x"), "Did you mean GeminiModel(name, api_key=...) as the model"),
        (lambda: AGENT(functions=[add]), "Did you mean tools=[...]?"),
        (lambda: agent().run("x", stream=True), "Did you mean .stream(...) of an agent, or .send_message_stream("),
        (lambda: agent().chat().send_message("x", stream=True), "or .send_message_stream(...) of a chat?"),
        (lambda: asyncio.run(agent().aio.run("x", stream=True)), "Did you mean .stream(...) of an agent"),
        (lambda: AGENT(instruktions="x"), "Did you mean instructions=?"),
        (lambda: AGENT(temperature=0), 'Did you mean config={"temperature": 0, ...}?'),
        (lambda: AGENT(retries=3), "Did you mean retry=RetryPolicy(attempts=...)?"),
        (lambda: agent().chat("a", "chats.db"), "Agent.chat(store='chats.db'): give SQLiteStore(\"chats.db\")"),
        (lambda: agent().chat("a", Path("chats.db")), "give SQLiteStore("),
        (lambda: agent().chat(3), "Agent.chat(id=3): give a text or None."),
        (lambda: AGENT(limits={"turns": 3}), "Agent(limits={'turns': 3}): give Limits(turns=12) or None."),
        (lambda: AGENT("gemini-3.8-flash", client="abc"), "Agent(client='abc'): give a genai.Client(...) or None."),
        (lambda: AGENT(retry=3), "Agent(retry=3): give RetryPolicy(attempts=3) or None."),
        (lambda: waiting().resume(waiting().run("x"), [Approve()]), "Agent.resume(decisions=["),
        (lambda: agent().run("x", history=waiting().run("x")), "Agent.run(history=<Run>): give a list"),
        (lambda: agent().run("x", history=agent().chat()), "Agent.run(history=<Chat>): give a list"),
        (lambda: copy.deepcopy(agent()), "Agent can't be copied or pickled: share it"),
        (lambda: pickle.dumps(agent()), "Agent can't be copied or pickled"),
        (lambda: copy.deepcopy(agent().chat()), "Chat can't be copied or pickled: fork()"),
        (lambda: pickle.dumps(agent().aio.chat()), "AsyncChat can't be copied or pickled"),
        (lambda: copy.copy(manager()), "ChatManager can't be copied or pickled"),
    ],
)  # fmt: skip
def test_an_error_names_what_was_given_and_where_and_what_to_do(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert words in str(caught.value)


def test_what_a_function_takes_by_default_can_always_be_said() -> None:
    run = agent().run("Hi", output=None, history=None, model=None, tools=None, limits=None, approver=None)
    assert run.text == "Hello."
    assert Limits(turns=None).turns is None


def test_a_client_of_googles_is_taken_wherever_it_was_imported() -> None:
    from google import genai

    assert Agent("gemini-3.8-flash", client=genai.Client(api_key="k")).model.name == "gemini-3.8-flash"


def test_the_signatures_stay_as_they_are_written() -> None:
    assert list(inspect.signature(Agent).parameters)[:3] == ["model", "tools", "instructions"]
    assert inspect.iscoroutinefunction(Agent("local", tools=[add]).aio.run)
    assert (Agent.run.__doc__ or "").startswith("Ask, run the tools")


def test_an_async_stream_may_be_awaited_first() -> None:
    async def read() -> list[str]:
        texts = [event.text async for event in await agent().aio.chat().send_message_stream("Hi")
                 if isinstance(event, TextDelta)]  # fmt: skip
        async with await agent().aio.stream("Hi") as events:
            return texts + [text async for text in events.texts()]

    assert asyncio.run(read()) == ["Hello.", "Hello."]


def test_who_asks_an_event_for_text_is_led_to_texts() -> None:
    started: Any = ToolStarted(call_id="c", name="n", args={})
    with pytest.raises(AttributeError, match=r"ToolStarted has no text.*\.texts\(\)"):
        print(started.text)
    assert str(TextDelta("Hi")) == "TextDelta(text='Hi')"
