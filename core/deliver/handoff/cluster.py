"""A training on other machines: several cards (accelerate), a queue (Slurm), a cloud (SkyPilot).

Where the node has fitune, Slurm and SkyPilot start the same worker with the same run folder, which `fitune watch`
follows; elsewhere the script trains the same.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from fitune.core.deliver.handoff.dataset_files import GENERAL, ROWS
from fitune.core.deliver.handoff.quoting import commented, plain_name, quoted, yaml_text
from fitune.core.deliver.handoff.script import not_carried
from fitune.core.deliver.handoff.script_files import script_files
from fitune.core.deliver.handoff.spec import Files, TrainingSpec, is_folder
from fitune.core.errors import UserError
from fitune.core.machine import shareable_requirement
from fitune.core.memory import Card, estimate, shapes
from fitune.core.recipe import changed
from fitune.core.recipe.load import to_toml
from fitune.core.units import GIB

CARDS = 2
"""Number of cards in the accelerate files where the recipe names none: the smallest that needs them."""
CARD_SIZES_GB = (8, 12, 16, 24, 40, 48, 80, 141)
USABLE = 0.9
"""Usable GiB for each nominal GB of a card: an A10 of 24 GB has 22.5 GiB, a T4 of 16 GB 14.6, part of it for the
driver."""
SPLIT = (
    "fsdp2.yaml: one model split over the cards. Take it where one card does not hold it. accelerate takes these",
    "settings; a training with them on cards has not been tried yet.",
)
HOST_GIB, HOURS = 32, 24
"""First guesses for a queue, a card; the file calls them so."""
LAUNCH = "uv run --no-project --with-requirements run.py accelerate launch"
SKYPILOT = "0.14.1"
RECIPE = "recipe.toml"
WITHOUT = "fitune is not installed here: run.py trains the same without it, and fitune watch can't follow that"
NOT_INSTALLED = "fitune is installed here from a folder, so task.yaml can't install it there: add it to setup."
SLURM_RUN = f"""\
if command -v fitune >/dev/null; then
  export FITUNE_HOME="$SLURM_SUBMIT_DIR"
  unset XDG_RUNTIME_DIR  # else a systemd of the user takes the worker out of this job
  trap '' TERM  # at the end of its time Slurm sends it to all: the worker then saves a checkpoint, and ends
  if [ -e "runs/$SLURM_JOB_NAME/run.json" ]; then
    fitune resume "$SLURM_JOB_NAME"
  else
    fitune train recipe.toml --set "run.name=$SLURM_JOB_NAME"
  fi
  exit
fi
echo "{WITHOUT}" >&2
"""
"""Shell lines: train with fitune where it is, or go on with the run that a job before this one began."""
SKYPILOT_RUN = f"""\
export PATH="$HOME/.local/bin:$PATH"
if command -v fitune >/dev/null; then
  if [ -e ~/.local/share/fitune/runs/{{run}}/run.json ]; then fitune resume {{run}}; else fitune train recipe.toml; fi
  exit
fi
echo "{WITHOUT}" >&2
uv run run.py
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """The machine that the training needs."""

    card_gb: int | None
    """The smallest usual card that holds it; None if the model is not known, or no usual card holds it."""
    total_gib: float | None
    disk_gib: int | None


def accelerate(spec: TrainingSpec) -> Files:
    """ddp.yaml and fsdp2.yaml with the script for several cards; int8 weights can't be split, so no fsdp2.yaml."""
    with_fsdp = spec.recipe.model.quant != "int8"
    cards = max(CARDS, cards_of(spec))
    common = {"compute_environment": "LOCAL_MACHINE", "machine_rank": 0, "num_machines": 1, "num_processes": cards}
    lines = [
        f"{spec.name} over several cards of one machine; num_processes says how many.",
        f"Needs what stands on top of run.py. With {cards} cards:",
        f"  {LAUNCH} --config_file ddp.yaml run.py",
        "On two machines, each with as many: the same on both with",
        f"  --num_machines 2 --num_processes {2 * cards} --machine_rank 0 (1 on the second)",
        "  --main_process_ip ADDRESS_OF_THE_FIRST --main_process_port 29500",
        "ddp.yaml: a whole model on each card, the rows shared out. Take it where one card holds the model.",
        *(SPLIT if with_fsdp else []),
        "The rows of a step stay as many as in the recipe: run.py divides grad_accum by the number of cards.",
        *spec.environment(),
        *(f"Not carried over: {note}" for note in not_carried(spec, "trl")),
    ]
    files = {"ddp.yaml": commented(lines) + "\n" + yaml_text({**common, "distributed_type": "MULTI_GPU"})}
    if with_fsdp:
        files["fsdp2.yaml"] = yaml_text({**common, "distributed_type": "FSDP", "fsdp_config": _fsdp2(spec)})
    return {**files, **script_files(spec, several_cards=True)}


def cards_of(spec: TrainingSpec) -> int:
    """The number of cards that the recipe asks for; 1 where it leaves that to the machine."""
    asked = spec.recipe.run.gpus
    return asked if isinstance(asked, int) else 1 if isinstance(asked, str) else len(asked)


def slurm(spec: TrainingSpec) -> Files:
    """job.sbatch with the script for as many cards as the recipe asks for."""
    needs, cards, name = _needs(spec), cards_of(spec), run_name(spec)
    here = str(Path(spec.recipe.model.id).expanduser().absolute())
    backend = "trl" if cards > 1 else spec.backend
    where = "one card" if cards == 1 else f"{cards} cards of one node"
    lines = [
        f"{spec.name} on {where} of a Slurm cluster: sbatch job.sbatch",
        f"With fitune on the node, any machine that sees this folder follows it: fitune watch runs/{name}",
        "What was stopped, or was at the end of its time, goes on in a new job: sbatch job.sbatch",
        "Without fitune run.py trains the same. That needs uv on the node (https://docs.astral.sh/uv).",
        "Both need the Hub, run.py the package index too, or full caches of them.",
        "--mem, --cpus-per-task and --time are first guesses; partition and account are your cluster's.",
        _size(needs),
        *spec.environment(),
        *(f"Not carried over: {note}" for note in not_carried(spec, backend)),
    ]
    options = {
        "job-name": name, "output": f"{name}-%j.log", "nodes": "1", "ntasks": "1", "gpus": str(cards),
        "cpus-per-task": str(8 * cards), "mem": f"{HOST_GIB * cards}G", "time": f"{HOURS}:00:00",
    }  # fmt: skip
    text = (
        "#!/bin/bash\n"
        + "".join(f"#SBATCH --{key}={value}\n" for key, value in options.items())
        + f"\n{commented(lines)}\nset -euo pipefail\n"
        'cd "$SLURM_SUBMIT_DIR"\n'
        f"nvidia-smi\n{SLURM_RUN}"
        'command -v uv >/dev/null || { echo "uv is not installed: https://docs.astral.sh/uv" >&2; exit 1; }\n'
        f"{f'{LAUNCH} --multi_gpu --num_processes {cards} run.py' if cards > 1 else 'uv run run.py'}\n"
    )
    return {"job.sbatch": text, RECIPE: own_recipe(spec, here), **script_files(spec, several_cards=cards > 1)}


def skypilot(spec: TrainingSpec) -> Files:
    """task.yaml with the script for one card."""
    needs, name, local = _needs(spec), plain_name(spec.name).lower(), is_folder(spec.recipe.model.id)
    if not name[0].isalpha():  # as a cluster's must begin (CLUSTER_NAME_VALID_REGEX in sky/skylet/constants.py)
        name = f"fitune-{name}"
    run, requirement = run_name(spec), shareable_requirement()
    lines = [
        f"{spec.name} on a cloud machine. Needs skypilot {SKYPILOT} or newer with a cloud set up (sky check).",
        f"  sky launch -c {name} task.yaml -i 10 --down",
        f"  fitune fetch {name}:{run}        # its run, as far as it is; then: fitune watch {run}",
        f"  rsync -Pavz {name}:sky_workdir/adapter .        # what run.py made, while it waits those 10 minutes",
        *([] if requirement else [NOT_INSTALLED]),
        "The cheapest card of the size below that you can have is taken.",
        _size(needs),
        *spec.environment(),
        "Pass such a variable on with: sky launch --secret NAME",
        *(["The model is a folder of this machine: copy it beside task.yaml."] if local else []),
        *(f"Not carried over: {note}" for note in not_carried(spec, spec.backend)),
    ]
    task = {
        "name": name,
        "workdir": ".",
        "resources": {
            "accelerators": f"{needs.card_gb or CARD_SIZES_GB[-1]}GB+:1",
            **({"disk_size": max(64, 2 * needs.disk_gib)} if needs.disk_gib else {}),
        },
        "setup": "pip install uv\n" + (f"uv tool install {quoted(requirement)}\n" if requirement else ""),
        "run": SKYPILOT_RUN.format(run=run),
    }
    text = commented(lines) + "\n" + yaml_text(task)
    return {"task.yaml": text, RECIPE: own_recipe(spec, f"./{Path(spec.recipe.model.id).name}"), **script_files(spec)}


def run_name(spec: TrainingSpec) -> str:
    """The name of the run on the other machine."""
    return plain_name(spec.name)[:100]


def own_recipe(spec: TrainingSpec, folder: str) -> str:
    """The recipe for fitune on another machine: with the rows beside it, and the cards that are there.

    folder: the place of the model there, if it is a folder here.
    """
    data, gpus, model = spec.recipe.data, spec.recipe.run.gpus, spec.recipe.model.id
    changes: dict[str, object] = {
        "data.source": ROWS, "data.sources": (), "data.format": "auto", "data.split": "train", "data.columns": {},
        "data.replay_source": GENERAL if data.general() else None,
        "model.id": folder if is_folder(model) else model,
        "run.name": run_name(spec), "run.home": None, "run.gpu": None,
        "run.gpus": len(gpus) if isinstance(gpus, tuple) else gpus,
    }  # fmt: skip
    return to_toml(changed(spec.recipe, changes))


def _fsdp2(spec: TrainingSpec) -> dict[str, object]:
    return {
        "fsdp_version": 2,
        "fsdp_reshard_after_forward": True,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        # 4-bit weights can't be sent from the first process to the others: each reads them itself.
        "fsdp_cpu_ram_efficient_loading": spec.recipe.model.quant == "bf16",
        "fsdp_state_dict_type": "FULL_STATE_DICT",
        "fsdp_offload_params": False,
    }


def _needs(spec: TrainingSpec) -> Needs:
    """The needs by the memory budget; all None where the model is not known or can't be reached."""
    train = spec.recipe.train.model_copy(update={"backend": spec.backend})
    recipe = spec.recipe.model_copy(update={"train": train})
    largest = CARD_SIZES_GB[-1] * GIB
    try:
        shape = shapes.load(recipe.model.id, recipe.model.revision)
        budget = estimate(shape, recipe, Card(largest, largest))
    except UserError:
        return Needs(None, None, None)
    fitting = [size for size in CARD_SIZES_GB if size * USABLE * GIB >= budget.high_bytes]
    return Needs(min(fitting, default=None), budget.total_bytes / GIB, math.ceil(budget.disk_bytes / GIB))


def _size(needs: Needs) -> str:
    if needs.total_gib is None:
        return "The card memory that it needs is not known: the model can't be reached."
    more = f": {needs.card_gb} GB or more" if needs.card_gb else ", more than one card has"
    return f"It needs about {needs.total_gib:.1f} GiB of a card{more}."
