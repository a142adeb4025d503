"""What the doctor says of the teacher store."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import run
from tests.doctor.jobs import found, put, refused
from tests.toys import toy_pairs


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_is_stored_and_what_is_lacking(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = toy_pairs(64)
    file = put(tmp_path / "rows.jsonl", rows)
    job["data"]["init_args"] |= {
        "train": [{"path": str(file)}],
        "validation": [{"path": str(file), "name": "held-out"}],
    }
    assert found(job, tmp_path)["store"]["path"] is None
    assert "teacher store: it has nothing of this teacher" in capsys.readouterr().out
    job["data"]["init_args"]["validation"] = []
    run("cache", job, tmp_path)
    put(file, [*rows, {"anchor": "w9 w9 w9", "positive": "w8 w8 w8"}])
    capsys.readouterr()
    (source,) = found(job, tmp_path)["store"]["sources"]
    texts = len({text for row in rows for text in row.values()})
    assert (source["texts"], source["stored"]) == (texts + 2, texts)
    out = capsys.readouterr().out
    assert f"warning: teacher store: 2 of {texts + 2} texts looked at have no stored vector" in out
    job["data"]["init_args"]["teacher_store"] = "off"
    run("doctor", job, tmp_path)
    assert "teacher store: it is off" in capsys.readouterr().out


def test_the_teacher_is_not_loaded(job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("lightning_embed.encoders.teacher.FrozenEncoder.load_backbone", fail)
    assert found(job, tmp_path)["memory"]["teacher"] > 0


def test_a_teacher_of_given_vectors_that_lacks_one_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = toy_pairs(64)
    texts = sorted({text for row in rows for text in row.values()})
    np.save(tmp_path / "given.npy", np.ones((len(texts), 8), dtype=np.float32))
    (tmp_path / "given.txt").write_text("\n".join(texts) + "\n")
    with pytest.raises(SystemExit) as stop:
        run("cache", job, tmp_path, "--import", str(tmp_path / "given.npy"), "--import_name", "api")
    assert stop.value.code == 0
    job["model"]["init_args"]["teacher"] = {"class_path": "StoredTeacher", "init_args": {"name": "api", "dim": 8}}
    file = put(tmp_path / "rows.jsonl", rows)
    job["data"]["init_args"]["train"] = [{"path": str(file)}]
    assert found(job, tmp_path)["store"]["sources"][0]["stored"] == len(texts)
    put(file, [*rows, {"anchor": "w9 w9 w9", "positive": "w8 w8 w8"}])
    capsys.readouterr()
    error = refused("doctor", job, tmp_path, capsys)
    assert "w9 w9 w9" in error and "rows" in error
