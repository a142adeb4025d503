import inspect
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_embed.encoders.lora import Adapter
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.utils.hashing import contents_hash, weights_hash
from tests.toys import toy_folder

TEXTS = ["w1", "w2 w3 w4 w5 w6 w7 w8", "w9 w10 unheard-of"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("settings", [{}, {"layers": [1], "dim": 8, "pooling": "cls"}, {"dtype": "bfloat16"}])
def test_it_gives_the_vectors_of_a_text_encoder_and_is_loaded_by_the_first(
    teacher: Path, settings: dict[str, Any]
) -> None:
    frozen, plain = FrozenEncoder(str(teacher), **settings), TextEncoder(str(teacher), **settings)
    assert frozen.dim == plain.dim and frozen.parameter_count == plain.parameter_count
    assert frozen.config.num_hidden_layers == plain.config.num_hidden_layers and frozen.tokenizer == plain.tokenizer
    assert not frozen.loaded and not list(frozen.parameters())
    torch.testing.assert_close(frozen.encode(TEXTS), plain.encode(TEXTS), rtol=0, atol=0)
    assert frozen.loaded


def test_its_settings_are_those_of_a_text_encoder_and_shard() -> None:
    ours, theirs = (dict(inspect.signature(kind).parameters) for kind in (FrozenEncoder, TextEncoder))
    assert ours.pop("shard").default is False
    assert list(ours.items()) == list(theirs.items())


class OwnBackbone(FrozenEncoder):
    """Doubles the first weight of what is loaded."""

    def load_backbone(self) -> nn.Module:
        backbone = super().load_backbone()
        with torch.no_grad():
            next(backbone.parameters()).mul_(2)
        return backbone


def test_a_subclass_may_load_another_backbone_and_it_is_still_loaded_late(teacher: Path) -> None:
    own, plain = OwnBackbone(str(teacher)), FrozenEncoder(str(teacher))
    assert not own.loaded
    own.load()
    assert own.loaded and torch.equal(next(own.backbone.parameters()), 2 * next(plain.backbone.parameters()))


class FirstAndLast(FrozenEncoder):
    """A pooling of its own."""

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        return hidden[:, 0] + super().pool(hidden, lengths)


def test_a_pooling_of_ones_own_changes_vectors_and_identity(teacher: Path) -> None:
    own, plain = FirstAndLast(str(teacher), packing="off"), FrozenEncoder(str(teacher), packing="off")
    assert not torch.allclose(own.encode(TEXTS), plain.encode(TEXTS), atol=1e-3)
    mine, theirs = own.identity(), plain.identity()
    assert mine is not None and theirs is not None
    assert [key for key in mine if mine[key] != theirs[key]] == ["pooling"]


def test_a_teacher_with_an_adapter_is_refused(teacher: Path) -> None:
    with pytest.raises(UserError, match="an adapter trains, and a teacher does not"):
        FrozenEncoder(str(teacher), adapter=Adapter())


def test_it_stays_in_eval_mode_without_gradients(teacher: Path) -> None:
    frozen = FrozenEncoder(str(teacher), dropout=0.5).train()
    vectors = frozen(frozen.tokenizer(TEXTS)[0])
    assert not vectors.requires_grad and not any(p.requires_grad for p in frozen.parameters())
    assert not frozen.train().training and not any(m.training for m in frozen.modules())
    torch.testing.assert_close(frozen(frozen.tokenizer(TEXTS)[0]), vectors)


def test_loading_late_draws_no_random_number_and_may_happen_in_inference_mode(teacher: Path) -> None:
    frozen = FrozenEncoder(str(teacher))
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    with torch.inference_mode():
        frozen.encode(TEXTS)
    assert torch.equal(torch.rand(3), wanted) and not frozen.backbone.get_input_embeddings().weight.is_inference()


def test_weights_that_come_late_come_to_the_device_that_was_said_before(teacher: Path) -> None:
    frozen = FrozenEncoder(str(teacher)).to("meta")
    assert frozen.device.type == "meta" and not frozen.loaded
    assert next(frozen.backbone.parameters()).device.type == "meta"


def test_random_weights_are_there_at_once_and_have_no_identity(teacher: Path) -> None:
    torch.manual_seed(1)
    frozen = FrozenEncoder(str(teacher), random_init=True)
    torch.manual_seed(1)
    plain = TextEncoder(str(teacher), random_init=True)
    torch.testing.assert_close(frozen.encode(TEXTS), plain.eval().encode(TEXTS))
    assert frozen.identity() is None


def test_the_identity_is_that_of_the_content_not_of_the_place(teacher: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(teacher, tmp_path / "copy")
    assert FrozenEncoder(str(copy)).identity() == FrozenEncoder(str(teacher)).identity()
    longer = FrozenEncoder(str(teacher), max_length=9, prompts={"query": "w1 "}, max_tokens=64)
    assert longer.identity() == FrozenEncoder(str(teacher)).identity()  # these are in the key of each text


@pytest.mark.parametrize(
    "settings", [{"pooling": "cls"}, {"pooling": "last_token"}, {"dim": 8}, {"layers": [0]}, {"dtype": "bfloat16"}]
)
def test_each_setting_that_changes_vectors_changes_the_identity(teacher: Path, settings: dict[str, Any]) -> None:
    assert FrozenEncoder(str(teacher), **settings).identity() != FrozenEncoder(str(teacher)).identity()


def test_other_weights_and_another_tokenizer_change_the_identity(teacher: Path, tmp_path: Path) -> None:
    whole = FrozenEncoder(str(teacher)).identity()
    other = toy_folder(tmp_path / "other", hidden=48, seed=9)
    mine = FrozenEncoder(str(other)).identity()
    assert whole is not None and mine is not None
    assert [key for key in whole if whole[key] != mine[key]] == ["weights"]
    copy = shutil.copytree(teacher, tmp_path / "copy")
    file = copy / "tokenizer.json"
    file.write_text(file.read_text().replace('"w1"', '"w1x"'))
    assert [k for k, v in (FrozenEncoder(str(copy)).identity() or {}).items() if whole[k] != v] == ["tokenizer"]


def test_the_hash_of_the_weights_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"a" * 1000)
    first = weights_hash(tmp_path)
    before = os.stat(file)
    file.write_bytes(b"b" * 1000)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights_hash(tmp_path) == first  # it was not read again
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert weights_hash(tmp_path) != first
    (tmp_path / "cache/lightning_embed/weights.json").write_text("{broken")
    assert weights_hash(tmp_path) != first


def test_the_hash_of_contents_hangs_on_what_files_hold_and_not_on_where_they_lie(tmp_path: Path) -> None:
    folder = toy_folder(tmp_path / "model")
    data = tmp_path / "rows.jsonl"
    data.write_text("{}")
    first = contents_hash([folder, data])
    (folder / "README.md").write_text("says nothing of the vectors")
    assert contents_hash([Path(shutil.copytree(folder, tmp_path / "copy")), data]) == first
    before = os.stat(data)
    data.write_text("[]")
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert contents_hash([folder, data]) != first  # of weights alone a hash is remembered


def test_weights_that_are_gone_or_cut_off_are_named_before_they_are_needed(tmp_path: Path) -> None:
    folder = toy_folder(tmp_path / "m")
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors could not be read"):
        FrozenEncoder(str(folder))
    file.unlink()
    with pytest.raises(UserError, match=r"weights were expected as \*\.safetensors"):
        FrozenEncoder(str(folder))
    file.write_bytes(content)
    with pytest.raises(UserError, match="layers must be indices from 0 to 1"):
        FrozenEncoder(str(folder), layers=[2])


def test_a_stored_teacher_says_that_it_cannot_run() -> None:
    teacher = StoredTeacher("voyage", 8)
    assert teacher.identity() == {"name": "voyage", "dim": 8}
    with pytest.raises(UserError, match="'voyage' is known by its stored vectors alone"):
        teacher(None)


def test_an_error_from_a_worker_is_its_one_line_again() -> None:
    told = "Caught UserError in DataLoader worker process 0.\nTraceback\nlightning_embed.errors.UserError: row 3: bad\n"
    assert str(UserError(told)) == "row 3: bad" and str(UserError("Caught: a")) == "Caught: a"
