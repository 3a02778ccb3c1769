"""What can't be a tool says so at once: which function, which parameter, why, and what to do."""

import io
import math
import typing
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import IO, Annotated, Any, Literal, Protocol, TypeVar

import pytest
from pydantic import AliasChoices, AliasPath, Base64Bytes, BaseModel, Field
from typing_extensions import TypedDict, Unpack

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.registry import collect
from agentkit.tooling.tool import Tool, tool

T = TypeVar("T")


class Speaks(Protocol):
    def speak(self) -> str: ...


class Socket:
    pass


class Holder(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    socket: Socket


class Tree(typing.TypedDict):
    kids: "list[Tree]"


class Raw(Enum):
    TWO = (1, 2)


class Plain(Enum):
    RED = "red"


class Colored(BaseModel):
    color: Literal[Plain.RED]


@dataclass(frozen=True)
class Key:
    x: int


class Box(BaseModel, typing.Generic[T]):
    item: T


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (IO[str], "no JSON schema"),
        (io.StringIO, "no JSON schema"),
        (Callable[[int], int], "no JSON schema"),
        (int | Callable[[int], int], "no JSON schema"),
        (Speaks, "no JSON schema"),
        (Socket, "Socket, for which there is no JSON schema .*Context.deps"),
        (list[Socket], "no JSON schema"),
        (Holder, "no JSON schema"),
        (type[int], "no JSON schema"),
        (Iterator[int], "no JSON schema"),
        (Generator[int, None, None], "no JSON schema"),
        (list[Context[int]], "no JSON schema"),
        (Context[int] | int, "no JSON schema"),
        (T, "type variable T, which stands for nothing"),
        (list[T], "type variable T, which stands for nothing"),  # type: ignore[valid-type]
        (dict[str, Box[T] | list[T]], "type variable T"),  # type: ignore[valid-type]
        (Annotated[int | str, Field(discriminator="kind")], "can't be declared: "),
        (Literal[Raw.TWO], r"no JSON schema.*the literal \(1, 2\)"),
        (Literal[b"x"], "no JSON schema.*the literal b'x'"),
        (Literal["\ud800"], "can't be declared: "),
        (list[Literal["a", "\ud800"]], "can't be declared: "),
        (Raw, r"no JSON schema.*an enum with the value \(1, 2\)"),
        (dict[tuple[int, int], int], "no JSON schema.*a dict whose keys can't be strings"),
        (list[dict[Key, int]], "no JSON schema.*a dict whose keys can't be strings"),
        (Colored, "no JSON schema.*the literal <Plain.RED"),
        (Base64Bytes, "is decoded twice.*Annotate it with bytes"),
        (list[Base64Bytes] | None, "is decoded twice"),
        (Annotated[int, Field(validation_alias=AliasChoices("a", "b"))], "AliasChoices.*Give one alias"),
        (Annotated[int, Field(validation_alias=AliasPath("a", "b"))], "AliasPath.*Give one alias"),
        ("Nowhere", r"'Nowhere', can't be resolved.*Import or define"),
        ("list[Nowhere]", "can't be resolved"),
        ("not a type", "isn't a type"),
        (5, "isn't a type|no JSON schema|can't be declared"),
    ],
)
def test_an_undeclarable_parameter_is_named_with_reason_and_mend(annotation: Any, reason: str) -> None:
    def f(fine: int, bad: Any, more: str = "") -> None: ...

    f.__annotations__["bad"] = annotation
    place = (
        "tests.tooling.test_errors:test_an_undeclarable_parameter_is_named_with_reason_and_mend.<locals>.f"
    )
    with pytest.raises(ToolDefinitionError, match=reason) as caught:
        Tool.of(f)
    assert str(caught.value).startswith(f"{place}: ")
    assert "parameter 'bad'" in str(caught.value)
    assert "errors.pydantic.dev" not in str(caught.value)


def test_unannotated_parameters_are_refused_with_the_mend() -> None:
    def f(a, b: int) -> None: ...  # type: ignore[no-untyped-def]

    for make in (Tool.of, tool):
        with pytest.raises(
            ToolDefinitionError, match=r"parameter 'a' has no type. Annotate it, e.g. `a: str`"
        ):
            make(f)


def test_a_method_without_its_object_is_refused_when_it_is_registered() -> None:
    class Shop:
        @tool
        def stock(self, sku: str) -> int:
            return 1

    with pytest.raises(ToolDefinitionError, match=r"'self' has no type. Give the bound method"):
        Tool.of(Shop.stock)
    assert Tool.of(Shop().stock).name == "stock"


def test_unpacking_what_is_no_typed_dict_is_refused() -> None:
    def f(**rest: typing.Unpack[Socket]) -> None: ...  # type: ignore[misc]

    with pytest.raises(ToolDefinitionError, match="'rest' unpacks something other than a TypedDict"):
        Tool.of(f)


def test_two_arguments_of_one_name_are_refused() -> None:
    def f(a: int, b: Annotated[int, Field(alias="a")]) -> None: ...

    with pytest.raises(ToolDefinitionError, match="parameter 'a' is there twice"):
        Tool.of(f)


@pytest.mark.skipif("sys.version_info >= (3, 12)")
def test_a_recursive_typed_dict_of_typing_says_which_to_use_before_python_3_12() -> None:
    def f(tree: Tree) -> None: ...

    with pytest.raises(ToolDefinitionError, match=r"'tree'.*typing_extensions.TypedDict"):
        Tool.of(f)


def test_a_key_of_an_unpacked_typed_dict_that_is_no_text_is_refused() -> None:
    keywords: Any = TypedDict("keywords", {"\ud800": int})

    def f(**values: Unpack[keywords]) -> None: ...

    with pytest.raises(ToolDefinitionError, match=r"parameter '\\ud800' has a name that Gemini doesn't take"):
        Tool.of(f)


@pytest.mark.parametrize("thing", [3, "calculate", None, {"name": "x"}])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(ToolDefinitionError, match="not callable"):
        Tool.of(thing)


def test_the_decorator_takes_no_name_by_position() -> None:
    decorator: Any = tool
    with pytest.raises(ToolDefinitionError, match=r"@tool\(name=...\), not 'weather'"):
        decorator("weather")


def test_the_decorator_says_where_to_go_with_what_it_cannot_mark() -> None:
    with pytest.raises(ToolDefinitionError, match=r"builtins:len: @tool can't mark it. Use Tool.of"):
        tool(len)


@pytest.mark.parametrize("name", ["", "1a", "a b", "a" * 129, "naïve", "a/b", "-a", 3])
def test_names_that_gemini_does_not_take_are_refused(name: Any) -> None:
    with pytest.raises(ToolDefinitionError, match=r"can't be a tool's name"):
        Tool.of(lambda: 1, name=name)


@pytest.mark.parametrize("name", ["a", "_", "A1_.:-", "a" * 128])
def test_names_that_gemini_takes_are_taken(name: str) -> None:
    assert Tool.of(lambda: 1, name=name).declaration["name"] == name


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"effect": "wrtie"}, 'give "read" or "write"'),
        ({"approval": "yes"}, "give True, False or a function"),
        ({"timeout": 0}, "give seconds above 0"),
        ({"timeout": float("nan")}, "give seconds above 0"),
        ({"timeout": -math.inf}, "give seconds above 0"),
        ({"polls": 1}, "polls=1: give True or False"),
        ({"interactive": "yes"}, "give True or False"),
        ({"interactive": True, "timeout": 5}, "leave out timeout"),
        ({"timeout": True}, "give seconds above 0"),
        ({"timeout": "10"}, "give seconds above 0"),
        ({"retries": -1}, "give a whole number, 0 or more"),
        ({"retries": 1.5}, "give a whole number, 0 or more"),
        ({"retries": True}, "give a whole number, 0 or more"),
        ({"tags": "db"}, r"tags=\['db'\]"),
        ({"description": 3}, "give a text"),
        ({"efect": "write"}, "no option 'efect'. Did you mean effect=. There are: name, description, effect"),
        ({"requires_approval": True}, "no option 'requires_approval'. Did you mean approval=."),
    ],
)
def test_options_that_make_no_sense_are_refused(option: dict[str, Any], reason: str) -> None:
    def f() -> None: ...

    for make in (tool(**option), lambda function: Tool.of(Tool.of(function), **option)):
        with pytest.raises(ToolDefinitionError, match=reason):
            make(f)


def test_an_approval_that_would_have_to_be_awaited_is_refused() -> None:
    async def ask(args: Any, context: Any) -> bool:
        return False

    def pay(n: int) -> None: ...

    with pytest.raises(ToolDefinitionError, match="approval is an async function"):
        Tool.of(pay, approval=ask)  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match="approval is an async function"):
        tool(approval=ask)(pay)  # type: ignore[arg-type]


def test_a_module_of_a_ready_made_tool_is_told_what_to_import() -> None:
    from agentkit_tools import ask

    with pytest.raises(ToolDefinitionError, match=r"from agentkit_tools\.ask import ask"):
        collect([ask])
