"""What the benchmark measures, and the bounds that hold for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Of = Callable[[str, str], float]
"""The median of a contender's metric; raises KeyError where there is none."""


@dataclass(frozen=True)
class Bound:
    """What a figure may be at most, or must be at least."""

    text: str
    value: Callable[[Of], float]
    most: float | None = None
    least: float | None = None
    digits: int = 2

    def met(self, value: float) -> bool:
        """Tell whether a value keeps to it."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True)
class Scenario:
    """One kind of work. `columns` say which metrics the table shows, and how they are called there."""

    name: str
    title: str
    measure: str
    columns: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    """Options in place of those, to see in seconds that everything works."""
    contenders: Sequence[str] = ("floor", "sdk", "afc", "agentkit", "adk", "pydantic-ai")
    bounds: Sequence[Bound] = ()
    short: Mapping[str, str] = field(default_factory=dict)
    """The metrics that README shows, and how they are called there."""
    rounds: int = 3
    note: str = ""


def ratio(metric: str, other: str, *, by: str = "") -> Callable[[Of], float]:
    """Compare agentkit's metric with another contender's: the same one, or `by`."""
    return lambda of: of("agentkit", metric) / of(other, by or metric)


def own(metric: str) -> Callable[[Of], float]:
    """Take a metric of agentkit's as it is."""
    return lambda of: of("agentkit", metric)


_OURS = ("agentkit",)

SCENARIOS = (
    Scenario(
        "turns",
        "A run of 10 tool turns",
        "tool_turns",
        {"run_cpu": "CPU a run, ms", "run_wall": "wall a run, ms"},
        {"turns": 10, "repeat": 30},
        {"turns": 3, "repeat": 1},
        bounds=(
            Bound("CPU of the hand-written SDK loop", ratio("run_cpu", "sdk"), most=0.20),
            Bound("CPU of the floor", ratio("run_cpu", "floor"), most=1.3),
        ),
        rounds=5,
        short={"run_cpu": "A run of 10 tool turns, CPU, ms"},
    ),
    Scenario(
        "parts",
        "What agentkit's CPU for those 10 turns goes to",
        "own_parts",
        {
            "whole_cpu": "a run, ms",
            "http_cpu": "HTTP and JSON of the 11 requests, ms",
            "handover_cpu": "handing 10 calls to a thread and back, ms",
            "rest_cpu": "the rest, ms",
        },
        {"turns": 10, "repeat": 60},
        {"turns": 3, "repeat": 1},
        _OURS,
        note="Each part measured alone: the run with a model that replies in the process, then as many calls of an"
        " empty function in an idle thread. The floor calls its tools in its own thread, where nothing can give up"
        " one that hangs.",
    ),
    Scenario(
        "chat",
        "A chat of 200 user turns with a call each",
        "long_chat",
        {"first_cpu": "CPU of turns 3 to 7, ms", "last_cpu": "CPU of turn 200, ms", "last_wall": "wall, ms"},
        {"turns": 200},
        {"turns": 8, "few": 2},
        (
            "floor",
            "sdk",
            "afc",
            "agentkit",
            "agentkit+sqlite",
            "agentkit+sqlite in memory",
            "adk",
            "pydantic-ai",
        ),
        rounds=2,
        bounds=(
            Bound(
                "Turn 200 in terms of the first turns, CPU",
                ratio("last_cpu", "agentkit", by="first_cpu"),
                most=1.5,
            ),
            Bound("Turn 200 in terms of the SDK loop's, CPU", ratio("last_cpu", "sdk"), most=0.02, digits=3),
            Bound(
                "Turn 200 with a SQLiteStore in terms of that without, CPU",
                lambda of: of("agentkit+sqlite", "last_cpu") / of("agentkit", "last_cpu"),
                most=1.5,
            ),
        ),
        short={"last_cpu": "Turn 200 of a chat, with a call, CPU, ms"},
        note="Each turn is two requests. The figures are medians over the turns 3 to 7 and over the last five. What"
        " the file on the disk costs more than the one in a memory file system is four fsyncs a turn.",
    ),
    Scenario(
        "tools",
        "100 tools",
        "tools",
        {
            "many_build_cpu": "CPU to build the agent, ms",
            "many_ready_cpu": "CPU to build it and to ask once, ms",
            "many_request_cpu": "CPU of a later request, ms",
            "one_request_cpu": "the same with one tool, ms",
        },
        {"many": 100, "repeat": 10},
        {"many": 5, "repeat": 1},
        bounds=(
            Bound(
                "A later request in terms of one with one tool, CPU",
                ratio("many_request_cpu", "agentkit", by="one_request_cpu"),
                most=1.5,
            ),
            Bound(
                "Building and asking once in terms of google-adk, CPU",
                ratio("many_ready_cpu", "adk"),
                most=0.33,
            ),
        ),
        short={
            "many_ready_cpu": "An agent with 100 tools, made and asked once, CPU, ms",
            "many_request_cpu": "Each request after that, CPU, ms",
        },
        note="Some look at their tools when the agent is made, others (google-adk) at the first request: so both"
        " together are compared.",
    ),
    Scenario(
        "parallel",
        "8 parallel calls of 50 ms",
        "parallel",
        {
            "sync_one_wall": "one sync call, ms",
            "sync_many_wall": "8 sync calls, ms",
            "async_one_wall": "one async call, ms",
            "async_many_wall": "8 async calls, ms",
        },
        {"calls": 8, "repeat": 9},
        {"calls": 3, "repeat": 1},
        bounds=(
            Bound(
                "8 sync calls in terms of one, wall",
                ratio("sync_many_wall", "agentkit", by="sync_one_wall"),
                most=1.5,
            ),
            Bound(
                "8 async calls in terms of one, wall",
                ratio("async_many_wall", "agentkit", by="async_one_wall"),
                most=1.5,
            ),
        ),
    ),
    Scenario(
        "streaming",
        "A streamed answer of 1,000 chunks",
        "streaming",
        {"chunk_cpu": "CPU a chunk, ms", "first_text_wall": "first text after, ms"},
        {"chunks": 1000, "repeat": 30},
        {"chunks": 20, "repeat": 1},
        ("floor", "sdk", "agentkit", "adk", "pydantic-ai"),
        bounds=(
            Bound(
                "CPU a chunk above the floor, ms",
                lambda of: of("agentkit", "chunk_cpu") - of("floor", "chunk_cpu"),
                most=0.1,
                digits=3,
            ),
            Bound(
                "Time to the first text above the floor, ms",
                lambda of: of("agentkit", "first_text_wall") - of("floor", "first_text_wall"),
                most=5,
            ),
        ),
        short={"chunk_cpu": "A chunk of a stream, CPU, ms"},
        note="The chunks come 2 ms apart.",
    ),
    Scenario(
        "concurrent",
        "200 runs of three turns at the same time, 50 ms latency of the model, one event loop",
        "concurrent",
        {
            "runs_per_second": "runs a second",
            "all_cpu": "CPU, ms",
            "collecting_cpu": "of it garbage collection, ms",
            "all_wall": "wall, ms",
            "peak_mb": "peak memory, MiB",
            "grown_mb": "of it for the runs, MiB",
        },
        {"runs": 200},
        {"runs": 5},
        bounds=(
            Bound("Throughput of the SDK loop", ratio("runs_per_second", "sdk"), least=3),
            Bound("Peak memory of the SDK loop", ratio("peak_mb", "sdk"), most=1.0),
        ),
        rounds=5,
        short={"runs_per_second": "200 runs at a time, runs a second"},
        note="All use HTTP clients as they come: with up to 100 connections on httpx2, where no more than the floor's"
        " throughput is to be had, and up to 200 of agentkit's own.",
    ),
    Scenario(
        "startup",
        "From nothing",
        "start_up",
        {
            "import_cpu": "CPU of the import, ms",
            "usual_import_cpu": "CPU of what a user imports, ms",
            "first_byte_wall": "first byte of the first request after, ms",
        },
        {"repeat": 3},
        {"repeat": 1},
        ("floor", "sdk", "agentkit", "adk", "pydantic-ai"),
        bounds=(
            Bound(
                "`import agentkit` in terms of `import google.genai`, CPU",
                ratio("import_cpu", "sdk"),
                most=0.25,
            ),
            Bound("First byte in terms of the SDK's own, wall", ratio("first_byte_wall", "sdk"), most=1.0),
        ),
        rounds=5,
        short={
            "import_cpu": "Import, CPU, ms",
            "first_byte_wall": "First byte of the first request, from the start of Python, ms",
        },
        note="The wall time runs from the start of the process until the server sees the request.",
    ),
    Scenario(
        "append",
        "SQLiteStore: 2,000 messages, one by one",
        "own_append",
        {
            "disk_append_wall": "append on the disk, ms",
            "disk_fsync_wall": "fsync of 8 KiB there, ms",
            "memory_append_wall": "append in a memory file system, ms",
            "disk_bytes_per_message": "bytes written a message",
            "disk_open_wall": "open and read all, ms",
        },
        {"messages": 2000},
        {"messages": 40},
        _OURS,
        bounds=(
            Bound("Append on the disk, durably, ms", own("disk_append_wall"), most=1),
            Bound("Append where an fsync is free, ms", own("memory_append_wall"), most=1),
            Bound("Bytes written, last quarter in terms of the second", own("disk_bytes_growth"), most=1.2),
            Bound("Open the file and read 2,000 messages, ms", own("disk_open_wall"), most=50, digits=1),
        ),
        note="The store fsyncs each append on purpose: what is stored survives a power loss.",
    ),
    Scenario(
        "list",
        "ChatManager.list: 10,000 sessions, 50 a page",
        "own_list",
        {"page_wall": "a page, ms", "slowest_page_wall": "the slowest, ms"},
        {"sessions": 10_000},
        {"sessions": 120},
        _OURS,
        bounds=(Bound("A page, ms", own("page_wall"), most=20),),
    ),
    Scenario(
        "history",
        "Memory: a history of 10,000 contents",
        "history",
        {"content_bytes": "bytes a content", "wire_bytes": "of which JSON"},
        {"turns": 2500},
        {"turns": 20},
        ("floor", "sdk", "agentkit"),
        rounds=1,
        note="What Python's allocator holds after one question with that history. Half of the contents are texts, a"
        " quarter calls, a quarter responses.",
    ),
    Scenario(
        "idle",
        "Memory: 1,000 idle chats of four contents",
        "own_idle",
        {
            "chat_object_bytes": "bytes a `Chat` object",
            "memory_store_bytes": "bytes a chat, ChatManager on MemoryStore",
            "sqlite_bytes": "bytes a chat, ChatManager on SQLiteStore",
        },
        {"chats": 1000},
        {"chats": 10},
        _OURS,
        rounds=1,
    ),
    Scenario(
        "soak",
        "Memory: turns over and over",
        "own_soak",
        {
            "turns": "turns",
            "growth_bytes_per_turn": "bytes grown a turn, second half",
            "held_mb": "held, MiB",
        },
        {"turns": 5000},
        {"turns": 40},
        _OURS,
        rounds=1,
        bounds=(
            Bound("Growth in the second half, bytes a turn", own("growth_bytes_per_turn"), most=50, digits=1),
        ),
        note="A quarter each: runs, streams, async runs, and chats in an SQLiteStore that are deleted again.",
    ),
    Scenario(
        "local",
        "The embedded model",
        "own_local",
        {
            "build_wall": "make the agent, ms",
            "early_children": "engines started by then",
            "first_wall": "first answer, ms",
            "second_wall": "second answer, ms",
            "reloads": "reloads",
            "first_command_wall": "first command, ms",
            "second_command_wall": "second command, ms",
        },
        {"tools": 2},
        {"tools": 1},
        _OURS,
        bounds=(
            Bound(
                "Engines under way when the tools have been read", own("early_children"), least=1, digits=0
            ),
            Bound("Reloads for a second question", own("reloads"), most=0, digits=0),
            Bound(
                "A second command in terms of the first, wall",
                lambda of: of("agentkit", "second_command_wall") / of("agentkit", "first_command_wall"),
                most=1.05,
            ),
        ),
    ),
)

EXTRA = {
    "agentkit+sqlite": ("agentkit", {"store": "{folder}/chats.db"}),
    "agentkit+sqlite in memory": ("agentkit", {"store": "{memory}/chats.db"}),
}
"""Contenders that are others with an option."""
