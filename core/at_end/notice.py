"""Tells that something has ended: runs the user's command, and sends a message to the user's web address.

The address may hold a secret, so only the name of a variable or file that holds it is kept. The command gets the
message as a mail on its standard input, for `sendmail ADDRESS`, and in parts as variables.
"""

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from fitune.core.diagnose import redact
from fitune.core.errors import UserError
from fitune.core.files import read_file, write_atomically
from fitune.core.records import from_json
from fitune.core.runs import Run

COMMAND_WITHIN_S, SEND_WITHIN_S = 60.0, 20.0
PAUSES_S = (0.0, 5.0, 30.0)
"""Before each attempt to send a message."""
SECRET_ADDRESS = re.compile(r"https?://[^\s/'\"]*@|https?://[^\s'\"]*[A-Za-z0-9_-]{20,}")
"""A web address with a password, or with what looks like a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnEnd:
    """What is done at the end."""

    command: str | None = None
    """A command line for the shell."""
    webhook: str | None = None
    """The name of a variable, or the path of a file, that holds the web address a message is sent to."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The message that a run, or the queue, has ended."""

    name: str
    """The name of the run, or "the queue"."""
    end: str
    """The end in a word: finished, stopped, failed, killed or refused; done for the queue."""
    said: str
    """The end as a sentence."""
    folder: Path
    """The folder of the run, or of the queue."""

    @property
    def subject(self) -> str:
        """It in a line."""
        return _printable(f"fitune: {self.name} {self.end}")

    @property
    def mail(self) -> str:
        """It as a mail, without who gets it."""
        head = f"Subject: {self.subject}\nContent-Type: text/plain; charset=utf-8\n\n"
        return f"{head}{_printable(self.said)}\n\n{_printable(str(self.folder))} on {platform.node()}\n"


def checked(command: str | None, webhook: str | None) -> OnEnd | None:
    """What the user asks for; None if that is nothing.

    Raises UserError for a secret in the command, and for a webhook that is neither a set variable nor a file.
    """
    if command and (redact(command) != command or SECRET_ADDRESS.search(command)):
        hint = "Put it into a file that only you can read, and let the command read that; for an address: --webhook."
        raise UserError("--on-end holds what looks like a secret, and is kept in a file.", hint)
    if webhook is None:
        return OnEnd(command=command) if command else None
    if "://" in webhook:
        hint = "Put it into a variable or a file, and name that: --webhook HOOK."
        raise UserError("--webhook is an address, which may hold a secret.", hint)
    kept = webhook if webhook in os.environ else str(Path(webhook).expanduser().absolute())
    _address(kept)
    return OnEnd(command=command, webhook=kept)


def keep(run: Run, on_end: OnEnd) -> None:
    """Keep what is done at the end of a run. Raises OSError, and UserError if its run.json can't be read."""
    path = _file(run)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(path, orjson.dumps(on_end, option=orjson.OPT_INDENT_2))


def kept(run: Run) -> OnEnd | None:
    """What is done at the end of a run; None if that is nothing. Raises UserError as `keep`."""
    try:
        return from_json(OnEnd, orjson.loads(read_file(_file(run))))
    except (OSError, orjson.JSONDecodeError):
        return None


def _file(run: Run) -> Path:
    """The file for a run, beside the folder of all runs: a run's own folder may come from someone else, and no command
    is taken from there. Named by the time at which the run was made, so that another name changes nothing."""
    return run.path.parents[1] / "on_end" / f"{run.info().created or 0.0:.6f}.json"


def tell(on_end: OnEnd, notice: Notice) -> None:
    """Run the command and send the message; what fails is printed, for a log."""
    for problem in (*_run(on_end.command, notice), *_send(on_end.webhook, notice)):
        print(f"At the end of {notice.name}: {problem}", flush=True)


def _run(command: str | None, notice: Notice) -> list[str]:
    """Run the command; what went wrong."""
    if not command:
        return []
    facts = {
        "FITUNE_RUN": notice.name,
        "FITUNE_STATUS": notice.end,
        "FITUNE_MESSAGE": notice.said,
        "FITUNE_FOLDER": str(notice.folder),
    }
    environment = os.environ | {name: _printable(value) for name, value in facts.items()}
    try:
        done = subprocess.run(
            ["sh", "-c", command], input=notice.mail.encode(errors="replace"), env=environment, timeout=COMMAND_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        return [f"the command of --on-end took more than {COMMAND_WITHIN_S:.0f} s and was ended."]
    return [f"the command of --on-end ended with status {done.returncode}."] if done.returncode else []


def _send(webhook: str | None, notice: Notice) -> list[str]:
    """Send the message; what went wrong. An address is never printed."""
    if not webhook:
        return []
    import httpx  # a tenth of a second, which only the end of a run has

    text = f"{notice.subject}: {_printable(notice.said)}"
    message = {"text": text, "content": text, "run": notice.name, "status": notice.end}
    problem = ""
    for pause_s in PAUSES_S:
        time.sleep(pause_s)
        try:
            answer = httpx.post(_address(webhook), json=message, timeout=SEND_WITHIN_S)
        except UserError as error:
            return [str(error)]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = f"the message could not be sent ({type(error).__name__})."
        else:
            if answer.is_success:
                return []
            problem = f"the message was refused, with status {answer.status_code}."
    return [problem]


def _address(webhook: str) -> str:
    """The address that a variable or file holds. Raises UserError."""
    try:
        found = os.environ.get(webhook) or read_file(Path(webhook)).decode()
    except (OSError, ValueError):
        raise UserError(f"--webhook {webhook}: there is neither such a variable nor such a file.") from None
    if not found.strip().startswith(("https://", "http://")):
        raise UserError(f"--webhook {webhook}: what it holds does not begin with https://.")
    return found.strip()


def _printable(text: str) -> str:
    """A text in one line, without characters that a terminal or a mail would obey."""
    return "".join(char if char.isprintable() else " " for char in text)
