"""A sharded checkpoint's folder: read as data, written whole or not at all."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_embed.compat.torch import TABLE
from lightning_embed.distributed.sharded_checkpoint import META, is_sharded_checkpoint, read, save
from lightning_embed.errors import UserError

TENSORS = {
    "state_dict.student.w": torch.arange(6.0).reshape(2, 3),
    "optimizer_0.state.student.w.exp_avg": torch.ones(2, 3),
    "optimizer_0.state.student.w.step": torch.tensor(4.0),
}
REST = {"global_step": 4, "optimizer_states": [{"param_groups": [{"lr": 0.1, "params": ["student.w"]}]}]}


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_it_is_read_in_the_form_of_a_file_and_replaces_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "last.ckpt"
    folder.write_text("a file")
    for step in (3, 4):
        save(folder, TENSORS, REST | {"global_step": step})
    found = read(folder)
    assert is_sharded_checkpoint(folder) and found["global_step"] == 4 and os.listdir(tmp_path) == ["last.ckpt"]
    torch.testing.assert_close(found["state_dict"], {"student.w": TENSORS["state_dict.student.w"]})
    (optimizer,) = found["optimizer_states"]
    assert optimizer["param_groups"] == REST["optimizer_states"][0]["param_groups"]  # type: ignore[index]
    torch.testing.assert_close(
        optimizer["state"], {"student.w": {"exp_avg": torch.ones(2, 3), "step": torch.tensor(4.0)}}
    )


@pytest.mark.parametrize("name", [TABLE, META])
def test_pickled_code_in_it_is_not_run(tmp_path: Path, name: str) -> None:
    save(tmp_path / "x.ckpt", TENSORS, REST)
    if name == TABLE:
        (tmp_path / "x.ckpt" / name).write_bytes(pickle.dumps(Evil(tmp_path / "made")))
    else:
        torch.save({"code": Evil(tmp_path / "made")}, tmp_path / "x.ckpt" / name)
    with pytest.raises(UserError, match=r"x\.ckpt: not a checkpoint that can be read"):
        read(tmp_path / "x.ckpt")
    assert not (tmp_path / "made").exists()


def test_a_torn_one_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.ckpt", TENSORS, REST)
    shards = next((tmp_path / "x.ckpt").glob("*.distcp"))
    shards.write_bytes(shards.read_bytes()[:100])
    with pytest.raises(UserError, match="not a checkpoint that can be read"):
        read(tmp_path / "x.ckpt")
