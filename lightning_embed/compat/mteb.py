"""What mteb keeps to itself: its random state, its choice of prompts, its predictions and its folds.

mteb is imported in the functions: it takes seconds.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import PromptType


def usable_prompts(prompts: dict[str, str]) -> dict[str, str]:
    """The prompts whose names mean something to mteb: roles, tasks and types of tasks.

    Without it `choose_prompt` would take up prompts under names that mteb's own wrapper of a model leaves out.

    Args:
        prompts: Name -> prompt.
    """
    from mteb.models.abs_encoder import AbsEncoder

    known, _ = AbsEncoder.validate_task_to_prompt_name(prompts or None, raise_for_invalid_keys=False)
    return dict(known or {})


def choose_prompt(prompts: dict[str, str], metadata: TaskMetadata, prompt_type: PromptType | None) -> str | None:
    """The name of the prompt that mteb's rules choose for a text; without it scores would differ from mteb's own of the same model.

    Args:
        prompts: As `usable_prompts` gives them.
        metadata: The task's.
        prompt_type: Query, document or neither.
    """
    from mteb.models.abs_encoder import get_prompt_name

    return get_prompt_name(prompts, metadata, prompt_type)


def random_state(task: AbsTask) -> Any:
    """A copy of what a task draws from: which texts are embedded, which are trained on.

    Without it a model's score in one size would depend on how many sizes were scored before it.

    Args:
        task: The task.
    """
    return copy.deepcopy((task.rng_state, task.np_rng))


def set_random_state(task: AbsTask, state: Any) -> None:
    """Puts a task back to where it was.

    Args:
        task: The task.
        state: What `random_state` gave; it can be given again.
    """
    task.rng_state, task.np_rng = copy.deepcopy(state)


def read_predictions(task: AbsTask, folder: Path) -> Any:
    """Subset -> split -> what a model predicted, or None; without it two models could not be compared query by query.

    Args:
        task: The task.
        folder: `prediction_folder` of `mteb.evaluate`.
    """
    file = folder / task.prediction_file_name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def pair_scores(predicted: Any, main_score: str) -> list[float] | None:
    """A score for each pair of an STS task, from which its main score is computed; None for another main score.

    Args:
        predicted: A split of `read_predictions`.
        main_score: The task's.
    """
    columns = {"cosine_spearman": "cosine_scores", "spearman": "similarity_scores"}
    return predicted[columns[main_score]] if main_score in columns else None


def experiment_scores(scores: Any) -> list[float]:
    """The V-measure of each experiment of a clustering task, whose mean is its main score.

    Args:
        scores: Those of a split.
    """
    return [value for level in scores["v_measures"].values() for value in level]


def folds(task: Any, texts: int) -> list[Any]:
    """Which texts each fold of a cross-validation tested, in the order of the predictions.

    mteb shuffles by the task's seed and keeps no record: the same folds, made again, give each prediction its text.

    Args:
        task: A classification task with `is_cross_validation`.
        texts: How many it has.
    """
    from sklearn.model_selection import KFold

    made = KFold(n_splits=task.n_splits, shuffle=True, random_state=task.seed)
    return [tested for _, tested in made.split(range(texts))]


def score_folds_of_two_labels(task: Any) -> None:
    """Lets a classification of three labels or more score texts of which only two labels occur.

    mteb takes such texts for a binary task and looks for the labels 0 and 1: without it a small file that is cross-validated ends in a
    traceback. The average precision, which is of binary tasks, is left out.

    Args:
        task: A classification task whose labels are numbers.
    """
    score = task._calculate_scores

    def scores(tested: Any, predicted: Any) -> Any:
        number = {label: i for i, label in enumerate(dict.fromkeys([*map(int, tested), *map(int, predicted)]))}
        found = score([number[int(label)] for label in tested], [number[int(label)] for label in predicted])
        return found | {"ap": None, "ap_weighted": None}

    task._calculate_scores = scores


def search_wrapper(encoder: Any, index: Any) -> Any:
    """mteb's search of an encoder's vectors in an index, with the documents' ids in memory.

    mteb looks each result's id up in a column on disk, 0.2 ms apiece; after indexing it reads nothing but ids. Without it a grid of sizes
    and precisions over one retrieval task takes minutes longer.

    Args:
        encoder: What encodes.
        index: What searches.
    """
    from mteb.models import SearchEncoderWrapper

    class Search(SearchEncoderWrapper):
        def index(self, corpus: Any, **settings: Any) -> None:
            super().index(corpus, **settings)
            self.task_corpus = {"id": list(corpus["id"])}

    return Search(encoder, index_backend=index)


def nearest_task(error: KeyError) -> str | None:
    """The task that `mteb.get_task` suggests in place of one that it does not know; without it a typo would get no hint.

    Args:
        error: What it raised.
    """
    near = re.search(r"Did you mean: '([^']+)'", str(error))
    return near[1] if near else None
