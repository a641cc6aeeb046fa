"""The page docs/variants.md: what each way to train does with each backend, from the rows of bench/variants.py."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SAME = 0.02
"""Losses of a resumed training that differ by less are the same: kernels of a card don't sum in one order."""
HEAD = """# Ways to train

An adapter beside a model in 4 bits is the default (QLoRA). What the others are for:

- 16 bits (`model.quant = "bf16"`): where the card has room. Nothing is rounded, and a step is quicker.
- DoRA, rsLoRA, LoRA+, PiSSA, LoftQ: they end within 1 to 2 % of plain LoRA once the learning rate is tuned ([arXiv
  2602.04998](https://arxiv.org/abs/2602.04998)). Tune that first: `fitune tune-lr`.
- LoRA-FA trains half of the adapter: fewer gradients and states, and less is learned.
- `lora.modules_to_save` trains embedding and head whole: for new words or another language.
- DPO, ORPO and KTO learn from better and worse answers ([your data](data.md#better-and-worse-answers)).
- `train.weights = "all"` is full fine-tuning, for small models. It learns at a tenth of an adapter's rate, and is
  merged in 32 bits: rounded to 16, its smallest steps would be lost.

GaLore and APOLLO are no choices of `train.optimizer`: transformers takes them from the packages galore-torch, whose
only release is of March 2024, and apollo-torch, whose last is of February 2025. Where memory is short, Adafactor and
the paged optimizers are left, or an adapter.

The tables are made by `docs/generate.py` from the rows of `bench/variants.py`. Each case trains 8 steps, goes on from
the checkpoint of step 4, merges, and compares the merged model with the trained one. What is refused is refused before
the first step, with the sentence that stands there. The peak is that of the process, and the pace that of a few steps
of a small model, beside that of QLoRA: it tells large differences only. Neither was measured on a processor. The four
layers were trained several times on the H200, with many cases beside each other: for all but peak and pace, for the
peak, and for the pace, whose steps were timed one case at a time, the faster of two tries where there were two. Two
tries of plain QLoRA differed by a half with Unsloth: there a step took 0.04 s, and other processes started. The budget
is what is told since (2026-12-01): it lies 2.0 % off in the mean of 34 peaks, from 1.2 % under to 5.6 % over. Before it
was up to 36 % less where all weights, or embedding and head, are trained whole.
"""


def page() -> str:
    """The page, with a table for each file of rows."""
    files = sorted((ROOT / "bench" / "results").glob("variants_*.jsonl"))
    return "\n".join([HEAD, *(section(file) for file in files)])


def section(file: Path) -> str:
    """The table of one file; the first line of it says on what it was measured."""
    about, *found = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    on, shape = about["about"], about["model"]
    place = on["card"] or "a processor"
    head = (
        f"## {shape}, on {place}\n\nRows of 2 × {about['length']:,} tokens, {on['date']}; torch {on['torch']}, "
        f"transformers {on['transformers']}, trl {on['trl']}, peft {on['peft']}, unsloth {on['unsloth']} "
        f"([rows](../bench/results/{file.name})).\n\n"
        "| way | backend | loss | resumes | merged and proven | peak, GiB | budget | tokens/s |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(lines(joined(found)))


def joined(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each case: what later trainings measured besides is added to what the first one did."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in found:
        case = row["variant"], row["backend"]
        rows[case] = row | rows.get(case, {})
    return list(rows.values())


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line of the table for each row; the pace beside that of plain QLoRA with the same backend."""
    plain = {row["backend"]: row["tokens_per_s"] for row in rows if row["variant"] == "QLoRA" and "tokens_per_s" in row}
    for row in sorted(rows, key=lambda row: (row["variant"], row["backend"])):
        yield f"| {row['variant']} | {row['backend']} | {' | '.join(cells(row, plain.get(row['backend'])))} |\n"


def cells(row: dict[str, Any], plain: float | None) -> list[str]:
    """The cells behind the name of a case."""
    if "first_loss" not in row:
        said = " ".join((row.get("refused") or row["failed"]).split()).replace("|", "\\|")
        return [f"{'refused' if 'refused' in row else 'failed'}: {said}", *[""] * 5]
    gap = row["resume_gap"]
    return [
        f"{row['first_loss']:.3f} to {row['last_loss']:.3f}",
        "with the same losses" if gap < SAME else f"losses differ by {gap:.2f}",
        {True: "yes", False: "no", None: f"cut off: {row.get('failed')}"}[row.get("proof")],
        *measures(row, plain),
    ]


def measures(row: dict[str, Any], plain: float | None) -> list[str]:
    """Peak, budget and pace; nothing where they were not measured: a processor's are those of its libraries."""
    if "peak_bytes" not in row:
        return [""] * 3
    peak, budget = row["peak_bytes"], row["budget_bytes"]
    alone = row.get("tokens_per_s")
    pace = (f"{alone:,}" if alone else "") + (f" ({alone / plain:.2f})" if alone and plain else "")
    return [f"{peak / 2**30:.2f}", f"{budget / 2**30:.2f} ({100 * (budget / peak - 1):+.1f} %)", pace]
