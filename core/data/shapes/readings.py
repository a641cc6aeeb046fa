"""Every way in which a table could be read as something to learn from, by the names and the content of its columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fitune.core.data.chats.turns import turns_of
from fitune.core.data.shapes.chat_readings import chats, unanswered
from fitune.core.data.shapes.columns import (
    FEW_VALUES,
    Column,
    filled,
    has_sentences,
    holds,
    is_prose,
    kind_of_texts,
    words_in,
)
from fitune.core.data.shapes.names import is_a_text, plain, roles_of, snake
from fitune.core.data.shapes.shape import Reading
from fitune.core.data.values import are_texts

CLOSE = 0.5
"""A second answer with this share of the words of the first makes it a close call which one is meant."""
NO_WORDS = ("id", "path", "media")
NO_QUESTION = (*NO_WORDS, "number", "date", "yes_no", "list", "object")
BESIDE = 0.1
"""Texts with less than this share of the words of the longest one are its titles and the like."""
PAIRED = 6
"""Of so many columns, those with most words are paired."""
SHOWN_CHARS = 40
USERS = ("user", "username", "user_name", "user_id", "author_id", "author_name", "nickname")
IDS = ("label", "id", "number")
"""Columns that may hold the names or ids of those who speak, and the kinds of these."""


def readings(table: Sequence[Column]) -> list[Reading]:
    """The ways that names or turns speak for, those for which most speaks first; empty if nothing does."""
    pairs = [each for each in _pairs(table) if not _stands_in_chats(each, table)]
    return [*chats(table), *_instances(table), *pairs, *_summaries(table), *_segments(table)]


def _stands_in_chats(pair: Reading, table: Sequence[Column]) -> bool:
    """True if chats in another column hold both the question and the answer of a pair."""
    named = [column for column in table if column.name in pair.columns.values() and "context" not in column.roles]
    used = pair.columns.values()
    found = [each for each in table if each.kind == "turns" and each.style == "roles" and each.name not in used]
    return any(all(holds(chat, each) for each in named) for chat in found)


def _instances(table: Sequence[Column]) -> Iterator[Reading]:
    by_name = {plain(column.name): column for column in table}
    if "instances" in by_name and "instruction" in by_name and by_name["instances"].kind in ("list", "turns"):
        found = {"instruction": by_name["instruction"].name, "instances": by_name["instances"].name}
        yield Reading("alpaca", found, True, "there is an instruction with a list of instances (input, output).")


def _pairs(table: Sequence[Column]) -> Iterator[Reading]:
    """A question, perhaps with a context, and an answer, all so named."""
    answers = filled(table, "answer") or _after_history(table)
    if any(plain(column.name) == "b" for column in table):  # choices a, b, c
        answers = [column for column in answers if plain(column.name) != "a"]
    asks = [each for each in filled(table, "question") if each not in answers and _is_leaf(each)] or unanswered(table)
    asks = [column for column in asks if column.kind != "label" or "note" not in column.roles] or asks
    if any("note" not in each.roles and each.kind != "label" for each in asks):  # beside it, `source` is no question
        asks = [each for each in asks if "note" not in each.roles]
    if not (answers and asks):
        return
    answer = max(answers, key=lambda column: (_is_leaf(column), column.words))
    asked = max(asks, key=lambda column: ("context" not in column.roles, column.words))
    contexts = [each for each in filled(table, "context") if each not in (asked, *answers) and not holds(each, asked)]
    contexts = [each for each in contexts if each.kind != "turns"]
    context = max(contexts, key=lambda column: column.words, default=None)
    rivals = [each for each in answers if each is not answer and each.words >= CLOSE * max(1, answer.words)]
    rivals += [each for each in asks if each not in (asked, context) and each.words >= CLOSE * max(1, asked.words)]
    lists = [column.name for column in (asked, answer) if _holds_several(column)]
    asked, answer = (_first_texts(column) if column.name in lists else column for column in (asked, answer))
    found = {"question": asked.name, "answer": answer.name}
    others = [{**found, ("answer" if each in answers else "question"): each.name} for each in rivals]
    has_context = context is not None and bool(context.values)
    sure = not rivals and not lists and _may_ask(asked, has_context) and _may_answer(answer)
    fmt, columns = _as_format(asked, answer, context, _history(table, asked))
    if fmt == "prompt_completion" and _are_glued(asked, answer):
        yield Reading(fmt, columns, False, _glued(asked, answer), (found,))
    else:
        why = [_why(asked, answer), *(f"{name} is a list of texts, of which the first is taken." for name in lists)]
        yield Reading(fmt, columns, sure, " ".join(why), tuple(others))


def _after_history(table: Sequence[Column]) -> list[Column]:
    """The text beside `message` and the turns before it: so Cohere's answers are kept."""
    names = {plain(column.name): column for column in table}
    history, text = names.get("chat_history"), names.get("text")
    if not (history and text and "message" in names and history.kind == "turns" and text.kind == "text"):
        return []
    return [] if holds(history, text) else [text]


def _holds_several(column: Column) -> bool:
    """True if most values of a column are lists of several texts, such as all answers that are right."""
    lists = [each for each in column.values if isinstance(each, list) and len(each) > 1]
    return column.kind == "list" and len(lists) > len(column.values) / 2 and all(map(are_texts, lists))


def _first_texts(column: Column) -> Column:
    """The first texts of such a column, as a column."""
    firsts = [each[0] for each in column.values if isinstance(each, list)]
    return replace(column, name=f"{column.name}.0", values=tuple(firsts), kind=kind_of_texts(firsts))


def _is_leaf(column: Column) -> bool:
    """True if this is text within an object (`answers.text`), or anything else but an object with such text."""
    return column.kind != "object"


def _may_ask(column: Column, has_context: bool) -> bool:
    """True if this looks like questions: text, and not a few single words again and again unless about a context."""
    if len(column.values) < FEW_VALUES:  # too few to doubt the name
        return True
    return column.kind not in NO_QUESTION and (column.kind != "label" or has_context or has_sentences(column))


def _may_answer(column: Column) -> bool:
    return len(column.values) < FEW_VALUES or column.kind not in NO_WORDS


def _as_format(
    asked: Column, answer: Column, context: Column | None, history: Mapping[str, str]
) -> tuple[str, Mapping[str, str]]:
    names = (plain(asked.name), plain(answer.name))
    if context or names == ("instruction", "output"):
        extra = {"input": context.name} if context else {}
        return "alpaca", {"instruction": asked.name, **extra, "output": answer.name, **history}
    if names == ("prompt", "completion"):
        return "prompt_completion", {"prompt": asked.name, "completion": answer.name}
    return "question_answer", {"question": asked.name, "answer": answer.name, **history}


def _are_glued(asked: Column, answer: Column) -> bool:
    """True if prompts and completions would be joined without a space between them."""
    prompts, completions = ([each for each in column.values if isinstance(each, str)] for column in (asked, answer))
    ends = sum(not text[-1].isspace() for text in prompts)
    begins = sum(not text[0].isspace() for text in completions)
    return ends > len(asked.values) / 2 and begins > len(answer.values) / 2


def _glued(asked: Column, answer: Column) -> str:
    return (
        f"{asked.name} and {answer.name} would be glued together without a space or a chat template; they look like a "
        "question and its answer (question_answer)."
    )


def _history(table: Sequence[Column], asked: Column) -> Mapping[str, str]:
    """The earlier turns of a chat, in a column of their own."""
    contexts = [each for each in table if "context" in each.roles and each.kind == "turns" and each is not asked]
    may_be = [*(each for each in table if "history" in each.roles), *contexts]
    found = (each.name for each in may_be if all(map(turns_of, each.values)))
    return {"history": name} if (name := next(found, None)) else {}


def _why(asked: Column, answer: Column) -> str:
    return f"the columns are named {asked.name} and {answer.name}."


def _summaries(table: Sequence[Column]) -> Iterator[Reading]:
    """A long text with a short one made of it."""
    short = [column for column in filled(table, "summary") if column.kind == "text"]
    long = [column for column in filled(table, "document") if column.kind in ("text", "turns") and column not in short]
    if short and long:
        text, summary = (max(each, key=lambda column: column.words) for each in (long, short))
        found = {"question": text.name, "answer": summary.name}
        yield Reading("question_answer", found, text.kind == "text", _why(text, summary), ({"text": text.name},))


def _segments(table: Sequence[Column]) -> Iterator[Reading]:
    """axolotl's lists of {label, text}, of which some are learned."""
    for column in table:
        firsts = [value[0] for value in column.values if isinstance(value, list)]
        if column.kind == "list" and firsts and all(_is_segment(first) for first in firsts):
            found = {"prompt": column.name, "completion": column.name}
            yield Reading("prompt_completion", found, True, f"the column {column.name} holds segments with marks.")


def _is_segment(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"label", "text"} and isinstance(value["label"], bool)


def by_content(table: Sequence[Column]) -> list[Reading]:
    """The ways in which columns of unknown names could be read: one text, a text with a label, or two texts."""
    texts = _texts(table)
    labels = [column for column in table if _may_label(column)]
    plain_texts = [column for column in texts if "text" in column.roles]
    if hinted := _hinted(texts):
        return [hinted]
    whole = [column for column in texts if "." not in column.name or is_a_text(column.name)]
    words = sum(column.words for column in whole)
    labels = [column for column in labels if sum(map(words_in, column.values)) < words]
    if labels and 0 < len(whole) < 3 and "chat" not in whole[0].roles:
        return [_labelled(whole, max(labels, key=lambda column: ("label" in column.roles, column.kind != "number")))]
    answers = [column for column in texts if "answer" in column.roles and plain(column.name) != "a"]
    if len(answers) == 1 and len(texts) > 1:
        return [_answered(answers[0], [each for each in texts if each is not answers[0]])]
    if plain_texts or len(texts) == 1:
        text = max(plain_texts or texts, key=lambda column: column.words)
        least = BESIDE * text.words if plain(text.name) == "text" else 0
        is_alone = all(each is text or each.words < least for each in texts)
        sure = is_alone and is_prose(text) and (not text.hints or "text" in text.hints)
        sure = sure and not any(map(names_speakers, table))
        found, why = {"text": text.name}, f"{text.name} is taken as plain text."
        if any(plain(each.name) == "annotations" and each.kind == "empty" for each in table):
            sure, why = False, f"{why} Nobody has labelled it: annotations is empty."
        return [Reading("text", found, sure, why, tuple(pairs_of(texts)))]
    if len(texts) == 2:
        pairs = pairs_of(texts)
        why = f"{texts[0].name} and {texts[1].name} are the columns with text."
        return [Reading("question_answer", pairs[0], False, why, tuple(pairs[1:]))]
    return []


def _texts(table: Sequence[Column]) -> list[Column]:
    """The columns with text that may be learned; those that only describe it, such as its source, if nothing else."""
    apart = {"system", "thinking", "history", "tools", "conversation"}
    texts = [column for column in table if column.kind == "text" and not apart & column.roles]
    return [column for column in texts if "note" not in column.roles or column.roles & {"text", "question"}] or texts


def _hinted(texts: Sequence[Column]) -> Reading | None:
    """A question and an answer by words in their names: `Question du client`, `Antworttext`."""
    asks = [column for column in texts if "question" in column.hints and "answer" not in column.hints]
    answers = [column for column in texts if "answer" in column.hints and "question" not in column.hints]
    if len(asks) != 1 or len(answers) != 1:
        return None
    found = {"question": asks[0].name, "answer": answers[0].name}
    return Reading("question_answer", found, len(texts) == 2, _why(asks[0], answers[0]))


def _answered(answer: Column, others: Sequence[Column]) -> Reading:
    """An answer by its name, with the one or two texts beside it that have most words: `Title`, `Body`, `Answer`."""
    longest = sorted(others, key=lambda column: -column.words)
    asked, *extra = [column for column in others if column in longest[:2]]
    found = {"question": longest[0].name, "answer": answer.name}
    why = f"{answer.name} looks like the answer to {' and '.join(each.name for each in (asked, *extra))}."
    if not extra:
        return Reading("question_answer", found, False, why)
    return Reading(
        "alpaca", {"instruction": asked.name, "input": extra[0].name, "output": answer.name}, False, why, (found,)
    )


def _may_label(column: Column) -> bool:
    """True if a column may say what kind of text stands beside it: a few short values, or marks in the text."""
    if "label" in column.roles:
        return column.kind in ("label", "number", "yes_no", "list", "object")
    if column.hints & {"note", "role", "media"} or column.roles & {"context", "history"} or "." in column.name:
        return False
    if column.kind in ("label", "yes_no") and len({str(value) for value in column.values}) < 2:
        return False
    few = len({str(value) for value in column.values}) <= max(2, len(column.values) // 3)
    return column.kind in ("label", "yes_no", "object", "list") or (column.kind == "number" and few)


def names_speakers(column: Column) -> bool:
    """True if a column says who speaks, so that each row is a message: `sender`, `author.name`, or ids in `user`."""
    if snake(column.name) in USERS and column.kind in IDS and len({*map(str, column.values)}) > 1:
        return True
    first, dot, _ = column.name.partition(".")
    return "role" in roles_of(first) and (bool(dot) or "note" not in column.roles) and column.kind != "empty"


def _labelled(texts: Sequence[Column], label: Column) -> Reading:
    """A text, or a pair of texts, with what is to be said about it; without, if that is always the same."""
    why = f"{label.name} looks like what is to be answered about {' and '.join(text.name for text in texts)}."
    if len(texts) == 2:
        fmt, found = "alpaca", {"instruction": texts[0].name, "input": texts[1].name, "output": label.name}
        others = Reading("question_answer", pairs_of(texts)[0], False, why, tuple(pairs_of(texts)[1:]))
    else:
        fmt, found = "question_answer", {"question": texts[0].name, "answer": label.name}
        others = Reading("text", {"text": texts[0].name}, False, why)
    is_single = label.kind not in ("object", "list") and len(set(map(str, label.values))) == 1
    if is_single and len(label.values) >= FEW_VALUES:
        same = f"{label.name} is {str(label.values[0])[:SHOWN_CHARS]} in each of the first {len(label.values)} rows"
        why = f"{same}: if that is so in all, there is nothing to learn in it."
        return replace(others, why=why, others=(*others.others, found))
    return Reading(fmt, found, False, why, (others.columns, *others.others))


def pairs_of(texts: Sequence[Column]) -> list[Mapping[str, str]]:
    """Pairs of columns, those with most words first; of two ways round that which the names speak for.

    Of many columns, the PAIRED with most words: no more pairs can be shown.
    """
    most = sorted(texts, key=lambda column: -column.words)[:PAIRED]
    kept = [column for column in texts if any(column is each for each in most)]
    pairs = [(one, other) for one in kept for other in kept if one is not other]
    pairs.sort(key=lambda pair: (-pair[0].words - pair[1].words, not _names_agree(*pair)))
    return [{"question": one.name, "answer": other.name} for one, other in pairs]


def _names_agree(asked: Column, answer: Column) -> bool:
    return "question" in asked.hints - answer.hints or "answer" in answer.hints - asked.hints
