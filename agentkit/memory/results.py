"""A memory that leaves out old results of tools."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

from agentkit.memory._arguments import check_number
from agentkit.memory.base import Need, Situation
from agentkit.wire.arguments import checked
from agentkit.wire.content import (
    Content,
    FunctionResponse,
    KeptContent,
    Part,
    content_json,
    dumps,
    keep,
    responses_of,
)
from agentkit.wire.history import turn_starts


@checked
@dataclass(frozen=True, slots=True)
class DropToolResults:
    """Replace old, bulky tool results by a line: `[result left out: 12,345 characters]`.

    The model still sees which tools it called, with which arguments, and that there was an answer; no content, call
    or response is left out. A result is old if it isn't in the last `keep` turns. Results are replaced every `step`
    turns only, so that the beginning of the request rarely changes: results of the last `keep` turns are always
    complete, those of up to `keep + step - 1` turns may be. A result is bulky if it has more than `over` characters
    of JSON, or media.

    Args:
        keep: Turns whose results stay complete, including the current one.
        step: Turns between two changes.
        over: Characters that an old result may have.

    Raises:
        ConfigurationError: A number is invalid or out of range; `over` is at least 100, more than the line itself
            has.
    """

    keep: int = 2
    _: KW_ONLY
    step: int = 4
    over: int = 500

    def __post_init__(self) -> None:
        check_number("DropToolResults(keep)", self.keep)
        check_number("DropToolResults(step)", self.step)
        check_number("DropToolResults(over)", self.over, least=100)

    def view(
        self,
        contents: Sequence[Content],
        situation: Situation,
    ) -> Generator[Need, Any, Sequence[Content]]:
        """Replace the old results. The number of contents stays the same, and the model isn't asked."""
        yield from ()
        starts = turn_starts(contents)
        old = max(0, len(starts) - self.keep) // self.step * self.step
        end = starts[old] if old else 0
        return [*(self._shortened(content) for content in contents[:end]), *contents[end:]]

    def _shortened(self, content: Content) -> Content:
        responses = responses_of(content)
        media = any(response.get("parts") for response in responses)
        if not responses or (not media and len(content_json(content)) <= self.over):
            return content
        kept: object = content
        if not isinstance(kept, KeptContent):
            return self._stand_in(content) or content
        over, stand_in = getattr(kept, "stand_in", (None, None))
        if over != self.over:
            stand_in = self._stand_in(content)
            kept.stand_in = (self.over, stand_in)
        return stand_in or content

    def _stand_in(self, content: Content) -> Content | None:
        parts = [self._short_part(part) for part in content["parts"]]
        if all(new is old for new, old in zip(parts, content["parts"], strict=True)):
            return None
        return keep(cast(Content, {**content, "parts": parts}))

    def _short_part(self, part: Part) -> Part:
        if "functionResponse" not in part:
            return part
        response = part["functionResponse"]
        media = len(response.get("parts") or ())
        length = len(dumps(response["response"]).decode())
        if length <= self.over and not media:
            return part
        files = f" and {media} media {'part' if media == 1 else 'parts'}" if media else ""
        key = "error" if "error" in response["response"] else "output"
        short = {name: value for name, value in response.items() if name != "parts"}
        short["response"] = {key: f"[result left out: {length:,} characters{files}]"}
        return {**part, "functionResponse": cast(FunctionResponse, short)}
