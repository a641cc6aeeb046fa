"""The steps of the wizard as prompts, from the same tables as the screens."""

from dataclasses import replace
from pathlib import Path

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.recipe import presets
from fitune.core.tokens import lengths_note
from fitune.tui.plain.data import reread, with_tokens
from fitune.tui.plain.prompt import GoBack, Prompter
from fitune.tui.wizard.draft import (
    Draft,
    chosen_fields,
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
    ways_out,
    with_plan,
    with_remedy,
    without_plan,
)
from fitune.tui.wizard.memory.words import named, remedy_text
from fitune.tui.wizard.models.weights import ask, look
from fitune.tui.wizard.options import (
    card_gib_of,
    kept_changes,
    machine_lines,
    machine_summary,
    preset_choices,
    start_choices,
)
from fitune.tui.wizard.review_text import command_line, lines, obstacles, push_words, write_recipe
from fitune.tui.wizard.steps import Answer, Forward, Reopen, Watch


def ask_start(prompter: Prompter, draft: Draft) -> Answer:
    """Show the machine, and ask what to do."""
    if draft.machine is not None:
        prompter.say("\n".join(machine_lines(draft.machine)))
    choices = start_choices(runs.home(), begun=bool(draft.preset or draft.edits))
    number = prompter.choose("Number", [choice.text for choice in choices], 0)
    if not isinstance(number, int):
        raise UserError("Type one of the numbers.")
    choice = choices[number]
    saved = restore(runs.home()) if choice.kind == "draft" else None
    if choice.kind == "resume" and choice.run is not None:
        jobs.start(choice.run, "train")
    if choice.run is not None:
        return Watch(choice.run)
    if saved is not None:
        return Reopen(replace(saved[0], machine=draft.machine), saved[1])
    return Forward(draft)


def ask_preset(prompter: Prompter, draft: Draft) -> Answer:
    """Ask for a preset, or another card to plan for."""
    choices = preset_choices(draft)
    prompter.say(machine_summary(choices))
    if changes := kept_changes(draft):
        prompter.say(f"WARN {changes} They are added to the preset.")
    ids = [choice.preset.id for choice in choices]
    default = ids.index(draft.preset) if draft.preset in ids else 0
    answer = prompter.choose("Number, or g to plan for another card", [choice.text for choice in choices], default)
    if answer == "g":
        size = prompter.ask("Plan for an empty card of how many GB (0: this machine)", "0")
        return ask_preset(prompter, replace(draft, card_gib=card_gib_of("" if size == "0" else size), preset=None))
    if not isinstance(answer, int):
        raise UserError("Type one of the numbers.")
    chosen = use_preset(draft, ids[answer])
    model, *others = choices[answer].preset.models
    prompter.say(f"{model}: {presets.model_notes()[model]}")
    if others:
        prompter.say(f"It suits these too; the next step changes it: {', '.join(others)}")
    return Forward(chosen)


def ask_edit(prompter: Prompter, draft: Draft) -> Answer:
    """Ask for settings to change, until the user goes on."""
    folded, draft = True, with_known(draft)
    while True:
        fields = form_fields(folded, chosen_fields(draft))
        field_problems = problems(draft)
        for number, field in enumerate(fields, 1):
            prompter.say(field_line(number, field, draft, field_problems.get(field.name, "")))
        forecast = show_forecast(prompter, draft)
        ways = ways_out(forecast)
        fit = ", f to make it fit" if ways else ""
        answer = prompter.ask(f"Number to change{fit}, m for more or fewer, Enter to go on", draft=draft)
        if not answer and not field_problems:
            return Forward(draft)
        if answer == "m":
            folded = not folded
        elif answer == "f" and ways:
            draft = with_remedy(draft, ways[0])
        elif answer.isdecimal() and 0 < int(answer) <= len(fields):
            draft = ask_field(prompter, draft, fields[int(answer) - 1])
        else:
            prompter.say("ERROR Fix the settings marked ERROR." if not answer else "ERROR Type one of the numbers.")


def ask_field(prompter: Prompter, draft: Draft, field: Field) -> Draft:
    """Show a setting's help and ask for its value; `-` resets it."""
    cost = field_cost(draft, field, forecast_draft(draft))
    prompter.say(f"{field.label} ({field.name}): {field.help}\nAllowed: {field.range}. {cost}")
    try:
        text = prompter.ask("Value, - to reset", shown(draft, field.name), field.name, draft)
    except GoBack:
        return draft
    return reset_field(draft, field.name) if text == "-" else set_field(draft, field.name, text)


def field_line(number: int, field: Field, draft: Draft, problem: str) -> str:
    """A setting as a line, `  4. * Rank: 32 (edited)`, with its problem."""
    mark = "*" if origin(draft, field.name) == "edited" else " "
    line = f"{number:>3}. {mark} {field.label}: {shown(draft, field.name)} ({origin(draft, field.name)})"
    return f"{line}\n       ERROR {problem}" if problem else line


def show_forecast(prompter: Prompter, draft: Draft) -> DraftForecast:
    """Print and return the forecast; an unknown model is looked up first."""
    model, revision = shown(draft, "model.id"), shown(draft, "model.revision") or None
    if model and known_shape(model, revision) is None:
        try:
            learn(model, revision)
        except UserError as error:
            prompter.say(f"ERROR {error}")
    forecast = forecast_draft(draft)
    basis = f"{forecast.site}; {named(lengths_note(forecast.work), keys=False)}"
    predicted = f" Predicted {bounds(forecast.budget)} on {basis}." if forecast.budget else ""
    prompter.say(f"{WORDS[forecast.verdict]} {forecast.said}{predicted}")
    if forecast.known and (ways := ways_out(forecast)):
        prompter.say(f"  f: {remedy_text(forecast.known, ways[0])}. {ways[0].costs}")
    return forecast


def ask_review(prompter: Prompter, draft: Draft) -> Answer:
    """Show the summary and ask whether to start. The rows are read first if the answers are from the last session."""
    if draft.report is None and draft.source and not obstacles(draft):
        draft = replace(draft, report=reread(prompter, draft))
        draft = draft if obstacles(draft) else with_tokens(prompter, draft)
    draft = with_plan(draft)
    model = recipe(draft).model
    prompter.say("Looking for the model ...")
    weights = ask(look(model), model)
    for line in lines(draft, weights):
        prompter.say(f"{line.label}: {line.text}")
    reasons = obstacles(draft, weights)
    prompter.say(
        "\n".join(f"ERROR {reason}" for reason in reasons) or f"The same without questions: w, then {command_line()}"
    )
    undo = ", u to undo the plan" if draft.plan and draft.plan.text else ""
    question = f"Start the training (y, n, w to write the recipe{undo})"
    answer = prompter.ask(question, "n" if reasons else "y", draft=draft).lower()
    if answer == "u" and undo:
        return ask_review(prompter, without_plan(draft))
    if answer == "w":
        prompter.say(f"Written to {write_recipe(draft, Path.cwd())}")
        return ask_review(prompter, draft)
    if answer not in ("y", "yes") or reasons:
        raise GoBack(draft)
    draft_recipe = recipe(draft)
    if (
        draft_recipe.deliver.push_repo
        and prompter.ask(f"Push to {push_words(draft_recipe)}? Type yes", "no", draft=draft) != "yes"
    ):
        raise GoBack(draft)
    return Watch(jobs.begin(draft_recipe, draft.preset, rows=prepared(draft)).run)
