"""Lightning callbacks: what happens around the steps."""

from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.defaults import trainer_defaults
from lightning_embed.callbacks.last_checkpoint import LastCheckpoint
from lightning_embed.callbacks.loss_schedule import LossSchedule
from lightning_embed.callbacks.prediction_writer import PredictionWriter
from lightning_embed.callbacks.progress import StepProgress
from lightning_embed.callbacks.report import Report
from lightning_embed.callbacks.task_grid import TaskGrid
from lightning_embed.callbacks.throughput import Throughput

__all__ = [
    "AverageCheckpoints",
    "LastCheckpoint",
    "LossSchedule",
    "PredictionWriter",
    "Report",
    "StepProgress",
    "TaskGrid",
    "Throughput",
    "trainer_defaults",
]
