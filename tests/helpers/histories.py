"""Random valid histories, a counter of tokens, and a chat that sends what a memory chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import strategies as st

from agentkit.limits import Usage
from agentkit.memory.base import CountTokens, MakeSummary, Memory, Need, Situation
from agentkit.wire.content import Content, Part, call_part, keep, model_content, response_part, user_content
from agentkit.wire.history import starts_turn

Turn = list[Content]

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)
LONG_TEXT = st.builds(lambda text, times: text * times, TEXT, st.integers(1, 60))
JSON = st.dictionaries(st.sampled_from("abc"), st.integers() | LONG_TEXT, max_size=3)


def image(data: str = "aGk=" * 500) -> Part:
    return {"inlineData": {"mimeType": "image/png", "data": data}}


@st.composite
def steps(draw: st.DrawFn, signed: bool) -> Turn:
    """A model content with calls, one or several, and the content with their responses."""
    calls: list[Part] = []
    for index in range(draw(st.integers(1, 3))):
        call_id = f"c{draw(st.integers(0, 99))}-{index}" if draw(st.booleans()) else None
        calls.append(call_part(draw(st.sampled_from(["look", "write"])), draw(JSON), id=call_id))
    answers = []
    for call in calls:
        media = [image()] if draw(st.integers(0, 9)) == 0 else []
        key = draw(st.sampled_from(["output", "output", "error"]))
        answers.append(response_part(call["functionCall"], {key: draw(LONG_TEXT)}, cast(Any, media)))
    if signed:
        calls[0]["thoughtSignature"] = draw(st.text("abcd", min_size=4, max_size=80))
    before: list[Part] = [{"text": draw(TEXT), "thought": True}] if draw(st.booleans()) else []
    return [model_content(*before, *calls), user_content(*answers)]


@st.composite
def turn(draw: st.DrawFn, *, signed: bool = True, broken_off: bool | None = None) -> Turn:
    """A question and what came of it; one that was broken off has no answer, and perhaps nothing at all."""
    question = user_content(draw(LONG_TEXT), *([image()] if draw(st.integers(0, 9)) == 0 else []))
    contents = [question]
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        contents += draw(steps(signed))
    if broken_off is None:
        broken_off = draw(st.integers(0, 5)) == 0
    if not broken_off:
        answer: Part = {"text": draw(LONG_TEXT)}
        if signed and draw(st.booleans()):
            answer["thoughtSignature"] = draw(st.text("abcd", min_size=4, max_size=80))
        contents.append(model_content(answer))
    return [keep(content) for content in contents]


def histories(*, signed: bool = True, max_turns: int = 12) -> st.SearchStrategy[list[Turn]]:
    """Lists of turns, at least one."""
    return st.lists(turn(signed=signed), min_size=1, max_size=max_turns)


def flat(turns: Sequence[Turn]) -> list[Content]:
    return [content for one in turns for content in one]


def plain_turn(number: int, size: int = 400, result: int = 0) -> Turn:
    """A turn of a talk in which all are alike: question, perhaps a call with a result, and answer."""
    contents = [user_content(f"question {number} " + "q" * size)]
    if result:
        call = call_part("look", {"at": number}, id=f"id{number}")
        answer = response_part(call["functionCall"], {"output": "r" * result})
        contents += [model_content(call), user_content(answer)]
    return [keep(content) for content in [*contents, model_content(f"answer {number} " + "a" * size)]]


@dataclass(frozen=True)
class Counter:
    """Counts tokens as a server might, and not as agentkit estimates them."""

    letters_a_token: float = 3.0
    an_image: int = 258

    def of(self, value: Any) -> int:
        if isinstance(value, str):
            return math.ceil(len(value) / self.letters_a_token)
        if isinstance(value, dict):
            if "inlineData" in value:
                return self.an_image
            return sum(self.of(part) for key, part in value.items() if key != "role")
        if isinstance(value, (list, tuple)):
            return sum(map(self.of, value))
        return 1

    def request(self, contents: Sequence[Content], base: dict[str, Any]) -> int:
        return sum(self.of(content) + 4 for content in contents) + self.of(base)


@dataclass
class Sent:
    """One request of a chat."""

    history: list[Content]
    view: Sequence[Content]
    needs: list[Need]
    situation: Situation


def choose(
    memory: Memory,
    contents: Sequence[Content],
    situation: Situation,
    *,
    counter: Counter | None = None,
    summarise: Callable[[MakeSummary], Any] | None = None,
) -> tuple[Sequence[Content], list[Need]]:
    """Answer what a memory needs; return its view and what it asked."""
    counter = counter or Counter()
    needs: list[Need] = []
    choosing = memory.view(contents, situation)
    answer: Any = None
    while True:
        try:
            need = choosing.send(answer)
        except StopIteration as chosen:
            return chosen.value, needs
        needs.append(need)
        if isinstance(need, CountTokens):
            answer = counter.request(need.contents, situation.base)
        else:
            answer = summarise(need) if summarise else f"summary up to {need.upto}"


@dataclass
class Chatting:
    """Goes through a conversation, and asks the memory before each turn of the model, as the loop does."""

    memory: Memory
    counter: Counter = field(default_factory=Counter)
    base: dict[str, Any] = field(default_factory=dict)
    with_usage: bool = True
    history: list[Content] = field(default_factory=list)
    last_view: Sequence[Content] = ()
    last_usage: Usage | None = None
    summary: tuple[int, str] | None = None

    def situation(self) -> Situation:
        return Situation(
            base=self.base, last_view=self.last_view, last_usage=self.last_usage, summary=self.summary
        )

    def go_through(self, turns: Sequence[Turn]) -> Iterator[Sent]:
        for content in flat(turns):
            if content["role"] == "model":
                yield self.send(content)
            self.history.append(content)
        if starts_turn(self.history[-1]) or self.history[-1]["role"] == "user":
            yield self.send(model_content("the end"))

    def send(self, reply: Content) -> Sent:
        situation = self.situation()
        view, needs = choose(self.memory, tuple(self.history), situation, counter=self.counter)
        for need in needs:
            if isinstance(need, MakeSummary):
                self.summary = (need.upto, f"summary up to {need.upto}")
        self.last_view = tuple(view)
        if self.with_usage:
            self.last_usage = Usage(
                requests=1,
                prompt_tokens=self.counter.request(view, self.base),
                candidates_tokens=self.counter.of(reply),
            )
        return Sent(list(self.history), view, needs, situation)


def extends(view: Sequence[Content], last: Sequence[Content]) -> bool:
    return list(view[: len(last)]) == list(last)
