"""Atomic writes: files and folders that appear whole or not at all."""

import os
import shutil
import threading
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a private file that appears whole or not at all, also where several write it at once. Raises OSError."""
    aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}.part")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def flush(folder: Path) -> None:
    """Flush a folder's files to the disk: else, after a power cut, a renamed folder may hold empty files."""
    for path in (entry for entry in folder.rglob("*") if entry.is_file()):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def replace_folder(aside: Path, path: Path) -> None:
    """Move a finished folder to its path, and remove an older one there."""
    if path.exists():
        old = path.with_name(path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        aside.rename(path)
        shutil.rmtree(old)
    else:
        aside.rename(path)
