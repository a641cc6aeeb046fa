"""`fitune fetch`, with stand-ins for ssh, rsync and scp that find the other machine in a folder of this one."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs import Run
from tests.core.runs.test_elsewhere import WORKER
from tests.fake_worker import make_run, wait_until
from tests.tui.conftest import Fitune
from tests.tui.payloads import OBEYED, PAYLOADS

COPY = 'eval "source=\\${$(($# - 1))}" "target=\\${$#}"\nexec cp -rp "${source#*:}" "$target"\n'
PATH = "/usr/bin:/bin"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a stand-in for a tool; what it is called with goes into a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{PATH}")

    def made(name: str, script: str) -> None:
        (folder / name).write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/called\n{script}')
        (folder / name).chmod(0o755)

    return made


@pytest.fixture
def box(tmp_path: Path, fitune_home: Path, tool: Callable[[str, str], None]) -> Path:
    """FITUNE_HOME on the other machine, which has two runs, the newest of which is run-b."""
    there = tmp_path / "there"
    quoted = shlex.quote(str(there))
    tool(
        "ssh",
        f'[ "$3" = box ] || {{ printf "ssh: no route\\033[31m\\n" >&2; exit 255; }}\nFITUNE_HOME={quoted} sh -c "$4"\n',
    )
    tool("scp", COPY)
    for at, name in enumerate(("run-a", "run-b")):
        path = make_run(there, name, "ok")
        os.utime(path / "run.json", (at, at))
    return there


def test_the_newest_run_is_copied_and_then_brought_up_to_date(fitune: Fitune, box: Path, fitune_home: Path) -> None:
    status, out, err = fitune("fetch", "box")
    assert (status, out) == (0, f"{fitune_home}/runs/run-b\n")
    assert "run-b from box by scp, as rsync is not on both machines" in err
    copy = Run(fitune_home / "runs" / "run-b")
    assert copy.state().trained
    assert copy.path.stat().st_mode & 0o777 == 0o700
    assert copy.events.stat().st_mode & 0o777 == 0o600
    with (box / "runs" / "run-b" / "worker.log").open("a") as log:
        log.write("more\n")
    assert fitune("fetch", "box:b")[0] == 0
    assert copy.log.read_text() == "more\n"
    assert not any((fitune_home / "fetching").iterdir())


def test_rsync_is_taken_where_both_have_it_and_follows_no_link(
    fitune: Fitune, box: Path, tool: Callable[[str, str], None], fitune_home: Path, tmp_path: Path
) -> None:
    tool("rsync", COPY.replace('${source#*:}"', '${source#*:}."'))
    (box / "runs" / "run-a" / "adapter").symlink_to("/etc")
    (box / "runs" / "run-a" / "stop").touch()
    status, _, err = fitune("fetch", "box:run-a")
    assert status == 0, err
    assert "by rsync" in err
    called = (tmp_path / "called").read_text()
    assert "--no-links --chmod=D700,F600" in called
    assert f"-- box:{box}/runs/run-a/ {fitune_home}/fetching/run-a/" in called
    copy = fitune_home / "runs" / "run-a"
    assert not (copy / "adapter").is_symlink()
    assert not (copy / "stop").exists()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("box:nothing", "No run on box matches 'nothing'. Runs there: run-b, run-a"),
        ("box:run", "2 runs on box match 'run'."),
        ("box:/no/where", "There is no run in /no/where on box."),
        ("nobox", "ssh nobox failed: ssh: no route"),
        ("", "'' is no host."),
        ("box;id:x", "'box;id' is no host."),
        ("-oProxyCommand=id", "unrecognized arguments"),
        ("box:$(touch /tmp/x)", "matches '$(touch /tmp/x)'"),
        ("box:/a'b", "There is no run in /a'b on box."),
    ],
)
def test_what_is_not_there_is_told_with_what_is(fitune: Fitune, box: Path, place: str, said: str) -> None:
    status, out, err = fitune("fetch", place)
    assert (status in (1, 2), out) == (True, "")
    if not place.startswith("-"):
        assert said in err
    assert "failed" not in err or err.endswith(". Try it alone: ssh nobox true\n")
    assert not OBEYED.search(err), ascii(err)
    assert "Traceback" not in err


def test_hostile_names_there_are_passed_over(fitune: Fitune, box: Path) -> None:
    for payload in PAYLOADS:
        if "/" not in payload and payload.strip():
            make_run(box, payload[:80])
    for place in ("box:run-a", "box:nothing", "box:"):
        _, out, err = fitune("fetch", place)
        assert not OBEYED.search(out + err), ascii(out + err)


def test_a_copy_that_fails_is_told_and_leaves_no_half_of_a_run(
    fitune: Fitune, box: Path, tool: Callable[[str, str], None], fitune_home: Path
) -> None:
    tool("scp", 'printf "lost connection\\033[2J\\n" >&2; exit 1\n')
    status, out, err = fitune("fetch", "box")
    assert (status, out) == (1, "")
    assert "scp failed with status 1: lost connection" in err
    assert ". What was copied stays for the next try" in err
    assert not OBEYED.search(err), ascii(err)
    assert not (fitune_home / "runs" / "run-b").exists()


def test_a_place_that_can_not_be_written_is_told(fitune: Fitune, box: Path, fitune_home: Path) -> None:
    fitune_home.mkdir()
    (fitune_home / "fetching").touch()
    status, out, err = fitune("fetch", "box")
    assert (status, out) == (2, "")
    assert "fetching can't be written: File exists. Free that place, or set FITUNE_HOME" in err.replace("\n", " ")


def test_another_run_of_that_name_here_stays(fitune: Fitune, box: Path, fitune_home: Path) -> None:
    mine = make_run(fitune_home, "run-b", "oom", created=5.0)
    before = (mine / "events.jsonl").read_bytes()
    status, _, err = fitune("fetch", "box")
    assert status == 2
    assert "There is another run named run-b here. Rename it" in err
    assert (mine / "events.jsonl").read_bytes() == before


def test_a_run_at_work_there_is_at_work_in_its_copy(fitune: Fitune, box: Path, fitune_home: Path) -> None:
    there = Run(box / "runs" / "run-b")
    command = [sys.executable, "-c", WORKER, str(there.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as worker:
        wait_until(lambda: there.holder_pid() is not None)
        assert "It is still at work there. For what comes, again: fitune fetch box" in fitune("fetch", "box")[2]
        listed = json.loads(fitune("runs", "--json")[1])
        assert [(each["name"], each["status"], each["silent_s"]) for each in listed] == [("run-b", "starting", None)]
        assert fitune("stop", "run-b")[0] == 2
        worker.communicate("end\n")
    fitune("fetch", "box")
    assert json.loads(fitune("runs", "--json")[1])[0]["status"] != "running"


def test_a_copy_that_went_on_here_is_not_overwritten(fitune: Fitune, box: Path, fitune_home: Path) -> None:
    fitune("fetch", "box")
    copy = Run(fitune_home / "runs" / "run-b")
    command = [sys.executable, "-c", WORKER, str(copy.path)]
    subprocess.run(command, input="end\n", text=True, check=True)
    status, _, err = fitune("fetch", "box")
    assert status == 2
    assert "run-b went on here after it was copied" in err


def test_without_ssh_it_says_so(fitune: Fitune, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ssh" else which(name))
    assert fitune("fetch", "box") == (
        2,
        "",
        "ssh is not installed on this machine. Install it: it is part of OpenSSH.\n",
    )
