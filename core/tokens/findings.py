"""What training at a recipe's length would lose, said in sentences, worst first."""

from fitune.core.data import Finding, numbered
from fitune.core.errors import Problem
from fitune.core.recipe import Recipe
from fitune.core.tokens.lengths import Prepared

COVERED = 0.99
"""Share of the rows that a suggested length leaves whole."""
ROUND_TOKENS = 128
"""Suggested lengths are multiples of this."""
LONGEST_TOKENS = 1_048_576
"""The most that model.max_seq_length may be."""
BARELY = 0.02
"""Trained tokens lost at the cut are worth a word from this share on."""


def findings(found: Prepared, recipe: Recipe) -> tuple[Finding, ...]:
    """Problems of training on these rows with model.max_seq_length; severity "stop": it can't work."""
    lost = found.lost_at(recipe.model.max_seq_length)
    left = found.rows - lost.emptied - found.blank
    said = [_emptied(found, recipe), _refused(found), _blank(found), _cut(found, recipe), _plain(found)]
    kept = [finding for finding in said if finding is not None]
    if left:
        return tuple(kept)
    why = " ".join(finding.problem.text for finding in kept[:1]) or "There are no rows."
    fix = kept[0].problem.fix if kept else "Look at the rows."
    return (Finding("stop", "nothing_left", found.source_rows, Problem("", f"Nothing is left to learn. {why}", fix)),)


def wanted_length(found: Prepared, length: int) -> int | None:
    """A longer max_seq_length than this, which leaves nearly all rows whole, or else all; None if there is none."""
    nearly, every = (_rounded(tokens) for tokens in (found.covering(COVERED), found.longest))
    wanted = min(nearly if nearly > length else every, LONGEST_TOKENS)
    return wanted if wanted > length else None


def is_lossy(found: Prepared, length: int) -> bool:
    """Whether so much is lost at this length that it is worth a word: whole answers, or BARELY of what is trained."""
    lost = found.lost_at(length)
    return lost.emptied > 0 or lost.trained_tokens >= BARELY * max(1, found.trained_tokens())


def _rounded(tokens: int) -> int:
    return -(-tokens // ROUND_TOKENS) * ROUND_TOKENS


def _emptied(found: Prepared, recipe: Recipe) -> Finding | None:
    length = recipe.model.max_seq_length
    count = found.lost_at(length).emptied
    text = numbered(f"{{n}} row[|s] lose[s|] [its|their] whole answer at {length} tokens and [is|are] left out.", count)
    return _finding("emptied", count, "model.max_seq_length", text, _longer(found, length))


def _cut(found: Prepared, recipe: Recipe) -> Finding | None:
    length = recipe.model.max_seq_length
    lost = found.lost_at(length)
    share = lost.trained_tokens / max(1, found.trained_tokens())
    if lost.rows == lost.emptied or share < BARELY:
        return None
    text = numbered(f"{{n}} row[|s] [is|are] cut at {length} tokens: {share:.0%} of what there is to learn is lost.",
                    lost.rows)  # fmt: skip
    return _finding("cut", lost.rows, "model.max_seq_length", text, _longer(found, length))


def _longer(found: Prepared, length: int) -> str:
    wanted = wanted_length(found, length)
    if wanted is None:
        return "Split them into shorter ones."
    whole = 1 - found.lost_at(wanted).rows / found.rows
    return f"model.max_seq_length = {wanted} keeps {whole:.0%} of the rows whole, for more memory."


def _refused(found: Prepared) -> Finding | None:
    fix = "Mend the rows, or choose a model whose chat template takes them."
    text = f"{numbered('{n} row[|s] [is|are] left out', found.refused)}; of the first, {found.why_refused}."
    return _finding("refused", found.refused, "", text, fix)


def _blank(found: Prepared) -> Finding | None:
    said = "{n} row[|s] [is|are] left out: the model's chat template shows nothing of [its|their] answers."
    text = numbered(said, found.blank)
    fix = 'Choose the Instruct version of the model, or set data.loss_on = "all".'
    return _finding("blank", found.blank, "", text, fix)


def _finding(kind: str, count: int, where: str, text: str, fix: str) -> Finding | None:
    """A warning; None where nothing was found."""
    return Finding("warn", kind, count, Problem(where, text, fix)) if count else None


def _plain(found: Prepared) -> Finding | None:
    if not found.plain_template:
        return None
    text = "This is a base model without a chat template: chats are written as plain ### User / ### Assistant text."
    return Finding("warn", "template", 1, Problem("model.id", text, "The Instruct version needs fewer rows to learn."))
