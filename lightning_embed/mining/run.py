"""Finds hard negatives for a source with a model."""

import shutil
from pathlib import Path
from typing import Literal

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.teacher_store.lookup import open_lookup
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.errors import UserError
from lightning_embed.mining import stages, summary
from lightning_embed.mining.cross_encoder import load_cross_encoder, model_stamp
from lightning_embed.mining.output import OutputFormat, check_path, write
from lightning_embed.mining.pairs import Pairs, read_pairs
from lightning_embed.mining.processes import Companions
from lightning_embed.mining.rules import FATES, Rules
from lightning_embed.mining.search import IndexKind, plan_index
from lightning_embed.mining.vectors import embed_with, identity, title
from lightning_embed.mining.work import Work
from lightning_embed.utils.notes import note


def mine(
    source: Source,
    out: str,
    teacher: FrozenEncoder | StoredTeacher,
    corpus: Source | None = None,
    teacher_store: str | None = None,
    cross_encoder: str | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = 0.05,
    num_negatives: int = 3,
    sampling_strategy: Literal["top", "random"] = "top",
    output_format: OutputFormat = "n-tuple-scores",
    output_scores: bool = False,
    index: IndexKind = "auto",
    recall: float = 0.95,
    max_memory_gb: float = 4.0,
    precision: Literal["float16", "float32"] = "float16",
    device: str | None = None,
    work: str | None = None,
    shards: int = 1,
    shard: int | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    max_bad_share: float = 0.01,
    seed: int = 0,
    overwrite: bool = False,
    companions: Companions | None = None,
) -> Path:
    """Finds hard negatives for a source's pairs, and writes them as a source that `fit` reads.

    A document is never the negative of an anchor that it is a positive of in any row, whose very text it is, or whose label it has.

    Args:
        source: Pairs, or rows of text and label.
        out: The file to write, `*.jsonl` or `*.parquet`.
        teacher: The model that finds the candidates and, without a cross-encoder, scores them; or a `StoredTeacher`.
        corpus: More documents to find negatives among, besides the source's positives: its positives, or else its texts.
        teacher_store: Folder of stored vectors, which `cache` fills, as in `fit`; None: the user's cache folder; `off`: none is used.
        cross_encoder: A sentence-transformers cross-encoder that scores the candidates anew: a folder, `pip:NAME` or an id. Margins and
            scores are then on its scale.
        range_min: How many of the nearest that pass the other rules are skipped.
        range_max: Rank up to which the nearest are looked at; None: range_min + 10 · num_negatives + the most positives of an anchor.
        max_score: The most that a negative's score may be.
        min_score: The least that a negative's score must be.
        absolute_margin: How far a negative's score must be below its positive's.
        relative_margin: The same, as a share of the positive's score.
        num_negatives: Negatives of an anchor.
        sampling_strategy: The `top` ones of those that pass, or `random` ones.
        output_format: `n-tuple-scores` (anchor, positive, list of negatives, list of scores), which `fit` reads with its scores and
            which keeps every pair; `n-tuple` (negative_1 …), `triplet`, `labeled-pair` or `labeled-list` (for cross-encoders).
        output_scores: Puts scores into the other formats too.
        index: `flat` (exact), `ivf` or `hnsw`; `auto`: exact up to 20 thousand million pairs of anchor and document, then an index.
        recall: The share of the true nearest that an index must find on a sample, 0 to 1.
        max_memory_gb: Memory for the index while it is built, in 10⁹ bytes; where it does not fit, `auto` searches exactly, in blocks.
        precision: Numbers in which vectors are kept on disk.
        device: Where models run; None: a GPU if there is one.
        work: Folder for vectors and candidates, kept at the end, so that other rules take seconds. None: `OUT.work`, removed at the end.
        shards: Processes that share the work.
        shard: Which share this process does, 0 to shards − 1, where they are started by hand (one `work` folder for all); None: all of
            them, in processes on this machine.
        on_bad_row: `error` stops at the first row that cannot be used; `skip` leaves such rows out and lists them in OUT.bad_rows.jsonl.
        max_bad_share: The share of a source's rows, 0 to 1, that may be left out.
        seed: What `random` draws.
        overwrite: Whether `out` may be there already.
        companions: The processes of the other shards, to be started.

    Returns:
        The file.

    Raises:
        UserError: If a setting, a source or a model cannot be used, or not one negative is found.
    """
    target = Path(out)
    check_path(target)
    rules = Rules(
        range_min, range_max, max_score, min_score, absolute_margin, relative_margin, num_negatives, sampling_strategy
    )
    _check(shards, shard, companions.shards if companions else 1, recall, max_memory_gb)
    if target.exists() and not overwrite:
        raise UserError(f"--out: {target} is there already; delete it, give another name, or --overwrite true")
    bad_rows = BadRows(on_bad_row, max_bad_share)
    pairs = read_pairs(
        open_source(source, (ANCHOR, POSITIVE), bad_rows, pairs_only=True),
        None if corpus is None else open_source(corpus, (ANCHOR,), bad_rows),
    )
    kept = Path(work) if work else target.with_name(target.name + ".work")
    share = Work(kept, shard or 0, shards, companions.alive if companions else lambda: None)
    if share.first:
        _tell_size(pairs)
        if bad_rows.found:
            listing = target.with_name(target.name + ".bad_rows.jsonl")
            bad_rows.write(listing)
            note(f"{len(bad_rows.found):,} rows cannot be used and are left out; {listing} lists them")
    where = device or _device(share.shard)
    name_of, stamp = title(teacher), identity(teacher)
    embed = embed_with(teacher.to(where), open_lookup(teacher, teacher_store))
    if companions is not None:
        companions.start()
    documents, anchors = (
        stages.vectors(share, name, texts, embed, name_of, teacher.dim, precision, stamp)
        for name, texts in (("documents", pairs.corpus), ("anchors", pairs.anchors))
    )
    most = min(pairs.most_positives, stages.MOST_POSITIVES)
    last_rank = rules.last_rank(most, rescored=cross_encoder is not None)
    plan = plan_index(index, len(anchors), len(documents), teacher.dim, max_memory_gb, recall)
    found = stages.candidates(
        share, pairs, anchors, documents, last_rank + most, plan, recall, stamp, cross_encoder is None
    )
    if cross_encoder is not None and found is not None:
        rate = load_cross_encoder(cross_encoder, where)
        found = stages.rated(share, pairs, found, rate, model_stamp(cross_encoder))
    if found is None:
        return target  # the first process does the rest
    mined, fates = stages.choose_all(pairs, found, rules, last_rank, seed)
    lines = [
        f"{int(fates.sum()):,} candidates, the {found.ids.shape[1]} nearest of each anchor:",
        *summary.shares(fates, rules, last_rank),
        *summary.coverage(mined),
    ]
    print("\n".join(lines), flush=True)
    if not fates[0]:
        worst = FATES[1 + int(fates[1:].argmax())]
        raise UserError(
            f"not one negative was found: most candidates fell to '{worst}'; loosen it, raise range_max to look further, or give more "
            "documents"
        )
    rows = write(mined, target, output_format, output_scores)
    if not rows:
        raise UserError(
            f"no pair has all {num_negatives} negatives that {output_format} needs; take n-tuple-scores or fewer"
        )
    print("\n".join(["", "ten to look at:", *summary.examples(mined), "", f"{rows:,} rows -> {target}"]), flush=True)
    if work is None:
        shutil.rmtree(kept, ignore_errors=True)
    return target


def _check(shards: int, shard: int | None, started: int, recall: float, max_memory_gb: float) -> None:
    if shards < 1 or not 0 <= (shard or 0) < shards:
        raise UserError(f"shard must be from 0 to shards - 1 and shards at least 1, got shard {shard} of {shards}")
    if shard is None and shards != started:
        raise UserError(
            "shards: say which of them this process is with `shard`; the command line starts all of them itself"
        )
    if not 0 < recall <= 1:
        raise UserError(f"recall must be above 0 and at most 1, got {recall}")
    if not max_memory_gb > 0:
        raise UserError(f"max_memory_gb must be above 0, got {max_memory_gb}")


def _tell_size(pairs: Pairs) -> None:
    said = (
        f"{len(pairs.anchor):,} pairs of {len(pairs.anchors):,} anchors, over {len(pairs.corpus):,} different documents"
    )
    print(said, flush=True)
    source = pairs.rows.source
    if NEGATIVE in pairs.rows.columns:
        note(f"source '{source.title}': its own negatives are left out; the output has mined ones alone")
    if source.long_texts == "chunk":
        note(f"source '{source.title}': long_texts: chunk is for training; mining reads texts up to their max_length")
    if pairs.most_positives > stages.MOST_POSITIVES:
        note(
            f"an anchor has {pairs.most_positives:,} positives; lists of candidates are made for {stages.MOST_POSITIVES} of them, so such "
            "anchors may get fewer negatives"
        )


def _device(shard: int) -> str:
    import torch

    return f"cuda:{shard % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
