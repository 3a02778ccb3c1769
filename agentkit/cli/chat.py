"""`agentkit chat`: an assistant to talk to, that remembers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from agentkit.cli import terminal
from agentkit.cli.approvals import Decider
from agentkit.cli.exits import UsageFault
from agentkit.cli.places import note_session
from agentkit.cli.run import Approve, Config, Instructions, ModelName, Target, Tools, Verbose
from agentkit.core.beside import held_in
from agentkit.core.subagents import interactive_in

if TYPE_CHECKING:
    from agentkit import Chat, Run
    from agentkit.cli.display import PlainView, RichView
    from agentkit.cli.setup import Setup
    from agentkit.run import RunStream
    from agentkit.stores.store import SessionStore

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Database = Annotated[
    Path | None, typer.Option("--db", metavar="FILE", help="The session database; by default your own.")
]


@app.command(help="Chat with an assistant that remembers. Type /help for its commands.")
def chat(
    target: Target = None,
    tools: Tools = None,
    model: ModelName = None,
    system: Instructions = None,
    config: Config = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Continue this session, or start it.")
    ] = None,
    last: Annotated[
        bool, typer.Option("--continue", help="Continue the last session of this target.")
    ] = False,
    db: Database = None,
    approve: Approve = None,
    verbose: Verbose = False,
) -> None:
    """Talk until the person leaves."""
    from agentkit.cli.places import open_store
    from agentkit.cli.setup import set_up

    if last and session is not None:
        raise UsageFault("--session and --continue: give one of them.")
    terminal.log_to_stderr(full=verbose)
    with terminal.own_stdout() as out:
        setup = set_up(target, tools=tools or (), model=model, instructions=system, config=config or ())
        with open_store(db) as store:
            talk(setup, out, store, session=session, last=last, decider=Decider(approve), full=verbose)


def talk(
    setup: Setup,
    out: TextIO,
    store: SessionStore,
    *,
    session: str | None = None,
    last: bool = False,
    decider: Decider | None = None,
    full: bool = False,
) -> None:
    """Hold a conversation at the terminal, or over pipes, until the person leaves.

    Args:
        setup: The agent and the options of its runs.
        out: Where answers go.
        store: Where the session is kept.
        session: Its id; a new one by default.
        last: Go on with the target's last session.
        decider: Decides about calls that wait.
        full: Show arguments and results whole.

    Raises:
        UsageFault: There is no session to go on with.
    """
    from agentkit.cli.display import make_view
    from agentkit.cli.prompt import make_reader

    view = make_view(out, full=full)
    view.asking = interactive_in(setup.agent.tools)
    talk = Talk(setup, store, find_session(setup, store, session, last=last), view, decider or Decider(None))
    with talk.ctrl_c:
        talk.guard(talk.greet)
        read = make_reader(view, talk.ctrl_c)
        while not talk.left:
            try:
                text = read(talk.draft)
            except EOFError:
                break
            except KeyboardInterrupt:
                talk.draft = ""
                view.note("Ctrl-D or /exit leaves.")
            else:
                talk.hear(text)


def find_session(setup: Setup, store: SessionStore, session: str | None, *, last: bool) -> Chat:
    """Return the chat to go on with, or a new one, which is stored with its first message.

    Raises:
        UsageFault: There is none to go on with.
    """
    from agentkit import ChatManager, SessionNotFound

    if last:
        session = last_session(store, setup.label)
        if session is None:
            raise UsageFault(f"{setup.label} has no session yet to continue. Leave out --continue.")
    if session is not None and not session.strip():
        raise UsageFault("--session: the id is empty.")
    try:
        if session is not None:
            return ChatManager(setup.agent, store).get(session)
    except SessionNotFound:
        pass
    return setup.agent.chat(session or f"{setup.label}-{secrets.token_hex(4)}", store)


def last_session(store: SessionStore, label: str) -> str | None:
    """Return the id of the session that a target was used with last: those with its name, and those noted."""
    from agentkit import SessionNotFound
    from agentkit.cli.places import noted_sessions

    found = list(store.list(limit=1, prefix=f"{label}-"))
    for session in noted_sessions(label):
        with suppress(SessionNotFound):
            found.append(store.info(session))
    return max(found, key=lambda info: info.updated).id if found else None


class Talk:
    """A conversation under way: the chat, how it is shown, and what the person has changed since it began."""

    def __init__(
        self, setup: Setup, store: SessionStore, chat: Chat, view: PlainView | RichView, decider: Decider
    ) -> None:
        self.setup = setup
        self.store = store
        self.chat = chat
        self.view = view
        self.decider = Decider(decider.policy, view.read)
        self.ctrl_c = terminal.CtrlC()
        self.options = dict(setup.options)
        self.draft = ""
        """What the prompt begins with: a message that could not be sent yet."""
        self.answered = False
        """Whether a model has answered yet: then it is loaded."""
        self.left = False
        self.noted = ""
        """The session that the target is noted to be used with."""

    @property
    def model(self) -> str:
        """The name of the model that answers next."""
        chosen: Any = self.options.get("model") or self.setup.agent.model
        return str(getattr(chosen, "name", chosen))

    def greet(self) -> None:
        """Say who is there, show where the session was, and ask about what waits."""
        from agentkit.cli.chat_commands import last_turn
        from agentkit.tooling.registry import toolbox_of

        tools = toolbox_of(self.options.get("tools") or self.setup.agent.toolbox).known()
        stored = self.guard(self.chat.get_messages) or []
        count = terminal.counted(len(tools), "tool")
        self.view.note(f"{self.setup.label} · {self.model} · {count} · session {self.chat.id}")
        if stored:
            self.view.note(f"{last_turn(stored, terminal.width())}\n")
        elif terminal.can_ask():
            self.view.note("/help shows the commands. Ctrl-C ends an answer, Ctrl-D the chat.\n")
        if self.is_open():
            self.view.note("The last message is not answered yet.")
            self.go_on()

    def is_open(self) -> bool:
        """Return whether the last message has no answer: a call waits, or the program ended meanwhile."""
        if self.guard(lambda: bool(self.chat.pending)):
            return True
        stored = self.guard(self.chat.get_history) or []
        info = self.guard(lambda: self.chat.info)
        return bool(stored) and (
            stored[-1]["role"] == "user" or (info is not None and info.messages > len(stored))
        )

    def hear(self, text: str) -> None:
        """Do what the person typed: a command, or a message to send."""
        from agentkit.cli.chat_commands import obey

        self.draft = ""
        if text.startswith("/") and not text.startswith("//"):
            self.guard(lambda: obey(self, text))
        elif text.strip():
            self.guard(lambda: self.send(text.removeprefix("/") if text.startswith("//") else text))

    def send(self, message: Any) -> None:
        """Send a message and show the answer; first the calls that wait are asked about."""
        if self.guard(lambda: bool(self.chat.pending)):
            self.draft = message if isinstance(message, str) else ""
            self.go_on()
            if self.guard(lambda: bool(self.chat.pending)):
                self.view.note("Calls wait for you: /retry asks again, /undo takes the message back.")
                return
            self.draft = ""
        first = not self.guard(self.chat.get_history)
        run = self.show(lambda: self.chat.send_message_stream(message, **self.options))
        if self.chat.id != self.noted:
            self.noted = self.chat.id
            note_session(self.setup.label, self.noted)
        if first and run is not None and isinstance(message, str):
            self.guard(lambda: self.store.rename(self.chat.id, " ".join(message.split())[:60]))

    def go_on(self) -> None:
        """Go on where the last message got to: ask about calls that wait, and resume."""
        self.decider.forget()
        for call in self.guard(lambda: self.chat.pending) or ():
            if call.kind == "unknown_effect":
                said = self.decider.outcome_of(call)
                if said is None:
                    return
                given: Any = {"retry": True} if said[0] == "retry" else {"result": said[1]}
                self.guard(lambda call=call, given=given: self.chat.resolve(call.call_id, **given))  # type: ignore[misc]
        pending = self.guard(lambda: self.chat.pending) or []
        stored = self.guard(lambda: self.store.load(self.chat.id)) if pending else None
        held = held_in(stored.messages[-1], stored.calls) if stored is not None else ()
        decisions = self.decider.decide(pending, held)
        if decisions or not pending:
            self.show(lambda: self.chat.resume_stream(decisions, **self.options))

    def show(self, begin: Callable[[], RunStream[Any]]) -> Run[Any] | None:
        """Show a run; Ctrl-C ends it and no more. None is a run that failed or was broken off."""
        from agentkit.cli.exchange import exchange

        def resume(_: Run[Any], decisions: Mapping[str, Any]) -> RunStream[Any]:
            return self.chat.resume_stream(decisions, **self.options)

        waiting = "loading the small model" if self.model == "local" and not self.answered else "thinking"
        run: Run[Any] | None = self.guard(
            lambda: self._shown(exchange(begin(), resume, self.decider), waiting)
        )
        self.answered = self.answered or run is not None
        if run is not None and run.stop is not None:
            self.view.note(f"Stopped: {run.stop}. {run.why}")
        return run

    def _shown(self, events: Any, waiting: str) -> Run[Any]:
        with closing(events):
            return self.view.show(events, waiting)

    def guard(self, do: Callable[[], Any]) -> Any:
        """Do something whose faults end nothing but itself; None then."""
        from agentkit import AgentError

        try:
            with self.ctrl_c.ends_this():
                return do()
        except KeyboardInterrupt:
            self.view.note("(stopped)")
        except UsageFault as error:
            self.view.note(str(error))
        except AgentError as error:
            self.view.note(f"{type(error).__name__}: {error}")
        return None
