"""The tools by which a model loads skills and reads what is in their folders."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError, ToolError, ToolRetry
from agentkit.skills.format import CODE, FILE, Skill, body_of, read_skill, read_text
from agentkit.tooling.registry import collect
from agentkit.tooling.sources import ToolSource
from agentkit.tooling.tool import Tool
from agentkit.wire.arguments import checked
from agentkit.wire.content import JsonObject

log = logging.getLogger("agentkit.skills")

MAX_SKILLS = 200
"""That one `Skills` declares."""
MAX_LISTED = 100
"""Files of a skill that are listed when it is loaded."""
_OF_OTHERS = {"site-packages", "dist-packages", "node_modules"}

_LOAD = """Load a skill: instructions for a kind of task, written by somebody who knows it.
Load one before you begin a task that it is for, and follow it. The skills are:
"""
_READ = """Read a file that belongs to a skill, when its instructions name it. A long one comes in pages."""


class Skills(ToolSource):
    """Folders of skills: give them to an agent as they are, `Agent(tools=[Skills("skills/")])`.

    Names and descriptions are declared with the tool `load_skill`, which answers with a skill's text; the beginning
    of the request stays as it is. `read_skill_file` reads the files beside it, and nothing outside of the folder.
    What is loaded is in the history, so that it outlives a resume. What of a skill has no effect here is in its
    `notes`, in the log `agentkit.skills` and in what the model reads.

    Args:
        paths: Folders with a SKILL.md, or folders of those.
        trusted: Whether the skills are your own words. By default those are which lie below the current directory
            (and not in an installed package). The words of others count as a stranger's: see
            `Limits(after_untrusted=...)`.
        code: Whether a skill's `tools.py` is imported: its functions are tools, declared when the skill is loaded.
            Of a skill that isn't trusted, this runs a stranger's code in your process.

    Raises:
        ConfigurationError: There is no skill to be had, or one that `code` was asked for can't be imported.
    """

    name = "skills"

    @checked
    def __init__(
        self, *paths: str | os.PathLike[str], trusted: bool | None = None, code: bool = False
    ) -> None:
        found: dict[str, Skill] = {}
        problems: list[str] = []
        for folder in _folders(paths):
            try:
                skill = read_skill(folder, trusted=_is_own(folder) if trusted is None else trusted)
            except ConfigurationError as error:
                problems.append(str(error))
                continue
            if skill.name in found:
                problems.append(f"{folder} is left out: there is a skill {skill.name!r} already.")
            elif not skill.hidden:
                found[skill.name] = skill
        for problem in problems:
            log.warning("%s", problem)
        for skill in found.values():
            for note in skill.notes:
                log.info("%s: %s", skill.name, note)
        named = ", ".join(repr(os.fspath(path)) for path in paths)
        if not found:
            raise ConfigurationError(f"Skills({named}): there are none. {' '.join(problems[:5])}".strip())
        if len(found) > MAX_SKILLS:
            raise ConfigurationError(
                f"Skills({named}): there are {len(found)}; at most {MAX_SKILLS} are declared."
            )
        self._found = found
        self._code = {skill.name: _code_of(skill) for skill in found.values() if code and skill.has_code}
        self.untrusted = not all(skill.trusted for skill in found.values())
        self._tools = tuple(self._make_tools())

    @property
    def skills(self) -> tuple[Skill, ...]:
        """The skills, in the order in which they are declared."""
        return tuple(self._found.values())

    def __repr__(self) -> str:
        return f"Skills({', '.join(self._found)})"

    def tools(self) -> tuple[Tool, ...]:
        """Return the tools: those that load skills and read their files, and those that skills bring."""
        return self._tools

    def known(self) -> tuple[Tool, ...]:
        """Return the tools."""
        return self._tools

    def _make_tools(self) -> Iterator[Tool]:
        listed = "\n".join(f"- {skill.name}: {skill.description}" for skill in self.skills)
        yield Tool.of(
            self._load,
            name="load_skill",
            description=_LOAD + listed,
            effect="read",
            untrusted=self.untrusted,
            loads=True,
        )
        yield Tool.of(
            self._read, name="read_skill_file", description=_READ, effect="read", untrusted=self.untrusted
        )
        for tools in self._code.values():
            yield from tools

    def _load(self, name: str) -> JsonObject:
        """Load a skill.

        Args:
            name: One of the skills listed.
        """
        skill = self._skill(name)
        try:
            text = body_of(read_text(skill.folder))
        except ConfigurationError as error:
            raise ToolError(f"The skill {name!r} can't be read any more.") from error
        made: JsonObject = {"skill": skill.name, "instructions": text}
        if files := _files_of(skill):
            made["files"] = files
        notes = list(skill.notes)
        if tools := self._code.get(skill.name):
            made["tools"] = [tool.name for tool in tools]
        elif skill.has_code:
            notes.append(f"Its {CODE} is not loaded.")
        return {**made, "notes": notes} if notes else made

    def _read(self, skill: str, path: str, offset: int = 1, limit: int = 500) -> Any:
        """Read a file of a skill.

        Args:
            skill: The skill's name.
            path: The file, as its instructions name it, such as references/forms.md.
            offset: Line to begin with; 1 is the first.
            limit: How many lines.
        """
        return _reader(self._skill(skill), "read_file")(path=path, offset=max(1, offset), limit=max(1, limit))

    def _skill(self, name: str) -> Skill:
        skill = self._found.get(name)
        if skill is None:
            raise ToolRetry(f"There is no skill {name!r:.200}. The skills are: {', '.join(self._found)}.")
        return skill


def _folders(paths: tuple[str | os.PathLike[str], ...]) -> Iterator[Path]:
    """Find the folders with a SKILL.md: each path itself, or those in it."""
    for path in map(Path, paths):
        if not path.is_dir():
            raise ConfigurationError(f"Skills({os.fspath(path)!r}): there is no such folder.")
        if (path / FILE).exists():
            yield path
        else:
            yield from sorted(child for child in path.iterdir() if (child / FILE).exists())


def _is_own(folder: Path) -> bool:
    """Return whether a folder is below the current directory and not in an installed package."""
    real, project = folder.resolve(), Path.cwd().resolve()
    return real.is_relative_to(project) and _OF_OTHERS.isdisjoint(real.relative_to(project).parts)


def _reader(skill: Skill, name: str) -> Tool:
    """Make a tool of `agentkit_tools.files` for a skill's folder; it has the guards against leaving it."""
    from agentkit_tools.files import files

    tool = files(skill.folder, write=False).get(name)
    assert tool is not None
    return tool


def _files_of(skill: Skill) -> list[str]:
    entries = _reader(skill, "list_files")(depth=3)["entries"]
    paths = [entry["path"] for entry in entries if "bytes" in entry and entry["path"] != FILE]
    return (
        paths
        if len(paths) <= MAX_LISTED
        else [*paths[:MAX_LISTED], f"... and {len(paths) - MAX_LISTED} more"]
    )


def _code_of(skill: Skill) -> list[Tool]:
    """Import the `tools.py` of a skill, and make tools of its public functions, to be found on demand.

    Raises:
        ConfigurationError: It can't be imported, or a function can't be declared.
    """
    path = skill.folder / CODE
    name = f"agentkit_skill_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic and dataclasses look a class's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigurationError(f"{path} can't be imported: {error!r}") from error
    functions = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_") and (isinstance(value, Tool) or _is_of(value, name))
    ]
    return [
        made.replace(on_demand=True, untrusted=made.untrusted or not skill.trusted)
        for made in collect(functions).values()
    ]


def _is_of(value: Any, module: str) -> bool:
    return inspect.isfunction(value) and value.__module__ == module
