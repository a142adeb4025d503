"""Finds hard negatives for a source with a model."""

import shutil
from pathlib import Path

from lightning_embed.batch import ANCHOR, POSITIVE
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.teacher_store.lookup import open_lookup
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.errors import UserError
from lightning_embed.mining import stages, summary
from lightning_embed.mining.cross_encoder import load_cross_encoder, model_fingerprint
from lightning_embed.mining.output import Mined, check_path, write
from lightning_embed.mining.pairs import Pairs, read_pairs
from lightning_embed.mining.processes import Companions
from lightning_embed.mining.rules import VERDICTS, Rules
from lightning_embed.mining.search import plan_index
from lightning_embed.mining.settings import BadRowSettings, ModelSettings, OutputSettings, SearchSettings, WorkSettings
from lightning_embed.mining.vectors import Encoder, embed_with, identity, title
from lightning_embed.mining.work import Work
from lightning_embed.utils.notes import note


def mine(
    source: Source,
    out: str,
    teacher: FrozenEncoder | StoredTeacher,
    corpus: Source | None = None,
    rules: Rules | None = None,
    models: ModelSettings | None = None,
    search: SearchSettings | None = None,
    output: OutputSettings | None = None,
    work: WorkSettings | None = None,
    bad_rows: BadRowSettings | None = None,
    companions: Companions | None = None,
) -> Path:
    """Finds hard negatives for a source's pairs, and writes them as a source that `fit` reads.

    A document is never the negative of an anchor that it is a positive of in any row, whose very text it is, or whose label it has.

    Args:
        source: Pairs, or rows of text and label.
        out: The file to write, `*.jsonl` or `*.parquet`.
        teacher: The model that finds the candidates and, without a cross-encoder, scores them; or a `StoredTeacher`.
        corpus: More documents to find negatives among, besides the source's positives: its positives, or else its texts.
        rules: Which candidates are negatives; None, as for the other groups of settings: the defaults.
        models: What scores texts besides the teacher, and where it runs.
        search: How the nearest documents are found.
        output: What is written.
        work: How the work is kept and shared.
        bad_rows: What becomes of rows that cannot be used.
        companions: The processes of the other shards, to be started.

    Returns:
        The file.

    Raises:
        UserError: If a setting, a source or a model cannot be used, or not one negative is found.
    """
    rules, models, search = rules or Rules(), models or ModelSettings(), search or SearchSettings()
    output, work, bad_rows = output or OutputSettings(), work or WorkSettings(), bad_rows or BadRowSettings()
    target = Path(out)
    _check_target(target, output.overwrite)
    share = _share(work, target, companions)
    pairs = _read(source, corpus, bad_rows, target, share.first)
    encoder = _encoder(teacher, models, share)
    if companions is not None:
        companions.start()
    most_positives = min(pairs.most_positives, stages.MOST_POSITIVES)
    last_rank = rules.last_rank(most_positives, rescored=models.cross_encoder is not None)
    found = _candidates(share, pairs, encoder, search, last_rank + most_positives, models)
    if found is None:
        return target  # the first process does the rest
    mined = _choose(pairs, found, rules, last_rank)
    _write(mined, target, output)
    if work.work is None:
        shutil.rmtree(share.folder, ignore_errors=True)
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    check_path(target)
    if target.exists() and not overwrite:
        raise UserError(f"--out: {target} is there already; delete it, give another name, or --overwrite true")


def _share(work: WorkSettings, target: Path, companions: Companions | None) -> Work:
    """The work folder, and what this process does of it."""
    if work.shard is None and work.shards != (companions.shards if companions else 1):
        raise UserError(
            "shards: say which of them this process is with `shard`; the command line starts all of them itself"
        )
    folder = Path(work.work) if work.work else target.with_name(target.name + ".work")
    return Work(folder, work.shard or 0, work.shards, companions.alive if companions else lambda: None)


def _read(source: Source, corpus: Source | None, settings: BadRowSettings, target: Path, first: bool) -> Pairs:
    """The pairs; the first process prints how many there are and lists the rows that are left out."""
    bad_rows = BadRows(settings.on_bad_row, settings.max_bad_share)
    pairs = read_pairs(
        open_source(source, (ANCHOR, POSITIVE), bad_rows, pairs_only=True),
        None if corpus is None else open_source(corpus, (ANCHOR,), bad_rows),
    )
    if not first:
        return pairs
    print(summary.size(pairs), flush=True)
    for line in summary.remarks(pairs, stages.MOST_POSITIVES):
        note(line)
    if bad_rows.found:
        listing = target.with_name(target.name + ".bad_rows.jsonl")
        bad_rows.write(listing)
        note(f"{len(bad_rows.found):,} rows cannot be used and are left out; {listing} lists them")
    return pairs


def _encoder(teacher: FrozenEncoder | StoredTeacher, models: ModelSettings, share: Work) -> Encoder:
    embed = embed_with(teacher.to(models.device or _device(share)), open_lookup(teacher, models.teacher_store))
    return Encoder(embed, title(teacher), teacher.dim, identity(teacher))


def _device(share: Work) -> str:
    import torch

    return f"cuda:{share.shard % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"


def _candidates(
    share: Work, pairs: Pairs, encoder: Encoder, search: SearchSettings, k: int, models: ModelSettings
) -> stages.Candidates | None:
    """The k nearest documents of each anchor, with a cross-encoder's scores where there is one; None in all but the first process."""
    vectors = stages.vectors(share, pairs, encoder, search.precision)
    sizes = len(vectors.anchors), len(vectors.documents), encoder.dim
    plan = plan_index(search.index, *sizes, search.max_memory_gb, search.recall)
    found = stages.candidates(share, pairs, vectors, k, plan, search.recall, last=models.cross_encoder is None)
    if models.cross_encoder is None or found is None:
        return found
    rate = load_cross_encoder(models.cross_encoder, models.device or _device(share))
    return stages.rated(share, pairs, found, rate, model_fingerprint(models.cross_encoder))


def _choose(pairs: Pairs, found: stages.Candidates, rules: Rules, last_rank: int) -> Mined:
    """The negatives; prints what share of the candidates fell to each rule."""
    mined, verdicts = stages.choose_all(pairs, found, rules, last_rank)
    lines = [
        f"{int(verdicts.sum()):,} candidates, the {found.ids.shape[1]} nearest of each anchor:",
        *summary.shares(verdicts, rules, last_rank),
        *summary.coverage(mined),
    ]
    print("\n".join(lines), flush=True)
    if not verdicts[0]:
        worst = VERDICTS[1 + int(verdicts[1:].argmax())]
        raise UserError(
            f"not one negative was found: most candidates fell to '{worst}'; loosen it, raise range_max to look further, or give more "
            "documents"
        )
    return mined


def _write(mined: Mined, target: Path, output: OutputSettings) -> None:
    """Writes the file, and prints a few of its pairs."""
    rows = write(mined, target, output.output_format, output.output_scores)
    if not rows:
        raise UserError(
            f"no pair has all {mined.negatives.shape[1]} negatives that {output.output_format} needs; take n-tuple-scores or fewer"
        )
    print("\n".join(["", "ten to look at:", *summary.examples(mined), "", f"{rows:,} rows -> {target}"]), flush=True)
