"""lightning_embed: distils a large frozen embedding model into a compact one, with PyTorch Lightning.

Everything public has a short name here, such as `lightning_embed.EmbeddingModule`. A name's module is loaded when the name is first
used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING

from lightning_embed.utils.lazy import lazy
from lightning_embed.utils.version import __version__

if TYPE_CHECKING:
    from lightning_embed.batch import EmbeddingBatch, TokenBatch, Tokens
    from lightning_embed.caching import fill_store, import_vectors
    from lightning_embed.callbacks import (
        AverageCheckpoints,
        LastCheckpoint,
        LossSchedule,
        PredictionWriter,
        Report,
        StepProgress,
        TaskGrid,
        Throughput,
        trainer_defaults,
    )
    from lightning_embed.checkpoints import CheckpointFiles, average_checkpoints
    from lightning_embed.datamodules import EmbeddingDataModule, PythonDocs, Source
    from lightning_embed.doctor import examine
    from lightning_embed.encoders import Adapter, FrozenEncoder, StaticEncoder, StoredTeacher, TextEncoder
    from lightning_embed.errors import UserError
    from lightning_embed.evaluation import HeldOutMetric, evaluate
    from lightning_embed.export import export_encoder, export_model, push_folder, quantize
    from lightning_embed.heads import Projection
    from lightning_embed.losses import (
        GOR,
        AnglE,
        BinaryRobust,
        CoSENT,
        Distillation,
        EmbeddingLoss,
        InfoNCE,
        KLDistillation,
        LossTerm,
        MarginMSE,
        Matryoshka,
        Quantized,
        RelationalDistillation,
        ScoreDistillation,
        Uniformity,
    )
    from lightning_embed.mining import mine
    from lightning_embed.module import EmbeddingModule
    from lightning_embed.recipe import Stage, run_recipe
    from lightning_embed.schedulers import WarmupSchedule
    from lightning_embed.shrinking import shrink
    from lightning_embed.starting import write_job
    from lightning_embed.tokenizer import TextTokenizer
    from lightning_embed.training import FSDP2, auto_precision
else:
    __getattr__ = lazy(
        __name__,
        {
            "batch": ["EmbeddingBatch", "TokenBatch", "Tokens"],
            "caching": ["fill_store", "import_vectors"],
            "callbacks": [
                "AverageCheckpoints",
                "LastCheckpoint",
                "LossSchedule",
                "PredictionWriter",
                "Report",
                "StepProgress",
                "TaskGrid",
                "Throughput",
                "trainer_defaults",
            ],
            "checkpoints": ["CheckpointFiles", "average_checkpoints"],
            "datamodules": ["EmbeddingDataModule", "PythonDocs", "Source"],
            "doctor": ["examine"],
            "encoders": ["Adapter", "FrozenEncoder", "StaticEncoder", "StoredTeacher", "TextEncoder"],
            "errors": ["UserError"],
            "evaluation": ["HeldOutMetric", "evaluate"],
            "export": ["export_encoder", "export_model", "push_folder", "quantize"],
            "heads": ["Projection"],
            "losses": [
                "GOR",
                "AnglE",
                "BinaryRobust",
                "CoSENT",
                "Distillation",
                "EmbeddingLoss",
                "InfoNCE",
                "KLDistillation",
                "LossTerm",
                "MarginMSE",
                "Matryoshka",
                "Quantized",
                "RelationalDistillation",
                "ScoreDistillation",
                "Uniformity",
            ],
            "mining": ["mine"],
            "module": ["EmbeddingModule"],
            "recipe": ["Stage", "run_recipe"],
            "schedulers": ["WarmupSchedule"],
            "shrinking": ["shrink"],
            "starting": ["write_job"],
            "tokenizer": ["TextTokenizer"],
            "training": ["FSDP2", "auto_precision"],
        },
    )

__all__ = [
    "FSDP2",
    "GOR",
    "Adapter",
    "AnglE",
    "AverageCheckpoints",
    "BinaryRobust",
    "CheckpointFiles",
    "CoSENT",
    "Distillation",
    "EmbeddingBatch",
    "EmbeddingDataModule",
    "EmbeddingLoss",
    "EmbeddingModule",
    "FrozenEncoder",
    "HeldOutMetric",
    "InfoNCE",
    "KLDistillation",
    "LastCheckpoint",
    "LossSchedule",
    "LossTerm",
    "MarginMSE",
    "Matryoshka",
    "PredictionWriter",
    "Projection",
    "PythonDocs",
    "Quantized",
    "RelationalDistillation",
    "Report",
    "ScoreDistillation",
    "Source",
    "Stage",
    "StaticEncoder",
    "StepProgress",
    "StoredTeacher",
    "TaskGrid",
    "TextEncoder",
    "TextTokenizer",
    "Throughput",
    "TokenBatch",
    "Tokens",
    "Uniformity",
    "UserError",
    "WarmupSchedule",
    "__version__",
    "auto_precision",
    "average_checkpoints",
    "evaluate",
    "examine",
    "export_encoder",
    "export_model",
    "fill_store",
    "import_vectors",
    "mine",
    "push_folder",
    "quantize",
    "run_recipe",
    "shrink",
    "trainer_defaults",
    "write_job",
]


def __dir__() -> list[str]:
    return list(__all__)
