"""`python -m mtlab`, and the command `mtlab`: loads the command line, which takes a moment; Ctrl-C in it is quiet."""

import signal
import sys


def main() -> int:
    """Run the command line; return its exit code. Ctrl-C while it is loaded ends the process as the shell expects."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else a shell has it ignored
    if handled:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mtlab.cli import main as command_line

    if handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
