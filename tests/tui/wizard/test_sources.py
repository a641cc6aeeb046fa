"""Several sources of an answers file in the wizard."""

from fitune.tui.wizard.draft import RENDERED_BY, Draft, recipe, set_field, shown
from fitune.tui.wizard.review_text import lines

SEVERAL = {"data": {"sources": [{"source": "a.jsonl"}, {"source": "b.csv", "weight": 2}], "replay": 0.1}}


def test_all_of_them_are_shown_and_trained_on() -> None:
    draft = Draft(preset="8b-on-12gb", answers=SEVERAL)
    assert (draft.source, recipe(draft).data.name) == ("a.jsonl, b.csv", "a.jsonl, b.csv")
    told = {line.label: line.text for line in lines(draft)}
    assert told["From"].startswith("a.jsonl, b.csv")
    assert told["Changed"] == "Replay (data.replay) = 0.1"


def test_a_file_that_is_typed_stands_in_their_place() -> None:
    draft = set_field(Draft(preset="8b-on-12gb", answers=SEVERAL), "data.source", "mine.jsonl")
    assert (recipe(draft).data.name, recipe(draft).data.sources) == ("mine.jsonl", ())


def test_other_general_rows_make_other_tokens() -> None:
    draft = Draft(preset="8b-on-12gb", answers=SEVERAL)
    before = [shown(draft, name) for name in RENDERED_BY]
    changed = set_field(draft, "data.replay_source", "general.jsonl")
    assert [shown(changed, name) for name in RENDERED_BY] != before
