"""Runs of `fit` in forks of a server that has imported everything: quick to start, killed at will; each step's rows are written down."""

import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml

from lightning_embed.batch import TokenBatch
from lightning_embed.compat.lightning import batches_done

PATIENCE = 120
"""Seconds without a new step until a run counts as hung."""


class Record(L.Callback):
    """Appends each step's rows and loss to a file, and makes sure that they are on disk.

    Args:
        path: The file; each rank has its own, with its number behind the name.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Writes a line."""
        line = {
            "segment": os.environ.get("SEGMENT", ""),
            "world": trainer.world_size,
            "step": batches_done(trainer) - 1,
            "source": batch.source,
            "rows": sorted(batch.rows),
            "loss": float(outputs["loss"]),
        }
        with open(f"{self.path}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def prepare(work: Callable[[], None], log: Path) -> None:
    """Imports, once for all forks, what a run needs, and lets a fork do the rest.

    Args:
        work: The rest.
        log: What it says.
    """
    import torch

    torch.set_num_threads(1)
    import datasets  # noqa: F401
    import pyarrow.json  # noqa: F401
    import zstandard  # noqa: F401
    from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast  # noqa: F401
    from transformers.models.bert import modeling_bert  # noqa: F401

    import lightning_embed.cli.fit  # noqa: F401

    gc.freeze()
    assert os.waitpid(_forked(work, log), 0)[1] == 0, log.read_text()


def _forked(work: Callable[[], None], log: Path) -> int:
    """Runs something in a fork of this process, in a process group of its own; its process id."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        status = 1
        try:
            with log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            work()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(run: Path, job: dict[str, Any], world: int, segment: str) -> list[int]:
    """Starts or resumes a run; the process ids of its ranks.

    Args:
        run: The run's folder.
        job: Its configuration.
        world: Ranks.
        segment: A name for this part of the run.
    """
    run.mkdir(parents=True, exist_ok=True)
    file = run / f"{segment}.yaml"
    file.write_text(yaml.safe_dump(job))
    words = ["fit", "--config", str(file)]
    if (run / "checkpoints" / "last.ckpt").is_file():
        words += ["--ckpt_path", "last"]
    port = _free_port()

    def rank(number: int) -> None:
        os.environ |= {"LIGHTNING_EMBED_RUN": str(run), "SEGMENT": segment}
        if world > 1:
            os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        from lightning_embed.__main__ import main

        main(words)

    return [_forked(lambda number=number: rank(number), run / f"log.{number}") for number in range(world)]  # type: ignore[misc]


def steps_of(run: Path) -> list[dict[str, Any]]:
    """What was written down so far, whole lines only.

    Args:
        run: The run's folder.
    """
    lines = [line for file in sorted(run.glob("steps.*")) for line in file.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait(
    run: Path, ranks: list[int], kill_after: int | None, lag: float = 0.0, number: int = signal.SIGKILL, rank: int = 0
) -> bool:
    """Waits for the end of a run, or kills or stops it after some more steps; whether it did.

    Args:
        run: The run's folder.
        ranks: Its processes.
        kill_after: Steps; None: it is left to end.
        lag: Seconds from then to the signal.
        number: The signal: SIGKILL for all ranks, or one that asks the run to stop, for one of them and its workers.
        rank: Which one.

    Raises:
        AssertionError: If it fails or hangs.
    """
    before = seen = len(steps_of(run))
    moved, left, asked, codes = time.monotonic(), dict.fromkeys(ranks), False, set()
    try:
        while left:
            for child in list(left):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    left.pop(child)
                    codes.add(code := os.waitstatus_to_exitcode(status))
                    log = run / f"log.{ranks.index(child)}"
                    fine = (0, 128 + number) if asked else (0,)
                    assert code in fine, f"a run failed with code {code}:\n{log.read_text()[-3000:]}"
            now = len(steps_of(run))
            if now > seen:
                seen, moved = now, time.monotonic()
            assert time.monotonic() - moved < PATIENCE, f"a run hangs:\n{(run / 'log.0').read_text()[-3000:]}"
            if (
                len(left) == len(ranks)
                and not asked
                and kill_after is not None
                and now - before >= kill_after * len(ranks)
            ):
                time.sleep(lag)
                if number == signal.SIGKILL:
                    return True
                asked = True
                os.killpg(ranks[rank], number)
            time.sleep(0.005)
        return codes != {0}
    finally:
        for child in left:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
