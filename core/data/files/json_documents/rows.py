"""The rows of a JSON document, one at a time: a list is never held whole, however long it is."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from fitune.core.data.files.json_documents.arrangements import are_names, as_row, expanded, unwrapped
from fitune.core.data.files.json_documents.exports import unpacked
from fitune.core.data.files.json_documents.wrapping import rows_behind, wrapped_list
from fitune.core.data.files.streams import Note, wrong_quotes
from fitune.core.data.values import Row, Skip
from fitune.core.errors import UserError

CHUNK_CHARS = 1 << 16
MAX_ROW_CHARS = 1 << 28
"""One object must be shorter than this."""
WRAPPED_CHARS = 1 << 20
"""An object of more characters is not read whole if it wraps a list of rows."""
LOOKED_AT = 200
"""So many values, or lines, are looked at for names that come twice."""
GAPS = " \t\r\n,"
ENDS = " \t\r\n;"
"""What may stand behind a document: a semicolon, in a script."""
COMMENTS = ("/", "#")
AGAIN = "Fetch or write the file again."
_GAP = re.compile(r"[\s,]*")
_LARGEST_INT = 2**64 - 1


def json_rows(
    stream: io.BufferedReader, name: str, split: str, note: Note, line: int = 1
) -> Iterator[tuple[int, Row | Skip]]:
    """The objects of a list, of the list in an object, or objects one after the other; with their place, from 1.

    split: which list to take of an object with several. line: that of the file in which the document begins.
    Raises UserError where the document breaks off or is broken.
    """
    number, names = 0, list[str]()
    for kept, in_list in _values(_text(stream, note), name, split, line, note):
        value = unpacked(kept)
        if in_list and not number and not names and are_names(value):
            names = value
            continue
        found = [value] if in_list or value is not kept else map(unpacked, unwrapped(value, split))
        for row in (row for each in found for row in expanded(each)):
            number += 1
            is_record = names and isinstance(row, list) and len(row) == len(names)
            yield number, dict(zip(names, row, strict=True)) if is_record else as_row(row)


def _text(stream: io.BufferedReader, note: Note) -> io.TextIOWrapper:
    try:
        stream.peek(CHUNK_CHARS).decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            note("encoding", 1)
            return io.TextIOWrapper(stream, encoding="cp1252", errors="replace")
    return io.TextIOWrapper(stream, encoding="utf-8", errors="strict")


def gives_twice(text: str | bytes) -> bool:
    """True if an object in JSON text, if that is not large, gives a name twice, of which readers keep the last."""
    found: list[bool] = []
    if len(text) > WRAPPED_CHARS:
        return False
    try:
        json.loads(text, object_pairs_hook=lambda pairs: found.append(len(pairs) > len(dict(pairs))), strict=False)
    except (ValueError, TypeError, RecursionError):  # no JSON, or an object as a name: told elsewhere
        return False
    return any(found)


def _values(text: io.TextIOWrapper, name: str, split: str, line: int, note: Note) -> Iterator[tuple[Any, bool]]:
    """Each value of a list, or each value at the top, and whether it stands in a list.

    The rows of a list in a large object are values of a list, too, and so are those of lists like it that follow.
    """
    decode = json.JSONDecoder(strict=False, parse_int=_whole).raw_decode
    buffer, at, in_list, at_end, looked_at = "", 0, False, False, 0
    wrapped: list[str] | None = None
    """The columns of the rows that an object wraps, once their list is found."""
    while True:
        at = _GAP.match(buffer, at).end()  # type: ignore[union-attr]
        mark = buffer[at : at + 1]
        if mark and mark == ("]" if in_list else "["):
            in_list, at = not in_list, at + 1
            if wrapped is not None:  # what follows is read as an object of its own
                behind, at_end = _to_the_next(text, buffer[at:], name, line)
                buffer, at = f"{{{behind}", 0
            continue
        try:
            value, end = decode(buffer, at)
        except json.JSONDecodeError as error:
            if at_end and not buffer[at:].strip(ENDS) and not in_list:
                return
            where = line + buffer.count("\n", 0, error.pos)
            if at_end or len(buffer) - at > MAX_ROW_CHARS:
                if mark and at_end and (error.pos >= len(buffer.rstrip()) or error.msg.startswith("Unterminated")):
                    raise UserError(f"{name}:{where}: the file breaks off within a row.", AGAIN) from None
                raise _broken(name, where, mark, wrong_quotes(buffer[at:]) or error.msg) from None
            if not in_list and mark == "{" and len(buffer) - at > WRAPPED_CHARS and not at_end:
                begin = wrapped_list(buffer, at, decode, split) if wrapped is None else None
                if begin:
                    line += buffer.count("\n", 0, begin)
                    buffer, at, in_list, wrapped = buffer[begin:], 0, True, []
                    continue
            line += buffer.count("\n", 0, at)
            more = _next(text, max(CHUNK_CHARS, len(buffer) - at), name, where)
            buffer, at, at_end = buffer[at:] + more, 0, not more
            continue
        except RecursionError:
            raise _broken(name, line + buffer.count("\n", 0, at), mark, "nested too deep") from None
        except ValueError:  # the limit of int()
            raise _broken(name, line + buffer.count("\n", 0, at), mark, "a number has thousands of digits") from None
        if buffer.find("\\u", at, end) >= 0 and not _is_text(value):
            value = Skip(
                "bad_line", "holds half a character (a lone surrogate such as \\ud83d), which no tokenizer takes."
            )
        looked_at += 1
        if looked_at <= LOOKED_AT and gives_twice(buffer[at:end]):
            note("twice", looked_at)
        if wrapped is not None and not in_list:
            yield from ((row, True) for row in rows_behind(value, wrapped, split))
            return
        if wrapped == [] and isinstance(value, dict):
            wrapped = list(value)
        yield value, in_list
        at = end


def _to_the_next(text: io.TextIOWrapper, rest: str, name: str, line: int) -> tuple[str, bool]:
    """The text from the next sign on that is no gap, and whether the document ends there."""
    while not (found := rest.lstrip(GAPS)):
        rest = _next(text, CHUNK_CHARS, name, line)
        if not rest:
            return "}", True
    return found, False


def _whole(digits: str) -> int | float:
    """A whole number; as a float where 64 bits don't hold it, which is what orjson reads and all that it writes."""
    number = int(digits)
    return number if -(2**63) <= number <= _LARGEST_INT else float(digits)


def _is_text(value: Any) -> bool:
    """True if all strings in a value can be encoded."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _next(text: io.TextIOWrapper, chars: int, name: str, line: int) -> str:
    try:
        return text.read(chars)
    except UnicodeDecodeError:
        hint = "Save it as UTF-8."
        raise UserError(f"{name}: after line {line} there is something that is not UTF-8 text.", hint) from None


def _broken(name: str, line: int, mark: str, why: str) -> UserError:
    if not mark:
        return UserError(f"{name}:{line}: the list breaks off without its ].", AGAIN)
    if mark.isalpha() or mark == "`":
        return UserError(f"{name}:{line}: text stands there that is not JSON.", "Take it out, with marks such as ```.")
    why = "JSON has no comments" if mark in COMMENTS else why.removesuffix(" starting at")
    return UserError(f"{name}:{line}: is not valid JSON: {why}.", "Fix this place; rows behind it can't be found.")
