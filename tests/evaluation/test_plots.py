"""What the pictures are drawn from, and that they draw in odd cases; how they look is for eyes."""

from itertools import pairwise
from pathlib import Path

import pytest

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.curves import plot_training, read_curves
from lightning_embed.evaluation.reports.names import metric_title, score_text
from lightning_embed.evaluation.reports.plots import plot_grid, png

ROWS = [
    GridRow(32, "float32", 128, {"ndcg@10": 0.60}),
    GridRow(16, "float32", 64, {"ndcg@10": 0.50}),
    GridRow(32, "int8", 32, {"ndcg@10": 0.59}),
    GridRow(32, "binary", 4, {"ndcg@10": 0.40}),
]


def lines(figure, width: float) -> list[list[tuple[float, float]]]:
    return [
        list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for axes in figure.axes
        for line in axes.lines
        if line.get_linewidth() == width
    ]


def texts(figure) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_the_strong_line_leaves_out_what_fewer_bytes_beat() -> None:
    figure = plot_grid({"student after": ROWS})
    assert lines(figure, 2.4) == [[(4, 0.40), (32, 0.59), (128, 0.60)]]


def test_the_markers_of_the_strong_line_say_their_dims_and_the_axis_is_times_100() -> None:
    axes = plot_grid({"student after": ROWS}).axes[0]
    named = [(text.get_text(), text.xy) for text in axes.texts if text.get_text().isdigit()]
    assert sorted(named) == [("32", (4, 0.40)), ("32", (32, 0.59)), ("32", (128, 0.60))]
    assert axes.yaxis.get_major_formatter()(0.6) == "60" and "times 100" in axes.get_title(loc="left")


def test_every_model_has_one_strong_line_and_its_name_beside_it() -> None:
    figure = plot_grid({"teacher": ROWS, "student after": ROWS[:2], "none": []})
    assert len(lines(figure, 2.4)) == 2
    assert {"teacher", "student after"} <= texts(figure)
    assert "none" not in texts(figure)


def test_labels_of_equal_scores_do_not_overlap() -> None:
    figure = plot_grid({"teacher": ROWS, "student before": ROWS, "student after": ROWS})
    names = [text for text in figure.axes[0].texts if text.get_text() in ("teacher", "student before", "student after")]
    heights = sorted(text.get_position()[1] for text in names)
    assert min(b - a for a, b in pairwise(heights)) > 10


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS[:2], [GridRow(3, "binary", 1, {"ndcg@10": 0.0})]])
def test_a_small_grid_is_a_png_twice_as_wide_as_a_readme(rows: list[GridRow]) -> None:
    picture = png(plot_grid({"model": rows}))
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20], "big") == 1800


def test_a_grid_without_the_metric_is_an_error() -> None:
    with pytest.raises(UserError, match="mrr@10"):
        plot_grid({"model": ROWS}, metric="mrr@10")


def metrics(folder: Path, text: str) -> Path:
    path = folder / "metrics.csv"
    path.write_text(text)
    return path


CSV = """epoch,step,train/loss,train/gor,train/gor_weight,lr,val/ndcg@10
0,0,3.0,1.0,0.5,0.1,
0,5,,,,,0.25
0,10,2.0,nan,0.5,0.1,
0,15,,,,,0.5
"""


def test_gaps_and_nan_are_left_out_of_the_curves(tmp_path: Path) -> None:
    curves = read_curves(metrics(tmp_path, CSV))
    assert curves["train/loss"] == ([0, 10], [3.0, 2.0])
    assert curves["train/gor"] == ([0], [1.0])
    assert curves["val/ndcg@10"] == ([5, 15], [0.25, 0.5])


def test_losses_and_validation_have_a_panel_each_and_the_teacher_a_line(tmp_path: Path) -> None:
    figure = plot_training(metrics(tmp_path, CSV), teacher_score=0.75)
    assert len(figure.axes) == 2
    assert texts(figure) == {"total", "gor", "student", "teacher"}
    dashed = [line for line in figure.axes[1].lines if line.get_linestyle() == "--" or line.is_dashed()]
    assert [list(line.get_ydata()) for line in dashed] == [[0.75, 0.75]]


@pytest.mark.parametrize("validated", [True, False])
def test_one_logged_step_is_one_tick(tmp_path: Path, validated: bool) -> None:
    text = "step,train/loss,val/ndcg@10\n9,1.0,\n" + ("9,,0.5\n" if validated else "")
    for axes in plot_training(metrics(tmp_path, text)).axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [9]


def test_both_panels_have_the_same_steps(tmp_path: Path) -> None:
    losses, scores = plot_training(metrics(tmp_path, CSV)).axes
    assert losses.get_xlim() == scores.get_xlim() and losses.get_xlim()[1] >= 15


def test_a_run_without_validation_has_one_panel(tmp_path: Path) -> None:
    figure = plot_training(metrics(tmp_path, "step,train/loss\n0,-1.0\n1,-2.0\n"))
    assert len(figure.axes) == 1
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,train/loss\n0,1\n", "`step` column"),
        ("", "`step` column"),
        ("step,train/loss\n0,1\n1,much\n", "line 3"),
        ("step,lr\n0,1\n", "expected a column train/<name>"),
    ],
)
def test_a_file_that_holds_no_metrics_is_an_error_that_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plot_training(metrics(tmp_path, text))


def test_a_missing_metrics_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        plot_training(tmp_path / "nowhere.csv")


def test_metric_titles() -> None:
    assert [
        metric_title(m)
        for m in ("val/ndcg@10", "mrr@5", "recall@1", "loss", "ndcg_at_10", "val/docs/ndcg@10", "v_measure")
    ] == [
        "nDCG@10",
        "MRR@5",
        "Recall@1",
        "loss",
        "nDCG@10",
        "docs nDCG@10",
        "V-measure",
    ]


def test_scores_are_times_100_and_other_values_as_they_are() -> None:
    assert score_text("val/docs/ndcg@10", 0.7797) == "docs nDCG@10 78.0"
    assert score_text("grid/STSBenchmark/128/int8", 0.5) == "STSBenchmark 50.0"
    assert score_text("val/loss", 0.123456) == "val/loss 0.1235"
