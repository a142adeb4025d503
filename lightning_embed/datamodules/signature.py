"""What must not change between a run and its resumption, for both to read the same rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_embed.datamodules.mixture import Mixture
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources.in_memory import is_kept
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.errors import UserError


def signature(
    plan: Plan, sources: Sequence[Rows], mixture: Mixture, no_duplicates: bool, holdout: float
) -> dict[str, Any]:
    """What the rows of a step depend on, as plain data for a checkpoint.

    Args:
        plan: Which rows are step k.
        sources: The opened training sources.
        mixture: As `EmbeddingDataModule` takes it.
        no_duplicates: As `EmbeddingDataModule` takes it.
        holdout: Share of the rows, 0 to 1.
    """
    kept = [path for rows in sources for path in rows.source.paths if is_kept(path)]
    found: dict[str, Any] = {"rows given in Python": [Path(path).stem for path in kept]} if kept else {}
    found |= {"holdout": holdout} if holdout else {}
    return found | {
        "rows": list(plan.sizes),
        "batch sizes": list(plan.batch_sizes),
        "steps an epoch": list(plan.steps_of),
        "mixture": mixture,
        "no_duplicates": no_duplicates,
        "seed": plan.seed,
    }


def require_same(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises `UserError` if a run would resume with other data or batches.

    Args:
        then: The checkpoint's signature.
        now: The job's.
    """
    changed = [f"{key} {then.get(key)} -> {now.get(key)}" for key in {**now, **then} if then.get(key) != now.get(key)]
    if changed:
        raise UserError(
            f"the checkpoint was made with other data or batches ({', '.join(changed)[:200]}): resume with the same, or start again "
            "from its weights"
        )
