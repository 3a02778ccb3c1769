"""Recordings in files: read, written, compared.

A file has a group's scenarios. What is the same in several ways of running stands once, and so does a content, a
list of tools or an instruction, in `shared`: `{"$": 3}` stands for the one with that number.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.golden.plain import text_of

FOLDER = Path(__file__).with_name("recordings")
_SHARED = ("tools", "systemInstruction", "generationConfig", "toolConfig")
_MOST_LINES = 60

Recording = Mapping[str, Mapping[str, list[Any]]]
"""By way, then by section: items."""


def read(group: str) -> dict[str, dict[str, Any]]:
    """Read a group's recordings, by the names of scenarios."""
    file = FOLDER / f"{group}.json"
    if not file.exists():
        return {}
    made: dict[str, dict[str, Any]] = {}
    for name, packed in json.loads(file.read_text(encoding="utf-8")).items():
        ways: dict[str, Any] = {}
        for section, grouped in packed["sections"].items():
            for names, items in grouped.items():
                for way in names.split():
                    ways.setdefault(way, {})[section] = _unpacked(items, packed["shared"])
        made[name] = ways
    return made


def write(group: str, recordings: Mapping[str, Recording]) -> None:
    """Write a group's recordings, one line for each item."""
    text = ",\n".join(f"{text_of(name)}: {_packed(recordings[name])}" for name in sorted(recordings))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{group}.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def _packed(recording: Recording) -> str:
    shared: dict[str, int] = {}
    sections: dict[str, dict[str, list[str]]] = {}
    for way, each in recording.items():
        for section, items in each.items():
            if not items:
                continue
            lines = [text_of(_interned(item, shared)) for item in items]
            grouped = sections.setdefault(section, {})
            same = next((names for names, known in grouped.items() if known == lines), None)
            if same is not None:
                grouped[f"{same} {way}"] = grouped.pop(same)
            else:
                grouped[way] = lines
    parts = [
        f'"{section}": {{'
        + ",\n".join(f'"{names}": {_listed(items)}' for names, items in grouped.items())
        + "}"
        for section, grouped in sections.items()
    ]
    return f'{{"shared": {_listed(shared)},\n"sections": {{' + ",\n".join(parts) + "}}"


def _listed(lines: Any) -> str:
    return "[\n" + ",\n".join(f" {line}" for line in lines) + "]" if lines else "[]"


def _interned(value: Any, shared: dict[str, int], *, whole: bool = False) -> Any:
    if whole or (isinstance(value, dict) and isinstance(value.get("parts"), list)):
        return {"$": shared.setdefault(text_of(value), len(shared))}
    if isinstance(value, dict):
        return {
            key: _interned(item, shared, whole=key in _SHARED and isinstance(item, (dict, list)))
            for key, item in value.items()
        }
    return [_interned(item, shared) for item in value] if isinstance(value, list) else value


def _unpacked(value: Any, shared: list[Any]) -> Any:
    if isinstance(value, dict):
        if list(value) == ["$"] and isinstance(value["$"], int):
            return shared[value["$"]]
        return {key: _unpacked(item, shared) for key, item in value.items()}
    return [_unpacked(item, shared) for item in value] if isinstance(value, list) else value


def difference(recorded: Recording, now: Recording) -> str:
    """Say in a few lines what differs, the first way and section where something does; nothing if nothing does."""
    for way in dict.fromkeys([*recorded, *now]):
        if way not in recorded or way not in now:
            return f"The way {way!r} was {'' if way in recorded else 'not '}recorded."
        for section in ("requests", "outcome", "events"):
            lines = list(_changes(recorded[way].get(section, []), now[way].get(section, [])))
            if lines:
                more = [f"... {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []
                return "\n".join([f"{section} of {way!r} (- recorded, + now):", *lines[:_MOST_LINES], *more])
    return ""


def _changes(before: list[Any], after: list[Any]) -> Iterator[str]:
    left, right = [text_of(item) for item in before], [text_of(item) for item in after]
    if left == right:
        return
    for tag, i, j, k, m in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        yield f"@ item {i + 1}:"
        for index in range(max(j - i, m - k)):
            old = _pretty(before[i + index]) if i + index < j else []
            new = _pretty(after[k + index]) if k + index < m else []
            for line in list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]:
                yield line[:300]


def _pretty(item: Any) -> list[str]:
    return json.dumps(item, indent=1, ensure_ascii=False).splitlines()
