"""JSON with something wrong in it: changed at random places, by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**40, 2**63, "", "x", "STOP", "\ud800", " \x00", [], {}, [[]], {"": None}, [None],
    {"error": "x"}, "9" * 400, float("nan"), float("inf"),
)  # fmt: skip
NAMES = (
    "text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "name", "args", "id",
    "response", "role", "parts", "content", "candidates", "finishReason", "usageMetadata", "promptFeedback", "error",
    "partialArgs", "willContinue", "continuationToken",
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Go through the places in a value: what they are in, and the key or index there."""
    keys: Any = (
        list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from places(value[key])


def copied(value: Any) -> Any:
    """Copy JSON, however deep it is."""
    return json.loads(json.dumps(value))


def nested(levels: int, inside: Any) -> Any:
    """Put a value in so many lists."""
    for _ in range(levels):
        inside = [inside]
    return inside


def mutated(value: Any, seed: int) -> Any:
    """Return a copy of a value with one to three things changed in it."""
    dice = random.Random(seed)
    made = copied(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        found = list(places(made))
        if not found:
            return copied(dice.choice(ODD))
        holder, key = dice.choice(found)
        match dice.randrange(7):
            case 0 | 1:
                holder[key] = copied(dice.choice(ODD))  # which is changed in its turn
            case 2:
                del holder[key]
            case 3 if isinstance(holder, dict):
                holder[dice.choice(NAMES)] = holder.pop(key)
            case 4:
                holder[key] = nested(dice.choice((1, 50, 150, 300)), holder[key])
            case 5 if isinstance(holder, list):
                holder.insert(key, copied(holder[key]))
            case _:
                other, at = dice.choice(found)
                try:
                    holder[key] = copied(other[at])
                except (KeyError, IndexError, RecursionError):  # it is gone by now, or too much of it
                    continue
    return made
