"""The scores of a run: the verdict, the numbers beside it, and each row with both answers.

Those on its own held-out rows are in scores.json, those on other rows beside it, a file of each, in scores/.
"""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from fitune.core.files import write_atomically
from fitune.core.records import from_json, to_json
from fitune.core.score import statistics, verdict
from fitune.core.score.answers import normalised, words
from fitune.core.score.metrics import Mark, Metric, label_in, macro_f1
from fitune.core.score.preference import PairScore, Preference
from fitune.core.score.probe import Forgetting, ProbeAnswer
from fitune.core.score.verdict import Verdict

FILE, OTHERS = "scores.json", "scores"
MOST_NAME = 50
"""Characters of a data set's name in that of its file, at most."""
NOT_A_LABEL = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model's answer to a row."""

    answer: str
    """As it was written; empty for a row of plain text, which is scored by its loss alone."""
    right: bool
    """True if it is right by the metric."""
    near: float
    """How near it is, 0 to 1: field F1 of JSON, chrF of free text, else token F1."""
    exact: bool
    """True if it is the answer in the data character for character."""
    valid: bool
    """True if it has the form of the answers in the data: JSON, a label, a number or a tool call."""
    loss: float
    """Mean loss of the tokens of the data's answer, in nats."""
    choice: str | None = None
    """The likeliest label, where the answers in the data are labels."""
    exchanged: float | None = None
    """The loss of the data's answer below another row's question, for free text; null where it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """A row with the answers of both models."""

    key: str
    """A digest of the row: the same row has it in every run."""
    question: str
    """The question as it is shown to people."""
    reference: str
    """The answer in the data."""
    tokens: int
    """Tokens of the answer in the data."""
    base: Side
    """The base model."""
    tuned: Side
    """The tuned model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A further number on the same rows: its base and tuned value, and the 95 % interval of their difference."""

    name: str
    """exact, near, valid, loss or macro_f1."""
    base: float
    """Of the base model: a share, or a mean over the rows."""
    tuned: float
    """Of the tuned model."""
    low: float | None = None
    """Lower end of the 95 % interval of the difference."""
    high: float | None = None
    """Upper end of that interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The content of scores.json, and of each file in scores/."""

    verdict: Verdict
    """The verdict with its numbers."""
    details: tuple[Detail, ...] = ()
    """Further numbers on the same rows."""
    labels: tuple[str, ...] = ()
    """The labels in the data, where its answers are labels."""
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each label in the data how often the tuned model gave which one."""
    source: str | None = None
    """The file or data set that was scored on; null: the run's held-out rows."""
    elapsed_s: float | None = None
    """Seconds that it took."""
    rows: tuple[RowScore, ...] = ()
    """Each row with both answers."""
    forgetting: Forgetting | None = None
    """What the tuned model forgot, by general questions; null if they were not asked."""
    probe: tuple[ProbeAnswer, ...] = ()
    """Each general question with both answers."""
    preference: Preference | None = None
    """Whether it prefers better answers to worse ones, where the rows hold both; else null."""
    pairs: tuple[PairScore, ...] = ()
    """Each held-out pair with the likelihoods of both answers."""


def side(marked: Mark, answer: str, loss: float, choice: str | None = None, exchanged: float | None = None) -> Side:
    """A model's answer with its mark."""
    return Side(
        answer=answer,
        right=marked.right,
        near=marked.near,
        exact=marked.exact,
        valid=marked.valid,
        loss=loss,
        choice=choice,
        exchanged=exchanged,
    )


def key_of(row: dict[str, object]) -> str:
    """A digest of a canonical row: the same for rows that differ in case, spaces and punctuation only, and for a prompt
    with its completion and the same as a chat."""
    if isinstance(asked := row.get("prompt"), str) and isinstance(told := row.get("completion"), str):
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
        row = {key: row[key] for key in row.keys() - {"prompt", "completion"}} | {"messages": turns}
    if "images" in row:  # which may be long: data URLs
        row = {**row, "images": hashlib.blake2b(orjson.dumps(row["images"]), digest_size=12).hexdigest()}
    text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str).decode()
    return hashlib.blake2b(" ".join(words(text)).encode(), digest_size=12).hexdigest()


def judge(
    metric: Metric,
    rows: Sequence[RowScore],
    labels: tuple[str, ...] = (),
    leaked: int = 0,
    source: str | None = None,
    elapsed_s: float | None = None,
    unscored: int = 0,
) -> Scores:
    """Sum up scored rows, at least one: the verdict, and the numbers beside it. unscored: rows that were not asked."""
    tokens = [row.tokens for row in rows]
    by_loss = verdict.of_losses([row.base.loss for row in rows], [row.tuned.loss for row in rows], tokens, leaked)
    found = _of_text(by_loss, rows) if metric == "text" else _by_answers(metric, rows, by_loss, leaked)
    loss = Detail(name="loss", base=by_loss.base, tuned=by_loss.tuned, low=by_loss.low, high=by_loss.high)
    answered = [row for row in rows if row.base.answer or row.tuned.answer]
    has_form = not all(row.base.valid and row.tuned.valid for row in answered)
    names = ("exact", "near", *(["valid"] if has_form else []))  # plain text has no form that an answer could miss
    by_answer = [_detail(name, answered) for name in names if answered]
    confusion: dict[str, dict[str, int]] = {}
    for row in rows if labels else ():
        given = confusion.setdefault(label_in(row.reference, labels) or NOT_A_LABEL, {})
        name = label_in(row.tuned.answer, labels) or NOT_A_LABEL
        given[name] = given.get(name, 0) + 1
    return Scores(
        verdict=replace(found, unscored=unscored),
        details=(loss, *by_answer, *_f1(rows, labels)),
        labels=labels,
        confusion=confusion,
        source=source,
        elapsed_s=elapsed_s,
        rows=tuple(rows),
    )


def _of_text(by_loss: Verdict, rows: Sequence[RowScore]) -> Verdict:
    """The verdict by losses, unless the tuned model expects the answers of other rows as much."""
    gains = [
        (row.base.exchanged - row.base.loss, row.tuned.exchanged - row.tuned.loss, row.tokens)
        for row in rows
        if row.base.exchanged is not None and row.tuned.exchanged is not None
    ]
    return verdict.unless_blind(by_loss, *zip(*gains, strict=True)) if gains else by_loss


def _by_answers(metric: Metric, rows: Sequence[RowScore], by_loss: Verdict, leaked: int) -> Verdict:
    """The verdict by right answers. Labels: "worse" too if the right one is less often the likeliest than before,
    although the base never wrote them."""
    losses = (by_loss.base, by_loss.tuned)
    references = [normalised(row.reference) for row in rows]
    counts = Counter(references)
    most_frequent = max(references, key=counts.__getitem__)
    guessed = [reference == most_frequent for reference in references] if len(counts) > 1 else None
    written = verdict.of_answers(
        metric, [row.base.right for row in rows], [row.tuned.right for row in rows], guessed, losses, leaked
    )
    if all(row.base.choice is None for row in rows):
        return written
    base = [normalised(str(row.base.choice)) == normalised(row.reference) for row in rows]
    tuned = [normalised(str(row.tuned.choice)) == normalised(row.reference) for row in rows]
    likeliest = verdict.of_answers("choice", base, tuned, guessed, losses, leaked)
    return likeliest if likeliest.word == "worse" else written


def _detail(name: str, rows: Sequence[RowScore]) -> Detail:
    base = [getattr(row.base, name) for row in rows]
    tuned = [getattr(row.tuned, name) for row in rows]
    found = statistics.of_numbers(base, tuned) if name == "near" else statistics.of_right(base, tuned)
    return Detail(name=name, base=sum(base) / len(base), tuned=sum(tuned) / len(tuned), low=found.low, high=found.high)


def _f1(rows: Sequence[RowScore], labels: tuple[str, ...]) -> list[Detail]:
    if not labels:
        return []
    base, tuned = (
        macro_f1([(label_in(row.reference, labels) or "", label_in(answer, labels)) for row, answer in given])
        for given in ([(row, row.base.answer) for row in rows], [(row, row.tuned.answer) for row in rows])
    )
    return [Detail(name="macro_f1", base=base, tuned=tuned)]


def compared(first: Scores, second: Scores) -> Verdict | None:
    """The tuned model of the second against that of the first, on the rows that both hold; None if there are none, or
    the metrics differ."""
    metric, other = (_of_rows(each.verdict.metric) for each in (first, second))
    rows = {row.key: row for row in first.rows}
    both = [(rows[row.key].tuned, row.tuned, row.tokens) for row in second.rows if row.key in rows]
    if not both or metric != other:
        return None
    before, after, tokens = zip(*both, strict=True)
    by_loss = verdict.of_losses([each.loss for each in before], [each.loss for each in after], tokens)
    if metric == "text":
        return by_loss
    right = [each.right for each in before], [each.right for each in after]
    return verdict.of_answers(metric, *right, losses=(by_loss.base, by_loss.tuned))


def _of_rows(metric: Metric) -> Metric:
    """The metric by which rows are marked right; a verdict on labels may be by the likeliest one."""
    return "label" if metric == "choice" else metric


def path_of(folder: Path, scores: Scores) -> Path:
    """The file of scores in a run folder. A data set has one for each number of rows: of the same name and number, from
    other folders, each has its own."""
    if scores.source is None:
        return folder / FILE
    name = re.sub(r"[^\w.-]", "_", verdict.name_of(scores.source))[-MOST_NAME:]
    place = hashlib.blake2b(scores.source.encode(errors="surrogateescape"), digest_size=2).hexdigest()
    return folder / OTHERS / f"{name}-{scores.verdict.rows}-rows-{place}.json"


def write(folder: Path, scores: Scores) -> None:
    """Write scores into a run folder, whole or not at all."""
    path = path_of(folder, scores)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(path, orjson.dumps(to_json(scores), option=orjson.OPT_INDENT_2))


def discard(folder: Path) -> None:
    """Remove all scores of a run, which is trained further: they are of what it was before."""
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / OTHERS, ignore_errors=True)


def document(found: Scores) -> dict[str, object]:
    """The scores as their file has them, and the verdict in words."""
    return {"sentence": verdict.sentence(found.verdict, source=found.source), **to_json(found)}


def read(folder: Path) -> Scores | None:
    """The scores of a run on its own held-out rows; None if it was not scored, or they can't be read."""
    found = _read(folder / FILE)
    return found if found and found.source is None else None


def elsewhere(folder: Path) -> list[Scores]:
    """The scores of a run on other rows, the newest first; without those that can't be read."""
    paths = [*(folder / OTHERS).glob("*.json"), folder / FILE]  # which an older version wrote for any rows
    dated = sorted((path for path in paths if path.exists()), key=lambda path: -path.stat().st_mtime)
    return [found for path in dated if (found := _read(path)) and found.source is not None]


def _read(path: Path) -> Scores | None:
    try:
        return from_json(Scores, orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError):
        return None
