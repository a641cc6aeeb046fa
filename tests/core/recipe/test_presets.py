"""Presets: each one that ships is a whole recipe, and a broken one is named."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from fitune.core.data.mixed import replayed
from fitune.core.errors import UserError
from fitune.core.forecast.forecast import host_ram_bytes
from fitune.core.machine import CARD_FREE_SHARE, Gpu, choose_backend
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import load
from fitune.core.recipe import changed, presets, presets_dir
from fitune.core.recipe.load import load as load_recipe
from fitune.core.recipe.load import parse, to_toml
from fitune.core.score.probe import items
from fitune.core.units import GIB

CARD = Gpu(0, "GPU-test", "NVIDIA L4", 24 * GIB, 24 * GIB, 0, compute_capability=(8, 9))
VERSIONS = {"unsloth": "2026.10.7", "torch": "2.11.0"}
NAMES = [file.stem for file in presets_dir().glob("*.toml")]
ABOUT = '[preset]\ntitle = "t"\nwhom = "w"\ncard_gib = 8\nmodels = ["owner/model"]\n'


def test_presets_ship_and_are_sorted_by_card() -> None:
    loaded = presets.load_all()
    assert sorted(preset.id for preset in loaded) == sorted(NAMES)
    assert len(loaded) >= 5
    cards = [preset.card_gib for preset in loaded]
    assert cards == sorted(cards)
    assert cards[0] == 0, "one for any machine"


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_is_a_recipe_for_each_of_its_models(name: str) -> None:
    preset = presets.find(name)
    assert preset.title
    assert preset.whom.endswith(".")
    for model in (None, *preset.models):
        recipe = preset.recipe("rows.jsonl", model)
        assert recipe.model.id == (model or preset.models[0])
        assert recipe.data.source == "rows.jsonl"
        assert parse(tomllib.loads(to_toml(recipe)), "again") == recipe


def test_each_model_has_a_note_and_each_note_its_model() -> None:
    offered = {model for preset in presets.load_all() for model in preset.models}
    assert offered == set(presets.model_notes())
    assert all(note.good_for.endswith(".") and note.licence for note in presets.model_notes().values())


@pytest.mark.parametrize("card_gib", [6, 8, 12, 16, 24, 32, 48, 80])
def test_each_size_of_card_has_two_models_of_this_year(card_gib: int) -> None:
    notes = presets.model_notes()
    offered = {model for preset in presets.load_all() if preset.card_gib == card_gib for model in preset.models}
    assert sum(notes[model].year == max(note.year for note in notes.values()) for model in offered) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_todays_models_come_first_and_what_was_measured_names_its_model(name: str) -> None:
    preset = presets.find(name)
    if preset.card_gib:  # without a card the smallest comes first
        classics = [presets.model_notes()[model].year <= presets.CLASSIC for model in preset.models]
        assert classics == sorted(classics)
    assert {each.model for each in preset.evidence} <= set(preset.models)
    assert preset.measured("another/model") is None
    assert preset.told_evidence.startswith("measured" if preset.measured(preset.models[0]) else "estimated")


@pytest.mark.parametrize("name", NAMES)
def test_the_command_in_a_presets_file_is_the_one_that_trains_it(name: str) -> None:
    preset = presets.find(name)
    assert (presets_dir() / f"{name}.toml").read_text().splitlines()[1] == f"# {preset.command}"
    _, command, recipe, flag, pair = preset.command.split()
    assert (command, recipe, flag) == ("train", name, "--set")
    assert load_recipe(Path(recipe), [pair]) == preset.recipe("rows.jsonl")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_fits_the_card_it_is_named_for_and_says_what_host_ram_it_needs(name: str) -> None:
    preset = presets.find(name)
    size_bytes = round((preset.card_gib or 4) * GIB)
    said = re.search(r"(\d+) Gi?B of (free )?host RAM", preset.whom)
    for model in preset.models:
        card = Card(size_bytes, round(size_bytes * CARD_FREE_SHARE))
        shape, recipe = load(model), preset.recipe("rows.jsonl", model)
        backend, _ = choose_backend("auto", CARD, VERSIONS, shape.model_type)
        budget = estimate(shape, changed(recipe, {"train.backend": backend}), card)
        assert budget.verdict == "fits", model
        assert said or not budget.offloaded_layers
        assert said is None or host_ram_bytes(budget.host_bytes) <= int(said[1]) * GIB


def test_the_demos_recipe_and_rows_lie_beside_the_presets() -> None:
    demo = presets_dir() / "demo"
    tree = tomllib.loads((demo / "recipe.toml").read_text())
    tree.setdefault("data", {})["source"] = str(demo / "tickets.jsonl")
    assert parse(tree, "demo").model.id
    assert len((demo / "tickets.jsonl").read_text().splitlines()) == 400


def test_the_demos_general_rows_are_as_many_as_it_takes_and_no_questions_that_it_is_asked_then() -> None:
    demo = presets_dir() / "demo"
    recipe = load_recipe(demo / "recipe.toml", [f"data.source={demo / 'tickets.jsonl'}"])
    general = [json.loads(line)["question"] for line in (demo / "general.jsonl").read_text().splitlines()]
    assert len(general) == replayed(recipe.data.replay, 400)
    assert not {each.question for each in items(presets_dir() / "probe" / "items.jsonl")} & set(general)
    assert set(general) <= set((presets_dir() / "replay" / "prompts.txt").read_text().splitlines())


def test_an_unknown_preset_is_told_with_the_choice() -> None:
    with pytest.raises(UserError) as caught:
        presets.find("9000b-on-a-toaster")
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "presets/mine.toml has no [preset] table."),
        ("preset = 3", "presets/mine.toml has no [preset] table."),
        ("[preset", "presets/mine.toml is not valid TOML: "),
        (ABOUT.replace('title = "t"\n', ""), "presets/mine.toml: the [preset] table is not complete: 'title'."),
        (ABOUT + "evidence = [{card = 'x'}]", "presets/mine.toml: the [preset] table is not complete: "),
        (ABOUT + "[lora]\nrank = 8", "presets/mine.toml: lora.rank: is not a key of a recipe."),
        (ABOUT + "[lora]\nr = 0\n[train]\nlr = 0", "presets/mine.toml: lora.r: should be greater than or equal to 1"),
    ],
)
def test_a_broken_preset_is_named(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        presets.load("mine", text)
    assert str(caught.value).startswith(said)


def test_presets_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    presets.load_all.cache_clear()
    assert presets.load_all()


def test_a_presets_id_names_it_unless_a_file_of_that_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path("8b-on-12gb"), ["data.source=mine.jsonl", "model.id=mine/model", "lora.r=4"])
    assert (recipe.model.id, recipe.data.source, recipe.lora.r) == ("mine/model", "mine.jsonl", 4)
    with pytest.raises(UserError, match=r"8b-on-12gb: is a preset, without data"):
        load_recipe(Path("8b-on-12gb"))
    with pytest.raises(UserError, match=r"presets/8b-on-12gb can't be read"):
        load_recipe(Path("presets/8b-on-12gb"), ["data.source=mine.jsonl"])
    with pytest.raises(UserError, match=r"8b-on-99gb is neither a recipe file nor a preset"):
        load_recipe(Path("8b-on-99gb"))
    Path("8b-on-12gb").write_text('[model]\nid = "my/own"\n[data]\nsource = "mine.jsonl"')
    assert load_recipe(Path("8b-on-12gb")).model.id == "my/own"


@pytest.mark.parametrize("about", ["3", "{}", "{models = []}", "{models = 3}"])
def test_a_table_preset_that_is_none_is_no_key_of_a_recipe(tmp_path: Path, about: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(f'preset = {about}\n[model]\nid = "a/b"\n[data]\nsource = "x"')
    with pytest.raises(UserError, match="preset: is not a key of a recipe"):
        load_recipe(file)
