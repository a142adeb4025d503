"""Cuts a model down to a first student, and says what each cut costs and saves."""

from contextlib import closing
from pathlib import Path

import torch

from lightning_embed.datamodules.sources.source import Source
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.reports.terminal import print_tables
from lightning_embed.export.run import check_target, write_and_prove
from lightning_embed.shrinking.choices import Vocabulary, step_by_step, within
from lightning_embed.shrinking.corpus import Corpus
from lightning_embed.shrinking.cuts import Cut, Cuts
from lightning_embed.shrinking.tables import Row, table
from lightning_embed.shrinking.words import Words
from lightning_embed.shrinking.written import Shrunk
from lightning_embed.utils.numbers import check_number

NOT_COUNTED = 5
"""One in so many texts, at most, is a text on which a smaller vocabulary is measured, and not counted before."""


def shrink(
    model: str,
    out: str,
    texts: Source | str,
    layers: int | None = None,
    intermediate: int | None = None,
    vocabulary: Vocabulary | None = None,
    max_mb: float | None = None,
    sample: int = 512,
    max_length: int = 128,
    device: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Cuts a model down to a first student: an ordinary model folder, from which any `student:` starts.

    Each cut is chosen by the mean cosine of its vectors with the whole model's on a sample of the texts, and printed with what it costs
    and saves. Nothing is trained.

    Args:
        model: A folder, `pip:NAME` or a Hugging Face id.
        out: The folder to write.
        texts: What the student is for: texts alone, pairs, or rows with negatives.
        layers: Layers to keep: one at a time goes, the one without which the vectors move least. None: all, or as `max_mb` has it.
        intermediate: Neurons to keep of each feed-forward layer, those that add most to what comes out. None: as for `layers`.
        vocabulary: `used`: only tokens that the texts have are kept, and single characters; texts of these are split as before. None:
            as for `layers`.
        max_mb: The most megabytes (10⁶ bytes, weights in float32) that the model may take; what is not given above is chosen to fit.
        sample: Texts, drawn at random, on which cuts are compared, ≥ 2.
        max_length: Tokens after which these are cut.
        device: Where the model runs; None: a GPU if there is one.
        overwrite: Whether a model that is there already is replaced.

    Returns:
        The folder.

    Raises:
        UserError: The model or the texts cannot be read, more is to be kept than there is, or nothing fits; nothing is written.
    """
    check_number("layers", layers, least=1, whole=True, optional=True)
    check_number("intermediate", intermediate, least=1, whole=True, optional=True)
    check_number("max_mb", max_mb, above=0, optional=True)
    check_number("sample", sample, least=2, whole=True)
    check_number("max_length", max_length, least=1, whole=True)
    if layers is intermediate is max_mb is None and vocabulary != "used":
        raise UserError("nothing to cut: give --layers, --intermediate, --vocabulary used or --max_mb")
    folder = Path(out).expanduser()
    check_target(folder, overwrite)
    encoder = TextEncoder(model).eval()
    _check_model(encoder)
    encoder.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    corpus = Corpus(Source(texts) if isinstance(texts, str) else texts)
    by_words = vocabulary == "used" or (max_mb is not None and vocabulary is None)
    drawn = corpus.sample(min(sample, len(corpus.rows) // NOT_COUNTED) if by_words else sample)
    if len(drawn) < 2:
        raise UserError(f"texts: {corpus.rows.source.title} has {len(corpus.rows)} rows, too few to compare cuts on")
    with closing(Cuts(encoder, drawn, max_length)) as cuts:
        _check_counts(cuts, layers, intermediate)
        words = Words(encoder, corpus, drawn) if by_words else None
        rows = [Row("the whole model", cuts.measure(cuts.whole))]
        if max_mb is None:
            rows += step_by_step(cuts, layers, intermediate, words)
        else:
            rows += within(cuts, int(max_mb * 1e6), layers, intermediate, vocabulary, words)
        chosen = rows[-1].measured.cut
        print_tables([("What each cut costs and saves", table(rows), 3)], [])
        if words is not None and chosen.vocabulary is not None:
            print(words.sentence())
            chosen = Cut(chosen.layers, chosen.neurons, words.all)
        small = cuts.build(chosen, TextEncoder(model, layers=list(chosen.layers)).eval().to(encoder.device))
        _check_same(small, cuts, chosen)
        written = Shrunk(small.to("cpu"), model, rows, drawn)
        _, facts = write_and_prove(written, folder, drawn[:200])
    print(f"wrote {folder}: {facts[0]}")
    return folder


def _check_model(encoder: TextEncoder) -> None:
    if encoder.table is not None:
        raise UserError(
            f"model '{encoder.model}': is static, a table of tokens without layers; there is nothing to cut"
        )


def _check_counts(cuts: Cuts, layers: int | None, intermediate: int | None) -> None:
    if layers is not None and layers > cuts.count:
        raise UserError(f"layers: model '{cuts.encoder.model}' has {cuts.count}, got {layers}")
    if intermediate is not None and not 0 < intermediate <= cuts.neurons:
        there = f"has {cuts.neurons:,} in each layer" if cuts.neurons else "does not say how many it has"
        raise UserError(f"intermediate: model '{cuts.encoder.model}' {there}, got {intermediate:,}")


def _check_same(small: TextEncoder, cuts: Cuts, cut: Cut) -> None:
    """Raises `UserError` unless the model that is written gives the vectors that were measured."""
    least = float((cuts.embed(small) * cuts.embed(cuts.build(cut))).sum(dim=1).min())
    if not least > 0.9999:
        raise UserError(
            f"model '{small.model}': its layers depend on where they are in the model, and give other vectors in a smaller one "
            f"(cosine {least:.4f}); nothing was written"
        )
