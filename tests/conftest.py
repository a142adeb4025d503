import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

# toy models gain nothing from threads, and as many workers as cores, each with a thread for every core, wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.toys import toy_folder, toy_pairs  # it loads torch, which reads the variable

# under nohup, or in the background of a script, these are ignored, and so they would be in the processes that tests start
for _number, _handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def notes_are_told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_embed.utils.notes._NOTED", set())


@pytest.fixture(scope="session", autouse=True)
def exports_are_read_in_this_process() -> Iterator[None]:
    """The proof of an export without its new process, which costs 14 s of a core; tests/export has the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_embed.export.folder.read_in_new_process", read_in_this_process)
        yield


def read_in_this_process(
    script: str, folder: Path, texts: Sequence[str], words: Sequence[str], name: str
) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        result = Path(scratch) / "vectors.npz"
        patch.setattr(sys, "argv", ["-c", str(folder), str(result), *words])
        patch.setattr(sys, "stdin", io.StringIO(json.dumps(list(texts))))
        exec(script, {"__name__": "__main__"})
        return dict(np.load(result))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_folder(tmp_path_factory.mktemp("toys") / "teacher", hidden=48, seed=1)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_folder(tmp_path_factory.mktemp("toys") / "student", hidden=32, seed=2)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in toy_pairs(96)))
    return file
