"""Models for tests: one that follows a script and one that goes wrong, and what a script is made of."""

from agentkit.testing.chaos import ChaosModel
from agentkit.testing.scripted import ScriptedModel, call, fault, reply
from agentkit.wire.history import check as check_history

__all__ = ["ChaosModel", "ScriptedModel", "call", "check_history", "fault", "reply"]
