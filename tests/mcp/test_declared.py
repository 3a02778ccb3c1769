"""Schemas and names of servers, as Gemini takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import ToolDefinitionError
from agentkit.mcp.schemas import fitting_name, fitting_schema


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"const": "a", "title": "A"}, {"enum": ["a"]}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": ["string"]}, {"type": "string"}),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": True}, {"minimum": 0}),
        ({"oneOf": [{"type": "string"}, True]}, {"anyOf": [{"type": "string"}, {}]}),
        (
            {"$ref": "#/definitions/T", "description": "d"},
            {"description": "d", "anyOf": [{"$ref": "#/$defs/T"}]},
        ),
        ({"$ref": "#/properties/other"}, {}),
        (
            {"type": "array", "items": {"$id": "x", "x-y": 1, "type": "string"}},
            {"type": "array", "items": {"type": "string"}},
        ),
        (True, {}),
    ],
)
def test_what_gemini_does_not_take_is_written_otherwise(given: Any, made: Any) -> None:
    assert fitting_schema({"type": "object", "properties": {"x": given}})["properties"]["x"] == made


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}, "$schema": {"type": "string"}}}
    assert fitting_schema(schema) == schema


def test_definitions_of_both_names_become_one() -> None:
    schema = {"definitions": {"A": {"type": "string"}}, "$defs": {"B": {"const": 1}}}
    assert fitting_schema(schema)["$defs"] == {"A": {"type": "string"}, "B": {"enum": [1]}}


@pytest.mark.parametrize("schema", [None, "x", [], {"type": "string"}, {"type": ["object", "null"]}])
def test_what_is_no_schema_of_an_object_is_refused(schema: Any) -> None:
    with pytest.raises(ToolDefinitionError):
        fitting_schema(schema)


def test_a_schema_that_is_too_large_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="too large"):
        fitting_schema({"properties": {f"p{number}": {} for number in range(30_000)}})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "anyOf", "oneOf", "$ref", "const", "items", "definitions", "enum", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(_JSON)
def test_any_schema_is_made_one_or_refused_and_making_it_twice_changes_nothing(schema: Any) -> None:
    try:
        made = fitting_schema(schema)
    except ToolDefinitionError:
        return
    assert made["type"] == "object"
    assert "oneOf" not in made
    assert "const" not in made
    assert fitting_schema(json.loads(json.dumps(made))) == made


@given(st.lists(st.text(max_size=80), max_size=8), st.sampled_from(["", "srv", "_9"]))
def test_names_fit_and_are_never_the_same(names: list[str], prefix: str) -> None:
    taken: set[str] = set()
    made = [fitting_name(prefix, name, taken) for name in names]
    assert len(set(made)) == len(made)
    for name in made:
        assert len(name) <= 64
        assert name.isascii()
        assert name.isidentifier()
