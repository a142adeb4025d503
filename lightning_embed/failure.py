"""How a run of several processes ends when one of them fails: the error is told once, and no process waits for another.

The first that fails puts its name into a file of the run's folder. The others fail too, in whatever exchange they were in; they find the
file, and leave without a word. Under torchrun the agents stop what is left; here the first process stops those that it started, and
Lightning's observer stops the first.
"""

import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from lightning_embed.distributed import rank, world_size

RUN_FOLDER = "LIGHTNING_EMBED_RUN"
"""Environment variable by which rank 0 tells the processes that it starts which folder the run has."""
NOTE = ".failed"
PATIENCE = 3.0
"""Seconds to wait for the process whose end tore a connection to say why."""
LOST = re.compile(r"gloo|NCCL|Connection (closed|reset)|Broken pipe|TCPStore|Timed out waiting", re.IGNORECASE)


def is_one_of_several() -> bool:
    """Whether this process is a rank among others, or is about to be."""
    return "LOCAL_RANK" in os.environ or world_size() > 1


def forget(folder: Path) -> None:
    """Removes what an earlier run of a folder left.

    Args:
        folder: The run's folder.
    """
    (folder / NOTE).unlink(missing_ok=True)


def is_first_to_fail(code: int) -> bool:
    """Whether no other process of the run has failed before; from now on, none has.

    Args:
        code: The exit code of the run.
    """
    folder = os.environ.get(RUN_FOLDER)
    if folder is None:
        return True
    try:
        with open(Path(folder) / NOTE, "x") as file:
            file.write(str(code))
    except FileExistsError:
        return False
    except OSError:  # a full disk, a folder that is gone
        return True
    return True


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error says no more than that another process is gone.

    Args:
        error: What was raised.
    """
    return isinstance(error, RuntimeError) and LOST.search(str(error)) is not None


def leave_after(error: Exception, message: str | None, started: Iterable[subprocess.Popen[bytes]]) -> NoReturn:
    """Ends this process, one of several: tells its error if it is the first that failed, and waits for nobody.

    Args:
        error: What was raised.
        message: It in one line, if it is no fault of ours; else its traceback is printed.
        started: Processes that this one started; they are killed.
    """
    if message is None and is_lost_connection(error):
        time.sleep(PATIENCE)
        message = f"rank {rank()} lost the others: one of them ended without a word (killed, or out of memory?)"
    code = 1 if message is None else 2
    if not is_first_to_fail(code):
        code = _first_code(code)
    elif message is None:
        traceback.print_exception(error)
    else:
        print(f"error: {message}", file=sys.stderr)
    for process in started:
        process.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter's own end would wait for exchanges that nobody takes part in


def _first_code(default: int) -> int:
    """The exit code of the process that failed first."""
    try:
        return int((Path(os.environ[RUN_FOLDER]) / NOTE).read_text())
    except (OSError, ValueError, KeyError):
        return default
