"""What the machine decides: "auto" becomes what will run, each change is told, and nothing is swapped unasked."""

import json
import platform
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fitune.core.errors import UserError
from fitune.core.forecast.resolve import resolve
from fitune.core.forecast.site import card_of
from fitune.core.machine.host import Gpu, Machine
from fitune.core.recipe.load import Recipe
from fitune.core.recipe.rules import find_contradictions
from fitune.core.units import GIB

CARD = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 20 * GIB, 4 * GIB, compute_capability=(8, 9))
SMALL = Gpu(1, "GPU-2", "NVIDIA T4", 16 * GIB, 15 * GIB, GIB, compute_capability=(7, 5))
WITH_UNSLOTH: dict[str, str | None] = {"unsloth": "2026.10.7"}

Make = Callable[..., Recipe]


def machine(*gpus: Gpu, versions: dict[str, str | None] | None = None) -> Machine:
    return Machine(gpus=gpus, gpu_state="ok" if gpus else "none", versions=versions or {"torch": "2.11.0"})


@pytest.mark.parametrize(
    ("model_type", "length", "backend", "refused"),
    [("qwen3", 4097, "auto", True), ("qwen3", 4096, "auto", False), ("qwen3", 4097, "trl", False),
     ("lfm2", 4097, "auto", False)],
)  # fmt: skip
def test_a_model_is_not_stretched_for_longer_rows_than_it_was_made_for(
    recipe: Make, tmp_path: Path, model_type: str, length: int, backend: str, refused: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "max_position_embeddings": 4096}))
    asked = recipe(model={"id": str(tmp_path), "max_seq_length": length}, train={"backend": backend})
    with pytest.raises(UserError, match="made for 4,096 tokens at most") if refused else nullcontext():
        resolve(asked, machine(CARD, versions=WITH_UNSLOTH))


@pytest.mark.parametrize("objective", ["dpo", "orpo", "kto"])
def test_answers_are_compared_with_unsloth_too(recipe: Make, objective: str) -> None:
    resolved = resolve(recipe(train={"objective": objective}), machine(CARD, versions=WITH_UNSLOTH))
    assert (resolved.recipe.train.backend, resolved.unsloth_works) == ("unsloth", True)
    resolved = resolve(recipe(train={"objective": objective, "backend": "trl"}), machine(CARD, versions=WITH_UNSLOTH))
    assert (resolved.recipe.train.backend, resolved.unsloth_works) == ("trl", True)


def test_on_an_nvidia_card_auto_is_unsloth_and_nothing_is_changed(recipe: Make) -> None:
    given = recipe()
    resolved = resolve(given, machine(CARD, versions=WITH_UNSLOTH))
    assert resolved.recipe == given.model_copy(update={"train": given.train.model_copy(update={"backend": "unsloth"})})
    assert resolved.gpu == CARD
    assert resolved.notes == ()
    assert "unsloth supports NVIDIA L4" in resolved.backend_reason


@pytest.mark.parametrize(
    ("gpus", "train", "expected", "notes"),
    [
        ((), {}, {"checkpointing": "on", "optimizer": "adamw_torch"}, 3),
        ((), {"checkpointing": "off", "optimizer": "sgd"}, {"checkpointing": "off", "optimizer": "sgd"}, 1),
        ((), {"offload_layers": "auto"}, {"offload_layers": None}, 4),
        ((), {"optimizer": "paged_lion_8bit"}, {"optimizer": "adamw_torch"}, 3),
        ((), {"checkpoint_skip_layers": 8}, {"checkpoint_skip_layers": None}, 4),
        ((), {"tiled_mlp": True}, {"tiled_mlp": False}, 4),
        ((CARD,), {"offload_layers": 4}, {"checkpointing": "on", "offload_layers": None, "optimizer": "adamw_8bit"}, 2),
    ],
)
def test_what_trl_or_a_cpu_cannot_do_is_changed_and_told(
    recipe: Make, gpus: tuple[Gpu, ...], train: dict[str, Any], expected: dict[str, Any], notes: int
) -> None:
    resolved = resolve(recipe(train=train), machine(*gpus))
    assert resolved.recipe.train.backend == "trl"
    assert {key: getattr(resolved.recipe.train, key) for key in expected} == expected
    assert resolved.recipe.model.quant == ("nf4" if gpus else "bf16")
    assert len(resolved.notes) == notes
    assert all(": " in note and note.endswith(".") for note in resolved.notes)
    assert find_contradictions(resolved.recipe) == []


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("backend", ["auto", "unsloth"])
@pytest.mark.parametrize("model_type", ["gemma3", "qwen3_vl"])
def test_auto_leaves_images_to_trl(recipe: Make, tmp_path: Path, model_type: str, backend: str, image: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    row = {"question": "And?", "answer": "Red."} | ({"image": "a.png"} if image else {})
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 3)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    data = {"source": str(tmp_path / "rows.jsonl")}
    asked = recipe(model={"id": str(tmp_path)}, data=data, train={"backend": backend})
    found = resolve(asked, machine(CARD, versions=WITH_UNSLOTH))
    assert found.recipe.train.backend == ("trl" if image and backend == "auto" else "unsloth")
    assert found.unsloth_works is not image
    assert ("images" in found.backend_reason) is (image and backend == "auto")


@pytest.mark.parametrize("source", ["gone.jsonl", "x" * 400 + "/"])
def test_rows_are_read_anew_when_their_file_changes(recipe: Make, tmp_path: Path, source: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    file = tmp_path / "rows.jsonl"
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    backends = []
    for more in ({}, {"image": "a.png"}):
        file.write_text((json.dumps({"question": "And?", "answer": "Red.", **more}) + "\n") * 3)
        asked = recipe(model={"id": str(tmp_path)}, data={"source": str(file)})
        backends.append(resolve(asked, machine(CARD, versions=WITH_UNSLOTH)).recipe.train.backend)
    assert backends == ["unsloth", "trl"]
    odd = recipe(model={"id": str(tmp_path)}, data={"source": str(tmp_path / source)})
    assert resolve(odd, machine(CARD, versions=WITH_UNSLOTH), need_data=False).recipe.train.backend == "unsloth"


def test_a_data_set_on_the_hub_is_not_fetched_to_choose_the_backend(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    monkeypatch.setattr("fitune.core.data.dataset.rows", lambda *_, **__: pytest.fail("rows were asked for"))
    asked = recipe(model={"id": str(tmp_path)}, data={"source": "someone/photos"})
    assert resolve(asked, machine(CARD, versions=WITH_UNSLOTH), need_data=False).recipe.train.backend == "unsloth"


def test_without_unsloth_the_reason_is_told(recipe: Make) -> None:
    assert resolve(recipe(), machine(CARD)).backend_reason == "unsloth can't be used: it is not installed."


def test_a_backend_that_is_asked_for_and_cannot_work_is_refused(recipe: Make) -> None:
    with pytest.raises(UserError, match=r"The backend unsloth can't be used: there is no NVIDIA card to use\."):
        resolve(recipe(train={"backend": "unsloth"}), machine(versions=WITH_UNSLOTH))


def test_what_auto_leaves_open_is_checked_once_it_is_decided(recipe: Make) -> None:
    given = recipe(model={"quant": "bf16"}, lora={"init": "olora"})
    assert resolve(given, machine(CARD)).recipe.lora.init == "olora"
    with pytest.raises(UserError, match=r'lora\.init: olora is done by the trl backend only\. .* or backend = "trl"'):
        resolve(given, machine(CARD, versions=WITH_UNSLOTH))


def test_loftq_without_a_card_is_refused_before_the_weights_are_read(recipe: Make) -> None:
    with pytest.raises(UserError, match=r"lora\.init: loftq needs an NVIDIA card"):
        resolve(recipe(lora={"init": "loftq"}), machine())


@pytest.mark.parametrize(("wanted", "index"), [(None, 0), ("1", 1), ("GPU-2", 1), ("t4", 1), ("0", 0)])
def test_the_card_is_the_one_asked_for_or_the_emptiest(recipe: Make, wanted: str | None, index: int) -> None:
    resolved = resolve(recipe(run={"gpu": wanted}), machine(CARD, SMALL))
    assert resolved.gpu is not None
    assert resolved.gpu.index == index


def test_a_card_that_is_not_there_is_refused(recipe: Make) -> None:
    with pytest.raises(UserError, match="Card '7' is no card of this machine"):
        resolve(recipe(run={"gpu": "7"}), machine(CARD))


def test_paths_become_absolute_and_hub_ids_stay(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.jsonl").touch()
    resolved = resolve(recipe(model={"id": "model"}, data={"source": "~/rows.jsonl"}), machine())
    assert (resolved.recipe.model.id, resolved.recipe.data.source) == (f"{tmp_path}/model", f"{tmp_path}/rows.jsonl")
    resolved = resolve(recipe(model={"id": "owner/model"}, data={"source": "rows"}), machine())
    assert (resolved.recipe.model.id, resolved.recipe.data.source) == ("owner/model", "rows")


@pytest.mark.parametrize(
    "source", ["./rows", "../rows", "/rows", "~/rows", "~nobody-here/rows", "rows.jsonl", "a/b/c", "rows.csv.gz"]
)
def test_what_can_only_be_a_path_must_exist(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        resolve(recipe(data={"source": source}), machine())
    assert caught.value.message == f"data.source: {source} does not exist."
    assert resolve(recipe(data={"source": source}), machine(), need_data=False).recipe.data.source == source


@pytest.mark.parametrize("source", ["x" * 5000, "x" * 300 + ".jsonl", "nul\x00.jsonl"])
def test_a_name_that_no_disk_takes_is_a_sentence(recipe: Make, source: str) -> None:
    with pytest.raises(UserError, match=r"data\.source: .* (can't be reached: File name too long|does not exist)\."):
        resolve(recipe(data={"source": source}), machine())


def test_a_card_that_does_not_tell_its_size_has_no_budget() -> None:
    card = card_of(CARD)
    assert card is not None
    assert (card.total_bytes, card.free_bytes) == (24 * GIB, 20 * GIB)
    assert card_of(None) is None
    assert card_of(Gpu(0, "GPU-1", "x", None, None, None)) is None


@pytest.mark.parametrize(
    ("release", "grows"), [("6.8.0-60-generic", True), ("5.15.167.4-microsoft-standard-WSL2", False)]
)
def test_inside_windows_a_card_cannot_let_allocations_grow(
    monkeypatch: pytest.MonkeyPatch, release: str, grows: bool
) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    card = card_of(CARD)
    assert card is not None
    assert card.expandable_segments is grows
