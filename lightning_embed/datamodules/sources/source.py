"""A source: where rows come from, and which column plays which role."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lightning_embed.batch import ANCHOR, ROLES
from lightning_embed.datamodules.sources import in_memory
from lightning_embed.errors import UserError
from lightning_embed.utils.numbers import check_number

Task = Literal["retrieval", "text-matching", "clustering", "classification"]
Format = Literal["json", "csv", "tsv", "parquet", "arrow", "beir", "corpus"]
LongTexts = Literal["cut", "chunk"]
if TYPE_CHECKING:
    RowsOf = str | Path | Sequence[str | Path] | in_memory.InMemory
else:  # what a configuration can hold
    RowsOf = str | Path | list[str | Path]


@dataclass
class Source:
    """Rows of one data set.

    A row has an `anchor` and, as needed, a `positive` (a text, or a list of which another one is taken each epoch), negatives
    (`negative`, a text or a list, or `negative_1` … `negative_n`), a `score` and a `label`. Rows of a text and a label, without a
    positive, get a positive of their label and negatives of other labels, drawn again each epoch. A `document`, which only `columns`
    can name, is the id of what the positive is about: rows of one document must not count as negatives of each other.
    """

    path: RowsOf
    """JSONL, JSON, CSV, TSV, Parquet or Arrow file(s), also with glob characters or compressed (.gz, .zst); a folder in BEIR's layout
    (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv) or one that `datasets.save_to_disk` wrote; or a Hugging Face data set's id. In Python
    also rows: a list of dicts, a data frame or a `datasets.Dataset`, of which a copy is kept in the cache of `datasets`."""
    format: Format | None = None
    """Format of the files; None: by their names. `corpus`, also of a file of that name: JSON lines in the form of BEIR's corpus.jsonl,
    whose title and text are one text."""
    delimiter: str | None = None
    """What stands between the cells of a CSV file, such as ";". None: a comma, and a tab in TSV."""
    columns: dict[str, str] | None = None
    """Role -> column of the data. None: by the columns' names, which may be the roles', FlagEmbedding's (query, pos, neg), Tevatron's
    (positive_passages, negative_passages), sentence-transformers' (sentence1, sentence2) or such as question and answer; one or two
    columns of texts alone are taken by their order."""
    name: str | None = None
    """What the source is called in logs and messages. None: the file's name."""
    split: str = "train"
    """Split of a Hugging Face data set; which judgements of a BEIR folder."""
    subset: str | None = None
    """Subset (configuration) of a Hugging Face data set."""
    task: Task | None = None
    """What its rows teach. Every task but retrieval gives all its texts the document prompt. None: retrieval."""
    weight: float = 1.0
    """Its share in the mixture, > 0: see `mixture`."""
    batch_size: int | None = None
    """Rows of a step of this source over all ranks together. None: the data module's global_batch_size."""
    max_length: int | None = None
    """Tokens after which its texts are cut, up to the model's max_length. None: the model's."""
    long_texts: LongTexts = "cut"
    """What becomes of texts longer than max_length: they are cut, or (`chunk`) a row whose positive (or lone anchor) is too long
    becomes several rows, one for each piece. Pieces of one text do not count as negatives of each other."""
    prompts: dict[str, str] | None = None
    """Role -> name of the prompt that its texts get: `query`, `document` or another of the model's. None: by the task."""
    negatives: int | None = None
    """The most negatives of a row; where it has more, others are taken each epoch. None: all; 7 for rows of text and label."""
    corpus: int = 100_000
    """The most documents of a held-out BEIR folder that are relevant to none of its queries and that its queries are ranked among all
    the same; of more, a sample by hash."""
    filter: list[str] | None = None
    """Conditions that a row must meet, each `COLUMN OPERATOR VALUE`, such as "score >= 0.5" or "language == 'en'"."""
    teachers: list[str] | None = None
    """Names of the teachers whose losses are called on it, where the model has several; none (`[]`) leaves out every loss that takes a
    teacher. None: all."""

    def __post_init__(self) -> None:
        if in_memory.is_in_memory(self.path):
            self.name = self.name or "rows"
            self.path = in_memory.keep(self.path, self.name)
        if not self.paths or not all(isinstance(path, str | Path) and str(path).strip() for path in self._given):
            raise UserError(f"a source's path must be a path or a list of paths, got {self.path!r:.80}")
        for name, value, least in (
            ("batch_size", self.batch_size, 1),
            ("max_length", self.max_length, 1),
            ("negatives", self.negatives, 0),
        ):
            check_number(f"source '{self.title}': {name}", value, least=least, whole=True, optional=True)
        check_number(f"source '{self.title}': corpus", self.corpus, least=0, whole=True)
        check_number(f"source '{self.title}': weight", self.weight, above=0)
        if isinstance(self.filter, str):
            self.filter = [self.filter]
        self._check_words()

    def _check_words(self) -> None:
        """Raises `UserError` at the first setting that is no text, or not one of those that there are."""
        for name, choices in (
            ("format", get_args(Format)),
            ("task", get_args(Task)),
            ("long_texts", get_args(LongTexts)),
        ):
            value = getattr(self, name)
            if value not in (*choices, None) or (value is None and name == "long_texts"):
                self._refuse(name, f"one of {', '.join(choices)}", value)
        for name in ("name", "split", "subset"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and not (value is None and name != "split"):
                self._refuse(name, "a text", value)
        for name in ("columns", "prompts"):
            value = getattr(self, name)
            if value is not None and not (
                isinstance(value, dict) and all(isinstance(v, str) for v in (*value, *value.values()))
            ):
                self._refuse(name, "texts by role, such as {anchor: question}", value)
        if self.filter is not None and not (
            isinstance(self.filter, list) and all(isinstance(c, str) for c in self.filter)
        ):
            self._refuse("filter", "a list of conditions", self.filter)
        if self.teachers is not None and not (
            isinstance(self.teachers, list) and all(isinstance(name, str) for name in self.teachers)
        ):
            self._refuse("teachers", "a list of names", self.teachers)
        if self.delimiter is not None and not (isinstance(self.delimiter, str) and len(self.delimiter) == 1):
            self._refuse("delimiter", "one character", self.delimiter)
        unknown = [role for role in self.prompts or {} if role not in ROLES]
        if unknown:
            self._refuse("prompts", ", ".join(ROLES), ", ".join(unknown), shown=str)

    def _refuse(self, name: str, expected: str, value: Any, shown: Any = repr) -> None:
        raise UserError(f"source '{self.title}': {name}: expected {expected}, got {shown(value)}")

    @property
    def _given(self) -> list[Any]:
        return list(self.path) if isinstance(self.path, list | tuple) else [self.path]

    @property
    def paths(self) -> list[str]:
        """Its path or paths as a list."""
        return [str(path) for path in self._given]

    @property
    def title(self) -> str:
        """The source's name."""
        if self.name or not self.paths:
            return self.name or "unnamed"
        path = Path(self.paths[0])
        title = path.name.split(".")[0]
        return title if title.strip("*?") else path.parent.name or title  # of folder/*.jsonl, the folder's

    def has_teacher(self, name: str) -> bool:
        """Whether the losses of a teacher are called on it.

        Args:
            name: The teacher's.
        """
        return self.teachers is None or name in self.teachers

    def prompt_of(self, role: str, roles: set[str]) -> str:
        """Whose prompt a role's texts get.

        Args:
            role: `anchor`, `positive` or `negative`.
            roles: All text roles of the source.
        """
        queries = self.task in (None, "retrieval") and len(roles) > 1
        return (self.prompts or {}).get(role, "query" if role == ANCHOR and queries else "document")
