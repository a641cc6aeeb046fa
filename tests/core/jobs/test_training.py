"""Starting a run: two never meet, a card is one's own, and what was resolved is written down."""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.forecast.resolve import Resolved
from fitune.core.jobs import starting, training
from fitune.core.machine import host
from fitune.core.machine.host import Gpu, Machine
from fitune.core.recipe.load import Recipe
from fitune.core.runs import GpuInfo, spawn
from fitune.core.runs.run import Run
from fitune.core.tokens import cache
from fitune.core.units import GIB
from tests.core.memory.shape_configs import CONFIGS
from tests.core.tokens.token_rows import prepared
from tests.events import step_of
from tests.fake_worker import wait_until

CARD = {"uuid": "GPU-1", "name": "NVIDIA L4"}
FORESEE = training.foresee
Start = Callable[..., Run]
pytestmark = pytest.mark.usefixtures("minute_of_steps")


# --- one at a time -------------------------------------------------------------------------------------------------


def test_of_two_starts_at_once_one_wins(run: Run) -> None:
    said: list[str] = []

    def start() -> None:
        try:
            said.append(jobs.start(run, "train"))
        except UserError as error:
            said.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = f"run-a is running already ({run.held_by()}). Watch it: fitune watch run-a"
    assert sorted(said) == [refused, "setsid"]
    assert re.fullmatch(r"pid \d+( on \S+)?( since \d\d:\d\d)?", run.held_by()), "check 40"


def test_a_card_that_another_run_holds_is_refused_with_its_name_unless_shared(make: Start) -> None:
    first, second = make("first", gpu=CARD), make("second", gpu=CARD)
    jobs.start(first, "train")
    with pytest.raises(UserError) as caught:
        jobs.start(second, "train")
    assert str(caught.value) == (
        "NVIDIA L4 is held by the run first. Watch it (fitune watch first), stop it (fitune stop first), "
        "or add --share-gpu."
    )
    assert second.holder_pid() is None
    assert jobs.start(second, "train", share_gpu=True) == "setsid"
    assert second.holder_pid() is not None


@pytest.mark.parametrize("other", [None, {"uuid": "GPU-2", "name": "NVIDIA L4"}])
def test_a_run_on_another_card_or_none_is_no_obstacle(make: Start, other: dict[str, str] | None) -> None:
    jobs.start(make("first", gpu=other), "train")
    assert jobs.start(make("second", gpu=CARD), "train") == "setsid"


@pytest.mark.parametrize(("gpu", "place"), [(None, "this processor"), (CARD, "NVIDIA L4")])
def test_who_trains_on_the_same_place_already_is_named(make: Start, gpu: dict[str, str] | None, place: str) -> None:
    first = make("first", gpu=gpu)
    base, wanted = first.path.parent.parent, [CARD["uuid"]] if gpu else []
    assert jobs.trainings_beside(wanted, base) == ""
    jobs.start(first, "train")
    said = f"first trains on {place}, too: each then goes at half its pace or less."
    assert jobs.trainings_beside(wanted, base) == said
    assert jobs.trainings_beside(["GPU-2"], base) == ""
    assert jobs.trainings_beside([] if gpu else [CARD["uuid"]], base) == "", "another place"
    first.kill()
    wait_until(lambda: first.holder_pid() is None)
    assert jobs.trainings_beside(wanted, base) == ""


def test_a_dead_run_holds_no_card(make: Start) -> None:
    first = make("first", gpu=CARD)
    jobs.start(first, "train")
    first.kill()
    wait_until(lambda: first.holder_pid() is None)
    assert jobs.start(make("second", gpu=CARD), "train") == "setsid"


def test_an_old_wish_to_stop_does_not_stop_the_new_worker(run: Run) -> None:
    run.request_stop()
    jobs.start(run, "train")
    wait_until(lambda: step_of(run) > 2)
    assert run.current()[0] == "running"


def test_a_folder_that_cannot_be_written_to_is_named(run: Run) -> None:
    (run.path.parent / ".start").mkdir()
    with pytest.raises(UserError, match=f"{run.path} can't be written to: Is a directory"):
        jobs.start(run, "train")


# --- a whole beginning ---------------------------------------------------------------------------------------------


@pytest.fixture
def here(fitune_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with one card, and a budget that fits."""
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB, GIB, compute_capability=(8, 9))
    found = Machine(gpus=(card,), gpu_state="ok", versions={"unsloth": "2026.10.7"}, python_version="3.12.1")
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)
    monkeypatch.setattr(training, "foresee", lambda *_: None)
    yield found
    for run in runs.all_runs(fitune_home):
        run.kill()


def test_a_beginning_is_recorded_as_it_was_resolved(here: Machine, recipe: Callable[..., Recipe]) -> None:
    begun = jobs.begin(recipe(run={"name": "mine"}), preset="p")
    info = begun.run.info()
    assert (begun.how, begun.run.name) == ("setsid", "mine")
    assert begun.run.recipe().train.backend == "unsloth"
    assert info.gpu == GpuInfo(
        uuid="GPU-1", name="NVIDIA L4", total_bytes=24 * GIB, free_bytes=23 * GIB, compute_capability=(8, 9)
    )
    assert info.versions == {"python": "3.12.1", "unsloth": "2026.10.7"}
    assert info.preset == "p"
    assert begun.run.current()[0] in ("starting", "running")


def test_a_second_training_on_a_shared_card_is_told_what_that_means(
    here: Machine, recipe: Callable[..., Recipe]
) -> None:
    assert not any("too:" in note for note in jobs.begin(recipe(run={"name": "mine"})).notes)
    notes = jobs.begin(recipe(run={"name": "second"}), share_gpu=True).notes
    assert "WARN  mine trains on NVIDIA L4, too: each then goes at half its pace or less." in notes


def test_a_beginning_counts_rows_as_they_were_measured_before(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = prepared([(60, [(50, 60)])] * 40)
    known = recipe(model={"id": "unsloth/Llama-3.1-8B-Instruct"})
    monkeypatch.setattr(training, "foresee", FORESEE)
    monkeypatch.setattr(cache, "lookup", lambda asked, base: rows if base == fitune_home else None)
    begun = jobs.begin(known)
    assert begun.forecast is not None
    assert begun.forecast.rows == rows
    assert begun.forecast.work is not None
    workload = begun.run.info().workload
    assert workload
    assert workload["longest"] == begun.forecast.work.longest == 60
    begun.run.kill()
    monkeypatch.setattr(cache, "lookup", lambda *_: None)
    assert jobs.begin(known, share_gpu=True).run.info().workload is None


def test_only_unsloth_reads_gpt_oss_in_4_bits(
    here: Machine, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "foresee", FORESEE)
    model = {"id": "unsloth/gpt-oss-120b-unsloth-bnb-4bit"}
    asked = recipe(model=model, train={"backend": "trl", "checkpointing": "on"})
    with pytest.raises(UserError, match="only Unsloth reads"):
        jobs.begin(asked)


def test_a_beginning_that_is_refused_leaves_nothing(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe]
) -> None:
    jobs.begin(recipe(run={"name": "first"}))
    with pytest.raises(UserError, match="is held by the run first"):
        jobs.begin(recipe(run={"name": "second"}))
    assert [run.name for run in runs.all_runs(fitune_home)] == ["first"]


def test_a_missing_training_stack_is_said_before_all_else(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed() -> None:
        raise UserError("The training stack is not installed.")

    monkeypatch.setattr(training, "require_training_stack", not_installed)
    with pytest.raises(UserError, match="training stack"):
        jobs.begin(recipe(data={"source": "nowhere.jsonl"}))
    assert not fitune_home.exists()


def test_a_tracker_that_is_not_installed_is_told_before_the_start(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="the package wandb is not installed"):
        jobs.begin(recipe(train={"report_to": "wandb"}))
    assert not fitune_home.exists()
    assert jobs.begin(recipe()).run.name


def test_a_recipe_that_trains_no_layer_is_refused_before_the_start(
    fitune_home: Path, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIGS["Llama-3.1-8B"]))
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}')
    wanted = recipe(
        model={"id": str(tmp_path / "model")},
        data={"source": str(tmp_path / "rows.jsonl")},
        lora={"target_modules": ["wq"]},
    )
    with pytest.raises(UserError, match="choose nothing in model"):
        jobs.begin(wanted)
    assert runs.all_runs(fitune_home) == []


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("Llama-3.1-8B", ["self_attn.q_proj"]),  # the end of a path, as peft takes it
        ("Qwen3-30B-A3B", ["q_proj", "gate_proj"]),
        ("Qwen3-30B-A3B", ["gate_proj", "up_proj"]),  # of experts
    ],
)
def test_modules_that_unsloth_can_train_are_not_refused(
    recipe: Callable[..., Recipe], tmp_path: Path, name: str, chosen: list[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]))
    wanted = recipe(model={"id": str(tmp_path)}, lora={"target_modules": chosen}, train={"backend": "unsloth"})
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB, GIB, compute_capability=(8, 9))
    assert training.foresee(Resolved(wanted, (card,), 1, "", (), True), Machine(), tmp_path) is not None


def test_a_start_without_a_budget_says_so(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    begun = jobs.begin(recipe())
    begun.run.kill()
    assert begun.forecast is None
    assert any("Memory was not checked" in note and "fitune estimate" in note for note in begun.notes)


def test_rows_that_are_not_packed_as_the_recipe_asks_are_told_before_the_start(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    asked = recipe(
        model={"id": "Qwen/Qwen3.5-9B", "max_seq_length": 2048}, data={"packing": True}, train={"backend": "unsloth"}
    )
    gpu = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB, GIB, compute_capability=(8, 9))
    here = Resolved(asked, (gpu,), 1, "", (), unsloth_works=True)
    resolved = training.with_decisions(here, FORESEE(here, Machine(), tmp_path, prepared([(60, [(50, 60)])] * 4000)))
    assert [note for note in resolved.notes if "rows are not packed" in note]
    assert resolved.recipe.train.rate < 1e-3, "the rate is one for the rows of an unpacked step"


def test_a_run_in_a_home_of_its_own_says_how_it_is_found(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    away = jobs.begin(recipe(run={"home": str(tmp_path / "away")}))
    away.run.kill()
    assert away.notes[-1].endswith(f"with FITUNE_HOME={tmp_path / 'away'}, or by its path.")
    assert not any("FITUNE_HOME" in note for note in jobs.begin(recipe(run={"home": str(fitune_home)})).notes)


def test_a_worker_that_dies_at_its_beginning_leaves_its_log(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit('out of luck')"])
    with pytest.raises(UserError, match="out of luck"):
        jobs.begin(recipe(run={"name": "mine"}))
    assert (fitune_home / "runs" / "mine" / "worker.log").read_text() == "out of luck\n"


def test_a_budget_that_does_not_fit_is_refused_unless_it_is_wanted_anyway(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "foresee", FORESEE)
    large: dict[str, Any] = {"model": {"id": "unsloth/Llama-3.1-8B-Instruct", "max_seq_length": 32768},
                             "train": {"micro_batch": 8, "grad_accum": 1}}  # fmt: skip
    with pytest.raises(UserError) as caught:
        jobs.begin(recipe(**large))
    assert re.fullmatch(
        r"This needs about \d+\.\d GiB, and NVIDIA L4 has 23\.0 GiB free\. Try --set train\.micro_batch=4 --set "
        r"train\.grad_accum=2 or (--set [a-z_.]+=\w+ ?)+ or .*\. "
        r"Let `fitune fit` search a plan, or start it anyway with --yes\.",
        str(caught.value),
    )
    assert runs.all_runs(fitune_home) == []
    budget = jobs.begin(recipe(**large), anyway=True).run.info().budget
    assert budget
    assert budget.verdict == "over"
    full = replace(here.gpus[0], free_bytes=round(5.29 * GIB * 0.95))
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: replace(here, gpus=(full,)))
    with pytest.raises(UserError, match=r"Unsloth would not load this: .* finds no room on NVIDIA L4\."):
        jobs.begin(recipe(model={"id": "unsloth/Llama-3.1-8B-Instruct"}, train={"offload_layers": "auto"}))


def test_without_a_card_ram_decides_as_the_wizard_does(
    here: Machine, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = replace(here, gpus=(), gpu_state="none", ram_available_bytes=2 * GIB)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: poor)
    monkeypatch.setattr(training, "foresee", FORESEE)
    asked = recipe(model={"id": "HuggingFaceTB/SmolLM2-1.7B-Instruct"})
    with pytest.raises(UserError, match=r"2\.0 GiB free\. All settings together don't save that much: a smaller model"):
        jobs.begin(asked)
    info = jobs.begin(asked, anyway=True).run.info()
    assert info.gpu is None
    assert info.budget
    assert (info.budget.verdict, info.budget.free_bytes) == ("over", 2 * GIB)


def test_a_run_that_keeps_more_in_host_ram_than_is_free_is_told(
    here: Machine, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: replace(here, ram_available_bytes=4 * GIB))
    monkeypatch.setattr(training, "foresee", FORESEE)
    asked = recipe(model={"id": "unsloth/Llama-3.1-8B-Instruct"}, train={"offload_layers": 20})
    sentence = "For its host RAM 4.4 GiB should be free, and 4.0 GiB are."
    assert jobs.begin(asked).notes[-1] == sentence, "the margin is short, so it may do"
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: replace(here, ram_available_bytes=3 * GIB))
    with pytest.raises(UserError, match=r"4\.4 GiB should be free, and 3\.0 GiB are"):
        jobs.begin(asked, share_gpu=True)


def test_the_fastest_plan_is_named_and_taken_where_it_was_asked_for(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "foresee", FORESEE)
    short_rows = prepared([(200, [(100, 200)])] * 5000)
    asked = recipe(model={"id": "unsloth/Llama-3.1-8B-Instruct", "quant": "nf4"})
    named = jobs.begin(asked, rows=short_rows)
    assert named.plan is not None
    assert named.plan.proposal is not None
    assert named.plan.proposal.set["train.micro_batch"] == 8
    assert named.run.recipe().train.micro_batch == 2
    taken = jobs.begin(asked, rows=short_rows, fastest=True, share_gpu=True)
    train = taken.run.recipe().train
    assert (train.micro_batch, train.grad_accum) == (8, 1)
    assert taken.forecast is not None
    assert (kept := taken.run.info().budget) is not None
    assert kept.total_bytes == taken.forecast.budget.total_bytes
    assert jobs.begin(asked, share_gpu=True).plan is None, "of rows that are not known nothing is said"
