"""`python -m lightning_embed cache`: fills the teacher store, or does what `--verify` and `--import` ask for."""

from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from lightning_embed.caching.fill import fill_store, summary
from lightning_embed.caching.importing import import_vectors
from lightning_embed.cli.fit import JobCLI
from lightning_embed.cli.fit import run as run_cli
from lightning_embed.datamodules.teacher_store.lookup import OFF, store_folder
from lightning_embed.datamodules.teacher_store.shard import shard_names
from lightning_embed.datamodules.teacher_store.store import bad_shards, stored_teachers


class CacheCLI(JobCLI):
    """The command line of `fit`, which makes model, data and trainer as it does, and fills the store."""

    about = "Run the teacher once over all texts of train, validation and test, and keep its vectors for `fit`."

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds `fit`'s settings and the command's own."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--shard_texts",
            type=int,
            default=16_384,
            help="Texts after which a shard is written, which is done every minute too: what a kill can lose at most.",
        )
        kind = str | None
        parser.add_argument(
            "--verify",
            action="store_true",
            help="Read every stored vector of every teacher and name the damaged shards (exit code 1 if there is one); change nothing.",
        )
        parser.add_argument(
            "--import",
            type=kind,
            metavar="FILE",
            help="Store given vectors, such as an API's, instead of running a teacher. FILE is Parquet with a column of texts and one of "
            "vectors, or an (n, E) .npy with its n texts beside it: NAME.txt, one a line, or NAME.jsonl. With ids the order is free.",
        )
        parser.add_argument(
            "--import_name", type=str, default="", help="What the teacher that gave the vectors is called."
        )
        parser.add_argument("--import_text", type=str, default="text", help="The column (or JSON key) of the texts.")
        parser.add_argument("--import_vector", type=str, default="vector", help="The Parquet column of the vectors.")
        parser.add_argument(
            "--import_texts",
            type=kind,
            metavar="FILE",
            help="The texts of a .npy, if not beside it; with ids, JSON lines of _id, text and perhaps title, as BEIR's corpus.jsonl.",
        )
        parser.add_argument("--import_id", type=kind, metavar="COLUMN", help="The Parquet column of the ids.")
        parser.add_argument(
            "--import_ids", type=kind, metavar="FILE", help="The ids of a .npy: *.txt, one a line, or a .npy of them."
        )
        parser.add_argument(
            "--import_prompt", type=str, default="", help="What preceded each text when the vectors were made."
        )

    def before_instantiate_classes(self) -> None:
        """Does what needs no model."""
        if verify_or_import(self.config):
            raise SystemExit(0)

    def after_instantiate_classes(self) -> None:
        """Fills the store."""
        fill_store(self.model, self.datamodule, self.trainer, self.config.shard_texts)


def run(arguments: list[str]) -> None:
    """Runs `cache`.

    Args:
        arguments: What follows its name.
    """
    run_cli(["cache", *arguments], CacheCLI)


def verify_or_import(config: Any) -> bool:
    """Does what `--verify` or `--import` ask for; returns whether one of them was given.

    Args:
        config: The parsed configuration of `cache`.

    Raises:
        SystemExit: With code 1 if `--verify` found a damaged shard.
        UserError: If vectors cannot be imported.
    """
    setting = config.data.get("init_args", {}).get("teacher_store")
    folder = store_folder(None if setting == OFF else setting)
    file = config.get("import")
    if file is not None:
        name = config.import_name
        columns = config.import_text, config.import_vector
        texts = config.import_texts, config.import_prompt, config.import_id, config.import_ids
        store, new = import_vectors(file, name, folder, *columns, *texts)
        print(f"teacher store: {new:,} vectors of '{name}' imported; {summary(store)}")
        prompts = f", prompts: {{query: {config.import_prompt!r}}}" if config.import_prompt else ""
        teacher = f"{{class_path: StoredTeacher, init_args: {{name: {name}, dim: {store.dim}{prompts}}}}}"
        print(f"to train on them: model.init_args.teacher: {teacher}")
    elif config.verify:
        if verify(folder):
            raise SystemExit(1)
    else:
        return False
    return True


def verify(folder: Path) -> int:
    """Reads all shards of all teachers, prints what it finds, and returns how many shards are bad.

    Args:
        folder: Folder of all stored teachers.
    """
    teachers = stored_teachers(folder)
    if not teachers:
        print(f"teacher store: nothing is stored in {folder}")
    total = 0
    for path, identity in teachers.items():
        bad = bad_shards(path)
        for name, reason in bad.items():
            print(f"bad: {path / name} ({reason})")
        found = f"{len(bad)} bad, `cache` computes them again" if bad else "all checksums are right"
        print(f"teacher store: {path}, {identity.get('teacher', '')}: {len(shard_names(path))} shards, {found}")
        total += len(bad)
    return total
