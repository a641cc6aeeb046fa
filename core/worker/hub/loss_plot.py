"""The losses of a run for its model card: a plot in plain text, and a table."""

from collections.abc import Sequence

Points = Sequence[tuple[int, float]]
COLUMNS, ROWS = 60, 12
TABLE_ROWS = 12


def drawn(train: Points, held_out: Points) -> list[str]:
    """Plot the losses over the steps: * is training, the mean of the steps in a column; o is held out."""
    points = [*train, *held_out]
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    series = {"*": _means(train, first, last), "o": _means(held_out, first, last)}
    losses = [loss for means in series.values() for loss in means.values()]
    low, high = min(losses), max(losses)
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for symbol, means in series.items():
        for column, loss in means.items():
            share = (high - loss) / (high - low) if high > low else 0.5
            grid[round(share * (ROWS - 1))][column] = symbol
    labels = {0: f"{high:.4g}", ROWS - 1: f"{low:.4g}"}
    label_width = max(map(len, labels.values()))
    rows = [f"{labels.get(row, ''):>{label_width}} |{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    steps = f"step {first}".ljust(COLUMNS - len(str(last))) + str(last)
    legend = "* training" + ("   o held out" if held_out else "")
    return [
        *rows,
        f"{'':>{label_width}} +{'-' * COLUMNS}",
        f"{'':>{label_width}}  {steps}",
        "",
        f"{'':>{label_width}}  {legend}",
    ]


def table(train: Points, held_out: Points) -> list[tuple[int, float | None, float | None]]:
    """(step, training loss, held-out loss) in at most TABLE_ROWS rows, the last step among them.

    The training loss is the mean over the steps since the previous row; None where nothing was measured.
    """
    steps = [step for step, _ in held_out or train]
    stride = -(-len(steps) // TABLE_ROWS)
    shown = steps[::-1][::stride][::-1]
    rows, previous, held_out_by_step = [], 0, dict(held_out)
    for step in shown:
        between = [loss for at, loss in train if previous < at <= step]
        rows.append((step, sum(between) / len(between) if between else None, held_out_by_step.get(step)))
        previous = step
    return rows


def _means(points: Points, first: int, last: int) -> dict[int, float]:
    """The mean loss of each column of the plot."""
    columns: dict[int, list[float]] = {}
    for step, loss in points:
        column = round((step - first) / (last - first) * (COLUMNS - 1)) if last > first else 0
        columns.setdefault(column, []).append(loss)
    return {column: sum(losses) / len(losses) for column, losses in columns.items()}
