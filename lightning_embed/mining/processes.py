"""The processes on this machine that share a command's work."""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from lightning_embed.errors import UserError


class Companions:
    """The processes of the other shards, which read the same command line.

    Args:
        run: The command, a function of a module; each process calls it with the arguments and its own `--shard`.
        arguments: What follows the command's name.
        shards: How many processes there are, this one included.
    """

    def __init__(self, run: Callable[[list[str]], None], arguments: list[str], shards: int) -> None:
        self.run, self.arguments, self.shards = run, arguments, shards
        self._started: list[Any] = []
        self._parent = multiprocessing.parent_process()

    def start(self) -> None:
        """Starts them; the processor's cores are shared out."""
        if self.shards == 1:
            return
        threads = max(1, (os.cpu_count() or 1) // self.shards)
        _set_threads(threads)
        context = multiprocessing.get_context("spawn")
        for shard in range(1, self.shards):
            process = context.Process(target=_run, args=(self.run, self.arguments, shard, threads), daemon=True)
            process.start()
            self._started.append(process)

    def alive(self) -> None:
        """Raises if one of them is gone that has not done its share, or, in one of them, if the first is gone."""
        if self._parent is not None and not self._parent.is_alive():
            raise SystemExit(1)
        for number, process in enumerate(self._started, start=1):
            if process.exitcode not in (None, 0):
                raise UserError(
                    f"process {number} of {self.shards} ended with code {process.exitcode}; the same command resumes from here"
                )

    def stop(self) -> None:
        """Ends those that are still there."""
        for process in self._started:
            process.kill()  # blocks are written whole or not at all
            process.join()


def _run(run: Callable[[list[str]], None], arguments: list[str], shard: int, threads: int) -> None:
    os.environ["LOCAL_RANK"] = str(shard)  # notes are for the first to tell
    _set_threads(threads)
    run([*arguments, "--shard", str(shard)])


def _set_threads(threads: int) -> None:
    import faiss
    import torch

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
