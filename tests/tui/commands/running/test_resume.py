"""`fitune resume --all`, as after a reboot, and `fitune report`."""

from pathlib import Path

import pytest

from fitune.core.runs.run import KILLED_AS_ASKED, Run
from tests.events import write_raw
from tests.fake_worker import make_run
from tests.tui.conftest import Fitune


@pytest.mark.usefixtures("fakes")
def test_all_that_were_killed_go_on_and_no_other(fitune: Fitune, fitune_home: Path) -> None:
    killed = [Run(make_run(fitune_home, name, "killed")) for name in ("power-cut", "reboot")]
    asked = Run(make_run(fitune_home, "asked", "killed"))
    asked.log.write_text(f"{KILLED_AS_ASKED}\n")
    for told in ("ok", "nan"):
        make_run(fitune_home, told, told)
    merging = Run(make_run(fitune_home, "merging", "ok"))
    write_raw(merging.events, "started", "merge")
    for name, terminated in (("shutdown", True), ("stopped", None)):
        write_raw(Path(make_run(fitune_home, name)) / "events.jsonl", "finished", stopped=True, terminated=terminated)
    odd = make_run(fitune_home, "odd")
    (odd / "events.jsonl").mkdir()
    status, out, err = fitune("resume", "--all")
    assert status == 0, err
    assert sorted(out.split()) == ["power-cut", "reboot", "shutdown"]
    assert [run.lock_note().pid is not None for run in (*killed, asked)] == [True, True, False]


def test_without_a_killed_training_nothing_happens(fitune: Fitune, fitune_home: Path) -> None:
    make_run(fitune_home, "ok", "ok")
    assert fitune("resume", "--all") == (0, "", "No training was killed.\n")


@pytest.mark.parametrize(("arguments", "said"), [((), "Which run?"), (("ok", "--all"), "--all takes neither")])
def test_what_is_unclear_is_refused(fitune: Fitune, fitune_home: Path, arguments: tuple[str, ...], said: str) -> None:
    make_run(fitune_home, "ok", "ok")
    status, _, err = fitune("resume", *arguments)
    assert status == 2
    assert said in err


def test_a_report_is_one_private_file(
    fitune: Fitune, fitune_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(fitune_home, "run-a", "nan")
    monkeypatch.chdir(tmp_path)
    status, out, _ = fitune("report")
    path = Path(out.strip())
    assert (status, path) == (0, tmp_path / "run-a-report.txt")
    assert "run-a: failed" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "run-a: failed" in fitune("report", "run-a", "--out", "-")[1]
    assert fitune("report", "--out", str(tmp_path / "no" / "where"))[0] == 2
