"""Predicted against measured peak device memory: `uv run bench/score_budget.py [ROWS.jsonl ...]`.

Rows are those of bench/vram.py and bench/families.py; without an argument, the ones in bench/results.
Prints each row, then mean, worst over and worst under in percent: of the models on which the budget's constants were
fitted, of the others, and of the families. Rows of these have no figure of the driver: what torch reserved is compared
with the budget without the CUDA context.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.vram import L1, L3, L8, Q4, Q7, Q32, TINY, recipe_of
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import Shape, from_config, load
from fitune.core.units import GIB

H100 = Card(total_bytes=85_520_809_984, free_bytes=85_000_000_000, compute_capability=(9, 0))
FITTED = frozenset({TINY, L1, L3, L8, Q4, Q7, Q32})
RESULTS = Path(__file__).parent / "results"
ROWS = (RESULTS / "vram_h100_2026-11-22.jsonl", RESULTS / "families_h200_2026-11-29.jsonl")
FAMILIES = json.loads(Path(__file__).with_name("families.json").read_text())
"""config.json values of few-layer models of today's families, by name."""


def shape_of(model: str) -> Shape:
    """The shape of a row's model."""
    return from_config(FAMILIES[model], model) if model in FAMILIES else load(model)


def error_percent(row: dict[str, Any]) -> float:
    """By how much the predicted peak is above the measured one; prints a line."""
    changes = {name: value for name, value in row.items() if "." in name}
    budget = estimate(shape_of(row["model"]), recipe_of(row["model"], changes), H100)
    context = 0 if row.get("device") else sum(part.bytes for part in budget.parts if part.name == "CUDA context")
    measured, said = row.get("device") or row["reserved"], budget.total_bytes - context
    error: float = 100 * (said - measured) / measured
    case = " ".join(f"{name.partition('.')[2]}={value}" for name, value in changes.items())
    found = f"{said / GIB:7.3f} of {measured / GIB:7.3f} GiB {error:+6.2f} %"
    bounds = f"[{(budget.low_bytes - context) / GIB:.2f}, {(budget.high_bytes - context) / GIB:.2f}]"
    print(f"{found}  {bounds}  {row['model'].rpartition('/')[2]} {case}; peak at {budget.moment}")
    return error


def summary(name: str, errors: list[float]) -> str:
    mean = sum(map(abs, errors)) / max(1, len(errors))
    over, under = max([0.0, *errors]), min([0.0, *errors])
    return f"{name}: {len(errors)} rows, mean {mean:.2f} %, worst over {over:+.2f} %, worst under {under:+.2f} %"


def main(paths: list[str]) -> int:
    lines = [json.loads(line) for path in paths or map(str, ROWS) for line in Path(path).read_text().splitlines()]
    rows = [line for line in lines if line.get("device") or line.get("reserved")]
    if not rows:
        print("No measured rows.", file=sys.stderr)
        return 2
    errors: dict[str, list[float]] = {"fitted models": [], "other models": [], "families": []}
    for row in rows:
        known = "fitted models" if row["model"] in FITTED else "other models"
        errors["families" if row["model"] in FAMILIES else known].append(error_percent(row))
    for name, found in errors.items():
        print(summary(name, found))
    print(summary("all", [each for found in errors.values() for each in found]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
