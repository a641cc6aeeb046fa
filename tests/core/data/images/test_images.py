"""Rows with images, as people write them: recognised, their images found beside the file, and bad ones told."""

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data.dataset import inspect, rows
from fitune.core.data.images.chats import with_images
from fitune.core.data.images.files import decoded_image, fitted, size_of
from fitune.core.data.images.references import is_image, references
from fitune.core.data.values import Skip
from fitune.core.errors import BadInput
from fitune.core.recipe import Data

ROWS = 24
ASKED, ANSWERS = "What colour is it?", ("It is red.", "It is green.", "It is blue.")


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with img/0.png to img/23.png."""
    (tmp_path / "img").mkdir()
    for n in range(ROWS):
        (tmp_path / "img" / f"{n}.png").write_bytes(png(("red", "green", "blue")[n % 3], (40 + n, 30)))
    return tmp_path


def write(folder: Path, make: Callable[[int], Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(make(n)) + "\n" for n in range(ROWS)))
    return path


def chat(content: Any, n: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}, {"role": "assistant", "content": ANSWERS[n % 3]}]


def part(n: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"img/{n}.png"}}


FORMS: tuple[tuple[str, Callable[[int], Any]], ...] = (
    ("Oumi", lambda n: {"messages": chat([{"type": "image_path", "content": f"img/{n}.png"},
                                          {"type": "text", "content": ASKED}], n)}),
    ("LLaMA-Factory", lambda n: {"messages": chat(f"<image>{ASKED}", n), "images": [f"img/{n}.png"]}),
    ("LLaVA", lambda n: {"id": n, "image": f"img/{n}.png", "conversations": [
        {"from": "human", "value": f"<image>{ASKED}"}, {"from": "gpt", "value": ANSWERS[n % 3]}]}),
    ("ms-swift", lambda n: {"query": f"<image>{ASKED}", "response": ANSWERS[n % 3], "images": [f"img/{n}.png"]}),
    ("TRL", lambda n: {"images": [f"img/{n}.png"], "completion": chat("", n)[1:],
                       "prompt": chat([{"type": "image"}, {"type": "text", "text": ASKED}], n)[:1]}),
    ("OpenAI", lambda n: {"messages": chat([part(n), {"type": "text", "text": ASKED}], n)}),
    ("Qwen", lambda n: {"messages": chat([{"image": f"img/{n}.png"}, {"text": ASKED}], n)}),
    ("a question with a path", lambda n: {"question": ASKED, "answer": ANSWERS[n % 3], "image": f"img/{n}.png"}),
    ("a path with file://", lambda n: {"question": ASKED, "answer": ANSWERS[n % 3], "image": f"file://img/{n}.png"}),
    ("an object with a path", lambda n: {"question": ASKED, "answer": ANSWERS[n % 3],
                                         "image": {"path": f"img/{n}.png", "bytes": None}}),
    ("prompt and completion", lambda n: {"prompt": ASKED, "completion": ANSWERS[n % 3], "image": f"img/{n}.png"}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make"), FORMS, ids=[name for name, _ in FORMS])
def test_each_way_to_write_an_image_makes_the_same_row(name: str, make: Callable[[int], Any], folder: Path) -> None:
    data = Data(source=str(write(folder, make)))
    report = inspect(data)
    assert (report.can_train, report.sure, report.rows, report.image_rows) == (True, True, ROWS, ROWS)
    assert list(rows(data)) == [
        {"messages": chat(f"<image>{ASKED}", n), "images": [str(folder / "img" / f"{n}.png")]} for n in range(ROWS)
    ]


def test_names_of_files_may_have_spaces_whatever_the_column_is_called(folder: Path) -> None:
    for n in range(ROWS):
        (folder / "img" / f"{n}.png").rename(folder / "img" / f"Foto vom 3.4. ({n}).png")
    made = write(folder, lambda n: {"Foto": f"img/Foto vom 3.4. ({n}).png", "Frage": ASKED, "Antwort": ANSWERS[n % 3]})
    assert inspect(Data(source=str(made))).image_rows == ROWS
    commands = write(folder, lambda n: {"question": ASKED, "answer": f"convert {n}.jpg {n}.png"}, "commands.jsonl")
    found = inspect(Data(source=str(commands)))
    assert (found.can_train, found.image_rows) == (True, 0), "a sentence that names two files is no file"


def test_bytes_in_parquet_and_data_urls_are_images(folder: Path) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    images = [(folder / "img" / f"{n}.png").read_bytes() for n in range(ROWS)]
    table = [
        {"image": {"bytes": images[n], "path": "x.png"}, "question": ASKED, "answer": ANSWERS[n % 3]}
        for n in range(ROWS)
    ]
    write_table(pyarrow.Table.from_pylist(table), folder / "rows.parquet")
    urls = [f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in images]
    jsonl = write(folder, lambda n: {"messages": chat([{"type": "image_url", "image_url": {"url": urls[n]}}], n)})
    for path in (folder / "rows.parquet", jsonl):
        found = list(rows(Data(source=str(path))))
        assert [size_of(row["images"][0]) for row in found] == [(40 + n, 30) for n in range(ROWS)]


def test_a_caption_is_asked_about(folder: Path) -> None:
    path = write(
        folder, lambda n: {"image": f"img/{n}.png", "text": f"A wall that was painted in house {n} last year."}
    )
    report = inspect(Data(source=str(path)))
    assert (report.sure, dict(report.mapping)) == (False, {"answer": "text", "images": "image"})
    assert "as what is to be said about each" in report.why
    assert next(rows(Data(source=str(path))))["messages"][0] == {"role": "user", "content": "<image>"}


def test_text_rows_between_images_stay_text_rows(folder: Path) -> None:
    def make(n: int) -> dict[str, Any]:
        return {"messages": chat("Why?", n), "images": []} if n < 12 else {
            "messages": chat(f"<image>{ASKED}", n), "images": [f"img/{n}.png"]
        }  # fmt: skip

    found = list(rows(Data(source=str(write(folder, make)))))
    assert ["images" in row for row in found] == [False] * 12 + [True] * 12


def bad(n: int) -> Any:
    named = ["img/none.png", "/etc/hosts.png", "../up.png", "https://x.org/1.png", "img/text.png", "img/huge.png",
             ["img/1.png", "img/2.png"], "img", "data:image/png;base64,!!!", "img/cut.png"]  # fmt: skip
    question = f"<image>{ASKED}" if n == 6 else ASKED
    return {"question": question, "answer": ANSWERS[n % 3], "image": named[n] if n < len(named) else f"img/{n}.png"}


def test_all_bad_images_are_told_by_file_and_row(folder: Path) -> None:
    (folder / "img" / "text.png").write_text("This is no image.")
    parts = (b"IHDR" + struct.pack(">IIBBBBB", 9_500, 9_400, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0"))
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    (folder / "img" / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    (folder / "img" / "cut.png").write_bytes(png()[:10])
    report = inspect(Data(source=str(write(folder, bad))))
    told = {finding.kind: " ".join(finding.places) for finding in report.problems}
    assert report.rows == ROWS - 10
    assert "rows.jsonl:1 the image" in told["image_lost"]
    assert "none.png is not there" in told["image_lost"]
    assert "rows.jsonl:8 the image" in told["image_lost"]
    assert "is no file" in told["image_lost"]
    assert "rows.jsonl:2 the image /etc/hosts.png lies outside" in told["image_outside"]
    assert "rows.jsonl:3 the image ../up.png" in told["image_outside"]
    assert told["image_url"] == "rows.jsonl:4 the image https://x.org/1.png is an address on the web."
    assert told["image_broken"].count("rows.jsonl:") == 3
    assert "rows.jsonl:6 the image" in told["image_large"]
    assert "9500 x 9400 pixels" in told["image_large"]
    assert told["image_count"] == "rows.jsonl:7 marks 1 places for images, and has 2."


def test_where_all_images_are_on_the_web_it_says_what_to_do(folder: Path) -> None:
    path = write(folder, lambda n: {"question": ASKED, "answer": ANSWERS[n % 3], "image_url": f"https://x.org/{n}.png"})
    with pytest.raises(BadInput, match="Download them first"):
        list(rows(Data(source=str(path))))


def test_a_folder_of_images_elsewhere_is_named_in_the_recipe(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data", lambda n: {"question": ASKED, "answer": ANSWERS[n % 3], "image": f"img/{n}.png"})
    with pytest.raises(BadInput, match=r"data\.image_folder"):
        list(rows(Data(source=str(path))))
    found = list(rows(Data(source=str(path), image_folder=str(folder))))
    assert found[0]["images"] == [str(folder / "img" / "0.png")]


def test_a_link_in_the_folder_is_followed(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.png"
    elsewhere.write_bytes(png())
    (folder / "img" / "link.png").symlink_to(elsewhere)
    path = write(folder, lambda n: {"question": ASKED, "answer": ANSWERS[n % 3], "image": "img/link.png"})
    assert inspect(Data(source=str(path))).rows == ROWS


def test_a_pipe_is_no_image(folder: Path) -> None:
    os.mkfifo(folder / "img" / "pipe.png")
    with pytest.raises(Skip, match="is no file"):
        size_of(str(folder / "img" / "pipe.png"))


def test_sound_is_no_image(folder: Path) -> None:
    path = write(folder, lambda n: {"question": ASKED, "answer": ANSWERS[n % 3], "audio": f"a/{n}.wav"})
    report = inspect(Data(source=str(path)))
    assert (report.format, report.can_train) == ("vision", False)


def test_the_same_question_about_two_images_is_no_repetition(folder: Path) -> None:
    path = write(folder, lambda n: {"question": ASKED, "answer": ANSWERS[0], "image": f"img/{n}.png"})
    assert not {"duplicate", "near_duplicate"} & {finding.kind for finding in inspect(Data(source=str(path))).problems}


def test_an_image_is_turned_and_made_smaller(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(path, exif=exif)
    assert size_of(str(path)) == (400, 200)  # as it is stored
    made = decoded_image(str(path), 20_000)
    assert (made.mode, made.size) == ("RGB", fitted((200, 400), 20_000))
    assert made.size == (100, 200)


def test_a_file_that_is_cut_off_is_found_when_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(png(size=(300, 300))[:-200])
    assert size_of(str(path)) == (300, 300)
    with pytest.raises(Skip, match="is damaged"):
        decoded_image(str(path), 10_000)


def test_images_of_parts_and_of_a_column_are_put_in_order() -> None:
    messages = [
        {"role": "user", "content": "One <image> and <image>", "images": ["own.png", None]},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "<image>"},
        {"role": "assistant", "content": "A third, <image>."},
    ]
    made = with_images({"messages": messages}, {"pictures": ["a.png", "b.png"]}, "pictures")
    assert made["images"] == ["own.png", "a.png", "b.png"]
    assert not any("images" in message for message in made["messages"])


@pytest.mark.parametrize(("value", "kinds"), [
    (None, 0), ([], 0), ("a.png", 1), (["a.png", None, {"bytes": b"x"}], 2), ({"path": "a.png", "bytes": None}, 1),
    ('["a.png", "b.png"]', 2), ({"type": "base64", "data": "AAAA"}, 1), ({"url": "a.png"}, 1),
])  # fmt: skip
def test_the_images_in_a_value(value: Any, kinds: int) -> None:
    assert len(references(value)) == kinds


@pytest.mark.parametrize("value", [7, True, {"path": None}, [[1, 2]]])
def test_what_is_no_image_says_so(value: Any) -> None:
    with pytest.raises(Skip, match="where an image belongs"):
        references(value)


def test_images_are_told_from_sound_by_their_first_bytes() -> None:
    assert is_image({"bytes": png(), "path": None})
    assert not is_image({"bytes": b"RIFF\x00\x00\x00\x00WAVEfmt ", "path": None})
    assert not is_image("song.mp3")


def test_a_folder_of_images_is_made_absolute_with_the_sources() -> None:
    data = Data(source="rows.jsonl", image_folder="photos").with_sources(lambda name: f"/here/{name}")
    assert (data.source, data.image_folder) == ("/here/rows.jsonl", "/here/photos")
    assert Data(source="rows.jsonl").with_sources(str.upper).image_folder is None
