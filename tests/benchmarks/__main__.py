"""The benchmark: agentkit beside its peers.

    .venv/bin/python -m tests.benchmarks                 everything; writes RESULTS.md here and README's table
    .venv/bin/python -m tests.benchmarks --quick         everything in small, to see that it works
    .venv/bin/python -m tests.benchmarks turns chat --rounds 7 --contenders floor,agentkit

A part of it prints the report and writes none, unless `--output` says where.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import harness, peers, report
from tests.benchmarks.harness import Outcome, Server
from tests.benchmarks.scenarios import EXTRA, SCENARIOS, Scenario

_RESULTS = Path(__file__).with_name("RESULTS.md")
_README = harness.ROOT / "README.md"
MARKS = ("<!-- made by `python -m tests.benchmarks`: -->", "<!-- until here -->")
"""Between these lines README has the short table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if contenders failed or did different work."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = _arguments()
    args = parser.parse_args(given)
    if unknown := {*args.scenarios} - {each.name for each in SCENARIOS}:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    if unknown := {*(args.contenders or ())} - {
        each for scenario in SCENARIOS for each in scenario.contenders
    }:
        parser.error(f"there is no contender {', '.join(sorted(unknown))}")
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds is at least 1")
    chosen = [each for each in SCENARIOS if not args.scenarios or each.name in args.scenarios]
    figures: dict[str, dict[str, list[Outcome]]] = {}
    with harness.serving() as server:
        for scenario in chosen:
            figures[scenario.name] = _rounds(server, scenario, args)
    text = report.write(chosen, figures, given, quick=args.quick)
    whole = args.peers and not (args.scenarios or args.quick or args.contenders)
    output = args.output or (_RESULTS if whole else None)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    if whole and not args.output:
        short = report.short(chosen, figures)
        readme = report.put_between(MARKS, short, _README.read_text(encoding="utf-8"))
        _README.write_text(readme, encoding="utf-8")
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report.raw(figures), indent=1), encoding="utf-8")
    print(text)
    differences = report.differences(figures)
    failed = any(each.failed for found in figures.values() for tries in found.values() for each in tries)
    for difference in differences:
        print(difference, file=sys.stderr)
    return 1 if differences or failed else 0


def _arguments() -> argparse.ArgumentParser:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help="how often each contender has its turn")
    parser.add_argument("--contenders", type=lambda text: text.split(","), help="only these, with commas")
    parser.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"google-adk and pydantic-ai too, each installed on demand below {peers.cache()}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes and one round: the figures say nothing"
    )
    parser.add_argument("--output", type=Path, help="where the report goes")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build/benchmark.json"),
        help="where the raw figures go (%(default)s)",
    )
    return parser


def _rounds(server: Server, scenario: Scenario, args: argparse.Namespace) -> dict[str, list[Outcome]]:
    contenders = [
        each
        for each in scenario.contenders
        if (args.peers or each not in peers.REQUIREMENTS) and (not args.contenders or each in args.contenders)
    ]
    outcomes: dict[str, list[Outcome]] = {each: [] for each in contenders}
    options = dict(scenario.quick if args.quick else scenario.options)
    for number in range(args.rounds or (1 if args.quick else scenario.rounds)):
        for label in contenders:
            print(f"{scenario.name}: round {number + 1}, {label}", file=sys.stderr, flush=True)
            name, more = EXTRA.get(label, (label, {}))
            if scenario.measure == "start_up":
                outcome = harness.start_up(server, name, **options)
            else:
                outcome = harness.measure(server, name, scenario.measure, options | more)
            outcomes[label].append(outcome)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
