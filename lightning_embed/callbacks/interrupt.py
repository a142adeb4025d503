"""Ctrl-C, SIGTERM and SIGHUP while a run trains: they are noted, and the run stops after the step that it is in."""

import os
import signal
import threading
import time
from types import FrameType

import lightning.pytorch as L

from lightning_embed.compat.lightning import after_signals_are_registered
from lightning_embed.utils.signals import ENDING

TWICE = 1.0
"""Seconds within which a second Ctrl-C is the same: a terminal and a parent process may both pass it on."""


class StopSignals:
    """Notes the first signal that asks a run to stop; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.asked = 0
        """The signal's number; 0: none has come."""
        self._at = 0.0
        self._process = 0

    def take(self, trainer: L.Trainer) -> None:
        """Takes the signals over for one fit, at the end of which Lightning gives them back.

        Args:
            trainer: Being set up.
        """
        self.asked, self._process = 0, os.getpid()
        after_signals_are_registered(trainer, self._register)

    def _register(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        signal.signal(signal.SIGINT, self._note)
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data loader's worker, which ends with the run
            return
        if self.asked and number == signal.SIGINT and time.monotonic() - self._at > TWICE:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._at = number, time.monotonic()
            said = f"\n{name_of(number)}: finishing this step and saving a checkpoint (Ctrl-C again stops at once)\n"
            os.write(2, said.encode())  # print might be what was interrupted


def name_of(number: int) -> str:
    """A signal as users call it.

    Args:
        number: The signal.
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
