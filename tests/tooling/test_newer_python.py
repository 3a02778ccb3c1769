"""What only newer Pythons can write: type aliases and generic functions of PEP 695."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.tool import Tool

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695")

SOURCE = """
from typing import Annotated, Any, TypedDict, Unpack
from pydantic import BaseModel, Field
from agentkit.tooling.context import Context

type Sku = Annotated[str, Field(pattern="^T", description="a product")]
type Json = None | int | str | list[Json] | dict[str, Json]
type Pair[T] = tuple[T, T]
type Ctx = Context[int]

class Tree(TypedDict):
    kids: "list[Tree]"

class Box[T](BaseModel):
    item: T

def aliased(sku: Sku, data: Json, pair: Pair[float], ctx: Ctx, maybe: Sku | None = None):
    return sku, data, pair, ctx.deps, maybe

def generic[T: int, U: (int, str)](a: T, b: list[U], c: Box[T]):
    return a, b, c.item

def unbound[T](a: list[T]):
    return a

def tree(tree: Tree, **rest: Unpack[Tree]):
    return len(tree["kids"]), rest
"""


@pytest.fixture(params=["", "from __future__ import annotations"], ids=["now", "future"])
def functions(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    name = f"newer_{request.param[:4].strip()}"
    (tmp_path / f"{name}.py").write_text(request.param + "\n" + SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield vars(importlib.import_module(name))
    del sys.modules[name]


def called(function: Any, args: dict[str, Any]) -> Any:
    tool = Tool.of(function)
    schema = tool.declaration["parametersJsonSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(args, schema)
    return tool.bind(args, Context(deps=7))()


def test_type_aliases_are_declared_and_their_values_arrive(functions: dict[str, Any]) -> None:
    args = {"sku": "TEA", "data": {"a": [1, "b", None]}, "pair": [1, 2.5]}
    assert called(functions["aliased"], args) == ("TEA", {"a": [1, "b", None]}, (1.0, 2.5), 7, None)
    assert "ctx" not in Tool.of(functions["aliased"]).declaration["parametersJsonSchema"]["properties"]


def test_bound_type_parameters_stand_for_their_bounds(functions: dict[str, Any]) -> None:
    assert called(functions["generic"], {"a": 1, "b": ["x", 2], "c": {"item": 3}}) == (1, ["x", 2], 3)


def test_unbound_type_parameters_are_refused(functions: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="type variable T"):
        Tool.of(functions["unbound"])


def test_a_recursive_typed_dict_of_typing_works(functions: dict[str, Any]) -> None:
    assert called(functions["tree"], {"tree": {"kids": [{"kids": []}]}, "kids": []}) == (1, {"kids": []})
