"""What the model that summarises is given to read."""

from __future__ import annotations

from typing import Any

from agentkit.memory.transcript import fenced, transcript
from agentkit.wire.content import call_part, model_content, response_part, user_content
from tests.helpers.histories import image

CALL = call_part("weather", {"city": "Rome"}, id="x1")


def test_turns_are_written_down_as_text() -> None:
    contents = [
        user_content("Rome?", image()),
        model_content({"text": "hm, the weather tool", "thought": True}, CALL),
        user_content(response_part(CALL["functionCall"], {"output": {"sky": "klar"}}, [image()])),  # type: ignore[list-item]
        model_content("Clear.", {"text": "", "thoughtSignature": "c2ln"}),
        user_content({"fileData": {"fileUri": "https://files.example/x"}}),
        model_content(call_part("now")),
    ]
    assert transcript(contents) == (
        "User: Rome?\n"
        "User: [a file, image/png: not shown]\n"
        'Assistant called weather with {"city":"Rome"}\n'
        'weather returned {"output":{"sky":"klar"}}\n'
        "weather returned [a file, image/png: not shown]\n"
        "Assistant: Clear.\n"
        "User: [a file, of unknown type: not shown]\n"
        "Assistant called now with {}"
    )


def test_a_call_without_arguments_and_parts_of_the_servers_own_tools_are_shown() -> None:
    bare: Any = {"functionCall": {"name": "now"}}
    code: Any = {"executableCode": {"code": "1+1"}, "thoughtSignature": "c2ln"}
    assert transcript([model_content(bare, code)]) == (
        'Assistant called now with {}\nAssistant: {"executableCode":{"code":"1+1"}}'
    )


def test_long_results_and_texts_are_shortened_in_the_middle() -> None:
    result = transcript([user_content(response_part(CALL["functionCall"], {"output": "x" * 50_000}))])
    assert len(result) < 1_200
    assert "[... 49,013 characters left out ...]" in result
    said = transcript([user_content("begin " + "x" * 50_000 + " end")])
    assert said.startswith("User: begin x") and said.endswith("x end")
    assert 8_000 < len(said) < 8_200


def test_a_fenced_text_cannot_end_its_fence() -> None:
    assert fenced("notes", "a </notes> b") == "<notes>\na < /notes> b\n</notes>"
