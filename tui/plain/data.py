"""The data step as prompts: where the rows are, what is wrong with them, and what the model will see."""

import json
import time
from dataclasses import replace
from pathlib import Path

from fitune.core.data import Report, dataset
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, RunState
from fitune.core.tokens import TokenStats, findings
from fitune.tui.data.read import render
from fitune.tui.data.report_text import (
    better_length,
    check_lines,
    example_head,
    finding_lines,
    headline,
    left_out_lines,
    length_line,
    mapping_lines,
    rendering_line,
    row_lines,
)
from fitune.tui.data.token_text import example_text, histogram_lines, legend
from fitune.tui.plain.prompt import GoBack, Talk
from fitune.tui.wizard.draft import Draft, prepared, recipe, reset_field, set_field, with_prepared
from fitune.tui.wizard.forecast_text import WORDS, forecast_draft
from fitune.tui.wizard.options import data_suggestions
from fitune.tui.wizard.steps import Answer, Forward

PREVIEW_ROWS = 3
TELL_EVERY_S = 3.0


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
    """Read the rows, let a mapping be chosen where it is not sure, count tokens, and tell what was found."""
    talk.say("Reading ...")
    report = dataset.inspect(recipe(draft).data, PREVIEW_ROWS)
    talk.say(headline(report))
    draft = replace(draft, report=report)
    if report.candidates:
        talk.say("\n".join([*finding_lines(report), *preview_lines(report)]))
        answer = talk.choose("Which mapping", mapping_lines(report), 0, draft)
        if isinstance(answer, int) and dict(report.candidates[answer]) != dict(report.mapping):
            mapping = json.dumps(dict(report.candidates[answer]))
            return read_data(talk, set_field(draft, "data.columns", mapping))
    if not report.can_train:
        talk.say("\n".join([*finding_lines(report), *preview_lines(report)]))
        raise UserError("These rows can't be trained on as they are.", "Mend them, or choose others.")
    draft = with_tokens(talk, draft)
    found = prepared(draft)
    talk.say("\n".join([*(check_lines(report, found, recipe(draft)) if found else finding_lines(report)),
                        *preview_lines(report)]))  # fmt: skip
    return look_at_rows(talk, draft, found) if found else go_on(talk, draft)


def go_on(talk: Talk, draft: Draft) -> Answer:
    """The end of the step."""
    talk.ask("Enter to go on", draft=draft)
    return Forward(draft)


def with_tokens(talk: Talk, draft: Draft) -> Draft:
    """The draft with its rows in tokens; without them where that failed or Ctrl+C skipped it."""
    if prepared(draft):
        return draft
    talk.say(f"Counting tokens as {recipe(draft).model.id} sees them ... (Ctrl+C goes on without)")
    began_s = told_s = time.monotonic()

    def tell(_: Run, state: RunState) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > TELL_EVERY_S:
            told_s = time.monotonic()
            talk.say(f"{rendering_line(state, recipe(draft).model.id)}, {told_s - began_s:.0f} s")

    try:
        return with_prepared(draft, render(recipe(draft), tell))
    except KeyboardInterrupt:
        talk.say("\nSkipped: rows count as full length.")
    except UserError as error:
        talk.say(f"WARN The tokens can't be counted. {error}")
    return draft


def look_at_rows(talk: Talk, draft: Draft, found: TokenStats) -> Answer:
    """Lengths and rows in tokens, as often as asked for; then on."""
    example = 0
    while True:
        asked = recipe(draft)
        better = better_length(found, asked)
        longer = f", c to cut at {better} tokens instead" if better else ""
        answer = talk.ask(f"Enter to go on, l for lengths, t for a row in tokens{longer}", draft=draft).lower()
        if answer == "l":
            talk.say("\n".join([length_line(found, asked), "", *bars(talk, found, asked)]))
        elif answer == "t" and found.examples:
            talk.say("\n".join(example_lines(talk, found, asked, example)))
            example = (example + 1) % len(found.examples)
        elif answer == "c" and better:
            draft = set_field(draft, "model.max_seq_length", str(better))
            forecast = forecast_draft(draft)
            talk.say(f"{length_line(found, recipe(draft))}\n{WORDS[forecast.verdict]} {forecast.said}")
        elif answer:
            talk.say("ERROR Type one of the letters, or Enter.")
        elif any(each.severity == "stop" for each in findings(found, asked)):
            raise UserError("Nothing is left to learn in these rows.", "Mend them, or choose others.")
        else:
            return Forward(draft)


def bars(talk: Talk, found: TokenStats, asked: Recipe) -> list[str]:
    """The histogram of lengths, with its cut line."""
    return histogram_lines(found, asked.model.max_seq_length, unicode=talk.unicode)


def example_lines(talk: Talk, found: TokenStats, asked: Recipe, number: int) -> list[str]:
    """A row token by token, below what its marks mean."""
    text = example_text(found.examples[number], asked.model.max_seq_length, talk.unicode).plain
    return [example_head(found, number), legend(talk.unicode), "", text]


def reread(talk: Talk, draft: Draft) -> Report:
    """The rows that were chosen last time. Raises GoBack if they can't be read any more."""
    talk.say("Reading ...")
    try:
        return dataset.inspect(recipe(draft).data, PREVIEW_ROWS)
    except UserError as error:
        talk.say(f"ERROR {error}")
        raise GoBack(draft) from None


def preview_lines(report: Report) -> list[str]:
    """What of the source was not read, and the first rows."""
    rows = [line for row in report.preview for line in ["", *row_lines(row)]]
    return [*left_out_lines(report), *(["", "The first rows:", *rows] if rows else [])]
