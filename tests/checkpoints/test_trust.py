"""A checkpoint imports no modules; a user's class comes from a module that is imported, or that the run's config.yaml names too."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import yaml

from lightning_embed import EmbeddingModule, InfoNCE, TextEncoder, UserError
from lightning_embed.checkpoints.settings import KEY, write_settings
from lightning_embed.checkpoints.student import load_student
from lightning_embed.cli.of_checkpoint import settings_of_checkpoint

OWN = """
from pathlib import Path
from lightning_embed import TextEncoder
Path(__file__).with_name("it ran").touch()
class Own(TextEncoder):
    pass
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path with the package own_code, whose class Own is in own_code.students."""
    folder = tmp_path / "code/own_code"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from own_code.students import Own\n")
    (folder / "students.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_code"]:
        del sys.modules[name]


@pytest.fixture
def checkpoint(student: Path, tmp_path: Path) -> Path:
    """A checkpoint, as a run has it, without the run's config.yaml."""
    module = EmbeddingModule(TextEncoder(str(student)), {"nce": InfoNCE()})
    version = {"pytorch-lightning_version": L.__version__}
    content: dict[str, Any] = version | {"state_dict": module.state_dict(), "global_step": 1, "epoch": 0}
    write_settings(module, content)
    return naming("own_code.Own", content, tmp_path / "run/checkpoints/last.ckpt")


def naming(path: str, content: dict[str, Any], file: Path) -> Path:
    """Writes a checkpoint whose student is of a class."""
    for settings in (content[KEY]["student"], content[KEY]["model"]["init_args"]["student"]):
        settings["class_path"] = path
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file)
    return file


def readers(file: Path) -> list[Any]:
    return [
        lambda: load_student(file),
        lambda: EmbeddingModule.load_from_checkpoint(file).student,
        lambda: settings_of_checkpoint("test", ["--ckpt_path", str(file)])["model"]["init_args"]["student"],
    ]


@pytest.mark.parametrize("reader", range(3))
@pytest.mark.parametrize("path", ["own_code.Own", "antigravity.Own", "lightning_embedded.Own", "Own"])
def test_a_checkpoint_alone_imports_no_module(path: str, reader: int, checkpoint: Path, code: Path) -> None:
    file = naming(path, torch.load(checkpoint, weights_only=True), checkpoint)
    before = set(sys.modules)
    with pytest.raises(UserError, match=f"class {path}: a checkpoint names it, .* import .* first"):
        readers(file)[reader]()
    assert not (code / "it ran").exists()
    assert not {"antigravity", "own_code"} & (set(sys.modules) - before)


@pytest.mark.parametrize("reader", range(3))
def test_a_configuration_of_another_class_vouches_for_nothing(reader: int, checkpoint: Path, code: Path) -> None:
    named = {"model": {"init_args": {"student": {"class_path": "own_codes.Own"}, "losses": {"a": "InfoNCE"}}}}
    (checkpoint.parents[1] / "config.yaml").write_text(yaml.safe_dump(named))
    with pytest.raises(UserError, match=r"class own_code\.Own: a checkpoint names it"):
        readers(checkpoint)[reader]()
    assert not (code / "it ran").exists()


@pytest.mark.parametrize("reader", range(3))
@pytest.mark.parametrize("path", ["own_code.Own", "own_code.students.Own"])
def test_the_configuration_of_its_run_vouches_for_a_users_class(
    path: str, reader: int, checkpoint: Path, code: Path
) -> None:
    named = {"model": {"init_args": {"student": {"class_path": path}, "losses": {"a": "InfoNCE"}}}}
    (checkpoint.parents[1] / "config.yaml").write_text(yaml.safe_dump(named))
    found = readers(checkpoint)[reader]()
    assert (found["class_path"] if isinstance(found, dict) else type(found).__name__).endswith("Own")


@pytest.mark.parametrize("reader", range(3))
def test_a_users_class_is_found_in_a_module_that_is_imported(reader: int, checkpoint: Path, code: Path) -> None:
    import own_code  # noqa: F401

    found = readers(checkpoint)[reader]()
    assert (found["class_path"] if isinstance(found, dict) else type(found).__name__).endswith("Own")
