"""A sentence for each kind of finding about rows, and what to do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fitune.core.errors import Problem

Severity = Literal["stop", "warn"]
FEW_ROWS = 32
"""Of fewer rows nothing is said as a whole, but that they are few."""

SAID: Mapping[str, tuple[str, str]] = {
    "bad_line": ("{n} row[|s] can't be read and [is|are] left out.", "Fix or remove them."),
    "empty": ("{n} row[|s] [has|have] no answer, or no text, and [is|are] left out.", "Fill or remove them."),
    "missing": (
        "{n} row[|s] lack[s|] a column that the others have, and [is|are] left out.",
        "Are there rows of two kinds?",
    ),
    "type": (
        "{n} row[|s] hold[s|] something that is not text where text belongs, and [is|are] left out.",
        "Fix or remove them.",
    ),
    "several": (
        "{n} row[|s] hold[s|] several texts where one belongs, and [is|are] left out.",
        'To learn the first of each, write .0 behind the column in data.columns: answer = "answers.0".',
    ),
    "role": (
        "{n} row[|s] [has|have] a speaker that no chat template knows, and [is|are] left out.",
        "Use system, user, assistant.",
    ),
    "no_answer": (
        "{n} chat[|s] [has|have] no answer of the assistant, and [is|are] left out.",
        "There is nothing to learn in them.",
    ),
    "system_only": (
        "{n} row[|s] hold[s|] only a system prompt, and [is|are] left out.",
        "There is nothing to learn in them.",
    ),
    "all_marked": (
        "{n} row[|s] [has|have] only answers that are marked as not to be learned, and [is|are] left out.",
        "Check weight, train or loss in them.",
    ),
    "segments": (
        "{n} row[|s] [has|have] segments to learn between others, and [is|are] left out.",
        "Keep the segments to learn at the end.",
    ),
    "apart": (
        "{n} row[|s] [has|have] two answers that do not end the same chat, and [is|are] left out.",
        "Both must follow the same turns.",
    ),
    "equal": ("{n} row[|s] [has|have] the same answer twice, and [is|are] left out.", "They compare nothing."),
    "unasked": (
        "{n} row[|s] [has|have] two answers and no question, and [is|are] left out.",
        "Put the question into a column prompt.",
    ),
    "tie": (
        "{n} row[|s] [has|have] two answers of which none is named as the better one, and [is|are] left out.",
        "A tie compares nothing.",
    ),
    "rating": (
        "{n} row[|s] [is|are] rated neither good nor bad, and [is|are] left out.",
        "Write true or false.",
    ),
    "scattered": (
        "{n} conversation[|s] [does|do] not stand together in the file, and [is|are] left out in part.",
        "Sort the rows by conversation.",
    ),
    "media": (
        "{n} row[|s] hold[s|] sound, video or files, and [is|are] left out.",
        "fitune trains on text and images.",
    ),
    "image_count": (
        "{n} row[|s] [has|have] not as many images as places marked for them, and [is|are] left out.",
        "Write <image> into a question once for each image; or not at all, and they stand before the first question.",
    ),
    "image_lost": (
        "{n} row[|s] name[s|] an image that is not there or can't be read, and [is|are] left out.",
        "Paths of images count from the data file's folder, or from data.image_folder.",
    ),
    "image_outside": (
        "{n} row[|s] name[s|] an image outside the folder of the data file, and [is|are] left out.",
        "If they are yours, set data.image_folder to a folder above them.",
    ),
    "image_url": (
        "{n} row[|s] name[s|] an image on the web, and [is|are] left out.",
        "Download them first, and write their paths into the rows: nothing is fetched during a training.",
    ),
    "image_broken": (
        "{n} row[|s] [has|have] an image that can't be read as one, and [is|are] left out.",
        "Fix or remove them; PNG, JPEG, WebP, GIF, BMP and TIFF are read.",
    ),
    "image_large": (
        "{n} row[|s] [has|have] an image of more than 80 million pixels or 100 MB, and [is|are] left out.",
        "Make them smaller: a model sees far less of them.",
    ),
    "image_answer": (
        "{n} row[|s] [has|have] an image in an answer, and [is|are] left out.",
        "Models that fitune trains read images, and write text.",
    ),
    "duplicate": (
        "{n} row[|s] repeat[s|] an earlier one.",
        "They weigh more in training; remove them unless you mean it.",
    ),
    "near_duplicate": (
        "{n} row[|s] say[s|] nearly the same as an earlier one.",
        "They teach little more than one of them would; keep the better one, unless you mean it.",
    ),
    "unbalanced": (
        "In {n} chat[|s] the user and the assistant don't take turns.",
        "Some chat templates refuse such chats.",
    ),
    "no_last_answer": (
        "{n} chat[|s] [doesn't|don't] end with an answer.",
        "What comes after the last answer teaches nothing.",
    ),
    "empty_turn": (
        "In {n} chat[|s] an answer is empty.",
        "It is shown to the model, but not learned.",
    ),
    "marked": (
        "{n} chat[|s] [has|have] answers that are marked as not to be learned (weight 0, train or loss false).",
        "They are shown to the model, but not learned.",
    ),
    "system_late": (
        "In {n} chat[|s] a system prompt stands after the first turn.",
        "Many chat templates refuse that.",
    ),
    "encoding": (
        "{n} place[|s] [is|are] not UTF-8 and [was|were] read as Windows-1252 (Latin-1).",
        "Check the accents; save as UTF-8.",
    ),
    "utf16": ("{n} file[|s] [is|are] UTF-16 and [was|were] recoded.", "Nothing needs to be done."),
    "repaired": (
        "{n} line[|s] [is|are] not strict JSON (a comma at the end, NaN, single quotes), but [was|were] read.",
        "Check one.",
    ),
    "twice": (
        "{n} of the first rows give[s|] one name twice; the last one was read.",
        "Give each its own name, or remove one.",
    ),
    "header": (
        "The first line looks like a row, not like names of columns.",
        "A table needs a line with names first.",
    ),
    "garbled": (
        "{n} row[|s] [has|have] garbled letters (such as â€™ or �).",
        "The text was once read in the wrong encoding.",
    ),
    "control": (
        "{n} row[|s] hold[s|] control characters, such as the colour codes of a terminal.",
        "The model learns to write them: remove them, unless you mean it.",
    ),
    "nul": ("{n} row[|s] [has|have] NUL characters.", "Remove them: tokenizers treat them badly."),
    "copied": (
        "In {n} row[|s] the answer also stands in the question.",
        "Then the model learns to copy; is that meant?",
    ),
    "echoed": (
        "{n} answer[|s] begin[s|] with the whole question.",
        "The model learns to repeat it first; is that meant?",
    ),
    "tags": (
        "{n} answer[|s] hold[s|] tags of HTML.",
        "The model learns to write them: take them out, unless they are meant.",
    ),
    "entities": (
        "{n} row[|s] hold[s|] characters as HTML writes them (such as &amp; or &#39;).",
        "The model learns to write them: turn them back into the characters, unless they are meant.",
    ),
    "written_out": (
        "{n} row[|s] [has|have] no line ends, but \\n written out in two characters.",
        "The model learns to write a backslash and an n: turn them into line ends, unless they are meant.",
    ),
    "in_letters": (
        "{n} row[|s] hold[s|] an image or a file written in letters (base64) within the text.",
        "The model reads and learns mere letters: put images into a column images, or take them out.",
    ),
    "unclosed": (
        "{n} answer[|s] begin[s|] to think with <think> and never end[s|] that with </think>.",
        "The model learns to think and never to answer: add the mark, or take the thoughts out.",
    ),
    "dotted": (
        "{n} answer[|s] end[s|] with three dots.",
        "If a program cut them, export them anew: the model learns to stop there.",
    ),
    "refusal": (
        "{n} answer[|s] refuse[s|] to answer.",
        "The model learns to refuse such questions; is that meant?",
    ),
    "nothing": (
        "{n} answer[|s] [says|say] only that there is none (such as NaN, NULL, #N/A or TODO).",
        "The model learns to write this: remove these rows.",
    ),
    "empty_prompt": (
        "{n} row[|s] [has|have] an empty question.",
        "The model learns to say this out of nothing; is that meant?",
    ),
    "asking": (
        "{n} answer[|s] ask[s|] something, and the question[|s] before [it|them] do[es|] not.",
        "Are the two swapped? Else the model learns to ask.",
    ),
    "turned": (
        "{n} row[|s] [has|have] question and answer the other way round than the others: the answer asks.",
        "Swap the two in these rows, else the model learns to ask.",
    ),
    "named": (
        "{n} answer[|s] begin[s|] with the name of the one who speaks (such as Assistant:).",
        "The model learns to write it each time: take it out, unless it is meant.",
    ),
    "announced": (
        "{n} question[|s] end[s|] with the mark of the one who is to answer (such as Assistant: or ### Response:).",
        "The chat template writes its own: leave these out, with what else is left of another template.",
    ),
    "held_out": (
        "{n} row[|s] [is|are] marked as test or validation in a column of their own, and would be trained on.",
        "Leave them out of this file: what was learned can't be tested.",
    ),
    "timed": (
        "{n} text[|s] [is|are] subtitles, with a time for each.",
        "The model learns to write these times: keep the words only.",
    ),
    "spoken": (
        "{n} text[|s] hold[s|] questions with their answers (Q: and A:, User: and Assistant:, or lines that ask).",
        "As plain text the model learns to write both; to learn to answer, write rows of question and answer.",
    ),
    "people": (
        "{n} text[|s] [is|are] a chat: each line begins with the one who speaks.",
        "As plain text the model learns to write all of them; to learn to answer, write rows of messages.",
    ),
    "logged": (
        "{n} text[|s] [is|are] the log of a program: its lines begin with times or levels (such as ERROR).",
        "The model learns to write such lines, times and all; is that meant?",
    ),
    "inner_marks": (
        "In {n} row[|s] a question or an answer holds marks of a chat template (such as <|im_end|>, </s> or [INST]).",
        "A model with these marks takes them for the real ends of turns: take them out.",
    ),
    "columns": (
        "{n} text[|s] [is|are] a table: its lines have columns between tabs or strokes.",
        "As plain text the model learns to write the table; save it as CSV or TSV, with names in the first line.",
    ),
    "template_marks": (
        "{n} text[|s] hold[s|] the marks of a chat template (such as <|im_start|> or [INST]).",
        "They fit only models with this template; in rows of messages fitune writes each model's own.",
    ),
    "cut_off": (
        "{n} answer[|s] seem[s|] to break off within a sentence.",
        "The model learns to stop there: write them to their end, or remove them.",
    ),
    "email": ("{n} row[|s] hold[s|] e-mail addresses.", "A trained model can repeat them."),
    "secret": (
        "{n} row[|s] seem[s|] to hold passwords or keys.",
        "A trained model can repeat them: remove and revoke them.",
    ),
}
"""A sentence for each kind, as for `numbered`, and what to do; in the order in which they are shown."""
CLOSE = {
    "garbled", "control", "nul", "copied", "refusal", "spoken", "people", "template_marks", "inner_marks", "columns",
    "echoed", "tags", "nothing", "cut_off", "empty_prompt", "email", "secret", "written_out", "entities",
    "in_letters", "unclosed", "dotted", "named", "timed", "held_out", "asking", "turned", "logged", "announced",
}  # fmt: skip
SKIPS = (
    "tie", "apart", "equal", "unasked", "rating", "bad_line", "empty", "missing", "type", "several", "role",
    "no_answer", "system_only", "media", "image_count", "image_lost", "image_outside", "image_url", "image_broken",
    "image_large", "image_answer", "all_marked", "segments", "scattered",
)  # fmt: skip
"""The kinds of rows that are left out."""
OF_COLUMNS = ("empty", "missing", "type")
"""Those of them that other columns may fix."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of problem with the data: how bad, how often, where first."""

    severity: Severity
    """stop: it can't be trained on as it is. warn: it can, but look."""
    kind: str
    """Its name, as a word: bad_line, empty, missing, type ..."""
    count: int
    """Rows with this problem."""
    problem: Problem
    """The first place, a sentence and a fix."""
    places: tuple[str, ...] = ()
    """`file:line what`, the first 20."""


def numbered(text: str, count: int) -> str:
    """The text with `{n}` as the count, and of each `[one|many]` the word that agrees with it."""
    chosen = re.sub(r"\[([^|\]]*)\|([^]]*)\]", r"\1" if count == 1 else r"\2", text)
    return chosen.replace("{n}", f"{count:,}")
