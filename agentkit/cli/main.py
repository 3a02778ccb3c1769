"""The way in. It imports nothing but `sys` on its own, so that Ctrl-C is answered from the first moment on."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        from agentkit.cli.commands import run_line

        code = run_line(argv)
    except KeyboardInterrupt:  # while something is imported
        code = 130
    if argv is None:
        from signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal

        if getsignal(SIGINT) is default_int_handler:
            # The process only ends now: another Ctrl-C ends it at once, without a word of what was being closed.
            signal(SIGINT, SIG_DFL)
    if code == 130 and sys.stderr is not None:
        print("Interrupted.", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
