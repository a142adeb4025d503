"""What a report holds, as dataclasses: numbers and words that others measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_embed.evaluation.metrics.grid import GridRow, full_precision
from lightning_embed.utils.teacher_names import ONE

TEACHER, BEFORE, AFTER = "teacher", "student before", "student after"
SWAPS = {
    "student queries, teacher documents": ("student", "teacher"),
    "teacher queries, student documents": ("teacher", "student"),
    "student queries, student documents": ("student", "student"),
}
"""In the teacher's space: name -> who embeds queries, and who documents."""


def teacher_title(name: str) -> str:
    """What a report calls a teacher: `teacher`, and one of several `teacher NAME`.

    Args:
        name: Its name; a lone one's is empty.
    """
    return f"{TEACHER} {name}" if name else TEACHER


def swap_title(swap: str, name: str) -> str:
    """What a report calls one of `SWAPS` in a teacher's space.

    Args:
        swap: Its name.
        name: The teacher's; a lone one's is empty.
    """
    return f"{swap} ({name})" if name else swap


@dataclass(frozen=True)
class ModelReport:
    """What is known of one model; None where it was not measured."""

    name: str
    """A `teacher_title`, `student before` or `student after` (these the headline speaks of), or any other."""
    dim: int | None = None
    """Entries of its vectors."""
    parameters: int | None = None
    """How many it has."""
    size_bytes: int | None = None
    """What its folder takes on disk."""
    layers: int | None = None
    """Of the backbone."""
    texts_per_second: float | None = None
    """How fast it encodes, on the device and the texts of this run."""
    grid: list[GridRow] = field(default_factory=list)
    """As `HeldOutMetric.grid` gives it."""

    def score(self, metric: str) -> float | None:
        """The score, 0 to 1, of its full vectors in float32; None where it is not known.

        Args:
            metric: Such as `ndcg@10`.
        """
        row = full_precision(self.grid)
        return row.scores.get(metric) if row else None


@dataclass(frozen=True)
class TrainingFacts:
    """What the training took."""

    steps: int
    """Optimizer steps."""
    rows: int
    """Rows of data seen, on all ranks."""
    tokens: int | None = None
    """Real tokens that the student read, on all ranks."""
    seconds: float | None = None
    """Wall-clock time."""
    device: str = ""
    """In words, such as `2 x NVIDIA H100`."""
    versions: dict[str, str] = field(default_factory=dict)
    """Package -> version."""


@dataclass(frozen=True)
class Report:
    """All that a report says; nothing in it is computed from anything else."""

    models: list[ModelReport]
    """In the order of the tables."""
    training: TrainingFacts | None = None
    """None where nothing was trained."""
    scored_on: str = ""
    """What the scores were taken on, in words: `2,000 held-out pairs of python_docs`."""
    metric: str = "ndcg@10"
    """The metric of the headline, the grid tables and the picture."""
    artefacts: dict[str, str] = field(default_factory=dict)
    """What -> path."""
    exported: str = ""
    """The exported model's folder."""
    notes: list[str] = field(default_factory=list)
    """Sentences that a reader must know, such as how many texts were cut."""
    failures: list[str] = field(default_factory=list)
    """What does not hold and should: gates, and an export that failed."""
    swaps: list[ModelReport] = field(default_factory=list)
    """The student in a teacher's space, by the titles of `SWAPS`; empty where it is not in it."""
    teachers: list[str] = field(default_factory=lambda: [ONE])
    """The names of the run's teachers; a lone one's is empty."""

    def swaps_of(self, teacher: str) -> list[ModelReport]:
        """The student in one teacher's space.

        Args:
            teacher: The teacher's name.
        """
        titles = [swap_title(swap, teacher) for swap in SWAPS]
        return [model for model in self.swaps if model.name in titles]

    def model(self, name: str) -> ModelReport | None:
        """The model of that name, if it is there.

        Args:
            name: Such as `teacher`.
        """
        return next((model for model in self.models if model.name == name), None)
