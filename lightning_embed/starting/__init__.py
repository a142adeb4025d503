"""A first configuration for a user's own files: what they hold, which losses fit, how long to train.

    files -> columns and kinds of rows -> losses, lengths, steps -> job.yaml

The file is ordinary YAML with comments, which `doctor`, `cache` and `fit` take as it is.
"""

from lightning_embed.starting.run import write_job

__all__ = ["write_job"]
