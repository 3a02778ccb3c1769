"""A real PgBouncer in front of the tests' PostgreSQL, where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.postgres import PASSWORD, Server
from tests.helpers.until import PATIENCE

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(target: Server, mode: str, **settings: object) -> Iterator[int]:
    """Run one with this pool_mode until the end of the block; give its port. Whoever connects is `postgres`."""
    if _PROGRAM is None:
        if os.environ.get("CI"):
            raise RuntimeError("pgbouncer isn't installed: `.ci/run` should have done so")
        pytest.skip("pgbouncer isn't installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    lines = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "pool_mode": mode}
    lines |= {"auth_type": "any", "server_login_retry": 0.2, **settings}
    folder = Path(tempfile.mkdtemp(prefix="agentkit-pgbouncer-"))
    try:
        if os.geteuid() == 0:  # it refuses to run as root
            lines["user"] = "nobody"
            shutil.chown(folder, "nobody")
        to = f"host=127.0.0.1 port={target.port} user=postgres password='{PASSWORD}'"
        written = "\n".join(
            ["[databases]", f"* = {to}", "[pgbouncer]", *(f"{k} = {v}" for k, v in lines.items())]
        )
        (folder / "pgbouncer.ini").write_text(written)
        (folder / "pgbouncer.ini").chmod(0o644)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([_PROGRAM, folder / "pgbouncer.ini"], stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("pgbouncer doesn't listen")
