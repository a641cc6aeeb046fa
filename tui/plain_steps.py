"""What each step of the wizard asks, as prompts: from the same tables as the screens, so that both ask the same."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core import dataset, launch, runs
from core.errors import UserError
from core.rows.report import Report
from tui.choices import card_gib_of, data_suggestions, machine_lines, preset_choices, start_choices
from tui.cost import field_cost
from tui.data_view import finding_lines, headline, mapping_lines, row_lines
from tui.draft import Draft, origin, problems, recipe, reset_field, restore, set_field, shown, use_preset
from tui.fields import Field, form_fields
from tui.outlook import WORDS, Outlook, bounds, known_shape, learn, look, remedy_text, ways_out, with_remedy
from tui.steps import Answer, Forward, Reopen, Watch
from tui.summary import command_line, lines, obstacles, push_words, write_recipe
from tui.talk import GoBack, Talk

PREVIEW_ROWS = 3


def ask_start(talk: Talk, draft: Draft) -> Answer:
    """What was found, and what to do."""
    if draft.machine is not None:
        talk.say("\n".join(machine_lines(draft.machine)))
    choices = start_choices(runs.home(), begun=bool(draft.preset or draft.edits))
    number = talk.choose("Number", [choice.text for choice in choices], 0)
    if not isinstance(number, int):
        raise UserError("Type one of the numbers.")
    choice = choices[number]
    kept = restore(runs.home()) if choice.kind == "draft" else None
    if choice.kind == "resume" and choice.run is not None:
        launch.start(choice.run, "train")
    if choice.run is not None:
        return Watch(choice.run)
    if kept is not None:
        return Reopen(replace(kept[0], machine=draft.machine), kept[1])
    return Forward(draft)


def ask_preset(talk: Talk, draft: Draft) -> Answer:
    """A preset; or another card to plan for."""
    choices = preset_choices(draft)
    ids = [choice.preset.id for choice in choices]
    default = ids.index(draft.preset) if draft.preset in ids else 0
    answer = talk.choose("Number, or g to plan for another card", [choice.text for choice in choices], default)
    if answer == "g":
        size = talk.ask("Plan for an empty card of how many GB (0: this machine)", "0")
        return ask_preset(talk, replace(draft, card_gib=card_gib_of("" if size == "0" else size), preset=None))
    if not isinstance(answer, int):
        raise UserError("Type one of the numbers.")
    return Forward(use_preset(draft, ids[answer]))


def ask_edit(talk: Talk, draft: Draft) -> Answer:
    """The settings, until nothing is to be changed any more."""
    folded = True
    while True:
        fields = form_fields(folded)
        wrong = problems(draft)
        for number, field in enumerate(fields, 1):
            talk.say(field_line(number, field, draft, wrong.get(field.name, "")))
        outlook = known_outlook(talk, draft)
        ways = ways_out(outlook)
        fit = ", f to make it fit" if ways else ""
        answer = talk.ask(f"Number to change{fit}, m for more or fewer, Enter to go on", draft=draft)
        if not answer and not wrong:
            return Forward(draft)
        if answer == "m":
            folded = not folded
        elif answer == "f" and ways:
            draft = with_remedy(draft, ways[0])
        elif answer.isdecimal() and 0 < int(answer) <= len(fields):
            draft = ask_field(talk, draft, fields[int(answer) - 1])
        else:
            talk.say("ERROR Mend the settings marked ERROR." if not answer else "ERROR Type one of the numbers.")


def ask_field(talk: Talk, draft: Draft, field: Field) -> Draft:
    """One setting: its help, then its value; `-` resets it."""
    talk.say(
        f"{field.label} ({field.name}): {field.help}\nAllowed: {field.range}. {field_cost(draft, field, look(draft))}"
    )
    try:
        text = talk.ask("Value, - to reset", shown(draft, field.name), field.name, draft)
    except GoBack:
        return draft
    return reset_field(draft, field.name) if text == "-" else set_field(draft, field.name, text)


def field_line(number: int, field: Field, draft: Draft, wrong: str) -> str:
    """`  4. * Rank: 32 (edited)`, and its problem."""
    mark = "*" if origin(draft, field.name) == "edited" else " "
    said = f"{number:>3}. {mark} {field.label}: {shown(draft, field.name)} ({origin(draft, field.name)})"
    return f"{said}\n       ERROR {wrong}" if wrong else said


def known_outlook(talk: Talk, draft: Draft) -> Outlook:
    """The outlook, said; a model that is not known is looked up first."""
    model, revision = shown(draft, "model.id"), shown(draft, "model.revision") or None
    if model and known_shape(model, revision) is None:
        try:
            learn(model, revision)
        except UserError as error:
            talk.say(f"ERROR {error}")
    outlook = look(draft)
    predicted = f" Predicted {bounds(outlook.budget)} on {outlook.place}." if outlook.budget else ""
    talk.say(f"{WORDS[outlook.verdict]} {outlook.said}{predicted}")
    for way in ways_out(outlook)[:1]:
        talk.say(f"  f: {remedy_text(way)}. {way.costs}")
    return outlook


def ask_data(talk: Talk, draft: Draft) -> Answer:
    """The rows: where they are, what is wrong with them, what the model will see."""
    suggestions = data_suggestions(Path.cwd())
    for number, name in enumerate(suggestions, 1):
        talk.say(f"{number:>3}. {name}")
    default = draft.source or (suggestions[0] if suggestions else "")
    answer = talk.ask("Path, number, or name of a data set on the Hub", default, "data.source", draft)
    if not answer:
        raise UserError("Data are needed.", "Type the path of a file.")
    number = int(answer) - 1 if answer.isdecimal() else -1
    source = suggestions[number] if 0 <= number < len(suggestions) else answer
    if source != draft.source:
        draft = reset_field(draft, "data.columns")
    return read_data(talk, set_field(draft, "data.source", source))


def read_data(talk: Talk, draft: Draft) -> Answer:
    """Read the rows, tell about them, and let a mapping be chosen where it is not sure."""
    talk.say("Reading ...")
    report = dataset.inspect(recipe(draft).data, PREVIEW_ROWS)
    talk.say("\n".join(report_lines(report)))
    draft = replace(draft, report=report)
    if report.candidates:
        answer = talk.choose("Which mapping", mapping_lines(report), 0, draft)
        if isinstance(answer, int) and dict(report.candidates[answer]) != dict(report.mapping):
            mapping = json.dumps(dict(report.candidates[answer]))
            return read_data(talk, set_field(draft, "data.columns", mapping))
    if not report.can_train:
        raise UserError("These rows can't be trained on as they are.", "Mend them, or choose others.")
    talk.ask("Enter to go on", draft=draft)
    return Forward(draft)


def reread(talk: Talk, draft: Draft) -> Report:
    """The rows that were chosen last time. Raises GoBack if they can't be read any more."""
    talk.say("Reading ...")
    try:
        return dataset.inspect(recipe(draft).data, PREVIEW_ROWS)
    except UserError as error:
        talk.say(f"ERROR {error}")
        raise GoBack(draft) from None


def report_lines(report: Report) -> Sequence[str]:
    """Headline, problems, then the first rows."""
    rows = [line for row in report.preview for line in ["", *row_lines(row)]]
    return [headline(report), *finding_lines(report), "", "What the model will see:", *rows]


def ask_review(talk: Talk, draft: Draft) -> Answer:
    """All that will happen; then yes or no. The rows are read first if these are the answers of last time."""
    if draft.report is None and draft.source and not obstacles(draft):
        draft = replace(draft, report=reread(talk, draft))
    for line in lines(draft):
        talk.say(f"{line.label}: {line.text}")
    wrong = obstacles(draft)
    talk.say("\n".join(f"ERROR {each}" for each in wrong) or f"The same without questions: w, then {command_line()}")
    answer = talk.ask("Start the training (y, n, w to write the recipe)", "n" if wrong else "y", draft=draft).lower()
    if answer == "w":
        talk.say(f"Written to {write_recipe(draft, Path.cwd())}")
        return ask_review(talk, draft)
    if answer not in ("y", "yes") or wrong:
        raise GoBack(draft)
    asked = recipe(draft)
    if asked.deliver.push_repo and talk.ask(f"Push to {push_words(asked)}? Type yes", "no", draft=draft) != "yes":
        raise GoBack(draft)
    return Watch(launch.begin(asked, draft.preset).run)
