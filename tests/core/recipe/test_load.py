"""The recipe at the door: every kind of bad recipe is refused in a sentence, every good one comes through unchanged."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import BadInput, UserError
from fitune.core.recipe.load import GROUPS, NAMES_IN_OTHER_TOOLS, Recipe, help_of, load, parse, to_toml
from fitune.core.recipe.rules import find_contradictions

GOOD = '[model]\nid = "owner/model"\n[data]\nsource = "rows.jsonl"\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path: Path, *overrides: str) -> list[str]:
    """The lines of the refusal, without the folder."""
    with pytest.raises(UserError) as caught:
        load(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # unknown keys and groups, with the nearest known one
        ("[train]\nmicro_bach = 1", ":6: train.micro_bach: is not a key of a recipe. Did you mean train.micro_batch?"),
        ("[trian]\nlr = 1", "recipe.toml:5: trian: is not a key of a recipe. Did you mean train?"),
        ("[model.peft]\nx = 1", "recipe.toml:5: model.peft: is not a key of a recipe. Known: id, revision"),
        ("[lora]\nlr = 1e-4", "recipe.toml:6: lora.lr: is not a key of a recipe. Did you mean train.lr?"),
        ("[lora]\nR = 8", "recipe.toml:6: lora.R: is not a key of a recipe. Did you mean lora.r?"),
        ("[lora]\nrank = 8", "recipe.toml:6: lora.rank: is not a key of a recipe. Did you mean lora.r?"),
        ("[train]\nlearning_rate = 1e-4", ":6: train.learning_rate: is not a key of a recipe. Did you mean train.lr?"),
        ("[zzz]", ":5: zzz: is not a key of a recipe. Known: model, lora, data, train, run, deliver, version."),
        # wrong types: nothing is guessed
        ('[train]\nlr = "2e-4"', "recipe.toml:6: train.lr: should be a valid number or 'auto', but it is \"2e-4\"."),
        ("[lora]\nr = 16.0", "recipe.toml:6: lora.r: should be a valid integer, but it is 16.0."),
        ('[lora]\nr = "16"', 'recipe.toml:6: lora.r: should be a valid integer, but it is "16".'),
        ("[lora]\nr = true", "recipe.toml:6: lora.r: should be a valid integer, but it is true."),
        ('[model]\ndouble_quant = "yes"', "is not valid TOML: Cannot declare ('model',) twice"),
        ("[data.columns]\nprompt = 3", "recipe.toml:5: data.columns: should be a valid string, but it is 3."),
        ("[train]\nlr = 2024-01-01", "train.lr: should be a valid number or 'auto', but it is \"2024-01-01\"."),
        # out of range, or of the choices
        ("[train]\nlr = 0", "recipe.toml:6: train.lr: should be greater than 0 or 'auto', but it is 0."),
        ("[train]\nlr = nan", "recipe.toml:6: train.lr: should be"),
        ("[train]\nlr = inf", "train.lr: should be less than or equal to 1 or 'auto', but it is Infinity."),
        ("[train]\nseed = -1", "recipe.toml:6: train.seed: should be greater than or equal to 0, but it is -1."),
        ("[lora]\nlayers = [3, -1]", "recipe.toml:6: lora.layers: should be greater than or equal to 0, but it is -1."),
        ("[lora]\ndropout = 1", "recipe.toml:6: lora.dropout: should be less than 1, but it is 1."),
        ('[train]\noptimizer = "adam"', "recipe.toml:6: train.optimizer: should be 'adamw_8bit', 'paged_adamw_8bit'"),
        ('[run]\nname = "Läufe 1"', 'run.name: is not of the right form: "Läufe 1". Its name: letters, digits'),
        ('[run]\nname = "../up"', "recipe.toml:6: run.name: is not of the right form: \"../up\". Its name: letters"),
        ('[deliver]\ngguf = ["q1", "f16", "q9"]', 'recipe.toml:6: deliver.gguf: should be \'f16\', \'bf16\''),
        # one sentence for a field that may be of several kinds
        ("[lora]\ntarget_modules = 5", "lora.target_modules: should be 'all-linear' or a list ([1, 2] or"),
        ('[train]\noffload_layers = "x"', "offload_layers: should be a valid integer or 'auto', but it is \"x\"."),
        # a group that is none, a file of the future
        ("lora = 3", "data.lora: is not a key of a recipe."),
        ("[[lora]]\nr = 1", "recipe.toml:5: lora: should be a table, but it is [{\"r\": 1}]. Write [lora]"),
    ],
)  # fmt: skip
def test_each_kind_of_bad_recipe_is_one_sentence_with_its_line(
    write: Callable[[str], Path], lines: str, said: str
) -> None:
    found = refused(write(GOOD + lines))
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('lora.r = "x"\n' + GOOD, 1),
        ('lora = {r = "x"}\n' + GOOD, 1),
        (GOOD + '[ "lora" ]\n\n"r"="x"', 7),
        (GOOD + '[run]\nname = "r"\n[lora]\nr = "x"  # rank', 8),
        (GOOD + '[data.columns]\nr = "y"\n[lora]\nr = "x"', 8),
    ],
)
def test_the_line_is_found_in_every_way_to_write_toml(write: Callable[[str], Path], text: str, line: int) -> None:
    assert refused(write(text))[0].startswith(f"recipe.toml:{line}: lora.r: ")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("[model]\nid = “a/b”\n", "Write straight quotes"),
        ('[data]\nsource = "C:\\Users\\me\\rows.jsonl"\n', "Write a backslash twice, or the text in single quotes"),
        ("model:\n  id: a/b\n", "A recipe is TOML, not YAML or JSON"),
        ('{"model": {"id": "a/b"}}', "A recipe is TOML, not YAML or JSON"),
        ("[train]\nlr = 2e-4,\n", "No comma belongs at the end of a line."),
        ('[model]\nid = "a/b"\n[model]\nquant = "nf4"\n', "Put all keys of a group below one line with its name."),
        ("[model]\nid = a/b\n", "Text goes in quotes"),
    ],
)
def test_what_is_no_toml_is_told_with_what_to_do(write: Callable[[str], Path], text: str, fix: str) -> None:
    with pytest.raises(UserError) as error:
        load(write(text))
    assert error.value.hint.startswith(fix)


def test_all_problems_are_told_at_once(write: Callable[[str], Path]) -> None:
    found = refused(write('[model]\nquant = "nf5"\n[lora]\nr = 0\nrank = 8\n[train]\nlr = "x"\n'))
    keys = [line.split(": ")[1] for line in found]
    assert keys == ["model.id", "model.quant", "lora.r", "lora.rank", "data", "train.lr"]
    assert "model.id: is missing. A recipe needs model.id and data.source." in found[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[model]\nid = owner/model\n", "recipe.toml is not valid TOML: Invalid value (at line 2, column 6)."),
        (b"[" * 5000, "recipe.toml is not valid TOML: "),
        (b"x = " + b"[" * 5000, "recipe.toml is not valid TOML: "),
        (b"x = " + b"9" * 5000, "recipe.toml is not valid TOML: "),
        (b"x = " + b"[" * 300 + b"]" * 300, "recipe.toml: holds a value that is nested too deep."),
        ('[model]\nid = "ü"'.encode("latin-1"), "recipe.toml is not UTF-8 text (byte 14). Save the recipe as UTF-8."),
        ("\ufeff".encode("utf-16"), "recipe.toml is not UTF-8 text (byte 0)."),
        (b"", "recipe.toml: model: is missing. A recipe needs model.id and data.source."),
        (b"version = 2", "recipe.toml:1: version: is 2, and this fitune reads version 1. Update fitune."),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused_in_words(
    write: Callable[[bytes], Path], content: bytes, said: str
) -> None:
    assert refused(write(content))[0].startswith(said)


def test_a_missing_file_a_folder_and_an_unreadable_one_are_named(tmp_path: Path, write: Callable[[str], Path]) -> None:
    assert refused(tmp_path / "none.toml") == ["none.toml can't be read: No such file or directory. Check the path."]
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path / "folder") == ["folder is a folder. Name the recipe file in it."]
    assert refused(write(GOOD) / "below") == ["below can't be read: Not a directory. Check the path."]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(write: Callable[[bytes], Path]) -> None:
    assert load(write(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())).model.id == "owner/model"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"train": {"backend": "trl", "checkpointing": "unsloth"}}, ["train.checkpointing"]),
        ({"train": {"backend": "trl", "checkpointing": "on", "offload_layers": 4}}, ["train.offload_layers"]),
        ({"train": {"backend": "unsloth", "checkpointing": "off", "offload_layers": 4}}, ["train.offload_layers"]),
        (
            {"train": {"backend": "unsloth", "offload_layers": "auto"}, "model": {"quant": "int8"}},
            ["train.offload_layers"],
        ),
        ({"train": {"backend": "unsloth"}, "model": {"quant": "bf16"}, "lora": {"init": "pissa"}}, ["lora.init"]),
        (
            {"train": {"backend": "trl", "checkpointing": "on", "checkpoint_skip_layers": 4}},
            ["train.checkpoint_skip_layers"],
        ),
        ({"train": {"checkpointing": "off", "checkpoint_skip_layers": 4}}, ["train.checkpoint_skip_layers"]),
        ({"train": {"backend": "trl", "checkpointing": "on", "tiled_mlp": True}}, ["train.tiled_mlp"]),
        ({"train": {"checkpointing": "off", "tiled_mlp": True}}, ["train.tiled_mlp"]),
        ({"lora": {"init": "olora"}}, ["lora.init"]),
        ({"lora": {"init": "orthogonal"}}, ["lora.init"]),
        ({"model": {"quant": "bf16"}, "lora": {"init": "orthogonal", "r": 9}}, ["lora.r"]),
        ({"model": {"quant": "bf16"}, "lora": {"init": "pissa", "target_modules": ["lm_head"]}}, ["lora.init"]),
        ({"lora": {"target_modules": []}}, ["lora.target_modules"]),
        (
            {"train": {"backend": "trl", "checkpointing": "on"}, "lora": {"target_modules": ["q_proj", "lm_head"]}},
            ["lora.target_modules"],
        ),
        ({"lora": {"layers": []}}, ["lora.layers"]),
        ({"data": {"eval_fraction": 0}, "train": {"eval_every": 5}}, ["train.eval_every"]),
        (
            {
                "train": {"backend": "trl", "checkpointing": "unsloth", "offload_layers": 4},
                "lora": {"target_modules": []},
            },
            ["train.checkpointing", "train.offload_layers", "lora.target_modules"],
        ),
    ],
)
def test_fields_that_contradict_each_other_are_told_with_a_way_out(
    changes: dict[str, dict[str, Any]], where: list[str]
) -> None:
    tree = {"model": {"id": "a/b"}, "data": {"source": "a/c"}}
    with pytest.raises(BadInput) as caught:
        parse({group: tree.get(group, {}) | changes.get(group, {}) for group in tree | changes}, "r")
    assert [problem.where for problem in caught.value.problems] == [f"r: {key}" for key in where]
    assert all(problem.fix for problem in caught.value.problems)


def test_contradictions_name_their_line(write: Callable[[str], Path]) -> None:
    assert refused(write(GOOD + '[lora]\nr = 8\ninit = "pissa"'))[0].startswith("recipe.toml:7: lora.init: pissa reads")


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("lora.r=32", "lora.r", 32),
        ("train.lr = 1e-4", "train.lr", 1e-4),
        ("model.id=Qwen/Qwen3-8B", "model.id", "Qwen/Qwen3-8B"),
        ('model.id="quoted/id"', "model.id", "quoted/id"),
        ("model.id=a=b", "model.id", "a=b"),
        ("run.gpu=0", "run.gpu", "0"),
        ("run.name=2026-11-22", "run.name", "2026-11-22"),
        ("model.revision=1e5", "model.revision", "1e5"),
        ("run.home=true", "run.home", "true"),
        ("model.quant=bf16", "model.quant", "bf16"),
        ('lora.target_modules=["q_proj","v_proj"]', "lora.target_modules", ("q_proj", "v_proj")),
        ('data.columns={prompt="q"}', "data.columns", {"prompt": "q"}),
        ("data.packing=true", "data.packing", True),
        ("train.offload_layers=auto", "train.offload_layers", "auto"),
    ],
)
def test_set_changes_a_field(write: Callable[[str], Path], pair: str, key: str, value: object) -> None:
    group, _, field = key.partition(".")
    assert getattr(getattr(load(write(GOOD), [pair]), group), field) == value


def test_the_last_set_counts_and_repairs_the_file(write: Callable[[str], Path]) -> None:
    assert load(write(GOOD + '[lora]\nr = "x"'), ["lora.r=8", "lora.r=4"]).lora.r == 4


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("lora.r", "--set lora.r: is not of the form group.key=value. For example: --set lora.r=32"),
        ("lora=3", "--set lora=3: is not of the form"),
        ("=3", "--set =3: is not of the form"),
        (".r=3", "--set .r=3: is not of the form"),
        ("", "--set : is not of the form"),
        ("version.x=3", "--set version.x=3: version is not a group. Groups: model, lora, data, train, run, deliver."),
        ("lora.rank=3", "--set lora.rank: is not a key of a recipe."),
        ("lara.r=3", "--set lara: is not a key of a recipe. Did you mean lora?"),
        ("lora.r=x", '--set lora.r: should be a valid integer, but it is "x".'),
        ("lora.r=", '--set lora.r: should be a valid integer, but it is "".'),
        ("model.id=\udcff", "recipe.toml: holds text that is not UTF-8."),
        ("train.checkpointing=maybe", "--set train.checkpointing: should be 'unsloth', 'on' or 'off'"),
    ],
)
def test_a_bad_set_is_named_as_such(write: Callable[[str], Path], pair: str, said: str) -> None:
    found = refused(write("version = 1\n" + GOOD + "[lora]\nr = 8"), pair)
    assert len(found) == 1, found
    assert found[0].startswith(said)


def test_all_bad_sets_are_told_at_once(write: Callable[[str], Path]) -> None:
    assert len(refused(write(GOOD), "a", "b", "lora.r=8")) == 2


def test_a_wrong_value_and_an_unknown_key_within_one_field_are_both_told(write: Callable[[str], Path]) -> None:
    found = refused(write(GOOD), 'data.sources=[{source = "a", weight = -1, form = "b"}]')
    assert [each.partition(", but")[0].partition(" Several")[0] for each in found] == [
        "--set data.sources: should be greater than 0",
        "--set data.sources: has no key form.",
    ]


def test_an_exponent_and_its_decimal_are_the_same_number(write: Callable[[str], Path]) -> None:
    recipes = [load(write(GOOD + f"[train]\nlr = {number}")) for number in ("2e-4", "2E-4", "0.0002", "0.000_2")]
    assert all(recipe == recipes[0] for recipe in recipes)
    assert load(write(GOOD + "[train]\nlr = 1")).train.lr == 1.0


def test_a_recipe_of_an_older_fitune_loads_with_todays_defaults(write: Callable[[str], Path]) -> None:
    recipe = load(write(GOOD))
    for group, fields in recipe.model_dump(mode="json").items():
        if isinstance(fields, dict):
            for key in fields:
                fewer = json.loads(recipe.model_dump_json())
                del fewer[group][key]
                if f"{group}.{key}" not in ("model.id", "data.source"):
                    assert parse(fewer, "run.json") == recipe


AWKWARD = (
    'a"b', "a\\b", "a'b", "tab\there", "line\nfeed", "\x00\x1b[31m\x7f", "ünïcode 日本 🙂", "#not a comment", "[table]",
    "= ", "\u2028\u0085", "{brace}", " ", "true", "1e5",
)  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_to_toml_loads_to_an_equal_recipe_whatever_the_text(recipe: Callable[..., Recipe], text: str) -> None:
    made = recipe(
        model={"id": text, "revision": text},
        lora={"target_modules": [text, text]},
        data={"source": text, "columns": {text: text, "prompt": "q"}},
    )
    assert parse(tomllib.loads(to_toml(made)), "again") == made


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train": {"lr": 1e-7, "epochs": 0.1, "max_grad_norm": 999.5, "seed": 2**32 - 1}},
        {"train": {"offload_layers": "auto"}},
        {"train": {"offload_layers": 12, "max_steps": 1, "eval_every": 2, "save_every": 3}},
        {"lora": {"layers": [0, 1, 31], "target_modules": "all-linear", "dora": True}},
        {"deliver": {"gguf": ["q8_0", "f16"], "push_repo": "me/it", "private": False}},
        {"run": {"name": "a.b-c_1", "home": "/data", "gpu": "0", "vram_limit_gib": 7.5}},
    ],
)
def test_to_toml_keeps_every_field(recipe: Callable[..., Recipe], changes: dict[str, Any]) -> None:
    made = recipe(**changes)
    assert parse(tomllib.loads(to_toml(made)), "again") == made


def test_a_recipe_survives_the_way_through_run_json(recipe: Callable[..., Recipe]) -> None:
    made = recipe(lora={"layers": [1, 2]}, deliver={"gguf": ["q8_0"]})
    assert parse(json.loads(made.model_dump_json()), "run.json") == made


@pytest.mark.parametrize("group", GROUPS)
def test_each_field_has_help(group: str) -> None:
    assert list(help_of(GROUPS[group])) == list(GROUPS[group].model_fields)


def test_what_a_field_is_called_elsewhere_is_no_field_here() -> None:
    fields = {f"{group}.{key}" for group, each in GROUPS.items() for key in each.model_fields}
    assert set(NAMES_IN_OTHER_TOOLS.values()) <= fields
    assert not {field.partition(".")[2] for field in fields} & set(NAMES_IN_OTHER_TOOLS)


def test_the_defaults_do_not_contradict_each_other(recipe: Callable[..., Recipe]) -> None:
    assert not find_contradictions(recipe())


def test_the_trl_backend_alone_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[model]\nid = "Qwen/Qwen3-4B"\n[data]\nsource = "rows.jsonl"\n[train]\nbackend = "trl"\n')
    assert load(path).train.backend == "trl"
