"""Files: regular ones only to read, and writes that appear whole or not at all."""

import errno
import os
import shutil
import stat
import threading
from pathlib import Path

NETWORK_DISKS = ("nfs", "lustre", "gpfs", "beegfs", "cifs", "smb", "ceph", "9p", "afs", "fuse.")
"""How the types of file systems begin that lie on other machines; those of FUSE mostly do."""


def open_file(path: Path) -> int:
    """A descriptor to read a regular file. Raises OSError for anything else: a folder, or a pipe, which would block."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_file(path: Path) -> bytes:
    """The content of a regular file. Raises OSError, as `open_file`."""
    with open(open_file(path), "rb") as file:
        return file.read()


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


def on_network_disk(path: Path) -> bool:
    """True if a file lies on the disk of another machine, where locks may not be seen; False where that is unknown."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return False
    # proc(5): ... major:minor ... - type source options
    kinds = {words[words.index("-") + 1] for words in mounts if words[2] == number}
    return any(kind.startswith(NETWORK_DISKS) for kind in kinds)


def flush(folder: Path) -> None:
    """Flush a folder's files to the disk: else, after a power cut, a renamed folder may hold empty files."""
    for path in (entry for entry in folder.rglob("*") if entry.is_file()):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def replace_folder(aside: Path, path: Path) -> None:
    """Move a finished folder to its path, and remove an older one, also that of a process that was killed meanwhile."""
    old = path.with_name(path.name + ".old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    aside.rename(path)
    shutil.rmtree(old, ignore_errors=True)
