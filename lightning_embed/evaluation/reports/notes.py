"""The sentences of a run's report that its tables have no column for."""

from collections.abc import Mapping


def averaged(earlier: int, last: int) -> str:
    """The student was averaged.

    Args:
        earlier: The earlier step.
        last: The last step.
    """
    return f"The student after is the average of its weights at steps {earlier:,} and {last:,}."


def which_weights(step: int, best: int | None, scores: tuple[float, float] | None) -> str:
    """The weights that the report and `model/` are of.

    Args:
        step: Of the weights.
        best: The step of best.ckpt, where the weights are others.
        scores: The monitored score at the best step and at the end, where they are known.
    """
    said = f"The report and the exported model are of the weights at step {step:,}"
    if best is None:
        return f"{said}."
    better = f", with a validation score of {scores[0]:.4f} against {scores[1]:.4f}" if scores else ""
    return f"{said}; best.ckpt is of step {best:,}{better}: report.weights: best takes it instead."


def verified(least: float) -> str:
    """The export was compared.

    Args:
        least: The least cosine.
    """
    return f"Loaded again in a new process, the exported model gives the same vectors (least cosine {least:.6f})."


def other_theta(theta: float) -> str:
    """The export has another θ than training had.

    Args:
        theta: `export_rope_theta`.
    """
    return f"The exported model has rope_theta {theta:g}; the scores are those of the θ of training."


def adapter(weights: int, model: str) -> str:
    """Only an adapter was trained.

    Args:
        weights: How many weights trained.
        model: What the user calls the base.
    """
    return (
        f"An adapter of {weights:,} weights was trained on {model}, which stayed as it is; "
        "the exported model has it merged in."
    )


def cut_texts(cut: Mapping[str, tuple[int, int]], lengths: Mapping[str, int]) -> list[str]:
    """A sentence for each source whose texts were cut.

    Args:
        cut: Source -> texts cut, and tokens lost.
        lengths: Source -> tokens after which its texts were cut.
    """
    return [
        f"{title}: {texts:,} texts were longer than max_length {lengths[title]} and cut; {lost:,} tokens were lost."
        for title, (texts, lost) in cut.items()
    ]


def teacher_was_stored(name: str) -> str:
    """Why a teacher's speed is not known.

    Args:
        name: Its name; a lone one's is empty.
    """
    whose = f"Teacher {name}'s" if name else "The teacher's"
    return f"{whose} vectors came from the store: it was not loaded, and its speed was not measured."


def teacher_is_given(name: str) -> str:
    """What is not known of a teacher of which there are stored vectors alone.

    Args:
        name: Its name; a lone one's is empty.
    """
    who = f"teacher {name}" if name else "the teacher"
    return f"Only vectors of {who} are known: its size, speed and vectors of other texts are not."
