"""How long a command takes to start, beyond importing torch and lightning: `--help`, `fit --help`, and `fit` to its first step.

    python benchmarks/startup.py           # three of each
    python benchmarks/startup.py --quick   # one of each

Each is a process of its own; they run in turn. `fit` runs the default job up to its first step, without the scores that its report
takes of student and teacher before training; first with ψ at random, then as it is, with ψ fitted to vectors of 384 texts.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

IMPORTS = "import torch, lightning.pytorch"
FIRST_STEP = """
import os, sys
from lightning_embed.module import EmbeddingModule
EmbeddingModule.on_train_batch_start = lambda *_: os._exit(0)
from lightning_embed.__main__ import main
main(["fit", "--report.enabled", "false", "--trainer.default_root_dir", *sys.argv[1:]])
"""
AIMS = {"--help": 0.5, "fit --help": 0.5, "fit, to the first step": 3.0, "the same, ψ fitted": None}


def rows(quick: bool) -> list[dict[str, float | str | None]]:
    """What each takes beyond the imports, in seconds.

    Args:
        quick: Each only once.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "imports": ["-c", IMPORTS],
            "--help": ["-m", "lightning_embed", "--help"],
            "fit --help": ["-m", "lightning_embed", "fit", "--help"],
            "fit, to the first step": ["-c", FIRST_STEP, folder, "--model.projection.start", "random"],
            "the same, ψ fitted": ["-c", FIRST_STEP, folder],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(2 if quick else 4):  # the first round fills the disk's cache and makes the default data
            for name, words in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *words], check=True, capture_output=True)
                if number:
                    taken[name].append(time.perf_counter() - start)
    base = statistics.median(taken["imports"])
    return [
        {"work": name, "imports": base, "beyond": statistics.median(taken[name]) - base, "aim": aim}
        for name, aim in AIMS.items()
    ]


def table(found: list[dict[str, float | str | None]]) -> str:
    """As Markdown.

    Args:
        found: What `rows` gave.
    """
    lines = ["| start | imports alone: s | beyond them: s | aim |", "|---|---|---|---|"]
    lines += [f"| {row['work']} | {row['imports']:.1f} | {row['beyond']:+.1f} | {row['aim'] or ''} |" for row in found]
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(table(rows(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
