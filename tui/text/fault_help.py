"""What is behind a failure, or behind what a training put right by itself: a page of help for each kind."""

from fitune.core.runs import Failed, Recovered, RunState

FAULTS = {
    "oom": (
        "Out of memory",
        "On a card the longest rows are tried before the first step, so most trainings fail at once or never. In a "
        "step the same rows are taken again in smaller passes, with the same gradient. If a single row does not fit, "
        "the training starts anew with the next setting that saves memory.\nWhat to do: close what else uses the card "
        "(nvidia-smi), or train shorter rows in a new run (model.max_seq_length). fitune fit RECIPE shows what fits.",
    ),
    "nan": (
        "NaN: a number that is none",
        "One bad batch is left out before it reaches the weights, and its rows are named. After three in a row the "
        "training goes back to its last checkpoint with half the learning rate, three times at most.\nWhat to do: look "
        "at the rows; then fitune resume RUN --set train.lr=VALUE with half the rate. If it is NaN from the first step "
        'on, the model is damaged or overflows: fetch it again, or set model.quant = "bf16" in a new run.',
    ),
    "spike": (
        "A loss that jumps",
        "A step whose loss is three times its recent course is left out before it reaches the weights, three times at "
        "most. If the loss stays there, the training goes back once, with half the rate.\nWhat to do: look at the rows "
        "that are named: another language, rubbish or very long text among others is most often the cause.",
    ),
    "rate": (
        "Back to a checkpoint with half the rate",
        "The weights had gone astray, so the steps since the last checkpoint are taken again, more carefully. That is "
        "done three times at most.\nWhat to do: nothing while it goes on. If it comes again, look at the data.",
    ),
    "disk": (
        "The disk is full",
        "A checkpoint makes room by deleting the oldest; else it is left out. At the end the last checkpoint becomes "
        "the adapter, or the training waits for room.\nWhat to do: free some space, then fitune resume RUN.",
    ),
    "driver": (
        "The card's driver",
        "The card or its driver ended the training; the last checkpoint is whole.\nWhat to do: fitune doctor, then "
        "fitune resume RUN. If it comes again, restart the machine.",
    ),
    "killed": (
        "Killed",
        "The process ended without a word: most often the kernel ended it because the RAM ran out, or the machine was "
        "restarted. Nothing before the last checkpoint is lost.\nWhat to do: fitune resume RUN; after each reboot by "
        "itself with fitune boot on.",
    ),
}
"""By kind of failure or recovery."""


def faults_of(state: RunState, is_killed: bool) -> tuple[tuple[str, str], ...]:
    """The pages for what went wrong with the newest job of a run: what ended it first, then what was put right."""
    ended = [state.end.kind] if isinstance(state.end, Failed) else ["killed"] if is_killed else []
    told = state.warnings.get(state.job, [])
    kinds = dict.fromkeys([*ended, *(each.kind for each in told if isinstance(each, Recovered))])
    return tuple(FAULTS[kind] for kind in kinds if kind in FAULTS)
