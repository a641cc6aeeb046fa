"""The panel's lines, for as much room as there is: what matters first stands first."""

import textwrap
from collections.abc import Iterator, Sequence

from textual.content import Content

from fitune.core.forecast import Forecast, Remedy
from fitune.core.memory import Budget
from fitune.tui.text import clean, gib, items, safe, tenths, totals
from fitune.tui.wizard.forecast_text import COLOURS, WORDS, DraftForecast, bounds, correction, pace_text
from fitune.tui.wizard.memory.bar import bar, group_of, group_place, grouped, shade
from fitune.tui.wizard.memory.remedy_lines import ROOMY_COLUMNS, remedy_lines
from fitune.tui.wizard.memory.words import named

NAME_COLUMNS, AMOUNT_COLUMNS = 22, 9
CUT = "More in a larger window."


def full_lines(
    forecast: DraftForecast, ways: Sequence[Remedy], columns: int, rows: int, plain: bool, note: str = ""
) -> Content:
    """Place, bar, verdict, what helps, totals, pace, and as much of the items as fits into so many rows.

    note: what the search for the best plan has found.
    """
    found, now = forecast.budget, forecast.known
    lines = [Content.styled(clean(f"Memory of {forecast.site}", columns * 2), "bold")]
    if found is not None:
        lines.append(bar(grouped(found.parts), forecast.free_bytes, columns, plain))
    lines.append(verdict(forecast))
    if note:
        lines.append(Content.styled("^f ", "bold $primary") + safe(named(note)))
    lines += remedy_lines(now, ways, columns)
    drawn = Content("\n").join(lines)
    for body in _bodies(forecast, columns, plain):
        drawn = Content("\n").join([*lines, *body])
        if drawn.get_height({}, columns) <= rows:
            return drawn
    shown = drawn.wrap(columns)
    return drawn if len(shown) <= rows else Content("\n").join([*shown[: rows - 1], Content.styled(CUT, "$secondary")])


def _bodies(forecast: DraftForecast, columns: int, plain: bool) -> Iterator[list[Content]]:
    """What stands under the verdict, the fullest first: items with their reasons, items, groups, totals alone."""
    if forecast.known is not None and forecast.budget is not None:
        if columns >= ROOMY_COLUMNS:
            yield [Content(), *explained(forecast.known, columns, plain, why=True)]
            yield [Content(), *explained(forecast.known, columns, plain, why=False)]
        yield [*in_groups(forecast.budget, plain), *in_short(forecast)]
        yield in_short(forecast)


def in_groups(found: Budget, plain: bool) -> list[Content]:
    """The items in groups, as the bar shows them, a line each."""
    return [
        shade(name, plain) + Content(f" {name:<{NAME_COLUMNS - 2}}{tenths(amount):>{AMOUNT_COLUMNS}}")
        for name, amount in grouped(found.parts)
    ]


def in_short(forecast: DraftForecast) -> list[Content]:
    """Totals, pace, and where the figures come from, a line each."""
    found, now = forecast.budget, forecast.known
    if found is None or now is None:
        return []
    lines = [Content(f"Predicted {bounds(found)}"), Content(f"Free      {gib(forecast.free_bytes)}")]
    layers = f", {found.offloaded_layers} of {len(now.shape.layers)} layers" if found.offloaded_layers else ""
    lines += [Content(f"Host RAM  {gib(found.host_bytes)}{layers}")] if found.host_bytes else []
    lines.append(Content.styled(f"Rows      {'measured' if forecast.work else 'assumed full'}", "$secondary"))
    if forecast.pace is not None and forecast.pace.tokens_per_s:
        lines.append(Content(f"Pace      {pace_text(forecast.pace)}"))
    lines.append(Content(f"Disk      {gib(found.disk_bytes)}"))
    if said := correction(forecast):
        lines.append(Content.styled(said, "$secondary"))
    return lines


def explained(now: Forecast, columns: int, plain: bool, why: bool) -> list[Content]:
    """Each item, as `fitune estimate` tells them, in the order of the bar, under the totals. why: with its reason."""
    told = [_item(tenths(item.bytes), " ", item.name, item.why, columns) for item in totals(now)]
    if now.pace.tokens_per_s:
        told.append(_item("", " ", "pace", pace_text(now.pace), columns))
    lengths = "lengths as measured" if now.work else "lengths not known: each counts as full"
    told += [_item("", " ", "rows", lengths, columns), Content()]
    return told + [
        _item(tenths(item.bytes), shade(group_of(item.name), plain), item.name, item.why if why else "", columns)
        for item in sorted(items(now), key=lambda item: (group_place(item.name), -item.bytes))
    ]


def _item(amount: str, mark: str | Content, name: str, why: str, columns: int) -> Content:
    """An amount, its name and its reason, in lines below each other."""
    indent = AMOUNT_COLUMNS + 3
    told = clean(f"{name}  {named(why)}".rstrip())
    lines = Content("\n".join(textwrap.wrap(told, columns - indent, break_on_hyphens=False)))
    drawn = lines.stylize("$secondary", len(name)) if why else lines
    start = Content(f"{amount:>{AMOUNT_COLUMNS}} ") + (Content(mark) if isinstance(mark, str) else mark) + Content(" ")
    return start + Content(f"\n{' ' * indent}").join(drawn.split("\n"))


def brief_lines(forecast: DraftForecast, ways: Sequence[Remedy], columns: int, plain: bool) -> Content:
    """The bar, one line below, and what helps where that is needed."""
    found = forecast.budget
    if found is None:
        return verdict(forecast)
    drawn = bar(grouped(found.parts), forecast.free_bytes, columns, plain)
    word = Content.styled(WORDS[forecast.verdict], f"bold {COLOURS[forecast.verdict]}")
    said = Content(f" {forecast.short}. Predicted {bounds(found)}, free {gib(forecast.free_bytes)}")
    return Content("\n").join([drawn, word + said, *remedy_lines(forecast.known, ways, 0)])


def verdict(forecast: DraftForecast) -> Content:
    """A status word, and the verdict as a sentence."""
    return Content.styled(WORDS[forecast.verdict], f"bold {COLOURS[forecast.verdict]}") + safe(
        f" {named(forecast.said)}"
    )
