"""What the longest batch needs on each device, and what would make it fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from lightning_embed.doctor.facts import BatchFacts
from lightning_embed.doctor.memory_model import Layout, Memory, Size, estimate, size_of
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.module import EmbeddingModule


@dataclass(frozen=True)
class Need:
    """The longest batch of a job, and how the job is run on it."""

    student: Size
    chunks: Sequence[tuple[int, int]]
    """(texts, tokens) of each forward that is kept."""
    teachers: Sequence[tuple[Size, bool]]
    """Those that are loaded, and whether each is sharded."""
    largest: tuple[int, int]
    """The largest of all forwards."""
    anchors: int
    documents: int
    mixed: bool
    layout: Layout
    chunks_again: bool
    layers_again: bool

    def memory(self) -> Memory:
        """What it comes to."""
        return estimate(
            self.student,
            self.chunks,
            teachers=self.teachers,
            teacher_chunk=self.largest,
            anchors=self.anchors,
            documents=self.documents,
            mixed=self.mixed,
            layout=self.layout,
            layers_again=self.layers_again,
        )


def longest_need(
    module: EmbeddingModule, batches: list[BatchFacts], titles: list[str], layout: Layout, mixed: bool, on_gpu: bool
) -> tuple[Need, str]:
    """The batch that needs most, and its source.

    Args:
        module: As `fit` would train it.
        batches: What each training source's batches come to.
        titles: Their sources.
        layout: How the weights lie on the devices.
        mixed: Whether it runs in mixed precision.
        on_gpu: Whether it runs on a GPU.
    """
    student = module.student
    loaded = [one for one in module.teachers.values() if isinstance(one, TextEncoder)]
    teachers = [(size_of(_outline(one), on_gpu), getattr(one, "shard", False)) for one in loaded]
    size, found = size_of(student.backbone, on_gpu), []
    for batch, title in zip(batches, titles, strict=False):
        need = Need(
            student=size,
            chunks=batch.chunks,
            teachers=teachers,
            largest=max(batch.chunks, key=lambda chunk: chunk[0] * chunk[1]),
            anchors=batch.anchors,
            documents=round(batch.documents) + 1,
            mixed=mixed,
            layout=layout,
            chunks_again=student.checkpoint_chunks,
            layers_again=student.checkpoint_layers,
        )
        found.append((need, title))
    return max(found, key=lambda one: one[0].memory().total)


def _outline(encoder: TextEncoder) -> nn.Module:
    """A backbone's sizes, without loading one that is loaded late."""
    return getattr(encoder, "outline", None) or encoder.backbone


def changes(need: Need) -> Iterator[tuple[str, int]]:
    """What could be set otherwise, one by one, and what the batch then needs: (setting, bytes), where it is less.

    Args:
        need: The job's longest batch.
    """
    ranks, (texts, tokens) = need.layout.ranks, need.largest
    tried: list[tuple[str, Need]] = []
    if ranks > 1 and not need.layout.shard:
        tried.append(("trainer.strategy: fsdp2", replace(need, layout=Layout(ranks, ranks))))
    if not need.chunks_again:
        tried.append(("student.checkpoint_chunks: true", replace(need, chunks=[need.largest], chunks_again=True)))
    elif texts > 1:
        half = (texts // 2, tokens)
        tried.append(("half of student.max_tokens", replace(need, chunks=[half], largest=half)))
    if not need.layers_again:
        tried.append(("student.checkpoint_layers: true", replace(need, layers_again=True)))
    if need.teachers:
        tried.append(("a teacher store (python -m lightning_embed cache)", replace(need, teachers=())))
    if need.layout.shard and not all(shard for _, shard in need.teachers):
        tried.append(("teacher.shard: true", replace(need, teachers=[(size, True) for size, _ in need.teachers])))
    if not need.mixed:
        tried.append(("trainer.precision: bf16-mixed", replace(need, mixed=True)))
    now = need.memory().total
    return ((setting, other.memory().total) for setting, other in tried if other.memory().total < now)
