"""Which checkpoint a resume continues from: whatever has happened to the newest, and to the others."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from fitune.core.runs.checkpoints import choose, flaw_of, lost_state, set_aside, write_manifest

Damage = Callable[[Path], None]


def tensors(**named: Any) -> bytes:
    """A safetensors file of fp32 tensors."""
    header, data = {}, b""
    for name, values in named.items():
        raw = numpy.asarray(values, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def make(folder: Path, step: int, manifest: bool = True) -> Path:
    """A checkpoint as the trainer writes it, in small."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(tensors(a=[1.0] * 50, b=[2.0] * 50))
    (path / "adapter_config.json").write_text("{}")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(path / name, "w") as archive:
            archive.writestr("data", bytes(1000))
    if manifest:
        write_manifest(path)
    return path


def cut(name: str, share: float = 0.5) -> Damage:
    def damage(path: Path) -> None:
        file = path / name
        file.write_bytes(file.read_bytes()[: int(len(file.read_bytes()) * share)])

    return damage


def zeroed(name: str) -> Damage:
    def damage(path: Path) -> None:
        (path / name).write_bytes(bytes((path / name).stat().st_size))

    return damage


def removed(name: str) -> Damage:
    return lambda path: (path / name).unlink()


def emptied(path: Path) -> None:
    for each in path.iterdir():
        each.unlink()


def poisoned(path: Path) -> None:
    (path / "adapter_model.safetensors").write_bytes(tensors(a=[1.0], b=[float("nan")]))


def a_file(path: Path) -> None:
    emptied(path)
    path.rmdir()
    path.write_text("?")


WEIGHTS = "adapter_model.safetensors"
DEADLY: list[Damage] = [
    cut(WEIGHTS), cut(WEIGHTS, 0), cut(WEIGHTS, 0.01), zeroed(WEIGHTS), removed(WEIGHTS), poisoned, emptied, a_file,
    removed("trainer_state.json"), cut("trainer_state.json"), cut("trainer_state.json", 0),
    removed("adapter_config.json"),
]  # fmt: skip
LOSSES: list[Damage] = [
    damage(name)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    for damage in (removed, cut, zeroed, lambda name: cut(name, 0))
]


@pytest.mark.parametrize("manifest", [True, False], ids=["with manifest", "of an older fitune"])
@pytest.mark.parametrize("damage", [*DEADLY, *LOSSES])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, damage: Damage, manifest: bool) -> None:
    older, newest = make(tmp_path, 6, manifest), make(tmp_path, 9, manifest)
    damage(newest)
    choice = choose(tmp_path)
    assert (choice.checkpoint, choice.lost) == (older, ())
    assert [path for path, _ in choice.damaged] == [newest]


@pytest.mark.parametrize("damage", LOSSES)
def test_weights_that_have_lost_the_rest_are_used_if_there_is_nothing_else(tmp_path: Path, damage: Damage) -> None:
    only = make(tmp_path, 9)
    damage(only)
    choice = choose(tmp_path)
    assert choice.checkpoint == only
    assert len(choice.lost) == 1


@pytest.mark.parametrize("damage", DEADLY)
def test_nothing_is_chosen_of_nothing_but_damaged_ones(tmp_path: Path, damage: Damage) -> None:
    damage(make(tmp_path, 9))
    choice = choose(tmp_path)
    assert choice.checkpoint is None
    assert len(choice.damaged) == 1


def test_a_single_bit_is_found(tmp_path: Path) -> None:
    path = make(tmp_path, 9)
    weights = bytearray((path / WEIGHTS).read_bytes())
    weights[-3] ^= 1
    (path / WEIGHTS).write_bytes(weights)
    assert flaw_of(path) == f"{WEIGHTS} is not as it was written."


def test_a_number_that_is_no_step_is_not_the_newest(tmp_path: Path) -> None:
    make(tmp_path, 9)
    (tmp_path / "checkpoint-99999999999999999999").mkdir()
    (tmp_path / "checkpoint-10").symlink_to("checkpoint-9")
    choice = choose(tmp_path)
    assert choice.checkpoint == tmp_path / "checkpoint-9"
    assert [path.name for path, _ in choice.damaged] == ["checkpoint-99999999999999999999", "checkpoint-10"]


def test_a_whole_checkpoint_has_no_flaw(tmp_path: Path) -> None:
    assert flaw_of(make(tmp_path, 9)) is None
    assert lost_state(tmp_path / "checkpoint-9") == []
    assert choose(tmp_path / "nowhere").checkpoint is None


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_each_kind_of_number_is_looked_at(tmp_path: Path, dtype: str) -> None:
    path = make(tmp_path, 9, manifest=False)
    nan = {"BF16": b"\xc0\x7f", "F16": b"\x00\x7e", "F32": b"\x00\x00\xc0\x7f"}[dtype]
    one = {"BF16": b"\x80\x3f", "F16": b"\x00\x3c", "F32": b"\x00\x00\x80\x3f"}[dtype]
    for last, flaw in ((one, None), (nan, f"{WEIGHTS} holds NaN or infinity, in w.")):
        data = one * 99 + last
        head = json.dumps({"w": {"dtype": dtype, "shape": [100], "data_offsets": [0, len(data)]}}).encode()
        (path / WEIGHTS).write_bytes(struct.pack("<Q", len(head)) + head + data)
        assert flaw_of(path) == flaw


def test_what_is_set_aside_twice_has_two_names(tmp_path: Path) -> None:
    names = [set_aside(make(tmp_path, 9)).name for _ in range(2)]
    assert names == ["checkpoint-9.damaged", "checkpoint-9.damaged-2"]
    assert choose(tmp_path).damaged == ()
