"""Rows given in Python: a list of dicts, a data frame or a `datasets.Dataset` is a source like any file."""

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lightning_embed import EmbeddingDataModule, Source, UserError
from lightning_embed.datamodules.sources.in_memory import is_kept
from lightning_embed.datamodules.token_cache import cached
from lightning_embed.tokenizer import TextTokenizer

ROWS = [{"anchor": f"w{i} w{i + 1}", "positive": f"w{i + 2}"} for i in range(5)]
FORMS: dict[str, Any] = {
    "list": ROWS,
    "frame": pd.DataFrame(ROWS),
    "part of a frame": pd.DataFrame([ROWS[0], *ROWS]).iloc[1:],
    "frame with a named index": pd.DataFrame(ROWS).set_index("anchor"),
    "Arrow table": pa.Table.from_pylist(ROWS),
    "Dataset": datasets.Dataset.from_list(ROWS),
    "part of a Dataset": datasets.Dataset.from_list([ROWS[0], *ROWS]).select(range(1, 6)),
    "renamed Dataset": datasets.Dataset.from_list(
        [{"a": r["anchor"], "b": r["positive"]} for r in ROWS]
    ).rename_columns({"a": "anchor", "b": "positive"}),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def texts(data: EmbeddingDataModule) -> list[dict[str, list[Any]]]:
    return [rows.take(range(len(rows))) for rows in data.rows("train")]


def refused(given: Any, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        EmbeddingDataModule(given, **settings).rows("train")
    return str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_its_rows_alone_or_in_a_list(form: str) -> None:
    expected = {role: [row[role] for row in ROWS] for role in ("anchor", "positive")}
    for given in (FORMS[form], [FORMS[form]], Source(FORMS[form]), {"path": FORMS[form]}):
        assert texts(EmbeddingDataModule(given)) == [expected]


def test_titles_are_numbered_or_given_and_paths_stand_beside_rows(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"anchor": "a", "positive": "b"}\n')
    data = EmbeddingDataModule([ROWS, Source(file), ROWS, Source(ROWS, name="mine"), Source(ROWS), Source(ROWS)])
    assert [rows.source.title for rows in data.rows("train")] == [
        "rows 1",
        "pairs",
        "rows 3",
        "mine",
        "rows",
        "rows (2)",
    ]


def test_settings_apply_and_numbers_of_numpy_are_numbers() -> None:
    row = {"q": np.str_("a"), "a": ("b", "c"), "how": np.float32(0.5), "negative": np.array(["x"], dtype=object)}
    columns = {"anchor": "q", "positive": "a", "score": "how", "negative": "negative"}
    (taken,) = texts(EmbeddingDataModule(Source([row], columns=columns)))
    assert taken == {"anchor": ["a"], "positive": [["b", "c"]], "score": [0.5], "negative": [["x"]]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([*ROWS, {"anchor": " ", "positive": "b"}], "row 6, column 'anchor': expected a text, got an empty one"),
        ([*ROWS, {"anchor": "a"}], "row 6, column 'positive': expected a text, got an empty one"),
        ([*ROWS, {"anchor": 3, "positive": "b"}], "row 6, column 'anchor': expected a text, got a number"),
        ([*ROWS, {"anchor": object(), "positive": "b"}], "row 6, column 'anchor': expected a text, got an object"),
        ([*ROWS, "text"], "row 6: expected a dict such as"),
        (pd.DataFrame({"anchor": ["a", None], "positive": ["b", "c"]}), "row 2, column 'anchor': expected a text, got an empty"),
        (pd.DataFrame({"anchor": ["a", 3], "positive": ["b", "c"]}), "row 2, column 'anchor': expected a text, got a number"),
        (datasets.Dataset.from_list([*ROWS, {"anchor": "a", "positive": ""}]), "row 6, column 'positive': expected a text"),
        (pd.DataFrame([["a", "b"]], columns=["anchor", "anchor"]), "the column 'anchor' appears twice"),
        (pd.DataFrame({"anchor": []}), "the DataFrame has no rows"),
        ([[{"k": "a", "l": "b", "m": "c"}]], "the columns found are k, l, m"),
        ([{"k": "a", "l": "b"}], "if this is a row, give Source(rows, columns="),
        (FORMS["Dataset"].to_iterable_dataset(), "an IterableDataset gives them one after the other only"),
        (datasets.DatasetDict(train=FORMS["Dataset"]), "has the splits train; give one of them, e.g. data['train']"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_row(given: Any, said: str, cache: Path) -> None:
    message = refused(given)
    assert said in message and "\n" not in message and str(cache) not in message


def test_unusable_rows_are_left_out_on_request() -> None:
    data = EmbeddingDataModule(ROWS * 40 + [{"anchor": "a"}], on_bad_row="skip")
    assert len(data.rows("train")[0]) == 200
    assert [row.where for _, row in data.bad_rows.found] == ["rows given in Python, row 201"]


def test_the_kept_file_is_a_function_of_the_content(cache: Path) -> None:
    def file(given: Any) -> str:
        return Source(given).paths[0]

    changed = [{**ROWS[0], "positive": "w9"}, *ROWS[1:]]
    assert file(ROWS) == file([dict(row) for row in ROWS]) == file(pd.DataFrame(ROWS)) != file(changed)
    assert file(FORMS["Dataset"]) == file(FORMS["part of a Dataset"]) == file(FORMS["renamed Dataset"])
    swapped = FORMS["Dataset"].rename_columns({"anchor": "positive", "positive": "anchor"})
    assert file(FORMS["Dataset"]) != file(swapped)
    times = {Path(file(given)).stat().st_mtime_ns for given in (ROWS, FORMS["Dataset"])}
    assert times == {0} and is_kept(file(ROWS))


def test_tokens_are_cached_by_content(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_embed.datamodules.token_cache.user_cache", lambda: tmp_path / "user")
    tokenizer = TextTokenizer(student, {}, 16, False)
    for rows, folders in ((ROWS, 1), (list(ROWS), 1), (ROWS[1:], 2)):
        (opened,) = EmbeddingDataModule(rows).rows("train")
        cached(tokenizer, opened)
        assert len(list((tmp_path / "user/tokens").iterdir())) == folders


def test_a_checkpoint_of_other_rows_is_refused_and_of_the_same_resumed(student: Path) -> None:
    def started(rows: Any, resumed: dict[str, Any] | None) -> EmbeddingDataModule:
        data = EmbeddingDataModule(rows, global_batch_size=2, num_workers=2)
        data.tokenizers = {"student": TextTokenizer(student, {}, 16, False)}
        data.load_state_dict(resumed or {})
        return data

    state = {"step": 1, "plan": started(ROWS, None).signature}
    before = [batch.rows for batch in started(ROWS, None).train_dataloader()]
    assert [batch.rows for batch in started(list(ROWS), state).train_dataloader()][:1] == before[1:2]
    with pytest.raises(UserError, match="rows given in Python"):
        started(ROWS[::-1], state).train_dataloader()


def test_a_module_of_rows_travels_to_another_process() -> None:
    data = pickle.loads(pickle.dumps(EmbeddingDataModule(ROWS)))
    assert len(data.rows("train")[0]) == 5
