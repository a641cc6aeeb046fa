"""A home of runs under fire: fitune's own command line, and workers that are forked from the zygote."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fitune.core.runs import Step
from fitune.core.runs.lock import holder_pid
from fitune.core.runs.run import Run
from tests.events import data_of

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0
STEPS = 8
SYSTEMD_RUN = """#!{python}
import json, os, socket, subprocess, sys
options, argv = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
log = next(each.partition("append:")[2] for each in options if "StandardOutput" in each)
names = [each.partition("=")[2] for each in options if each.startswith("--setenv=")]
if "fitune.core.worker" not in argv:
    with open(log, "ab") as output:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    sys.exit()
request = {{"argv": argv[-2:], "log": log, "env": {{name: os.environ[name] for name in names}},
           "inject": os.environ.get("INJECT", "")}}
with socket.socket(socket.AF_UNIX) as zygote:
    zygote.connect({socket!r})
    zygote.sendall(json.dumps(request).encode() + b"\\n")
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


@dataclass(slots=True)
class House:
    """One home, its zygote, and the commands on it."""

    folder: Path
    zygote: Path
    """The folder with the zygote's socket and model."""
    environment: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def fitune(self, *args: str, inject: str = "", patience_s: float = PATIENCE_S) -> Said:
        """Run a command of fitune to its end."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fitune.tui", *args],
            env=self.env(inject), cwd=self.folder, capture_output=True, text=True, timeout=patience_s,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def env(self, inject: str = "") -> dict[str, str]:
        """The environment of a command: the stand-ins for systemd come first in PATH."""
        return {
            **os.environ,
            "FITUNE_HOME": str(self.folder / "home"),
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "PATH": f"{self.zygote / 'bin'}:{os.environ['PATH']}",
            "INJECT": inject,
            **self.environment,
        }

    def recipe(self, **groups: Mapping[str, Any]) -> Path:
        """A recipe of the tiny model on 40 sums, as a file; keyword arguments change its groups."""
        tree: dict[str, dict[str, Any]] = {
            "model": {"id": str(self.zygote / "model"), "quant": "bf16", "max_seq_length": 128},
            "data": {"source": str(self.rows())},
            "lora": {"dropout": 0.1},
            "train": {
                "backend": "trl", "checkpointing": "on", "optimizer": "adamw_torch", "lr": 1e-2, "micro_batch": 2,
                "grad_accum": 2, "max_steps": STEPS, "eval_every": 4, "save_every": 3, "patience": 0, "score": "off",
            },
        }  # fmt: skip
        for group, fields in groups.items():
            tree.setdefault(group, {}).update(fields)
        self.made += 1
        path = self.folder / f"recipe-{self.made}.toml"
        lines = [
            line
            for group, fields in tree.items()
            for line in (f"[{group}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items()))
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def rows(self) -> Path:
        """The rows: 40 sums."""
        path = self.folder / "sums.jsonl"
        if not path.exists():
            rows = [{"question": f"What is {n} plus {n + 1}?", "answer": f"It is {2 * n + 1}."} for n in range(40)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def train(self, name: str, inject: str = "", **groups: Mapping[str, Any]) -> tuple[Run, Said]:
        """Train to the end, as `fitune train` does."""
        recipe = self.recipe(**{**groups, "run": {"name": name, **groups.get("run", {})}})
        said = self.fitune("train", str(recipe), inject=inject)
        return self.run(name), said

    def start(self, name: str, inject: str = "", **groups: Mapping[str, Any]) -> Run:
        """Start a training, and return at once."""
        recipe = self.recipe(**{**groups, "run": {"name": name, **groups.get("run", {})}})
        said = self.fitune("train", str(recipe), "--detach", inject=inject)
        assert said.status == 0, said.all
        return self.run(name)

    def run(self, name: str) -> Run:
        return Run(self.folder / "home" / "runs" / name)

    def described(self, name: str) -> dict[str, Any]:
        """The run in `fitune runs --json`."""
        said = self.fitune("runs", "--json")
        assert said.status == 0, said.all
        return next(each for each in json.loads(said.out) if each["name"] == name)

    def queue_pid(self) -> int | None:
        """The pid of the process that runs the queue: at once, as a command on a busy machine does not answer."""
        return holder_pid(self.folder / "home" / "queue" / "lock")

    def queue(self) -> dict[str, Any]:
        """The answer of `fitune queue list --json`."""
        said = self.fitune("queue", "list", "--json")
        assert said.status == 0, said.all
        return dict(json.loads(said.out))


def losses(run: Run) -> dict[int, float | None]:
    """Loss by step, the newest word on each step."""
    return {each.step: each.loss for each in data_of(run.events, Step)}


def wait_for(true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait for something. Raises AssertionError if it does not come."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def make_tools(folder: Path, socket: Path) -> None:
    """The stand-ins for systemd's tools: a user manager that lingers, and starts units in the zygote."""
    folder.mkdir()
    tools = {
        "systemd-run": SYSTEMD_RUN.format(python=sys.executable, socket=str(socket)),
        "loginctl": "#!/bin/sh\necho yes\n",
        "systemctl": "#!/bin/sh\nexit 0\n",
        "journalctl": "#!/bin/sh\nexit 1\n",
    }
    for name, text in tools.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
