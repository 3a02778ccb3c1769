"""What a user imports to test an agent: models that follow a script or go wrong, and what a script is made of."""

from agentkit.models.chaos import ChaosModel
from agentkit.models.scripted import ScriptedModel, call, fault, reply
from agentkit.wire.history import check as check_history

__all__ = ["ChaosModel", "ScriptedModel", "call", "check_history", "fault", "reply"]
