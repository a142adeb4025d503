"""How near a student's vectors are to its teacher's own, on texts of the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from lightning_embed.batch import ANCHOR, POSITIVE
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.held_out import can_score
from lightning_embed.utils.activity import track
from lightning_embed.utils.teacher_names import ONE, teacher_key

TEXTS = 1000
"""The most texts that are compared."""


@dataclass(frozen=True)
class Nearness:
    """Cosines of a student's vectors with its teacher's of the same texts."""

    mean: float
    """Their mean."""
    low: float
    """Their 5th percentile."""
    texts: int
    """How many texts."""
    split: str
    """Where these are from: `test`, `validation` or `train`."""

    def sentence(self) -> str:
        """What a user and the model card are told."""
        of = "training texts of the run (it held none out)" if self.split == "train" else "texts that the run held out"
        return (
            f"How near to the teacher's own vectors, on {self.texts:,} {of}: mean cosine {self.mean:.4f}, "
            f"5th percentile {self.low:.4f}."
        )


@torch.no_grad()
def nearness(
    student: TextEncoder,
    teacher: TextEncoder | StoredTeacher,
    data: EmbeddingDataModule,
    most: int = TEXTS,
    name: str = ONE,
) -> Nearness:
    """Compares the vectors of held-out anchors and positives, or of those that were trained on where none are held out.

    Args:
        student: An encoder that gives vectors of the teacher's size.
        teacher: The teacher, in evaluation mode; its stored vectors are used.
        data: The run's data.
        most: Texts that are compared, spread over the sources.
        name: The teacher's, where the run had several: sources that are for others alone are left out.

    Raises:
        UserError: The data is not there, or the teacher's vectors are not known.
    """
    encoders = {"student": student, teacher_key(name): teacher}
    data.tokenizers = {name: one.tokenizer for name, one in encoders.items() if isinstance(one, TextEncoder)}
    data.use_store({name: teacher}, {name: frozenset((ANCHOR, POSITIVE))})
    split = next((one for one in ("test", "validation") if can_score(teacher, data, one, name)), "train")
    if split == "train" and not any(rows.source.has_teacher(name) for rows in data.rows(split)):
        raise UserError("the run's data has no texts that are for the teacher")
    data.eval_batch_size = min(data.eval_batch_size, 64)
    loaders = {"test": data.test_dataloader, "validation": data.val_dataloader, "train": data.train_dataloader}
    taught = [rows for rows in data.rows(split) if rows.source.has_teacher(name)]
    share, found, counts = most / max(1, len(taught)), [], Counter[str]()
    for batch in track(loaders[split](), "comparing with the teacher's vectors"):
        if sum(counts.values()) >= most:
            break
        if counts[batch.source] >= share or (batch.teachers is not None and name not in batch.teachers):
            continue
        moved = batch.of_teacher(name).to(student.device)
        roles = [role for role in (ANCHOR, POSITIVE) if role in moved.student]
        own, theirs = encode_columns(student.embed, moved.student, roles), teacher_vectors(teacher, moved, roles)
        for role in roles:
            found.append((own[role] * normalize(theirs[role].float(), dim=-1)).sum(dim=-1).cpu())
            counts[batch.source] += len(found[-1])
    cosines = torch.cat(found)[:most]
    return Nearness(float(cosines.mean()), float(cosines.quantile(0.05)), len(cosines), split)
