"""What the vectors are worth: retrieval scores, the dims x precision grid, the pictures and the report.

Works on plain vectors and numbers; it knows neither the module, nor the trainer, nor the losses, nor a tokenizer.
"""

from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.run import evaluate

__all__ = ["HeldOutMetric", "evaluate"]
