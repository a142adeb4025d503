"""A filter keeps the rows that meet all its conditions, and says what is wrong with one that means nothing."""

import json
from pathlib import Path

import pytest

from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.errors import UserError

ROWS = [
    {
        "anchor": f"a{i}",
        "positive": "p",
        "n": i,
        "x": i / 4,
        "lang": "en" if i % 2 else "de",
        "ok": i > 3,
        "o": {"k": 1},
    }
    for i in range(8)
]


def kept(folder: Path, *conditions: str) -> list[str]:
    file = folder / "rows.jsonl"
    rows = [*ROWS, {"anchor": "none", "positive": "p"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = open_source(Source(str(file), filter=list(conditions)))
    return opened.take(range(len(opened)))["anchor"]


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        (["n >= 6"], [6, 7]),
        (["n<2"], [0, 1]),
        (["x == 0.5"], [2]),
        (["n <= 1.5"], [0, 1]),
        (["n != 3", "lang == 'en'"], [1, 5, 7]),
        (['lang == "de"', "n > -1", "x < 1.1"], [0, 2, 4]),
        (["ok == True"], [4, 5, 6, 7]),
        (["anchor > 'a5'", "n != 6"], [7]),
    ],
)
def test_rows_that_meet_all_conditions_are_kept_and_missing_values_meet_none(
    tmp_path: Path, conditions: list[str], numbers: list[int]
) -> None:
    assert kept(tmp_path, *conditions) == [f"a{i}" for i in numbers]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("n ~ 3", "expected COLUMN OPERATOR VALUE"),
        ("n > ", "expected COLUMN OPERATOR VALUE"),
        ("lang == en", "expected COLUMN OPERATOR VALUE"),
        ("n > __import__('os')", "expected COLUMN OPERATOR VALUE"),
        ("m > 3", "no column 'm' among anchor, positive, n, x, lang, ok, o"),
        ("lang > 3", "the column holds string, which does not compare with 3"),
        ("n == 'x'", "the column holds int64, which does not compare with 'x'"),
        ("n < " + "9" * 40, "does not compare with"),
        ("o == 1", "does not compare with 1"),
        ("n > [1]", "does not compare with"),
        ("n > 100", "none of its 9 rows meets"),
    ],
)
def test_a_condition_that_means_nothing_is_named(tmp_path: Path, condition: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        kept(tmp_path, condition)
