"""The model card: complete, valid for the Hub, and nothing of a stranger's making gets to be Markdown or YAML."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from fitune.core import hub, runs
from fitune.core.deliver.uploads import UploadKind
from fitune.core.hub import Licence
from fitune.core.recipe.load import parse
from fitune.core.records import from_json
from fitune.core.runs import Eval, EventLog, Finished, GpuInfo, Phase, Preferred, RunInfo, Score, Started, Step
from fitune.core.runs.run import Run
from fitune.core.worker.hub import loss_plot
from fitune.core.worker.hub.model_card import model_card

VERSIONS = {"python": "3.11.9", "torch": "2.11.0+cu130", "transformers": "5.17.0"}
PLAIN = RunInfo(versions=VERSIONS)


def make(tmp_path: Path, info: RunInfo = PLAIN, **groups: dict[str, Any]) -> Run:
    tree: dict[str, Any] = {"model": {"id": "owner/base", "quant": "bf16"}, "data": {"source": "owner/rows"}}
    tree |= {"train": {"backend": "trl", "checkpointing": "on", "optimizer": "adamw_torch"}, "run": {"name": "mine"}}
    for group, fields in groups.items():
        tree[group] = tree.get(group, {}) | fields
    run = runs.create(parse(tree, "test"), tmp_path / "home", info)
    log = EventLog(run.events, "train")
    log.write(Started())
    log.write(Phase(name="load", model="owner/base", revision="c0ffee"))
    log.write(Phase(name="prepare", rows=1234, packed=False))
    for step in range(1, 31):
        log.write(Step(step=step, loss=3.0 / step, lr=1e-4))
        if step % 10 == 0:
            log.write(Eval(step=step, loss=3.5 / step))
    log.write(Finished(stopped=False, steps=30, seen_tokens=9999))
    run.adapter.mkdir()
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make(tmp_path)


def metadata(card: str) -> dict[str, Any]:
    """The head of a card, as the Hub's own client reads it."""
    found: dict[str, Any] = ModelCard(card, ignore_metadata_errors=False).data.to_dict()  # type: ignore[no-untyped-call]
    return found


def block(card: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("what", "library", "relation"),
    [
        ("adapter", "peft", "adapter"),
        ("merged", "transformers", "finetune"),
        ("gguf", "gguf", "finetune"),
        ("checkpoints", "peft", "adapter"),
    ],
)
def test_the_metadata_are_read_by_the_hubs_own_client(run: Run, what: UploadKind, library: str, relation: str) -> None:
    licence = Licence("other", "qwen-research", "https://hf.co/x/LICENSE")
    assert metadata(model_card(run, "ada/it", what, licence)) == {
        "base_model": "owner/base",
        "base_model_relation": relation,
        "datasets": ["owner/rows"],
        "library_name": library,
        "license": "other",
        "license_name": "qwen-research",
        "license_link": "https://hf.co/x/LICENSE",
        "pipeline_tag": "text-generation",
        "tags": ["fitune", "lora"],
    }


@pytest.mark.parametrize(
    ("what", "base"), [("adapter", "owner/base"), ("merged", "owner/full"), ("gguf", "owner/full")]
)
def test_of_a_merged_model_the_base_is_what_it_was_merged_into(run: Run, what: UploadKind, base: str) -> None:
    (run.path / "merge.json").write_text('{"base": "owner/full"}')
    card = model_card(run, "ada/it", what)
    assert metadata(card)["base_model"] == base
    assert parse(tomllib.loads(block(card, "toml")), "card").model.id == "owner/base"


def test_it_tells_base_data_settings_losses_and_licence(run: Run) -> None:
    card = model_card(run, "ada/it", "adapter", Licence("apache-2.0"))
    for told in (
        "A LoRA adapter for `owner/base`, trained with fitune on `owner/rows`.",
        "Licence: apache-2.0, as of `owner/base`.",
        "| rows from | `owner/rows`, split train |",
        "| rows trained on | 1234 |",
        "| LoRA rank, alpha, dropout | 16, 16, 0 |",
        "| learning rate | 0.0002, linear, warm-up 0.03 |",
        "| steps | 30 |",
        "| 10 | 0.8787 | 0.35 |",
        "| 30 | 0.1192 | 0.1167 |",
        "* training   o held out",
    ):
        assert told in card, told


def test_without_a_licence_it_says_so_and_invents_none(run: Run) -> None:
    card = model_card(run, "ada/it", "adapter")
    assert "license" not in metadata(card)
    assert "the licence of `owner/base` applies" in card


def test_the_recipe_trains_the_same_on_the_commit_that_was_loaded(run: Run) -> None:
    card = model_card(run, "ada/it", "adapter")
    again, recipe = parse(tomllib.loads(block(card, "toml")), "card"), run.recipe()
    assert again.model == recipe.model.model_copy(update={"revision": "c0ffee"})
    assert (again.lora, again.data, again.train) == (recipe.lora, recipe.data, recipe.train)
    assert "```sh\nuv run fitune train recipe.toml\n" in card
    assert "```text\npython 3.11.9\ntorch==2.11.0\ntransformers==5.17.0\n" in card


@pytest.mark.parametrize(
    ("what", "step", "lines"),
    [
        ("adapter", None, ["from_pretrained('owner/base', revision='c0ffee', dtype=", "(base, 'ada/it')", "peft=="]),
        ("checkpoints", 20, ["PeftModel.from_pretrained(base, 'ada/it', revision='step-000020')"]),
        ("merged", None, ["AutoModelForCausalLM.from_pretrained('ada/it', dtype="]),
        ("gguf", None, ["hf download ada/it --local-dir model", "ollama create mine -f Modelfile"]),
    ],
)
def test_a_reader_without_fitune_is_told_how_to_use_it(
    run: Run, what: UploadKind, step: int | None, lines: list[str]
) -> None:
    (run.path / "gguf").mkdir()
    (run.path / "gguf" / "Modelfile").touch()
    card = model_card(run, "ada/it", what, step=step)
    assert all(line in card for line in lines)
    assert ("PeftModel" in card) == (what in ("adapter", "checkpoints"))


def test_a_reader_is_told_how_to_ask_without_thinking(tmp_path: Path) -> None:
    run = make(tmp_path, data={"thinking": "off"})
    EventLog(run.events, "train").write(Phase(name="prepare", switch="enable_thinking"))
    card = model_card(run, "me/it", "adapter")
    assert "apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)" in card
    assert "without thinking" in card
    assert """--chat-template-kwargs '{"enable_thinking": false}'""" in model_card(run, "me/it", "gguf")


@pytest.mark.parametrize(("what", "part"), [("adapter", "language_model"), ("merged", "text_model")])
def test_a_model_that_also_sees_is_loaded_with_its_towers(run: Run, what: UploadKind, part: str) -> None:
    import torch
    from safetensors.torch import save_file

    name = f"base_model.model.model.{part}.layers.0.mlp.up_proj.lora_A.weight"
    save_file({name: torch.zeros(1)}, run.adapter / "adapter_model.safetensors")
    code = block(model_card(run, "ada/it", what), "python")
    assert "from transformers import AutoModelForImageTextToText, AutoTokenizer" in code
    assert " = AutoModelForImageTextToText.from_pretrained(" in code
    assert "CausalLM" not in code


def test_paths_names_and_secrets_of_this_machine_are_not_in_it(tmp_path: Path) -> None:
    model, rows = tmp_path / "models" / "mine-7b", tmp_path / "secret customer" / "rows.jsonl"
    place = {"home": str(tmp_path), "gpu": "GPU-12345", "name": "mine"}
    token = "hf_" + "Ab3" * 11
    run = make(
        tmp_path,
        RunInfo(host="gpu-box-7", versions=VERSIONS),
        model={"id": str(model)},
        data={"source": str(rows), "columns": {"prompt": token}},
        run=place,
        deliver={"push_repo": "me/private-name"},
    )
    card = model_card(run, "ada/it", "adapter")
    for secret in (str(tmp_path), "secret customer", "GPU-12345", "gpu-box-7", "private-name", token):
        assert secret not in card
    assert "beside the recipe lie the rows as `rows.jsonl` and the base model as `mine-7b`." in card
    assert tomllib.loads(block(card, "toml"))["data"]["source"] == "rows.jsonl"
    assert not {"base_model", "datasets"} & metadata(card).keys()


EVIL = (
    "a\n---\nlicense: mit\n# Owned",
    "x`<img src=//evil>`[click](//evil)",
    "| a | b |\n```\n</table><script>",
    "\u202egnp.exe \x1b[2J",
    '"; rm -rf ~; "',
)


@pytest.mark.parametrize("evil", EVIL)
def test_names_and_proofs_of_others_stay_text(tmp_path: Path, evil: str) -> None:
    run = make(
        tmp_path,
        RunInfo(gpu=from_json(GpuInfo, {"name": evil}), versions=VERSIONS | {"torch": evil, "python": evil}),
        model={"id": evil},
        data={"source": evil, "split": evil, "columns": {evil: evil}},
        lora={"target_modules": [evil]},
    )
    check = {"check": evil, "expected": evil, "got": evil, "passed": True}
    (run.adapter / "proof.json").write_text(json.dumps({"passed": True, "file": evil, "checks": [check]}))
    card = model_card(run, "ada/it", "adapter")
    assert "license" not in metadata(card)
    assert "\u202e" not in card
    assert "\x1b" not in card
    assert not re.search(r"^(# Owned|license:)", card, re.MULTILINE)
    assert card.count("\n```") % 2 == 0
    fenced = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    outside = re.sub("`[^`\n]*`", "", fenced.sub("", card))
    assert not re.search(r"[<\[]", outside)
    for line in outside.splitlines():
        assert not line.startswith("|") or line.replace("\\|", "").count("|") in (3, 4, 5)
    assert parse(tomllib.loads(block(card, "toml")), "card").data.columns == run.recipe().data.columns


@pytest.mark.parametrize(
    ("train", "held_out", "rows"),
    [
        ([(step, 2.0) for step in range(1, 4)], [], [(1, 2.0, None), (2, 2.0, None), (3, 2.0, None)]),
        ([(1, 4.0), (2, 2.0), (3, 1.0)], [(2, 3.0)], [(2, 3.0, 3.0)]),
        ([(5, 1.0)], [(4, 9.0), (5, 8.0)], [(4, None, 9.0), (5, 1.0, 8.0)]),
    ],
)
def test_a_row_of_the_table_is_the_mean_since_the_one_before(
    train: loss_plot.Points, held_out: loss_plot.Points, rows: list[tuple[int, float | None, float | None]]
) -> None:
    assert loss_plot.table(train, held_out) == rows


@pytest.mark.parametrize("steps", [2, 13, 1000, 123_457])
def test_table_and_picture_stay_small_and_reach_the_last_step(steps: int) -> None:
    points = [(step, 1 + 1 / step) for step in range(1, steps + 1)]
    rows = loss_plot.table(points, [])
    assert len(rows) <= loss_plot.TABLE_ROWS
    assert rows[-1][0] == steps
    picture = loss_plot.drawn(points, points[::7])
    assert max(map(len, picture)) <= 80
    assert picture[loss_plot.ROWS + 1].endswith(str(steps))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("license: apache-2.0", Licence("apache-2.0")),
        ("license: other\nlicense_name: gemma", Licence("other", "gemma")),
        ("license: other\nlicense_name: '[x](//evil)'\nlicense_link: javascript:x", Licence("other")),
        ("license: [a, b]", None),
        ("license: 'a\n  b'", None),
        ("tags: [x]", None),
        ("a: [", None),
        ("- a", None),
    ],
)
def test_a_folders_licence_is_what_its_card_says(tmp_path: Path, head: str, expected: Licence | None) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# Model\n")
    assert hub.licence(str(tmp_path)) == expected


def test_a_folder_without_a_card_has_no_licence_that_is_known(tmp_path: Path) -> None:
    assert hub.licence(str(tmp_path)) is None


def test_a_subset_of_a_data_set_on_the_hub_is_named_in_full(tmp_path: Path) -> None:
    text = model_card(make(tmp_path, data={"source": "openai/gsm8k/main"}), "me/mine", "adapter")
    assert metadata(text)["datasets"] == ["openai/gsm8k"]
    assert "trained with fitune on `openai/gsm8k/main`" in text
    assert tomllib.loads(block(text, "toml"))["data"]["source"] == "openai/gsm8k/main"
    assert "beside the recipe" not in text


def test_a_reader_learns_what_it_prefers(tmp_path: Path) -> None:
    run = make(tmp_path, train={"objective": "dpo", "backend": "trl", "checkpointing": "on", "beta": 0.2})
    EventLog(run.events, "train").write(
        Preferred(
            word="better", rows=60, share=0.9, low=0.8, high=0.96, p=1e-9, growth=2.0, base=0.5, tuned=0.85,
            chosen_change=0.1, rejected_change=-0.4,
        )
    )  # fmt: skip
    card = model_card(run, "ada/it", "adapter")
    assert "| learns to prefer | better answers to worse ones, by dpo (beta 0.2) |" in card
    assert "in 54 of 60 held-out pairs the odds of the better answer grew" in card


def test_the_verdict_is_that_on_its_own_rows_or_without_one_that_on_others(tmp_path: Path) -> None:
    run = make(tmp_path)
    log = EventLog(run.events, "score")
    found = Score(word="worse", metric="match", rows=120, base=0.5, tuned=0.25, low=-0.3, high=-0.2, p=0.001)
    log.write(replace(found, source="/home/ada/my|test_rows.jsonl"))
    card = model_card(run, "ada/sums", "adapter")
    assert "Worse: the right answer in 30 of 120 rows of `my|test_rows.jsonl`, before in 60" in card
    assert "/home/ada" not in card
    log.write(replace(found, word="better", tuned=0.75))
    card = model_card(run, "ada/sums", "adapter")
    assert "Better: the right answer in 90 of 120 held-out rows" in card
    assert "Worse" not in card
