"""What training at a recipe's length would lose, said in sentences, worst first."""

from core.errors import Problem
from core.prepared import Prepared
from core.recipe_fields import Recipe
from core.rows.report import Finding

COVERED = 0.99
"""Share of the rows that a suggested length leaves whole."""
ROUND_TOKENS = 128
"""Suggested lengths are multiples of this."""
BARELY = 0.02
"""Trained tokens lost at the cut are worth a word from this share on."""


def findings(found: Prepared, recipe: Recipe) -> tuple[Finding, ...]:
    """Problems of training on these rows with model.max_seq_length; severity "stop": it can't work."""
    lost = found.lost_at(recipe.model.max_seq_length)
    left = len(found.tokens) - lost.emptied - found.blank
    said = [_emptied(found, recipe), _refused(found), _blank(found), _cut(found, recipe), _plain(found)]
    kept = [finding for finding in said if finding is not None]
    if left:
        return tuple(kept)
    why = " ".join(finding.problem.text for finding in kept[:1]) or "There are no rows."
    fix = kept[0].problem.fix if kept else "Look at the rows."
    return (Finding("stop", "nothing_left", found.source_rows, Problem("", f"Nothing is left to learn. {why}", fix)),)


def wanted_length(found: Prepared) -> int:
    """A max_seq_length that leaves nearly all rows whole."""
    return -(-found.covering(COVERED) // ROUND_TOKENS) * ROUND_TOKENS


def _emptied(found: Prepared, recipe: Recipe) -> Finding | None:
    length = recipe.model.max_seq_length
    count = found.lost_at(length).emptied
    if not count:
        return None
    text = f"{count} rows lose their whole answer at {length} tokens and are left out."
    return Finding("warn", "emptied", count, Problem("model.max_seq_length", text, _longer(found)))


def _cut(found: Prepared, recipe: Recipe) -> Finding | None:
    length = recipe.model.max_seq_length
    lost = found.lost_at(length)
    share = lost.trained_tokens / max(1, found.trained_tokens())
    if lost.rows == lost.emptied or share < BARELY:
        return None
    text = f"{lost.rows} rows are cut at {length} tokens: {share:.0%} of what there is to learn is lost."
    return Finding("warn", "cut", lost.rows, Problem("model.max_seq_length", text, _longer(found)))


def _longer(found: Prepared) -> str:
    return f"model.max_seq_length = {wanted_length(found)} keeps {COVERED:.0%} of the rows whole, for more memory."


def _refused(found: Prepared) -> Finding | None:
    if not found.refused:
        return None
    text = f"{found.refused} rows are left out; of the first, {found.why_refused}."
    fix = "Mend the rows, or choose a model whose chat template takes them."
    return Finding("warn", "refused", found.refused, Problem("", text, fix))


def _blank(found: Prepared) -> Finding | None:
    if not found.blank:
        return None
    text = f"{found.blank} rows are left out: the model's chat template shows nothing of their answers."
    fix = 'Choose the Instruct version of the model, or set data.loss_on = "all".'
    return Finding("warn", "blank", found.blank, Problem("", text, fix))


def _plain(found: Prepared) -> Finding | None:
    if not found.plain_template:
        return None
    text = "This is a base model without a chat template: chats are written as plain ### User / ### Assistant text."
    return Finding("warn", "template", 1, Problem("model.id", text, "The Instruct version needs fewer rows to learn."))
