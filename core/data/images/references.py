"""An image of a row as one text: its path, or a data URL with its bytes. Pure: no IO."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from fitune.core.data.values import Skip, decoded, kind_name

IMAGE_FILE = re.compile(r"data:image/|\S.*\.(?:png|jpe?g|gif|webp|bmp|tiff?)$", re.IGNORECASE)
"""The name of an image's file, or the beginning of a data URL with one."""
BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[0-3])[A-Za-z0-9+/\s]{60,}={0,2}\s*$")
"""The bytes of an image in letters: PNG, JPEG, GIF, WebP, BMP."""
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
"""The first bytes of images; those of WebP are RIFF....WEBP."""
INNER = ("bytes", "data", "base64", "path", "url", "image_url", "image", "source", "file_name")
"""Keys of an object that stands for an image, the better ones first."""


def references(value: Any) -> list[str]:
    """The images in the value of a column: one, or a list of them. Raises Skip for what is no image."""
    value = decoded(value)
    if value is None or value == "" or value != value:
        return []
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    return [reference(value)]


def reference(value: Any) -> str:
    """One image: a path, a data URL, bytes, or an object with one of them. Raises Skip."""
    if isinstance(value, bytes):
        return f"data:;base64,{base64.b64encode(value).decode()}"
    if isinstance(value, str) and value.strip():
        return f"data:;base64,{value}" if BASE64.match(value) else value.strip()
    if isinstance(value, Mapping):
        inner = next((value[key] for key in INNER if value.get(key)), None)
        if inner is not None:
            is_bare = isinstance(inner, str) and ("data" in value or "base64" in value) and inner[:5] != "data:"
            return f"data:;base64,{inner}" if is_bare else reference(inner)
    raise Skip("image_broken", f"has {kind_name(value)} where an image belongs.")


def is_image(value: Any) -> bool:
    """True if a value is an image by its looks: its bytes, the end of its name, or an object with one of them."""
    if isinstance(value, bytes):
        return value.startswith(MAGIC) or (value[:4] == b"RIFF" and value[8:12] == b"WEBP")
    if isinstance(value, str):
        return bool(IMAGE_FILE.match(value) or BASE64.match(value))
    if isinstance(value, Mapping):
        return any(is_image(value[key]) for key in INNER if value.get(key))
    return isinstance(value, list) and bool(value) and is_image(value[0])


def is_embedded(image: str) -> bool:
    """True for a data URL, whose bytes stand in the row."""
    return image.startswith("data:")


def name_of(image: str) -> str:
    """An image as a person is told of it."""
    return "the image in the row" if is_embedded(image) else f"the image {image}"
