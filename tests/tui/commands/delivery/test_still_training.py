"""What needs an adapter, of a run that trains still: it comes at the end, and a resume would be refused."""

from pathlib import Path

import pytest

from fitune.core.runs import Run
from tests.fake_worker import make_run
from tests.tui.conftest import Fitune


@pytest.mark.parametrize(
    "command", ["chat {} --prompt x", "merge {}", "export {} --gguf q8_0", "push {} --repo me/x", "score {}",
                "handoff {} --to vllm"],
)  # fmt: skip
def test_the_watch_is_named_not_a_resume(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run = make_run(fitune_home)
    monkeypatch.setattr(Run, "trains", lambda _: True)
    status, out, err = fitune(*command.format(run.name).split())
    assert (status, out) == (2, "")
    assert f"{run.name} is still training; its adapter comes at the end." in err
    assert f"fitune watch {run.name}" in err
