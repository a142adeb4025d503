"""Models, checkpoints and data are data: none of their code runs, nothing is unpickled, and nothing local asks the network."""

import ast
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from tests.cli.test_fit import config, losses, run

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


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_the_code_of_a_model_folder_does_not_run_whatever_the_terminal_answers(
    file: str, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks on a terminal, unless it is told not to
    folder, trace = shutil.copytree(student, tmp_path / "model"), tmp_path / "it ran"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    settings = json.loads((folder / file).read_text())
    settings |= {"model_type": "own", "tokenizer_class": "Own"}
    settings |= {"auto_map": {"AutoModel": "own.Own", "AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / file).write_text(json.dumps(settings))
    with suppress(UserError):
        TextEncoder(str(folder))
    assert not trace.exists()


def test_a_fit_on_local_files_connects_to_nothing(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[object] = []

    def refuse(first: object, *rest: object, **_: object) -> None:
        addresses.append(rest[0] if isinstance(first, socket.socket) else first)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    run(config(teacher, student, pairs, tmp_path / "run"), tmp_path, "--report.export", "false")
    assert len(losses(tmp_path / "run")) == 4
    assert addresses == []
