"""Rules on the course of the losses: trained too long, too short, by heart, on rows that were to be held out.

They need more than one look at the held-out rows, whose noise no event tells: so their margins are wide, and each was
tried on recorded healthy trainings. Which checkpoint is delivered is decided by the losses of each row (core/score).
"""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from fitune.core.runs.findings.finding import Finding
from fitune.core.runs.state import RunState

RECENT = 20
"""Steps of the training loss that are its recent course."""
RISE, RISE_NATS, RISE_LOOKS = 0.05, 0.03, 2
"""So many looks in a row lie so far above the lowest held-out loss."""
BY_HEART, APART_NATS = 0.1, 0.3
"""A training loss below the first, with a held-out loss that lies the second above it."""
LEAK_TIMES, LEAK_NATS, LEVEL = 0.7, 0.2, 0.1
STILL_FALLS, FALL_NATS, FALL_LOOKS = 0.03, 0.02, 3
NOISE, NOISE_NATS = 0.4, 0.3
SPENT_RATE, SPENT_SHARE, SPENT_STEPS = 0.01, 0.15, 50


def _recent(state: RunState, until: int) -> list[float]:
    """The newest training losses up to a step."""
    return [loss for step, loss in state.loss.points if step <= until][-RECENT:]


def overfitting(state: RunState) -> Iterator[Finding]:
    """The held-out loss rises while the training loss falls, or rows are known by heart."""
    looks = [(step, loss) for step, loss in state.eval_loss.points if step > 0]
    if not looks or len(state.loss.points) < RECENT:
        return
    step, held_out = looks[-1]
    at_best, lowest = min(looks, key=lambda look: look[1])
    trained, trained_then = _recent(state, step), _recent(state, at_best)
    if not trained or not trained_then:
        return
    now, then = median(trained), median(trained_then)
    if now < BY_HEART and held_out > now + APART_NATS:
        yield Finding(
            kind="memorised",
            symptom="The model knows the training rows by heart.",
            evidence=f"Their loss is {now:.3f} in the last steps, and that of the held-out rows {held_out:.2f}.",
            cause="Too many passes over too few rows: it learns these answers, not the task.",
            remedy="Train fewer epochs, or collect more rows.",
            set=_epochs_until(state, at_best),
            step=step,
        )
        return
    after = [loss for at, loss in looks if at > at_best]
    risen = [loss > lowest * (1 + RISE) and loss > lowest + RISE_NATS for loss in after[-RISE_LOOKS:]]
    if len(risen) == RISE_LOOKS and all(risen) and now < then:
        yield Finding(
            kind="overfitting",
            symptom=f"The training has been too long since step {at_best}: it overfits.",
            evidence=f"Since then the held-out loss has risen from {lowest:.3f} to {held_out:.3f}, while the training "
            f"loss fell from {then:.3f} to {now:.3f}.",
            cause="The rows were seen too often, or the learning rate is too high for so few.",
            remedy="Train fewer epochs. The adapter that is delivered is of the best look, not of the last step.",
            set=_epochs_until(state, at_best),
            step=at_best,
        )


def leak(state: RunState) -> Iterator[Finding]:
    """The held-out loss is far below the training loss, and was not so before the training."""
    if not state.eval_loss.points or not state.loss.points:
        return
    step, held_out = state.eval_loss.points[-1]
    recent = _recent(state, step)
    if len(recent) < RECENT:
        return
    older, now = median(recent[: RECENT // 2]), median(recent[RECENT // 2 :])
    first_step, first_look = state.eval_loss.points[0]
    was_easier = first_step == 0 and first_look < (1 - LEVEL) * state.loss.points[0][1]
    is_level = abs(older - now) <= LEVEL * older
    if is_level and not was_easier and held_out < LEAK_TIMES * now and held_out < now - LEAK_NATS:
        yield Finding(
            kind="leak",
            symptom="The held-out rows are easier than the training rows.",
            evidence=f"Their loss is {held_out:.3f} after step {step}, that of the training rows {now:.3f}.",
            cause="The training rows hold the held-out rows too, perhaps in other words.",
            remedy="Remove doubled rows (fitune data SOURCE lists them) and train anew: this score can't be trusted.",
            step=step,
        )


def too_short(state: RunState) -> Iterator[Finding]:
    """The training is at its last step, and the held-out loss still fell from look to look."""
    looks = [(step, loss) for step, loss in state.eval_loss.points if step > 0]
    last_step = state.step.step if state.step else 0
    if len(looks) < FALL_LOOKS or last_step < 2 * RECENT or last_step != state.total_steps or looks[-1][0] != last_step:
        return
    equal = looks[-2][0] - looks[-3][0] <= looks[-1][0] - looks[-2][0]  # a shorter last stretch says nothing
    falls = [1 - after / before for (_, before), (_, after) in pairwise(looks[-FALL_LOOKS:]) if before > 0]
    steady = len(falls) == FALL_LOOKS - 1 and min(falls) > STILL_FALLS and falls[-1] > falls[-2] / 2
    if equal and steady and looks[-2][1] - looks[-1][1] > FALL_NATS:
        yield Finding(
            kind="too short",
            symptom="The training ended while the model still got better.",
            evidence=f"The held-out loss fell by {falls[-1]:.0%} between the last two looks, to {looks[-1][1]:.3f}.",
            cause="Too few steps for these rows.",
            remedy="Train twice as long, with the same rows.",
            set=_twice_as_long(state, last_step),
            step=last_step,
        )


def noise(state: RunState) -> Iterator[Finding]:
    """The training loss jumps from step to step by much more than it moves in the long run."""
    losses = [loss for _, loss in state.loss.points][-4 * RECENT :]
    if len(losses) < 4 * RECENT or state.loss.stride_steps > 1:
        return
    older, now = median(losses[: 2 * RECENT]), median(losses[2 * RECENT :])
    jump = median(abs(after - before) for before, after in pairwise(losses))
    if jump > NOISE * now and now > NOISE_NATS and abs(now - older) < jump / 2:
        yield Finding(
            kind="noise",
            symptom="The loss jumps from step to step: that is noise, no trend.",
            evidence=f"Two steps differ by {jump:.2f}; in {len(losses)} steps it went from {older:.2f} to {now:.2f}.",
            cause="A step sees few rows, and they differ much.",
            remedy="Judge by the held-out loss. A train.grad_accum four times as high halves the noise.",
        )


def spent_schedule(state: RunState) -> Iterator[Finding]:
    """The learning rate has long been next to nothing, so that steps change nothing."""
    rates = state.lr.points
    if len(rates) < 2:
        return
    peak = max(rate for _, rate in rates)
    end = max(step for step, rate in rates if rate > SPENT_RATE * peak)
    last_step = rates[-1][0]
    if last_step - end > max(SPENT_STEPS, SPENT_SHARE * last_step):
        yield Finding(
            kind="schedule",
            symptom="The learning rate is used up: these steps teach nothing.",
            evidence=f"It is below {SPENT_RATE:.0%} of its height since step {end:,}, for {last_step - end:,} steps.",
            cause="The schedule was made for fewer steps than the training has.",
            remedy="Stop here: nothing is lost. For more, train anew with as many steps as you want in the recipe.",
            set={"train.max_steps": last_step},
            step=end,
        )


def _epochs_until(state: RunState, step: int) -> dict[str, object]:
    """The whole epochs up to a step, if that is fewer than the recipe has; else half of the highest rate."""
    seen = state.step.epoch if state.step else None
    if state.step and seen and seen > 1:
        return {"train.epochs": max(1, round(seen * step / state.step.step))}
    rates = [rate for _, rate in state.lr.points]
    return {"train.lr": float(f"{max(rates) / 2:.2g}")} if rates else {}


def _twice_as_long(state: RunState, steps: int) -> dict[str, object]:
    epochs, seen = state.phase.epochs, state.step.epoch if state.step else None
    if not epochs or not seen:
        return {}
    return {"train.epochs": 2 * epochs} if seen > epochs - 0.5 else {"train.max_steps": 2 * steps}
