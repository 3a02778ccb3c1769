"""`agentkit tasks`: what a queue has, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentkit.chats.plain_text import clip, one_line
from agentkit.cli import terminal
from agentkit.cli.exits import ANSWERED, FAILED, Leave, UsageFault
from agentkit.cli.targets import open_queue
from agentkit.cli.values import json_of
from agentkit.durable import EventsLost, Queue, Task, TaskEnded, TaskStarted
from agentkit.events import to_wire

if TYPE_CHECKING:
    from agentkit.durable import TaskEvent
    from agentkit.tooling.decisions import Decision

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List, show, watch, cancel and retry the tasks of a queue, and decide their calls.",
)

Target = Annotated[
    str,
    typer.Argument(metavar="QUEUE", help="module:queue or file.py:queue.", show_default=False),
]
Place = Annotated[
    str,
    typer.Option(
        "--queue",
        "-q",
        envvar="AGENTKIT_QUEUE",
        metavar="QUEUE",
        help="module:queue, file.py:queue, the file of an SQLiteStore, or the URL of a PostgresStore.",
        show_default=False,
    ),
]
Id = Annotated[str, typer.Argument(metavar="TASK", help="The task's id.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def there(queue: Queue, id: str) -> Task:
    """Return a task. Raises UsageFault if there is none."""
    if (task := queue.get(id)) is None:
        raise UsageFault(f"There is no task {id!r}. `agentkit tasks list` shows them.")
    return task


@app.command("list", help="List tasks, newest first.")
def list_tasks(
    queue: Place,
    chat: Annotated[str | None, typer.Option("--chat", metavar="ID", help="Only tasks of this chat.")] = None,
    status: Annotated[
        Literal["queued", "running", "done", "failed", "cancelled"] | None, typer.Option("--status")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, metavar="N", help="The most to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print one line each."""
    with open_queue(queue) as opened:
        for task in opened.list(chat=chat, status=status, limit=limit):
            terminal.put(task_json(task) if as_json else line_of(task, terminal.line_width()))


@app.command(help="Show a task: its result, and what it is waiting for.")
def show(task: Id, queue: Place, as_json: AsJson = False) -> None:
    """Print one task."""
    with open_queue(queue) as opened:
        found = there(opened, task)
    if as_json:
        terminal.put(task_json(found))
        return
    terminal.put(line_of(found, 10_000))
    for name, value in (
        ("agent", found.agent),
        ("attempts", str(found.attempts)),
        ("stop", found.stop or ""),
        ("why", found.why),
        *((f"waits: {call.call_id}", f"{call.name} {json.dumps(call.args)}") for call in found.pending),
        ("text", found.text),
    ):
        if value:
            terminal.put(f"  {name}: {value}")


@app.command(help="Follow a task until it ends: text on stdout, calls on stderr. Exits with 1 if it failed.")
def watch(
    task: Id,
    queue: Place,
    after: Annotated[
        int | None, typer.Option("--after", metavar="CURSOR", help="Start after this cursor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what happens."""
    from agentkit.cli.lines import CallLines
    from agentkit.events import TextDelta

    lines, over = CallLines(terminal.width(), full=False), None
    with open_queue(queue) as opened:
        there(opened, task)
        for cursor, event in opened.watch(task, after=after):
            if as_json:
                terminal.put(json.dumps({"cursor": cursor, **event_json(event)}))
            elif isinstance(event, TextDelta):
                terminal.put(event.text, end="")
            elif isinstance(event, TaskStarted) and event.attempt > 1:
                terminal.say(f"Attempt {event.attempt}: incomplete steps are shown again.")
            elif not isinstance(event, (TaskStarted, TaskEnded, EventsLost)) and (line := lines.line(event)):
                terminal.say(line)
            over = event.task if isinstance(event, TaskEnded) else None
    assert over is not None
    if not as_json:
        terminal.put("")
        if over.status != "done" or over.stop is not None:
            terminal.say(line_of(over, 10_000))
    raise Leave(ANSWERED if over.status == "done" else FAILED)


@app.command(help="Cancel a task, wherever it is running.")
def cancel(task: Id, queue: Place) -> None:
    """Cancel one task."""
    with open_queue(queue) as opened:
        there(opened, task)
        opened.cancel(task)
        terminal.say(line_of(there(opened, task), terminal.width()))


@app.command(help="Retry a task that failed or was cancelled. Prints the new task's id.")
def retry(task: Id, queue: Place) -> None:
    """Send one task again."""
    with open_queue(queue) as opened:
        terminal.put(opened.retry(task))


@app.command(help="Decide the calls that a task is waiting for. Prints the id of the task that continues it.")
def decide(
    task: Id,
    queue: Place,
    approve: Annotated[bool, typer.Option("--approve", help="Approve the calls.")] = False,
    deny: Annotated[
        str | None, typer.Option("--deny", metavar="WHY", help="Deny the calls, and say why.")
    ] = None,
    edit: Annotated[
        str | None, typer.Option("--edit", metavar="JSON", help="Approve the one call, with these arguments.")
    ] = None,
    result: Annotated[
        str | None, typer.Option("--result", metavar="JSON", help="Take this as the result of the one call.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Repeat the one call whose effect is unknown.")
    ] = False,
    call: Annotated[str | None, typer.Option("--call", metavar="ID", help="Decide only this call.")] = None,
) -> None:
    """Decide about the calls of one task."""
    if sum([approve, deny is not None, edit is not None, result is not None, again]) != 1:
        raise UsageFault("Give one of --approve, --deny WHY, --edit JSON, --result JSON and --again.")
    with open_queue(queue) as opened:
        found = there(opened, task)
        waiting = [each for each in found.pending if call is None or each.call_id == call]
        if not waiting:
            raise UsageFault(f"{task}: no such call waits.")
        if not (approve or deny is not None) and len(waiting) != 1:
            raise UsageFault(f"{task}: {len(waiting)} calls wait; choose one with --call.")
        first = waiting[0]
        if first.kind == "unknown_effect" and (again or result is not None):
            said: dict[str, Any] = {"retry": True} if again else {"result": json_of(result or "", "--result")}
            terminal.put(opened.resolve(found.chat, first.call_id, **said))
            return
        if again:
            raise UsageFault(f"{task}: the call hasn't run yet; --approve runs it.")
        decision = decision_of(approve=approve, deny=deny, edit=edit, result=result)
        terminal.put(opened.decide(found.chat, {each.call_id: decision for each in waiting}, task=task))


def decision_of(*, approve: bool, deny: str | None, edit: str | None, result: str | None) -> Decision:
    """Make a decision of the options. Raises UsageFault if JSON is none."""
    from agentkit import Approve, Deny, Edit, Result

    if approve:
        return Approve()
    if deny is not None:
        return Deny(deny)
    if edit is not None:
        return Edit(json_of(edit, "--edit"))
    return Result(json_of(result or "", "--result"))


def line_of(task: Task, width: int) -> str:
    """Write a task on one line: id, status, when it was sent, what came of it."""
    when = f"{datetime.fromtimestamp(task.created):%Y-%m-%d %H:%M:%S}"
    state = task.stop if task.status == "done" and task.stop else task.status
    return clip(f"{one_line(task.id):<32}  {state:<14}  {when}  {one_line(task.why or task.text)}", width)


def task_json(task: Task) -> str:
    """Write a task as a line of JSON."""
    return json.dumps({**asdict(task), "pending": [call.to_wire() for call in task.pending]})


def event_json(event: TaskEvent) -> dict[str, Any]:
    """Make JSON of what is told of a task."""
    match event:
        case TaskStarted(attempt):
            return {"type": "task_started", "attempt": attempt}
        case TaskEnded(task):
            return {"type": "task_ended", "task": json.loads(task_json(task))}
        case EventsLost():
            return {"type": "events_lost"}
    return to_wire(event)
