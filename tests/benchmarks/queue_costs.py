"""What a queue costs, measured: `python -m tests.benchmarks.queue_costs`, on a quiet machine.

The model is in the process and costs little; each message has two calls. The database server runs on this machine too.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from agentkit.durable import Queue, TaskStarted
from tests.helpers.postgres import schema_url, server
from tests.helpers.queue_worker import Worker, open_queue, open_store, plan

MESSAGE = plan("read", "write", say="It is done, and that is all that there is to say about it.")


@contextmanager
def opened(where: str) -> Iterator[Queue]:
    """Open a queue."""
    with open_store(where) as store, open_queue(store) as queue:
        yield queue


def server_seconds() -> float:
    """Add up the CPU time of PostgreSQL's processes; of those that have ended, too."""
    pid = int((server()._data / "postmaster.pid").read_text().split()[0])
    main = psutil.Process(pid)
    times = [main.cpu_times()]
    for each in main.children():
        with suppress(psutil.NoSuchProcess):
            times.append(each.cpu_times())
    ended = times[0].children_user + times[0].children_system
    return float(ended + sum(each.user + each.system for each in times))


def server_counts() -> tuple[int, int]:
    """Return transactions and bytes of WAL so far: of connections that are closed, others tell theirs much later."""
    time.sleep(1.2)  # the statistics come late
    committed = server().execute("SELECT sum(xact_commit)::bigint FROM pg_stat_database")[0][0]
    return committed, server().execute("SELECT pg_current_wal_lsn() - '0/0'")[0][0]


def cost(where: str, count: int = 500) -> None:
    """Measure what a message costs: to send, and to run."""
    with opened(where) as queue:
        with queue.workers(concurrency=15):
            queue.wait(queue.send("warm", MESSAGE))
        began = time.process_time()
        tasks = [queue.send(f"chat{n}", MESSAGE) for n in range(count)]
        print(f"  send: {(time.process_time() - began) / count * 1000:.1f} ms CPU")
    postgres = where.startswith("postgres")
    before = (*server_counts(), server_seconds()) if postgres else (0, 0, 0.0)
    with opened(where) as queue:
        cpu, wall = time.process_time(), time.perf_counter()
        with queue.workers(concurrency=15):
            for task in tasks:
                queue.wait(task)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"  run: {cpu / count * 1000:.1f} ms CPU, {wall / count * 1000:.1f} ms of time")
    if postgres:
        after = (*server_counts(), server_seconds())
        commits, wal, used = (a - b for a, b in zip(after, before, strict=True))
        print(f"  server: {used / count * 1000:.1f} ms CPU, {commits / count:.1f} transactions", end="")
        print(f", {wal / count / 1000:.1f} kB of WAL")


def rate(where: str, workers: int, count: int = 300) -> None:
    """Measure messages a second with so many worker processes."""
    effects = Path(tempfile.mkdtemp()) / "effects"
    with opened(where) as queue:
        crew = [Worker(where, effects, CONCURRENCY="15") for _ in range(workers)]
        for each in crew:
            each.ready()
        tasks = [queue.send(f"{workers}-{n}", MESSAGE) for n in range(count)]
        began = time.perf_counter()
        left = len(queue.list(status=["queued", "running"], limit=1000))
        for task in tasks:
            queue.wait(task)
        print(f"  {workers} workers: {left / (time.perf_counter() - began):.0f} messages a second")
        for each in crew:
            each.kill()


def latency(where: str, count: int = 40) -> None:
    """Measure how long it takes from sending to the first event, in another process's worker."""
    effects = Path(tempfile.mkdtemp()) / "effects"
    firsts, ends = [], []
    with opened(where) as queue, Worker(where, effects):
        for n in range(count):
            began = time.perf_counter()
            for _, event in queue.watch(queue.send(f"late{n}", plan())):
                if isinstance(event, TaskStarted):
                    firsts.append((time.perf_counter() - began) * 1000)
            ends.append((time.perf_counter() - began) * 1000)
            time.sleep(0.1)
    quantiles = statistics.quantiles(firsts, n=20)
    print(
        f"  send to first event: p50 {quantiles[9]:.0f} ms, p95 {quantiles[18]:.0f}; to the end: "
        f"p50 {statistics.median(ends):.0f} ms"
    )


def waiting(where: str, count: int = 15_000) -> None:
    """Measure how long a worker looks for tasks with so many chats waiting, and whether the urgent one is first."""
    with opened(where) as queue:
        began = time.perf_counter()
        for n in range(count):
            queue.send(f"wait{n}", "Hi")
        print(f"  {count} waiting, sent in {time.perf_counter() - began:.0f} s", end="")
        urgent = queue.send("urgent", "Hi", priority=1)
        registered = "INSERT INTO {p}queue_workers (id, owner, updated) VALUES ('measured', ?, 0)"
        queue.engine.run([(registered, (queue.engine.db.owner(),))])
        began = time.perf_counter()
        first = queue.engine.claim(["agentkit.planned"], "measured", 1)
        once = (time.perf_counter() - began) * 1000
        began = time.perf_counter()
        for _ in range(20):
            queue.engine.claim(["agentkit.planned"], "measured", 1)
        each = (time.perf_counter() - began) / 20 * 1000
        print(
            f"; a claim takes {once:.0f} ms, then {each:.0f}; the urgent one first: {first[0].id == urgent}"
        )


def main() -> None:
    """Measure all on both databases."""
    os.environ["EFFECTS"] = os.devnull
    what = sys.argv[1:] or ["cost", "rate", "latency", "waiting"]
    for kind in ("sqlite", "postgres"):
        print(kind)
        for each in what:
            folder = Path(tempfile.mkdtemp())
            where = str(folder / "chats.db") if kind == "sqlite" else schema_url(folder)
            if each == "cost":
                cost(where)
            if each == "rate":
                for workers in (1, 2, 4):
                    rate(where, workers)
            if each == "latency":
                latency(where)
            if each == "waiting":
                waiting(where)


if __name__ == "__main__":
    main()
