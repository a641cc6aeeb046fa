"""The files of images: found where the rows say, judged by their headers, and decoded by the worker alone."""

import base64
import binascii
import io
import os
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fitune.core.data.files.listing import SourceFile
from fitune.core.data.images.references import is_embedded, name_of
from fitune.core.data.values import Row, Skip

Convert = Callable[[Row], list[Row]]
MOST_PIXELS = 80_000_000
"""A larger image is refused unseen: decoded it takes 240 MB, and a small file may claim any size."""
MOST_BYTES = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Those that are read. Others need programs beside Pillow, or are no photographs."""
URL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")


def beside(convert: Convert, file: SourceFile, image_folder: str | None) -> Convert:
    """`convert`, with the images of its rows found and judged. Their paths count from the data file's folder, or from
    data.image_folder. The returned function raises Skip for a row with an image that can't be used."""
    inside = file.member and not image_folder

    def found(row: Row) -> list[Row]:
        made = convert(row)
        for each in made:
            if "images" in each:
                folder = None if inside else Path(os.path.expanduser(image_folder) if image_folder else folder_of())
                each["images"] = [located(image, folder) for image in each["images"]]
                for image in each["images"]:
                    size_of(image)
        return made

    @cache
    def folder_of() -> Path:
        return file.fetch().parent

    return found


def located(image: str, folder: Path | None) -> str:
    """The path of an image in a folder or below; a data URL as it is. folder: None for rows in an archive."""
    if is_embedded(image):
        return image
    if URL.match(image):
        raise Skip("image_url", f"{name_of(image)} is an address on the web.")
    if folder is None:
        raise Skip("image_lost", f"{name_of(image)} can't be read out of an archive.")
    top = os.path.abspath(folder)
    path = os.path.normpath(os.path.join(top, image.removeprefix("file://")))
    if os.path.commonpath((top, path)) != top:
        raise Skip("image_outside", f"{name_of(image)} lies outside {top}.")
    return path


def size_of(image: str) -> tuple[int, int]:
    """Width and height in pixels as the header tells: nothing is decoded. Raises Skip for what is no image."""
    with _opened(image) as opened:
        width, height = opened.size
        return width, height


def fitted(size: tuple[int, int], most_pixels: int) -> tuple[int, int]:
    """The size that an image of this size is made smaller to, so that it has at most `most_pixels`."""
    width, height = size
    scale = min(1.0, (most_pixels / (width * height)) ** 0.5)
    return max(1, int(width * scale)), max(1, int(height * scale))


def decoded_image(image: str, most_pixels: int) -> Any:
    """The image in red, green and blue, upright, with at most so many pixels. Raises Skip for a damaged file."""
    from PIL import ImageOps

    with _opened(image) as opened:
        width, height = fitted(opened.size, most_pixels)
        opened.draft(None, (2 * width, 2 * height))  # JPEG is decoded sooner at a half or a quarter of its size
        try:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        except Exception as error:  # whatever a codec makes of damaged bytes
            raise Skip("image_broken", f"{name_of(image)} is damaged: {error}.") from None
    wanted = fitted(upright.size, most_pixels)
    return upright if wanted == upright.size else upright.resize(wanted)


def _opened(image: str) -> Any:
    """The image with its header read, and nothing decoded. Raises Skip."""
    pillow = _pillow()
    try:
        opened = pillow.open(io.BytesIO(_bytes_of(image)) if is_embedded(image) else _file(image), formats=FORMATS)
    except Skip:
        raise
    except OSError as error:
        if error.errno:
            raise Skip("image_lost", f"{name_of(image)} can't be read: {error.strerror}.") from None
        raise Skip("image_broken", f"{name_of(image)} is none of {', '.join(FORMATS)}, or is damaged.") from None
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise Skip("image_large", f"{name_of(image)} has more than {MOST_PIXELS:,} pixels.") from None
    except Exception as error:  # whatever a codec makes of damaged bytes
        raise Skip("image_broken", f"{name_of(image)} can't be read: {error}.") from None
    width, height = opened.size
    if width * height > MOST_PIXELS or width * height == 0:
        opened.close()
        raise Skip("image_large", f"{name_of(image)} has {width} x {height} pixels.")
    return opened


def _file(path: str) -> str:
    if not os.path.isfile(path):
        raise Skip("image_lost", f"{name_of(path)} is {'no file' if os.path.exists(path) else 'not there'}.")
    if (size := os.path.getsize(path)) > MOST_BYTES:
        raise Skip("image_large", f"{name_of(path)} has {size:,} bytes.")
    return path


def _bytes_of(image: str) -> bytes:
    _, _, letters = image.partition(",")
    if len(letters) > MOST_BYTES * 4 // 3:
        raise Skip("image_large", f"{name_of(image)} has {len(letters) * 3 // 4:,} bytes.")
    try:
        return base64.b64decode("".join(letters.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Skip("image_broken", "the image in the row is not base64.") from None


@cache
def _pillow() -> Any:
    """The library, silent about what it repairs, and with an error for what is too large."""
    from PIL import Image

    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image
