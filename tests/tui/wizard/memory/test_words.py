"""Settings in sentences: one vocabulary, that of the form."""

import pytest

from fitune.core.forecast import remedies, together
from fitune.core.memory.budget import Card
from fitune.core.units import GIB
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.memory.words import all_of_them, changes_text, is_enough, named, remedy_text
from tests.core.forecast.measurements import on
from tests.core.memory.test_budget import LLAMA_8B, recipe, with_set


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Set lora.r = 8, then lora.r = 4.", "Set Rank (lora.r) = 8, then Rank = 4."),
        ("train.eval_every: is set.", "Eval every (train.eval_every): is set."),
        ("Try --set lora.r=8 or fitune fit.", "Try --set lora.r=8 or fitune fit."),
        ("Rank (lora.r) stays.", "Rank (lora.r) stays."),
        ("my.lora.r and lora.rs and lora.r.x and /lora.r", "my.lora.r and lora.rs and lora.r.x and /lora.r"),
        ("run.gpu is not run.gpus.", "GPU (run.gpu) is not GPUs together (run.gpus)."),
    ],
)
def test_a_key_becomes_its_label_with_the_key_beside_it_once(text: str, said: str) -> None:
    assert named(text) == said


def test_every_field_can_be_named() -> None:
    for name, field in all_fields().items():
        assert named(f"Look at {name}.") == f"Look at {field.label} ({name})."


def test_changes_are_told_by_their_labels() -> None:
    changes = {"train.micro_batch": 1, "train.offload_layers": None}
    assert changes_text(changes) == "Rows at once 1, Offload layers none"
    assert changes_text(changes, keys=True).startswith("Rows at once (train.micro_batch) 1, ")


@pytest.mark.parametrize("free_gib", [1, 3, 4, 5, 6, 6.5, 7])
def test_what_remedies_promise_is_kept(free_gib: float) -> None:
    heavy = recipe(train__micro_batch=8, train__grad_accum=2, lora__r=64, train__backend="unsloth")
    now = on(LLAMA_8B, heavy, Card(8 * GIB, round(free_gib * GIB)))
    ways = remedies(now)[:3]
    assert ways
    for way in ways:
        enough = on(LLAMA_8B, with_set(heavy, way.set), now.site.card).memory_shortage is None
        assert is_enough(now, [way]) is enough
        assert remedy_text(now, way).endswith(", enough") is enough
    said, short = all_of_them(now, ways), together(now, ways).memory_shortage
    assert said == "All 3 together: enough." if short is None else said.startswith("Even with all 3 ")
    assert "MiB" not in said
