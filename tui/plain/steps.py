"""What each step of the wizard asks, as prompts: from the same tables as the screens, so that both ask the same."""

from dataclasses import replace
from pathlib import Path

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.tokens import lengths_note
from fitune.tui.plain.data import reread, with_tokens
from fitune.tui.plain.prompt import GoBack, Talk
from fitune.tui.wizard.draft import (
    Draft,
    origin,
    prepared,
    problems,
    recipe,
    reset_field,
    restore,
    set_field,
    shown,
    use_preset,
    with_known,
)
from fitune.tui.wizard.field_cost import field_cost
from fitune.tui.wizard.fields import Field, form_fields
from fitune.tui.wizard.forecast_text import (
    WORDS,
    DraftForecast,
    bounds,
    forecast_draft,
    known_shape,
    learn,
    remedy_text,
    ways_out,
    with_plan,
    with_remedy,
    without_plan,
)
from fitune.tui.wizard.options import card_gib_of, machine_lines, preset_choices, start_choices
from fitune.tui.wizard.review_text import command_line, lines, obstacles, push_words, write_recipe
from fitune.tui.wizard.steps import Answer, Forward, Reopen, Watch


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
        jobs.start(choice.run, "train")
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
    folded, draft = True, with_known(draft)
    while True:
        fields = form_fields(folded)
        wrong = problems(draft)
        for number, field in enumerate(fields, 1):
            talk.say(field_line(number, field, draft, wrong.get(field.name, "")))
        forecast = known_outlook(talk, draft)
        ways = ways_out(forecast)
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
    cost = field_cost(draft, field, forecast_draft(draft))
    talk.say(f"{field.label} ({field.name}): {field.help}\nAllowed: {field.range}. {cost}")
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


def known_outlook(talk: Talk, draft: Draft) -> DraftForecast:
    """The forecast, said; a model that is not known is looked up first."""
    model, revision = shown(draft, "model.id"), shown(draft, "model.revision") or None
    if model and known_shape(model, revision) is None:
        try:
            learn(model, revision)
        except UserError as error:
            talk.say(f"ERROR {error}")
    forecast = forecast_draft(draft)
    judged = f"{forecast.site}; {lengths_note(forecast.work)}"
    predicted = f" Predicted {bounds(forecast.budget)} on {judged}." if forecast.budget else ""
    talk.say(f"{WORDS[forecast.verdict]} {forecast.said}{predicted}")
    for way in ways_out(forecast)[:1]:
        talk.say(f"  f: {remedy_text(way)}. {way.costs}")
    return forecast


def ask_review(talk: Talk, draft: Draft) -> Answer:
    """All that will happen; then yes or no. The rows are read first if these are the answers of last time."""
    if draft.report is None and draft.source and not obstacles(draft):
        draft = replace(draft, report=reread(talk, draft))
        draft = draft if obstacles(draft) else with_tokens(talk, draft)
    draft = with_plan(draft)
    for line in lines(draft):
        talk.say(f"{line.label}: {line.text}")
    wrong = obstacles(draft)
    talk.say("\n".join(f"ERROR {each}" for each in wrong) or f"The same without questions: w, then {command_line()}")
    undo = ", u to undo the plan" if draft.plan and draft.plan.text else ""
    question = f"Start the training (y, n, w to write the recipe{undo})"
    answer = talk.ask(question, "n" if wrong else "y", draft=draft).lower()
    if answer == "u" and undo:
        return ask_review(talk, without_plan(draft))
    if answer == "w":
        talk.say(f"Written to {write_recipe(draft, Path.cwd())}")
        return ask_review(talk, draft)
    if answer not in ("y", "yes") or wrong:
        raise GoBack(draft)
    asked = recipe(draft)
    if asked.deliver.push_repo and talk.ask(f"Push to {push_words(asked)}? Type yes", "no", draft=draft) != "yes":
        raise GoBack(draft)
    return Watch(jobs.begin(asked, draft.preset, rows=prepared(draft)).run)
