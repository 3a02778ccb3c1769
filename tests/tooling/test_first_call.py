"""A tool of plain types makes its validator when it is first called."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter

from agentkit.tooling import schema
from agentkit.tooling.context import Context
from agentkit.tooling.tool import Tool
from tests.helpers.until import PATIENCE

NO_CONTEXT = Context(deps=None)
ARGS = {"city": "Bern", "days": "3", "unit": "C"}


def forecast(city: str, days: int | None = None, *tags: str, unit: Literal["C", "F"]) -> Any:
    return city, days, tags, unit


def test_declaring_a_tool_of_plain_types_makes_no_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def adapter(shape: Any) -> TypeAdapter[Any]:
        made.append(shape)
        return TypeAdapter(shape)

    monkeypatch.setattr(schema, "TypeAdapter", adapter)
    tool = Tool.of(forecast)
    assert tool.declaration["parametersJsonSchema"]["required"] == ["city", "unit"]
    assert not made
    for _ in range(2):
        assert tool.bind(ARGS, NO_CONTEXT)() == ("Bern", 3, (), "C")
    assert len(made) == 1


def test_many_threads_may_make_the_first_call_at_once() -> None:
    threads = 8
    barrier = Barrier(threads)

    def call(tool: Tool) -> Any:
        barrier.wait(PATIENCE)
        return tool.bind(ARGS, NO_CONTEXT)()

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(10):
            assert set(pool.map(call, [Tool.of(forecast)] * threads)) == {("Bern", 3, (), "C")}
