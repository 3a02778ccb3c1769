"""How full a chat is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentkit.chats.runs import Seen
from agentkit.limits import Usage
from agentkit.memory.base import Memory
from agentkit.memory.combine import Chain
from agentkit.memory.sizes import estimate
from agentkit.memory.tokens import TokenBudget
from agentkit.stores.base import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """How full a chat is."""

    current: int
    """Tokens of all that the next request will have to take along, as of the last reply."""
    max: int | None
    """What the chat's `TokenBudget` allows to be sent, or None without one."""

    @property
    def remaining(self) -> int | None:
        """What is left of `max`; older turns are left out when it is used up."""
        return None if self.max is None else max(0, self.max - self.current)


def token_usage(seen: Seen, memory: Memory | None) -> TokenUsage:
    """Say how full a chat is, of which the messages from the last counted one on were seen."""
    usage, contents = seen.sent.usage or Usage(), seen.contents
    last = next((n for n in reversed(range(len(contents))) if contents[n]["role"] == "model"), -1)
    current = usage.prompt_tokens + usage.candidates_tokens + estimate(contents[last + 1 :], {})
    chain = memory.memories if isinstance(memory, Chain) else (memory,)
    limit = next((each.tokens for each in chain if isinstance(each, TokenBudget)), None)
    return TokenUsage(current=current, max=limit)


def has_counted(messages: Sequence[Message]) -> bool:
    """Return whether there is a reply among these whose tokens were counted."""
    return any(message.usage and message.content["role"] == "model" for message in messages)
