import json
import os
import pickle
import random
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_embed.batch import TextBatch
from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup
from lightning_embed.datamodules.teacher_store.shard import DamagedShard, Shard, problem, shard_names, write_shard
from lightning_embed.datamodules.teacher_store.store import TeacherStore, bad_shards, content_keys, stored_teachers
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import STALE_SECONDS

IDENTITY = {"weights": "ab12", "pooling": "mean", "dim": 6}
TEXTS = [
    "",
    "a",
    "ä",
    "a\u0308",
    "a ",
    " a",
    "日本語🙂",
    "\u202eabc",
    "a\x00b",
    "a\n",
    "long " * 40_000,
    "long " * 40_000 + "!",
]


def vectors(rows: int, seed: int = 0, dim: int = 6) -> NDArray[np.float16]:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float16)


def filled(folder: Path, texts: list[str], seed: int = 0, shards: int = 1) -> TeacherStore:
    store = TeacherStore(folder, IDENTITY)
    for part in np.array_split(np.arange(len(texts)), shards):
        store.add(content_keys([texts[i] for i in part]), vectors(len(texts), seed)[part])
    store.refresh()
    return store


def test_lookups_agree_with_a_dictionary(tmp_path: Path) -> None:
    draw = random.Random(0)
    settings = [("", None), ("", 8), ("", 9), ("Query: ", 8), ("日本 ", 8)]
    texts = TEXTS + ["".join(draw.choices("abé🙂 ", k=draw.randrange(12))) for _ in range(300)]
    everything = sorted({(prompt, length, text) for prompt, length in settings for text in texts}, key=str)
    draw.shuffle(everything)
    # by what the teacher reads: "Query: " before "a" is the text "Query: a"
    there = {(prompt + text, length): None for prompt, length, text in everything[::2]}
    known = {key: vectors(1, seed)[0] for seed, key in enumerate(there)}
    store, items = TeacherStore(tmp_path, IDENTITY), list(known.items())
    for start in range(0, len(items), 97):
        part = items[start : start + 97]
        keys = np.concatenate([content_keys([text], "", length) for (text, length), _ in part])
        store.add(keys, np.stack([vector for _, vector in part]))
    store.refresh()
    assert len(store) == len(known) and len(store.shards) > 5
    for prompt, length in settings:
        asked = [texts[i] for i in (draw.randrange(len(texts)) for _ in range(200))]
        keys = content_keys(asked, prompt, length)
        found, whole = store.find(keys)
        assert (store.has(keys) == whole).all()
        for text, vector, here in zip(asked, found, whole, strict=True):
            assert here == ((prompt + text, length) in known)
            assert (vector == known.get((prompt + text, length), np.zeros(6))).all()


def test_no_texts_and_an_empty_store_find_nothing(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "none", IDENTITY)
    assert not store.has(content_keys(["a"])).any() and not store.find(content_keys(["a"]))[1].any()
    found, whole = filled(tmp_path, ["a"]).find(content_keys([]))
    assert found.shape == (0, 6) and whole.shape == (0,)


@pytest.mark.parametrize("change", [("q: ", 8), ("p: ", 9), ("p: ", None), ("", 8)])
def test_another_prompt_or_length_misses(tmp_path: Path, change: tuple[str, int | None]) -> None:
    store = TeacherStore(tmp_path, IDENTITY)
    store.add(content_keys(["text"], "p: ", 8), vectors(1))
    store.refresh()
    assert store.has(content_keys(["text"], "p: ", 8)).all() and not store.has(content_keys(["text"], *change)).any()


@pytest.mark.parametrize("change", [{"weights": "ab13"}, {"pooling": "cls"}, {"layers": [0]}])
def test_teachers_stand_side_by_side(tmp_path: Path, change: dict) -> None:
    one, other = TeacherStore(tmp_path, IDENTITY), TeacherStore(tmp_path, IDENTITY | change)
    keys = content_keys(["text"])
    for store, seed in ((one, 1), (other, 2)):
        store.add(keys, vectors(1, seed), about=f"teacher {seed}")
        store.refresh()
    assert (one.find(keys)[0] == vectors(1, 1)).all() and (other.find(keys)[0] == vectors(1, 2)).all()
    assert {about["teacher"] for about in stored_teachers(tmp_path).values()} == {"teacher 1", "teacher 2"}


def test_every_flipped_byte_is_found_and_no_wrong_vector_is_given(tmp_path: Path) -> None:
    store = filled(tmp_path, TEXTS)
    shard, keys = store.shards[0].path, content_keys(TEXTS)
    assert problem(shard) is None
    for name in ("keys.npy", "vectors.npy", "shard.json"):
        whole = (shard / name).read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= (0x01, 0x20, 0x80)[place % 3]
            (shard / name).write_bytes(flipped)
            assert problem(shard) is not None
            damaged = TeacherStore(tmp_path, IDENTITY)
            found, here = damaged.find(keys)
            assert (found[here] == vectors(len(TEXTS))[here]).all() and not found[~here].any()
        (shard / name).write_bytes(whole)
    assert problem(shard) is None


@pytest.mark.parametrize("name", ["keys.npy", "vectors.npy", "shard.json"])
@pytest.mark.parametrize("harm", ["gone", "cut", "empty", "noise"])
def test_a_shard_with_a_broken_file_is_named_and_not_used(tmp_path: Path, name: str, harm: str) -> None:
    store = filled(tmp_path, TEXTS, shards=2)
    broken = store.shards[0].path
    content = (broken / name).read_bytes()
    (broken / name).unlink()
    if harm != "gone":
        made = {"cut": content[: len(content) // 2], "empty": b"", "noise": os.urandom(len(content))}[harm]
        (broken / name).write_bytes(made)
    again = TeacherStore(tmp_path, IDENTITY)
    assert list(again.damaged) == list(bad_shards(store.path)) == [broken.name]
    assert again.find(content_keys(TEXTS))[1].sum() == len(TEXTS) - len(store.shards[0])
    with pytest.raises(DamagedShard):
        Shard(broken)
    again.set_aside(broken.name)
    assert bad_shards(store.path) == {} and len(list(store.path.glob("damaged-*"))) == 1


def test_what_a_killed_writer_left_is_ignored_and_deleted_when_it_is_old(tmp_path: Path) -> None:
    store = filled(tmp_path, ["a", "b"])
    old, new = (f".shard-{name}.{name}.partial" for name in ("0123456789ab", "ba9876543210"))
    for name in (old, new):
        shutil.copytree(store.shards[0].path, store.path / name)
    for path in (*(store.path / old).iterdir(), store.path / old):
        os.utime(path, (os.stat(tmp_path).st_mtime - 2 * STALE_SECONDS,) * 2)
    store.refresh()
    assert len(store.shards) == 1 and bad_shards(store.path) == {}
    store.tidy()
    assert not (store.path / old).exists() and (store.path / new).exists()


def test_tidy_makes_one_shard_of_many_with_each_text_once(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(500)]
    store = filled(tmp_path, texts, shards=9)
    store.add(content_keys(texts[:40]), vectors(len(texts))[:40])  # two processes stored the same texts
    store.refresh()
    reader = TeacherStore(tmp_path, IDENTITY)
    store.tidy()
    for one in (reader, TeacherStore(tmp_path, IDENTITY)):  # who had the old shards open goes on reading them
        found, here = one.find(content_keys(texts))
        assert here.all() and (found == vectors(len(texts))).all()
    store.refresh()
    assert len(store.shards) == len(shard_names(store.path)) == 1 and len(store) == 500 and not bad_shards(store.path)


def test_tidy_leaves_a_damaged_row_where_it_is_found(tmp_path: Path) -> None:
    store = filled(tmp_path, [f"text {i}" for i in range(20)], shards=2)
    file = store.shards[1].path / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    store.tidy()
    assert list(bad_shards(store.path)) == [file.parent.name] and len(shard_names(store.path)) == 2


def _write(folder: Path, number: int) -> None:
    store = TeacherStore(folder, IDENTITY)
    for i in range(5):
        store.add(content_keys([f"{number} {i} {j}" for j in range(30)]), vectors(30, number))
    store.tidy()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(_write, [tmp_path] * 4, range(4)))
    store = TeacherStore(tmp_path, IDENTITY)
    for number in range(4):
        for i in range(5):
            found, here = store.find(content_keys([f"{number} {i} {j}" for j in range(30)]))
            assert here.all() and (found == vectors(30, number)).all()
    assert not bad_shards(store.path)


def test_a_store_is_sent_to_a_worker_without_its_vectors(tmp_path: Path) -> None:
    store = filled(tmp_path, [f"text {i}" for i in range(2000)])
    sent = pickle.dumps(store)
    assert len(sent) < 2000 and pickle.loads(sent).has(content_keys(["text 7", "none"])).tolist() == [True, False]


def test_a_full_disk_leaves_no_part_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("12000 requested and 0 written")

    store = filled(tmp_path, ["a"])
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="a shard could not be written"):
        store.add(content_keys(["b"]), vectors(1))
    assert {p.name for p in store.path.iterdir()} == {"identity.json", store.shards[0].path.name}


def test_a_shard_says_in_json_what_it_holds(tmp_path: Path) -> None:
    path = write_shard(tmp_path, content_keys(["b", "a", "c"]), vectors(3))
    said = json.loads((path / "shard.json").read_text())
    assert (said["rows"], said["dim"]) == (3, 6) and set(said["checksums"]) == {"keys.npy", "vectors.npy"}


def batch() -> TextBatch:
    texts = {"anchor": ["a", "b"], "positive": ["p", "q"], "negative": ["x", "y", "z"]}
    return TextBatch(texts, negative_counts=[1, 2], rows=[10, 20], source="pairs")


def test_a_column_is_found_whole_or_not_at_all(tmp_path: Path) -> None:
    lookup = TeacherLookup(filled(tmp_path, ["a", "b", "p"]), {"query": ""}, None)
    found = lookup.vectors(batch(), "anchor", "query")
    assert found is not None and found.dtype.is_floating_point and found.tolist() == vectors(3)[:2].tolist()
    assert lookup.vectors(batch(), "positive", "document") is None
    assert TeacherLookup(lookup.store, {"query": "q: "}, None).vectors(batch(), "anchor", "query") is None
    assert TeacherLookup(lookup.store, {}, 16).vectors(batch(), "anchor", "query") is None


@pytest.mark.parametrize(("there", "role", "row"), [("ab", "positive", 11), ("abpqxy", "negative", 21)])
def test_a_vector_that_nothing_else_can_give_is_asked_for_by_row(
    tmp_path: Path, there: str, role: str, row: int
) -> None:
    lookup = TeacherLookup(filled(tmp_path, list(there)), {}, None, required=True)
    with pytest.raises(UserError, match=f"source 'pairs', row {row}: the {role} '.' has no vector"):
        lookup.vectors(batch(), role, "document")


def test_the_length_in_the_key_is_the_one_that_the_teacher_cuts_at(tmp_path: Path) -> None:
    lookup = TeacherLookup(TeacherStore(tmp_path, IDENTITY), {}, 64)
    assert (lookup.keys(["a"], "document", 200) == lookup.keys(["a"], "document")).all()
    assert (lookup.keys(["a"], "document", 32) != lookup.keys(["a"], "document")).all()
