"""Finding the tools that a text is about."""

from __future__ import annotations

import time
from itertools import permutations
from typing import Any

import pytest

from agentkit.tooling.search import TermIndex, ToolIndex, rank, stem, stems_of
from agentkit.wire.content import FunctionDeclaration


def declare(name: str, description: str = "", **properties: Any) -> FunctionDeclaration:
    declaration: FunctionDeclaration = {"name": name, "description": description}
    if properties:
        declaration["parametersJsonSchema"] = {"type": "object", "properties": properties}
    return declaration


SEND = declare(
    "send_email", "Send a message.", recipient={"type": "string", "description": "Whom it is for."}
)
LIST = declare("listInvoices", "List what was billed to a customer, with e-mail addresses.")
CLOSE = declare("HTTPServer.stop", "Stops the server.", mode={"type": "string", "enum": ["graceful", "now"]})
UPLOAD = declare("s3_file_upload", "Puts files into a bucket.")
GITHUB = declare("GitHubIssues", "Find issues.")
TOOLS = [SEND, LIST, CLOSE, UPLOAD, GITHUB]


def found(query: str, limit: int = 9) -> list[str]:
    return [TOOLS[position]["name"] for position in rank(query, TOOLS, limit)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("sending some messages", ["send_email"], id="by stems"),
        pytest.param("an invoice", ["listInvoices"], id="by a part of a name in camel case"),
        pytest.param("listInvoices", ["listInvoices"], id="by its very name"),
        pytest.param("LISTINVOICES", ["listInvoices"], id="by its name in capitals"),
        pytest.param("the HTTP port", ["HTTPServer.stop"], id="by an abbreviation in a name"),
        pytest.param("which recipients", ["send_email"], id="by the name of a parameter"),
        pytest.param("whom", ["send_email"], id="by what is said of a parameter"),
        pytest.param("gracefully? graceful!", ["HTTPServer.stop"], id="by a choice of a parameter"),
        pytest.param("S3", ["s3_file_upload"], id="by a name with a digit"),
        pytest.param("github", ["GitHubIssues"], id="by a name with a hump inside"),
        pytest.param("git hub", ["GitHubIssues"], id="by the parts of that name"),
        pytest.param("what is it for?", [], id="not by words without meaning"),
        pytest.param("zebra", [], id="not by words that no tool has"),
        pytest.param("", [], id="not by nothing"),
        pytest.param("email customer", ["listInvoices", "send_email"], id="two words beat one in a name"),
        pytest.param("email", ["send_email", "listInvoices"], id="with a hyphen or without"),
        pytest.param("sendemail", ["send_email"], id="by its name in another spelling"),
        pytest.param("s3FileUpload", ["s3_file_upload"], id="by its name in camel case"),
        pytest.param("s3fileupload", ["s3_file_upload"], id="by its name in one"),
        pytest.param("__ -", [], id="not by signs"),
    ],
)
def test_a_tool_is_found(query: str, names: list[str]) -> None:
    assert found(query) == names


def test_a_rare_word_counts_more_than_common_ones() -> None:
    many = [declare(f"tool_{n}", "Reads a file of a folder.") for n in range(9)]
    rare = declare("odd", "Reads parquet.")
    assert rank("parquet file", [*many, rare], 2) == [9, 0]


def test_a_word_counts_most_in_a_name_then_in_a_description_then_in_parameters() -> None:
    tools = [
        declare("a", "Does.", by={"description": "zebra"}),
        declare("b", "A zebra."),
        declare("zebra", "Does."),
        declare("c", "Zebra zebra.", zebra={}),
    ]
    assert rank("zebra", tools, 9) == [2, 1, 3, 0]


def test_equals_stay_in_their_order_and_no_more_than_the_limit_are_listed() -> None:
    tools = [
        declare(f"t{n}", "apple banana cherry date elder fig".replace("fig", f"f{n}x")) for n in range(20)
    ]
    assert rank("elder date cherry banana apple", tools, 7) == list(range(7))
    assert rank("apple", tools, 0) == []
    assert rank("apple", [], 5) == []


def test_words_are_found_at_any_depth_of_either_kind_of_schema() -> None:
    deep = {"$ref": "#/$defs/Node"}
    defs = {"Node": {"anyOf": [{"type": "null"}, {"properties": {"colour": {"description": "Its hue."}}}]}}
    tools: list[Any] = [
        {"name": "a", "parametersJsonSchema": {"$defs": defs, "properties": {"node": deep}}},
        {"name": "b", "parameters": {"type": "OBJECT", "properties": {"size": {"type": "STRING"}}}},
        {"name": "c", "description": None, "parametersJsonSchema": {}},
    ]
    assert [rank(query, tools, 3) for query in ("colour", "hue", "size")] == [[0], [0], [1]]


def test_a_parameter_may_be_called_like_a_keyword_of_the_schema() -> None:
    tool = declare("note", "Writes.")
    tool["parametersJsonSchema"] = {"properties": {"description": {}, "properties": {"enum": ["loud"]}}}
    assert rank("description", [tool], 1) == rank("loud", [tool], 1) == [0]


def test_hundreds_of_tools_are_searched_within_milliseconds() -> None:
    index = ToolIndex(
        [declare(f"tool_{n}", f"Reads table {n % 50} of the sales database.") for n in range(500)]
    )
    spent = []
    for _ in range(20):
        start = time.thread_time()
        assert len(index.rank("read the table of sales from a database", 5)) == 5
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.005


def test_the_score_of_a_term_falls_with_the_documents_that_have_it() -> None:
    index = TermIndex([{"a": 1.0, "b": 1.0}, {"a": 1.0}, {"b": 2.0}, {}])
    a, b = index.scores({"a"}), index.scores({"b", "zebra"})
    assert a == [a[0], a[0], 0.0, 0.0]
    assert b == [b[0], 0.0, 2 * b[0], 0.0]
    assert index.scores({"a", "b"})[0] == a[0] + b[0]


def test_the_order_of_the_terms_changes_no_score() -> None:
    index = TermIndex([{"a": 0.1, "b": 0.7, "c": 0.3, "d": 1.1}])
    assert len({index.scores(dict.fromkeys(order).keys())[0] for order in permutations("abcd")}) == 1


def test_words_are_compared_by_stem_without_the_common_ones() -> None:
    assert stems_of("Is it raining, rainy, hotter in the windy cities?") == [
        "rain",
        "rain",
        "hot",
        "wind",
        "citi",
    ]


@pytest.mark.parametrize(
    ("words", "shared"),
    [
        ("file files", "fil"),
        ("stop stops stopped stopping", "stop"),
        ("mail", "mail"),
        ("bus", "bus"),
        ("se", "se"),
    ],
)
def test_forms_of_a_word_have_one_stem(words: str, shared: str) -> None:
    assert {stem(word) for word in words.split()} == {shared}
