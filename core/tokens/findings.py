"""Findings on the rows in tokens: what training at a recipe's max_seq_length would lose, worst first."""

from fitune.core.data import Finding, numbered
from fitune.core.errors import Problem
from fitune.core.recipe import Recipe, not_with_images
from fitune.core.tokens.lengths import TokenStats
from fitune.core.tokens.notes import notes_on

COVERED = 0.99
"""Share of the rows that a suggested length leaves whole."""
ROUND_TOKENS = 128
"""Suggested lengths are multiples of this."""
MAX_LENGTH = 1_048_576
"""Upper bound of model.max_seq_length."""
BARELY = 0.02
"""Share of trained tokens from which their loss by truncation is reported."""

FIRST_WORD = 1
"""Place of the first word of a text whose tokenizer writes a mark before it."""


def findings(stats: TokenStats, recipe: Recipe) -> tuple[Finding, ...]:
    """Problems of training on these rows with model.max_seq_length; severity "stop": training is not possible."""
    truncation = stats.truncation_at(recipe.model.max_seq_length)
    usable = stats.rows - truncation.emptied - stats.blank
    if stats.image_rows and (refused := not_with_images(recipe)):
        return tuple(Finding("stop", "images", stats.image_rows, problem) for problem in refused)
    possible = [_emptied(stats, recipe), _refused(stats), _blank(stats), _cut(stats, recipe), _plain(stats)]
    notes = notes_on(stats.notes, stats.switch, stats.templates, recipe.data)
    problems = [*(finding for finding in possible if finding is not None), *notes]
    if usable:
        return tuple(problems)
    why = " ".join(finding.problem.text for finding in problems[:1]) or "There are no rows."
    fix = problems[0].problem.fix if problems else "Look at the rows."
    return (Finding("stop", "nothing_left", stats.source_rows, Problem("", f"Nothing is left to learn. {why}", fix)),)


def suggested_length(stats: TokenStats, length: int) -> int | None:
    """A max_seq_length above `length` that leaves nearly all rows whole, or else all; None if there is none."""
    for_most, for_all = (_rounded(tokens) for tokens in (stats.covering(COVERED), stats.longest))
    suggested = min(for_most if for_most > length else for_all, MAX_LENGTH)
    return suggested if suggested > length else None


def loses_much(stats: TokenStats, length: int) -> bool:
    """True if this length cuts off whole answers, or at least the share BARELY of the trained tokens."""
    truncation = stats.truncation_at(length)
    return truncation.emptied > 0 or truncation.trained_tokens >= BARELY * max(1, stats.trained_tokens())


def _rounded(tokens: int) -> int:
    return -(-tokens // ROUND_TOKENS) * ROUND_TOKENS


def _emptied(stats: TokenStats, recipe: Recipe) -> Finding | None:
    length = recipe.model.max_seq_length
    count = stats.truncation_at(length).emptied
    text = numbered(f"{{n}} row[|s] lose[s|] [its|their] whole answer at {length} tokens and [is|are] left out.", count)
    return _finding("emptied", count, "model.max_seq_length", text, _longer(stats, length))


def _cut(stats: TokenStats, recipe: Recipe) -> Finding | None:
    length = recipe.model.max_seq_length
    truncation = stats.truncation_at(length)
    share = truncation.trained_tokens / max(1, stats.trained_tokens())
    if truncation.rows == truncation.emptied or share < BARELY:
        return None
    text = numbered(f"{{n}} row[|s] [is|are] cut at {length} tokens: {share:.0%} of what there is to learn is lost.",
                    truncation.rows)  # fmt: skip
    fix = _longer(stats, length)
    if _are_texts(stats, recipe) and recipe.data.text_overlap is None:
        fix = f"data.text_overlap = {length // 8} makes several rows of each, and loses nothing. {fix}"
    return _finding("cut", truncation.rows, "model.max_seq_length", text, fix)


def _are_texts(stats: TokenStats, recipe: Recipe) -> bool:
    """True for plain texts, which are learned from their first word on, or from that behind the mark of a begin."""
    return recipe.data.loss_on == "answers" and max(stats.firsts, default=FIRST_WORD + 1) <= FIRST_WORD


def _longer(stats: TokenStats, length: int) -> str:
    suggested = suggested_length(stats, length)
    if suggested is None:
        return "Split them into shorter ones."
    whole = 1 - stats.truncation_at(suggested).rows / stats.rows
    return f"model.max_seq_length = {suggested} keeps {whole:.0%} of the rows whole, for more memory."


def _refused(stats: TokenStats) -> Finding | None:
    fix = stats.cure or "Fix the rows, or choose a model whose chat template takes them."
    text = f"{numbered('{n} row[|s] [is|are] left out', stats.refused)}; of the first, {stats.why_refused}."
    return _finding("refused", stats.refused, "", text, fix)


def _blank(stats: TokenStats) -> Finding | None:
    template = "{n} row[|s] [is|are] left out: the model's chat template shows nothing of [its|their] answers."
    text = numbered(template, stats.blank)
    fix = 'Choose the Instruct version of the model, or set data.loss_on = "all".'
    return _finding("blank", stats.blank, "", text, fix)


def _finding(kind: str, count: int, where: str, text: str, fix: str) -> Finding | None:
    """A warning; None if `count` is 0."""
    return Finding("warn", kind, count, Problem(where, text, fix)) if count else None


def _plain(stats: TokenStats) -> Finding | None:
    if not stats.plain_template:
        return None
    text = "This is a base model without a chat template: chats are written as plain ### User / ### Assistant text."
    return Finding("warn", "template", 1, Problem("model.id", text, "The Instruct version needs fewer rows to learn."))
