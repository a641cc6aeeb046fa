"""One pass over the raw rows of a source, counting what is good and what is odd. Says nothing: core.data_report does.

Every row is parsed, converted and compared; what is only looked for (secrets, addresses, garbled text, answers that
stand in the question, column types) is looked for in the first CLOSE_ROWS rows and every 16th after that, so that a
pass costs less than twice what parsing alone does.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from core.canonical import Row, Skip, converter, kind_name
from core.duplicates import Duplicates
from core.errors import UserError
from core.formats import CHAT_FORMATS, Shape
from core.readers import Numbered, read, rows_in_parquet
from core.sources import Source, SourceFile, opened

CLOSE_ROWS = 20_000
CLOSE_STRIDE = 16
PLACES_KEPT = 20
"""So many places are kept of each kind of oddity; all are counted."""
TICK_ROWS = 4096
HEAD_ROWS = 2000
"""The head of a source: so many rows ..."""
HEAD_BYTES = 1 << 23
"""... or so many bytes, where rows are long ..."""
FEWEST_ROWS = 10
"""... but never fewer than this."""
COPIED_CHARS = 20
"""An answer of so many characters that also stands in the question is worth a word; shorter ones are normal."""
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22,}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}"
)
SECRET_MARKS = ("PRIVATE KEY", "AKIA", "gh", "hf_", "sk-", "xox", "AIza")
GARBLED = ("\ufffd", "â€", "Ã©", "Ã¤", "Ã¶", "Ã¼", "Ã¨")
"""A replacement character, or UTF-8 that was once read as Latin-1."""


@dataclass(slots=True)
class Scan:
    """What a pass over the rows found."""

    raw_rows: int = 0
    """Rows of the source, blank lines left out."""
    used_rows: int = 0
    """Canonical rows made of them."""
    skipped_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """How many rows have each kind of oddity."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """Where: the first PLACES_KEPT of each kind, as `file:line what`."""
    close_rows: int = 0
    """Raw rows looked at closely."""
    types: dict[str, Counter[str]] = field(default_factory=dict)
    """Column -> kinds of value, among the rows looked at closely."""
    preview: list[Row] = field(default_factory=list)
    duplicates: Duplicates = field(default_factory=Duplicates)
    broken: UserError | None = None
    """Why reading ended early."""
    complete: bool = True
    bytes_done: int = 0

    def note(self, kind: str, where: str, text: str = "") -> None:
        self.counts[kind] += 1
        places = self.places.setdefault(kind, [])
        if len(places) < PLACES_KEPT:
            places.append(f"{where} {text}".strip())


def scan(
    source: Source,
    split: str,
    shape: Shape,
    sample: int,
    head_only: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Read the rows of a source, all or those of the head, and count.

    sample: canonical rows to keep. on_progress: told (bytes done, bytes in all) now and then.
    A file that can't be read to its end is not raised but ends the pass, in `broken`.
    """
    found = Scan()
    total_bytes = sum(file.size_bytes for file in source.files)
    done_bytes = 0

    def progress(bytes_in_file: int) -> None:
        found.bytes_done = done_bytes + bytes_in_file
        if on_progress:
            on_progress(found.bytes_done, total_bytes)

    try:
        for file in source.files:
            found.complete = _scan_file(found, file, split, shape, sample, head_only, progress)
            if not found.complete:
                return found
            done_bytes += file.size_bytes
            progress(0)
    except UserError as error:
        found.broken = error
    return found


def _scan_file(
    found: Scan,
    file: SourceFile,
    split: str,
    shape: Shape,
    sample: int,
    head_only: bool,
    progress: Callable[[int], None],
) -> bool:
    """Count the rows of one file; False where the head ended first."""

    def note(kind: str, line: int) -> None:
        found.note(kind, f"{file.name}:{line}")

    def enough(number: int) -> bool:
        bytes_done = file.size_bytes * number // parquet_rows if parquet_rows else raw.tell()
        progress(bytes_done)
        return head_only and number >= FEWEST_ROWS and (number >= HEAD_ROWS or bytes_done > HEAD_BYTES)

    with opened(file) as raw:
        parquet_rows = rows_in_parquet(raw)
        rows = read(raw, file.name, split, note)
        return _count(found, rows, file.name, shape, sample, 1 if head_only else TICK_ROWS, enough)


def _count(
    found: Scan,
    rows: Numbered,
    name: str,
    shape: Shape,
    sample: int,
    tick_rows: int,
    enough: Callable[[int], bool],
) -> bool:
    """Count rows until `enough`, asked every tick_rows, says so: then False. Flat on purpose: it runs for every row."""
    convert = _nothing if shape.problems else converter(shape.format, shape.columns)
    is_chat = shape.format in CHAT_FORMATS
    duplicates = found.duplicates
    first_places: dict[int, str] = {}
    for number, row in rows:
        found.raw_rows = count = found.raw_rows + 1
        is_close = count <= CLOSE_ROWS or not count % CLOSE_STRIDE
        made: list[Row] = []
        try:
            if type(row) is Skip:
                raise row
            made = convert(row)  # type: ignore[arg-type]
        except Skip as skip:
            found.skipped_rows += 1
            found.note(skip.kind, f"{name}:{number}", skip.text)
        for each in made:
            if "messages" in each:
                mark = hash(tuple([message["content"] for message in each["messages"]]))
                if is_chat and (trouble := turn_trouble(tuple([message["role"] for message in each["messages"]]))):
                    found.note(trouble, f"{name}:{number}")
            else:
                mark = hash(tuple(each.values()))
            if not mark & duplicates.mask:
                duplicates.hashes.append(mark)
            if (
                count <= CLOSE_ROWS
                and (first := first_places.setdefault(mark, f"{name}:{number}")) != f"{name}:{number}"
            ):
                found.note("duplicate", f"{name}:{number}", f"is the same as {first}.")
        found.used_rows += len(made)
        if is_close:
            _look_closely(found, row, made, f"{name}:{number}")
        if len(found.preview) < sample:
            found.preview += made[: sample - len(found.preview)]
        if not count % tick_rows:
            duplicates.thin()
            if enough(number):
                return False
    return True


def _nothing(row: Row) -> list[Row]:
    return []


@lru_cache(maxsize=4096)
def turn_trouble(roles: tuple[str, ...]) -> str | None:
    """What is odd about who speaks when, as a kind; None if nothing is."""
    spoken = [role for role in roles if role != "system"]
    if "system" in roles[1:]:
        return "system_late"
    if roles[-1] != "assistant":
        return "no_last_answer"
    if spoken[0] == "assistant" or any(one == other == "user" for one, other in pairwise(spoken)):
        return "unbalanced"
    if any(one == other == "assistant" for one, other in pairwise(spoken)):
        return "unbalanced"
    return None


def _look_closely(found: Scan, row: Row | Skip, made: list[Row], where: str) -> None:
    found.close_rows += 1
    if isinstance(row, dict):
        for column, value in row.items():
            found.types.setdefault(column, Counter())[kind_name(value)] += 1
    for each in made:
        for kind in oddities(each):
            found.note(kind, where)


def oddities(row: Row) -> list[str]:
    """What is suspicious in a canonical row's text, as kinds."""
    messages = row.get("messages") or []
    asked = [message["content"] for message in messages if message["role"] == "user"] or [row.get("prompt", "")]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    answers = answers or [row.get("completion", "")]
    texts = [message["content"] for message in messages] or list(row.values())
    whole = "\n".join(texts)
    tests = (
        ("email", "@" in whole and EMAIL.search(whole)),
        ("secret", any(mark in whole for mark in SECRET_MARKS) and SECRET.search(whole)),
        ("nul", "\0" in whole),
        ("garbled", any(mark in whole for mark in GARBLED)),
        ("copied", any(len(answer) >= COPIED_CHARS and answer in asked[0] for answer in answers)),
        ("empty_prompt", "text" not in row and not all(each.strip() for each in asked)),
        ("tools", "tools" in row or any("tool_calls" in message or message["role"] == "tool" for message in messages)),
    )
    return [kind for kind, is_so in tests if is_so]
