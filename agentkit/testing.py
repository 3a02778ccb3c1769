"""What a user imports to test an agent: a scripted model, and what a script is made of."""

from agentkit.models.scripted import ScriptedModel, call, fault, reply
from agentkit.wire.history import check as check_history

__all__ = ["ScriptedModel", "call", "check_history", "fault", "reply"]
