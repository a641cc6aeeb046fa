"""Files and folders that appear whole or not at all."""

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
    """Have a folder's files on the disk itself: else, after a power cut, one that was renamed may hold empty files."""
    for path in (each for each in folder.rglob("*") if each.is_file()):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def replace_folder(aside: Path, path: Path) -> None:
    """Put a finished folder in its place, over an older one if there is one."""
    if path.exists():
        old = path.with_name(path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        aside.rename(path)
        shutil.rmtree(old)
    else:
        aside.rename(path)
