"""One table of commands, each imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import agentkit
from agentkit.cli.exits import USAGE, Leave, errors_as_exits
from agentkit.cli.terminal import prepare_streams, say
from agentkit.errors import how_to_install, other_agentkit

if TYPE_CHECKING:
    import typer


@dataclass(frozen=True, slots=True)
class Entry:
    """A command of the table."""

    module: str
    """Where it is: a module with a `typer.Typer` named `app`."""
    help: str
    """One line for `agentkit --help`."""
    extra: str
    """The extra that its module needs."""
    needs: str = "typer"
    """What that extra installs: a module."""


COMMANDS = {
    "run": Entry("agentkit.cli.run", "Ask one question.", "cli"),
    "chat": Entry("agentkit.cli.chat", "Chat with an assistant that remembers.", "cli"),
    "sessions": Entry("agentkit.cli.sessions", "List, show, search, export and check chats.", "cli"),
    "tools": Entry("agentkit.cli.tools", "Show tools as the model sees them; call and check them.", "cli"),
    "doctor": Entry("agentkit.cli.doctor", "Check versions, credentials, extras and a store.", "cli"),
    "web": Entry("agentkit.cli.web", "Serve a web page to chat with an assistant.", "serve", "starlette"),
    "serve": Entry(
        "agentkit.cli.serve", "Serve an assistant as a model for Gemini clients.", "serve", "starlette"
    ),
    "worker": Entry("agentkit.cli.worker", "Run the tasks of a queue.", "durable", "dbos"),
    "tasks": Entry(
        "agentkit.cli.tasks", "List, watch, cancel and retry tasks; decide their calls.", "durable", "dbos"
    ),
    "mcp": Entry("agentkit.cli.mcp", "Serve tools to MCP clients.", "mcp", "mcp"),
}
"""Those whose module this installation doesn't have are not shown."""

HELP = """Chat with an agent, a file of typed Python functions or ready-made tools.

A TARGET is `file.py`, `file.py:name`, `module` or `module:name`: an agent, a function that makes one, a registry
of tools, or functions. `-t` adds tools: a file, a module, or calculator, clock, units, weather, web, todo, ask,
files=FOLDER.

Without a Gemini key, the small embedded model answers.
"""


def run_line(argv: list[str] | None) -> int:
    """Run a command line; return the exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C came before or behind what typer runs.
    """
    prepare_streams()
    if not hasattr(agentkit, "__version__"):  # another project's __init__.py lies where ours was
        say(other_agentkit() or f"{agentkit.__path__} isn't the agentkit that this command belongs to.")
        return USAGE
    try:
        import typer  # noqa: F401
    except ImportError:
        say(f'The command needs the extra "cli": {how_to_install("cli")}')
        return USAGE
    try:
        with errors_as_exits():
            made_app()(args=argv, prog_name="agentkit")
    except Leave as leave:
        return leave.code
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


def made_app(table: dict[str, Entry] = COMMANDS) -> typer.Typer:
    """Make the command line of a table."""
    import typer
    from typer.core import TyperCommand, TyperGroup

    class Root(TyperGroup):
        """Lists, completes and proposes commands by the table, and imports the one that is used."""

        def __init__(self, **given: Any) -> None:
            there = [name for name, entry in table.items() if is_there(entry.module)]
            super().__init__(
                **{**given, "commands": {name: TyperCommand(name, help=table[name].help) for name in there}}
            )

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Refuse what isn't a command before pydantic is loaded for options; a target in its place is named."""
            if args and not args[0].startswith("-"):
                if args[0].endswith(".py") or ":" in args[0]:
                    ctx.fail(
                        f'{args[0]!r} is a target: write "agentkit chat {args[0]}", or run, tools show, web.'
                    )
                super().resolve_command(ctx, args)
            return super().parse_args(ctx, args)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Find the command that is used, and import it."""
            name, found, rest = super().resolve_command(ctx, args)
            return name, found and typer.main.get_command(load(found.name or "", table)), rest

    app = typer.Typer(
        cls=Root,
        help=HELP,
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def version(value: bool) -> None:
        if value:
            print(f"agentkit {agentkit.__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        show: bool = typer.Option(
            False, "--version", callback=version, is_eager=True, help="Print the version."
        ),
    ) -> None: ...

    return app


def is_there(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def load(name: str, table: dict[str, Entry]) -> typer.Typer:
    """Import a command.

    Raises:
        Leave: Something that its extra brings isn't installed; the extra is named.
    """
    entry = table[name]
    try:
        if is_there(entry.needs):
            return import_module(entry.module).app  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("agentkit"):
            raise
    say(f'"agentkit {name}" needs the extra "{entry.extra}": {how_to_install(entry.extra)}')
    raise Leave(USAGE)
