"""What an agent and a single run may be told, and what of it can't work."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, Generic, Literal, cast

from typing_extensions import TypedDict

from agentkit.core.budget import Budget
from agentkit.core.config import merged_config
from agentkit.errors import ConfigurationError, DecisionError
from agentkit.limits import Limits
from agentkit.model import Model
from agentkit.tooling.config import config_in
from agentkit.tooling.context import Context, Deps
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.tooling.names import FIND_TOOLS, READ_RESULT
from agentkit.tooling.registry import Toolbox
from agentkit.tooling.tool import Tool
from agentkit.wire.arguments import takes
from agentkit.wire.content import JsonObject, Request, forced

if TYPE_CHECKING:
    from google.genai import types

    from agentkit.stores.records import GivenRecord

Instructions = str | Callable[[Context[Any]], Any] | None
"""A text, or a function of the context (sync or async) that returns one."""

ToolChoice = Literal["auto", "none", "required"] | Sequence[str] | Callable[[Context[Any]], Any]
"""`auto`: the model decides. `none`: no calls. `required`, or names of tools: the first turn makes a call.

A function of the context, sync or async, says one of these for each turn, None for `auto`.
"""


Approver = Callable[[PendingCall, Context[Any]], Any]
"""Decides about a call that needs approval, sync or async: `Approve()`, `Deny(why)`, `Edit(args)`, `Result(value)`,
or None: the run stops, and the call waits in `run.pending`."""

ChooseTools = Callable[[Context[Any]], Any]
"""Names the tools that the next turn has, sync or async; None is all."""


class RunOptions(TypedDict, Generic[Deps], total=False):
    """What a single run may be given, beside its input; what is left out is as the agent has it."""

    deps: Deps
    """What tools get as `ctx.deps`."""
    history: Iterable[Any] | None
    """Contents before the input: dicts in either casing, or `types.Content`."""
    model: str | Model | Sequence[str | Model] | None
    """Another model, or several, for this run."""
    instructions: Instructions
    """Other instructions, for this run."""
    tools: Iterable[Any] | Mapping[str, Any] | None
    """Other tools, for this run: they replace the agent's."""
    tool_choice: ToolChoice
    """Another tool choice, for this run; a function is asked before each turn."""
    limits: Limits | None
    """Other limits, for this run."""
    config: Mapping[str, Any] | types.GenerateContentConfig | None
    """More of the request, for this run: merged over the agent's config, field by field."""
    approver: Approver | None
    """Another approver, for this run."""


def check_instructions(instructions: Instructions) -> Instructions:
    """Refuse instructions that are none."""
    if instructions is None or isinstance(instructions, str) or callable(instructions):
        return instructions
    raise ConfigurationError(
        f"instructions={instructions!r}: give a text, or a function of the context that returns one."
    )


def check_settings(on_error: object, tool_timeout: object, on_max_tokens: object, max_chars: object) -> None:
    """Refuse settings of an agent that can't work."""
    if on_error not in ("respond", "raise"):
        raise ConfigurationError(f"Agent(on_error={on_error!r}): it is 'respond' or 'raise'.")
    seconds: Any = tool_timeout
    if seconds is not None and not (isinstance(seconds, (int, float)) and seconds > 0):
        raise ConfigurationError(f"Agent(tool_timeout={tool_timeout!r}): give seconds above 0, or None.")
    if on_max_tokens not in ("stop", "continue"):
        raise ConfigurationError(f"Agent(on_max_tokens={on_max_tokens!r}): it is 'stop' or 'continue'.")
    if not isinstance(max_chars, int) or max_chars < 500:
        raise ConfigurationError(f"Agent(max_result_chars={max_chars!r}): give a number, 500 or more.")


def check_options(options: RunOptions[Any], in_chat: bool, resumed: bool) -> None:
    """Refuse options that there aren't, or that don't fit where they are given."""
    unknown = set(options) - set(RunOptions.__annotations__)
    if unknown:
        raise ConfigurationError(
            f"A run has no option {sorted(unknown)[0]!r}; the options are {', '.join(RunOptions.__annotations__)}."
        )
    if in_chat and options.get("history") is not None:
        raise ConfigurationError("A chat has its own history: give history= to agent.chat().")
    if resumed and options.get("history") is not None:
        raise ConfigurationError("resume() goes on with the run's own history: leave out history=.")


def for_each(options: RunOptions[Any]) -> RunOptions[Any]:
    """Make options that many runs can have: an iterator would be used up by the first."""
    shared: Any = {name: list(v) if isinstance(v, Iterator) else v for name, v in options.items()}
    return shared  # type: ignore[no-any-return]


def check_observers(observers: object) -> tuple[Any, ...]:
    """Refuse observers that can't be called, or would have to be awaited."""
    listed = tuple(observers) if isinstance(observers, Iterable) else (observers,)
    for observer in listed:
        if not callable(observer) or inspect.iscoroutinefunction(observer) or not takes(observer, 2):
            raise ConfigurationError(
                f"Agent(observers=...): {observer!r:.100} isn't a function of an event and a context (not async)."
            )
    return listed


def check_budget(budget: object) -> Budget | None:
    """Refuse a budget that is none."""
    if budget is None or isinstance(budget, Budget):
        return budget
    raise ConfigurationError(
        f"Agent(budget={budget!r:.100}): give a Budget(5.0, per='day'), for example, or None."
    )


def check_decisions(decisions: object) -> Mapping[str, Decision]:
    """Refuse decisions that are not by the ids of calls."""
    if not isinstance(decisions, Mapping):
        raise DecisionError(
            f"decisions={short(decisions)}: give a decision for each call by its id: {{call_id: Approve()}}."
        )
    return dict(decisions)


def check_names(toolbox: Toolbox) -> Toolbox:
    """Refuse tools that have the name of one of agentkit's own."""
    tools = toolbox.tools
    if READ_RESULT in tools or (FIND_TOOLS in tools and any(tool.on_demand for tool in tools.values())):
        name = READ_RESULT if READ_RESULT in tools else FIND_TOOLS
        raise ConfigurationError(f"agentkit has a tool {name!r} of its own: give yours another name=.")
    return toolbox


def check_choice(choice: ToolChoice, toolbox: Toolbox) -> ToolChoice:
    """Refuse a tool choice that is none, or that no tool fits; a function is asked later."""
    if callable(choice):
        return choice
    return check_choice_of_turn(choice, toolbox.tools, more=bool(toolbox.sources))


def check_choice_of_turn(choice: Any, tools: Mapping[str, Tool], *, more: bool = False) -> str | list[str]:
    """Refuse a tool choice that is none, or that no tool fits, unless there may be more."""
    if not isinstance(choice, Iterable) or (
        isinstance(choice, str) and choice not in ("auto", "none", "required")
    ):
        raise ConfigurationError(
            f"tool_choice={choice!r:.100}: it is 'auto', 'none', 'required' or a list of names."
        )
    if isinstance(choice, str):
        if choice == "required" and not (tools or more):
            raise ConfigurationError("tool_choice='required', but there are no tools.")
        return choice
    names = list(choice)
    unknown = [name for name in names if name not in tools]
    if (unknown and not more) or not names:
        raise ConfigurationError(f"tool_choice={names!r}: name tools of the agent, which are {list(tools)}.")
    return names


def check_ends(choice: ToolChoice, limits: Limits) -> None:
    """Refuse a function that may force calls in every turn where no limit would end that."""
    ends = (limits.turns, limits.tool_calls, limits.tokens, limits.seconds, limits.cost)
    if callable(choice) and all(limit is None for limit in ends):
        raise ConfigurationError(
            "tool_choice= is a function: it may force a call in every turn, and such a run never ends by itself. Give"
            " a limit, such as Limits(turns=25)."
        )


def prepare(model: Model, tools: Mapping[str, Tool], choice: ToolChoice) -> None:
    """Tell a model what first requests to expect: the embedded one reads the tools ahead."""
    if callable(choice):
        choice = "auto"
    named = () if isinstance(choice, str) else choice
    first = [tool for tool in tools.values() if not tool.on_demand or tool.name in named]
    declared = [tool.declaration for tool in first if choice != "none"]
    request: JsonObject = {"contents": [], "tools": [{"functionDeclarations": declared}]}
    if choice == "required":
        request = forced(request, None)
    elif not isinstance(choice, str):
        request = forced(request, choice)
    model.prepare_for(cast(Request, request))


_AGAIN = ("deps", "output", "tools")
"""Options that can't be written down and that a run can't go on without. An approver may be missing: calls wait."""


def write_options(given: Mapping[str, Any]) -> JsonObject:
    """Write down what a run was given, as far as that is possible; the rest by name, in `again`."""
    written: JsonObject = {}
    if not given:
        return written
    again = [*given.get("again", ()), *(name for name in _AGAIN if given.get(name) is not None)]
    if callable(given.get("instructions")):
        again.append("instructions")
    elif "instructions" in given:
        written["instructions"] = given["instructions"] or ""
    if callable(given.get("tool_choice")):
        again.append("tool_choice")
    elif "tool_choice" in given:
        choice = given["tool_choice"]
        written["toolChoice"] = choice if isinstance(choice, str) else list(choice)
    if given.get("limits") is not None:
        written["limits"] = _written_limits(given["limits"])
    if given.get("config") is not None:
        written["config"] = config_in(given["config"])
    models = given.get("model")
    if models is not None:
        names = [models] if isinstance(models, (str, Model)) else list(models)
        if all(isinstance(name, str) for name in names):
            written["model"] = names
        else:
            again.append("model")
    return {**written, "again": again} if again else written


def _written_limits(limits: Limits) -> JsonObject:
    fields = {each.name: getattr(limits, each.name) for each in dataclasses.fields(limits)}
    prices = fields.pop("prices")
    return {
        **{name: value for name, value in fields.items() if value != getattr(_NO_LIMITS, name)},
        **({} if prices is None else {"prices": {name: price.to_wire() for name, price in prices.items()}}),
    }


_NO_LIMITS = Limits()


def read_options(written: GivenRecord) -> dict[str, Any]:
    """Read what `write_options` wrote; `again` names the options that have to be given again."""
    given = {name: value for name, value in written if value is not None}
    if (limits := written.limits_given()) is not None:
        given["limits"] = limits
    return given


def going_on(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with which a run goes on: those given now, else those that it was given; configs are merged.

    Raises:
        ConfigurationError: It was given something that was not written down, and has to be given again.
    """
    again = given.get("again")
    if again and (missing := [name for name in again if name not in options]):
        names = ", ".join(f"{name}=" for name in missing)
        raise ConfigurationError(
            f"This run was given {names} which can't be stored: give it to resume() again."
        )
    kept = {**given}
    kept.pop("again", None)
    if kept.get("config") is not None and "config" in options:
        options = {**options, "config": merged_config(kept["config"], options["config"])}
    return {**kept, **options}
