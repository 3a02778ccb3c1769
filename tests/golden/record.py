"""Records scenarios anew: `python -m tests.golden.record [NAME ...]`, all of them without names.

`--check` compares instead, as the tests do. To record with another checkout's agentkit, name it first, and have
Python leave out the current folder: `PYTHONPATH=<checkout>:. python -P -m tests.golden.record`.
"""

from __future__ import annotations

import argparse
import sys

import agentkit
from tests.golden import files
from tests.golden.groups import GROUPS
from tests.golden.recorder import scenarios_in


def main() -> int:
    """Record, or compare; return 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of scenarios or groups, or their beginnings")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()

    def wanted(name: str) -> bool:
        return not options.names or name.startswith(tuple(options.names))

    print(f"agentkit of {agentkit.__file__}", file=sys.stderr)
    differ = 0
    for group, module in GROUPS.items():
        known, made = files.read(group), {}
        for name, make in scenarios_in(module):
            if not (wanted(name) or wanted(f"{group}/{name}")):
                if name in known:
                    made[name] = known[name]
                continue
            made[name] = make()
            if changed := files.difference(known.get(name, {}), made[name]):
                differ += 1
                print(f"{group}/{name}: {changed if options.check else 'recorded'}")
        if not options.check:
            files.write(group, made)
    return 1 if differ and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
