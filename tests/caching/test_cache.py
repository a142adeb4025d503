"""`cache`, and `fit` from what it stored."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lightning_embed import Distillation, EmbeddingModule, LossTerm, Projection, UserError, fill_store, import_vectors
from lightning_embed.datamodules import EmbeddingDataModule, Source
from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup
from lightning_embed.datamodules.teacher_store.shard import Shard, shard_names
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys, stored_teachers
from lightning_embed.datamodules.teacher_texts import all_columns
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.encoders.text_encoder import TextEncoder
from tests.cli.test_fit import config, losses, run
from tests.forks import Command
from tests.toys import toy_folder, toy_pairs

ROOT = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run")
    # a fit to toy vectors, which all point almost one way, hangs on how they are rounded
    made["model"]["init_args"]["projection"] = {"start": "random"}
    return made


def store_of(tmp_path: Path) -> Path:
    """The folder of the only teacher that is stored."""
    (found,) = stored_teachers(tmp_path / "cache/lightning_embed/teachers")
    return found


def said(capsys: Capture) -> str:
    """What was printed about the store."""
    starts = ("teacher store: ", "bad: ", "damaged: ")
    return "".join(f"{line}\n" for line in capsys.readouterr().out.splitlines() if line.startswith(starts))


def never_loads(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a model's weights are loaded."""
    from transformers import AutoModel

    load = AutoModel.from_pretrained
    monkeypatch.setattr(
        AutoModel, "from_pretrained", lambda path, **k: pytest.fail("") if path == model else load(path, **k)
    )


def different(rows: list[dict[str, str]]) -> int:
    """How many texts there are, with the role that tells their prompt: toys have none, so equal texts are one."""
    return len({text for row in rows for text in row.values()})


def test_fit_from_the_store_gives_the_losses_of_the_online_teacher_and_never_loads_it(
    job: dict, teacher: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job["model"]["init_args"]["student"]["dropout"] = 0.1  # the random numbers must not move either
    online = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "online")}}
    run(online, tmp_path, "--report.export", "false")
    assert said(capsys) == ""
    run(job, tmp_path, command="cache")
    texts = different(toy_pairs(96))
    assert f"{texts} texts, 0 of them stored already, {texts} encoded" in said(capsys)
    assert not (tmp_path / "run").exists()
    never_loads(teacher, monkeypatch)
    run(job, tmp_path)
    assert f"{texts} of {texts} texts are stored in {store_of(tmp_path)}; the teacher is not loaded" in said(capsys)
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "online"), rel=1e-3)
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("online", "run")]
    for one, other in zip(reports[0]["models"][0]["grid"], reports[1]["models"][0]["grid"], strict=True):
        assert one["dim"] == other["dim"]
        if one["precision"] == "float32":
            assert one["scores"]["ndcg@10"] == pytest.approx(other["scores"]["ndcg@10"], abs=1e-3)
    assert reports[0]["models"][0]["parameters"] == reports[1]["models"][0]["parameters"]
    assert reports[1]["models"][0]["texts_per_second"] is None and "was not loaded" in " ".join(reports[1]["notes"])


def test_a_second_cache_encodes_nothing_and_other_data_only_what_is_new(
    job: dict, teacher: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job, tmp_path, command="cache")
    before = shard_names(store_of(tmp_path))
    rows = [*toy_pairs(96), {"anchor": "w3 w3 w3", "positive": "w4 w4 w4"}]
    capsys.readouterr()
    with monkeypatch.context() as patched:
        never_loads(teacher, patched)
        run(job, tmp_path, command="cache")
    texts = different(rows[:-1])
    assert f"{texts} texts, {texts} of them stored already\n" in said(capsys)
    assert shard_names(store_of(tmp_path)) == before
    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job["data"]["init_args"]["train"] = [{"path": str(more)}]
    run(job, tmp_path, command="cache")
    assert f"{texts + 2} texts, {texts} of them stored already, 2 encoded" in said(capsys)


@pytest.mark.parametrize(
    ("change", "stored"),
    [({"prompts": {"query": "w7 "}}, True), ({"max_length": 3}, True), ({"pooling": "cls"}, False), (None, False)],
    ids=["prompt", "max_length", "pooling", "weights"],
)
def test_another_prompt_length_or_teacher_misses_and_fit_trains_as_without_a_store(
    job: dict, tmp_path: Path, capsys: Capture, change: dict | None, stored: bool
) -> None:
    run(job, tmp_path, command="cache")
    capsys.readouterr()
    other = str(toy_folder(tmp_path / "other", hidden=48, seed=8)) if change is None else None
    job["model"]["init_args"]["teacher"] |= change or {"model": other}
    run(job, tmp_path, "--report.enabled", "false")
    told = said(capsys)
    if stored:
        missed = re.search(r"(\d+) of (\d+) texts are stored in .*; the teacher computes the others", told)
        assert missed is not None and int(missed[1]) < int(missed[2])
    else:
        assert told == ""
    plain = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "plain")}}
    run(plain, tmp_path, "--report.enabled", "false", "--data.init_args.teacher_store", "off")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)


def test_texts_that_are_not_stored_are_encoded_by_the_teacher(
    job: dict, pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    half = tmp_path / "half.jsonl"
    half.write_text("".join(pairs.read_text().splitlines(keepends=True)[:50]))
    whole = job["data"]["init_args"]["train"]
    for split in ("train", "validation", "test"):
        job["data"]["init_args"][split] = [{"path": str(half)}]
    run(job, tmp_path, command="cache")
    job["data"]["init_args"]["train"] = whole
    run(job, tmp_path, "--report.enabled", "false")
    assert f"{different(toy_pairs(50))} of {different(toy_pairs(96))} texts are stored" in said(capsys)
    plain = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "plain")}}
    run(plain, tmp_path, "--report.enabled", "false", "--data.init_args.teacher_store", "off")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)


def test_two_teachers_are_stored_side_by_side(job: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = job["model"]["init_args"]["teacher"]["model"], str(toy_folder(tmp_path / "other", hidden=16, seed=8))
    for model in (one, other):
        job["model"]["init_args"]["teacher"] = {"model": model}
        run(job, tmp_path, command="cache")
    folder = tmp_path / "cache/lightning_embed/teachers"
    assert sorted(about["dim"] for about in stored_teachers(folder).values()) == [16, 48]
    for model in (one, other):
        never_loads(Path(model), monkeypatch)
        job["model"]["init_args"]["teacher"] = {"model": model}
        run(job, tmp_path, "--report.enabled", "false")


def test_a_flipped_byte_is_named_by_verify_and_computed_again_by_cache(
    job: dict, tmp_path: Path, capsys: Capture
) -> None:
    run(job, tmp_path, command="cache")
    store = store_of(tmp_path)
    (name,) = shard_names(store)
    before = [np.array(a) for a in (Shard(store / name).entries, Shard(store / name).vectors)]
    file = store / name / "vectors.npy"
    content = bytearray(file.read_bytes())
    content[-9] ^= 4
    file.write_bytes(content)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, "--verify", command="cache")
    assert stop.value.code == 1 and f"bad: {store / name} (vectors.npy differs from the checksum)" in said(capsys)
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "1")  # fit takes no damaged vector
    run(job, tmp_path, "--trainer.enable_progress_bar", "true", command="cache")
    told = capsys.readouterr()
    assert f"damaged: {store / name}" in told.out and "0 of them stored already" in told.out
    assert "checking  0/1 shards" in told.err and "encoding  0/" in told.err  # a log says what takes a while, too
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, "--verify", command="cache")
    assert stop.value.code == 0 and "all checksums are right" in said(capsys)
    (again,) = shard_names(store)
    assert again != name and (Shard(store / again).vectors == before[1]).all()
    assert (Shard(store / again).entries == before[0]).all()


def many(tmp_path: Path, rows: int) -> list[str]:
    """Writes pairs of as many different texts, and returns the texts."""
    draw = random.Random(1)
    texts = [
        f"w{i % 200} w{i // 200 % 200} " + " ".join(f"w{draw.randrange(200)}" for _ in range(i % 40))
        for i in range(rows)
    ]
    pairs = [{"anchor": a, "positive": b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return texts


def test_sigterm_stores_what_was_encoded(
    job: dict, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path, 1000)
    job["data"]["init_args"] |= {"train": [{"path": str(tmp_path / "many.jsonl")}], "validation": None, "test": None}
    embed, calls = FrozenEncoder.embed, []

    def stopped(self: FrozenEncoder, tokens: Any) -> Any:
        calls.append(len(tokens))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return embed(self, tokens)

    monkeypatch.setattr(FrozenEncoder, "embed", stopped)
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, command="cache")
    assert stop.value.code == 143 and "the same command resumes from there" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run(job, tmp_path, command="cache")
    assert f"1,000 texts, {sum(calls[:2])} of them stored already" in said(capsys)


@pytest.mark.slow
def test_a_killed_cache_goes_on_without_doing_stored_shards_again(
    job: dict, teacher: Path, tmp_path: Path, capsys: Capture
) -> None:
    texts = many(tmp_path, 4000)
    job["data"]["init_args"] |= {"train": [{"path": str(tmp_path / "many.jsonl")}], "validation": None, "test": None}
    job["model"]["init_args"]["teacher"]["max_tokens"] = 256  # small forwards: there is time to kill it
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(job))
    process = Command(["cache", "--config", str(file), "--shard_texts", "64"], ROOT, tmp_path / "output")
    deadline = time.time() + 120
    while len(list(tmp_path.glob("cache/lightning_embed/teachers/*/shard-*"))) < 3 and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    store = store_of(tmp_path)
    done = sum(len(Shard(store / name)) for name in shard_names(store))
    assert 0 < done < len(texts)
    run(job, tmp_path, command="cache")
    assert f"4,000 texts, {done:,} of them stored already, {len(texts) - done:,} encoded" in said(capsys)
    frozen = FrozenEncoder(str(teacher))
    found, here = TeacherStore(store.parent, frozen.identity() or {}).find(content_keys(texts, "", frozen.max_length))
    assert here.all() and np.allclose(found, TextEncoder(str(teacher)).encode(texts), atol=1e-3)
    assert len(shard_names(store)) == 1


@pytest.mark.slow
def test_two_processes_store_the_vectors_of_one(job: dict, tmp_path: Path, capsys: Capture) -> None:
    run(job, tmp_path, "--data.init_args.teacher_store", str(tmp_path / "alone"), command="cache")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(job))
    words = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--shard_texts", "20"]
    command = [sys.executable, "-m", "lightning_embed", "cache", "--config", str(file), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    texts = different(toy_pairs(96))
    assert f"{texts} texts, 0 of them stored already, {texts} encoded" in done.stdout
    one, other = (Shard(next(folder.glob("*/shard-*"))) for folder in (tmp_path / "alone", store_of(tmp_path).parent))
    assert len(one) == len(other) == texts and one.find(_keys(other))[1].all()
    assert np.allclose(one.vectors, other.vectors, atol=1e-3)


def _keys(shard: Shard) -> Any:
    return np.array(shard.entries).view(np.uint8).reshape(-1, 20)[:, :16].copy().view("S16").ravel()


def test_every_text_of_every_epoch_is_stored(student: Path, teacher: Path, tmp_path: Path) -> None:
    """Lists of positives, rationed negatives, rows of text and label, per-source lengths and prompts."""
    lists = [
        {"anchor": f"w{i}", "positive": [f"w{i} p{j}" for j in range(3)], "negative": [f"w{i} n{j}" for j in range(5)]}
        for i in range(12)
    ]
    labelled = [{"text": f"w{i} w{i}", "label": i % 3} for i in range(12)]
    for name, rows in (("lists", lists), ("labelled", labelled)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    frozen = FrozenEncoder(str(teacher), prompts={"query": "w1 ", "document": "w2 ", "topic": "w3 "})
    data = EmbeddingDataModule(
        train=[
            Source(str(tmp_path / "lists.jsonl"), negatives=2, max_length=7, prompts={"negative": "topic"}),
            Source(str(tmp_path / "labelled.jsonl")),
        ],
        global_batch_size=4,
        num_workers=0,
    )
    data.tokenizers = {"student": FrozenEncoder(str(student)).tokenizer, "teacher": frozen.tokenizer}
    roles = frozenset({"anchor", "positive", "negative"})
    lookup = TeacherLookup(TeacherStore(tmp_path, {"dim": 2}), frozen.prompts, frozen.max_length, roles)
    for column in all_columns(data.teacher_texts(["train"], roles)):
        keys = np.unique(lookup.keys(column.texts, column.prompt, column.max_length))
        lookup.store.add(keys, np.ones((len(keys), 2), np.float16))
    lookup.store.refresh()
    data._stored = {"": lookup}
    steps = data.train_dataloader().dataset
    seen = [steps[step] for step in range(8 * len(data.plan))]
    assert all(set(batch.teacher_vectors) == set(roles) and not batch.teacher for batch in seen)


def test_a_notebook_fills_the_store_with_or_without_a_trainer(
    student: Path, teacher: Path, pairs: Path, capsys: Capture
) -> None:
    losses = {"distill": LossTerm(Distillation())}
    module = EmbeddingModule(TextEncoder(str(student)), losses, FrozenEncoder(str(teacher)), Projection())
    data = EmbeddingDataModule([Source(str(pairs))], num_workers=0)
    texts = different(toy_pairs(96))
    fill_store(module, data)
    assert f"{texts} texts, 0 of them stored already, {texts} encoded" in said(capsys)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    fill_store(module, data, trainer, shard_texts=10)
    assert f"{texts} texts, {texts} of them stored already\n" in said(capsys)
    with pytest.raises(UserError, match="shard_texts must be at least 1, got 0"):
        fill_store(module, data, trainer, shard_texts=0)


def test_a_notebook_imports_vectors_into_a_store_of_its_own(tmp_path: Path) -> None:
    vectors = given(tmp_path, ["a", "b", "c"])
    for expected in (3, 0):
        store, new = import_vectors(str(tmp_path / "given.npy"), "voyage", str(tmp_path / "store"))
        assert new == expected
    found, here = store.find(content_keys(["c"]))
    assert here.all() and np.allclose(found, vectors[2] / np.linalg.norm(vectors[2]), atol=1e-3)
    assert [*stored_teachers(tmp_path / "store")] == [store.path]


def given(tmp_path: Path, texts: list[str], dim: int = 20) -> np.ndarray:
    """Somebody's vectors of texts, as Parquet (vectors of any length) and as .npy."""
    vectors = np.random.default_rng(0).normal(size=(len(texts), dim)).astype(np.float32)
    np.save(tmp_path / "given.npy", vectors)
    (tmp_path / "given.txt").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "named.jsonl").write_text("".join(json.dumps({"t": text}) + "\n" for text in texts))
    pq.write_table(pa.table({"text": texts, "vector": vectors.tolist()}), tmp_path / "given.parquet")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), dim)
    pq.write_table(pa.table({"t": texts, "v": flat}), tmp_path / "fixed.parquet", row_group_size=7)
    return vectors


@pytest.mark.parametrize(
    "words",
    [
        ["given.parquet"],
        ["fixed.parquet", "--import_text", "t", "--import_vector", "v"],
        ["given.npy"],
        ["given.npy", "--import_texts", "named.jsonl", "--import_text", "t"],
    ],
    ids=["lists", "fixed lists of float16", "npy and txt", "npy and jsonl"],
)
def test_given_vectors_are_imported(
    job: dict, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    texts = ["a", "zweiter Text 🙂", "c" * 200_000, " d ", "a"]
    vectors = given(tmp_path, texts[:4])
    monkeypatch.chdir(tmp_path)
    for expected in (4, 0):
        with pytest.raises(SystemExit) as stop:
            run(job, tmp_path, "--import", *words, "--import_name", "voyage", command="cache")
        assert stop.value.code == 0 and f"{expected} vectors of 'voyage' imported" in said(capsys)
    store = TeacherStore(tmp_path / "cache/lightning_embed/teachers", {"name": "voyage", "dim": 20})
    found, here = store.find(content_keys(texts))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert here.all() and np.allclose(found, unit[[0, 1, 2, 3, 0]], atol=1e-3)


def test_a_student_learns_from_given_vectors_alone(job: dict, tmp_path: Path, capsys: Capture) -> None:
    given(tmp_path, sorted({text for row in toy_pairs(96) for text in row.values()}))
    with pytest.raises(SystemExit):
        run(job, tmp_path, "--import", str(tmp_path / "given.parquet"), "--import_name", "voyage", command="cache")
    job["model"]["init_args"]["teacher"] = {"class_path": "StoredTeacher", "init_args": {"name": "voyage", "dim": 20}}
    job["trainer"]["max_steps"] = 20
    run(job, tmp_path, "--report.export", "false")
    assert np.mean(losses(tmp_path / "run")[-5:]) < 0.95 * losses(tmp_path / "run")[0]
    models = json.loads((tmp_path / "run/report.json").read_text())["models"]
    assert [model["name"] for model in models] == ["teacher", "student before", "student after"]
    assert models[0]["grid"] and models[0]["parameters"] is None and models[0]["dim"] == 20


def refused(job: dict, tmp_path: Path, capsys: Capture, *words: str, command: str = "cache") -> str:
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, *words, command=command)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2
    return line


@pytest.mark.parametrize("workers", [0, 1])
def test_a_text_without_a_given_vector_is_named_by_row_and_source(
    job: dict, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    stored = {"class_path": "StoredTeacher", "init_args": {"name": "voyage", "dim": 20}}
    job["model"]["init_args"]["teacher"] = stored
    job["data"]["init_args"]["num_workers"] = workers
    told = refused(job, tmp_path, capsys, command="fit")
    assert "teacher 'voyage': no vectors of dim 20 were imported under this name" in told
    given(tmp_path, sorted({text for row in toy_pairs(90) for text in row.values()}))
    with pytest.raises(SystemExit):
        run(job, tmp_path, "--import", str(tmp_path / "given.npy"), "--import_name", "voyage", command="cache")
    at_start = refused(job, tmp_path, capsys, "--report.enabled", "false", command="fit")
    assert re.search(r"source 'pairs', row 9\d: the (anchor|positive) '.*' has no vector among those given", at_start)
    # too many rows to look at them all at the start: the step that needs it says so
    monkeypatch.setattr("lightning_embed.datamodules.teacher_texts.COUNTED_ROWS", 1)
    monkeypatch.setattr("lightning_embed.datamodules.teacher_texts._WINDOW", 1)
    in_training = refused(job, tmp_path, capsys, "--report.enabled", "false", command="fit")
    assert re.search(r"error: source 'pairs', row 9\d: the \w+ '.*' has no vector among those given", in_training)


def test_bad_imports_are_named_in_one_line(job: dict, tmp_path: Path, capsys: Capture) -> None:
    def importing(file: str, *words: str) -> str:
        return refused(job, tmp_path, capsys, "--import", str(tmp_path / file), "--import_name", "v", *words)

    vectors = given(tmp_path, ["a", "b", "c"])
    assert "no file" in importing("none.npy")
    assert "no column 'x'; name one of text, vector by --import_text" in importing(
        "given.parquet", "--import_text", "x"
    )
    assert "column 'text' must hold lists of floats, it holds string" in importing(
        "given.parquet", "--import_vector", "text"
    )
    (tmp_path / "given.txt").write_text("a\nb\n")
    assert "has 3 vectors, but" in importing("given.npy") and "2 texts" in importing("given.npy")
    (tmp_path / "given.txt").unlink()
    assert "its texts were expected in" in importing("given.npy")
    vectors[1] = np.nan
    np.save(tmp_path / "given.npy", vectors)
    (tmp_path / "given.txt").write_text("a\nb\nc\n")
    assert "given.npy, row 2: expected a vector of numbers" in importing("given.npy")
    pq.write_table(pa.table({"text": ["a", "b"], "vector": [[1.0, 2.0], [1.0]]}), tmp_path / "given.parquet")
    assert "row 2: expected a text and 2 numbers, got 1 numbers" in importing("given.parquet")
    pq.write_table(pa.table({"text": ["a", "a"], "vector": [[1.0, 2.0], [2.0, 1.0]]}), tmp_path / "given.parquet")
    assert "row 2: the text 'a' has another vector under the name 'v' already" in importing("given.parquet")
    assert "--import_name" in refused(job, tmp_path, capsys, "--import", str(tmp_path / "given.parquet"))
    assert not list(tmp_path.glob("cache/lightning_embed/teachers/*/shard-*"))


@pytest.mark.parametrize(
    ("teacher_setting", "told"),
    [
        ({"random_init": True}, "has random weights"),
        ({"class_path": "StoredTeacher", "init_args": {"name": "v", "dim": 3}}, "known by its stored vectors alone"),
        ({"class_path": "TextEncoder", "init_args": {}}, "needs a frozen teacher"),
    ],
)
def test_a_teacher_that_cannot_be_cached_is_named(
    job: dict, teacher: Path, tmp_path: Path, capsys: Capture, teacher_setting: dict, told: str
) -> None:
    if "random_init" in teacher_setting:
        teacher_setting = teacher_setting | {"model": str(teacher)}
    elif teacher_setting["class_path"] == "TextEncoder":
        teacher_setting = {"class_path": "TextEncoder", "init_args": {"model": str(teacher)}}
    job["model"]["init_args"]["teacher"] = teacher_setting
    assert told in refused(job, tmp_path, capsys)
