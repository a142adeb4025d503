"""What a report says of a run's models besides their scores: sizes, and speed on this machine."""

import platform
import time
from collections.abc import Mapping, Sequence

import lightning.pytorch as L
import torch

from lightning_embed.encoders.copies import is_fsdp
from lightning_embed.encoders.pretrained import folder_bytes
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.facts import AFTER, BEFORE, ModelReport, teacher_title

WARM_UP = 32
"""Texts that are encoded before the clock starts."""


def measure_models(
    teachers: Mapping[str, TextEncoder | StoredTeacher],
    student: TextEncoder,
    grids: Mapping[str, list[GridRow]],
    exported: str,
    texts: Sequence[str],
) -> list[ModelReport]:
    """A run's models, in the order of the report's tables; one that was not scored has no speed.

    Args:
        teachers: The run's teachers, by name.
        student: The trained student.
        grids: The teachers' titles, `student before` and `student after` -> scores; empty where there are none.
        exported: The exported student's folder, for its size; empty where it was not exported.
        texts: Texts to measure the speed on.
    """
    size = folder_bytes(exported) if exported else None
    models = []
    for name, teacher in teachers.items():
        title = teacher_title(name)
        if isinstance(teacher, StoredTeacher):
            models.append(ModelReport(title, teacher.dim, grid=grids[title]))
        else:
            models.append(_measured(title, teacher, grids[title], folder_bytes(teacher.folder), texts))
    if grids[BEFORE]:
        models.append(_measured(BEFORE, student, grids[BEFORE], size, []))  # as fast as it is after
    return [*models, _measured(AFTER, student, grids[AFTER], size, texts)]


def _measured(
    name: str, encoder: TextEncoder, grid: list[GridRow], size: int | None, texts: Sequence[str]
) -> ModelReport:
    timed = grid and texts and is_loaded(encoder) and not is_fsdp(encoder)
    return ModelReport(
        name=name,
        dim=encoder.dim,
        parameters=encoder.parameter_count,
        size_bytes=size,
        layers=int(encoder.config.num_hidden_layers),
        texts_per_second=texts_per_second(encoder, texts) if timed else None,
        grid=grid,
    )


def is_loaded(teacher: TextEncoder | StoredTeacher | None) -> bool:
    """Whether an encoder's weights are in memory: a `FrozenEncoder` whose vectors were all stored was never loaded.

    Args:
        teacher: The encoder.
    """
    return not isinstance(teacher, StoredTeacher) and getattr(teacher, "loaded", True)


def texts_per_second(encoder: TextEncoder, texts: Sequence[str]) -> float:
    """How many queries a second an encoder embeds on its device.

    Args:
        encoder: The encoder.
        texts: n queries.
    """
    encoder.encode(texts[:WARM_UP], "query")
    start = time.perf_counter()
    encoder.encode(texts, "query")
    return len(texts) / (time.perf_counter() - start)


def device_name(device: torch.device) -> str:
    """A device in words.

    Args:
        device: Which.
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def versions() -> dict[str, str]:
    """The versions that a run's numbers depend on most."""
    return {"torch": torch.__version__, "lightning": L.__version__, "python": platform.python_version()}
