"""Files and folders that are whole or not there: written beside their place under a hidden name, then renamed.

A process that is killed leaves at most a hidden `.NAME.partial` or `.NAME.ID.partial`, which nothing reads. Data reach the disk (fsync)
before the rename, so even after a power cut a name leads to its new content, or to its old one.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

STALE_SECONDS = 24 * 3600
"""Seconds without a write after which a partial is taken for one that a killed process left."""
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.(?P<kind>partial|old)")


@contextmanager
def whole_file(file: Path, alone: bool = False) -> Iterator[Path]:
    """Yields a path to write, and puts what was written in place of `file`; a block that raises leaves nothing behind.

    A block that finds that it has nothing to put in place deletes the partial again.

    Args:
        file: Its folder is made if it is missing.
        alone: Whether no other process writes this file at the same time. The partial then always has the same name, so what a killed
            process left is overwritten; else it is deleted a day later.

    Raises:
        OSError: The disk is full, or the like; the old file is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _names(file, alone)
    try:
        yield partial
        if partial.exists():
            _sync(partial)
            _put_in_place(partial, file, old)
    finally:
        partial.unlink(missing_ok=True)
    if not alone:
        delete_stale(file.parent)


@contextmanager
def whole_folder(folder: Path, alone: bool = False, replace: bool = True) -> Iterator[Path]:
    """Yields an empty folder to fill, and puts it in place of `folder`; a block that raises leaves nothing behind.

    A block that finds that it has nothing to put in place deletes the partial again.

    Args:
        folder: Its parent is made if it is missing.
        alone: As for `whole_file`.
        replace: Whether a folder that is there already is replaced; else it stays, and the new one is dropped: of several processes
            that make the same folder, the first wins.

    Raises:
        OSError: The disk is full, or the like; the old folder is as it was.
    """
    partial, old = _names(folder, alone)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        if partial.exists():
            for path in (*partial.rglob("*"), partial):
                _sync(path)
            if replace:
                _put_in_place(partial, folder, old)
            else:
                _put_first(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not alone:
        delete_stale(folder.parent)


def partial_folder(folder: Path) -> Path:
    """The folder that `whole_folder(folder, alone=True)` yields, for the other processes that write into it.

    Args:
        folder: Its place.
    """
    return _names(folder, alone=True)[0]


def write_whole(file: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all.

    Args:
        file: Its folder is made if it is missing.
        content: Bytes, or a text, which becomes UTF-8.

    Raises:
        OSError: It cannot be written; the old file is as it was.
    """
    with whole_file(file) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def save_whole(content: dict[str, Any], file: Path) -> None:
    """Writes a checkpoint whole or not at all.

    Lightning writes into the system's folder of temporary files and moves that, which copies it where it is another file system; a
    process killed meanwhile leaves half a file in place of the last checkpoint.

    Args:
        content: What torch.save takes.
        file: Where; only one process writes it.

    Raises:
        OSError: The disk is full, or the like; nothing is left behind.
    """
    import torch

    with whole_file(file, alone=True) as partial, partial.open("wb") as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:  # torch's zip writer wraps the system's errors
            stem = error.__cause__ or error.__context__
            raise (stem if isinstance(stem, OSError) else error) from None


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if it is there.

    Args:
        path: Where.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_at_once(folder: Path) -> None:
    """Removes a folder so that it is gone at once for whoever looks for it; a process that has its files open keeps them.

    Args:
        folder: Where; it may be gone already.
    """
    hidden, _ = _names(folder, alone=False)
    with suppress(FileNotFoundError):
        os.rename(folder, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def delete_stale(folder: Path) -> None:
    """Deletes what killed processes left in a folder: partials that nobody has written to for a day.

    Args:
        folder: Where to look; not below it.
    """
    with suppress(OSError):  # gone already, or another user's: what is left has time
        for name in os.listdir(folder):
            hidden, left = _HIDDEN.fullmatch(name), folder / name
            if hidden and (hidden["kind"] == "partial" or (folder / hidden["name"]).exists()):
                written = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
                if time.time() - written > STALE_SECONDS:
                    remove(left)


def _names(path: Path, alone: bool) -> tuple[Path, Path]:
    """Where what is to be at a path is written, and where what was there goes."""
    stem = f".{path.name}" if alone else f".{path.name}.{uuid.uuid4().hex[:12]}"
    return path.with_name(f"{stem}.partial"), path.with_name(f"{stem}.old")


def _put_in_place(partial: Path, place: Path, old: Path) -> None:
    if place.is_dir() or (partial.is_dir() and place.exists()):
        remove(old)
        os.rename(place, old)  # no system call of Python's replaces a full folder: for a moment only `old` is there
    try:
        os.replace(partial, place)
    except BaseException:
        if old.exists() and not place.exists():
            os.rename(old, place)
        raise
    remove(old)


def _put_first(partial: Path, folder: Path) -> None:
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():  # else another process was quicker
            raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # not every file system can do it for a folder
            raise
    finally:
        os.close(handle)
