"""Predicted against measured peak device memory: `uv run bench/score_budget.py [ROWS.jsonl ...]`.

Rows are those of bench/vram.py and bench/families.py; without an argument, the ones in bench/results.
Prints each row, then mean, worst over and worst under in percent: of the models on which the budget's constants were
fitted, of the others, and of the families. Rows of these have no figure of the driver: what torch reserved is compared
with the budget without the CUDA context. The budget is that of the loss chunks of the time when a row was measured.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.vram import L1, L3, L8, Q4, Q7, Q32, TINY, recipe_of
from fitune.core.memory import loss
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import Shape, from_config, load
from fitune.core.units import GIB

H100 = Card(total_bytes=85_520_809_984, free_bytes=85_000_000_000, compute_capability=(9, 0))
FITTED = frozenset({TINY, L1, L3, L8, Q4, Q7, Q32})
RESULTS = Path(__file__).parent / "results"
ROWS = (RESULTS / "vram_h100_2026-11-22.jsonl", RESULTS / "families_h200_2026-11-29.jsonl")
FAMILIES = json.loads(Path(__file__).with_name("families.json").read_text())
"""config.json values of few-layer models of today's families, by name."""
FIRST_CHUNK_GIB = 4.0
"""The most that Unsloth plans for a loss chunk by itself: so it was for rows whose "about" has no loss_chunk_gib."""


def measured_rows(*paths: Path) -> list[dict[str, Any]]:
    """The rows of these files with a measured peak. Each says how large a loss chunk could be when it was recorded."""
    rows: list[dict[str, Any]] = []
    for path in paths:
        chunk = FIRST_CHUNK_GIB
        for row in map(json.loads, path.read_text().splitlines()):
            if isinstance(about := row.get("about"), dict):
                chunk = about.get("loss_chunk_gib", FIRST_CHUNK_GIB)
            if row.get("device") or row.get("reserved"):
                rows.append({**row, "loss_chunk_gib": chunk})
    return rows


@contextmanager
def loss_chunks(gib: float = FIRST_CHUNK_GIB) -> Iterator[None]:
    """Budgets are those of a fitune whose loss chunks may have this size."""
    today, loss.CHUNK_TARGET_CAP = loss.CHUNK_TARGET_CAP, round(gib * GIB)
    try:
        yield
    finally:
        loss.CHUNK_TARGET_CAP = today


def shape_of(model: str) -> Shape:
    """The shape of a row's model."""
    return from_config(FAMILIES[model], model) if model in FAMILIES else load(model)


def error_percent(row: dict[str, Any]) -> float:
    """By how much the predicted peak is above the measured one; prints a line."""
    changes = {name: value for name, value in row.items() if "." in name}
    with loss_chunks(row["loss_chunk_gib"]):
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
    rows = measured_rows(*(map(Path, paths) if paths else ROWS))
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
