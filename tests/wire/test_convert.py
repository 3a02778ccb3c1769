"""What users have in their hands becomes wire JSON, once, at the door."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from google.genai import types
from PIL import Image
from pydantic import BaseModel

from agentkit.core.repair import judge
from agentkit.errors import ConfigurationError, HistoryError
from agentkit.tooling.config import config_in
from agentkit.wire.content import Content, call_part, copy_content, model_content, response_part, user_content
from agentkit.wire.convert import history_in, to_types, user_input

PNG = b"\x89PNG\r\n\x1a\n" + b"\xff\xfb" * 8
SIGNATURE = b"\xff\xfe\xfd signature"
WIRE: list[Any] = [
    {
        "role": "user",
        "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgr/+w=="}}],
    },
    {
        "role": "model",
        "parts": [
            {
                "functionCall": {
                    "id": "1",
                    "name": "f",
                    "args": {"snake_case": 1, "camelCase": {"deep_key": 2}},
                },
                "thoughtSignature": base64.b64encode(SIGNATURE).decode(),
            }
        ],
    },
    {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "1", "name": "f", "response": {"output": {"my_key": [1, None]}}}}
        ],
    },
    {"role": "model", "parts": [{"text": "done"}]},
]


def copies(contents: Iterable[Content]) -> list[Content]:
    return [copy_content(content) for content in contents]


def snake(value: Any, free: bool = False) -> Any:
    """The same in the SDK's casing; what is the user's own data stays."""
    names = {
        "inlineData": "inline_data",
        "mimeType": "mime_type",
        "functionCall": "function_call",
        "functionResponse": "function_response",
        "thoughtSignature": "thought_signature",
    }
    if isinstance(value, dict):
        return {
            key if free else names.get(key, key): snake(item, free or key in ("args", "response"))
            for key, item in value.items()
        }
    return [snake(item, free) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "history",
    [WIRE, snake(WIRE), [types.Content.model_validate(content) for content in WIRE]],
    ids=["camelCase", "snake_case", "types"],
)
def test_a_history_comes_in_the_same_in_every_form(history: Any) -> None:
    contents = history_in(history)
    wanted = copies(WIRE)
    wanted[2]["parts"][0]["functionResponse"]["response"] = {"output": {"my_key": [1, None]}}
    assert contents == wanted


def test_bytes_are_base64_of_the_standard_alphabet() -> None:
    part = {"inline_data": {"mime_type": "image/png", "data": PNG}}
    (content,) = history_in([{"role": "user", "parts": [part]}])
    assert content["parts"][0]["inlineData"]["data"] == base64.b64encode(PNG).decode()
    assert (
        "+" in content["parts"][0]["inlineData"]["data"] or "/" in content["parts"][0]["inlineData"]["data"]
    )


def test_what_comes_in_is_copied() -> None:
    args = {"list": [1]}
    history: Any = [
        {"role": "user", "parts": ["hi"]},
        {"role": "model", "parts": [{"function_call": {"name": "f", "args": args}}]},
        {"role": "user", "parts": [{"function_response": {"name": "f", "response": {}}}]},
    ]
    contents = history_in(history)
    args["list"].append(2)
    history[0]["parts"][0] = "changed"
    assert contents[0]["parts"] == [{"text": "hi"}]
    assert contents[1]["parts"][0]["functionCall"]["args"] == {"list": [1]}


def test_a_history_taken_in_before_is_not_copied_again() -> None:
    contents = history_in(WIRE)
    assert history_in(contents)[0] is contents[0]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("hi", "list of contents"),
        ({"role": "user", "parts": []}, "list of contents"),
        (["hi"], r"contents\[0\]: str is not a content"),
        ([{"role": "assistant", "parts": [{"text": "x"}]}], "it is 'model' here"),
        ([{"role": "system", "parts": [{"text": "x"}]}], "Agent\\(instructions"),
        ([{"role": "tool", "parts": [{"text": "x"}]}], "no role 'tool'"),
        ([{"role": "user", "parts": [{"text": "x"}]}, {"role": "user", "parts": []}], r"contents\[1\]"),
        ([{"role": "user", "parts": [{"text": object()}]}], r"contents\[0\]: object can't be part"),
        ([{"role": "user", "parts": [{1: "x"}]}], "is a str, not 1"),
    ],
)
def test_a_bad_history_is_refused_with_its_place_and_the_mend(history: Any, words: str) -> None:
    with pytest.raises(HistoryError, match=words):
        history_in(history)


def test_user_input_of_every_kind(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    blob = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
    cases: list[tuple[Any, Any]] = [
        ("hi", [{"text": "hi"}]),
        (["what is this?", picture], [{"text": "what is this?"}, blob]),
        ([PNG], [blob]),
        (bytearray(PNG), [blob]),
        ({"inline_data": {"mime_type": "image/png", "data": PNG}}, [blob]),
        (types.Part.from_bytes(data=PNG, mime_type="image/png"), [blob]),
        (types.Part(text="hi"), [{"text": "hi"}]),
        ({"parts": [{"text": "hi"}]}, [{"text": "hi"}]),
        (types.UserContent("hi"), [{"text": "hi"}]),
        (types.Content(parts=[types.Part(text="hi")]), [{"text": "hi"}]),
        ({"parts": ("hi", PNG, picture)}, [{"text": "hi"}, blob, blob]),
        (types.Blob(data=PNG, mime_type="image/png"), [blob]),
        ({"mime_type": "image/png", "data": PNG}, [blob]),
        ({"file_uri": "gs://x"}, [{"fileData": {"fileUri": "gs://x"}}]),
        (
            types.FileData(file_uri="gs://x", mime_type="image/png"),
            [{"fileData": {"fileUri": "gs://x", "mimeType": "image/png"}}],
        ),
        ({"new_kind": {"a": 1}}, [{"newKind": {"a": 1}}]),
        ({"text": "", "thought_signature": "c2ln"}, [{"text": "", "thoughtSignature": "c2ln"}]),
        (
            types.File(uri="https://example.test/f", mime_type="audio/wav"),
            [{"fileData": {"fileUri": "https://example.test/f", "mimeType": "audio/wav"}}],
        ),
    ]
    for value, parts in cases:
        assert user_input(value) == [{"role": "user", "parts": parts}], value


def test_files_are_what_is_in_them_and_then_what_they_are_called(tmp_path: Path) -> None:
    def made(name: str, data: bytes) -> Any:
        (tmp_path / name).write_bytes(data)
        with (tmp_path / name).open("rb") as opened:
            (content,) = user_input([tmp_path / name])
            assert user_input(opened) == [content], "an open file is the same"
        return content["parts"][0]

    assert made("photo.txt", PNG)["inlineData"]["mimeType"] == "image/png"
    assert made("song.mp3", b"\xff\xfb\x90\x00\x00")["inlineData"]["mimeType"] == "audio/mpeg"
    assert made("Makefile", "all: tea ☕\n".encode()) == {"text": "Makefile:\nall: tea ☕\n"}
    assert made("app.py", b"\xef\xbb\xbfprint(1)") == {"text": "app.py:\nprint(1)"}
    assert made("picture.svg", b"<svg/>") == {"text": "picture.svg:\n<svg/>"}
    assert made("wide.csv", "a;é".encode("utf-16")) == {"text": "wide.csv:\na;é"}
    assert made("old.txt", b"caf\xe9") == {"text": "old.txt:\ncafé"}
    for name in ("odd", "odd.zzz"):
        with pytest.raises(ConfigurationError, match=r"Can't tell what kind of data .*odd"):
            made(name, b"\x00\x01\xff")


def test_pictures_of_pillow_and_bytes_in_memory_are_taken() -> None:
    picture = Image.new("RGB", (2, 2), "red")
    (content,) = user_input(["see", picture])
    data = base64.b64decode(content["parts"][1]["inlineData"]["data"])
    assert Image.open(io.BytesIO(data)).convert("RGB").getcolors() == [(4, (255, 0, 0))]
    assert user_input(io.BytesIO(PNG)) == user_input(PNG) == user_input(memoryview(PNG))
    written = io.BytesIO()
    written.write(PNG)  # and not rewound: google-genai's uploads don't ask for it either
    for _ in range(2):
        assert user_input(written) == user_input(PNG)
    with pytest.raises(ConfigurationError, match="binary mode"):
        user_input(io.StringIO("text"))


def test_urls_that_the_server_reads_are_files_where_they_stand_beside_others() -> None:
    video = "https://www.youtube.com/watch?v=9hE5-98ZeCg"
    (content,) = user_input(
        ["Sum it up.", video, "gs://bucket/talk.pdf", "https://youtu.be/x", "see gs://a b"]
    )
    assert content["parts"] == [
        {"text": "Sum it up."},
        {"fileData": {"fileUri": video, "mimeType": "video/mp4"}},
        {"fileData": {"fileUri": "gs://bucket/talk.pdf", "mimeType": "application/pdf"}},
        {"fileData": {"fileUri": "https://youtu.be/x", "mimeType": "video/mp4"}},
        {"text": "see gs://a b"},
    ]
    assert user_input(video) == [{"role": "user", "parts": [{"text": video}]}]
    with pytest.raises(ConfigurationError, match="gs://bucket/odd"):
        user_input(["See", "gs://bucket/odd"])


def test_contents_in_the_input_stay_contents() -> None:
    contents = user_input(
        [
            "first",
            {"role": "model", "parts": ["yes?"]},
            types.Content(role="user", parts=[types.Part(text="last")]),
        ]
    )
    assert [(content["role"], content["parts"]) for content in contents] == [
        ("user", [{"text": "first"}]),
        ("model", [{"text": "yes?"}]),
        ("user", [{"text": "last"}]),
    ]


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"\0\0\0\x18ftypM4A ", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3webm", "video/webm"),
        (b"FORM\0\0\0\0AIFF", "audio/aiff"),
    ],
)
def test_bytes_tell_what_they_are(data: bytes, mime_type: str) -> None:
    (content,) = user_input(data)
    assert content["parts"][0]["inlineData"]["mimeType"] == mime_type


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        [],
        {},
        42,
        None,
        b"who knows",
        [[]],
        {"role": "model", "parts": ["x"]},
        {"role": "user", "parts": []},
        {"role": "user"},
        {"txt": "x"},
        {"text": 3},
        {"parts": [{"txt": "x"}]},
        {"thoughtSignature": "c2ln", "videoMetadata": {"fps": 2}, "mediaResolution": {"level": "x"}},
        types.Part(thought=True),
        types.Part,
    ],
)
def test_what_is_no_input_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        user_input(value)


def test_parts_that_are_no_list_are_refused() -> None:
    doors: list[Callable[[Any], Any]] = [user_input, lambda value: history_in([value])]
    for take in doors:
        with pytest.raises(HistoryError, match="its parts are a list, not str"):
            take({"role": "user", "parts": "hello"})


def test_what_the_server_signed_without_a_text_comes_back_in_a_history() -> None:
    signed = {"role": "model", "parts": [{"thoughtSignature": "c2ln"}]}
    assert history_in([{"role": "user", "parts": ["hi"]}, signed])[1] == signed


def test_nulls_among_the_users_own_data_stay() -> None:
    response = types.FunctionResponse(name="f", response={"snake_case": None})
    call = types.FunctionCall(name="f", args={"a_b": {"c_d": None}})
    contents = history_in(
        [
            {"role": "user", "parts": ["hi"]},
            types.ModelContent(types.Part(function_call=call)),
            types.UserContent(types.Part(function_response=response)),
        ]
    )
    assert contents[1]["parts"][0]["functionCall"]["args"] == {"a_b": {"c_d": None}}
    assert contents[2]["parts"][0]["functionResponse"]["response"] == {"snake_case": None}


def test_a_file_that_is_not_there_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        user_input(tmp_path / "none.png")


def test_config_goes_where_the_server_wants_it() -> None:
    config = types.GenerateContentConfig(
        temperature=0.0,
        max_output_tokens=5,
        thinking_config=types.ThinkingConfig(include_thoughts=True),
        tools=[types.Tool(google_search=types.GoogleSearch())],
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT, threshold=types.HarmBlockThreshold.OFF
            )
        ],
    )
    wire = {
        "generationConfig": {
            "temperature": 0.0,
            "maxOutputTokens": 5,
            "thinkingConfig": {"includeThoughts": True},
        },
        "tools": [{"googleSearch": {}}],
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
    }
    assert config_in(config) == wire
    assert config_in({"temperature": 0.0, "generation_config": {"topK": 1}}) == {
        "generationConfig": {"topK": 1, "temperature": 0.0}
    }
    assert config_in(None) == {}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"system_instruction": "x"}, "instructions="),
        ({"http_options": {"base_url": "https://a.example"}}, r"baseUrl.*GeminiModel\(http_options="),
        ({"http_options": {"retry_options": {"attempts": 3}}}, r"Agent\(retry="),
        ({"http_options": {"timeout": 0.5}}, "milliseconds"),
        ({"http_options": {"headers": {"x": 1}}}, "a dict of texts"),
        ({"http_options": {"headers": {"Authorization": "x"}}}, "'authorization' would be stored"),
        ({"http_options": 5}, "HttpOptions"),
        ({"candidate_count": 2}, "one candidate"),
        ({"tools": [{"function_declarations": []}]}, "Agent\\(tools"),
        ("hot", "config= is a dict"),
        (types.GenerateContentConfig, "config= is a dict"),
        ({"tool_config": {"function_calling_config": {"mode": "ANY"}}}, 'tool_choice="required"'),
        ({"toolConfig": {"functionCallingConfig": {"mode": "any"}}}, 'tool_choice="required"'),
        (
            types.GenerateContentConfig(
                tool_config=types.ToolConfig(
                    function_calling_config=types.FunctionCallingConfig(
                        mode=types.FunctionCallingConfigMode.ANY
                    )
                )
            ),
            'tool_choice="required"',
        ),
        ({"response_schema": len}, "as a response schema"),
        ({"labels": {"a": object()}}, "can't be part"),
    ],
)
def test_config_that_has_its_place_elsewhere_is_refused(config: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        config_in(config)


class Person(BaseModel):
    first_name: str
    pet_names: list[str] = []


PERSON = {
    "type": "object",
    "properties": {
        "first_name": {"type": "string"},
        "pet_names": {"type": "array", "items": {"type": "string"}, "default": []},
    },
    "required": ["first_name"],
}


def test_what_the_user_named_in_a_config_keeps_its_name() -> None:
    json_schema = {"properties": {"first_name": {"default": None, "any_of": 1}}, "required": ["first_name"]}
    given = {"labels": {"my_team": "x"}, "response_json_schema": json_schema}
    wire = {"labels": {"my_team": "x"}, "generationConfig": {"responseJsonSchema": json_schema}}
    assert config_in(given) == wire
    assert config_in(types.GenerateContentConfig.model_validate(given)) == wire
    assert (
        config_in({"generation_config": {"response_json_schema": json_schema}, "labels": given["labels"]})
        == wire
    )
    assert config_in(given)["generationConfig"]["responseJsonSchema"] is not json_schema


def test_an_openapi_response_schema_keeps_the_names_of_properties() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "first_name": {"type": "STRING", "max_length": 5},
            "any_of": {"any_of": [{"type": "ARRAY", "items": {"min_items": 1}, "min_items": 2}]},
        },
        "property_ordering": ["first_name", "any_of"],
    }
    wire = {
        "type": "OBJECT",
        "properties": {
            "first_name": {"type": "STRING", "maxLength": 5},
            "any_of": {"anyOf": [{"type": "ARRAY", "items": {"minItems": 1}, "minItems": 2}]},
        },
        "propertyOrdering": ["first_name", "any_of"],
    }
    assert config_in({"response_schema": schema}) == {"generationConfig": {"responseSchema": wire}}
    typed = types.Schema(
        type=types.Type.OBJECT,
        properties={"first_name": types.Schema(type=types.Type.STRING, max_length=5)},
        required=["first_name"],
    )
    assert config_in(types.GenerateContentConfig(response_schema=typed)) == {
        "generationConfig": {
            "responseSchema": {
                "type": "OBJECT",
                "properties": {"first_name": {"type": "STRING", "maxLength": 5}},
                "required": ["first_name"],
            }
        }
    }


def test_a_type_as_response_schema_becomes_its_json_schema() -> None:
    wire = {"generationConfig": {"responseJsonSchema": PERSON}}
    assert config_in({"response_schema": Person}) == wire
    assert config_in({"response_json_schema": Person}) == wire
    assert config_in(types.GenerateContentConfig(response_schema=Person)) == wire
    assert config_in({"responseSchema": list[int]}) == {
        "generationConfig": {"responseJsonSchema": {"type": "array", "items": {"type": "integer"}}}
    }


def test_a_mode_that_lets_the_model_end_is_allowed() -> None:
    config: Any = {"toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}}
    assert config_in(config) == config
    assert config_in({"toolConfig": None, "thinking_config": {"thinking_level": None}}) == {
        "generationConfig": {"thinkingConfig": {}}
    }


def test_contents_go_out_as_the_sdks_types() -> None:
    (first, call, *_) = to_types(history_in(WIRE))
    assert isinstance(first, types.Content)
    assert call.parts is not None
    assert call.parts[0].thought_signature == SIGNATURE


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


DUMPS: list[Any] = [
    types.Content(role="user", parts=[types.Part(text="x")]),
    types.Content(parts=[types.Part(text="x")]),
    types.Part(text="x"),
]


@pytest.mark.parametrize("given", DUMPS)
def test_a_dump_is_what_it_was_made_of(given: Any) -> None:
    for dump in (given.model_dump(), given.model_dump(by_alias=True), given.model_dump(mode="json"), given):
        assert user_input(dump) == [{"role": "user", "parts": [{"text": "x"}]}]
    if getattr(given, "role", None):
        assert history_in([given.model_dump()]) == user_input("x")


def test_a_dump_of_a_file_is_the_file() -> None:
    file = types.File(name="files/a", uri="https://example.com/files/a", mime_type="image/png")
    wire = {"fileData": {"fileUri": file.uri, "mimeType": "image/png"}}
    assert user_input([file, "x"]) == user_input([file.model_dump(), "x"])
    assert user_input(file.model_dump())[0]["parts"] == [wire]


@pytest.mark.parametrize(
    "part",
    [
        {"text": "x", "more": math.nan},
        {"text": "x", "more": [-math.inf]},
        {"text": "x", "more": nested(3000)},
        {"text": "x", "more": nested(200)},
        {"functionCall": {"name": "f", "args": {"a": math.inf}}},
    ],
    ids=["NaN", "minus infinity", "3,000 deep", "200 deep", "infinity in a call"],
)
def test_what_could_not_be_written_down_is_refused_at_the_door(part: Any) -> None:
    contents: list[Any] = [user_content("x"), {"role": "model", "parts": [part]}]
    with pytest.raises(HistoryError):
        history_in(contents)
    with pytest.raises((HistoryError, ConfigurationError)):
        user_input(part)


def test_a_config_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="too deep"):
        config_in({"labels": nested(3000)})


def test_what_a_run_may_hold_may_come_in_again() -> None:
    deep: Any = "x"
    for _ in range(98):
        deep = [deep]
    asked = call_part("f", {"a": deep})
    assert judge({"candidates": [{"content": {"role": "model", "parts": [asked]}}]}).action == "calls"
    contents = [
        user_content("x"),
        model_content(asked),
        user_content(response_part(asked["functionCall"], {})),
    ]
    assert history_in(contents) == contents


def test_two_contents_of_the_model_may_be_answered_together() -> None:
    first, second = call_part("f", id="1"), call_part("g")
    answers = [response_part(each["functionCall"], {}) for each in (first, second)]
    contents = [user_content("x"), model_content("hm", first), model_content(second), user_content(*answers)]
    assert history_in(contents) == contents
    for bad in (contents[:3], [*contents[:3], user_content(answers[1], answers[0])]):
        with pytest.raises(HistoryError):
            history_in(bad)


def test_what_describes_a_video_may_stand_as_a_part_of_its_own() -> None:
    video = {"fileData": {"fileUri": "gs://x"}}
    parts: list[Any] = user_input([video, {"video_metadata": {"fps": 1}}, "?"])[0]["parts"]
    assert parts == [video, {"videoMetadata": {"fps": 1}}, {"text": "?"}]
    with pytest.raises(ConfigurationError, match="nothing in the part"):
        user_input([{"video_metadata": {"fps": 1}}])


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.bin"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ConfigurationError, match="is empty"):
            user_input([tmp_path / name, "?"])
    with pytest.raises(ConfigurationError, match="empty data"):
        user_input(types.Part.from_bytes(data=b"", mime_type="image/png"))
