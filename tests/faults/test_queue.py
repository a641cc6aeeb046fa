"""A night of the queue: ten trainings, of which two fail, and a kill of everything in between."""

import os
import signal

import pytest

from fitune.core.runs import Step
from tests.events import data_of, step_of
from tests.faults.house import STEPS, House, losses, wait_for

pytestmark = pytest.mark.extra
IN_SEVENTH = "sys = __import__('sys'); sys.argv[1].endswith('night-7') and at_step(3, fail)"
SLOW_FOURTH = "sys.argv[1].endswith('night-4') and slow_passes(0.3)"


def test_ten_recipes_with_two_failures_and_a_kill_of_everything(
    house: House, undisturbed: dict[int, float | None]
) -> None:
    inject = f"{IN_SEVENTH}; {SLOW_FOURTH}"
    lost = house.folder / "lost.jsonl"
    lost.write_bytes(house.rows().read_bytes())
    names = [f"night-{number}" for number in range(1, 11)]
    for name in names:
        groups = {"data": {"source": str(lost)}} if name == "night-3" else {}
        said = house.fitune("queue", "add", str(house.recipe(run={"name": name}, **groups)))
        assert said.status == 0, said.all
    lost.unlink()
    assert house.fitune("queue", "run", inject=inject).status == 0
    fourth = house.run("night-4")
    wait_for(lambda: fourth.newest_checkpoint() is not None and step_of(fourth) >= 4)

    for pid in (house.queue_pid(), fourth.holder_pid()):
        assert pid
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: fourth.holder_pid() is None)
    assert [each["state"] for each in house.queue()["entries"][2:5]] == ["refused", "interrupted", "waiting"]

    assert house.fitune("queue", "run", inject=inject).status == 0
    wait_for(lambda: house.queue_pid() is None)
    told = house.queue()["entries"]
    assert [each["name"] for each in sorted(told, key=lambda each: each["began"] or 0.0)] == names
    ends = {each["name"]: (each["state"], each["said"]) for each in told}
    assert [name for name in names if ends[name][0] == "finished"] == [n for n in names if n[6:] not in ("3", "7")]
    assert ends["night-3"][0] == "refused"
    assert "lost.jsonl does not exist" in ends["night-3"][1]
    assert ends["night-7"][0] == "failed"
    assert "an injected fault" in ends["night-7"][1]
    assert losses(fourth) == undisturbed
    steps = [each.step for each in data_of(fourth.events, Step)]
    assert steps[-1] == STEPS
    assert 3 not in steps[steps.index(4) + 1 :], "it went on from the checkpoint, and not from its start"
    assert all(len(data_of(house.run(name).events, Step)) == STEPS for name in ("night-1", "night-2", "night-10"))
    said = house.fitune("queue", "list")
    assert "night-7: RuntimeError: an injected fault" in said.out
    assert said.err == "All of the queue has ended.\n"


def test_a_reboot_goes_on_with_the_queue_and_a_stopped_queue_stays_stopped(house: House) -> None:
    inject = "slow_passes(0.5)"
    for name in ("first", "second"):
        house.fitune("queue", "add", str(house.recipe(run={"name": name})))
    house.fitune("queue", "run", inject=inject)
    first = house.run("first")
    wait_for(lambda: step_of(first) >= 2)
    runner, worker = house.queue_pid(), first.holder_pid()
    assert runner
    assert worker
    os.kill(runner, signal.SIGTERM)  # as systemd ends a machine's processes
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: first.holder_pid() is None)
    assert house.described("first")["status"] == "stopped"

    said = house.fitune("resume", "--all", inject=inject)
    assert said.status == 0, said.all
    assert said.out == "first\n", "a shutdown stops a training, and its user does not"
    assert "The queue goes on" in said.err
    wait_for(lambda: first.holder_pid() is not None)
    assert house.fitune("queue", "stop").status == 0
    wait_for(lambda: house.queue_pid() is None)
    wait_for(lambda: first.holder_pid() is None)
    assert house.described("first")["status"] == "finished"
    assert [each["state"] for each in house.queue()["entries"]] == ["interrupted", "waiting"]
    assert "The queue" not in house.fitune("resume", "--all").err
    assert not house.run("second").path.exists()

    house.fitune("queue", "run")
    wait_for(lambda: house.queue_pid() is None)
    assert [each["state"] for each in house.queue()["entries"]] == ["finished", "finished"]


def test_a_worker_that_is_killed_again_and_again_holds_nobody_up(house: House) -> None:
    for name in ("doomed", "behind"):
        house.fitune("queue", "add", str(house.recipe(run={"name": name})))
    house.fitune("queue", "run", inject="__import__('sys').argv[1].endswith('doomed') and at_step(2, send(KILL))")
    wait_for(lambda: house.queue_pid() is None)
    assert [each["state"] for each in house.queue()["entries"]] == ["killed", "finished"]
    assert step_of(house.run("doomed")) == 2
