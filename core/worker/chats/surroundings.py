"""What a chat template writes around an answer, found with example chats."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

Message = dict[str, Any]
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Keys where chat templates look for the thoughts of an answer: most of them; gpt-oss and LFM; newer ones."""
ASKED, ANSWERED, THOUGHT = "SAID BY THE USER", "SAID BY THE MODEL", "THOUGHT BY THE MODEL"
QUESTION, ANSWER = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}
THOUGHTFUL = {**ANSWER, **dict.fromkeys(THOUGHTS, THOUGHT)}
OPEN_TAG = re.compile(r"<([\w:]*think[\w:]*)>\s*$")
"""The end of a prompt that begins the thoughts: the model goes on with them."""
PART_OF_MARK = re.compile(r"(<[^<>\s]*|\[[^\[\]\s]*)\Z")
"""The beginning of a mark at the end of a text: `<|START_` of <|START_THINKING|>, or `[/` of [/INST]."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a chat template writes around an answer without thoughts."""

    opening: str = ""
    """The end of the prompt that is not repeated once the answer is there: `<think>\\n` of DeepSeek-R1."""
    closing: str = ""
    """What a model writes behind its thoughts, where `opening` begins them: `\\n</think>\\n\\n`."""
    lead: str = ""
    """The text between the prompt and the answer: `<think>\\n\\n</think>\\n\\n` of Qwen3."""
    unwritten: str = ""
    """The text before the answer for which the end of the prompt stands: a model must not write it."""
    next_prompt: str = ""
    """What stands at the end of a chat and is no part of the answer: the prompt of a template that always asks."""


def surroundings_of(tried: Callable[[Sequence[Message], bool], str], marks: Sequence[str], eos: str) -> Surroundings:
    """What stands around an answer, found with example chats.

    tried: renders one; empty if the template refuses it. marks: the special tokens, and eos the one that ends a text.
    """
    prompt, answered = tried([QUESTION], True), tried([QUESTION, ANSWER], False)
    asked, shown = prompt.rpartition(ASKED)[2], answered.rpartition(ASKED)[2]
    before, found, behind = shown.partition(ANSWERED)
    if not found:
        return Surroundings()
    unwritten = ""
    if asked in before:
        lead = before[before.rindex(asked) + len(asked) :]
        left_open = None if lead.strip() else OPEN_TAG.search(asked)  # the answer follows, as if it were thoughts
        opening = left_open[0] if left_open else ""
    else:
        shared = len(_whole_start(asked, before))
        opening, lead = asked[shared:], before[shared:]
        unwritten, lead = (lead, "") if opening and _is_there(lead, asked) else ("", lead)
    closing = _closing(opening, tried([QUESTION, THOUGHTFUL], False)).removesuffix(lead)
    return Surroundings(opening, closing, lead, unwritten, _next_prompt(tried, prompt, behind, marks, eos))


def _next_prompt(
    tried: Callable[[Sequence[Message], bool], str], prompt: str, behind: str, marks: Sequence[str], eos: str
) -> str:
    """What stands behind the end of an answer as it does behind a question for which no answer is asked."""
    last, again = tried([QUESTION], False), tried([QUESTION, ANSWER, QUESTION], False).rpartition(ANSWERED)[2]
    end, always = _whole_start(behind, again), last == prompt
    stops = [eos] if eos and eos in end else marks
    ends = [place + len(mark) for mark in stops if (place := end.find(mark)) >= 0]
    if not ends:  # it ends where the next question begins as the first one does
        head, between = prompt.rpartition(ASKED)[0], again.partition(ASKED)[0]
        end = end[: len(between) - len(common_start(head[::-1], between[::-1]))]
        return behind[len(end) :].lstrip() if always else ""
    if not (always or behind[len(end) :].strip()):
        return ""
    rest = behind[min(ends) if always or stops == [eos] else len(end) :].lstrip()
    is_alike = last.rstrip().endswith(rest.rstrip())  # Llama Guard asks otherwise
    return rest if is_alike and rest.rstrip() != eos else ""  # Phi ends a text with its EOS


def _is_there(lead: str, asked: str) -> bool:
    """True if the end of a prompt stands for the text before an answer: the same but for blanks, or other words, which
    a model must not write again. Marks that the prompt lacks are the model's to write."""
    bare = "".join(lead.split())
    return "".join(asked.split()).endswith(bare) or not re.search(r"[<\[]", bare)


def common_start(one: str, other: str) -> str:
    """The common beginning of two texts."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))]


def _whole_start(one: str, other: str) -> str:
    """The common beginning of two texts, without a part of a word or of a mark at its end."""
    common = common_start(one, other)
    cuts_a_word = any(rest[:1].isalnum() for rest in (one[len(common) :], other[len(common) :]))
    return PART_OF_MARK.sub("", re.sub(r"\w+\Z", "", common) if cuts_a_word else common)


def _closing(opening: str, thoughtful: str) -> str:
    """The text behind thoughts that the end of a prompt begins; empty if it begins none.

    thoughtful: an example chat with thoughts.
    """
    before, _, behind = thoughtful.partition(THOUGHT)
    if opening.strip() and before.endswith(opening) and ANSWERED in behind:
        return behind.partition(ANSWERED)[0]
    tag = OPEN_TAG.search(opening)
    return f"\n</{tag[1]}>\n\n" if tag else ""
