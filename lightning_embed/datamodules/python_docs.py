"""PythonDocs: the embedded default data, made of the docstrings of the installed packages."""

from collections.abc import Sequence
from pathlib import Path

from lightning_embed.datamodules.embedding_datamodule import EmbeddingDataModule
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.utils.numbers import check_number


class PythonDocs(EmbeddingDataModule):
    """About 20,000 real pairs, a docstring's summary and the rest of it, out of the packages installed beside this one.

    The sources are parsed, never imported; modules are split into train, validation and test so that no test text is near a
    training one. The pairs are cached under a key of the packages' versions.

    Args:
        packages: Top-level packages to read; None: the standard library and the well-known ones that are installed.
        cache_dir: Where the pairs are kept; None: the user's cache folder.
        max_pairs: The most pairs to take.
        global_batch_size: G, rows of a step over all ranks together.
        eval_batch_size: Rows of an evaluation step over all ranks together.
        num_workers: Worker processes of each loader.
        seed: Which order the rows come in.
        teacher_store: Folder of stored teacher vectors; None: the user's cache folder; `off`: no stored vector is used.
    """

    def __init__(
        self,
        packages: list[str] | None = None,
        cache_dir: str | None = None,
        max_pairs: int = 20_000,
        global_batch_size: int = 64,
        eval_batch_size: int = 256,
        num_workers: int = 1,
        seed: int = 0,
        teacher_store: str | None = None,
    ) -> None:
        super().__init__(
            global_batch_size=global_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            seed=seed,
            teacher_store=teacher_store,
        )
        check_number("max_pairs", max_pairs, least=1, whole=True)
        self.packages: Sequence[str] | None = packages
        self.cache_dir, self.max_pairs = cache_dir, max_pairs
        self.folder: Path | None = None

    def prepare_data(self) -> None:
        """Reads the docstrings, unless they are in the cache."""
        self._build()

    def _build(self) -> Path:
        from lightning_embed.datamodules.docstrings.corpus import build

        if self.folder is None:
            self.folder = build(cache_dir=self.cache_dir, packages=self.packages, max_pairs=self.max_pairs)
        return self.folder

    def sources(self, split: str) -> list[Source]:
        """The split's file; `predict` embeds the test texts."""
        name = "test" if split == "predict" else split
        return [Source(str(self._build() / f"{name}.parquet"), name=f"python-docs-{name}")]
