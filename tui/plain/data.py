"""The data step as prompts: the source of the rows, their problems, and the tokens that the model will see."""

import time
from dataclasses import replace

from fitune.core.data import Report, dataset
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, RunState
from fitune.core.tokens import TokenStats, findings
from fitune.tui.data.example_file import OFFER, TASKS, task_lines, write_example
from fitune.tui.data.folder import entries, line, look_into, proposals
from fitune.tui.data.paths import as_path
from fitune.tui.data.read import render
from fitune.tui.data.report_text import (
    LEARNS_FROM,
    asks,
    better_length,
    check_lines,
    choice_lines,
    example_head,
    finding_lines,
    headline,
    left_out_lines,
    length_line,
    reading_lines,
    rendering_line,
    row_lines,
)
from fitune.tui.data.token_text import example_text, histogram_lines, legend
from fitune.tui.data.unseen import with_model
from fitune.tui.plain.prompt import GoBack, Prompter
from fitune.tui.wizard.draft import Draft, prepared, recipe, reset_field, set_field, shown, with_prepared
from fitune.tui.wizard.forecast_text import known_shape, long_rows_text
from fitune.tui.wizard.options import THINKING, chosen, thinking_choices
from fitune.tui.wizard.steps import Answer, Forward

PREVIEW_ROWS = 3
SUGGESTED_FILES, COLUMNS = 6, 74
REPORT_EVERY_S = 3.0


def ask_data(prompter: Prompter, draft: Draft) -> Answer:
    """Ask for the source of the rows, then read them."""
    found = proposals(entries(""))[:SUGGESTED_FILES]
    suggestions = [entry.path for entry in found]
    prompter.say("\n".join(LEARNS_FROM))
    for number, text in enumerate([*(line(entry, look_into(entry), COLUMNS) for entry in found), OFFER], 1):
        prompter.say(f"{number:>3}. {text}")
    default = draft.source or (suggestions[0] if suggestions else "")
    answer = prompter.ask("Path, number, or name of a data set on the Hub", default, "data.source", draft)
    if not answer:
        raise UserError("Data are needed.", "Type the path of a file.")
    number = int(answer) - 1 if answer.isdecimal() else -1
    source = suggestions[number] if 0 <= number < len(suggestions) else as_path(answer)
    if number == len(suggestions):
        source = _example(prompter, draft)
    if source != draft.source:
        draft = reset_field(draft, "data.columns")
    return read_data(prompter, set_field(draft, "data.source", source))


def _example(prompter: Prompter, draft: Draft) -> str:
    """Write the example file of a task that is asked for, and give its name. Raises UserError."""
    task = prompter.choose("What shall the model learn", task_lines(), 0, draft)
    if not isinstance(task, int):
        raise UserError(f"{task} is none of these numbers.", "Type the number of a task.")
    return write_example(TASKS[task])


def read_data(prompter: Prompter, draft: Draft) -> Answer:
    """Read the rows, ask for a mapping if it is not sure, count tokens, and print the report."""
    prompter.say("Reading ...")
    asked = recipe(draft)
    report = with_model(dataset.inspect(asked.rows, PREVIEW_ROWS), asked)
    prompter.say(headline(report))
    draft = replace(draft, report=report)
    if asks(report):
        prompter.say("\n".join([*finding_lines(report), *preview_lines(report)]))
        question = "What do you want to show it" if report.objectives else "Which mapping"
        answer = prompter.choose(question, choice_lines(report), 0, draft)
        if isinstance(answer, int):
            return read_data(prompter, chosen(draft, report, answer))
    if not report.can_train:
        prompter.say("\n".join([*finding_lines(report), *preview_lines(report)]))
        raise UserError("These rows can't be trained on as they are.", "Fix them, or choose others.")
    draft = with_thinking(prompter, with_tokens(prompter, draft))
    stats = prepared(draft)
    shape = known_shape(asked.model.id, asked.model.revision)
    checked = check_lines(report, stats, recipe(draft), shape) if stats else finding_lines(report)
    prompter.say("\n".join([*reading_lines(report), *checked, *preview_lines(report)]))
    return look_at_rows(prompter, draft, stats) if stats else go_on(prompter, draft)


def go_on(prompter: Prompter, draft: Draft) -> Answer:
    """End the step."""
    prompter.ask("Enter to go on", draft=draft)
    return Forward(draft)


def with_tokens(prompter: Prompter, draft: Draft) -> Draft:
    """The draft with its token statistics; without them if counting failed or Ctrl+C skipped it."""
    if prepared(draft):
        return draft
    prompter.say(f"Counting tokens as {recipe(draft).model.id} sees them ... (Ctrl+C goes on without)")
    started_s = reported_s = time.monotonic()

    def report_state(_: Run, state: RunState) -> None:
        nonlocal reported_s
        if time.monotonic() - reported_s > REPORT_EVERY_S:
            reported_s = time.monotonic()
            prompter.say(f"{rendering_line(state, recipe(draft).model.id)}, {reported_s - started_s:.0f} s")

    try:
        return with_prepared(draft, render(recipe(draft), report_state))
    except KeyboardInterrupt:
        prompter.say("\nSkipped: rows count as full length.")
    except UserError as error:
        prompter.say(f"WARN The tokens can't be counted. {error}")
    return draft


def with_thinking(prompter: Prompter, draft: Draft) -> Draft:
    """The draft with an answer to whether the model shall think, where it does and the rows don't."""
    if not (choices := thinking_choices(draft)):
        return draft
    prompter.say(THINKING)
    default = int(shown(draft, "data.thinking") == "off")
    number = prompter.choose("Shall it think", [choice.text for choice in choices], default, draft)
    if not isinstance(number, int):
        raise UserError("Type one of the numbers.")
    return with_tokens(prompter, set_field(draft, "data.thinking", choices[number].value))


def look_at_rows(prompter: Prompter, draft: Draft, stats: TokenStats) -> Answer:
    """Show lengths and rows in tokens as often as the user asks, until Enter."""
    example = 0
    while True:
        draft_recipe = recipe(draft)
        better = better_length(stats, draft_recipe)
        longer = f", c to cut at {better} tokens instead" if better else ""
        answer = prompter.ask(f"Enter to go on, l for lengths, t for a row in tokens{longer}", draft=draft).lower()
        if answer == "l":
            prompter.say("\n".join([length_line(stats, draft_recipe), "", *bars(prompter, stats, draft_recipe)]))
        elif answer == "t" and stats.examples:
            prompter.say("\n".join(example_lines(prompter, stats, draft_recipe, example)))
            example = (example + 1) % len(stats.examples)
        elif answer == "c" and better:
            draft = set_field(draft, "model.max_seq_length", str(better))
            prompter.say(f"{length_line(stats, recipe(draft))}\n{long_rows_text(draft)}")
        elif answer:
            prompter.say("ERROR Type one of the letters, or Enter.")
        elif any(finding.severity == "stop" for finding in findings(stats, draft_recipe)):
            raise UserError("Nothing is left to learn in these rows.", "Fix them, or choose others.")
        else:
            return Forward(draft)


def bars(prompter: Prompter, stats: TokenStats, recipe: Recipe) -> list[str]:
    """The histogram of lengths, with a line at the cut."""
    return histogram_lines(stats, recipe.model.max_seq_length, unicode=prompter.unicode)


def example_lines(prompter: Prompter, stats: TokenStats, recipe: Recipe, number: int) -> list[str]:
    """A row token by token, below the legend."""
    text = example_text(stats.examples[number], recipe.model.max_seq_length, prompter.unicode).plain
    return [example_head(stats, number), legend(prompter.unicode), "", text]


def reread(prompter: Prompter, draft: Draft) -> Report:
    """Read the rows of the last session again. Raises GoBack if that fails."""
    prompter.say("Reading ...")
    try:
        return with_model(dataset.inspect(recipe(draft).rows, PREVIEW_ROWS), recipe(draft))
    except UserError as error:
        prompter.say(f"ERROR {error}")
        raise GoBack(draft) from None


def preview_lines(report: Report) -> list[str]:
    """The files that were left out, and the first rows."""
    rows = [line for row in report.preview for line in ["", *row_lines(row)]]
    return [*left_out_lines(report), *(["", "The first rows:", *rows] if rows else [])]
