"""Signals that ask a process to end: SIGTERM, from clusters and `timeout`, and SIGHUP, from a terminal that is closed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(SystemExit):
    """A signal asked the process to end: it exits with 128 plus the signal's number, as a shell counts.

    A process that another one started exits with 0: Lightning would kill the first for any other code, and that one's is what counts.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number if os.environ.get("LOCAL_RANK", "0") == "0" else 0)
        self.number = number


@contextmanager
def raising_stopped() -> Iterator[None]:
    """Has these signals raise `Stopped` in the main thread, as Ctrl-C raises KeyboardInterrupt, so that work is saved and cleaned up.

    A signal that somebody else handles, or that is ignored (`nohup`), is left to them.
    """

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDING if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def end_on_signals() -> None:
    """Has them raise `Stopped` in the main thread, whoever handled them before."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)


def _stop(number: int, frame: object) -> None:
    raise Stopped(number)


def ignore_in_worker(worker: int) -> None:
    """Has a data loader's worker ignore them and Ctrl-C, which reach a whole group of processes: the trainer finishes its step with it.

    Args:
        worker: Its number.
    """
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)
