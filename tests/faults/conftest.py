"""The zygote of all fault tests, and a home for each."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.house import ROOT, House, losses, make_tools, wait_for


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a zygote that has imported everything: its socket, model and stand-ins."""
    folder = tmp_path_factory.mktemp("zygote")
    socket = folder / "socket"
    make_tools(folder / "bin", socket)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.faults.zygote", str(socket), str(folder)],
            env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
    wait_for(lambda: socket.exists() or process.poll() is not None, 600)
    assert process.poll() is None, (folder / "log").read_text()[-2000:]
    yield folder
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def house(zygote: Path, tmp_path: Path) -> Iterator[House]:
    """A home for one test; workers that are left are killed."""
    made = House(tmp_path, zygote)
    yield made
    if pid := made.queue_pid():
        os.kill(pid, signal.SIGKILL)
    runs = tmp_path / "home" / "runs"
    for path in runs.iterdir() if runs.is_dir() else ():
        made.run(path.name).kill()


@pytest.fixture(scope="session")
def undisturbed(zygote: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float | None]:
    """The losses of a training that nothing disturbs."""
    home = House(tmp_path_factory.mktemp("undisturbed"), zygote)
    run, said = home.train("calm")
    assert said.status == 0, said.all + run.log.read_text()[-2000:]
    return losses(run)
