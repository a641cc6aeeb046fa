"""Rules on the numbers of a training: loss, gradient, pace and memory. Thresholds that are too sharp raise alarms on
healthy trainings, so these are wide: each was tried on recorded healthy ones (tests/core/runs/findings).

Healthy ranges after Axolotl's guide (docs/training_stability.qmd): a gradient of 0.1 to 10; a spike is a loss of three
times its recent course (as in entrenar, and finetune-doctor, which spare the borders of epochs: so does the median).
"""

from collections.abc import Iterator, Sequence
from statistics import median

from fitune.core.runs.findings import curves
from fitune.core.runs.findings.answers import garbage
from fitune.core.runs.findings.finding import Finding
from fitune.core.runs.state import Curve, RunState

RECENT = 20
"""Points of a curve that are its recent course."""
SPIKE_TIMES, SPIKE_NATS = 3.0, 1.0
DIVERGED_TIMES, DIVERGED_NATS = 1.5, 0.5
LEAST_STEPS, FIRST_POINTS, LEAST_FALL = 100, 10, 0.02
"""No learning: after so many steps the last quarter's loss is not this share below that of the first points."""
EXPLODED, EXPLODED_TIMES = 10.0, 5.0
VANISHED = 1e-4
SLOWED_TO = 0.6
GREW_TIMES, GREW_BYTES = 1.15, 1 << 30
JUMP_TIMES, JUMP_NATS, JUMP_POINTS = 2.0, 0.3, 5
IDLE_PERCENT, IDLE_READINGS = 30, 20
"""A card that trains computes nearly all the time (NVML's "utilization" counts any kernel); below this share most of
the time is Python's, or the processor's. Readings are a step or 15 s apart."""
CLOCK_S = 60.0


def findings(state: RunState) -> tuple[Finding, ...]:
    """What is wrong with a training by now, the gravest first; of a race, whose losses are those of several trainings,
    what is wrong with the machine."""
    of_losses = (curves.overfitting, curves.leak, curves.too_short, curves.spent_schedule, curves.noise)
    of_steps = (_divergence, _spike, _no_learning, _gradient, _resume_jump)
    of_machine = (_pace, _idle, _memory, _prediction, _card, _clock)
    of_training = () if state.job == "tune-lr" else (*of_steps, *of_losses, garbage)
    return tuple(found for rule in (*of_training, *of_machine) for found in rule(state))


def _values(curve: Curve) -> list[float]:
    return [value for _, value in curve.points]


def _divergence(state: RunState) -> Iterator[Finding]:
    """The recent loss lies well above the lowest that was reached."""
    losses = _values(state.loss)
    if len(losses) < 2 * RECENT:
        return
    now = median(losses[-RECENT:])
    lowest = min(median(losses[first : first + RECENT]) for first in range(0, len(losses) - RECENT, RECENT // 2))
    if now > DIVERGED_TIMES * lowest and now > lowest + DIVERGED_NATS:
        yield Finding(
            kind="divergence",
            symptom="The loss rises again.",
            evidence=f"It was {lowest:.2f} at its lowest, and is {now:.2f} in the last {RECENT} steps.",
            cause="Most often the learning rate is too high.",
            remedy="Stop, and resume with half the rate; remove checkpoints after the rise before that.",
            set=_half_rate(state),
        )


def is_spike(loss: float, usual: float) -> bool:
    """True if a step's loss stands far above the median of the RECENT before it."""
    return loss > SPIKE_TIMES * usual and loss > usual + SPIKE_NATS


def _spike(state: RunState) -> Iterator[Finding]:
    """A single loss stands far above the course before it; the newest of them."""
    points = state.loss.points
    for index in range(len(points) - 1, RECENT - 1, -1):
        step, loss = points[index]
        usual = median(value for _, value in points[index - RECENT : index])
        after = [value for _, value in points[index + 1 : index + 6]]
        if median(after or [0.0]) > SPIKE_TIMES * usual:
            continue  # the loss stays there: that is no spike
        if is_spike(loss, usual):
            yield Finding(
                kind="spike",
                symptom=f"The loss jumped at step {step}.",
                evidence=f"It was {loss:.2f}, and about {usual:.2f} in the {RECENT} steps before.",
                cause="A row that is unlike the others (another language, rubbish, very long), or a rate too high.",
                remedy="Look at the step's rows: on one card they are named, and the step was left out. If it comes "
                "again, halve train.lr.",
                set=_half_rate(state),
                step=step,
            )
            return


def _no_learning(state: RunState) -> Iterator[Finding]:
    """The loss is where it began."""
    losses = _values(state.loss)
    steps = state.loss.points[-1][0] - state.loss.points[0][0] if losses else 0
    if steps < LEAST_STEPS or len(losses) < 2 * RECENT:
        return
    first, last = median(losses[:FIRST_POINTS]), median(losses[-len(losses) // 4 :])
    if (1 - LEAST_FALL) * first < last < DIVERGED_TIMES * first:
        rate = state.step.lr if state.step else None
        yield Finding(
            kind="plateau",
            symptom="The loss has not fallen.",
            evidence=f"It was {first:.3f} in the first {FIRST_POINTS} steps, and is {last:.3f} after {steps} steps.",
            cause="The learning rate is too low, too few tokens count for the loss, or the model knows all this.",
            remedy="See in the data view which tokens are trained (fitune data SOURCE --model ID), or raise train.lr.",
            set={"train.lr": float(f"{3 * max(_values(state.lr)):.2g}")} if rate and state.lr.points else {},
        )


def _gradient(state: RunState) -> Iterator[Finding]:
    """The gradient has grown beyond all measure, or is nearly 0."""
    norms = _values(state.grad_norm)
    if len(norms) < 2 * RECENT:
        return
    now, before = median(norms[-RECENT:]), median(norms[:-RECENT])
    if now > EXPLODED and now > EXPLODED_TIMES * before:
        yield Finding(
            kind="gradient",
            symptom="The gradient explodes.",
            evidence=f"Its length is {now:.1f} in the last {RECENT} steps, and was {before:.2f} before.",
            cause="The learning rate is too high for these rows.",
            remedy="Stop, and resume with half the rate; remove checkpoints of that time before.",
            set=_half_rate(state),
        )
    elif now < VANISHED:
        yield Finding(
            kind="gradient",
            symptom="The gradient is nearly 0.",
            evidence=f"Its length is {now:.1e} in the last {RECENT} steps.",
            cause="There is nothing left to learn in these rows, or hardly a token counts for the loss.",
            remedy="See in the data view which tokens are trained; if all is well, train fewer epochs.",
        )


def _resume_jump(state: RunState) -> Iterator[Finding]:
    """The loss after a resume is another one than before it."""
    for step in state.resumes:
        before = [loss for at, loss in state.loss.points if at <= step][-JUMP_POINTS:]
        after = [loss for at, loss in state.loss.points if at > step][:JUMP_POINTS]
        if len(before) < JUMP_POINTS or len(after) < JUMP_POINTS:
            continue
        one, other = median(before), median(after)
        if abs(one - other) > JUMP_NATS and max(one, other) > JUMP_TIMES * min(one, other):
            yield Finding(
                kind="resume",
                symptom=f"The loss jumped where the training went on, after step {step}.",
                evidence=f"It was {one:.2f} before, and {other:.2f} after.",
                cause="The model, the data or a library's version is another one than before.",
                remedy="Compare the versions in run.json with those of now; for a sure result, train anew.",
                step=step,
            )


def _pace(state: RunState) -> Iterator[Finding]:
    """The training has become much slower than it was."""
    paces = _values(state.tokens_per_s)[1:]  # the first step compiles
    if len(paces) < 3 * RECENT:
        return
    now = median(paces[-RECENT:])
    best = max(median(paces[first : first + RECENT]) for first in range(0, len(paces) - RECENT, RECENT))
    if now < SLOWED_TO * best:
        yield Finding(
            kind="pace",
            symptom="The training has become slower.",
            evidence=f"It took {best:,.0f} tokens a second, and takes {now:,.0f} in the last {RECENT} steps.",
            cause="Another process uses the card or the processor, or the card is too hot and slows down.",
            remedy="See nvidia-smi (processes, temperature, clocks) and top.",
        )


def _idle(state: RunState) -> Iterator[Finding]:
    """The card waits most of the time."""
    shares = _values(state.busy_percent)[1:][-IDLE_READINGS:]
    if len(shares) == IDLE_READINGS and median(shares) < IDLE_PERCENT:
        yield Finding(
            kind="idle",
            symptom="The card waits most of the time.",
            evidence=f"It computed {median(shares):.0f} % of the time, in the last {IDLE_READINGS} readings.",
            cause="Each pass holds too few tokens, so that starting it costs more than computing it; or the processor "
            "is busy with other work.",
            remedy="See top. If the processor is free, take more rows at once: fitune fit RECIPE.",
        )


def _memory(state: RunState) -> Iterator[Finding]:
    """The memory grows without an end."""
    held = _values(state.memory_bytes)
    if len(held) < RECENT:
        return
    third = len(held) // 3
    first, middle, last = max(held[:third]), max(held[third : 2 * third]), min(held[-len(held) // 4 :])
    if last > middle and last > GREW_TIMES * first and last > first + GREW_BYTES:
        yield Finding(
            kind="memory",
            symptom="The memory keeps growing.",
            evidence=f"{first / (1 << 30):.1f} GiB became {held[-1] / (1 << 30):.1f} GiB.",
            cause="A leak in a library, or rows that grow longer.",
            remedy="Stop and resume when it gets tight: that frees it, and the training goes on where it was.",
        )


def _prediction(state: RunState) -> Iterator[Finding]:
    """The peak lies above the upper bound of what was predicted."""
    memory = state.memory
    measured = memory.predicted_peak if memory else None
    if memory is None or not measured or not memory.predicted or not memory.predicted_high:
        return
    if measured > memory.predicted_high:
        bounds = f"{memory.predicted / (1 << 30):.1f} GiB, {memory.predicted_high / (1 << 30):.1f} at most"
        yield Finding(
            kind="prediction",
            symptom="The training takes more memory than was predicted.",
            evidence=f"{measured / (1 << 30):.1f} GiB at its peak; the prediction was {bounds}.",
            cause="Rows are longer than those that were counted, or the budget is wrong for this model or machine.",
            remedy="Keep more memory free for it. Later predictions on this machine count this training.",
        )


def _card(state: RunState) -> Iterator[Finding]:
    """Others on the card, or a card that slows itself down."""
    memory = state.memory
    if memory is None or state.end is not None:
        return
    if memory.others and memory.others > GREW_BYTES:
        yield Finding(
            kind="shared",
            symptom="Another process is on the card.",
            evidence=f"It holds {memory.others / (1 << 30):.1f} GiB.",
            cause="Somebody else works on this card, or an earlier program was not ended.",
            remedy="nvidia-smi lists it. If memory runs out, the training takes smaller passes by itself.",
        )
    if memory.throttled:
        at = f" at {memory.temperature_c} °C" if memory.temperature_c is not None else ""
        yield Finding(
            kind="throttled",
            symptom="The card slows itself down.",
            evidence=f"Its driver says: {memory.throttled}{at}.",
            cause="It is too hot, or gets too little power.",
            remedy="Give it air, or a higher power limit (nvidia-smi -q -d PERFORMANCE tells more).",
        )


def _clock(state: RunState) -> Iterator[Finding]:
    """The clock was set back while the run was written."""
    if state.clock_back_s > CLOCK_S:
        yield Finding(
            kind="clock",
            symptom="The clock of this machine was set back.",
            evidence=f"By {state.clock_back_s:,.0f} s, between two events.",
            cause="It was wrong before, or is now.",
            remedy="Times and the time left may be wrong; the training is not.",
        )


def _half_rate(state: RunState) -> dict[str, object]:
    rates: Sequence[float] = _values(state.lr)
    return {"train.lr": float(f"{max(rates) / 2:.2g}")} if rates else {}
