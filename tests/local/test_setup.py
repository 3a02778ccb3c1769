"""Setting the embedded model up: what is said where its engine is missing."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from agentkit_local.model import LocalModel, available

from agentkit.errors import ConfigurationError

installed = pytest.mark.skipif(not available(), reason="the embedded model has no engine for this machine")


def test_a_missing_engine_is_a_configuration_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert not available()
    with pytest.raises(ConfigurationError) as caught:
        LocalModel()
    for words in ('pip install "agentkit-gemini[local]"', "macOS on arm64", "GEMINI_API_KEY"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "files", [None, [], ["needle/needle3.cact"], ["needle/libneedle3.so", "needle/needle3.cact"]]
)
def test_a_wheel_without_an_engine_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: list[str] | None
) -> None:
    class Wheel:
        version = "3.10.2"

        def __init__(self) -> None:
            self.files = None if files is None else [Path(name) for name in files]

        def locate_file(self, path: Path) -> Path:
            return tmp_path / path

    monkeypatch.setattr(metadata, "distribution", lambda name: Wheel())
    assert not available()


@installed
@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"timeout": 0}, {"shortlist": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        LocalModel(**wrong)


@installed
def test_a_frozen_program_is_told_that_the_engine_needs_a_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ConfigurationError, match="interpreter"):
        LocalModel()
