"""The actions on a run from its screen: stop, kill, resume, add a note, leave. Each asks before it does harm."""

import re
import time
from collections.abc import Callable

from textual.app import App

from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.text import clean
from fitune.tui.text.to_terminal import copy_command
from fitune.tui.watch.screen_text import Snapshot
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog
from fitune.tui.widgets.leave import LeaveAnswer, LeaveScreen


def is_available(action: str, run: Run, snapshot: Snapshot | None) -> bool:
    """True if the key of an action does something now."""
    dead = snapshot is not None and not snapshot.live
    match action:
        case "detach":
            return not dead
        case "close":
            return dead
        case "stop":
            return snapshot is not None and can_stop(snapshot)
        case "kill":
            return snapshot is not None and snapshot.live
        case "resume":
            return dead and snapshot is not None and not snapshot.state.trained
        case "copy":
            return bool(command_of(run, snapshot))
        case "chat" | "deliver" | "prefer":
            return dead and run.has_adapter()
        case "chart" | "zoom":
            return snapshot is not None and snapshot.has_chart
    return True


def can_stop(snapshot: Snapshot) -> bool:
    """True if a stop would end something earlier than it ends by itself."""
    return snapshot.status in ("starting", "running") and not snapshot.state.is_past_training


def stop(app: App[int], run: Run, snapshot: Snapshot | None) -> None:
    """Ask a run to stop after its step, if the user confirms."""
    question = "Stop the training after this step?\nIt writes a checkpoint, and can go on from there."
    if (job := _job(snapshot)) != "train":
        part = "file" if job == "push" else "part, if one is left"
        question = f"Stop the {job} before its next {part}?\nThe adapter stays as it is."
    app.push_screen(
        ConfirmDialog(question, _cancel_label(job), "Stop"), lambda yes: _request_stop(app, run) if yes else None
    )


def kill(app: App[int], run: Run, snapshot: Snapshot | None) -> None:
    """Kill a run at once, if the user confirms."""
    job, at = _job(snapshot), snapshot.checkpoint if snapshot else None
    lost = f"What came after {at} is lost." if at else "There is no checkpoint: all of it is lost."
    if job != "train":
        lost = "The adapter stays as it is."
    elif snapshot and snapshot.state.is_past_training and run.has_adapter():
        lost = "All its steps are done and its adapter is saved; its score is lost."
    question = f"Kill the {'training' if job == 'train' else job} at once?\n{lost}"

    def answered(yes: bool | None) -> None:
        try:
            if yes:
                run.kill()
        except UserError as error:
            show_error(app, str(error))

    app.push_screen(ConfirmDialog(question, _cancel_label(job), "Kill"), answered)


def starts_again(run: Run) -> str:
    """What a resume does, as a sentence."""
    return f"Starting again from the {'last checkpoint' if run.newest_checkpoint() else 'beginning'} ..."


def resume(app: App[int], run: Run) -> None:
    """Start a run's training again from its newest checkpoint. Slow: for a thread."""
    from fitune.core import jobs  # it imports pydantic, which the first frame should not wait for

    try:
        jobs.start(run, "train")
    except UserError as error:
        app.call_from_thread(show_error, app, str(error))


def chat(app: App[int], run: Run) -> None:
    """Talk with what was trained."""
    from fitune.tui.chat.screen import ChatScreen

    app.push_screen(ChatScreen(run))


def deliver(app: App[int], run: Run) -> None:
    """Show what can be made of what was trained."""
    from fitune.tui.deliver.screen import DeliverScreen

    app.push_screen(DeliverScreen(run))


def prefer(app: App[int], run: Run, train_on: Callable[[], object]) -> None:
    """Lead into a training on better and worse answers that begins with what this one made; merge that before."""
    from fitune.core import jobs

    try:
        jobs.merged_model(run)
    except UserError:
        question = (
            "Next it can learn from better and worse answers, beginning with what it learnt here. For that, adapter "
            "and model are first made into one ordinary model (merge), which takes as much disk as the model in "
            "16 bits.\nMerge now? Press p again when it is done."
        )

        def answered(yes: bool | None) -> None:
            if yes:
                app.run_worker(lambda: _merge(app, run), thread=True)

        app.push_screen(ConfirmDialog(question, "Not now", "Merge"), answered)
    else:
        train_on()


def _merge(app: App[int], run: Run) -> None:
    """Start the merge of a run. Slow: for a thread."""
    from fitune.core import jobs

    try:
        jobs.merge(run)
    except UserError as error:
        app.call_from_thread(show_error, app, str(error))


def add_note(app: App[int], run: Run, step: int | None, done: Callable[[], None]) -> None:
    """Ask for a note, and append it to the run's notes.txt with the time and the newest step."""

    def answered(text: str | None) -> None:
        if not text or not text.strip():
            return
        at = f"step {step}" if step else "no step yet"
        try:
            with (run.path / "notes.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M')}  {at}  {text.strip()}\n")
        except OSError as error:
            show_error(app, f"notes.txt can't be written: {error.strerror}")
        else:
            app.notify("The note is kept: here, in `fitune runs`, and in notes.txt of the run.", markup=False)
            done()

    app.push_screen(AskDialog("A note, kept with the run in notes.txt", "", lambda _: None), answered)


def command_of(run: Run, snapshot: Snapshot | None) -> str:
    """The command that the screen shows or that leads back to it; empty where there is none."""
    if snapshot is None or snapshot.ending is None:
        return f"fitune watch {run.name}"
    found = re.search(r"\b(fitune|cd) \S.*$", snapshot.ending.next)
    return found[0] if found else ""


def copy(app: App[int], run: Run, snapshot: Snapshot | None) -> None:
    """Copy the shown command."""
    copy_command(app, command_of(run, snapshot))


def leave(app: App[int], run: Run, snapshot: Snapshot | None) -> None:
    """Leave the screen of a dead run at once; of a live one ask how."""
    if snapshot is not None and not snapshot.live:
        app.exit(0)
        return

    def answered(answer: LeaveAnswer | None) -> None:
        if answer == "detach":
            app.exit(0)
        elif answer == "stop":
            _request_stop(app, run)
        elif answer == "kill":
            kill(app, run, snapshot)

    app.push_screen(LeaveScreen(_job(snapshot), snapshot is None or can_stop(snapshot)), answered)


def show_error(app: App[int], text: str) -> None:
    """Show an error message in a corner of the screen."""
    app.notify(clean(text), severity="error", markup=False)


def _request_stop(app: App[int], run: Run) -> None:
    try:
        run.request_stop()
    except UserError as error:
        show_error(app, str(error))


def _job(snapshot: Snapshot | None) -> str:
    """The newest job, cleaned to be shown."""
    return clean(snapshot.job, 20) if snapshot else "train"


def _cancel_label(job: str) -> str:
    """The text of the button that changes nothing."""
    return "Go on training" if job == "train" else "Go on"


def show_help(app: App[int], snapshot: Snapshot | None) -> None:
    """Open the help, which begins with what went wrong with the run."""
    from fitune.tui.text.fault_help import faults_of
    from fitune.tui.text.help_pages import watch_help
    from fitune.tui.widgets.help_page import HelpScreen

    faults = faults_of(snapshot.state, snapshot.status == "killed") if snapshot else ()
    app.push_screen(HelpScreen(watch_help(snapshot.findings if snapshot else (), faults)))
