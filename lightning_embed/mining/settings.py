"""The settings of `mine`, in groups; the rules, which are a group too, are in `rules.py`."""

from dataclasses import dataclass
from typing import Literal

from lightning_embed.errors import UserError
from lightning_embed.mining.output import OutputFormat
from lightning_embed.mining.search import IndexKind
from lightning_embed.utils.numbers import check_number


@dataclass(frozen=True)
class ModelSettings:
    """What scores texts besides the teacher, and where it runs.

    Args:
        teacher_store: Folder of stored vectors, which `cache` fills, as in `fit`; None: the user's cache folder; `off`: none is used.
        cross_encoder: A sentence-transformers cross-encoder that rescores the candidates: a folder, `pip:NAME` or an id. Margins and
            scores are then on its scale.
        device: Where models run; None: a GPU if there is one.
    """

    teacher_store: str | None = None
    cross_encoder: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class SearchSettings:
    """How the nearest documents are found.

    Args:
        index: `flat` (exact), `ivf` or `hnsw`; `auto`: exact up to 20 billion pairs of anchor and document, then an index.
        recall: The share of the true nearest that an index must find on a sample, 0 to 1.
        max_memory_gb: Memory for the index while it is built, in 10⁹ bytes; where it does not fit, `auto` searches exactly, in blocks.
        precision: Numbers in which vectors are kept on disk.
    """

    index: IndexKind = "auto"
    recall: float = 0.95
    max_memory_gb: float = 4.0
    precision: Literal["float16", "float32"] = "float16"

    def __post_init__(self) -> None:
        check_number("recall", self.recall, above=0, most=1)
        check_number("max_memory_gb", self.max_memory_gb, above=0)


@dataclass(frozen=True)
class OutputSettings:
    """What is written.

    Args:
        output_format: `n-tuple-scores` (anchor, positive, list of negatives, list of scores), which `fit` reads with its scores and
            which keeps every pair; `n-tuple` (negative_1 …), `triplet`, `labeled-pair` or `labeled-list` (for cross-encoders).
        output_scores: Puts scores into the other formats too.
        overwrite: Whether an existing `out` is replaced.
    """

    output_format: OutputFormat = "n-tuple-scores"
    output_scores: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class WorkSettings:
    """How the work is kept and shared.

    Args:
        work: Folder for vectors and candidates, kept at the end, so that other rules take seconds. None: `OUT.work`, removed at the end.
        shards: Processes that share the work.
        shard: Which share this process does, 0 to shards − 1, where they are started by hand (one `work` folder for all); None: all of
            them, in processes on this machine.
    """

    work: str | None = None
    shards: int = 1
    shard: int | None = None

    def __post_init__(self) -> None:
        check_number("shards", self.shards, least=1, whole=True)
        check_number("shard", self.shard, least=0, whole=True, optional=True)
        if not 0 <= (self.shard or 0) < self.shards:
            raise UserError(f"shard must be from 0 to shards - 1, got shard {self.shard} of {self.shards}")


@dataclass(frozen=True)
class BadRowSettings:
    """What becomes of rows that cannot be used.

    Args:
        on_bad_row: `error` stops at the first row that cannot be used; `skip` leaves such rows out and lists them in OUT.bad_rows.jsonl.
        max_bad_share: The share of a source's rows, 0 to 1, that may be left out.
    """

    on_bad_row: Literal["error", "skip"] = "error"
    max_bad_share: float = 0.01

    def __post_init__(self) -> None:
        check_number("max_bad_share", self.max_bad_share, least=0, most=1)
