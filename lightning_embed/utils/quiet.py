"""Silence while something runs, and no trace of it afterwards: bars, loggers, warnings, arguments and environment are as they were."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal


@contextmanager
def quiet(
    *libraries: Literal["datasets", "transformers"], loggers: Sequence[str] = (), level: int = logging.ERROR
) -> Iterator[None]:
    """Hides the bars and messages of other libraries in a block, which may also add filters of warnings.

    Args:
        libraries: Whose bars are hidden, and whose own loggers report only what is fatal.
        loggers: More loggers that are to report less.
        level: The lowest level that these still report.
    """
    levels = dict.fromkeys(libraries, logging.CRITICAL) | dict.fromkeys(loggers, level)
    with warnings.catch_warnings(), ExitStack() as afterwards:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an environment variable has the last word about bars
            for library in libraries:
                afterwards.callback(_BARS[library]())
        for name, lowest in levels.items():
            logger = logging.getLogger(name)
            afterwards.callback(logger.setLevel, logger.level)
            logger.setLevel(max(logger.level, lowest))
        afterwards.callback(warnings.simplefilter, "ignore")  # while bars are shown again
        yield


@contextmanager
def same_process() -> Iterator[None]:
    """Runs a block, such as a command, that may change the process's arguments and environment; afterwards both are as they were."""
    arguments, environment = sys.argv, dict(os.environ)
    try:
        yield
    finally:
        sys.argv = arguments
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


def _hide_bars_of_datasets() -> Callable[[], None]:
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    return datasets.disable_progress_bars if hidden else datasets.enable_progress_bars


def _hide_bars_of_transformers() -> Callable[[], None]:
    from huggingface_hub.utils.tqdm import progress_bar_states
    from transformers.utils import logging as switches

    shown, of_the_hub = switches.is_progress_bar_enabled(), dict(progress_bar_states)
    switches.disable_progress_bar()

    def restore() -> None:
        if shown:
            switches.enable_progress_bar()
        progress_bar_states.clear()  # transformers switches the hub's bars along with its own
        progress_bar_states.update(of_the_hub)

    return restore


_BARS = {"datasets": _hide_bars_of_datasets, "transformers": _hide_bars_of_transformers}
