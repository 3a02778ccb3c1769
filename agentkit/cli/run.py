"""`agentkit run`: one question; the answer to stdout, all else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from agentkit.cli import terminal
from agentkit.cli.approvals import Decider, Policy
from agentkit.cli.exits import ANSWERED, CANNOT, FAILED, STOPPED, Leave, UsageFault
from agentkit.cli.values import json_of

if TYPE_CHECKING:
    from agentkit import Run
    from agentkit.cli.lines import CallLines
    from agentkit.events import Event

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Target = Annotated[
    str | None,
    typer.Argument(metavar="TARGET", help="What to run; may be left out with -t.", show_default=False),
]
Tools = Annotated[
    list[str] | None,
    typer.Option(
        "-t",
        "--tools",
        metavar="TOOLS",
        help="Add tools: a file, a module, or calculator, clock, units, weather, web, todo, ask, files=FOLDER.",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("-m", "--model", metavar="NAME", help='A Gemini model, or "local" for the embedded one.'),
]
Instructions = Annotated[
    str | None,
    typer.Option("-s", "--system", metavar="TEXT", help="Instructions, or a file to read them from."),
]
Config = Annotated[
    list[str] | None,
    typer.Option("-c", "--config", metavar="KEY=VALUE", help="Request setting, such as temperature=0."),
]
Approve = Annotated[
    Policy | None,
    typer.Option(help="How to decide calls that need approval. [default: ask at a terminal, otherwise no]"),
]

Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show arguments, results and tracebacks in full.")
]


@app.command(help="Ask one question. The answer goes to stdout, everything else to stderr.")
def run(
    target: Target = None,
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help='The question; "-" reads it from stdin.', show_default=False),
    ] = None,
    tools: Tools = None,
    model: ModelName = None,
    system: Instructions = None,
    config: Config = None,
    attach: Annotated[
        list[Path] | None,
        typer.Option(
            "-a",
            "--attach",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Attach a file.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="TYPE", help="The type of the answer: schema.json or module:Type."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False,
    approve: Approve = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Don't show calls on stderr.")] = False,
    verbose: Verbose = False,
) -> None:
    """Ask one question; end with an exit code."""
    from agentkit.cli.exchange import exchange
    from agentkit.cli.lines import CallLines
    from agentkit.cli.setup import check_named, set_up

    terminal.log_to_stderr(full=verbose)
    if tools and question is None:
        target, question = None, target
    check_named(target, tools or ())
    with terminal.own_stdout() as out:
        wanted = None if output is None else find_output(output)
        message = [*read_question(question), *(attach or ())]
        setup = set_up(target, tools=tools or (), model=model, instructions=system, config=config or ())
        agent = setup.agent
        stream = agent.stream(message, output=wanted, **setup.options)
        resume = partial(agent.resume_stream, output=wanted, **setup.options)
        with closing(exchange(stream, resume, Decider(approve))) as events:
            if as_json:
                done = print_json(events, out)
            else:
                lines = None if quiet else CallLines(terminal.width(), full=verbose)
                live = wanted is None and terminal.is_terminal(out)
                done = print_answer(events, out, lines, live=live)
    raise Leave(code_of_run(done))


def read_question(question: str | None) -> list[str]:
    """Return the question, with what is piped in below it.

    Raises:
        UsageFault: There is none.
    """
    piped = terminal.is_piped(sys.stdin) or (question in (None, "-") and sys.stdin is not None)
    if question is None and terminal.is_terminal(sys.stdin):
        raise UsageFault('Nothing was asked. Give a question in quotes, or "-" to type it.')
    text = "".join(iter(terminal.read_line, "")) if piped else ""
    parts = [part for part in (question if question != "-" else None, text) if part and part.strip()]
    if not parts:
        raise UsageFault("Nothing was asked: the question is empty.")
    return ["\n\n".join(part.strip("\n") for part in parts)]


def find_output(text: str) -> Any:
    """Return what the answer is to be: the type of `module:Type`, or one of a file with a JSON schema.

    Raises:
        UsageFault: There is no such type or file, or it is no schema.
    """
    from agentkit import Output
    from agentkit.cli.targets import find_object

    if not text.endswith(".json"):
        return Output(find_object(text))
    try:
        schema = Path(text).read_text("utf-8")
    except OSError as error:
        raise UsageFault(f"-o {text}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageFault(f"-o {text}: the file isn't UTF-8 text.") from None
    return output_of_schema(json_of(schema, f"-o {text}"), text)


def output_of_schema(schema: Any, where: str) -> Any:
    """Make an output of a JSON schema: the answer is validated by it."""
    import jsonschema
    from pydantic import WithJsonSchema

    from agentkit import Output, ToolRetry

    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UsageFault(f"-o {where}: it isn't a JSON schema: {error.message}") from None
    if not isinstance(schema, dict):
        raise UsageFault(f"-o {where}: a JSON schema is an object.")
    rules = validator(schema)

    def check(value: Any, _: Any) -> Any:
        problems = [f"{error.json_path}: {error.message}" for error in rules.iter_errors(value)]
        if problems:
            raise ToolRetry("; ".join(problems[:5]))
        return value

    return Output[Any](Annotated[Any, WithJsonSchema(schema)], validator=check)


def print_json(events: Iterable[Event], out: TextIO) -> Run[Any]:
    """Print each event as a line of JSON; the last one is always `run_finished`."""
    from agentkit import AgentError
    from agentkit.events import RunFinished, to_wire

    last: Any = None
    try:
        for event in events:
            print(json.dumps(to_wire(event)), file=out, flush=True)
            last = event
    except AgentError as error:
        if error.run is not None:
            print(json.dumps(to_wire(RunFinished(error.run))), file=out, flush=True)
        raise
    return last.run  # type: ignore[no-any-return]


def print_answer(events: Iterable[Event], out: TextIO, lines: CallLines | None, *, live: bool) -> Run[Any]:
    """Print the answer: `live` as it arrives, else when it is whole, so that only the answer is there."""
    from agentkit.events import (
        MediaDelta,
        ModelRetry,
        RunFinished,
        ServerToolStarted,
        SourcesFound,
        TextDelta,
        ToolStarted,
    )

    ends_line = (ToolStarted, ServerToolStarted, MediaDelta, SourcesFound, ModelRetry, RunFinished)
    last: Any = None
    open_line = False
    try:
        for event in events:
            last = event
            if isinstance(event, TextDelta) and live:
                terminal.put(event.text, out, end="")
                open_line = not event.text.endswith("\n")
            elif open_line and isinstance(event, ends_line):
                terminal.put("", out)
                open_line = False
            if lines is not None and (line := lines.line(event)) is not None:
                terminal.say(line)
    finally:
        if open_line:
            terminal.put("", out)
    done: Run[Any] = last.run
    if not live and done.text and done.stop is None:
        terminal.put(done.text, out, end="" if done.text.endswith("\n") else "\n")
    return done


def code_of_run(run: Run[Any]) -> int:
    """Return the exit code of a run, and say on stderr why there is no answer."""
    if run.stop is None:
        return CANNOT if declined(run) else ANSWERED
    waiting = f" Waiting: {', '.join(call.name for call in run.pending)}." if run.pending else ""
    terminal.say(f"Stopped: {run.stop}. {run.why}{waiting}")
    return FAILED if run.stop == "error" else STOPPED


def declined(run: Run[Any]) -> bool:
    """Return whether the embedded model said that it can't."""
    said = (run.messages[-1].metadata or {}).get("agentkit")
    return isinstance(said, dict) and bool(said.get("declined"))
