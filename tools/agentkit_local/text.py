"""What the embedded model says: results in plain words, and why it made no call. Pure functions.

The engine writes no prose, and small models that do invent facts. So results are laid out, not retold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from agentkit.wire.content import FunctionCall, FunctionDeclaration, FunctionResponse, Json, JsonObject
from agentkit_local.small_talk import Kind

PURPOSE = "I'm a small model: I can use a tool for one clear request, but I can't chat, think or write."
USE_GEMINI = "For more than simple requests, use Gemini: set GEMINI_API_KEY."
_UNITS = {
    "c": "°C",
    "celsius": "°C",
    "f": "°F",
    "fahrenheit": "°F",
    "mm": "mm",
    "cm": "cm",
    "km": "km",
    "kmh": "km/h",
    "kph": "km/h",
    "mph": "mph",
    "hpa": "hPa",
    "kg": "kg",
    "percent": "%",
    "pct": "%",
    "seconds": "seconds",
    "minutes": "minutes",
    "hours": "hours",
    "eur": "EUR",
    "usd": "USD",
}
"""Endings of keys that name the unit of a number: `rain_mm` is read as "rain: 3 mm"."""
_LINE = 100


def decline(reason: str) -> str:
    """Say in one line that nothing was done, why (a clause), and what else to do."""
    return f"I didn't understand that: {reason}. {USE_GEMINI}"


def introduce(kind: Kind, instructions: str, tools: Sequence[FunctionDeclaration]) -> str:
    """Answer a greeting, thanks or a call for help with what can be asked.

    Args:
        kind: One of those, as `small_talk` tells them.
        instructions: The agent's. Up to three sentences that they have in double quotes are taken as examples.
        tools: What there is; named where there are no examples.
    """
    opening = {"greeting": "Hello. ", "thanks": "You're welcome. ", "help": ""}[kind]
    examples = re.findall(r'["“]([^"“”\n]{3,100})["”]', instructions)[:3]
    if examples:
        return "\n".join(
            [f"{opening}You can ask me, for example:", *(f"- {example}" for example in examples)]
        )
    names = ", ".join(tool["name"].replace("_", " ") for tool in tools)
    return f"{opening}{PURPOSE}" + (f" The tools here: {names}." if names else f" {USE_GEMINI}")


def only_errors(responses: Sequence[FunctionResponse]) -> bool:
    """Return whether none of the calls gave a result."""
    return all(response["response"].get("error") for response in responses)


def written(call: FunctionCall) -> str:
    """Write a call as code: `forecast(city="Paris", days=3)`."""
    arguments = call.get("args", {}).items()
    return f"{call['name']}({', '.join(f'{k}={json.dumps(v, ensure_ascii=False)}' for k, v in arguments)})"


def render(responses: Sequence[FunctionResponse], calls: Sequence[FunctionCall] = ()) -> str:
    """Lay out the results of a turn's calls, in order, errors included.

    Args:
        responses: The function responses.
        calls: The calls that they answer, if known: several bare values are told apart by them.
    """
    said: list[str] = []
    for index, response in enumerate(responses):
        text = _one(response["response"])
        if len(responses) > 1 and index < len(calls) and re.fullmatch(r"\S*[^\s.!?]", text):
            text = f"{written(calls[index])}: {text}"
        files = len(response.get("parts") or ())
        if files:
            text += f"\n({files} file{'s' if files > 1 else ''} came with it, which the embedded model can't show.)"
        said.append(text)
    blocks = any("\n" in text for text in said)
    # Two calls for one thing, such as a city and its country, have one answer.
    return ("\n\n" if blocks else "\n").join(dict.fromkeys(said))


def _one(response: JsonObject) -> str:
    error = response.get("error")
    if error:
        told = error.get("message", error) if isinstance(error, Mapping) else error
        return f"That didn't work: {_value(told)}"
    return _block(response.get("output", response))


def _block(value: Json) -> str:
    if isinstance(value, str):
        return value.strip() or "Done."
    if value is None or value == {}:
        return "Done."
    if value == []:
        return "Nothing found."
    return "\n".join(_lines(value))


def _lines(value: Json, indent: str = "") -> Iterator[str]:
    """Lay a value out: a dict one line a key, a list one line an item."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            label, unit = _label(key, item)
            if _is_short(item):
                yield f"{indent}{label}: {_value(item)}{unit}"
            else:
                yield f"{indent}{label}:"
                yield from _lines(item, indent + "  ")
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, Mapping) and all(map(_is_short, item.values())):
                yield f"{indent}- {_row(item)}"
            elif _is_short(item):
                yield f"{indent}- {_value(item)}"
            else:
                first, *rest = _lines(item, indent + "  ")
                yield f"{indent}- {first.strip()}"
                yield from rest
    else:
        yield indent + _value(value)


def _row(item: Mapping[str, Any]) -> str:
    """Write a flat dict on one line; what comes first, if it is a text, is what the line is about."""
    pairs = [(*_label(key, value), value) for key, value in item.items() if value is not None]
    head = ""
    if len(pairs) > 1 and isinstance(pairs[0][2], str):
        head = f"{pairs[0][2]}: "
        pairs = pairs[1:]
    return head + ", ".join(f"{label} {_value(value)}{unit}" for label, unit, value in pairs)


def _is_short(value: Json) -> bool:
    if isinstance(value, Mapping):
        return not value
    if isinstance(value, (list, tuple)):
        return (
            all(not isinstance(item, (Mapping, list, tuple)) for item in value) and len(_value(value)) < _LINE
        )
    return True


def _label(key: str, value: Json) -> tuple[str, str]:
    """Read a key: `rain_mm` with a number is ("rain", " mm"), `windSpeed` is ("wind speed", "")."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", str(key)).replace("_", " ").split()
    words = [word if word.isupper() else word.lower() for word in words]
    unit = _UNITS.get(words[-1].casefold()) if len(words) > 1 else None
    if unit and isinstance(value, (int, float)) and not isinstance(value, bool):
        return " ".join(words[:-1]), "%" if unit == "%" else f" {unit}"
    return " ".join(words) or str(key), ""


def _value(value: Json) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{_label(k, v)[0]} {_value(v)}" for k, v in value.items()) or "none"
    return str(value)


def _number(value: float) -> str:
    """Write a float as people do: 5.0 is "5", 0.1 + 0.2 is "0.3"; only very large and small ones by power of ten."""
    rounded = float(f"{value:.12g}") + 0.0  # without the sign of -0.0
    if 1e-6 <= abs(rounded) < 1e15 or rounded == 0:
        text = f"{Decimal(repr(rounded)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.12g}"
