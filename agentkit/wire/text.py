"""Texts of a model that are one Markdown fence, or would be without it."""

from __future__ import annotations

from agentkit.wire.content import Part, text_in


def unfence(text: str) -> tuple[str | None, str]:
    """Return the language and the code of a text that is one Markdown fence; of any other, None and the text.

    (No regular expression: over the endless line ends that a model may lapse into, one takes hours.)
    """
    head, line_end, code = text.strip().partition("\n")
    if not (head.startswith("```") and line_end and code.endswith("```")):
        return None, text
    language, code = head[3:].strip(), code[:-3].rstrip()
    return (None, text) if "`" in language or "\n```" in code else (language.lower(), code)


def without_fence(parts: list[Part]) -> list[Part]:
    """Leave out the fence around a text, unless a part is signed: its text must stay (rule 3)."""
    text = text_in(parts)
    bare = unfence(text)[1]
    if bare == text or any("thoughtSignature" in part for part in parts):
        return parts
    return [*(part for part in parts if part.get("thought") or "text" not in part), {"text": bare}]
