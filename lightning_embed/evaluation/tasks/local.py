"""mteb tasks from a user's own files: the data is theirs, protocol and scores are mteb's.

Imports mteb, which takes seconds: import this module where it is used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskClassification, AbsTaskClustering, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

from lightning_embed.compat.mteb import folds, nearest_task, score_folds_of_two_labels
from lightning_embed.errors import UserError
from lightning_embed.evaluation.tasks.files import (
    RetrievalData,
    columns_of,
    read_beir,
    read_labelled,
    read_pairs,
    read_query_pairs,
)
from lightning_embed.evaluation.tasks.learnable import check_learnable
from lightning_embed.utils.hashing import contents_hash

Kind = Literal["retrieval", "sts", "classification", "clustering"]
KINDS: tuple[Kind, ...] = ("retrieval", "sts", "classification", "clustering")


class LocalRetrieval(AbsTaskRetrieval):
    """Retrieval in a folder of BEIR's layout, or among the positives of a file of pairs.

    Args:
        metadata: Its name and score.
        data: Corpus, queries and judgements.
    """

    def __init__(self, metadata: TaskMetadata, data: RetrievalData) -> None:
        self.metadata = metadata
        super().__init__()
        split: Any = {
            "corpus": data.corpus,
            "queries": data.queries,
            "relevant_docs": data.relevant,
            "top_ranked": None,
        }
        self.dataset, self.data_loaded = {"default": {"test": split}}, True


class LocalSTS(AbsTaskSTS):
    """Pairs of sentences with a score.

    Args:
        metadata: Its name and score.
        data: Columns sentence1, sentence2, score.
    """

    def __init__(self, metadata: TaskMetadata, data: Dataset) -> None:
        self.metadata = metadata
        super().__init__()
        self.min_score, self.max_score = min(data["score"]), max(data["score"])
        self.dataset, self.data_loaded = DatasetDict(test=data), True


class LocalClassification(AbsTaskClassification):
    """Labelled texts: logistic regression on a few texts a label, ten times; five-fold where there is one file only.

    Args:
        metadata: Its name and score.
        train: Columns text, label.
        test: The same; None: mteb's cross-validation on `train`.
        shots: Training texts a label.
    """

    def __init__(self, metadata: TaskMetadata, train: Dataset, test: Dataset | None, shots: int) -> None:
        self.metadata = metadata
        super().__init__()
        self.samples_per_label, self.is_cross_validation = shots, test is None
        splits = {"train": train} if test is None else {"train": train, "test": test}
        # As numbers, those of the tested texts first: mteb's average precision takes two classes for 0 and 1.
        tested = set((test or train)["label"])
        names = sorted(tested | set(train["label"]), key=lambda name: (name not in tested, name))
        number = {name: i for i, name in enumerate(names)}
        splits = {
            split: data.remove_columns("label").add_column("label", [number[name] for name in data["label"]])
            for split, data in splits.items()
        }
        self.dataset, self.data_loaded = DatasetDict(splits), True
        if len(names) > 2:
            score_folds_of_two_labels(self)


class LocalClustering(AbsTaskClustering):
    """Labelled texts, clustered by mini-batch k-means ten times, scored by V-measure.

    Args:
        metadata: Its name and score.
        data: Columns text, label; all are embedded.
    """

    max_fraction_of_documents_to_embed = None
    input_column_name = "text"
    label_column_name = "label"

    def __init__(self, metadata: TaskMetadata, data: Dataset) -> None:
        self.metadata = metadata
        super().__init__()
        self.max_documents_per_cluster = min(len(data), AbsTaskClustering.max_documents_per_cluster)
        self.dataset, self.data_loaded = DatasetDict(test=data), True


def read_tasks(specs: Sequence[str], shots: int = 16) -> list[AbsTask]:
    """The tasks that a user names, the local ones with their data read and checked.

    Args:
        specs: Names of mteb's tasks or benchmarks, and `[NAME=][KIND:]PATH[,PATH]`.
        shots: Training texts a label, for local classification.

    Raises:
        UserError: A name or path is unknown, a file is not what its kind needs, or two tasks have one name.
    """
    if not specs:
        raise UserError("tasks: at least one is needed: mteb's names, or folders and files")
    tasks = [task for spec in specs for task in _read(spec, shots)]
    names = [task.metadata.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"tasks: two are called '{twice[0]}'; name one of them: OTHER=[KIND:]PATH")
    return tasks


def _read(spec: str, shots: int) -> list[AbsTask]:
    name, equals, rest = spec.partition("=")
    if not equals or "/" in name or ":" in name:
        name, rest = "", spec
    kind, colon, paths = rest.partition(":")
    if not colon or kind not in KINDS:
        if colon and not Path(rest).exists() and "/" not in kind:
            raise UserError(f"task '{spec}': unknown kind '{kind}'; give {', '.join(KINDS)}")
        kind, paths = "", rest
    first, _, second = paths.partition(",")
    path = Path(first).expanduser()
    if not path.exists():
        if kind or second or "/" in first or path.suffix in (".jsonl", ".gz", ".csv", ".tsv", ".parquet"):
            raise UserError(f"task '{spec}': no file or folder {path}")
        return _stock(first)
    return [_local(spec, kind or _guess(spec, path, second), name, path, second, shots)]


def _guess(spec: str, path: Path, second: str) -> str:
    if path.is_dir():
        return "retrieval"
    columns = columns_of(path)
    if {"sentence1", "sentence2", "score"} <= set(columns):
        return "sts"
    if {"anchor", "positive"} <= set(columns):
        return "retrieval"
    if {"text", "label"} <= set(columns):
        if second:
            return "classification"
        raise UserError(
            f"task '{spec}': classification or clustering? write classification:{path} or clustering:{path}"
        )
    raise UserError(
        f"task '{spec}': its kind is not clear from the columns {', '.join(columns) or '(none)'}; "
        f"write KIND:{path}, KIND one of {', '.join(KINDS)}"
    )


def _local(spec: str, kind: str, name: str, path: Path, second: str, shots: int) -> AbsTask:
    stem = path.name if path.is_dir() else path.name.split(".")[0]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name or stem)
    if kind == "retrieval" and path.is_dir():
        data = read_beir(path, second or None)
        if data.unjudged:
            print(
                f"note: task {name}: {data.unjudged:,} of {data.unjudged + len(data.queries):,} queries have no relevant "
                "document in the judgements and are left out",
                file=sys.stderr,
            )
        files = [*path.glob("corpus.jsonl*"), *path.glob("queries.jsonl*"), *path.glob("qrels/*.tsv")]
        return LocalRetrieval(
            _metadata(name, "Retrieval", "t2t", "ndcg_at_10", contents_hash(sorted(files)), second), data
        )
    if not path.is_file():
        raise UserError(f"task '{spec}': expected a file, got a folder")
    if second and kind != "classification":
        raise UserError(f"task '{spec}': {kind} takes one file")
    revision = contents_hash(
        [path, *([Path(second).expanduser()] if second and Path(second).expanduser().is_file() else [])]
    )
    if kind == "retrieval":
        return LocalRetrieval(_metadata(name, "Retrieval", "t2t", "ndcg_at_10", revision), read_query_pairs(path))
    if kind == "sts":
        return LocalSTS(_metadata(name, "STS", "t2t", "cosine_spearman", revision), read_pairs(path))
    if kind == "clustering":
        return LocalClustering(_metadata(name, "Clustering", "t2c", "v_measure", revision), read_labelled(path))
    test = read_labelled(Path(second).expanduser()) if second else None
    metadata = _metadata(
        name, "Classification", "t2c", "accuracy", f"{revision}-{shots}", "test" if second else "train"
    )
    train = read_labelled(path)
    task = LocalClassification(metadata, train, test, shots)
    check_learnable(
        name,
        path,
        _parts(task, list(train["label"]), None if test is None else list(test["label"]), path),
        test is None,
    )
    return task


def _parts(
    task: LocalClassification, labels: list[str], tested: list[str] | None, path: Path
) -> list[tuple[list[str], list[str]]]:
    """Labels of the training texts and of the tested ones, of each fold or of the two files."""
    if tested is not None:
        return [(labels, tested)]
    try:
        tests = folds(task, len(labels))
    except ValueError:
        raise UserError(
            f"{path}: {len(labels)} texts are too few for the folds of a cross-validation; give more, or others to test on: "
            f"classification:{path},TEST"
        ) from None
    found = []
    for fold in tests:
        inside = set(fold.tolist())
        found.append(
            ([label for i, label in enumerate(labels) if i not in inside], [labels[i] for i in sorted(inside)])
        )
    return found


def _metadata(name: str, kind: Any, category: Any, score: str, revision: str, split: str = "") -> TaskMetadata:
    # mteb wants a language for each task and knows no word for an unknown one; nothing is computed from it.
    evaluated = split if kind == "Classification" else "test"
    return TaskMetadata(
        name=name,
        description="A user's own files.",
        type=kind,
        category=category,
        main_score=score,
        eval_splits=[evaluated],
        eval_langs=["eng-Latn"],
        dataset={"path": "local", "revision": f"{revision}-{split}" if split else revision},
    )


def _stock(name: str) -> list[AbsTask]:
    import mteb

    try:
        return [mteb.get_task(name)]
    except KeyError as error:
        near = nearest_task(error)
    try:
        return list(mteb.get_benchmark(name).tasks)
    except (KeyError, ValueError):
        hint = f"; did you mean {near}?" if near else ""
        raise UserError(f"task '{name}': neither a file, nor a task or benchmark of mteb{hint}") from None
