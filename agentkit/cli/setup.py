"""From what the command line says to an agent, and to the options of each of its runs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.cli.exits import EmbeddedModelMissing, UsageFault
from agentkit.cli.targets import agent_of, find_target, find_tools, is_queue, takes_model
from agentkit.cli.terminal import say
from agentkit.cli.values import key_and_value

if TYPE_CHECKING:
    from agentkit import Agent
    from agentkit.durable import Queue


@dataclass(frozen=True, slots=True)
class Setup:
    """An agent, and what each of its runs is given."""

    agent: Agent[Any]
    label: str
    """A short name for the target: ids of its sessions begin with it."""
    options: dict[str, Any] = field(default_factory=dict)
    queue: Queue | None = None
    """Its workers run the agent, where a queue was named."""

    def to_serve(self) -> Agent[Any]:
        """Return the agent with what its runs are given set in it.

        Raises:
            UsageFault: A ready-made agent was given tools, instructions or a model, which are its own.
        """
        if given := self.options.keys() - {"limits"}:
            raise UsageFault(f"{self.label} is an agent: set its {' and '.join(sorted(given))} there.")
        self.agent.limits = self.options.get("limits", self.agent.limits)
        return self.agent


def set_up(
    target: str | None,
    *,
    tools: Sequence[str] = (),
    model: str | None = None,
    instructions: str | None = None,
    config: Sequence[str] = (),
    queues: bool = False,
) -> Setup:
    """Make an agent of a target and what is said beside it.

    Args:
        target: What the command line names.
        tools: What it adds.
        model: Who answers.
        instructions: Text, or the file that has it.
        config: `name=value` each.
        queues: Whether the target may be a queue: then its one agent is meant.

    Raises:
        UsageFault: Something of it can't work.
        MissingCredentials: There is no key, and no embedded model.
        EmbeddedModelMissing: It was asked for by name.
    """
    from agentkit import Agent

    check_named(target, tools)
    added = [find_tools(each) for each in tools]
    found = find_target(target, queues=queues) if target else []
    said = None if instructions is None else read_instructions(instructions)
    wanted = read_config(config)
    label = label_of(target or tools[0])
    if isinstance(found, list):
        agent: Agent[Any] = Agent(
            choose_model(model), tools=[found, added], instructions=said, config=wanted, name=label
        )
        return _guarded(agent, label, {})
    options: dict[str, Any] = {"instructions": said, "config": wanted}
    options = {name: value for name, value in options.items() if value is not None}
    queue = found if is_queue(found) else None
    if queue is not None:
        if len(queue.agents) != 1:
            raise UsageFault(
                f"{target} has {len(queue.agents)} agents: the page needs a queue with exactly one."
            )
        (found,) = queue.agents.values()
    agent = agent_of(found, lambda: choose_model(model))
    if model is not None and not takes_model(found):
        options["model"] = choose_model(model)
    if added:
        options["tools"] = [agent.toolbox, *added]
    return dataclasses.replace(_guarded(agent, label, options), queue=queue)


def check_named(target: str | None, tools: Sequence[str]) -> None:
    """Refuse a command line that names nothing to talk to. Raises UsageFault."""
    if not target and not tools:
        raise UsageFault("Give a target (file.py, file.py:name, module:name), or tools with -t.")


def _guarded(agent: Agent[Any], label: str, options: dict[str, Any]) -> Setup:
    """Have calls that a stranger's words may have led to wait for approval: there is somebody to ask, or to deny."""
    if agent.limits.after_untrusted == "auto":
        options["limits"] = dataclasses.replace(agent.limits, after_untrusted="approve")
    return Setup(agent, label, options)


def choose_model(name: str | None) -> str | None:
    """Choose the model: the one asked for, else Gemini where there is a key, else the embedded one, which is said.

    Raises:
        MissingCredentials: There is no key, and the embedded model isn't installed.
        EmbeddedModelMissing: It was asked for, and isn't installed.
    """
    from agentkit_local.model import LocalModel, available

    from agentkit import ConfigurationError, GeminiModel, MissingCredentials

    asked = name or os.environ.get("AGENTKIT_MODEL")
    if asked == "local" and not available():
        try:
            LocalModel(start=False)
        except ConfigurationError as error:
            raise EmbeddedModelMissing(str(error)) from None
    if asked:
        return name
    try:
        GeminiModel().check_credentials()
    except MissingCredentials:
        if not available():
            raise
        say("No Gemini key is set (GEMINI_API_KEY): the small embedded model answers.")
        return "local"
    return None


def read_instructions(text: str) -> str:
    """Return instructions: the text itself, or what is in the file that it names.

    Raises:
        UsageFault: It is the name of a file that isn't there, or of one that isn't text.
    """
    path = Path(text)
    try:
        if path.is_file():
            return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UsageFault(f"-s {text}: the file isn't UTF-8 text.") from None
    except (OSError, ValueError):  # too long for a file's name, say
        return text
    if path.suffix in (".txt", ".md") and not text.count(" "):
        raise UsageFault(f"-s {text}: there is no such file.")
    return text


def read_config(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Read `key=value` pairs: the value is JSON where it can be, and dots in the key go into objects.

    The names of fields are looked at for every model: one that doesn't send them wouldn't tell.

    Raises:
        UsageFault: One has no `=`, or two don't go together.
        ConfigurationError: There is no such field, or it takes no such value.
    """
    if not pairs:
        return None
    config: dict[str, Any] = {}
    for pair in pairs:
        key, value = key_and_value(pair, f"-c {pair}: write key=value, such as temperature=0.")
        *outer, last = key.split(".")
        if not all(part.strip() for part in (*outer, last)):
            raise UsageFault(f"-c {pair}: a part of the name is empty.")
        inner: Any = config
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageFault(f"-c {pair}: {part} has a value already.")
        inner[last] = value
    from agentkit.gemini.config import checked, config_of
    from agentkit.tooling.config import config_in

    request: Any = config_in(config)
    checked(config_of(request))
    return config


def label_of(target: str) -> str:
    """Return a short name for a target: of its file or module, in letters, digits and `_`."""
    place = Path(target.partition("=")[0]).name.partition(":")[0].removesuffix(".py").rpartition(".")[2]
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in place)[:40] or "agent"
