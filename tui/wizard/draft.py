"""The draft: all answers of the wizard so far, as a frozen value, and the file that keeps them after a crash."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from fitune.core import runs
from fitune.core.data import Report
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.files import write_atomically
from fitune.core.machine import Machine
from fitune.core.recipe import Recipe, load, presets
from fitune.core.tokens import TokenStats, cache
from fitune.tui.wizard.fields import all_fields, parse, problem, text_of

Origin = Literal["edited", "answers", "preset", "default"]
UNCHOSEN = "not-chosen/yet"
"""Stands for the data in estimates, until it is chosen."""
PRESET_GROUPS = ("model", "lora", "train")
"""The groups that a preset sets."""
VERSION = 1
RENDERED_BY = (
    "model.id", "model.revision", "model.trust_remote_code", "data.source", "data.format", "data.split",
    "data.columns", "data.loss_on", "data.thinking", "data.template_options", "data.sources", "data.replay",
    "data.replay_source", "train.objective",
)  # fmt: skip
"""The fields on which the tokens of the rows depend."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan that was proposed for the rows."""

    before: Mapping[str, str]
    """The edits without it."""
    text: str
    """Its changes and what they gain; empty once the user has undone it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The answers so far. What was found out about machine and data rides along, and is found again after a crash."""

    preset: str | None = None
    """Its id."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """Recipe groups from an answers file, over the preset's."""
    edits: Mapping[str, str] = field(default_factory=dict)
    """Field name -> what was typed, right or wrong, over both."""
    card_gib: float | None = None
    """Plan for an empty card of this size instead of this machine's."""
    machine: Machine | None = None
    report: Report | None = None
    """Of `data.source` as it stands in `edits`."""
    rendered: tuple[tuple[str, ...], TokenStats] | None = None
    """The rows in tokens, and the texts of RENDERED_BY that they were rendered with: see `prepared`."""
    plan: Plan | None = None
    """None as long as none was proposed."""
    model: str | None = None
    """The one of the preset's models that was chosen; None is its first."""

    @property
    def source(self) -> str:
        """The data that was chosen; empty if none was."""
        data = self.answers.get("data", {})
        several = ", ".join(part["source"] for part in data.get("sources", ()))
        return self.edits.get("data.source") or str(data.get("source", "")) or several


def set_field(draft: Draft, name: str, text: str) -> Draft:
    """The draft with a field as typed. A text that means what was there anyway is no edit."""
    spec = all_fields()[name]
    edits = {key: value for key, value in draft.edits.items() if key != name}
    if problem(spec, text) or parse(spec, text) != base_value(draft, name):
        edits[name] = text
    return replace(draft, edits=edits)


def reset_field(draft: Draft, name: str) -> Draft:
    """The draft with a field as preset or answers have it."""
    return replace(draft, edits={key: value for key, value in draft.edits.items() if key != name})


def changed_settings(draft: Draft) -> tuple[str, ...]:
    """The names of the settings that were changed by hand or by a remedy: they stay under another preset."""
    return tuple(name for name in draft.edits if name.partition(".")[0] in PRESET_GROUPS)


def without_settings(draft: Draft) -> Draft:
    """The draft without these changes; the data and the name of the run stay."""
    edits = {name: text for name, text in draft.edits.items() if name.partition(".")[0] not in PRESET_GROUPS}
    return replace(draft, edits=edits, plan=None)


def use_preset(draft: Draft, preset: str) -> Draft:
    """The draft on a preset. Edits stay: they are the user's own words. The chosen model stays with its preset."""
    return replace(draft, preset=preset, model=draft.model if draft.preset == preset else None)


def next_model(draft: Draft, step: int) -> Draft:
    """The draft with the model `step` places further in the preset's list, which begins anew after its end."""
    if draft.preset is None:
        return draft
    models = presets.find(draft.preset).models
    return replace(draft, model=models[(models.index(draft.model or models[0]) + step) % len(models)])


def base_value(draft: Draft, name: str) -> Any:
    """The value of a field before edits."""
    group, _, key = name.partition(".")
    return _base(draft).get(group, {}).get(key, all_fields()[name].default)


def shown(draft: Draft, name: str) -> str:
    """The text of a field as a form shows it."""
    return draft.edits[name] if name in draft.edits else text_of(base_value(draft, name))


def origin(draft: Draft, name: str) -> Origin:
    """The origin of a field's value."""
    group, _, key = name.partition(".")
    if name in draft.edits:
        return "edited"
    if key in draft.answers.get(group, {}):
        return "answers"
    return "preset" if draft.preset and key in _preset_tree(draft.preset, None).get(group, {}) else "default"


def chosen_fields(draft: Draft) -> frozenset[str]:
    """The names of the fields that the preset, an answers file, a remedy or the user has set."""
    return frozenset(name for name in all_fields() if origin(draft, name) != "default")


def recipe(draft: Draft) -> Recipe:
    """The recipe of a draft. Raises BadInput with all problems; that no data are chosen yet is none of them."""
    tree = _base(draft)
    bad = []
    for name, text in draft.edits.items():
        group, _, key = name.partition(".")
        try:
            tree.setdefault(group, {})[key] = parse(all_fields()[name], text)
        except ValueError as error:
            bad.append(Problem(name, str(error)))
    if bad:
        raise BadInput(bad)
    data = tree.setdefault("data", {})
    if "data.source" in draft.edits:  # in place of what an answers file names
        data.pop("sources", None)
    elif not data.get("sources"):
        data.setdefault("source", UNCHOSEN)
    return load.parse(tree, "")


def problems(draft: Draft) -> dict[str, str]:
    """Field name -> what is wrong with it."""
    try:
        recipe(draft)
    except BadInput as error:
        return {each.where.removeprefix(": ").strip(): f"{each.text} {each.fix}".strip() for each in error.problems}
    return {}


def prepared(draft: Draft) -> TokenStats | None:
    """The rows in tokens; None if they weren't rendered, or with other settings than the draft has now."""
    return draft.rendered[1] if draft.rendered and draft.rendered[0] == _rendered_by(draft) else None


def with_prepared(draft: Draft, found: TokenStats) -> Draft:
    """The draft with its rows in tokens."""
    return replace(draft, rendered=(_rendered_by(draft), found))


def with_known(draft: Draft) -> Draft:
    """The draft with its rows in tokens if the prepare job has found them before; nothing is started."""
    if not draft.source or prepared(draft) is not None:
        return draft
    try:
        asked = recipe(draft)
    except BadInput:  # a field is wrong, which the form tells
        return draft
    found = cache.lookup(asked, runs.home(asked.run.home))
    return with_prepared(draft, found) if found else draft


def save(draft: Draft, step: str, base: Path) -> None:
    """Keep the draft and the step it is at under `base`, whole or not at all, for its owner alone.

    A recipe has no field for a secret, so none can be in it. Raises UserError where it can't be written.
    """
    kept = {
        "version": VERSION,
        "step": step,
        "preset": draft.preset,
        "model": draft.model,
        "answers": dict(draft.answers),
        "edits": dict(draft.edits),
        "card_gib": draft.card_gib,
    }
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(draft_file(base), orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    except OSError as error:
        hint = "Set FITUNE_HOME to a folder you can write to."
        raise UserError(f"Your answers can't be kept in {base}: {error.strerror}.", hint) from None


def restore(base: Path) -> tuple[Draft, str] | None:
    """The draft of a wizard that did not come to its end, and the step it was at; None if there is none.

    A file that can't be understood (an older fitune's) is as good as none.
    """
    try:
        kept = orjson.loads(draft_file(base).read_bytes())
        preset, model = kept["preset"], kept.get("model")
        edits = {str(name): str(text) for name, text in kept["edits"].items() if name in all_fields()}
        if kept["version"] != VERSION or (preset is not None and not presets.find(preset)):
            return None
        model = model if preset is not None and model in presets.find(preset).models else None
        return Draft(preset, dict(kept["answers"]), edits, kept["card_gib"], model=model), str(kept["step"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError, UserError):
        return None


def kept_line(base: Path) -> str:
    """A line for those who leave the wizard; empty if nothing was answered."""
    return "Your answers are kept; fitune offers them next time." if restore(base) else ""


def discard(base: Path) -> None:
    """Forget the kept draft."""
    draft_file(base).unlink(missing_ok=True)


def draft_file(base: Path) -> Path:
    """The file that keeps the draft."""
    return base / "draft.json"


def _rendered_by(draft: Draft) -> tuple[str, ...]:
    texts = {name: shown(draft, name) for name in RENDERED_BY}
    return tuple("keep" if (name, text) == ("data.thinking", "auto") else text for name, text in texts.items())


def _preset_tree(preset: str, chosen: str | None) -> Mapping[str, Any]:
    found = presets.find(preset)
    model = {"id": chosen or found.models[0], **found.tree.get("model", {})}
    return {**found.tree, "model": model}


def _base(draft: Draft) -> dict[str, dict[str, Any]]:
    """Groups of fields before edits: the preset's, with the answers over them."""
    tree: dict[str, dict[str, Any]] = {}
    for layer in (_preset_tree(draft.preset, draft.model) if draft.preset else {}, draft.answers):
        for group, fields in layer.items():
            if isinstance(fields, Mapping):
                tree.setdefault(group, {}).update(fields)
    return tree
