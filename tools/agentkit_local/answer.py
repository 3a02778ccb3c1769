"""What follows on the results of calls: an answer, or another tool's turn. Pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from agentkit.wire.content import Content, FunctionCall, FunctionDeclaration, calls_of, responses_of, text_of
from agentkit_local import judge
from agentkit_local.text import decline, only_errors, render


def after_calls(
    contents: Sequence[Content], tools: Sequence[FunctionDeclaration]
) -> tuple[str, list[FunctionCall]]:
    """Lay out what the last calls gave; or, where no call for the request gave anything, make another one.

    Of several refusals the one is told that comes from the tool which shares most words with the request.

    Args:
        contents: A history that ends with function responses.
        tools: The functions that may be called.
    """
    asked = next((n for n in reversed(range(len(contents))) if _is_request(contents[n])), None)
    if asked is None:
        return render(responses_of(contents[-1])), []
    rounds = [(responses_of(c), calls_of(before)) for before, c in itertools.pairwise(contents[asked:])]
    rounds = [(responses, made) for responses, made in rounds if responses]
    if not all(only_errors(responses) for responses, _ in rounds):
        return render(*rounds[-1]), []
    text, by_name = text_of(contents[asked]), {tool["name"]: tool for tool in tools}
    tried = [call["name"] for _, made in rounds for call in made]
    if further := judge.hand_over(by_name, text, tried):
        return "", further
    shared = judge.related(by_name, text)
    if len(rounds) > 1 and not any(shared.get(name) for name in tried):
        return decline("I have no tool for that"), []
    return render(
        *max(rounds, key=lambda made: max((shared.get(c["name"], 0) for c in made[1]), default=0))
    ), []


def _is_request(content: Content) -> bool:
    return content["role"] == "user" and not responses_of(content)
