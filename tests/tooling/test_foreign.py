"""Declarations as other programs have them: read as what they are, or refused with the fix; never sent as they are."""

import copy
import json
from typing import Any

import jsonschema
import pytest
from google.genai import types
from pydantic import BaseModel

from agentkit import Context, ToolDefinitionError, ToolRegistry
from agentkit.tooling.registry import collect
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool
from tests.helpers.gemini_rules import Rules

NO_CONTEXT = Context(deps=None, tool_name="get_weather")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "The city."},
        "input_schema": {"type": "integer"},
    },
    "required": ["city"],
}
OPEN_AI = {**SCHEMA, "additionalProperties": False, "$schema": "https://json-schema.org/draft/2020-12/schema"}
DRAFT_7 = {
    **SCHEMA,
    "properties": {"city": {"$ref": "#/definitions/City"}},
    "definitions": {"City": {"type": "string"}},
}
NAMED: dict[str, Any] = {"name": "get_weather", "description": "The weather."}
WIRE = {**NAMED, "parametersJsonSchema": SCHEMA}


def give_back(**args: Any) -> Any:
    return args


def declared(declaration: Any) -> Any:
    before = copy.deepcopy(declaration)
    made = Tool.from_declaration(declaration, give_back).declaration
    assert declaration == before
    Rules().check(
        {
            "contents": [{"role": "user", "parts": [{"text": "x"}]}],
            "tools": [{"functionDeclarations": [made]}],
        },
        "gemini-3-pro",
    )
    return made


class McpTool(BaseModel):
    """As MCP's own package has it."""

    name: str
    title: str | None = None
    description: str | None = None
    inputSchema: dict[str, Any]
    annotations: dict[str, Any] | None = None


@pytest.mark.parametrize(
    "declaration",
    [
        {**NAMED, "inputSchema": SCHEMA},
        {**NAMED, "input_schema": SCHEMA},
        {**NAMED, "input_schema": SCHEMA, "type": "custom", "cache_control": {"type": "ephemeral"}},
        {
            **NAMED,
            "inputSchema": SCHEMA,
            "annotations": {"openWorldHint": True},
            "cacheControl": None,
            "title": "W",
        },
        {
            **NAMED,
            "inputSchema": SCHEMA,
            "_meta": {"a": 1},
            "icons": [],
            "execution": {"taskSupport": "optional"},
        },
        {"type": "function", "function": {**NAMED, "parameters": OPEN_AI, "strict": True}},
        {"type": "function", "function": {**NAMED, "parameters": OPEN_AI}, "strict": True},
        {"type": "function", **NAMED, "parameters": OPEN_AI, "strict": True},
        {**NAMED, "parameters_json_schema": SCHEMA, "strict": False},
        McpTool(**NAMED, inputSchema=SCHEMA),
    ],
    ids=str,
)
def test_declarations_of_other_programs_are_read_as_geminis(declaration: Any) -> None:
    made = declared(declaration)
    schema = made["parametersJsonSchema"]
    assert {**made, "parametersJsonSchema": {key: schema[key] for key in SCHEMA}} == WIRE
    assert schema.keys() <= {*SCHEMA, "additionalProperties"}


def test_a_schema_of_the_result_is_kept() -> None:
    made = declared({**NAMED, "inputSchema": SCHEMA, "outputSchema": {"type": "object", "$schema": "x"}})
    assert made["responseJsonSchema"] == {"type": "object"}


def test_a_title_stands_in_for_a_description() -> None:
    assert (
        declared({"name": "f", "title": "The weather", "inputSchema": SCHEMA})["description"] == "The weather"
    )


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"const": "a"}, {"const": "a"}),
        ({"oneOf": [{"type": "string"}]}, {"oneOf": [{"type": "string"}]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "exclusiveMinimum": 0}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        (
            {"type": "object", "patternProperties": {"a_b": {}}},
            {"type": "object", "patternProperties": {"a_b": {}}},
        ),
        ({"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}),
        ({"type": "STRING", "const": "a"}, {"type": "string", "const": "a"}),
        ({"type": "string", "nullable": True, "not": {}}, {"type": ["string", "null"], "not": {}}),
        (
            {"enum": ["a"], "type": "string", "nullable": True, "not": {}},
            {"anyOf": [{"enum": ["a"], "type": "string", "not": {}}, {"type": "null"}]},
        ),
        (
            {"type": "string", "example": "x", "uniqueItems": True},
            {"type": "string", "examples": ["x"], "uniqueItems": True},
        ),
        ({"any_of": [{"type": "STRING"}], "const": 1}, {"anyOf": [{"type": "string"}], "const": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("field", ["parameters", "parametersJsonSchema", "input_schema"])
def test_json_schema_goes_where_json_schema_belongs(field: str, part: Any, written: Any) -> None:
    made = declared({"name": "f", field: {"type": "object", "properties": {"a_b": part}, "$defs": {"A": {}}}})
    assert made["parametersJsonSchema"]["properties"] == {"a_b": written}
    assert "parameters" not in made
    jsonschema.Draft202012Validator.check_schema(made["parametersJsonSchema"])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}}},
        },
        {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "OBJECT", "additionalProperties": {"type": "STRING"}}},
        },
        {"type": types.Type.OBJECT, "properties": {"a": {"type": types.Type.STRING}}},
    ],
    ids=str,
)
@pytest.mark.parametrize("field", ["parameters", "parametersJsonSchema", "inputSchema"])
def test_openapi_goes_where_openapi_belongs(field: str, schema: Any) -> None:
    made = declared({"name": "f", field: schema})
    assert made["parameters"] == json.loads(json.dumps(schema, default=lambda value: value.value))
    assert "parametersJsonSchema" not in made


def test_a_schema_that_is_both_stays_where_it_is_given() -> None:
    assert declared({"name": "f", "parameters": SCHEMA})["parameters"] == SCHEMA
    assert declared({"name": "f", "parametersJsonSchema": SCHEMA})["parametersJsonSchema"] == SCHEMA


def test_definitions_of_older_drafts_are_found_in_their_new_place() -> None:
    made = declared({"name": "f", "parameters": DRAFT_7})["parametersJsonSchema"]
    assert made["$defs"] == {"City": {"type": "string"}}
    jsonschema.validate({"city": "Paris"}, made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"city": 3}, made)


@pytest.mark.parametrize(
    ("declaration", "reason"),
    [
        ({**NAMED, "schema": SCHEMA}, "it has the field 'schema', which Gemini's declarations don't have"),
        ({**NAMED, "handler": "x"}, "the field 'handler'"),
        ({"type": "web_search_20250305", "name": "web_search"}, "another vendor's API runs"),
        ({"type": "file_search"}, "it has no name"),
        ({"type": "function", "function": {"parameters": {}}}, "it has no name"),
        (
            {**NAMED, "parameters": SCHEMA, "inputSchema": SCHEMA},
            "both parameters and parametersJsonSchema: give one",
        ),
        ({**NAMED, "input_schema": SCHEMA, "parametersJsonSchema": SCHEMA}, "parametersJsonSchema twice"),
        (
            {**NAMED, "parameters": {"type": "STRING"}},
            "its schema is that of type 'STRING', but arguments are an object",
        ),
        ({**NAMED, "inputSchema": {"type": "array"}}, "arguments are an object"),
        ({**NAMED, "inputSchema": 3}, "its schema is 3 instead of an object"),
    ],
    ids=str,
)
def test_what_can_not_be_read_is_refused_with_the_reason(declaration: Any, reason: str) -> None:
    with pytest.raises(ToolDefinitionError, match=f"This isn't a function declaration, .*{reason}"):
        Tool.from_declaration(declaration, give_back)


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}])
@pytest.mark.parametrize("field", ["parameters", "parametersJsonSchema", "input_schema"])
def test_a_declaration_without_parameters_has_a_schema(field: str, schema: Any) -> None:
    made = declared({"name": "f", field: schema})
    assert (made.get("parametersJsonSchema") or made["parameters"]) == {"type": "object", "properties": {}}


@pytest.mark.parametrize(("hint", "effect"), [(True, "read"), (False, "write"), (None, None), ("yes", None)])
def test_a_hint_that_a_tool_only_reads_is_its_effect(hint: Any, effect: Any) -> None:
    hints = {} if hint is None else {"readOnlyHint": hint}
    declaration = {**NAMED, "inputSchema": SCHEMA, "annotations": hints}
    assert Tool.from_declaration(declaration, give_back).effect == effect
    assert Tool.from_declaration(declaration, give_back, effect="write").effect == "write"
    assert Tool.from_declaration(McpTool(**declaration), give_back).effect == effect


# -- one handler for many ------------------------------------------------------------------------------------------

MANY = [{"name": name, "parametersJsonSchema": SCHEMA} for name in ("a", "b")]
TYPED = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in ("a", "b")
    ]
)
GROUPS: dict[str, Any] = {
    "function_declarations": {"function_declarations": MANY},
    "functionDeclarations": {"functionDeclarations": MANY},
    "types.Tool": TYPED,
    "list": MANY,
    "tuple": tuple(MANY),
    "dump": TYPED.model_dump(exclude_none=True),
}


def handle(ctx: Context, **args: Any) -> Any:
    return ctx.tool_name, args


def handle_by_position(ctx: Context, /, **args: Any) -> Any:
    return ctx.tool_name, args


@pytest.mark.parametrize("handler", [handle, handle_by_position])
@pytest.mark.parametrize("group", GROUPS)
def test_one_handler_gets_the_calls_of_many_declarations(group: str, handler: Any) -> None:
    for given in ((GROUPS[group], handler), [(GROUPS[group], handler)]):
        tools = collect(given)
        assert list(tools) == ["a", "b"]
        call = tools["b"].bind({"city": "Paris"}, Context(deps=None, tool_name="b"))
        assert call() == ("b", {"city": "Paris"})
        with pytest.raises(InvalidArguments, match="city is required"):
            tools["a"].bind({}, NO_CONTEXT)


@pytest.mark.parametrize("group", [*GROUPS, "one", "typed", "mcp"])
def test_declarations_without_a_handler_are_tools_that_come_back_unrun(group: str) -> None:
    ones = {
        "one": MANY[0],
        "typed": types.FunctionDeclaration(name="a"),
        "mcp": McpTool(name="a", inputSchema=SCHEMA),
    }
    given = (GROUPS | ones)[group]
    tools = collect([given])
    assert list(tools) == (["a"] if group in ones else ["a", "b"])
    assert {made.effect for made in tools.values()} == {"read"}


def test_groups_may_stand_beside_anything_else() -> None:
    def own() -> None: ...

    tools = collect([own, TYPED, ({"name": "c"}, give_back), {"name": "d"}, ({"name": "e"}, {"name": "f"})])
    assert list(tools) == ["own", "a", "b", "c", "d", "e", "f"]
    assert list(collect((MANY[0], MANY[1]))) == ["a", "b"]


def test_a_group_without_declarations_is_none() -> None:
    assert collect([{"function_declarations": []}]) == {}
    assert collect([types.Tool()]) == {}


# -- what is said of a tool ----------------------------------------------------------------------------------------


def test_a_registry_says_what_its_tools_do_where_nobody_says_another() -> None:
    registry = ToolRegistry("db", effect="read")

    @registry.tool
    def look_up(a: int) -> int:
        return a

    @registry.tool(effect="write")
    def change(a: int) -> int:
        return a

    registry.add(Tool.from_declaration({"name": "raw"}, give_back))
    effects = {made.name: made.effect for made in registry}
    assert effects == {"look_up": "read", "change": "write", "raw": "read"}
    assert {made.effect for made in registry.prefixed("x").select(names=["x_look_up"])} == {"read"}
    merged = ToolRegistry().merge(registry, [Tool.of(lambda: 1, name="other")])
    assert [made.effect for made in merged] == ["read", "write", "read", None]
    assert Tool.of(look_up).effect is None
    with pytest.raises(ToolDefinitionError, match='give "read" or "write"'):
        ToolRegistry("db", effect="reed")  # type: ignore[arg-type]


def test_nobody_said_is_the_default_and_is_kept_apart_from_what_it_counts_as() -> None:
    made = Tool.of(lambda: 1, name="f")
    assert made.effect is None
    assert (made.polls, made.interactive) == (False, False)
    both = made.replace(polls=True, interactive=True)
    assert (both.polls, both.interactive) == (True, True)
