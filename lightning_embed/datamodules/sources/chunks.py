"""Over-long texts as several rows, one for each piece."""

from collections.abc import Iterator
from typing import Any

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources.columns import DOCUMENT, LABEL, NEGATIVE_SCORE, POSITIVE_SCORE, SCORE
from lightning_embed.datamodules.sources.files import fingerprint
from lightning_embed.datamodules.sources.labelled import Labelled, codes, label_id
from lightning_embed.datamodules.sources.rows import Rows, as_list
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.utils.version import __version__

READ = 256


def chunked(rows: Rows, tokenizer: TextTokenizer) -> Rows:
    """The rows, with each whose positive (or lone anchor) is longer than max_length as several: one for each piece.

    Made once and kept in the cache of `datasets`. Pieces of one text carry the same document id.

    Args:
        rows: An opened source.
        tokenizer: Whose tokens are counted.
    """
    import datasets

    role = POSITIVE if POSITIVE in rows.columns else ANCHOR
    text, texts = datasets.Value("string"), datasets.List(datasets.Value("string"))
    kinds: dict[str, Any] = {ANCHOR: text, POSITIVE: text, NEGATIVE: texts, DOCUMENT: datasets.Value("int64")}
    for given in (SCORE, LABEL):
        if given in rows.columns:
            column = rows.columns[given][0]
            kinds[given] = datasets.Features.from_arrow_schema(rows.table.schema)[column]
    if POSITIVE_SCORE in rows.columns:
        kinds[SCORE] = datasets.List(datasets.Value("float64"))
    present = [
        r for r in kinds if r in rows.columns or r == DOCUMENT or (r == SCORE and POSITIVE_SCORE in rows.columns)
    ]
    kept = b"" if rows.kept is None else rows.kept.tobytes()
    key = fingerprint(
        "pieces",
        __version__,
        rows.table.files,
        kept,
        tokenizer.identity,
        rows.columns,
        role,
        rows.source.max_length,
        rows.source.prompt_of(role, rows.roles),
    )
    made = datasets.Dataset.from_generator(
        _pieces,
        features=datasets.Features({r: kinds[r] for r in present}),
        gen_kwargs={"rows": rows, "tokenizer": tokenizer, "role": role},
        fingerprint=key,
    )
    table = Table.of(made)
    labelled = None
    if rows.labelled is not None:
        labelled = Labelled(codes(table, LABEL)[0], rows.labelled.negatives, rows.source.title)
    return Rows(
        rows.source,
        table,
        {r: [r] for r in present},
        rows.files,
        labelled=labelled,
        content=rows.content,
    )


def _pieces(rows: Rows, tokenizer: TextTokenizer, role: str) -> Iterator[dict[str, Any]]:
    prompt = rows.source.prompt_of(role, rows.roles)
    for start in range(0, len(rows), READ):
        numbers = list(range(start, min(start + READ, len(rows))))
        taken = rows.take(numbers)
        for i, number in enumerate(rows.numbers(numbers)):
            row = {r: values[i] for r, values in taken.items()}
            for place, value in enumerate(as_list(row[role])):
                if POSITIVE_SCORE in row:
                    row[SCORE] = [as_list(row[POSITIVE_SCORE])[place], *as_list(row.get(NEGATIVE_SCORE))]
                for piece in tokenizer.pieces(value, prompt, rows.source.max_length):
                    anchor = row[ANCHOR][0] if isinstance(row[ANCHOR], list) else row[ANCHOR]
                    document = label_id(row[DOCUMENT]) if DOCUMENT in row else number
                    whole = row | {ANCHOR: anchor, role: piece, DOCUMENT: document}
                    yield {r: value for r, value in whole.items() if r not in (POSITIVE_SCORE, NEGATIVE_SCORE)}
