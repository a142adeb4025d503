import json
from pathlib import Path

import numpy as np
import pytest

from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.errors import UserError
from lightning_embed.mining.pairs import Pairs, read_pairs


def read(tmp_path: Path, rows: list[dict], corpus: list[dict] | None = None, **settings: dict) -> Pairs:
    def opened(name: str, rows: list[dict], needed: tuple[str, ...], **settings: dict) -> object:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return open_source(Source(str(file), **settings), needed)

    pairs = opened("pairs", rows, ("anchor", "positive"), **settings)
    return read_pairs(pairs, None if corpus is None else opened("corpus", corpus, ("anchor",)))


def texts(pairs: Pairs) -> list[str]:
    return pairs.corpus.take(range(len(pairs.corpus)))


def excluded(pairs: Pairs) -> dict[str, tuple[set[str], set[str]]]:
    """Anchor -> documents that belong to it, documents of its label."""
    a, c = len(pairs.anchors), len(pairs.corpus)
    ids = np.tile(np.arange(c), (a, 1))
    names = np.array(texts(pairs))
    belongs, label = pairs.belongs(np.arange(a), ids), pairs.same_label(np.arange(a), ids)
    anchors = pairs.anchors.take(range(a))
    return {anchor: (set(names[b]), set(names[s])) for anchor, b, s in zip(anchors, belongs, label, strict=True)}


def test_equal_texts_stand_once_in_the_order_in_which_they_come(tmp_path: Path) -> None:
    rows = [{"anchor": a, "positive": p} for a, p in ["ax", "by", "ax", "cx", "az", "by"]]
    pairs = read(tmp_path, rows)
    assert texts(pairs) == ["x", "y", "z"] and pairs.anchors.take([0, 1, 2]) == ["a", "b", "c"]
    found = list(zip(pairs.anchor.tolist(), pairs.positive.tolist(), pairs.row.tolist(), strict=True))
    assert found == [(0, 0, 0), (1, 1, 1), (2, 0, 3), (0, 2, 4)]
    assert pairs.most_positives == 3


def test_all_positives_of_equal_anchors_belong_to_them_and_so_does_the_anchors_own_text(tmp_path: Path) -> None:
    rows = [{"anchor": a, "positive": p} for a, p in ["ax", "ay", "xa", "bz"]]
    assert excluded(read(tmp_path, rows)) == {
        "a": ({"x", "y", "a"}, set()),
        "x": ({"a", "x"}, set()),
        "b": ({"z"}, set()),
    }


def test_every_text_of_a_list_of_positives_belongs(tmp_path: Path) -> None:
    rows = [{"anchor": "a", "positive": ["x", "y"]}, {"anchor": "b", "positive": ["z"]}]
    pairs = read(tmp_path, rows)
    assert excluded(pairs)["a"][0] == {"x", "y"} and len(pairs.anchor) == 3 and texts(pairs) == ["x", "y", "z"]


def test_texts_of_one_label_are_never_negatives_of_each_other(tmp_path: Path) -> None:
    given = [("a", "x", 1), ("b", "y", 1), ("c", "z", 2), ("d", "x", 2)]
    pairs = read(tmp_path, [{"anchor": a, "positive": p, "label": label} for a, p, label in given])
    labels = {anchor: same for anchor, (_, same) in excluded(pairs).items()}
    assert labels == {"a": {"x", "y"}, "b": {"x", "y"}, "c": {"z", "x"}, "d": {"z", "x"}}


def test_pieces_of_one_document_are_never_negatives_of_each_other(tmp_path: Path) -> None:
    rows = [{"anchor": a, "positive": p, "doc": d} for a, p, d in [("a", "x", "1"), ("b", "y", "1"), ("c", "z", "2")]]
    pairs = read(tmp_path, rows, columns={"anchor": "anchor", "positive": "positive", "document": "doc"})
    assert excluded(pairs)["a"][1] == {"x", "y"} and excluded(pairs)["c"][1] == {"z"}


def test_rows_of_text_and_label_get_a_positive_and_negatives_of_other_labels(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": "even" if i % 2 == 0 else "odd"} for i in range(10)]
    pairs = read(tmp_path, rows)
    names = texts(pairs)
    for anchor, positive in zip(pairs.anchors.take(pairs.anchor), pairs.corpus.take(pairs.positive), strict=True):
        assert anchor != positive and int(anchor[1]) % 2 == int(positive[1]) % 2
        assert excluded(pairs)[anchor][1] == {name for name in names if int(name[1]) % 2 == int(anchor[1]) % 2}


def test_a_further_corpus_adds_documents_and_their_labels(tmp_path: Path) -> None:
    rows = [{"anchor": "a", "positive": "x", "label": 1}, {"anchor": "b", "positive": "y", "label": 2}]
    pairs = read(tmp_path, rows, [{"text": "y", "label": 1}, {"text": "w", "label": 2}, {"text": "a", "label": 3}])
    assert texts(pairs) == ["x", "y", "w", "a"]
    assert excluded(pairs) == {"a": ({"x", "a"}, {"x", "y"}), "b": ({"y"}, {"y", "w"})}


def test_a_place_without_a_candidate_belongs_to_nobody(tmp_path: Path) -> None:
    pairs = read(tmp_path, [{"anchor": "a", "positive": "x", "label": 1}, {"anchor": "b", "positive": "y", "label": 1}])
    none = np.full((2, 3), -1)
    assert not pairs.belongs(np.arange(2), none).any() and not pairs.same_label(np.arange(2), none).any()


def test_one_document_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all its positives are the same text"):
        read(tmp_path, [{"anchor": "a", "positive": "x"}, {"anchor": "b", "positive": "x"}])
