"""`--help` of the commands that take a job: a short page, the settings of one class, or where all settings are.

It answers before anything is loaded that only a run needs; `--help_all` is the parser's own help.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from lightning_embed.errors import UserError
from lightning_embed.utils.program import program

HELP, HELP_ALL = ("-h", "--help"), "--help_all"
ABOUT = {
    "fit": "Trains a student from a teacher; without arguments: the default job, on this machine's Python documentation.",
    "cache": "Runs the teacher once over all texts of a job and stores its vectors, which `fit` then reads. Takes what `fit` takes.",
    "doctor": "Reads a job's configuration and data, and says what they come to, without training. Takes what `fit` takes.",
    "validate": "Scores a checkpoint's student on the validation sources.",
    "test": "Scores a checkpoint's student on the test sources.",
    "predict": "Embeds texts into a Parquet or .npy file.",
}
JOB = """
  -c, --config FILE           a job as YAML; `init` writes one for your files. Several are laid over each other
                                --config job.yaml
  --data.train FILES          what to train on: a file, a folder in BEIR's layout, a hub id, or a list of sources
                                --data.train pairs.jsonl
  --model.teacher.model NAME  the model to learn from: a folder, a Hugging Face id or pip:NAME
                                --model.teacher.model path/to/teacher
  --trainer.max_steps N       when to stop
                                --trainer.max_steps 2000
  --trainer.devices N, --trainer.strategy NAME
                              how many GPUs or processes, and how they share the work: ddp or fsdp2
                                --trainer.devices 4 --trainer.strategy ddp
""".strip("\n")
RESUME = """
  --ckpt_path PATH            resume: a checkpoint, or `last`: the newest of the run's folder
                                --ckpt_path last
""".strip("\n")
SCORED = """
  --ckpt_path PATH            the checkpoint, which knows its model and its run's data
                                --ckpt_path runs/run/checkpoints/last.ckpt
  --data.{split} FILES       other data than those of its run
                                --data.{split} held-out.jsonl
  -c, --config FILE           a job as YAML in place of the checkpoint's own
                                --config job.yaml
  --trainer.devices N         how many GPUs or processes
                                --trainer.devices 1
""".strip("\n")
OWN = {
    "fit": RESUME,
    "cache": "  --verify true               only checks the stored vectors\n"
    "  --import FILE               stores vectors that another program made; --help_all has its options",
    "doctor": "  --json FILE                 writes everything that was found into a file",
    "predict": "  --output.path FILE          where to write: *.parquet or *.npy\n"
    "                                --output.path vectors.parquet",
}
CLASSES = {
    "model": "EmbeddingModule",
    "model.student": "TextEncoder",
    "model.student.adapter": "Adapter",
    "model.teacher": "FrozenEncoder",
    "model.projection": "Projection",
    "model.losses": "LossTerm",
    "model.lr_scheduler": "WarmupSchedule",
    "data": "EmbeddingDataModule",
    "data.train": "Source",
    "data.validation": "Source",
    "data.test": "Source",
    "data.predict": "Source",
    "trainer": "Trainer",
    "report": "Report",
    "average": "AverageCheckpoints",
    "output": "PredictionWriter",
}
"""Setting -> the class that it makes."""


def answer(command: str, words: Sequence[str]) -> str | None:
    """What a command line that asks for help gets; None if it does not ask, or asks the command's own parser.

    Args:
        command: One of `ABOUT`.
        words: What follows it.

    Raises:
        UserError: It asks for a class that does not exist.
    """
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name = "" if following.startswith("-") else following
        if word in HELP:
            return settings_of(name) if name else page(command)
        key = word.removeprefix("--").removesuffix(".help").replace(".init_args", "")
        if word.endswith(".help") and not name and key in CLASSES:
            return settings_of(CLASSES[key])
    return None


def page(command: str) -> str:
    """The short page.

    Args:
        command: One of `ABOUT`.
    """
    run = f"{program()} {command}"
    if command in ("fit", "cache", "doctor"):
        options = "\n".join([JOB, OWN[command]])
    else:
        split = {"validate": "validation"}.get(command, command)
        options = "\n".join(filter(None, [SCORED.format(split=split), OWN.get(command)]))
    sections = "model, data, trainer, checkpoint, last_checkpoint, average, report"
    return f"""usage: {run} [--config FILE ...] [--key value ...]

{ABOUT[command]}

What people set first, with an example of each:
{options}

Every setting of a YAML file is an option too, and later ones win: model.init_args.student.max_length in the file is
--model.student.max_length here.

The settings of a part, with what they mean:
  --help EmbeddingModule      the model: student, teacher, projection, losses, optimizer
  --help EmbeddingDataModule  the data: sources, batch size, mixture, holdout
  --help Source               a source: columns, filter, weight, batch_size
  --help TextEncoder          a student or teacher: layers, pooling, prompts, max_length
  --help InfoNCE              a loss; so too Distillation, GOR, CoSENT and the others: docs/losses.md
  --help Trainer              Lightning's trainer; Report, WarmupSchedule, FSDP2 and other classes work too
  --model.help, --data.train.help, --model.student.help   the same by the place of a setting

  --print_config              the job as YAML, with everything that was given, and nothing is run
  {HELP_ALL}                  every option: {sections}"""


def settings_of(name: str) -> str:
    """What a class's settings are called in YAML, and what they mean.

    Args:
        name: A public class of the package, or `Trainer`.

    Raises:
        UserError: There is no such class.
    """
    from jsonargparse import SUPPRESS, ArgumentParser

    from lightning_embed.compat.jsonargparse import reading_attributes

    found = _class(name)
    with reading_attributes():
        parser = ArgumentParser(prog=name, usage=SUPPRESS, add_help=False)
        parser.add_class_arguments(found, fail_untyped=False)
        text = parser.format_help()
    kept = re.sub(r"(?m)^  --[\w.]+\.help.*\n(?: {8,}.*\n)*", "", text)
    # the name alone on its line, without dashes and placeholder, and what it means below
    plain = re.sub(r"(?m)^  --(\w+).*?(?:\s{2,}(\S.*))?$", _setting, kept)
    return f"Settings of {found.__module__.partition('.')[0]}.{found.__name__}, as they are called in YAML.\n\n{plain.strip()}"


def _setting(line: re.Match[str]) -> str:
    text = f"\n{' ' * 24}{line[2]}" if line[2] else ""
    return f"  {line[1]}{text}"


def _class(name: str) -> Any:
    import lightning_embed

    known = [one for one in lightning_embed.__all__ if one[0].isupper() and one != "UserError"]
    if name == "Trainer":
        return import_module("lightning.pytorch").Trainer
    if name in known:
        return getattr(lightning_embed, name)
    near = get_close_matches(name, [*known, "Trainer"], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"--help {name}: there is no such class; {hint}known are {', '.join([*known, 'Trainer'])}")
