"""The end of a run in plain words, and the command to type next: for the watch screen and `fitune watch`.

Texts of a run folder are foreign, so they pass through tui.text.clean here.
"""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fitune.core.deliver import UPLOAD_KINDS, ExportRequest, PushRequest, ScoreRequest, requests
from fitune.core.runs import Failed, Finished, Run, RunState, Status
from fitune.core.runs.post_mortem import cause_of_death, killed_as_asked, restarted_s
from fitune.core.score import scores
from fitune.tui.deliver.proof_text import ArtifactProof, proofs
from fitune.tui.text import clean, clock, count, duration, exponent, number, size, steps
from fitune.tui.watch.phases import phase_text
from fitune.tui.watch.score_text import forgetting_line, verdict_lines

FAILURES = {
    "oom": "out of memory",
    "data": "the data or the recipe",
    "download": "the download",
    "auth": "access refused",
    "disk": "disk full",
    "nan": "the loss is not a number",
    "driver": "the GPU driver",
    "bug": "a fault in the software",
    "killed": "killed",
}
CLOCK_TOLERANCE_S = 1.0
"""The time of a file may be this much before that of an event written earlier: they are rounded differently."""
Mark = Literal["OK", "WARN", "ERROR"]


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run that is no longer alive, in words."""

    mark: Mark
    sentence: str
    next: str
    """A next action; may be empty."""
    proofs: tuple[ArtifactProof, ...] = ()
    """The proofs of the files that the job wrote."""


def ending(run: Run, status: Status, state: RunState, tells_verdict: bool = True) -> Ending:
    """The end of a dead run in words, for each way a run can end. tells_verdict: with what its score has found."""
    end = state.end
    silent_job = run.silent_job(state) if status == "killed" else None
    if status == "killed" and killed_as_asked(run):
        return _killed_as_asked(run, state, silent_job or state.job)
    if job := silent_job:
        next_action = _resume(run) if job == "train" else _repeat(run, job)
        return Ending("ERROR", f"The {clean(job, 40)} was killed before its first event. {_cause(run)}", next_action)
    if state.job != "train":
        return _ending_of_delivery(run, status, state, tells_verdict)
    resume = _resume(run)
    if status == "killed" or end is None:
        return Ending("ERROR", _killed(run, state), resume)
    if isinstance(end, Failed):
        kind = FAILURES.get(end.kind, clean(end.kind, 40))
        return Ending("ERROR", f"Failed ({kind}): {_told(end.message)}", _told(end.hint))
    if end.stopped:
        at = f"at step {count(end.steps)} of {count(end.total_steps)}" if end.steps else "before its first step"
        return Ending("OK", f"Stopped as asked {at}.", resume)
    if run.adapter.exists() and not run.has_adapter():
        return Ending("WARN", f"{_finished(end)} Its adapter was emptied since.", resume)
    mark, verdict = _scored(state) if tells_verdict else ("OK", "")
    next_action = f"Its adapter: {clean(str(run.adapter))}" if run.adapter.exists() else resume
    return Ending(mark, f"{_finished(end)} {verdict}".rstrip(), next_action)


def _told(text: str) -> str:
    """What an event says, as a paragraph: some messages are written in lines, for a terminal."""
    return clean(" ".join(text.split()), 500)


def repeat_command(run: Run, job: str) -> str:
    """The command that starts a merge, export or push again, with the options of its last request.

    Foreign text: clean it before it is shown. If the request is not known, only the options that must be given.
    """
    try:
        options = _options(run, job)
    except (OSError, ValueError):
        options = {"export": ["--gguf", "KIND"], "push": ["--repo", "ID"]}.get(job, [])
    return shlex.join(["fitune", job, run.name, *options])


def _options(run: Run, job: str) -> list[str]:
    match job:
        case "merge":
            return ["--base", base] if (base := requests.merge_base(run)) else []
        case "export":
            return ["--gguf", *requests.read(ExportRequest, run.path / "export.json").gguf]
        case "score":
            score = requests.read(ScoreRequest, run.path / "score.json")
            data = ["--data", score.data] if score.data else []
            return [*data, *(["--rows", str(score.rows)] if score.rows else [])]
        case "push":
            push = requests.read(PushRequest, run.path / "push.json")
            what = [f"--{push.what}"] if push.what in UPLOAD_KINDS[1:] else []
            return ["--repo", push.repo, *what, *([] if push.private else ["--public"])]
    return []


def _finished(end: Finished) -> str:
    text = f"Finished: {steps(end.steps)} in {duration(end.elapsed_s)}"
    if end.first_loss is not None and end.last_loss is not None:
        text += f", loss {number(end.first_loss, 2)} to {number(end.last_loss, 2)}"
    if end.eval_loss is not None:
        text += f", held-out {number(end.eval_loss, 2)}"
    return f"{text}."


def _scored(state: RunState) -> tuple[Mark, str]:
    """(mark, sentences) for the run's own verdict, on pairs and on answers, and what was forgotten; without a verdict
    the mark of a run that went well."""
    score, forgot, preferred = state.score, state.forgot, state.preferred
    told = [*verdict_lines(score, preferred), *([forgetting_line(forgot)] if forgot else [])]
    is_well = state.word in (None, "better", "can't tell") and not (forgot and forgot.word == "worse")
    is_well = is_well and not (preferred and score and score.word == "worse")
    return "OK" if is_well else "WARN", clean(" ".join(told), 1200)


def _ending_of_delivery(run: Run, status: Status, state: RunState, tells_verdict: bool) -> Ending:
    """The end of a merge, export or push, which leaves the training as it was."""
    job, end = "race" if state.job == "tune-lr" else clean(state.job, 40), state.end
    repeat = _repeat(run, state.job)
    new = tuple(
        proof for proof in proofs(run) if state.started_t and proof.made_s >= state.started_t - CLOCK_TOLERANCE_S
    )
    new = new if job in ("merge", "export") else ()
    if status == "killed" or end is None:
        while_ = f" while {phase_text(state.phase.name)}" if state.phase.name else ""
        return Ending("ERROR", f"The {job} was killed{while_}. {_cause(run)}", repeat)
    if isinstance(end, Failed):
        return Ending("ERROR", f"The {job} failed: {_told(end.message)}", _told(end.hint), new)
    if end.stopped:
        kept = f"{branches} stay" if (branches := _branches(end)) else "nothing was changed"
        return Ending("OK", f"The {job} was stopped as asked; {kept}.", repeat)
    if state.job == "score":
        told = _ending_of_score(run, state)
        return told if tells_verdict else replace(told, mark="OK", sentence="The score is finished.")
    return Ending("OK", *_delivered(run, state.job, end), new)


def _ending_of_score(run: Run, state: RunState) -> Ending:
    """The end of a score: what it found on the rows that were asked for, and the run's own verdict where that is
    another."""
    mark, verdict = _scored(state)
    try:
        source = requests.read(ScoreRequest, run.path / "score.json").data
    except (OSError, ValueError):
        source = None
    found = state.elsewhere.get(source) if source else None
    if found is None:
        return Ending(mark, verdict, f"Each row with both answers: {clean(str(run.path / scores.FILE))}")
    own = f"The verdict on the run's own held-out rows stays: {state.word}." if state.word else ""
    forgot = [forgetting_line(state.forgot)] if state.forgot else []
    told = " ".join([*verdict_lines(found.score, found.preferred), *forgot, own]).rstrip()
    mark = "OK" if found.word in ("better", "can't tell") else "WARN"
    return Ending(mark, clean(told, 1200), f"Each row with both answers, in {clean(str(run.path / scores.OTHERS))}")


def _repeat(run: Run, job: str) -> str:
    if job == "tune-lr":
        return "Start the race again with its recipe."
    return f"The adapter is as it was. Again: {clean(repeat_command(run, job), 400)}"


def _delivered(run: Run, job: str, end: Finished) -> tuple[str, str]:
    """(sentence, next action) for a merge, export or push that has finished."""
    amount = f"{size(end.bytes)} in {duration(end.elapsed_s)}"
    files = end.files or 0
    if job == "merge":
        return f"Merged: one model of {amount}, checked.", f"It is in {clean(str(run.merged))}"
    if job == "export":
        sentence = f"Exported: {count(files)} GGUF file{'' if files == 1 else 's'} of {amount}, checked."
        if end.next:
            sentence += f" The other kinds, where llama-quantize is: {'; '.join(map(clean, end.next))}."
        return sentence, _use_gguf(run.path / "gguf", run.name.lower())
    if job == "push":
        seen_by = "private" if end.private else "PUBLIC"
        on = f", {branches}" if (branches := _branches(end)) else ""
        to = f"{clean(end.repo or '', 120)}{on} ({seen_by})"
        new = end.new_files
        old = f" {count(files - new)} of them were there already." if new is not None and new < files else ""
        return f"Pushed: {count(files)} files, {amount}, to {to}.{old}", clean(end.url or "", 300)
    if job == "tune-lr":
        won = f"{exponent(end.best_lr)} won" if end.best_lr is not None else "every rate diverged"
        return f"The race is over: {won}.", ""
    return f"Finished: {clean(job, 40)}.", ""


def _use_gguf(folder: Path, name: str) -> str:
    """The command that gives GGUF files to Ollama, or where they are if they have no Modelfile."""
    if not (folder / "Modelfile").is_file():
        return f"They are in {clean(str(folder))}"
    cd = shlex.join(["cd", str(folder)])
    return clean(f"Use it: {cd} && ollama create {shlex.quote(name)} -f Modelfile && ollama run {shlex.quote(name)}")


def _branches(end: Finished) -> str:
    """The branches that a push of checkpoints has filled; empty if it pushed something else."""
    names = [clean(name, 40) for name in end.branches or ()]
    return f"branch{'' if len(names) == 1 else 'es'} {', '.join(names)}" if names else ""


def _killed_as_asked(run: Run, state: RunState, job: str) -> Ending:
    """The end that the user wanted: it is no error, and nothing needs to be explained."""
    if job != "train":
        return Ending("WARN", f"The {clean(job, 40)} was killed, as you asked.", _repeat(run, job))
    at = f"at step {count(state.step.step)}" if state.step else "before its first step"
    return Ending("WARN", f"Killed {at}, as you asked.", _resume(run))


def _killed(run: Run, state: RunState) -> str:
    if state.last_t is None:
        return f"The worker was killed before its first event. {_cause(run)}"
    last_alive_s = run.lock.stat().st_mtime if run.lock.exists() else state.last_t
    step = state.step.step if state.step else None
    phase = state.phase.name
    at = f"at step {count(step)}" if step and phase == "train" else f"while {phase_text(phase) or 'starting'}"
    reboot_s = restarted_s()
    if reboot_s is not None and reboot_s > last_alive_s and cause_of_death(run) is None:
        return f"Ended {at} without a last event: the machine was restarted at {clock(reboot_s)}."
    return f"Killed {at}, last seen {clock(last_alive_s)}: it left no last event. {_cause(run)}"


def _cause(run: Run) -> str:
    """The cause of the worker's death, or the most frequent one."""
    return clean(
        cause_of_death(run) or "Most often that is the kernel's OOM killer (the RAM ran out), or kill -9.", 400
    )


def _resume(run: Run) -> str:
    checkpoint = run.newest_checkpoint()
    name = clean(run.name)
    if checkpoint is None:
        return f"There is no checkpoint; start it over: fitune resume {name}"
    return f"Go on from step {count(int(checkpoint.name.partition('-')[2]))}: fitune resume {name}"
