"""What a model's processor makes of an image: the text that stands for it in a prompt, and the tensors of its pixels.

The text depends on the image's size alone. It is asked of the processor itself, with a blank image of that size, so
that each family's own rule counts: patches, tiles, marks of rows and of the ends.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from fitune.core.data import numbered
from fitune.core.data.images.chats import MARK
from fitune.core.data.images.files import decoded_image
from fitune.core.data.images.references import name_of
from fitune.core.data.values import Row, Skip
from fitune.core.errors import BadInput, UserError
from fitune.core.recipe import Recipe, not_with_images
from fitune.core.worker.chats.images import RefusedImage

SETTINGS = ("processor_config.json", "preprocessor_config.json")
"""Files that a model which sees has, one of them at least."""
ROWS_AHEAD = 256
TOKENS = ("input_ids", "attention_mask", "text_replacement_offsets")
"""What a processor makes of text."""


class ImageProcessor:
    """The processor of a model that sees, for images of at most so many pixels."""

    mark = MARK

    def __init__(self, processor: Any, most_pixels: int) -> None:
        self.processor, self.most_pixels = processor, most_pixels
        self.token: str = processor.image_token
        """What the chat template writes for an image."""
        self.album: list[str] = []
        """All images that were asked for, in order: rows name them by their place here."""
        self._places: dict[str, int] = {}
        self._threads = ThreadPoolExecutor(thread_name_prefix="images")
        self._texts: dict[tuple[int, int], tuple[str, int]] = {}
        self._sizes: dict[str, tuple[int, int] | RefusedImage] = {}
        _, made = self._asked_with_blank((64, 64))
        self.types_name: str | None = next((name for name in made if name.endswith("token_type_ids")), None)
        """The tensor that says which tokens are of images, where the model takes one."""

    def size_of(self, image: str) -> tuple[int, int]:
        """Width and height in pixels as the processor gets it. The image is decoded once. Raises RefusedImage."""
        self._measure(image)
        if isinstance(size := self._sizes[image], RefusedImage):
            raise size
        return size

    def measured(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows as they come, their images measured ahead by several threads: to decode a photograph takes 0.1 s."""
        remaining = iter(rows)
        while batch := list(islice(remaining, ROWS_AHEAD)):
            list(self._threads.map(self._measure, {image for row in batch for image in row.get("images", ())}))
            yield from batch

    def _measure(self, image: str) -> None:
        if image not in self._sizes:
            try:
                self._sizes[image] = decoded_image(image, self.most_pixels).size
            except Skip as skip:
                self._sizes[image] = RefusedImage(skip.text, "Fix or remove it.")

    def text_of(self, image: str) -> str:
        """What stands for an image in a prompt. Raises RefusedImage for one that can't be decoded."""
        return self._known(image)[0]

    def pixels_of(self, image: str) -> int:
        """The values of an image's pixels, as the model gets them."""
        return self._known(image)[1]

    def _known(self, image: str) -> tuple[str, int]:
        size = self.size_of(image)
        if size not in self._texts:
            try:
                text, made = self._asked_with_blank(size)
                self._texts[size] = text, made["pixel_values"].numel()
            except ValueError as error:  # such as a picture 200 times as wide as high
                why = f"the model's processor refuses {name_of(image)}: {error}"
                raise RefusedImage(why, "Change or remove it.") from None
        return self._texts[size]

    def runs_in(self, ids: Sequence[int], images: Sequence[str]) -> list[tuple[int, int, str]]:
        """The runs of tokens of images among token ids: the first, the end, and a text that says what is seen."""
        own, found, at = set(self.processor.image_token_ids), list[tuple[int, int]](), 0
        for is_image, run in groupby(ids, key=own.__contains__):
            at, first = at + len(list(run)), at
            found += [(first, at)] if is_image else []
        sizes = [self.size_of(image) for image in images] if len(found) == len(images) else []
        texts = [f"image of {width} x {height} pixels: " for width, height in sizes]
        texts = texts or ["part of an image: "] * len(found)  # a family with marks between its tiles
        said = (text + numbered("{n} token[|s]", end - first) for (first, end), text in zip(found, texts, strict=True))
        return [(first, end, text) for (first, end), text in zip(found, said, strict=True)]

    def place_of(self, image: str) -> int:
        """The place of an image in the album."""
        if image not in self._places:
            self._places[image] = len(self.album)
            self.album.append(image)
        return self._places[image]

    def tensors_of(self, rows: Sequence[Sequence[int]], ids: Any) -> dict[str, Any]:
        """What the model gets beside token ids: the pixels of the images of each row, and which tokens are of images.

        rows: places in the album. ids: [rows, tokens], padded.
        """
        import torch

        made = {}
        if seen := [place for row in rows for place in row]:
            decoded = self._threads.map(self._decoded, seen)
            seeing = [[next(decoded) for _ in row] for row in rows if row]
            texts = [self.token * len(images) for images in seeing]
            made = self._made_of(texts, seeing, padding=True)
            made = {name: value for name, value in made.items() if name not in (*TOKENS, self.types_name)}
        if self.types_name:
            made[self.types_name] = torch.tensor(self.processor.create_mm_token_type_ids(ids.tolist()))
        return made

    def _decoded(self, place: int) -> Any:
        try:
            return decoded_image(self.album[place], self.most_pixels)
        except Skip as skip:
            text = f"During the training {skip.text} It was whole when the rows were read."
            raise UserError(text, "Put it back, and resume.") from None

    def _asked_with_blank(self, size: tuple[int, int]) -> tuple[str, dict[str, Any]]:
        """The text that stands for a blank image of this size, and the tensors of it."""
        from PIL import Image

        made = self._made_of([self.token], [[Image.new("RGB", size)]], return_text_replacement_offsets=True)
        return str(made["text_replacement_offsets"][0][0]["replacement"]), made

    def _made_of(self, texts: list[str], images: list[list[Any]], **options: Any) -> dict[str, Any]:
        """What the processor makes of texts with images, as transformers has it: Unsloth puts another call into the
        class of Gemma 3 (unsloth_zoo temporary_patches/gemma.py), which tells no text that stands for an image."""
        from transformers import ProcessorMixin

        asked = {"text": texts, "images": images, "return_tensors": "pt", **options}
        if not type(self.processor).__call__.__module__.startswith("unsloth"):
            return dict(self.processor(**asked))
        made = dict(ProcessorMixin.__call__(self.processor, **asked))
        if "mm_token_type_ids" in made:  # as the class that was patched calls them
            made["token_type_ids"] = made.pop("mm_token_type_ids")
        return made


def of_rows(rows: Iterable[Row], recipe: Recipe, folder: Path) -> ImageProcessor | None:
    """The processor of the model in a folder where rows hold images; None where none does.

    Raises BadInput for settings that are not done with images, and as `load`.
    """
    if not any("images" in row for row in rows):
        return None
    if problems := not_with_images(recipe):
        raise BadInput(problems)
    return load(folder, recipe.data.image_pixels, recipe.model.trust_remote_code)


def sees(folder: Path) -> bool:
    """True if a model's folder has the settings for images."""
    return any((folder / name).is_file() for name in SETTINGS)


def load(folder: Path, most_pixels: int, remote_code: bool) -> ImageProcessor:
    """The processor of the model in a folder. Raises UserError for a model that sees no images, or sees them in a way
    that fitune does not know."""
    from transformers import AutoProcessor, ProcessorMixin

    hint = "Choose a model that sees, such as Qwen3-VL or Gemma 3, or take the images out of the rows."
    if not sees(folder):
        raise UserError("There are images to show, and this model reads text only.", hint)
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=remote_code)
    except ImportError as error:
        raise UserError(f"The model's image processor needs a package: {_first_line(error)}", "Install it.") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The model's image processor can't be loaded: {_first_line(error)}", hint) from None
    if not isinstance(processor, ProcessorMixin) or getattr(processor, "image_processor", None) is None:
        raise UserError("There are images to show, and this model reads text only.", hint)
    try:
        return ImageProcessor(processor, most_pixels)
    except (AttributeError, NotImplementedError, KeyError, IndexError, TypeError, ValueError) as error:
        kind = type(processor).__name__
        raise UserError(f"fitune does not know how {kind} takes images: {_first_line(error)}", hint) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
