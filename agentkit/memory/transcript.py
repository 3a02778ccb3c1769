"""Contents as text to read, for the model that summarises them.

Text, since a request that has calls and responses but doesn't declare their tools is refused by Gemini, and
since a model that is shown its own turns goes on with them rather than summarise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from agentkit.wire.content import Content, JsonObject, dumps

_TEXT: Final = 8_000
"""Characters of a text that are shown."""
_DATA: Final = 1_000
"""Characters of JSON that are shown: arguments and results."""


def fenced(tag: str, text: str) -> str:
    """Put a text between tags; one that would close them early is broken up."""
    return f"<{tag}>\n{text.replace(f'</{tag}', f'< /{tag}')}\n</{tag}>"


def transcript(contents: Sequence[Content]) -> str:
    """Write down what was said and done: long texts and results shortened, files and thoughts left out."""
    return "\n".join(
        line for content in contents for part in content["parts"] for line in _lines(content["role"], part)
    )


def _lines(role: str, part: Any) -> Iterator[str]:
    speaker = "User" if role == "user" else "Assistant"
    if part.get("thought"):
        return
    if "functionCall" in part:
        call = part["functionCall"]
        yield f"{speaker} called {call['name']} with {_json(call.get('args') or {})}"
    elif "functionResponse" in part:
        response = part["functionResponse"]
        yield f"{response['name']} returned {_json(response['response'])}"
        for nested in response.get("parts") or ():
            yield f"{response['name']} returned {_file(nested)}"
    elif "inlineData" in part or "fileData" in part:
        yield f"{speaker}: {_file(part)}"
    elif "text" not in part:  # of the server's own tools
        yield f"{speaker}: {_json({key: value for key, value in part.items() if key != 'thoughtSignature'})}"
    elif part["text"]:
        yield f"{speaker}: {_shortened(part['text'], _TEXT)}"


def _file(part: JsonObject) -> str:
    file = part.get("inlineData") or part.get("fileData") or {}
    return f"[a file, {file.get('mimeType') or 'of unknown type'}: not shown]"


def _json(value: Any) -> str:
    return _shortened(dumps(value).decode(), _DATA)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head, tail = text[: most * 3 // 4], text[-(most // 4) :]
    return f"{head} [... {len(text) - len(head) - len(tail):,} characters left out ...] {tail}"
