"""Adds recipes to the queue, each checked as it would be before its start: all of them, or none."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from fitune.core import runs
from fitune.core.errors import BadInput, Problem
from fitune.core.forecast import place_of
from fitune.core.jobs import obstacles
from fitune.core.machine import Machine, host
from fitune.core.queue.cards import when_free
from fitune.core.queue.entries import Entry, Queue, edit, read
from fitune.core.recipe import Recipe, changed
from fitune.core.tokens import cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """The conditions under which recipes are added; all of them share these."""

    source: str
    """The recipe file or preset, as it was named."""
    after: float | None = None
    """The earliest time of their start, in UTC seconds; None is any."""
    when_idle: bool = False
    """Their card must be free of others first."""
    anyway: bool = False
    """They may start although the budget says that they do not fit."""


def add(recipes: Sequence[Recipe], how: Addition) -> tuple[Entry, ...]:
    """Put recipes at the end of the queue, and return their entries. A recipe without a name gets one.

    Their relative paths count from the current folder; data and models are read when a run starts. Raises BadInput
    with all that is wrong with any of them, after which none was added, and UserError if the queue can't be written.
    """
    machine = when_free(host.detect(runs.home() / "runs"), how.when_idle)
    new = tuple(_entry(recipe, how) for recipe in recipes)
    problems = [*_all_obstacles(new, machine, how.anyway), *_taken_names(new, read().entries)]
    if problems:
        raise BadInput(problems)

    def append(queue: Queue) -> Queue:
        if taken := list(_taken_names(new, queue.entries)):  # by someone else meanwhile
            raise BadInput(taken)
        return replace(queue, entries=(*queue.entries, *new))

    edit(append)
    return new


def _entry(recipe: Recipe, how: Addition) -> Entry:
    recipe = cache.with_absolute_paths(recipe)
    recipe = changed(recipe, {"run.name": recipe.run.name or runs.new_name(recipe)})
    if recipe.run.home:
        recipe = changed(recipe, {"run.home": str(runs.home(recipe.run.home))})
    if recipe.run.copy_to:
        recipe = changed(recipe, {"run.copy_to": place_of(recipe.run.copy_to)})
    return Entry(
        name=recipe.run.name or "",
        recipe=recipe.model_dump(mode="json"),
        source=how.source,
        added=time.time(),
        after=how.after,
        when_idle=how.when_idle,
        anyway=how.anyway,
    )


def _all_obstacles(new: Sequence[Entry], machine: Machine, anyway: bool) -> Iterator[Problem]:
    """What keeps each of the entries from starting; what is the same for all of them once, without a name."""
    found = {entry.name: obstacles(entry.parsed(), machine, anyway) for entry in new}
    shared = set.intersection(*map(set, found.values()))
    yield from dict.fromkeys(each for problems in found.values() for each in problems if each in shared)
    for name, problems in found.items():
        for each in problems:
            if each not in shared:
                yield replace(each, where=": ".join(filter(None, (name, each.where))))


def _taken_names(new: Sequence[Entry], old: Collection[Entry]) -> Iterator[Problem]:
    """Names that another entry or a run has already."""
    names = [entry.name for entry in old]
    for entry in new:
        if entry.name in names:
            yield Problem("run.name", f"the queue has an entry {entry.name} already.", "Choose another name.")
        elif entry.run.path.exists():
            yield Problem("run.name", f"there is a run named {entry.name} already.", "Choose another name.")
        names.append(entry.name)
