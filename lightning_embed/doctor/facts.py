"""What the doctor finds, in numbers."""

from dataclasses import dataclass, field

from lightning_embed.doctor.memory_model import Memory


@dataclass(frozen=True)
class RoleFacts:
    """The texts of one role of a source."""

    role: str
    columns: list[str]
    """Columns that it is read from; none where its texts are drawn by label."""
    prompt: str
    """Name of its prompt."""
    prompt_text: str
    """The prompt itself; empty if the student has none of that name."""
    texts: int
    """Texts that were measured."""
    histogram: list[int]
    """Texts of each of some equal ranges of length, from 1 token to the longest text."""
    least: int
    median: int
    most_of_them: int
    """95th percentile of the texts' lengths, in tokens."""
    most: int
    max_length: int
    """Tokens after which they are cut."""
    cut: float
    """Share of the texts that are cut."""
    lost: float
    """Share of the tokens that are lost by it."""
    example: str
    """One text as the tokenizer reads it, prompt and all."""
    example_tokens: int
    """Its tokens before it is cut."""


@dataclass(frozen=True)
class Repeats:
    """Texts that come more than once."""

    rows: int
    """Rows that were looked at."""
    row: int = 0
    """Rows of which an earlier one has all texts."""
    anchor: int = 0
    """Rows whose anchor an earlier one has."""
    positive: int = 0
    """Rows whose positive an earlier one has."""
    own: int = 0
    """Rows whose anchor is its own positive."""
    false_negative: int = 0
    """Rows that name their own anchor or positive as a negative."""


@dataclass(frozen=True)
class SourceFacts:
    """What a source holds."""

    split: str
    title: str
    files: list[str]
    task: str
    rows: int
    sampled: int
    """Rows that lengths were measured on."""
    roles: list[RoleFacts]
    columns: dict[str, str]
    """`score`, `label`, `document` -> column."""
    unused: list[str]
    """Columns that play no role."""
    repeats: Repeats
    classes: int = 0
    """Labels, where positives are drawn by them."""
    tiny_classes: int = 0
    """Labels of too few rows for positives to vary."""
    left_out: int = 0
    """Rows that cannot be used and are skipped."""
    not_taken: dict[str, int] = field(default_factory=dict)
    """Why other rows do not count -> how many."""
    without_negatives: int = 0
    """Rows without a negative, where others have some."""
    characters: float = 0.0
    """Mean characters of a row's texts."""


@dataclass(frozen=True)
class BatchFacts:
    """What a training source's batches come to."""

    batch_size: int
    """Rows of a step over all ranks, as configured."""
    rows: int
    """Rows of its largest batch that was looked at."""
    steps: int
    """Its steps in an epoch of the plan."""
    turns: int
    """Its steps in the whole run."""
    looked_at: int
    """Batches that were looked at."""
    padding_before: float
    """Share of padding if a batch were padded to its longest text."""
    padding_after: float
    """Share of padding in the chunks that the encoder makes."""
    documents: float
    """Mean number of documents of a step that are not the anchor's own."""
    negatives_least: int
    """The fewest of them that an anchor is contrasted with."""
    negatives: float
    """Their mean."""
    repeated: float
    """Share of the rows whose anchor or positive another row of the batch has among its texts."""
    chunks: list[tuple[int, int]]
    """(texts, tokens) of each forward of the longest batch, that of one rank."""
    anchors: int
    """Rows of that batch."""
    no_batch: float
    """Share of the rows that `no_duplicates` leaves out."""
    longest_known: bool
    """Whether it is the longest of the epoch, or only of those looked at."""


@dataclass(frozen=True)
class Stored:
    """How many of a source's different texts have their teacher's vector stored."""

    split: str
    title: str
    texts: int
    stored: int
    sampled: bool
    """Whether only some rows were looked at."""


@dataclass(frozen=True)
class StoreFacts:
    """What the teacher store has."""

    path: str | None
    """Where this teacher's vectors are; None: nowhere."""
    sources: list[Stored] = field(default_factory=list)
    damaged: int = 0
    """Shards that cannot be opened."""
    off: bool = False
    """Whether no stored vector is to be used."""


@dataclass(frozen=True)
class Diagnosis:
    """All of it."""

    sources: list[SourceFacts]
    batches: list[BatchFacts]
    """One for each training source."""
    steps_per_epoch: int
    steps: int | None
    """Batches that the run trains on; None: no end is set."""
    ranks: int
    contrastive: bool
    """Whether a loss contrasts anchors with other rows' documents."""
    memory: Memory
    memory_of: str
    """The source whose longest batch it is."""
    memory_there: int | None
    """Bytes that there are."""
    layout: str = ""
    """How the weights lie on the devices, in words."""
    memory_changes: list[tuple[str, int]] = field(default_factory=list)
    """Settings, and what that batch needs with each of them instead."""
    store: StoreFacts | None = None
    """What the teacher store has and lacks; None where no loss wants the teacher's vectors, or there are several teachers."""
    first_validation: int | None = None
    """Batches before the first validation; None: there are no validation pairs, or it comes after a time."""
    warnings: list[str] = field(default_factory=list)
    stores: dict[str, StoreFacts] = field(default_factory=dict)
    """The same of each of several teachers, by name."""
