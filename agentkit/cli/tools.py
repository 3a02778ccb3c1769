"""`agentkit tools`: what the model sees of tools, what that costs, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.chats.plain_text import clip, one_line, value_text
from agentkit.cli import terminal
from agentkit.cli.exits import ANSWERED, FAILED, Leave, UsageFault
from agentkit.cli.run import Target, Tools
from agentkit.cli.values import json_of, key_and_value

if TYPE_CHECKING:
    from agentkit import Tool

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Show tools as the model sees them; call and check them.",
)


def tools_of(target: str | None, added: list[str] | None) -> dict[str, Tool]:
    """Return the tools of a target and those that are added, by name.

    Raises:
        UsageFault: There are none.
    """
    from agentkit.cli.targets import agent_of, find_target, find_tools
    from agentkit.tooling.registry import toolbox_of

    found: Any = find_target(target) if target else []
    own = found if isinstance(found, list) else agent_of(found, lambda: "local").toolbox
    tools = toolbox_of([own, [find_tools(each) for each in added or ()]]).load()
    if not tools:
        raise UsageFault("There are no tools. Give a target, or tools with -t.")
    return tools


def split_target(words: list[str], added: list[str] | None) -> tuple[dict[str, Tool], list[str]]:
    """Return the tools that a line names, and the words behind its target; with `-t` it may have none.

    Raises:
        UsageFault: There are none.
    """
    if added:
        found = tools_of(None, added)
        if not words or words[0] in found:
            return found, words
    return tools_of(words[0] if words else None, added), words[1:]


@app.command("list", help="List tools and the tokens that each declaration costs.")
def list_tools(
    target: Target = None,
    tools: Tools = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            help="Have this Gemini model count tokens; otherwise they are estimated.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print one line each. Estimates, a quarter of the declaration's bytes, have a ~."""
    with terminal.own_stdout() as out:
        found = list(tools_of(target, tools).values())
        costs = costs_of(found, model)
    about = "" if model else "~"
    width = max(len(tool.name) for tool in found)
    for tool, tokens in zip(found, costs, strict=True):
        if as_json:
            known = {"name": tool.name, "effect": tool.effect, "tokens": tokens, "estimated": not model}
            terminal.put(json.dumps({**known, "description": tool.description}), out)
            continue
        marks = [
            tool.effect or "unmarked",
            *(["approval"] if tool.approval else []),
            *(["untrusted"] if tool.untrusted else []),
        ]
        cost = f"{about}{tokens}"
        line = f"{tool.name:<{width}}  {cost:>6}  {' '.join(marks)}  {one_line(tool.description)}"
        terminal.put(clip(line, terminal.line_width()), out)
    if not as_json:
        total = (
            f"{sum(costs)} tokens in each request, as {model} counts"
            if model
            else (f"about {sum(costs)} tokens in each request, estimated; -m NAME has a Gemini model count")
        )
        terminal.say(f"{terminal.counted(len(found), 'tool')}, {total}.")


def costs_of(tools: Sequence[Tool], model: str | None) -> list[int]:
    """Return what each declaration costs in tokens: as a model counts them, else estimated.

    Raises:
        UsageFault: The model only estimates, as the embedded one does.
        ModelError: It can't be asked.
    """
    from agentkit.cli.lint import tokens_of

    if model is None:
        return [tokens_of(tool) for tool in tools]
    if model == "local":
        raise UsageFault(
            "-m local: the embedded model can't count. Leave out -m: estimates are marked with ~."
        )
    from agentkit import GeminiModel

    counting = GeminiModel(model)

    def count(declarations: list[Any]) -> int:
        request: Any = {"contents": [{"role": "user", "parts": [{"text": "."}]}]}
        if declarations:
            request["tools"] = [{"functionDeclarations": declarations}]
        return counting.count_tokens(request)

    bare = count([])
    return [count([tool.declaration]) - bare for tool in tools]


@app.command(help="Print declarations byte for byte as the model gets them.")
def show(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET [NAME]...", help="What to show; may be left out with -t.", show_default=False
        ),
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("-n", "--name", metavar="NAME", help="Only this tool.")
    ] = None,
    tools: Tools = None,
    pretty: Annotated[bool, typer.Option("--pretty", help="Indent the JSON.")] = False,
) -> None:
    """Print one declaration a line."""
    with terminal.own_stdout() as out:
        found, wanted = split_target(words or [], tools)
    for name in [*wanted, *(names or ())] or found:
        tool = named(found, name)
        text = tool.encoded.decode()
        terminal.put(json.dumps(tool.declaration, indent=2, ensure_ascii=False) if pretty else text, out)


def named(tools: dict[str, Tool], name: str) -> Tool:
    """Return the tool of a name. Raises UsageFault where there is none."""
    if name not in tools:
        raise UsageFault(f"There is no tool {name!r}. There are: {', '.join(tools)}.")
    return tools[name]


@app.command(help="Call a tool as a model does, and print what the model would get.")
def call(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET NAME ARGS",
            help='The target may be left out with -t. ARGS: JSON such as \'{"city": "Oslo"}\', or city=Oslo ...',
            show_default=False,
        ),
    ],
    tools: Tools = None,
) -> None:
    """Run one call on the path that a model's call takes; you who call it are who approves it."""
    from agentkit import Agent, Approve
    from agentkit.testing.scripted import ScriptedModel

    terminal.log_to_stderr(full=True)
    with terminal.own_stdout() as out:
        found, given = split_target(words, tools)
        if not given:
            raise UsageFault(f"Which tool? There are: {', '.join(found)}.")
        tool = named(found, given.pop(0))
        part = {"functionCall": {"name": tool.name, "args": read_args(given)}}
        agent: Agent[Any] = Agent(ScriptedModel([part, "Done."]), tools=[tool], approver=lambda *_: Approve())
        run = agent.run("Call the tool.")
    content: Any = run.contents[-2]
    response = content["parts"][0]["functionResponse"]["response"]
    terminal.put(value_text(response), out)
    raise Leave(FAILED if "error" in response else ANSWERED)


def read_args(words: list[str]) -> dict[str, Any]:
    """Read arguments: one JSON object, or `key=value` words whose values are JSON where they can be.

    Raises:
        UsageFault: They are neither.
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return json_of(words[0], "The arguments")  # type: ignore[no-any-return]
    return dict(
        key_and_value(word, f"{word}: write arguments as key=value, or as one JSON object.") for word in words
    )


@app.command(help="Check tools: one line and a fix for each finding. Exits with 1 if there are any.")
def lint(target: Target = None, tools: Tools = None) -> None:
    """Print what the rules find; `off` in pyproject.toml's [tool.agentkit.lint] switches rules off."""
    from agentkit.cli import lint as rules

    with terminal.own_stdout() as out:
        found = list(tools_of(target, tools).values())
    findings = rules.lint(found, **rules.read_settings(Path.cwd()))
    for finding in findings:
        terminal.put(finding.line(), out)
    said = terminal.counted(len(findings), "finding") if findings else "all well"
    terminal.say(f"{terminal.counted(len(found), 'tool')}, {said}.")
    raise Leave(FAILED if findings else ANSWERED)
