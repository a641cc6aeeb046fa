"""The last look before a training starts: all that will happen, as lines of plain words."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from fitune.core import runs
from fitune.core.data import eval_fraction, holds_out, numbered
from fitune.core.errors import UserError
from fitune.core.forecast import Resolved, resolve
from fitune.core.jobs import trainings_beside
from fitune.core.machine import Machine
from fitune.core.recipe import Recipe, load
from fitune.core.tokens import findings
from fitune.tui.data.report_text import is_guess
from fitune.tui.text import count, gib, training_time
from fitune.tui.wizard.draft import UNCHOSEN, Draft, origin, prepared, problems, recipe, shown
from fitune.tui.wizard.field_cost import guessed_steps, time_of
from fitune.tui.wizard.fields import all_fields, text_of
from fitune.tui.wizard.forecast_text import DraftForecast, bounds, correction, forecast_draft, planned_machine
from fitune.tui.wizard.memory.words import named
from fitune.tui.wizard.models.weights import Weights
from fitune.tui.wizard.settings.groups import ELSEWHERE

RECIPE_FILE = "recipe.toml"
TRACKER_SERVERS = {"trackio": "TRACKIO_SPACE_ID", "mlflow": "MLFLOW_TRACKING_URI"}
"""The variables that name a tracker's server; without it the numbers stay on this machine. Wandb always has one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the review."""

    label: str
    text: str


def lines(draft: Draft, weights: Weights | None = None) -> list[Line]:
    """The whole review of a draft whose recipe is valid. Raises BadInput if it is not.

    weights: where those of the base model come from; None while it is being looked for.
    """
    asked = recipe(draft)
    forecast = forecast_draft(draft)
    told = [
        Line("Teach", f"{asked.model.id}, kept as {_kept_as(draft, asked)}, {_trained(asked)}"),
        Line("From", _data(draft, asked)),
        Line("How", _how(draft, asked, forecast)),
        *([Line("Plan", f"{draft.plan.text} u undoes it.")] if draft.plan and draft.plan.text else []),
        *_tokens(forecast),
        *_thinking(draft, asked),
        *_where(draft, forecast),
        Line("Memory", _memory(forecast)),
        Line("Time", duration_words(draft, forecast)),
        Line("Disk", _disk(draft, asked)),
        Line("Network", " ".join([weights.text if weights else "Looking for the model ...", *network(asked)])),
        Line("Into", str(runs.home(asked.run.home) / "runs" / (asked.run.name or "(named by date and model)"))),
        *([Line("Push", push_words(asked))] if asked.deliver.push_repo else []),
        Line("Changed", ", ".join(f"{name} = {text}" for name, text in non_defaults(draft)) or "Nothing."),
    ]
    return [Line(line.label, named(line.text)) for line in told]


def non_defaults(draft: Draft) -> list[tuple[str, str]]:
    """(field, value) of each field that neither preset, fitune nor the proposed plan would have set so."""
    edits = draft.plan.before if draft.plan else draft.edits
    return [
        (name, shown(draft, name) or "nothing")
        for name in all_fields()
        if (name in edits or origin(draft, name) == "answers") and name not in ELSEWHERE
    ]


def faults(draft: Draft) -> list[str]:
    """Reasons why it could not start later either, in sentences: what is wrong or missing in the draft itself."""
    if wrong := problems(draft):
        return [named(f"{name}: {text}") for name, text in wrong.items()]
    said = [] if draft.source else ["Data are not chosen yet."]
    found = prepared(draft)
    known = [*(draft.report.problems if draft.report else ()), *(findings(found, recipe(draft)) if found else ())]
    said += [str(each.problem) for each in known if each.severity == "stop"]
    if draft.report and is_guess(draft.report):
        said.append("It is not clear what these rows teach: say what is meant at Data.")
    if draft.card_gib is not None:
        plan = f"This is a plan for a card of {draft.card_gib:g} GB."
        said.append(f"{plan} To start, choose this machine again at the presets.")
    return said


def obstacles(draft: Draft, weights: Weights | None = None) -> list[str]:
    """Reasons why the training can't start yet, in sentences; none if it can. weights: as for `lines`."""
    said = faults(draft)
    if problems(draft):
        return said
    if draft.card_gib is None and ((forecast := forecast_draft(draft)).verdict == "over" or forecast.wrong):
        said.append(named(forecast.said))
    if weights and weights.obstacle:
        said.append(weights.obstacle)
    return said


def network(asked: Recipe) -> list[str]:
    """Uses of the network by the run beside the download of its model, in sentences."""
    said = []
    if not all(os.path.exists(os.path.expanduser(each.source)) for each in asked.data.all_sources()):
        said.append("The data come from the Hub.")
    if asked.train.report_to == "wandb" or TRACKER_SERVERS.get(asked.train.report_to, "") in os.environ:
        said.append(f"Numbers go to {asked.train.report_to}.")
    if asked.deliver.push_repo:
        said.append("The result goes to the Hub.")
    return said


def push_words(asked: Recipe) -> str:
    """The push at the end in words: to where, and who can see it."""
    seen_by = "private: only you can see it" if asked.deliver.private else "PUBLIC: everyone can see it"
    return f"{asked.deliver.push_repo} on the Hub, {seen_by}"


def command_line(file: str = RECIPE_FILE) -> str:
    """The command that starts the same training from a recipe file."""
    return shlex.join(["fitune", "train", file])


def write_recipe(draft: Draft, folder: Path) -> Path:
    """Write the draft as a recipe into a folder, under a name that is still free. Raises BadInput or UserError."""
    if not draft.source:
        raise UserError("There is no recipe without data.", "Choose them first.")
    text = load.to_toml(recipe(draft))
    for number in range(1, 1000):
        path = folder / (RECIPE_FILE if number == 1 else f"recipe-{number}.toml")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(f"# {command_line(path.name)}\n{text}")
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{path} can't be written: {error.strerror}.", "Start fitune in another folder.") from None
        return path
    raise UserError(f"{folder} is full of recipes.", "Start fitune in another folder.")


def duration_words(draft: Draft, forecast: DraftForecast) -> str:
    """The time of the whole training with honest bounds: by the true lengths of the rows or those of the first ones."""
    if forecast.work is None and not (draft.report and draft.report.rows and draft.report.preview):
        return "Unknown until the rows are read."
    found = time_of(forecast, draft.report)
    if found is None:
        return "Not known for such a card." if draft.card_gib else "Unknown here; the watch screen tells it."
    return training_time(found) + ("" if forecast.work else "; judged by the first rows")


def _trained(asked: Recipe) -> str:
    """What of the model is trained, in a few words."""
    return "all weights" if asked.trains_all else f"LoRA rank {asked.lora.r}"


def _kept_as(draft: Draft, asked: Recipe) -> str:
    """The number format of the base as this machine will have it: a processor takes bf16 whatever is asked for."""
    machine = planned_machine(draft)
    try:
        return (resolve(asked, machine, need_data=False).recipe if machine else asked).model.quant
    except UserError:  # told beside `On`
        return asked.model.quant


def _memory(forecast: DraftForecast) -> str:
    if forecast.budget is None:
        return forecast.said
    corrected = f" It is {said}." if (said := correction(forecast)) else ""
    return f"{bounds(forecast.budget)}. {forecast.said}{corrected}"


def _data(draft: Draft, asked: Recipe) -> str:
    if asked.data.source == UNCHOSEN and not draft.source:
        return "not chosen yet"
    if draft.report is None:
        share = asked.data.eval_fraction
        return f"{asked.data.name}, {'some' if share == 'auto' else f'{share:.0%}'} held out to check"
    about = "" if draft.report.rows_counted else "about "
    rows = numbered("{n} row[|s]", draft.report.rows)
    return f"{asked.data.name}: {about}{rows} ({draft.report.format}), {_held_out(asked, draft.report.rows)}"


def _held_out(asked: Recipe, rows: int) -> str:
    """The share of the rows that is kept aside, as the worker will do it: of a few rows none."""
    if not holds_out(asked, rows):
        return "none held out to check"
    share = eval_fraction(asked, rows)
    return f"{f'{share:.0%}' if share >= 0.01 else f'about {count(share * rows)}'} held out to check"


def _how(draft: Draft, asked: Recipe, forecast: DraftForecast) -> str:
    train = asked.train
    batch = f"of {train.micro_batch} x {train.grad_accum} rows, {_rate(asked, forecast)}"
    by = "" if train.objective == "sft" else f" by {train.objective} (beta {train.beta:g})"
    times = f"once through the rows{by}" if train.epochs == 1 else f"{train.epochs:g} times through the rows{by}"
    if train.max_steps:
        return f"{numbered('{n} step[|s]', train.max_steps)}{by} {batch}"
    if forecast.work is not None:
        return f"{times}: {numbered('{n} step[|s]', forecast.work.packing.steps)} {batch}"
    if draft.report is None:
        return f"{times}, in steps {batch}"
    return f"{times}: about {numbered('{n} step[|s]', guessed_steps(draft.report, asked))} {batch}"


def _rate(asked: Recipe, forecast: DraftForecast) -> str:
    """The learning rate; one that is "auto" with its number and the reason for it."""
    if asked.train.lr != "auto":
        return f"learning rate {text_of(asked.train.lr)}"
    if forecast.known is None:
        return "learning rate auto"
    found = forecast.known.learning_rate
    return f"learning rate {text_of(found.lr)} (auto, {found.why})"


def _tokens(forecast: DraftForecast) -> list[Line]:
    """Lines on the tokens, where the rows are known in tokens."""
    if forecast.work is None:
        return []
    trained = f"{count(forecast.work.trained_tokens)} trained in all, rows of up to {count(forecast.work.longest)}"
    return [Line("Tokens", f"{trained}, {'' if forecast.work.packing.packed else 'not '}packed")]


def _thinking(draft: Draft, asked: Recipe) -> list[Line]:
    """A line on thinking, where the model thinks and the rows don't."""
    found = prepared(draft)
    if not found or not found.notes.get("no_thoughts"):
        return []
    if asked.data.thinking != "off":
        return [Line("Thinking", "kept: the rows, which have none, teach what to answer only")]
    served = f"; fitune asks it with {found.switch} = false" if found.switch else ""
    return [Line("Thinking", f"off: it learns to answer at once{served}")]


def _where(draft: Draft, forecast: DraftForecast) -> list[Line]:
    """Card, backend with its reason, and what had to be adapted."""
    machine = planned_machine(draft)
    if machine is None:
        return [Line("On", "this machine")]
    try:
        resolved = resolve(recipe(draft), machine)
    except UserError as error:
        return [Line("On", str(error))]
    place = " and ".join(gpu.name for gpu in resolved.gpus) or "the processor (slow)"
    not_met = forecast.known.notes if forecast.known else ()
    notes = [note.rstrip(".") for note in (*resolved.notes, *not_met)]
    adapted = [Line("Adapted", "; ".join(notes) + ".")] if notes else []
    on = Line("On", f"{place}. {resolved.backend_reason}")
    return [on, *_beside(draft, resolved), *_more_cards(draft, machine), *adapted]


def _beside(draft: Draft, resolved: Resolved) -> list[Line]:
    """That others train here already; on a card that is planned for there are none."""
    if draft.card_gib is not None:
        return []
    said = trainings_beside([gpu.uuid for gpu in resolved.gpus], runs.home(recipe(draft).run.home))
    return [Line("Beside", f"WARN {said}")] if said else []


def _more_cards(draft: Draft, machine: Machine) -> list[Line]:
    """That there are more cards than the one that is taken, unless the user has decided on them."""
    count = sum(gpu.allowed for gpu in machine.gpus)
    if count < 2 or recipe(draft).run.gpus != "auto" or recipe(draft).run.gpu is not None:
        return []
    return [Line("Cards", f"{count} are here: {count} in the field GPUs together trains on all. fitune fit compares.")]


def _disk(draft: Draft, asked: Recipe) -> str:
    budget = forecast_draft(draft).budget
    free_bytes = draft.machine.disk_free_bytes if draft.machine else None
    if budget is None:
        return f"{gib(free_bytes)} free"
    short = free_bytes is not None and budget.disk_bytes > free_bytes
    return f"{gib(budget.disk_bytes)} needed, {gib(free_bytes)} free{': WARN, too little' if short else ''}"
