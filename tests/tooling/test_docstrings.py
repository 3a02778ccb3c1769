"""What a docstring says reaches the model, however it is written: of a parameter at the parameter, else in the text."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.tooling.docstrings import parse
from agentkit.tooling.tool import Tool

NAMES = ("city", "days", "mode")


def taking(docstring: str) -> Callable[..., Any]:
    def forecast(city: str, days: int = 1, mode: str = "x") -> None: ...

    forecast.__doc__ = docstring
    return forecast


def read(docstring: str) -> tuple[str, dict[str, str]]:
    declaration = Tool.of(taking(docstring)).declaration
    properties = declaration["parametersJsonSchema"]["properties"]
    words = {name: part["description"] for name, part in properties.items() if "description" in part}
    return declaration.get("description", ""), words


@pytest.mark.parametrize(
    "line",
    [
        "city: The city.",
        "city : The city.",
        "city - The city.",
        "city -- The city.",
        "city – The city.",
        "- city: The city.",
        "* city: The city.",
        "• city - The city.",
        "`city`: The city.",
        "``city``: The city.",
        "**city**: The city.",
        "*city: The city.",
        "- `city` (str): The city.",
        '"city": The city.',
        "city (str): The city.",
        "city (str, optional) - The city.",
        "city[str]: The city.",
        "city (str) The city.",
        "city (str, optional). The city.",
        "city (list[str): The city.",
        "city (dict{str: int}): The city.",
        "city (dict[str,\n            int]): The city.",
        "city (Literal['a (b)',\n    'c']): The city.",
        "city:\n            The city.",
        "city (str)\n            The city.",
        "city: The\n            city.",
        "city: The\n        city.",
        "city: The\n      city.",
        "city: The\n    city.",
        "city: The\n\n            city.",
    ],
)
@pytest.mark.parametrize(
    "title", ["Args:", "Arguments:", "Argument:", "Parameters:", "Attributes:", "Keyword Args:", "args:"]
)
def test_words_on_a_parameter_are_found_in_every_way_of_writing_them(title: str, line: str) -> None:
    docstring = f"Forecast.\n\n    {title}\n        {line}\n        days: How many.\n\n    More."
    assert read(docstring) == ("Forecast.\n\nMore.", {"city": "The city.", "days": "How many."})


@pytest.mark.parametrize(
    "docstring",
    [
        "Args:\n        city: The city\n            in English.\n        days: How many.\n    ",
        "Args:\n        city: The city\n            in English.\n\n        days: How many.\n    ",
        "\n\n    Args:\n        city: The city in English.\n        days: How many.\n    ",
        "\n    Args:\n    city: The city\n        in English.\n    days: How many.\n    ",
        ":param city: The city\n    in English.\n    :param int days: How many.\n    :type city: str",
        ":params `city`: The city\n    in English.\n    :arg dict[str, int] days: How many.",
        "@param city: The city in English.\n    @param days: How\n        many.",
        "\n    Parameters\n    ----------\n    city : str\n        The city\n        in English.\n    days: How many.",
        "\n    Parameters\n    ----------\n    city: The city\n        in English.\n    days : How many.",
        "\n    Parameters\n    ----------\n    city : {1,\n    2}\n        The city in English.\n    days: How many.\n",
    ],
)
def test_a_docstring_that_is_all_about_parameters_has_words_for_each(docstring: str) -> None:
    assert read(docstring) == ("", {"city": "The city in English.", "days": "How many."})


@pytest.mark.parametrize(
    ("docstring", "left"),
    [
        (
            "Do.\n\n    Args:\n        ctiy (str): The town.\n        days: How many.",
            "Args:\n    ctiy (str): The town.",
        ),
        ("Do.\n\n    Args:\n        x, days: How many.", "Args:\n    x, days: How many."),
        ("Do.\n\n    Args:\n        a free word\n        days: How many.", "Args:\n    a free word"),
        ("Do.\n\n    :param ctiy: The town.\n    :param days: How many.", ":param ctiy: The town."),
        (
            "Do.\n\n    Parameters\n    ----------\n    ctiy : str\n        The town.\n    days\n        How many.",
            "Parameters\n----------\nctiy : str\n    The town.",
        ),
    ],
)
def test_what_matches_no_parameter_stays_in_the_description(docstring: str, left: str) -> None:
    assert read(docstring) == (f"Do.\n\n{left}", {"days": "How many."})


def test_a_name_alone_on_its_line_begins_an_entry_in_numpy_style_though_it_is_no_parameter() -> None:
    docstring = (
        "Do.\n\n    Parameters\n    ----------\n    city\n        The city.\n    more\n        Passed on."
    )
    assert read(docstring) == ("Do.\n\nParameters\n----------\nmore\n    Passed on.", {"city": "The city."})


def test_words_on_keywords_that_may_have_any_name_stay_in_the_description() -> None:
    def search(query: str, **filters: str) -> None:
        """Search.

        Args:
            query: The words.
            **filters: Fields and what they must be.
        """

    declaration = Tool.of(search).declaration
    assert declaration["description"] == "Search.\n\nArgs:\n    **filters: Fields and what they must be."
    assert declaration["parametersJsonSchema"]["properties"]["query"]["description"] == "The words."


def test_words_on_what_the_model_does_not_see_are_left_out() -> None:
    from functools import partial

    from agentkit import Context

    def search(query: str, limit: int, ctx: Context) -> None:
        """Search.

        Args:
            query: The words.
            limit: How many.
            ctx: The run's.
        """

    assert Tool.of(partial(search, limit=3)).description == "Search."


@pytest.mark.parametrize(
    ("docstring", "description"),
    [
        ("Do.\n\n    Returns:\n        The id, for send.", "Do.\n\nReturns: The id, for send."),
        ("\n    Returns:\n        str: The id, for send.", "Returns: str: The id, for send."),
        ("Returns:\n        The id, for send.\n    ", "Returns: The id, for send."),
        (
            "Do.\n\n    Return:\n    The id, for send.\n\n    Note.",
            "Do.\n\nReturns: The id, for send.\n\nNote.",
        ),
        (
            "Do.\n\n    Returns:\n        A dict:\n            id: for send\n        or None.",
            "Do.\n\nReturns:\n    A dict:\n        id: for send\n    or None.",
        ),
        (
            "Do.\n\n    Returns\n    -------\n    str\n        The id.",
            "Do.\n\nReturns:\n    str\n        The id.",
        ),
        (
            "Do.\n\n    :returns: The id,\n        for send.\n    :rtype: str",
            "Do.\n\nReturns:\n    The id,\n    for send.",
        ),
        ("Do.\n\n    @return: The id.", "Do.\n\nReturns: The id."),
        ("Do.\n\n    Returns:\n        None.\n\n    Raises:\n        ValueError: Never.", "Do."),
        ("Do.\n\n    Returns: The id.", "Do.\n\nReturns: The id."),
    ],
)
def test_the_model_is_told_what_is_returned(docstring: str, description: str) -> None:
    assert read(docstring) == (description, {})


def test_a_section_that_a_slip_interrupts_goes_on_below_it() -> None:
    docstring = (
        "Do.\n\n    Args:\n        city: The city\n    in English.\n        days: How many.\n\n    More."
    )
    assert read(docstring) == ("Do.\n\nMore.", {"city": "The city in English.", "days": "How many."})


WORD = st.from_regex(r"[a-z]{3,8}", fullmatch=True).map(lambda word: f"w{word}")
LINES = st.lists(
    st.tuples(
        st.sampled_from(["", "    ", "        ", "  "]),
        st.sampled_from(
            ["", "city: ", "days - ", "- mode: ", "other (int): ", "`city`: ", "city (str): ", "x: "]
        )
        | st.sampled_from(
            [":param days: ", ":param int city: ", ":param x: ", "@param mode: ", "city (str) "]
        ),
        WORD,
    ).map("".join)
    | st.sampled_from(["", "Args:", "Attributes:", "Note:", "Do it."]),
    max_size=12,
)


@settings(deadline=None)
@given(LINES)
def test_no_word_vanishes_however_the_lines_of_a_docstring_are_put_together(lines: list[str]) -> None:
    doc = parse("\n".join(lines), NAMES)
    said = " ".join([doc.description, *doc.parameters.values()])
    wanted = re.findall(r"\bw[a-z]{3,8}\b", "\n".join(lines))
    assert [word for word in wanted if word not in said.split()] == []
    assert doc.parameters.keys() <= set(NAMES)
