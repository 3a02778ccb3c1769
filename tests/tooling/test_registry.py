"""The registry, what an agent takes as tools, and raw function declarations."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from google.genai import types

from agentkit.errors import ConfigurationError, ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.registry import MAX_TOOLS, ToolRegistry, collect
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool, tool

NO_CONTEXT = Context(deps=None)


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def sub(a: int, b: int) -> int:
    """Subtract."""
    return a - b


def filled() -> ToolRegistry:
    registry = ToolRegistry("maths")
    registry.add(add, tags=["basic", "plus"])
    registry.add(sub, tags=["basic"], effect="write")
    return registry


def test_the_decorator_registers_and_gives_the_function_back() -> None:
    registry = ToolRegistry()

    @registry.tool
    def one() -> int:
        return 1

    @registry.tool(name="zwei", timeout=3)
    def two() -> int:
        return 2

    assert (one(), two()) == (1, 2)
    assert [made.name for made in registry] == ["one", "zwei"]
    found = registry.get("zwei")
    assert found is not None
    assert (found.function, found.timeout) == (two, 3)


def test_options_given_last_win_over_those_of_the_decorator() -> None:
    @tool(name="a", retries=1, tags=["x"])
    def f() -> None: ...

    made = ToolRegistry().add(f, retries=5)
    assert (made.name, made.retries) == ("a", 5)
    assert made.tags == {"x"}
    again = ToolRegistry().add(made, name="b", description="Do.", tags=())
    assert (again.name, again.retries, again.tags) == ("b", 5, frozenset())
    assert again.declaration == {
        "name": "b",
        "description": "Do.",
        "parametersJsonSchema": {"type": "object", "properties": {}},
    }
    assert made.name == "a"


def test_a_registry_is_a_collection_of_tools_by_name() -> None:
    registry = filled()
    assert len(registry) == 2
    assert "add" in registry
    assert add not in registry
    assert registry.get("none") is None
    assert [each["name"] for each in registry.function_declarations] == ["add", "sub"]
    assert repr(registry) == "ToolRegistry('maths': add, sub)"
    assert registry.remove("add").function is add
    assert [made.name for made in registry] == ["sub"]
    with pytest.raises(ConfigurationError, match=r"'maths' has no tool 'add'. It has: sub"):
        registry.remove("add")


def test_a_registry_may_change_while_it_is_gone_through() -> None:
    registry = filled()
    for made in registry:
        registry.remove(made.name)
    assert len(registry) == 0


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({"names": ["sub"]}, ["sub"]),
        ({"names": ["sub", "add"]}, ["add", "sub"]),
        ({"names": "add"}, ["add"]),
        ({"names": []}, []),
        ({"tags": ["basic"]}, ["add", "sub"]),
        ({"tags": "plus"}, ["add"]),
        ({"tags": ["plus", "none"]}, ["add"]),
        ({"tags": ["plus"], "names": ["sub"]}, []),
        ({}, ["add", "sub"]),
    ],
)
def test_tools_are_selected_by_name_and_tag(chosen: dict[str, Any], names: list[str]) -> None:
    registry = filled()
    assert [made.name for made in registry.select(**chosen)] == names
    assert len(registry) == 2


def test_selecting_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no tool 'mul'"):
        filled().select(names=["add", "mul"])


def test_prefixed_and_merged_registries_are_new_ones() -> None:
    registry = filled()
    both = registry.merge(registry.prefixed("db"), [Tool.of(lambda: 1, name="one")])
    assert [made.name for made in both] == ["add", "sub", "db_add", "db_sub", "one"]
    assert both.function_declarations[2]["name"] == "db_add"
    assert both.function_declarations[2]["description"] == "Add."
    assert len(registry) == 2
    kept = both.get("db_sub")
    assert kept is not None
    assert kept.effect == "write"


def test_a_duplicate_name_is_an_error_that_names_both() -> None:
    registry = filled()
    place = "tests.tooling.test_registry"
    with pytest.raises(
        ToolDefinitionError, match=f"{place}:sub: there is a tool 'add' already, {place}:add. .*prefixed"
    ):
        registry.add(sub, name="add")
    with pytest.raises(ToolDefinitionError, match="there is a tool 'add' already"):
        registry.merge(filled())
    with pytest.raises(ToolDefinitionError, match="there is a tool 'add' already"):
        collect([add, registry])


def test_more_tools_than_gemini_takes_are_an_error() -> None:
    registry = ToolRegistry()
    for number in range(MAX_TOOLS):
        registry.add(lambda: 1, name=f"t{number}")
    with pytest.raises(ToolDefinitionError, match="at most 512"):
        registry.add(add)
    with pytest.raises(ToolDefinitionError, match="at most 512"):
        collect([registry, add])


def test_a_bad_name_made_by_a_prefix_is_an_error() -> None:
    with pytest.raises(ToolDefinitionError, match="'1_add' can't be a tool's name"):
        filled().prefixed("1")


OPENAPI = {
    "name": "search",
    "description": "Search.",
    "parameters": {
        "type": "OBJECT",
        "properties": {
            "max_results": {"type": "INTEGER", "minimum": 1},
            "map": {"type": "OBJECT", "additional_properties": False},
            "any_of": {"type": "ARRAY", "min_items": 1, "items": {"type": "STRING", "max_length": 9}},
            "mode": {
                "any_of": [{"type": "STRING", "enum": ["a_b"]}, {"type": "NULL"}],
                "default": {"a_b": 1},
            },
        },
        "required": ["any_of"],
        "property_ordering": ["any_of", "max_results"],
    },
}
OPENAPI_WIRE: dict[str, Any] = {
    "type": "OBJECT",
    "properties": {
        "max_results": {"type": "INTEGER", "minimum": 1},
        "map": {"type": "OBJECT", "additionalProperties": False},
        "any_of": {"type": "ARRAY", "minItems": 1, "items": {"type": "STRING", "maxLength": 9}},
        "mode": {"anyOf": [{"type": "STRING", "enum": ["a_b"]}, {"type": "NULL"}], "default": {"a_b": 1}},
    },
    "required": ["any_of"],
    "propertyOrdering": ["any_of", "max_results"],
}
JSON_SCHEMA = {
    "type": "object",
    "properties": {"any_of": {"type": ["string", "null"], "default": None, "title": "T"}},
    "required": ["any_of"],
}


def give_back(**args: Any) -> Any:
    return args


def test_a_raw_declaration_goes_to_the_model_unchanged_in_camel_case() -> None:
    before = copy.deepcopy(OPENAPI)
    made = Tool.from_declaration(OPENAPI, give_back, tags=["x"])
    assert made.declaration == {"name": "search", "description": "Search.", "parameters": OPENAPI_WIRE}
    assert (made.name, made.description, set(made.tags)) == ("search", "Search.", {"x"})
    assert before == OPENAPI
    snake = Tool.from_declaration(
        {"name": "f", "parameters_json_schema": JSON_SCHEMA, "description": None}, give_back
    )
    assert snake.declaration == {"name": "f", "parametersJsonSchema": JSON_SCHEMA}
    camel = Tool.from_declaration(snake.declaration, give_back, description="Do.")
    assert camel.declaration == {"name": "f", "parametersJsonSchema": JSON_SCHEMA, "description": "Do."}


def test_a_declaration_of_the_sdk_goes_to_the_model_unchanged() -> None:
    typed = types.FunctionDeclaration.model_validate(OPENAPI)
    assert Tool.from_declaration(typed, give_back).declaration.get("parameters") == OPENAPI_WIRE
    typed = types.FunctionDeclaration(name="f", parameters_json_schema=JSON_SCHEMA)
    assert Tool.from_declaration(typed, give_back).declaration == {
        "name": "f",
        "parametersJsonSchema": JSON_SCHEMA,
    }


def test_values_of_a_raw_declaration_reach_the_handler_as_they_are() -> None:
    made = Tool.from_declaration(OPENAPI, give_back)
    assert made.bind({"any_of": "1", "mode": None}, NO_CONTEXT)() == {"any_of": "1", "mode": None}
    with pytest.raises(InvalidArguments) as caught:
        made.bind({"anyOf": []}, NO_CONTEXT)
    assert caught.value.problems == [
        "any_of is required",
        "anyOf is not a parameter; the parameters are: max_results, map, any_of, mode",
    ]


@pytest.mark.parametrize(
    "schema",
    [None, {"type": "object"}, {"type": "object", "properties": {"a": {}}, "additionalProperties": True}],
)
def test_an_open_raw_declaration_takes_any_name(schema: Any) -> None:
    made = Tool.from_declaration({"name": "f", "parameters_json_schema": schema}, give_back)
    assert made.bind({"x": 1}, NO_CONTEXT)() == {"x": 1}


def test_a_handler_gets_the_context_that_it_asks_for() -> None:
    async def handler(ctx: Context[int], any_of: "Unknown", rest: str = "r") -> Any:  # type: ignore[name-defined] # noqa: F821
        return ctx.deps, any_of, rest

    made = Tool.from_declaration({"name": "f", "parameters_json_schema": JSON_SCHEMA}, handler)
    assert made.is_async
    coroutine = made.bind({"any_of": "x"}, Context(deps=3))()
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == (3, "x", "r")


def test_what_a_handler_does_with_its_arguments_does_not_reach_the_call() -> None:
    def clear(items: Any) -> None:
        items[0].clear()

    made = Tool.from_declaration({"name": "f"}, clear)
    args = {"items": [{"sku": 1}]}
    made.bind(args, NO_CONTEXT)()
    assert args == {"items": [{"sku": 1}]}


def test_a_declaration_is_copied() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"first_name": {"default": None}}}
    made = Tool.from_declaration({"name": "f", "parameters_json_schema": schema}, give_back)
    schema["properties"].clear()
    assert made.declaration.get("parametersJsonSchema") == {
        "type": "object",
        "properties": {"first_name": {"default": None}},
    }


def test_a_handler_without_a_signature_is_called_all_the_same() -> None:
    made = Tool.from_declaration({"name": "f"}, dict)
    assert made.bind({"a": 1}, NO_CONTEXT)() == {"a": 1}


@pytest.mark.parametrize(
    "declaration",
    [
        {},
        {"name": 3},
        "search",
        None,
        {"description": "x"},
        {"name": "f", 3: 4},
        {"name": "f", "parameters_json_schema": 3},
        {"name": "f", "parameters": "x"},
        {"name": "f", "parameters": {"properties": 3}},
        {"name": "f", "parametersJsonSchema": {"required": "city"}},
        {"name": "f", "parametersJsonSchema": {"default": object()}},
    ],
)
def test_what_is_no_declaration_is_refused(declaration: Any) -> None:
    with pytest.raises(ToolDefinitionError, match="This isn't a function declaration"):
        Tool.from_declaration(declaration, give_back)


def test_a_raw_declaration_obeys_the_rules_of_every_tool() -> None:
    with pytest.raises(ToolDefinitionError, match="can't be a tool's name"):
        Tool.from_declaration({"name": "a b"}, give_back)
    with pytest.raises(ToolDefinitionError, match="handler of 'f' is not callable"):
        Tool.from_declaration({"name": "f"}, "give_back")  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match="no option 'tag'"):
        Tool.from_declaration({"name": "f"}, give_back, tag="x")  # type: ignore[call-arg]


class Maths:
    @tool
    def mul(self, a: int, b: int) -> int:
        return a * b


def test_an_agent_takes_every_kind_of_tool() -> None:
    typed = types.FunctionDeclaration(name="typed")
    tools = collect(
        [
            add,
            Tool.of(sub),
            Maths().mul,
            filled().prefixed("m"),
            ({"name": "raw"}, give_back),
            (typed, give_back),
        ]
    )
    assert list(tools) == ["add", "sub", "mul", "m_add", "m_sub", "raw", "typed"]
    assert all(name == made.name for name, made in tools.items())


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (add, ["add"]),
        (Tool.of(add), ["add"]),
        (filled(), ["add", "sub"]),
        (({"name": "raw"}, give_back), ["raw"]),
        ((add, sub), ["add", "sub"]),
        ([(add, [sub])], ["add", "sub"]),
        ((made for made in filled()), ["add", "sub"]),
        ([], []),
        ((), []),
    ],
)
def test_an_agent_takes_one_tool_as_well_as_many(given: Any, names: list[str]) -> None:
    assert list(collect(given)) == names


@pytest.mark.parametrize(
    ("given", "mend"),
    [
        ("add", "can't take str 'add'"),
        ([b"add"], "can't take bytes"),
        ([None], "can't take NoneType"),
        (3, "can't take int"),
        ([types.Tool(google_search=types.GoogleSearch())], "(?s)'googleSearch' .* is the server's own"),
        ({"function_declarations": [], "google_search": {}}, "(?s)'googleSearch' .* is the server's own"),
        ([({"name": "raw"}, None)], "handler of .*'raw'.* is not callable: None. Give the declaration alone"),
        ([({"name": "raw"}, "handle")], "handler of 'raw' is not callable"),
        ({"title": "raw"}, "it has no name"),
    ],
)
def test_anything_else_is_refused_with_what_to_give(given: Any, mend: str) -> None:
    with pytest.raises(ToolDefinitionError, match=mend):
        collect(given)


def test_the_decorators_keep_the_type_of_the_function() -> None:
    registry = ToolRegistry()
    marked: Callable[[int, int], int] = tool(effect="read")(add)
    same: Callable[[int, int], int] = registry.tool(name="x")(registry.tool(tool(marked)))
    assert same is marked
    assert [made.effect for made in registry] == ["read", "read"]
