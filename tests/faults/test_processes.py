"""Processes that meet: two starters, a folder that goes away, a stopped worker, a template that never ends, signals."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.events import step_of
from tests.faults.house import House, losses, wait_for

pytestmark = pytest.mark.extra
SLOW = "slow_passes(0.3)"


def gone(pid: int) -> bool:
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_worker_whose_folder_goes_away_ends(house: House, how: str) -> None:
    run = house.start("run", SLOW, train={"max_steps": 200})
    wait_for(lambda: step_of(run) >= 3)
    pid = run.holder_pid()
    assert pid
    if how == "deleted":
        while run.path.exists():  # the worker may write a file meanwhile
            shutil.rmtree(run.path, ignore_errors=True)
    else:
        run.path.rename(run.path.with_name("elsewhere"))
    wait_for(lambda: gone(pid), 60)
    if how == "moved":
        assert house.described("elsewhere")["status"] == "failed"
        assert "moved or deleted" in house.fitune("watch", "elsewhere", "--plain").err
        said = house.fitune("resume", "elsewhere", "--set", "train.save_every=100", "--detach")
        assert said.status == 0, said.all


def test_one_of_two_starters_wins(house: House) -> None:
    recipe = str(house.recipe(run={"name": "run"}))
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: house.fitune("train", recipe), range(2)))
    assert sorted(each.status for each in said) == [0, 2]
    assert any("There is a run named run already" in each.err for each in said)


def test_one_of_three_resumes_wins(house: House) -> None:
    house.train("run", "at_step(4, send(KILL))")
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: house.fitune("resume", "run"), range(3)))
    assert sorted(each.status for each in said) == [0, 2, 2], [each.all for each in said]
    assert all("Traceback" not in each.all for each in said)


def test_a_stopped_worker_is_told_and_goes_on(house: House) -> None:
    run = house.start("run", SLOW, train={"max_steps": 12})
    wait_for(lambda: step_of(run) >= 2)
    pid = run.holder_pid()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    assert house.fitune("stop", "run").status == 0
    assert house.described("run")["status"] == "stopping"
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: run.holder_pid() is None)
    assert house.described("run")["status"] == "stopped"
    assert house.fitune("resume", "run").status == 0
    assert max(losses(run)) == 12


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_training_outlives_its_command(house: House, number: signal.Signals) -> None:
    recipe = str(house.recipe(run={"name": "run"}))
    command = subprocess.Popen(
        [sys.executable, "-P", "-m", "fitune.tui", "train", recipe], env=house.env(SLOW), cwd=house.folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    run = house.run("run")
    wait_for(lambda: run.events.exists() and step_of(run) >= 2)
    os.killpg(command.pid, number)
    command.wait()
    wait_for(lambda: run.holder_pid() is None)
    assert house.described("run")["status"] == "finished"


def test_stop_now_kills_and_says_so(house: House) -> None:
    run = house.start("run", SLOW, train={"max_steps": 200})
    wait_for(lambda: step_of(run) >= 4)
    said = house.fitune("stop", "run", "--now")
    assert "was killed" in said.err
    assert run.holder_pid() is None
    assert "as you asked" in house.fitune("watch", "run", "--plain").err
    assert house.fitune("resume", "--all").err == "No training was killed.\n"


def test_an_endless_chat_template_ends(house: House) -> None:
    folder = house.folder / "model"
    shutil.copytree(house.zygote / "model", folder)
    loop = "{% for n in range(99999) %}"
    (folder / "chat_template.jinja").write_text(loop * 3 + "{% endfor %}" * 3)
    limit = "import fitune.core.worker.chats.time_limit as limit; limit.RENDER_WITHIN_S = 2.0"
    _, said = house.train("run", limit, model={"id": str(folder)})
    assert said.status == 1
    assert "chat template does not come to an end" in said.err


def test_a_limit_of_time_stops_with_a_checkpoint(house: House) -> None:
    run, said = house.train("run", SLOW, train={"max_steps": 200}, run={"max_hours": 3 / 3600})
    assert said.status == 130, said.all
    assert "run.max_hours" in said.err
    assert run.newest_checkpoint() is not None


def test_checkpoints_come_by_time(house: House) -> None:
    _, said = house.train("run", "slow_passes(2.0)", train={"max_steps": 4, "save_every": 100, "save_minutes": 0.1})
    assert said.status == 0, said.all
    assert len([line for line in said.err.splitlines() if "checkpoint written" in line]) >= 2


def test_a_machine_that_was_restarted_goes_on_with_one_command(house: House) -> None:
    for name in ("one", "two"):
        house.train(name, "at_step(4, send(KILL))")
    said = house.fitune("resume", "--all")
    assert sorted(said.out.split()) == ["one", "two"]
    for name in ("one", "two"):
        wait_for(lambda name=name: house.run(name).holder_pid() is None)  # type: ignore[misc]
        assert house.described(name)["status"] == "finished"


@pytest.mark.parametrize("files", [16, 40])
def test_without_file_descriptors_it_is_refused_or_done(house: House, files: int) -> None:
    recipe = str(house.recipe(run={"name": "run"}))
    done = subprocess.run(
        ["bash", "-c", f'ulimit -n {files}; exec "$@"', "-", sys.executable, "-P", "-m", "fitune.tui", "train", recipe],
        env=house.env(), cwd=house.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 1, 2)


def test_a_home_that_can_not_be_written_to_is_a_sentence(house: House) -> None:
    (house.folder / "home").write_text("a file")
    said = house.fitune("train", str(house.recipe(run={"name": "run"})))
    assert said.status == 2
    assert "can't be made" in said.err
    assert "Traceback" not in said.all


def test_a_clock_that_is_set_back_is_told_and_harmless(house: House) -> None:
    shift = "back = time.time; at_step(4, lambda: setattr(time, 'time', lambda: back() - 400 * 86400))"
    run, said = house.train("run", shift)
    assert said.status == 0, said.all
    assert "set back" in said.err
    assert house.described("run")["status"] == "finished"
    assert time.time() - run.lock.stat().st_mtime < 600


def test_a_worker_that_starts_anew_keeps_pid_and_lock(house: House) -> None:
    settings = {"train": {"checkpointing": "off"}}
    run = house.start("run", f"{SLOW}; truly_start_anew(); no_memory(0, steps=range(5, 6))", **settings)
    wait_for(lambda: step_of(run) >= 1)
    pid, seen = run.holder_pid(), set()
    while (now := run.holder_pid()) is not None:
        seen.add(now)
        assert run.current()[0] in ("starting", "running", "finished")
        time.sleep(0.02)
    assert seen == {pid}
    assert house.described("run")["status"] == "finished"
    assert "starts anew" in house.fitune("watch", "run", "--plain").err
    assert max(losses(run)) == 8
