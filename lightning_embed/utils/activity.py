"""What takes a while, shown on standard error while it lasts: one line that changes on a terminal, a line every minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from lightning_embed.utils.formatting import clock

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
EVERY = 60.0
"""Seconds between two lines where standard error is no terminal."""
REFRESH = 0.2
"""Seconds between two updates of a line on a terminal."""


class Activity:
    """One line about something that takes a while.

    On a terminal it is drawn with a bar below what is printed meanwhile, and disappears when it is closed; elsewhere it is printed. Only
    the first process of a run shows it, and on a terminal only one is shown at a time: another that starts meanwhile is silent.

    Args:
        every: Seconds between two lines where standard error is no terminal.
    """

    _shown: Activity | None = None
    """The one that is on the terminal."""

    def __init__(self, every: float = EVERY) -> None:
        self.every = every
        self._bar: Progress | None = None
        self._last = -float("inf")

    def due(self) -> bool:
        """Whether it is time to show how far it is."""
        return time.monotonic() - self._last >= (REFRESH if sys.stderr.isatty() else self.every)

    def show(self, what: str, numbers: str = "", done: float | None = None, total: float | None = None) -> None:
        """Shows how far it is, whether that is due or not.

        Args:
            what: What is done, such as `step 20/100`.
            numbers: What is known about it, right of the bar.
            done: How much of `total` is done.
            total: None: it is not known, and the time that has passed is shown in place of a bar.
        """
        self._last = time.monotonic()
        if not _is_first_process():
            return
        if not sys.stderr.isatty() and Activity._shown is None:
            print("  ".join(part for part in (what, numbers) if part), file=sys.stderr, flush=True)
        elif Activity._shown in (None, self):
            self._draw(what, numbers, done, total)

    def _draw(self, what: str, numbers: str, done: float | None, total: float | None) -> None:
        if self._bar is None:
            self._bar = _bar()
            self._bar.add_task(what, total=total, numbers=numbers)
            self._bar.start()
            Activity._shown = self
        task = self._bar.tasks[0]
        self._bar.update(task.id, description=what, completed=done or 0, numbers=numbers)
        task.total = total  # `update` leaves it as it is where None is given

    def close(self) -> None:
        """Removes the line from the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, Activity._shown = None, None


@contextmanager
def activity(text: str) -> Iterator[None]:
    """Shows that something is being done, while a block runs.

    Args:
        text: What, such as `fitting the projection`.
    """
    shown = Activity()
    shown.show(text)
    try:
        yield
    finally:
        shown.close()


def track(items: Iterable[T], text: str) -> Iterator[T]:
    """Gives items on, and shows how many of them are done.

    Args:
        items: With or without a length.
        text: What is done with them, such as `scoring the student`.
    """
    shown, total = Activity(), len(items) if isinstance(items, Sized) else None
    shown.show(text, total=total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            if shown.due():
                shown.show(text, f"{done:,}/{total:,}" if total else f"{done:,}", done, total)
    finally:
        shown.close()


class Count:
    """How many of some things are done, how many a second, and the time that is left, in an `Activity`.

    Args:
        what: What is done, such as `encoding`.
        total: How many there are; None: not known.
        unit: What they are.
        done: How many were done before.
        shown: Whether it is shown at all.
    """

    def __init__(self, what: str, total: int | None, unit: str, done: int = 0, shown: bool = True) -> None:
        self.what, self.total, self.unit, self.done, self.shown = what, total, unit, done, shown
        self._line, self._first, self._start = Activity(), done, time.monotonic()

    def __enter__(self) -> Count:
        self.update(self.done)
        return self

    def __exit__(self, *error: object) -> None:
        self._line.close()

    def advance(self, count: int = 1) -> None:
        """So many more are done.

        Args:
            count: How many.
        """
        self.update(self.done + count)

    def update(self, done: int, what: str | None = None) -> None:
        """So many are done in all; shown if that is due.

        Args:
            done: How many.
            what: What is done now; None: the same as before.
        """
        self.done, self.what = done, what or self.what
        if self.shown and self._line.due():
            self._line.show(self.what, self._numbers(), done, self.total)

    def _numbers(self) -> str:
        seconds, done = time.monotonic() - self._start, self.done - self._first
        counted = f"{self.done:,}/{self.total:,} {self.unit}" if self.total else f"{self.done:,} {self.unit}"
        if not done or not seconds:
            return counted
        speed = f"{done / seconds:,.0f}/s" if done > seconds else f"{seconds / done:,.1f} s each"
        left = f"{clock((self.total - self.done) * seconds / done)} left" if self.total else ""
        return "  ".join(part for part in (counted, speed, left) if part)


def _is_first_process() -> bool:
    """Of a run of several; without Lightning there is one."""
    module = sys.modules.get("lightning.fabric.utilities.rank_zero")
    return module is None or getattr(module.rank_zero_only, "rank", 0) == 0


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.progress_bar import ProgressBar
    from rich.table import Column
    from rich.text import Text

    class Bar(ProgressColumn):
        """A bar where it is known how much there is, else the time that has passed."""

        def render(self, task: Task) -> ProgressBar | Text:
            return BarColumn(bar_width=None).render(task) if task.total else Text(clock(task.elapsed or 0))

    def text(field: str) -> TextColumn:
        return TextColumn(field, markup=False, table_column=Column(no_wrap=True))

    columns = (SpinnerColumn(), text("{task.description}"), Bar(Column(ratio=1)), text("{task.fields[numbers]}"))
    # what is printed meanwhile goes above the line, but not where it is piped elsewhere
    piped = not sys.stdout.isatty()
    return Progress(*columns, console=Console(stderr=True), transient=True, expand=True, redirect_stdout=not piped)
