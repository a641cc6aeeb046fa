"""A table of files as people have them, good, odd and bad: what the report says of each, and what is trained on."""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fitune.core.data.checks.scan import CLOSE_ROWS
from fitune.core.data.dataset import inspect, rows
from fitune.core.data.split import split
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.recipe.data_fields import Data

QA = {"question": "What is 2 + 2?", "answer": "4"}
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SHARE = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "clock"}}]}
IMAGE = [{"type": "text", "text": "What is it?"}, {"type": "image", "image": "cat.png"}]
CAFE = {"question": "Où est le café ?", "answer": "Là-bas."}


def lines(*found: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in found)


def pairs(count: int) -> list[dict[str, str]]:
    return [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(count)]


def parquet(*found: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(found)), sink)
    return sink.getvalue()


def not_utf8() -> bytes:
    """Two pairs, of which the first has a broken answer."""
    ends, text = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 2))), pa.py_buffer(b"\xffb")
    table = pa.table({"question": ["Why?", "How?"], "answer": pa.StringArray.from_buffers(2, ends, text)})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


def far_times() -> bytes:
    """A pair with a time that Python has no name for, in a column that nobody needs."""
    times = pa.array([300_000_000_000_000_000], pa.int64()).cast(pa.timestamp("us"))
    sink = io.BytesIO()
    pq.write_table(pa.table({"question": ["Why?"], "answer": ["So."], "at": times}), sink)
    return sink.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def sheet(*rows: list[str | int]) -> bytes:
    """A sheet of an Excel workbook, its texts in the cells."""
    cells = "".join(
        f'<row r="{number}">' + "".join(
            f'<c r="{"ABCDEFG"[place]}{number}"><v>{value}</v></c>' if isinstance(value, int)
            else f'<c r="{"ABCDEFG"[place]}{number}" t="inlineStr"><is><t>{value}</t></is></c>'
            for place, value in enumerate(row)
        ) + "</row>"
        for number, row in enumerate(rows, 1)
    )  # fmt: skip
    return f'<worksheet xmlns="http://schemas.openxmlformats.org/x"><sheetData>{cells}</sheetData></worksheet>'.encode()


def workbook(*rows: list[str | int]) -> bytes:
    return zipped({"xl/workbook.xml": b"<workbook/>", "xl/worksheets/sheet1.xml": sheet(*rows)})


def two_sheets() -> bytes:
    names = ("xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml")
    return zipped(
        {
            "xl/workbook.xml": b"<w><sheet name='FAQ'/><sheet name='Old'/></w>",
            **{name: sheet(["a"], ["b"]) for name in names},
        }
    )


@dataclass(frozen=True)
class Case:
    name: str
    file: str
    content: bytes
    format: str = "question_answer"
    rows: int = 1
    found: tuple[str, ...] = ()
    """Kinds of findings but `few`, which every small file has, in order."""
    stops: bool = False
    first: Any = None
    """The first canonical row, where it is of interest."""


CAFE_ROW = {"messages": [{"role": "user", "content": CAFE["question"]}, {"role": "assistant", "content": "Là-bas."}]}
HI_ROW = {"messages": CHAT}
CASES = (
    Case("question and answer", "a.jsonl", lines(*pairs(3)), rows=3),
    Case("byte order mark", "a.jsonl", b"\xef\xbb\xbf" + lines(CAFE), first=CAFE_ROW),
    Case("CRLF", "a.jsonl", lines(*pairs(2)).replace(b"\n", b"\r\n"), rows=2),
    Case("blank lines between", "a.jsonl", lines(QA) + b"\n  \n" + lines(CAFE), rows=2),
    Case("no newline at the end", "a.jsonl", lines(QA, CAFE).rstrip(b"\n"), rows=2),
    Case("UTF-16", "a.jsonl", lines(CAFE).decode().encode("utf-16"), found=("utf16",), first=CAFE_ROW),
    Case("UTF-16 without a mark", "a.jsonl", lines(QA).decode().encode("utf-16-le"), found=("utf16",)),
    Case("Latin-1", "a.jsonl", lines(CAFE).decode().encode("latin-1"), found=("encoding",), first=CAFE_ROW),
    Case("one Latin-1 line", "a.jsonl",
         lines(QA) + lines(CAFE).decode().encode("latin-1"), rows=2, found=("encoding",)),
    Case("NUL bytes from a crash", "a.jsonl", lines(QA, CAFE) + b"\0" * 50 + b"\n", rows=2, found=("bad_line",)),
    Case("NUL character", "a.jsonl", lines({"question": "a\0b", "answer": "c"}), found=("nul",)),
    Case("trailing commas", "a.jsonl", lines(*pairs(2)).replace(b"}\n", b"},\n"), rows=2, found=("repaired",)),
    Case("NaN beside the text", "a.jsonl", lines({**QA, "score": float("nan")}), found=("repaired",)),
    Case("half an emoji", "a.jsonl", b'{"question": "\\ud83d", "answer": "x"}\n' + lines(QA), found=("bad_line",)),
    Case("half an emoji in a JSON list", "a.json",
         b'[{"question": "\\ud83d", "answer": "x"}, {"question": "\\ud83d\\ude00", "answer": "y"}]',
         found=("bad_line",)),
    Case("a number of 5,000 digits", "a.jsonl", lines(QA) + b'{"question": ' + b"9" * 5000 + b', "answer": "x"}\n',
         found=("bad_line",)),
    Case("a number of 5,000 digits in a list", "a.json", b'[{"question": "a", "answer": "b"}, ' + b"9" * 5000 + b"]",
         found=("unreadable",), stops=True),
    Case("NaN where text belongs", "a.jsonl", lines(QA, {**QA, "answer": float("nan")}), found=("empty", "repaired")),
    Case("a chat in JSON text of an object", "a.jsonl", lines({"d": json.dumps({"conversations": SHARE})}), "sharegpt",
         first=HI_ROW),
    Case("a role that is a list", "a.jsonl",
         lines({"messages": CHAT}, {"messages": [{"role": ["user"], "content": "x"}, CHAT[1]]}), "messages",
         found=("role",)),
    Case("text in Parquet that is not UTF-8", "a.parquet", not_utf8(), found=("bad_line",)),
    Case("torn last line", "a.jsonl", lines(*pairs(3))[:-10], rows=2, found=("bad_line",)),
    Case("line that is a list", "a.jsonl", lines(QA, QA | {"answer": "5"}, [1]), rows=2, found=("bad_line",)),
    Case("nested too deep", "a.jsonl", lines(QA, CAFE) + b"[" * 200_000 + b"\n", rows=2, found=("bad_line",)),
    Case("1 MB line", "a.jsonl", lines({"question": "Why?", "answer": "so " * 350_000}, QA), rows=2),
    Case("a list of names, then lists of values", "a.json",
         json.dumps([["question", "answer"], ["Why?", "So."]]).encode()),
    Case("chats in a list of an object", "a.json", json.dumps({"messages": [CHAT, CHAT]}).encode(), "messages", rows=2,
         found=("duplicate",), first=HI_ROW),
    Case("a document in the text of a document", "a.json", json.dumps(json.dumps([QA])).encode()),
    Case("a list within objects beside others", "a.json",
         json.dumps({"header": {"status": 0, "took": 1}, "response": {"found": 2, "docs": pairs(2)}}).encode(), rows=2),
    Case("questions by their topics", "a.json",
         json.dumps({"categories": [{"name": n, "questions": pairs(3)[n:]} for n in range(2)]}).encode(), rows=5,
         found=("duplicate",)),
    Case("objects in one line", "a.jsonl", b"".join(json.dumps(each).encode() for each in pairs(3)), rows=3),
    Case("names of columns once more", "a.csv", b"question,answer\nWhy?,So.\nquestion,answer\nHow?,Like this.\n",
         rows=2, found=("bad_line",)),
    Case("single quotes around fields", "a.csv", b"question,answer\n'Why, then?','So, it is.'\n",
         first={"messages": [{"role": "user", "content": "Why, then?"},
                             {"role": "assistant", "content": "So, it is."}]}),
    Case("answers that are no answers", "a.csv", b"question,answer\nWhy?,NaN\nHow?,So.\n", rows=2, found=("nothing",)),
    Case("a chat of people", "a.txt", b"Anna: Is it open?\nBert: It is.\n" * 3, "text", found=("people",)),
    Case("a template's marks", "a.txt", b"<|im_start|>user\nHi there<|im_end|>\n", "text", found=("template_marks",)),
    Case("workbook with a title", "a.xlsx", workbook(["FAQ"], ["Question", "Answer"], ["Why?", "So."]), rows=1),
    Case("empty file", "a.jsonl", b"", "unknown", 0, ("too_few",), True),
    Case("only blank lines", "a.jsonl", b"\n\n", "unknown", 0, ("too_few",), True),
    Case("not JSON at all", "a.jsonl", b"hello\nworld\n", "unknown", 0, ("too_few", "bad_line"), True),
    Case("mixed schemas", "a.jsonl", lines(*pairs(3), {"messages": CHAT}), rows=3, found=("missing",)),
    Case("few rows of another kind", "a.jsonl", lines(*pairs(3), {"q": "x"}), rows=3, found=("missing",)),
    Case("duplicates", "a.jsonl", lines(QA, QA, QA), rows=3, found=("duplicate",)),
    Case("empty answers", "a.jsonl", lines(*pairs(2), {**QA, "answer": " "}), rows=2, found=("empty",)),
    Case("all answers empty", "a.jsonl", lines({**QA, "answer": ""}), rows=0, found=("too_few", "empty"), stops=True),
    Case("answers that are numbers", "a.jsonl", lines({"question": "2 + 2?", "answer": 4})),
    Case("answers that are lists", "a.jsonl", lines(*pairs(2), {**QA, "answer": [1, 2]}), rows=2, found=("type",)),
    Case("copied answer", "a.jsonl",
         lines({"question": "Say: all is well today", "answer": "all is well today"}), found=()),
    Case("copied long answer", "a.jsonl",
         lines({"question": "Say " + "so " * 9, "answer": "so " * 8}), found=("copied",)),
    Case("e-mail address", "a.jsonl", lines({**QA, "answer": "ask jo@posteo.de"}), found=("email",)),
    Case("key", "a.jsonl", lines({**QA, "answer": "export T=hf_" + "a1" * 17}), found=("secret",)),
    Case("garbled letters", "a.jsonl", lines({**QA, "answer": "It’s".encode().decode("cp1252")}), found=("garbled",)),
    Case("empty question", "a.jsonl", lines({**QA, "question": ""}), found=("empty_prompt",)),
    Case("question, context and answer", "a.jsonl", lines({**QA, "context": "Sums."}), "alpaca",
         first={"messages": [{"role": "user", "content": "What is 2 + 2?\n\nSums."},
                             {"role": "assistant", "content": "4"}]}),
    Case("columns in capitals", "a.csv", b"Question,Answer\nWhy?,So.\n"),
    Case("two unknown columns", "a.jsonl", lines({"foo": "Why?", "bar": "So."}), found=("unsure",)),
    Case("three unknown columns", "a.jsonl", lines({"a": "x", "b": "y", "c": "z"}), "unknown", 0, ("format",), True),
    Case("CSV without names of columns", "a.csv", b"Tell me of the sea\nIt is wide\nAnd deep\n",
         "text", 2, ("header",)),
    Case("text beside other columns", "a.csv", b"id,title,body\n7,Sea,It is wide.\n", "text", found=("unsure",)),
    Case("text and label", "a.csv", b"text,label\nGreat!,good\n", found=("unsure",)),
    Case("prompt and completion", "a.jsonl", lines({"prompt": "Roses are", "completion": " red"}), "prompt_completion",
         first={"prompt": "Roses are", "completion": " red"}),
    Case("prompt and completion as turns", "a.jsonl", lines({"prompt": CHAT[:1], "completion": CHAT[1:]}),
         "prompt_completion", first=HI_ROW),
    Case("alpaca", "a.json", json.dumps([{"instruction": "Add.", "input": "1, 2", "output": "3"}]).encode(), "alpaca",
         first={"messages": [{"role": "user", "content": "Add.\n\n1, 2"}, {"role": "assistant", "content": "3"}]}),
    Case("alpaca without input", "a.jsonl", lines({"instruction": "Say hi.", "output": "Hi"}), "alpaca"),
    Case("alpaca with instances", "a.jsonl",
         lines({"instruction": "Add.", "instances": [{"input": "1", "output": "2"}, {"input": "2", "output": "3"}]}),
         "alpaca", 2),
    Case("preference pairs", "a.jsonl", lines({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}), "preference", 0,
         ("format",), True),
    Case("rated answers", "a.jsonl", lines({"prompt": "Hi", "completion": "No", "label": False}), "preference", 0,
         ("format",), True),
    Case("plain text column", "a.jsonl",
         lines({"text": "Once upon a time."}), "text", first={"text": "Once upon a time."}),
    Case("messages", "a.jsonl", lines({"messages": CHAT}), "messages", first=HI_ROW),
    Case("messages as JSON string", "a.jsonl", lines({"messages": json.dumps(CHAT)}), "messages", first=HI_ROW),
    Case("messages in a column of another name", "a.jsonl", lines({"log": CHAT}), "messages", first=HI_ROW),
    Case("content in parts", "a.jsonl",
         lines({"messages": [{"role": "user", "content": IMAGE[:1]}, CHAT[1]]}), "messages"),
    Case("images", "a.jsonl", lines({"messages": CHAT}, {"messages": [{"role": "user", "content": IMAGE}, CHAT[1]]}),
         "messages", found=("image_lost",)),
    Case("tool calls", "a.jsonl",
         lines({"messages": [CHAT[0], CALL, {"role": "tool", "content": "noon"}, CHAT[1]], "tools": [{"name": "c"}]}),
         "messages"),
    Case("system-only row", "a.jsonl", lines({"messages": CHAT}, {"messages": [SYSTEM]}), "messages",
         found=("system_only",)),
    Case("question without answer", "a.jsonl", lines({"messages": CHAT}, {"messages": CHAT[:1]}), "messages",
         found=("no_answer",)),
    Case("unknown role", "a.jsonl",
         lines({"messages": CHAT}, {"messages": [*CHAT, {"role": "narrator", "content": "x"}]}),
         "messages", found=("role",)),
    Case("user speaks twice", "a.jsonl", lines({"messages": [CHAT[0], *CHAT]}), "messages", found=("unbalanced",)),
    Case("ends with the user", "a.jsonl", lines({"messages": [*CHAT, CHAT[0]]}), "messages", found=("no_last_answer",)),
    Case("late system prompt", "a.jsonl", lines({"messages": [CHAT[0], SYSTEM, CHAT[1]]}), "messages",
         found=("system_late",)),
    Case("ShareGPT", "a.json", json.dumps([{"conversations": SHARE}]).encode(), "sharegpt", first=HI_ROW),
    Case("ShareGPT with a system column", "a.jsonl", lines({"system": "Be brief.", "conversations": SHARE}), "sharegpt",
         first={"messages": [SYSTEM, *CHAT]}),
    Case("JSON list", "a.json", json.dumps(pairs(3), indent=2).encode(), rows=3),
    Case("JSON list of 100k rows", "a.json", json.dumps(pairs(100_000)).encode(), rows=100_000),
    Case("JSON list with a trailing comma", "a.json", json.dumps(pairs(3)).encode()[:-1] + b",\n]", rows=3),
    Case("JSON list named .jsonl", "a.jsonl", json.dumps(pairs(3)).encode(), rows=3),
    Case("JSON lines named .json", "a.json", lines(*pairs(3)), rows=3),
    Case("one object that wraps a list", "a.json", json.dumps({"version": 1, "data": pairs(3)}).encode(), rows=3),
    Case("one object of splits", "a.json", json.dumps({"test": pairs(2), "train": pairs(3)}).encode(), rows=3),
    Case("one object over many lines", "a.json", json.dumps(QA, indent=2).encode()),
    Case("objects over many lines, one after the other", "a.json",
         b"\n".join(json.dumps(row, indent=2).encode() for row in pairs(3)), rows=3),
    Case("one chat", "a.json", json.dumps({"messages": CHAT}, indent=1).encode(), "messages", first=HI_ROW),
    Case("JSON list that breaks off", "a.json", json.dumps(pairs(3))[:-9].encode(), rows=2, found=("unreadable",),
         stops=True),
    Case("JSON list broken in the middle", "a.json", json.dumps(pairs(3)).replace("}, {", "} {{", 1).encode(), rows=1,
         found=("unreadable",), stops=True),
    Case("Latin-1 JSON", "a.json", json.dumps([CAFE], ensure_ascii=False).encode("latin-1"), found=("encoding",),
         first=CAFE_ROW),
    Case("CSV with quotes and newlines", "a.csv",
         b'question,answer\n"Why ""so""?\nTell me",Because\nHow?,"Like, this"\n',
         rows=2, first={"messages": [{"role": "user", "content": 'Why "so"?\nTell me'},
                                     {"role": "assistant", "content": "Because"}]}),
    Case("CSV with semicolons", "a.csv", b"question;answer\nWhy?;So, so.\n"),
    Case("CSV from a spreadsheet", "a.csv", "question;answer\r\nOù ?;Là.\r\n".encode("cp1252"), found=("encoding",)),
    Case("CSV with an index", "a.csv", b",question,answer\n0,Why?,So.\n1,How?,So.\n", rows=2),
    Case("CSV with ragged rows", "a.csv", b"question,answer\nWhy?,So.\nHow?\nWho?,I,me\nWhat?,It\nWhen?,Now\n", rows=3,
         found=("bad_line",)),
    Case("CSV with an open quote", "a.csv", b'question,answer\nWhy?,So.\n"How?,So.\nWho?,I\n', rows=1,
         found=("unreadable",), stops=True),
    Case("CSV without names", "a.csv", b"What is two and two?,It is four.\nWhat is one?,One.\n", rows=1,
         found=("unsure", "header")),
    Case("a workbook without names", "a.xlsx",
         workbook(["What is two and two?", "It is four."], ["What is one?", "One."]), found=("unsure", "header")),
    Case("TSV of labels without names", "a.tsv",
         "".join(f"{'ham' if n % 3 else 'spam'}\tGo to point {n}, please..\n" for n in range(31)).encode(), rows=30,
         found=("unsure", "header"), first={"messages": [{"role": "user", "content": "Go to point 1, please.."},
                                                {"role": "assistant", "content": "ham"}]}),
    Case("CSV with chats", "a.csv", b'messages\n"' + json.dumps(CHAT).replace('"', '""').encode() + b'"\n', "messages",
         first=HI_ROW),
    Case("TSV", "a.tsv", b"question\tanswer\nWhy, oh why?\tSo.\n"),
    Case("Parquet", "a.parquet", parquet(*pairs(3)), rows=3),
    Case("Parquet with nested lists", "a.parquet", parquet({"messages": CHAT}), "messages", first=HI_ROW),
    Case("Parquet with a struct of lists", "a.parquet",
         parquet({"conversations": {"from": ["human", "gpt"], "value": ["Hi", "Hello"]}}), "sharegpt", first=HI_ROW),
    Case("Parquet without rows", "a.parquet", parquet({"question": "x", "answer": "y"})[:0] + parquet(), "unknown", 0,
         ("too_few",), True),
    Case("gzip", "a.jsonl.gz", gzip.compress(lines(*pairs(3)), mtime=0), rows=3),
    Case("gzip without the suffix", "a.jsonl", gzip.compress(lines(*pairs(3)), mtime=0), rows=3),
    Case("zstd", "a.csv.zst", zstd(b"question,answer\nWhy?,So.\n")),
    Case("text", "a.txt",
         b"One line.\n\nAnother paragraph.\n", "text", first={"text": "One line.\n\nAnother paragraph."}),
    Case("long text", "a.md", " ".join(map(str, range(3000))).encode(), "text", 4),
    Case("CSV with a line for Excel", "a.csv", b"sep=;\nquestion;answer\nWhy?;So.\n"),
    Case("CSV without its empty last fields", "a.csv", b"question,answer,notes\nWhy?,So.\nHow?,So,\n", rows=2),
    Case("CSV with two columns of one name", "a.csv", b"question,answer,notes,notes\nWhy?,So.,,\n"),
    Case("CSV with quotes behind a backslash", "a.csv", b'question,answer\n"Say \\"x\\"","So."\nWhy?,So.\nHow?,So.\n',
         rows=2, found=("bad_line",)),
    Case("CSV with a backslash at the end", "a.csv", b'question,answer\n"Where?","C:\\plans\\"\n',
         first={"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "C:\\plans\\"}]}),
    Case("CSV with questions as names", "a.csv",
         b"When,What did they ask us today?,What shall we say?\n" + b"2024-05-01,Why is it so?,It is not.\n" * 3,
         rows=3, found=("unsure", "duplicate")),
    Case("TSV whose quotes come late and are no marks", "a.tsv",
         "".join(["question\tanswer\n", *(f"Why {n}?\tSo {n}.\n" for n in range(400)), '"Well, who?\tShe.\n']).encode(),
         rows=401),
    Case("TSV without quoting", "a.tsv", b'question\tanswer\n"So" he said?\tyes\n"No" they said?\tno\n', rows=2,
         first={"messages": [{"role": "user", "content": '"So" he said?'}, {"role": "assistant", "content": "yes"}]}),
    Case("JSON lines named .txt", "a.txt", lines(*pairs(3)), rows=3),
    Case("JSON lines named .csv", "a.csv", lines(*pairs(3)), rows=3),
    Case("a JSON list named .md", "a.md", json.dumps(pairs(3), indent=2).encode(), rows=3),
    Case("text that begins with a bracket", "a.txt", b"[Scene 1]\n\nANN: Hi.\n", "text",
         first={"text": "[Scene 1]\n\nANN: Hi."}),
    Case("lines that Python wrote", "a.jsonl", f"{QA}\n{CAFE}\n".encode(), rows=2, found=("repaired",)),
    Case("chats that Python wrote in CSV", "a.csv", b'messages\n"' + str(CHAT).encode() + b'"\n', "messages",
         first=HI_ROW),
    Case("lists of turns", "a.json", json.dumps([CHAT, CHAT[:1] + CHAT[1:]]).encode(), "messages", 2,
         ("duplicate",), first=HI_ROW),
    Case("lists of turns, a line each", "a.jsonl", lines(SHARE, SHARE), "sharegpt", 2, ("duplicate",), first=HI_ROW),
    Case("pandas: columns", "a.json",
         json.dumps({"question": {"0": "Why?", "1": "How?"}, "answer": {"0": "So.", "1": "So!"}}).encode(), rows=2),
    Case("pandas: index", "a.json", json.dumps({"0": QA, "1": CAFE}).encode(), rows=2),
    Case("pandas: split", "a.json",
         json.dumps({"columns": ["question", "answer"], "index": [0], "data": [["Why?", "So."]]}).encode()),
    Case("a list a column", "a.json", json.dumps({"question": ["Why?", "How?"], "answer": ["So.", "So!"]}).encode(),
         rows=2),
    Case("rows as the Hub's viewer shows them", "a.json",
         json.dumps({"features": [{"name": "question"}], "rows": [{"row_idx": 0, "row": CAFE}]}).encode()),
    Case("rows deep in an object", "a.json", json.dumps({"name": "x", "result": {"items": pairs(3)}}).encode(), rows=3),
    Case("rows of turns in an object", "a.json",
         json.dumps({"name": "my set", "conversations": [{"messages": CHAT}] * 2}).encode(), "messages", 2,
         ("duplicate",)),
    Case("a chat of pairs", "a.json", json.dumps({"conversation": [{"input": "Hi", "output": "Hello"}]}).encode(),
         "messages", first=HI_ROW),
    Case("Parquet of bytes", "a.parquet", parquet({"question": b"Why?", "answer": b"So."})),
    Case("Parquet with decimals and dates", "a.parquet",
         parquet({"question": "How much?", "answer": Decimal("1.50"), "on": date(2024, 1, 2)}),
         first={"messages": [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "1.50"}]}),
    Case("Parquet with a time beyond the year 9999", "a.parquet", far_times()),
    Case("Excel", "a.xlsx", workbook(["nr", "question", "answer"], [1, "Why?", "So."]),
         first={"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}),
    Case("Excel named .csv", "a.csv", workbook(["question", "answer"], ["Why?", "So."])),
    Case("zip", "a.zip", zipped({"d/train.jsonl": lines(*pairs(3)), "d/test.jsonl": lines(QA), "README.md": b"x"}),
         rows=3),
    Case("an answer that is marked", "a.jsonl",
         lines({"messages": [*CHAT, CHAT[0], {**CHAT[1], "weight": 0}]}), "messages", found=("marked",)),
    Case("an empty answer in a chat", "a.jsonl",
         lines({"messages": [CHAT[0], {**CHAT[1], "content": ""}, *CHAT]}), "messages", found=("empty_turn",)),
    Case("an answer that refuses", "a.jsonl", lines({**QA, "answer": "I'm sorry, but I can't."}), found=("refusal",)),
    Case("labels of which one stands nearly everywhere", "a.jsonl",
         lines(*({"question": f"Is {n} even?", "answer": "no" if n % 9 else "yes"} for n in range(40))), rows=40,
         found=("one_sided",)),
    Case("addresses of nobody", "a.jsonl", lines({**QA, "answer": "write to help@example.com"})),
)  # fmt: skip
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 9\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>404</body></html>\n"
REFUSED = (
    ("a.txt", b"%PDF-1.7\n1 0 obj\n", "is a PDF"),
    ("a.csv", b"SQLite format 3\0" + bytes(80), "is an SQLite database"),
    ("a.txt", bytes(range(256)) * 8, "is not text"),
    ("a.ods", b"PK\x03\x04", ".ods is not a kind of file"),
    ("a.docx", b"PK\x03\x04", "plain text or Markdown"),
    ("missing.jsonl", None, "no file or folder"),
    *(
        (f"a.{suffix}", POINTER, "Git LFS pointer")
        for suffix in ("csv", "tsv", "json", "jsonl", "parquet", "txt", "md")
    ),
    *((f"a.{suffix}", PAGE, "web page") for suffix in ("csv", "tsv", "json", "jsonl", "parquet", "txt")),
    ("a.csv", b"<?xml version='1.0'?><Error/>", "is XML"),
    ("a.xlsx", two_sheets(), "rows in 2 sheets; its sheets are FAQ, Old"),
    ("a.zip", zipped({"a.pdf": b"x"}), "Convert it to text"),
    ("a.zip", b"PK\x03\x04", "Unpack it"),
    ("a.xlsx", b"PK\x03\x04", "CSV"),
    ("a.jsonl.gz", gzip.compress(lines(*pairs(500)), mtime=0)[:40], "cut off or damaged"),
    ("a.jsonl.gz", b"\x1f\x8bgarbage", "cut off or damaged"),
    ("a.jsonl.zst", zstd(lines(*pairs(500)))[:60], "cut off or damaged"),
    ("a.parquet", parquet(QA)[:50], "whole Parquet"),
    ("a.parquet", b"hello", "not a Parquet file"),
    ("a.csv", b"question,answer\rWhy?,So.\r", "carriage return"),
    ("a.csv", b"question,question\nWhy?,So.\n", "two columns"),
)


def kinds_of(path: Path) -> tuple[list[str], Any]:
    report = inspect(Data(source=str(path)))
    return [finding.kind for finding in report.problems if finding.kind != "few"], report


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_file_has_its_outcome(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.file
    path.write_bytes(case.content)

    kinds, report = kinds_of(path)

    assert (report.format, report.rows, tuple(kinds)) == (case.format, case.rows, case.found)
    assert report.rows_counted
    assert report.can_train is not case.stops
    if case.first is not None:
        assert report.preview[0] == case.first


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_training_gets_what_the_report_counts_or_refuses(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.file
    path.write_bytes(case.content)
    report = inspect(Data(source=str(path)), sample=10)
    skipped: list[Problem] = []

    if case.stops:
        with pytest.raises(UserError):
            list(rows(Data(source=str(path)), on_skip=skipped.append))
        return
    got = list(rows(Data(source=str(path)), on_skip=skipped.append))

    assert len(got) == case.rows
    assert tuple(got[:10]) == report.preview
    assert len(skipped) == report.rows_read - len(got) or case.name == "alpaca with instances"
    assert all(problem.where and problem.text for problem in skipped)


@pytest.mark.parametrize(("file", "content", "said"), REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    file: str, content: bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        inspect(Data(source=str(path)))
    assert refused.value.hint


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("~nobody-here/a.jsonl", "There is no file or folder ~nobody-here/a.jsonl"),
        ("x" * 5000, "can't be reached: File name too long"),
    ],
)
def test_a_name_that_no_path_can_have_is_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        inspect(Data(source=name))


def test_a_header_that_looks_like_a_row_is_told_of_the_file_however_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("What is it?,It is a cat.\n" + "".join(f"q{n},a{n}\n" for n in range(CLOSE_ROWS + 10)))
    found = next(each for each in inspect(Data(source=str(path))).problems if each.kind == "header")
    assert found.problem.text == "The first line looks like a row, not like names of columns."


def test_the_table_holds_at_least_forty_files() -> None:
    assert len(CASES) + len(REFUSED) >= 40


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        (b"hello\nworld\n", "Fix or remove them."),
        (lines(QA) + b"\0\0\n\0\0\n", "Fix or remove them."),
        (lines({**QA, "answer": ""}), "Fix them, or map the columns: data.columns."),
        (lines({"messages": [{"role": "nobody", "content": "Hi"}]}), "Use system, user, assistant."),
    ],
)
def test_what_is_to_be_done_about_too_few_rows_fits_what_is_wrong_with_them(
    content: bytes, fix: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    found = next(each for each in inspect(Data(source=str(path))).problems if each.kind == "too_few")
    assert found.problem.fix == fix
    with pytest.raises(BadInput) as refused:
        list(rows(Data(source=str(path))))
    assert fix in str(refused.value)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**64, -(2**63) - 1])
def test_numbers_that_64_bits_dont_hold_end_no_split(tmp_path: Path, name: str, number: int) -> None:
    called = [{"type": "function", "function": {"name": "count", "arguments": {"to": number}}}]
    row = {"messages": [CHAT[0], {"role": "assistant", "content": "", "tool_calls": called}]}
    (tmp_path / name).write_text(json.dumps([row, row] if name == "a.json" else row) + "\n")
    found = list(rows(Data(source=str(tmp_path / name))))
    assert found
    learnt, held_out = split(found, 0.5, 0)
    assert sorted(learnt + held_out) == list(range(len(found)))
