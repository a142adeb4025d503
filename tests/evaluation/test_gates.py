"""Gates by hand: what they compare, what is not measured, what is refused."""

import pytest

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.gates import broken, check_gates, values


def grid(score: float) -> list[GridRow]:
    return [
        GridRow(dim, precision, dim, {"score": score * kept, "sts/spearman": score * kept / 2})  # type: ignore[arg-type]
        for dim, precision, kept in (
            (64, "float32", 1.0),
            (64, "int8", 0.99),
            (64, "binary", 0.8),
            (32, "float32", 0.9),
        )
    ]


def test_the_values_by_hand() -> None:
    found = values({"": "score", "sts": "sts/spearman"}, grid(0.6), grid(0.8), grid(0.5))
    assert found["score"] == 0.6 and found["score/sts"] == 0.3
    assert found["of_teacher"] == found["of_teacher/sts"] == pytest.approx(0.75)
    assert found["above_start"] == pytest.approx(0.1) and found["above_start/sts"] == pytest.approx(0.05)
    assert found["int8_of_float"] == pytest.approx(0.99) and found["32_of_full"] == pytest.approx(0.9)


def test_a_gate_holds_at_its_value_and_breaks_below() -> None:
    assert broken({"of_teacher": 0.75}, {"of_teacher": 0.75}) == []
    assert broken({"of_teacher": 0.75}, {"of_teacher": 0.7499}, "small") == [
        "of_teacher of small is 0.7499, and must be at least 0.75"
    ]


def test_what_was_not_measured_does_not_hold() -> None:
    assert broken({"of_teacher": 0.5}, values({"": "score"}, grid(0.6))) == [
        "of_teacher was not measured, and must be at least 0.5"
    ]
    assert broken({"score": 0.5}, {"score": float("nan")}) == ["score is nan, and must be at least 0.5"]
    assert values({"": "score"}, []) == {}


@pytest.mark.parametrize(
    ("require", "said"),
    [
        ({"of_techer": 0.9}, "r: there is no gate 'of_techer'; known are score, of_teacher"),
        ({"of_teacher": "much"}, "r.of_teacher: expected a number, got 'much'"),
        ({"of_teacher": True}, "expected a number"),
        ({"of_teacher": float("nan")}, "expected a number"),
    ],
)
def test_what_is_no_gate_is_refused(require: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_gates(require, "r")


def test_gates_of_tasks_and_sizes_are_known() -> None:
    check_gates({"of_teacher/sts": 0.9, "128_of_full": 0.95, "binary_rescore_of_float": 0.9, "above_start": 0}, "r")
