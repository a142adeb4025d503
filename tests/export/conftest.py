from collections.abc import Iterator

import pytest

from lightning_embed.export import folder

IN_NEW_PROCESS = folder.read_in_new_process
"""As it was before the tests began."""


@pytest.fixture(scope="package", autouse=True)
def exports_are_read_in_a_new_process(exports_are_read_in_this_process: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "read_in_new_process", IN_NEW_PROCESS)
        yield
