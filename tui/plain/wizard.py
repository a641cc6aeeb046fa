"""The wizard as numbered prompts: the same steps, choices and defaults as on the screen.

Each prompt takes Enter for the default in brackets, `b` to go back and `?` for help. No escape sequence is written.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fitune.core import runs
from fitune.core.errors import ExitCode, UserError
from fitune.core.machine import host
from fitune.core.runs import Run
from fitune.tui.plain.data import ask_data
from fitune.tui.plain.prompt import GoBack, NeedHelp, Prompter
from fitune.tui.plain.steps import ask_edit, ask_preset, ask_review, ask_start
from fitune.tui.text.help_pages import glossary_page
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, discard, kept_line, save
from fitune.tui.wizard.help import about
from fitune.tui.wizard.steps import Back, Watch

ASK: Mapping[steps.Name, Callable[[Prompter, Draft], steps.Answer]] = {
    "start": ask_start,
    "preset": ask_preset,
    "edit": ask_edit,
    "data": ask_data,
    "review": ask_review,
}


def run_plain(answers: Mapping[str, Any] | None = None) -> int:
    """Run the wizard in lines, follow the run until it ends or Ctrl+C leaves it running, then offer to deliver it.

    Returns the exit status of the run, or ExitCode.STOPPED if the user left before a start.

    answers: groups of recipe fields that replace those of a preset.
    """
    prompter = Prompter()
    try:
        run = walk(prompter, Draft(answers=answers or {}))
    except (KeyboardInterrupt, EOFError):
        prompter.say(f"\nLeft. {kept_line(runs.home())}".rstrip())
        return ExitCode.STOPPED
    from fitune.tui.watch.follow import follow_to_end

    status = follow_to_end(run)
    if status == 0 and run.adapter.is_dir():
        from fitune.tui.plain.deliver import deliver

        try:
            deliver(prompter, run)
        except (KeyboardInterrupt, EOFError):
            prompter.say()
    return status


def walk(prompter: Prompter, draft: Draft) -> Run:
    """Go through the steps, forward and back, until there is a run to watch. Raises EOFError when the input ends."""
    base = runs.home()
    prompter.say("fitune: Enter takes what is in [brackets], b goes back, ? helps, Ctrl+C leaves.")
    draft = replace(draft, machine=host.detect(base / "runs"))
    step = steps.STEPS[0]
    while not isinstance(answer := one_step(prompter, step, draft), Watch):
        if isinstance(answer, Back) and step is steps.STEPS[0]:  # the first step has none before it
            continue
        draft, step = steps.leads_to(step, answer)
        try:
            save(draft, step.name, base)
        except UserError as error:
            prompter.say(f"WARN {error}")
    if step is not steps.STEPS[0]:  # a user who only watches a run keeps the saved answers
        discard(base)
    return answer.run


def one_step(prompter: Prompter, step: steps.Step, draft: Draft) -> steps.Answer:
    """Ask a step's questions until it is answered."""
    step_list = [name for name, _ in steps.progress(step, draft)]
    prompter.say(f"\n{step.title} ({step_list.index(step) + 1} of {len(step_list)}): {step.question}")
    while True:
        try:
            return ASK[step.name](prompter, draft)
        except GoBack as back:
            return Back(back.draft or draft)
        except NeedHelp as help_request:
            draft = help_request.draft or draft
            for heading, text in [*about(help_request.topic or step.name, draft), glossary_page()]:
                prompter.say(f"\n{heading}\n{text}")
        except UserError as error:
            prompter.say(f"ERROR {error}")
