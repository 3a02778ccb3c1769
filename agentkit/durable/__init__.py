"""Chats beyond one process: queued, taken over, watched and decided from anywhere; needs the extra `durable`."""

from agentkit.durable.async_queue import AsyncQueue
from agentkit.durable.log import DurableEventLog
from agentkit.durable.queue import Queue
from agentkit.durable.shared import SharedRateLimit, SharedSpending
from agentkit.durable.task import EventsLost, Task, TaskEnded, TaskEvent, TaskStarted
from agentkit.durable.workers import Workers

__all__ = [
    "AsyncQueue",
    "DurableEventLog",
    "EventsLost",
    "Queue",
    "SharedRateLimit",
    "SharedSpending",
    "Task",
    "TaskEnded",
    "TaskEvent",
    "TaskStarted",
    "Workers",
]
