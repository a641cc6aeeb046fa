"""A report on a run, for a bug report: one text without the words of the data, and without secrets."""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from fitune.core.diagnose import redact
from fitune.core.errors import UserError
from fitune.core.files import open_file
from fitune.core.recipe.load import to_toml
from fitune.core.records import to_json
from fitune.core.runs import Event, Run, Sample, Step, Tail
from fitune.core.runs.event_log import Unknown
from fitune.core.runs.findings import findings
from fitune.core.runs.post_mortem import cause_of_death

EVENTS_SHOWN, LOG_LINES, LOG_BYTES = 60, 150, 1 << 16
LEAST_CHARACTERS = 8
"""A shorter value of a variable is no secret: it would be found in any text."""
_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_SHAPES = re.compile(
    r"\bAKIA[0-9A-Z]{16}\b|\bgh[oprsu]_\w{20,}|\bxox[abprs]-[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|(?<=[?&]token=)[\w.-]+"
)
"""Keys of AWS, GitHub and Slack, private keys, and a name with its password in an address."""


def report(run: Run, environment: Mapping[str, str] = os.environ) -> str:
    """The report as a text. Raises UserError if a secret is left in it all the same."""
    events = list(Tail(run.events).catch_up())
    state = run.state()
    status = run.status(state)
    parts = {
        "run": f"{run.name}: {status}",
        "cause": (cause_of_death(run) or "not known") if status == "killed" else "",
        "findings": "\n".join(found.text for found in findings(state)),
        "machine": _machine(run),
        "recipe": _recipe(run),
        "events": "\n".join(_event_lines(events)),
        "worker.log": _log_tail(run.log),
    }
    text = "\n".join(f"== {title}\n{part.rstrip()}\n" for title, part in parts.items() if part)
    secrets = _secret_values(environment)
    text = without_secrets(text, secrets)
    if leaked := [secret for secret in secrets if secret in text] or _SHAPES.findall(text):
        raise UserError(f"The report would hold {len(leaked)} secrets, so it was not written.")
    return text


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without these values, without what looks like a key, and with ~ for the user's home folder."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    text = _SHAPES.sub("[secret]", redact(text))
    home = str(Path.home())
    return text if home == "/" else text.replace(home, "~")


def _secret_values(environment: Mapping[str, str]) -> list[str]:
    """The values of variables that hold secrets by their names, and the stored token of the Hub; the longest first."""
    values = {value for name, value in environment.items() if _NAMES.search(name)}
    for folder in (environment.get("HF_HOME"), str(Path.home() / ".cache" / "huggingface")):
        if folder and (Path(folder) / "token").is_file():
            values.add((Path(folder) / "token").read_text(errors="replace").strip())
    return sorted((value for value in values if len(value) >= LEAST_CHARACTERS), key=len, reverse=True)


def _machine(run: Run) -> str:
    try:
        info = run.info()
    except UserError as error:
        return str(error)
    cards = [f"{card.name}, {card.total_bytes} bytes, {card.free_bytes} free" for card in info.cards] or ["no card"]
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items() if version)
    return "\n".join([platform.platform(), info.cpu or "", *cards, versions, info.backend_reason, *info.notes])


def _recipe(run: Run) -> str:
    try:
        return to_toml(run.recipe())
    except UserError as error:
        return str(error)


def _event_lines(events: list[Event]) -> list[str]:
    """The newest events; steps only where they are among the last, and nothing of the answers to held-out rows."""
    kept = [event for event in events if not isinstance(event.data, Sample | Step)][-EVENTS_SHOWN:]
    steps = [event for event in events if isinstance(event.data, Step)][-EVENTS_SHOWN // 3 :]
    lines = []
    for event in sorted([*kept, *steps], key=lambda event: event.seq):
        data = {} if isinstance(event.data, Unknown) else to_json(event.data)
        if event.type in ("warning", "recovered"):  # quoted rows
            data["message"] = re.sub(r"“[^”]*”", "“...”", str(data.get("message", "")))
        lines.append(f"{event.seq} {event.t:.1f} {event.job} {event.type} {orjson.dumps(data).decode()}")
    return lines


def _log_tail(path: Path) -> str:
    try:
        with open(open_file(path), "rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return "\n".join("".join(c if c.isprintable() else " " for c in line)[:400] for line in lines[-LOG_LINES:])
