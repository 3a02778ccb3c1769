"""A process that writes one file again and again, to be killed: `python -m tests.helpers.files_child ROOT PATH`."""

from __future__ import annotations

import sys

from agentkit_tools.files import files

SIZE = 400_000

if __name__ == "__main__":
    tools = files(sys.argv[1])
    write, edit = tools.get("write_file"), tools.get("edit_file")
    assert write is not None and edit is not None
    write(path=sys.argv[2], content="a" * SIZE + "-")
    print("ready", flush=True)
    while True:
        edit(path=sys.argv[2], old="a-", new="a+")
        write(path=sys.argv[2], content="b" * SIZE + "-")
        write(path=sys.argv[2], content="a" * SIZE + "-")
