"""The proof of a merged model: a sound one passes, a damaged one fails with the reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fitune.core.deliver.proof import ProofLimits
from fitune.core.deliver.uploads import UploadKind
from fitune.core.errors import UserError
from fitune.core.runs.run import Run
from tests.core.worker.merging.test_merge import Q_PROJ, adapt, weights

pytestmark = pytest.mark.train
Damage = Callable[[Path, Path], None]
"""What is done to a merged folder, given the folder of the base."""


class Merged(NamedTuple):
    run: Run
    base: Path
    plan: Any


@pytest.fixture
def merged(make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Merged:
    """A run with an adapter that changed much, and its merged model; neither is proven yet."""
    from fitune.core.worker.merging import merge
    from fitune.core.worker.merging.lora_delta import open_adapter, plan_merge
    from fitune.core.worker.merging.tensors import write

    monkeypatch.setattr("fitune.core.worker.merging.compare_answers.WRITTEN_TOKENS", 16)
    monkeypatch.setattr("fitune.core.worker.merging.tensors.BLOCK_WEIGHTS", 1000)
    run = make_run()
    adapt(run, tiny_model)
    plan = plan_merge(open_adapter(run.adapter), tiny_model, False)
    run.merged.mkdir()
    write(run.merged / "model.safetensors", plan.layout, merge.merged_blocks(plan, plan.layout, "cpu"))
    merge.copy_side_files(run, tiny_model, run.merged, plan, False)
    return Merged(run, tiny_model, plan)


def prove(merged: Merged) -> Any:
    from fitune.core.worker.merging import proof as merged_proof
    from fitune.core.worker.models import ModelFiles

    return merged_proof.prove(merged.run, merged.plan, ModelFiles(merged.base, "tiny", None), merged.run.merged)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a folder's weights."""
    from safetensors.torch import save_file

    held = weights(folder)
    change(held)
    save_file(held, folder / "model.safetensors", {"format": "pt"})


def edit(path: Path, **fields: Any) -> None:
    """Change a JSON file; None removes a key."""
    told = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


def test_a_sound_merge_passes_every_check(merged: Merged) -> None:
    proof = prove(merged)
    assert [check.check for check in proof.checks if check.passed] == [
        "tensors", "changed by the adapter", "left as they were", "tokenizer", "chat template",
        "marks that end an answer", "loads in transformers", "its answers", "likeliest token",
    ]  # fmt: skip
    assert not proof.failed
    numbers = proof.to_json()
    assert numbers["kl_mean"] < numbers["drift_nats"] / 1000
    assert (numbers["prompts"], numbers["prompts_are"], numbers["dtype"]) == (4, "held-out rows", "float32")


def test_what_rounding_alone_does_to_the_answers_fails_no_merge(
    merged: Merged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small model that learnt short answers can lose one likeliest token in ten to it."""
    monkeypatch.setattr("fitune.core.worker.merging.proof.LIMITS", ProofLimits(kl=0, drift_share=0, top1=1))
    numbers = prove(merged).to_json()
    assert numbers["passed"]
    assert numbers["kl_mean"] > 0
    edit(merged.run.merged / "config.json", rms_norm_eps=0.1)
    assert [check.check for check in prove(merged).failed] == ["its answers", "likeliest token"]


def unmerge_one(folder: Path, base: Path) -> None:
    rewrite(folder, lambda held: held.update({Q_PROJ: weights(base)[Q_PROJ].to(held[Q_PROJ].dtype)}))


def other_tokenizer(folder: Path, base: Path) -> None:
    told = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = told["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("damage", "check", "got"),
    [
        (unmerge_one, "changed by the adapter", f"13, but 1 not, such as {Q_PROJ}; 13 differ from the base"),
        (lambda folder, _: rewrite(folder, lambda held: held[Q_PROJ].mul_(1.1)), "changed by the adapter",
         "13, but 1 not"),
        (other_tokenizer, "tokenizer", "another"),
        (lambda folder, _: (folder / "tokenizer.json").unlink(), "tokenizer", "can't be loaded"),
        (lambda folder, _: (folder / "chat_template.jinja").write_text("{{ messages }}"), "chat template", "another"),
        (lambda folder, _: edit(folder / "generation_config.json", eos_token_id=[0]), "marks that end an answer",
         "without <|im_end|>"),
        (lambda folder, _: edit(folder / "generation_config.json", eos_token_id=[2, 40]), "marks that end an answer",
         "with "),
        (lambda folder, _: rewrite(folder, lambda held: held["model.norm.weight"].mul_(2)), "left as they were",
         "6, but 1 not, such as model.norm.weight"),
        (lambda folder, _: rewrite(folder, lambda held: held.pop("model.norm.weight")), "tensors",
         "20, but 1 wrong, such as model.norm.weight"),
        (lambda folder, _: (folder / "model.safetensors").write_bytes(b"\x08" + 70 * b"\0"), "files",
         "is not a whole safetensors file"),
        (lambda folder, _: edit(folder / "config.json", rms_norm_eps=10.0), "its answers", ""),
    ],
)  # fmt: skip
def test_a_damaged_merge_fails_with_the_reason(merged: Merged, damage: Damage, check: str, got: str) -> None:
    damage(merged.run.merged, merged.base)
    failed = prove(merged).failed
    assert failed[0].check == check
    assert got in failed[0].got


def test_the_card_shows_the_table(merged: Merged) -> None:
    from fitune.core.deliver import proof
    from fitune.core.worker.hub.model_card import model_card

    assert "Compared" not in model_card(merged.run, "ada/it", "merged")
    table = proof.Proof()
    table.add("marks that end an answer", "<|im_end|>", "the same", True)
    table.add("its answers", "alike", "not checked: too large", None)
    proof.accept(table, merged.run.merged, merged.run.merged, "")
    lines = model_card(merged.run, "ada/it", "merged").splitlines()
    assert r"| marks that end an answer | `<\|im_end\|>` | the same | yes |" in lines
    assert "| its answers | alike | not checked: too large | not checked |" in lines


@pytest.mark.parametrize("what", ["adapter", "merged"])
def test_what_the_card_tells_to_type_loads_the_model(
    merged: Merged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: UploadKind
) -> None:
    from fitune.core.worker.hub.model_card import model_card

    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "it").symlink_to(merged.run.path / what)  # as if it were the repository
    (tmp_path / "tiny").symlink_to(merged.base)
    monkeypatch.chdir(tmp_path)
    card, made = model_card(merged.run, "ada/it", what), dict[str, Any]()
    exec(card.partition("```python\n")[2].partition("```")[0], made)
    assert type(made["model"]).__name__ == ("PeftModelForCausalLM" if what == "adapter" else "LlamaForCausalLM")
    assert made["tokenizer"].chat_template


def test_an_adapter_that_changes_nothing_fails(merged: Merged) -> None:
    from fitune.core.worker.merging.lora_delta import open_adapter, plan_merge

    file = merged.run.adapter / "adapter_model.safetensors"
    rewrite_adapter = weights(merged.run.adapter)
    from safetensors.torch import save_file

    save_file({name: tensor * 1e-9 for name, tensor in rewrite_adapter.items()}, file, {"format": "pt"})
    rewrite(
        merged.run.merged, lambda held: held.update({k: v.to(held[k].dtype) for k, v in weights(merged.base).items()})
    )
    plan = plan_merge(open_adapter(merged.run.adapter), merged.base, False)
    failed = prove(merged._replace(plan=plan)).failed
    assert failed[0].check == "changed by the adapter"
    assert failed[0].got == "14; 0 differ from the base"


@pytest.mark.parametrize(
    ("expected", "got", "ends"),
    [
        ([5] * 79 + [2], [6] * 96, None),  # another way, which may be longer
        ([5] * 79 + [2], [6] * 90 + [2], True),
        ([5] * 79 + [2], [5] * 96, False),  # the same way, past its end
        ([5] * 9 + [2], [6] * 96, False),
    ],
)
def test_an_answer_that_goes_another_way_has_time_to_end(
    expected: list[int], got: list[int], ends: bool | None
) -> None:
    import torch

    from fitune.core.deliver.proof import Proof
    from fitune.core.worker.merging.compare_answers import Answers, compare

    proof = Proof()
    one, other = (Answers([torch.zeros(1, 8)], [ids], [ids[-1] == 2]) for ids in (expected, got))
    compare(proof, one, other, 0.0, ProofLimits(kl=0.01, drift_share=0, top1=0.95))
    assert [check.passed for check in proof.checks if check.check == "ends by itself"] == [ends]


def test_what_failed_is_kept_under_a_name_that_says_so(merged: Merged) -> None:
    from fitune.core.deliver import proof

    table = proof.Proof()
    table.add("chat template", "the one of the training", "another", False)
    older = merged.run.path / "older"
    shutil.copytree(merged.run.merged, older)
    with pytest.raises(
        UserError, match=r"failed its proof. chat template: expected the one of the training; got another"
    ):
        proof.accept(table, merged.run.merged, older, "Merge once more.")
    assert older.is_dir()
    kept = merged.run.path / "older.failed"
    assert json.loads((kept / "proof.json").read_text())["passed"] is False
    assert merged.run.adapter.is_dir()


def test_a_model_too_large_for_this_machine_is_proven_by_its_files_alone(
    merged: Merged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.worker.merging.proof.choose_device", lambda *_: None)
    proof = prove(merged)
    assert not proof.failed
    assert proof.checks[-1].passed is None
    assert "not checked" in proof.checks[-1].got


def test_without_its_data_a_run_is_proven_on_built_in_questions(merged: Merged) -> None:
    Path(merged.run.recipe().data.source).unlink()
    numbers = prove(merged).to_json()
    assert numbers["passed"]
    assert (
        numbers["prompts_are"] == "built-in questions, since the data can't be read"
    )  # proof.json is uploaded: no path


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ((9e9, 9e9), ("cuda", "float32")),
        ((5e9, 9e9), ("cuda", "bfloat16")),
        ((3e9, 9e9), ("cpu", "float32")),
        ((3e9, 3e9), None),
    ],
)
def test_the_card_comes_first_and_full_precision_before_half(
    free: tuple[float, float], expected: tuple[str, str] | None
) -> None:
    from fitune.core.worker.device import Device
    from fitune.core.worker.merging.proof import choose_device

    places = [Device("cuda", "a card", int(free[0])), Device("cpu", "cpu", int(free[1]))]
    found = choose_device(places, weights=10**9)
    assert (found and (found[0].device, str(found[1]).removeprefix("torch."))) == expected
