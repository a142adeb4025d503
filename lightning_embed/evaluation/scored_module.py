"""A LightningModule whose student is scored on held-out rows, and embeds texts."""

from collections.abc import Mapping

from torch import Tensor, nn

from lightning_embed.batch import TokenBatch, check_batch
from lightning_embed.checkpoints.saved_module import SavedModule
from lightning_embed.encoders.columns import encode_columns
from lightning_embed.evaluation.held_out import student_vectors
from lightning_embed.evaluation.metrics.by_source import BySource, metric_for
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.teacher_cosine import Projected


class ScoredModule(SavedModule):
    """What `validate`, `test` and `predict` do with a student, however it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self._held_out = BySource(self.held_out_metric)

    def held_out_metric(self, batch: TokenBatch) -> HeldOutMetric:
        """The metric of a held-out source, by `batch.task`: nDCG@10 of pairs, Spearman's correlation of scored pairs, labels, or the
        cosine of texts alone with the teacher's vectors.

        Override it for a metric of your own, a subclass of `HeldOutMetric`.

        Args:
            batch: The source's first batch.
        """
        return metric_for(batch, self.projections_for(batch))

    def projections_for(self, batch: TokenBatch) -> Projected | Mapping[str, Projected | None] | None:
        """ψ for held-out texts alone; of several teachers, by the names of those that they are compared with.

        Args:
            batch: As for `held_out_metric`.
        """
        found: Projected | None = getattr(self, "projection", None)
        return found

    def _score(self, batch: TokenBatch) -> None:
        self._held_out.add(
            check_batch(batch),
            lambda batch, roles: student_vectors(self.student, getattr(self, "teachers", {}), batch, roles),
        )

    def _log_scores(self, stage: str) -> None:
        scores = {f"{stage}/{name}": value for name, value in self._held_out.compute().items()}
        self._held_out.reset()
        self.log_dict(scores, rank_zero_only=False, prog_bar=False)

    def on_validation_epoch_start(self) -> None:
        """Forgets the rows of a validation that was cut short."""
        self._held_out.reset()

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Collects the vectors of held-out rows."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs val/METRIC, the mean over the sources that have it, val/SOURCE/METRIC of each of several, and val/score, the mean of all."""
        self._log_scores("val")

    def on_test_epoch_start(self) -> None:
        """Forgets the rows of a test that was cut short."""
        self._held_out.reset()

    def test_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Collects the vectors of test rows."""
        self._score(batch)

    def on_test_epoch_end(self) -> None:
        """Logs the same scores as validation under test/."""
        self._log_scores("test")

    def predict_step(self, batch: TokenBatch, batch_idx: int) -> dict[str, Tensor]:
        """Role -> (n, D) unit vectors of the batch's texts."""
        roles = list(check_batch(batch).student)
        return {
            role: nn.functional.normalize(v.float(), dim=-1)
            for role, v in encode_columns(self.student, batch.student, roles).items()
        }
