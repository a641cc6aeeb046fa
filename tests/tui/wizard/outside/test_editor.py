"""The recipe goes to an editor and comes back: what was changed is an edit, problems are sentences, nothing is lost."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fitune.core.errors import BadInput, UserError
from fitune.core.machine.host import Machine
from fitune.core.recipe import load
from fitune.tui.wizard.draft import Draft, recipe
from fitune.tui.wizard.outside.editor import FILE, editor, in_editor, with_recipe

Edit = Callable[[Sequence[str]], tuple[int, str]]


def changing(*changes: tuple[str, str]) -> Edit:
    """An editor that replaces texts and saves."""

    def edit(command: Sequence[str]) -> tuple[int, str]:
        file = Path(command[-1])
        text = file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        return 0, ""

    return edit


@pytest.fixture
def draft(this_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Draft:
    """Answers with a change, and an editor to call."""
    monkeypatch.setenv("EDITOR", "ed")
    return Draft(preset="8b-on-12gb", machine=this_machine, edits={"data.source": "rows.jsonl", "lora.r": "64"})


def test_an_unchanged_recipe_changes_nothing(draft: Draft, home: Path) -> None:
    assert in_editor(draft, home, changing()) == draft
    assert not (home / FILE).exists()


def test_what_was_changed_is_an_edit_and_what_was_deleted_gets_its_default(draft: Draft, home: Path) -> None:
    edit = changing(('lr = "auto"', "lr = 3e-4"), ("r = 64\n", ""), ("gguf = []", 'gguf = ["q8_0", "f16"]'))
    changed = in_editor(draft, home, edit)
    assert changed.edits == {"data.source": "rows.jsonl", "train.lr": "3e-4", "deliver.gguf": "q8_0, f16"}
    assert recipe(changed).deliver.gguf == ("q8_0", "f16")
    assert recipe(changed).lora.r == 16


def test_problems_are_told_at_once_and_the_text_is_opened_again(draft: Draft, home: Path) -> None:
    with pytest.raises(BadInput, match="rr") as told:
        in_editor(draft, home, changing(("r = 64", "rr = 64"), ("epochs = 1.0", "epochs = 0")))
    assert "epochs" in str(told.value)
    changed = in_editor(draft, home, changing(("rr = 64", "r = 8"), ("epochs = 0", "epochs = 2")))
    assert (recipe(changed).lora.r, recipe(changed).train.epochs) == (8, 2)


def test_several_sources_come_through_and_one_takes_their_place(draft: Draft, home: Path) -> None:
    asked = load.parse({**recipe(draft).model_dump(mode="json"), "data": {"sources": [{"source": "a"}]}}, "x")
    several = with_recipe(draft, asked)
    assert recipe(several) == asked
    assert with_recipe(several, recipe(draft)).edits == draft.edits
    assert recipe(with_recipe(several, recipe(draft))) == recipe(draft)


def test_rows_are_read_again_only_where_they_are_others(draft: Draft, home: Path) -> None:
    from dataclasses import replace

    from fitune.core.data import dataset

    known = replace(draft, report=dataset.inspect(recipe(draft).data))
    assert in_editor(known, home, changing(("r = 64", "r = 8"))).report is known.report
    assert in_editor(known, home, changing(('"rows.jsonl"', '"other.jsonl"'))).report is None


def test_without_chosen_data_they_stay_unchosen(draft: Draft, home: Path) -> None:
    bare = Draft(preset=draft.preset, machine=draft.machine)
    assert in_editor(bare, home, changing()).source == ""


def test_an_editor_that_fails_or_is_not_there_is_a_sentence(
    draft: Draft, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="ended with status 3: nothing was changed"):
        in_editor(draft, home, lambda command: (3, ""))
    monkeypatch.setenv("EDITOR", "code --wait")
    assert editor() == ["code", "--wait"]
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="No editor was found"):
        editor()
