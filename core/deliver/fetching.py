"""Copies a run from another machine into this one's folder of runs, with the user's own ssh, and rsync or scp.

Names and messages come from the other side: only a name that a run may have is taken, links are not, and text is left
to the caller to clean.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import orjson

from fitune.core.errors import ExitCode, UserError
from fitune.core.records import from_json
from fitune.core.runs import Run, RunInfo

HOST = re.compile(r"[A-Za-z0-9_][\w.@%-]*", re.ASCII)
PLAIN_PATH = re.compile(r"/[\w./+@%=:,-]*")
"""A path that no shell and no version of rsync or scp reads otherwise."""
FIND = """\
command -v rsync >/dev/null 2>&1 && echo rsync
ls -1td {runs}/run.json 2>/dev/null
true"""
ALL_RUNS = '"${FITUNE_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/fitune}"/runs/*'
LEFT_THERE = ("work", "stop")
"""Of a run's folder: what belongs to a live worker."""


@dataclass(frozen=True, slots=True)
class Found:
    """A run on another machine."""

    host: str
    path: str
    """Its folder there."""
    has_rsync: bool
    """True if rsync can be used between both."""

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


def find(place: str) -> Found:
    """The run that `HOST`, `HOST:RUN` or `HOST:/path/of/a/run` names: without RUN the newest, else by its name or a
    unique part of it. Raises UserError.
    """
    host, _, key = place.partition(":")
    if not HOST.fullmatch(host):
        hint = "For example: gpu-box, you@gpu-box or gpu-box:NAME. A port, a key or an IPv6 address: in ~/.ssh/config."
        raise UserError(f"{host[:100]!r} is no host.", hint)
    from fitune.core.recipe import RUN_NAME  # pydantic, which watching a run does without

    lines = _ask(host, FIND.format(runs=shlex.quote(key.rstrip("/")) if key.startswith("/") else ALL_RUNS)).splitlines()
    folders = [line.removesuffix("/run.json") for line in lines if line.startswith("/") and line.endswith("/run.json")]
    known = [each for each in folders if re.fullmatch(RUN_NAME, PurePosixPath(each).name)]
    path = _chosen(host, known, key)
    if not PLAIN_PATH.fullmatch(path):
        raise UserError(f"The run's folder on {host} has a name that can't be passed on: {path[:200]!r}.", "Rename it.")
    return Found(host, path, has_rsync="rsync" in lines and shutil.which("rsync") is not None)


def _chosen(host: str, paths: Sequence[str], key: str) -> str:
    """The newest path, or the one whose name is or holds the key. Raises UserError."""
    if not paths:
        where = key if key.startswith("/") else "the folder of fitune's runs"
        hint = f"Name a run's folder there, if FITUNE_HOME is not set for ssh: {host}:/path/of/runs/NAME"
        raise UserError(f"There is no run in {where} on {host}.", hint)
    if not key or key.startswith("/"):
        return paths[0]
    names = [PurePosixPath(path).name for path in paths]
    matches = [path for path, name in zip(paths, names, strict=True) if name == key]
    matches = matches or [path for path, name in zip(paths, names, strict=True) if key in name]
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} runs on {host} match {key!r}" if matches else f"No run on {host} matches {key!r}"
    listed = [PurePosixPath(path).name for path in matches] or names
    raise UserError(f"{problem}.", f"Runs there: {', '.join(listed[:8])}")


def fetch(found: Found, base: Path, report: Callable[[str], object]) -> Run:
    """Copy a run into `base`/runs, or bring an earlier copy of it up to date.

    report: gets the lines in which rsync tells how far it is. A first copy appears whole; one that was cut off goes on
    the next time. Raises UserError if another run of that name is here, or if the copy fails or can't be written.
    """
    run = Run(base / "runs" / found.name)
    is_new = not run.path.exists()
    if not is_new:
        _refuse_other(run, found)
    aside = base / "fetching" / found.name
    target = aside if is_new else run.path
    source = f"{found.host}:{found.path}/"
    command = _rsync(source, target) if found.has_rsync else ["scp", "-rpq", "--", f"{source}.", str(target)]
    try:
        for folder in (base, base / "runs", *((aside.parent, aside) if is_new else ())):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(command, report)
        _make_private(target)
        if is_new:
            aside.rename(run.path)
    except OSError as error:
        hint = "Free that place, or set FITUNE_HOME to a folder you can write to."
        raise UserError(f"{error.filename or target} can't be written: {error.strerror}.", hint) from None
    return run


def _rsync(source: str, target: Path) -> list[str]:
    """The command: times are kept, as they are the heartbeat of a run at work; links are not.

    Old checkpoints are removed as they are there; what was added here stays.
    """
    filters = [f"--exclude=/{name}" for name in LEFT_THERE]
    filters += ["--exclude=*.part", "--filter=R /checkpoints/***", "--filter=P *"]
    kinds = ["-rts", "--no-links", "--chmod=D700,F600", "--partial", "--delete", "--info=progress2"]
    return ["rsync", *kinds, *filters, "--", source, f"{target}/"]


def _make_private(folder: Path) -> None:
    """Let nobody else read a folder; links, and what is left of a live worker, are removed."""
    for name in LEFT_THERE:
        part = folder / name
        shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink(missing_ok=True)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            path.unlink()
        else:
            path.chmod(0o700 if path.is_dir() else 0o600)


def _refuse_other(run: Run, found: Found) -> None:
    """Raise UserError if the run of that name here is not a copy of the one there."""
    there = _info(_ask(found.host, f"cat {shlex.quote(found.path)}/run.json"))
    here = run.info()
    if (here.created, here.host) != (there.created, there.host):
        raise UserError(
            f"There is another run named {run.name} here.", "Rename it first, in the list that fitune opens."
        )
    if run.lock_note().inode is not None and not run.is_copy():
        raise UserError(f"{run.name} went on here after it was copied.", "To have both, rename it: fitune, then F2.")


def _info(text: str) -> RunInfo:
    try:
        return from_json(RunInfo, orjson.loads(text))
    except orjson.JSONDecodeError:
        return RunInfo()


def _ask(host: str, script: str) -> str:
    """What a shell script prints on a host. Raises UserError with what ssh says if it fails."""
    _require("ssh")
    command = ["ssh", "-T", "--", host, f"sh -c {shlex.quote(script)}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"ssh {host} failed: {said.rstrip('.')}.", f"Try it alone: ssh {host} true", ExitCode.FAILED)
    return done.stdout.decode(errors="replace")


def _copy(command: list[str], report: Callable[[str], object]) -> None:
    """Run rsync or scp to its end. Raises UserError with what it says if it fails."""
    _require(command[0])
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    line, last = b"", ""
    with process.stdout as output:
        while block := os.read(output.fileno(), 4096):
            *whole, line = re.split(rb"[\r\n]", line + block)
            for each in filter(None, whole):
                last = each.decode(errors="replace").strip()
                report(last)
    said = line.decode(errors="replace").strip() or last
    if process.wait() != 0:
        hint = "What was copied stays for the next try: the same command goes on with it."
        raise UserError(
            f"{command[0]} failed with status {process.returncode}: {said.rstrip('.')}.", hint, ExitCode.FAILED
        )


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        raise UserError(f"{tool} is not installed on this machine.", "Install it: it is part of OpenSSH.")
