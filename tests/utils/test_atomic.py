"""Files and folders that are whole or not there, whatever stops their writing."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lightning_embed.utils.atomic import (
    STALE_SECONDS,
    partial_folder,
    remove_at_once,
    whole_file,
    whole_folder,
    write_whole,
)

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def filled(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text(text)
    return folder


def killed(code: str, at: str) -> None:
    """Runs code in a process that is killed at a call of `os`."""
    code = f"import os\nfrom pathlib import Path\nfrom lightning_embed.utils.atomic import *\n{code}"
    kill = f"import os; os.{at} = lambda *names: os.kill(os.getpid(), 9)\n"
    assert subprocess.run([sys.executable, "-c", kill + code], cwd=ROOT).returncode == -9


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.txt"
    write_whole(file, "old")
    with whole_file(file) as partial:
        partial.write_text("half")
        assert file.read_text() == "old" and partial.parent == file.parent and partial.name.startswith(".")
        partial.write_text("whole")
    assert file.read_text() == "whole" and names(file.parent) == ["a.txt"]
    write_whole(file, "bytes or ü".encode())
    assert file.read_text(encoding="utf-8") == "bytes or ü"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_the_old_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    write_whole(tmp_path / "a.txt", "old")
    filled(tmp_path / "folder", "old")
    with pytest.raises(error), whole_file(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise error
    with pytest.raises(error), whole_folder(tmp_path / "folder") as partial:
        (partial / "b.txt").write_text("half")
        raise error
    assert names(tmp_path) == ["a.txt", "folder"] and names(tmp_path / "folder") == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_partial_that_the_block_deletes_is_not_put_in_place(tmp_path: Path) -> None:
    filled(tmp_path / "folder", "old")
    with whole_file(tmp_path / "a.txt"):
        pass
    with whole_folder(tmp_path / "folder") as partial:
        partial.rmdir()
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["a.txt"]


def test_a_folder_replaces_a_full_folder_a_file_and_a_link(tmp_path: Path) -> None:
    filled(tmp_path / "folder", "old")
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(filled(tmp_path / "elsewhere", "kept"))
    for name in ("folder", "file", "link"):
        with whole_folder(tmp_path / name) as partial:
            (partial / "b.txt").write_text("new")
        assert names(tmp_path / name) == ["b.txt"]
    assert names(tmp_path) == ["elsewhere", "file", "folder", "link"]
    assert (tmp_path / "elsewhere" / "a.txt").read_text() == "kept"


def test_a_file_replaces_a_folder(tmp_path: Path) -> None:
    write_whole(filled(tmp_path / "last.ckpt", "old"), "new")
    assert names(tmp_path) == ["last.ckpt"] and (tmp_path / "last.ckpt").read_text() == "new"


def test_the_old_folder_is_back_where_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "folder", "old")

    def refuse(*names: object) -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"), whole_folder(tmp_path / "folder") as partial:
        (partial / "b.txt").write_text("new")
        monkeypatch.setattr(os, "replace", refuse)
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["a.txt"]


def test_of_two_that_make_the_same_folder_the_first_wins(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "cache", replace=False) as second:
        with whole_folder(tmp_path / "cache", replace=False) as first:
            assert first != second
            (first / "a.txt").write_text("first")
        (second / "a.txt").write_text("second")
    assert names(tmp_path) == ["cache"] and (tmp_path / "cache" / "a.txt").read_text() == "first"


def test_what_a_killed_process_left_is_overwritten_where_one_process_writes(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.txt", tmp_path / "folder"
    killed(f"with whole_file(Path({str(file)!r}), alone=True) as p: p.write_text('half')", "replace")
    killed(f"with whole_folder(Path({str(folder)!r}), alone=True) as p: (p / 'b').write_text('half')", "replace")
    assert names(tmp_path) == [".a.txt.partial", ".folder.partial"]
    assert partial_folder(folder) == tmp_path / ".folder.partial"
    with whole_file(file, alone=True) as partial:
        partial.write_text("whole")
    with whole_folder(folder, alone=True) as partial:
        assert not names(partial)
        (partial / "a.txt").write_text("whole")
    assert names(tmp_path) == ["a.txt", "folder"] and names(folder) == ["a.txt"]


def test_a_process_killed_between_the_two_renames_leaves_the_old_folder_beside_and_the_next_one_tidies_up(
    tmp_path: Path,
) -> None:
    folder = filled(tmp_path / "folder", "old")
    killed(f"with whole_folder(Path({str(folder)!r}), alone=True) as p: (p / 'b').write_text('new')", "replace")
    assert names(tmp_path) == [".folder.old", ".folder.partial"] and names(tmp_path / ".folder.old") == ["a.txt"]
    with suppress(ValueError), whole_folder(folder, alone=True):
        raise ValueError
    assert names(tmp_path) == [".folder.old"]  # the only whole one there is
    with whole_folder(folder, alone=True) as partial:
        (partial / "b").write_text("new")
    assert names(tmp_path) == ["folder"]


def test_partials_of_others_are_left_alone_until_nobody_has_written_to_them_for_a_day(tmp_path: Path) -> None:
    for i, (name, stale) in enumerate([("x", True), ("x", False), ("dir", True), ("busy", True)]):
        left = tmp_path / f".{name}.{i:012x}.partial"
        if name == "x":
            left.write_text("half")
        else:
            filled(left, "half")
        if stale:
            past = left.stat().st_mtime - STALE_SECONDS - 60
            for path in (left, *left.rglob("*")):
                os.utime(path, (past, past))
    (tmp_path / f".busy.{3:012x}.partial" / "a.txt").write_text("more")
    for name in (".mine.partial", ".x.partial", ".x.1.partial"):  # other programs'
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    write_whole(tmp_path / "a.txt", "a")
    kept = [f".busy.{3:012x}.partial", ".mine.partial", ".x.1.partial", ".x.partial", f".x.{1:012x}.partial", "a.txt"]
    assert names(tmp_path) == sorted(kept)


def test_a_folder_that_is_removed_at_once_may_be_gone_already(tmp_path: Path) -> None:
    folder = filled(tmp_path / "folder", "old")
    with (folder / "a.txt").open() as opened:
        remove_at_once(folder)
        remove_at_once(folder)
        assert opened.read() == "old"
    assert not names(tmp_path)
