"""How a run of several processes ends when one of them fails: the error is reported once, and no process waits for another.

The first that fails puts its exit code into a file of the run's folder, reports its error, and stays until the others have seen the file.
Each of them looks for it all the while, even where it waits in an exchange that will never end, and exits silently.
"""

import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import lightning.pytorch as L

from lightning_embed.distributed.collectives import rank, world_size
from lightning_embed.errors import exit_code

RUN_FOLDER = "LIGHTNING_EMBED_RUN"
"""Environment variable in which rank 0 gives the run's folder to the processes that it starts."""
NOTE = ".failed"
EVERY = 0.5
"""Seconds between two looks for the file."""
PATIENCE = 5.0
"""Seconds in which the others are to find it, and for which one that lost its connections waits for it."""
STOPPING = 20.0
"""Seconds in which the others are to end when the run is stopped."""
LOST = re.compile(r"gloo|NCCL|Connection (closed|reset)|Broken pipe|TCPStore|Timed out waiting", re.IGNORECASE)


def forget(folder: Path) -> None:
    """Removes what an earlier run of a folder left.

    Args:
        folder: The run's folder.
    """
    (folder / NOTE).unlink(missing_ok=True)


def watch(trainer: L.Trainer) -> None:
    """Has a thread end this process, which is one of several, once another one has failed.

    Args:
        trainer: The run's; its loggers write what they still hold.
    """
    if trainer.num_devices * trainer.num_nodes > 1:
        threading.Thread(target=_watch, args=(trainer,), daemon=True).start()


def _watch(trainer: L.Trainer) -> None:
    while (code := _code_of_the_first()) is None:
        time.sleep(EVERY)
    for logger in trainer.loggers:
        with suppress(Exception):
            logger.finalize("failed")
    _leave(code)


def is_one_of_several() -> bool:
    """Whether this process is a rank among others, or is about to be."""
    return "LOCAL_RANK" in os.environ or world_size() > 1


def leave_after(error: Exception, message: str | None, started: Iterable[subprocess.Popen[bytes]]) -> NoReturn:
    """Ends this process, one of several: reports its error if it is the first that failed, and waits for nobody.

    Args:
        error: What was raised.
        message: The error in one line, if it is a user's mistake or the machine's refusal; None: its traceback is printed.
        started: Processes that this one started; they are killed if they are there still.
    """
    if message is None and isinstance(error, RuntimeError) and LOST.search(str(error)):
        until = time.monotonic() + PATIENCE
        while _code_of_the_first() is None and time.monotonic() < until:
            time.sleep(EVERY)
        message = (
            f"rank {rank()} lost the others: one of them ended without an error message (killed, or out of memory?)"
        )
    code = 1 if message is None else exit_code(error)
    if not _is_first(code):
        _leave(_code_of_the_first() or code)
    if message is None:
        traceback.print_exception(error)
    else:
        print(f"error: {message}", file=sys.stderr, flush=True)
    time.sleep(PATIENCE)
    for process in started:
        process.kill()
    with suppress(OSError, KeyError):
        forget(Path(os.environ[RUN_FOLDER]))
    _leave(code)


def end_others(started: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ends the processes that this one started, which a signal asked to stop, and waits for them.

    Args:
        started: They save what they have first.
    """
    for process in (started := list(started)):
        process.terminate()
    until = time.monotonic() + STOPPING
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0, until - time.monotonic()))
        process.kill()


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter's own end would wait for exchanges that nobody takes part in


def _is_first(code: int) -> bool:
    """Whether no other process of the run has failed before; from now on, one has."""
    folder = os.environ.get(RUN_FOLDER)
    if folder is None:
        return True
    try:
        part = Path(folder) / f"{NOTE}.{rank()}"
        part.write_text(str(code))
        os.link(part, Path(folder) / NOTE)  # not utils.atomic: whole, but only if there is none, and known at once
        part.unlink()
    except FileExistsError:
        part.unlink(missing_ok=True)
        return False
    except OSError:  # a full disk, a folder that is gone, one without links
        return True
    return True


def _code_of_the_first() -> int | None:
    """The exit code of the process that failed first; None while none has."""
    try:
        return int((Path(os.environ[RUN_FOLDER]) / NOTE).read_text())
    except (OSError, ValueError, KeyError):
        return None
