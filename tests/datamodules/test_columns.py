"""Which column plays which role, where people bring files with names of their own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_embed import EmbeddingDataModule, Source, UserError
from tests.doctor.jobs import found, refused
from tests.toys import WORDS


@pytest.fixture
def job(student: Path, tmp_path: Path) -> dict[str, Any]:
    model = {"student": {"model": str(student)}, "losses": {"nce": {"loss": "InfoNCE"}}}
    return {
        "model": {"class_path": "EmbeddingModule", "init_args": model},
        "data": {"class_path": "EmbeddingDataModule", "init_args": {"global_batch_size": 4, "num_workers": 0}},
        "trainer": {"max_steps": 4, "default_root_dir": str(tmp_path / "run"), "accelerator": "cpu"},
    }


def table(head: str, rows: int = 12) -> str:
    """A CSV under that head: ids, indices and ratings are numbers, every other cell is two words."""
    numbers = ("", "id", "nr", "rating", "similarity", "Unnamed: 0")
    lines = [head]
    for i in range(rows):
        words = (str(i) if name in numbers else f"{WORDS[i]} {name[:1]}{WORDS[-i]}" for name in head.split(","))
        lines.append(",".join(words))
    return "\n".join(lines) + "\n"


def put(folder: Path, head: str) -> str:
    (folder / "faq.csv").write_text(table(head))
    return str(folder / "faq.csv")


@pytest.mark.parametrize(
    ("head", "roles"),
    [
        ("id,question,answer", {"anchor": ["question"], "positive": ["answer"]}),
        (",question,answer", {"anchor": ["question"], "positive": ["answer"]}),
        ("answer,question,url", {"anchor": ["question"], "positive": ["answer"]}),
        ("Question,Response", {"anchor": ["Question"], "positive": ["Response"]}),
        ("query,passage,title", {"anchor": ["query"], "positive": ["passage"]}),
        ("text2,text1", {"anchor": ["text1"], "positive": ["text2"]}),
        ("anchor,positive,question,answer", {"anchor": ["anchor"], "positive": ["positive"]}),
        ("frage,antwort", {"anchor": ["frage"], "positive": ["antwort"]}),
    ],
)
def test_known_names_give_the_roles_whatever_stands_beside_them(
    tmp_path: Path, head: str, roles: dict[str, list[str]]
) -> None:
    (rows,) = EmbeddingDataModule([Source(put(tmp_path, head))]).rows("train")
    assert rows.columns == roles


@pytest.mark.parametrize(
    ("head", "setting"),
    [
        ("id,frage,antwort", "{anchor: frage, positive: antwort}"),
        (",frage,antwort", "{anchor: frage, positive: antwort}"),
        ("Unnamed: 0,frage,antwort", "{anchor: frage, positive: antwort}"),
        ("frage,antwort,quelle", "{anchor: frage, positive: antwort}"),
        ("frage,antwort,similarity", "{anchor: frage, positive: antwort}"),
        ("question,context,answer", "{anchor: question, positive: context}"),
        ("question,text", "{anchor: question, positive: text}"),
        ("query,titel", "{anchor: query, positive: titel}"),
        ("17,18", "{anchor: COLUMN, positive: COLUMN}"),
    ],
)  # fmt: skip
def test_where_the_names_leave_it_open_the_columns_are_shown_with_the_setting_to_write(
    tmp_path: Path, head: str, setting: str
) -> None:
    with pytest.raises(UserError) as refused:
        EmbeddingDataModule([Source(put(tmp_path, head))]).setup("fit")
    columns = ", ".join(name or "'' (without a name)" for name in head.split(","))
    assert f"the columns found are {columns}" in str(refused.value)
    assert f"e.g. columns: {setting}" in str(refused.value)


def test_fit_and_doctor_refuse_to_guess_and_the_setting_that_they_show_is_understood(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source: dict[str, Any] = {"path": put(tmp_path, ",frage,antwort")}
    job["data"]["init_args"]["train"] = [source]
    line = refused("doctor", job, tmp_path, capsys)
    assert refused("fit", job, tmp_path, capsys) == line
    source["columns"] = yaml.safe_load(line.rpartition("columns: ")[2])
    (facts,) = found(job, tmp_path)["sources"]
    assert {role["role"]: role["columns"] for role in facts["roles"]} == {"anchor": ["frage"], "positive": ["antwort"]}


def test_a_column_that_looks_like_a_role_and_plays_none_is_named(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["train"] = [{"path": put(tmp_path, "query,answer,similarity,url")}]
    (source,) = found(job, tmp_path)["sources"]
    assert "not used, since no role has such a name: similarity; " in capsys.readouterr().err
    assert source["unused"] == ["similarity", "url"]
