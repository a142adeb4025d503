"""Tokens made once and read from disk: every text of a source is tokenised as the run starts, and never again.

    keys.npy      (n,) sorted 64-bit keys of prompt and text
    starts.npy    (n,) where each text's tokens start
    lengths.npy   (n,) how many they are
    lost.npy      (n,) how many were cut off it
    ids.bin       (T,) int32 token ids of all texts

All are memory-mapped. The folder's name is a hash of the source, the tokenizer, its prompts and its limit: after a change it is made again.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_embed.batch import Tokens, text_key
from lightning_embed.datamodules.sources.files import fingerprint
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.teacher_texts import all_columns
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.utils.atomic import whole_folder
from lightning_embed.utils.folders import user_cache
from lightning_embed.utils.notes import note
from lightning_embed.utils.version import __version__

COLUMNS = ("keys", "starts", "lengths", "lost")
Column = tuple[str, list[str]]
"""Name of a prompt, and texts that get it."""


class CachedTokenizer:
    """A tokenizer that looks texts up among those that were tokenised before, and tokenises what it doesn't find.

    Args:
        tokenizer: Makes tokens of texts that are not there.
        folder: What `write_tokens` wrote.
        max_length: Tokens after which the texts were cut.
    """

    def __init__(self, tokenizer: TextTokenizer, folder: Path, max_length: int | None) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self._columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS}
        self._ids = np.memmap(folder / "ids.bin", dtype=np.int32, mode="r")

    def __eq__(self, other: object) -> bool:
        """Whether both give the same tokens for the same text and role."""
        return isinstance(other, CachedTokenizer) and self.tokenizer == other.tokenizer

    def __hash__(self) -> int:
        return hash(self.tokenizer)

    @property
    def prompts(self) -> dict[str, str]:
        """Text before each text, by name."""
        return self.tokenizer.prompts

    def __call__(
        self, texts: Sequence[str], role: str = "document", max_length: int | None = None
    ) -> tuple[Tokens, int, int]:
        """The tokens, how many texts were cut, and how many tokens that lost: as `TextTokenizer` gives them.

        Args:
            texts: n texts.
            role: Name of their prompt.
            max_length: Tokens after which they are cut.
        """
        prompt = self.prompts.get(role, "")
        keys = np.array([text_key(prompt + text) for text in texts], dtype=np.int64)
        known = self._columns["keys"]
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        if max_length != self.max_length or not np.array_equal(known[places], keys):
            return self.tokenizer(texts, role, max_length)
        starts, lengths, lost = (self._columns[name][places] for name in ("starts", "lengths", "lost"))
        before = np.cumsum(lengths) - lengths
        ids = self._ids[np.arange(lengths.sum()) + np.repeat(starts - before, lengths)]
        tokens = Tokens(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(lengths))
        return tokens, int((lost > 0).sum()), int(lost.sum())


def cached(tokenizer: TextTokenizer, rows: Rows) -> CachedTokenizer:
    """The tokenizer with all texts of a source tokenised, which is done at the first call and kept in the user's cache folder.

    Args:
        tokenizer: Whose tokens.
        rows: The source.
    """
    longest = rows.source.max_length
    prompts = {role: rows.source.prompt_of(role, rows.roles) for role in sorted(rows.roles)}
    kept = b"" if rows.kept is None else rows.kept.tobytes()
    key = fingerprint("tokens", __version__, tokenizer.identity, rows.table.files, rows.columns, kept, prompts, longest)
    folder = user_cache() / "tokens" / key
    if not folder.is_dir():
        note(f"source '{rows.source.title}': its texts are tokenised once, into {folder}")
        found = all_columns([(rows, frozenset(rows.roles))])
        write_tokens(folder, tokenizer, ((column.prompt, column.texts) for column in found), longest)
    return CachedTokenizer(tokenizer, folder, longest)


def write_tokens(folder: Path, tokenizer: TextTokenizer, columns: Iterable[Column], max_length: int | None) -> None:
    """Tokenises texts, each once, into a folder that is there whole or not at all.

    Args:
        folder: Where to.
        tokenizer: Whose tokens.
        columns: The texts, some thousand at a time.
        max_length: Tokens after which they are cut; None: the tokenizer's own max_length.
    """
    with whole_folder(folder, replace=False) as hidden:
        keys, lengths, lost = [], [], []
        with (hidden / "ids.bin").open("wb") as ids:
            for role, texts in columns:
                prompt = tokenizer.prompts.get(role, "")
                different = {text_key(prompt + text): text for text in texts}
                tokens, cut = tokenizer.encode(list(different.values()), role, max_length)
                keys.append(np.fromiter(different, dtype=np.int64, count=len(different)))
                lengths.append(tokens.lengths.numpy())
                lost.append(np.array(cut, dtype=np.int64))
                ids.write(tokens.ids.numpy().astype(np.int32).tobytes())
        sizes = np.concatenate(lengths)
        known, first = np.unique(np.concatenate(keys), return_index=True)
        starts = (np.cumsum(sizes) - sizes)[first]
        for name, column in zip(COLUMNS, (known, starts, sizes[first], np.concatenate(lost)[first]), strict=True):
            np.save(hidden / f"{name}.npy", column)
