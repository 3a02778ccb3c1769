"""A to-do list for work of many steps: the model writes its plan down, and keeps it up to date.

Give it to an agent as `tools=[todo]`. There is no state in it: the plan is its last result in the history, so that
it outlives a resume and belongs to its chat. `plan_in(contents)` reads it from a history, `plan_of(response)` from a
response (`ToolFinished.response`, to show it as it changes), and `show(plan)` makes text of it:

```python
from agentkit_tools.todo import Step, show

print(show([Step("Boil water", "done"), Step("Pour it", "doing"), Step("Wait", "open")]))
#> [x] Boil water
#> [>] Pour it
#> [ ] Wait
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from agentkit.errors import ToolRetry
from agentkit.tooling.registry import ToolRegistry
from agentkit.wire.arguments import checked

MAX_STEPS = 50
MAX_TEXT = 300
"""Characters of a step."""

Status = Literal["open", "doing", "done"]
_MARKS = {"open": " ", "doing": ">", "done": "x"}

todo = ToolRegistry("todo", effect="read")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a plan."""

    text: str
    """What is to be done, in a few words."""
    status: Status = "open"


@todo.tool
def write_todo(steps: list[Step]) -> dict[str, Any]:
    """Write down the plan of a task of several steps: all steps, in order, each with its status.

    Write it before you begin, and again whenever a step is begun, done, added or dropped. One step is `doing` at a
    time. Leave it for what takes one or two steps.

    Args:
        steps: The whole plan; it takes the place of the one before.
    """
    if len(steps) > MAX_STEPS:
        raise ToolRetry(f"The plan has {len(steps)} steps: at most {MAX_STEPS}. Put some together.")
    made = [Step(" ".join(step.text.split()), step.status) for step in steps]
    for number, step in enumerate(made, 1):
        if not 0 < len(step.text) <= MAX_TEXT:
            raise ToolRetry(f"Step {number} must have 1 to {MAX_TEXT} characters.")
    doing = [step.text for step in made if step.status == "doing"]
    if len(doing) > 1:
        raise ToolRetry(f"{len(doing)} steps are doing: begin one at a time, and leave the others open.")
    return {"steps": [asdict(step) for step in made]}


@checked
def plan_in(contents: Sequence[Mapping[str, Any]]) -> list[Step] | None:
    """Return the plan that a history (`run.contents`, `chat.get_history()`) has by now, or None if there is none."""
    for content in reversed(contents):
        for part in reversed(content.get("parts") or ()):
            plan = plan_of(part.get("functionResponse") or {})
            if plan is not None:
                return plan
    return None


@checked
def plan_of(response: Mapping[str, Any]) -> list[Step] | None:
    """Return the plan in a function response, or None where it is another tool's, or a failure."""
    output = (response.get("response") or {}).get("output")
    if response.get("name") != "write_todo" or not isinstance(output, Mapping):
        return None
    if isinstance(output.get("result"), Mapping):  # with a note: somebody has changed the arguments
        output = output["result"]
    steps = output.get("steps")
    if not isinstance(steps, list):
        return None
    return [
        Step(str(step.get("text")), step["status"])
        for step in steps
        if isinstance(step, Mapping) and step.get("status") in get_args(Status)
    ]


@checked
def show(plan: Sequence[Step]) -> str:
    """Return a plan as text, a line for each step."""
    return "\n".join(f"[{_MARKS[step.status]}] {step.text}" for step in plan)
