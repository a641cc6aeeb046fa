"""Predicted against measured peak device memory: `uv run bench/score_budget.py [ROWS.jsonl ...]`.

Rows are those of bench/vram.py; without an argument, the ones in bench/results. Prints each row, then mean, worst over
and worst under in percent: of the models on which the budget's constants were fitted, and of the others.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.vram import L1, L3, L8, Q4, Q7, Q32, TINY, recipe_of
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import load
from fitune.core.units import GIB

H100 = Card(total_bytes=85_520_809_984, free_bytes=85_000_000_000, compute_capability=(9, 0))
FITTED = frozenset({TINY, L1, L3, L8, Q4, Q7, Q32})
ROWS = Path(__file__).parent / "results" / "vram_h100_2026-11-22.jsonl"


def error_percent(row: dict[str, Any]) -> float:
    """By how much the predicted peak is above the measured one; prints a line."""
    changes = {name: value for name, value in row.items() if "." in name}
    budget = estimate(load(row["model"]), recipe_of(row["model"], changes), H100)
    error: float = 100 * (budget.total_bytes - row["device"]) / row["device"]
    case = " ".join(f"{name.partition('.')[2]}={value}" for name, value in changes.items())
    found = f"{budget.total_bytes / GIB:7.3f} of {row['device'] / GIB:7.3f} GiB {error:+6.2f} %"
    bounds = f"[{budget.low_bytes / GIB:.2f}, {budget.high_bytes / GIB:.2f}]"
    print(f"{found}  {bounds}  {row['model'].rpartition('/')[2]} {case}; peak at {budget.moment}")
    return error


def summary(name: str, errors: list[float]) -> str:
    mean = sum(map(abs, errors)) / max(1, len(errors))
    over, under = max(0.0, *errors), min(0.0, *errors)
    return f"{name}: {len(errors)} rows, mean {mean:.2f} %, worst over {over:+.2f} %, worst under {under:+.2f} %"


def main(paths: list[str]) -> int:
    lines = [json.loads(line) for path in paths or [str(ROWS)] for line in Path(path).read_text().splitlines()]
    rows = [line for line in lines if line.get("device")]
    if not rows:
        print("No measured rows.", file=sys.stderr)
        return 2
    errors: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        errors[row["model"] in FITTED].append(error_percent(row))
    print(summary("fitted models", errors[True]))
    print(summary("other models", errors[False]))
    print(summary("all", errors[True] + errors[False]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
