"""Opens a source to score it: a BEIR folder's queries are ranked among its whole corpus."""

import numpy as np

from lightning_embed.batch import ANCHOR, POSITIVE
from lightning_embed.datamodules.sources import beir
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.columns import GRADE
from lightning_embed.datamodules.sources.formats import is_beir, read_others
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.utils.notes import note


def open_held_out(source: Source, bad_rows: BadRows) -> list[Rows]:
    """A source's held-out rows; of a BEIR folder, its judgements and then the documents that are relevant to no query.

    Args:
        source: What to open.
        bad_rows: What becomes of rows that cannot be used.

    Raises:
        UserError: As for `open_source`.
    """
    pairs_only = source.task == "retrieval"  # scored pairs are scored by their scores
    rows = open_source(source, (ANCHOR, POSITIVE), bad_rows, pairs_only, texts_alone=True, held_out=True)
    if not is_beir(source):
        return [rows]
    rows.columns[GRADE] = [beir.GRADE]
    table = read_others(source)
    (there,) = table.take([0], [beir.OTHERS])[beir.OTHERS]
    others = Rows(source, table, {POSITIVE: [POSITIVE]}, rows.files, np.arange(1, len(table)))
    among, more = f"all {there:,}", ""
    if len(others) < there:
        among, more = f"{len(others):,} of the {there:,}", ", which scores higher than all of them; `corpus` takes more"
    note(
        f"source '{source.title}': its queries are ranked among the relevant documents and {among} others of its corpus{more}"
    )
    return [rows, others] if len(others) else [rows]
