"""What a loss requires against what a source gives."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.errors import UserError
from lightning_embed.losses import GOR, AnglE, CoSENT, Distillation, InfoNCE, KLDistillation, LossTerm, MarginMSE
from lightning_embed.losses.requirements import Given, check_sources, lacking

ALL = frozenset({"anchor", "positive", "negative"})
PAIR = frozenset({"anchor", "positive"})


@pytest.mark.parametrize(
    ("loss", "roles", "columns", "missing"),
    [
        (InfoNCE(), PAIR, {}, []),
        (InfoNCE(teacher_max=0.9), PAIR, {}, ["teacher"]),
        (GOR(), PAIR, {}, []),
        (Distillation(), PAIR, {"teacher": PAIR}, []),
        (Distillation(), PAIR, {"teacher": frozenset({"anchor"})}, ["teacher of positive"]),
        (CoSENT(), PAIR, {"score": {"positive"}}, []),
        (AnglE(), PAIR, {"score": set()}, ["score"]),
        (MarginMSE(), PAIR, {"teacher": PAIR}, ["negative"]),
        (KLDistillation(targets="score"), ALL, {"score": {"positive"}}, ["score of negative"]),
        (KLDistillation(targets="score"), ALL, {"score": {"positive", "negative"}}, []),
    ],
)
def test_what_is_lacking(loss: Any, roles: frozenset[str], columns: Mapping[str, Any], missing: list[str]) -> None:
    assert lacking(loss, Given("s", roles, columns)) == missing


def test_the_first_source_that_lacks_something_is_named_with_the_loss() -> None:
    sources = [Given("good", ALL, {"score": {"positive"}}), Given("bad", PAIR)]
    with pytest.raises(
        UserError, match=r"loss 'rank' \(CoSENT\) requires score, which the batch of source 'bad' lacks"
    ):
        check_sources({"nce": LossTerm(InfoNCE()), "rank": LossTerm(CoSENT())}, sources, ["teacher"])
    check_sources({"distill": LossTerm(Distillation())}, sources, ["teacher"])
    with pytest.raises(UserError, match="requires teacher"):
        check_sources({"distill": LossTerm(Distillation())}, sources, [])


@pytest.mark.parametrize(
    ("row", "roles", "columns"),
    [
        ({"anchor": "a", "positive": "b"}, PAIR, {}),
        ({"anchor": "a", "positive": "b", "score": 0.5}, PAIR, {"score": {"positive"}}),
        (
            {"anchor": "a", "positive": "b", "negative": ["c"], "score": [1.0, 0.5]},
            ALL,
            {"score": {"positive", "negative"}},
        ),
        ({"anchor": "a", "positive": "b", "negative": ["c"], "score": 0.5}, ALL, {"score": {"positive"}}),
        ({"anchor": "a", "positive": "b", "label": 3}, PAIR, {"label": PAIR}),
    ],
)
def test_what_a_source_gives(
    row: dict[str, Any], roles: frozenset[str], columns: dict[str, Any], tmp_path: Path
) -> None:
    rows = [row | ({"label": i} if "label" in row else {}) for i in range(3)]
    given = open_source(Source(_written(tmp_path, rows))).given
    assert given.roles == roles
    assert {name: set(there) for name, there in given.columns.items() if name in ("score", "label", "document")} == {
        name: set(there) for name, there in columns.items()
    }


def test_rows_of_text_and_label_give_what_is_drawn(tmp_path: Path) -> None:
    file = _written(tmp_path, [{"text": f"t{i}", "label": i % 3} for i in range(12)])
    assert open_source(Source(file)).given.roles == ALL
    assert open_source(Source(file)).given.columns["label"] == ALL
    assert open_source(Source(file, negatives=0)).given.roles == PAIR
    with pytest.raises(UserError, match="requires negative"):
        check_sources({"margin": LossTerm(MarginMSE())}, [open_source(Source(file, negatives=0)).given], ["teacher"])


@pytest.mark.parametrize(
    ("weight", "steps", "runs"),
    [
        (1.0, 5, True),
        (0, 5, False),
        ({0: 0.0}, None, False),
        ({5: 1.0}, 5, False),
        ({4: 1.0}, 5, True),
        ({9: 1.0}, None, True),
    ],
)
def test_whether_a_loss_ever_runs(weight: Any, steps: int | None, runs: bool) -> None:
    assert LossTerm(GOR(), weight).runs_before(steps) is runs


def _written(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)
