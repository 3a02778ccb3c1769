"""What the command line names: agents, functions that make one, registries, and the functions of a file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agentkit.cli.exits import UsageFault
from agentkit.cli.terminal import say, where
from agentkit.errors import how_to_install

if TYPE_CHECKING:
    from agentkit import Agent
    from agentkit.durable import Queue

READY_MADE = ("ask", "calculator", "clock", "files", "todo", "units", "weather", "web")


def find_target(target: str, *, queues: bool = False) -> Any:
    """Return what a target names: an agent, a function that makes one, a list of tools; where it may be, a queue.

    Raises:
        UsageFault: There is no such thing, or it can't be imported.
    """
    place, _, name = _split(target)
    module = _load(place)
    if not name:
        return _all_of(module, place)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            known = ", ".join(sorted(_offers(module))) or "nothing to use"
            raise UsageFault(f"{place} has no {name!r}. It has: {known}.") from None
    if is_queue(found) and not queues:
        raise UsageFault(
            f"{target} is a queue, for `agentkit worker` and `agentkit web`: name its agent here."
        )
    return _usable(found, target)


def find_tools(tool: str) -> Any:
    """Return the tools that one `-t` names: `calculator`, `files=notes`, `file.py`, `module:name`.

    Raises:
        UsageFault: There are none.
    """
    name, given, value = tool.partition("=")
    if name in READY_MADE and not Path(tool).exists():
        return _ready_made(name, value if given else None)
    found = find_target(tool)
    if is_agent(found):
        return found.as_tool()
    if not isinstance(found, list):
        raise UsageFault(f"-t {tool}: {found.__name__} makes an agent. Give it as the target.")
    return found


def find_object(text: str) -> Any:
    """Return the object of `module:name` or `file.py:name`, whatever it is.

    Raises:
        UsageFault: There is none.
    """
    place, _, name = _split(text)
    if not name:
        raise UsageFault(f"{text!r} names no object: write module:name or file.py:name.")
    try:
        return getattr(_load(place), name)
    except AttributeError:
        raise UsageFault(f"{place} has no {name!r}.") from None


@contextmanager
def open_queue(text: str) -> Iterator[Queue]:
    """Open the queue that a text names: module:queue, file.py:queue, a store's file or URL.

    Raises:
        UsageFault: It names none.
    """
    from agentkit import PostgresStore, SQLiteStore
    from agentkit.durable import Queue

    if text.startswith(("postgres://", "postgresql://")):
        with PostgresStore(text, reconnect_timeout=5) as store, Queue({}, store=store) as queue:
            yield queue
    elif Path(text).suffix in (".db", ".sqlite", ".sqlite3"):
        if not Path(text).is_file():
            raise UsageFault(f"There is no file {text}.")
        with SQLiteStore(text) as file, Queue({}, store=file) as queue:
            yield queue
    else:
        found = find_object(text)
        if not isinstance(found, Queue):
            raise UsageFault(f"{text} is a {type(found).__name__}, not a Queue.")
        with found:
            yield found


def is_queue(value: Any) -> bool:
    """Return whether it is a `Queue`; what that needs may not be installed."""
    durable = sys.modules.get("agentkit.durable")
    return durable is not None and isinstance(value, durable.Queue)


def _split(target: str) -> tuple[str, str, str]:
    """Split at the colon before the name; the colon of a drive is none."""
    place, colon, name = target.rpartition(":")
    if colon and place and name.replace(".", "").isidentifier() and not name.endswith(".py"):
        return place, colon, name
    return target.removesuffix(":"), "", ""


def _load(place: str) -> ModuleType:
    """Import a file or a module, as Python would from the current folder."""
    if not place.strip():
        raise UsageFault("The target is empty: give file.py, file.py:name or module:name.")
    path = Path(place)
    if not path.is_file() and (path.suffix == ".py" or "/" in place or "\\" in place):
        is_folder = path.is_dir()
        raise UsageFault(
            f"{place} is a folder: give a file in it." if is_folder else f"There is no file {place}."
        )
    try:
        return _load_file(path) if path.is_file() else _load_module(place)
    except UsageFault:
        raise
    except (Exception, SystemExit) as error:
        raise UsageFault(f"{place} can't be imported: {where(error)}") from error


def _load_file(path: Path) -> ModuleType:
    # Behind what is installed: a file named json.py beside it must not stand in for Python's own.
    for folder in (str(path.parent.resolve()), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)
    name = path.stem if _is_free(path.stem, path) else f"agentkit_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageFault(f"{path}: this isn't a Python file. The name of one ends with .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_free(name: str, path: Path) -> bool:
    if not name.isidentifier() or name in sys.modules:
        return False
    spec = importlib.util.find_spec(name)
    return spec is None or (spec.origin is not None and Path(spec.origin) == path.resolve())


def _load_module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UsageFault(
            f"There is no file and no module {name!r}. Ready-made tools are given with -t: {', '.join(READY_MADE)}."
        ) from None
    except (TypeError, ValueError):
        raise UsageFault(f"{name!r} is neither a file nor a module's name.") from None


def _ready_made(name: str, value: str | None) -> Any:
    if name == "files":
        if not value or not Path(value).is_dir():
            raise UsageFault("-t files=FOLDER: name an existing folder; the tools read and write only in it.")
        from agentkit_tools.files import files

        return [files(value, approval=True)]
    if value is not None:
        raise UsageFault(f"-t {name}={value}: {name} takes no value.")
    try:
        module = importlib.import_module(f"agentkit_tools.{name}")
        return [module.web_tools() if name == "web" else getattr(module, name)]
    except ModuleNotFoundError as error:
        raise UsageFault(f"-t {name} needs {error.name}: {how_to_install('tools')}") from None


# -- what is in a module


def is_agent(value: Any) -> bool:
    """Return whether it is an `Agent`."""
    from agentkit import Agent

    return isinstance(value, Agent)


def public(module: ModuleType) -> dict[str, Any]:
    """Return what a module offers: the names of `__all__`, else those without an underscore."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return {name: getattr(module, name) for name in names if hasattr(module, name)}


def _offers(module: ModuleType) -> list[str]:
    """Name what may be chosen of a module: what it defines itself, and agents."""
    own = [
        name for name, each in public(module).items() if getattr(each, "__module__", None) == module.__name__
    ]
    return [*own, *(name for name, each in public(module).items() if is_agent(each))]


def takes_model(found: Any) -> bool:
    """Return whether what was found is a function that is to be told the model."""
    return inspect.isfunction(found) and "model" in inspect.signature(found).parameters


def _all_of(module: ModuleType, place: str) -> Any:
    """Choose what a module without a name stands for: an agent, a maker of one, or tools."""
    from agentkit import ToolRegistry

    offered = public(module)
    own = {
        name: each for name, each in offered.items() if getattr(each, "__module__", None) == module.__name__
    }
    for kind, found in (
        ("agents", {name: each for name, each in offered.items() if is_agent(each)}),
        ("functions that make an agent", {name: each for name, each in own.items() if makes_agent(each)}),
    ):
        if len(found) > 1:
            raise UsageFault(
                f"{place} has several {kind}: choose {' or '.join(f'{place}:{n}' for n in found)}."
            )
        if found:
            return next(iter(found.values()))
    registries = [each for each in offered.values() if isinstance(each, ToolRegistry)]
    functions = {name: each for name, each in own.items() if inspect.isroutine(each) and name != "main"}
    marked = [each for each in functions.values() if is_marked(each)]
    if registries or marked:
        return [*registries, *marked]
    tools = [each for each in functions.values() if is_annotated(each)]
    if left := [name for name, each in functions.items() if each not in tools]:
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        say(f"Left out, because they have no type annotations: {', '.join(left[:8])}{more}.")
    if not tools:
        raise UsageFault(f"{place} has no agent, no registry and no public function with type annotations.")
    return tools


def _usable(found: Any, target: str) -> Any:
    """Say what a named object is: an agent, what makes one, or tools."""
    from agentkit import Tool

    if is_agent(found) or is_queue(found) or makes_agent(found) or _may_make(found):
        return found
    if isinstance(found, ModuleType):
        return _all_of(found, target)
    if isinstance(found, Tool) or not callable(found):
        found = list(found) if isinstance(found, (list, tuple)) else [found]
    elif isinstance(found, type) or not (is_marked(found) or is_annotated(found)):
        raise UsageFault(
            f"{target}: it has no type annotations. Annotate its parameters, or mark it with @tool."
        )
    else:
        found = [found]
    return found


def is_marked(function: Callable[..., Any]) -> bool:
    """Return whether a function is marked with `@tool`."""
    from agentkit.tooling.marks import mark_of

    return mark_of(function) is not None


def is_annotated(function: Callable[..., Any]) -> bool:
    """Return whether all parameters have type annotations or, where there are none, the result has."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    parameters = list(signature.parameters.values())
    if not parameters:
        return signature.return_annotation is not signature.empty
    return all(each.annotation is not each.empty for each in parameters)


def makes_agent(value: Any) -> bool:
    """Return whether it is a function that says it returns an `Agent`, and that can be called with a model at most."""
    if not inspect.isfunction(value) or is_marked(value) or not _needs_nothing(value):
        return False
    returned = value.__annotations__.get("return")
    name = returned if isinstance(returned, str) else getattr(returned, "__name__", str(returned))
    return name.partition("[")[0].rpartition(".")[2] == "Agent"


def _may_make(value: Any) -> bool:
    """Return whether a function that was named doesn't say what it returns, so that it may be an agent."""
    said = inspect.isfunction(value) and "return" not in value.__annotations__
    return said and not is_marked(value) and _needs_nothing(value) and not _has_typed(value)


def _has_typed(function: Callable[..., Any]) -> bool:
    return any(name not in ("model", "return") for name in function.__annotations__)


def _needs_nothing(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(each.name == "model" or each.default is not each.empty for each in parameters)


def agent_of(found: Any, choose: Callable[[], Any]) -> Agent[Any]:
    """Return an agent that was found, or have the function that was found make one.

    Args:
        found: What `find_target` returned, if it isn't a list.
        choose: Chooses the model, for a function that is to be told it.

    Raises:
        UsageFault: The function raised something, or made something else.
    """
    from agentkit import AgentError

    if is_agent(found):
        return found  # type: ignore[no-any-return]
    given = {"model": choose()} if takes_model(found) else {}
    try:
        made = found(**given)
    except AgentError:
        raise
    except Exception as error:
        raise UsageFault(f"{found.__name__} failed: {where(error)}") from error
    if not is_agent(made):
        raise UsageFault(f"{found.__name__} returned {type(made).__name__}, not an Agent.")
    return made  # type: ignore[no-any-return]
