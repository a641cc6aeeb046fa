"""The wizard as numbered prompts: the same steps, choices and defaults, for those who need lines instead of a screen.

Each prompt takes Enter for what stands in brackets, `b` to go back and `?` for help. No escape sequence is written.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fitune.core import runs
from fitune.core.errors import ExitCode, UserError
from fitune.core.machine import host
from fitune.core.runs import Run
from fitune.tui.plain.data import ask_data
from fitune.tui.plain.prompt import GoBack, NeedHelp, Talk
from fitune.tui.plain.steps import ask_edit, ask_preset, ask_review, ask_start
from fitune.tui.text.glossary import words
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, discard, kept_line, save
from fitune.tui.wizard.help import about
from fitune.tui.wizard.steps import Back, Watch

ASK: Mapping[steps.Name, Callable[[Talk, Draft], steps.Answer]] = {
    "start": ask_start,
    "preset": ask_preset,
    "edit": ask_edit,
    "data": ask_data,
    "review": ask_review,
}


def run_plain(answers: Mapping[str, Any] | None = None) -> int:
    """The wizard in lines; the run's story, until it ends or Ctrl+C leaves it running; then the ways to use it.

    Returns the exit status, that of the run.

    answers: groups of recipe fields that take the place of a preset's. 130: left before a start.
    """
    talk = Talk()
    try:
        run = walk(talk, Draft(answers=answers or {}))
    except (KeyboardInterrupt, EOFError):
        talk.say(f"\nLeft. {kept_line(runs.home())}".rstrip())
        return ExitCode.STOPPED
    from fitune.tui.watch.follow import follow_to_end

    status = follow_to_end(run)
    if status == 0 and run.adapter.is_dir():
        from fitune.tui.plain.deliver import deliver

        try:
            deliver(talk, run)
        except (KeyboardInterrupt, EOFError):
            talk.say()
    return status


def walk(talk: Talk, draft: Draft) -> Run:
    """Step after step, back and forth, until a run is there to be watched. Raises EOFError at the end of the input."""
    base = runs.home()
    talk.say("fitune: Enter takes what is in [brackets], b goes back, ? helps, Ctrl+C leaves.")
    draft = replace(draft, machine=host.detect(base / "runs"))
    step = steps.STEPS[0]
    while not isinstance(answer := one_step(talk, step, draft), Watch):
        if isinstance(answer, Back) and step is steps.STEPS[0]:  # nowhere to go, and nothing to keep
            continue
        draft, step = steps.leads_to(step, answer)
        try:
            save(draft, step.name, base)
        except UserError as error:
            talk.say(f"WARN {error}")
    if step is not steps.STEPS[0]:  # who only looks at a run there has his answers still before him
        discard(base)
    return answer.run


def one_step(talk: Talk, step: steps.Step, draft: Draft) -> steps.Answer:
    """Ask what a step asks, until it is answered."""
    place = [each for each, _ in steps.progress(step, draft)]
    talk.say(f"\n{step.title} ({place.index(step) + 1} of {len(place)}): {step.question}")
    while True:
        try:
            return ASK[step.name](talk, draft)
        except GoBack as back:
            return Back(back.draft or draft)
        except NeedHelp as need:
            draft = need.draft or draft
            for heading, text in [*about(need.topic or step.name, draft), words()]:
                talk.say(f"\n{heading}\n{text}")
        except UserError as error:
            talk.say(f"ERROR {error}")
