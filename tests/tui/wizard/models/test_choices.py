"""The list of models: for this card, best first, found by a part of the name or by what they are good for."""

from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.machine.host import Machine
from fitune.core.recipe import presets
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.models import choices
from fitune.tui.wizard.models.choices import ModelChoice, found_models, model_choices, params_words, with_disk


@pytest.fixture
def judged(this_machine: Machine) -> tuple[ModelChoice, ...]:
    """The list for the card of the tests."""
    return model_choices(Draft(preset="8b-on-12gb", machine=this_machine))


def test_what_fits_comes_first_and_of_that_what_is_known_best_the_largest_first(
    judged: tuple[ModelChoice, ...],
) -> None:
    assert {each.id for each in judged} >= presets.model_notes().keys()
    assert len(judged) == len({each.id for each in judged})
    verdicts = [choices.ORDER.index(each.forecast.verdict) for each in judged]
    assert verdicts == sorted(verdicts)
    fitting = [each for each in judged if each.forecast.verdict == "fits"]
    noted = [each.params for each in fitting if each.note]
    assert [round(each / 1e9, 1) for each in noted] == sorted((round(each / 1e9, 1) for each in noted), reverse=True)
    assert all(each.note for each in fitting[: len(noted)])


def test_a_line_and_its_explanation_tell_all_that_one_chooses_by(judged: tuple[ModelChoice, ...]) -> None:
    qwen = next(each for each in judged if each.id == "Qwen/Qwen3-8B")
    assert qwen.line(70).split() == ["OK", "Qwen/Qwen3-8B", "8.2B", "15.3", "GiB", "Apache-2.0"]
    assert replace(qwen, is_here=True).line(70).split()[-3:] == ["on", "disk", "Apache-2.0"]
    told = " ".join(qwen.about)
    assert "GiB to spare. Download 15.3 GiB." in told
    assert presets.model_notes()[qwen.id].good_for in told
    assert all(len(each.line(width)) <= width for each in judged for width in (66, 100))


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("qwen3 8b", "Qwen/Qwen3-8B"),
        ("4b", "Qwen/Qwen3-4B"),
        ("qwen/qwen3-8b", "Qwen/Qwen3-8B"),
        ("135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_the_model_that_is_meant_comes_first(judged: tuple[ModelChoice, ...], typed: str, first: str) -> None:
    found = found_models(typed, judged)
    assert first in [each.id for each in found[:3]]
    assert not any("14B" in each.id for each in found[:3]) or typed != "4b"


def test_models_are_found_by_use_licence_and_verdict(judged: tuple[ModelChoice, ...]) -> None:
    assert all("tools" in str(each.note).lower() for each in found_models("tools", judged))
    assert found_models("apache", judged)
    assert {each.forecast.verdict for each in found_models("over", judged) if each.id.count("70B")} == {"over"}
    assert found_models("no-such-model", judged) == ()
    assert found_models("", judged) == judged


def test_what_is_on_the_disk_is_marked(
    judged: tuple[ModelChoice, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--Qwen--Qwen3-8B"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    here = [each.id for each in with_disk(judged[:20]) if each.is_here]
    assert here == ["Qwen/Qwen3-8B"]


def test_sizes_are_told_as_people_say_them() -> None:
    assert [params_words(n) for n in (0, 134_515_008, 8_190_735_360)] == ["", "135M", "8.2B"]
