"""The `fitune` command: data to stdout, talk to stderr, and what a user can repair is a sentence, not a traceback."""

import io
import os
import sys

from tui.cli import dispatch, parser

# Else pydantic looks through all installed packages for plugins: a sixth of what `fitune estimate` takes.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def main() -> None:
    """Run the command line and exit with its status: 0 done, 1 failed, 2 bad input, 130 stopped."""
    from core.errors import UserError

    if isinstance(sys.stdin, io.TextIOWrapper):  # what is typed, or comes through a pipe, may not be in our encoding
        sys.stdin.reconfigure(errors="replace")
    try:
        status = dispatch(parser().parse_args())
        sys.stdout.flush()
    except UserError as error:
        from tui.text import clean

        print(clean(str(error), keep_newlines=True), file=sys.stderr)
        status = error.exit_code
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # `fitune runs | head`: the reader has seen enough
        sys.stderr.close()
        status = 0
    sys.exit(status)


if __name__ == "__main__":
    main()
