"""Opening and streaming what people have: each file is read as numbered raw rows, bad ones as Problems."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from core.errors import Problem, UserError


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Each row of a file with its line (from 1), in order. Raises UserError where the file can't be read."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".json":
                for number, row in enumerate(orjson.loads(file.read()), 1):
                    yield number, row
                return
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    yield number, Problem(f"{path.name}:{number}", f"is not valid JSON: {error}.")
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.", "Check the path.") from None
