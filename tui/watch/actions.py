"""What can be asked of a run from its screen: to stop, to end at once, to go on, to keep a note. First a question."""

import time

from textual.app import App

from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.text import clean
from fitune.tui.watch.leave import LeaveScreen, Leaving
from fitune.tui.watch.screen_text import Seen
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog


def offered(action: str, run: Run, seen: Seen | None) -> bool:
    """Whether the key of an action does something now."""
    dead = seen is not None and not seen.live
    match action:
        case "detach":
            return not dead
        case "close":
            return dead
        case "stop":
            return seen is not None and seen.status in ("starting", "running")
        case "kill":
            return seen is not None and seen.live
        case "resume":
            return dead and seen is not None and not seen.state.trained and seen.checkpoint is not None
        case "deliver":
            return dead and run.adapter.is_dir()
    return True


def stop(app: App[int], run: Run, seen: Seen | None) -> None:
    """Ask for the end of a run after its step, if that is confirmed."""
    question = "Stop the training after this step?\nIt writes a checkpoint, and can go on from there."
    if (job := _job(seen)) != "train":
        part = "file" if job == "push" else "part, if one is left"
        question = f"Stop the {job} before its next {part}?\nThe adapter stays as it is."
    app.push_screen(ConfirmDialog(question, _go_on(job), "Stop"), lambda yes: _request_stop(app, run) if yes else None)


def kill(app: App[int], run: Run, seen: Seen | None) -> None:
    """End a run at once, if that is confirmed."""
    job, at = _job(seen), seen.checkpoint if seen else None
    lost = f"What came after {at} is lost." if at else "There is no checkpoint: all of it is lost."
    if job != "train":
        lost = "The adapter stays as it is."
    question = f"Kill the {'training' if job == 'train' else job} at once?\n{lost}"

    def answered(yes: bool | None) -> None:
        try:
            if yes:
                run.kill()
        except UserError as error:
            complain(app, str(error))

    app.push_screen(ConfirmDialog(question, _go_on(job), "Kill"), answered)


def resume(app: App[int], run: Run) -> None:
    """Start a run's worker again. Slow: for a thread."""
    from fitune.core import jobs  # with pydantic behind it, which a first frame should not wait for

    try:
        jobs.start(run, "train")
    except UserError as error:
        app.call_from_thread(complain, app, str(error))


def note(app: App[int], run: Run, seen: Seen | None) -> None:
    """Ask for a line, and keep it in the run's notes.txt with its time and step."""

    def answered(text: str | None) -> None:
        if not text or not text.strip():
            return
        step = seen.state.step if seen else None
        place = f"step {step.step}" if step else "no step yet"
        try:
            with (run.path / "notes.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M')}  {place}  {text.strip()}\n")
        except OSError as error:
            complain(app, f"notes.txt can't be written: {error.strerror}")

    app.push_screen(AskDialog("A note, kept with the run in notes.txt", "", lambda _: None), answered)


def leave(app: App[int], run: Run, seen: Seen | None) -> None:
    """Leave a dead run at once; of a live one ask what is meant."""
    if seen is not None and not seen.live:
        app.exit(0)
        return

    def answered(answer: Leaving | None) -> None:
        if answer == "detach":
            app.exit(0)
        elif answer == "stop":
            _request_stop(app, run)
        elif answer == "kill":
            kill(app, run, seen)

    app.push_screen(LeaveScreen(_job(seen)), answered)


def complain(app: App[int], text: str) -> None:
    """Say what went wrong, in a corner of the screen."""
    app.notify(clean(text), severity="error", markup=False)


def _request_stop(app: App[int], run: Run) -> None:
    try:
        run.request_stop()
    except UserError as error:
        complain(app, str(error))


def _job(seen: Seen | None) -> str:
    """The job that was seen last, as it may be shown."""
    return clean(seen.job, 20) if seen else "train"


def _go_on(job: str) -> str:
    """The safe answer to a question about a job."""
    return "Go on training" if job == "train" else "Go on"
