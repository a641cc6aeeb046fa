"""The `fitune` command: data to stdout, talk to stderr, and what a user can repair is a sentence, not a traceback."""

import errno
import io
import os
import sys
from contextlib import suppress

from fitune.tui.cli import dispatch, parser

# Else pydantic looks through all installed packages for plugins: a sixth of what `fitune estimate` takes.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Run the command line and exit with its status."""
    from fitune.core.errors import BadInput, ExitCode, UserError

    # pydantic looks through every installed package for its plugins, which costs a quick command a tenth of its time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in ("stdout", "stderr"):  # closed before the start, as by `>&-`: nobody wants to hear
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", errors="replace"))
    if isinstance(sys.stdin, io.TextIOWrapper):  # what is typed, or comes through a pipe, may not be in our encoding
        sys.stdin.reconfigure(errors="replace")
    try:
        status = dispatch(parser().parse_args())
        sys.stdout.flush()
    except UserError as error:
        from fitune.tui.text import clean, wrapped

        for each in error.problems if isinstance(error, BadInput) else [error]:
            print(wrapped(clean(str(each), keep_newlines=True), sys.stderr), file=sys.stderr)
        status = error.exit_code
    except KeyboardInterrupt:
        status = ExitCode.STOPPED
    except BrokenPipeError:  # `fitune runs | head`: the reader has seen enough
        sys.stderr.close()
        status = ExitCode.DONE
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        status = _no_room(error)
    sys.exit(status)


def _no_room(error: OSError) -> int:
    """Report a full disk and return the exit status; output that was not written by then is dropped."""
    from fitune.core.errors import ExitCode
    from fitune.tui.text import clean

    with suppress(OSError):
        print(clean(f"{error.filename or 'The output'} can't be written: {error.strerror}."), file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries, and complains, once more as it ends
    return ExitCode.FAILED


if __name__ == "__main__":
    main()
