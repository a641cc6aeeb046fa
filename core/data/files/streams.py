"""From a file's bytes to UTF-8 bytes of a known kind: known by content, not by name alone."""

import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import IO, Literal

import orjson

from fitune.core.data.shapes.names import roles_of
from fitune.core.errors import UserError

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "xlsx", "text"]
Note = Callable[[str, int], None]
"""Told of (kind, line) where something was read leniently."""

SUFFIXES: dict[str, Kind] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".xlsx": "xlsx", ".xlsm": "xlsx", ".txt": "text",
    ".md": "text", ".markdown": "text", "": "text",
}  # fmt: skip
NEVER_EMPTY = (".parquet", ".xlsx", ".xlsm", ".zip")
PACKED = (".gz", ".zst", ".zstd")
BUFFER_BYTES = 1 << 20
HEAD_BYTES = 1 << 16
"""Looked at to tell what a file is."""
POINTER = re.compile(rb"\s*(?:version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/|/annex/objects/)")
WEB_PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html|head)\b", re.IGNORECASE | re.DOTALL
)
SERVER_SAYS = re.compile(
    rb"\s*(?:(?:[45]\d\d:? )?(?:\w+ )?(?:not found|unauthorized|forbidden|too many requests|bad gateway)\.?\s*$"
    rb"|access (?:denied|to \w+ \S+ is restricted)|invalid username or password"
    rb"|\{\s*\"(?:error|detail)\"\s*:\s*\"[^{}]*\}\s*$"
    rb"|\{\s*\"message\"\s*:\s*\"(?:not found|bad credentials)\")",
    re.IGNORECASE,
)
"""What a server says, or sends as JSON, in the place of a file ..."""
ANSWER_BYTES = 300
"""... in no more bytes than these."""
OBJECTS = re.compile(rb"\s*(?:\[\s*){0,2}\{\s*[\"'][^\"'\n]*[\"']\s*:")
"""Beginnings of JSON that holds rows, whatever the file is called."""
JOINED = re.compile(rb"\}[ \t\r]*\{")
"""Two JSON objects on one line, or with the line end of old Macs between them."""
HIGH, HIGH_TOGETHER = bytes(range(128, 256)), re.compile(rb"[\x80-\xff]{3,}")
FEWEST_HIGH, TOGETHER_MOST, BROKEN_MOST = 16, 0.4, 0.2
"""Bytes beyond ASCII that tell an encoding; the share of them in runs, and of those that are no UTF-8, from which on it
is none of Western Europe."""
CONTROL = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1a\x1b"))
"""Bytes that no text has."""
CONTROL_MOST = 0.02
"""The share of them in a file that may have some by an error."""
MAGIC = {
    b"%PDF": ("a PDF", ".pdf"), b"SQLite format 3": ("an SQLite database", ".db"), b"{\\rtf": ("RTF", ".rtf"),
    b"\xd0\xcf\x11\xe0": ("a document of Office before 2007, or locked with a password", ".xls"),
    b"ARROW1": ("an Arrow file", ".arrow"), b"\x89PNG": ("a picture", ""), b"\xff\xd8\xff": ("a picture", ""),
    b"Rar!": ("an archive", ".rar"), b"7z\xbc\xaf": ("an archive", ".7z"), b"BZh": ("an archive (bzip2)", ".tar"),
    b"\xfd7zXZ": ("an archive (xz)", ".tar"),
}  # fmt: skip
"""First bytes of a file -> what it is, and the suffix of its kind."""
MAX_LINE_BYTES = 1 << 26
UNREADABLE = {
    **dict.fromkeys((".arrow", ".feather"), "Write it as Parquet: dataset.to_parquet(...)."),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "Unpack it, and name the file or folder in it."),
    **dict.fromkeys((".xls", ".ods", ".numbers"), "Save the sheet as CSV (UTF-8)."),
    **dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".epub"), "Save it as plain text or Markdown."),
    **dict.fromkeys((".pkl", ".pickle", ".npy", ".npz"), "Load it in Python, and write its rows as JSON lines."),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), "Export the table as CSV (UTF-8)."),
    **dict.fromkeys((".yaml", ".yml", ".toml"), "Load it in Python, and write its rows as JSON lines."),
    ".log": "If it is a text to learn from, give it a name that ends in .txt.",
    ".pdf": "Convert it to text or Markdown.",
    ".js": "Name one such file itself: a list of rows that it gives a name to is read.",
    ".py": "This data set is made by a program, which fitune does not run; look for a Parquet version of it.",
}
READABLE = "fitune reads JSONL, JSON, CSV, TSV, Parquet, Excel (xlsx), text and Markdown, also as .gz, .zst or .zip."


def suffix_of(name: str) -> str:
    """The suffix that tells the kind: `.jsonl` of `train.jsonl.gz`."""
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix in PACKED else path.suffix


def decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    """The stream's content, unpacked where its first bytes say gzip or zstd. Reading on raises OSError or EOFError
    where the archive is damaged."""
    magic = raw.peek(4)[:4]
    if magic[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES)
    if magic == b"\x28\xb5\x2f\xfd":
        import pyarrow  # Python has zstd of its own only from 3.14 on

        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw), "zstd"), BUFFER_BYTES)
    return raw


def as_utf8(stream: io.BufferedReader, note: Note) -> io.BufferedReader:
    """The same text without a byte order mark, recoded where it is UTF-16. Stray bytes that are not UTF-8 stay."""
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    if head.startswith(b"\xef\xbb\xbf"):
        stream.read(3)
        return stream
    if not (encoding := _utf16(head)):
        return stream
    note("utf16", 1)
    return io.BufferedReader(_Recoded(stream, encoding), BUFFER_BYTES)


def _utf16(head: bytes) -> str | None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) < 0.4 * (len(head) // 2) or min(even, odd) > 0.1 * len(head):
        return None
    return ("utf-16-be" if even > odd else "utf-16-le") if len(head) >= 4 else None


class _Recoded(io.RawIOBase):
    """A text stream of another encoding, as UTF-8 bytes."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._text = io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        self._rest = self._rest or self._text.read(HEAD_BYTES).encode("utf-8", "replace")
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def lines_of(stream: io.BufferedReader, name: str) -> Iterator[bytes]:
    """The lines of a stream. Raises UserError for one that no row is as long as, which would fill the memory."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        refuse_endless(line, name, number)
        yield line


def refuse_endless(line: bytes, name: str, number: int) -> None:
    """Raise UserError for a line that was not read to its end."""
    if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
        text = f"{name}:{number}: a line has more than {MAX_LINE_BYTES >> 20} MiB, which no row has."
        raise UserError(text, "Is it the right file? JSON lines hold one row a line.")


def utf8_line(line: bytes, number: int, note: Note) -> str:
    """Text of a line: UTF-8, else Windows-1252, of which Latin-1 is the part that people use. A byte order mark at its
    beginning, as where files were joined, is no part of it."""
    try:
        return line.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        note("encoding", number)
        return line.decode("cp1252", "replace")


def refuse_placeholder(name: str, head: bytes) -> None:
    """Raise UserError for a file that stands in the place of the data: a pointer to a large file, a web page, XML."""
    if POINTER.match(head):
        hint = "Fetch the file itself: git lfs pull (or git annex get, or download it from the repository's page)."
        raise UserError(f"{name} is a Git LFS pointer, not the data: it only names a large file.", hint)
    if WEB_PAGE.match(head):
        hint = "Download the file itself: on GitHub with the button Raw, on Hugging Face with /resolve/ for /blob/."
        raise UserError(f"{name} is a web page (HTML), not data.", hint)
    if len(head) <= ANSWER_BYTES and SERVER_SAYS.match(head):
        said = " ".join(head.decode("utf-8", "replace").split())
        hint = "Check the address and the token that you fetched it with, and fetch it again."
        raise UserError(f"{name} is not data, but what a server answered ({said}).", hint)
    if head.lstrip().startswith(b"<?xml"):
        raise UserError(f"{name} is XML, which fitune does not read.", READABLE)
    if head[257:262] == b"ustar":
        raise UserError(f"{name} is an archive (tar).", _hint(".tar"))
    for magic, (kind, suffix) in MAGIC.items():
        if head.startswith(magic):
            raise UserError(f"{name} is {kind}, whatever its name says.", _hint(suffix))
    if head.lstrip()[:1] not in (b"{", b"[") and len(head) - len(head.translate(None, CONTROL)) > CONTROL_MOST * len(
        head
    ):
        raise UserError(f"{name} is not text: it holds bytes that no text has.", READABLE)


def refuse_encoding(name: str, head: bytes) -> None:
    """Raise UserError for text in an encoding that nobody can tell for sure, such as those of Asia before UTF-8.

    The letters of Western Europe beyond ASCII stand alone between others; in these encodings most stand together.
    """
    high = len(head) - len(head.translate(None, HIGH))
    together = sum(map(len, HIGH_TOGETHER.findall(head)))
    if high < FEWEST_HIGH or together < TOGETHER_MOST * high:
        return
    if head.decode("utf-8", "replace").count("\ufffd") < BROKEN_MOST * high:
        return
    hint = "Save it as UTF-8, in a spreadsheet as CSV UTF-8; or with the name of its encoding: "
    hint += "iconv -f GB18030 -t UTF-8 OLD > NEW (Chinese; CP932 is Japanese, CP949 Korean, CP1251 Russian)."
    raise UserError(f"{name} is text, but not in UTF-8, and in no encoding of Western Europe.", hint)


def refuse_empty(name: str, head: bytes) -> None:
    """Raise UserError for an empty file of a kind that is never empty."""
    if not head and suffix_of(name) in NEVER_EMPTY:
        raise UserError(f"{name} is empty: it has 0 bytes.", "Fetch or write the file again.")


def wrong_quotes(text: str) -> str:
    """The reason why a text is no JSON, if that is the quotes around its first key; else empty."""
    found = re.match(r"\s*\[?\s*\{\s*([“”„‟'])", text)
    if found and found[1] == "'":
        return "it has single quotes, as Python prints them, JSON takes only double ones: write it with json.dump"
    return f"it has curly quotes ({found[1]}), JSON takes only straight ones" if found else ""


def refuse_kind(name: str) -> None:
    """Raise UserError for a file whose suffix says that fitune does not read it."""
    suffix = suffix_of(name)
    if suffix not in SUFFIXES:
        raise UserError(f"{name}: {suffix} is not a kind of file that fitune reads.", _hint(suffix))


def kind_of(name: str, head: bytes) -> Kind:
    """The kind of a file, from its name and first unpacked bytes. Raises UserError for what fitune doesn't read."""
    if head.startswith(b"PAR1"):
        return "parquet"
    refuse_kind(name)
    kind = SUFFIXES[suffix_of(name)]
    if kind == "text" and _names_columns(head):
        return "csv"
    if kind in ("jsonl", "json") or OBJECTS.match(head):
        return _json_kind(kind, head)
    return kind


def _names_columns(head: bytes) -> bool:
    """True if a text begins with names of columns, of which one asks and one answers."""
    names = re.split(r"[,;\t|]", head.partition(b"\n")[0].decode("utf-8", "replace"))
    roles = [roles_of(name) for name in names]
    return all(roles) and any("question" in each for each in roles) and any("answer" in each for each in roles)


def _hint(suffix: str) -> str:
    return UNREADABLE.get(suffix, READABLE)


def _json_kind(kind: Kind, head: bytes) -> Kind:
    """JSON lines or one JSON document: people mix the two suffixes up."""
    lines = [line for line in head.split(b"\n", 6)[:6] if line.strip()]
    if not lines or len(lines) == 1:
        is_list = bool(lines) and lines[0].lstrip().startswith(b"[")
        is_list |= bool(lines) and JOINED.search(lines[0]) is not None
        return "json" if is_list or kind != "jsonl" else "jsonl"
    if _is_whole(lines[0]):
        return "jsonl"
    # The first line is torn or broken: in JSON lines the next one starts an object again.
    restarts = lines[0].strip() != b"{" and all(line.lstrip().startswith(b"{") for line in lines)
    is_json = lines[0].lstrip()[:1] in (b"{", b"[")
    return "jsonl" if kind == "jsonl" and (restarts or not is_json) else "json"


def _is_whole(line: bytes) -> bool:
    try:
        orjson.loads(line.strip().rstrip(b","))
    except orjson.JSONDecodeError:
        return False
    return True
