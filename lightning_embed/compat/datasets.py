"""What datasets keeps to itself: its cache folder, a data set's rows and fingerprint, and the files of a saved one.

datasets is imported in the functions: it takes most of a second.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE, DATA_FILES = "state.json", "_data_files"
"""The file, in a folder that `save_to_disk` wrote, and its key that list the folder's Arrow files."""


def cache_folder() -> Path:
    """Where datasets keeps what it converts, as its environment variables say; tables that are made here lie beside it.

    Without it they would be made again in another place, and removing datasets' cache would leave them there.
    """
    from datasets import config

    return Path(config.HF_DATASETS_CACHE)


def report_no_loads() -> None:
    """Keeps datasets from reporting each load, of local files too, to a server; without it a fit asks the network, up to 3 s a source."""
    from datasets import config

    config.HF_UPDATE_DOWNLOAD_COUNTS = False


@contextmanager
def offline_if_unreachable() -> Iterator[Exception | None]:
    """Within it datasets reads its cache alone if the hub does not answer; without it each load tries again for half a minute.

    Yields:
        Why the hub cannot be reached; None if it can be, or if it is not to be asked.
    """
    from datasets import config
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE or config.HF_HUB_OFFLINE:
        yield None
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of the HTTP client, which is another one from version to version
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
        try:
            yield error
        finally:
            constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = False
    else:
        yield None


def has_all_rows(dataset: Any) -> bool:
    """Whether a data set's rows are those of its files, in their order; without it the files could not be read directly.

    Args:
        dataset: A `datasets.Dataset`.
    """
    return dataset._indices is None


def fingerprint_of(dataset: Any) -> str:
    """A hash of what a data set was made from and of what was done to it; without it a part of one would be written out at every start.

    Args:
        dataset: A `datasets.Dataset`.
    """
    fingerprint: str = dataset._fingerprint
    return fingerprint


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder that `save_to_disk` wrote, in the order of the rows.

    `load_from_disk` would tell them too, but maps them first: 0.13 s, and 35 MB at the peak, for each million rows of 300 bytes.

    Args:
        folder: Where `save_to_disk` wrote it.
    """
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return [folder / entry["filename"] for entry in state[DATA_FILES]]


def holds_several_types(feature: Any) -> bool:
    """Whether datasets read a column as JSON because its values are of several types; without it such texts would keep their quotes.

    Args:
        feature: The column's feature.
    """
    return type(feature).__name__ == "Json"  # by name: versions before 5 have no such feature, and raise instead
