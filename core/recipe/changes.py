"""Set and read the fields of a recipe by `group.key`."""

from collections.abc import Mapping
from typing import Any

from fitune.core.recipe.fields import Recipe


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with `group.key` values set. They are not checked, since they come from fitune itself."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        group, _, key = name.partition(".")
        groups.setdefault(group, {})[key] = value
    return recipe.model_copy(
        update={group: getattr(recipe, group).model_copy(update=keys) for group, keys in groups.items()}
    )


def value_of(recipe: Recipe, name: str) -> Any:
    """The value of a field by `group.key`."""
    group, _, key = name.partition(".")
    return getattr(getattr(recipe, group), key)


def changes_between(before: Recipe, after: Recipe) -> dict[str, Any]:
    """The fields in which two recipes differ, by `group.key`, with their values in the later one as JSON has them."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return {
        f"{group}.{key}": value
        for group, fields in new.items()
        if isinstance(fields, dict)
        for key, value in fields.items()
        if value != old[group][key]
    }


def options(changes: Mapping[str, Any]) -> str:
    """Changes as options of a command: `--set train.micro_batch=1`. An unset field has none."""
    values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in changes.items()}
    return " ".join(f"--set {name}={value}" for name, value in values.items() if value is not None)


def with_values(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tree, which was not checked yet, with `group.key` values set."""
    changed_tree = dict(tree)
    for name, value in changes.items():
        group, _, key = name.partition(".")
        fields = changed_tree.get(group)
        changed_tree[group] = {**(fields if isinstance(fields, Mapping) else {}), key: value}
    return changed_tree
