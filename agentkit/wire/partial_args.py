"""A function call whose arguments come in pieces, as Vertex AI streams them.

https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling: each piece names the place of a
value by a path, and `willContinue` says whether more of the call, or of a text, is to come.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

from agentkit.wire.content import MAX_DEPTH, JsonObject, Part

_STEP: Final = re.compile(r"""\.([^.\[\]'"]+)|\[(\d{1,6})\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_PIECES: Final = frozenset({"partialArgs", "willContinue"})
Path = tuple[str | int, ...]


class CallInPieces:
    """Puts one call together."""

    def __init__(self) -> None:
        self._part: dict[str, Any] = {}
        self._call: JsonObject = {}
        self._values: dict[Path, Any] = {}
        """What is at each place; of a text its pieces."""
        self._goes_on = True

    def add(self, part: Part) -> bool:
        """Take a piece; return whether it was the last one.

        Raises:
            ValueError: It names no place, or one that can't be there.
        """
        self._part |= part
        piece: JsonObject = dict(part["functionCall"])
        for partial in piece.get("partialArgs") or ():
            self._take(partial)
        self._call |= {key: value for key, value in piece.items() if key not in _PIECES}
        self._goes_on = piece.get("willContinue") is True
        return not self._goes_on

    def _take(self, partial: JsonObject) -> None:
        path = _path_of(partial["jsonPath"])
        if isinstance(text := partial.get("stringValue"), str):
            known = self._values.get(path)
            if isinstance(known, list):
                known.append(text)
            else:
                self._values[path] = [text]
        elif "nullValue" in partial:
            self._values[path] = None
        elif "boolValue" in partial or "numberValue" in partial:
            self._values[path] = partial.get("boolValue", partial.get("numberValue"))

    def part(self) -> Part:
        """Return the call. One that isn't whole goes on saying so.

        Raises:
            ValueError: Its pieces don't go together.
        """
        args: Any = self._call.get("args")
        args = dict(args) if isinstance(args, dict) else {}
        for path, value in self._values.items():
            _put(args, path, "".join(value) if isinstance(value, list) else value)
        call = {**self._call, "args": args, **({"willContinue": True} if self._goes_on else {})}
        return cast(Part, {**self._part, "functionCall": call})


def is_piece(part: Part, begun: CallInPieces | None) -> bool:
    """Return whether a part is a piece of a call: of one that is begun, or the first of another."""
    call: Any = part.get("functionCall")
    if not isinstance(call, dict):
        return False
    return not _PIECES.isdisjoint(call) or (begun is not None and not call.get("name"))


def _path_of(text: Any) -> Path:
    steps, end = [], 1
    if isinstance(text, str) and text.startswith("$"):
        for match in _STEP.finditer(text, 1):
            if match.start() != end:
                break
            name = next((each for each in match.group(1, 3, 4) if each is not None), None)
            steps.append(int(match[2]) if name is None else name)
            end = match.end()
    if not 0 < len(steps) < MAX_DEPTH or end != len(text) or not isinstance(steps[0], str):
        raise ValueError(f"{text!r:.100} isn't the path of an argument")
    return tuple(steps)


def _put(args: Any, path: Path, value: Any) -> None:
    """Put a value at its place; what is above it is made."""
    place: Any = args
    for step, following in zip(path, (*path[1:], None), strict=True):
        made: Any = value if following is None else [] if isinstance(following, int) else {}
        if isinstance(place, list) and isinstance(step, int) and step <= len(place):
            if step == len(place):
                place.append(made)
            elif following is None:
                place[step] = made
            place = place[step]
        elif isinstance(place, dict) and isinstance(step, str):
            if following is None or step not in place:
                place[step] = made
            place = place[step]
        else:
            raise ValueError(f"{path!r:.100} isn't a place in the arguments")
