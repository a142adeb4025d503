"""Vectors come from the model or from its store."""

from pathlib import Path

import numpy as np
import pytest

from lightning_embed.__main__ import main
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys
from lightning_embed.encoders.teacher import FrozenEncoder, given_identity
from tests.mining.commands import mined, near_pairs
from tests.toys import toy_folder


def all_texts() -> list[str]:
    return sorted({row[role] for row in near_pairs() for role in ("anchor", "positive")})


def test_stored_vectors_are_used_in_the_place_of_the_models_own(teacher: Path, near: Path, tmp_path: Path) -> None:
    other = FrozenEncoder(str(toy_folder(tmp_path / "other", hidden=48, seed=9)))
    mine = FrozenEncoder(str(teacher))
    store = TeacherStore(tmp_path / "store", mine.identity() or {})
    texts = all_texts()
    store.add(content_keys(texts, "", mine.max_length), other.encode(texts).numpy().astype(np.float16))
    stored = ["--teacher_store", str(tmp_path / "store"), "--relative_margin", "0.01"]
    rows = mined(teacher, near, tmp_path / "a.jsonl", *stored)
    assert rows == mined(Path(other.model), near, tmp_path / "b.jsonl", "--relative_margin", "0.01")
    assert rows != mined(teacher, near, tmp_path / "c.jsonl", "--relative_margin", "0.01")


def test_a_text_without_a_vector_is_encoded_or_named(
    teacher: Path, near: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, texts = FrozenEncoder(str(teacher)), all_texts()
    vectors = mine.encode(texts).numpy().astype(np.float16)
    some = TeacherStore(tmp_path / "some", mine.identity() or {})
    some.add(content_keys(texts[::2], "", mine.max_length), vectors[::2])
    rows = mined(teacher, near, tmp_path / "a.jsonl", "--teacher_store", str(tmp_path / "some"))
    assert rows == mined(teacher, near, tmp_path / "b.jsonl", "--teacher_store", "off")

    given = TeacherStore(tmp_path / "given", given_identity("voyage", 48))
    given.add(content_keys(texts[1:], "", None), vectors[1:])
    voyage = "{class_path: StoredTeacher, init_args: {name: voyage, dim: 48}}"
    named = ["mine", "--teacher", voyage, "--source.path", str(near)]
    with pytest.raises(SystemExit):
        main([*named, "--teacher_store", str(tmp_path / "given"), "--out", str(tmp_path / "c.jsonl")])
    said = capsys.readouterr().err
    assert f"the text {texts[0]!r} has no vector among those given as 'voyage'" in said
    given.add(content_keys(texts[:1], "", None), vectors[:1])
    main([*named, "--teacher_store", str(tmp_path / "given"), "--out", str(tmp_path / "c.jsonl")])
    assert (tmp_path / "c.jsonl").read_text() == (tmp_path / "a.jsonl").read_text()


def test_random_weights_mine_nothing(
    teacher: Path, near: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        mined(teacher, near, tmp_path / "a.jsonl", "--teacher.random_init", "true")
    assert "has random weights" in capsys.readouterr().err
