"""`agentkit tools`: what the model sees of tools, what that costs, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.chats.plain_text import clip, one_line, value_text
from agentkit.cli import terminal
from agentkit.cli.exits import ANSWERED, FAILED, Leave, UsageFault
from agentkit.cli.run import Target, Tools

if TYPE_CHECKING:
    from agentkit import Tool

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Show what the model sees of tools; call and check them.",
)


def tools_of(target: str | None, added: list[str] | None) -> dict[str, Tool]:
    """Return the tools of a target and those that are added, by name.

    Raises:
        UsageFault: There are none.
    """
    from agentkit.cli.targets import find_target, find_tools, is_agent, make_agent, takes_model
    from agentkit.tooling.registry import toolbox_of

    found: Any = find_target(target) if target else []
    if not is_agent(found) and not isinstance(found, list):
        found = make_agent(found, target or "", *(["local"] if takes_model(found) else []))
    own: Any = found.toolbox if is_agent(found) else found
    tools = toolbox_of([own, [find_tools(each) for each in added or ()]]).load()
    if not tools:
        raise UsageFault("There are no tools. Give a target, or tools with -t.")
    return tools


@app.command("list", help="List tools, and what each declaration costs in tokens.")
def list_tools(
    target: Target = None,
    tools: Tools = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print one line each; tokens are a quarter of the declaration's bytes."""
    from agentkit.cli.lint import tokens_of

    with terminal.own_stdout() as out:
        found = list(tools_of(target, tools).values())
    width = max(len(tool.name) for tool in found)
    for tool in found:
        if as_json:
            known = {"name": tool.name, "effect": tool.effect, "tokens": tokens_of(tool)}
            terminal.put(json.dumps({**known, "description": tool.description}), out)
            continue
        marks = [
            tool.effect or "unmarked",
            *(["approval"] if tool.approval else []),
            *(["untrusted"] if tool.untrusted else []),
        ]
        line = f"{tool.name:<{width}}  {tokens_of(tool):>5}  {' '.join(marks)}  {one_line(tool.description)}"
        terminal.put(clip(line, terminal.width()), out)
    if not as_json:
        total = sum(map(tokens_of, found))
        terminal.say(f"{terminal.counted(len(found), 'tool')}, about {total} tokens in each request.")


@app.command(help="Print declarations as the model gets them, byte for byte.")
def show(
    target: Target = None,
    names: Annotated[
        list[str] | None, typer.Option("-n", "--name", metavar="NAME", help="Only this tool.")
    ] = None,
    tools: Tools = None,
    pretty: Annotated[bool, typer.Option("--pretty", help="Indent the JSON.")] = False,
) -> None:
    """Print one declaration a line."""
    with terminal.own_stdout() as out:
        found = tools_of(target, tools)
    for name in names or found:
        tool = named(found, name)
        text = tool.encoded.decode()
        terminal.put(json.dumps(tool.declaration, indent=2, ensure_ascii=False) if pretty else text, out)


def named(tools: dict[str, Tool], name: str) -> Tool:
    """Return the tool of a name. Raises UsageFault where there is none."""
    if name not in tools:
        raise UsageFault(f"There is no tool {name!r}. There are: {', '.join(tools)}.")
    return tools[name]


@app.command(help="Call a tool as a model does; print what the model would get.")
def call(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET NAME ARGS",
            help='With -t no target is needed. ARGS: JSON such as \'{"city": "Oslo"}\', or city=Oslo ...',
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
        given = list(words)
        found = tools_of(None if tools else given.pop(0), tools)
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
        try:
            return json.loads(words[0])  # type: ignore[no-any-return]
        except ValueError as error:
            raise UsageFault(f"The arguments are no JSON: {error}") from None
    args: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise UsageFault(f"{word}: write arguments as key=value, or as one JSON object.")
        try:
            args[key] = json.loads(text)
        except ValueError:
            args[key] = text
    return args


@app.command(help="Check tools: a line and a fix each. Ends with 1 if there is something to fix.")
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
