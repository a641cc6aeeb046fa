"""The wizard's steps, one table for the full-screen wizard and the plain prompts: order, titles, what applies, help."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fitune.core.runs import Run
from fitune.tui.wizard.draft import Draft

Name = Literal["start", "preset", "edit", "data", "review"]
State = Literal["done", "now", "to do"]


@dataclass(frozen=True, slots=True)
class Forward:
    """Go on with this draft."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Back:
    """Go back, with all that was typed."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class Reopen:
    """Take up the draft of last time at its step."""

    draft: Draft
    step: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Leave the wizard and watch a run."""

    run: Run


Answer = Forward | Back | Reopen | Watch


@dataclass(frozen=True, slots=True)
class Step:
    """One step: one screen, or a few numbered lines."""

    name: Name
    title: str
    question: str
    purpose: str
    """A sentence on what the screen is for; with the question it fits into a line of 80 columns."""
    help: str
    """The purpose of the step."""
    mistake: str
    """The most common mistake."""
    applies: Callable[[Draft], bool] = lambda draft: True


STEPS: tuple[Step, ...] = (
    Step(
        "start",
        "Machine",
        "What do you want to do?",
        "This machine, its runs, and a new one.",
        "fitune looks at this machine: its card, memory and disk. Below are its runs: those that are alive first, then "
        "the newest. Open one, compare two, use what was trained, or start a new one.",
        "Starting a second run on a card that already works. Watch the first one instead, or stop it.",
    ),
    Step(
        "preset",
        "Preset",
        "Which starting point?",
        "A model with settings that suit a card.",
        "A preset is a model of some size with settings that are known to work on a card of some size. The best for "
        "this card comes first; without a card, the smallest. Everything in it can be changed in the next step.",
        "Taking the largest model that just fits. A size smaller leaves room for longer rows, and trains faster.",
        lambda draft: not draft.answers.get("model", {}).get("id"),
    ),
    Step(
        "edit",
        "Settings",
        "Change anything?",
        "Each works as it is; see what it costs.",
        "Each setting has a value already, and most people change none. The panel shows what the memory of the card "
        "will hold, and what the setting in hand costs of it.",
        "Changing several settings at once. Change one, train, compare.",
    ),
    Step(
        "data",
        "Data",
        "What shall it learn from?",
        "Rows that show what it shall answer.",
        "A file (JSONL, JSON, CSV, Parquet, text), a folder of them, or a data set on the Hub as owner/name. fitune "
        "recognises the common shapes of rows, tells what is wrong with them, and shows what the model will see. Tab "
        "completes a path as in a shell; once the rows are read it leads from the problems to the lengths, to rows "
        "token by token, and to the rows as they are. Up and Down choose among the files; .. is the folder above.",
        "Many rows that nobody has read: few of good quality beat many of poor quality. Look at the first ones here.",
    ),
    Step(
        "review",
        "Review",
        "Start the training?",
        "All that will happen, before it does.",
        "All that will happen, in plain words, before it does. The training runs by itself: you can close the "
        "terminal and come back at any time.",
        "Not looking at the list of what you changed: a typo in the learning rate costs a whole run.",
    ),
)


def named(name: str) -> Step:
    """The step of that name; the first where there is none."""
    return next((step for step in STEPS if step.name == name), STEPS[0])


def applicable(draft: Draft) -> list[Step]:
    """The steps that this draft goes through."""
    return [step for step in STEPS if step.applies(draft)]


def after(step: Step, draft: Draft) -> Step:
    """The next step that applies; the same one after the last."""
    rest = STEPS[STEPS.index(step) + 1 :]
    return next((each for each in rest if each.applies(draft)), step)


def before(step: Step, draft: Draft) -> Step:
    """The step to go back to; the same one before the first."""
    earlier = STEPS[: STEPS.index(step)]
    return next((each for each in reversed(earlier) if each.applies(draft)), step)


def leads_to(step: Step, answer: Forward | Back | Reopen) -> tuple[Draft, Step]:
    """Follow a step's answer: the draft as it is now, and the next step."""
    match answer:
        case Forward(draft):
            return draft, after(step, draft)
        case Back(draft):
            return draft, before(step, draft)
        case Reopen(draft, name):
            kept = named(name)
            return draft, after(kept, draft) if kept is STEPS[0] else kept  # the first one has just been answered


def progress(step: Step, draft: Draft) -> list[tuple[Step, State]]:
    """The steps of a draft, and how each stands."""
    found = applicable(draft)
    now = found.index(step)
    return [(each, "done" if at < now else "now" if at == now else "to do") for at, each in enumerate(found)]
