"""A root for the file tools with a secret beside it, and a way to call the tools as a run does."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentkit_tools.files import files

from agentkit.errors import ToolError, ToolRetry
from agentkit.tooling.context import Context
from tests.helpers.until import PATIENCE

SECRET = "TOP-SECRET"
READING: dict[str, dict[str, Any]] = {
    "list_files": {"depth": 9},
    "read_file": {},
    "search_files": {"text": SECRET[:4]},
}
WRITING: dict[str, dict[str, Any]] = {
    "write_file": {"content": "PWNED"},
    "edit_file": {"old": SECRET, "new": "PWNED"},
}
TOOLS = READING | WRITING
"""The arguments of each tool beside the path."""


class Box:
    """`root`, where the tools may be, and `outside`, where they must never get to."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.root, self.outside = path / "root", path / "outside"
        for directory in (self.root, self.outside):
            directory.mkdir()
        (self.outside / "secret.txt").write_text(f"{SECRET}\n")
        (self.outside / "secret.txt").chmod(0o640)
        (self.outside / "below").mkdir()
        (self.outside / "below" / "deep.txt").write_text(f"{SECRET} too\n")
        (self.root / "notes").mkdir()
        (self.root / "notes" / "today.txt").write_text("Buy milk\nCall Ann\n")
        self.tools = files(self.root, **{"search_seconds": PATIENCE, **options})

    def put(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def data_of(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def call(self, name: str, /, **args: Any) -> Any:
        tool = self.tools.get(name)
        assert tool is not None
        return tool.bind(args, Context(deps=None))()

    def attempt(self, name: str, path: str) -> tuple[bool, str]:
        """Call a tool with a path; tell whether it was done, and all that the model would read."""
        try:
            return True, str(self.call(name, path=path, **TOOLS[name]))
        except (ToolRetry, ToolError) as refusal:
            return False, str(refusal)

    def outside_now(self) -> dict[str, Any]:
        """Everything about what is outside that a write would change."""
        return {path: _state(self.outside.parent / path) for path in _below(self.outside)} | {
            "beside": sorted(path.name for path in self.outside.parent.iterdir())
        }


def _below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory.parent)) for path in [directory, *directory.rglob("*")])


def _state(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    return status.st_ino, status.st_mode, status.st_uid, content


Setup = Callable[[Box], object]
