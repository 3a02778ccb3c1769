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
    ConfigurationError,
    Hooks,
    LastTurns,
    Limits,
    MemoryStore,
    Output,
    PendingCall,
    Price,
    Source,
    UploadedFile,
    tool,
)
from agentkit.events import TextDelta, ToolStarted
from agentkit.testing import ScriptedModel
from tests.helpers.doors import FUNCTIONS, METHODS, add, agent, is_door, manager, public, registry, waiting

WRONG = [None, 3, -1, "x", "", b"x", True, 1.5, [], {}, (), object(), int, print, LastTurns(3), Limits()]
"""Given for each parameter; beside them, an agent, a chat, a run and a store."""

FREE = {"deps", "value", "extra"}
"""Parameters that take any object: it is handed on to the user's own code."""


AGENT: Any = Agent
LIMITS: Any = Limits
HOOKS: Any = Hooks
OUTPUT: Any = Output
TOOL: Any = tool

DOORS: dict[str, dict[str, Any]] = {
    **{each.__name__: given for each, given in FUNCTIONS.items()},
    **{f"{of}.{name}": given for of, (_, methods) in METHODS.items() for name, given in methods.items()},
}
"""By name, what each function is rightly given."""


def function_of(door: str) -> Any:
    """Return a public function; of what has methods, one that was made for it."""
    of, _, name = door.partition(".")
    if not name:
        return next(each for each in FUNCTIONS if each.__name__ == door)
    function = getattr(METHODS[of][0](), name)
    return asynchronous(function) if "Async" in of else function


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


def parameters(function: Any) -> Iterator[str]:
    """Name the parameters of a function, those of its options too."""
    from agentkit.core.options import RunOptions
    from agentkit.tooling.options import ToolOptions

    for name, each in inspect.signature(function).parameters.items():
        if each.kind is each.VAR_KEYWORD and "Options" in str(each.annotation):
            yield from (RunOptions if "RunOptions" in str(each.annotation) else ToolOptions).__annotations__
        elif each.kind is not each.VAR_KEYWORD or each.annotation != "Any":
            yield name


def wrong_values() -> list[Any]:
    run = Agent(ScriptedModel(["Hi."])).run("Hi")
    return [*WRONG, agent(), agent().chat(), run, MemoryStore(), registry()]


def attempt(function: Any, kwargs: dict[str, Any], name: str, value: Any) -> str:
    """Call a function; return what is wrong with how it takes the value, or nothing."""
    given = {
        key: each() if getattr(each, "__name__", "") == "<lambda>" else each for key, each in kwargs.items()
    }
    given[name] = value
    positional = []
    for each in inspect.signature(function).parameters.values():
        if each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) and each.name in given:
            positional.append(given.pop(each.name))
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


def test_there_is_no_public_function_that_is_not_tried() -> None:
    names = {name for name, _ in public()}
    tried = {each.split()[-1] for each in DOORS}
    assert {name for name in names if is_door(name)} <= tried


@pytest.mark.parametrize("door", DOORS)
def test_a_function_refuses_what_it_cannot_use(
    door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kwargs = DOORS[door]
    faults = []
    values = wrong_values()
    for name in parameters(function_of(door)):
        for value in values:
            given = {**kwargs, "run": waiting().run("Hi")} if "waiting" in door else kwargs
            faults.append(attempt(function_of(door), given, name, value))
    assert not [each for each in faults if each]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AGENT(system_instruction="x"), "Agent has no system_instruction=. Did you mean instructions=...?"),
        (lambda: AGENT(system_prompt="x"), "Did you mean instructions=...?"),
        (lambda: AGENT(max_turns=3), r"Did you mean limits=Limits(turns=...)?"),
        (lambda: LIMITS(max_steps=3), "Limits has no max_steps=. Did you mean turns=...?"),
        (lambda: AGENT(mcp_servers=[]), "Agent has no mcp_servers=. Did you mean tools=[MCP(...)]?"),
        (lambda: agent().run("x", max_steps=3), "Agent.run has no max_steps=. Did you mean limits=Limits(turns=...)?"),
        (lambda: AGENT(api_key="x"), "Did you mean client=genai.Client(api_key=...)?"),
        (lambda: agent().run("x", api_key="x"), "Did you mean GeminiModel(name, api_key=...) as the model"),
        (lambda: AGENT(functions=[add]), "Did you mean tools=[...]?"),
        (lambda: agent().run("x", stream=True), "Did you mean .stream(...) of an agent, or .send_message_stream("),
        (lambda: agent().chat().send_message("x", stream=True), "or .send_message_stream(...) of a chat?"),
        (lambda: asyncio.run(agent().aio.run("x", stream=True)), "Did you mean .stream(...) of an agent"),
        (lambda: AGENT(output=int), "Did you mean run(..., output=...)?"),
        (lambda: AGENT(approver=lambda call: None), "approver=<function>): give a function that takes (PendingCall, "),
        (lambda: AGENT(instructions=lambda: ""), "give a text, a function that takes (Context) or None."),
        (lambda: AGENT(observers=[lambda event: None]), "isn't a function of an event and a context"),
        (lambda: HOOKS(before_tool=lambda args: None), "give a function that takes (dict, Context)"),
        (lambda: OUTPUT(int, validator=lambda value: value), "give a function that takes (T, Context)"),
        (lambda: OUTPUT({"type": "object"}), "give a type. For a JSON schema that is Annotated"),
        (lambda: TOOL(approval=lambda args: True)(add), "give True, False or a function of the args and the context"),
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
    assert (Agent.run.__doc__ or "").startswith("Ask the model, run the tools")


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


@pytest.mark.parametrize(
    "wire", [{}, [], None, "x", 3, {"a": 1}, {"kind": "web", "spans": [[1]]}, {"uri": 1, "long": {}}]
)
@pytest.mark.parametrize("reads", [PendingCall, Price, Source, UploadedFile])
def test_a_reader_of_what_to_wire_made_says_that_it_is_none(reads: Any, wire: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"This isn't a {reads.__name__}: "):
        reads.from_wire(wire)
