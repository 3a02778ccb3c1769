"""What an agent and a single run may be told, and what of it can't work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from agentkit.core.survey import FIND_TOOLS
from agentkit.errors import ConfigurationError
from agentkit.limits import Limits
from agentkit.model import Model
from agentkit.tooling.context import Context
from agentkit.tooling.decisions import PendingCall
from agentkit.tooling.results import READ_ON
from agentkit.tooling.tool import Tool
from agentkit.wire.content import JsonObject, forced

Instructions = str | Callable[[Context[Any]], Any] | None
"""A text, or a function of the context (sync or async) that returns one."""

ToolChoice = Literal["auto", "none", "required"] | Sequence[str]
"""`auto`: the model decides. `none`: no calls. `required`, or names of tools: the first turn makes a call."""


Approver = Callable[[PendingCall, Context[Any]], Any]
"""Decides about a call that needs approval, sync or async: `Approve()`, `Deny(why)`, `Edit(args)`, `Result(value)`,
or None: the run stops, and the call waits in `run.pending`."""

ChooseTools = Callable[[Context[Any]], Any]
"""Names the tools that the next turn has, sync or async; None is all."""


class RunOptions(TypedDict, total=False):
    """What a single run may be given, beside its input; what is left out is as the agent has it."""

    deps: Any
    """What tools get as `ctx.deps`."""
    history: Iterable[Any] | None
    """Contents before the input: dicts in either casing, or `types.Content`."""
    model: str | Model | Sequence[str | Model] | None
    """Another model, or several, for this run."""
    instructions: Instructions
    """Other instructions, for this run."""
    tools: Iterable[Any] | None
    """Other tools, for this run: they replace the agent's."""
    tool_choice: ToolChoice
    """Another tool choice, for this run."""
    limits: Limits | None
    """Other limits, for this run."""
    approver: Approver | None
    """Another approver, for this run."""


def check_instructions(instructions: Instructions) -> Instructions:
    """Refuse instructions that are none."""
    if instructions is None or isinstance(instructions, str) or callable(instructions):
        return instructions
    raise ConfigurationError(
        f"instructions={instructions!r}: give a text, or a function of the context that returns one."
    )


def check_names(tools: dict[str, Tool]) -> dict[str, Tool]:
    """Refuse tools that have the name of one of agentkit's own."""
    if READ_ON in tools or (FIND_TOOLS in tools and any(tool.on_demand for tool in tools.values())):
        name = READ_ON if READ_ON in tools else FIND_TOOLS
        raise ConfigurationError(f"agentkit has a tool {name!r} of its own: give yours another name=.")
    return tools


def check_choice(choice: ToolChoice, tools: Mapping[str, Tool]) -> ToolChoice:
    """Refuse a tool choice that is none, or that no tool fits."""
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise ConfigurationError(
                f"tool_choice={choice!r}: it is 'auto', 'none', 'required' or a list of names."
            )
        if choice == "required" and not tools:
            raise ConfigurationError("tool_choice='required', but there are no tools.")
        return choice
    names = list(choice)
    unknown = [name for name in names if name not in tools]
    if unknown or not names:
        raise ConfigurationError(f"tool_choice={names!r}: name tools of the agent, which are {list(tools)}.")
    return names


def prepare(model: Model, tools: Mapping[str, Tool], choice: ToolChoice) -> None:
    """Tell a model what first requests to expect, if it wants to know: the embedded one reads the tools ahead."""
    prepare_for: Any = getattr(model, "prepare_for", None)
    if not callable(prepare_for):
        return
    declared = [tool.declaration for tool in tools.values() if choice != "none" and not tool.on_demand]
    request: JsonObject = {"contents": [], "tools": [{"functionDeclarations": declared}]}
    if choice == "required":
        request = forced(request, None)
    elif not isinstance(choice, str):
        request = forced(request, choice)
    prepare_for(request)
