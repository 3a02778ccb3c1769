"""Reading a fetched page: the parent's end of the program in `_web.extract`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from agentkit.drivers import threads
from agentkit.errors import ToolError, how_to_install
from agentkit_tools._web import extract
from agentkit_tools._web.fetch import Page

_INHERITED = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that the child gets of the environment: no key is among it."""


def find_packages() -> str:
    """Find the folder that turbohtml is in.

    Raises:
        ToolError: It isn't installed.
    """
    spec = importlib.util.find_spec("turbohtml")
    if spec is None or spec.origin is None:
        raise ToolError(f"Web pages need the package turbohtml: {how_to_install('tools')}.")
    return str(Path(spec.origin).parent.parent)


async def read_page(page: Page, packages: str, *, offset: int, max_chars: int) -> extract.Reply:
    """Make text of a page, in a process that ends with this, however this ends.

    Raises:
        ToolError: It can't be read.
    """
    request: extract.Request = {
        "packages": packages,
        "kind": page.kind,
        "charset": page.charset,
        "url": page.url,
        "offset": offset,
        "max_chars": max_chars,
    }
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", extract.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        # Its own: Ctrl-C ends the fetching, and that ends it.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    data = json.dumps(request).encode() + b"\n" + page.body
    limit = 12 * max_chars + 10_000  # a character is at most two escapes of JSON
    try:
        output = await threads.begin(lambda: _exchange(process, data, limit), "agentkit-web-reader")
        reply: extract.Reply = json.loads(output)
    except (OSError, ValueError):
        raise ToolError("The page is made in such a way that it can't be read.") from None
    finally:
        process.kill()
    return reply


def _exchange(process: subprocess.Popen[bytes], data: bytes, limit: int) -> bytes:
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(data)
        process.stdin.close()
        return process.stdout.read(limit)
