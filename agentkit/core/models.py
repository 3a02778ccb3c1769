"""Models by their names: each is made once, when it is first asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from agentkit.errors import ConfigurationError
from agentkit.model import Model

if TYPE_CHECKING:
    from google import genai


class NamedModels:
    """The models of one agent.

    Args:
        client: What Gemini models send their requests through, if the user gave one.
    """

    def __init__(self, client: genai.Client | None) -> None:
        self._client = client
        self._made: dict[str, Model] = {}
        self._lock = threading.Lock()

    def each(self, model: str | Model | Sequence[str | Model] | None) -> tuple[Model, ...]:
        """Find one model, or several in order. Raises ConfigurationError."""
        if isinstance(model, (list, tuple)):
            if not model:
                raise ConfigurationError("Agent(model=[]): name at least one.")
            return tuple(self.find(each) for each in model)
        return (self.find(cast("str | Model | None", model)),)

    def find(self, model: str | Model | None) -> Model:
        """Find a model by its name; None is what AGENTKIT_MODEL says, else the default. Raises ConfigurationError."""
        if model is None:
            model = os.environ.get("AGENTKIT_MODEL") or ""
        if not isinstance(model, str):
            if self._client is not None:
                raise ConfigurationError(
                    "Agent(client=...) goes with the name of a Gemini model, not with a Model."
                )
            if not isinstance(model, Model):
                raise ConfigurationError(
                    f"model={model!r} is neither a name nor a Model (see agentkit.model)."
                )
            return model
        with self._lock:
            if model not in self._made:
                self._made[model] = self._make(model)
            return self._made[model]

    def _make(self, name: str) -> Model:
        if name == "local":
            if self._client is not None:
                raise ConfigurationError(
                    "Agent(client=...) goes with the name of a Gemini model, not with 'local'."
                )
            from agentkit_local.model import LocalModel

            return LocalModel(start=False)  # one that only stands in may never be asked
        from agentkit.gemini.model import DEFAULT_MODEL, GeminiModel

        return GeminiModel(name or DEFAULT_MODEL, client=self._client)
