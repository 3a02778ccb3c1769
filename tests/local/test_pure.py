"""The embedded model's pure parts: rendering, schemas, numbers, and what a call must pass."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from agentkit_local import judge, schema
from agentkit_local.answer import after_calls
from agentkit_local.small_talk import small_talk
from agentkit_local.text import decline, introduce, render, written

from agentkit.wire.content import FunctionCall, FunctionDeclaration

STRING: dict[str, Any] = {"type": "string"}
CITY = {"type": "string", "description": "The city."}


def declare(
    name: str, description: str, required: list[str] | None = None, **properties: Any
) -> FunctionDeclaration:
    required = list(properties) if required is None else required
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": description, "parametersJsonSchema": parameters}


NOW = declare("current_weather", "The weather in a city right now: hot or cold, rain, umbrella.", city=CITY)
FORECAST = declare(
    "forecast",
    "The weather of a city tomorrow, this week, the next days.",
    ["city"],
    city=CITY,
    days={"type": "integer", "default": 3, "minimum": 1, "maximum": 16},
)
CALCULATE = declare(
    "calculate",
    "Work out a calculation: plus, times, divided by.",
    question={"type": "string", "description": "The user's whole question, word for word."},
)
SKY = declare(
    "sky",
    "The sky over a city.",
    ["city"],
    city=CITY,
    when={"type": "string", "description": "The time, word for word.", "default": ""},
)
TOOLS = {tool["name"]: tool for tool in (NOW, FORECAST, CALCULATE)}


def call(name: str, **args: Any) -> FunctionCall:
    return {"name": name, "args": args}


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"output": "It is 4 °C in Oslo."}, "It is 4 °C in Oslo."),
        ({"output": "  "}, "Done."),
        ({"output": None}, "Done."),
        ({}, "Done."),
        ({"output": []}, "Nothing found."),
        ({"output": 42.0}, "42"),
        ({"output": 0.1 + 0.2}, "0.3"),
        ({"output": -0.0}, "0"),
        ({"output": 1e300}, "1e+300"),
        ({"output": 100.0}, "100"),
        ({"output": True}, "yes"),
        ({"output": ["tea", 2, None]}, "- tea\n- 2\n- unknown"),
        ({"error": "Unknown city: Atlantis."}, "That didn't work: Unknown city: Atlantis."),
        ({"error": {"message": "Too late."}}, "That didn't work: Too late."),
        ({"error": {"code": 4, "open": []}}, "That didn't work: code 4, open none"),
        (
            {
                "place": "Oslo",
                "temperature_c": 4.0,
                "windSpeed_kmh": 12,
                "humidity_percent": 80,
                "WMO_code": 3,
            },
            "place: Oslo\ntemperature: 4 °C\nwind speed: 12 km/h\nhumidity: 80%\nWMO code: 3",
        ),
        (
            {
                "place": "Rome",
                "days": [{"date": "2026-11-24", "rain_mm": 3.25, "sun": None, "dry": False}],
            },
            "place: Rome\ndays:\n  - 2026-11-24: rain 3.25 mm, dry no",
        ),
        ({"sizes": [1, 2.5], "none": [], "empty": {}}, "sizes: 1, 2.5\nnone: none\nempty: none"),
        ({"output": [{"a": 1, "b": {"c": 2}}, [[1], 2]]}, "- a: 1\n  b:\n    c: 2\n- - 1\n  - 2"),
        ({"output": [{"level": 3}]}, "- level 3"),
        ({"c": 5, "flag_c": True}, "c: 5\nflag c: yes"),
    ],
)
def test_a_result_is_laid_out_in_plain_words(response: dict[str, Any], text: str) -> None:
    assert render([{"name": "f", "response": response}]) == text


def test_several_results_are_one_line_each_and_bare_values_name_their_call() -> None:
    responses: list[Any] = [
        {"name": "stock", "response": {"output": 3}},
        {"name": "stock", "response": {"output": "None is left."}},
    ]
    calls = [call("stock", sku="TEA-1"), call("stock", sku="TEA-2")]
    assert render(responses, calls) == 'stock(sku="TEA-1"): 3\nNone is left.'
    assert render(responses) == "3\nNone is left."


def test_results_of_several_lines_are_set_apart_and_files_are_mentioned() -> None:
    image: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": ""}}
    responses: list[Any] = [
        {"name": "f", "response": {"output": "A plot."}, "parts": [image]},
        {"name": "f", "response": {"output": "Two plots."}, "parts": [image, image]},
    ]
    assert render(responses) == (
        "A plot.\n(1 file came with it, which the embedded model can't show.)\n\n"
        "Two plots.\n(2 files came with it, which the embedded model can't show.)"
    )


def test_declining_tells_the_reason_and_the_way_to_gemini_in_one_line() -> None:
    text = decline("I have no tool for that")
    assert text.startswith("I didn't understand that: I have no tool for that. ")
    assert "GEMINI_API_KEY" in text
    assert "\n" not in text


def test_a_call_is_written_as_code_and_alike_answers_are_given_once() -> None:
    assert written({"name": "now"}) == "now()"
    twice: list[Any] = [{"name": "f", "response": {"output": "Rain in Lagos."}}] * 2
    assert render(twice) == "Rain in Lagos."


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("What is 12.5% of 340?", ["12.5", "340"]),
        ("Add 1,250 and 3,475.50", ["1250", "3475.5"]),
        ("average of 3, 5 and 10", ["3", "5", "10"]),
        ("-4 plus 9.5", ["-4", "9.5"]),
        ("what is -4 times (-2)", ["-4", "-2"]),
        ("minus 4 plus negative 2", ["-4", "-2"]),
        ("what is −7", ["-7"]),
        ("8 - 5, 8-5, 8 minus 5", ["8", "5", "8", "5", "8", "5"]),
        ("(3)-2 and 50%-7", ["3", "2", "50", "7"]),
        ("1e6 / 250 + .5", ["1000000", "250", "0.5"]),
        ("next 3rd, 5-day, the 20th", ["3", "5", "20"]),
        ("seven days, twenty-five, forty two, sixteen", ["7", "25", "42", "16"]),
        ("two hundred dozen", ["2", "100", "12"]),
        ("which one is it, mp3 or H2O", []),
        ("someone overtone sixth", []),
        ("order 2 of TEA-1", ["2", "1"]),
        ("on 2026-11-25 at 10:30", ["2026", "11", "25", "10", "30"]),
        ({"a": [5.0, "x 6"], "b": {"c": -7}, "d": True, "e": None}, ["5", "6", "-7"]),
    ],
)
def test_numbers_are_found_with_their_signs(value: Any, numbers: list[str]) -> None:
    assert sorted(judge.numbers_in(value).elements()) == sorted(map(Decimal, numbers))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("And in London?", True),
        ("what about Madrid", True),
        ("Same for Naples please", True),
        ("tomorrow?", True),
        ("in Rome", True),
        ("In Rome the sun shone and I ate ice, was it good", False),
        ("Will it rain in Paris?", False),
        ("Berlin weather", False),
        ("for the next 5 days I am away so tell me a lot about the weather", False),
        ("android news", False),
    ],
)
def test_a_text_that_cannot_stand_alone_is_a_follow_up(text: str, answer: bool) -> None:
    assert judge.is_follow_up(text) is answer


def test_the_shortlist_keeps_the_tools_that_share_rare_words_in_their_order() -> None:
    others = [declare(f"tool_{n}", "Does a thing to a city.", city=STRING) for n in range(8)]
    tools = [*others[:4], NOW, *others[4:], CALCULATE]
    chosen = judge.shortlist(tools, "7 times 8 if there is rain in the city", 3)
    assert [tool["name"] for tool in chosen] == ["tool_0", "current_weather", "calculate"]
    assert judge.shortlist(tools[:3], "anything", 3) == tools[:3]


def test_a_schema_is_inlined_flattened_and_written_in_lower_case() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    declared: FunctionDeclaration = {
        "name": "f",
        "parametersJsonSchema": {
            "type": "object",
            "$defs": {"Node": node, "Size": {"enum": ["s", "l"], "type": "string"}},
            "properties": {
                "size": {"$ref": "#/$defs/Size", "description": "The size."},
                "many": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer"}}]},
                "maybe": {"type": ["null", "number"], "default": None, "minimum": 0},
                "pair": {"type": "array", "prefixItems": [{"type": "number"}]},
                "mode": {"const": "fast"},
                "day": {"type": "string", "format": "date"},
                "loose": {"items": {}},
                "free": {"properties": {"x": {}}, "required": ["x", "gone"]},
                "all": {"allOf": [{"type": "boolean"}]},
                "lost": {"$ref": "#/$defs/Gone"},
                "odd": True,
                "tree": {"$ref": "#/$defs/Node"},
            },
            "required": ["size", "gone"],
        },
    }
    plain = schema.schema_of(declared)
    tree = plain["properties"].pop("tree")
    assert plain["properties"] == {
        "size": {"type": "string", "enum": ["s", "l"], "description": "The size."},
        "many": {"type": "array", "items": {"type": "integer"}},
        "maybe": {"type": "number", "minimum": 0},
        "pair": {"type": "array", "items": {"type": "number"}},
        "mode": {"type": "string", "enum": ["fast"]},
        "day": {"type": "string", "format": "date"},
        "loose": {"type": "array", "items": {"type": "string"}},
        "free": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
        "all": {"type": "boolean"},
        "lost": {"type": "string"},
        "odd": {"type": "string"},
    }
    assert plain["required"] == ["size"]
    assert str(tree).count("next") < 5
    assert schema.has_dates(declared)
    sent = schema.engine_tool(declared, forced=True)
    assert sent["triggers"] == ["."]
    assert sent["description"] == "f"
    assert "minimum" not in str(sent)
    assert "format" not in str(sent)


def test_a_parameter_may_have_the_name_of_a_keyword_that_is_left_out() -> None:
    sent = schema.engine_tool(declare("f", "F.", format=STRING, minimum={"type": "integer"}), forced=False)
    assert set(sent["parameters"]["properties"]) == {"format", "minimum"}
    assert "triggers" not in sent


def test_the_engine_is_not_asked_for_a_text_that_is_copied_beside_other_values() -> None:
    assert set(schema.engine_tool(SKY, forced=True)["parameters"]["properties"]) == {"city"}
    assert set(schema.engine_tool(CALCULATE, forced=True)["parameters"]["properties"]) == {"question"}


def test_openapi_style_parameters_and_none_at_all_are_read() -> None:
    old: FunctionDeclaration = {
        "name": "f",
        "parameters": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}},
    }
    assert schema.schema_of(old)["properties"] == {"n": {"type": "integer"}}
    assert schema.schema_of({"name": "now"}) == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("value", "kind", "fitted"),
    [
        (5.0, {"type": "integer"}, 5),
        ("5", {"type": "integer"}, 5),
        (5, {"type": "number"}, 5.0),
        (7.0, STRING, "7"),
        ("Fast", {"type": "string", "enum": ["fast"]}, "fast"),
        (2.0, {"type": "integer", "enum": [1, 2]}, 2),
        ([1.0, 2.0], {"type": "array", "items": {"type": "integer"}}, [1, 2]),
        (False, {"type": "boolean"}, False),
        (
            {"a": "x", "b": None, "z": 1},
            {"type": "object", "properties": {"a": STRING, "b": STRING}},
            {"a": "x"},
        ),
    ],
)
def test_a_value_is_given_as_its_declared_type(value: Any, kind: dict[str, Any], fitted: Any) -> None:
    result = schema.fit(value, kind)
    assert result == fitted
    assert type(result) is type(fitted)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (5.5, {"type": "integer"}, "whole"),
        (float("inf"), {"type": "number"}, "finite"),
        ("five", {"type": "number"}, "isn't a number"),
        (True, {"type": "integer"}, "isn't a number"),
        (0, {"type": "integer", "minimum": 1}, "range"),
        (5, {"type": "integer", "exclusiveMaximum": 5}, "range"),
        ("x", {"type": "boolean"}, "true nor false"),
        ({}, STRING, "isn't text"),
        (None, STRING, "isn't text"),
        ("x", {"type": "array"}, "isn't a list"),
        ("x", {"type": "object"}, "isn't an object"),
        ("slow", {"type": "string", "enum": ["fast", "safe"]}, "isn't one of fast, safe"),
        (
            {"a": ""},
            {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
            "it doesn't say which a is meant",
        ),
        ({"a": []}, {"type": "object", "properties": {"a": STRING}}, "the a that I read in it isn't text"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: Any, kind: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schema.fit(value, kind)


TREE = declare("plant", "Plant a tree.", tree={"properties": {"kind": STRING, "tags": {"items": STRING}}})
CONVERT = declare("convert", "Convert units.", unit=STRING, to=STRING)
DUE = declare("remind", "Remind of something.", day={"type": "string", "format": "date"}, text=STRING)


@pytest.mark.parametrize(
    ("text", "calls", "reason"),
    [
        ("Will it rain in Paris?", [call("forecast", city="Paris")], None),
        ("Will it rain in Paris tomorrow?", [call("forecast", city="paris", days=1)], None),
        ("Rain in Paris for three days?", [call("forecast", city="Paris")], None),  # the default is 3
        ("Rain in Paris for 5 days?", [call("forecast", city="Paris")], "number 5"),
        ("Rain in Paris in -5 days?", [call("forecast", city="Paris", days=5)], "number -5"),
        ("Was there rain in Rome yesterday?", [call("current_weather", city="Rome")], "yesterday"),
        ("tell me a joke", [call("forecast", city="Mumbai")], "doesn't say which city"),
        ("rain?", [call("forecast", city="?")], "doesn't say which city"),
        ("Is there rain in Dublin or Glasgow?", [call("current_weather", city="Dublin")], "Glasgow"),
        ("Rain in Perth on Friday?", [call("forecast", city="Perth")], "friday"),
        ("Rain in Perth in December?", [call("forecast", city="Perth")], "December"),
        (
            "Rain in Oslo and Rome?",
            [call("current_weather", city="Oslo"), call("current_weather", city="Rome")],
            None,
        ),
        (
            "Rain in Oslo?",
            [call("current_weather", city="Oslo"), call("current_weather", city="oslo")],
            "same thing twice",
        ),
        (
            "tomorrow in Oslo and Rome",
            [call("forecast", city="Oslo", days=1), call("forecast", city="Rome")],
            "one thing at a time",
        ),
        ("plant an old oak", [call("plant", tree={"kind": "oak", "tags": ["old"]})], None),
        ("plant an old oak", [call("plant", tree={"kind": "oak", "tags": ["new"]})], "which tree"),
        ("remind me of rent on December 25", [call("remind", day="2026-12-25", text="rent")], None),
        ("remind me of rent tomorrow", [call("remind", day="2026-12-05", text="rent")], "which day"),
        ("remind me of rent soon", [call("remind", day="2026-99-05", text="rent")], "which day"),
        (
            "Rain in Oslo and Rome?",
            [call("current_weather", city="Oslo and Rome")],
            "several names for one city",
        ),
        (
            "Rain in Oslo, Bonn, Rome?",
            [call("current_weather", city="Oslo, Bonn, Rome")],
            "several names for one city",
        ),
        ("Rain in Paris, Texas?", [call("current_weather", city="Paris, Texas")], None),
        ("miles in feet", [call("convert", unit="feet", to="feet")], "for two things"),
        ("feet in feet", [call("convert", unit="feet", to="feet")], None),
        ("weather los angeles", [call("current_weather", city="angeles")], "part of a longer name"),
        ("weather near oslo tonight", [call("current_weather", city="oslo")], None),
        ("Toronto temp now", [call("current_weather", city="Toronto")], None),
        ("weather Los Angeles", [call("current_weather", city="Angeles")], "Los"),
        ("weather los angeles now", [call("current_weather", city="los angeles")], None),
        ("Rain in Oslo the day after tomorrow?", [call("forecast", city="Oslo", days=1)], "day after"),
        ("rain in oslo on friday", [call("forecast", city="oslo")], "friday"),
        ("rain in kilometers", [call("forecast", city="km")], None),
    ],
)
def test_a_call_is_doubted_when_it_invents_or_leaves_out(
    text: str, calls: list[FunctionCall], reason: str | None
) -> None:
    doubt = judge.doubt(calls, TOOLS | {"plant": TREE, "remind": DUE, "convert": CONVERT}, text=text)
    assert (reason is None and doubt is None) or (reason is not None and reason in (doubt or ""))


def test_a_follow_up_may_use_earlier_words_but_not_repeat_the_call() -> None:
    earlier, before = ["Is it cold in Berlin?"], [call("current_weather", city="Berlin")]
    again = [call("current_weather", city="Berlin")]
    other = [call("forecast", city="Berlin", days=1)]
    text = "And tomorrow?"
    assert "repeat" in (judge.doubt(again, TOOLS, text=text, earlier=earlier, already=before) or "")
    assert judge.doubt(other, TOOLS, text=text, earlier=earlier, already=before) is None


@pytest.mark.parametrize(
    ("text", "calls", "needed"),
    [
        ("Will it rain in Paris?", [call("current_weather", city="Paris")], 0.4),
        ("What's the time in Tokyo?", [call("current_weather", city="Tokyo")], 0.9),
        ("What day is it in Rome?", [call("current_weather", city="Rome")], 0.9),
        ("Paris?", [call("current_weather", city="Paris")], 0.5),
        ("Who plays in Rome tomorrow?", [call("forecast", city="Rome")], 0.9),
        ("Rome tomorrow", [call("forecast", city="Rome")], 0.5),
        ("What time is it now in Rome?", [call("current_weather", city="Rome")], 0.9),
        ("rain in Rome right now", [call("forecast", city="Rome")], 0.9),
        ("weather in Rome right now", [call("forecast", city="Rome")], 0.8),
        ("weather in Hanoi this week", [call("current_weather", city="Hanoi")], 0.8),
    ],
)
def test_a_request_that_shares_no_word_with_the_tool_needs_more_confidence(
    text: str, calls: list[FunctionCall], needed: float
) -> None:
    assert judge.needed_confidence(calls, TOOLS, text, 0.5) == pytest.approx(needed)


def test_a_parameter_that_wants_the_text_word_for_word_gets_it() -> None:
    split = [call("calculate", question="5!"), call("calculate", question="3")]
    assert judge.complete_verbatim(split, TOOLS, " 5! + 3 ") == [call("calculate", question="5! + 3")]
    places = [call("sky", city="Oslo"), call("sky", city="Rome"), call("sky", city="Rome}}x")]
    assert judge.complete_verbatim(places, {"sky": SKY}, "Oslo and Rome") == [
        call("sky", city="Oslo", when="Oslo and Rome"),
        call("sky", city="Rome", when="Oslo and Rome"),
    ]
    invented = [call("sky", city="Bonn")]
    assert judge.complete_verbatim(invented, {"sky": SKY}, "hi") == [call("sky", city="Bonn", when="hi")]
    mixed = [call("calculate", question="2+2"), call("forecast", city="Rome")]
    assert judge.complete_verbatim(mixed, TOOLS, "2+2, and Rome?") == mixed
    assert judge.complete_verbatim([call("forecast", city="Rome")], TOOLS, "x") == [
        call("forecast", city="Rome")
    ]
    assert judge.complete_verbatim([], TOOLS, "x") == []


@pytest.mark.parametrize(
    ("text", "handed"),
    [
        ("144 divided by 12", True),
        ("What is 12 * 7?", True),
        ("rain for 3 days in Rome", False),
        ("divided by nothing", True),  # the tool says what is wrong with it
        ("5 times what I had yesterday", False),
        ("Who won the cup in 1998?", False),
    ],
)
def test_a_calculation_is_handed_over_to_the_tool_that_takes_it_whole(text: str, handed: bool) -> None:
    assert judge.hand_over(TOOLS, text) == ([call("calculate", question=text)] if handed else [])


WHOLE: FunctionDeclaration = {
    "name": "convert",
    "description": "Convert a measure.",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {
            "unit": {"type": "string"},
            "question": {
                "type": "string",
                "default": "",
                "description": "The user's whole question, word for word, instead of the unit: cups.",
            },
        },
    },
}


def test_a_tool_that_takes_the_whole_question_gets_nothing_else_unless_it_follows_up() -> None:
    tools = {"convert": WHOLE}
    made = [call("convert", unit="cups")]
    assert judge.complete_verbatim(made, tools, "cups?") == [call("convert", question="cups?")]
    assert judge.complete_verbatim(made, tools, "and in cups?", ["3 litres in pints"]) == made
    assert schema.engine_tool(WHOLE, forced=False)["parameters"]["required"] == ["unit"]


def test_a_tool_that_could_not_read_the_request_is_followed_by_the_next() -> None:
    tools = {"calculate": CALCULATE, "convert": WHOLE}
    text = "plus 12 divided by cups"
    assert judge.hand_over(tools, text) == [call("calculate", question=text)]
    assert judge.hand_over(tools, text, ["calculate"]) == [call("convert", question=text)]
    assert judge.hand_over(tools, text, ["calculate", "convert"]) == []


def turn(name: str, response: dict[str, Any]) -> list[Any]:
    part = {"functionResponse": {"name": name, "response": response}}
    return [
        {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}}]},
        {"role": "user", "parts": [part]},
    ]


def test_of_several_refusals_the_most_related_tools_is_told() -> None:
    asked: list[Any] = [{"role": "user", "parts": [{"text": "plus 12 divided by cups"}]}]
    refused = [*turn("convert", {"error": "No unit."}), *turn("calculate", {"error": "No number."})]
    tools = [CALCULATE, WHOLE]
    assert after_calls(asked + refused, tools) == ("That didn't work: No number.", [])
    assert after_calls(asked + refused[:2], tools) == (
        "",
        [call("calculate", question="plus 12 divided by cups")],
    )
    answered = [*refused[:2], *turn("calculate", {"output": "12"})]
    assert after_calls(asked + answered, tools) == ("12", [])
    assert after_calls(refused[:2], tools) == ("That didn't work: No unit.", [])


def test_where_no_tool_that_was_tried_has_to_do_with_it_there_is_no_tool() -> None:
    asked: list[Any] = [{"role": "user", "parts": [{"text": "12 zorks"}]}]
    refused = [*turn("convert", {"error": "No unit."}), *turn("calculate", {"error": "No number."})]
    assert "I have no tool for that" in after_calls(asked + refused, [CALCULATE, WHOLE])[0]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, "greeting") for text in ("hello", "Hi there!", "good morning", "Hey, how are you?")),
        *((text, "thanks") for text in ("thanks", "Thank you very much!", "ok, thanks", "bye")),
        *(
            (text, "help")
            for text in ("help", "What can you do?", "What are you good at?", "?", "Hello, what can I ask?")
        ),
        *(
            (text, None)
            for text in ("hello world in C", "help me add 3 and 4", "thanks, and in Rome?", "", "no rain?")
        ),
    ],
)
def test_small_talk_is_told_from_requests(text: str, kind: str | None) -> None:
    assert small_talk(text) == kind


def test_small_talk_is_answered_with_the_examples_of_the_instructions() -> None:
    said = introduce("thanks", 'Be brief. Examples: "3 x 4", “a third of 90”, "5!!", "one more".', [])
    assert said == "You're welcome. You can ask me, for example:\n- 3 x 4\n- a third of 90\n- 5!!"
    assert "calculate, convert" in introduce("help", "Be brief.", [CALCULATE, WHOLE])
