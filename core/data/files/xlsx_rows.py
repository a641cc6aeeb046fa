"""The rows of an Excel workbook: of its one sheet that holds any."""

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any
from xml.etree import ElementTree

from fitune.core.data.files.csv_rows import is_row
from fitune.core.data.files.streams import Note
from fitune.core.data.shapes.names import roles_of
from fitune.core.data.values import Row
from fitune.core.errors import UserError

HEAD_ROWS = 200
"""Rows that tell whether the first is one of them."""
SHEET = re.compile(r"xl/worksheets/[^/]+\.xml$")
DATE_FORMATS = {*range(14, 23), *range(45, 48)}
"""Numbers of the formats that Excel itself has for dates and times."""
IN_DATE = re.compile(r"[ymdhs]", re.IGNORECASE)
NOT_IN_DATE = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|General', re.IGNORECASE)
EPOCH = datetime(1899, 12, 30)
"""Day 0 of Excel's dates."""
TITLE_ROWS = 5
"""A title and remarks above the names of the columns take fewer rows."""
AS_CSV = "Save the sheet with the rows as CSV (UTF-8)."


def xlsx_rows(raw: io.BufferedReader, name: str, note: Note) -> Iterator[tuple[int, Row]]:
    """The rows below the first, which holds the names of the columns; each with its number in the sheet.

    note: told where that first row looks like the others.
    Raises UserError for what is no workbook, and for one with rows in several sheets.
    """
    try:
        with zipfile.ZipFile(raw) as book:
            if "xl/workbook.xml" not in book.namelist():
                raise UserError(f"{name} is a zip archive under another name.", "Unpack it, and name the file in it.")
            texts, dates = _texts(book), _dates(book)
            sheets = sorted(filter(SHEET.match, book.namelist()))
            found = [sheet for sheet in sheets if next(_cells(book, sheet, texts, dates), None)]
            if len(found) > 1:
                names = f"; its sheets are {', '.join(_names(book))}"
                raise UserError(f"{name} has rows in {len(found)} sheets{names}.", AS_CSV)
            for sheet in found:
                yield from _named(_cells(book, sheet, texts, dates), note)
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, IndexError, ValueError) as error:
        raise UserError(f"{name} is not a whole Excel workbook: {error}.", AS_CSV) from None


def _names(book: zipfile.ZipFile) -> list[str]:
    """What the sheets of a workbook are called, in its order."""
    elements = ElementTree.fromstring(book.read("xl/workbook.xml")).iter()
    return [each.get("name", "") for each in elements if _tag(each) == "sheet"]


def _named(cells: Iterator[tuple[int, dict[str, Any]]], note: Note) -> Iterator[tuple[int, Row]]:
    """Rows by the names that the first one gives to the columns, or one soon below it of which more names are known."""
    head = list(islice(cells, HEAD_ROWS))
    known = [sum(bool(roles_of(str(value))) for value in row.values()) for _, row in head[:TITLE_ROWS]]
    at = known.index(max(known)) if max(known) > 1 else 0
    header = head[at][1]
    cells = chain(head[at + 1 :], cells)
    below = [[str(row.get(place, "")) for place in header] for _, row in head[at + 1 :]]
    if is_row([str(value) for value in header.values()], below):
        note("header", head[at][0])
    names = {place: str(value).strip() for place, value in header.items()}
    for number, row in cells:
        yield number, {name: row.get(place, "") for place, name in names.items()}


def _cells(
    book: zipfile.ZipFile, sheet: str, texts: list[str], dates: set[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a sheet that hold something: number, and value by the letters of the column."""
    number = 0
    with book.open(sheet) as stream:
        for _, element in ElementTree.iterparse(stream):
            if _tag(element) != "row":
                continue
            number = int(element.get("r", number + 1))
            values = {_letters(cell): _value(cell, texts, dates) for cell in element if _tag(cell) == "c"}
            if row := {place: value for place, value in values.items() if value is not None and str(value).strip()}:
                yield number, row
            element.clear()


def _value(cell: ElementTree.Element, texts: list[str], dates: set[int]) -> Any:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return "".join(part.text or "" for part in cell.iter() if _tag(part) == "t")
    text = next((part.text for part in cell if _tag(part) == "v"), None)
    if text is None or kind in ("str", "e", "d"):
        return text
    if kind == "s":
        return texts[int(text)]
    if kind == "b":
        return text == "1"
    if int(cell.get("s", 0)) in dates:
        return (EPOCH + timedelta(days=float(text))).isoformat(sep=" ").removesuffix(" 00:00:00")
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _texts(book: zipfile.ZipFile) -> list[str]:
    """The texts that cells name by number."""
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    root = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
    return ["".join(part.text or "" for part in item.iter() if _tag(part) == "t") for item in root]


def _dates(book: zipfile.ZipFile) -> set[int]:
    """The styles of cells that hold dates: Excel keeps these as numbers."""
    if "xl/styles.xml" not in book.namelist():
        return set()
    root = ElementTree.fromstring(book.read("xl/styles.xml"))
    formats = [each for each in root.iter() if _tag(each) == "numFmt"]
    own = {int(each.get("numFmtId", 0)) for each in formats if _is_date(each.get("formatCode", ""))}
    styles = next((list(each) for each in root.iter() if _tag(each) == "cellXfs"), [])
    return {place for place, each in enumerate(styles) if int(each.get("numFmtId", 0)) in DATE_FORMATS | own}


def _is_date(code: str) -> bool:
    """True if the code of a format (`dd.mm.yyyy`) writes a date or a time."""
    return IN_DATE.search(NOT_IN_DATE.sub("", code)) is not None


def _tag(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _letters(cell: ElementTree.Element) -> str:
    """The column of a cell: `B` of `B7`."""
    return re.sub(r"\d", "", cell.get("r", ""))
