"""Models, checkpoints and data are data: none of their code runs, and nothing is unpickled."""

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError

PACKAGE = Path(__file__).resolve().parents[2] / "lightning_embed"
UNSAFE = {
    "pickle.load",
    "pickle.loads",
    "torch.hub.load",
    "joblib.load",
    "yaml.load",
    "yaml.unsafe_load",
    "eval",
    "exec",
}


def calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, function, constant arguments) of every call in the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}
                yield f"{file.relative_to(PACKAGE.parent)}:{node.lineno}", ast.unparse(node.func), given


def test_no_file_is_loaded_in_a_way_that_can_run_code() -> None:
    found = list(calls())
    loads = [(place, given) for place, name, given in found if name == "torch.load"]
    assert loads and [place for place, given in loads if given.get("weights_only") is not True] == []
    assert [place for place, name, _ in found if name in UNSAFE] == []
    for setting in ("allow_pickle", "trust_remote_code"):
        assert [place for place, _, given in found if given.get(setting, False) is not False] == []


@pytest.mark.parametrize("asked_for", ["AutoModel", "AutoConfig"])
def test_the_code_of_a_model_folder_does_not_run(asked_for: str, student: Path, tmp_path: Path) -> None:
    folder, trace = shutil.copytree(student, tmp_path / "model"), tmp_path / "it ran"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {asked_for: "own.Own"}}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="model"):
        TextEncoder(str(folder))
    assert not trace.exists()
