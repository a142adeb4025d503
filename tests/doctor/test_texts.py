"""A source's texts, by hand."""

import itertools

import numpy as np

from lightning_embed.doctor.texts import find_repeats, histogram, windows
from lightning_embed.utils.formatting import bars, one_line, share


def test_the_histogram_by_hand() -> None:
    assert histogram(np.array([1, 1, 2, 4]), bins=4) == [2, 1, 0, 1]
    assert histogram(np.arange(1, 20), bins=16) == [2] * 9 + [1]  # no teeth: each range is of two lengths
    assert bars([8, 0, 1, 4]) == "█ ▁▄"
    assert bars([1000, 1]) == "█▁"


def test_an_example_stands_in_one_line() -> None:
    assert one_line("a\nb\\ü\u200b", 80) == "a\\nb\\\\ü\\u200b"
    assert one_line("0123456789", 7) == "0123…89"
    assert len(one_line("\n" * 50, 20)) == 20


def test_shares_are_told_with_a_decimal_where_they_are_small() -> None:
    assert [share(x) for x in (0, 0.0001, 0.004, 0.0994, 0.0996, 1)] == [
        "0 %",
        "< 0.1 %",
        "0.4 %",
        "9.9 %",
        "10 %",
        "100 %",
    ]


def test_repeated_texts_by_hand() -> None:
    parts = [
        {"anchor": ["a", "b", "a"], "positive": [["p", "q"], ["p"], ["p", "q"]], "negative": [["x"], ["b"], ["x"]]},
        {"anchor": ["a", "c"], "positive": [["c"], ["c"]], "negative": [[], ["y", "c"]]},
    ]
    repeats = find_repeats(parts)
    # the third row is the first; the fourth has its anchor; the last has the fourth's positive, is its own, and its own negative
    assert (repeats.rows, repeats.row, repeats.anchor, repeats.positive) == (5, 1, 2, 2)
    assert (repeats.own, repeats.false_negative) == (1, 2)


def test_a_sample_is_spread_over_all_rows() -> None:
    assert [row for part in windows(10, 10, 4) for row in part] == list(range(10))
    some = windows(1000, 100, 10)
    assert len(some) == 10 and some[0].start == 0 and some[-1].stop == 1000
    assert max(b.start - a.start for a, b in itertools.pairwise(some)) == 110
