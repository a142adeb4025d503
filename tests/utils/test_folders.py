"""The user's cache folder, and whether a folder can be written to."""

import os
import sys
from pathlib import Path

import pytest

from lightning_embed.errors import UserError
from lightning_embed.utils.folders import user_cache, writable


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux keeps caches")
@pytest.mark.parametrize("given", [None, "", "/elsewhere/caches"])
def test_caches_stay_where_they_have_always_been(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert user_cache() == Path(given or "/home/somebody/.cache") / "lightning_embed"


def test_a_folder_that_can_be_written_to_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = writable(tmp_path / "a" / "b", "give another")
    assert folder == tmp_path / "a" / "b" and os.listdir(folder) == []


def test_one_that_cannot_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/b: cannot be written to \(Not a directory\); give another"):
        writable(tmp_path / "file" / "b", "give another")
