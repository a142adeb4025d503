"""Processes that are forked from a server which has imported what they need: a new Python takes seconds of processor for that."""

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch.multiprocessing as mp

NEEDED = [
    "lightning_embed.cli.fit",
    "lightning_embed.testing",
    "datasets",
    "transformers.models.bert.modeling_bert",
    "transformers.models.qwen3.modeling_qwen3",
]


def start_server() -> None:
    """Starts the server of this process, unless it runs."""
    multiprocessing.set_forkserver_preload(NEEDED)
    forkserver.ensure_running()


def run_ranks(function: Callable[..., None], arguments: tuple[Any, ...], world: int) -> None:
    """Runs `function(rank, *arguments)` in a process for each rank; an exception in one is raised here."""
    start_server()
    mp.start_processes(function, arguments, nprocs=world, start_method="forkserver")


class Command:
    """A command that runs in a process of its own, with what `subprocess.Popen` has of it."""

    def __init__(
        self,
        words: list[str],
        folder: Path,
        output: Path,
        before: Callable[[], None] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        start_server()
        self.output = output
        arguments = (words, str(folder), str(output), os.environ | (environment or {}), before)
        self._process = multiprocessing.get_context("forkserver").Process(target=_run, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, None]:
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
            raise TimeoutError(self.output.read_text()[-3000:])
        return self.output.read_text(), None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(
    words: list[str], folder: str, output: str, environment: dict[str, str], before: Callable[[], None] | None
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if before is not None:
        before()
    sys.argv = ["lightning_embed"]
    status: Any = 1
    try:
        from lightning_embed.__main__ import main

        main(words)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
