"""The loss of a run as plain text for its model card: a picture of characters, which every page shows, and a table."""

from collections.abc import Sequence

Points = Sequence[tuple[int, float]]
COLUMNS, ROWS = 60, 12
TABLE_ROWS = 12


def drawn(train: Points, held_out: Points) -> list[str]:
    """The losses over the steps: * is training, the mean of the steps that share a column; o is held out."""
    points = [*train, *held_out]
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    lines = {"*": _means(train, first, last), "o": _means(held_out, first, last)}
    losses = [loss for line in lines.values() for loss in line.values()]
    low, high = min(losses), max(losses)
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for mark, line in lines.items():
        for column, loss in line.items():
            share = (high - loss) / (high - low) if high > low else 0.5
            grid[round(share * (ROWS - 1))][column] = mark
    labels = {0: f"{high:.4g}", ROWS - 1: f"{low:.4g}"}
    wide = max(map(len, labels.values()))
    rows = [f"{labels.get(row, ''):>{wide}} |{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    steps = f"step {first}".ljust(COLUMNS - len(str(last))) + str(last)
    named = "* training" + ("   o held out" if held_out else "")
    return [*rows, f"{'':>{wide}} +{'-' * COLUMNS}", f"{'':>{wide}}  {steps}", "", f"{'':>{wide}}  {named}"]


def table(train: Points, held_out: Points) -> list[tuple[int, float | None, float | None]]:
    """(step, training loss, held-out loss) in at most TABLE_ROWS rows, the last step among them.

    The training loss is the mean over the steps since the row before; None where nothing was measured.
    """
    steps = [step for step, _ in held_out or train]
    apart = -(-len(steps) // TABLE_ROWS)
    chosen = steps[::-1][::apart][::-1]
    told, before, aside = [], 0, dict(held_out)
    for step in chosen:
        between = [loss for each, loss in train if before < each <= step]
        told.append((step, sum(between) / len(between) if between else None, aside.get(step)))
        before = step
    return told


def _means(points: Points, first: int, last: int) -> dict[int, float]:
    """The mean loss by the column of the picture."""
    columns: dict[int, list[float]] = {}
    for step, loss in points:
        place = round((step - first) / (last - first) * (COLUMNS - 1)) if last > first else 0
        columns.setdefault(place, []).append(loss)
    return {column: sum(losses) / len(losses) for column, losses in columns.items()}
