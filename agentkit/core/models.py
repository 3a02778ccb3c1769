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
        models = self._each(model)
        if self._client is not None and not self._made.keys() - {"local"}:
            raise ConfigurationError(
                "Agent(client=...) goes with the name of a Gemini model; there is none here."
            )
        return models

    def _each(self, model: str | Model | Sequence[str | Model] | None) -> tuple[Model, ...]:
        if isinstance(model, (list, tuple)):
            if not model:
                raise ConfigurationError("Agent(model=[]): name at least one.")
            return tuple(self.find(each) for each in model)
        return (self.find(cast("str | Model | None", model)),)

    def find(self, model: str | Model | None) -> Model:
        """Find a model by its name; None is what AGENTKIT_MODEL says, else the default. Raises ConfigurationError."""
        if model is None:
            model = os.environ.get("AGENTKIT_MODEL") or ""
        if isinstance(model, Model):
            return model
        if not isinstance(model, str):
            raise ConfigurationError(
                f"model={model!r:.100} is neither a name nor a Model: a Model inherits from agentkit.Model."
            )
        with self._lock:
            if model not in self._made:
                self._made[model] = self._make(model)
            return self._made[model]

    def _make(self, name: str) -> Model:
        if name == "local":
            from agentkit_local.model import LocalModel

            return LocalModel(start=False)  # one that only stands in may never be asked
        from agentkit.gemini.model import DEFAULT_MODEL, GeminiModel

        return GeminiModel(name or DEFAULT_MODEL, client=self._client)
