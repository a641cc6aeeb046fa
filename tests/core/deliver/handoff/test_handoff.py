"""What is handed off: each target has the recipe in its own words, tells what it lacks, quotes what others wrote."""

import ast
import errno
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel

from fitune.core.deliver import handoff
from fitune.core.deliver.archive import fetch_command, pack
from fitune.core.deliver.handoff.quoting import quoted
from fitune.core.deliver.handoff.spec import BUNDLED, TrainingSpec, from_recipe, from_run
from fitune.core.errors import UserError
from fitune.core.recipe.fields import Deliver, Lora, Train
from fitune.core.recipe.load import parse
from fitune.core.runs.run import Run

HOSTILE = 'it\'s; $(touch owned) `x` """ \\ {0} \u202e\x1b]0;x'
SHIPPED = "unsloth/Llama-3.2-1B-Instruct"
"""A model whose shape ships with fitune: nothing asks the Hub."""
ROWS = {
    "messages": [{"question": f"{n}?", "answer": f"{n}!"} for n in range(40)],
    "prompt": [{"prompt": f"{n}?", "completion": f"{n}!"} for n in range(40)],
    "text": [{"text": f"line {n}"} for n in range(40)],
}


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., TrainingSpec]:
    """Makes a job of a recipe; keyword arguments name its groups, `rows` the kind of its rows."""

    def make(name: str = "my-run", rows: str = "messages", **groups: dict[str, Any]) -> TrainingSpec:
        source = tmp_path / f"{rows}.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in ROWS[rows]))
        tree: dict[str, dict[str, Any]] = {"model": {"id": SHIPPED}, "data": {"source": str(source)}}
        for group, fields in groups.items():
            tree.setdefault(group, {}).update(fields)
        return from_recipe(parse(tree, "recipe"), Path(f"{name}.toml"))

    return make


@pytest.fixture
def make_trained(fitune_home: Path) -> Callable[..., Run]:
    """Makes a finished run with a small adapter folder."""

    def make(name: str = "run-a", told: tuple[dict[str, Any], ...] = (), **groups: dict[str, Any]) -> Run:
        tree: dict[str, dict[str, Any]] = {"model": {"id": "owner/model"}, "data": {"source": "rows.jsonl"}}
        for group, fields in groups.items():
            tree.setdefault(group, {}).update(fields)
        recipe = parse(tree, "test").model_dump(mode="json")
        path = fitune_home / "runs" / name
        (path / "adapter").mkdir(parents=True)
        (path / "run.json").write_text(json.dumps({"recipe": recipe, "versions": {"trl": "9.9.9", "torch": "8.8+cu1"}}))
        loaded = {"name": "load", "revision": "abc123"}
        events: tuple[dict[str, Any], ...] = ({"type": "started"}, {"type": "phase", "data": loaded}, *told)
        lines = ({"v": 1, "seq": n, "t": 1.0, "job": "train", "data": {}, **event} for n, event in enumerate(events, 1))
        (path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
        (path / "adapter" / "chat_template.jinja").write_text("{{ messages }}")
        return Run(path)

    return make


def main_text(target: str, *jobs: TrainingSpec) -> str:
    return next(iter(handoff.files_for(target, jobs).values()))


def every_call(source: str) -> dict[str, dict[str, str]]:
    """Of each call in Python source, by the name that is called, its named arguments as source text."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {ast.unparse(call.func): {str(k.arg): ast.unparse(k.value) for k in call.keywords} for call in calls}


# --- the script ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["trl", "unsloth"])
@pytest.mark.parametrize("quant", ["nf4", "int8", "bf16"])
@pytest.mark.parametrize("several_cards", [False, True])
def test_every_script_is_whole_and_uses_all_that_it_imports(
    make_job: Callable[..., TrainingSpec], tmp_path: Path, backend: str, quant: str, several_cards: bool
) -> None:
    job = make_job(train={"backend": backend, "checkpointing": "on"}, model={"quant": quant})
    path = tmp_path / "run.py"
    path.write_text(handoff.files_for("accelerate" if several_cards else "script", [job])["run.py"])
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,W", str(path)],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
    uses_unsloth = backend == "unsloth" and not several_cards
    assert ("from unsloth" in path.read_text()) == uses_unsloth
    assert ("BitsAndBytesConfig" in path.read_text()) == (quant != "bf16" and not uses_unsloth)


def test_the_script_says_the_recipe_in_the_words_of_its_libraries(make_job: Callable[..., TrainingSpec]) -> None:
    job = make_job(
        train={"backend": "trl", "checkpointing": "off", "lr": 1e-5, "optimizer": "sgd", "epochs": 2.5, "seed": 7},
        lora={"r": 8, "alpha": 12.5, "dropout": 0.1, "target_modules": ["q_proj"], "layers": [3], "dora": True},
        model={"max_seq_length": 96, "revision": "v1"},
        data={"packing": True, "loss_on": "all"},
    )
    text = main_text("script", job)
    calls = every_call(text)
    assert "targets = find_targets(base, ('q_proj',), (3,))" in text
    assert calls["LoraConfig"] == {
        "r": "8", "lora_alpha": "12.5", "lora_dropout": "0.1", "bias": "'none'", "target_modules": "names",
        "target_parameters": "list(targets.parameters)", "use_rslora": "False", "use_dora": "True",
        "init_lora_weights": "True", "task_type": "'CAUSAL_LM'",
    }  # fmt: skip
    expected = {"learning_rate": "1e-05", "optim": "'sgd'", "num_train_epochs": "2.5", "packing": "PACKING"}
    assert expected.items() <= calls["SFTConfig"].items()
    for line in ("LENGTH = 96", "SEED = 7", "PACKING = True", "LOSS_ON = 'all'", f"{SHIPPED!r}, 'v1'"):
        assert line in text
    assert "gradient_checkpointing_enable" not in text


@pytest.mark.parametrize("backend", ["trl", "unsloth"])
def test_on_a_card_without_bf16_the_script_trains_in_fp32_as_the_worker_does(
    make_job: Callable[..., TrainingSpec], backend: str
) -> None:
    text = handoff.files_for("script", [make_job(train={"backend": backend, "checkpointing": "on"})])["run.py"]
    made, _, rest = text.partition("if DTYPE == torch.float16:  #")
    assert made.rstrip().endswith(")")  # of trainer = SFTTrainer(...)
    assert rest.index("weight.data.float()") < rest.index("trainer.train()")


def test_rows_lie_end_to_end_with_unsloth_as_in_the_worker(make_job: Callable[..., TrainingSpec]) -> None:
    files = handoff.files_for("script", [make_job(train={"backend": "unsloth"})])
    text = files["run.py"]
    assert text.index("install()  #") < text.index("FastLanguageModel.from_pretrained")
    assert "data._unsloth_truncated_to = LENGTH" in text
    assert text.index("allow_cudnn(train_set)") < text.index("trainer.train()")
    compile(files["varlen_attention.py"], "varlen_attention.py", "exec")
    trl = handoff.files_for("script", [make_job(train={"backend": "trl", "checkpointing": "on"})])
    assert "varlen_attention.py" not in trl
    assert "_unsloth" not in trl["run.py"]


@pytest.mark.parametrize(("tokens", "split"), [(None, (32, 1)), (8192, (4, 8)), (7000, (2, 16)), (100, (1, 32))])
def test_a_split_by_tokens_becomes_one_by_so_few_rows_that_they_fit(
    make_job: Callable[..., TrainingSpec], tokens: int | None, split: tuple[int, int]
) -> None:
    train = {"backend": "unsloth", "micro_batch": 32, "grad_accum": 1, "micro_tokens": tokens}
    job = make_job(train=train, model={"max_seq_length": 2048})
    rows, passes = split
    assert f"MICRO_BATCH, GRAD_ACCUM = {rows}, {passes}\n" in main_text("script", job)
    axolotl = main_text("axolotl", job)
    assert f"micro_batch_size: {rows}\n" in axolotl
    assert f"gradient_accumulation_steps: {passes}\n" in axolotl


def test_unsloth_gets_its_own_arguments(make_job: Callable[..., TrainingSpec]) -> None:
    train = {"backend": "unsloth", "offload_layers": 6, "checkpoint_skip_layers": 3, "tiled_mlp": True}
    job = make_job(train=train, model={"quant": "bf16"})
    calls = every_call(main_text("script", job))
    loading = {"load_in_4bit": "False", "load_in_8bit": "False", "offload_layers": "6", "model_name": "FOLDER",
               "unsloth_tiled_mlp": "True"}  # fmt: skip
    assert loading.items() <= calls["FastLanguageModel.from_pretrained"].items()
    assert {"repo_id": "MODEL", "revision": "REVISION"}.items() <= calls["snapshot_download"].items()
    assert "if PACKING and not trainer.args.packing:" in main_text("script", job)
    adapting = {
        "use_gradient_checkpointing": "'unsloth'",
        "checkpoint_skip_layers": "3",
        "target_modules": "names",
    }
    assert adapting.items() <= calls["FastLanguageModel.get_peft_model"].items()


def test_a_run_hands_off_the_commit_and_the_versions_it_had(make_trained: Callable[..., Run]) -> None:
    text = main_text("script", from_run(make_trained(train={"backend": "trl", "checkpointing": "on"})))
    assert "MODEL, REVISION = 'owner/model', 'abc123'" in text
    assert '"trl==9.9.9"' in text
    assert '"torch==8.8"' in text


def test_without_the_training_stack_the_script_names_the_pinned_one(
    make_job: Callable[..., TrainingSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    monkeypatch.setattr("fitune.core.deliver.handoff.spec.requirements", lambda: ["trl==7.7; extra == 'train'"])
    assert '"trl==7.7"' in main_text("script", make_job())


def test_the_script_names_its_packages_where_uv_reads_them(make_job: Callable[..., TrainingSpec]) -> None:
    import tomllib

    text = main_text("script", make_job(train={"report_to": "wandb", "optimizer": "adamw_8bit"}))
    block = text.split("# /// script\n")[1].split("# ///\n")[0]
    needed = tomllib.loads("".join(line[2:] + "\n" for line in block.splitlines()))["dependencies"]
    names = {each.partition("==")[0] for each in needed}
    assert {"torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "unsloth", "wandb"} <= names


@pytest.mark.parametrize(
    ("told", "packs"), [((), False), ((True,), True), ((False,), False), ((True, "warned"), False)]
)
def test_a_run_that_decided_on_packing_hands_that_off(
    make_trained: Callable[..., Run], told: tuple[Any, ...], packs: bool
) -> None:
    events: list[dict[str, Any]] = [{"type": "phase", "data": {"name": "prepare", "packed": told[0]}}] if told else []
    events += [{"type": "warning", "data": {"kind": "packing"}}] if "warned" in told else []
    text = main_text("script", from_run(make_trained(told=tuple(events))))
    assert f"PACKING = {packs} " in text


def test_a_model_that_was_read_from_the_package_is_told(make_trained: Callable[..., Run]) -> None:
    run = make_trained(told=({"type": "warning", "data": {"kind": "bundled"}},))
    assert BUNDLED in main_text("script", from_run(run))


def test_a_recipe_whose_rows_fitune_would_not_pack_hands_that_off(make_job: Callable[..., TrainingSpec]) -> None:
    text = main_text("script", make_job(model={"id": "Qwen/Qwen3.5-9B"}, data={"packing": True}))
    assert "PACKING = False " in text


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"train": {"backend": "auto"}}, "the Unsloth backend"),
        ({"run": {"vram_limit_gib": 6.0}}, "run.vram_limit_gib"),
        ({"run": {"gpu": "0"}}, "run.gpu"),
        ({"run": {"max_hours": 3.0}}, "run.max_hours"),
        ({"run": {"stop_at": "06:00"}}, "run.stop_at"),
        ({"train": {"save_minutes": 10.0}}, "train.save_minutes"),
        ({"deliver": {"merge": True}}, "[deliver]"),
        ({"train": {"backend": "trl", "checkpointing": "on"}, "data": {"packing": True}}, "fitune first tries"),
    ],
)
@pytest.mark.parametrize("target", ["script", "slurm", "skypilot"])
def test_what_a_script_can_not_carry_is_told(
    make_job: Callable[..., TrainingSpec], target: str, groups: dict[str, dict[str, Any]], told: str
) -> None:
    lines = main_text(target, make_job(**groups)).splitlines()
    assert any(line.startswith("# Not carried over") and told in line for line in lines)


def test_no_script_says_that_it_lacks_what_it_has(make_job: Callable[..., TrainingSpec]) -> None:
    job = make_job(train={"backend": "trl", "checkpointing": "on"}, data={"packing": False, "eval_fraction": 0})
    for target in ("script", "slurm", "skypilot", "accelerate"):
        assert "Not carried over" not in main_text(target, job)


# --- hostile text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", handoff.TRAINING)
def test_what_others_wrote_stays_a_word_in_every_target(
    make_job: Callable[..., TrainingSpec], tmp_path: Path, target: str
) -> None:
    job = make_job(
        name=HOSTILE.replace("/", ""),
        model={"id": HOSTILE},
        lora={"target_modules": [HOSTILE]},
        train={"backend": "trl", "checkpointing": "on"},
    )
    for name, text in handoff.files_for(target, [job]).items():
        path = tmp_path / name
        path.write_text(text)
        assert "\x1b" not in text
        assert "\u202e" not in text
        if name == "run.py":
            values = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
            assert HOSTILE in values
        elif name.endswith(".yaml"):
            tree = yaml.safe_load(text)
            assert target != "axolotl" or (tree["base_model"], tree["lora_target_modules"]) == (HOSTILE, [HOSTILE])
        elif name.endswith(".sbatch"):
            subprocess.run(["bash", "-n", str(path)], check=True)
            assert "touch" not in "".join(line for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("target", handoff.TRAINING)
def test_a_start_that_moves_the_base_is_not_left_to_others(make_job: Callable[..., TrainingSpec], target: str) -> None:
    job = make_job(lora={"init": "olora"}, model={"quant": "bf16"}, train={"backend": "trl", "checkpointing": "on"})
    with pytest.raises(UserError, match="olora begins with an adapter that is not empty"):
        handoff.files_for(target, [job])


@pytest.mark.parametrize("target", handoff.TRAINING)
def test_an_optimizer_that_keeps_other_weights_than_it_learns_with_is_not_left_to_others(
    make_job: Callable[..., TrainingSpec], target: str
) -> None:
    with pytest.raises(UserError, match="schedule_free_adamw keeps other weights"):
        handoff.files_for(target, [make_job(train={"optimizer": "schedule_free_adamw"})])


def test_a_word_for_a_shell_is_one_word() -> None:
    word = "it's; $(touch owned) `x` \"\\ &"
    assert subprocess.run(["sh", "-c", f"printf %s {quoted(word)}"], capture_output=True, text=True).stdout == word
    with pytest.raises(UserError, match="can't be printed"):
        quoted("a\nb")


# --- Axolotl -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "reading"),
    [
        ("messages", {"type": "chat_template", "roles_to_train": ["assistant"], "train_on_eos": "turn"}),
        (
            "prompt",
            {
                "type": {
                    "field_instruction": "prompt",
                    "field_output": "completion",
                    "format": "{instruction}",
                    "no_input_format": "{instruction}",
                }
            },
        ),
        ("text", {"type": "completion", "field": "text"}),
    ],
)
def test_axolotl_reads_each_kind_of_rows(
    make_job: Callable[..., TrainingSpec], rows: str, reading: dict[str, Any]
) -> None:
    tree = yaml.safe_load(main_text("axolotl", make_job(rows=rows)))
    assert tree["datasets"] == [{"path": "train.jsonl", "ds_type": "json", **reading}]
    assert tree["test_datasets"] == [{"path": "eval.jsonl", "ds_type": "json", "split": "train", **reading}]


@pytest.mark.parametrize(("alpha", "rounded"), [(0.3, 1), (12.4, 12), (16.0, 16)])
def test_axolotl_takes_a_whole_alpha_but_never_none(
    make_job: Callable[..., TrainingSpec], alpha: float, rounded: int
) -> None:
    text = main_text("axolotl", make_job(lora={"alpha": alpha}))
    assert yaml.safe_load(text)["lora_alpha"] == rounded
    assert ("it is rounded" in text) == (alpha != rounded)


def test_a_model_of_nobodys_home_is_no_folder(make_job: Callable[..., TrainingSpec]) -> None:
    assert "MODEL, REVISION = '~nobody-here/m', None" in main_text("script", make_job(model={"id": "~nobody-here/m"}))


def test_axolotl_looks_at_no_held_out_rows_where_there_are_none(make_job: Callable[..., TrainingSpec]) -> None:
    tree = yaml.safe_load(main_text("axolotl", make_job(data={"eval_fraction": 0})))
    assert not {"test_datasets", "eval_steps", "eval_on_start"} & set(tree)


def test_a_small_learning_rate_stays_a_number_in_yaml(make_job: Callable[..., TrainingSpec]) -> None:
    tree = yaml.safe_load(main_text("axolotl", make_job(train={"lr": 1e-5, "weight_decay": 1e-7})))
    assert (tree["learning_rate"], tree["weight_decay"]) == (1e-5, 1e-7)


def test_each_setting_reaches_axolotl_or_is_told(make_job: Callable[..., TrainingSpec]) -> None:
    """Whatever is changed in these groups changes the file."""
    changes: dict[str, dict[str, Any]] = {
        "lora": {
            "r": 8, "alpha": 3.5, "dropout": 0.2, "target_modules": ("q_proj",), "bias": "all", "rslora": True,
            "dora": True, "init": "gaussian", "layers": (1,), "rank_pattern": {"q_proj": 4},
            "modules_to_save": ("lm_head",), "lr_ratio": 16.0,
        },
        "train": {
            "micro_batch": 3, "grad_accum": 7, "micro_tokens": 4096, "epochs": 2.0, "max_steps": 9, "lr": 1e-3,
            "scheduler": "cosine",
            "warmup_ratio": 0.2, "optimizer": "sgd", "weight_decay": 0.3, "max_grad_norm": 2.0, "checkpointing": "off",
            "checkpoint_skip_layers": 4, "tiled_mlp": True, "offload_layers": 4, "seed": 1, "eval_every": 5,
            "save_every": 6, "save_minutes": 10.0, "keep_checkpoints": 4, "report_to": "wandb", "patience": 0,
            "score": "off",
        },
        "deliver": {"merge": True, "gguf": ("f16",), "push_repo": "me/it"},
    }  # fmt: skip
    refused = {"objective", "beta"}  # other objectives than sft are, before a file is made
    unsaid = {"train": {"backend", "weights", *refused}, "deliver": {"private"}, "lora": set()}
    models: dict[str, type[BaseModel]] = {"lora": Lora, "train": Train, "deliver": Deliver}
    for group, fields in models.items():
        assert set(changes[group]) | unsaid[group] == set(fields.model_fields)
    plain = main_text("axolotl", make_job())
    for group, fields_changed in changes.items():
        for field, value in fields_changed.items():
            assert main_text("axolotl", make_job(**{group: {field: value}})) != plain, f"{group}.{field}"


def test_all_weights_are_left_to_axolotl_alone(make_job: Callable[..., TrainingSpec]) -> None:
    job = make_job(model={"quant": "bf16"}, train={"weights": "all", "backend": "trl"})
    written = yaml.safe_load(main_text("axolotl", job))
    assert not any(key.startswith(("lora", "adapter", "peft")) for key in written)
    for target in set(handoff.TRAINING) - {"axolotl"}:
        with pytest.raises(UserError, match="trains adapters"):
            handoff.files_for(target, [job])


# --- other machines ------------------------------------------------------------------------------------------------


def test_accelerate_gets_a_whole_model_a_card_and_one_model_over_all(make_job: Callable[..., TrainingSpec]) -> None:
    files = handoff.files_for("accelerate", [make_job(train={"backend": "trl", "checkpointing": "on"})])
    ddp, fsdp = yaml.safe_load(files["ddp.yaml"]), yaml.safe_load(files["fsdp2.yaml"])
    assert (ddp["distributed_type"], ddp["num_processes"]) == ("MULTI_GPU", 2)
    assert (fsdp["distributed_type"], fsdp["fsdp_config"]["fsdp_version"]) == ("FSDP", 2)
    assert not fsdp["fsdp_config"]["fsdp_cpu_ram_efficient_loading"]  # nf4
    assert "bnb_4bit_quant_storage=DTYPE" in files["run.py"]


def test_int8_weights_are_not_split(make_job: Callable[..., TrainingSpec]) -> None:
    assert "fsdp2.yaml" not in handoff.files_for("accelerate", [make_job(model={"quant": "int8"})])


@pytest.mark.parametrize(("accum", "micro", "shared"), [(4, 2, (2, 2)), (1, 4, (1, 2)), (1, 1, None)])
def test_the_rows_of_a_step_are_shared_by_the_cards(
    make_job: Callable[..., TrainingSpec], accum: int, micro: int, shared: tuple[int, int] | None
) -> None:
    from fitune.core.deliver.handoff.script import SEVERAL_CARDS

    code = "import os\nos.environ = {'WORLD_SIZE': '2'}\n" + SEVERAL_CARDS
    sharing = subprocess.run(
        [sys.executable, "-c", f"GRAD_ACCUM, MICRO_BATCH = {accum}, {micro}\n{code}\nprint(GRAD_ACCUM, MICRO_BATCH)"],
        capture_output=True,
        text=True,
    )
    if shared:
        assert sharing.stdout.split() == [str(each) for each in shared]
    else:
        assert "2 cards divide neither GRAD_ACCUM = 1 nor MICRO_BATCH = 1." in sharing.stderr


@pytest.mark.parametrize(
    ("release", "grows"), [("6.8.0-48-generic", True), ("5.15.153.1-microsoft-standard-WSL2", False)]
)
def test_blocks_grow_in_place_only_where_torch_can_do_it(
    monkeypatch: pytest.MonkeyPatch, release: str, grows: bool
) -> None:
    from fitune.core.deliver.handoff.script import ALLOCATION

    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    setting = SimpleNamespace(name="posix", environ={})
    exec(ALLOCATION, {"os": setting, "platform": SimpleNamespace(release=lambda: release)})
    assert ("PYTORCH_ALLOC_CONF" in setting.environ) is grows


def test_the_sbatch_file_is_bash_that_runs_the_script(make_job: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    text = main_text("slurm", make_job(name="a b"))
    assert text.startswith("#!/bin/bash\n#SBATCH --job-name=a-b\n")
    path = tmp_path / "job.sbatch"
    path.write_text(text)
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert text.endswith("uv run run.py\n")


def test_skypilot_asks_for_the_smallest_card_that_holds_the_budget(make_job: Callable[..., TrainingSpec]) -> None:
    tree = yaml.safe_load(main_text("skypilot", make_job(data={"packing": False})))
    assert tree["resources"]["accelerators"] == "8GB+:1"
    assert tree["run"].endswith("\nuv run run.py\n")
    assert "resume my-job; else fitune train recipe.toml" in tree["run"].replace(tree["name"], "my-job")
    assert "is not known" in main_text("skypilot", make_job(model={"id": "/nowhere/at-all/x"}))


@pytest.mark.parametrize(
    ("name", "cluster"), [("2026-11-22-smollm2-1a2b", "fitune-2026-11-22-smollm2-1a2b"), ("My_run_", "my_run")]
)
def test_skypilot_gets_a_name_that_it_takes(make_job: Callable[..., TrainingSpec], name: str, cluster: str) -> None:
    text = main_text("skypilot", make_job(name=name))
    assert re.fullmatch("[a-zA-Z]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?", cluster)  # CLUSTER_NAME_VALID_REGEX of SkyPilot
    assert f"sky launch -c {cluster} task.yaml" in text
    assert f" {cluster}:sky_workdir/adapter" in text
    assert yaml.safe_load(text)["name"] == cluster


@pytest.mark.parametrize(
    ("target", "groups", "said"),
    [
        ("script", {"model": {"quant": "bf16"}, "lora": {"init": "orthogonal"}}, "script by unsloth: lora.init"),
        ("slurm", {"train": {"offload_layers": 4, "checkpointing": "off"}}, "slurm by unsloth: train.offload_layers"),
        ("accelerate", {"lora": {"target_modules": ["lm_head"]}}, "accelerate by trl: lora.target_modules: lm_head is"),
    ],
)
def test_what_the_backend_of_the_script_does_not_have_is_refused(
    make_job: Callable[..., TrainingSpec], target: str, groups: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        main_text(target, make_job(**groups))


def test_accelerate_takes_a_recipe_of_unsloths_and_says_what_it_does_otherwise(
    make_job: Callable[..., TrainingSpec],
) -> None:
    text = main_text("accelerate", make_job(train={"offload_layers": 4, "backend": "unsloth"}))
    assert "train.offload_layers: all layers stay on the card." in text


# --- serving -------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words of the script's one command, as a shell passes them."""
    shown = text.replace("exec vllm", "printf '%s\\n' vllm")
    return subprocess.run(["sh", "-c", shown], capture_output=True, text=True, check=True).stdout.splitlines()


def test_vllm_serves_an_adapter_on_its_base_model(make_trained: Callable[..., Run]) -> None:
    run = make_trained(lora={"r": 12})
    words = words_of(main_text("vllm", from_run(run)))
    assert words[:3] == ["vllm", "serve", "owner/model"]
    after = dict(pairwise(words))
    assert after["--max-lora-rank"] == "16"
    assert after["--lora-modules"] == f"run-a={run.adapter}"
    assert after["--revision"] == "abc123"
    assert after["--chat-template"] == str(run.adapter / "chat_template.jinja")


def test_vllm_is_told_the_rank_that_was_saved(make_trained: Callable[..., Run]) -> None:
    train = {"backend": "trl", "checkpointing": "on"}
    run = make_trained(model={"quant": "bf16"}, lora={"init": "pissa", "r": 16}, train=train)
    assert dict(pairwise(words_of(main_text("vllm", from_run(run)))))["--max-lora-rank"] == "32"


def test_vllm_serves_several_adapters_of_one_base(make_trained: Callable[..., Run]) -> None:
    jobs = [from_run(make_trained(name, lora={"r": r})) for name, r in (("run-a", 8), ("run-b", 64))]
    words = words_of(main_text("vllm", *jobs))
    after = dict(pairwise(words))
    assert (after["--max-lora-rank"], after["--max-loras"]) == ("64", "2")
    assert f"run-b={jobs[1].run.adapter}" in words  # type: ignore[union-attr]


def test_vllm_serves_the_merged_model_where_there_is_one(make_trained: Callable[..., Run]) -> None:
    run = make_trained()
    run.merged.mkdir()
    assert words_of(main_text("vllm", from_run(run))) == [
        "vllm", "serve", str(run.merged), "--served-model-name", "run-a"
    ]  # fmt: skip


@pytest.mark.parametrize("merged", [False, True])
def test_servers_ask_as_the_training_did(make_trained: Callable[..., Run], merged: bool) -> None:
    prepared = {"type": "phase", "data": {"name": "prepare", "switch": "enable_thinking"}}
    data = {"thinking": "off", "template_options": {"reasoning_effort": "low", "chat_template": "default"}}
    run = make_trained(data=data, told=(prepared,))
    if merged:
        run.merged.mkdir()
    after = dict(pairwise(words_of(main_text("vllm", from_run(run)))))
    asked = {"reasoning_effort": "low", "enable_thinking": False}
    assert json.loads(after["--default-chat-template-kwargs"]) == asked
    assert '"think": false' in main_text("ollama", from_run(run))
    if not merged:
        with pytest.raises(UserError, match="other options"):
            main_text("vllm", from_run(run), from_run(make_trained("run-b")))


@pytest.mark.parametrize("merged", [False, True])
def test_vllm_may_run_the_code_that_the_training_ran(make_trained: Callable[..., Run], merged: bool) -> None:
    run = make_trained(model={"trust_remote_code": True})
    if merged:
        run.merged.mkdir()
    assert "--trust-remote-code" in words_of(main_text("vllm", from_run(run)))


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"model": {"id": "owner/other"}}, "2 base models"),
        ({"lora": {"dora": True}}, "DoRA"),
        ({"lora": {"bias": "all"}}, "biases"),
        ({"lora": {"modules_to_save": ["lm_head"]}}, "a head of its own"),
        (
            {"train": {"weights": "all", "backend": "trl", "checkpointing": "on"}, "model": {"quant": "bf16"}},
            "all weights of the model",
        ),
        ({"lora": {"r": 1024}}, "rank 512"),
    ],
)
def test_what_one_vllm_can_not_serve_is_refused(
    make_trained: Callable[..., Run], groups: dict[str, dict[str, Any]], said: str
) -> None:
    jobs = [from_run(make_trained("run-a")), from_run(make_trained("run-b", **groups))]
    with pytest.raises(UserError, match=said):
        main_text("vllm", *jobs)


def test_ollama_gets_the_gguf_file_or_how_to_make_it(make_trained: Callable[..., Run]) -> None:
    run = make_trained()
    asked = main_text("ollama", from_run(run))
    assert "fitune export run-a --gguf q8_0" in asked
    assert asked.endswith("\nFROM ./run-a-q8_0.gguf\n")
    (run.path / "gguf").mkdir()
    (run.path / "gguf" / "run-a.gguf").touch()
    assert main_text("ollama", from_run(run)).endswith(f"\nFROM {run.path}/gguf/run-a.gguf\n")
    (run.path / "gguf" / "Modelfile").write_text('FROM ./run-a.gguf\nPARAMETER stop "<|im_end|>"\n')
    text = main_text("ollama", from_run(run))
    assert text.endswith(f'\nFROM {run.path}/gguf/run-a.gguf\nPARAMETER stop "<|im_end|>"\n')


def test_ollama_is_not_told_of_an_adapter_that_it_does_not_know(make_trained: Callable[..., Run]) -> None:
    plain, whole = (
        main_text("ollama", from_run(make_trained(f"run-{number}", lora={"modules_to_save": names})))
        for number, names in enumerate(([], ["lm_head"]))
    )
    assert ("convert_lora_to_gguf" in plain, "convert_lora_to_gguf" in whole) == (True, False)


@pytest.mark.parametrize("target", ["vllm", "ollama"])
def test_serving_needs_a_trained_run(
    make_job: Callable[..., TrainingSpec], make_trained: Callable[..., Run], target: str
) -> None:
    with pytest.raises(UserError, match="takes a run"):
        main_text(target, make_job())
    run = make_trained()
    for path in run.adapter.iterdir():
        path.unlink()
    run.adapter.rmdir()
    with pytest.raises(UserError, match="no adapter yet"):
        main_text(target, from_run(run))


# --- the folder and the zip ----------------------------------------------------------------------------------------


def test_the_folder_holds_the_rows_as_they_are_split(make_job: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    names = handoff.write("slurm", [make_job()], tmp_path / "out")
    copied = ["model_class.py", "render.py", "run.py", "targets.py", "train.jsonl", "varlen_attention.py"]
    own = ["recipe.toml", "rows.jsonl"]
    assert names == sorted(["eval.jsonl", "job.sbatch", *own, *copied])
    assert all("from fitune" not in (tmp_path / "out" / name).read_text() for name in copied if name.endswith(".py"))
    undefined = ["-m", "ruff", "check", "--isolated", "--select", "F821", str(tmp_path / "out")]
    assert subprocess.run([sys.executable, *undefined], check=False).returncode == 0
    rows = {
        name: [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "eval")
    }
    assert (len(rows["train"]), len(rows["eval"])) == (33, 7)
    assert rows["train"][0]["messages"][1] == {"role": "assistant", "content": "0!"}


def test_a_folder_that_holds_something_is_left_alone(make_job: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="exists already"):
        handoff.write("script", [make_job()], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_folder_that_no_path_can_have_is_a_sentence(make_job: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be written: File name too long"):
        handoff.write("script", [make_job()], tmp_path / ("x" * 300))


def test_rows_that_can_not_be_read_leave_no_folder(make_job: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    job = make_job()
    Path(job.recipe.data.source).write_text("{}\n")
    with pytest.raises(UserError):
        handoff.write("script", [job], tmp_path / "out")
    assert list(tmp_path.iterdir()) == [Path(job.recipe.data.source)]


def test_only_the_named_folder_is_touched(make_job: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "mine").touch()
    handoff.write("script", [make_job()], tmp_path / "out")
    assert (tmp_path / "out.part" / "mine").exists()


def test_a_zip_without_room_is_a_sentence_and_leaves_nothing(
    make_trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = make_trained()
    before = sorted(run.path.iterdir())
    monkeypatch.setattr("fitune.core.deliver.archive.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        pack(from_run(run))
    assert sorted(run.path.iterdir()) == before


def test_the_same_adapter_makes_the_same_zip(make_trained: Callable[..., Run]) -> None:
    run = make_trained()
    path = pack(from_run(run))
    first = path.read_bytes()
    (run.adapter / "chat_template.jinja").touch()
    assert pack(from_run(run)).read_bytes() == first
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["run-a/adapter_model.safetensors", "run-a/chat_template.jinja"]
        assert archive.read("run-a/adapter_model.safetensors") == b"weights"
    assert sorted(each.name for each in run.path.iterdir() if "zip" in each.name) == ["run-a-adapter.zip"]


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("10.0.0.9 51000 10.0.0.5 22", "scp me@10.0.0.5:/r/a.zip ."),
        ("10.0.0.9 51000 10.0.0.5 2222", "scp -P 2222 me@10.0.0.5:/r/a.zip ."),
        ("::1 51000 fe80::5 22", "scp 'me@[fe80::5]:/r/a.zip' ."),
        ("", "scp me@box:/r/a.zip ."),
    ],
)
def test_the_command_that_fetches_it_names_the_way_in(
    monkeypatch: pytest.MonkeyPatch, connection: str, expected: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    monkeypatch.setattr("platform.node", lambda: "box")
    assert fetch_command(Path("/r/a.zip"), {"SSH_CONNECTION": connection}) == expected


def test_a_user_without_a_name_is_left_to_fill_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert fetch_command(Path("/r/a.zip"), {"SSH_CONNECTION": "a 1 box 22"}) == "scp USER@box:/r/a.zip ."


@pytest.mark.parametrize("target", ["script", "axolotl", "accelerate"])
def test_preferences_are_not_handed_on_as_if_all_answers_were_good(
    make_job: Callable[..., TrainingSpec], target: str
) -> None:
    job = make_job(train={"objective": "dpo", "checkpointing": "on"}, lora={"dropout": 0.0})
    with pytest.raises(UserError, match="objective = dpo"):
        handoff.files_for(target, [job])
