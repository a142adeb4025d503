"""One fit at a time in a folder: a lock on a file in it, which the system takes away when the process ends, however it ends."""

import errno
import fcntl
import os
import socket
from pathlib import Path

from lightning_embed.utils.notes import note

LOCK = ".lock"
_HELD: dict[Path, int] = {}
"""Folders that this process has claimed, and the open files."""


def claim(folder: Path) -> str | None:
    """Claims a folder for this process until it ends or `release` is called.

    Data loaders' processes do not inherit the lock, so none of them keeps it when this process is killed.

    Args:
        folder: An existing folder.

    Returns:
        None, or which other process holds it.
    """
    folder = folder.resolve()
    if folder in _HELD:
        return None
    while True:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace")
            os.close(handle)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return holder or "another process"
            note(f"{folder}: its file system has no locks ({error.strerror}): do not start two runs in it")
            return None
        if _is_still(folder / LOCK, handle):
            break
        os.close(handle)  # its holder removed it meanwhile: what was locked is no file of the folder any more
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _HELD[folder] = handle
    return None


def release(folder: Path | None = None) -> None:
    """Gives up what this process has claimed.

    Args:
        folder: Which folder; None: all.
    """
    for held in [folder.resolve()] if folder is not None else list(_HELD):
        handle = _HELD.pop(held)
        (held / LOCK).unlink(missing_ok=True)
        os.close(handle)


def _is_still(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
