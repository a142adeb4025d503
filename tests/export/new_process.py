"""The proof of an export as users have it, in a new process: elsewhere tests/conftest.py replaces it, as it costs 14 s of a core."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lightning_embed.export import folder

IN_NEW_PROCESS = folder.read_in_new_process
"""As it was before the tests began."""


@contextmanager
def in_new_process() -> Iterator[None]:
    """Within it an export is read in a new process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "read_in_new_process", IN_NEW_PROCESS)
        yield
