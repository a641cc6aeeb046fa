"""Random tables: columns of many kinds under names in five languages, in any order, and odd JSON.

Nothing that is no text is ever learned without a question, no table loses the column with most words without a stop,
and nothing that can be written in JSON ends in a traceback.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data import dataset
from fitune.core.data.shapes.recognise import recognise
from fitune.core.errors import UserError
from fitune.core.recipe import Data
from fitune.core.recipe.kinds import DataFormat

WORDS = ("harbour", "pump", "valve", "market", "dawn", "ship", "seal", "repair", "north", "river", "bridge", "carry")
LABELS = ("news", "sport", "art", "spam", "ham")
Draw = Callable[[random.Random, int], Any]


def sentence(draw: random.Random, words: int = 9) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words)).capitalize() + draw.choice(".?!")


def passage(draw: random.Random, sentences: int = 4) -> str:
    return " ".join(sentence(draw) for _ in range(draw.randint(1, sentences)))


NO_WORDS: dict[str, tuple[str, Draw]] = {
    "id": ("id key kennung número 编号 番号 x1", lambda draw, n: draw.choice([n, f"row-{n}", f"A_{n:05d}"])),
    "hash": ("sha checksum hash md5", lambda draw, n: f"{draw.getrandbits(128):032x}"),
    "label": ("label topic kategorie categoría 标签 ラベル", lambda draw, n: draw.choice(LABELS)),
    "path": ("path url datei enlace 链接 where", lambda draw, n: draw.choice([f"docs/{n}.pdf", f"https://a.org/{n}"])),
    "score": ("score rating punkte 得分 スコア", lambda draw, n: draw.choice([draw.random(), draw.randint(1, 5)])),
    "date": ("date datum fecha 日期", lambda draw, n: f"2024-0{n % 9 + 1}-1{n % 9}"),
    "language": ("lang sprache idioma 语言", lambda draw, n: draw.choice(["en", "de", "fr"])),
    "flag": ("flag is_multi geprüft", lambda draw, n: draw.random() < 0.5),
    "count": ("tokens length länge", lambda draw, n: draw.randint(10, 500)),
    "email": ("contact kontakt correo", lambda draw, n: f"user{n}@mail.org"),
    "vector": ("embedding vector", lambda draw, n: [0.1, 0.2]),
    "origin": ("dataset split origin", lambda draw, n: "mine"),
    "version": ("version rev", lambda draw, n: f"1.{n % 3}"),
    "tags": ("tags keywords 标签列表", lambda draw, n: draw.sample(LABELS, 2)),
    "nothing": ("blank remarks", lambda draw, n: draw.choice([None, ""])),
}
TEXTS: dict[str, tuple[str, Draw]] = {
    "question": ("question prompt frage pregunta 问题 質問 col_a", lambda draw, n: sentence(draw)),
    "answer": ("answer output antwort respuesta 答案 回答 col_b", lambda draw, n: passage(draw)),
    "text": ("text body inhalt texto 内容 col_c", lambda draw, n: passage(draw, 6)),
    "context": ("context passage kontext contexto 背景 col_d", lambda draw, n: passage(draw, 6)),
    "summary": ("summary zusammenfassung resumen 摘要 col_e", lambda draw, n: sentence(draw)),
    "reasoning": ("reasoning cot explanation 思考 col_f", lambda draw, n: passage(draw, 5)),
    "title": ("title headline titel 标题", lambda draw, n: sentence(draw, 4)),
    "turns": ("messages dialog gespräch col_g",
              lambda draw, n: [{"role": "user", "content": sentence(draw)},
                               {"role": "assistant", "content": passage(draw)}]),
    "texts": ("conversation turns col_h", lambda draw, n: [sentence(draw), sentence(draw)]),
    "choices": ("choices options", lambda draw, n: [sentence(draw, 4) for _ in range(3)]),
    "object": ("payload record", lambda draw, n: {"a": sentence(draw, 5), "b": n}),
}  # fmt: skip
KINDS = NO_WORDS | TEXTS


def table(draw: random.Random) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Name -> kind of some columns, and rows of them."""
    names = {draw.choice(KINDS[kind][0].split()): kind for kind in draw.sample(sorted(KINDS), draw.randint(1, 6))}
    count = draw.randint(8, 40)
    return names, [{name: KINDS[kind][1](draw, n) for name, kind in names.items()} for n in range(count)]


def words(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if " " in value else 0
    if isinstance(value, dict):
        return sum(map(words, value.values()))
    return sum(map(words, value)) if isinstance(value, list) else 0


def check(seed: int) -> None:
    names, rows = table(random.Random(seed))
    shape = recognise(rows, Data(source="x"))
    if not (shape.is_usable and shape.sure):
        return
    used = {column.partition(".")[0] for column in shape.columns.values()}
    assert not [name for name in used if names[name] in NO_WORDS and names[name] != "nothing"], (seed, shape)
    sums = {name: sum(words(row[name]) for row in rows) for name in names}
    most = max(sums, key=lambda name: sums[name])
    assert most in used or not sums[most], (seed, most, shape)


@pytest.mark.parametrize("block", range(10))
def test_no_column_is_learned_that_holds_no_text_and_none_with_most_words_is_lost(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        check(seed)


@pytest.mark.extra
def test_so_it_is_for_ten_thousand_tables() -> None:
    for seed in range(10_000, 20_000):
        check(seed)


KEYS = (
    "messages", "conversations", "role", "content", "from", "value", "text", "type", "tool_calls", "function",
    "name", "arguments", "chosen", "rejected", "prompt", "completion", "question", "answer", "history", "system",
    "instances", "instruction", "input", "output", "image", "mapping", "parent", "message", "children", "parts",
    "weight", "train", "label", "segments", "translation", "en", "id", "tools", "choices", "body", "thinking",
    "context", "turn_1", "0", "data", "rows", "columns",
)  # fmt: skip
TEXT_VALUES = ("user", "assistant", "Hi there you", "", "[1, 2]", str([{"role": "user"}]), '{"a": 1}', "{'a", "[[[",
               "Human: a\nAssistant: b", "a.png", "text", "true")  # fmt: skip


def odd(draw: random.Random, depth: int = 0) -> Any:
    """Any JSON, of the keys and words that readers look for."""
    kind = draw.random()
    if depth > 4 or kind < 0.25:
        return draw.choice(TEXT_VALUES)
    if kind < 0.35:
        return draw.choice([None, True, 0, 1.5, 2**70])
    if kind < 0.7:
        return {draw.choice(KEYS): odd(draw, depth + 1) for _ in range(draw.randint(0, 4))}
    return [odd(draw, depth + 1) for _ in range(draw.randint(0, 3))]


@pytest.mark.parametrize("seed", range(200))
def test_odd_json_is_reported_and_never_raises_but_a_sentence(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    keys = draw.sample(KEYS, draw.randint(1, 5))
    rows = [{key: odd(draw) for key in keys} for _ in range(draw.randint(1, 8))]
    path = tmp_path / draw.choice(["a.json", "a.jsonl"])
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    try:
        report = dataset.inspect(Data(source=str(path)))
    except UserError:
        return
    assert report.rows_read
    for columns in (*report.candidates, {"messages": keys[0]}, {"question": keys[0], "answer": keys[-1]}):
        assert dataset.inspect(Data(source=str(path), columns=dict(columns))).rows_read
    first, last = keys[0], keys[-1]
    compared: tuple[tuple[DataFormat, dict[str, str]], ...] = (
        ("preference", {}),
        ("preference", {"chosen": first, "rejected": last}),
        ("preference", {"prompt": last, "chosen": first, "rejected": last, "winner": first}),
        ("rated", {}),
        ("rated", {"question": first, "answer": last, "label": first}),
        ("rated", {"chosen": first, "rejected": last}),
    )
    for fmt, names in compared:
        assert dataset.inspect(Data(source=str(path), format=fmt, columns=names)).rows_read
