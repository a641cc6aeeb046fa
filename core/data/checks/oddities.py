"""The suspicious things in the text of a row: addresses, keys, garbled letters, refusals, answers that break off."""

import re
from collections import Counter

from fitune.core.data.values import Row, asks, ends_asking

COPIED_CHARS = 20
"""An answer of so many characters that also stands in the question is worth a word; shorter ones are normal."""
EMAIL = re.compile(r"[\w.+-]+@(?!(?:[\w-]+\.)*example\.(?:com|org|net)\b)[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
"""Addresses, but those at example.com and its kin, which belong to nobody (RFC 2606)."""
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22,}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}"
)
KEY_MARKS = ("AKIA", "sk-", "xox", "AIza", "PRIVATE KEY")
TOKEN_MARKS = ("hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_")
REFUSAL = re.compile(
    r"(?:I'm|I’m|I am) sorry, but|As an AI\b|I (?:can't|can’t|cannot|am unable to) (?:assist|help|fulfill|comply)"
    r"|Es tut mir leid, aber|Lo siento, pero|Je suis désolée?, mais|Mi dispiace, ma|抱歉，|对不起，|申し訳ありません"
)
"""Beginnings of answers that refuse to answer."""
CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f\x9b]")
"""Characters that steer a terminal or a printer; a NUL is told apart."""
GARBLED = re.compile("\ufffd|â€|Ã[©¤¶¼¨]")
"""A replacement character, or UTF-8 that was once read as Latin-1."""
LONG_CHARS = 80
"""From so many characters on, an answer in prose ends with a mark, if any of them do."""
CONTINUED = (",", ";", "-", "–", "，", "、", "(")
ASKED = re.compile(
    r"^\W{0,4}(?:Q|Question|Instruction|User|Human|Customer|Client|Caller|Patient|Frage|Kunde|Pregunta|Cliente|Pergunta"
    r"|Domanda|Вопрос|问|問)\W{0,3}[:：]",
    re.IGNORECASE | re.MULTILINE,
)
ANSWERED = re.compile(
    r"(?:^|###|[.?!？。] )\W{0,4}(?:A|R|Answer|Response|Output|Assistant|AI|Bot|Agent|Support|Operator|Doctor|Antwort"
    r"|Berater|Respuesta|Réponse|Resposta|Risposta|Ответ|答)\W{0,3}[:：]",
    re.IGNORECASE | re.MULTILINE,
)
SENTENCE_END, LONG_WORD = re.compile(r"[.!。！]\s"), re.compile(r"\w{4,}")
LONGER = 1.5
"""A question that was swapped with its answer has so many times its letters, or more; or it shares words with it ..."""
FEWEST_SHARED = 2
"""... at least so many, and half of them."""
HEADINGS_THAT_ASK = re.compile(r"^#{1,6} .*[?？؟](?: *\([^)]*\))?[ *#]*$", re.MULTILINE)
SPOKEN = re.compile(r"^\W{0,3}(?:\d[\d/.:, -]*(?:[AP]M)?\W{0,4})?([^\W\d_][\w .'-]{0,29})[\])*]{0,3}[:：>]\s")
"""A line of a chat: perhaps its time, then who speaks."""
FEWEST_SPOKEN, SPOKEN_MOST, NEARLY_ALL = 4, 0.6, 0.8
"""Lines of a chat, and the share of all lines that they are; that of questions with their answers."""
TAG = re.compile(
    r"</?(?:p|div|span|br|a|b|i|em|strong|ul|ol|li|h[1-6]|table|t[rdh]|img|font)(?: [^<>]*)?/?>", re.IGNORECASE
)
"""Tags of HTML that stand in a text."""
SPEAKER_ALONE = re.compile(
    r"^\W{0,3}((?:Speaker|Person|Participant|User|Customer|Client|Caller|Agent|Interviewer|Host|Guest) ?\w{0,2})"
    r"\W{0,3}[:：]\W*$",
    re.IGNORECASE,
)
"""The line of one whose words stand below it."""
PARAGRAPHS = re.compile(r"\n\s*\n|\n[-*_=]{3,}[ \t]*(?:\n|$)")
"""Between two paragraphs."""
LOG_LINE = re.compile(
    r"^[\[(<\"{]?(?:\w+=\"?)?(?:\d{4}[-/.]\d\d[-/.]\d\d[T ]\d\d:\d\d|\d\d-\d\d \d\d:\d\d:\d\d\.\d"
    r"|(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)\S*\s"
    r"|^\S+ \S+ \S+ \[\d\d/[A-Z][a-z]{2}/\d{4}:|^.{0,40}\b(?:DEBUG|INFO|NOTICE)\b"
    r"|^\W?(?:WARN(?:ING)?|ERROR|FATAL|CRITICAL)(?:\]|:\w+:| +- )"
    r"|^Traceback \(most|^\s+File \".*\", line \d|^\s+at [\w.$<>]+\("
)
"""A line that a program wrote about its work: its time, a server's access, how bad it is, or where it failed."""
LOGGED_LEAST = 0.6
"""The share of such lines in a log."""
LEVELS = {"debug", "info", "notice", "warn", "warning", "error", "fatal", "critical"}
FEWEST_LINES, TABLE_MOST = 4, 0.6
"""Lines of a table in a plain text, and the share of all lines that they are; more than these."""
RATING = re.compile(
    r"(?:^|[_ .-])(?:stars?|ratings?|scores?|helpfulness|correctness|quality|(?:up)?votes)$", re.IGNORECASE
)
"""Names of columns whose numbers rate the answers."""
NUMBER = re.compile(r"-?\d{1,6}(?:\.\d{1,6})?")
TEMPLATE_MARKS = re.compile(r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[/INST\]|<\|(?:user|assistant)\|>")
INNER_MARKS = re.compile(
    r"<\|(?:im_start|im_end|start_header_id|end_header_id|eot_id|endoftext|user|assistant|system|end)\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]"
)
"""Marks that a model's tokenizer takes for its own wherever they stand."""
ENDS, BEGINS = ("</s>", "<eos>", "<|end_of_text|>", "<|eom_id|>"), ("<s>", "<bos>", "<|begin_of_text|>")
"""Marks that some models write around a text. Within one, the first two may be HTML."""
NAMED = re.compile(
    r"\W{0,3}(?:Assistant|AI|Bot|ChatGPT|GPT|Answer|Response|Antwort|Respuesta|Réponse|Ответ|答)\W{0,3}[:：]", re.I
)
"""The name of the one who answers, before an answer."""
ANNOUNCED = re.compile(
    r"(?:^|\n)\s*(?:\W{0,3}(?:Assistant|AI|Bot|ChatGPT|GPT)\W{0,3}[:：]"
    r"|#{2,4} *(?:Assistant|Response|Answer|Output|Antwort|Respuesta|Réponse|Ответ|回答|答)\b\W{0,2})\s*$",
    re.IGNORECASE,
)
"""The mark of the one who is to answer, at the end of a question ..."""
END_CHARS = 60
"""... which is so long at most, with the white space around it."""
TIMED = re.compile(r"^[\d:]{4,9}[.,]\d{3} --> [\d:]{4,9}[.,]\d{3}", re.MULTILINE)
"""When a subtitle is shown."""
SPLITS = {"split", "subset", "partition", "data_split", "set", "fold"}
HELD_OUT = {"test", "eval", "evaluation", "val", "valid", "validation", "dev", "holdout", "held_out", "heldout"}
"""Names of columns that tell parts of a data set apart, and of the parts that are not for training."""
NOTHING = {"nan", "null", "\\n", "#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!",
           "#nv", "#bezug!", "#wert!", "<na>", "n/a", "undefined", "todo", "tbd", "fixme", "xxx"}  # fmt: skip
"""What programs and people write where there is nothing yet."""
WRITTEN_OUT = re.compile(r"\\n(?=\\n|[\s\dA-Z*#-]|[^\x00-\x7f]|$)")
"""A line end as the two characters that stand for it, but not the begin of a word such as LaTeX has (`\\nabla`)."""
ENTITY = re.compile(r"&(?:amp|quot|apos|lt|gt|nbsp|#\d{2,5}|#x[\da-fA-F]{2,4});")
"""A character as HTML writes it."""
IN_LETTERS = re.compile(r";base64,[A-Za-z0-9+/]{100}")
DOTS = ("...", "…")
OF_LEARNED = {"refusal", "long_answer", "cut_off", "asking", "named", "nothing", "copied", "echoed", "tags", "unclosed",
              "dotted"}  # fmt: skip
"""What an answer that is rated bad may be like: the model learns not to answer so."""
LONGEST_NOTHING = max(map(len, NOTHING))


def oddities(row: Row) -> list[str]:
    """The suspicious things in a canonical row's text, as kinds."""
    messages = row.get("messages", ())
    asked = [message["content"] for message in messages if message["role"] == "user"] or [row.get("prompt", "")]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    answers = answers or [row.get("completion", "")]
    whole = "\n".join([message["content"] for message in messages] or row.values())
    is_text = "text" in row
    is_spoken = is_text and _holds_both_sides(whole)
    is_of_people = is_text and not is_spoken and _is_chat_of_people(whole)
    tests = {
        "email": "@" in whole and EMAIL.search(whole),
        "secret": _may_hold_key(whole) and SECRET.search(whole),
        "nul": "\0" in whole,
        "control": CONTROL.search(whole),
        "garbled": _may_be_garbled(whole) and GARBLED.search(whole),
        "refusal": any(map(REFUSAL.match, answers)),
        "long_answer": any(map(_is_long, answers)),
        "cut_off": any(map(_is_cut_off, answers)),
        "spoken": is_spoken or (is_text and not is_of_people and _asks_and_answers(whole)),
        "people": is_of_people,
        "logged": is_text and not is_of_people and _is_log(whole),
        "template_marks": is_text and TEMPLATE_MARKS.search(whole),
        "inner_marks": not is_text and (INNER_MARKS.search(whole) or any(map(_is_marked, (*asked, *answers)))),
        "asking": not is_text and asks(answers[-1]) and not asks(asked[-1]),
        "asked": not is_text and asks(asked[-1]) and not asks(answers[-1]),
        "turned": not is_text and _are_turned(asked[-1], answers[-1]),
        "announced": bool(messages) and any(ANNOUNCED.search(each[-END_CHARS:]) for each in asked),
        "named": any(map(NAMED.match, answers)),
        "timed": is_text and " --> " in whole and TIMED.search(whole),
        "nothing": any(len(said) <= LONGEST_NOTHING and said.casefold() in NOTHING for said in map(str.strip, answers)),
        "copied": any(len(answer) >= COPIED_CHARS and answer in asked[0] for answer in answers),
        "echoed": any(len(each) >= COPIED_CHARS for each in asked[:1]) and answers[0].startswith(asked[0]),
        "tags": any("</" in answer and TAG.search(answer) for answer in answers),
        "written_out": "\\n" in whole and any(map(_has_no_line_ends, (*asked, *answers, row.get("text", "")))),
        "entities": "&" in whole and "</" not in whole and "```" not in whole and ENTITY.search(whole),
        "in_letters": ";base64," in whole and IN_LETTERS.search(whole),
        "unclosed": any("<think>" in answer and "</think>" not in answer for answer in answers),
        "dotted": any(answer.rstrip().endswith(DOTS) for answer in answers),
        "columns": is_text and _is_table(whole),
        "empty_prompt": not is_text and not all(each.strip() for each in asked),
        "tools": "tools" in row or any("tool_calls" in each or each["role"] == "tool" for each in messages),
    }
    of_no_concern = OF_LEARNED if row.get("label") is False else ()
    return [kind for kind, is_so in tests.items() if is_so and kind not in of_no_concern]


def is_held_out(column: str, value: object) -> bool:
    """True if a column says of a row that it is not for training."""
    return column.casefold() in SPLITS and isinstance(value, str) and value.strip().casefold() in HELD_OUT


def rating(column: str, value: object) -> float | None:
    """The number by which a column of this name rates an answer; None of other columns, and where it is no number."""
    return float(str(value)) if RATING.search(column) and NUMBER.fullmatch(str(value)) else None


def _may_hold_key(text: str) -> bool:
    """A few plain searches, which are many times faster than the pattern."""
    return any(mark in text for mark in KEY_MARKS) or ("_" in text and any(mark in text for mark in TOKEN_MARKS))


def _may_be_garbled(text: str) -> bool:
    return not text.isascii() and ("\ufffd" in text or "â" in text or "Ã" in text)


def _is_cut_off(answer: str) -> bool:
    """True if an answer of some length ends within a sentence: in a word, or after a comma."""
    end = answer.rstrip("*_ \n")[-1:]
    return (end in CONTINUED or (end.isalpha() and answer.isascii())) and _is_long(answer)


def _is_long(answer: str) -> bool:
    """True if an answer is long enough to be a sentence that ends with a mark."""
    return len(answer) >= LONG_CHARS and answer.count(" ") >= LONG_CHARS // 10


def _is_marked(text: str) -> bool:
    """True if a text begins or ends with the marks of some model."""
    return text.rstrip().endswith(ENDS) or text.lstrip().startswith(BEGINS)


def _has_no_line_ends(text: str) -> bool:
    """True if a text has line ends only as the two characters that stand for them."""
    return "\n" not in text and WRITTEN_OUT.search(text) is not None


def _holds_both_sides(text: str) -> bool:
    """True if both a question and an answer are marked in a text, each at the beginning of a line, or if several of its
    headings ask."""
    return bool(ASKED.search(text) and ANSWERED.search(text)) or len(HEADINGS_THAT_ASK.findall(text)) > 1


def _asks_and_answers(text: str) -> bool:
    """True if nearly each paragraph is a line that asks above its answer, or if paragraphs or lines ask and answer in
    turn."""
    paragraphs = [part.strip().splitlines() for part in PARAGRAPHS.split(text) if part.strip()]
    lines = [[line] for line in text.splitlines() if line.strip()]
    return _are_questions_and_answers(paragraphs) or _are_questions_and_answers(lines)


def _are_questions_and_answers(paragraphs: list[list[str]]) -> bool:
    asking = [ends_asking(lines[0]) for lines in paragraphs]
    whole = sum(asked and len(lines) > 1 for asked, lines in zip(asking, paragraphs, strict=True))
    alone = [asked and len(lines) == 1 for asked, lines in zip(asking, paragraphs, strict=True)]
    pairs = sum(one and not other for one, other in zip(alone, asking[1:], strict=False))
    return whole + pairs >= FEWEST_SPOKEN and whole + 2 * pairs >= NEARLY_ALL * len(paragraphs)


def _are_turned(asked: str, answer: str) -> bool:
    """True if these look like an answer and its question: the second is one sentence that asks, the first does not, and
    is longer or says much of the same; who asks back says something else."""
    if not asks(answer) or asks(asked) or SENTENCE_END.search(answer):
        return False
    said, words = (set(LONG_WORD.findall(text.lower())) for text in (asked, answer))
    return len(asked) > LONGER * len(answer) or len(words & said) >= max(FEWEST_SHARED, len(words) / 2)


def _is_log(text: str) -> bool:
    """True if most lines are those of a program's log."""
    lines = [line for line in text.splitlines() if line.strip()]
    return sum(map(bool, map(LOG_LINE.match, lines))) >= max(1, LOGGED_LEAST * len(lines))


def _is_table(text: str) -> bool:
    """True if most lines have as many columns as others, between tabs or upright strokes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    columns = Counter((line.count("\t"), line.count("|")) for line in lines)
    columns.pop((0, 0), None)
    return max(columns.values(), default=0) > max(FEWEST_LINES, TABLE_MOST * len(lines))


def _is_chat_of_people(text: str) -> bool:
    """True if most lines begin with one of a few people, each of whom speaks more than once."""
    lines = [line for line in text.splitlines() if line.strip()]
    names = Counter(found[1] for line in lines if (found := SPOKEN.match(line)) and found[1].lower() not in LEVELS)
    names += Counter(2 * [found[1] for line in lines if (found := SPEAKER_ALONE.match(line))])
    spoken = sum(count for count in names.values() if count > 1)
    return len(names) > 1 and spoken >= max(FEWEST_SPOKEN, SPOKEN_MOST * len(lines))
