"""Whether each request of a run extends the one before it: that is what makes prompt caches hit."""

from __future__ import annotations

from collections.abc import Sequence

from agentkit.wire.content import Content, Request, iter_declarations


class Prefix:
    """Compares each request with the last one.

    Args:
        memory: Whether a memory chooses what is sent of the history.
        hook: Whether a hook may change what is sent.
    """

    def __init__(self, *, memory: bool, hook: bool) -> None:
        self._memory, self._hook = memory, hook
        self._last: Request | None = None
        self._sent: tuple[Content, ...] = ()
        """Its contents."""
        self._model = ""
        self._view: Sequence[Content] = ()
        """What the last request had of the history, without what was told beside it."""

    def why_changed(self, request: Request, aside: int, model: str) -> str | None:
        """Say in words why a request doesn't extend the last one; None where it does, or is the first.

        Args:
            request: What is sent.
            aside: How many of its contents, at the end, are not in the history.
            model: Who is asked.
        """
        last, sent, view, before = self._last, self._sent, self._view, self._model
        if request is last:
            return None
        contents = tuple(request["contents"])
        self._last, self._sent, self._model = request, contents, model
        self._view = contents[: len(contents) - aside] if aside else contents
        if last is None:
            return None
        if last.get("systemInstruction") != request.get("systemInstruction"):
            return "The instructions changed."
        if last.get("tools") != request.get("tools"):
            return _why_tools(last, request)
        if contents[: len(sent)] == sent:
            return None
        if len(view) < len(sent) and contents[: len(view)] == view:
            return "What was told beside the history is sent no longer."
        if model != before:
            return f"{model} is asked, and the thought signatures are {before}'s."
        if self._hook:
            return "A hook changed what is sent of the history."
        return "The memory sends another part of the history." if self._memory else "The history changed."


def _why_tools(last: Request, request: Request) -> str:
    before, now = ([each["name"] for each in iter_declarations(one)] for one in (last, request))
    added = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    what = [f"{', '.join(names)} {verb}" for names, verb in ((added, "came"), (gone, "went")) if names]
    return f"The tools changed: {'; '.join(what) or 'they are declared otherwise'}."
