"""What makes tools hard to use for a model, or unsafe: one rule a function, one line and a fix each."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.chats.plain_text import one_line
from agentkit.cli.exits import UsageFault

if TYPE_CHECKING:
    from agentkit import Tool

CHANGES = frozenset(
    re.findall(
        r"\S+",
        "append approve archive assign book buy cancel change charge clear close commit copy create "
        "deactivate delete deploy destroy disable drop edit enable erase execute insert install kill merge "
        "modify move order overwrite patch pay post publish purchase push put refund register remove rename "
        "replace reset restart revoke save schedule send set start stop store submit transfer truncate "
        "uninstall unsubscribe update upload wipe write",
    )
)
"""Verbs of change: a tool whose name begins with one probably changes something."""

TAKEN = frozenset(
    re.findall(
        r"\S+",
        "$id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems "
        "minimum maximum anyOf oneOf properties additionalProperties required propertyOrdering default",
    )
)
"""Keywords of a schema that Gemini's documentation of `parametersJsonSchema` lists; others it may pass over."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule found."""

    rule: str
    tool: Tool
    problem: str
    fix: str

    def line(self) -> str:
        """Write it as `file:line: tool: problem. Fix. [rule]`."""
        place = place_in_file(self.tool)
        return one_line(f"{place}{self.tool.name}: {self.problem} {self.fix} [{self.rule}]")


Rule = Callable[[Sequence["Tool"], int], Iterator[Finding]]


def lint(tools: Sequence[Tool], *, off: Sequence[str] = (), most: int = 500) -> list[Finding]:
    """Look at tools by all rules that aren't off.

    Args:
        tools: The tools.
        off: Names of rules.
        most: How many tokens a declaration may cost.
    """
    found = [finding for name, rule in RULES.items() if name not in off for finding in rule(tools, most)]
    order = {tool.name: index for index, tool in enumerate(tools)}
    return sorted(found, key=lambda finding: order[finding.tool.name])


def no_description(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find tools that nobody says what they are for."""
    for tool in tools:
        if not tool.description.strip():
            yield Finding("no-description", tool, "It has no description.", "Write a docstring.")


def same_description(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find tools that a model can't tell apart by their descriptions."""
    seen: dict[str, Tool] = {}
    for tool in tools:
        said = " ".join(tool.description.lower().split())
        other = seen.setdefault(said, tool)
        if said and other is not tool:
            yield Finding(
                "same-description", tool, f"{other.name} has the same description.", "Say how they differ."
            )


def close_names(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find names that a model mixes up."""
    for index, tool in enumerate(tools):
        for other in tools[:index]:
            if are_close(tool.name, other.name):
                yield Finding(
                    "close-names", tool, f"Its name is almost that of {other.name}.", "Rename one of them."
                )


def are_close(one: str, two: str) -> bool:
    """Return whether names differ by case, signs, the order of words, or one letter of at least five."""
    words = [sorted(name.lower().replace("-", "_").replace(".", "_").split("_")) for name in (one, two)]
    short, long = sorted(("".join(one.lower().split("_")), "".join(two.lower().split("_"))), key=len)
    if words[0] == words[1] or short == long:
        return True
    if len(long) - len(short) > 1 or len(short) < 5:
        return False
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[at + (len(short) == len(long)) :] == long[at + 1 :]


def bare_parameter(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find parameters that nobody says what they mean."""
    for tool in tools:
        bare = [name for name, schema in parameters(tool).items() if not described(schema)]
        if bare:
            fix = "Describe each under Args: in the docstring, or with Field(description=...)."
            yield Finding("bare-parameter", tool, f"Not a word about {', '.join(bare)}.", fix)


def loose_type(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find schemas of which the server takes less than they say."""
    for tool in tools:
        for name, schema in parameters(tool).items():
            if isinstance(schema, Mapping) and not set(schema) & {
                "type",
                "anyOf",
                "oneOf",
                "enum",
                "$ref",
                "const",
            }:
                yield Finding(
                    "loose-type", tool, f"{name} may be anything.", "Give it a type that says what it is."
                )
        ignored = sorted(set(keywords(schema_of(tool))) - TAKEN)
        if ignored:
            fix = "Say it in the description too: agentkit checks it, and the model has to know."
            yield Finding("loose-type", tool, f"The server may pass over {', '.join(ignored)}.", fix)


def unmarked_write(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find tools that are called like a change, and of which nobody said whether they are one."""
    for tool in tools:
        verb = tool.name.lower().replace("-", "_").replace(".", "_").split("_")[0]
        if tool.effect is None and verb in CHANGES:
            fix = 'Mark it @tool(effect="write"), or "read" if it changes nothing.'
            yield Finding("unmarked-write", tool, f'"{verb}" sounds like a change, and nothing says so.', fix)


def write_without_approval(tools: Sequence[Tool], _: int) -> Iterator[Finding]:
    """Find changes that nobody is asked about."""
    for tool in tools:
        if tool.effect == "write" and tool.approval is False:
            fix = "Mark it @tool(approval=True), or with a function that says when."
            yield Finding("write-without-approval", tool, "It changes something, and nobody is asked.", fix)


def large_declaration(tools: Sequence[Tool], most: int) -> Iterator[Finding]:
    """Find declarations that cost too much in each request."""
    for tool in tools:
        if tokens_of(tool) > most:
            problem = f"It costs about {tokens_of(tool)} tokens in each request, more than {most}."
            yield Finding("large-declaration", tool, problem, "Shorten it, split it, or load it on demand.")


RULES: dict[str, Rule] = {
    "no-description": no_description,
    "same-description": same_description,
    "close-names": close_names,
    "bare-parameter": bare_parameter,
    "loose-type": loose_type,
    "unmarked-write": unmarked_write,
    "write-without-approval": write_without_approval,
    "large-declaration": large_declaration,
}


def tokens_of(tool: Tool) -> int:
    """Estimate what a declaration costs in tokens: a quarter of its bytes."""
    return (len(tool.encoded) + 3) // 4


def schema_of(tool: Tool) -> Mapping[str, Any]:
    """Return the schema of the arguments, as the model sees it."""
    wire: Any = tool.declaration
    return wire.get("parametersJsonSchema") or wire.get("parameters") or {}


def parameters(tool: Tool) -> Mapping[str, Any]:
    """Return the schema of each parameter."""
    return schema_of(tool).get("properties") or {}


def described(schema: Any) -> bool:
    """Return whether somebody says what a parameter means."""
    return isinstance(schema, Mapping) and bool(str(schema.get("description") or "").strip())


def keywords(schema: Any) -> Iterator[str]:
    """Go through the keywords of a schema and of all inside it; names of properties are none."""
    if isinstance(schema, list):
        for each in schema:
            yield from keywords(each)
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        yield key
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            for each in value.values():
                yield from keywords(each)
        elif key not in ("enum", "const", "default", "examples", "required"):
            yield from keywords(value)


def place_in_file(tool: Tool) -> str:
    """Return `file:line: ` of what a tool calls, or nothing where that isn't known."""
    from agentkit.tooling.callables import plain_function

    function = plain_function(tool.function)
    try:
        file, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return ""
    if file is None:
        return ""
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{line}: "


def read_settings(folder: Path) -> dict[str, Any]:
    """Read `[tool.agentkit.lint]` of the nearest pyproject.toml: `off`, a list of rules, and `max-tokens`.

    Raises:
        UsageFault: It can't be read, or has something else in it.
    """
    file = next(
        (
            each / "pyproject.toml"
            for each in (folder, *folder.parents)
            if (each / "pyproject.toml").is_file()
        ),
        None,
    )
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("agentkit", {}).get("lint", {})
    except (OSError, ValueError) as error:
        raise UsageFault(f"{file} can't be read: {error}") from None
    off, most = found.get("off", []), found.get("max-tokens", 500)
    if set(found) - {"off", "max-tokens"} or not isinstance(off, list) or type(most) is not int:
        raise UsageFault(
            f"{file}: [tool.agentkit.lint] has off = [rules] and max-tokens = a number, and no more."
        )
    if unknown := [each for each in off if each not in RULES]:
        raise UsageFault(f"{file}: there is no rule {unknown[0]!r}. The rules are {', '.join(RULES)}.")
    return {"off": off, "most": most}
